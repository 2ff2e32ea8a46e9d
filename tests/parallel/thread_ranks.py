"""Processes that fit together, played by threads: the same interface without torch."""

import pickle
import threading

from skdict._ranks import OneProcess, fitting_with


class Meeting:
    """Where the threads wait for one another; who fails breaks it for all."""

    def __init__(self, n_ranks):
        self.n_ranks, self.barrier = n_ranks, threading.Barrier(n_ranks)
        self.given = [None] * n_ranks
        self.n_messages = 0

    def exchange(self, rank, value):
        """What all threads gave."""
        try:
            self.given[rank] = value
            self.barrier.wait(60)
            given = list(self.given)
            self.barrier.wait(60)
        except threading.BrokenBarrierError as error:
            raise ConnectionError("lost another thread") from error
        return given


class ThreadRanks(OneProcess):
    """One of several threads of a `Meeting`."""

    def __init__(self, rank, meeting):
        self.rank, self.n_ranks, self.meeting = rank, meeting.n_ranks, meeting

    def check_equal(self, settings):
        if self.from_first(lambda: settings) != settings:
            raise ValueError("other settings than process 0")

    def part(self, rows):
        size = len(rows) // self.n_ranks
        return rows[self.rank * size : (self.rank + 1) * size]

    def add_up(self, array):
        if self.is_first:
            self.meeting.n_messages += 1
        array[...] = sum(self.meeting.exchange(self.rank, array.copy()))

    def hand_out(self, array):
        array[...] = self.meeting.exchange(self.rank, array.copy())[0]

    def from_first(self, compute):
        outcome = None
        if self.is_first:
            try:
                outcome = compute(), None
            except Exception as error:
                outcome = None, error
        result, error = pickle.loads(self.meeting.exchange(self.rank, pickle.dumps(outcome))[0])
        if error is not None:
            error.is_shared = True
            raise error
        return result


def fit_together(n_ranks, fit):
    """``fit(rank)`` in as many threads; their results, or the errors that they ended with."""
    meeting, results = Meeting(n_ranks), [None] * n_ranks

    def run(rank):
        try:
            with fitting_with(ThreadRanks(rank, meeting)):
                results[rank] = fit(rank)
        except Exception as error:
            results[rank] = error
            if not hasattr(error, "is_shared"):
                meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(n_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, meeting
