"""Lines of progress for loops over permutations and resamples."""

from __future__ import annotations

import time
from collections.abc import Iterator

N_LINES = 10


def steps(n_steps: int, what: str, verbose: int, *, task: str = "selectivity") -> Iterator[int]:
    """Yield 0 to ``n_steps - 1``; with `verbose` print about ten lines with the time left.

    Parameters
    ----------
    n_steps : int
        Number of steps.
    what : str
        What a step is: "permutation", say.
    verbose : int
        0 prints nothing.
    task : str, default="selectivity"
        What the steps belong to.

    Yields
    ------
    int
        The step.
    """
    started, reported = time.perf_counter(), 0
    for step in range(n_steps):
        yield step
        done = step + 1
        if verbose and done * N_LINES // n_steps > reported:
            reported = done * N_LINES // n_steps
            seconds = time.perf_counter() - started
            left = seconds / done * (n_steps - done)
            print(
                f"[{task}] {what} {done} of {n_steps}, {seconds:.1f} s, {left:.1f} s left",
                flush=True,
            )
