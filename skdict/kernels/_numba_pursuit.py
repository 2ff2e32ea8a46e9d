"""Sparse pursuit on one tile of rows: batched orthogonal matching pursuit (ICFL) and OMP.

All functions work in the Gram domain: the correlations ``c = D r`` of a residual ``r`` with the
atoms are updated as ``c -= z_S G[S]`` with ``G = D D^T``, so the residual itself is needed only
where cancellation would spoil ``c`` (then both are recomputed exactly). Functions that call each
other live in this one file because the disk cache of numba does not notice edits across files.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# The best atoms are found through the maxima of interleaved lanes (atoms l, l + n_lanes, ...): the
# pass that keeps them is elementwise, so it runs on vector registers without a reduction.
FEW_LANES = 128
MANY_LANES = 256

# An atom whose squared distance to the span of the ones before it is below this many rounding
# errors of its squared length counts as dependent on them.
DEPENDENT = 100.0

# The squared residual norm, relative to the last exact one, below which rounding would spoil the
# updated correlations: residual and correlations are then computed afresh.
REFRESH_FLOAT64 = 1e-8
REFRESH_FLOAT32 = 1e-4

# `ninf` is left out: chosen atoms are masked with -inf. Rounding is the same at every call,
# because every row runs through the same code in the same order.
FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


@njit(cache=True, nogil=True, error_model="numpy")
def mirror_rows(gram, start, stop):
    """Copy the rows start:stop of the upper triangle to the lower one, in blocks that fit L1."""
    n_atoms = gram.shape[0]
    for top in range(start, stop, 32):
        bottom = min(top + 32, stop)
        for left in range(top, n_atoms, 32):
            right = min(left + 32, n_atoms)
            for j in range(left, right):
                for i in range(top, min(bottom, j)):
                    gram[j, i] = gram[i, j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _lane_maxima(correlations, maxima, absolute):
    """maxima[l] = the largest (absolute) correlation among the atoms l, l + n_lanes, ..."""
    n_atoms = correlations.shape[0]
    n_lanes = maxima.shape[0]
    if absolute:
        for lane in range(n_lanes):
            maxima[lane] = abs(correlations[lane])
    else:
        for lane in range(n_lanes):
            maxima[lane] = correlations[lane]
    for start in range(n_lanes, n_atoms, n_lanes):
        block = correlations[start : min(start + n_lanes, n_atoms)]
        if absolute:
            for lane in range(block.shape[0]):
                maxima[lane] = max(maxima[lane], abs(block[lane]))
        else:
            for lane in range(block.shape[0]):
                maxima[lane] = max(maxima[lane], block[lane])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _top_of_lane(correlations, lane, n_lanes, best, absolute):
    """Lowest atom of a lane whose (absolute) correlation is `best`, and the next largest value.

    Masked atoms are -inf. Without branches: which atom is the best one cannot be predicted.
    """
    n_atoms = correlations.shape[0]
    lowest = correlations.dtype.type(-np.inf)
    second = lowest
    atom = n_atoms
    for j in range(lane, n_atoms, n_lanes):
        value = correlations[j]
        if absolute:
            value = abs(value) if value != lowest else lowest
        is_first = (value == best) & (atom == n_atoms)
        atom = j if is_first else atom
        second = second if is_first else max(second, value)
    return min(atom, n_atoms - 1), second


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _first_of_largest(bits, shift, magnitude):
    """First index of the largest float, given its bits as integers, and how many are equal.

    Flipping the magnitude bits of negative numbers makes integers that sort as the floats do. The
    compiler turns integer reductions into vector instructions, float maxima not.
    """
    n = bits.shape[0]
    best = bits[0] ^ ((bits[0] >> shift) & magnitude)
    for k in range(1, n):
        best = max(best, bits[k] ^ ((bits[k] >> shift) & magnitude))
    best = best ^ ((best >> shift) & magnitude)
    first = np.int32(n - 1)
    n_equal = np.int32(0)
    for k in range(n):
        equal = bits[k] == best
        first = min(first, np.int32(k) if equal else np.int32(n))
        n_equal += np.int32(equal)
    return first, n_equal


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _first_lane(maxima):
    """First lane that has the largest maximum, and how many lanes have it."""
    if maxima.itemsize == 4:
        return _first_of_largest(maxima.view(np.int32), np.int32(31), np.int32(0x7FFFFFFF))
    return _first_of_largest(maxima.view(np.int64), np.int64(63), np.int64(0x7FFFFFFFFFFFFFFF))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _select(correlations, maxima, absolute, n_select, chosen, chosen_correlations):
    """Indices of the largest correlations, best first; ties take the lower index.

    The chosen entries of `correlations` are restored before returning; `maxima` is left stale
    and is renewed by the caller's next update. The searches are bounded, so that values that
    overflowed give a wrong number (which the caller refuses), never a read out of bounds.
    """
    n_lanes = maxima.shape[0]
    for k in range(n_select):
        lane, n_equal = _first_lane(maxima)
        best = maxima[lane]
        atom, second = _top_of_lane(correlations, lane, n_lanes, best, absolute)
        if n_equal > 1:
            for other in range(lane + 1, n_lanes):
                if maxima[other] == best:
                    tied, below = _top_of_lane(correlations, other, n_lanes, best, absolute)
                    if tied < atom:
                        atom, second, lane = tied, below, np.int32(other)
        chosen[k] = atom
        chosen_correlations[k] = correlations[atom]
        correlations[atom] = -np.inf
        maxima[lane] = second
    for k in range(n_select):
        correlations[chosen[k]] = chosen_correlations[k]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _update(correlations, gram, atoms, coefficients, n_new):
    """correlations -= coefficients @ gram[atoms], five atoms in one pass.

    One plain loop over all atoms with one row pointer per chosen atom is what the compiler turns
    into vector instructions; a last group of fewer than five is filled up with zeros.
    """
    n_atoms = correlations.shape[0]
    zero = correlations.dtype.type(0)
    for k in range(0, n_new, 5):
        k1, k2, k3, k4 = k + 1, k + 2, k + 3, k + 4
        g0 = gram[atoms[k]]
        g1 = gram[atoms[k1 if k1 < n_new else k]]
        g2 = gram[atoms[k2 if k2 < n_new else k]]
        g3 = gram[atoms[k3 if k3 < n_new else k]]
        g4 = gram[atoms[k4 if k4 < n_new else k]]
        z0 = coefficients[k]
        z1 = coefficients[k1] if k1 < n_new else zero
        z2 = coefficients[k2] if k2 < n_new else zero
        z3 = coefficients[k3] if k3 < n_new else zero
        z4 = coefficients[k4] if k4 < n_new else zero
        for j in range(n_atoms):
            correlations[j] -= z0 * g0[j] + z1 * g1[j] + z2 * g2[j] + z3 * g3[j] + z4 * g4[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _solve_block(gram, atoms, right_side, n, factor, solution, tolerance):
    """Least squares on a few atoms by Cholesky of their Gram block, in float64.

    An atom that depends on the ones before it (its pivot is rounding noise) gets 0.
    """
    for i in range(n):
        row = atoms[i]
        norm = np.float64(gram[row, row])
        pivot = norm
        for j in range(i):
            if factor[j, j] == 0.0:
                factor[i, j] = 0.0
                continue
            s = np.float64(gram[row, atoms[j]])
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            factor[i, j] = s / factor[j, j]
            pivot -= factor[i, j] * factor[i, j]
        factor[i, i] = math.sqrt(pivot) if pivot > tolerance * norm else 0.0
    for i in range(n):
        if factor[i, i] == 0.0:
            solution[i] = 0.0
            continue
        s = np.float64(right_side[i])
        for k in range(i):
            s -= factor[i, k] * solution[k]
        solution[i] = s / factor[i, i]
    for i in range(n - 1, -1, -1):
        if factor[i, i] == 0.0:
            continue
        s = solution[i]
        for k in range(i + 1, n):
            s -= factor[k, i] * solution[k]
        solution[i] = s / factor[i, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _inner(a, b):
    """Inner product, summed in float64."""
    total = 0.0
    for j in range(a.shape[0]):
        total += np.float64(a[j]) * np.float64(b[j])
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _squared_norm(x):
    return _inner(x, x)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _exact_residual(x, dictionary, support, coefficients, n_support, residual):
    """residual = x - coefficients @ dictionary[support]; returns its squared norm."""
    n_features = x.shape[0]
    for f in range(n_features):
        residual[f] = np.float64(x[f])
    for k in range(n_support):
        z = coefficients[k]
        atom = support[k]
        for f in range(n_features):
            residual[f] -= z * np.float64(dictionary[atom, f])
    return _squared_norm(residual)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _exact_correlations(dictionary, residual, correlations):
    n_atoms, n_features = dictionary.shape
    for m in range(n_atoms):
        s = 0.0
        for f in range(n_features):
            s += np.float64(dictionary[m, f]) * residual[f]
        correlations[m] = s


@njit(cache=True, nogil=True, error_model="numpy")
def _emit(support, coefficients, n_support, values, indices):
    """Write the non-zero coefficients ordered by atom; returns how many there are."""
    count = 0
    for k in range(n_support):
        value = values.dtype.type(coefficients[k])
        if value == 0:
            continue
        atom = support[k]
        position = count
        while position > 0 and indices[position - 1] > atom:
            indices[position] = indices[position - 1]
            values[position] = values[position - 1]
            position -= 1
        indices[position] = atom
        values[position] = value
        count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _icfl_row(
    x, c, dictionary, gram, n_nonzero_coefs, n_block, absolute, slot, support, coefficients, work
):
    """Pursuit of one row: fills support and coefficients, returns how many atoms it holds.

    `slot` holds the place of each atom in the support, -1 for all on entry.
    """
    atoms, atom_correlations, factor, solution, step, maxima, residual = work
    epsilon = np.finfo(c.dtype).eps
    stop = (10.0 * epsilon) ** 2 * x.shape[0]
    refresh = REFRESH_FLOAT64 if epsilon < 1e-12 else REFRESH_FLOAT32
    squared_start = _squared_norm(x)
    squared = squared_start
    reference = squared_start
    n_support = 0
    n_used = 0
    _lane_maxima(c, maxima, absolute)
    while n_used < n_nonzero_coefs and squared > stop * squared_start:
        n_new = min(n_block, n_nonzero_coefs - n_used)
        _select(c, maxima, absolute, n_new, atoms, atom_correlations)
        _solve_block(gram, atoms, atom_correlations, n_new, factor, solution, DEPENDENT * epsilon)
        for k in range(n_new):
            z = solution[k]
            step[k] = z
            squared -= z * atom_correlations[k]
            if slot[atoms[k]] < 0:
                slot[atoms[k]] = n_support
                support[n_support] = atoms[k]
                coefficients[n_support] = 0.0
                n_support += 1
            coefficients[slot[atoms[k]]] += z
        n_used += n_new
        if n_used == n_nonzero_coefs:
            break
        if squared <= refresh * reference:
            squared = _exact_residual(x, dictionary, support, coefficients, n_support, residual)
            if squared <= stop * squared_start:
                break
            reference = squared
            _exact_correlations(dictionary, residual, c)
            _lane_maxima(c, maxima, absolute)
        else:
            _update(c, gram, atoms, step, n_new)
            _lane_maxima(c, maxima, absolute)
    return n_support


@njit(cache=True, nogil=True, error_model="numpy")
def _refit_row(x, dictionary, gram, support, n_support, factor, right_side, coefficients):
    """Least squares on the whole support, from the row itself."""
    for k in range(n_support):
        right_side[k] = _inner(dictionary[support[k]], x)
    tolerance = DEPENDENT * np.finfo(gram.dtype).eps
    _solve_block(gram, support, right_side, n_support, factor, coefficients, tolerance)


@njit(cache=True, nogil=True, error_model="numpy")
def refit_tile(x, dictionary, gram, values, indices, counts):
    """Replace the coefficients of a tile of codes by least squares on their atoms."""
    width = values.shape[1]
    support = np.empty(width, np.int64)
    coefficients = np.empty(width)
    factor = np.empty((width, width))
    right_side = np.empty(width)
    for r in range(x.shape[0]):
        for k in range(counts[r]):
            support[k] = indices[r, k]
        _refit_row(x[r], dictionary, gram, support, counts[r], factor, right_side, coefficients)
        counts[r] = _emit(support, coefficients, counts[r], values[r], indices[r])


@njit(cache=True, nogil=True, error_model="numpy")
def icfl_tile(
    x,  # IN (rows, d), centred
    correlations,  # IN (rows, M) x D^T; destroyed
    dictionary,  # IN (M, d), no zero atom
    gram,  # IN (M, M)
    n_nonzero_coefs,
    atoms_per_step,
    absolute,
    refit,
    values,  # OUT (rows, n_nonzero_coefs)
    indices,  # OUT (rows, n_nonzero_coefs), ascending in each row
    counts,  # OUT (rows,)
):
    """Batched orthogonal matching pursuit (Algorithm 1 of Donhauser et al.) on a tile of rows."""
    n_atoms, n_features = dictionary.shape
    n_block = min(atoms_per_step, n_nonzero_coefs)
    work = (
        np.empty(n_block, np.int64),
        np.empty(n_block, correlations.dtype),
        np.empty((n_block, n_block)),
        np.empty(n_block),
        np.empty(n_block, correlations.dtype),
        np.empty(min(FEW_LANES if n_atoms < 4096 else MANY_LANES, n_atoms), correlations.dtype),
        np.empty(n_features),
    )
    slot = np.full(n_atoms, -1, np.int32)
    support = np.empty(n_nonzero_coefs, np.int64)
    coefficients = np.empty(n_nonzero_coefs)
    n_refit = n_nonzero_coefs if refit else 0
    factor = np.empty((n_refit, n_refit))
    right_side = np.empty(n_refit)
    for r in range(x.shape[0]):
        n_support = _icfl_row(
            x[r],
            correlations[r],
            dictionary,
            gram,
            n_nonzero_coefs,
            n_block,
            absolute,
            slot,
            support,
            coefficients,
            work,
        )
        if refit:
            _refit_row(x[r], dictionary, gram, support, n_support, factor, right_side, coefficients)
        for k in range(n_support):
            slot[support[k]] = -1
        counts[r] = _emit(support, coefficients, n_support, values[r], indices[r])


@njit(cache=True, nogil=True, error_model="numpy")
def pack_columns(matrix, packed, offset, start, stop):
    """Copy the rows start:stop of a matrix to blocks of columns: packed[block, offset + row].

    `packed` has shape (n_blocks, n_rows, width); columns beyond the matrix become 0.
    """
    n_blocks, _, width = packed.shape
    n_columns = matrix.shape[1]
    for i in range(start, stop):
        for block in range(n_blocks):
            left = block * width
            for lane in range(width):
                column = left + lane
                packed[block, offset + i, lane] = matrix[i, column] if column < n_columns else 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _subtract_supports(initial, gram, support, coefficients, n_support, out):
    """out = initial - coefficients @ gram[support] for one block of columns, in fixed order."""
    width = out.shape[0]
    for lane in range(width):
        out[lane] = initial[lane]
    k = 0
    while k + 4 <= n_support:
        z0, z1, z2, z3 = (
            coefficients[k],
            coefficients[k + 1],
            coefficients[k + 2],
            coefficients[k + 3],
        )
        g0, g1, g2, g3 = (
            gram[support[k]],
            gram[support[k + 1]],
            gram[support[k + 2]],
            gram[support[k + 3]],
        )
        for lane in range(width):
            out[lane] -= z0 * g0[lane] + z1 * g1[lane] + z2 * g2[lane] + z3 * g3[lane]
        k += 4
    while k < n_support:
        z = coefficients[k]
        g = gram[support[k]]
        for lane in range(width):
            out[lane] -= z * g[lane]
        k += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _largest_magnitude(values):
    """Largest absolute value, through the bits of the floats without their sign."""
    if values.itemsize == 4:
        bits = values.view(np.int32)
        best = np.int32(0)
        at = 0
        for k in range(bits.shape[0]):
            best = max(best, bits[k] & np.int32(0x7FFFFFFF))
        while at < bits.shape[0] - 1 and (bits[at] & np.int32(0x7FFFFFFF)) != best:
            at += 1
        return abs(values[at])
    wide = values.view(np.int64)
    most = np.int64(0)
    at = 0
    for k in range(wide.shape[0]):
        most = max(most, wide[k] & np.int64(0x7FFFFFFFFFFFFFFF))
    while at < wide.shape[0] - 1 and (wide[at] & np.int64(0x7FFFFFFFFFFFFFFF)) != most:
        at += 1
    return abs(values[at])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def omp_scan(
    first,
    last,  # blocks of columns first:last
    start,
    stop,  # rows start:stop
    gram,  # IN (n_blocks, M, width)
    initial,  # IN (n_blocks, rows, width) correlations that supports are subtracted from
    support,  # IN (rows, K)
    coefficients,  # IN (rows, K)
    n_subtract,  # IN (rows,) how many of the support to subtract; -1: the row is finished
    best,  # IN/OUT (rows,) largest |correlation| so far, 0 to begin with
    best_atom,  # IN/OUT (rows,) its atom, -1 to begin with
):
    """Largest absolute correlation of every residual with the atoms of some blocks.

    A block of the Gram matrix stays in the cache while all rows are swept over it.
    """
    width = gram.shape[2]
    out = np.empty(width, gram.dtype)
    for block in range(first, last):
        columns = gram[block]
        for r in range(start, stop):
            if n_subtract[r] < 0:
                continue
            _subtract_supports(
                initial[block, r], columns, support[r], coefficients[r], n_subtract[r], out
            )
            largest = _largest_magnitude(out)
            if largest > best[r]:
                best[r] = largest
                lane = 0
                while lane < width - 1 and abs(out[lane]) != largest:
                    lane += 1
                best_atom[r] = block * width + lane


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _extend_inverse(gram, support, n_support, atom, inverse, products, projections, tolerance):
    """Append a row to the inverse Cholesky factor of the support's Gram block; False if dependent.

    With the rows of the inverse no step waits for the one before it, as it does in a triangular
    solve. The row's number j begins at j (j + 1) / 2. On return `projections` are those of the
    new atom on the orthonormal basis of the others.
    """
    norm = np.float64(gram[atom, atom])
    for j in range(n_support):
        products[j] = gram[atom, support[j]]
    new = inverse[n_support * (n_support + 1) // 2 :]
    for k in range(n_support):
        new[k] = 0.0
    pivot = norm
    start = 0
    for j in range(n_support):
        row = inverse[start : start + j + 1]
        projection = 0.0
        for k in range(j + 1):
            projection += row[k] * products[k]
        for k in range(j + 1):
            new[k] -= projection * row[k]
        projections[j] = projection
        pivot -= projection * projection
        start += j + 1
    if pivot <= tolerance * norm:
        return False
    length = math.sqrt(pivot)
    for k in range(n_support):
        new[k] /= length
    new[n_support] = 1.0 / length
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def omp_refit(
    first,
    last,  # rows first:last
    x,  # IN (rows, d), centred
    dictionary,  # IN (M, d), no zero atom
    gram,  # IN (M, M)
    best_atom,  # IN (rows,) the atom to add
    initial,  # IN/OUT (n_blocks, rows, width)
    support,  # IN/OUT (rows, K)
    coefficients,  # OUT (rows, K) in the type of the rows
    n_support,  # IN/OUT (rows,)
    n_subtract,  # IN/OUT (rows,)
    inverse,  # IN/OUT (rows, K (K + 1) / 2) inverse Cholesky factors, row by row
    forward,  # IN/OUT (rows, K)
    solution,  # IN/OUT (rows, K)
):
    """Add the best atom of every row and refit all its atoms by least squares."""
    n_features = x.shape[1]
    n_nonzero_coefs = support.shape[1]
    epsilon = np.finfo(x.dtype).eps
    stop = (10.0 * epsilon) ** 2 * n_features
    refresh = REFRESH_FLOAT64 if epsilon < 1e-12 else REFRESH_FLOAT32
    residual = np.empty(n_features)
    correlations = np.empty(dictionary.shape[0], x.dtype)
    products, projections = np.empty(n_nonzero_coefs), np.empty(n_nonzero_coefs)
    for r in range(first, last):
        if n_subtract[r] < 0:
            continue
        n = n_support[r]
        atom = best_atom[r]
        if atom < 0 or not _extend_inverse(
            gram, support[r], n, atom, inverse[r], products, projections, DEPENDENT * epsilon
        ):
            n_subtract[r] = -1
            continue
        new = inverse[r, n * (n + 1) // 2 :]
        step = _inner(dictionary[atom], x[r]) - _inner(projections[:n], forward[r, :n])
        step *= new[n]
        support[r, n] = atom
        forward[r, n] = step
        n += 1
        for k in range(n):
            solution[r, k] += step * new[k]
        n_support[r] = n
        n_subtract[r] = n
        for k in range(n):
            coefficients[r, k] = solution[r, k]
        if n == n_nonzero_coefs:
            n_subtract[r] = -1
            continue
        start = _squared_norm(x[r])
        squared = start - _squared_norm(forward[r, :n])
        if squared <= refresh * start:
            squared = _exact_residual(x[r], dictionary, support[r], solution[r], n, residual)
            _exact_correlations(dictionary, residual, correlations)
            pack_columns(correlations.reshape(1, -1), initial, r, 0, 1)
            n_subtract[r] = 0 if squared > stop * start else -1


@njit(cache=True, nogil=True, error_model="numpy")
def omp_emit(support, solution, n_support, values, indices, counts):
    """Write the codes of all rows, indices ascending."""
    for r in range(support.shape[0]):
        counts[r] = _emit(support[r], solution[r], n_support[r], values[r], indices[r])
