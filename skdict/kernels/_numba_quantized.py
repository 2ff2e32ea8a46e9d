"""Pursuit with a Gram matrix of 16-bit integers: half the bytes, exact results.

The correlations ``c = D r`` of a row are kept up to date with the quantized Gram matrix, together
with a bound on their error. Atoms whose correlations lie closer together than the error are
compared by exact inner products with the residual, which is kept explicitly; the coefficients come
from those. So the codes are those of exact correlations, up to rounding.

Arrays are addressed as if they were flat (see `_simd`): slices would be counted references.
Functions that call each other live in this one file because the disk cache of numba does not
notice edits across files.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from skdict.kernels._simd import (
    absolute_value,
    fill,
    first_equal,
    largest,
    load,
    load_int16,
    load_strided,
    maximum,
    multiply_add,
    prefetch,
    replace_lane,
    store,
    total,
    trailing_zeros,
)

# The best atoms are found through the maxima of interleaved lanes (atoms l, l + LANES, ...), of
# which GATHERED are looked at in one go. Rows of correlations are padded to the product of both,
# rows of the Gram matrix to LANES, and rows of the dictionary to FEATURE_LANES.
LANES = 128
GATHERED = 16
FEATURE_LANES = 32

# Atoms besides the chosen ones that are compared exactly before the correlations are renewed.
MORE_CANDIDATES = 32

# Elements of a row of the Gram matrix that are asked for in advance: less is too late, more
# drives out of the first cache what is needed first (measured).
AHEAD = 512

# Squared distance to the span of the atoms before, in rounding errors of the squared length,
# below which an atom counts as dependent; and the relative squared residual norm below which
# correlations computed from the Gram matrix would be rounding noise (as in `_numba_pursuit`).
DEPENDENT = np.float64(100 * np.finfo(np.float32).eps)
CANCELLED = 1e-4

# Rounding of a correlation, in units of (length of the row) x (length of the longest atom).
ROUNDING = np.float32(8 * np.finfo(np.float32).eps)

FASTMATH = {"nnan", "nsz", "reassoc", "contract"}
MINUS_INFINITY = np.float32(-np.inf)


@njit(cache=True, nogil=True, error_model="numpy")
def quantize_rows(start, stop, gram, step, quantized):
    """quantized[i, j] = gram[i, j] / step[i], rounded; columns beyond the Gram matrix are 0."""
    n_atoms = gram.shape[0]
    for i in range(start, stop):
        per_step = np.float32(1.0) / step[i]
        for j in range(n_atoms):
            quantized[i, j] = np.int16(np.rint(gram[i, j] * per_step))
        for j in range(n_atoms, quantized.shape[1]):
            quantized[i, j] = 0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _maxima(correlations, offset, n_atoms, absolute):
    """Vector of the largest (absolute) correlation of each lane; `n_atoms` padded to LANES."""
    maxima = fill(MINUS_INFINITY, LANES)
    for j in range(0, n_atoms, LANES):
        values = load(correlations, offset + j, LANES)
        maxima = maximum(maxima, absolute_value(values) if absolute else values)
    return maxima


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _best_atom(correlations, offset, n_atoms, maxima, absolute):
    """Atom of the largest (absolute) correlation, and the maxima without it.

    Of equal ones some atom is taken. The search is bounded, so that values that overflowed give a
    wrong atom (which the caller refuses), never one out of bounds.
    """
    best = largest(maxima)
    lane = min(first_equal(maxima, best)[0], LANES - 1)
    atom = n_atoms
    second = MINUS_INFINITY
    for j in range(lane, n_atoms, GATHERED * LANES):
        values = load_strided(correlations, offset + j, LANES, GATHERED)
        if absolute:
            values = absolute_value(values)
        if atom == n_atoms:
            place = first_equal(values, best)[0]
            if place < GATHERED:
                atom = j + place * LANES
                values = replace_lane(values, place, MINUS_INFINITY)
        second = max(second, largest(values))
    return min(atom, n_atoms - 1), replace_lane(maxima, lane, second)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _candidates(
    correlations, r, lane_maxima, n_new, bound, absolute, dictionary, gram, quantized, atoms, kept
):
    """Find the atoms that may be among the `n_new` best; returns how many.

    Those are all whose correlation, known up to `bound`, is not certainly below the last of the
    best; `atoms.size` means that there may be more. The memory that comes next is asked for.
    """
    offset = r * correlations.shape[1]
    n_features, width = dictionary.shape[1], quantized.shape[1]
    n_atoms = dictionary.shape[0]
    taken = np.float32(0) if absolute else MINUS_INFINITY
    maxima = load(lane_maxima, 0, LANES)
    limit = MINUS_INFINITY
    n = 0
    while n < atoms.shape[0] and (n < n_new or largest(maxima) >= limit):
        atom, maxima = _best_atom(correlations, offset, width, maxima, absolute)
        atom = min(atom, n_atoms - 1)
        value = correlations[r, atom]
        correlations[r, atom] = taken
        atoms[n], kept[n] = atom, value
        n += 1
        if n <= n_new:
            limit = (abs(value) if absolute else value) - np.float32(2) * bound
            for k in range(n):
                prefetch(gram, atom * n_atoms + atoms[k])
            for f in range(0, n_features, 16):
                prefetch(dictionary, atom * n_features + f)
            for j in range(0, min(AHEAD, width), 32):
                prefetch(quantized, atom * width + j)
    for k in range(n - 1, -1, -1):
        correlations[r, atoms[k]] = kept[k]
    return n


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _inner_product(dictionary, atom, residual):
    """Inner product of an atom with the residual."""
    n_features = dictionary.shape[1]
    products = fill(np.float32(0), FEATURE_LANES)
    for f in range(0, n_features, FEATURE_LANES):
        row = load(dictionary, atom * n_features + f, FEATURE_LANES)
        products = multiply_add(row, load(residual, f, FEATURE_LANES), products)
    return total(products)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _order(dictionary, residual, n, n_new, absolute, atoms, exact):
    """Put the `n_new` best of `n` candidates first, by exact correlation, then by atom."""
    for k in range(n):
        exact[k] = _inner_product(dictionary, atoms[k], residual)
    for k in range(n_new):
        best = k
        for j in range(k + 1, n):
            a, b = exact[j], exact[best]
            if absolute:
                a, b = abs(a), abs(b)
            if a > b or (a == b and atoms[j] < atoms[best]):
                best = j
        atoms[k], atoms[best] = atoms[best], atoms[k]
        exact[k], exact[best] = exact[best], exact[k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _solve(gram, atoms, right_side, n, factor, solution):
    """Least squares on a few atoms by Cholesky of their Gram block, in float64.

    The diagonal of `factor` holds reciprocals. An atom that depends on the ones before it (its
    pivot is rounding noise) gets 0.
    """
    for i in range(n):
        atom = atoms[i]
        norm = np.float64(gram[atom, atom])
        pivot = norm
        for j in range(i):
            s = np.float64(gram[atom, atoms[j]])
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            s *= factor[j, j]
            factor[i, j] = s
            pivot -= s * s
        factor[i, i] = 1.0 / math.sqrt(pivot) if pivot > DEPENDENT * norm else 0.0
        s = np.float64(right_side[i])
        for k in range(i):
            s -= factor[i, k] * solution[k]
        solution[i] = s * factor[i, i]
    for i in range(n - 1, -1, -1):
        s = solution[i]
        for k in range(i + 1, n):
            s -= factor[k, i] * solution[k]
        solution[i] = s * factor[i, i]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _subtract_atoms(dictionary, atoms, solution, n, residual):
    """residual -= solution @ dictionary[atoms]; returns its squared norm."""
    width = residual.shape[0]
    squares = fill(np.float32(0), FEATURE_LANES)
    for k in range(0, n, 5):
        k1, k2, k3, k4 = min(k + 1, n - 1), min(k + 2, n - 1), min(k + 3, n - 1), min(k + 4, n - 1)
        z0 = np.float32(-solution[k])
        z1 = np.float32(-solution[k1] if k + 1 < n else 0.0)
        z2 = np.float32(-solution[k2] if k + 2 < n else 0.0)
        z3 = np.float32(-solution[k3] if k + 3 < n else 0.0)
        z4 = np.float32(-solution[k4] if k + 4 < n else 0.0)
        d0, d1, d2 = atoms[k] * width, atoms[k1] * width, atoms[k2] * width
        d3, d4 = atoms[k3] * width, atoms[k4] * width
        squares = fill(np.float32(0), FEATURE_LANES)
        for f in range(0, width, FEATURE_LANES):
            r = load(residual, f, FEATURE_LANES)
            r = multiply_add(load(dictionary, d0 + f, FEATURE_LANES), z0, r)
            r = multiply_add(load(dictionary, d1 + f, FEATURE_LANES), z1, r)
            r = multiply_add(load(dictionary, d2 + f, FEATURE_LANES), z2, r)
            r = multiply_add(load(dictionary, d3 + f, FEATURE_LANES), z3, r)
            r = multiply_add(load(dictionary, d4 + f, FEATURE_LANES), z4, r)
            store(residual, f, r)
            squares = multiply_add(r, r, squares)
    return np.float64(total(squares))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _subtract_gram_row(correlations, offset, quantized, atom, z, absolute, lane_maxima):
    """correlations -= z quantized[atom], and their lane maxima."""
    width = quantized.shape[1]
    maxima = fill(MINUS_INFINITY, LANES)
    for j in range(0, width, LANES):
        for ahead in range(j + AHEAD, j + AHEAD + LANES, 32):
            prefetch(quantized, atom * width + ahead)
        c = load(correlations, offset + j, LANES)
        c = multiply_add(load_int16(quantized, atom * width + j, LANES), z, c)
        store(correlations, offset + j, c)
        maxima = maximum(maxima, absolute_value(c) if absolute else c)
    store(lane_maxima, 0, maxima)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _subtract_gram_rows(
    correlations, r, quantized, step, atoms, solution, n, absolute, lane_maxima
):
    """correlations -= (solution step) @ quantized[atoms], and their lane maxima.

    Five atoms in one pass; a last group of fewer is filled up with zeros.
    """
    width = quantized.shape[1]
    offset = r * correlations.shape[1]
    for k in range(0, n, 5):
        k1, k2, k3, k4 = min(k + 1, n - 1), min(k + 2, n - 1), min(k + 3, n - 1), min(k + 4, n - 1)
        z0 = np.float32(-solution[k]) * step[atoms[k]]
        if k + 1 == n:
            _subtract_gram_row(correlations, offset, quantized, atoms[k], z0, absolute, lane_maxima)
            break
        z1 = np.float32(-solution[k1] if k + 1 < n else 0.0) * step[atoms[k1]]
        z2 = np.float32(-solution[k2] if k + 2 < n else 0.0) * step[atoms[k2]]
        z3 = np.float32(-solution[k3] if k + 3 < n else 0.0) * step[atoms[k3]]
        z4 = np.float32(-solution[k4] if k + 4 < n else 0.0) * step[atoms[k4]]
        g0, g1, g2 = atoms[k] * width, atoms[k1] * width, atoms[k2] * width
        g3, g4 = atoms[k3] * width, atoms[k4] * width
        maxima = fill(MINUS_INFINITY, LANES)
        for j in range(0, width, LANES):
            for ahead in range(j + AHEAD, j + AHEAD + LANES, 32):
                prefetch(quantized, g0 + ahead)
                prefetch(quantized, g1 + ahead)
                prefetch(quantized, g2 + ahead)
                prefetch(quantized, g3 + ahead)
                prefetch(quantized, g4 + ahead)
            c = load(correlations, offset + j, LANES)
            c = multiply_add(load_int16(quantized, g0 + j, LANES), z0, c)
            c = multiply_add(load_int16(quantized, g1 + j, LANES), z1, c)
            c = multiply_add(load_int16(quantized, g2 + j, LANES), z2, c)
            c = multiply_add(load_int16(quantized, g3 + j, LANES), z3, c)
            c = multiply_add(load_int16(quantized, g4 + j, LANES), z4, c)
            store(correlations, offset + j, c)
            maxima = maximum(maxima, absolute_value(c) if absolute else c)
        store(lane_maxima, 0, maxima)


@njit(cache=True, nogil=True, error_model="numpy")
def _renew(dictionary, residual, correlations, r, n_columns, absolute, lane_maxima):
    """correlations = dictionary @ residual, and their lane maxima."""
    for atom in range(dictionary.shape[0]):
        correlations[r, atom] = _inner_product(dictionary, atom, residual)
    offset = r * correlations.shape[1]
    store(lane_maxima, 0, _maxima(correlations, offset, n_columns, absolute))


@njit(cache=True, nogil=True, error_model="numpy")
def _best_of_all(correlations, r, n_atoms, n_new, absolute, atoms):
    """The `n_new` best atoms by the correlations as they are; ties take the lower atom."""
    for k in range(n_new):
        best, best_atom = MINUS_INFINITY, 0
        for atom in range(n_atoms):
            value = abs(correlations[r, atom]) if absolute else correlations[r, atom]
            if value > best:
                for j in range(k):
                    if atoms[j] == atom:
                        break
                else:
                    best, best_atom = value, atom
        atoms[k] = best_atom


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _emit_in_order(bitmap, slot, coefficients, values, indices, r):
    """Write the non-zero coefficients of a row ordered by atom; empties the bitmap."""
    count = 0
    for w in range(bitmap.shape[0]):
        word = bitmap[w]
        bitmap[w] = 0
        while word != 0:
            atom = 64 * w + trailing_zeros(word)
            word &= word - np.uint64(1)
            value = np.float32(coefficients[slot[atom]])
            if value != 0:
                values[r, count], indices[r, count] = value, atom
                count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def icfl_tile_quantized(
    x,  # IN (rows, d), centred
    correlations,  # IN (rows, width) x D^T, padded with the least value; destroyed
    dictionary,  # IN (M, d padded with 0), no zero atom
    gram,  # IN (M, M)
    quantized,  # IN (M, M padded with 0) int16
    step,  # IN (M,)
    longest,  # length of the longest atom
    n_nonzero_coefs,
    atoms_per_step,
    absolute,
    values,  # OUT (rows, n_nonzero_coefs)
    indices,  # OUT (rows, n_nonzero_coefs), ascending in each row
    counts,  # OUT (rows,)
):
    """Batched orthogonal matching pursuit (Algorithm 1 of Donhauser et al.) on a tile of rows."""
    n_features, n_columns = x.shape[1], quantized.shape[1]
    n_block = min(atoms_per_step, n_nonzero_coefs)
    stop = (10.0 * np.finfo(np.float32).eps) ** 2 * n_features
    residual = np.zeros(dictionary.shape[1], np.float32)
    lane_maxima = np.empty(LANES, np.float32)
    atoms = np.empty(n_block + MORE_CANDIDATES, np.int64)
    kept = np.empty(atoms.shape[0], np.float32)
    factor, solution = np.empty((n_block, n_block)), np.empty(n_block)
    slot = np.empty(dictionary.shape[0], np.int32)
    bitmap = np.zeros((dictionary.shape[0] + 63) // 64, np.uint64)
    coefficients = np.empty(n_nonzero_coefs)
    for r in range(x.shape[0]):
        squared = 0.0
        for f in range(n_features):
            residual[f] = x[r, f]
            squared += np.float64(x[r, f]) ** 2
        least = stop * squared
        rounding = ROUNDING * np.float32(math.sqrt(squared)) * longest
        bound = rounding
        store(lane_maxima, 0, _maxima(correlations, r * correlations.shape[1], n_columns, absolute))
        n_support = 0
        n_used = 0
        renewed = False
        while n_used < n_nonzero_coefs and squared > least:
            n_new = min(n_block, n_nonzero_coefs - n_used)
            n = _candidates(
                correlations, r, lane_maxima, n_new, bound, absolute, dictionary, gram,
                quantized, atoms, kept,
            )  # fmt: skip
            if n == atoms.shape[0] and not renewed:
                _renew(dictionary, residual, correlations, r, n_columns, absolute, lane_maxima)
                rounding = ROUNDING * np.float32(math.sqrt(squared)) * longest
                bound = rounding
                renewed = True
                continue
            if n == atoms.shape[0]:
                _best_of_all(correlations, r, gram.shape[0], n_new, absolute, atoms)
                n = n_new
            renewed = False
            _order(dictionary, residual, n, n_new, absolute, atoms, kept)
            _solve(gram, atoms, kept, n_new, factor, solution)
            for k in range(n_new):
                z, atom = solution[k], atoms[k]
                bit = np.uint64(1) << np.uint64(atom & 63)
                if bitmap[atom >> 6] & bit:
                    coefficients[slot[atom]] += z
                else:
                    bitmap[atom >> 6] |= bit
                    slot[atom] = n_support
                    coefficients[n_support] = z
                    n_support += 1
                bound += np.float32(0.501 * abs(z)) * step[atom]
            bound += np.float32(0.125) * rounding
            n_used += n_new
            if n_used < n_nonzero_coefs:
                squared = _subtract_atoms(dictionary, atoms, solution, n_new, residual)
                _subtract_gram_rows(
                    correlations, r, quantized, step, atoms, solution, n_new, absolute, lane_maxima
                )
        counts[r] = _emit_in_order(bitmap, slot, coefficients, values, indices, r)
