"""Random permutations of weights within plates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skdict.effects._design import Blocks
from skdict.kernels import get_permutation_kernels

# Random numbers held at once: 64 MB beside as many places.
_BLOCK_DRAWS = 1 << 23


def uniform_draws(blocks: Blocks, n_permutations: int, rng) -> Iterator[np.ndarray]:
    """Yield uniform random numbers for some permutations after the other, (some, n_drawn).

    Parameters
    ----------
    blocks : Blocks
        The units.
    n_permutations : int
        How many permutations in all.
    rng : RandomState
        Source of the draws.
    """
    n_drawn = int(blocks.n_drawn.sum())
    size = max(1, _BLOCK_DRAWS // n_drawn)
    for start in range(0, n_permutations, size):
        yield rng.random_sample((min(size, n_permutations - start), n_drawn))


def random_places(blocks: Blocks, uniform: np.ndarray) -> np.ndarray:
    """Places that the weights go to in random permutations, shape (n_permutations, n_drawn).

    Parameters
    ----------
    blocks : Blocks
        The units.
    uniform : ndarray, shape (n_permutations, n_drawn)
        Random numbers.
    """
    return get_permutation_kernels().draw_subsets(uniform, blocks.bounds, blocks.drawn_bounds)
