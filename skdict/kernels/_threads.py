"""Threads of the CPU kernels: Python threads over numba kernels that release the GIL.

Every thread runs BLAS on a single thread of its own, so that the result of a tile does not
depend on how many threads there are. No threading layer of numba is involved: forks, Python
threads and joblib workers need no special care.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import ThreadpoolController


def _blas_of_numpy() -> ThreadpoolController:
    """Controller of the BLAS that NumPy calls; others, such as SciPy's, are left alone.

    NumPy's wheels carry their own. Elsewhere all libraries loaded so far are taken.
    """
    blas = ThreadpoolController().select(user_api="blas")
    package = Path(np.__file__).parent
    homes = [package, package.with_name("numpy.libs")]
    own = [
        library.filepath
        for library in blas.lib_controllers
        if any(home in Path(library.filepath).parents for home in homes)
    ]
    return blas.select(filepath=own) if own else blas


def _set_threads(library, n_threads: int) -> None:
    """Set the threads of one BLAS library, from whatever thread this is.

    From threadpoolctl 3.8 on, `set_num_threads` does nothing under OpenBLAS in all threads but the
    first that has called it. Our callers take turns by counting instead, so the call beneath is
    the right one.
    """
    getattr(library, "_real_set_num_threads", library.set_num_threads)(n_threads)


def _quota(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that a Linux container may use; infinite without a limit."""
    try:
        if (folder / "cpu.max").exists():  # version 2 of control groups
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return float(quota) / float(period) if float(quota) > 0 else float("inf")
    except (OSError, ValueError):  # no control groups, or "max"
        return float("inf")


def _n_processors() -> int:
    """Threads worth starting: numba's setting, and no more than a container is allowed."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return numba.config.NUMBA_NUM_THREADS
    return max(1, min(numba.config.NUMBA_NUM_THREADS, math.ceil(min(_quota(), 1e6))))


class _SingleThreadedBlas:
    """Context that holds BLAS at one thread while any caller is inside.

    Nested and concurrent use is counted: the first caller stores the limits, the last one
    restores them.
    """

    def __init__(self):
        self._lock = threading.RLock()
        self._depth = 0
        self._own = threading.local()  # how deep the current thread is inside
        self._limits = []  # (library, its threads before), while somebody is inside
        self._n_threads = 1
        self._controller = None
        self._n_processors = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=lambda: self._lock.acquire(),
                after_in_parent=lambda: self._lock.release(),
                after_in_child=self._after_fork,
            )

    def _after_fork(self):
        # Of the threads inside, at most the one that forked has survived.
        self._lock = threading.RLock()
        self._depth = getattr(self._own, "depth", 0)
        if self._depth == 0:
            self._restore()

    def n_threads(self) -> int:
        """Threads to use: numba's setting, or the BLAS limit where that is lower."""
        with self._lock:
            return self._n_threads if self._depth else self._available()

    def _available(self) -> int:
        if self._controller is None:
            self._controller = _blas_of_numpy()
            self._n_processors = _n_processors()
        # A BLAS that cannot be asked, such as Accelerate, sets no limit.
        limits = [library.num_threads for library in self._controller.lib_controllers]
        return max(1, min([self._n_processors, max(limits, default=self._n_processors)]))

    def __enter__(self):
        with self._lock:
            if self._depth == 0:
                self._n_threads = self._available()
                self._limits = [
                    (library, library.num_threads) for library in self._controller.lib_controllers
                ]
                for library, _ in self._limits:
                    _set_threads(library, 1)
            self._depth += 1
            self._own.depth = getattr(self._own, "depth", 0) + 1
        return self

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            self._own.depth -= 1
            if self._depth == 0:
                self._restore()

    def _restore(self):
        for library, n_threads in self._limits:
            _set_threads(library, n_threads)
        self._limits = []

    def limit_this_thread(self):
        """Hold BLAS at one thread for good in a thread of the pool, where that is its own affair.

        With OpenMP under OpenBLAS every thread has a setting of its own, which the context,
        entered by another thread, does not reach.
        """
        with self._lock:
            libraries = self._controller.select(threading_layer="openmp").lib_controllers
        for library in libraries:
            _set_threads(library, 1)


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
                self._executor = ThreadPoolExecutor(
                    n_threads,
                    thread_name_prefix="skdict",
                    initializer=single_threaded_blas.limit_this_thread,
                )
                self._size = n_threads
            return self._executor


_pool = _Pool()


class _Job:
    """Ranges of items that threads take one after the other until none is left."""

    working = threading.local()

    def __init__(self, task, bounds):
        self._task = task
        self._bounds = bounds
        self._lock = threading.Lock()
        self._n_taken = 0
        self._n_running = 0
        self._idle = threading.Condition(self._lock)
        self._error = None

    def work(self):
        """Take ranges until there is none left; a call that comes late does nothing."""
        self.working.now = True
        try:
            while self._take_one():
                pass
        finally:
            self.working.now = False

    def _take_one(self):
        with self._lock:
            k = self._n_taken
            if k >= len(self._bounds) - 1:
                return False
            self._n_taken += 1
            self._n_running += 1
        error = None
        try:
            self._task(self._bounds[k], self._bounds[k + 1])
        except BaseException as caught:  # handed to the caller, who raises it
            error = caught
        with self._lock:
            self._n_running -= 1
            if error is not None:
                self._n_taken = len(self._bounds)
                self._error = self._error or error
            self._idle.notify_all()
        return True

    def cancel(self):
        """Leave the ranges that nobody has taken undone."""
        with self._lock:
            self._n_taken = len(self._bounds)

    def wait(self):
        """Wait until no range is left or being worked on; gives the first error or None."""
        with self._lock:
            while self._n_running or self._n_taken < len(self._bounds) - 1:
                self._idle.wait()
            return self._error


def run_in_parallel(task: Callable[[int, int], None], n_items: int, *, grain: int = 1) -> None:
    """Call ``task(start, stop)`` on consecutive ranges that cover ``range(n_items)``.

    Returns or raises when no range is being worked on any more. After an error, and after an
    interrupt from the keyboard, ranges that were not begun are left out.

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
    with single_threaded_blas:
        n_threads = min(single_threaded_blas.n_threads(), max(1, n_items // grain))
        # A thread of the pool that waited for others of the pool might wait for ever.
        if n_threads == 1 or getattr(_Job.working, "now", False):
            task(0, n_items)
            return
        # A few ranges per thread, so that a thread that was held up does not hold up the rest.
        n_ranges = min(n_items // grain, 4 * n_threads)
        job = _Job(task, [n_items * k // n_ranges for k in range(n_ranges + 1)])
        try:
            _share_out(job, n_threads)
            error = job.wait()
        except BaseException:  # an interrupt from the keyboard
            job.cancel()
            job.wait()
            raise
        if error is not None:
            raise error


def _share_out(job, n_threads):
    """Put threads of the pool to work; do the work here where no thread can be had."""
    pool = _pool.get(n_threads)
    try:
        for _ in range(n_threads):
            pool.submit(job.work)
    except RuntimeError:
        # The interpreter is about to end, or the system gives no more threads.
        job.work()
