"""Benjamini-Hochberg q-values of tables in which many p-values are equal, or missing."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control


def q_values(p_value: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q-values over all entries that are not NaN.

    Parameters
    ----------
    p_value : ndarray, any shape
        P-values; NaN where nothing was tested.

    Returns
    -------
    ndarray, the same shape
        The q-values; NaN where p-values are.
    """
    q_value = np.full(p_value.shape, np.nan)
    tested = np.isfinite(p_value)
    if tested.any():
        q_value[tested] = false_discovery_control(p_value[tested])
    return q_value


def q_values_of_counts(p_value: np.ndarray, counts: np.ndarray, n_tests: int) -> np.ndarray:
    """Benjamini-Hochberg q-values of p-values that each stand for several tests.

    Parameters
    ----------
    p_value : ndarray, shape (n_values,)
        P-values, which may be equal.
    counts : ndarray of int, shape (n_values,)
        How many tests have this p-value.
    n_tests : int
        Number of tests; those not counted have p-values of 1.

    Returns
    -------
    ndarray, shape (n_values,)
        The q-values.
    """
    order = np.argsort(p_value)
    rank = np.cumsum(counts[order])
    ratio = p_value[order] * n_tests / np.maximum(rank, 1)
    # of all cuts that include a test, the one with the smallest share; of tied ones, the last
    ratio = np.minimum(np.minimum.accumulate(ratio[::-1])[::-1], 1)
    q_value = np.empty(p_value.shape)
    q_value[order] = ratio
    return q_value
