"""One row of a screen after the other: statistics, permutations, p-values and the table's q."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch

from skdict.effects._assignments import random_places, uniform_draws
from skdict.effects._design import Blocks
from skdict.effects._tails import ENOUGH, PooledTails, groups_of
from skdict.kernels import get_permutation_kernels

STATISTICS = ("rate", "strength")

# A pair whose permutations cannot give such a p-value is none of the table that is adjusted: how
# many there are does not depend on its effect, and the hopeless would only burden the others.
WITHIN_REACH = 0.05


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
        self.sides = 2 if alternative == "two-sided" else 1
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
        # arrangements of each row, and of each pair's active units
        self.n_distinct = np.empty(n_rows)
        self.n_distinct_strengths = np.zeros(shape)

    def fill(self, row: int, blocks: Blocks, rng) -> None:
        """Test the concepts in one row."""
        active, rate, strength = self.kernels.permutation_moments(
            self.values, blocks.units, blocks.bounds, blocks.weights, self.group.shape[2]
        )
        self.n_distinct[row] = blocks.n_distinct()
        self._effects(row, rate, strength, blocks.square_weight)
        testable = np.stack([rate[2] > 0, strength[1] > 0]) & (active >= self.min_active_units)
        tested = testable.any(axis=0)
        if not tested.any():
            return
        groups = groups_of(active[tested], blocks.units.size, int(blocks.n_drawn.sum()))
        groups = np.where(testable[:, tested], groups, -1)
        self.group[:, row, tested] = groups
        entries = self.kernels.entries_of(self.values, blocks.units, tested)
        tests = [
            self._tests(rate[0, tested], rate[1, tested], rate[2, tested], groups[0]),
            self._tests(strength[0, tested], 0.0, strength[1, tested], groups[1]),
        ]
        counts, n_distinct = self._count(row, blocks, entries, tests, rng)
        self.n_distinct_strengths[row, tested] = n_distinct[1]
        for k, name in enumerate(STATISTICS):
            self._record(self.tables[name], row, tested, tests[k], counts[k], n_distinct[k])

    def _record(self, table, row, tested, tests, counts, n_distinct) -> None:
        """Enter statistics and p-values of one row."""
        exact = n_distinct <= self.n_permutations
        p_value, few = self._own(counts, n_distinct, exact)
        known = tests.groups >= 0
        table.z[row, tested] = np.where(known, tests.z, 0.0)
        table.p_value[row, tested] = np.where(known, p_value, 1.0)
        # marks, for `finish`, the pairs whose tail needs the draws of others
        table.tail_p_value[row, tested] = np.where(few & known, -1, np.where(known, p_value, 1.0))

    def _tests(self, statistic, mean, variance, groups):
        """Observed z, and what makes null statistics comparable to it."""
        known = groups >= 0
        inverse = np.where(known, 1 / np.sqrt(np.where(known, variance, 1.0)), 0.0)
        mean = np.broadcast_to(mean, statistic.shape).copy()
        return self.kernels.Tests(mean, inverse, (statistic - mean) * inverse, groups)

    def _effects(self, row, rate, strength, square_weight) -> None:
        """Slope of rate and strength on the weights: for two arms the difference of their means."""
        self.tables.rate.effect[row] = (rate[0] - rate[1]) / square_weight
        # of one arm only, or none: nothing to compare
        known = strength[2] > 1e-9 * square_weight
        self.tables.strength.effect[row] = np.where(
            known, strength[0] / np.where(known, strength[2], 1.0), np.nan
        )

    def _count(self, row, blocks, entries, tests, rng):
        """Permutations that reach z, and distinct ones; tails of random ones go to those of all."""
        n_tested = tests[0].z.size
        n_distinct = [np.full(n_tested, self.n_distinct[row]), np.empty(n_tested)]
        counts = [np.zeros((n_tested, 2), np.int64) for _ in STATISTICS]
        settings = (blocks.block, blocks.weights, self.n_permutations)
        if self.n_distinct[row] <= self.n_permutations:
            counts[0] = self.kernels.count_all_rates(
                entries, tests[0], blocks.bounds, blocks.weights
            )
            counts[1], n_distinct[1] = self.kernels.count_strengths(
                entries, tests[1], np.empty((0, 0)), *settings, False, self.tails.counts
            )
            return counts, n_distinct
        drawn_weights = blocks.weights[blocks.drawn_places]
        for k, uniform in enumerate(uniform_draws(blocks, self.n_permutations, rng)):
            drawn = random_places(blocks, uniform)
            counts[0] += self.kernels.count_rates(
                entries, tests[0], drawn, drawn_weights, self.tails.counts
            )
            more, n_distinct[1] = self.kernels.count_strengths(
                entries, tests[1], uniform, *settings, k > 0, self.tails.counts
            )
            counts[1] += more
        random = n_distinct[1] > self.n_permutations
        for groups in (tests[0].groups, tests[1].groups[random]):
            self.tails.add_draws(groups, self.n_permutations)
        return counts, n_distinct

    def _own(self, counts, n_distinct, exact):
        """P-values by a pair's own permutations, and which of them few permutations reach."""
        extra = np.where(exact, 0, 1)  # random draws do not hold the observed one
        n_counted = np.where(exact, n_distinct, self.n_permutations)
        share = (counts + extra[:, None]) / (n_counted + extra)[:, None]
        side = {"greater": 0, "less": 1}.get(self.alternative)
        if side is not None:
            p_value, reached = share[:, side], counts[:, side]
        else:
            p_value, reached = np.minimum(2 * share.min(axis=1), 1), counts.min(axis=1)
        few = (reached < ENOUGH) & ~exact
        return np.maximum(p_value, self._fewest(n_distinct)), few

    def _fewest(self, n_distinct):
        """Smallest p-value where there are so many permutations."""
        with np.errstate(divide="ignore"):
            return np.minimum(1.0, self.sides / n_distinct)

    def smallest(self, row) -> float:
        """Smallest p-value of a rate that the permutations of a row can give."""
        fewest = self._fewest(self.n_distinct[row])
        if self.n_distinct[row] > self.n_permutations:
            fewest = max(fewest, self._fewest(1 + self.n_permutations))
        return float(fewest)

    def finish(self) -> Bunch:
        """Tables with the tails of all rows together, and the q-values of the whole table."""
        n_distinct = [self.n_distinct[:, None], self.n_distinct_strengths]
        for k, name in enumerate(STATISTICS):
            table = self.tables[name]
            fewest = np.broadcast_to(self._fewest(n_distinct[k]), table.z.shape)
            self._add_tails(table, self.group[k], fewest)
            known = self.group[k] >= 0
            table.tested = known & (fewest <= WITHIN_REACH)
            table.n_out_of_reach = int(np.count_nonzero(known & ~table.tested))
        self._adjust()
        return self.tables

    def _add_tails(self, table, group, fewest) -> None:
        """P-values of the pairs that few draws of their own reach, by the draws of all."""
        row, concept = np.nonzero(table.tail_p_value < 0)
        z, own = table.z[row, concept], table.p_value[row, concept]
        above = z > 0
        if self.alternative != "two-sided":
            above = np.full(z.shape, self.alternative == "greater")
        pooled = self.sides * self.tails.p_value(z, group[row, concept], above)
        beyond = (np.abs(z) >= self.tails.floor) & ((z > 0) == above)
        table.tail_p_value[row, concept] = np.where(
            beyond, np.clip(pooled, fewest[row, concept], 1.0), own
        )

    def _adjust(self) -> None:
        """Benjamini-Hochberg over all tested pairs, rate and strength together."""
        tables = [self.tables[name] for name in STATISTICS]
        p_values = [table.tail_p_value[table.tested] for table in tables]
        everything = np.concatenate(p_values)
        if everything.size:
            q_values = np.split(false_discovery_control(everything), [p_values[0].size])
            for table, adjusted in zip(tables, q_values, strict=True):
                table.q_value[table.tested] = adjusted
