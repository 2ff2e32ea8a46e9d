"""Codes of units: how often and how strongly each concept is active in a well."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.kernels import get_permutation_kernels
from skdict.metrics._activity import active_pattern, check_codes

# Codes taken at a time: what is made of them on the way takes some forty bytes each.
_BLOCK = 2**20


def unit_codes(codes, index: np.ndarray, n_units: int, active="nonzero"):
    """Rate and strength of every concept in every unit, on one sparse pattern.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_rows, n_concepts)
        Codes of the rows.
    index : ndarray of int, shape (n_rows,)
        Unit of each row.
    n_units : int
        Number of units.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        When a code counts as active; see :func:`~skdict.metrics.selectivity_scores`.

    Returns
    -------
    SparseUnits
        CSR of the units: share of active rows, and mean code of the active rows.
    """
    matrix = check_codes(codes)
    order = np.argsort(index, kind="stable")
    n_rows = np.bincount(index, minlength=n_units)
    ends = np.cumsum(n_rows)
    n_codes = matrix.nnz if sparse.issparse(matrix) else matrix.size
    rows_at_once = max(1, _BLOCK * matrix.shape[0] // max(n_codes, 1))
    parts: tuple[list, ...] = ([], [], [], [])
    unit = start = 0
    while unit < n_units:
        stop = max(int(np.searchsorted(ends, start + rows_at_once, side="right")), unit + 1)
        rows, start = order[start : ends[stop - 1]], ends[stop - 1]
        for part, values in zip(parts, _block(matrix, rows, n_rows[unit:stop], active)):
            part.append(values)
        unit = stop
    indptr = np.concatenate(([0], np.cumsum(_joined(parts[0])))).astype(np.int64)
    return get_permutation_kernels().SparseUnits(indptr, *(_joined(part) for part in parts[1:]))


def _block(matrix, rows, n_rows, active):
    """Number of concepts of some units, the concepts, their rates and strengths.

    `rows` are those of the first unit, then those of the second, and so on, `n_rows` of each.
    """
    block = matrix[rows]
    pattern = active_pattern(block, active)
    if sparse.issparse(block):
        both = sparse.csr_array(pattern.multiply(block), dtype=np.float64)
    else:
        row = np.repeat(np.arange(rows.shape[0]), np.diff(pattern.indptr))
        values = block[row, pattern.indices].astype(np.float64)
        both = sparse.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)
    if (n_rows == 1).all():
        indices = both.indices.astype(np.int32)
        return np.diff(both.indptr), indices, np.ones(both.data.shape[0]), both.data
    # One product for both sums. An active code counts one in the real part, so that codes that
    # cancel out are not dropped from the pattern.
    both = sparse.csr_array((1 + 1j * both.data, both.indices, both.indptr), shape=both.shape)
    gather = sparse.csr_array(
        (np.ones(rows.shape[0]), np.arange(rows.shape[0]), np.concatenate(([0], np.cumsum(n_rows))))
    )
    sums = sparse.csr_array(gather @ both)
    sums.sort_indices()
    counts, n_found = sums.data.real, np.diff(sums.indptr)
    rate, strength = counts / np.repeat(n_rows, n_found), sums.data.imag / counts
    return n_found, sums.indices.astype(np.int32), rate, strength


def _joined(parts: list) -> np.ndarray:
    """Join arrays; the list is emptied, so that not all of them are held twice."""
    joined = np.empty(sum(part.size for part in parts), dtype=parts[0].dtype)
    stop = joined.size
    while parts:
        part = parts.pop()
        joined[stop - part.size : stop] = part
        stop -= part.size
    return joined
