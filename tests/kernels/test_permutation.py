"""Kernels of permutation tests against plain NumPy, and random draws that are fair."""

import itertools

import numpy as np
import pytest

from skdict.kernels import get_permutation_kernels

kernels = get_permutation_kernels()


def draw_units(seed, n_units=11, n_concepts=7):
    """Dense rates and strengths with zeros, and the same as sparse units."""
    rng = np.random.default_rng(seed)
    active = rng.random((n_units, n_concepts)) < 0.6
    rate = np.where(active, rng.integers(1, 5, active.shape) / 4, 0.0)
    strength = np.where(active, rng.normal(size=active.shape), 0.0)
    indptr = np.concatenate([[0], np.cumsum(active.sum(axis=1))])
    indices = np.nonzero(active)[1].astype(np.int32)
    return rate, strength, active, kernels.SparseUnits(
        indptr, indices, rate[active], strength[active]
    )  # fmt: skip


BLOCKS = np.array([0, 5, 9])
UNITS = np.array([3, 1, 9, 0, 10, 2, 4, 8, 6])  # units 5 and 7 take no part
BLOCK = np.repeat([0, 1], np.diff(BLOCKS))
TWO_ARMS = np.array([1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=float)
DOSES = np.array([0, 1, 2, 3, 3, 1, 0, 2, 2], dtype=float)


def arrange(weights):
    """Arrangement of the units: two arms, or weights that are all drawn."""
    two_arms = weights is TWO_ARMS
    drawn = np.flatnonzero(weights) if two_arms else np.arange(9)
    bounds = np.searchsorted(drawn, BLOCKS)
    return kernels.Arrangement(UNITS, BLOCKS, weights, bounds, drawn, two_arms, two_arms)


def statistic(weights, values, block):
    """Standardised statistic of weights, plainly; values of a block are centred first."""
    blocks = [np.flatnonzero(block == q) for q in np.unique(block)]
    values = values.astype(float).copy()
    for part in blocks:
        values[part] -= values[part].mean()
    if not set(weights) <= {0.0, 1.0}:
        variance = sum(
            ((weights[p] - weights[p].mean()) ** 2).sum() * (values[p] ** 2).sum() / (p.size - 1)
            for p in blocks if p.size > 1
        )  # fmt: skip
        return weights @ values / np.sqrt(variance) if variance > 0 else 0.0
    used = [p for p in blocks if 0 < weights[p].sum() < p.size]
    if not used:
        return 0.0
    spread = sum((values[p] ** 2).sum() for p in used) / sum(p.size - 1 for p in used)
    variance = 0.0
    for arm in (1.0, 0.0):
        own = [p[weights[p] == arm] for p in used]
        square = sum(values[p].var() * p.size for p in own) + 0.25 * spread
        freedom = sum(p.size - 1 for p in own) + 0.25
        factor = sum(
            (w.sum() * (w.size - w.sum()) / w.size) ** 2 / (w == arm).sum()
            for w in (weights[p] for p in used)
        )
        variance += factor * square / freedom
    return sum(weights[p] @ values[p] for p in used) / np.sqrt(variance) if variance > 0 else 0.0


@pytest.mark.parametrize("weights", [TWO_ARMS, DOSES])
def test_counts_over_all_arrangements(weights):
    rate, strength, active, values = draw_units(0)
    arrangement = arrange(weights)
    n_active, of_rate, _ = kernels.permutation_moments(values, arrangement, 7)
    np.testing.assert_array_equal(n_active, active[UNITS].sum(axis=0))
    sums = np.array([way @ rate[UNITS] for way in arrangements(weights, BLOCK)])
    np.testing.assert_allclose(of_rate[1], sums.mean(axis=0))
    np.testing.assert_allclose(of_rate[2], sums.var(axis=0), atol=1e-15)

    entries = kernels.entries_of(values, arrangement, np.ones(7, dtype=bool))
    z, counts = kernels.count_all_rates(entries, arrangement)
    tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
    of_strengths = kernels.count_strengths(
        entries, arrangement, np.zeros(7, dtype=np.int64), np.empty((0, 0)), 1e6, False, tails
    )
    for m in range(7):
        on = active[UNITS, m]
        for found, own, block, w in (
            ((z, counts), rate[UNITS, m], BLOCK, weights),
            (of_strengths, strength[UNITS[on], m], BLOCK[on], weights[on]),
        ):
            null = [statistic(way, own, block) for way in arrangements(w, block)]
            expected = statistic(w, own, block)
            assert found[0][m] == pytest.approx(expected, abs=1e-12)
            assert found[1][m].tolist() == reached(np.array(null), expected)
        assert of_strengths[2][m] == len(null)
    assert tails.sum() == 0  # gone through one by one, no random draws


def arrangements(weights, block):
    """Distinct orders of the weights within blocks."""
    parts = [sorted(set(itertools.permutations(weights[block == q]))) for q in np.unique(block)]
    return [np.concatenate(way) for way in itertools.product(*parts)]


def reached(null, observed):
    return [(null >= observed - 1e-9).sum(), (null <= observed + 1e-9).sum()]


def test_subsets_are_fair_and_within_their_block():
    rng = np.random.default_rng(0)
    arrangement = kernels.Arrangement(
        np.arange(8), np.array([0, 5, 8]), np.array([1, 1, 0, 0, 0, 1, 0, 0.0]),
        np.array([0, 2, 3]), np.array([0, 1, 5]), True, True,
    )  # fmt: skip
    drawn = kernels.draw_subsets(rng.random((30_000, 3)), arrangement)
    assert drawn[:, :2].max() < 5 and drawn[:, 2].min() >= 5 and drawn.max() < 8
    pairs = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25).reshape(5, 5)
    assert (np.diag(pairs) == 0).all()
    expected = 30_000 / 20
    assert np.abs(pairs[~np.eye(5, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)
    assert np.abs(np.bincount(drawn[:, 2])[5:] - 10_000).max() < 5 * np.sqrt(10_000)
    # a number that is almost one, which times a size may round up to it
    last = kernels.draw_subsets(np.full((1, 3), np.nextafter(1, 0)), arrangement)
    assert last.max() < 8


def prepared(weights, n_concepts=40, seed=1):
    """Entries, rates and what else the counts take, of concepts that vary."""
    _, _, _, values = draw_units(seed, n_concepts=n_concepts)
    arrangement = arrange(weights)
    _, of_rate, of_strength = kernels.permutation_moments(values, arrangement, n_concepts)
    tested = (of_rate[2] > 0) & (of_strength[1] > 0)
    arms = np.empty(0)
    if arrangement.welch_rates:
        sizes, drawn = np.diff(BLOCKS), np.diff(arrangement.drawn_blocks)
        other = sizes - drawn
        square = (drawn * other / sizes) ** 2
        arms = np.array([(square / drawn).sum(), (square / other).sum(), (drawn - 1).sum(),
                         (other - 1).sum()], dtype=float)  # fmt: skip
    of_rate = np.ascontiguousarray(of_rate[:, tested])
    rates = kernels.Rates(of_rate[1], 1 / np.sqrt(of_rate[2]), of_rate[3] / 7, of_rate[4], arms)
    entries = kernels.entries_of(values, arrangement, tested)
    return entries, rates, arrangement, np.zeros(int(tested.sum()), dtype=np.int64)


@pytest.mark.parametrize("weights", [TWO_ARMS, DOSES])
def test_random_counts_agree_with_all_arrangements_and_fill_the_tails(weights):
    entries, rates, arrangement, groups = prepared(weights)
    n_draws, n_drawn = 20_000, arrangement.drawn_places.size
    uniform = np.random.default_rng(2).random((n_draws, n_drawn))
    tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
    z = kernels.rate_statistics(entries, rates, arrangement)
    exact_z, exact = kernels.count_all_rates(entries, arrangement)
    np.testing.assert_allclose(z, exact_z, rtol=1e-9, atol=1e-12)
    drawn = kernels.draw_subsets(uniform, arrangement)
    random = kernels.count_rates(entries, rates, arrangement, z, groups, drawn, tails)
    n_all = len(arrangements(weights, BLOCK))
    np.testing.assert_allclose(random / n_draws, exact / n_all, atol=0.02)
    in_rates = tails.sum()
    assert 0.01 < in_rates / groups.size / n_draws < 0.4

    arguments = entries, arrangement, groups, uniform
    z, exact, n_distinct = kernels.count_strengths(*arguments, 1e6, False, tails)
    assert tails.sum() == in_rates
    again, random, _ = kernels.count_strengths(*arguments, 0, False, tails)
    np.testing.assert_array_equal(again, z)
    np.testing.assert_allclose(random / n_draws, exact / n_distinct[:, None], atol=0.02)
    assert tails.sum() > in_rates


def test_counts_do_not_depend_on_threads(monkeypatch):
    from skdict.kernels import _permutation

    entries, rates, arrangement, groups = prepared(TWO_ARMS)
    uniform = np.random.default_rng(0).random((500, 2))
    found = []
    for run in (_permutation.run_in_parallel, lambda work, n, grain: work(0, n)):
        monkeypatch.setattr(_permutation, "run_in_parallel", run)
        tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
        z = kernels.rate_statistics(entries, rates, arrangement)
        drawn = kernels.draw_subsets(uniform, arrangement)
        counts = kernels.count_rates(entries, rates, arrangement, z, groups, drawn, tails)
        strengths = kernels.count_strengths(entries, arrangement, groups, uniform, 0, False, tails)
        found.append((counts, tails, *strengths))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
