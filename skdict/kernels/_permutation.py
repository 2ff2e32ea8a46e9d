"""Permutation tests of weighted sums over units, for many concepts at once, on the CPU."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from skdict.kernels import _numba_permutation as kernels
from skdict.kernels._threads import run_in_parallel

# Standardised null statistics are counted from the floor on, in bins of this width, the last one
# without an end.
FLOOR, BIN_WIDTH, N_BINS = 1.5, 1 / 256, 8192

# Standardised sums that differ by less are equal: the same values added in another order.
TIE = 1e-9


class SparseUnits(NamedTuple):
    """Rate and strength of the concepts that are active in each unit, on one CSR pattern."""

    indptr: np.ndarray  # (n_units + 1,) int64
    indices: np.ndarray  # (nnz,) int32
    rate: np.ndarray  # (nnz,) float64
    strength: np.ndarray  # (nnz,) float64


class Entries(NamedTuple):
    """Entries of the tested concepts in the units of some blocks, by unit and by concept."""

    indptr: np.ndarray  # (N + 1,)
    indices: np.ndarray  # (entries,)
    rate: np.ndarray  # (entries, 2) rate, and the sum of those of its block
    pointer: np.ndarray  # (n_tested + 1,)
    places: np.ndarray  # (entries,)
    rates: np.ndarray  # (entries,)
    strengths: np.ndarray  # (entries,)


class Rates(NamedTuple):
    """What makes a z of the rates of some concepts."""

    mean: np.ndarray  # (n_tested,) of the statistic under permutation
    inverse: np.ndarray  # (n_tested,) one over its standard deviation
    spread: np.ndarray  # (n_tested,) variance of all units about the mean of their block
    base: np.ndarray  # (n_tested,) see `rate_moments`
    arms: np.ndarray  # (4,) factors and degrees of freedom of both arms; empty for other weights


class Arrangement(NamedTuple):
    """Units in blocks, and the weights that are permuted among them."""

    units: np.ndarray  # (N,)
    blocks: np.ndarray  # (n_blocks + 1,) where each begins
    weights: np.ndarray  # (N,)
    drawn_blocks: np.ndarray  # (n_blocks + 1,) where the units with weight of each begin
    drawn_places: np.ndarray  # (n_drawn,) their places
    # whether the weights are 1 and 0, and the variance is that of each arm
    welch_rates: bool
    welch_strengths: bool

    @property
    def n_without(self):
        """Units without weight in each block."""
        return np.diff(self.blocks) - np.diff(self.drawn_blocks)

    @property
    def drawn_weights(self):
        """Weights of the units that are drawn."""
        return self.weights[self.drawn_places]


def permutation_moments(values: SparseUnits, arrangement: Arrangement, n_concepts):
    """Statistics and their moments under permutation within blocks.

    Returns the number of active units (M,); of the rate (5, M) the statistic, its mean and its
    variance, squares about the mean of the block, and squares about the sum over the number of
    units without weight; of the strength (3, M) the statistic, its variance among the active
    units, and the squared weights of these about their mean.
    """
    active = np.empty(n_concepts, np.int64)
    rate, strength = np.empty((5, n_concepts)), np.empty((3, n_concepts))
    kernels.permutation_moments(*values, *arrangement[:3], active, rate, strength)
    return active, rate, strength


def entries_of(values: SparseUnits, arrangement: Arrangement, tested) -> Entries:
    """Entries of the tested concepts, a mask (M,)."""
    units = arrangement.units
    column = np.full(tested.shape[0], -1, np.int32)
    n_tested = int(np.count_nonzero(tested))
    column[tested] = np.arange(n_tested, dtype=np.int32)
    size = int((values.indptr[units + 1] - values.indptr[units]).sum())
    found = Entries(
        np.empty(units.shape[0] + 1, np.int64), np.empty(size, np.int32), np.empty((size, 2)),
        np.empty(n_tested + 1, np.int64), np.empty(size, np.int64), np.empty(size), np.empty(size),
    )  # fmt: skip
    kernels.entries_by_concept(*values, units, arrangement.blocks, column, *found)
    return found


def draw_subsets(uniform, arrangement: Arrangement):
    """Places drawn without replacement in every block, (n_permutations, n_drawn)."""
    drawn = np.empty(uniform.shape, np.int64)
    bounds = arrangement.blocks, arrangement.drawn_blocks

    def work(start, stop):
        kernels.draw_subsets(start, stop, uniform, *bounds, drawn)

    run_in_parallel(work, uniform.shape[0], grain=64)
    return drawn


def rate_statistics(entries: Entries, rates: Rates, arrangement: Arrangement):
    """Observed z of the rates, (n_tested,)."""
    z = np.empty(rates.mean.shape[0])
    kernels.rate_statistics(
        arrangement.drawn_places, arrangement.drawn_blocks, arrangement.drawn_weights,
        arrangement.n_without, *entries[:3], *rates, np.zeros((z.size, 6)),
        np.empty(z.size, np.int64), z,
    )  # fmt: skip
    return z


def count_rates(entries: Entries, rates: Rates, arrangement: Arrangement, z, groups, drawn, tails):
    """Permutations with a z at least and at most as large, (n_tested, 2); tails are added to."""
    counts = np.zeros((z.shape[0], 2), np.int64)
    design = arrangement.drawn_blocks, arrangement.drawn_weights, arrangement.n_without
    lock = threading.Lock()

    def work(start, stop):
        own_counts, own_tails = np.zeros_like(counts), np.zeros_like(tails)
        kernels.count_rates(
            start, stop, drawn, *design, *entries[:3], *rates, z, TIE, groups, FLOOR, BIN_WIDTH,
            own_counts, own_tails,
        )  # fmt: skip
        with lock:
            np.add(counts, own_counts, out=counts)
            np.add(tails, own_tails, out=tails)

    run_in_parallel(work, drawn.shape[0], grain=32)
    return counts


def count_all_rates(entries: Entries, arrangement: Arrangement):
    """Observed z (n_tested,), and the same counts over all arrangements."""
    n_tested = entries.pointer.shape[0] - 1
    z, counts = np.empty(n_tested), np.zeros((n_tested, 2), np.int64)
    design = arrangement.blocks, arrangement.weights, arrangement.welch_rates

    def work(start, stop):
        kernels.count_all_rates(
            start, stop, entries.pointer, entries.places, entries.rates, *design, TIE, z, counts
        )

    run_in_parallel(work, n_tested, grain=16)
    return z, counts


def count_strengths(
    entries: Entries, arrangement: Arrangement, groups, uniform, limit, gone_through, tails
):
    """Observed z, counts, and distinct arrangements among the active units of each concept.

    Concepts with at most `limit` arrangements go through them all, unless that was done before.
    """
    n_tested = entries.pointer.shape[0] - 1
    z, counts = np.empty(n_tested), np.zeros((n_tested, 2), np.int64)
    n_distinct = np.empty(n_tested)
    block = np.repeat(np.arange(arrangement.blocks.size - 1), np.diff(arrangement.blocks))
    lock = threading.Lock()

    def work(start, stop):
        own_tails = np.zeros_like(tails)
        kernels.count_strengths(
            start, stop, uniform, limit, gone_through, entries.pointer, entries.places,
            entries.strengths, block, arrangement.weights, arrangement.welch_strengths, TIE, groups,
            FLOOR, BIN_WIDTH, z, counts, n_distinct, own_tails,
        )  # fmt: skip
        with lock:
            np.add(tails, own_tails, out=tails)

    run_in_parallel(work, n_tested, grain=16)
    return z, counts, n_distinct
