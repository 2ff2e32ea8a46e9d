"""The permutation test: oracles, calibration, corrections and what it prints."""

import re
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control, hypergeom, kstest
from sklearn.utils import check_random_state

from skdict.metrics import selectivity_null, selectivity_scores, selectivity_test
from skdict.metrics._unit_counts import count_units

VARIANTS = pytest.mark.parametrize(
    "kind, reference", [("average", "pooled"), ("average", "macro"), ("maximum", "pooled")]
)
UNEQUAL = np.repeat(np.arange(4), [11, 17, 23, 29])  # scores hardly ever tie


def random_codes(seed, n=UNEQUAL.size, m=20, density=0.3):
    return (np.random.default_rng(seed).random((n, m)) < density).astype(float)


def test_equals_fishers_exact_test_when_every_sample_is_a_unit():
    codes = random_codes(0)
    n_permutations = 4000
    test = selectivity_test(codes, UNEQUAL, n_permutations=n_permutations, random_state=0)
    counts = np.array([codes[UNEQUAL == i].sum(axis=0) for i in range(4)])
    total, sizes = codes.sum(axis=0), np.bincount(UNEQUAL)
    exact = hypergeom.sf(counts - 1, UNEQUAL.size, total[None, :], sizes[:, None])
    error = np.sqrt(exact * (1 - exact) / n_permutations) + 1 / n_permutations
    assert (np.abs(test.p_value - exact) < 4.5 * error).all()
    np.testing.assert_array_equal(test.score, selectivity_scores(codes, UNEQUAL))


@VARIANTS
def test_equals_a_naive_loop_over_permuted_units(kind, reference):
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(24), rng.integers(1, 4, 24))
    y, strata = np.arange(24) % 3, np.arange(24) // 12
    codes = random_codes(1, unit.size, 6)
    options = {"kind": kind, "reference": reference}
    test = selectivity_test(
        sparse.csr_array(codes), y[unit], units=unit, strata=strata[unit],
        n_permutations=2000, random_state=0, **options,
    )  # fmt: skip
    observed = selectivity_scores(codes, y[unit], **options)
    reached, n_naive = np.zeros_like(observed), 2000
    for _ in range(n_naive):
        permuted = y.copy()
        for stratum in (0, 1):
            permuted[strata == stratum] = rng.permutation(y[strata == stratum])
        scores = selectivity_scores(codes, permuted[unit], **options)
        reached += scores >= observed - 1e-9
    naive = reached / n_naive
    error = np.sqrt(2 * naive * (1 - naive) / n_naive) + 2 / n_naive
    assert (np.abs(test.p_value - naive) < 4.5 * error).all()


@VARIANTS
def test_p_values_are_uniform_when_the_labels_mean_nothing(kind, reference):
    p, label_p = [], []
    for seed in range(120):
        test = selectivity_test(
            random_codes(seed), UNEQUAL, kind=kind, reference=reference, n_permutations=99,
            random_state=seed, labels=[1],
        )  # fmt: skip
        p.append(test.p_value[0, 0])
        label_p.append(test.label_p_value[0])
    assert kstest(label_p, "uniform").pvalue > 0.01
    # one component alone takes few different values: valid means at most alpha, ties cost power
    for alpha in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p) <= alpha) < alpha + 3 * np.sqrt(alpha * (1 - alpha) / 120)
    assert np.mean(np.array(p) <= 0.5) > 0.3


def plate_effect(seed):
    """Components that follow the plate, labels that lie unevenly on the plates, and no more."""
    rng = np.random.default_rng(seed)
    plate = np.repeat(np.arange(6), 40)
    y = rng.random(240) < rng.permutation([0.1, 0.1, 0.3, 0.5, 0.7, 0.7])[plate]
    codes = rng.random((240, 8)) < rng.choice([0.1, 0.4, 0.9], (6, 8))[plate]
    return codes, y, plate


def test_strata_make_it_calibrated_under_plate_effects():
    within, free = [], []
    for seed in range(120):
        codes, y, plate = plate_effect(seed)
        options = {"n_permutations": 99, "random_state": seed, "labels": [True]}
        within.append(selectivity_test(codes, y, strata=plate, **options))
        free.append(selectivity_test(codes, y, **options))
    assert kstest([test.label_p_value[0] for test in within], "uniform").pvalue > 0.01
    assert kstest([test.p_value[0, 0] for test in within], "uniform").pvalue > 0.01
    false_alarms = [np.mean([test.label_p_value[0] <= 0.05 for test in tests])
                    for tests in (within, free)]  # fmt: skip
    assert false_alarms[0] < 0.12
    assert false_alarms[1] > 0.5


def well_effect(seed, n_wells=40, n_images=6):
    """Images of a well resemble each other; the label of the well means nothing."""
    rng = np.random.default_rng(seed)
    well = np.repeat(np.arange(n_wells), n_images)
    share = rng.beta(0.3, 0.7, (n_wells, 8))
    codes = rng.random((well.size, 8)) < share[well]
    return codes, rng.permutation(n_wells)[well] < n_wells * 0.4, well


def test_units_make_it_calibrated_when_rows_of_a_well_resemble_each_other():
    by_well, by_image = [], []
    for seed in range(120):
        codes, y, well = well_effect(seed)
        options = {"n_permutations": 99, "random_state": seed, "labels": [True]}
        by_well.append(selectivity_test(codes, y, units=well, **options))
        by_image.append(selectivity_test(codes, y, **options))
    assert kstest([test.p_value[0, 0] for test in by_well], "uniform").pvalue > 0.01
    assert kstest([test.label_p_value[0] for test in by_well], "uniform").pvalue > 0.01
    false_alarms = [np.mean([test.label_p_value[0] <= 0.05 for test in tests])
                    for tests in (by_well, by_image)]  # fmt: skip
    assert false_alarms[0] < 0.12
    assert false_alarms[1] > 0.5


def test_selectivity_null_takes_units_too():
    codes, y, well = well_effect(3)
    options = {"units": well, "n_permutations": 60, "random_state": 5}
    null, test = selectivity_null(codes, y, **options), selectivity_test(codes, y, **options)
    np.testing.assert_array_equal(null.maxima, test.maxima)
    np.testing.assert_array_equal(null.p_value, test.label_p_value)
    np.testing.assert_array_equal(null.smallest_p_value, test.smallest_p_value)
    assert null.n_units.tolist() == test.n_units.tolist() == [24, 16]


def test_family_wise_error_is_controlled_and_not_given_away():
    y = np.repeat(np.arange(5), [4, 8, 16, 32, 64])
    smallest = np.array([
        selectivity_test(
            random_codes(seed, y.size), y, n_permutations=99, random_state=seed
        ).family_wise_p_value.min()
        for seed in range(150)
    ])  # fmt: skip
    assert kstest(smallest, "uniform").pvalue > 0.01


def test_family_wise_values_by_their_definition():
    codes = random_codes(2)
    test = selectivity_test(codes, UNEQUAL, n_permutations=199, random_state=0)
    everything = np.vstack([test.score.max(axis=1), test.maxima])
    center, scale = everything.mean(axis=0), everything.std(axis=0)
    largest = ((test.maxima - center) / scale).max(axis=1)
    standard = (test.score - center[:, None]) / scale[:, None]
    expected = (1 + (largest[:, None, None] >= standard - 1e-9).sum(axis=0)) / 200
    np.testing.assert_allclose(test.family_wise_p_value, expected)
    assert (test.family_wise_p_value >= test.p_value).all()


def test_false_discovery_values_leave_out_dead_components():
    codes = random_codes(4)
    codes[:, [3, 7]] = 0
    codes[UNEQUAL == 2, 0] = 1
    test = selectivity_test(codes, UNEQUAL, n_permutations=199, random_state=0)
    alive = np.setdiff1d(np.arange(20), [3, 7])
    expected = false_discovery_control(test.p_value[:, alive].ravel()).reshape(4, -1)
    np.testing.assert_array_equal(test.q_value[:, alive], expected)
    assert (test.q_value[:, [3, 7]] == 1).all() and (test.p_value[:, [3, 7]] == 1).all()
    np.testing.assert_array_equal(test.label_q_value, false_discovery_control(test.label_p_value))


def test_share_of_false_pairs_by_its_definition():
    codes = random_codes(7, m=40)
    codes[:, :3] = np.maximum(codes[:, :3], (UNEQUAL == 2)[:, None])
    test = selectivity_test(codes, UNEQUAL, n_permutations=60, random_state=0)
    everything = np.vstack([test.score.max(axis=1), test.maxima])
    center, scale = everything.mean(axis=0)[:, None], everything.std(axis=0)[:, None]
    rng = check_random_state(0)  # the same permutations once more, nothing left out or binned
    units = count_units(sparse.csr_array(codes != 0).astype(np.int32), np.arange(4), UNEQUAL,
                       None, None)  # fmt: skip
    null = [selectivity_scores(codes, units.permuted(rng)) for _ in range(60)]
    np.testing.assert_array_equal([scores.max(axis=1) for scores in null], test.maxima)
    floor = np.ceil(test.maxima[0] / 2 * 4096)[:, None] / 4096
    null_t = np.concatenate([((s - center) / scale)[s > floor] for s in null])
    resolved = test.score > floor
    t = (test.score - center) / scale
    found = t[resolved]
    expected = np.ones(t.shape)
    for i, m in zip(*np.nonzero(resolved)):
        cuts = found[found <= t[i, m]]
        ratios = [(1 + (null_t >= c - 1e-9).sum()) / 61 / (found >= c - 1e-9).sum() for c in cuts]
        expected[i, m] = min(*ratios, 1)
    # bins count some null scores as a little larger than they are
    assert (test.false_discovery_rate >= expected - 1e-9).all()
    assert (test.false_discovery_rate <= expected * 1.1 + 0.02).all()
    assert (test.false_discovery_rate[2, :3] < 0.01).all()


def test_share_of_false_pairs_is_what_it_says():
    y = np.repeat(np.arange(6), [6, 10, 14, 20, 26, 40])
    false, found, alone = 0, 0, []
    for seed in range(40):
        codes = random_codes(seed, y.size, 40)
        noise = selectivity_test(codes, y, n_permutations=49, random_state=seed)
        alone.append(noise.false_discovery_rate.min() <= 0.1)
        codes[:, :6] = np.maximum(codes[:, :6], y[:, None] == np.arange(6))
        share = selectivity_test(
            codes, y, n_permutations=49, random_state=seed
        ).false_discovery_rate
        true = np.eye(6, 40, dtype=bool)
        found += np.count_nonzero(share <= 0.2)
        false += np.count_nonzero(share[~true] <= 0.2)
    assert found > 40 * 4
    assert 0.1 < false / found < 0.2 + 3 * np.sqrt(0.2 * 0.8 / found)
    # without any true pair, a share below 0.1 is seldom
    assert np.mean(alone) < 0.2


def test_planted_pairs_are_found_and_listed():
    codes = random_codes(5)
    codes[:, 4] = UNEQUAL == 1
    codes[:, 6] = (UNEQUAL == 3) & (np.arange(UNEQUAL.size) % 4 > 0)
    test = selectivity_test(codes, UNEQUAL, n_permutations=999, random_state=0)
    pairs = test.pairs(0.01, by="family_wise_p_value")
    assert list(zip(pairs.labels, pairs.feature)) == [(1, 4), (3, 6)]
    assert (np.diff(pairs.score) <= 0).all()
    frame = pytest.importorskip("pandas").DataFrame
    assert isinstance(test.pairs(as_frame=True), frame)
    with pytest.raises(ValueError, match="by must be one of"):
        test.pairs(by="bonferroni")
    with pytest.raises(ValueError, match="level must be in"):
        test.pairs(1.5)


def test_prints_unit_counts_and_the_smallest_attainable_p_value():
    # three plates with four wells of three images; "c" fills its only plate
    plate = np.repeat(["p1", "p2", "p3"], 12)
    well = np.char.add(plate, np.tile(np.repeat(["A", "B", "C", "D"], 3), 3))
    y = np.repeat(["a", "b", "b", "b"] * 2 + ["c"] * 4, 3)
    codes = (y == "a")[:, None].astype(float)
    test = selectivity_test(codes, y, units=well, strata=plate, random_state=0)
    assert test.n_units.tolist() == [2, 6, 4]
    assert test.n_distinct_permutations.tolist() == [16, 16, 1]
    assert test.smallest_p_value.tolist() == [1 / 16, 1 / 16, 1]
    assert test.p_value.tolist()[2] == [1]
    printed = repr(test)
    assert "12 within 3 strata; per label 2 to 6 (median 4)" in printed
    assert "0.062 to 1, depending on the label" in printed
    assert "labels that cannot reach p <= 0.05: 3" in printed
    few = selectivity_test(codes, y, units=well, strata=plate, n_permutations=3, random_state=0)
    assert few.smallest_p_value.tolist() == [0.25, 0.25, 1]


def test_the_chance_to_miss_the_identity_does_not_print_impossible_p_values():
    y, codes = np.array(["a", "b", "b", "b"]), np.array([[1.0], [0], [0], [0]])
    p = [selectivity_test(codes, y, n_permutations=9, random_state=s).p_value[0, 0]
         for s in range(40)]  # fmt: skip
    assert min(p) == 0.25


@VARIANTS
def test_labels_blocks_and_seed(kind, reference, monkeypatch):
    codes = random_codes(6)
    options = {"kind": kind, "reference": reference, "n_permutations": 30, "random_state": 3}
    every = selectivity_test(codes, UNEQUAL, **options)
    some = selectivity_test(sparse.csr_array(codes), UNEQUAL, labels=[3, 1], **options)
    np.testing.assert_array_equal(some.p_value, every.p_value[[3, 1]])
    assert some.labels.tolist() == [3, 1]
    monkeypatch.setattr("skdict.metrics._selectivity_test._BLOCK_SCORES", 12)
    blocks = selectivity_test(codes, UNEQUAL, **options)
    np.testing.assert_array_equal(blocks.p_value, every.p_value)
    np.testing.assert_array_equal(blocks.maxima, every.maxima)


def test_progress_says_how_much_time_is_left(capsys):
    codes, y = np.eye(4), [0, 0, 1, 1]
    for verbose in (0, 1):
        test = selectivity_test(codes, y, n_permutations=25, random_state=0, verbose=verbose)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 10 * verbose
    assert re.fullmatch(r"\[selectivity\] permutation 3 of 25, [0-9.]+ s, [0-9.]+ s left", lines[0])
    assert lines[-1].startswith("[selectivity] permutation 25 of 25, ")
    assert lines[-1].endswith(", 0.0 s left")
    silent = selectivity_test(codes, y, n_permutations=25, random_state=0)
    np.testing.assert_array_equal(test.p_value, silent.p_value)
    selectivity_test(codes, y, n_permutations=3, verbose=1)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_no_dense_copy_of_the_codes():
    # dense, these codes would take 8 GB
    n, m = 20_000, 50_000
    rng = np.random.default_rng(0)
    columns = (rng.integers(0, m // 3, (n, 3)) + m // 3 * np.arange(3)).ravel()
    codes = sparse.csr_array((np.ones(3 * n), columns, np.arange(0, 3 * n + 1, 3)), shape=(n, m))
    tracemalloc.start()
    selectivity_test(codes, np.arange(n) % 3, units=np.arange(n) // 6 * 3 + np.arange(n) % 3,
                     n_permutations=3, random_state=0)  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="n_permutations must be an integer >= 1"):
        selectivity_test(np.eye(2), [0, 1], n_permutations=0)
    with pytest.raises(ValueError, match="kind must be one of"):
        selectivity_test(np.eye(2), [0, 1], kind="best")
    with pytest.raises(ValueError, match="y must hold at least two labels"):
        selectivity_test(np.eye(2), [0, 0])
