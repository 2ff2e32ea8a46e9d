"""What learned concepts are compared with: neurons, linear factors and random directions."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA, FastICA, MiniBatchNMF
from sklearn.utils import check_random_state

from skdict._validation import check_integer
from skdict.genes._concepts import DirectionConcepts, check_embeddings

KINDS = ("neurons", "pca", "ica", "nmf", "random")


def baseline_concepts(
    embeddings,
    *,
    kinds=KINDS,
    share: float = 0.1,
    n_factors: int | None = None,
    n_random: int | None = None,
    random_state=None,
) -> dict:
    """Make linear concepts of the same embeddings, to be taken through the same pipeline.

    All are active in the same `share` of the cells, best that of the learned concepts, and the
    directions that have no sign of their own come with both signs, as two concepts.

    Parameters
    ----------
    embeddings : array-like or tensor, shape (n_cells, n_features)
        Embeddings of the cells. Where the dictionary stands behind whitening, give the embeddings
        as they are: attributions go through the same `embed`.
    kinds : sequence of str, default=("neurons", "pca", "ica", "nmf", "random")
        Which ones.
    share : float, default=0.1
        Share of the cells in which each concept is active.
    n_factors : int or None, default=None
        Number of factors of PCA, ICA and NMF. None takes as many as there are for PCA and ICA, and
        half as many as features for NMF: with as many, the features themselves are a solution.
    n_random : int or None, default=None
        Number of random directions; None takes twice the number of features, as many as there are
        neurons with both signs.
    random_state : int, RandomState instance or None, default=None
        Seed of ICA, NMF and the random directions.

    Returns
    -------
    dict of str to DirectionConcepts
        ``"neurons"``
            The features themselves, both signs.
        ``"pca"``
            Principal components, both signs.
        ``"ica"``
            Filters of independent components, both signs.
        ``"nmf"``
            Factors of the embeddings after subtracting the smallest value of each feature:
            the inner product with a factor, as with an atom.
        ``"random"``
            Directions uniform on the sphere after scaling features to unit variance: what any
            direction has.

    Raises
    ------
    ValueError
        If a kind is unknown or a value is out of range.

    Warns
    -----
    ConvergenceWarning
        If ICA did not converge.

    See Also
    --------
    interpretable_share : What they are made for.

    Notes
    -----
    Constant features are left out everywhere: no threshold makes them active in a share of
    the cells.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import baseline_concepts
    >>> E = np.random.default_rng(0).gamma(1.0, size=(300, 4))
    >>> baselines = baseline_concepts(E, share=0.05, random_state=0)
    >>> {kind: concepts.n_concepts for kind, concepts in baselines.items()}
    {'neurons': 8, 'pca': 8, 'ica': 8, 'nmf': 2, 'random': 8}
    >>> baselines["pca"].codes(E).count_nonzero(axis=0).tolist()
    [15, 15, 15, 15, 15, 15, 15, 15]
    """
    E = check_embeddings(embeddings, "embeddings").astype(np.float64)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not len(kinds):
        raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {kinds!r}")
    check_integer("n_factors", n_factors, 1, none=True)
    check_integer("n_random", n_random, 1, none=True)
    rng = check_random_state(random_state)
    seed, random_seed = rng.randint(2**31, size=2)  # so that kinds do not depend on each other
    varying = np.ptp(E, axis=0) > 0
    if not varying.any():
        raise ValueError("embeddings must vary, but all features are constant")
    mean, found = E.mean(axis=0), {}
    for kind in kinds:
        if kind == "random":
            n_random = 2 * int(varying.sum()) if n_random is None else n_random
            directions = _random(E[:, varying], n_random, random_seed)
        else:
            directions = _directions(kind, E[:, varying], n_factors, int(seed))
        if kind in ("neurons", "pca", "ica"):
            directions = np.vstack([directions, -directions])
        whole = np.zeros((directions.shape[0], E.shape[1]))
        whole[:, varying] = directions
        found[kind] = DirectionConcepts.with_active_share(whole, E, share=share, mean=mean)
    return found


def _directions(kind: str, E, n_factors, seed: int) -> np.ndarray:
    """Directions of one kind."""
    if kind == "neurons":
        return np.eye(E.shape[1])
    if kind == "nmf":
        n_factors = -(-E.shape[1] // 2) if n_factors is None else min(n_factors, E.shape[1])
        nmf = MiniBatchNMF(n_factors, max_iter=1000, tol=1e-3, random_state=seed)
        components = nmf.fit(E - E.min(axis=0)).components_
        return components[components.any(axis=1)]
    # directions without variance are no cell's
    rank = int(np.linalg.matrix_rank(E - E.mean(axis=0)))
    n_factors = rank if n_factors is None else min(n_factors, rank)
    if kind == "pca":
        return PCA(n_factors, random_state=seed).fit(E).components_
    return FastICA(n_factors, max_iter=1000, tol=1e-3, random_state=seed).fit(E).components_


def _random(E, n_random: int, seed: int) -> np.ndarray:
    """Directions that weigh each feature by the inverse of its standard deviation."""
    directions = np.random.RandomState(seed).normal(size=(n_random, E.shape[1]))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) / E.std(axis=0)
