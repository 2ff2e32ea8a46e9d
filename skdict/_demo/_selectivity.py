"""Selectivity of the features of one model: as chosen, by chance, and on held-out plates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdict import metrics

THRESHOLDS = {"above_05": 0.5, "above_02": 0.2}


@dataclass
class Curves:
    """What the plots show of one model, an entry per compound or per feature."""

    labels: np.ndarray
    best: np.ndarray
    """Best selectivity of each compound on the training plates."""
    held_out: np.ndarray
    """Selectivity of the same features on the held-out plates."""
    chance: np.ndarray
    """Expected maximum over the features with labels permuted within plates."""
    frequency: np.ndarray
    n_samples: int


def judge_selectivity(codes, compound, plate, train, test, *, n_permutations, seed):
    """Measure selectivity on training rows, with its null and its held-out values.

    Parameters
    ----------
    codes : CSR of shape (n_samples, n_components)
        Codes of all rows.
    compound, plate : ndarray of shape (n_samples,)
        Label and physical plate of each row.
    train, test : ndarray of int
        Rows that choose features, and rows that are held out; controls are in neither.
    n_permutations : int
        Permutations of the labels within plates.
    seed : int
        Their randomness.

    Returns
    -------
    values : dict of float
        The metrics of the table.
    curves : Curves
        The values behind them by compound.
    """
    held_out = metrics.held_out_selectivity(
        codes[train], compound[train], codes[test], compound[test]
    )
    null = metrics.selectivity_null(
        codes[train], compound[train], strata=plate[train], n_permutations=n_permutations,
        labels=held_out.labels, random_state=seed,
    )  # fmt: skip
    values = {
        "selectivity": held_out.train_score.mean(),
        "chance_selectivity": null.expected_maximum.mean(),
        "held_selectivity": held_out.test_score.mean(),
        "beyond_chance": float(np.count_nonzero(null.p_value <= 0.05)),
        **_counts(codes, compound, train, test),
        **_chance_counts(codes[train], compound[train], plate[train], n_permutations, seed),
    }
    curves = Curves(
        labels=held_out.labels,
        best=held_out.train_score,
        held_out=held_out.test_score,
        chance=null.expected_maximum,
        frequency=metrics.activation_frequency(codes),
        n_samples=codes.shape[0],
    )
    return values, curves


def _counts(codes, compound, train, test) -> dict[str, float]:
    """Features above a threshold, and how many of them stay above it on held-out rows.

    A feature keeps the compound that it is most selective for on the training rows.
    """
    labels = np.intersect1d(compound[train], compound[test])
    on_train, on_test = (
        metrics.selectivity_scores(codes[rows], compound[rows], labels=labels)
        for rows in (train, test)
    )
    first = on_train.argmax(axis=0)
    features = np.arange(first.size)
    chosen, held = on_train[first, features], on_test[first, features]
    values = {}
    for key, threshold in THRESHOLDS.items():
        above = chosen > threshold
        values[key] = float(np.count_nonzero(above))
        values[f"held_{key}"] = float(np.count_nonzero(above & (held > threshold)))
    return values


def _chance_counts(codes, compound, plate, n_permutations, seed) -> dict[str, float]:
    """Mean number of features above a threshold when labels are permuted within plates."""
    random = np.random.default_rng(seed)
    total = np.zeros(len(THRESHOLDS))
    for _ in range(n_permutations):
        permuted = compound.copy()
        for one in np.unique(plate):
            rows = np.flatnonzero(plate == one)
            permuted[rows] = compound[random.permutation(rows)]
        total += metrics.count_selective(codes, permuted, tuple(THRESHOLDS.values()))
    keys = (f"chance_{key}" for key in THRESHOLDS)
    return dict(zip(keys, (total / n_permutations).tolist(), strict=True))
