"""Rows of a source read ahead by a thread: batches in shuffled order, blocks in their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
from sklearn import get_config

from skdict._block_shuffle import BlockShuffle, Buffer
from skdict._sources import check_row_source, read_rows, require_finite
from skdict._validation import check_integer


def stream_batches(
    source,
    shuffle: BlockShuffle,
    batch_size: int,
    n_batches: int,
    *,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    dtype=None,
    name: str = "X",
) -> Iterator[np.ndarray]:
    """Batches of rows in shuffled order, read ahead by a thread.

    While batches of one buffer are used, the next buffer is read: two buffers per stream are in
    memory, and one block besides. The thread ends with the iterator: when it is exhausted, closed,
    or an error or an interrupt passes through it.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    shuffle : BlockShuffle
        The order. When a batch is handed out it counts as taken: ``shuffle.state_dict()`` then
        describes the batches behind it, whatever has been read ahead.
    batch_size : int
        Rows of a batch, over all ranks; this rank gets ``batch_size / world_size`` of them.
    n_batches : int
        Number of batches.
    prepare : callable, default=None
        Called by the reading thread with each block of rows (n_block_rows, n_features), which it
        must not write to; returns as many rows. What a row becomes must not depend on the others.
    dtype : dtype, default=None
        Type of the batches; None as in `read_rows`.
    name : str, default="X"
        Name of the source, for errors.

    Returns
    -------
    iterator of ndarray, shape (batch_size / world_size, n_features)
        The batches. None of them is written to later; a batch that is kept may keep a whole buffer
        in memory.

    Raises
    ------
    ValueError
        At once, if source and shuffle do not fit together; when the batch comes, if a block has
        NaN or infinity (unless scikit-learn's ``assume_finite`` is set when this is called) or
        another shape than promised. Errors of the source come through as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._block_shuffle import BlockShuffle
    >>> from skdict._read_ahead import stream_batches
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> shuffle = BlockShuffle(6, block_rows=2, blocks_in_buffer=2, random_state=0)
    >>> [batch.shape for batch in stream_batches(X, shuffle, 4, 3)]
    [(4, 2), (4, 2), (4, 2)]
    """
    n_rows = check_row_source(source, name=name)[0]
    if n_rows != shuffle.n_rows:
        raise ValueError(f"{name} has {n_rows} rows, but the shuffle is of {shuffle.n_rows}")
    part = shuffle.rows_per_stream(batch_size)
    check_integer("n_batches", n_batches, 0)
    reader = _Reader(source, prepare, dtype, name)

    def batches():
        position, needed = shuffle.rows_taken, part * n_batches
        with reader:
            streams = [
                reader.ahead(shuffle._buffers(stream, position, needed), reader.read_buffer)
                for stream in shuffle.own_streams
            ]
            yield from shuffle._counted(streams, part, n_batches)

    return batches()


def stream_blocks(
    source,
    block_rows: int,
    *,
    start: int = 0,
    stop: int | None = None,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    dtype=None,
    name: str = "X",
) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows in the order of the source, one read ahead by a thread.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    block_rows : int
        Rows of a block; the last one may have fewer.
    start : int, default=0
        First row.
    stop : int, default=None
        Row behind the last one; None for all.
    prepare, dtype, name : object
        As in `stream_batches`.

    Returns
    -------
    iterator of (int, ndarray)
        Number of the first row of a block, and the block. It may share memory with the source: do
        not write to it.

    Raises
    ------
    ValueError
        As in `stream_batches`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._read_ahead import stream_blocks
    >>> [(start, len(block)) for start, block in stream_blocks(np.ones((5, 2)), 2)]
    [(0, 2), (2, 2), (4, 1)]
    """
    n_rows = check_row_source(source, name=name)[0]
    check_integer("block_rows", block_rows, 1)
    stop = n_rows if stop is None else stop
    if not 0 <= start <= stop <= n_rows:
        raise ValueError(f"start={start} and stop={stop} must be within the {n_rows} rows")
    reader = _Reader(source, prepare, dtype, name)

    def blocks():
        ranges = ((low, min(low + block_rows, stop)) for low in range(start, stop, block_rows))
        with reader:
            yield from reader.ahead(ranges, lambda rows: (rows[0], reader.read_block(*rows)))

    return blocks()


class _Reader:
    """Reads, checks and prepares rows in a thread of its own."""

    def __init__(self, source, prepare, dtype, name):
        self.source, self.prepare, self.dtype, self.name = source, prepare, dtype, name
        # scikit-learn's settings are those of a thread: the reading thread would not see them.
        self.check_finite = not get_config()["assume_finite"]
        self.stopped = threading.Event()

    def __enter__(self):
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="skdict-reader")
        return self

    def __exit__(self, *error):
        self.stopped.set()  # it stops at the end of a block, not of a buffer
        self.executor.shutdown(wait=True, cancel_futures=True)

    def ahead(self, items: Iterator, load: Callable) -> Iterator:
        """``load(item)`` for all items; the thread loads the next one while one is in use."""

        def load_next():
            item = next(items, None)
            return None if item is None else load(item)

        pending = self.executor.submit(load_next)
        while True:
            loaded = pending.result()
            if loaded is None:
                return
            pending = self.executor.submit(load_next)
            yield loaded
            del loaded  # not in memory while the next one is waited for

    def read_block(self, start: int, stop: int) -> np.ndarray:
        """Rows, checked and prepared."""
        if self.stopped.is_set():
            raise CancelledError
        block = read_rows(self.source, start, stop, self.dtype, name=self.name)
        if self.check_finite:
            require_finite(block, start, self.name)
        if self.prepare is None:
            return block
        block = np.ascontiguousarray(self.prepare(block))
        if block.shape[0] != stop - start:
            raise ValueError(
                f"prepare must return {stop - start} rows for as many, got shape {block.shape}"
            )
        return block

    def read_buffer(self, buffer: Buffer) -> np.ndarray:
        """Rows of a buffer that are not used yet, in the order of use."""
        place = np.empty_like(buffer.order)
        place[buffer.order] = np.arange(len(place))
        rows, n_read = np.empty((0, 0)), 0
        for start, stop in buffer.segments.tolist():
            block = self.read_block(start, stop)
            if n_read == 0:
                rows = np.empty((len(place), *block.shape[1:]), block.dtype)
            # Straight to their places: the buffer is in memory once.
            _as_items(rows)[place[n_read : n_read + len(block)]] = _as_items(block)
            n_read += len(block)
        return rows[buffer.n_used :]


def _as_items(rows: np.ndarray) -> np.ndarray:
    """Each row as one item (n,): NumPy moves these twice as fast as rows of numbers."""
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
