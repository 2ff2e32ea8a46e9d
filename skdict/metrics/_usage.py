"""How often the components of a dictionary are used (Donhauser et al., ICML 2025, Table 1)."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_real
from skdict.metrics._activity import active_pattern, column_counts


def activation_frequency(codes, *, active="nonzero") -> np.ndarray:
    """Share of the samples in which each component is active.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold.

    Returns
    -------
    ndarray of float64, shape (n_components,)
        Frequencies in [0, 1]; their sum is the mean number of active components per sample.

    Raises
    ------
    ValueError
        If `codes` are not two-dimensional, numeric and finite.

    Examples
    --------
    >>> from skdict.metrics import activation_frequency
    >>> activation_frequency([[1.0, 0.0, -2.0], [0.5, 0.0, 0.0]])
    array([1. , 0. , 0.5])
    """
    pattern = active_pattern(codes, active)
    return column_counts(pattern) / pattern.shape[0]


def dead_fraction(codes, *, min_fraction: float = 1e-5, active="nonzero") -> float:
    """Share of the components that are active in less than `min_fraction` of the samples.

    The paper calls a feature dead that was active for less than a fraction 1e-5 of the
    tokens of the last 1,000 training steps. This function applies the same rule to the codes
    it is given: with fewer than 100,000 samples, that means "never active". A dictionary's
    ``history_["dead_fraction"]`` holds the count over the training window.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary.
    min_fraction : float in [0, 1], default=1e-5
        A component is dead when its frequency is below this value, or when it is never
        active.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold.

    Returns
    -------
    float
        Number of dead components divided by the number of components.

    Raises
    ------
    ValueError
        If `codes` are not two-dimensional, numeric and finite, or `min_fraction` is outside
        [0, 1].

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Table 1.

    Examples
    --------
    >>> from skdict.metrics import dead_fraction
    >>> dead_fraction([[1.0, 0.0, -2.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    0.5
    """
    check_real("min_fraction", min_fraction, 0.0, 1.0)
    frequency = activation_frequency(codes, active=active)
    return float(np.mean((frequency < min_fraction) | (frequency == 0)))
