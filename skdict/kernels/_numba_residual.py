"""Sparse pursuit without a Gram matrix: what happens to the residuals of a tile between products.

All rows of a tile advance together. The driver (`_residual`) multiplies their residuals with a
block of atoms after the other; the functions here keep the best atoms of every row, fit them
and subtract the fit. Residuals and inner products of chosen atoms are held in float64, so that
nothing drifts away from the rows. Functions that call each other live in this one file because the
disk cache of numba does not notice edits across files.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# An atom whose squared distance to the span of the ones before it is below this many rounding
# errors of its squared length counts as dependent on them.
DEPENDENT = 100.0

# Correlations that are compared with the worst atom kept before any of them is looked at.
STRIP = 64

# For sums only: `ninf` and, where values that overflowed have to be noticed, `nnan` are left out.
FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _inner(a, b):
    """Inner product, summed in float64."""
    total = 0.0
    for j in range(a.shape[0]):
        total += np.float64(a[j]) * np.float64(b[j])
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "reassoc", "contract"})
def _subtract(residual, coefficient, atom):
    """residual -= coefficient * atom, in float64."""
    for f in range(residual.shape[0]):
        residual[f] -= coefficient * np.float64(atom[f])


@njit(cache=True, nogil=True, error_model="numpy")
def _n_above(strip, worst, absolute):
    """How many (absolute) values are above `worst`, or not a number; without branches."""
    n = np.int32(0)
    if absolute:
        for j in range(strip.shape[0]):
            n += np.int32(not (abs(strip[j]) <= worst))
    else:
        for j in range(strip.shape[0]):
            n += np.int32(not (strip[j] <= worst))
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def keep_largest(
    correlations,  # IN (height, width) of the residuals with a block of atoms
    first_atom,  # number of the first atom of the block
    active,  # IN (rows,) rows <= height that still look for atoms
    absolute,
    best,  # IN/OUT (rows, n) largest (absolute) correlations so far, descending
    best_atom,  # IN/OUT (rows, n) their atoms; of equal ones the lowest first
):
    """Merge a block of correlations into the best ones of each row; blocks come in order.

    Something that is not a number leaves infinity in `best`, which ends the row later.
    """
    width = correlations.shape[1]
    last = best.shape[1] - 1
    for r in range(active.shape[0]):
        if not active[r]:
            continue
        for start in range(0, width, STRIP):
            strip = correlations[r, start : min(start + STRIP, width)]
            if _n_above(strip, best[r, last], absolute) == 0:
                continue
            for j in range(strip.shape[0]):
                value = abs(strip[j]) if absolute else strip[j]
                if value != value:
                    best[r, :] = np.inf
                if not value > best[r, last]:
                    continue
                k = last
                while k > 0 and best[r, k - 1] < value:
                    best[r, k] = best[r, k - 1]
                    best_atom[r, k] = best_atom[r, k - 1]
                    k -= 1
                best[r, k] = value
                best_atom[r, k] = first_atom + start + j


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _solve_block(inner, right_side, n, factor, solution, tolerance):
    """Least squares on a few atoms by Cholesky of their inner products (lower triangle).

    An atom that depends on the ones before it (its pivot is rounding noise) gets 0.
    """
    for i in range(n):
        pivot = inner[i, i]
        for j in range(i):
            if factor[j, j] == 0.0:
                factor[i, j] = 0.0
                continue
            s = inner[i, j]
            for k in range(j):
                s -= factor[i, k] * factor[j, k]
            factor[i, j] = s / factor[j, j]
            pivot -= factor[i, j] * factor[i, j]
        factor[i, i] = math.sqrt(pivot) if pivot > tolerance * inner[i, i] else 0.0
    for i in range(n):
        if factor[i, i] == 0.0:
            solution[i] = 0.0
            continue
        s = right_side[i]
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


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_atoms(target, dictionary, atoms, n, inner, right_side, factor, solution):
    """Least squares fit of a few atoms to `target`, from inner products of their rows."""
    for i in range(n):
        row = dictionary[atoms[i]]
        right_side[i] = _inner(row, target)
        for j in range(i + 1):
            inner[i, j] = _inner(row, dictionary[atoms[j]])
    tolerance = DEPENDENT * np.finfo(dictionary.dtype).eps
    _solve_block(inner, right_side, n, factor, solution, tolerance)


@njit(cache=True, nogil=True, error_model="numpy")
def _end_without_code(support, coefficients, n_support):
    """Leave a coefficient that is not a number: the caller refuses the row with good advice."""
    if n_support == 0:
        support[0] = 0
    coefficients[0] = np.nan
    return max(n_support, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def start_rows(
    x,  # IN (rows, d), centred
    residual,  # OUT (rows, d) float64
    limit,  # OUT (rows,) squared norm of a residual that is rounding noise
    active,  # OUT (rows,)
    support,  # OUT (rows, K)
    coefficients,  # OUT (rows, K) float64
    n_support,  # OUT (rows,)
):
    """Residuals before the first step; zero rows are finished at once."""
    stop = (10.0 * np.finfo(x.dtype).eps) ** 2 * x.shape[1]
    for r in range(x.shape[0]):
        squared = 0.0
        for f in range(x.shape[1]):
            residual[r, f] = x[r, f]
            squared += residual[r, f] * residual[r, f]
        limit[r] = stop * squared
        n_support[r] = 0
        active[r] = squared > limit[r]
        if not math.isfinite(squared):
            n_support[r] = _end_without_code(support[r], coefficients[r], 0)
            active[r] = False


@njit(cache=True, nogil=True, error_model="numpy")
def icfl_step(
    dictionary,  # IN (M, d), no zero atom
    best,  # IN (rows, n) correlations of the atoms of this step
    best_atom,  # IN (rows, n)
    limit,  # IN (rows,)
    is_last,
    residual,  # IN/OUT (rows, d) float64
    current,  # IN/OUT (height, d) the residual in the type of the rows
    active,  # IN/OUT (rows,)
    support,  # IN/OUT (rows, K)
    coefficients,  # IN/OUT (rows, K) float64
    n_support,  # IN/OUT (rows,)
):
    """Fit the best atoms of each row to its residual and subtract the fit.

    Returns how many rows go on.
    """
    n_new = best.shape[1]
    inner, factor = np.empty((n_new, n_new)), np.empty((n_new, n_new))
    right_side, solution = np.empty(n_new), np.empty(n_new)
    n_active = 0
    for r in range(active.shape[0]):
        if not active[r]:
            continue
        if not np.isfinite(best[r]).all():
            n_support[r] = _end_without_code(support[r], coefficients[r], n_support[r])
            active[r] = False
            continue
        atoms = best_atom[r]
        _fit_atoms(residual[r], dictionary, atoms, n_new, inner, right_side, factor, solution)
        for i in range(n_new):
            k = 0
            while k < n_support[r] and support[r, k] != atoms[i]:
                k += 1
            if k == n_support[r]:
                support[r, k] = atoms[i]
                coefficients[r, k] = 0.0
                n_support[r] += 1
            coefficients[r, k] += solution[i]
        if is_last:
            continue
        for i in range(n_new):
            _subtract(residual[r], solution[i], dictionary[atoms[i]])
        for f in range(current.shape[1]):
            current[r, f] = residual[r, f]
        # Not "<=": a residual that is not a number goes on, to be refused.
        active[r] = not _inner(residual[r], residual[r]) <= limit[r]
        n_active += active[r]
    return n_active


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _extend_factor(dictionary, support, n_support, atom, factor, tolerance):
    """Append a row to the Cholesky factor of the support's inner products; False if dependent."""
    norm = _inner(dictionary[atom], dictionary[atom])
    pivot = norm
    row = factor[n_support]
    for j in range(n_support):
        s = _inner(dictionary[atom], dictionary[support[j]])
        earlier = factor[j]
        for k in range(j):
            s -= row[k] * earlier[k]
        row[j] = s / earlier[j]
        pivot -= row[j] * row[j]
    if pivot <= tolerance * norm:
        return False
    row[n_support] = math.sqrt(pivot)
    return True


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def _back_substitute(factor, forward, n, solution):
    """Solve factor^T solution = forward, row by row of the factor."""
    for i in range(n):
        solution[i] = forward[i]
    for i in range(n - 1, -1, -1):
        row = factor[i]
        z = solution[i] / row[i]
        solution[i] = z
        for k in range(i):
            solution[k] -= row[k] * z


@njit(cache=True, nogil=True, error_model="numpy")
def omp_step(
    x,  # IN (rows, d), centred
    dictionary,  # IN (M, d), no zero atom
    best,  # IN (rows, 1) largest absolute correlation
    best_atom,  # IN (rows, 1)
    limit,  # IN (rows,)
    residual,  # IN/OUT (rows, d) float64
    current,  # IN/OUT (height, d) the residual in the type of the rows
    active,  # IN/OUT (rows,)
    support,  # IN/OUT (rows, K)
    coefficients,  # IN/OUT (rows, K) float64
    n_support,  # IN/OUT (rows,)
    factor,  # IN/OUT (rows, K, K) Cholesky factors
    forward,  # IN/OUT (rows, K) right sides after forward substitution
):
    """Add the best atom of each row and refit all its atoms; returns how many rows go on."""
    n_nonzero_coefs = support.shape[1]
    tolerance = DEPENDENT * np.finfo(dictionary.dtype).eps
    n_active = 0
    for r in range(active.shape[0]):
        if not active[r]:
            continue
        active[r] = False
        n, atom = n_support[r], best_atom[r, 0]
        if not math.isfinite(best[r, 0]):
            n_support[r] = _end_without_code(support[r], coefficients[r], n)
            continue
        if best[r, 0] == 0 or not _extend_factor(
            dictionary, support[r], n, atom, factor[r], tolerance
        ):
            continue
        support[r, n] = atom
        forward[r, n] = (
            _inner(dictionary[atom], x[r]) - _inner(factor[r, n, :n], forward[r, :n])
        ) / factor[r, n, n]
        n += 1
        n_support[r] = n
        _back_substitute(factor[r], forward[r], n, coefficients[r])
        if n == n_nonzero_coefs:
            continue
        for f in range(x.shape[1]):
            residual[r, f] = x[r, f]
        for k in range(n):
            _subtract(residual[r], coefficients[r, k], dictionary[support[r, k]])
        for f in range(x.shape[1]):
            current[r, f] = residual[r, f]
        active[r] = not _inner(residual[r], residual[r]) <= limit[r]
        n_active += active[r]
    return n_active


@njit(cache=True, nogil=True, error_model="numpy")
def refit_rows(x, dictionary, support, n_support, coefficients):
    """Least squares on the whole support of each row, from the row itself, in place."""
    width = support.shape[1]
    inner, factor = np.empty((width, width)), np.empty((width, width))
    right_side = np.empty(width)
    for r in range(x.shape[0]):
        n = n_support[r]
        if np.isfinite(coefficients[r, :n]).all():
            _fit_atoms(x[r], dictionary, support[r], n, inner, right_side, factor, coefficients[r])


@njit(cache=True, nogil=True, error_model="numpy")
def emit_rows(support, coefficients, n_support, values, indices, counts):
    """Write the non-zero coefficients of all rows ordered by atom."""
    for r in range(support.shape[0]):
        count = 0
        for k in range(n_support[r]):
            value = values.dtype.type(coefficients[r, k])
            if value == 0:
                continue
            atom = support[r, k]
            position = count
            while position > 0 and indices[r, position - 1] > atom:
                indices[r, position] = indices[r, position - 1]
                values[r, position] = values[r, position - 1]
                position -= 1
            indices[r, position] = atom
            values[r, position] = value
            count += 1
        counts[r] = count
