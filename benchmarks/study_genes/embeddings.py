"""The embeddings whose concepts are looked for: functions of raw counts, learned and untrained."""

import sys
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from benchmarks.study_genes.cells import blood_cells

EMBEDDINGS = ("pca", "vae")
TITLES = {"pca": "PCA", "vae": "autoencoder"}
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TARGET_DEPTH = 1e4


class LinearEmbedding:
    """Linear coordinates of log-normalised counts; what was left out counts for the depth only.

    Parameters
    ----------
    directions : ndarray, shape (n_features, n_genes)
        The coordinates.
    mean : ndarray, shape (n_genes,)
        Subtracted before.
    """

    def __init__(self, directions, mean):
        self.directions = directions.astype(np.float32)
        self.offset = (mean @ directions.T).astype(np.float32)

    def __call__(self, counts):
        """Embeddings of counts, dense or sparse."""
        return logarithm(counts) @ self.directions.T - self.offset


def logarithm(counts):
    """Log-normalised named genes of counts, dense float32."""
    counts = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
    depth = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.log1p(counts[:, :-1] * (TARGET_DEPTH / depth)).astype(np.float32, copy=False)


def small_vae():
    """The module of the small autoencoder, which is an example of the documentation."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return import_module("small_vae")


@lru_cache(maxsize=4)
def embedding(name, seed, settings, trained=True):
    """Return an embedding: a function of counts.

    Parameters
    ----------
    name : str
        Of `EMBEDDINGS`.
    seed : int
        Draws the training cells, and the network or the untrained directions.
    settings : Settings
        Sizes.
    trained : bool, default=True
        False gives the network before its first step, or random directions for PCA.
    """
    cells = blood_cells(settings.n_cells)
    counts = cells.counts[cells.training(seed)]
    if name == "vae":
        module = small_vae()
        epochs = settings.epochs if trained else 0
        model, _ = module.train(
            counts, n_latent=settings.n_features, n_epochs=epochs, seed=seed, verbose=False
        )
        return model
    values = logarithm(counts)
    if trained:
        pca = PCA(settings.n_features, random_state=seed).fit(values)
        return LinearEmbedding(pca.components_, pca.mean_)
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(settings.n_features, values.shape[1])) / np.sqrt(values.shape[1])
    return LinearEmbedding(directions, values.mean(axis=0))


def embed(function, counts, batch_size=512):
    """Embeddings of many cells, float32."""
    if not isinstance(function, LinearEmbedding):
        return small_vae().embed(function, counts)
    starts = range(0, counts.shape[0], batch_size)
    return np.concatenate([function(counts[i : i + batch_size]) for i in starts])
