"""A process for every contestant, so that threads, BLAS and memory of one do not touch another."""

import ctypes
import gc
import multiprocessing
import os
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class ContestantError(RuntimeError):
    """A contestant raised; the message is the last line of its traceback."""


class Worker:
    """A contestant in a process of its own, which waits without using a core.

    Parameters
    ----------
    contestant : str
        ``"module:class"`` of the contestant.
    n_threads : int
        Threads that BLAS, OpenMP, numba and torch may use there.
    """

    def __init__(self, contestant, n_threads):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, contestant, n_threads), daemon=True
        )
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))
        try:
            self._process.start()  # libraries read the variables when they are loaded
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        theirs.close()

    def call(self, method, *arguments):
        """Call a method of the contestant and return what it returns."""
        try:
            self._connection.send((method, arguments))
            failed, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise ContestantError(
                f"the process ended with code {self._process.exitcode} in {method}"
            ) from None
        if failed:
            raise ContestantError(answer)
        return answer

    def close(self):
        """End the process."""
        self._connection.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def serve(connection, contestant, n_threads):
    """Answer calls until the other side closes."""
    module, name = contestant.split(":")
    subject = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            if subject is None:
                subject = getattr(import_module(module), name)(n_threads)
            answer = False, getattr(subject, method)(*arguments)
        except Exception as error:
            if os.environ.get("SKDICT_BENCH_TRACEBACK"):
                traceback.print_exc()
            answer = (
                True,
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            )
        try:
            connection.send(answer)
        except OSError:
            return  # the other side was interrupted


def anonymous_memory() -> int:
    """Bytes of memory of this process that no file backs (Linux; 0 elsewhere)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def release_free_memory():
    """Give back what the allocator keeps of freed arrays: its reuse would hide a peak."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass  # another C library


class PeakMemory:
    """Context that samples anonymous memory in a thread; ``above`` is the peak over the start."""

    def __init__(self, interval=0.002):
        self._interval = interval

    def __enter__(self):
        release_free_memory()
        self._start = self._peak = anonymous_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, anonymous_memory())

    def _sample(self):
        while not self._done.wait(self._interval):
            self._peak = max(self._peak, anonymous_memory())

    @property
    def above(self):
        """Bytes at the peak above those at the start; None where they cannot be read."""
        return self._peak - self._start if self._peak else None


def elapsed(function, *arguments):
    """Seconds of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
