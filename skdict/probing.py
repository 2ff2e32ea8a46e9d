"""Class-balanced linear probes of raw embeddings, codes and reconstructions."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

from skdict._validation import check_control, check_integer, import_optional

REPRESENTATIONS = ("raw", "preprocessed", "codes", "reconstruction")


def probe_representations(
    pipeline,
    X,
    y,
    *,
    groups,
    cv,
    control=None,
    representations=("raw", "codes", "reconstruction"),
    Cs=(0.001, 0.03, 1.0),
    inner_cv=3,
    max_iter=1000,
    tol=1e-4,
    random_state=None,
    return_recall=False,
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
    random_state : int, RandomState instance or None, default=None
        Shuffles the inner folds; None gives fixed ones. Steps of the pipeline have their own
        ``random_state``.
    return_recall : bool, default=False
        Return a second table with the recall of every label.
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
        n_features
            Width of the representation.
        n_iter, converged
            Iterations of the final probe, and whether it reached `tol`.
    recall : dict of ndarray, or DataFrame
        Only with ``return_recall=True``. One row per fold, representation and test label:
        fold, representation, label, recall, n_test, seen (in the training rows).

    Raises
    ------
    ValueError
        If lengths differ, a parameter is outside its range, a fold has fewer than two training
        labels, or the last step has no ``inverse_transform`` and "reconstruction" is asked for.

    Warns
    -----
    ConvergenceWarning
        Once, if final probes stopped at `max_iter`; see the column ``converged``.
    UserWarning
        If in a fold no label has two training groups, so that the inner folds say nothing
        about C; the middle one of `Cs` is then used.

    Notes
    -----
    *What is held out.* A score says how well the probe generalises to new `groups` and no more.
    With ``groups=plate`` and a layout that repeats a compound in the same wells of each plate, it
    may read the position. To predict a mechanism for new compounds, use ``groups=compound``: a
    mechanism with a single compound is then never predictable (``n_unseen_classes``), and
    with two compounds per mechanism ``StratifiedGroupKFold`` keeps the two in different folds.
    Use five folds or more there: with two, every mechanism keeps one compound in training
    and the inner folds have nothing to choose C by.

    *Scaling.* ``MaxAbsScaler`` for codes and for anything sparse (zeros stay zeros),
    ``StandardScaler`` for the dense representations.

    *Nesting.* The representation of a fold is fitted once, on its training rows and without
    labels; the inner folds that choose C share it. The scaler and the probe are refitted in
    each. No test row and no label enters the representation.

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
    """
    pipeline = _drop_passthrough(pipeline)
    representations = _check_representations(representations, pipeline)
    Cs = _check_Cs(Cs)
    check_integer("max_iter", max_iter, 1)
    data = _check_data(X, y, groups, control)
    probe = LogisticRegression(class_weight="balanced", max_iter=max_iter, tol=tol)
    rows, recalls = [], []
    for fold, (train, test) in enumerate(_outer_splits(cv, data)):
        controls = _training_controls(data, train, test)
        inner = _inner_splits(inner_cv, data, train, random_state) if len(Cs) > 1 else []
        features = _represent(pipeline, X, data, train, test, controls, representations)
        for name, (train_features, test_features) in features.items():
            result = _probe(
                probe,
                MaxAbsScaler() if _keeps_zeros(name, train_features) else StandardScaler(),
                (train_features, data["y"][train]),
                (test_features, data["y"][test]),
                Cs=Cs,
                inner=inner,
            )
            recall = result.pop("recall")
            rows.append(
                {"fold": fold, "representation": name, **result, "n_control": controls.shape[0]}
            )
            recalls.extend({"fold": fold, "representation": name, **entry} for entry in recall)
    _warn_not_converged(rows, max_iter)
    for entry in recalls:
        entry["label"] = data["classes"][entry["label"]]
    table = _columns(rows, as_frame)
    return (table, _columns(recalls, as_frame)) if return_recall else table


# ------------------------------------------------------------------------------ input checks


def _drop_passthrough(pipeline):
    """Return `pipeline` without trailing steps "passthrough" or None, which do nothing."""
    if not isinstance(pipeline, Pipeline):
        return pipeline
    n_steps = len(pipeline.steps)
    while n_steps and pipeline.steps[n_steps - 1][1] in (None, "passthrough"):
        n_steps -= 1
    if n_steps == 0:
        raise ValueError(
            "pipeline must have a step besides 'passthrough' as its dictionary, got "
            f'{pipeline!r}; pass pipeline=None with representations=("raw",) to probe X alone'
        )
    return pipeline if n_steps == len(pipeline.steps) else pipeline[:n_steps]


def _check_representations(representations, pipeline) -> tuple[str, ...]:
    """Validate the names and that the pipeline can give these representations."""
    if isinstance(representations, str):
        representations = (representations,)
    representations = tuple(representations)
    unknown = [name for name in representations if name not in REPRESENTATIONS]
    if unknown or not representations or len(set(representations)) < len(representations):
        raise ValueError(
            f"representations must be distinct names among {REPRESENTATIONS}, "
            f"got {representations!r}"
        )
    if pipeline is None and representations != ("raw",):
        raise ValueError('pipeline must not be None unless representations=("raw",)')
    if "reconstruction" in representations:
        last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
        if not hasattr(last, "inverse_transform"):
            raise ValueError(
                'representations holds "reconstruction", but the last step of pipeline has no '
                f"inverse_transform: {last!r}"
            )
    return representations


def _check_Cs(Cs) -> list[float]:
    """Sorted positive floats, weakest first: ties then go to the stronger regularisation."""
    values = np.unique(np.atleast_1d(np.asarray(Cs, dtype=np.float64)))
    if values.ndim != 1 or values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"Cs must be positive finite numbers, got {Cs!r}")
    return values.tolist()


def _check_data(X, y, groups, control) -> dict:
    """Arrays of the probed rows (those that are not controls) and of the control rows."""
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    columns = {"y": np.asarray(y)}
    if groups is not None:
        columns["groups"] = np.asarray(groups)
    for name, values in columns.items():
        if values.shape != (n_samples,):
            raise ValueError(
                f"{name} must have one entry per row of X: got shape {values.shape} for "
                f"{n_samples} rows"
            )
    controls = np.array([], dtype=np.intp)
    if control is not None:
        controls = check_control(control, n_samples, minimum=1)
    rows = np.setdiff1d(np.arange(n_samples), controls, assume_unique=True)
    try:
        classes, index = np.unique(columns["y"][rows], return_inverse=True)
        if classes.dtype.kind == "f" and np.isnan(classes).any():
            raise TypeError("NaN among the labels")
    except TypeError as error:
        raise ValueError(f"y must hold labels of one type and none missing ({error})") from error
    if classes.shape[0] < 2:
        raise ValueError(
            f"y must hold at least two labels besides the controls, got {classes.tolist()!r}"
        )
    grouped = "groups" in columns
    return {
        "classes": classes,
        "y": index,
        "rows": rows,
        "controls": controls,
        "groups": columns["groups"][rows] if grouped else None,
        "control_groups": columns["groups"][controls] if grouped else None,
    }


# ------------------------------------------------------------------------------------- folds


def _outer_splits(cv, data):
    """Yield (train, test) positions among the probed rows."""
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        check_integer("cv", cv, 2)
        cv = StratifiedKFold(cv) if data["groups"] is None else StratifiedGroupKFold(cv)
    if not hasattr(cv, "split"):
        raise TypeError(f"cv must be an int or a splitter with a split method, got {cv!r}")
    n_probed = data["rows"].shape[0]
    return cv.split(np.zeros((n_probed, 1)), data["classes"][data["y"]], data["groups"])


def _training_controls(data, train, test) -> np.ndarray:
    """Control rows of X that may be used in a fold: those whose group is not held out."""
    if data["groups"] is None or data["controls"].shape[0] == 0:
        return data["controls"]
    held_out = np.setdiff1d(data["groups"][test], data["groups"][train])
    return data["controls"][~np.isin(data["control_groups"], held_out)]


def _inner_splits(inner_cv, data, train, random_state) -> list:
    """Inner folds as pairs of positions within the training rows."""
    y, groups = data["y"][train], None if data["groups"] is None else data["groups"][train]
    if isinstance(inner_cv, Integral) and not isinstance(inner_cv, bool):
        check_integer("inner_cv", inner_cv, 2)
        if groups is None:
            shuffled = KFold(inner_cv, shuffle=True, random_state=random_state or 0)
            return list(shuffled.split(y))
        n_splits = min(inner_cv, np.unique(groups).shape[0], int(np.bincount(y).max()))
        if n_splits < 2:
            raise ValueError(
                "groups must hold at least two training groups in each fold for inner_cv to "
                "choose C; give a single value of Cs instead"
            )
        inner_cv = StratifiedGroupKFold(
            n_splits,
            shuffle=random_state is not None,
            random_state=random_state,
        )
    if not hasattr(inner_cv, "split"):
        raise TypeError(f"inner_cv must be an int or a splitter, got {inner_cv!r}")
    with warnings.catch_warnings():
        # a label with fewer rows than folds is ordinary here and handled by the score
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(inner_cv.split(np.zeros((y.shape[0], 1)), y, groups))


# --------------------------------------------------------------------------- representations


def _take(X, rows):
    """Rows of an array, sparse matrix or DataFrame."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if sparse.issparse(X) else np.asarray(X)[rows]


def _fit(pipeline, X, control) -> Pipeline:
    """Fit a clone without labels; `control` goes to the steps that request it."""
    model = clone(pipeline)
    if not isinstance(model, Pipeline):
        model = make_pipeline(model)
    if control is None:
        return model.fit(X)
    with config_context(enable_metadata_routing=True):
        if get_routing_for_object(model).consumes("fit", ["control"]):
            return model.fit(X, control=control)
        return model.fit(X)


def _represent(pipeline, X, data, train, test, controls, names) -> dict:
    """Training and test rows of each representation, fitted on the training rows."""
    train_rows, test_rows = data["rows"][train], data["rows"][test]
    parts = [_take(X, train_rows), _take(X, test_rows)]
    found = {}
    if "raw" in names:
        found["raw"] = [part if sparse.issparse(part) else np.asarray(part) for part in parts]
    if names != ("raw",):
        fit_rows = np.sort(np.concatenate([train_rows, controls]))
        mask = np.isin(fit_rows, controls) if data["controls"].shape[0] else None
        model = _fit(pipeline, _take(X, fit_rows), mask)
        dictionary = model.steps[-1][1]
        if len(model) > 1:
            parts = [model[:-1].transform(part) for part in parts]
        found["preprocessed"] = parts
        if "codes" in names or "reconstruction" in names:
            found["codes"] = [dictionary.transform(part) for part in parts]
        if "reconstruction" in names:
            found["reconstruction"] = [dictionary.inverse_transform(z) for z in found["codes"]]
    return {name: found[name] for name in names}


def _keeps_zeros(name, features) -> bool:
    """Whether scaling must not move zeros: codes, and anything sparse."""
    return name == "codes" or sparse.issparse(features)


# ------------------------------------------------------------------------------------- probe


def _probe(probe, scaler, train, test, *, Cs, inner) -> dict:
    """Choose C on the inner folds, fit on the training rows, score on the test rows."""
    (X_train, y_train), (X_test, y_test) = train, test
    trained = np.unique(y_train)
    if trained.shape[0] < 2:
        raise ValueError(
            "cv must leave at least two labels in the training rows of each fold; one has only "
            f"{trained.shape[0]}"
        )
    C = Cs[0] if len(Cs) == 1 else _choose_C(probe, scaler, X_train, y_train, Cs, inner)
    fitted_scaler = clone(scaler).fit(X_train)
    model = clone(probe).set_params(C=C)
    converged = _fit_probe(model, fitted_scaler.transform(X_train), y_train)
    hits, totals = _hits(y_test, model.predict(fitted_scaler.transform(X_test)))
    present = np.flatnonzero(totals)
    recall = hits[present] / totals[present]
    seen = np.isin(present, trained)
    return {
        "C": C,
        "balanced_accuracy": float(recall.mean()),
        "chance": float(seen.mean() / trained.shape[0]),
        "n_train": y_train.shape[0],
        "n_test": y_test.shape[0],
        "n_classes": trained.shape[0],
        "n_test_classes": present.shape[0],
        "n_unseen_classes": int((~seen).sum()),
        "n_features": X_train.shape[1],
        "n_iter": int(np.max(model.n_iter_)),
        "converged": converged,
        "recall": [
            {"label": label, "recall": r, "n_test": n, "seen": s}
            for label, r, n, s in zip(present, recall, totals[present], seen, strict=True)
        ],
    }


def _hits(y_true, y_pred, n_labels=0) -> tuple[np.ndarray, np.ndarray]:
    """Correct predictions and rows per label index."""
    n_labels = max(n_labels, int(y_true.max()) + 1)
    return (
        np.bincount(y_true[y_true == y_pred], minlength=n_labels),
        np.bincount(y_true, minlength=n_labels),
    )


def _choose_C(probe, scaler, X, y, Cs, inner) -> float:
    """Return the C with the best balanced accuracy over the pooled inner folds."""
    n_labels = int(y.max()) + 1
    hits, totals = np.zeros((len(Cs), n_labels)), np.zeros(n_labels)
    informative = False
    for train, test in inner:
        y_train, y_test = y[train], y[test]
        if np.unique(y_train).shape[0] < 2:
            continue
        informative |= bool(np.isin(y_test, y_train).any())
        fitted_scaler = clone(scaler).fit(X[train])
        X_train, X_test = fitted_scaler.transform(X[train]), fitted_scaler.transform(X[test])
        # From strong to weak regularisation, each probe starting from the one before.
        model = clone(probe).set_params(warm_start=True)
        for i, C in enumerate(Cs):
            _fit_probe(model.set_params(C=C), X_train, y_train)
            hits[i] += _hits(y_test, model.predict(X_test), n_labels)[0]
        totals += np.bincount(y_test, minlength=n_labels)
    if not informative:
        middle = Cs[len(Cs) // 2]
        warnings.warn(
            "no label has two training groups in this fold, so inner_cv cannot choose C: "
            f"C={middle:g} is used; hold out fewer groups at a time or pass a single C",
            UserWarning,
            stacklevel=4,
        )
        return middle
    present = totals > 0
    return Cs[int((hits[:, present] / totals[present]).mean(axis=1).argmax())]


def _fit_probe(model, X, y) -> bool:
    """Fit and return whether the solver converged, instead of one warning per fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            warnings.warn(warning.message, warning.category, stacklevel=2)
    return converged


def _warn_not_converged(rows, max_iter) -> None:
    """One ConvergenceWarning for all final probes that stopped early."""
    stopped = sum(not row["converged"] for row in rows)
    if stopped:
        warnings.warn(
            f"{stopped} of {len(rows)} final probes stopped before convergence "
            f"(max_iter={max_iter}); see the column 'converged', and raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=3,
        )


def _columns(rows: list[dict], as_frame: bool):
    """Dict of columns, or a DataFrame."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    if as_frame:
        return import_optional("pandas", extra="io").DataFrame(columns)
    return columns
