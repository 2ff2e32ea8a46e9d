"""What the best of many components reaches by chance: labels permuted within strata."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer
from skdict.metrics._activity import active_pattern
from skdict.metrics._labels import check_two_labels, encode_labels, label_counts, locate_labels
from skdict.metrics._selectivity import check_kind, scores_from_counts


def _check_strata(strata, index: np.ndarray) -> np.ndarray:
    """Stratum index per sample; raise when no permutation could change a label."""
    if strata is None:
        return np.zeros(index.shape[0], dtype=np.intp)
    _, stratum = encode_labels(strata, index.shape[0], name="strata")
    pairs = np.unique(np.stack([stratum, index]), axis=1).shape[1]
    if pairs == stratum.max() + 1:
        raise ValueError(
            "strata must hold at least one stratum with two labels, but each stratum has a "
            "single label, so that no permutation changes anything; use coarser strata"
        )
    return stratum


def selectivity_null(
    codes,
    y,
    *,
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
    strata : array-like, shape (n_samples,), or None, default=None
        Samples are permuted within the same stratum only, for example the physical plate, so
        that differences between plates stay in the null. None permutes all samples. A stratum
        in which all samples have one label keeps it.
    n_permutations : int, default=100
        Number of permutations.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"} or float, default="nonzero"
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
            (1 + number of permutations that reach the observed best) / (1 + n_permutations).
            Corrected for the choice among components, not for the number of labels.
        min_p_value : float
            1 / (1 + n_permutations), the smallest p-value that this many permutations can
            give. With few exchangeable samples within strata the attainable one is larger.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, or if no stratum has two labels.

    Notes
    -----
    The null holds that samples within a stratum are exchangeable. A layout that puts a label
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
    stratum = _check_strata(strata, index)
    sizes = np.bincount(index)
    rng = check_random_state(random_state)

    def best(label_index):
        counts = label_counts(pattern, label_index, classes.shape[0])
        scores = scores_from_counts(counts, sizes, kind=kind, reference=reference)
        return scores.max(axis=1)[rows]

    observed = best(index)
    maxima = np.empty((n_permutations, rows.shape[0]))
    by_stratum = np.argsort(stratum, kind="stable")
    permuted = np.empty_like(index)
    for permutation in range(n_permutations):
        shuffled = np.lexsort((rng.random_sample(index.shape[0]), stratum))
        permuted[by_stratum] = index[shuffled]
        maxima[permutation] = best(permuted)
    reached = (maxima >= observed).sum(axis=0)
    return Bunch(
        labels=classes[rows],
        observed=observed,
        expected_maximum=maxima.mean(axis=0),
        maxima=maxima,
        p_value=(1 + reached) / (1 + n_permutations),
        min_p_value=1 / (1 + n_permutations),
    )
