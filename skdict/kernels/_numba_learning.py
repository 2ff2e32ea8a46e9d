"""Kernels that learning shares: sparse decoding, sparse gradients and Adam on rows.

The gradient of an atom sums over the samples that use it, so the codes are turned to columns
first and each atom is owned by one thread: no races, and the same sum in every run.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def decode_rows(
    start,
    stop,
    indptr,  # IN (n + 1,)
    indices,  # IN (nnz,)
    values,  # IN (nnz,)
    dictionary,  # IN (M, d)
    intercept,  # IN (d,)
    decoded,  # OUT (n, d)
):
    """decoded = codes @ dictionary + intercept for the rows start:stop."""
    n_features = dictionary.shape[1]
    for i in range(start, stop):
        for f in range(n_features):
            decoded[i, f] = intercept[f]
        for p in range(indptr[i], indptr[i + 1]):
            z = values[p]
            atom = indices[p]
            for f in range(n_features):
                decoded[i, f] += z * dictionary[atom, f]


@njit(cache=True, nogil=True, error_model="numpy")
def codes_to_columns(
    indptr,  # IN (n + 1,)
    indices,  # IN (nnz,)
    column_pointer,  # OUT (M + 1,)
    rows,  # OUT (nnz,) sample of each entry, ordered by atom
    positions,  # OUT (nnz,) place of each entry in the row-ordered arrays
):
    """Order the entries of the codes by atom (counting sort)."""
    n_atoms = column_pointer.shape[0] - 1
    column_pointer[:] = 0
    for p in range(indptr[-1]):
        column_pointer[indices[p] + 1] += 1
    for m in range(n_atoms):
        column_pointer[m + 1] += column_pointer[m]
    fill = column_pointer[:-1].copy()
    for i in range(indptr.shape[0] - 1):
        for p in range(indptr[i], indptr[i + 1]):
            q = fill[indices[p]]
            rows[q] = i
            positions[q] = p
            fill[indices[p]] = q + 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def sparse_gradient_rows(
    start,
    stop,
    column_pointer,  # IN (M + 1,)
    rows,  # IN (nnz,)
    positions,  # IN (nnz,)
    weights,  # IN (nnz,) in row order
    samples,  # IN (n, d)
    scale,
    accumulate,
    gradient,  # OUT (M, d); only rows start:stop are written
):
    """gradient[m] = scale * sum over samples i of weights[i, m] samples[i].

    With `accumulate` the sum is added to what `gradient` holds.
    """
    n_features = samples.shape[1]
    for m in range(start, stop):
        if not accumulate:
            for f in range(n_features):
                gradient[m, f] = 0
        for q in range(column_pointer[m], column_pointer[m + 1]):
            w = scale * weights[positions[q]]
            i = rows[q]
            for f in range(n_features):
                gradient[m, f] += w * samples[i, f]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def adam_rows(
    start,
    stop,
    parameters,  # IN/OUT (M, d)
    gradient,  # IN (M, d)
    first_moment,  # IN/OUT (M, d)
    second_moment,  # IN/OUT (M, d)
    steps,  # IN/OUT (M,) Adam steps of each row since it was last reset
    learning_rate,
    beta1,
    beta2,
    epsilon,
    unit_norm,
):
    """One Adam step on the rows start:stop.

    With `unit_norm` the part of the gradient along the row is removed before the step and the
    row is brought back to unit length after it.
    """
    n_features = parameters.shape[1]
    for m in range(start, stop):
        along = parameters.dtype.type(0)
        if unit_norm:
            for f in range(n_features):
                along += gradient[m, f] * parameters[m, f]
        steps[m] += 1
        correction1 = 1.0 - beta1 ** steps[m]
        correction2 = math.sqrt(1.0 - beta2 ** steps[m])
        rate = parameters.dtype.type(learning_rate * correction2 / correction1)
        floor = parameters.dtype.type(epsilon * correction2)
        b1 = parameters.dtype.type(beta1)
        b2 = parameters.dtype.type(beta2)
        one = parameters.dtype.type(1)
        squared = 0.0
        for f in range(n_features):
            g = gradient[m, f] - along * parameters[m, f]
            first = b1 * first_moment[m, f] + (one - b1) * g
            second = b2 * second_moment[m, f] + (one - b2) * g * g
            first_moment[m, f] = first
            second_moment[m, f] = second
            value = parameters[m, f] - rate * first / (np.sqrt(second) + floor)
            parameters[m, f] = value
            squared += np.float64(value) * np.float64(value)
        if unit_norm and squared > 0.0:
            inverse = parameters.dtype.type(1.0 / math.sqrt(squared))
            for f in range(n_features):
                parameters[m, f] *= inverse


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def accumulate_rows(
    start,
    stop,
    column_pointer,  # IN (M + 1,)
    rows,  # IN (nnz,)
    positions,  # IN (nnz,)
    indptr,  # IN (n + 1,)
    indices,  # IN (nnz,)
    values,  # IN (nnz,) in row order
    samples,  # IN (n, d)
    decay,
    scale,
    second_moment,  # IN/OUT (M, M); only rows start:stop are written
    products,  # IN/OUT (M, d); only rows start:stop are written
):
    """A <- decay A + scale Z^T Z and B <- decay B + scale Z^T X, for the atoms start:stop.

    Atom by atom, so that the row of A that is scattered into stays in cache. What has decayed to
    nothing becomes 0: processors are slow with subnormal numbers, and they would never leave.
    """
    tiny = samples.dtype.type(1e-30)
    zero = samples.dtype.type(0)
    n_features = samples.shape[1]
    n_atoms = second_moment.shape[1]
    for m in range(start, stop):
        for k in range(n_atoms):
            past = decay * second_moment[m, k]
            second_moment[m, k] = past if abs(past) > tiny else zero
        for f in range(n_features):
            past = decay * products[m, f]
            products[m, f] = past if abs(past) > tiny else zero
        for q in range(column_pointer[m], column_pointer[m + 1]):
            w = scale * values[positions[q]]
            i = rows[q]
            for p in range(indptr[i], indptr[i + 1]):
                second_moment[m, indices[p]] += w * values[p]
            for f in range(n_features):
                products[m, f] += w * samples[i, f]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "reassoc", "contract"})
def descend_block(
    atoms,  # IN (b,) the atoms of the block, in the order of their updates
    remainders,  # IN/OUT (b, d) rows of B - A D at the current D
    second_moment,  # IN (M, M)
    floor,  # atoms with a second moment up to this are left alone
    unit_norm,
    dictionary,  # IN/OUT (M, d)
):
    """Minimise the surrogate over one atom after the other, each seeing the moves before it.

    NaN and infinity must be seen here, so the compiler may not assume that there are none.
    """
    n_features = dictionary.shape[1]
    move = np.empty(n_features, dictionary.dtype)
    for a in range(atoms.shape[0]):
        m = atoms[a]
        weight = second_moment[m, m]
        if not weight > floor:
            continue
        inverse = dictionary.dtype.type(1.0 / weight)
        squared = 0.0
        for f in range(n_features):
            value = dictionary[m, f] + inverse * remainders[a, f]
            move[f] = value
            squared += np.float64(value) * np.float64(value)
        if not (squared > 0.0 and squared < np.inf):
            continue
        length = dictionary.dtype.type(1.0 / math.sqrt(squared) if unit_norm else 1.0)
        for f in range(n_features):
            value = length * move[f]
            move[f] = value - dictionary[m, f]
            dictionary[m, f] = value
        for c in range(a + 1, atoms.shape[0]):
            w = second_moment[atoms[c], m]
            if w != 0:
                for f in range(n_features):
                    remainders[c, f] -= w * move[f]
