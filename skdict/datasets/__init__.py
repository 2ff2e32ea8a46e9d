"""Real profiles and images that ship with the package, a reader for one's own, and planted data."""

from skdict.datasets._batches import make_batches
from skdict.datasets._cell_fields import make_cell_fields
from skdict.datasets._driver_genes import make_driver_genes
from skdict.datasets._images import load_cell_painting_crops, load_schwann_fields
from skdict.datasets._pbmc import load_pbmc
from skdict.datasets._profiles import read_profiles
from skdict.datasets._shipped import load_jump_scope, load_pediatric_cell_atlas
from skdict.datasets._superposition import make_superposition

__all__ = [
    "load_cell_painting_crops",
    "load_jump_scope",
    "load_pbmc",
    "load_pediatric_cell_atlas",
    "load_schwann_fields",
    "make_batches",
    "make_cell_fields",
    "make_driver_genes",
    "make_superposition",
    "read_profiles",
]
