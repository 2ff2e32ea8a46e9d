"""Processes that fit one dictionary together, as one of them sees the others.

Without :func:`skdict.parallel.data_parallel` there is one process alone. The code that moves data
between processes is there too: estimators know this interface, not what stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class OneProcess:
    """One process alone.

    Attributes
    ----------
    rank : int
        Number of this process.
    n_ranks : int
        Number of processes.
    """

    rank, n_ranks = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs, saves and decides."""
        return self.rank == 0

    def check_equal(self, settings: dict[str, Any]) -> None:
        """Raise ValueError unless all processes have the same settings."""

    def part(self, rows):
        """Part of this process in the rows of a batch."""
        return rows

    def add_up(self, array) -> None:
        """Replace an array by its sum over all processes; it lies on any device."""

    def from_first(self, compute: Callable[[], Any]) -> Any:
        """What the first process computes, handed to all; an error there is one for all."""
        return compute()

    def hand_out(self, array) -> None:
        """Replace an array by the one of the first process."""


_ALONE = OneProcess()
_current: ContextVar[OneProcess] = ContextVar("ranks", default=_ALONE)


def current_ranks() -> OneProcess:
    """The processes that a fit which begins now is shared with."""
    return _current.get()


@contextmanager
def fitting_with(ranks: OneProcess) -> Iterator[None]:
    """Share the fits in this block with other processes."""
    token = _current.set(ranks)
    try:
        yield
    finally:
        _current.reset(token)
