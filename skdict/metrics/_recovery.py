"""Whether a dictionary found what made planted data: its atoms, and when they are active."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_integer, check_real
from skdict.metrics._activity import active_pattern, check_codes, column_counts
from skdict.metrics._atoms import unit_atoms
from skdict.metrics._stability import mean_and_length


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
    true, learned = unit_atoms(true, "true"), unit_atoms(learned, "learned")
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


def recovery_by_structure(
    true,
    learned,
    *,
    parents=None,
    groups=None,
    frequencies=None,
    n_frequency_bins: int = 4,
    threshold: float = 0.9,
    absolute: bool = False,
    as_frame: bool = False,
):
    """Share of the true atoms found among parents, children, mates, and by frequency.

    Rare atoms, children (active only where their parent is) and atoms that come in groups are
    the ones that a dictionary tends to miss or to merge; one number over all atoms hides it.

    Parameters
    ----------
    true : array-like, shape (n_true, n_features)
        The atoms that made the data.
    learned : array-like, shape (n_learned, n_features)
        The learned atoms, ``components_``.
    parents : array-like of int, shape (n_true,), or None, default=None
        Parent of each true atom, -1 where it has none: ``parents`` of
        :func:`~skdict.datasets.make_superposition`.
    groups : array-like, shape (n_true,), or None, default=None
        Group of each true atom: ``groups`` of the same.
    frequencies : array-like of float, shape (n_true,), or None, default=None
        How often each true atom is active, for example
        ``activation_frequency(planted.codes)``.
    n_frequency_bins : int, default=4
        Bins of about equal numbers of atoms, from the rarest.
    threshold : float in [-1, 1], default=0.9
        See :func:`dictionary_recovery`.
    absolute : bool, default=False
        See :func:`dictionary_recovery`.
    as_frame : bool, default=False
        Return the columns as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        kind : ndarray of str
            One row per kind of true atoms: "all"; "parent", "child", "neither" with `parents`;
            "grouped", "alone" with `groups`; "frequency 1" (rarest) and so on with
            `frequencies`. Kinds without atoms are left out.
        n_atoms : ndarray of int
            Number of true atoms of this kind.
        recovered : ndarray
            Share of them with a matched cosine above `threshold`.
        mean_cosine : ndarray
            Their mean matched cosine.
        merged : ndarray
            Share of them that are not recovered but for which some learned atom is closer, with
            a cosine above `threshold`, to the normalised sum of the atom and its parent
            (child), or of the atoms of its group (grouped): what a dictionary learns when one
            concept absorbs another. NaN for the other kinds.

    Raises
    ------
    ValueError
        If a length differs from the number of true atoms, or a parameter is out of its range.

    See Also
    --------
    code_recovery : Whether the learned atoms are active when the true ones are.
    feature_absorption : The same question where only nested labels are known.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import recovery_by_structure
    >>> learned = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> found = recovery_by_structure(np.eye(3), learned, parents=[-1, 0, -1])
    >>> for row in zip(found.kind, found.recovered.round(2), found.merged):
    ...     print(*row)
    all 0.67 nan
    parent 1.0 nan
    child 0.0 1.0
    neither 1.0 nan
    """
    check_integer("n_frequency_bins", n_frequency_bins, 1)
    found = dictionary_recovery(true, learned, threshold=threshold, absolute=absolute)
    true, learned = unit_atoms(true, "true"), unit_atoms(learned, "learned")
    n_true = true.shape[0]
    is_found = (found.assignment >= 0) & (found.cosines > threshold)
    kinds = {"all": (np.ones(n_true, dtype=bool), None)}
    if parents is not None:
        kinds.update(_kinds_by_parent(true, _per_atom("parents", parents, n_true)))
    if groups is not None:
        kinds.update(_kinds_by_group(true, _per_atom("groups", groups, n_true)))
    if frequencies is not None:
        frequencies = _per_atom("frequencies", frequencies, n_true)
        if np.isnan(frequencies).any():
            raise ValueError("frequencies holds NaN")
        order = np.argsort(frequencies, kind="stable")
        for number, atoms in enumerate(np.array_split(order, n_frequency_bins), start=1):
            kinds[f"frequency {number}"] = np.isin(np.arange(n_true), atoms), None
    rows = []
    for kind, (members, sums) in kinds.items():
        if not members.any():
            continue
        merged = np.nan
        if sums is not None:
            closest = _largest_cosine(unit_atoms(sums[members], "true"), learned, absolute)
            merged = np.mean((closest > threshold) & ~is_found[members])
        rows.append(
            (kind, members.sum(), is_found[members].mean(), found.cosines[members].mean(), merged)
        )
    names = ("kind", "n_atoms", "recovered", "mean_cosine", "merged")
    return table({name: np.array(column) for name, column in zip(names, zip(*rows))}, as_frame)


def code_recovery(true_codes, learned_codes, assignment, *, as_frame: bool = False):
    """Whether learned atoms are active when the true atoms they are matched to are.

    A dictionary can hold the right atoms and still code rows with wrong ones. Over matched
    pairs this gives precision, recall and F1 of the active entries and the correlation of the
    values (the MCC of [1]_).

    Parameters
    ----------
    true_codes : array-like or sparse, shape (n_samples, n_true)
        Coefficients that made the data.
    learned_codes : array-like or sparse, shape (n_samples, n_learned)
        Codes of the same rows.
    assignment : array-like of int, shape (n_true,)
        Learned atom of each true one, -1 for none, from :func:`dictionary_recovery`.
    as_frame : bool, default=False
        Return the values per true atom as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        precision, recall, f1 : ndarray, shape (n_true,)
            Of the active entries of each true atom; 0 for an unmatched one, and where there
            is nothing to divide by.
        correlation : ndarray, shape (n_true,)
            Pearson correlation of the values; 0 for an unmatched or constant one.
        mean_precision, mean_recall, mean_f1, mean_correlation : float
            Means over all true atoms.

    Raises
    ------
    ValueError
        If the codes differ in their rows, or `assignment` does not fit them.

    References
    ----------
    .. [1] Chanin and Garriga-Alonso, "SynthSAEBench: Evaluating sparse autoencoders on scalable
       realistic synthetic data", 2026, arXiv 2602.14687.

    Examples
    --------
    >>> from skdict.metrics import code_recovery
    >>> found = code_recovery([[1.0, 0], [2, 0], [0, 3]], [[0, 2.0], [0, 0], [1, 1]], [1, 0])
    >>> found.precision, found.recall
    (array([0.5, 1. ]), array([0.5, 1. ]))
    """
    true, learned = (
        check_codes(true_codes, "true_codes"),
        check_codes(learned_codes, "learned_codes"),
    )
    if true.shape[0] != learned.shape[0]:
        raise ValueError(
            "true_codes and learned_codes must code the same rows, got "
            f"{true.shape[0]} and {learned.shape[0]} rows"
        )
    assignment = _per_atom("assignment", assignment, true.shape[1])
    if assignment.dtype.kind not in "iu" or assignment.max(initial=-1) >= learned.shape[1]:
        raise ValueError(
            f"assignment must hold indices of the {learned.shape[1]} learned atoms or -1, got "
            f"values up to {assignment.max(initial=-1)!r} of type {assignment.dtype}"
        )
    matched = np.flatnonzero(assignment >= 0)
    pair = (
        sparse.csr_array(true, dtype=np.float64)[:, matched],
        sparse.csr_array(learned, dtype=np.float64)[:, assignment[matched]],
    )
    active = [active_pattern(codes) for codes in pair]
    both = column_counts((active[0] * active[1]).tocsr())
    n_true, n_learned = (column_counts(pattern) for pattern in active)
    found = {
        "precision": both / np.maximum(n_learned, 1),
        "recall": both / np.maximum(n_true, 1),
        "f1": 2 * both / np.maximum(n_true + n_learned, 1),
        "correlation": _paired_correlation(*pair),
    }
    result = {name: np.zeros(true.shape[1]) for name in found}
    for name, values in found.items():
        result[name][matched] = values
    means = {f"mean_{name}": float(values.mean()) for name, values in result.items()}
    return table(result, as_frame, **means)


def _paired_correlation(first, second) -> np.ndarray:
    """Pearson correlation of each column of `first` with the same column of `second`."""
    (mean_first, length_first), (mean_second, length_second) = map(mean_and_length, (first, second))
    product = np.asarray((first * second).sum(axis=0)).ravel()
    product -= first.shape[0] * mean_first * mean_second
    return product / length_first / length_second


def _per_atom(name, values, n_true) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n_true,):
        raise ValueError(
            f"{name} must have one entry per true atom: got shape {values.shape} for {n_true} atoms"
        )
    return values


def _kinds_by_parent(true, parents) -> dict:
    """Members of each kind, and for children the sum of the atom and its parent."""
    n_true = true.shape[0]
    if parents.dtype.kind not in "iu" or ((parents < -1) | (parents >= n_true)).any():
        raise ValueError(f"parents must hold indices below {n_true}, or -1, got {parents!r}")
    child = parents >= 0
    parent = np.isin(np.arange(n_true), parents[child])
    sums = np.where(child[:, None], true + true[parents], 0.0)
    return {
        "parent": (parent, None),
        "child": (child, sums),
        "neither": (~child & ~parent, None),
    }


def _kinds_by_group(true, groups) -> dict:
    """Members of each kind, and for grouped atoms the sum over the group."""
    index, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    totals = np.zeros((sizes.shape[0], true.shape[1]))
    np.add.at(totals, index, true)
    grouped = sizes[index] > 1
    return {"grouped": (grouped, totals[index]), "alone": (~grouped, None)}


def _largest_cosine(atoms, learned, absolute) -> np.ndarray:
    """Largest cosine of each atom with any learned one."""
    cosines = atoms @ learned.T
    return (np.abs(cosines) if absolute else cosines).max(axis=1)
