"""Selectivity: how exclusively a component is active for one label.

Donhauser et al., ICML 2025, section 4.3, Table 2 and Fig. 8.
"""

from __future__ import annotations

import numpy as np

from skdict._tables import table
from skdict._validation import check_choice
from skdict.metrics._activity import active_pattern
from skdict.metrics._labels import check_two_labels, encode_labels, label_counts, locate_labels

KINDS = ("average", "maximum")
REFERENCES = ("pooled", "macro")


def check_kind(kind, reference) -> None:
    """Raise ValueError for an unknown kind or reference."""
    check_choice("kind", kind, KINDS)
    check_choice("reference", reference, REFERENCES)


def scores_from_counts(counts, n_per_label, *, kind: str, reference: str) -> np.ndarray:
    """Selectivity of every label and component from counts of active samples.

    Parameters
    ----------
    counts : ndarray of int, shape (n_labels, n_components)
        Active samples per label and component.
    n_per_label : ndarray of int, shape (n_labels,)
        Samples per label.
    kind : {"average", "maximum"}
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}
        See :func:`selectivity_scores`.

    Returns
    -------
    ndarray of float64, shape (n_labels, n_components)
        The scores.
    """
    n_labels = counts.shape[0]
    share = counts / n_per_label[:, None]
    if kind == "average":
        if reference == "pooled":
            totals = counts.sum(axis=0, dtype=np.float64)
            others = np.subtract(totals, counts, dtype=np.float64)
            others /= (n_per_label.sum() - n_per_label)[:, None]
        else:
            others = (share.sum(axis=0) - share) / (n_labels - 1)
        return np.subtract(share, others, out=share)
    # The largest share of another label is the largest of all, or for the label that has the
    # largest the second largest: two passes instead of one per label.
    columns = np.arange(share.shape[1])
    top = share.argmax(axis=0)
    first = share[top, columns]
    share[top, columns] = -np.inf
    second = share.max(axis=0)
    share -= first
    share[top, columns] = first - second
    return share


def _read(codes, y, active, suffix=""):
    """Pattern of the active codes, distinct labels and label index of each sample.

    Errors name the parameters ``codes`` and ``y`` with `suffix` behind them.
    """
    pattern = active_pattern(codes, active, f"codes{suffix}")
    classes, index = encode_labels(y, pattern.shape[0], f"y{suffix}")
    check_two_labels(classes, f"y{suffix}")
    return pattern, classes, index


def selectivity_scores(
    codes, y, *, kind="average", reference="pooled", active="nonzero", labels=None
) -> np.ndarray:
    """Selectivity of every component for every label.

    With p_{m,i} the share of the samples of label i in which component m is active:

    - ``kind="average"``: p_{m,i} minus the share of the samples with any other label in
      which m is active. ``reference="pooled"`` pools all other samples, the literal reading of
      the paper; ``"macro"`` takes the mean of p_{m,j} over the other labels j, so that
      frequent labels do not dominate.
    - ``kind="maximum"``: p_{m,i} minus the largest p_{m,j} of another label. Never larger than
      the average kind.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary. Sparse codes are never made dense.
        Dense representations (PCA, neurons) are active everywhere and score 0 by construction;
        pass them through :class:`skdict.preprocessing.LargestValuesSelector` first.
    y : array-like, shape (n_samples,)
        One label per sample, at least two distinct ones.
    kind : {"average", "maximum"}, default="average"
        Which selectivity, see above.
    reference : {"pooled", "macro"}, default="pooled"
        What ``kind="average"`` compares with; has no effect on ``"maximum"``.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold; an array of shape (n_components,) holds one threshold
        per component, see :func:`activation_thresholds`. A stored zero is never active.
    labels : array-like, shape (n_scored,), or None, default=None
        Labels to score, in this order; None scores all. Samples of the labels left out, such
        as controls, still count as "other" samples; drop their rows from `codes` and `y`
        beforehand if they should not.

    Returns
    -------
    ndarray of float64, shape (n_labels, n_components)
        Scores in [-1, 1], rows in the order of ``np.unique(y)``, or of `labels` if given.
        A component that is never active has 0 for every label.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is missing, NaN or infinite, `y` holds fewer than two
        labels, or `labels` names one that `y` does not hold.

    See Also
    --------
    best_features : The best component of each label.
    held_out_selectivity : The same without the optimism of choosing the best.
    selectivity_null : What the best component reaches by chance.
    selectivity_test : P-values of all pairs of label and component.
    selectivity_interval : How far the scores are known.

    Notes
    -----
    Cost: one pass over the active codes. Memory: a copy of their pattern and a few dense arrays
    of shape (n_labels, n_components).

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025,
       section 4.3, Table 2 and Fig. 8.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skdict.metrics import selectivity_scores
    >>> codes = csr_array([[1.0, 0.0], [-2.0, 0.0], [0.0, 0.5], [0.3, 0.0]])
    >>> y = ["a", "a", "b", "b"]
    >>> selectivity_scores(codes, y)
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    >>> selectivity_scores(codes, y, active=1.0, labels=["b"])
    array([[-0.5,  0. ]])
    """
    check_kind(kind, reference)
    pattern, classes, index = _read(codes, y, active)
    rows = locate_labels(labels, classes)
    counts = label_counts(pattern, index, classes.shape[0])
    scores = scores_from_counts(counts, np.bincount(index), kind=kind, reference=reference)
    return scores if labels is None else scores[rows]


def check_thresholds(thresholds) -> np.ndarray:
    """Return thresholds as a vector; raise unless all are finite."""
    thresholds = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if thresholds.ndim != 1 or not np.isfinite(thresholds).all():
        raise ValueError(f"thresholds must be finite numbers, got {thresholds.tolist()!r}")
    return thresholds


def count_selective(
    codes,
    y,
    thresholds=(0.5, 0.2),
    *,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
) -> np.ndarray:
    """Count the components whose selectivity exceeds a threshold for at least one label.

    The two columns of the paper's Table 2 are ``thresholds=(0.5, 0.2)``. The counts choose the
    best label of each component on the same samples; on few samples compare with
    :func:`held_out_selectivity` or :func:`selectivity_null`.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    thresholds : float or array-like of float, default=(0.5, 0.2)
        Scores that must be exceeded.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; samples of the others still count as "other" samples.

    Returns
    -------
    ndarray of int, shape (n_thresholds,)
        Number of components above each threshold.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, or if a threshold is not finite.

    Examples
    --------
    >>> from skdict.metrics import count_selective
    >>> codes = [[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    >>> count_selective(codes, ["a", "a", "b", "b"])
    array([1, 2])
    """
    thresholds = check_thresholds(thresholds)
    scores = selectivity_scores(
        codes, y, kind=kind, reference=reference, active=active, labels=labels
    )
    best = scores.max(axis=0)
    return np.array([int(np.count_nonzero(best > threshold)) for threshold in thresholds])


def best_features(
    codes,
    y,
    *,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    as_frame: bool = False,
):
    """Find the most selective component of each label.

    The scores sorted in descending order are the curves of the paper's Fig. 8.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; samples of the others still count as "other" samples.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        One entry per label in each column:

        labels : ndarray, shape (n_labels,)
            The labels.
        feature : ndarray of int, shape (n_labels,)
            The component with the largest score; the lower index on ties.
        score : ndarray of float, shape (n_labels,)
            Its score. The best of many components on the same samples, hence optimistic.
        active_share : ndarray of float, shape (n_labels,)
            Share of the label's samples in which the component is active.
        n_samples : ndarray of int, shape (n_labels,)
            Samples of the label.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`.

    Examples
    --------
    >>> from skdict.metrics import best_features
    >>> best = best_features([[1, 0], [1, 0], [0, 1], [0, 0]], ["a", "a", "b", "b"])
    >>> best.feature, best.score
    (array([0, 1]), array([1. , 0.5]))
    """
    check_kind(kind, reference)
    pattern, classes, index = _read(codes, y, active)
    rows = locate_labels(labels, classes)
    counts = label_counts(pattern, index, classes.shape[0])
    sizes = np.bincount(index)
    scores = scores_from_counts(counts, sizes, kind=kind, reference=reference)
    feature = scores.argmax(axis=1)[rows]
    return table(
        {
            "labels": classes[rows],
            "feature": feature,
            "score": scores[rows, feature],
            "active_share": counts[rows, feature] / sizes[rows],
            "n_samples": sizes[rows],
        },
        as_frame,
    )


def best_labels(
    codes,
    y,
    *,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    as_frame: bool = False,
):
    """Find the label that each component is most selective for.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; samples of the others still count as "other" samples.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        One entry per component in each column:

        feature : ndarray of int, shape (n_components,)
            Index of the component.
        label : ndarray, shape (n_components,)
            Its best label; the first one on ties and for dead components.
        score : ndarray of float, shape (n_components,)
            Its score for that label, 0 for a dead component.
        frequency : ndarray of float, shape (n_components,)
            Share of all samples in which the component is active; 0 means dead.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`.

    Examples
    --------
    >>> from skdict.metrics import best_labels
    >>> best = best_labels([[1, 0], [1, 0], [0, 1], [0, 0]], ["a", "a", "b", "b"])
    >>> best.label.tolist(), best.score.tolist()
    (['a', 'b'], [1.0, 0.5])
    """
    check_kind(kind, reference)
    pattern, classes, index = _read(codes, y, active)
    rows = locate_labels(labels, classes)
    counts = label_counts(pattern, index, classes.shape[0])
    scores = scores_from_counts(counts, np.bincount(index), kind=kind, reference=reference)[rows]
    top = scores.argmax(axis=0)
    return table(
        {
            "feature": np.arange(scores.shape[1]),
            "label": classes[rows][top],
            "score": scores[top, np.arange(scores.shape[1])],
            "frequency": counts.sum(axis=0, dtype=np.int64) / pattern.shape[0],
        },
        as_frame,
    )


def held_out_selectivity(
    codes_train,
    y_train,
    codes_test,
    y_test,
    *,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    as_frame: bool = False,
):
    """Choose each label's best component on one set of samples and score it on another.

    The best of thousands of components is optimistic on the samples it was chosen on; its
    score on held-out samples is not.

    Parameters
    ----------
    codes_train : array-like or sparse, shape (n_train, n_components)
        Codes of the samples that choose.
    y_train : array-like, shape (n_train,)
        Their labels.
    codes_test : array-like or sparse, shape (n_test, n_components)
        Codes of the held-out samples.
    y_test : array-like, shape (n_test,)
        Their labels.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; None takes all that occur in both sets.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        One entry per label in each column:

        labels : ndarray, shape (n_labels,)
            The labels.
        feature : ndarray of int, shape (n_labels,)
            The component with the largest training score.
        train_score : ndarray of float, shape (n_labels,)
            Its score on the training samples.
        test_score : ndarray of float, shape (n_labels,)
            Its score on the held-out samples.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, or if the two sets have different numbers of components
        or share no label.

    Examples
    --------
    >>> from skdict.metrics import held_out_selectivity
    >>> y = ["a", "a", "b", "b"]
    >>> held_out = held_out_selectivity(
    ...     [[1, 0], [1, 1], [0, 1], [0, 1]], y, [[1, 0], [0, 1], [0, 1], [0, 1]], y
    ... )
    >>> held_out.train_score, held_out.test_score
    (array([1. , 0.5]), array([0.5, 0.5]))
    """
    check_kind(kind, reference)
    read = [
        _read(codes_train, y_train, active, "_train"),
        _read(codes_test, y_test, active, "_test"),
    ]
    if read[0][0].shape[1] != read[1][0].shape[1]:
        raise ValueError(
            "codes_train and codes_test must have the same number of components, "
            f"got {read[0][0].shape[1]} and {read[1][0].shape[1]}"
        )
    if labels is None:
        labels = np.intersect1d(read[0][1], read[1][1])
        if labels.shape[0] == 0:
            raise ValueError("y_train and y_test have no label in common")
    found = []
    for (pattern, classes, index), name in zip(read, ("y_train", "y_test"), strict=True):
        rows = locate_labels(labels, classes, name)
        counts = label_counts(pattern, index, classes.shape[0])
        sizes = np.bincount(index)
        found.append(scores_from_counts(counts, sizes, kind=kind, reference=reference)[rows])
    train, test = found
    feature = train.argmax(axis=1)
    rows = np.arange(feature.shape[0])
    return table(
        {
            "labels": np.asarray(labels),
            "feature": feature,
            "train_score": train[rows, feature],
            "test_score": test[rows, feature],
        },
        as_frame,
    )
