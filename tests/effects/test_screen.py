"""The screen against SciPy and enumeration, on planted truth, and on designs without a test."""

import itertools
import re

import numpy as np
import pytest
from scipy import sparse, stats

from skdict.effects import concept_effects
from tests.effects.conftest import draw_screen

ALTERNATIVES = ["two-sided", "greater", "less"]


def difference(one, other, axis):
    return one.mean(axis=axis) - other.mean(axis=axis)


def welch(one, other, axis):
    """The statistic of units of several rows, on one plate."""
    n, c = one.shape[axis], other.shape[axis]
    spread = np.concatenate([one, other], axis=axis).var(axis=axis, ddof=1)
    drawn = (one.var(axis=axis) * n + 0.25 * spread) / (n - 1 + 0.25)
    others = (other.var(axis=axis) * c + 0.25 * spread) / (c - 1 + 0.25)
    return difference(one, other, axis) / np.sqrt(drawn / n + others / c)


@pytest.mark.parametrize("statistic_of_scipy", [difference, welch])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_exact_p_values_are_those_of_scipy(alternative, statistic_of_scipy):
    rng = np.random.default_rng(3)
    codes = rng.random((9, 6)) * (rng.random((9, 6)) < 0.6)
    codes[:, 5] = 1 + rng.random(9)  # always active: its strength is an ordinary mean
    names = np.repeat(["A", "DMSO"], [4, 5])
    # wells of several equal rows have the same rates and strengths, but another statistic
    n_rows = np.where(names == "A", 4, 7) if statistic_of_scipy is welch else np.ones(9, int)
    rows = np.repeat(np.arange(9), n_rows)
    found = concept_effects(
        codes[rows], names[rows], names[rows] == "DMSO", np.zeros(rows.size), units=rows,
        alternative=alternative, min_active_units=1,
    )  # fmt: skip
    for statistic, columns in (("rate", range(5)), ("strength", [5])):
        for m in columns:
            values = codes[:, m] if m == 5 else (codes[:, m] != 0).astype(float)
            if np.ptp(values) == 0:
                continue
            expected = stats.permutation_test(
                (values[:4], values[4:]), statistic_of_scipy, alternative=alternative,
                vectorized=True, n_resamples=np.inf,
            )  # fmt: skip
            assert found[statistic].p_value[0, m] == pytest.approx(expected.pvalue, abs=1e-15)
            if statistic_of_scipy is welch:
                assert found[statistic].z[0, m] == pytest.approx(expected.statistic, rel=1e-12)
            effect = values[:4].mean() - values[4:].mean()
            assert found[statistic].effect[0, m] == pytest.approx(effect, abs=1e-6)
    assert found.smallest_p_value[0] == (2 if alternative == "two-sided" else 1) / 126


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_plates_as_blocks_are_scipys_samples(alternative):
    # one unit of each arm on every plate: exchanging them is SciPy's permutation type "samples"
    rng = np.random.default_rng(4)
    pairs = rng.random((7, 2)) + np.arange(7)[:, None]
    names, plate = np.tile(["A", "DMSO"], 7), np.repeat(np.arange(7), 2)
    found = concept_effects(
        pairs.reshape(-1, 1), names, names == "DMSO", plate, alternative=alternative
    )
    gap = pairs[:, 0] - pairs[:, 1]
    expected = stats.permutation_test(
        (gap,), lambda x, axis: x.mean(axis=axis), permutation_type="samples",
        alternative=alternative, vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    assert found.strength.p_value[0, 0] == pytest.approx(expected.pvalue, abs=1e-15)
    assert found.strength.effect[0, 0] == pytest.approx(gap.mean(), abs=1e-6)


def by_enumeration(values, treated, plate):
    """Two-sided p-value and z, by all permutations of Welch's statistic over plates."""
    plates = [np.flatnonzero(plate == q) for q in np.unique(plate)]
    spread = sum(values[units].var() * units.size for units in plates)
    spread /= sum(units.size - 1 for units in plates)

    def statistic(chosen):
        difference, squares, factors, freedom = 0.0, np.zeros(2), np.zeros(2), np.zeros(2)
        for units, own in zip(plates, chosen, strict=True):
            arms = values[list(own)], values[np.setdiff1d(units, own)]
            sizes = np.array([arm.size for arm in arms])
            weight = sizes.prod() / sizes.sum()
            difference += weight * (arms[0].mean() - arms[1].mean())
            squares += [arm.var() * arm.size for arm in arms]
            factors += weight**2 / sizes
            freedom += sizes - 1
        return difference / np.sqrt((factors * (squares + 0.25 * spread) / (freedom + 0.25)).sum())

    ways = itertools.product(
        *(itertools.combinations(units, int(treated[units].sum())) for units in plates)
    )
    null = np.array([statistic(way) for way in ways])
    z = statistic([units[treated[units]] for units in plates])
    return min(1.0, 2 * min((null >= z - 1e-9).mean(), (null <= z + 1e-9).mean())), z


def test_rates_of_two_plates_by_enumeration():
    rng = np.random.default_rng(5)
    plate = np.repeat([0, 1], [6, 5])
    treated = np.array([1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    unit = np.repeat(np.arange(11), np.where(treated, 3, 6))  # cells
    codes = (rng.random((unit.size, 4)) < 0.4) * rng.random((unit.size, 4))
    codes[:, 3] += 0.1  # always active: all units have a strength
    found = concept_effects(
        codes, np.where(treated, "A", "DMSO")[unit], ~treated[unit], plate[unit], units=unit
    )
    assert found.n_distinct_permutations[0] == 15 * 10
    strength = np.array([codes[unit == u, 3].mean() for u in range(11)])
    p_value, z = by_enumeration(strength, treated, plate)
    assert found.strength.p_value[0, 3] == pytest.approx(p_value, abs=1e-15)
    assert found.strength.z[0, 3] == pytest.approx(z, rel=1e-12)
    for m in range(3):
        rate = np.array([(codes[unit == u, m] != 0).mean() for u in range(11)])
        p_value, z = by_enumeration(rate, treated, plate)
        assert found.rate.p_value[0, m] == pytest.approx(p_value, abs=1e-15)
        assert found.rate.z[0, m] == pytest.approx(z, rel=1e-12)
        gaps, weights = [], []
        for q in (0, 1):
            own, other = rate[treated & (plate == q)], rate[~treated & (plate == q)]
            gaps.append(own.mean() - other.mean())
            weights.append(own.size * other.size / (own.size + other.size))
        assert found.rate.effect[0, m] == pytest.approx(np.average(gaps, weights=weights), abs=1e-6)


def test_random_permutations_approach_the_exact_p_value():
    rng = np.random.default_rng(6)
    codes = rng.normal(size=(14, 30)) + 1.0 * (np.arange(14) < 5)[:, None]
    names = np.repeat(["A", "DMSO"], [5, 9])
    exact, random = (
        concept_effects(codes, names, names == "DMSO", np.zeros(14), n_permutations=n,
                        random_state=0).strength.p_value[0]
        for n in (2002, 2001)
    )  # fmt: skip
    # a share of draws, twice for two sides, beside its expectation
    spread = np.sqrt(2 * exact / 2001) + 2 / 2001
    assert (np.abs(random - exact) / spread).max() < 4
    assert not np.array_equal(exact, random)


def test_q_values_are_statsmodels_benjamini_hochberg(planted_screen):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    codes, perturbation, plate, well, _ = planted_screen
    found = concept_effects(
        codes, perturbation, perturbation < 0, plate, units=well, n_permutations=99, random_state=0
    )
    tables = [found.rate, found.strength]
    p_values = np.concatenate([table.tail_p_value[table.tested] for table in tables])
    q_values = np.concatenate([table.q_value[table.tested] for table in tables])
    np.testing.assert_allclose(q_values, multitest.multipletests(p_values, method="fdr_bh")[1])


def test_planted_effects_are_found_and_few_others():
    false, power = [], []
    for seed in range(20):
        codes, perturbation, plate, well, truth = draw_screen(seed)
        found = concept_effects(
            sparse.csr_array(codes), perturbation, perturbation < 0, plate, units=well,
            n_permutations=199, random_state=seed,
        )  # fmt: skip
        hits = found.hits(0.1)
        true = truth[hits["perturbation"], hits["concept"]] & (hits["statistic"] == "rate")
        false.append((~true).mean())
        power.append(true.sum() / truth.sum())
    assert np.mean(false) <= 0.1 + 2 * np.std(false) / np.sqrt(20)
    assert np.mean(power) > 0.8


def test_cells_taken_for_replicates_find_what_is_not_there():
    shares = []
    for seed in range(5):
        codes, perturbation, plate, well, _ = draw_screen(seed, share=0.0)
        for units in (well, None):
            found = concept_effects(
                codes, perturbation, perturbation < 0, plate, units=units, n_permutations=199,
                random_state=0,
            )  # fmt: skip
            shares.append((found.strength.p_value[found.strength.tested] <= 0.01).mean())
    assert np.mean(shares[::2]) < 0.015 and np.mean(shares[1::2]) > 0.03


def test_strength_does_not_take_a_rate_for_a_strength():
    # a perturbation that switches a concept on in all of its wells, at unchanged strength
    rng = np.random.default_rng(7)
    names = np.repeat(["A", "DMSO"], [6, 30])
    active = (rng.random((36, 400)) < 0.25) | (names == "A")[:, None]
    codes = np.where(active, np.exp(rng.normal(size=(36, 400))), 0.0)
    found = concept_effects(
        codes, names, names == "DMSO", np.zeros(36), n_permutations=499, random_state=0
    )
    share = (found.strength.p_value[found.strength.tested] <= 0.05).mean()
    assert 0.02 < share < 0.09
    assert np.median(found.rate.p_value) < 0.01


@pytest.mark.parametrize("change", ["fewer cells", "lower rate"])
def test_an_arm_that_varies_more_is_not_one_that_differs(change):
    # a toxic compound leaves a fifth of the cells, or a compound lowers the rate alone; the
    # difference of means alone would give 0.28 and 0.33 at 0.05
    rng = np.random.default_rng(10)
    treated = np.tile(np.arange(34) < 4, 2)
    n_cells = np.where(treated & (change == "fewer cells"), 12, 60)
    well = np.repeat(np.arange(68), n_cells)
    rate = np.where(treated & (change == "lower rate"), 0.05, 0.4)[well]
    active = rng.random((well.size, 300)) < rate[:, None]
    codes = np.where(active, np.exp(rng.normal(size=active.shape)), 0.0)
    found = concept_effects(
        codes, np.where(treated, "A", "DMSO")[well], ~treated[well], np.repeat([0, 1], 34)[well],
        units=well, n_permutations=499, random_state=0,
    )  # fmt: skip
    strength = found.strength
    assert (strength.p_value <= 0.05).mean() < 0.2
    if change == "fewer cells":
        assert (found.rate.p_value <= 0.05).mean() < 0.13
        assert len(found.hits()["concept"]) <= 3
        assert found.rows_ratio[0] == 0.2


def test_sparse_dense_and_batches_of_draws_agree(planted_screen, monkeypatch):
    codes, perturbation, plate, well, _ = planted_screen
    arguments = perturbation, perturbation < 0, plate
    settings = {"units": well, "n_permutations": 50, "random_state": 0}
    first = concept_effects(codes, *arguments, **settings)
    monkeypatch.setattr("skdict.effects._assignments._BLOCK_DRAWS", 40)
    for matrix in (codes, sparse.csc_matrix(codes)):
        second = concept_effects(matrix, *arguments, **settings)
        for statistic in ("rate", "strength"):
            for name, values in first[statistic].items():
                np.testing.assert_array_equal(values, second[statistic][name])


def test_order_of_rows_does_not_matter_where_all_permutations_are_gone_through():
    rng = np.random.default_rng(8)
    codes = rng.random((40, 5)) * (rng.random((40, 5)) < 0.5)
    unit = np.repeat(np.arange(8), 5)
    names = np.repeat(["A", "DMSO"], [15, 25])
    order = rng.permutation(40)
    one, other = (
        concept_effects(codes[rows], names[rows], (names == "DMSO")[rows], np.zeros(40),
                        units=unit[rows], min_active_units=1)
        for rows in (np.arange(40), order)
    )  # fmt: skip
    np.testing.assert_array_equal(one.strength.p_value, other.strength.p_value)
    np.testing.assert_allclose(one.strength.z, other.strength.z, atol=1e-6)


def test_codes_that_cancel_out_stay_active():
    codes = np.array([[1.0], [-1.0], [2.0], [0.0], [1.0], [1.0], [0.0], [0.0]])
    names = np.repeat(["A", "DMSO"], 4)
    unit = np.repeat(np.arange(4), 2)  # 1 and -1 are the cells of one unit
    found = concept_effects(
        codes, names, names == "DMSO", np.zeros(8), units=unit, min_active_units=1
    )
    assert found.rate.effect[0, 0] == pytest.approx(0.75 - 0.5)


def test_held_out_plates_test_the_hits(planted_screen):
    codes, perturbation, plate, well, truth = planted_screen
    found = concept_effects(
        codes, perturbation, perturbation < 0, plate, units=well, held_out=[2], n_permutations=199,
        random_state=0,
    )  # fmt: skip
    assert found.n_plates.tolist() == [2] * 8 and found.replication.n_plates.tolist() == [1] * 8
    hits = found.hits()
    assert (hits["replicated"] == (hits["replication_q_value"] <= 0.05)).all()
    true = truth[hits["perturbation"], hits["concept"]] & (hits["statistic"] == "rate")
    assert hits["replicated"][true].mean() > 0.5
    alike = np.sign(hits["effect"]) == np.sign(hits["replication_effect"])
    assert alike[hits["replicated"]].all()
    by_perturbation = found.by_perturbation()
    pairs = {
        (p, m) for p, m, kept in zip(hits["perturbation"], hits["concept"], hits["replicated"],
                                     strict=True) if kept
    }  # fmt: skip
    assert by_perturbation["n_replicated"].sum() == len(pairs)
    assert found.by_concept()["n_replicated"].sum() == len(pairs)
    assert "replicated" in repr(found)


def test_what_cannot_be_tested_is_listed():
    rng = np.random.default_rng(9)
    names = np.array(["A"] * 3 + ["B"] + ["C"] * 2 + ["DMSO"] * 4 + ["D", "DMSO"])
    plate = np.array([1, 1, 2, 1, 3, 3, 1, 1, 1, 1, 4, 4])
    codes = rng.random((12, 3))
    codes[:, 2] = 0
    found = concept_effects(codes, names, names == "DMSO", plate)
    assert found.perturbations.tolist() == ["A", "B"]
    listed = zip(
        *(found.excluded[key] for key in ("perturbation", "plate", "n_units")), strict=True
    )
    assert sorted(listed) == [("A", 2, 1), ("C", 3, 2), ("D", 4, 1)]
    reasons = dict(zip(found.excluded["perturbation"], found.excluded["reason"], strict=True))
    assert "no control" in reasons["A"] and "one unit in each arm" in reasons["D"]
    assert found.never_active.tolist() == [2]
    assert (found.rate.q_value[:, 2] == 1).all() and not found.strength.tested[:, 2].any()
    assert found.n_units.tolist() == [2, 1]


def test_perturbations_on_one_kind_of_plates_are_listed():
    rng = np.random.default_rng(11)
    names = np.array(["A"] * 3 + ["DMSO"] * 4 + ["A"] * 3 + ["B"] * 3 + ["DMSO"] * 4 + ["C"] * 3)
    plate = np.array([1] * 7 + [2] * 10 + [1] * 3)
    found = concept_effects(
        rng.random((20, 3)), names, names == "DMSO", plate, held_out=2, n_permutations=99
    )
    listed = dict(zip(found.excluded["perturbation"], found.excluded["reason"], strict=True))
    assert set(listed) == {"B", "C"}
    assert "held-out plates alone" in listed["B"] and "not on the held-out" in listed["C"]
    assert found.excluded["plate"].tolist() == [2, 1]


def test_hits_are_pairs_that_were_tested(planted_screen):
    codes, perturbation, plate, well, _ = planted_screen
    found = concept_effects(
        codes, perturbation, perturbation < 0, plate, units=well, n_permutations=9, random_state=0
    )
    everything = found.hits(1.0)
    n_tested = found.rate.tested.sum() + found.strength.tested.sum()
    assert everything["concept"].size == n_tested < 2 * found.rate.tested.size
    assert np.isfinite(everything["effect"]).all()


def test_equal_statistics_reach_each_other_in_the_pooled_tails():
    # 7 units active at a rate of 3/7, in any 6 of them treated: many draws tie with the observed
    from skdict.effects._tails import PooledTails

    tails = PooledTails()
    place = int((4.0 - tails.floor) * 256)
    tails.counts[0, 0, 1, place - 1] = 50  # draws of 3.9999999999
    tails.n_draws[0, 0] = 999
    one = np.zeros(1, dtype=int)
    assert tails.p_value(np.array([4.0]), one, one, np.array([True]))[0] == 51 / 1000


def test_missing_names_of_controls_are_not_read():
    names = np.array(["A", "A", "A", None, None, None], dtype=object)
    control = np.array([False] * 3 + [True] * 3)
    codes = np.arange(6.0)[:, None]
    assert concept_effects(codes, names, control, np.zeros(6)).perturbations.tolist() == ["A"]


BAD = {
    "control must be a boolean mask": {"control": None},
    "control marks every row": {"control": np.ones(8, bool)},
    "control must mark at least 1": {"control": np.zeros(8, bool)},
    "names of one type": {"perturbation": [1, "1", "1", "1"] + ["D"] * 4},
    "perturbation is missing in 1 rows": {"perturbation": [None] + ["A"] * 3 + ["D"] * 4},
    "one entry per row": {"plate": [1, 2]},
    "plate holds missing": {"plate": [np.nan] + [1.0] * 7},
    "carry one perturbation each": {"units": [0, 1, 2, 3, 3, 4, 5, 6]},
    "here strata are the plates": {"units": [0] * 8, "plate": [1] * 4 + [2] * 4},
    "no perturbation can be tested": {"plate": [1] * 4 + [2] * 4},
    "held_out must hold names of plates, got ['x']": {"held_out": ["x"]},
    "held_out names every plate": {"held_out": [1]},
    "alternative": {"alternative": "both"},
    "n_permutations": {"n_permutations": 0},
    "min_active_units": {"min_active_units": 0},
    "codes holds NaN": {"codes": np.full((8, 2), np.nan)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    arguments = {
        "codes": np.arange(16.0).reshape(8, 2), "perturbation": ["A"] * 4 + ["D"] * 4,
        "control": np.arange(8) >= 4, "plate": [1] * 8,
    }  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(message)):
        concept_effects(**(arguments | BAD[message]))


def test_level_is_checked(planted_screen):
    codes, perturbation, plate, well, _ = planted_screen
    found = concept_effects(
        codes, perturbation, perturbation < 0, plate, units=well, n_permutations=9, random_state=0
    )
    with pytest.raises(ValueError, match="level"):
        found.hits(2)
    with pytest.raises(ValueError, match="dose was not given"):
        found.dose_hits()
