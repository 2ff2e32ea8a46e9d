"""Embeddings with some concepts turned down or up, and what that does."""

from skdict.steering._batch import BatchSuppression, batch_selectivity, suppress_batch
from skdict.steering._effect import SteeringEffect, steering_effect
from skdict.steering._steer import steer

__all__ = [
    "BatchSuppression",
    "SteeringEffect",
    "batch_selectivity",
    "steer",
    "steering_effect",
    "suppress_batch",
]
