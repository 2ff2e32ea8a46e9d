"""Arrays between the host and a torch device, and batches of rows that are there ahead of use."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from skdict.kernels._torch_memory import with_advice

# Batches on their way to the device, batches that wait there for their turn, and threads that
# gather the rows of one.
BATCHES_AHEAD = 2
BATCHES_QUEUED = 4
GATHER_THREADS = 4


def torch_device(device):
    """The torch device that a name means: "cuda:1", or "torch:cpu" for the host."""
    return torch.device(device.removeprefix("torch:"))


@with_advice()
def to_device(array, device):
    """A tensor of its own on a device, with the values of a NumPy array."""
    device = torch_device(device)
    if device.type != "cuda":
        return torch.tensor(np.ascontiguousarray(array), device=device)
    # From pinned memory the copy need not be waited for.
    return torch.tensor(np.ascontiguousarray(array)).pin_memory().to(device, non_blocking=True)


def to_host(array):
    """NumPy array with the values of a tensor; on the host it shares the memory."""
    return array.detach().cpu().numpy()


def stream(X, rows_iterator, scale, device):
    """Batches of rows on a device, divided by `scale`; None leaves them as they are.

    For a GPU the rows of the next batches are gathered by other threads into pinned memory and
    copied on a stream of their own, while the device works on the current batch. Where
    `rows_iterator` yields None, it is asked again only when the next batch is: it is about to draw
    random numbers, and whoever takes the batches may draw from the same generator before.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; a memory map is read batch by batch.
    rows_iterator : iterable of slice, ndarray of int or None
        Rows of each batch.
    scale : float or None
        What the rows are divided by.
    device : str
        Where to.

    Yields
    ------
    tensor of shape (n_rows, n_features)
    """
    if torch_device(device).type != "cuda":
        for rows in rows_iterator:
            if rows is not None:
                batch = to_device(X[rows], device)
                yield batch if scale is None else batch.div_(scale)
        return
    ahead = _Ahead(X, torch_device(device))
    try:
        for batch in ahead.batches(rows_iterator):
            yield batch if scale is None else batch.div_(scale)
    finally:
        ahead.close()


class _Ahead:
    """Batches that are gathered and copied before they are asked for."""

    def __init__(self, X, device):
        self.X, self.device = X, device
        self.side = torch.cuda.Stream(device)
        self.free = deque()  # pinned memory, each with the event that ends the last copy from it
        self.work = deque()  # events that end the work on the batches handed out
        self.loader = ThreadPoolExecutor(1)
        self.gatherers = ThreadPoolExecutor(GATHER_THREADS)

    def close(self):
        self.loader.shutdown(cancel_futures=True)
        self.gatherers.shutdown()

    def batches(self, rows_iterator):
        """The batches, in order; at None those that are on their way are handed out first."""
        waiting = deque()
        for rows in itertools.chain(rows_iterator, [None]):
            if rows is not None:
                waiting.append(self.loader.submit(self._load, rows))
            while waiting and (rows is None or len(waiting) > BATCHES_AHEAD):
                yield self._arrived(waiting.popleft())
                self._wait_for_work()

    def _wait_for_work(self):
        """Wait until the device is only a few batches behind: what is queued holds memory."""
        queued = torch.cuda.Event()
        queued.record(torch.cuda.current_stream(self.device))
        self.work.append(queued)
        if len(self.work) > BATCHES_QUEUED:
            self.work.popleft().synchronize()

    def _load(self, rows):
        """Gather rows and start their copy; the loader's thread runs this."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.X.shape[0]))
        buffer = self._buffer(rows.size)
        pinned = buffer.numpy()
        n_parts = min(GATHER_THREADS, rows.size)
        parts = np.array_split(np.arange(rows.size), n_parts)

        def gather(part):
            inside = slice(part[0], part[-1] + 1)
            # With the default mode NumPy would gather into a copy of the output first.
            np.take(self.X, rows[inside], axis=0, out=pinned[inside], mode="clip")

        list(self.gatherers.map(gather, parts))
        copied = torch.cuda.Event()
        with torch.cuda.device(self.device), torch.cuda.stream(self.side):
            batch = buffer.to(self.device, non_blocking=True, copy=True)
            copied.record()
        self.free.append((buffer, copied))
        return batch, copied

    def _buffer(self, n_rows):
        if len(self.free) > BATCHES_AHEAD and self.free[0][0].shape[0] == n_rows:
            buffer, copied = self.free.popleft()
            copied.synchronize()
            return buffer
        shape = n_rows, self.X.shape[1]
        return torch.from_numpy(np.empty(shape, self.X.dtype)).pin_memory()

    def _arrived(self, future):
        """The batch, for work that is queued on the current stream."""
        batch, copied = future.result()
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        batch.record_stream(current)
        return batch
