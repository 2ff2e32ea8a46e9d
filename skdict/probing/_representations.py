"""Class-balanced linear probes of raw embeddings, codes, reconstructions and baselines."""

from __future__ import annotations

from skdict._tables import columns_of
from skdict._units import Resampling
from skdict.probing._folds import probe_folds
from skdict.probing._logistic import ProbeSettings, warn_not_converged
from skdict.probing._pipelines import (
    check_baselines,
    check_representations,
    drop_passthrough,
    fitted_in_fold,
)
from skdict.probing._resampling import check_units, resample_predictions
from skdict.probing._rows import check_rows, number_of_rows
from skdict.probing._splits import outer_splits


def probe_representations(
    pipeline,
    X,
    y,
    *,
    groups,
    cv,
    control=None,
    representations=("raw", "codes", "reconstruction"),
    baselines=None,
    Cs=(0.001, 0.03, 1.0),
    inner_cv=3,
    max_iter=1000,
    tol=1e-4,
    units=None,
    strata=None,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
    verbose=0,
    return_recall=False,
    return_predictions=False,
    as_frame=False,
):
    """Compare how well a label can be read linearly from several representations.

    The probe is the paper's: logistic regression on class-balanced cross-entropy, reported as
    balanced accuracy on held-out groups. For each fold of `cv`, a clone of `pipeline` is fitted
    on the training rows alone (the whitener on the training controls alone), every
    representation is computed, scaled on the training rows, and probed.

    Parameters
    ----------
    pipeline : Pipeline or transformer
        Unfitted; the last step is the dictionary, the steps before it prepare the embeddings.
        A last step "passthrough" or None counts as not there. It is fitted without `y`. None is
        allowed when only "raw" is probed.
    X : array-like or DataFrame, shape (n_samples, n_features)
        Embeddings, control rows included.
    y : array-like, shape (n_samples,)
        Label to predict. The labels of control rows are not read.
    groups : array-like, shape (n_samples,), or None
        What is held out as a whole: plate, batch, compound. None only for data without such
        structure.
    cv : int or cross-validation splitter
        Outer folds. An int is the number of folds of
        :class:`~sklearn.model_selection.StratifiedGroupKFold` (``StratifiedKFold`` without
        groups). A splitter, such as ``GroupKFold`` or ``LeaveOneGroupOut``, is given the rows
        that are not controls, with their `y` and `groups`.
    control : array-like of bool, shape (n_samples,), or None, default=None
        Control rows. They are never probed. They are in the training part of a fold unless
        their group is held out (is in the test part and not in the training part), and the
        mask is given to each step that requests ``control`` in ``fit``.
    representations : sequence of str, default=("raw", "codes", "reconstruction")
        Any of "raw" (X itself), "preprocessed" (input of the last step), "codes" (its output)
        and "reconstruction" (its ``inverse_transform`` of the codes).
    baselines : dict of str to Pipeline or transformer, or None, default=None
        Rivals of the pipeline by name, such as a random dictionary or PCA. Each is fitted in
        the fold as `pipeline` is, controls included, and its ``transform`` output is probed
        under its name.
    Cs : float or sequence of float, default=(0.001, 0.03, 1.0)
        Inverse regularisation strengths to choose from; with a single one nothing is chosen
        and no inner folds are fitted.
    inner_cv : int or cross-validation splitter, default=3
        Inner folds, grouped by `groups` as the outer ones, among the training rows. An int is
        clipped to the number of training groups.
    max_iter : int, default=1000
        Iterations allowed for a probe.
    tol : float, default=1e-4
        Stopping tolerance of a probe (largest entry of the gradient).
    units : array-like, shape (n_samples,), or None, default=None
        Independent unit of each row: physical well, plate, donor. With it the call returns the
        table `summary` as well, last. None gives no intervals; pass ``np.arange(n_samples)``
        if every row is a unit. See :func:`probe_interval`.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these. Needs `units`.
    n_resamples : int, default=1000
        Number of resamples.
    confidence_level : float, default=0.95
        Share of the resamples within an interval.
    random_state : int, RandomState instance or None, default=None
        Shuffles the inner folds (None gives fixed ones) and draws the units. Steps of the
        pipeline have their own ``random_state``.
    verbose : int, default=0
        Print a line per fold and representation.
    return_recall : bool, default=False
        Return a table with the recall of every label as well.
    return_predictions : bool, default=False
        Return a table with the prediction for every test row as well: what
        :func:`probe_interval` and :func:`probe_difference_interval` need.
    as_frame : bool, default=False
        Return pandas DataFrames instead of dicts of columns.

    Returns
    -------
    table : dict of ndarray, or DataFrame
        One row per fold and representation:

        fold, representation
            Which one.
        C
            The regularisation used.
        balanced_accuracy
            Mean over the labels of the test rows of their recall. A label without training
            rows cannot be predicted: its recall is 0, and it does count.
        chance
            The expected balanced accuracy of a uniform guess among the training labels.
        n_train, n_test, n_control
            Rows the probe was fitted on, rows it was tested on, and control rows beside the
            training rows.
        n_classes, n_test_classes, n_unseen_classes
            Labels in the training rows, in the test rows, and in the test rows only.
        n_features, n_active
            Width of the representation, and mean number of non-zeros of a test row.
        n_iter, converged
            Iterations of the final probe, and whether it reached `tol`.
    recall : dict of ndarray, or DataFrame
        Only with ``return_recall=True``. One row per fold, representation and test label:
        fold, representation, label, recall, n_test, seen (in the training rows).
    predictions : dict of ndarray, or DataFrame
        Only with ``return_predictions=True``. One row per fold, representation and test row:
        fold, representation, row (position in `X`), y_true, y_pred.
    summary : dict of ndarray, or DataFrame
        Only with `units`. One row per representation, baselines included, from the predictions
        of all folds together:

        representation
            Which one.
        balanced_accuracy, low, high
            Score and its interval by resampled units, those of :func:`probe_interval`.
        difference, difference_low, difference_high
            Score minus that of "raw" and its paired interval, those of
            :func:`probe_difference_interval`; NaN where "raw" is not probed.
        n_units
            Units drawn from: those of the test rows. Rows that repeated cross-validation
            predicts several times do not make more of them.

    Raises
    ------
    TypeError
        If a baseline is no transformer, or `cv` no splitter.
    ValueError
        If lengths differ, a parameter is outside its range, a fold has fewer than two training
        labels, no fold has a tested label in training, the last step has no
        ``inverse_transform`` and "reconstruction" is asked for, or `units` and `strata` do not
        fit each other.

    Warns
    -----
    ConvergenceWarning
        Once, if final probes stopped at `max_iter`; see the column ``converged``.
    UserWarning
        If in a fold no label has two training groups, so that the inner folds say nothing
        about C; the middle one of `Cs` is then used. With `units` also as
        :func:`probe_interval`.

    See Also
    --------
    probe_interval : Balanced accuracy of the predictions with an interval by resampled units.
    probe_gap : What codes and reconstructions lose against the raw rows, by sparsity.
    sparse_probe : Probes that may use few features only.

    Notes
    -----
    *What is held out.* A score says how well the probe generalises to new `groups` and no more.
    With ``groups=plate`` and a layout that repeats a compound in the same wells of each plate, it
    may read the position. To predict a mechanism for new compounds, use ``groups=compound``: a
    mechanism with a single compound is then never predictable (``n_unseen_classes``), and
    with two compounds per mechanism ``StratifiedGroupKFold`` keeps the two in different folds.
    Use five folds or more there: with two, every mechanism keeps one compound in training
    and the inner folds have nothing to choose C by.

    When the label *is* the batch, batches cannot be held out: pass what lies within them, such as
    ``groups=well``. The error of a split that leaves nothing to learn says so.

    *Scaling.* ``MaxAbsScaler`` for codes and for anything sparse (zeros stay zeros),
    ``StandardScaler`` for the dense representations.

    *Nesting.* The representation of a fold is fitted once, on its training rows and without
    labels; the inner folds that choose C share it. The scaler and the probe are refitted in
    each. No test row and no label enters the representation.

    *Spread.* The scores of folds or seeds share training rows; their spread is not a confidence
    interval; those of `summary` resample units instead. Its scores pool the test rows of all
    folds, so they differ from the mean over folds in `table`.

    *Memory.* Representations are made and probed one after the other. CSR codes and float32 are
    kept as they are, so a probe of sparse codes needs about twice the memory of the codes.

    *Routing.* The pipeline is fitted with metadata routing switched on locally, so that
    ``control`` reaches the steps that request it whatever the global setting.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025,
       section 4.2 and Fig. 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from skdict.probing import probe_representations
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile(["a", "b", "c"], 30)
    >>> X = rng.normal(size=(90, 8))
    >>> X[:, 0] += 4 * (y == "a")
    >>> table = probe_representations(
    ...     PCA(4, random_state=0), X, y, groups=np.repeat(np.arange(6), 15), cv=3, Cs=1.0
    ... )
    >>> table["representation"][:3].tolist()
    ['raw', 'codes', 'reconstruction']
    >>> bool((table["balanced_accuracy"] > table["chance"]).all())
    True

    Rivals beside it, in one call:

    >>> table = probe_representations(
    ...     PCA(4, random_state=0),
    ...     X,
    ...     y,
    ...     groups=np.repeat(np.arange(6), 15),
    ...     cv=3,
    ...     Cs=1.0,
    ...     representations=("raw", "codes"),
    ...     baselines={"two components": PCA(2, random_state=0)},
    ... )
    >>> table["representation"][:3].tolist()
    ['raw', 'codes', 'two components']

    Intervals by resampled units, here the rows themselves:

    >>> table, summary = probe_representations(
    ...     PCA(4, random_state=0),
    ...     X,
    ...     y,
    ...     groups=np.repeat(np.arange(6), 15),
    ...     cv=3,
    ...     Cs=1.0,
    ...     units=np.arange(90),
    ...     random_state=0,
    ... )
    >>> bool((summary["low"] < summary["high"]).all()), summary["difference"][0]
    (True, np.float64(0.0))
    """
    pipeline = drop_passthrough(pipeline)
    baselines = check_baselines(baselines)
    representations = check_representations(representations, pipeline, may_be_empty=bool(baselines))
    settings = ProbeSettings.checked(
        Cs=Cs,
        inner_cv=inner_cv,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        verbose=verbose,
    )
    resampling = Resampling.checked(n_resamples, confidence_level, random_state)
    n_samples = number_of_rows(X)
    data = check_rows(n_samples, y, groups, control)
    if units is not None:
        check_units(units, strata, n_samples, data.rows)
    elif strata is not None:
        raise ValueError(
            "strata must come with units, got units=None; if every row is a unit, pass "
            "units=np.arange(n_samples)"
        )
    source = fitted_in_fold(pipeline, X, data, representations, baselines)
    run = probe_folds(source, data, outer_splits(cv, data), settings)
    names = [*representations, *baselines]
    run.in_order(names)
    warn_not_converged(run.rows, max_iter)
    tables = [columns_of(run.rows, as_frame)]
    if return_recall:
        tables.append(run.recall_table(as_frame))
    if return_predictions:
        tables.append(run.prediction_table(as_frame))
    if units is not None:
        test = run.pooled(names[0])[0]
        predictions = [run.pooled(name)[1] for name in names]
        found, n_units = resample_predictions(
            data.y[test], predictions, data.rows[test], units, strata, n_samples, resampling
        )
        tables.append(columns_of(_summary(names, found, resampling, n_units), as_frame))
    return tables[0] if len(tables) == 1 else tuple(tables)


def _summary(names, found, resampling, n_units) -> list[dict]:
    """Rows of the summary: intervals of each score and of its difference from "raw"."""
    scores, accuracies = found.accuracy(), found.accuracies()
    reference = names.index("raw") if "raw" in names else None
    rows = []
    for i, name in enumerate(names):
        low, high = resampling.interval(accuracies[:, i])
        difference = difference_low = difference_high = float("nan")
        if reference is not None:
            difference = scores[i] - scores[reference]
            difference_low, difference_high = resampling.interval(
                accuracies[:, i] - accuracies[:, reference]
            )
        rows.append(
            {
                "representation": name,
                "balanced_accuracy": float(scores[i]),
                "low": float(low),
                "high": float(high),
                "difference": float(difference),
                "difference_low": float(difference_low),
                "difference_high": float(difference_high),
                "n_units": n_units,
            }
        )
    return rows
