"""Probes that may use one, two or five features of each label."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch
from sklearn.utils.sparsefuncs import mean_variance_axis

from skdict._tables import columns_of
from skdict._validation import check_integer, check_real
from skdict.probing._rows import ProbedRows, check_dense, check_rows
from skdict.probing._splits import outer_splits


def sparse_probe(
    codes,
    y,
    *,
    groups,
    cv,
    n_features=(1, 2, 5),
    C=1.0,
    standardize=False,
    labels=None,
    max_iter=100,
    verbose=0,
    return_features=False,
    return_predictions=False,
    as_frame=False,
):
    """Read each label from its one, two or five best features.

    A dictionary whose concepts are the labels needs one feature for each; a rotation of the same
    space needs all of them. For every label and fold the features are chosen on the training rows
    by the largest absolute difference between the mean of the label's rows and that of all
    others. A logistic regression with balanced classes and L2 penalty, label against rest, is
    fitted on them and scored by balanced accuracy on the test rows: the sparse probing of
    SAEBench.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, or any representation to compare with. Sparse codes are never made dense. Controls
        in them are rows like others, with a label of their own; drop them to leave them out.
    y : array-like, shape (n_samples,)
        One label per row, at least two distinct ones.
    groups : array-like, shape (n_samples,), or None
        What is held out as a whole, see :func:`probe_representations`.
    cv : int or cross-validation splitter
        Folds, see :func:`probe_representations`.
    n_features : int or sequence of int, default=(1, 2, 5)
        Numbers of features to allow.
    C : float, default=1.0
        Inverse regularisation strength. The features are divided by their largest absolute value
        in the training rows beforehand.
    standardize : bool, default=False
        Divide the difference of means by the standard deviation of the feature over the training
        rows before the best are chosen. SAEBench does not; take it for dense representations
        whose features have unequal scales.
    labels : array-like or None, default=None
        Labels to probe; rows of the others still count as "rest".
    max_iter : int, default=100
        Iterations allowed for a probe.
    verbose : int, default=0
        Print a line per fold.
    return_features : bool, default=False
        Return the chosen features as well.
    return_predictions : bool, default=False
        Return the predictions as well, for :func:`probe_interval`.
    as_frame : bool, default=False
        Return pandas DataFrames instead of dicts of columns.

    Returns
    -------
    table : dict of ndarray, or DataFrame
        One row per fold, label and number of features; labels without a test row, or with test
        rows only, have none in that fold:

        fold, label, n_features
            Which one.
        balanced_accuracy, recall, specificity
            Mean of the last two; share of the label's test rows, and of the others, that are
            predicted rightly. 0.5 is chance, also for a label that was not in the training rows.
        n_test, n_positive, seen
            Test rows, those of the label, and whether the training rows held it.
    features : dict of ndarray, or DataFrame
        Only with ``return_features=True``. One row per fold, label and rank: fold, label, rank
        (from 0), feature, mean_difference.
    predictions : Bunch
        Only with ``return_predictions=True``: row, fold (n_tested,), labels (n_labels,), n_features
        (n_settings,), y_true (n_tested,) and predicted, a bool array of shape
        (n_settings, n_tested, n_labels).

    Raises
    ------
    ValueError
        If lengths differ, a parameter is outside its range, `labels` names an unknown label, or
        the test part of each fold holds a single label.

    Notes
    -----
    The features are ranked once per label; the probe with k features takes the first k. Ties go
    to the lower index. A component that is 0 in all training rows is never better than another.

    The codes come from a dictionary that may have seen the test rows, without their labels. Fit
    it on the training rows alone where that matters, one call per fold.

    References
    ----------
    .. [1] A. Karvonen et al., "SAEBench: a comprehensive benchmark for sparse autoencoders in
       language model interpretability", ICML 2025, sparse probing.
    .. [2] W. Gurnee et al., "Finding neurons in a haystack: case studies with sparse probing",
       TMLR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from skdict.probing import sparse_probe
    >>> y = np.tile(["a", "b", "c"], 40)
    >>> codes = csr_array((y[:, None] == np.array(["a", "b", "c", "-"])).astype(float))
    >>> table, features = sparse_probe(
    ...     codes,
    ...     y,
    ...     groups=np.repeat(np.arange(8), 15),
    ...     cv=4,
    ...     n_features=1,
    ...     return_features=True,
    ... )
    >>> features["feature"][:3], table["balanced_accuracy"][:3]
    (array([0, 1, 2]), array([1., 1., 1.]))
    """
    codes = codes.tocsr() if sparse.issparse(codes) else check_dense(codes, "codes")
    if sparse.issparse(codes) and not np.isfinite(codes.data).all():
        raise ValueError("codes holds NaN or infinite values; impute or drop them")
    data = check_rows(codes.shape[0], y, groups)
    sizes = _check_n_features(n_features, codes.shape[1])
    scored = _check_labels(labels, data.classes)
    check_real("C", C, 0.0, np.inf, open_low=True)
    check_integer("max_iter", max_iter, 1)
    model = LogisticRegression(
        C=C, class_weight="balanced", solver="newton-cholesky", max_iter=max_iter
    )
    splits = outer_splits(cv, data)
    rows, chosen, predictions = [], [], []
    for fold, (train, test) in enumerate(splits):
        ranking, differences = _rank(codes[train], data.y[train], scored, max(sizes), standardize)
        predicted = _predict(model, codes, data, train, test, scored, sizes, ranking)
        rows.extend(_score(fold, data, train, test, scored, sizes, predicted))
        chosen.extend(_features(fold, data, scored, ranking, differences))
        predictions.append(predicted)
        here = [row["balanced_accuracy"] for row in rows if row["fold"] == fold]
        if verbose and here:
            print(
                f"[sparse_probe] fold {fold + 1} of {len(splits)}: mean balanced accuracy "
                f"{np.mean(here):.3f}",
                flush=True,
            )
    if not rows:
        raise ValueError(
            "groups must leave a test part with rows both of a label and of others, but no fold "
            "has one: hold out groups of several labels together"
        )
    tables = [columns_of(rows, as_frame)]
    if return_features:
        tables.append(columns_of(chosen, as_frame))
    if return_predictions:
        tables.append(_pooled(data, splits, scored, sizes, predictions))
    return tables[0] if len(tables) == 1 else tuple(tables)


def _check_n_features(n_features, n_components) -> list[int]:
    """Distinct numbers of features, ascending."""
    values = np.atleast_1d(np.asarray(n_features))
    if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "iu":
        raise ValueError(f"n_features must be integers, got {n_features!r}")
    if values.min() < 1 or values.max() > n_components:
        raise ValueError(
            f"n_features must lie between 1 and the {n_components} columns of codes, "
            f"got {n_features!r}"
        )
    return np.unique(values).tolist()


def _check_labels(labels, classes) -> np.ndarray:
    """Positions of the labels to probe among the distinct ones."""
    if labels is None:
        return np.arange(classes.shape[0])
    labels = np.atleast_1d(np.asarray(labels))
    unknown = ~np.isin(labels, classes)
    if unknown.any() or labels.size == 0 or np.unique(labels).size < labels.size:
        raise ValueError(
            f"labels must be distinct labels that y holds, got {labels.tolist()!r}; not in y: "
            f"{labels[unknown].tolist()!r}"
        )
    return np.searchsorted(classes, labels)


def _rank(X, y, scored, n_best, standardize) -> tuple[np.ndarray, np.ndarray]:
    """Best features of each label, and their differences of means; shapes (n_scored, n_best)."""
    n_labels = max(int(y.max()), int(scored.max())) + 1
    indicator = sparse.csr_array(
        (np.ones(y.shape[0]), (y, np.arange(y.shape[0]))), shape=(n_labels, y.shape[0])
    )
    sums = indicator @ X  # (n_labels, n_components), the only dense array besides the result
    sums = sums.toarray() if sparse.issparse(sums) else sums
    sizes = np.bincount(y, minlength=n_labels)
    difference = np.zeros((scored.shape[0], X.shape[1]))
    total = sums.sum(axis=0)
    for i, label in enumerate(scored):
        if 0 < sizes[label] < y.shape[0]:
            others = (total - sums[label]) / (y.shape[0] - sizes[label])
            difference[i] = sums[label] / sizes[label] - others
    criterion = np.abs(difference)
    if standardize:
        variance = mean_variance_axis(X, axis=0)[1] if sparse.issparse(X) else X.var(axis=0)
        criterion /= np.sqrt(np.where(variance > 0, variance, 1.0))
    ranking = np.argsort(-criterion, axis=1, kind="stable")[:, :n_best]
    return ranking, np.take_along_axis(difference, ranking, axis=1)


def _predict(model, codes, data: ProbedRows, train, test, scored, sizes, ranking) -> np.ndarray:
    """Whether each test row is taken for each label, shape (n_settings, n_test, n_scored)."""
    predicted = np.zeros((len(sizes), test.shape[0], scored.shape[0]), dtype=bool)
    used, place = np.unique(ranking, return_inverse=True)
    place = place.reshape(ranking.shape)
    # Columns of the chosen features only; CSC makes taking a few of them cheap.
    columns = codes[:, used]
    columns = columns.tocsc() if sparse.issparse(columns) else columns
    for j, label in enumerate(scored):
        positive = data.y == label
        if not positive[train].any() or positive[train].all():
            predicted[:, :, j] = positive[train].all()
            continue
        best = columns[:, place[j]]
        best = best.toarray() if sparse.issparse(best) else best
        largest = np.abs(best[train]).max(axis=0)
        best = best / np.where(largest > 0, largest, 1.0)
        for i, size in enumerate(sizes):
            model.fit(best[train, :size], positive[train])
            predicted[i, :, j] = model.predict(best[test, :size])
    return predicted


def _score(fold, data: ProbedRows, train, test, scored, sizes, predicted) -> list[dict]:
    """Rows of the table for one fold."""
    rows = []
    for j, label in enumerate(scored):
        positive = data.y[test] == label
        n_positive = int(positive.sum())
        if n_positive in (0, test.shape[0]):
            continue
        for i, size in enumerate(sizes):
            recall = predicted[i, positive, j].mean()
            specificity = 1 - predicted[i, ~positive, j].mean()
            rows.append(
                {
                    "fold": fold,
                    "label": data.classes[label],
                    "n_features": size,
                    "balanced_accuracy": float(recall + specificity) / 2,
                    "recall": float(recall),
                    "specificity": float(specificity),
                    "n_test": test.shape[0],
                    "n_positive": n_positive,
                    "seen": bool((data.y[train] == label).any()),
                }
            )
    return rows


def _features(fold, data: ProbedRows, scored, ranking, differences) -> list[dict]:
    """Rows of the table of chosen features for one fold."""
    return [
        {
            "fold": fold,
            "label": data.classes[label],
            "rank": rank,
            "feature": int(ranking[j, rank]),
            "mean_difference": float(differences[j, rank]),
        }
        for j, label in enumerate(scored)
        for rank in range(ranking.shape[1])
    ]


def _pooled(data: ProbedRows, splits, scored, sizes, predictions) -> Bunch:
    """Predictions of all folds."""
    test = np.concatenate([test for _, test in splits])
    return Bunch(
        row=test,
        fold=np.repeat(np.arange(len(splits)), [test.shape[0] for _, test in splits]),
        labels=data.classes[scored],
        n_features=np.array(sizes),
        y_true=data.classes[data.y[test]],
        predicted=np.concatenate(predictions, axis=1),
    )
