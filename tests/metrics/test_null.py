"""The permutation null of the best selectivity."""

import numpy as np
import pytest
from scipy import sparse

from skdict.metrics import best_features, selectivity_null


def random_codes(seed, n=120, m=40, density=0.2):
    rng = np.random.default_rng(seed)
    return sparse.csr_array(rng.random((n, m)) < density).astype(float)


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_the_null_is_calibrated_on_codes_that_know_nothing_of_the_labels(kind):
    y = np.repeat(np.arange(6), [11, 16, 19, 21, 24, 29])  # unequal: scores hardly ever tie
    p = [
        selectivity_null(
            random_codes(seed), y, kind=kind, n_permutations=49, random_state=seed
        ).p_value
        for seed in range(40)
    ]
    p = np.concatenate(p)
    # 240 p-values that are uniform but for the ties: share below alpha within 4 standard errors
    for alpha in (0.1, 0.5):
        assert abs((p <= alpha).mean() - alpha) < 4 * np.sqrt(alpha * (1 - alpha) / p.size)
    assert p.min() >= 1 / 50


def test_a_planted_component_is_found_and_the_noise_label_is_not():
    codes = random_codes(0).toarray()
    y = np.repeat(["a", "b", "c"], 40)
    codes[:, 0] = y == "a"
    null = selectivity_null(codes, y, n_permutations=99, random_state=0)
    assert null.p_value[0] == 0.01
    assert (null.smallest_p_value == 0.01).all()
    assert (null.p_value[1:] > 0.01).all()
    np.testing.assert_array_equal(null.observed, best_features(codes, y).score)
    np.testing.assert_allclose(null.expected_maximum, null.maxima.mean(axis=0))
    assert null.maxima.shape == (99, 3)
    # the best of many components is above zero by chance
    assert (null.expected_maximum > 0.05).all()


def test_plate_effects_stay_in_the_null_with_strata():
    # component 0 marks the plate, and label "a" is mostly on plate 1
    rng = np.random.default_rng(0)
    plate = np.repeat([1, 2], 100)
    y = np.where(rng.random(200) < np.where(plate == 1, 0.8, 0.2), "a", "b")
    codes = np.column_stack([plate == 1, rng.random(200) < 0.3]).astype(float)
    free = selectivity_null(codes, y, n_permutations=99, random_state=0)
    within = selectivity_null(codes, y, strata=plate, n_permutations=99, random_state=0)
    assert free.p_value[0] == 0.01
    assert within.p_value[0] > 0.5


def test_permutations_keep_the_labels_of_each_stratum():
    # With one sample of each label per stratum and a component that marks strata, every
    # within-stratum permutation gives the observed scores again.
    strata = np.repeat(np.arange(10), 3)
    y = np.tile(["a", "b", "c"], 10)
    codes = (strata % 2 == 0)[:, None].astype(float)
    order = np.random.default_rng(0).permutation(30)
    null = selectivity_null(
        codes[order], y[order], strata=strata[order], n_permutations=20, random_state=1
    )
    np.testing.assert_allclose(null.maxima, 0, atol=1e-15)
    np.testing.assert_array_equal(null.p_value, 1)


def test_labels_and_seed():
    codes, y = random_codes(3), np.repeat(["DMSO", "a", "b"], 40)
    every = selectivity_null(codes, y, n_permutations=10, random_state=5)
    some = selectivity_null(codes, y, n_permutations=10, random_state=5, labels=["b", "a"])
    np.testing.assert_array_equal(some.maxima, every.maxima[:, [2, 1]])
    assert some.labels.tolist() == ["b", "a"]
    other = selectivity_null(codes, y, n_permutations=10, random_state=6)
    assert not np.array_equal(other.maxima, every.maxima)


def test_errors_name_the_parameter():
    codes, y = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="strata must hold at least one stratum with two labels"):
        selectivity_null(codes, y, strata=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="strata must have one entry per row"):
        selectivity_null(codes, y, strata=[0, 0, 1])
    with pytest.raises(ValueError, match="n_permutations must be an integer >= 1"):
        selectivity_null(codes, y, n_permutations=0)
    with pytest.raises(ValueError, match="y must hold at least two labels"):
        selectivity_null(codes, ["a"] * 4)
