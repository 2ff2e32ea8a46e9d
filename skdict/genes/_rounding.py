"""Which scores are more than what rounding leaves of zero."""

from __future__ import annotations

import numpy as np

# Scores that are rounding of single precision, relative to the largest of the concept.
_ROUNDING = 1e-5


def is_change(scores) -> np.ndarray:
    """Which scores of each concept are more than rounding.

    Parameters
    ----------
    scores : ndarray, shape (..., n_genes)
        Attributions; NaN where there is none.

    Returns
    -------
    ndarray of bool, shape of `scores`
        True where the absolute value is above 1e-5 of the largest in its row; False for NaN.
    """
    size = np.abs(scores)
    known = np.where(np.isnan(size), 0, size)
    return size > _ROUNDING * known.max(axis=-1, keepdims=True, initial=0)
