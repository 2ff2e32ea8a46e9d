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


@pytest.mark.parametrize("weights", [[1, 1, 0, 0, 0, 1, 0, 0, 0], [0, 1, 2, 3, 3, 1, 0, 2, 2]])
def test_moments_and_counts_over_all_arrangements(weights):
    rate, strength, active, values = draw_units(0)
    weights = np.array(weights, dtype=float)
    n_active, of_rate, of_strength = kernels.permutation_moments(values, UNITS, BLOCKS, weights, 7)
    np.testing.assert_array_equal(n_active, active[UNITS].sum(axis=0))

    tested = np.ones(7, dtype=bool)
    entries = kernels.entries_of(values, UNITS, tested)
    groups = np.zeros(7, dtype=np.int64)
    one = np.ones(7)
    tests = kernels.Tests(0 * one, one, of_rate[0], groups)
    counts = kernels.count_all_rates(entries, tests, BLOCKS, weights)
    null = np.array([way @ rate[UNITS] for way in arrangements(weights, BLOCKS)])
    np.testing.assert_allclose(of_rate[1], null.mean(axis=0))
    np.testing.assert_allclose(of_rate[2], null.var(axis=0), atol=1e-15)
    np.testing.assert_array_equal(counts, reached(null, of_rate[0]))

    tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
    tests = kernels.Tests(0 * one, one, of_strength[0], groups)
    block = np.repeat([0, 1], np.diff(BLOCKS))
    counts, n_distinct = kernels.count_strengths(
        entries, tests, np.empty((0, 0)), block, weights, 1e6, False, tails
    )
    for m in range(7):
        on = active[UNITS, m]
        bounds = np.concatenate([[0], np.cumsum([on[:5].sum(), on[5:].sum()])])
        own = strength[UNITS[on], m]
        for first, last in itertools.pairwise(bounds):
            if last > first:
                own[first:last] -= own[first:last].mean()
        null = np.array([way @ own for way in arrangements(weights[on], bounds)])
        assert n_distinct[m] == null.size
        assert of_strength[0, m] == pytest.approx(weights[on] @ own)
        assert of_strength[1, m] == pytest.approx(null.var(), rel=1e-12, abs=1e-15)
        np.testing.assert_array_equal(counts[m], reached(null[:, None], of_strength[0, m])[0])
    assert tails.sum() == 0  # gone through one by one, no random draws


def arrangements(weights, bounds):
    """Distinct orders of the weights within blocks."""
    parts = [
        sorted(set(itertools.permutations(weights[first:last])))
        for first, last in itertools.pairwise(bounds)
    ]
    return [np.concatenate(way) for way in itertools.product(*parts)]


def reached(null, observed):
    return np.stack(
        [(null >= observed - 1e-9).sum(axis=0), (null <= observed + 1e-9).sum(axis=0)], axis=1
    )


def test_subsets_are_fair_and_within_their_block():
    rng = np.random.default_rng(0)
    blocks, drawn_blocks = np.array([0, 5, 8]), np.array([0, 2, 3])
    drawn = kernels.draw_subsets(rng.random((30_000, 3)), blocks, drawn_blocks)
    assert drawn[:, :2].max() < 5 and drawn[:, 2].min() >= 5 and drawn.max() < 8
    pairs = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25).reshape(5, 5)
    assert (np.diag(pairs) == 0).all()
    expected = 30_000 / 20
    assert np.abs(pairs[~np.eye(5, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)
    assert np.abs(np.bincount(drawn[:, 2])[5:] - 10_000).max() < 5 * np.sqrt(10_000)
    # a number that is almost one, which times a size may round up to it
    last = kernels.draw_subsets(np.full((1, 3), np.nextafter(1, 0)), blocks, drawn_blocks)
    assert last.max() < 8


def test_random_counts_agree_with_all_arrangements_and_fill_the_tails():
    _, _, active, values = draw_units(1, n_concepts=40)
    weights = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0], dtype=float)
    _, of_rate, of_strength = kernels.permutation_moments(values, UNITS, BLOCKS, weights, 40)
    tested = (of_rate[2] > 0) & (of_strength[1] > 0)
    entries = kernels.entries_of(values, UNITS, tested)
    groups = np.zeros(tested.sum(), dtype=np.int64)
    rate = kernels.Tests(
        of_rate[1, tested], 1 / np.sqrt(of_rate[2, tested]),
        (of_rate[0] - of_rate[1])[tested] / np.sqrt(of_rate[2, tested]), groups,
    )  # fmt: skip
    strength = kernels.Tests(
        np.zeros(groups.size), 1 / np.sqrt(of_strength[1, tested]),
        of_strength[0, tested] / np.sqrt(of_strength[1, tested]), groups,
    )  # fmt: skip
    n_draws = 20_000
    uniform = np.random.default_rng(2).random((n_draws, 4))
    drawn = kernels.draw_subsets(uniform, BLOCKS, np.array([0, 2, 4]))
    tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
    block = np.repeat([0, 1], np.diff(BLOCKS))
    random = kernels.count_rates(entries, rate, drawn, np.ones(4), tails)
    exact = kernels.count_all_rates(entries, rate, BLOCKS, weights)
    np.testing.assert_allclose(random / n_draws, exact / 60, atol=0.02)
    in_rates = tails.sum()
    assert 0.02 < in_rates / random[:, 0].size / n_draws < 0.3

    exact, n_distinct = kernels.count_strengths(
        entries, strength, uniform, block, weights, 1e6, False, tails
    )
    assert tails.sum() == in_rates
    random, _ = kernels.count_strengths(entries, strength, uniform, block, weights, 0, False, tails)
    np.testing.assert_allclose(random / n_draws, exact / n_distinct[:, None], atol=0.02)
    assert tails.sum() > in_rates


def test_counts_do_not_depend_on_threads(monkeypatch):
    from skdict.kernels import _permutation

    _, _, _, values = draw_units(3)
    entries = kernels.entries_of(values, UNITS, np.ones(7, dtype=bool))
    one = np.ones(7)
    tests = kernels.Tests(0 * one, one, 0 * one, np.zeros(7, dtype=np.int64))
    uniform = np.random.default_rng(0).random((500, 3))
    drawn = kernels.draw_subsets(uniform, BLOCKS, np.array([0, 2, 3]))
    found = []
    for run in (_permutation.run_in_parallel, lambda work, n, grain: work(0, n)):
        monkeypatch.setattr(_permutation, "run_in_parallel", run)
        tails = np.zeros((1, 2, kernels.N_BINS), np.int64)
        counts = kernels.count_rates(entries, tests, drawn, np.ones(3), tails)
        found.append((counts, tails))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
