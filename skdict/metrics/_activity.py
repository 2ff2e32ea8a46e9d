"""Which codes count as active: one sparse 0/1 pattern that all the metrics share."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._validation import check_real


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


def check_active(active, n_components: int | None = None) -> None:
    """Raise unless `active` is "nonzero", "positive", a finite threshold >= 0 or an array of them.

    Parameters
    ----------
    active : {"nonzero", "positive"}, float or array-like
        What counts as active.
    n_components : int or None, default=None
        Length that an array must have; None leaves the length unchecked.
    """
    allowed = (
        'active must be "nonzero", "positive", a finite number >= 0 (threshold on |code|) or an '
        "array of one such threshold per component"
    )
    if isinstance(active, str):
        if active not in ("nonzero", "positive"):
            raise ValueError(f"{allowed}, got {active!r}")
        return
    thresholds = np.asarray(active)
    if active is None or thresholds.dtype.kind not in "iuf":
        raise TypeError(f"{allowed}, got {active!r}")
    # a negative threshold would make every absent entry of a sparse matrix active
    if thresholds.ndim > 1 or not (np.isfinite(thresholds) & (thresholds >= 0)).all():
        raise ValueError(f"{allowed}, got {active!r}")
    if thresholds.ndim == 1 and n_components not in (None, thresholds.shape[0]):
        raise ValueError(
            f"{allowed}: got {thresholds.shape[0]} thresholds for {n_components} components"
        )


def _is_active(values: np.ndarray, active, columns=None) -> np.ndarray:
    """Boolean mask of the active entries among `values`, which stand in `columns`."""
    if isinstance(active, str):
        return values != 0 if active == "nonzero" else values > 0
    if np.ndim(active) == 0:
        return np.abs(values) > active
    thresholds = np.asarray(active)
    return np.abs(values) > (thresholds if columns is None else thresholds[columns])


def active_pattern(codes, active="nonzero", name: str = "codes") -> sparse.csr_array:
    """Return the 0/1 pattern of the active codes as CSR, without a dense copy of sparse codes.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold (an array: that of its component). A stored zero is
        never active.
    name : str, default="codes"
        Name of the parameter, for the messages.

    Returns
    -------
    csr_array of int32, shape (n_samples, n_components)
        One where a code is active. Integers, because counts of samples must be exact.
    """
    check_active(active)
    matrix = check_codes(codes, name)
    check_active(active, matrix.shape[1])
    if not sparse.issparse(matrix):
        return sparse.csr_array(_is_active(matrix, active).astype(np.int32))
    kept = _is_active(matrix.data, active, matrix.indices)
    indices, indptr = matrix.indices, matrix.indptr
    if not kept.all():
        indptr = np.concatenate(([0], np.cumsum(kept)))[indptr].astype(indptr.dtype)
        indices = indices[kept]
    ones = np.ones(indices.shape[0], dtype=np.int32)
    return sparse.csr_array((ones, indices, indptr), shape=matrix.shape)


def activation_thresholds(
    codes, *, quantile: float | None = None, share_of_maximum: float | None = None
) -> np.ndarray:
    """Thresholds above which each component counts as active, learned from its own codes.

    Components differ in scale: one threshold for all of them silences those with small
    coefficients. Pass the result as ``active=`` to the selectivity functions. Thresholds that
    were learned on training rows can be used on held-out rows.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    quantile : float or None, default=None
        Quantile in [0, 1) of the absolute values of the component's non-zero codes:
        ``quantile=0.9`` leaves the strongest tenth of its activations. The quantile is one of
        these values (``method="lower"`` of :func:`numpy.quantile`).
    share_of_maximum : float or None, default=None
        Share in [0, 1) of the largest absolute value of the component: the threshold on codes
        that are scaled by their maximum.

    Returns
    -------
    ndarray of float64, shape (n_components,)
        The thresholds; 0 for a component that is never active.

    Raises
    ------
    ValueError
        Unless exactly one of `quantile` and `share_of_maximum` is given, in its range.

    See Also
    --------
    selectivity_scores : Takes them as ``active=``.

    Examples
    --------
    >>> from skdict.metrics import activation_thresholds, selectivity_scores
    >>> codes = [[4.0, 0.1], [1.0, 0.1], [-0.5, 0.0], [0.0, 0.2]]
    >>> thresholds = activation_thresholds(codes, share_of_maximum=0.5)
    >>> thresholds
    array([2. , 0.1])
    >>> selectivity_scores(codes, ["a", "a", "b", "b"], active=thresholds)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    if (quantile is None) == (share_of_maximum is None):
        raise ValueError(
            "exactly one of quantile and share_of_maximum must be given, "
            f"got quantile={quantile!r} and share_of_maximum={share_of_maximum!r}"
        )
    name = "quantile" if share_of_maximum is None else "share_of_maximum"
    level = quantile if share_of_maximum is None else share_of_maximum
    check_real(name, level, 0, 1)
    if level == 1:
        raise ValueError(f"{name} must be in [0, 1), got {level!r}: nothing would be active")
    matrix = sparse.csc_array(check_codes(codes))
    matrix.eliminate_zeros()
    ends, sizes = matrix.indptr[1:], np.diff(matrix.indptr)
    columns = np.repeat(np.arange(matrix.shape[1]), sizes)
    magnitude = np.abs(matrix.data).astype(np.float64)
    magnitude = magnitude[np.lexsort((magnitude, columns))]
    thresholds = np.zeros(matrix.shape[1])
    alive = sizes > 0
    if share_of_maximum is None:
        rank = np.floor(level * (sizes - 1)).astype(np.intp)
        thresholds[alive] = magnitude[(ends - sizes + rank)[alive]]
    else:
        thresholds[alive] = level * magnitude[ends[alive] - 1]
    return thresholds


def column_counts(pattern: sparse.csr_array) -> np.ndarray:
    """Number of active samples per component, shape (n_components,)."""
    return np.bincount(pattern.indices, minlength=pattern.shape[1])
