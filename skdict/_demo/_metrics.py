"""The numbers the demo reports: their names, their digits and which way is better."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Metric(NamedTuple):
    """One row of the table."""

    key: str
    label: str
    digits: int
    better: str
    """"higher", "lower", or "" for a number that only gives the scale of others."""
    group: str
    unit: str


RECONSTRUCTION = "Reconstruction"
SELECTIVITY = "Selectivity of single features for compounds"
PROBE = "Mechanism read by a linear probe, balanced accuracy"

_COSINE = "cosine, 1 is perfect"
_SHARES = "selectivity, 1 is perfect"
_ACCURACY = "mechanism, balanced accuracy"
_NUMBER = "number"

# A star marks what is confounded with the position on the plate.
METRICS = (
    Metric("fit_cosine", "cosine, rows it was fitted on", 3, "higher", RECONSTRUCTION, _COSINE),
    Metric("held_cosine", "cosine, held-out plates *", 3, "higher", RECONSTRUCTION, _COSINE),
    Metric("dead", "dead features", 1, "lower", RECONSTRUCTION, _NUMBER),
    Metric("selectivity", "best per compound, mean", 3, "higher", SELECTIVITY, _SHARES),
    Metric("chance_selectivity", "  by chance: maximum, permuted", 3, "", SELECTIVITY, _SHARES),
    Metric("held_selectivity", "  held-out plates *", 3, "higher", SELECTIVITY, _SHARES),
    Metric("beyond_chance", "compounds beyond chance", 1, "higher", SELECTIVITY, _NUMBER),
    Metric("above_05", "features above 0.5", 1, "higher", SELECTIVITY, _NUMBER),
    Metric("chance_above_05", "  by chance: permuted", 1, "", SELECTIVITY, _NUMBER),
    Metric("held_above_05", "  held-out plates *", 1, "higher", SELECTIVITY, _NUMBER),
    Metric("above_02", "features above 0.2", 1, "higher", SELECTIVITY, _NUMBER),
    Metric("chance_above_02", "  by chance: permuted", 1, "", SELECTIVITY, _NUMBER),
    Metric("held_above_02", "  held-out plates *", 1, "higher", SELECTIVITY, _NUMBER),
    Metric("codes_compound", "codes, held-out compounds", 3, "higher", PROBE, _ACCURACY),
    Metric("rebuilt_compound", "reconstructions, held-out comp.", 3, "higher", PROBE, _ACCURACY),
    Metric("codes_plate", "codes, held-out plates *", 3, "higher", PROBE, _ACCURACY),
    Metric("rebuilt_plate", "reconstructions, held-out plates *", 3, "higher", PROBE, _ACCURACY),
)  # fmt: skip
BY_KEY = {metric.key: metric for metric in METRICS}
RAW = {
    "compound": "raw embeddings, held-out compounds",
    "plate": "raw embeddings, held-out plates *",
}


def spread(values) -> float:
    """Standard deviation over seeds (ddof=1), NaN for a single seed."""
    values = np.asarray(values, dtype=float)
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")


def show(values, digits: int) -> str:
    """Mean and spread as text, for example ``0.812 ±0.003``."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ±{spread(values):.{digits}f}"


def compare(first, second, digits: int, *, floor: float = 0.0) -> str:
    """Say whether `first` is "higher" or "lower" than `second`, or "unclear".

    Higher means: higher in every seed, on average by more than twice the spread over seeds (the
    larger of the two, and no less than `floor`), and visible at the printed number of digits. This
    is a rule of thumb against reading noise of seeds as a result, not a significance test; with
    one seed nothing is clear.

    Parameters
    ----------
    first, second : array-like of float, shape (n_seeds,)
        The same metric of two models, paired by seed.
    digits : int
        Decimal digits that are printed.
    floor : float, default=0.0
        Smallest spread to reckon with.

    Returns
    -------
    str
        ``"higher"``, ``"lower"`` or ``"unclear"``.

    Examples
    --------
    >>> from skdict._demo._metrics import compare
    >>> compare([0.50, 0.51, 0.52], [0.30, 0.31, 0.30], digits=2)
    'higher'
    >>> compare([0.50, 0.60, 0.40], [0.45, 0.40, 0.39], digits=2)
    'unclear'
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference = first - second
    if difference.size < 2:
        return "unclear"
    mean = difference.mean()
    same_sign = bool((difference > 0).all() or (difference < 0).all())
    beyond = abs(mean) > 2 * max(spread(first), spread(second), floor)
    visible = abs(mean) >= 10.0**-digits
    if not (same_sign and beyond and visible):
        return "unclear"
    return "higher" if mean > 0 else "lower"
