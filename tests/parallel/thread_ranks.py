"""Processes that fit together, played by threads: the same interface without torch."""

import pickle
import threading

from skdict._ranks import SeveralProcesses, fitting_with


class Meeting:
    """Where the threads wait for one another; who leaves breaks it for all."""

    def __init__(self, n_ranks):
        self.n_ranks, self.barrier = n_ranks, threading.Barrier(n_ranks)
        self.given = [None] * n_ranks
        self.n_messages = self.n_handed_out = 0

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


class ThreadRanks(SeveralProcesses):
    """One of several threads of a `Meeting`."""

    # What other machines do: sums that are rounded differently.
    noise = 0.0

    def __init__(self, rank, meeting):
        self.rank, self.n_ranks, self.meeting = rank, meeting.n_ranks, meeting

    def _exchange(self, value):
        self._check_connected()
        return self.meeting.exchange(self.rank, value)

    def add_up(self, array):
        self.meeting.n_messages += self.is_first
        array[...] = sum(self._exchange(array.copy())) * (1 + self.rank * self.noise)

    def hand_out(self, array):
        self.meeting.n_handed_out += self.is_first
        array[...] = self._exchange(array.copy())[0]

    def _object_of_first(self, given):
        return pickle.loads(self._exchange(pickle.dumps(given))[0])

    def _objects_of_all(self, given):
        return [pickle.loads(theirs) for theirs in self._exchange(pickle.dumps(given))]

    def _leave(self):
        self.meeting.barrier.abort()


def fit_together(n_ranks, fit, noise=0.0):
    """``fit(rank)`` in as many threads; their results, or the errors that they ended with."""
    meeting, results = Meeting(n_ranks), [None] * n_ranks

    def run(rank):
        ranks = ThreadRanks(rank, meeting)
        ranks.noise = noise
        try:
            with fitting_with(ranks):
                results[rank] = fit(rank)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(n_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, meeting
