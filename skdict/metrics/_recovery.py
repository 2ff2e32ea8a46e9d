"""Whether a learned dictionary holds the atoms that made the data."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch

from skdict._validation import check_real


def _unit_atoms(atoms, name: str) -> np.ndarray:
    """Atoms in float64 with unit norm; zero atoms stay zero."""
    atoms = np.asarray(atoms, dtype=np.float64)
    if atoms.ndim != 2 or 0 in atoms.shape:
        raise ValueError(
            f"{name} must be two-dimensional (n_components, n_features) and not empty, "
            f"got shape {atoms.shape}"
        )
    if not np.isfinite(atoms).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    norm = np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms / np.where(norm > 0, norm, 1.0)


def dictionary_recovery(true, learned, *, threshold: float = 0.9, absolute: bool = False) -> Bunch:
    """Match the true atoms to learned ones and say how many were recovered.

    The matching is one-to-one and maximises the sum of the cosines (Hungarian assignment),
    so two true atoms cannot be recovered by the same learned one.

    Parameters
    ----------
    true : array-like, shape (n_true, n_features)
        The atoms that made the data.
    learned : array-like, shape (n_learned, n_features)
        The learned atoms, ``components_``; more or fewer than the true ones.
    threshold : float in [-1, 1], default=0.9
        A true atom is recovered when its matched cosine is above this value.
    absolute : bool, default=False
        Compare absolute cosines: an atom and its negative then count as the same. Signed by
        default, because codes may have either sign but a concept has one.

    Returns
    -------
    Bunch
        recovered : float
            Share of the true atoms with a matched cosine above `threshold`.
        mean_cosine : float
            Mean matched cosine over all true atoms, unmatched ones counting as 0.
        cosines : ndarray, shape (n_true,)
            Matched cosine of each true atom, 0 where there were too few learned atoms.
        assignment : ndarray of int, shape (n_true,)
            Row of `learned` matched to each true atom, -1 where none was left.

    Raises
    ------
    ValueError
        If the numbers of features differ, or a value is NaN or infinite.

    Notes
    -----
    The assignment takes time of order n_true^2 * n_learned in the worst case and one float64
    array of shape (n_true, n_learned). In few dimensions random atoms reach high cosines:
    compare with a dictionary of random atoms.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import dictionary_recovery
    >>> true = np.eye(3)
    >>> found = dictionary_recovery(true, [[0.0, 0.0, 2.0], [3.0, 0.1, 0.0]])
    >>> found.assignment
    array([ 1, -1,  0])
    >>> round(found.recovered, 3)
    0.667
    """
    check_real("threshold", threshold, -1.0, 1.0)
    true, learned = _unit_atoms(true, "true"), _unit_atoms(learned, "learned")
    if true.shape[1] != learned.shape[1]:
        raise ValueError(
            "true and learned must have the same number of features, "
            f"got {true.shape[1]} and {learned.shape[1]}"
        )
    similarity = np.clip(true @ learned.T, -1.0, 1.0)
    if absolute:
        np.abs(similarity, out=similarity)
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    assignment = np.full(true.shape[0], -1, dtype=np.intp)
    cosines = np.zeros(true.shape[0])
    assignment[rows] = columns
    cosines[rows] = similarity[rows, columns]
    matched = assignment >= 0
    return Bunch(
        recovered=float(np.mean(matched & (cosines > threshold))),
        mean_cosine=float(cosines.mean()),
        cosines=cosines,
        assignment=assignment,
    )
