"""Codes of units: how often and how strongly each concept is active in a well."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.kernels import get_permutation_kernels
from skdict.metrics._activity import active_pattern, check_codes


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
    pattern = active_pattern(matrix, active)
    if sparse.issparse(matrix):
        both = sparse.csr_array(pattern.multiply(matrix), dtype=np.complex128)
    else:
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        values = matrix[rows, pattern.indices].astype(np.complex128)
        both = sparse.csr_array((values, pattern.indices, pattern.indptr), shape=pattern.shape)
    # One product for both sums. An active code counts one in the real part, so that codes that
    # cancel out are not dropped from the pattern.
    both.data = 1 + 1j * both.data.real
    n_rows = np.bincount(index, minlength=n_units)
    gather = sparse.csr_array(
        (np.ones(index.shape[0]), (index, np.arange(index.shape[0]))),
        shape=(n_units, index.shape[0]),
    )
    sums = sparse.csr_array(gather @ both)
    sums.sort_indices()
    counts = sums.data.real
    return get_permutation_kernels().SparseUnits(
        sums.indptr.astype(np.int64), sums.indices.astype(np.int32),
        counts / np.repeat(n_rows, np.diff(sums.indptr)), sums.data.imag / counts,
    )  # fmt: skip
