"""Outer and inner folds, and the control rows that a fold may use."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

from skdict._validation import check_integer
from skdict.probing._rows import ProbedRows


def outer_splits(cv, data: ProbedRows) -> list:
    """Return (train, test) positions among the probed rows, one pair per fold."""
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        check_integer("cv", cv, 2)
        cv = StratifiedKFold(cv) if data.groups is None else StratifiedGroupKFold(cv)
    if not hasattr(cv, "split"):
        raise TypeError(f"cv must be an int or a splitter with a split method, got {cv!r}")
    n_probed = data.rows.shape[0]
    return list(cv.split(np.zeros((n_probed, 1)), data.classes[data.y], data.groups))


def training_controls(data: ProbedRows, train, test) -> np.ndarray:
    """Control rows of X that may be used in a fold: those whose group is not held out."""
    if data.groups is None or data.control_groups is None:
        return data.controls
    held_out = np.setdiff1d(data.groups[test], data.groups[train])
    return data.controls[~np.isin(data.control_groups, held_out)]


def inner_splits(inner_cv, data: ProbedRows, train, random_state) -> list:
    """Inner folds as pairs of positions within the training rows."""
    y, groups = data.y[train], None if data.groups is None else data.groups[train]
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
