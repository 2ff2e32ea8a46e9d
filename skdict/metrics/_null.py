"""What the best of many components reaches by chance: labels permuted within strata."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer
from skdict.metrics._activity import active_pattern
from skdict.metrics._labels import check_two_labels, encode_labels, locate_labels
from skdict.metrics._selectivity import check_kind, scores_from_counts
from skdict.metrics._unit_counts import count_units

# Scores that differ by less are equal: the same counts, added up in another order.
TIE = 1e-12


def distinct_permutations(units, kind: str, reference: str) -> np.ndarray:
    """Count the permutations that can differ in a label's scores, shape (n_labels,).

    Only the pooled average does not ask which of the other labels a unit carries.
    """
    pooled = kind == "average" and reference == "pooled"
    return units.n_distinct(others_matter=not pooled)


def selectivity_null(
    codes,
    y,
    *,
    units=None,
    strata=None,
    n_permutations: int = 100,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    random_state=None,
) -> Bunch:
    """Permutation null of the best selectivity of each label.

    The best of M components is above zero even when the labels mean nothing. This function
    permutes the labels within strata, recomputes the best score of every label, and compares.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    units : array-like, shape (n_samples,), or None, default=None
        The independent unit of each sample, such as the physical well or the donor. The samples
        of a unit keep one label in every permutation: permuted one by one, samples that
        resemble each other for another reason give p-values that are far too small. Each unit
        carries one label. None makes every sample a unit.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are permuted within the same stratum only, for example the physical plate, so
        that differences between plates stay in the null. Each unit lies in one stratum. None
        permutes all units. A stratum in which all units have one label keeps it.
    n_permutations : int, default=100
        Number of permutations.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score. Samples of the others are permuted with the rest and count as "other"
        samples; drop their rows beforehand if they should not.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations.

    Returns
    -------
    Bunch
        labels : ndarray, shape (n_labels,)
            The labels scored.
        observed : ndarray, shape (n_labels,)
            Best score over the components with the true labels.
        expected_maximum : ndarray, shape (n_labels,)
            Mean over permutations of the best score over the components.
        maxima : ndarray, shape (n_permutations, n_labels)
            Best score of each label in each permutation.
        p_value : ndarray, shape (n_labels,)
            (1 + number of permutations that reach the observed best) / (1 + n_permutations),
            and never below `smallest_p_value`. Corrected for the choice among components, not
            for the number of labels.
        smallest_p_value : ndarray, shape (n_labels,)
            Smallest p-value attainable: 1 / (1 + n_permutations), or 1 / (number of distinct
            ways to deal out the label within strata) where that is larger. A lower bound for
            ``kind="maximum"`` and ``reference="macro"``: assignments that only exchange what
            the other labels carry can give the same score.
        n_units : ndarray of int, shape (n_labels,)
            Units that carry the label.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, if a unit carries two labels or lies in two strata, or if
        no stratum has two labels.

    See Also
    --------
    selectivity_test : The same for every pair of label and component.

    Notes
    -----
    The null holds that units within a stratum are exchangeable. A layout that puts a label
    in the same wells of every plate makes position and label one thing: then a small p-value
    does not tell them apart, however fine the strata.

    The pattern of active codes is built once; each permutation costs one sparse product and a
    few arrays of shape (n_labels, n_components), which are freed before the next.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import selectivity_null
    >>> y = np.repeat(["a", "b"], 20)
    >>> codes = np.column_stack([y == "a", np.arange(40) % 3 == 0]).astype(float)
    >>> null = selectivity_null(codes, y, n_permutations=99, random_state=0)
    >>> null.observed.round(2), null.p_value.round(2)
    (array([1., 0.]), array([0.01, 0.79]))
    """
    check_kind(kind, reference)
    check_integer("n_permutations", n_permutations, 1)
    pattern = active_pattern(codes, active)
    classes, index = encode_labels(y, pattern.shape[0])
    check_two_labels(classes)
    rows = locate_labels(labels, classes)
    units = count_units(pattern, classes, index, units, strata)
    rng = check_random_state(random_state)

    def best(label):
        scores = scores_from_counts(*units.label_counts(label), kind=kind, reference=reference)
        return scores.max(axis=1)[rows]

    observed = best(units.label)
    maxima = np.empty((n_permutations, rows.shape[0]))
    for permutation in range(n_permutations):
        maxima[permutation] = best(units.permuted(rng))
    reached = (maxima >= observed - TIE).sum(axis=0)
    distinct = distinct_permutations(units, kind, reference)[rows]
    smallest = np.maximum(1 / (1 + n_permutations), 1 / distinct)
    return Bunch(
        labels=classes[rows],
        observed=observed,
        expected_maximum=maxima.mean(axis=0),
        maxima=maxima,
        p_value=np.maximum((1 + reached) / (1 + n_permutations), smallest),
        smallest_p_value=smallest,
        n_units=np.bincount(units.label)[rows],
    )
