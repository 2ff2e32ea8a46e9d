"""The atoms of a dictionary themselves: how similar they are, and where they lie in input space."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer

# Cosines held at a time: 32 MB in float64, whatever the number of atoms.
_BLOCK_VALUES = 1 << 22


def check_atoms(atoms, name: str = "components") -> np.ndarray:
    """Validate atoms and return them as a 2-D array of float64.

    Parameters
    ----------
    atoms : array-like, shape (n_components, n_features)
        The atoms, one per row.
    name : str, default="components"
        Name of the parameter, for the messages.

    Returns
    -------
    ndarray of float64, shape (n_components, n_features)
        The atoms.

    Raises
    ------
    ValueError
        If they are not two-dimensional, empty, or hold NaN or infinite values.
    """
    atoms = np.asarray(atoms, dtype=np.float64)
    if atoms.ndim != 2 or 0 in atoms.shape:
        raise ValueError(
            f"{name} must be two-dimensional (n_components, n_features) and not empty, "
            f"got shape {atoms.shape}"
        )
    if not np.isfinite(atoms).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return atoms


def unit_atoms(atoms, name: str = "components") -> np.ndarray:
    """Atoms in float64 with unit norm; zero atoms stay zero.

    Parameters
    ----------
    atoms : array-like, shape (n_components, n_features)
        The atoms, one per row.
    name : str, default="components"
        Name of the parameter, for the messages.

    Returns
    -------
    ndarray of float64, shape (n_components, n_features)
        The atoms divided by their norm.
    """
    atoms = check_atoms(atoms, name)
    norm = np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms / np.where(norm > 0, norm, 1.0)


def map_atoms(components, linear_map) -> np.ndarray:
    r"""Bring atoms to another space, usually from whitened space back to the embeddings.

    A preprocessed row is reconstructed as :math:`b + \sum_m z_m w_m`. If the way back to the
    embeddings is :math:`x \mapsto \mu + x A`, an atom moves an embedding along :math:`w_m A`: it
    is a direction, so the offset :math:`\mu` does not apply to it. Two dictionaries that were
    learned behind different whiteners can be compared only there.

    Parameters
    ----------
    components : array-like, shape (n_components, n_inner)
        The atoms, ``components_``.
    linear_map : array-like, shape (n_inner, n_features)
        The matrix A. Of a transformer with an affine ``inverse_transform`` it is
        ``inverse_transform(np.eye(n_inner)) - inverse_transform(np.zeros((1, n_inner)))``.

    Returns
    -------
    ndarray of float64, shape (n_components, n_features)
        Unit directions; an atom that the map takes to zero stays zero.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is NaN or infinite.

    Notes
    -----
    Cosines in the two spaces differ: the map stretches the directions in which controls vary
    most, so that all atoms look more alike in the input space of strongly correlated
    embeddings. Compare with :func:`random_atoms` mapped in the same way.
    Scaling each row to unit length does not turn directions and needs no map.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ControlPCAWhitener
    >>> from skdict.metrics import map_atoms
    >>> X = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 2.0, 4.0]
    >>> whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=np.ones(50, bool))
    >>> back = whitener.inverse_transform(np.eye(3)) - whitener.inverse_transform(np.zeros((1, 3)))
    >>> atoms = map_atoms(np.eye(3), back)
    >>> np.abs(atoms[0]).round(1)  # controls vary most along the third feature
    array([0.1, 0. , 1. ])
    """
    components = check_atoms(components)
    linear_map = check_atoms(linear_map, "linear_map")
    if components.shape[1] != linear_map.shape[0]:
        raise ValueError(
            "linear_map must have one row per feature of the atoms: got shape "
            f"{linear_map.shape} for atoms with {components.shape[1]} features"
        )
    return unit_atoms(components @ linear_map)


def random_atoms(n_components: int, n_features: int, *, like=None, random_state=None) -> np.ndarray:
    r"""Unit atoms that know nothing of the data: the random dictionary of every null.

    Parameters
    ----------
    n_components : int
        Number of atoms.
    n_features : int
        Their dimension.
    like : array-like, shape (n_like, n_features), or None, default=None
        None draws directions uniformly from the sphere. With atoms here, directions are normal
        with their second moment :math:`A^T A / n` before they are scaled to unit length: random
        atoms that prefer the same directions as strongly (an equal spectrum).
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    ndarray of float64, shape (n_components, n_features)
        The atoms.

    Raises
    ------
    ValueError
        If a number is below 1, or `like` has another number of features.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import random_atoms
    >>> atoms = random_atoms(5, 3, random_state=0)
    >>> atoms.shape, np.linalg.norm(atoms, axis=1).round(6).tolist()
    ((5, 3), [1.0, 1.0, 1.0, 1.0, 1.0])
    >>> flat = random_atoms(5, 3, like=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], random_state=0)
    >>> bool(np.allclose(flat[:, 2], 0))
    True
    """
    check_integer("n_components", n_components, 1)
    check_integer("n_features", n_features, 1)
    rng = check_random_state(random_state)
    atoms = rng.standard_normal((n_components, n_features))
    if like is not None:
        like = check_atoms(like, "like")
        if like.shape[1] != n_features:
            raise ValueError(
                f"like must have n_features={n_features} columns, got shape {like.shape}"
            )
        variance, directions = np.linalg.eigh(like.T @ like / like.shape[0])
        atoms = (atoms * np.sqrt(np.clip(variance, 0.0, None))) @ directions.T
    return unit_atoms(atoms)


def atom_similarity(components, *, n_bins: int = 100, absolute: bool = False) -> Bunch:
    """Cosines between the atoms of a dictionary: their distribution, and each one's nearest.

    Near-duplicates (a largest cosine near 1) are atoms that were spent twice; ICFL's resets
    redraw one of each pair above 0.9. The mean of the largest cosines is SAEBench's
    "mean max decoder cosine".

    Parameters
    ----------
    components : array-like, shape (n_components, n_features)
        The atoms, ``components_``; at least two.
    n_bins : int, default=100
        Bins of the histogram over [-1, 1] (over [0, 1] with `absolute`).
    absolute : bool, default=False
        Whether an atom and its negative count as the same.

    Returns
    -------
    Bunch
        counts : ndarray of int, shape (n_bins,)
            Number of pairs of different atoms with a cosine in each bin; the sum is
            ``n_components * (n_components - 1) / 2``.
        edges : ndarray, shape (n_bins + 1,)
            Edges of the bins.
        max_cosine : ndarray, shape (n_components,)
            Largest cosine of each atom with another one.
        nearest : ndarray of int, shape (n_components,)
            That other one.
        mean_max_cosine : float
            Mean of `max_cosine`.

    Raises
    ------
    ValueError
        If there are fewer than two atoms, or a value is NaN or infinite.

    Notes
    -----
    A zero atom has cosine 0 with all. In few dimensions many atoms cannot be far apart:
    compare with the same number of :func:`random_atoms`. The cosines are formed for a block of
    atoms at a time; the time goes with the square of the number of atoms.

    References
    ----------
    .. [1] Karvonen et al., "SAEBench: A comprehensive benchmark for sparse autoencoders in
       language model interpretability", ICML 2025 (core metrics).

    Examples
    --------
    >>> from skdict.metrics import atom_similarity
    >>> found = atom_similarity([[1.0, 0.0], [0.8, 0.6], [0.0, -2.0]], n_bins=4)
    >>> found.counts
    array([1, 0, 1, 1])
    >>> found.max_cosine, found.nearest
    (array([0.8, 0.8, 0. ]), array([1, 0, 0]))
    """
    atoms = unit_atoms(components)
    check_integer("n_bins", n_bins, 1)
    n_atoms = atoms.shape[0]
    if n_atoms < 2:
        raise ValueError(f"components must hold at least two atoms, got {n_atoms}")
    edges = np.linspace(0.0 if absolute else -1.0, 1.0, n_bins + 1)
    counts = np.zeros(n_bins, dtype=np.int64)
    max_cosine, nearest = np.empty(n_atoms), np.empty(n_atoms, dtype=np.intp)
    n_rows = max(1, _BLOCK_VALUES // n_atoms)
    for start in range(0, n_atoms, n_rows):
        block = np.clip(atoms[start : start + n_rows] @ atoms.T, -1.0, 1.0)
        if absolute:
            np.abs(block, out=block)
        own = np.arange(block.shape[0])
        later = np.arange(n_atoms) > (start + own)[:, None]  # every pair once
        counts += np.histogram(block[later], bins=edges)[0]
        block[own, start + own] = -np.inf
        nearest[start + own] = block.argmax(axis=1)
        max_cosine[start + own] = block.max(axis=1)
    return Bunch(
        counts=counts,
        edges=edges,
        max_cosine=max_cosine,
        nearest=nearest,
        mean_max_cosine=float(max_cosine.mean()),
    )
