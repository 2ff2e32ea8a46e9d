"""Paired differences of two configurations, with intervals by resampled units.

Both are judged on the same folds with the same seeds. The rows of a unit share its fate in every
resample, those of all seeds together: seeds add no units.
"""

import warnings

import numpy as np

from skdict.probing import probe_difference_interval


def accuracy_difference(data, first, second, name, n_resamples):
    """Balanced accuracy of probes, first minus second.

    Parameters
    ----------
    data : StudyData
        The set.
    first, second : list of dict
        Results of `evaluate` by seed.
    name : str
        Representation.
    n_resamples : int
        Resamples of the units.
    """
    y = np.unique(data.y[data.probed], return_inverse=True)[1]
    units, strata = data.units[data.probed], data.resampled_strata
    n_seeds = len(first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # unit counts are shown beside the interval
        found = probe_difference_interval(
            np.tile(y, n_seeds),
            np.concatenate([result["predictions"][name] for result in first]),
            np.concatenate([result["predictions"][name] for result in second]),
            units=np.tile(units, n_seeds),
            strata=None if strata is None else np.tile(strata, n_seeds),
            n_resamples=n_resamples,
            random_state=0,
        )
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "first": found.balanced_accuracy,
        "second": found.balanced_accuracy_other,
        "n_units": found.n_units,
    }


def selectivity_difference(data, first, second, n_resamples):
    """Held-out selectivity, mean over labels, first minus second; results with ``units``."""
    _, first_rows, units = np.unique(
        data.units[data.probed], return_index=True, return_inverse=True
    )
    n_units = units.max() + 1
    stratum = np.zeros(n_units, int)
    if data.resampled_strata is not None:
        stratum = np.unique(data.resampled_strata, return_inverse=True)[1][first_rows]
    weights = draw_weights(stratum, n_resamples)
    resampled, point = [], []
    for results in (first, second):
        counts = np.sum([result["units"] for result in results], axis=0)
        point.append(held_out(np.ones((1, n_units)), counts)[0])
        resampled.append(held_out(weights, counts))
    differences = resampled[0] - resampled[1]
    low, high = np.quantile(differences, (0.025, 0.975))
    return {
        "difference": point[0] - point[1],
        "low": low,
        "high": high,
        "first": point[0],
        "second": point[1],
        "n_units": n_units,
    }


def draw_weights(stratum, n_resamples):
    """How often each unit is drawn in each resample, as many per stratum as there are."""
    rng = np.random.default_rng(0)
    weights = np.zeros((n_resamples, stratum.size))
    for one in np.unique(stratum):
        members = np.flatnonzero(stratum == one)
        share = np.full(members.size, 1 / members.size)
        weights[:, members] = rng.multinomial(members.size, share, size=n_resamples)
    return weights


def held_out(weights, counts):
    """Mean held-out selectivity under weights of units.

    Parameters
    ----------
    weights : ndarray of shape (n_resamples, n_units)
        Weights.
    counts : array-like of shape (n_units, 3, n_labels)
        As `evaluate.Pooled.unit_counts` gives them.
    """
    rows, own, other = (weights @ np.asarray(counts)[:, k] for k in range(3))
    rest = rows.sum(axis=1, keepdims=True) - rows
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample may miss a label
        return np.nanmean(own / rows - other / rest, axis=1)
