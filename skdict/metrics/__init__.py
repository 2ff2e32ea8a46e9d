"""Arrays in, numbers out: what a set of codes says, and how well it reconstructs.

The functions take codes (sparse or dense), labels and embeddings; none of them knows an
estimator. Only :class:`SelectivityScorer` calls one, through its ``transform``.
"""

from skdict.metrics._null import selectivity_null
from skdict.metrics._reconstruction import explained_variance, reconstruction_cosine
from skdict.metrics._recovery import dictionary_recovery
from skdict.metrics._scorers import SelectivityScorer
from skdict.metrics._selectivity import (
    best_features,
    best_labels,
    count_selective,
    held_out_selectivity,
    selectivity_scores,
)
from skdict.metrics._usage import activation_frequency, dead_fraction

__all__ = [
    "SelectivityScorer",
    "activation_frequency",
    "best_features",
    "best_labels",
    "count_selective",
    "dead_fraction",
    "dictionary_recovery",
    "explained_variance",
    "held_out_selectivity",
    "reconstruction_cosine",
    "selectivity_null",
    "selectivity_scores",
]
