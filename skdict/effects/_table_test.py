"""One row of a screen after the other: statistics, permutations, p-values and the table's q."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch

from skdict.effects._assignments import uniform_draws
from skdict.effects._design import Blocks
from skdict.effects._tails import ENOUGH, PooledTails, groups_of, share_class
from skdict.kernels import get_permutation_kernels

STATISTICS = ("rate", "strength")

# A pair whose permutations cannot give such a p-value is none of the table that is adjusted: how
# many there are does not depend on its effect, and the hopeless would only burden the others.
WITHIN_REACH = 0.05

# Arms whose units have as many rows, up to this factor, have rates of one variance; units of so
# few rows in the mean have strengths of one variance.
LIKE_ROWS = 1.25
FEW_ROWS = 3


class TableTest:
    """Permutation tests of rate and strength for the rows of a table, filled row by row.

    Parameters
    ----------
    values : SparseUnits
        Rates and strengths of the units.
    rows_of_units : ndarray of int, shape (n_units,)
        Rows of each unit.
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
        self,
        values,
        rows_of_units,
        n_rows,
        n_concepts,
        *,
        alternative,
        n_permutations,
        min_active_units,
    ):
        self.values, self.alternative = values, alternative
        self.n_rows = rows_of_units
        self.n_permutations, self.min_active_units = n_permutations, min_active_units
        self.sides = 2 if alternative == "two-sided" else 1
        self.kernels = get_permutation_kernels()
        self.tails = PooledTails()
        shape = (n_rows, n_concepts)
        self.tables = Bunch(**{
            name: Bunch(
                effect=np.zeros(shape, np.float32), z=np.zeros(shape),
                p_value=np.ones(shape), tail_p_value=np.ones(shape), q_value=np.ones(shape),
            )
            for name in STATISTICS
        })  # fmt: skip
        self.group = np.full((2, *shape), -1, np.int8)
        self.share = np.zeros(n_rows, np.int8)
        # arrangements of each row, and of each pair's active units
        self.n_distinct = np.empty(n_rows)
        self.n_distinct_strengths = np.zeros(shape)

    def fill(self, row: int, blocks: Blocks, rng) -> None:
        """Test the concepts in one row."""
        arrangement = self._arrangement(blocks)
        active, rate, strength = self.kernels.permutation_moments(
            self.values, arrangement, self.group.shape[2]
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
        self.share[row] = share_class(
            blocks.units.size, int(blocks.n_drawn.sum()), arrangement.welch_rates
        )
        entries = self.kernels.entries_of(self.values, arrangement, tested)
        rates = self._rates(rate[:, tested], testable[0, tested], blocks, arrangement)
        found = self._count(row, arrangement, entries, rates, groups, rng)
        self.n_distinct_strengths[row, tested] = found[1][2]
        for k, name in enumerate(STATISTICS):
            self._record(self.tables[name], row, tested, groups[k], *found[k])

    def _record(self, table, row, tested, groups, z, counts, n_distinct) -> None:
        """Enter statistics and p-values of one row."""
        exact = n_distinct <= self.n_permutations
        p_value, few = self._own(counts, n_distinct, exact)
        known = groups >= 0
        table.z[row, tested] = np.where(known, z, 0.0)
        table.p_value[row, tested] = np.where(known, p_value, 1.0)
        # marks, for `finish`, the pairs whose tail needs the draws of others
        table.tail_p_value[row, tested] = np.where(few & known, -1, np.where(known, p_value, 1.0))

    def _arrangement(self, blocks):
        """Units and weights, and whether each arm has a variance of its own.

        Rates of units with as many rows vary alike, and so do strengths of single rows: there the
        variance of all units tells more, above all of rates that are 0 or 1.
        """
        if not blocks.has_two_arms:
            return blocks.arrangement(welch_rates=False, welch_strengths=False)
        ratio = blocks.rows_ratio(self.n_rows)
        return blocks.arrangement(
            welch_rates=bool(max(ratio, 1 / ratio) > LIKE_ROWS),
            welch_strengths=bool(self.n_rows.mean() > FEW_ROWS),
        )

    def _rates(self, rate, testable, blocks, arrangement):
        """What makes the rates' null statistics comparable."""
        inverse = np.where(testable, 1 / np.sqrt(np.where(testable, rate[2], 1.0)), 0.0)
        spread = rate[3] / (blocks.sizes - 1).sum()
        return self.kernels.Rates(
            *(np.ascontiguousarray(a) for a in (rate[1], inverse, spread, rate[4])),
            blocks.arms() if arrangement.welch_rates else np.empty(0),
        )

    def _effects(self, row, rate, strength, square_weight) -> None:
        """Slope of rate and strength on the weights: for two arms the difference of their means."""
        self.tables.rate.effect[row] = (rate[0] - rate[1]) / square_weight
        # of one arm only, or none: nothing to compare
        known = strength[2] > 1e-9 * square_weight
        self.tables.strength.effect[row] = np.where(
            known, strength[0] / np.where(known, strength[2], 1.0), np.nan
        )

    def _count(self, row, arrangement, entries, rates, groups, rng):
        """z, permutations that reach it, and distinct ones; tails go to those of all rows."""
        kernels, n_permutations = self.kernels, self.n_permutations
        tails = self.tails.counts[self.share[row]]
        n_distinct = np.full(groups.shape[1], self.n_distinct[row])
        if self.n_distinct[row] <= n_permutations:
            strengths = kernels.count_strengths(
                entries, arrangement, groups[1], np.empty((0, 0)), n_permutations, False, tails
            )
            return (*kernels.count_all_rates(entries, arrangement), n_distinct), strengths
        z = kernels.rate_statistics(entries, rates, arrangement)
        counts = np.zeros((2, groups.shape[1], 2), np.int64)
        draws = uniform_draws(arrangement.drawn_places.size, n_permutations, rng)
        for k, uniform in enumerate(draws):
            drawn = kernels.draw_subsets(uniform, arrangement)
            counts[0] += kernels.count_rates(
                entries, rates, arrangement, z, groups[0], drawn, tails
            )
            *strengths, of_strengths = kernels.count_strengths(
                entries, arrangement, groups[1], uniform, n_permutations, k > 0, tails
            )
            counts[1] += strengths[1]
        random = of_strengths > n_permutations
        for tested in (groups[0], groups[1][random]):
            self.tails.add_draws(self.share[row], tested, n_permutations)
        return (z, counts[0], n_distinct), (strengths[0], counts[1], of_strengths)

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
        pooled = self.sides * self.tails.p_value(z, self.share[row], group[row, concept], above)
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
