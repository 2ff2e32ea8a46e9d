"""One row of a screen after the other: statistics, permutations, p-values and the table's q."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch

from skdict.effects._assignments import assignments, is_exact
from skdict.effects._design import Blocks
from skdict.effects._tails import ENOUGH, PooledTails, groups_of
from skdict.kernels import get_permutation_kernels

STATISTICS = ("rate", "strength")
# Standardised sums that differ by less are equal: the same values added in another order.
_TIE = 1e-9


class TableTest:
    """Permutation tests of rate and strength for the rows of a table, filled row by row.

    Parameters
    ----------
    values : SparseUnits
        Rates and strengths of the units.
    n_rows, n_concepts : int
        Shape of the table.
    alternative : {"two-sided", "greater", "less"}
        Side of the tests.
    n_permutations : int
        Permutations of each row.
    min_active_units : int
        Fewest units in which a concept is active, for its pair to be tested.
    """

    def __init__(
        self, values, n_rows, n_concepts, *, alternative, n_permutations, min_active_units
    ):
        self.values, self.alternative = values, alternative
        self.n_permutations, self.min_active_units = n_permutations, min_active_units
        self.kernels = get_permutation_kernels()
        self.tails = PooledTails()
        shape = (n_rows, n_concepts)
        self.tables = Bunch(**{
            name: Bunch(
                effect=np.zeros(shape, np.float32), z=np.zeros(shape, np.float32),
                p_value=np.ones(shape), tail_p_value=np.ones(shape), q_value=np.ones(shape),
            )
            for name in STATISTICS
        })  # fmt: skip
        self.group = np.full((2, *shape), -1, np.int8)
        self.n_distinct = np.empty(n_rows)
        self.exact = np.zeros(n_rows, dtype=bool)

    def fill(self, row: int, blocks: Blocks, rng) -> None:
        """Test the concepts in one row."""
        active, rate, strength = self.kernels.permutation_moments(
            self.values, blocks.units, blocks.bounds, blocks.weights, self.group.shape[2]
        )
        self.n_distinct[row] = blocks.n_distinct()
        self.exact[row] = is_exact(blocks, self.n_permutations)
        self._effects(row, rate, strength, blocks.square_weight)
        testable = np.stack([rate[2] > 0, strength[2] > 0]) & (active >= self.min_active_units)
        tested = testable.any(axis=0)
        if not tested.any():
            return
        rate, strength, testable = rate[:, tested], strength[:, tested], testable[:, tested]
        inverse = [_one_over_root(rate[2]), _one_over_root(strength[1])]
        z = np.stack([(rate[0] - rate[1]) * inverse[0], strength[0] * inverse[1]], axis=1)
        groups = groups_of(active[tested], blocks.units.size, int(blocks.n_drawn.sum()))
        groups = np.where(testable.T, groups, -1)
        counts, n_permutations = self._count(
            row, blocks, tested, rate[1], inverse[0], z, groups, rng
        )
        self.group[:, row, tested] = groups.T
        for k, name in enumerate(STATISTICS):
            table, known = self.tables[name], groups[:, k] >= 0
            table.z[row, tested] = np.where(known, z[:, k], 0.0)
            p_value, few = self._own(counts[:, 2 * k : 2 * k + 2], row, n_permutations)
            p_value[~known] = 1.0
            table.p_value[row, tested] = p_value
            # marks, for `finish`, the pairs whose tail needs the draws of others
            table.tail_p_value[row, tested] = np.where(few & known, -1, p_value)

    def _effects(self, row, rate, strength, square_weight) -> None:
        """Slope of rate and strength on the weights: for two arms the difference of their means."""
        self.tables.rate.effect[row] = (rate[0] - rate[1]) / square_weight
        # of one arm only, or none: nothing to compare
        known = strength[3] > 1e-9 * square_weight
        self.tables.strength.effect[row] = np.where(
            known, strength[0] / np.where(known, strength[3], 1.0), np.nan
        )

    def _count(self, row, blocks, tested, mean, inverse, z, groups, rng):
        """Permutations that reach z; the tails of random ones are added to those of all rows."""
        reach = np.stack([z - _TIE, z + _TIE], axis=2).reshape(-1, 4)
        own_groups = np.full_like(groups, -1) if self.exact[row] else groups
        counts, n_permutations = np.zeros((reach.shape[0], 4), np.int64), 0
        for drawn in assignments(blocks, self.n_permutations, rng):
            counts += self.kernels.count_permutations(
                self.values, blocks.units, blocks.bounds, tested, drawn, blocks.drawn_bounds,
                blocks.weights[blocks.drawn_places], mean, inverse, reach, own_groups,
                self.tails.counts,
            )  # fmt: skip
            n_permutations += drawn.shape[0]
        self.tails.add_draws(own_groups, n_permutations)
        return counts, n_permutations

    def _own(self, counts, row, n_permutations):
        """P-values by a row's own permutations, and which of them few permutations reach."""
        extra = 0 if self.exact[row] else 1  # random draws do not hold the observed one
        share = (counts + extra) / (n_permutations + extra)
        side = {"greater": 0, "less": 1}.get(self.alternative)
        if side is not None:
            p_value, reached = share[:, side], counts[:, side]
        else:
            p_value, reached = np.minimum(2 * share.min(axis=1), 1), counts.min(axis=1)
        few = (reached < ENOUGH) & ~self.exact[row]
        return np.maximum(p_value, self.smallest(row)), few

    def smallest(self, row) -> float:
        """Smallest p-value that the permutations of a row can give."""
        sides = 2 if self.alternative == "two-sided" else 1
        fewest = 1 / self.n_distinct[row]
        if not self.exact[row]:
            fewest = max(fewest, 1 / (1 + self.n_permutations))
        return min(1.0, sides * fewest)

    def finish(self) -> Bunch:
        """Tables with the tails of all rows together, and the q-values of the whole table."""
        sides = 2 if self.alternative == "two-sided" else 1
        for k, name in enumerate(STATISTICS):
            table = self.tables[name]
            row, concept = np.nonzero(table.tail_p_value < 0)
            z = table.z[row, concept]
            above = z > 0 if sides == 2 else np.full(z.shape, self.alternative == "greater")
            own = table.p_value[row, concept]
            pooled = sides * self.tails.p_value(z, self.group[k, row, concept], above)
            beyond = (np.abs(z) >= self.tails.floor) & ((z > 0) == above)
            fewest = np.minimum(1.0, sides / self.n_distinct[row])
            table.tail_p_value[row, concept] = np.where(beyond, np.clip(pooled, fewest, 1.0), own)
        self._adjust()
        return self.tables

    def _adjust(self) -> None:
        """Benjamini-Hochberg over all tested pairs, rate and strength together."""
        tested = [self.group[k] >= 0 for k in range(2)]
        p_values = [self.tables[name].tail_p_value[tested[k]] for k, name in enumerate(STATISTICS)]
        everything = np.concatenate(p_values)
        if everything.size:
            q_values = np.split(false_discovery_control(everything), [p_values[0].size])
            for k, name in enumerate(STATISTICS):
                self.tables[name].q_value[tested[k]] = q_values[k]


def _one_over_root(variance) -> np.ndarray:
    """One over the standard deviation, 0 where there is none."""
    return np.where(variance > 0, 1 / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
