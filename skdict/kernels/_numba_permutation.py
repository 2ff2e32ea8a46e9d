"""Kernels of permutation tests: statistics of units in blocks, their moments, and draws.

The statistic of a concept is sum_u w_u v_u over the units u of some blocks; a permutation
exchanges the weights w within each block. Two numbers v of a unit are tested, on the sparse
pattern of the concepts that are active in it: its rate of activation, among all units, and its
strength, among the units in which the concept is active and counted from their mean in the block.

The statistic is divided by its standard deviation under permutation. Where the weights are those of
two arms, 1 and 0, it may be one with a variance for each arm instead (Welch), so that an arm whose
units rest on fewer cells, and vary more, is not taken for one with another mean. The variance of
all units, which no permutation changes, is mixed in with a quarter of a degree of freedom: an arm
may have one unit, or equal ones.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Degrees of freedom with which the variance of all units enters that of an arm.
PRIOR = 0.25


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
    rate_moments,  # OUT (5, M) statistic, its mean and variance under permutation, squares about
    # the mean of the block, squares about the sum divided by the number of units without weight
    strength_moments,  # OUT (3, M) statistic, variance among the active units, squared weights of
    # these about their mean
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
        n_without = 0
        count[:] = 0.0
        sums[:] = 0.0
        for j in range(blocks[q], blocks[q + 1]):
            w = weights[j]
            n_without += w == 0.0
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
                rate_moments[3, m] += square
            rate_moments[4, m] += sums[1, m] - sums[0, m] * sums[0, m] / max(n_without, 1)
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
    blocks,  # IN (n_blocks + 1,)
    column,  # IN (M,) place among the tested concepts, -1 for the others
    local_indptr,  # OUT (N + 1,) the units in the order of the blocks
    local_indices,  # OUT (at least the entries,)
    local_rate,  # OUT (at least the entries, 2) rate, and the sum of those of its block
    pointer,  # OUT (n_tested + 1,) the same entries, concept after concept
    places,  # OUT (at least the entries,) place of the unit, ascending
    rates,  # OUT (at least the entries,)
    strengths,  # OUT (at least the entries,)
):
    """Entries of the tested concepts alone, by unit and by concept."""
    fill = 0
    local_indptr[0] = 0
    pointer[:] = 0
    total = np.empty(pointer.shape[0] - 1)
    for q in range(blocks.shape[0] - 1):
        begin = fill
        total[:] = 0.0
        for j in range(blocks[q], blocks[q + 1]):
            for p in range(indptr[units[j]], indptr[units[j] + 1]):
                m = column[indices[p]]
                if m >= 0:
                    local_indices[fill] = m
                    local_rate[fill, 0] = rate[p]
                    total[m] += rate[p]
                    pointer[m + 1] += 1
                    fill += 1
            local_indptr[j + 1] = fill
        for e in range(begin, fill):
            local_rate[e, 1] = total[local_indices[e]]
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
def rate_statistics(
    drawn,  # IN (n_drawn,) places that the weights go to
    drawn_blocks,  # IN (n_blocks + 1,)
    drawn_weights,  # IN (n_drawn,)
    n_without,  # IN (n_blocks,) units without weight in each block
    indptr,  # IN (N + 1,)
    indices,  # IN (entries,)
    rate,  # IN (entries, 2)
    mean,  # IN (n_tested,) of the statistic
    inverse,  # IN (n_tested,) one over its standard deviation, where there are no arms
    spread,  # IN (n_tested,) variance of all units
    base,  # IN (n_tested,)
    arms,  # IN (4,) factors and degrees of freedom of the variances of both arms, or empty
    sums,  # scratch (n_tested, 6) zeros, and zeros again afterwards
    touched,  # scratch (n_tested,)
    z,  # OUT (n_tested,)
):
    """Standardised rates of one arrangement."""
    n_tested = z.shape[0]
    if not arms.shape[0]:  # the sums alone, in half the time
        for i in range(drawn.shape[0]):
            w = drawn_weights[i]
            for p in range(indptr[drawn[i]], indptr[drawn[i] + 1]):
                sums[indices[p], 0] += w * rate[p, 0]
        for m in range(n_tested):
            z[m] = (sums[m, 0] - mean[m]) * inverse[m]
            sums[m, 0] = 0.0
        return
    for q in range(drawn_blocks.shape[0] - 1):
        n_touched = 0
        for i in range(drawn_blocks[q], drawn_blocks[q + 1]):
            w = drawn_weights[i]
            for p in range(indptr[drawn[i]], indptr[drawn[i] + 1]):
                m = indices[p]
                if sums[m, 5] == 0.0:
                    touched[n_touched] = m
                    n_touched += 1
                    sums[m, 5] = 1.0 + rate[p, 1]
                value = w * rate[p, 0]
                sums[m, 0] += value
                sums[m, 3] += value
                sums[m, 4] += value * value
        n_drawn = drawn_blocks[q + 1] - drawn_blocks[q]
        for t in range(n_touched):
            m = touched[t]
            own, square, total = sums[m, 3], sums[m, 4], sums[m, 5] - 1.0
            sums[m, 1] += square - own * own / n_drawn
            sums[m, 2] -= square + own * (own - 2.0 * total) / max(n_without[q], 1)
            sums[m, 3] = 0.0
            sums[m, 4] = 0.0
            sums[m, 5] = 0.0
    for m in range(n_tested):
        z[m] = _welch(sums[m, 0] - mean[m], sums[m, 1], base[m] + sums[m, 2], spread[m], arms)
        sums[m, 0] = 0.0
        sums[m, 1] = 0.0
        sums[m, 2] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _welch(difference, square_drawn, square_other, spread, arms):
    """Difference over its standard deviation, with a variance of each arm."""
    drawn = (max(square_drawn, 0.0) + PRIOR * spread) / (arms[2] + PRIOR)
    other = (max(square_other, 0.0) + PRIOR * spread) / (arms[3] + PRIOR)
    variance = arms[0] * drawn + arms[1] * other
    return difference / math.sqrt(variance) if variance > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def count_rates(
    start,
    stop,
    drawn,  # IN (n_permutations, n_drawn)
    drawn_blocks,
    drawn_weights,
    n_without,
    indptr,
    indices,
    rate,
    mean,
    inverse,
    spread,
    base,
    arms,  # IN as above
    z,  # IN (n_tested,) observed
    tie,
    groups,  # IN (n_tested,) group of the tail, -1 for none
    floor,
    bin_width,
    counts,  # IN OUT (n_tested, 2) permutations at least and at most as large
    tails,  # IN OUT (n_groups, 2, n_bins) null z beyond the floor, below and above
):
    """Count the permutations start:stop whose rates reach the observed z, and their tails."""
    n_tested = z.shape[0]
    sums = np.zeros((n_tested, 6))
    touched = np.empty(n_tested, np.int64)
    null = np.empty(n_tested)
    for b in range(start, stop):
        rate_statistics(
            drawn[b], drawn_blocks, drawn_weights, n_without, indptr, indices, rate, mean, inverse,
            spread, base, arms, sums, touched, null,
        )  # fmt: skip
        for m in range(n_tested):
            counts[m, 0] += null[m] >= z[m] - tie
            counts[m, 1] += null[m] <= z[m] + tie
            _count_tail(null[m], groups[m], floor, bin_width, tails)


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
    welch,  # whether the weights are two arms with a variance each
    tie,
    z,  # OUT (n_tested,) observed
    counts,  # IN OUT (n_tested, 2)
):
    """Count, of all arrangements, those whose rates reach; for the concepts start:stop."""
    values = np.empty(blocks[-1])
    n_blocks = blocks.shape[0] - 1
    for m in range(start, stop):
        values[:] = 0.0
        for e in range(pointer[m], pointer[m + 1]):
            values[places[e]] = rates[e]
        for q in range(n_blocks):
            values[blocks[q] : blocks[q + 1]] -= values[blocks[q] : blocks[q + 1]].mean()
        factors = _factors(weights, values, blocks, n_blocks, welch)
        z[m] = _statistic(weights, values, blocks, n_blocks, factors)
        _count_all(weights, values, blocks, n_blocks, factors, z[m], tie, counts[m])


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
    welch,  # whether the weights are two arms with a variance each
    tie,
    groups,  # IN (n_tested,)
    floor,
    bin_width,
    z,  # OUT (n_tested,) observed
    counts,  # IN OUT (n_tested, 2)
    n_distinct,  # OUT (n_tested,) arrangements of the weights among the active units
    tails,  # IN OUT (n_groups, 2, n_bins)
):
    """The same for the strengths of the concepts start:stop, among their active units."""
    for m in range(start, stop):
        size = pointer[m + 1] - pointer[m]
        bounds = np.empty(size + 1, np.int64)
        values = strengths[pointer[m] : pointer[m + 1]].copy()
        own = weights[places[pointer[m] : pointer[m + 1]]]
        n_blocks = _center_blocks(places[pointer[m] : pointer[m + 1]], block, values, bounds)
        n_distinct[m] = _n_arrangements(own, bounds, n_blocks)
        factors = _factors(own, values, bounds, n_blocks, welch)
        z[m] = _statistic(own, values, bounds, n_blocks, factors)
        if n_distinct[m] <= limit:
            if not gone_through:
                _count_all(own, values, bounds, n_blocks, factors, z[m], tie, counts[m])
        else:
            _count_random(
                uniform, own, values, bounds, n_blocks, factors, z[m], tie, groups[m], floor,
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
def _factors(weights, values, bounds, n_blocks, welch):
    """What standardises: factors and degrees of freedom of both arms, and the variance of all.

    (factor, factor, freedom, freedom, variance, squares) with a variance for each arm, where blocks
    with one arm alone take no part; else (0, 0, 0, 0, variance of the statistic, 0).
    """
    factors = np.zeros(6)
    freedom = 0.0
    for q in range(n_blocks):
        first, last = bounds[q], bounds[q + 1]
        size = last - first
        part = weights[first:last]
        square = (values[first:last] ** 2).sum()
        about = ((part - part.mean()) ** 2).sum()
        if about == 0.0:
            continue
        if welch:
            n_drawn = part.sum()
            n_other = size - n_drawn
            weight = n_drawn * n_other / size
            factors[0] += weight * weight / n_drawn
            factors[1] += weight * weight / n_other
            factors[2] += n_drawn - 1.0
            factors[3] += n_other - 1.0
            factors[4] += square
            factors[5] += square
            freedom += size - 1.0
        else:
            factors[4] += about * square / (size - 1.0)
    if welch and freedom > 0.0:
        factors[4] /= freedom
    return factors


@njit(cache=True, nogil=True, error_model="numpy")
def _standardised(difference, square_drawn, square_other, factors):
    """Statistic of one arrangement, standardised."""
    if factors[0] > 0.0:
        return _welch(difference, square_drawn, square_other, factors[4], factors[:4])
    return difference / math.sqrt(factors[4]) if factors[4] > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _statistic(own, values, bounds, n_blocks, factors):
    """Standardised statistic of the weights as they are; values have mean 0 in every block."""
    difference = 0.0
    drawn = 0.0
    other = factors[5]
    for q in range(n_blocks):
        total = 0.0
        square = 0.0
        n_drawn = 0.0
        for e in range(bounds[q], bounds[q + 1]):
            total += own[e] * values[e]
            square += own[e] * values[e] * values[e]
            n_drawn += own[e]
        n_other = bounds[q + 1] - bounds[q] - n_drawn
        difference += total
        if n_drawn > 0.0 and n_other > 0.0:
            drawn += square - total * total / n_drawn
            other -= square + total * total / n_other
    return _standardised(difference, drawn, other, factors)


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
def _count_all(weights, values, bounds, n_blocks, factors, z, tie, counts):
    """Go through all arrangements in lexicographic order, block by block."""
    own = weights.copy()
    for q in range(n_blocks):
        own[bounds[q] : bounds[q + 1]] = np.sort(own[bounds[q] : bounds[q + 1]])
    while True:
        null = _statistic(own, values, bounds, n_blocks, factors)
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
    uniform, weights, values, bounds, n_blocks, factors, z, tie, group, floor, bin_width, counts,
    tails,
):  # fmt: skip
    """Give each weight that is not zero a unit of its block, at random."""
    size = bounds[n_blocks]
    carried = np.empty(size)
    drawn_bounds = np.zeros(n_blocks + 1, np.int64)
    n_drawn = 0
    for q in range(n_blocks):
        for e in range(bounds[q], bounds[q + 1]):
            if weights[e] != 0.0:
                carried[n_drawn] = weights[e]
                n_drawn += 1
        drawn_bounds[q + 1] = n_drawn
    swapped = np.empty(n_drawn, np.int64)
    for b in range(uniform.shape[0]):
        difference = 0.0
        drawn = 0.0
        other = factors[5]
        for q in range(n_blocks):
            total = 0.0
            square = 0.0
            last = bounds[q + 1]
            for i in range(drawn_bounds[q], drawn_bounds[q + 1]):
                place = bounds[q] + i - drawn_bounds[q]
                there = min(place + int(uniform[b, i] * (last - place)), last - 1)
                values[place], values[there] = values[there], values[place]
                swapped[i] = there
                value = carried[i] * values[place]
                total += value
                square += value * value
            n_here = drawn_bounds[q + 1] - drawn_bounds[q]
            n_other = last - bounds[q] - n_here
            difference += total
            if n_here > 0 and n_other > 0:
                drawn += square - total * total / n_here
                other -= square + total * total / n_other
            for i in range(drawn_bounds[q + 1] - 1, drawn_bounds[q] - 1, -1):  # back again
                place = bounds[q] + i - drawn_bounds[q]
                values[place], values[swapped[i]] = values[swapped[i]], values[place]
        null = _standardised(difference, drawn, other, factors)
        counts[0] += null >= z - tie
        counts[1] += null <= z + tie
        _count_tail(null, group, floor, bin_width, tails)
