"""Balanced accuracy when units are drawn with replacement within strata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skdict._units import Resampler, Resampling, read_units, warn_single_units

UNITS_AT_ONCE = 1 << 22  # entries of a block of resamples: 32 MB


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
    label: np.ndarray, correct: list[np.ndarray], resampler: Resampler, settings: Resampling
) -> Resampled:
    """Draw units with replacement within strata and compute the recall of every label.

    Parameters
    ----------
    label : ndarray of int, shape (n_rows,)
        Index of the true label.
    correct : list of ndarray of bool, shape (n_rows,)
        Whether the row was predicted rightly, for each prediction.
    resampler : Resampler
        Draws the units of the rows.
    settings : Resampling
        Number and seed of the resamples.

    Returns
    -------
    Resampled
        The recalls. All predictions share the same draws, so that differences are paired.
    """
    n_labels, n_predictions = int(label.max()) + 1, len(correct)
    unit, n_units = resampler.units.index, resampler.units.n_units
    shape = (n_labels, n_units)
    totals = sparse.coo_array((np.ones(label.shape), (label, unit)), shape=shape).tocsr()
    hits = [
        sparse.coo_array((right.astype(float), (label, unit)), shape=shape).tocsr()
        for right in correct
    ]
    counts = sparse.vstack([totals, *hits]).tocsr()
    n_rows, *n_right = np.split(counts.sum(axis=1), n_predictions + 1)
    n_resamples = settings.n_resamples
    resampled = np.empty((n_resamples, n_predictions, n_labels))
    block = max(1, UNITS_AT_ONCE // n_units)
    rng = check_random_state(settings.random_state)
    for start in range(0, n_resamples, block):
        stop = min(start + block, n_resamples)
        weights = [resampler.weights(rng).astype(np.float64) for _ in range(start, stop)]
        drawn = counts @ np.stack(weights, axis=1)
        drawn = drawn.T.reshape(stop - start, n_predictions + 1, n_labels)
        with np.errstate(invalid="ignore"):  # 0 / 0: the label was not drawn
            resampled[start:stop] = drawn[:, 1:] / drawn[:, :1]
    return Resampled(
        observed=np.stack(n_right) / n_rows,
        resampled=resampled,
        n_units_per_label=np.diff(totals.indptr),
        n_rows_per_label=n_rows.astype(np.intp),
    )


def resample_predictions(y_true, predictions, rows, units, strata, n_samples, settings: Resampling):
    """Resample predictions of the same test rows, paired.

    Parameters
    ----------
    y_true : ndarray of int, shape (n_test,)
        Label index of the test rows.
    predictions : list of ndarray of int, shape (n_test,)
        Predicted label indices.
    rows : ndarray of int, shape (n_test,)
        Positions of the test rows in X; a row that several folds have predicted is there often.
    units, strata : array-like, shape (n_samples,), or None
        As the public functions take them, for all rows of X.
    n_samples : int
        Number of rows of X.
    settings : Resampling
        Number and seed of the resamples.

    Returns
    -------
    found : Resampled
        The recalls.
    n_units : int
        Units drawn from.
    """
    drawn = read_units(units, strata, n_samples, rows)
    resampler = Resampler(drawn, stacklevel=4)
    label = np.unique(y_true, return_inverse=True)[1]
    correct = [y_true == y_pred for y_pred in predictions]
    found = resample_recall(label, correct, resampler, settings)
    warn_single_units(found.n_units_per_label, stacklevel=4)
    return found, drawn.n_units


def check_units(units, strata, n_samples, rows) -> None:
    """Raise for what could not be resampled; called before anything is fitted."""
    Resampler(read_units(units, strata, n_samples, rows))
