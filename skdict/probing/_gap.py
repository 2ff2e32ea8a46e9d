"""What codes and reconstructions lose against the raw rows, at each sparsity."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skdict._tables import columns_of
from skdict._units import Resampling
from skdict.probing._folds import probe_folds
from skdict.probing._logistic import ProbeSettings, warn_not_converged
from skdict.probing._pipelines import check_representations, drop_passthrough, fitted_in_fold
from skdict.probing._resampling import check_units, resample_predictions
from skdict.probing._rows import check_rows, number_of_rows
from skdict.probing._splits import outer_splits


def probe_gap(
    pipeline,
    X,
    y,
    *,
    n_nonzero_coefs,
    groups,
    cv,
    units,
    strata=None,
    control=None,
    representations=("codes", "reconstruction"),
    parameter="n_nonzero_coefs",
    Cs=(0.001, 0.03, 1.0),
    inner_cv=3,
    max_iter=1000,
    tol=1e-4,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
    verbose=0,
    return_folds=False,
    as_frame=False,
):
    """Balanced accuracy of the raw rows minus that of codes and reconstructions, by sparsity.

    The raw rows are probed once. For each number of non-zeros the pipeline is refitted in
    every fold, as :func:`probe_representations` does it, on the same folds. Differences are of the
    pooled predictions of all folds, with intervals by resampled units that are paired: raw and
    codes are compared on the same units.

    Parameters
    ----------
    pipeline : Pipeline or transformer
        Unfitted; the last step is the dictionary.
    X : array-like or DataFrame, shape (n_samples, n_features)
        Embeddings, control rows included.
    y : array-like, shape (n_samples,)
        Label to predict. The labels of control rows are not read.
    n_nonzero_coefs : int or sequence of int
        Values to set, one after the other.
    groups : array-like, shape (n_samples,), or None
        What is held out as a whole, see :func:`probe_representations`.
    cv : int or cross-validation splitter
        Outer folds, see :func:`probe_representations`.
    units : array-like, shape (n_samples,), or None
        Independent unit of each row, see :func:`probe_interval`.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these.
    control : array-like of bool, shape (n_samples,), or None, default=None
        Control rows: fitted on, never probed.
    representations : sequence of str, default=("codes", "reconstruction")
        What is compared with the raw rows: any of "preprocessed", "codes", "reconstruction".
    parameter : str, default="n_nonzero_coefs"
        Parameter of the last step that is set. Another one than the default, such as
        ``"transform_n_nonzero_coefs"``, keeps the number of non-zeros in training.
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
        Shuffles the inner folds and draws the units.
    verbose : int, default=0
        Print a line per fold and representation.
    return_folds : bool, default=False
        Return the table of the folds as well.
    as_frame : bool, default=False
        Return pandas DataFrames instead of dicts of columns.

    Returns
    -------
    table : dict of ndarray, or DataFrame
        One row per sparsity and representation:

        n_nonzero_coefs, representation
            Which one. The first column is called as `parameter`.
        n_active
            Mean number of non-zeros of a test row: the sparsity that was reached.
        balanced_accuracy, balanced_accuracy_raw
            Of the pooled predictions.
        gap, low, high
            ``balanced_accuracy_raw - balanced_accuracy`` and its interval.
        n_units
            Units behind the interval.
    folds : dict of ndarray, or DataFrame
        Only with ``return_folds=True``: the table of :func:`probe_representations` with the
        sparsity as first column; -1 for the raw rows.

    Raises
    ------
    TypeError
        If `n_nonzero_coefs` holds no integers.
    ValueError
        As :func:`probe_representations` and :func:`probe_interval`, or if the last step has no
        such parameter.

    Warns
    -----
    ConvergenceWarning
        Once, if final probes stopped at `max_iter`.
    UserWarning
        As :func:`probe_interval`.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Fig. 4B.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ICFLDictionary
    >>> from skdict.probing import probe_gap
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile(["a", "b", "c"], 60)
    >>> X = rng.normal(size=(180, 12)) + 2 * (y[:, None] == np.array(list("abc" * 4)))
    >>> table = probe_gap(
    ...     ICFLDictionary(24, max_steps=20, random_state=0),
    ...     X,
    ...     y,
    ...     n_nonzero_coefs=(1, 6),
    ...     groups=np.repeat(np.arange(12), 15),
    ...     cv=3,
    ...     units=None,
    ...     Cs=0.1,
    ...     random_state=0,
    ... )
    >>> table["n_nonzero_coefs"].tolist(), table["representation"].tolist()[:2]
    ([1, 1, 6, 6], ['codes', 'reconstruction'])
    >>> bool(table["gap"][0] > table["gap"][2])
    True
    """
    pipeline, representations = _check_gap(pipeline, representations, parameter)
    values = _check_sparsities(n_nonzero_coefs)
    resampling = Resampling.checked(n_resamples, confidence_level, random_state)
    settings = ProbeSettings.checked(
        Cs=Cs,
        inner_cv=inner_cv,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        verbose=verbose,
    )
    n_samples = number_of_rows(X)
    data = check_rows(n_samples, y, groups, control)
    check_units(units, strata, n_samples, data.rows)
    splits = outer_splits(cv, data)  # drawn once: the gap is between equal folds
    raw = probe_folds(fitted_in_fold(None, X, data, ("raw",), {}), data, splits, settings)
    runs = {}
    for value in values:
        model = clone(pipeline).set_params(**{_parameter_name(pipeline, parameter): value})
        source = fitted_in_fold(model, X, data, representations, {})
        runs[value] = probe_folds(source, data, splits, settings).in_order(representations)
    rows = [row for run in [raw, *runs.values()] for row in run.rows]
    warn_not_converged(rows, max_iter)

    test, predicted = raw.pooled("raw")
    keys = [(value, name) for value in values for name in representations]
    predictions = [predicted, *(runs[value].pooled(name)[1] for value, name in keys)]
    found, n_units = resample_predictions(
        data.y[test], predictions, data.rows[test], units, strata, n_samples, resampling
    )
    table = _gaps(keys, found, runs, parameter, resampling, n_units)
    if not return_folds:
        return columns_of(table, as_frame)
    folds = [{parameter: -1} | row for row in raw.rows]
    folds += [{parameter: value} | row for value, run in runs.items() for row in run.rows]
    return columns_of(table, as_frame), columns_of(folds, as_frame)


def _gaps(keys, found, runs, parameter, resampling, n_units) -> list[dict]:
    """Rows of the table; prediction 0 of `found` is that of the raw rows."""
    scores, accuracies = found.accuracy(), found.accuracies()
    table = []
    for i, (value, name) in enumerate(keys, start=1):
        low, high = resampling.interval(accuracies[:, 0] - accuracies[:, i])
        here = [row for row in runs[value].rows if row["representation"] == name]
        n_test = [row["n_test"] for row in here]
        table.append(
            {
                parameter: value,
                "representation": name,
                "n_active": float(np.average([row["n_active"] for row in here], weights=n_test)),
                "balanced_accuracy": float(scores[i]),
                "balanced_accuracy_raw": float(scores[0]),
                "gap": float(scores[0] - scores[i]),
                "low": float(low),
                "high": float(high),
                "n_units": n_units,
            }
        )
    return table


def _check_sparsities(n_nonzero_coefs) -> list[int]:
    """Distinct positive integers in the given order."""
    values = np.atleast_1d(np.asarray(n_nonzero_coefs))
    if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "iu":
        raise TypeError(f"n_nonzero_coefs must be integers, got {n_nonzero_coefs!r}")
    if values.min() < 1 or np.unique(values).size < values.size:
        raise ValueError(f"n_nonzero_coefs must be distinct and >= 1, got {n_nonzero_coefs!r}")
    return values.tolist()


def _check_gap(pipeline, representations, parameter):
    """Validate what is compared and that its sparsity can be set."""
    if pipeline is None:
        raise ValueError("pipeline must not be None: its codes are compared with the raw rows")
    pipeline = drop_passthrough(pipeline)
    representations = check_representations(representations, pipeline)
    if "raw" in representations:
        raise ValueError(
            'representations must not hold "raw", which the others are compared with anyway'
        )
    name = _parameter_name(pipeline, parameter)
    if name not in pipeline.get_params():
        raise ValueError(
            f"parameter must be one of the last step of pipeline, got {parameter!r}: there is no "
            f"{name!r} in {pipeline!r}"
        )
    return pipeline, representations


def _parameter_name(pipeline, parameter) -> str:
    """Name of a parameter of the last step as the pipeline knows it."""
    if isinstance(pipeline, Pipeline):
        return f"{pipeline.steps[-1][0]}__{parameter}"
    return parameter
