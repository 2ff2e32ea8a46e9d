"""Rows that do not fit into memory: what a row source is, and in which order rows are learned from.

A row source is any object with

``shape``
    ``(n_rows, n_features)``, known without reading.
``dtype``
    Of the rows: float16, float32, float64, integers or bool.
``source[start:stop]``
    These rows, as anything that ``np.asarray`` turns into a two-dimensional array.

Arrays of zarr, h5py and dask are row sources as they are, so are :class:`skdict.ShardedRows` and
NumPy memory maps. Only contiguous ranges of rows are asked for: all of these are fast at that, and
single rows in random order are slow on all of them.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn import get_config

from skdict._validation import check_integer, is_device_array

# Rows are read in pieces of about this size; a disk gives its full speed from about a megabyte on.
BLOCK_BYTES = 2**23

# Memory for rows read ahead, two buffers: one is learned from while the other is filled.
BUFFER_MEMORY = 2**29

# A sample of rows is drawn from this many blocks; fewer, but 16, where they take more bytes.
SAMPLE_BLOCKS, SAMPLE_BYTES = 128, 2**30

# Arrays of these are converted as a whole, as ever, although they look like a source.
_CONVERTED_PACKAGES = {"cupy", "jax", "jaxlib", "scipy", "sparse", "tensorflow", "torch", "xarray"}


# ---------------------------------------------------------------------- what a row source is


def is_row_source(X) -> bool:
    """Whether X is read block by block rather than converted to an array as a whole.

    Decided by what X looks like, so that neither zarr, h5py nor dask is imported.

    Parameters
    ----------
    X : object
        What a user passed.

    Returns
    -------
    bool
        True for :class:`skdict.ShardedRows`, arrays of zarr, h5py and dask, and other objects with
        a two-dimensional ``shape``, a numeric ``dtype`` and ``X[start:stop]``. False for arrays of
        NumPy (memory maps too, see `is_memory_mapped`) and of other array libraries, data frames,
        sparse matrices, xarray and lists.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._sources import is_row_source
    >>> is_row_source(np.ones((3, 2)))
    False
    """
    if isinstance(X, (np.ndarray, np.generic)) or sparse.issparse(X) or is_device_array(X):
        return False
    package = type(X).__module__.partition(".")[0]
    if package in _CONVERTED_PACKAGES or hasattr(X, "__array_namespace__"):
        return False
    if not (hasattr(X, "shape") and hasattr(X, "dtype") and hasattr(type(X), "__getitem__")):
        return False
    return isinstance(X.shape, tuple) and len(X.shape) == 2 and _is_numeric(X.dtype)


def is_memory_mapped(X) -> bool:
    """Whether X is a NumPy array whose values lie in a memory-mapped file.

    Parameters
    ----------
    X : object
        What a user passed.

    Returns
    -------
    bool
        True for a memory map and for views of one.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._sources import is_memory_mapped
    >>> is_memory_mapped(np.ones((3, 2)))
    False
    """
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap) and getattr(X, "_mmap", None) is not None:
            return True
        X = X.base
    return False


def check_row_source(source, *, name: str = "X") -> tuple[int, int, np.dtype]:
    """Check a row source without reading rows.

    Parameters
    ----------
    source : object
        A row source or a two-dimensional NumPy array.
    name : str, default="X"
        Its name, for errors.

    Returns
    -------
    n_rows : int
        Number of rows.
    n_features : int
        Number of columns.
    dtype : dtype
        What `read_rows` converts to: float64 for float64, otherwise float32.

    Raises
    ------
    ValueError
        If it is not two-dimensional, is empty, its number of rows is unknown (dask), or its dtype
        is no number.
    """
    shape = tuple(source.shape)
    if len(shape) != 2:
        raise ValueError(f"{name} must be two-dimensional (rows, features), got shape {shape}")
    if any(size != size for size in shape):  # NaN: dask does not know it
        raise ValueError(
            f"{name} has an unknown number of rows, shape {shape}; call "
            f"{name}.compute_chunk_sizes() first"
        )
    if not _is_numeric(source.dtype):
        raise ValueError(
            f"{name} must hold numbers (float16, float32, float64 or integers), got dtype "
            f"{source.dtype}"
        )
    if 0 in shape:
        raise ValueError(f"{name} must have at least one row and one feature, got shape {shape}")
    return int(shape[0]), int(shape[1]), float_type(source.dtype)


def float_type(dtype) -> np.dtype:
    """Type that rows of `dtype` are computed in: float64 stays, all others become float32."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize >= 8 else np.float32)


def _is_numeric(dtype) -> bool:
    try:
        return np.dtype(dtype).kind in "fiub"
    except TypeError:  # not a NumPy dtype
        return False


def block_layout(
    source, *, block_bytes: int = BLOCK_BYTES, memory: int = BUFFER_MEMORY
) -> tuple[int, int]:
    """Sizes of blocks and buffers for a source.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    block_bytes : int, default=2**23
        Aim for the size of a block. Where the source is stored in chunks, a block holds whole
        chunks: each would be read and decompressed several times otherwise.
    memory : int, default=2**29
        Most bytes of two buffers; a buffer holds one block at least, whatever it takes.

    Returns
    -------
    block_rows : int
        Rows of a block.
    blocks_in_buffer : int
        Blocks that are permuted together.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._sources import block_layout
    >>> block_layout(np.broadcast_to(np.float32(0), (1_000_000, 256)))
    (8192, 32)
    """
    n_rows, n_features, dtype = check_row_source(source)
    row_bytes = n_features * dtype.itemsize
    block_rows = max(1, block_bytes // row_bytes)
    chunk_rows = _chunk_rows(source)
    if chunk_rows > 1:
        block_rows = max(1, block_rows // chunk_rows) * chunk_rows
    block_rows = min(block_rows, n_rows)
    most = memory // (2 * block_rows * row_bytes)
    return block_rows, int(min(max(1, most), -(-n_rows // block_rows)))


def _chunk_rows(source) -> int:
    """Rows that are stored together; 1 where any range is as good as another."""
    chunks = getattr(source, "shards", None) or getattr(source, "chunks", None)
    if not isinstance(chunks, tuple) or not chunks:
        return 1
    # dask lists the size of each chunk, zarr and h5py have one for all
    rows = max(chunks[0], default=1) if isinstance(chunks[0], tuple) else chunks[0]
    return int(rows)


# ---------------------------------------------------------------------- reading


def read_rows(source, start: int, stop: int, dtype=None, *, name: str = "X") -> np.ndarray:
    """Read a range of rows.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    start, stop : int
        First row, and the one behind the last.
    dtype : dtype, default=None
        Type to convert to, float32 or float64; None keeps float64 and gives float32 for all others.
    name : str, default="X"
        Name of the source, for errors.

    Returns
    -------
    ndarray of shape (stop - start, n_features)
        The rows, C-contiguous. It may share memory with the source: do not write to it.

    Raises
    ------
    ValueError
        If the range is not within the source, or the source gives another shape than it promised.
    TypeError
        If the source gives a sparse matrix or something that is no number.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._sources import read_rows
    >>> read_rows(np.arange(6, dtype=np.float16).reshape(3, 2), 1, 3)
    array([[2., 3.],
           [4., 5.]], dtype=float32)
    """
    n_rows, n_features = source.shape
    if not 0 <= start <= stop <= n_rows:
        raise ValueError(
            f"rows {start} to {stop} are not within the {n_rows} rows of {name}; start and stop "
            "must be in order and not negative"
        )
    rows = source[start:stop]
    if type(rows).__module__.startswith("dask."):
        # Blocks go to the threads of this process, also where a cluster is the default: they would
        # have to come back over the network.
        rows = rows.compute(scheduler="threads")
    if sparse.issparse(rows):
        raise TypeError(f"{name}[{start}:{stop}] is sparse; rows to learn from must be dense")
    rows = np.asarray(rows)
    if rows.shape != (stop - start, n_features):
        raise ValueError(
            f"{name}[{start}:{stop}] must have shape {(stop - start, n_features)}, as {name}.shape "
            f"says, got {rows.shape}"
        )
    if not _is_numeric(rows.dtype):
        raise TypeError(f"{name}[{start}:{stop}] must hold numbers, got dtype {rows.dtype}")
    return np.ascontiguousarray(rows, float_type(rows.dtype) if dtype is None else dtype)


def check_finite_rows(block: np.ndarray, start: int, name: str = "X") -> None:
    """Raise ValueError if a block holds NaN or infinity.

    Nothing is checked under ``sklearn.config_context(assume_finite=True)``.

    Parameters
    ----------
    block : ndarray of shape (n_block_rows, n_features)
        Rows of a source.
    start : int
        Number of the first of them in the source.
    name : str, default="X"
        Name of the source.

    Raises
    ------
    ValueError
        With the first row and column that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict._sources import check_finite_rows
    >>> check_finite_rows(np.array([[1.0, 2.0], [3.0, np.nan]]), 4096)
    Traceback (most recent call last):
        ...
    ValueError: X must be finite, got nan in row 4097, column 1; remove such rows or fill them in
    """
    if not get_config()["assume_finite"]:
        _check_finite(block, start, name)


def _check_finite(block, start, name="X"):
    with np.errstate(over="ignore", invalid="ignore"):
        # One number tells in most cases: a sum is finite only if all terms are.
        if np.isfinite(block.sum()):
            return
    for first in range(0, block.shape[0], 1024):  # no mask of the size of the block
        bad = np.argwhere(~np.isfinite(block[first : first + 1024]))
        if bad.size:
            row, column = bad[0]
            raise ValueError(
                f"{name} must be finite, got {block[first + row, column]} in row "
                f"{start + first + row}, column {column}; remove such rows or fill them in"
            )


def sample_rows(source, n_sample: int, random_state: int, *, name: str = "X") -> np.ndarray:
    """Read a random sample of rows from a limited number of blocks.

    Rows drawn from all over a source would make it read nearly all of its chunks. Here 128 random
    blocks are read (fewer where they are large, more where `n_sample` needs them), and rows drawn
    from these, uniformly and without replacement.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    n_sample : int
        Number of rows. All rows are read where there are no more.
    random_state : int
        Seed.
    name : str, default="X"
        Name of the source, for errors.

    Returns
    -------
    ndarray of shape (min(n_sample, n_rows), n_features)
        The rows, in the order of the source.

    Raises
    ------
    ValueError
        If a row is not finite.
    """
    n_rows, n_features, dtype = check_row_source(source, name=name)
    check_integer("n_sample", n_sample, 1)
    check_integer("random_state", random_state, 0)
    n_sample = min(n_sample, n_rows)
    rng = np.random.default_rng(random_state)
    block_rows = block_layout(source)[0]
    n_blocks = -(-n_rows // block_rows)
    most = SAMPLE_BYTES // (block_rows * n_features * dtype.itemsize)
    n_drawn = max(16, min(most, SAMPLE_BLOCKS), -(-2 * n_sample // block_rows))
    starts = np.sort(rng.permutation(n_blocks)[:n_drawn]) * block_rows
    stops = np.minimum(starts + block_rows, n_rows)
    counts = rng.multivariate_hypergeometric(stops - starts, n_sample, method="marginals")
    sample, n_filled = np.empty((n_sample, n_features), dtype), 0
    for start, stop, count in zip(starts.tolist(), stops.tolist(), counts.tolist()):
        if count:
            block = read_rows(source, start, stop, dtype, name=name)
            check_finite_rows(block, start, name)
            chosen = np.sort(rng.permutation(stop - start)[:count])
            sample[n_filled : n_filled + count] = block[chosen]
            n_filled += count
    return sample


# ---------------------------------------------------------------------- the order of learning


class Buffer(NamedTuple):
    """Blocks that are read together, and how their rows are mixed."""

    # First row and the one behind the last of each block (k, 2), in the order of reading.
    segments: np.ndarray
    # Place among the rows read, for each row of the buffer (n,).
    order: np.ndarray
    # Rows at its beginning that were used before.
    n_used: int

    def rows(self) -> np.ndarray:
        """Row numbers in the source, in the order of use."""
        read = np.concatenate([np.arange(start, stop) for start, stop in self.segments])
        return read[self.order[self.n_used :]]


class BlockShuffle:
    """The order in which the rows of a large source are learned from.

    In each pass the blocks of `block_rows` contiguous rows come in random order. Groups of
    `blocks_in_buffer` blocks are read into a buffer and their rows permuted. Batches are cut from
    the stream of buffers across the ends of buffers and passes, so that every batch is full, and
    each row comes exactly once per pass.

    The order is a function of `random_state`, the pass and the number of the buffer; the only thing
    that changes is a counter. `state_dict` is therefore a few integers, and `restore` gives exactly
    the batches that would have come.

    With `n_streams` S above one, the shuffled blocks of a pass are cut into S equal parts, each of
    them is read and mixed on its own, and a batch takes equally many rows from each. Rank r of W
    reads streams ``r * S / W`` to ``(r + 1) * S / W - 1`` and no others, and gets their part of
    each batch. The union over ranks is the same for every W that divides S, and holds each row once
    per pass but the ``n_rows % S`` that are left over, which are others in each pass.

    Parameters
    ----------
    n_rows : int
        Rows of the source.
    block_rows : int
        Rows of a block; `block_layout` proposes sizes.
    blocks_in_buffer : int
        Blocks that are permuted together. The larger, the better the rows are mixed; two buffers
        per stream are in memory.
    random_state : int
        Seed.
    rank : int, default=0
        Number of this process.
    world_size : int, default=1
        Number of processes.
    n_streams : int, default=None
        Number of streams, a multiple of `world_size`; None stands for `world_size`.

    Attributes
    ----------
    rows_taken : int
        Rows that each stream has given so far.
    rows_per_pass : int
        Rows of a stream in one pass.

    Raises
    ------
    ValueError
        If a number is out of range, or `n_streams` is no multiple of `world_size`.

    Examples
    --------
    >>> from skdict._sources import BlockShuffle
    >>> shuffle = BlockShuffle(6, block_rows=2, blocks_in_buffer=2, random_state=0)
    >>> batches = list(shuffle.batches(3, 2))
    >>> sorted(int(row) for batch in batches for row in batch)
    [0, 1, 2, 3, 4, 5]
    >>> state = shuffle.state_dict()
    >>> state["rows_taken"]
    6
    """

    def __init__(
        self,
        n_rows: int,
        *,
        block_rows: int,
        blocks_in_buffer: int,
        random_state: int,
        rank: int = 0,
        world_size: int = 1,
        n_streams: int | None = None,
    ):
        n_streams = world_size if n_streams is None else n_streams
        for name, value, minimum in [
            ("n_rows", n_rows, 1),
            ("block_rows", block_rows, 1),
            ("blocks_in_buffer", blocks_in_buffer, 1),
            ("random_state", random_state, 0),
            ("rank", rank, 0),
            ("world_size", world_size, 1),
            ("n_streams", n_streams, 1),
        ]:
            check_integer(name, value, minimum)
        if rank >= world_size:
            raise ValueError(f"rank must be below world_size={world_size}, got {rank}")
        if n_streams % world_size:
            raise ValueError(
                f"n_streams must be a multiple of world_size={world_size}, got {n_streams}"
            )
        if n_streams > n_rows:
            raise ValueError(f"n_streams must be at most n_rows={n_rows}, got {n_streams}")
        self.n_rows, self.block_rows = int(n_rows), int(block_rows)
        self.blocks_in_buffer, self.random_state = int(blocks_in_buffer), int(random_state)
        self.rank, self.world_size, self.n_streams = int(rank), int(world_size), int(n_streams)
        self.rows_taken = 0

    @property
    def rows_per_pass(self) -> int:
        """Rows of a stream in one pass."""
        return self.n_rows // self.n_streams

    @property
    def n_passes(self) -> float:
        """Passes so far; two and a half are 2.5."""
        return self.rows_taken / self.rows_per_pass

    @property
    def own_streams(self) -> range:
        """Streams that this rank reads."""
        per_rank = self.n_streams // self.world_size
        return range(self.rank * per_rank, (self.rank + 1) * per_rank)

    def rows_per_stream(self, batch_size: int) -> int:
        """Rows that a batch takes from each stream.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, over all ranks.

        Returns
        -------
        int
            ``batch_size / n_streams``.

        Raises
        ------
        ValueError
            If that is no whole number.
        """
        check_integer("batch_size", batch_size, 1)
        if batch_size % self.n_streams:
            raise ValueError(
                f"batch_size must be a multiple of n_streams={self.n_streams} (the number of "
                f"processes, unless set), got {batch_size}"
            )
        return batch_size // self.n_streams

    def state_dict(self) -> dict[str, int]:
        """Integers that the coming batches follow from; they can be written as JSON.

        Returns
        -------
        dict of int
            The same on all ranks.
        """
        return {
            "n_rows": self.n_rows,
            "block_rows": self.block_rows,
            "blocks_in_buffer": self.blocks_in_buffer,
            "random_state": self.random_state,
            "n_streams": self.n_streams,
            "rows_taken": self.rows_taken,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on where a state was taken.

        Sizes, seed and number of streams are those of the state from now on. The ranks may be
        another number: as long as it divides the number of streams, the batches (all ranks
        together) are the same.

        Parameters
        ----------
        state : dict of int
            From `state_dict`.

        Raises
        ------
        ValueError
            If the state is of a source with another number of rows, or is none.

        Warns
        -----
        UserWarning
            If the number of ranks does not divide the number of streams. The number of streams is
            kept then, and the order is a new one from here on: in the pass that was begun some
            rows come twice and others not at all.
        """
        names = self.state_dict()
        missing = [name for name in names if not _is_count(state.get(name))]
        if missing:
            raise ValueError(f"state must hold whole numbers {', '.join(names)}; check {missing}")
        if state["n_rows"] != self.n_rows:
            raise ValueError(
                f"state is of a source with {state['n_rows']} rows, but this one has "
                f"{self.n_rows}; resume with the same data or start anew"
            )
        settings = {name: value for name, value in state.items() if name in names}
        rows_taken = settings.pop("rows_taken")
        place = {"rank": self.rank, "world_size": self.world_size}
        if settings["n_streams"] % self.world_size:
            warnings.warn(
                f"the state has {settings['n_streams']} streams, which {self.world_size} processes "
                "cannot share equally: rows come in a new order from here on",
                UserWarning,
                stacklevel=2,
            )
            rows_taken = rows_taken * settings["n_streams"] // self.n_streams
            settings["n_streams"] = self.n_streams
        BlockShuffle.__init__(self, **settings, **place)
        self.rows_taken = rows_taken

    def buffer(self, stream: int, position: int) -> Buffer:
        """Find the buffer that holds a row of a stream.

        Parameters
        ----------
        stream : int
            Number of the stream.
        position : int
            Place of the row in the stream, counted over all passes.

        Returns
        -------
        Buffer
            What to read and how to mix it; rows before `position` count as used.
        """
        pass_number, offset = divmod(position, self.rows_per_pass)
        segments = self._segments(stream, pass_number)
        ends = np.cumsum(segments[:, 1] - segments[:, 0])
        number = int(np.searchsorted(ends, offset, "right")) // self.blocks_in_buffer
        first = number * self.blocks_in_buffer
        begin = int(ends[first - 1]) if first else 0
        segments = segments[first : first + self.blocks_in_buffer]
        n = int((segments[:, 1] - segments[:, 0]).sum())
        order = self._random_order(n, pass_number, 1 + stream, number)
        return Buffer(segments, order, offset - begin)

    def batches(self, batch_size: int, n_batches: int) -> Iterator[np.ndarray]:
        """Row numbers of the coming batches, for rows that are in memory.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, over all ranks.
        n_batches : int
            Number of batches.

        Returns
        -------
        iterator of ndarray of int, shape (batch_size / world_size,)
            The part of this rank. When a batch is handed out, it counts as taken.
        """
        part = self.rows_per_stream(batch_size)
        check_integer("n_batches", n_batches, 0)

        needed = part * n_batches
        streams = [
            (buffer.rows() for buffer in self._buffers(stream, self.rows_taken, needed))
            for stream in self.own_streams
        ]
        return self._counted(streams, part, n_batches)

    def _counted(self, streams: Sequence[Iterable[np.ndarray]], part: int, n_batches: int):
        """Cut and join the buffers of the own streams, and count."""
        cut = [_cut(buffers, part) for buffers in streams]
        for _ in range(n_batches):
            parts = [next(stream) for stream in cut]
            self.rows_taken += part
            if len(parts) == 1:
                yield parts.pop()
            else:
                yield np.concatenate(parts)

    def _buffers(self, stream: int, position: int, n_needed: int) -> Iterator[Buffer]:
        """Buffers that `n_needed` rows from `position` on are in."""
        end = position + n_needed
        while position < end:
            buffer = self.buffer(stream, position)
            yield buffer
            position += len(buffer.order) - buffer.n_used

    def _segments(self, stream: int, pass_number: int) -> np.ndarray:
        """Blocks of a stream in a pass, as first row and the one behind the last (k, 2)."""
        n_blocks = -(-self.n_rows // self.block_rows)
        starts = self._random_order(n_blocks, pass_number, 0, 0) * self.block_rows
        sizes = np.minimum(self.block_rows, self.n_rows - starts)
        # The stream has the places low to high - 1 of the pass; a block at its edge is cut there.
        low = stream * self.rows_per_pass
        high = low + self.rows_per_pass
        ends = np.cumsum(sizes)
        begins = ends - sizes
        own = (ends > low) & (begins < high)
        cut_low = np.maximum(low - begins[own], 0)
        cut_high = np.maximum(ends[own] - high, 0)
        starts, stops = starts[own], starts[own] + sizes[own]
        return np.stack([starts + cut_low, stops - cut_high], axis=1)

    def _random_order(self, n: int, *key: int) -> np.ndarray:
        """Random order of n things that belongs to a key.

        Sorted random bits: NumPy promises the same bits in all versions, but not the same
        permutations.
        """
        bits = np.random.Philox(np.random.SeedSequence(self.random_state, spawn_key=key))
        return np.argsort(bits.random_raw(n))


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _as_items(rows: np.ndarray) -> np.ndarray:
    """Each row as one item (n,): NumPy moves these twice as fast as rows of numbers."""
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()


def _cut(buffers: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut a stream of buffers into pieces of `size` rows.

    No piece that is in use while the next buffer is fetched keeps the last one alive: the last
    piece and the rest of a buffer are copies.
    """
    rest: list[np.ndarray] = []
    for buffer in buffers:
        start = 0
        while sum(map(len, rest)) + len(buffer) - start >= size:
            stop = start + size - sum(map(len, rest))
            if rest:
                rest.append(buffer[start:stop])
                whole = np.concatenate(rest)
                rest.clear()
                yield whole
                del whole
            elif len(buffer) - stop < size:
                yield buffer[start:stop].copy()
            else:
                yield buffer[start:stop]
            start = stop
        if start < len(buffer):
            rest.append(buffer[start:].copy())
        del buffer


# ---------------------------------------------------------------------- reading ahead


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
    >>> from skdict._sources import BlockShuffle, stream_batches
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
    >>> from skdict._sources import stream_blocks
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
            _check_finite(block, start, self.name)
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
