"""Processes that fit one dictionary together, as one of them sees the others.

Without :func:`skdict.parallel.data_parallel` there is one process alone. The code that moves data
between processes is there too: estimators know this interface, not what stands behind it.
"""

from __future__ import annotations

import pickle
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
        """Raise ValueError unless this process has the settings of the first one."""

    def part(self, rows):
        """Part of this process in the rows of a batch."""
        return rows

    def add_up(self, array) -> None:
        """Replace an array by its sum over all processes; it lies on any device."""

    def hand_out(self, array) -> None:
        """Replace an array by the one of the first process."""

    def from_first(self, compute: Callable[[], Any]) -> Any:
        """What the first process computes, handed to all; an error there is one for all."""
        return compute()

    def agreed(self, compute: Callable[[], Any]) -> Any:
        """What this process computes; an error in one process is one for all."""
        return compute()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Context of a fit: who fails alone leaves the others, whose next message fails."""
        yield


class SeveralProcesses(OneProcess):
    """One of several processes; a subclass moves objects and arrays between them.

    It provides `add_up`, `hand_out`, ``_object_of_first(given)``, which gives every process what
    the first one gave, ``_objects_of_all(given)``, and ``_leave()``.
    """

    # Why this process has left the others, if it has.
    _left: str | None = None

    def check_equal(self, settings):
        """Raise ValueError unless this process has the settings of the first one."""
        first, *others = self._objects_of_all(settings)
        differing = [
            f"process {rank} has {name}={theirs[name]!r} and process 0 {first[name]!r}"
            for rank, theirs in enumerate(others, 1)
            for name in first
            if theirs[name] != first[name]
        ]
        if differing:
            raise _shared(
                ValueError(
                    "all processes must fit the same data with the same parameters, but "
                    + "; ".join(differing)
                )
            )

    def part(self, rows):
        """Part of this process in the rows of a batch."""
        size = len(rows) // self.n_ranks
        return rows[self.rank * size : (self.rank + 1) * size]

    def from_first(self, compute):
        """What the first process computes, handed to all; an error there is one for all."""
        result, error = self._object_of_first(_outcome(compute) if self.is_first else None)
        if error is not None:
            raise _shared(error)
        return result

    def agreed(self, compute):
        """What this process computes; an error in one process is one for all."""
        result, error = _outcome(compute, sent=False)
        failures = self._objects_of_all(error is not None)
        if error is not None:
            raise _shared(error)
        if any(failures):
            first = failures.index(True)
            raise _shared(
                RuntimeError(f"process {first} could not begin this fit; look at its messages")
            )
        return result

    @contextmanager
    def together(self):
        """Context of a fit: who fails alone leaves the others, whose next message fails.

        Were it to stay, its next fit would answer messages of the one that the others are in.
        """
        self._check_connected()
        try:
            yield
        except BaseException as error:
            if not getattr(error, "is_shared", False):
                self._left = f"{type(error).__name__}: {error}"
                self._leave()
            raise

    def _check_connected(self):
        if self._left is not None:
            raise ConnectionError(
                f"process {self.rank} of {self.n_ranks} has left the others after an error "
                f"({self._left}): mend that and start all processes again"
            )

    def _object_of_first(self, given):
        raise NotImplementedError

    def _objects_of_all(self, given):
        raise NotImplementedError

    def _leave(self):
        raise NotImplementedError


def _shared(error):
    """An error that all processes raise at the same place: nobody has to leave."""
    error.is_shared = True
    return error


def _outcome(compute, sent=True):
    """Result and error of a call; an error that cannot be sent becomes a RuntimeError."""
    try:
        return compute(), None
    except Exception as error:
        if not sent:
            return None, error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


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
