"""Threads of the CPU kernels: Python threads over numba kernels that release the GIL.

Every thread runs BLAS on a single thread of its own, so that the result of a tile does not
depend on how many threads there are. No threading layer of numba is involved: forks, Python
threads and joblib workers need no special care.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
from threadpoolctl import ThreadpoolController


class _SingleThreadedBlas:
    """Context that holds BLAS at one thread while any caller is inside.

    Nested and concurrent use is counted: the first caller stores the limits, the last one
    restores them.
    """

    def __init__(self):
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _reset(self):
        self._lock = threading.Lock()
        self._depth = 0
        self._limiter = None
        self._n_threads = 1
        self._controller = None

    def _after_fork(self):
        # Threads that were inside did not survive the fork; restore what they had limited.
        limiter = self._limiter
        self._reset()
        if limiter is not None:
            limiter.restore_original_limits()

    def n_threads(self) -> int:
        """Threads to use: numba's setting, or the BLAS limit where that is lower."""
        with self._lock:
            return self._n_threads if self._depth else self._available()

    def _available(self) -> int:
        if self._controller is None:
            self._controller = ThreadpoolController().select(user_api="blas")
        limits = [library.num_threads for library in self._controller.lib_controllers]
        return max(1, min([numba.config.NUMBA_NUM_THREADS, max(limits, default=1)]))

    def __enter__(self):
        with self._lock:
            if self._depth == 0:
                self._n_threads = self._available()
                self._limiter = self._controller.limit(limits=1)
            self._depth += 1
        return self

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._limiter.restore_original_limits()
                self._limiter = None


single_threaded_blas = _SingleThreadedBlas()


class _Pool:
    """One pool of threads for the process, made when first needed and again after a fork."""

    def __init__(self):
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self):
        self._lock = threading.Lock()
        self._executor = None
        self._size = 0

    def get(self, n_threads: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._size < n_threads:
                # A smaller pool that is still at work elsewhere finishes and is then collected.
                self._executor = ThreadPoolExecutor(n_threads, thread_name_prefix="skdict")
                self._size = n_threads
            return self._executor


_pool = _Pool()


def run_in_parallel(task: Callable[[int, int], None], n_items: int, *, grain: int = 1) -> None:
    """Call ``task(start, stop)`` on consecutive ranges that cover ``range(n_items)``.

    Parameters
    ----------
    task : callable
        Called with the start and the end of a range; must release the GIL to gain anything.
    n_items : int
        Number of items.
    grain : int, default=1
        Smallest range worth a thread.
    """
    if n_items == 0:
        return
    n_threads = min(single_threaded_blas.n_threads(), max(1, n_items // grain))
    with single_threaded_blas:
        if n_threads == 1:
            task(0, n_items)
            return
        # A few ranges per thread, so that a thread that was held up does not hold up the rest.
        n_ranges = min(n_items // grain, 4 * n_threads)
        bounds = [n_items * k // n_ranges for k in range(n_ranges + 1)]
        pool = _pool.get(n_threads)
        futures = [
            pool.submit(task, start, stop)
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
        ]
        for future in futures:
            future.result()
