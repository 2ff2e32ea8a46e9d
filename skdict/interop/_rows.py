"""Rows of whatever an AnnData holds: in memory, on disk or lazy, sparse or dense."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse

_LARGEST = np.iinfo(np.int32).max


def iter_rows(element, block_rows: int):
    """Blocks of rows of an element, one in memory at a time.

    Parameters
    ----------
    element : ndarray, sparse, h5py or zarr array, sparse dataset of AnnData, or dask array
        What an AnnData holds.
    block_rows : int
        Most rows in a block.

    Yields
    ------
    rows : slice
        The rows.
    block : ndarray, or sparse matrix or array
        Their values.

    Warns
    -----
    UserWarning
        If the element is not in memory and stored by columns, so that all of it has to be read.
    """
    element, edges = _in_rows(element, block_rows)
    for start, stop in zip(edges[:-1], edges[1:]):
        part = in_memory(element[start:stop])
        for i in range(0, stop - start, block_rows):
            rows = slice(start + i, min(start + i + block_rows, stop))
            yield rows, part[i : i + block_rows]


def in_memory(part):
    """Values of a part of an element: computed if it is lazy."""
    return part.compute() if hasattr(part, "compute") else part


def _in_rows(element, block_rows: int):
    """The element, read at once if it can only be, and where to cut it."""
    n_rows = element.shape[0]
    edges = [*range(0, n_rows, block_rows), n_rows]
    if hasattr(element, "compute"):  # dask: a chunk is read as a whole whatever is taken of it
        by_column = len(element.chunks[1]) > 1 and len(element.chunks[0]) == 1
        edges = [0, *np.cumsum(element.chunks[0]).tolist()]
    else:
        by_column = getattr(element, "format", "csr") == "csc" and not sparse.issparse(element)
    if by_column:
        warnings.warn(
            "the values are stored by columns, so that their rows cannot be read in blocks: all of "
            "them are read at once; write them as CSR to save memory",
            UserWarning,
            stacklevel=5,
        )
        element = in_memory(element) if hasattr(element, "compute") else element[:]
        edges = [0, n_rows]
        element = sparse.csr_array(element) if sparse.issparse(element) else element
    return element, edges


def as_csr(block) -> sparse.csr_array:
    """CSR array of a block, sorted, without duplicates, its indices 32-bit wherever they can be.

    AnnData hands out matrices or arrays by its settings, and files of other programs hold 64-bit
    indices, both kinds at once, unsorted rows or entries that are there twice. What `block` holds
    is left as it is.

    Parameters
    ----------
    block : ndarray, or sparse matrix or array
        The values.

    Returns
    -------
    csr_array
        The same values; they share memory with `block` where nothing had to be changed.
    """
    if block.dtype == np.float16:  # which scipy does not know
        block = block.astype(np.float32)
    block = sparse.csr_array(block)
    dtype = index_dtype(block.nnz, block.shape[1])
    indices, indptr = (a.astype(dtype, copy=False) for a in (block.indices, block.indptr))
    csr = sparse.csr_array((block.data, indices, indptr), shape=block.shape)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def index_dtype(n_stored: int, n_columns: int):
    """Type of the indices of a CSR array: 32 bits unless its size needs 64."""
    return np.int32 if max(n_stored, n_columns) <= _LARGEST else np.int64


def stack_rows(blocks: list) -> sparse.csr_array:
    """One CSR array of blocks of rows; each block is dropped as it is taken over.

    Parameters
    ----------
    blocks : list of csr_array
        The blocks; empty afterwards.

    Returns
    -------
    csr_array
        All rows.
    """
    n_stored = [block.nnz for block in blocks]
    n_rows, n_columns = sum(block.shape[0] for block in blocks), blocks[0].shape[1]
    dtype = index_dtype(sum(n_stored), n_columns)
    data = np.empty(sum(n_stored), np.result_type(*(block.dtype for block in blocks)))
    indices, indptr = np.empty(data.shape[0], dtype), np.zeros(n_rows + 1, dtype)
    row = filled = 0
    while blocks:
        block = blocks.pop(0)
        stop = filled + block.nnz
        data[filled:stop], indices[filled:stop] = block.data, block.indices
        indptr[row + 1 : row + 1 + block.shape[0]] = block.indptr[1:].astype(dtype) + filled
        row, filled = row + block.shape[0], stop
    return sparse.csr_array((data, indices, indptr), shape=(n_rows, n_columns))
