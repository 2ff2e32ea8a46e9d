"""Permutations of weights within plates: all of them where they are few, random ones elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from skdict.effects._design import Blocks
from skdict.kernels import get_permutation_kernels

# Drawn places held at once: 64 MB beside as many random numbers.
_BLOCK_DRAWS = 1 << 23


def is_exact(blocks: Blocks, n_permutations: int) -> bool:
    """Whether all permutations are few enough to be gone through."""
    return _n_ordered(blocks) <= n_permutations


def assignments(blocks: Blocks, n_permutations: int, rng) -> Iterator[np.ndarray]:
    """Yield arrays of the places that the weights go to, shape (some, n_drawn).

    All permutations where they are at most `n_permutations`, the observed one among them; else
    `n_permutations` random ones, without it.

    Parameters
    ----------
    blocks : Blocks
        The units.
    n_permutations : int
        How many at most.
    rng : RandomState
        Source of the draws.
    """
    if is_exact(blocks, n_permutations):
        yield _all(blocks)
        return
    size = max(1, _BLOCK_DRAWS // int(blocks.n_drawn.sum()))
    for start in range(0, n_permutations, size):
        n_now = min(size, n_permutations - start)
        uniform = rng.random_sample((n_now, int(blocks.n_drawn.sum())))
        yield get_permutation_kernels().draw_subsets(uniform, blocks.bounds, blocks.drawn_bounds)


def _has_equal_weights(blocks: Blocks) -> bool:
    """Whether the drawn units of a plate weigh alike, so that their order does not matter."""
    weights = blocks.weights[blocks.drawn_places]
    parts = np.split(weights, blocks.drawn_bounds[1:-1])
    return all(np.ptp(part) == 0 for part in parts)


def _n_ordered(blocks: Blocks) -> int:
    """Number of assignments that are gone through."""
    count = math.comb if _has_equal_weights(blocks) else math.perm
    return math.prod(
        count(int(size), int(n)) for size, n in zip(blocks.sizes, blocks.n_drawn, strict=True)
    )


def _all(blocks: Blocks) -> np.ndarray:
    """All assignments, shape (n_assignments, n_drawn)."""
    ways = itertools.combinations if _has_equal_weights(blocks) else itertools.permutations
    places = [
        ways(range(first, last), int(n))
        for first, last, n in zip(
            blocks.bounds[:-1], blocks.bounds[1:], blocks.n_drawn, strict=True
        )
    ]
    whole = [list(itertools.chain(*parts)) for parts in itertools.product(*places)]
    return np.array(whole, dtype=np.int64)
