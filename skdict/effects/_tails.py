"""Null statistics of all pairs together: tails beyond what the draws of one pair can show.

999 permutations cannot tell 0.001 from 0.000001, and in a table of millions of pairs only the
latter means anything. Standardised with their exact mean and variance, the statistics of pairs that
are active in about as many units have about the same tail; so their draws are counted together.
"""

from __future__ import annotations

import numpy as np

from skdict.kernels import get_permutation_kernels

# Draws of its own that must reach a statistic, for these draws alone to give its p-value.
ENOUGH = 10

_N_SIZES = 10
N_GROUPS = 3 * _N_SIZES
_N_SHARES = 8


def groups_of(active, n_units: int, n_drawn: int) -> np.ndarray:
    """Group of each pair for rate and strength, shape (2, n_concepts).

    By the expected number of drawn units in which the concept is active, in powers of two. A rate
    that is active in most units is as skewed as one that is inactive in most, the other way round.

    Parameters
    ----------
    active : ndarray of int, shape (n_concepts,)
        Units in which each concept is active.
    n_units, n_drawn : int
        Number of units, and of those drawn.
    """
    share = n_drawn / n_units
    strength = _size(active * share)
    often = 2 * active > n_units
    rate = np.where(often, _N_SIZES + _size((n_units - active) * share), strength)
    return np.stack([rate, 2 * _N_SIZES + strength])


def share_class(n_units: int, n_drawn: int, welch: bool) -> int:
    """Class of designs by the share of units drawn, in powers of two: their tails differ.

    Parameters
    ----------
    n_units, n_drawn : int
        Number of units, and of those drawn.
    welch : bool
        Whether each arm has a variance of its own, which makes tails heavier.
    """
    share = int(min(max(np.floor(np.log2(n_units / n_drawn)), 0), _N_SHARES - 1))
    return share + _N_SHARES * welch


def _size(expected) -> np.ndarray:
    """Power of two, from below 1/4 to 64 and more."""
    with np.errstate(divide="ignore"):
        power = np.floor(np.log2(np.asarray(expected, dtype=np.float64)))
    return np.clip(power + 3, 0, _N_SIZES - 1).astype(np.int64)


class PooledTails:
    """Counts of null statistics by class of design, group, side and distance from zero."""

    def __init__(self):
        kernels = get_permutation_kernels()
        self.floor, self._width = kernels.FLOOR, kernels.BIN_WIDTH
        self.counts = np.zeros((2 * _N_SHARES, N_GROUPS, 2, kernels.N_BINS), np.int64)
        self.n_draws = np.zeros((2 * _N_SHARES, N_GROUPS))

    def add_draws(self, share: int, groups, n_permutations: int) -> None:
        """Note how many statistics were drawn in each group.

        Parameters
        ----------
        share : int
            Class of the design.
        groups : ndarray of int
            Group of each pair, -1 for pairs that are not tested.
        n_permutations : int
            Draws of each.
        """
        tested = groups[groups >= 0]
        self.n_draws[share] += np.bincount(tested, minlength=N_GROUPS) * float(n_permutations)

    def p_value(self, z, share, group, above) -> np.ndarray:
        """One-sided share of the null statistics at least as far out, in the same group.

        Parameters
        ----------
        z : ndarray
            Standardised statistics beyond the floor.
        share, group : ndarray of int
            Classes of their designs, and their groups.
        above : ndarray of bool
            Whether they lie above zero.
        """
        # A bin that is shared counts whole, and equal statistics may differ in the last digits and
        # lie in the bin below: p-values err upwards.
        place = ((np.abs(z) * (1 - 1e-9) - 1e-9 - self.floor) / self._width).astype(np.int64)
        place = np.clip(place, 0, self.counts.shape[3] - 1)
        key = (share.astype(np.int64) * N_GROUPS + group) * 2 + above
        tables = self.counts.reshape(-1, self.counts.shape[3])
        reached = np.empty(z.shape[0], np.int64)
        for one in np.unique(key):  # of the many tables few are in use
            pairs = key == one
            reached[pairs] = np.cumsum(tables[one, ::-1])[::-1][place[pairs]]
        return (1 + reached) / (1 + self.n_draws[share, group])
