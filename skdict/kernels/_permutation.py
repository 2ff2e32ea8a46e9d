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
    rate: np.ndarray  # (entries,)
    pointer: np.ndarray  # (n_tested + 1,)
    places: np.ndarray  # (entries,)
    rates: np.ndarray  # (entries,)
    strengths: np.ndarray  # (entries,)


class Tests(NamedTuple):
    """What is counted of some tests: observed z, and how null statistics become z."""

    mean: np.ndarray  # (n_tested,)
    inverse: np.ndarray  # (n_tested,) one over the standard deviation
    z: np.ndarray  # (n_tested,)
    groups: np.ndarray  # (n_tested,) group of the tail, -1 for none


def permutation_moments(values: SparseUnits, units, blocks, weights, n_concepts):
    """Statistics and their moments under permutation within blocks.

    Returns the number of active units (M,); of the rate the statistic, its mean and its variance,
    (3, M); of the strength the statistic, its variance among the active units, and the squared
    weights of these about their mean, (3, M).
    """
    active = np.empty(n_concepts, np.int64)
    rate, strength = np.empty((3, n_concepts)), np.empty((3, n_concepts))
    kernels.permutation_moments(*values, units, blocks, weights, active, rate, strength)
    return active, rate, strength


def entries_of(values: SparseUnits, units, tested) -> Entries:
    """Entries of the tested concepts, a mask (M,), in some units."""
    column = np.full(tested.shape[0], -1, np.int32)
    n_tested = int(np.count_nonzero(tested))
    column[tested] = np.arange(n_tested, dtype=np.int32)
    size = int((values.indptr[units + 1] - values.indptr[units]).sum())
    found = Entries(
        np.empty(units.shape[0] + 1, np.int64), np.empty(size, np.int32), np.empty(size),
        np.empty(n_tested + 1, np.int64), np.empty(size, np.int64), np.empty(size), np.empty(size),
    )  # fmt: skip
    kernels.entries_by_concept(*values, units, column, *found)
    return found


def draw_subsets(uniform, blocks, drawn_blocks):
    """Places drawn without replacement in every block, (n_permutations, n_drawn)."""
    drawn = np.empty(uniform.shape, np.int64)

    def work(start, stop):
        kernels.draw_subsets(start, stop, uniform, blocks, drawn_blocks, drawn)

    run_in_parallel(work, uniform.shape[0], grain=64)
    return drawn


def count_rates(entries: Entries, tests: Tests, drawn, drawn_weights, tails):
    """Permutations with a z at least and at most as large, (n_tested, 2); tails are added to."""
    counts = np.zeros((tests.z.shape[0], 2), np.int64)
    lock = threading.Lock()

    def work(start, stop):
        own_counts, own_tails = np.zeros_like(counts), np.zeros_like(tails)
        kernels.count_rates(
            start, stop, drawn, drawn_weights, entries.indptr, entries.indices, entries.rate,
            tests.mean, tests.inverse, tests.z, TIE, tests.groups, FLOOR, BIN_WIDTH, own_counts,
            own_tails,
        )  # fmt: skip
        with lock:
            np.add(counts, own_counts, out=counts)
            np.add(tails, own_tails, out=tails)

    run_in_parallel(work, drawn.shape[0], grain=32)
    return counts


def count_all_rates(entries: Entries, tests: Tests, blocks, weights):
    """The same over all arrangements of the weights within blocks."""
    counts = np.zeros((tests.z.shape[0], 2), np.int64)

    def work(start, stop):
        kernels.count_all_rates(
            start, stop, entries.pointer, entries.places, entries.rates, blocks, weights,
            tests.mean, tests.inverse, tests.z, TIE, counts,
        )  # fmt: skip

    run_in_parallel(work, tests.z.shape[0], grain=16)
    return counts


def count_strengths(
    entries: Entries, tests: Tests, uniform, block, weights, limit, gone_through, tails
):
    """The same among the active units of each concept, and the distinct arrangements there.

    Concepts with at most `limit` arrangements go through them all, unless that was done before.
    """
    counts = np.zeros((tests.z.shape[0], 2), np.int64)
    n_distinct = np.empty(tests.z.shape[0])
    lock = threading.Lock()

    def work(start, stop):
        own_tails = np.zeros_like(tails)
        kernels.count_strengths(
            start, stop, uniform, limit, gone_through, entries.pointer, entries.places,
            entries.strengths, block, weights, tests.inverse, tests.z, TIE, tests.groups, FLOOR,
            BIN_WIDTH, counts, n_distinct, own_tails,
        )  # fmt: skip
        with lock:
            np.add(tails, own_tails, out=tails)

    run_in_parallel(work, tests.z.shape[0], grain=16)
    return counts, n_distinct
