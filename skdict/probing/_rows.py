"""What is probed: labels as indices, groups, and the control rows set apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skdict._units import is_missing
from skdict._validation import check_control


@dataclass(frozen=True)
class ProbedRows:
    """Labels and groups of the probed rows, which are the rows that are not controls."""

    classes: np.ndarray  # (n_labels,) sorted distinct labels
    y: np.ndarray  # (n_probed,) index into classes
    rows: np.ndarray  # (n_probed,) positions in X
    controls: np.ndarray  # (n_control,) positions in X
    groups: np.ndarray | None  # (n_probed,)
    control_groups: np.ndarray | None  # (n_control,)


def number_of_rows(X) -> int:
    """Rows of an array, sparse matrix, DataFrame or list."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def check_rows(n_samples: int, y, groups, control=None) -> ProbedRows:
    """Validate labels, groups and control mask; see :class:`ProbedRows`."""
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
    if groups is not None and is_missing(groups)[rows].any():
        # a missing group would be a group of its own, whose rows may belong to those held out
        raise ValueError(
            "groups holds missing values; drop these rows or give them a group of their own"
        )
    try:
        if is_missing(y)[rows].any():
            raise TypeError("None or NaN among the labels")
        classes, index = np.unique(columns["y"][rows], return_inverse=True)
    except TypeError as error:
        raise ValueError(f"y must hold labels of one type and none missing ({error})") from error
    if classes.shape[0] < 2:
        raise ValueError(
            f"y must hold at least two labels besides the controls, got {classes.tolist()!r}"
        )
    grouped = "groups" in columns
    return ProbedRows(
        classes=classes,
        y=index,
        rows=rows,
        controls=controls,
        groups=columns["groups"][rows] if grouped else None,
        control_groups=columns["groups"][controls] if grouped else None,
    )


def take_rows(X, rows):
    """Rows of an array, sparse matrix or DataFrame."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if sparse.issparse(X) else np.asarray(X)[rows]


def check_dense(X, name: str) -> np.ndarray:
    """Two-dimensional finite array of floats; float32 stays."""
    if sparse.issparse(X):
        raise TypeError(f"{name} must be a dense array, got a sparse one: pass {name}.toarray()")
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"{name} must be two-dimensional, got shape {X.shape}")
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got dtype {X.dtype}")
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if not np.isfinite(X.sum(dtype=np.float64)):  # the sum needs no mask as large as X
        raise ValueError(f"{name} holds NaN or infinite values; impute or drop them")
    return X
