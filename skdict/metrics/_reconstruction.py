"""How well reconstructions match the embeddings, in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

# Float64 copies of one block: a few megabytes whatever the number of rows, also for
# read-only memory maps.
_BLOCK_VALUES = 1 << 20


def _check_pair(X, X_reconstructed) -> tuple[np.ndarray, np.ndarray]:
    """Validate shapes of the two arrays without copying them."""
    for name, value in (("X", X), ("X_reconstructed", X_reconstructed)):
        if sparse.issparse(value):
            raise TypeError(f"{name} must be a dense array, got a sparse {type(value).__name__}")
    X, X_reconstructed = np.asarray(X), np.asarray(X_reconstructed)
    for name, value in (("X", X), ("X_reconstructed", X_reconstructed)):
        if value.ndim != 2 or 0 in value.shape:
            raise ValueError(
                f"{name} must be two-dimensional (n_samples, n_features) and not empty, "
                f"got shape {value.shape}"
            )
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers, got dtype {value.dtype}")
    if X.shape != X_reconstructed.shape:
        raise ValueError(
            "X and X_reconstructed must have the same shape, "
            f"got {X.shape} and {X_reconstructed.shape}"
        )
    return X, X_reconstructed


def _blocks(X, X_reconstructed) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield float64 blocks of rows of both arrays, checked for NaN."""
    n_rows = max(1, _BLOCK_VALUES // X.shape[1])
    for start in range(0, X.shape[0], n_rows):
        rows = slice(start, start + n_rows)
        block = X[rows].astype(np.float64)
        reconstructed = X_reconstructed[rows].astype(np.float64)
        for name, values in (("X", block), ("X_reconstructed", reconstructed)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds NaN or infinite values")
        yield block, reconstructed


def _unit_rows(block: np.ndarray) -> np.ndarray:
    """Rows divided by their norm; zero rows stay zero. Scaled first against overflow."""
    largest = np.abs(block).max(axis=1, keepdims=True)
    block = block / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(block, axis=1, keepdims=True)
    return block / np.where(norm > 0, norm, 1.0)


def reconstruction_cosine(X, X_reconstructed) -> float:
    """Mean over rows of the cosine between embeddings and their reconstructions.

    The measure of the paper's figures 4C and 9A. A row of zeros on either side has no
    direction and counts as cosine 0, so a dictionary that leaves rows without any active
    atom pays for them.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        What the dictionary was given, usually whitened rows of unit norm.
    X_reconstructed : array-like, shape (n_samples, n_features)
        Its reconstructions, ``dictionary.inverse_transform(codes)``.

    Returns
    -------
    float
        Mean cosine in [-1, 1].

    Raises
    ------
    ValueError
        If the shapes differ, or a value is NaN or infinite.
    TypeError
        If one of the two is sparse.

    References
    ----------
    .. [1] Donhauser et al., ICML 2025, Figs. 4C and 9A.

    Examples
    --------
    >>> from skdict.metrics import reconstruction_cosine
    >>> reconstruction_cosine([[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [0.0, 0.0]])
    0.5
    """
    X, X_reconstructed = _check_pair(X, X_reconstructed)
    total = 0.0
    for block, reconstructed in _blocks(X, X_reconstructed):
        cosines = np.einsum("ij,ij->i", _unit_rows(block), _unit_rows(reconstructed))
        total += cosines.sum()
    return float(np.clip(total / X.shape[0], -1.0, 1.0))


def explained_variance(X, X_reconstructed) -> float:
    """Share of the variance of the embeddings that their reconstructions explain.

    ``1 - sum_j var(x_j - xhat_j) / sum_j var(x_j)``, the variances being taken over the rows
    around the column means. A constant offset of the reconstruction therefore costs nothing,
    and a column counts by its variance. Equal to
    ``sklearn.metrics.explained_variance_score(multioutput="variance_weighted")``, without
    float64 copies of the whole arrays.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Embeddings.
    X_reconstructed : array-like, shape (n_samples, n_features)
        Their reconstructions.

    Returns
    -------
    float
        At most 1; 0 for a constant reconstruction and negative for a harmful one. If `X` has
        no variance: 1 if the residual has none either, else 0.

    Raises
    ------
    ValueError
        If the shapes differ, or a value is NaN or infinite.
    TypeError
        If one of the two is sparse.

    Examples
    --------
    >>> from skdict.metrics import explained_variance
    >>> X = [[0.0, 1.0], [2.0, 5.0]]
    >>> explained_variance(X, X)
    1.0
    >>> explained_variance(X, [[1.0, 1.0], [1.0, 5.0]])
    0.8
    """
    X, X_reconstructed = _check_pair(X, X_reconstructed)
    sums = np.zeros((2, X.shape[1]))
    for block, reconstructed in _blocks(X, X_reconstructed):
        sums[0] += block.sum(axis=0)
        sums[1] += (block - reconstructed).sum(axis=0)
    # Two passes: subtracting squared means afterwards would cancel on uncentred embeddings.
    mean, residual_mean = sums / X.shape[0]
    total = residual = 0.0
    for block, reconstructed in _blocks(X, X_reconstructed):
        residual += np.square(block - reconstructed - residual_mean).sum()
        total += np.square(block - mean).sum()
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return float(1.0 - residual / total)
