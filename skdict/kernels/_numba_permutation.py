"""Kernels of permutation tests: weighted sums over units, their moments, and draws in blocks.

The statistic of a concept is sum_u w_u v_u over the units u of some blocks; a permutation
exchanges the weights w within each block. Two numbers v of a unit are tested at once, on the sparse
pattern of the concepts that are active in it: its rate of activation and its strength.

Strength counts from the mean of the active units of the block, so that a unit without it adds
nothing, and it is divided by its standard deviation given the weights of the active units: a
concept that is active more often in one arm has another spread there than by permutation.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def permutation_moments(
    indptr,  # IN (n_units + 1,)
    indices,  # IN (nnz,) active concepts of each unit
    rate,  # IN (nnz,)
    strength,  # IN (nnz,)
    units,  # IN (N,) units, block after block
    blocks,  # IN (n_blocks + 1,) where each block begins
    weights,  # IN (N,)
    active,  # OUT (M,) units in which the concept is active
    rate_moments,  # OUT (3, M) statistic, mean, variance under permutation
    strength_moments,  # OUT (4, M) statistic, variance given the active units, squared deviations,
    # squared weights of the active units about their mean
):
    """Observed statistics and their moments under permutation within blocks."""
    n_concepts = active.shape[0]
    active[:] = 0
    rate_moments[:] = 0.0
    strength_moments[:] = 0.0
    count = np.empty(n_concepts)
    sums = np.empty((7, n_concepts))
    for q in range(blocks.shape[0] - 1):
        size = blocks[q + 1] - blocks[q]
        mean_weight = weights[blocks[q] : blocks[q + 1]].mean()
        square_weight = 0.0
        count[:] = 0.0
        sums[:] = 0.0
        for j in range(blocks[q], blocks[q + 1]):
            w = weights[j]
            square_weight += (w - mean_weight) ** 2
            for p in range(indptr[units[j]], indptr[units[j] + 1]):
                m = indices[p]
                count[m] += 1.0
                sums[0, m] += rate[p]
                sums[1, m] += rate[p] * rate[p]
                sums[2, m] += w * rate[p]
                sums[3, m] += strength[p]
                sums[4, m] += w
                sums[5, m] += w * w
        for j in range(blocks[q], blocks[q + 1]):  # a second pass: squares about the mean
            for p in range(indptr[units[j]], indptr[units[j] + 1]):
                m = indices[p]
                from_mean = strength[p] - sums[3, m] / count[m]
                strength_moments[0, m] += weights[j] * from_mean
                sums[6, m] += from_mean * from_mean
        for m in range(n_concepts):
            if count[m] == 0.0:
                continue
            active[m] += int(count[m])
            rate_moments[0, m] += sums[2, m]
            rate_moments[1, m] += mean_weight * sums[0, m]
            square = sums[1, m] - sums[0, m] * sums[0, m] / size
            if square > 1e-12 * sums[1, m]:  # else the rate is constant, up to rounding
                rate_moments[2, m] += square_weight / (size - 1) * square
            of_active = sums[5, m] - sums[4, m] * sums[4, m] / count[m]
            strength_moments[3, m] += of_active
            mean = sums[3, m] / count[m]
            if sums[6, m] > 1e-24 * count[m] * mean * mean:  # at least two units, and they differ
                strength_moments[1, m] += of_active * sums[6, m] / (count[m] - 1.0)
                strength_moments[2, m] += sums[6, m]


@njit(cache=True, nogil=True, error_model="numpy")
def local_entries(
    indptr,  # IN (n_units + 1,)
    indices,  # IN (nnz,)
    rate,  # IN (nnz,)
    strength,  # IN (nnz,)
    units,  # IN (N,)
    blocks,  # IN (n_blocks + 1,)
    column,  # IN (M,) place among the tested concepts, -1 for the others
    n_tested,
    local_indptr,  # OUT (N + 1,)
    local_indices,  # OUT (at least the entries,)
    local_values,  # OUT (at least the entries, 4) rate, strength from the mean of its block,
    # variance and inverse number of the active units of the block
):
    """Entries of the tested concepts alone, unit after unit in the order of the blocks."""
    count = np.empty(n_tested)
    total = np.empty(n_tested)
    square = np.empty(n_tested)
    fill = 0
    local_indptr[0] = 0
    for q in range(blocks.shape[0] - 1):
        count[:] = 0.0
        total[:] = 0.0
        square[:] = 0.0
        begin = fill
        for j in range(blocks[q], blocks[q + 1]):
            for p in range(indptr[units[j]], indptr[units[j] + 1]):
                m = column[indices[p]]
                if m >= 0:
                    count[m] += 1.0
                    total[m] += strength[p]
                    local_indices[fill] = m
                    local_values[fill, 0] = rate[p]
                    local_values[fill, 1] = strength[p]
                    fill += 1
            local_indptr[j + 1] = fill
        for e in range(begin, fill):
            m = local_indices[e]
            local_values[e, 1] -= total[m] / count[m]
            square[m] += local_values[e, 1] ** 2
        for e in range(begin, fill):
            m = local_indices[e]
            mean = total[m] / count[m]
            varies = square[m] > 1e-24 * count[m] * mean * mean
            local_values[e, 2] = square[m] / (count[m] - 1.0) if varies else 0.0
            local_values[e, 3] = 1.0 / count[m]


@njit(cache=True, nogil=True, error_model="numpy")
def draw_subsets(
    start,
    stop,
    uniform,  # IN (n_permutations, n_drawn) in [0, 1)
    blocks,  # IN (n_blocks + 1,)
    drawn_blocks,  # IN (n_blocks + 1,) where the drawn units of each block begin
    drawn,  # OUT (n_permutations, n_drawn) places of units
):
    """Draw, in every block, some of its places without replacement and in random order."""
    order = np.arange(blocks[-1])
    swapped = np.empty(drawn_blocks[-1], np.int64)
    for b in range(start, stop):
        for q in range(blocks.shape[0] - 1):
            for i in range(drawn_blocks[q], drawn_blocks[q + 1]):
                place = blocks[q] + i - drawn_blocks[q]
                other = place + int(uniform[b, i] * (blocks[q + 1] - place))
                other = min(other, blocks[q + 1] - 1)  # a product that was rounded up
                order[place], order[other] = order[other], order[place]
                swapped[i] = other
                drawn[b, i] = order[place]
        for q in range(blocks.shape[0] - 1):  # back to where it was, the last swap first
            for i in range(drawn_blocks[q + 1] - 1, drawn_blocks[q] - 1, -1):
                place = blocks[q] + i - drawn_blocks[q]
                other = swapped[i]
                order[place], order[other] = order[other], order[place]


@njit(cache=True, nogil=True, error_model="numpy")
def count_permutations(
    start,
    stop,
    drawn,  # IN (n_permutations, n_drawn)
    drawn_blocks,  # IN (n_blocks + 1,)
    drawn_weights,  # IN (n_drawn,)
    indptr,  # IN (N + 1,)
    indices,  # IN (entries,)
    values,  # IN (entries, 4)
    mean,  # IN (n_tested,) of the rate's statistic
    inverse,  # IN (n_tested,) one over its standard deviation
    reach,  # IN (n_tested, 4) z that count: at least, at most; of rate, then strength
    groups,  # IN (n_tested, 2) group of the tail, -1 for none
    floor,
    bin_width,
    counts,  # INOUT (n_tested, 4)
    tails,  # INOUT (n_groups, 2, n_bins) null z beyond the floor, below and above
):
    """Count the permutations start:stop that reach the observed z, and their tails."""
    n_tested = reach.shape[0]
    n_bins = tails.shape[2]
    # of each concept: sum of rates; sum and variance of strengths; and in the current block
    # sum and squares of the weights, variance and inverse number of active units
    sums = np.zeros((n_tested, 7))
    touched = np.empty(n_tested, np.int64)
    in_block = np.zeros(n_tested, np.bool_)
    z = np.empty(2)
    for b in range(start, stop):
        for q in range(drawn_blocks.shape[0] - 1):
            n_touched = 0
            for i in range(drawn_blocks[q], drawn_blocks[q + 1]):
                w = drawn_weights[i]
                for p in range(indptr[drawn[b, i]], indptr[drawn[b, i] + 1]):
                    m = indices[p]
                    if not in_block[m]:
                        in_block[m] = True
                        touched[n_touched] = m
                        n_touched += 1
                        sums[m, 3] = 0.0
                        sums[m, 4] = 0.0
                        sums[m, 5] = values[p, 2]
                        sums[m, 6] = values[p, 3]
                    sums[m, 0] += w * values[p, 0]
                    sums[m, 1] += w * values[p, 1]
                    sums[m, 3] += w
                    sums[m, 4] += w * w
            for t in range(n_touched):
                m = touched[t]
                in_block[m] = False
                sums[m, 2] += (sums[m, 4] - sums[m, 3] * sums[m, 3] * sums[m, 6]) * sums[m, 5]
        for m in range(n_tested):
            z[0] = (sums[m, 0] - mean[m]) * inverse[m]
            # what rounding leaves of no variance is none
            z[1] = sums[m, 1] / math.sqrt(sums[m, 2]) if sums[m, 2] > 1e-200 else 0.0
            sums[m, 0] = 0.0
            sums[m, 1] = 0.0
            sums[m, 2] = 0.0
            for k in range(2):
                counts[m, 2 * k] += z[k] >= reach[m, 2 * k]
                counts[m, 2 * k + 1] += z[k] <= reach[m, 2 * k + 1]
                if abs(z[k]) >= floor and groups[m, k] >= 0:
                    place = min(int((abs(z[k]) - floor) / bin_width), n_bins - 1)
                    tails[groups[m, k], int(z[k] > 0), place] += 1
