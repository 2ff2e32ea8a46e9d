"""Places of the samples of a bundle on a map."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD

from skdict._validation import check_choice, import_optional


def sample_map(given, codes, embeddings, random_state) -> np.ndarray | None:
    """Places of the samples in two dimensions.

    Parameters
    ----------
    given : {"pca", "umap"}, array-like of shape (n_samples, 2), or None
        The places, or how to find them.
    codes : csr_array
        Codes, for a PCA without embeddings.
    embeddings : array-like, shape (n_samples, n_features), or None
        Embeddings.
    random_state : RandomState
        Seed of the decomposition.

    Returns
    -------
    ndarray of float32, shape (n_samples, 2), or None
        The places.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is NaN or infinite.
    """
    n_samples = codes.shape[0]
    if given is None:
        return None
    if not isinstance(given, str):
        places = np.asarray(given)
        if places.shape != (n_samples, 2) or places.dtype.kind not in "fiu":
            raise ValueError(
                f"map must be None, 'pca', 'umap' or numbers of shape ({n_samples}, 2), got "
                f"{places.dtype} of shape {places.shape}"
            )
        return _finite("map", places)
    check_choice("map", given, ("pca", "umap"))
    if embeddings is not None:
        values = np.asarray(embeddings)
        if values.ndim != 2 or values.shape[0] != n_samples or not values.shape[1]:
            raise ValueError(
                f"embeddings must have shape ({n_samples}, n_features), got {values.shape}"
            )
        values = _finite("embeddings", values)
        return _umap(values, random_state) if given == "umap" else _principal(values, random_state)
    if given == "umap":
        raise ValueError("map='umap' needs embeddings, got None; pass them, or map='pca'")
    if not codes.nnz:
        return np.zeros((n_samples, 2), dtype=np.float32)
    if min(codes.shape) <= 2:
        return _principal(codes.toarray(), random_state)
    svd = TruncatedSVD(2, random_state=random_state)
    return svd.fit_transform(codes).astype(np.float32)


def _principal(values, random_state) -> np.ndarray:
    """Two principal components, zeros where there are fewer."""
    places = np.zeros((values.shape[0], 2), dtype=np.float32)
    n_found = min(2, *values.shape)
    if np.ptp(values, axis=0).any():
        pca = PCA(n_found, random_state=random_state)
        places[:, :n_found] = pca.fit_transform(values)
    return places


def _umap(values, random_state) -> np.ndarray:
    """UMAP with its own defaults; a fixed seed makes it run on one thread."""
    umap = import_optional("umap", extra="umap")
    seed = int(random_state.randint(np.iinfo(np.int32).max))
    reducer = umap.UMAP(n_components=2, random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(values), dtype=np.float32)


def _finite(name: str, values) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite as float32, got NaN or infinite values")
    return values
