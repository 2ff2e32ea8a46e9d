"""Arrays in, numbers out: what a set of codes says, and how well it reconstructs.

The functions take codes (sparse or dense), labels and embeddings; none of them knows an
estimator. Only :class:`SelectivityScorer` calls one, through its ``transform``.
"""

from skdict.metrics._absorption import feature_absorption
from skdict.metrics._activity import activation_thresholds
from skdict.metrics._atoms import atom_similarity, map_atoms, random_atoms
from skdict.metrics._directions import direction_separation
from skdict.metrics._maps import aggregate_embeddings, explain_difference, perturbation_map
from skdict.metrics._null import selectivity_null
from skdict.metrics._reconstruction import explained_variance, reconstruction_cosine
from skdict.metrics._recovery import (
    code_recovery,
    dictionary_recovery,
    recovery_by_structure,
)
from skdict.metrics._scorers import SelectivityScorer
from skdict.metrics._selectivity import (
    best_features,
    best_labels,
    count_selective,
    held_out_selectivity,
    selectivity_scores,
)
from skdict.metrics._selectivity_curves import selectivity_curves
from skdict.metrics._selectivity_halves import split_half_selectivity
from skdict.metrics._selectivity_interval import (
    selectivity_difference_interval,
    selectivity_interval,
)
from skdict.metrics._selectivity_test import SelectivityTest, selectivity_test
from skdict.metrics._stability import activation_stability, dictionary_stability
from skdict.metrics._usage import (
    activation_frequency,
    dead_counts,
    dead_fraction,
    usage_density,
)

__all__ = [
    "SelectivityScorer",
    "SelectivityTest",
    "activation_frequency",
    "activation_stability",
    "activation_thresholds",
    "aggregate_embeddings",
    "atom_similarity",
    "best_features",
    "best_labels",
    "code_recovery",
    "count_selective",
    "dead_counts",
    "dead_fraction",
    "dictionary_recovery",
    "dictionary_stability",
    "direction_separation",
    "explain_difference",
    "explained_variance",
    "feature_absorption",
    "held_out_selectivity",
    "map_atoms",
    "perturbation_map",
    "random_atoms",
    "reconstruction_cosine",
    "recovery_by_structure",
    "selectivity_curves",
    "selectivity_difference_interval",
    "selectivity_interval",
    "selectivity_null",
    "selectivity_scores",
    "selectivity_test",
    "split_half_selectivity",
    "usage_density",
]
