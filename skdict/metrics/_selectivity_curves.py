"""Selectivity in full: sorted curves per label and per component, and counts at all thresholds."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict.metrics._selectivity import best_features, best_labels, check_thresholds


def selectivity_curves(
    codes,
    y,
    *,
    thresholds=None,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    as_frame: bool = False,
) -> Bunch:
    """Sorted best scores per label and per component, and counts above every threshold.

    The paper shows the best score of each label in descending order (Fig. 8), and counts the
    components above 0.5 and 0.2 for at least one label (Table 2). These are the whole curves.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    thresholds : array-like of float or None, default=None
        Thresholds of the counts; None takes 0, 0.01, ..., 1.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; samples of the others still count as "other" samples.
    as_frame : bool, default=False
        Make the three tables pandas DataFrames instead of Bunches.

    Returns
    -------
    Bunch
        by_label : Bunch or DataFrame
            The columns of :func:`best_features`, sorted by descending ``score``.
        by_feature : Bunch or DataFrame
            The columns of :func:`best_labels`, sorted by descending ``score``.
        counts : Bunch or DataFrame
            ``threshold``; ``n_features``, components whose score exceeds it for at least one
            label (Table 2); ``n_labels``, labels for which at least one component exceeds it.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, or if a threshold is not finite.

    See Also
    --------
    count_selective : The counts at a few thresholds.
    selectivity_null : What the best components reach by chance.

    Notes
    -----
    Both best scores are chosen and measured on the same samples. A curve of as many components
    on permuted labels shows how much of it is chance.

    Examples
    --------
    >>> from skdict.metrics import selectivity_curves
    >>> codes = [[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    >>> curves = selectivity_curves(codes, ["a", "a", "b", "b"], thresholds=[0.2, 0.5])
    >>> curves.by_label.labels, curves.by_label.score
    (array(['a', 'b'], dtype='<U1'), array([1. , 0.5]))
    >>> curves.by_feature.feature, curves.by_feature.score
    (array([0, 2, 1]), array([1. , 0.5, 0. ]))
    >>> curves.counts.n_features, curves.counts.n_labels
    (array([2, 1]), array([2, 1]))
    """
    thresholds = check_thresholds(np.arange(101) / 100 if thresholds is None else thresholds)
    options = {"kind": kind, "reference": reference, "active": active, "labels": labels}
    by_label = _descending(best_features(codes, y, **options))
    by_feature = _descending(best_labels(codes, y, **options))
    counts = {
        "threshold": thresholds,
        "n_features": _count_above(by_feature["score"], thresholds),
        "n_labels": _count_above(by_label["score"], thresholds),
    }
    return Bunch(
        by_label=table(by_label, as_frame),
        by_feature=table(by_feature, as_frame),
        counts=table(counts, as_frame),
    )


def _descending(columns: Bunch) -> dict:
    """Columns of a table, sorted by descending score; the order of ties is kept."""
    order = np.argsort(-columns["score"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def _count_above(descending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of scores above each threshold."""
    ascending = descending[::-1]
    return ascending.shape[0] - np.searchsorted(ascending, thresholds, side="right")
