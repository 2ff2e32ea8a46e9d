"""Raw counts as one sparse matrix of whole numbers."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.genes._counts import Counts

# Values looked at together.
_BLOCK_VALUES = 1 << 24


def whole_counts(X) -> sparse.csr_array:
    """Check raw counts and bring them into CSR.

    Parameters
    ----------
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Counts. Dense ones are turned into a sparse matrix block by block.

    Returns
    -------
    csr_array, shape (n_cells, n_genes)
        The counts, sorted, without stored zeros. Sparse input in this form is not copied: do not
        change the result.

    Raises
    ------
    ValueError
        If a count is negative, NaN, infinite or no whole number.
    """
    counts = Counts(X)
    matrix = counts.X if sparse.issparse(counts.X) else _sparse(counts)
    if matrix.dtype.kind == "b":
        matrix = matrix.astype(np.float32)  # Booleans cannot be subtracted
    for start in range(0, matrix.nnz, _BLOCK_VALUES):
        _check_whole(matrix.data[start : start + _BLOCK_VALUES])
    if np.count_nonzero(matrix.data) < matrix.nnz:
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return matrix


def _sparse(counts: Counts) -> sparse.csr_array:
    """Dense counts as CSR."""
    dtype = np.dtype(counts.X.dtype)
    if dtype.kind == "b" or dtype == np.float16:  # types that sparse products do not know
        dtype = np.dtype(np.float32)
    height = max(1, _BLOCK_VALUES // counts.n_genes)
    blocks = [
        sparse.csr_array(
            counts.rows(np.arange(start, min(start + height, counts.n_cells)), dtype=dtype)
        )
        for start in range(0, counts.n_cells, height)
    ]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _check_whole(values) -> None:
    """Raise where a count is no whole number."""
    if values.dtype.kind != "f":
        return
    wrong = values[np.rint(values) != values]
    if wrong.size:
        raise ValueError(
            f"X must hold raw counts, whole numbers, got {wrong[0]:g}: normalised or "
            "log-transformed values? Pass the layer of raw counts; round counts that were "
            "corrected for ambient RNA"
        )
