"""The probe of one representation in one fold: scale, choose C, fit, score.

The solver is lbfgs on the rows as they come: CSR codes stay CSR, float32 stays float32, and the
only dense arrays it adds are of shape (n_labels, n_features) and (n_rows, n_labels).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.utils import gen_batches

from skdict._validation import check_integer, check_real

SCALING_ROWS = 8192


@dataclass(frozen=True)
class ProbeSettings:
    """Validated settings of all probes of a call."""

    Cs: list[float]
    inner_cv: Any
    max_iter: int
    tol: float
    random_state: Any
    verbose: int

    @classmethod
    def checked(cls, *, Cs, inner_cv, max_iter, tol, random_state, verbose=0) -> ProbeSettings:
        """Validate what the public functions were given."""
        check_integer("max_iter", max_iter, 1)
        check_real("tol", tol, 0.0, np.inf, open_low=True)
        return cls(check_Cs(Cs), inner_cv, max_iter, tol, random_state, int(verbose))

    @property
    def model(self) -> LogisticRegression:
        """The unfitted probe."""
        return LogisticRegression(class_weight="balanced", max_iter=self.max_iter, tol=self.tol)


def check_Cs(Cs) -> list[float]:
    """Sorted positive floats, weakest first: ties then go to the stronger regularisation."""
    values = np.unique(np.atleast_1d(np.asarray(Cs, dtype=np.float64)))
    if values.ndim != 1 or values.size == 0 or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"Cs must be positive finite numbers, got {Cs!r}")
    return values.tolist()


def scaler_of(features, *, keep_zeros: bool):
    """Unfitted scaler: one that keeps zeros for codes and for anything sparse."""
    return MaxAbsScaler() if keep_zeros or sparse.issparse(features) else StandardScaler()


def fit_scaler(scaler, X):
    """Fit a clone; dense rows in blocks, since the variances are computed in float64."""
    scaler = clone(scaler)
    if sparse.issparse(X) or not isinstance(scaler, StandardScaler):
        return scaler.fit(X)
    for block in gen_batches(X.shape[0], SCALING_ROWS):
        scaler.partial_fit(X[block])
    return scaler


def probe(settings: ProbeSettings, scaler, train, test, inner) -> dict:
    """Choose C on the inner folds, fit on the training rows, score on the test rows.

    `train` and `test` are pairs of features and label indices; a `scaler` of None leaves the
    features as they are. The dict holds the columns of the public table, and besides them
    "recall" (rows of the second table) and "predicted" (label index of each test row).
    """
    (X_train, y_train), (X_test, y_test) = train, test
    trained = np.unique(y_train)
    Cs = settings.Cs
    C = Cs[0] if len(Cs) == 1 else _choose_C(settings, scaler, X_train, y_train, inner)
    model = clone(settings.model).set_params(C=C)
    n_features, n_active = X_train.shape[1], _mean_active(X_test)
    if scaler is not None:
        fitted_scaler = fit_scaler(scaler, X_train)
        X_train = fitted_scaler.transform(X_train)
    converged = _fit(model, X_train, y_train)
    del X_train
    predicted = model.predict(X_test if scaler is None else fitted_scaler.transform(X_test))
    hits, totals = _hits(y_test, predicted)
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
        "n_features": n_features,
        "n_active": n_active,
        "n_iter": int(np.max(model.n_iter_)),
        "converged": converged,
        "recall": [
            {"label": label, "recall": r, "n_test": n, "seen": s}
            for label, r, n, s in zip(present, recall, totals[present], seen, strict=True)
        ],
        "predicted": predicted,
    }


def warn_not_converged(rows, max_iter, *, stacklevel: int = 3) -> None:
    """One ConvergenceWarning for all final probes that stopped early."""
    stopped = sum(not row["converged"] for row in rows)
    if stopped:
        warnings.warn(
            f"{stopped} of {len(rows)} final probes stopped before convergence "
            f"(max_iter={max_iter}); see the column 'converged', and raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )


def _mean_active(features) -> float:
    """Mean number of non-zero features of a row."""
    n_active = features.count_nonzero() if sparse.issparse(features) else np.count_nonzero(features)
    return float(n_active / features.shape[0])


def _hits(y_true, y_pred, n_labels=0) -> tuple[np.ndarray, np.ndarray]:
    """Correct predictions and rows per label index."""
    n_labels = max(n_labels, int(y_true.max()) + 1)
    return (
        np.bincount(y_true[y_true == y_pred], minlength=n_labels),
        np.bincount(y_true, minlength=n_labels),
    )


def _choose_C(settings, scaler, X, y, inner) -> float:
    """Return the C with the best balanced accuracy over the pooled inner folds."""
    Cs, n_labels = settings.Cs, int(y.max()) + 1
    hits, totals = np.zeros((len(Cs), n_labels)), np.zeros(n_labels)
    informative = False
    for train, test in inner:
        y_train, y_test = y[train], y[test]
        if np.unique(y_train).shape[0] < 2:
            continue
        informative |= bool(np.isin(y_test, y_train).any())
        X_train, X_test = X[train], X[test]
        if scaler is not None:
            fitted_scaler = fit_scaler(scaler, X_train)
            X_train, X_test = fitted_scaler.transform(X_train), fitted_scaler.transform(X_test)
        # From strong to weak regularisation, each probe starting from the one before.
        model = clone(settings.model).set_params(warm_start=True)
        for i, C in enumerate(Cs):
            _fit(model.set_params(C=C), X_train, y_train)
            hits[i] += _hits(y_test, model.predict(X_test), n_labels)[0]
        totals += np.bincount(y_test, minlength=n_labels)
    if not informative:
        middle = Cs[len(Cs) // 2]
        warnings.warn(
            "no label has two training groups in this fold, so inner_cv cannot choose C: "
            f"C={middle:g} is used; hold out fewer groups at a time or pass a single C",
            UserWarning,
            stacklevel=5,
        )
        return middle
    present = totals > 0
    return Cs[int((hits[:, present] / totals[present]).mean(axis=1).argmax())]


def _fit(model, X, y) -> bool:
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
