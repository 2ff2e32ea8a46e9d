"""Balanced accuracy when units are drawn with replacement within strata."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skdict._validation import check_integer, check_real
from skdict.probing._rows import is_missing

UNITS_AT_ONCE = 1 << 22  # entries of a block of resamples: 32 MB


@dataclass(frozen=True)
class Units:
    """The independent units of the rows, sorted by stratum."""

    index: np.ndarray  # (n_rows,) unit of each row
    low: np.ndarray  # (n_units,) first unit of the unit's stratum
    high: np.ndarray  # (n_units,) behind the last unit of the unit's stratum
    n_strata: int

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.low.shape[0]


def check_units(units, strata, n_rows: int, *, stacklevel: int | None = 3) -> Units:
    """Validate and encode units and strata; None stands for every row and for one stratum.

    Warns of units that are alone in their stratum, unless `stacklevel` is None.
    """
    unit = np.arange(n_rows) if units is None else _encode("units", units, n_rows)
    if strata is None:
        stratum_of_unit = np.zeros(unit.max() + 1, dtype=np.intp)
    else:
        stratum = _encode("strata", strata, n_rows)
        stratum_of_unit = np.empty(unit.max() + 1, dtype=np.intp)
        stratum_of_unit[unit] = stratum
        split = stratum_of_unit[unit] != stratum
        if split.any():
            raise ValueError(
                "units must each lie within one of the strata, but the unit of row "
                f"{int(np.flatnonzero(split)[0])} lies in several; pass a unit per stratum, "
                "or coarser strata"
            )
    order = np.argsort(stratum_of_unit, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.shape[0])
    sizes = np.bincount(stratum_of_unit)
    if sizes.max() < 2:
        raise ValueError(
            f"units must have a stratum with at least two of them to resample, got {sizes.sum()} "
            f"units in {sizes.shape[0]} strata; pass finer units or coarser strata"
        )
    if (sizes < 2).any() and stacklevel is not None:
        warnings.warn(
            f"{np.count_nonzero(sizes < 2)} of {sizes.sum()} units are alone in their stratum and "
            "the same in every resample, so that the interval is too narrow; pass coarser strata",
            UserWarning,
            stacklevel=stacklevel,
        )
    ends = np.cumsum(sizes)
    of_sorted = stratum_of_unit[order]
    return Units(place[unit], (ends - sizes)[of_sorted], ends[of_sorted], sizes.shape[0])


def _encode(name, values, n_rows) -> np.ndarray:
    """Index of each row's value among the distinct values."""
    values = np.asarray(values)
    if values.shape != (n_rows,):
        raise ValueError(
            f"{name} must have one entry per prediction: got shape {values.shape} for {n_rows}"
        )
    if is_missing(values).any():
        raise ValueError(f"{name} must not hold NaN or None; drop these rows")
    try:
        return np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(f"{name} must hold values of one type ({error})") from error


@dataclass(frozen=True)
class Resampling:
    """Validated settings of an interval."""

    n_resamples: int
    confidence_level: float
    random_state: Any

    @classmethod
    def checked(cls, n_resamples, confidence_level, random_state) -> Resampling:
        """Validate what the public functions were given."""
        check_integer("n_resamples", n_resamples, 1)
        check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
        if confidence_level == 1.0:
            raise ValueError("confidence_level must be smaller than 1, got 1.0; take 0.95")
        return cls(n_resamples, confidence_level, random_state)

    def interval(self, values) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval along the first axis; NaN entries are left out."""
        tail = (1 - self.confidence_level) / 2
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
        return low, high


@dataclass(frozen=True)
class Resampled:
    """Recall of each prediction and label, observed and in each resample."""

    observed: np.ndarray  # (n_predictions, n_labels)
    resampled: np.ndarray  # (n_resamples, n_predictions, n_labels), NaN where a label was not drawn
    n_units_per_label: np.ndarray  # (n_labels,)
    n_rows_per_label: np.ndarray  # (n_labels,)

    def accuracy(self) -> np.ndarray:
        """Balanced accuracy of each prediction, shape (n_predictions,)."""
        return self.observed.mean(axis=-1)

    def accuracies(self) -> np.ndarray:
        """Balanced accuracy in each resample, shape (n_resamples, n_predictions).

        The mean is over the labels that were drawn, as scikit-learn takes it over those present.
        """
        return np.nanmean(self.resampled, axis=-1)


def resample_recall(
    label: np.ndarray, correct: list[np.ndarray], units: Units, settings: Resampling
) -> Resampled:
    """Draw units with replacement within strata and compute the recall of every label.

    Parameters
    ----------
    label : ndarray of int, shape (n_rows,)
        Index of the true label.
    correct : list of ndarray of bool, shape (n_rows,)
        Whether the row was predicted rightly, for each prediction.
    units : Units
        The units of the rows.
    settings : Resampling
        Number and seed of the resamples.

    Returns
    -------
    Resampled
        The recalls. All predictions share the same draws, so that differences are paired.
    """
    n_labels, n_predictions = int(label.max()) + 1, len(correct)
    shape = (n_labels, units.n_units)
    totals = sparse.coo_array((np.ones(label.shape), (label, units.index)), shape=shape).tocsr()
    hits = [
        sparse.coo_array((right.astype(float), (label, units.index)), shape=shape).tocsr()
        for right in correct
    ]
    counts = sparse.vstack([totals, *hits]).tocsr()
    n_rows, *n_right = np.split(counts.sum(axis=1), n_predictions + 1)
    n_resamples = settings.n_resamples
    resampled = np.empty((n_resamples, n_predictions, n_labels))
    block = max(1, UNITS_AT_ONCE // units.n_units)
    rng = check_random_state(settings.random_state)
    for start in range(0, n_resamples, block):
        stop = min(start + block, n_resamples)
        weights = np.stack([_draw(rng, units) for _ in range(start, stop)], axis=1)
        drawn = (counts @ weights).T.reshape(stop - start, n_predictions + 1, n_labels)
        with np.errstate(invalid="ignore"):  # 0 / 0: the label was not drawn
            resampled[start:stop] = drawn[:, 1:] / drawn[:, :1]
    return Resampled(
        observed=np.stack(n_right) / n_rows,
        resampled=resampled,
        n_units_per_label=np.diff(totals.indptr),
        n_rows_per_label=n_rows.astype(np.intp),
    )


def _draw(rng, units: Units) -> np.ndarray:
    """How often each unit occurs in a resample that keeps the size of each stratum."""
    drawn = rng.randint(units.low, units.high)
    return np.bincount(drawn, minlength=units.n_units).astype(np.float64)


def resample_predictions(y_true, predictions, rows, units, strata, settings: Resampling):
    """Resample predictions of the same test rows, paired.

    Parameters
    ----------
    y_true : ndarray of int, shape (n_test,)
        Label index of the test rows.
    predictions : list of ndarray of int, shape (n_test,)
        Predicted label indices.
    rows : ndarray of int, shape (n_test,)
        Positions of the test rows in `units` and `strata`.
    units, strata : array-like or None
        As the public functions take them, for all rows.
    settings : Resampling
        Number and seed of the resamples.

    Returns
    -------
    found : Resampled
        The recalls.
    n_units : int
        Units drawn from.
    """
    unit = units_of_rows(units, strata, rows)
    label = np.unique(y_true, return_inverse=True)[1]
    found = resample_recall(label, [y_true == y_pred for y_pred in predictions], unit, settings)
    warn_single_units(found, stacklevel=4)
    return found, unit.n_units


def units_of_rows(units, strata, rows, n_samples: int | None = None) -> Units:
    """Units of some rows of X; called before anything is fitted, so that errors come early.

    Parameters
    ----------
    units, strata : array-like or None
        As the public functions take them, for all rows of X.
    rows : ndarray of int, shape (n_rows,)
        Positions in X.
    n_samples : int or None, default=None
        Number of rows of X; None leaves the lengths unchecked.

    Returns
    -------
    Units
        The units of these rows.
    """
    of_rows = {}
    for name, values in (("units", units), ("strata", strata)):
        values = None if values is None else np.asarray(values)
        if values is not None and n_samples is not None and values.shape != (n_samples,):
            raise ValueError(
                f"{name} must have one entry per row of X: got shape {values.shape} for "
                f"{n_samples} rows"
            )
        of_rows[name] = None if values is None else values[rows]
    if units is None:
        of_rows["units"] = rows  # a row that several folds have predicted is still one unit
    # before the fits n_samples is given, after them the rows are those of the interval
    stacklevel = 5 if n_samples is None else None
    return check_units(of_rows["units"], of_rows["strata"], rows.shape[0], stacklevel=stacklevel)


def warn_single_units(found: Resampled, *, stacklevel: int = 3) -> None:
    """Say that labels with one unit add nothing to the width of an interval."""
    single = int((found.n_units_per_label == 1).sum())
    if single:
        warnings.warn(
            f"{single} of {found.n_units_per_label.shape[0]} labels have a single unit, whose own "
            "sampling error no resample can show: the interval is too narrow; leave these labels "
            "out or pass finer units if the rows are independent",
            UserWarning,
            stacklevel=stacklevel,
        )
