"""Which codes count as active: one sparse 0/1 pattern that all the metrics share."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy import sparse


def check_codes(codes, name: str = "codes"):
    """Validate codes and return them as CSR (sparse input) or as a 2-D array (dense input).

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes; any SciPy sparse matrix or array, or anything NumPy can read.
    name : str, default="codes"
        Name of the parameter, for the messages.

    Returns
    -------
    csr_array or ndarray, shape (n_samples, n_components)
        The codes. Duplicate sparse entries are summed in a copy; the input is not changed.

    Raises
    ------
    ValueError
        If the codes are not two-dimensional, not numeric, empty or not finite.
    """
    if sparse.issparse(codes):
        if codes.ndim != 2:
            raise ValueError(f"{name} must be two-dimensional, got shape {codes.shape}")
        matrix = sparse.csr_array(codes)
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        values = matrix.data
    else:
        matrix = values = np.asarray(codes)
        if matrix.ndim != 2:
            raise ValueError(
                f"{name} must be two-dimensional (n_samples, n_components), "
                f"got shape {matrix.shape}"
            )
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}")
    if matrix.shape[0] == 0 or matrix.shape[1] == 0:
        raise ValueError(
            f"{name} must have at least one row and one column, got shape {matrix.shape}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(
            f"{name} holds NaN or infinite values; impute or drop these rows before encoding"
        )
    return matrix


def check_active(active) -> None:
    """Raise unless `active` is "nonzero", "positive" or a finite threshold >= 0."""
    allowed = 'active must be "nonzero", "positive" or a finite number >= 0 (threshold on |code|)'
    if isinstance(active, str):
        if active not in ("nonzero", "positive"):
            raise ValueError(f"{allowed}, got {active!r}")
    elif isinstance(active, (bool, np.bool_)) or not isinstance(active, Real):
        raise TypeError(f"{allowed}, got {active!r}")
    elif not (np.isfinite(float(active)) and float(active) >= 0):
        # a negative threshold would make every absent entry of a sparse matrix active
        raise ValueError(f"{allowed}, got {active!r}")


def _is_active(values: np.ndarray, active) -> np.ndarray:
    """Boolean mask of the active entries among `values`."""
    if active == "nonzero":
        return values != 0
    if active == "positive":
        return values > 0
    return np.abs(values) > active


def active_pattern(codes, active="nonzero", name: str = "codes") -> sparse.csr_array:
    """Return the 0/1 pattern of the active codes as CSR, without a dense copy of sparse codes.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold. A stored zero is never active.
    name : str, default="codes"
        Name of the parameter, for the messages.

    Returns
    -------
    csr_array of int32, shape (n_samples, n_components)
        One where a code is active. Integers, because counts of samples must be exact.
    """
    check_active(active)
    matrix = check_codes(codes, name)
    if not sparse.issparse(matrix):
        return sparse.csr_array(_is_active(matrix, active).astype(np.int32))
    kept = _is_active(matrix.data, active)
    indices, indptr = matrix.indices, matrix.indptr
    if not kept.all():
        indptr = np.concatenate(([0], np.cumsum(kept)))[indptr].astype(indptr.dtype)
        indices = indices[kept]
    ones = np.ones(indices.shape[0], dtype=np.int32)
    return sparse.csr_array((ones, indices, indptr), shape=matrix.shape)


def column_counts(pattern: sparse.csr_array) -> np.ndarray:
    """Number of active samples per component, shape (n_components,)."""
    return np.bincount(pattern.indices, minlength=pattern.shape[1])
