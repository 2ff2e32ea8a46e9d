"""Kernels of permutation tests: weighted sums over units, their moments, and draws in blocks.

The statistic of a concept is sum_u w_u v_u over the units u of some blocks; a permutation
exchanges the weights w within each block. Two numbers v of a unit are tested, on the sparse
pattern of the concepts that are active in it: its rate of activation, among all units, and its
strength, among the units in which the concept is active and counted from their mean in the block.
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
    strength_moments,  # OUT (3, M) statistic, variance under permutation among the active units,
    # squared weights of these about their mean
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
            strength_moments[2, m] += of_active
            mean = sums[3, m] / count[m]
            if sums[6, m] > 1e-24 * count[m] * mean * mean:  # at least two units, and they differ
                strength_moments[1, m] += of_active * sums[6, m] / (count[m] - 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def entries_by_concept(
    indptr,  # IN (n_units + 1,)
    indices,  # IN (nnz,)
    rate,  # IN (nnz,)
    strength,  # IN (nnz,)
    units,  # IN (N,)
    column,  # IN (M,) place among the tested concepts, -1 for the others
    local_indptr,  # OUT (N + 1,) the units in the order of the blocks
    local_indices,  # OUT (at least the entries,)
    local_rate,  # OUT (at least the entries,)
    pointer,  # OUT (n_tested + 1,) the same entries, concept after concept
    places,  # OUT (at least the entries,) place of the unit, ascending
    rates,  # OUT (at least the entries,)
    strengths,  # OUT (at least the entries,)
):
    """Entries of the tested concepts alone, by unit and by concept."""
    fill = 0
    local_indptr[0] = 0
    pointer[:] = 0
    for j in range(units.shape[0]):
        for p in range(indptr[units[j]], indptr[units[j] + 1]):
            m = column[indices[p]]
            if m >= 0:
                local_indices[fill] = m
                local_rate[fill] = rate[p]
                pointer[m + 1] += 1
                fill += 1
        local_indptr[j + 1] = fill
    for m in range(pointer.shape[0] - 1):
        pointer[m + 1] += pointer[m]
    next_place = pointer[:-1].copy()
    for j in range(units.shape[0]):
        for p in range(indptr[units[j]], indptr[units[j] + 1]):
            m = column[indices[p]]
            if m >= 0:
                places[next_place[m]] = j
                rates[next_place[m]] = rate[p]
                strengths[next_place[m]] = strength[p]
                next_place[m] += 1


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
def count_rates(
    start,
    stop,
    drawn,  # IN (n_permutations, n_drawn)
    drawn_weights,  # IN (n_drawn,)
    indptr,  # IN (N + 1,)
    indices,  # IN (entries,)
    rate,  # IN (entries,)
    mean,  # IN (n_tested,) of the statistic
    inverse,  # IN (n_tested,) one over its standard deviation
    z,  # IN (n_tested,) observed
    tie,
    groups,  # IN (n_tested,) group of the tail, -1 for none
    floor,
    bin_width,
    counts,  # INOUT (n_tested, 2) permutations at least and at most as large
    tails,  # INOUT (n_groups, 2, n_bins) null z beyond the floor, below and above
):
    """Count the permutations start:stop whose rates reach the observed z, and their tails."""
    n_tested = z.shape[0]
    sums = np.empty(n_tested)
    for b in range(start, stop):
        sums[:] = 0.0
        for i in range(drawn.shape[1]):
            w = drawn_weights[i]
            for p in range(indptr[drawn[b, i]], indptr[drawn[b, i] + 1]):
                sums[indices[p]] += w * rate[p]
        for m in range(n_tested):
            null = (sums[m] - mean[m]) * inverse[m]
            counts[m, 0] += null >= z[m] - tie
            counts[m, 1] += null <= z[m] + tie
            _count_tail(null, groups[m], floor, bin_width, tails)


@njit(cache=True, nogil=True, error_model="numpy")
def _count_tail(z, group, floor, bin_width, tails):
    """Put a null statistic beyond the floor into its bin."""
    if abs(z) >= floor and group >= 0:
        place = min(int((abs(z) - floor) / bin_width), tails.shape[2] - 1)
        tails[group, int(z > 0), place] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def count_all_rates(
    start,
    stop,
    pointer,  # IN (n_tested + 1,)
    places,  # IN (entries,)
    rates,  # IN (entries,)
    blocks,  # IN (n_blocks + 1,)
    weights,  # IN (N,)
    mean,  # IN (n_tested,)
    inverse,  # IN (n_tested,)
    z,  # IN (n_tested,)
    tie,
    counts,  # INOUT (n_tested, 2)
):
    """Count, of all arrangements, those whose rates reach; for the concepts start:stop."""
    values = np.empty(blocks[-1])
    for m in range(start, stop):
        values[:] = 0.0
        for e in range(pointer[m], pointer[m + 1]):
            values[places[e]] = rates[e]
        n_blocks = blocks.shape[0] - 1
        _count_all(weights, values, blocks, n_blocks, mean[m], inverse[m], z[m], tie, counts[m])


@njit(cache=True, nogil=True, error_model="numpy")
def count_strengths(
    start,
    stop,
    uniform,  # IN (n_permutations, n_drawn) in [0, 1)
    limit,  # most arrangements that are gone through one by one
    gone_through,  # whether the arrangements of such concepts were counted before
    pointer,  # IN (n_tested + 1,)
    places,  # IN (entries,)
    strengths,  # IN (entries,)
    block,  # IN (N,) block of each place
    weights,  # IN (N,)
    inverse,  # IN (n_tested,) one over the standard deviation
    z,  # IN (n_tested,) observed
    tie,
    groups,  # IN (n_tested,)
    floor,
    bin_width,
    counts,  # INOUT (n_tested, 2)
    n_distinct,  # OUT (n_tested,) arrangements of the weights among the active units
    tails,  # INOUT (n_groups, 2, n_bins)
):
    """The same for the strengths of the concepts start:stop, among their active units."""
    for m in range(start, stop):
        size = pointer[m + 1] - pointer[m]
        bounds = np.empty(size + 1, np.int64)
        values = strengths[pointer[m] : pointer[m + 1]].copy()
        own = weights[places[pointer[m] : pointer[m + 1]]]
        n_blocks = _center_blocks(places[pointer[m] : pointer[m + 1]], block, values, bounds)
        n_distinct[m] = _n_arrangements(own, bounds, n_blocks)
        if n_distinct[m] <= limit:
            if not gone_through:
                _count_all(own, values, bounds, n_blocks, 0.0, inverse[m], z[m], tie, counts[m])
        else:
            _count_random(
                uniform, own, values, bounds, n_blocks, inverse[m], z[m], tie, groups[m], floor,
                bin_width, counts[m], tails,
            )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _center_blocks(places, block, values, bounds):
    """Subtract the mean of each block in place; fill the bounds and return the number of blocks."""
    n_blocks = 0
    bounds[0] = 0
    for e in range(places.shape[0]):
        if e + 1 == places.shape[0] or block[places[e + 1]] != block[places[e]]:
            n_blocks += 1
            bounds[n_blocks] = e + 1
            first = bounds[n_blocks - 1]
            values[first : e + 1] -= values[first : e + 1].mean()
    return n_blocks


@njit(cache=True, nogil=True, error_model="numpy")
def _n_arrangements(weights, bounds, n_blocks):
    """Distinct ways to deal out the weights within blocks; inf beyond float64."""
    logarithm = 0.0
    for q in range(n_blocks):
        part = np.sort(weights[bounds[q] : bounds[q + 1]])
        run = 0
        for e in range(part.shape[0]):
            run = run + 1 if e and part[e] == part[e - 1] else 1
            logarithm += math.log((e + 1.0) / run)
    distinct = math.exp(logarithm) if logarithm < 709.0 else np.inf
    return float(round(distinct)) if distinct < 1e12 else distinct


@njit(cache=True, nogil=True, error_model="numpy")
def _count_all(weights, values, bounds, n_blocks, mean, inverse, z, tie, counts):
    """Go through all arrangements in lexicographic order, block by block."""
    own = weights.copy()
    for q in range(n_blocks):
        own[bounds[q] : bounds[q + 1]] = np.sort(own[bounds[q] : bounds[q + 1]])
    while True:
        null = 0.0
        for e in range(bounds[n_blocks]):
            null += own[e] * values[e]
        null = (null - mean) * inverse
        counts[0] += null >= z - tie
        counts[1] += null <= z + tie
        q = 0
        while q < n_blocks and not _next_arrangement(own[bounds[q] : bounds[q + 1]]):
            q += 1
        if q == n_blocks:
            return


@njit(cache=True, nogil=True, error_model="numpy")
def _next_arrangement(own):
    """Bring the next arrangement into place; after the last one the first, and return False."""
    i = own.shape[0] - 2
    while i >= 0 and own[i] >= own[i + 1]:
        i -= 1
    if i >= 0:
        j = own.shape[0] - 1
        while own[j] <= own[i]:
            j -= 1
        own[i], own[j] = own[j], own[i]
    low, high = i + 1, own.shape[0] - 1
    while low < high:
        own[low], own[high] = own[high], own[low]
        low += 1
        high -= 1
    return i >= 0


@njit(cache=True, nogil=True, error_model="numpy")
def _count_random(
    uniform, weights, values, bounds, n_blocks, inverse, z, tie, group, floor, bin_width, counts,
    tails,
):  # fmt: skip
    """Give each weight that is not zero a unit of its block, at random."""
    size = bounds[n_blocks]
    carried = np.empty(size)
    first_of = np.empty(size, np.int64)  # place, end of the block: of each weight to be drawn
    end_of = np.empty(size, np.int64)
    n_drawn = 0
    for q in range(n_blocks):
        n_here = 0
        for e in range(bounds[q], bounds[q + 1]):
            if weights[e] != 0.0:
                carried[n_drawn] = weights[e]
                first_of[n_drawn] = bounds[q] + n_here
                end_of[n_drawn] = bounds[q + 1]
                n_drawn += 1
                n_here += 1
    swapped = np.empty(n_drawn, np.int64)
    for b in range(uniform.shape[0]):
        null = 0.0
        for i in range(n_drawn):
            place = first_of[i]
            other = min(place + int(uniform[b, i] * (end_of[i] - place)), end_of[i] - 1)
            values[place], values[other] = values[other], values[place]
            swapped[i] = other
            null += carried[i] * values[place]
        for i in range(n_drawn - 1, -1, -1):  # back to where they were
            place, other = first_of[i], swapped[i]
            values[place], values[other] = values[other], values[place]
        null *= inverse
        counts[0] += null >= z - tie
        counts[1] += null <= z + tie
        _count_tail(null, group, floor, bin_width, tails)
