"""Real profiles that ship with the package, a reader for one's own, and planted data."""

from skdict.datasets._profiles import read_profiles
from skdict.datasets._shipped import load_jump_scope, load_pediatric_cell_atlas
from skdict.datasets._superposition import make_superposition

__all__ = [
    "load_jump_scope",
    "load_pediatric_cell_atlas",
    "make_superposition",
    "read_profiles",
]
