"""Orthogonal matching pursuit with a Gram matrix of 16-bit integers; see `_numba_quantized`.

Here are the search for the largest correlations of many rows at once, and the choice among those
that the quantized Gram matrix cannot tell apart. The rest is in `_numba_pursuit`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from skdict.kernels._numba_quantized import AHEAD, FASTMATH, LANES, MINUS_INFINITY, ROUNDING
from skdict.kernels._simd import (
    absolute_value,
    add,
    fill,
    first_equal,
    largest,
    load,
    load_int16,
    multiply_add,
    prefetch,
    replace_lane,
    store,
)

# Largest correlations kept per row, and columns of a block of the Gram matrix: one cache line.
KEPT = 4
BLOCK = 32


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _keep_largest(values, first_atom, kept_values, kept_atoms, r):
    """Insert the lanes into the largest absolute correlations of row r, largest first.

    Of equal ones the earlier stays in front.
    """
    value = largest(values)
    while value > kept_values[r, KEPT - 1]:
        lane = min(first_equal(values, value)[0], BLOCK - 1)
        values = replace_lane(values, lane, MINUS_INFINITY)
        k = KEPT - 1
        while k > 0 and kept_values[r, k - 1] < value:
            kept_values[r, k] = kept_values[r, k - 1]
            kept_atoms[r, k] = kept_atoms[r, k - 1]
            k -= 1
        kept_values[r, k] = value
        kept_atoms[r, k] = first_atom + lane
        value = largest(values)


@njit(cache=True, nogil=True, error_model="numpy")
def omp_scan_blocks(
    first,
    last,  # blocks of columns first:last
    quantized,  # IN (n_blocks, M, BLOCK) int16
    initial,  # IN (n_blocks, rows, BLOCK) correlations that supports are subtracted from
    atoms,  # IN (rows, K) int32
    weights,  # IN (rows, K) minus coefficient times quantization step
    n_subtract,  # IN (rows,) how many atoms to subtract; -1: the row is finished
    kept_values,  # IN/OUT (rows, KEPT) largest |correlations| so far, 0 to begin with
    kept_atoms,  # IN/OUT (rows, KEPT) their atoms, -1 to begin with
):
    """Largest absolute correlations of every residual with the atoms of some blocks.

    A block of the Gram matrix stays in the second cache while all rows are swept over it; the
    next one is asked for meanwhile.
    """
    n_blocks, n_atoms = quantized.shape[:2]
    n_rows = atoms.shape[0]
    n_ahead = -(-n_atoms // n_rows)
    for block in range(first, last):
        columns = block * n_atoms
        following = min(block + 1, n_blocks - 1) * n_atoms
        for r in range(n_rows):
            for atom in range(r * n_ahead, min((r + 1) * n_ahead, n_atoms)):
                prefetch(quantized, (following + atom) * BLOCK)
            n = n_subtract[r]
            if n < 0:
                continue
            even = load(initial, (block * n_rows + r) * BLOCK, BLOCK)
            odd = fill(np.float32(0), BLOCK)
            k = 0
            while k + 1 < n:
                row = load_int16(quantized, (columns + atoms[r, k]) * BLOCK, BLOCK)
                even = multiply_add(row, weights[r, k], even)
                row = load_int16(quantized, (columns + atoms[r, k + 1]) * BLOCK, BLOCK)
                odd = multiply_add(row, weights[r, k + 1], odd)
                k += 2
            if k < n:
                row = load_int16(quantized, (columns + atoms[r, k]) * BLOCK, BLOCK)
                even = multiply_add(row, weights[r, k], even)
            values = absolute_value(add(even, odd))
            _keep_largest(values, block * BLOCK, kept_values, kept_atoms, r)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _subtract_four(values, quantized, j, atoms, weights, r, k, n):
    """values += weights[k : k + 4] @ quantized[atoms[k : k + 4]], columns from j on."""
    width = quantized.shape[1]
    for i in range(k, min(k + 4, n)):
        row = load_int16(quantized, atoms[r, i] * width + j, LANES)
        values = multiply_add(row, weights[r, i], values)
    return values


@njit(cache=True, nogil=True, error_model="numpy")
def omp_scan_rows(
    first,
    last,  # rows first:last
    quantized,  # IN (M, M padded) int16
    initial,  # IN (1, rows, M padded)
    atoms,  # IN (rows, K) int32
    weights,  # IN (rows, K)
    n_subtract,  # IN (rows,)
    kept_values,  # IN/OUT (rows, KEPT)
    kept_atoms,  # IN/OUT (rows, KEPT)
):
    """As `omp_scan_blocks` for few rows, each of which reads the rows of the Gram matrix."""
    width = quantized.shape[1]
    correlations = np.empty(width, np.float32)
    for r in range(first, last):
        n = n_subtract[r]
        if n < 0:
            continue
        for j in range(0, width, LANES):
            store(correlations, j, load(initial, r * width + j, LANES))
        for k in range(0, n, 4):
            for j in range(0, width, LANES):
                for i in range(k, min(k + 4, n)):
                    prefetch(quantized, atoms[r, i] * width + j + AHEAD)
                values = load(correlations, j, LANES)
                values = _subtract_four(values, quantized, j, atoms, weights, r, k, n)
                store(correlations, j, values)
        for j in range(0, width, BLOCK):
            values = absolute_value(load(correlations, j, BLOCK))
            _keep_largest(values, j, kept_values, kept_atoms, r)


@njit(cache=True, nogil=True, error_model="numpy")
def merge_kept(values, atoms, other_values, other_atoms):
    """Keep the largest of two lists per row, those of the first in front of equal ones."""
    merged_values, merged_atoms = np.empty(KEPT, np.float32), np.empty(KEPT, np.int64)
    for r in range(values.shape[0]):
        i = j = 0
        for k in range(KEPT):
            if values[r, i] >= other_values[r, j]:
                merged_values[k], merged_atoms[k] = values[r, i], atoms[r, i]
                i += 1
            else:
                merged_values[k], merged_atoms[k] = other_values[r, j], other_atoms[r, j]
                j += 1
        for k in range(KEPT):
            values[r, k], atoms[r, k] = merged_values[k], merged_atoms[k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _exact_residual(x, r, dictionary, support, solution, n, residual):
    """residual = x[r] - solution[r, :n] @ dictionary[support[r, :n]], in float64."""
    for f in range(residual.shape[0]):
        residual[f] = x[r, f]
    for k in range(n):
        z, atom = solution[r, k], support[r, k]
        for f in range(residual.shape[0]):
            residual[f] -= z * np.float64(dictionary[atom, f])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _absolute_inner_product(dictionary, atom, residual):
    correlation = 0.0
    for f in range(residual.shape[0]):
        correlation += residual[f] * np.float64(dictionary[atom, f])
    return abs(correlation)


@njit(cache=True, nogil=True, error_model="numpy")
def _error_bound(x, r, longest, step, support, solution, n):
    """Largest error of the correlations of row r, from the quantization and from rounding."""
    squared = 0.0
    for f in range(x.shape[1]):
        squared += np.float64(x[r, f]) ** 2
    bound = np.float64(ROUNDING * longest) * math.sqrt(squared)
    for k in range(n):
        bound += 0.501 * abs(solution[r, k]) * step[support[r, k]]
    return bound


@njit(cache=True, nogil=True, error_model="numpy")
def omp_choose(
    first,
    last,  # rows first:last
    x,  # IN (rows, d), centred
    dictionary,  # IN (M, d)
    longest,  # length of the longest atom
    step,  # IN (M,) of the quantized Gram matrix
    support,  # IN (rows, K)
    solution,  # IN (rows, K)
    n_support,  # IN (rows,)
    n_subtract,  # IN (rows,)
    kept_values,  # IN (rows, KEPT)
    kept_atoms,  # IN (rows, KEPT)
    best_atom,  # OUT (rows,)
):
    """Atom with the largest absolute correlation of every row, of equal ones the lowest.

    Where the error of the quantized Gram matrix leaves a choice, exact correlations decide.
    """
    residual = np.empty(x.shape[1])
    for r in range(first, last):
        n = n_support[r]
        best_atom[r] = kept_atoms[r, 0]
        # Correlations that were computed afresh have no such error.
        if n_subtract[r] < n or kept_atoms[r, 0] < 0:
            continue
        limit = kept_values[r, 0]
        limit -= np.float32(2.0 * _error_bound(x, r, longest, step, support, solution, n))
        if kept_values[r, 1] < limit:
            continue
        _exact_residual(x, r, dictionary, support, solution, n, residual)
        all_of_them = kept_values[r, KEPT - 1] >= limit
        best = 0.0
        for k in range(dictionary.shape[0] if all_of_them else KEPT):
            if not all_of_them and kept_values[r, k] < limit:
                break
            atom = k if all_of_them else kept_atoms[r, k]
            value = _absolute_inner_product(dictionary, atom, residual)
            if value > best or (value == best and atom < best_atom[r]):
                best, best_atom[r] = value, atom
