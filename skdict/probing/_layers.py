"""Which layer to embed with, chosen on some groups and scored on the others."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import Bunch

from skdict._tables import columns_of
from skdict._units import Resampling
from skdict.probing._folds import Features, ProbeRun, probe_folds
from skdict.probing._logistic import ProbeSettings, scaler_of, warn_not_converged
from skdict.probing._resampling import check_units, resample_predictions
from skdict.probing._rows import ProbedRows, check_dense, check_rows
from skdict.probing._splits import outer_splits


def probe_layers(
    layers,
    y,
    *,
    groups,
    cv,
    units,
    strata=None,
    selection=None,
    reuse_labels=False,
    Cs=(0.001, 0.03, 1.0),
    inner_cv=3,
    max_iter=1000,
    tol=1e-4,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
    verbose=0,
    as_frame=False,
) -> Bunch:
    """Choose the layer whose embeddings tell most of a label, and score it on other groups.

    The paper takes the layer with the best probe of the functional-group task and then reports
    that task from it, on the same labels. Here the groups are cut in two. On the *selection* part
    every layer is probed in grouped cross-validation, and the best one is taken. Then a probe
    fitted on the whole selection part predicts the *evaluation* part, which had no say.

    Parameters
    ----------
    layers : dict of name to array-like, shape (n_samples, n_features of the layer)
        Embeddings of the same rows from at least two layers. Controls left out.
    y : array-like, shape (n_samples,)
        Label to predict.
    groups : array-like, shape (n_samples,), or None
        What is held out as a whole, in the folds and by the two parts.
    cv : int or cross-validation splitter
        Folds within the selection part, see :func:`probe_representations`.
    units : array-like, shape (n_samples,), or None
        Independent unit of each row, see :func:`probe_interval`.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these.
    selection : array-like of bool, shape (n_samples,), or None, default=None
        Rows that choose; the others evaluate. None cuts the groups into halves with like shares
        of the labels.
    reuse_labels : bool, default=False
        Choose and score on all rows, as the paper does. The score of the best layer is then
        optimistic; a warning and ``labels_reused`` say so.
    Cs : float or sequence of float, default=(0.001, 0.03, 1.0)
        Inverse regularisation strengths to choose from.
    inner_cv : int or cross-validation splitter, default=3
        Inner folds that choose C.
    max_iter : int, default=1000
        Iterations allowed for a probe.
    tol : float, default=1e-4
        Stopping tolerance of a probe.
    n_resamples : int, default=1000
        Number of resamples of the units.
    confidence_level : float, default=0.95
        Share of the resamples within the interval.
    random_state : int, RandomState instance or None, default=None
        Cuts the groups, shuffles the inner folds, draws the units.
    verbose : int, default=0
        Print a line per fold and layer.
    as_frame : bool, default=False
        Return the table as a pandas DataFrame instead of a dict of columns.

    Returns
    -------
    Bunch
        best_layer : object
            Name of the layer with the largest selection score; the first one on ties.
        selection_score : float
            Its balanced accuracy on the selection part: optimistic, since it was chosen by it.
        balanced_accuracy, low, high : float
            Its balanced accuracy on the evaluation part and the interval by resampled units.
        chance : float
            Expected balanced accuracy of a uniform guess in the evaluation part.
        labels_reused : bool
            Whether choice and score share rows.
        selection, evaluation : ndarray of bool, shape (n_samples,)
            The two parts. Further claims about these labels from the chosen layer are free of
            the choice only on the rows of ``evaluation``.
        n_units : int
            Units behind the interval.
        table : dict of ndarray, or DataFrame
            One row per layer: layer, n_features, selection_balanced_accuracy (pooled folds),
            balanced_accuracy, low, high (evaluation part), chosen, labels_reused.

    Raises
    ------
    TypeError
        If `layers` is no dict.
    ValueError
        If lengths differ, there are fewer than two layers, or `selection` shares groups with
        the other rows.

    Warns
    -----
    ConvergenceWarning
        Once, if final probes stopped at `max_iter`.
    UserWarning
        With ``reuse_labels=True``, and as :func:`probe_interval`.

    Notes
    -----
    With two groups per label there is one in each part, and no fold of the selection part can
    hold one out: choose by a coarser label or give `selection` by hand.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.probing import probe_layers
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile([0, 1], 120)
    >>> layers = {
    ...     name: rng.normal(size=(240, 5)) + shift * y[:, None]
    ...     for name, shift in [("layer 1", 0.1), ("layer 2", 1.0)]
    ... }
    >>> found = probe_layers(
    ...     layers, y, groups=np.arange(240) // 10, cv=3, units=None, Cs=1.0, random_state=0
    ... )
    >>> found.best_layer, found.labels_reused, round(found.balanced_accuracy, 1)
    ('layer 2', False, 0.9)
    """
    resampling = Resampling.checked(n_resamples, confidence_level, random_state)
    settings = ProbeSettings.checked(
        Cs=Cs,
        inner_cv=inner_cv,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        verbose=verbose,
    )
    layers, n_samples = _check_layers(layers)
    data = check_rows(n_samples, y, groups)
    check_units(units, strata, n_samples, data.rows)
    selected = _check_selection(selection, reuse_labels, data, random_state)
    chooser = _choose(layers, data, selected, cv, settings)
    final = chooser if reuse_labels else _evaluate(layers, data, selected, settings)
    warn_not_converged(chooser.rows + ([] if reuse_labels else final.rows), max_iter)

    test = final.pooled(next(iter(layers)))[0]
    predictions = [final.pooled(name)[1] for name in layers]
    found, n_units = resample_predictions(
        data.y[test], predictions, test, units, strata, n_samples, resampling
    )
    rows = _layer_rows(layers, chooser, found, resampling, reuse_labels)
    best = next(row for row in rows if row["chosen"])
    if reuse_labels:
        warnings.warn(
            f"layer {best['layer']!r} was chosen and scored with the same labels "
            f"(reuse_labels=True): {best['balanced_accuracy']:.3f} is optimistic, as is every "
            "later score of these labels from this layer",
            UserWarning,
            stacklevel=2,
        )
    return Bunch(
        best_layer=best["layer"],
        selection_score=best["selection_balanced_accuracy"],
        balanced_accuracy=best["balanced_accuracy"],
        low=best["low"],
        high=best["high"],
        chance=float(np.mean([row["chance"] for row in final.rows])),
        labels_reused=bool(reuse_labels),
        selection=selected,
        evaluation=np.ones_like(selected) if reuse_labels else ~selected,
        n_units=n_units,
        table=columns_of(rows, as_frame),
    )


def _check_layers(layers) -> tuple[dict, int]:
    """Validate that several layers embed the same rows."""
    if not hasattr(layers, "items"):
        raise TypeError(f"layers must be a dict of name: embeddings, got {type(layers).__name__}")
    if len(layers) < 2:
        raise ValueError(f"layers must hold at least two layers, got {list(layers)!r}")
    layers = {name: check_dense(X, f"layers[{name!r}]") for name, X in layers.items()}
    lengths = {name: X.shape[0] for name, X in layers.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"layers must have the same rows, got numbers of rows {lengths!r}")
    return layers, next(iter(lengths.values()))


def _check_selection(selection, reuse_labels, data: ProbedRows, random_state) -> np.ndarray:
    """Mask of the rows that choose; it must not share groups with the others."""
    n_samples = data.y.shape[0]
    if reuse_labels:
        if selection is not None:
            raise ValueError("selection must be None with reuse_labels=True, which takes all rows")
        return np.ones(n_samples, dtype=bool)
    if selection is None:
        halves = StratifiedKFold if data.groups is None else StratifiedGroupKFold
        cutter = halves(2, shuffle=True, random_state=random_state)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            chosen, _ = next(cutter.split(np.zeros((n_samples, 1)), data.y, data.groups))
        selection = np.zeros(n_samples, dtype=bool)
        selection[chosen] = True
        return selection
    selection = np.asarray(selection)
    if selection.shape != (n_samples,) or selection.dtype != np.bool_:
        raise ValueError(
            f"selection must be a boolean mask with one entry per row, {n_samples}, got shape "
            f"{selection.shape} and dtype {selection.dtype}"
        )
    if selection.all() or not selection.any():
        raise ValueError("selection must hold some rows and leave some for the evaluation")
    if data.groups is not None:
        shared = np.intersect1d(data.groups[selection], data.groups[~selection])
        if shared.size:
            raise ValueError(
                "selection must not share groups with the evaluation rows, but both hold "
                f"{shared[:3].tolist()!r}; cut by whole groups"
            )
    return selection


def _choose(layers, data: ProbedRows, selected, cv, settings) -> ProbeRun:
    """Probe every layer in cross-validation within the selected rows."""
    rows = np.flatnonzero(selected)
    groups = None if data.groups is None else data.groups[rows]
    part = check_rows(rows.shape[0], data.y[rows], groups)
    splits = [(rows[train], rows[test]) for train, test in outer_splits(cv, part)]
    return probe_folds(_source(layers), data, splits, settings)


def _evaluate(layers, data: ProbedRows, selected, settings) -> ProbeRun:
    """Fit on the selected rows, predict the others."""
    splits = [(np.flatnonzero(selected), np.flatnonzero(~selected))]
    return probe_folds(_source(layers), data, splits, settings)


def _source(layers):
    """Source of the embeddings of each layer."""

    def source(train, test, controls):
        for name, X in layers.items():
            yield Features(name, scaler_of(X, keep_zeros=False), X[train], X[test])

    return source


def _layer_rows(layers, chooser, found, resampling, reuse_labels) -> list[dict]:
    """Rows of the table; the first layer with the largest selection score is chosen."""
    truth = chooser.data.y
    chosen_by = []
    for name in layers:
        test, predicted = chooser.pooled(name)
        chosen_by.append(_balanced_accuracy(truth[test], predicted))
    low, high = resampling.interval(found.accuracies())
    return [
        {
            "layer": name,
            "n_features": X.shape[1],
            "selection_balanced_accuracy": chosen_by[i],
            "balanced_accuracy": float(found.accuracy()[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "chosen": i == int(np.argmax(chosen_by)),
            "labels_reused": bool(reuse_labels),
        }
        for i, (name, X) in enumerate(layers.items())
    ]


def _balanced_accuracy(y_true, y_pred) -> float:
    """Mean recall over the labels of `y_true`."""
    totals = np.bincount(y_true)
    hits = np.bincount(y_true[y_true == y_pred], minlength=totals.shape[0])
    return float((hits[totals > 0] / totals[totals > 0]).mean())
