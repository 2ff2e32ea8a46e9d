"""Linear probes: what can be read from embeddings, codes and reconstructions, and how surely.

Every probe is a logistic regression with balanced classes, scored by balanced accuracy on whole
groups that it has not seen. Intervals resample independent units, never folds or seeds.
"""

from skdict.probing._gap import probe_gap
from skdict.probing._intervals import probe_difference_interval, probe_interval
from skdict.probing._layers import probe_layers
from skdict.probing._representations import probe_representations
from skdict.probing._sparse import sparse_probe
from skdict.probing._subspaces import probe_subspaces, split_subspaces

__all__ = [
    "probe_difference_interval",
    "probe_gap",
    "probe_interval",
    "probe_layers",
    "probe_representations",
    "probe_subspaces",
    "sparse_probe",
    "split_subspaces",
]
