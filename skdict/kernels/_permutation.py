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


class SparseUnits(NamedTuple):
    """Rate and strength of the concepts that are active in each unit, on one CSR pattern."""

    indptr: np.ndarray  # (n_units + 1,) int64
    indices: np.ndarray  # (nnz,) int32
    rate: np.ndarray  # (nnz,) float64
    strength: np.ndarray  # (nnz,) float64


def permutation_moments(values: SparseUnits, units, blocks, weights, n_concepts):
    """Statistics and their moments under permutation within blocks.

    Returns the number of active units (M,); of the rate the statistic, its mean and its variance,
    (3, M); of the strength the statistic, its variance given the active units, their squared
    deviations, and the squared weights of active units about their mean, (4, M).
    """
    active = np.empty(n_concepts, np.int64)
    rate, strength = np.empty((3, n_concepts)), np.empty((4, n_concepts))
    kernels.permutation_moments(*values, units, blocks, weights, active, rate, strength)
    return active, rate, strength


def draw_subsets(uniform, blocks, drawn_blocks):
    """Places drawn without replacement in every block, (n_permutations, n_drawn)."""
    drawn = np.empty(uniform.shape, np.int64)

    def work(start, stop):
        kernels.draw_subsets(start, stop, uniform, blocks, drawn_blocks, drawn)

    run_in_parallel(work, uniform.shape[0], grain=64)
    return drawn


def count_permutations(
    values: SparseUnits, units, blocks, tested, drawn, drawn_blocks, drawn_weights, mean, inverse,
    reach, groups, tails,
):  # fmt: skip
    """Count for the tested concepts how many permutations reach; add null tails to `tails`.

    Returns counts (n_tested, 4): at least and at most the limits in `reach`, of rate and strength.
    """
    entries = _local(values, units, blocks, tested)
    counts = np.zeros((reach.shape[0], 4), np.int64)
    lock = threading.Lock()

    def work(start, stop):
        own_counts, own_tails = np.zeros_like(counts), np.zeros_like(tails)
        kernels.count_permutations(
            start, stop, drawn, drawn_blocks, drawn_weights, *entries, mean, inverse, reach, groups,
            FLOOR, BIN_WIDTH, own_counts, own_tails,
        )  # fmt: skip
        with lock:
            np.add(counts, own_counts, out=counts)
            np.add(tails, own_tails, out=tails)

    run_in_parallel(work, drawn.shape[0], grain=32)
    return counts


def _local(values: SparseUnits, units, blocks, tested):
    """CSR of the units in blocks with the tested concepts alone."""
    column = np.full(tested.shape[0], -1, np.int32)
    n_tested = int(np.count_nonzero(tested))
    column[tested] = np.arange(n_tested, dtype=np.int32)
    n_entries = int((values.indptr[units + 1] - values.indptr[units]).sum())
    indptr = np.empty(units.shape[0] + 1, np.int64)
    indices = np.empty(n_entries, np.int32)
    entries = np.empty((n_entries, 4))
    kernels.local_entries(*values, units, blocks, column, n_tested, indptr, indices, entries)
    return indptr, indices, entries
