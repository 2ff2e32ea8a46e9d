"""Estimators as the displays take them: alone, or at the end of a pipeline."""

from __future__ import annotations

from sklearn.pipeline import Pipeline

from skdict.metrics._scorers import drop_passthrough


def split_pipeline(estimator):
    """Return (steps before the dictionary or None, dictionary) of an estimator or pipeline."""
    if isinstance(estimator, Pipeline):
        estimator = drop_passthrough(estimator)
    if not isinstance(estimator, Pipeline) or not len(estimator):
        return None, estimator
    return (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]
