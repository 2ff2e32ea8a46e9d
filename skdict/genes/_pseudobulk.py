"""Tests between active and inactive cells with donors as replicates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from skdict._units import Units
from skdict.genes._expression_arms import Arms

MIN_UNITS = 3

# Values of the sums of one block of concepts.
_BLOCK_VALUES = 1 << 24


@dataclass(frozen=True)
class PseudobulkTest:
    """P-values of every concept and gene, and why some are withheld.

    Attributes
    ----------
    p_value : ndarray, shape (n_concepts, n_genes)
        Two-sided p-values; NaN where nothing was tested.
    design : ndarray of str, shape (n_concepts,)
        "paired", "unpaired", or empty.
    n_units_active, n_units_inactive : ndarray of int, shape (n_concepts,)
        Units with enough cells in each arm.
    reason : ndarray of str, shape (n_concepts,)
        Why p-values are withheld; empty where they are not.
    """

    p_value: np.ndarray
    design: np.ndarray
    n_units_active: np.ndarray
    n_units_inactive: np.ndarray
    reason: np.ndarray


def withheld(shape, reason: str) -> PseudobulkTest:
    """No p-values at all, for one reason; the array of NaN takes no memory."""
    none = np.zeros(shape[0], dtype=np.int64)
    return PseudobulkTest(
        p_value=np.broadcast_to(np.float64(np.nan), shape),
        design=np.full(shape[0], "", dtype=object),
        n_units_active=none,
        n_units_inactive=none,
        reason=np.full(shape[0], reason, dtype=object),
    )


def pseudobulk_test(
    X, depth, arms: Arms, units: Units, *, min_cells: int, min_count: float
) -> PseudobulkTest:
    """Test every gene between the active and inactive cells of each concept.

    Parameters
    ----------
    X : csr_array, shape (n_cells, n_genes)
        Counts.
    depth : ndarray, shape (n_cells,)
        Total count of each cell; 0 for a cell that is not used.
    arms : Arms
        Active and inactive cells.
    units : Units
        Unit of each cell.
    min_cells : int
        Fewest cells of a unit in an arm.
    min_count : float
        Fewest counts of a gene that a unit is expected to have in each arm, on average.

    Returns
    -------
    PseudobulkTest
        The p-values.
    """
    n_concepts, n_genes = arms.active.shape[0], X.shape[1]
    sums = _UnitSums(X, depth, arms, units)
    n_cells = sums.cells(np.arange(n_concepts))
    enough = [count >= min_cells for count in n_cells]
    n_units = [mask.sum(axis=1) for mask in enough]
    both = enough[0] & enough[1]
    paired = both.sum(axis=1) >= MIN_UNITS
    unpaired = ~paired & (n_units[0] >= MIN_UNITS) & (n_units[1] >= MIN_UNITS)
    tested = np.flatnonzero(paired | unpaired)
    p_value = withheld((n_concepts, n_genes), "").p_value
    if tested.size:
        p_value = np.full((n_concepts, n_genes), np.nan)
    width = max(1, _BLOCK_VALUES // (units.n_units * n_genes))
    for start in range(0, tested.size, width):
        rows = tested[start : start + width]
        blocks = zip(rows, *sums.counts(rows), *sums.depths(rows))
        for row, active, inactive, active_depth, inactive_depth in blocks:
            here, there = (both[row],) * 2 if paired[row] else (enough[0][row], enough[1][row])
            p_value[row] = _test(
                (active[here], active_depth[here]),
                (inactive[there], inactive_depth[there]),
                paired=bool(paired[row]),
                min_count=min_count,
            )
    return PseudobulkTest(
        p_value=p_value,
        design=np.select([paired, unpaired], ["paired", "unpaired"], "").astype(object),
        n_units_active=n_units[0],
        n_units_inactive=n_units[1],
        reason=_reasons(n_units, arms.n_active, min_cells),
    )


class _UnitSums:
    """Sums of the active and of the inactive cells of every unit, for some concepts.

    Parameters
    ----------
    X : csr_array, shape (n_cells, n_genes)
        Counts.
    depth : ndarray, shape (n_cells,)
        Total count of each cell; 0 for a cell that is not used.
    arms : Arms
        Active and inactive cells.
    units : Units
        Unit of each cell.
    """

    def __init__(self, X, depth, arms, units):
        self.arms, self.units = arms, units
        self._values = {
            "counts": X,
            "depth": sparse.csr_array(depth[:, None]),
            "cells": sparse.csr_array((depth > 0).astype(np.float64)[:, None]),
        }
        cells = np.arange(units.index.shape[0])
        members = sparse.csr_array(
            (np.ones(cells.shape[0]), (units.index, cells)), shape=(units.n_units, cells.shape[0])
        )
        self._totals = {name: (members @ x).toarray() for name, x in self._values.items()}

    def counts(self, rows):
        """Counts of the two arms, each of shape (n_taken, n_units, n_genes)."""
        return self._sums("counts", rows)

    def depths(self, rows):
        """Depths of the two arms, each of shape (n_taken, n_units)."""
        return [sums[..., 0] for sums in self._sums("depth", rows)]

    def cells(self, rows):
        """Numbers of cells of the two arms, each of shape (n_taken, n_units)."""
        return [sums[..., 0] for sums in self._sums("cells", rows)]

    def _sums(self, name, rows):
        values = self._values[name]
        shape = (len(rows), self.units.n_units, values.shape[1])
        active, out = (
            (self._by_unit(pattern[rows]) @ values).toarray().reshape(shape)
            for pattern in (self.arms.active, self.arms.left_out)
        )
        # whole numbers: nothing is lost by subtracting
        return active, self._totals[name] - active - out

    def _by_unit(self, pattern) -> sparse.csr_array:
        """Pattern with a row for every concept and unit."""
        concept = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
        row = concept * self.units.n_units + self.units.index[pattern.indices]
        shape = (pattern.shape[0] * self.units.n_units, pattern.shape[1])
        return sparse.csr_array((pattern.data, (row, pattern.indices)), shape=shape)


def _test(active, inactive, *, paired: bool, min_count: float) -> np.ndarray:
    """P-values of all genes for the counts and depths of the units of two arms."""
    # of both arms together, so that choosing genes says nothing of their difference
    total = active[0].sum(axis=0) + inactive[0].sum(axis=0)
    rate = total / (active[1].sum() + inactive[1].sum())
    tested = rate * min(active[1].mean(), inactive[1].mean()) >= min_count
    here, there = (counts[:, tested] / depth[:, None] for counts, depth in (active, inactive))
    if paired:
        difference = here - there
        n_units = difference.shape[0]
        mean, variance = difference.mean(axis=0), difference.var(axis=0, ddof=1) / n_units
        freedom = n_units - 1
    else:
        mean = here.mean(axis=0) - there.mean(axis=0)
        parts = [rates.var(axis=0, ddof=1) / rates.shape[0] for rates in (here, there)]
        variance = parts[0] + parts[1]
        spread = sum(part**2 / (rates.shape[0] - 1) for part, rates in zip(parts, (here, there)))
        freedom = np.divide(variance**2, spread, out=np.ones_like(mean), where=spread > 0)
    t = np.divide(mean, np.sqrt(variance), out=np.full_like(mean, np.nan), where=variance > 0)
    p_value = np.full(total.shape, np.nan)
    p_value[tested] = 2 * stats.t.sf(np.abs(t), freedom)
    return p_value


def _reasons(n_units, n_active, min_cells) -> np.ndarray:
    """Why each concept was not tested; empty where it was."""
    reason = np.full(n_active.shape, "", dtype=object)
    for name, numbers in (("inactive", n_units[1]), ("active", n_units[0])):
        for place in np.flatnonzero(numbers < MIN_UNITS):
            reason[place] = (
                f"units with at least {min_cells} {name} cells: {numbers[place]}, needed "
                f"{MIN_UNITS}"
            )
    reason[n_active == 0] = "no active cells"
    return reason
