"""Rows that do not fit into memory: what a row source is, and how ranges of its rows are read.

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
        require_finite(block, start, name)


def require_finite(block: np.ndarray, start: int, name: str = "X") -> None:
    """As `check_finite_rows`, whatever scikit-learn is configured to assume."""
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
