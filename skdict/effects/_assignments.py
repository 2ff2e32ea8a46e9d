"""Random permutations of weights within plates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Random numbers held at once: 64 MB beside as many places.
_BLOCK_DRAWS = 1 << 23


def uniform_draws(n_drawn: int, n_permutations: int, rng) -> Iterator[np.ndarray]:
    """Yield uniform random numbers for some permutations after the other, (some, n_drawn).

    Parameters
    ----------
    n_drawn : int
        Units that are drawn in a permutation.
    n_permutations : int
        How many permutations in all.
    rng : RandomState
        Source of the draws.
    """
    size = max(1, _BLOCK_DRAWS // n_drawn)
    for start in range(0, n_permutations, size):
        yield rng.random_sample((min(size, n_permutations - start), n_drawn))
