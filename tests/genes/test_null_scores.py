"""Scores of attributions against null sets: by hand, calibrated, and strong where genes drive."""

import numpy as np
import pytest
from scipy import sparse, stats

from skdict.genes._null_scores import adjusted, contrast_scales, null_scores, p_values
from skdict.genes._rounding import is_change


def test_scores_by_hand():
    observed, sets = np.array([4.0, 1.0, 0.0]), np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    deviation, scales = np.array([2.0, 1.0, 0.0]), np.array([0.5, 1.0, 2.0])
    z, null, tested = null_scores(observed, sets, deviation, scales)
    # floor: median of 2 and 1; differences (2, 0), (-2, 2) and (2, -2)
    raw = np.array([2 / 3.5, 2 / 2.5, 1 / 3.5, 1 / 2.5])
    size = np.sqrt((raw**2).mean())
    np.testing.assert_allclose(z, [2 / (0.5 * 3.5) / size, 0, 0])
    np.testing.assert_allclose(null, raw / size, rtol=1e-6)
    assert tested.tolist() == [True, True, False]
    p_value = p_values(z[None], tested[None], [null])
    np.testing.assert_allclose(p_value, [[(1 + (raw / size >= z[0]).sum()) / 5, 1, 1]])


def test_p_values_count_the_null_scores_of_all_concepts():
    z = np.array([[1.5, -2.5], [np.nan, np.nan], [0.5, 0.0]])
    tested = np.array([[True, True], [False, False], [True, False]])
    found = p_values(z, tested, [np.array([1.0, 2.0], np.float32), np.array([3.0], np.float32)])
    np.testing.assert_allclose(found, [[3 / 4, 2 / 4], [np.nan, np.nan], [1, 1]])


def test_p_values_are_uniform_when_sets_are_exchangeable(rng):
    # heavy tails, very different sizes, cells that stand in several sets
    n_cells, n_null, n_genes = 60, 8, 4000
    values = rng.standard_t(4, size=(n_cells + 10, n_genes)) * np.exp(rng.normal(size=n_genes))
    picks = np.array([rng.choice(n_cells, 10, replace=False) for _ in range(n_null)])
    sets = values[picks].mean(axis=1)
    observed, deviation = values[n_cells:].mean(axis=0), values.std(axis=0)
    shares = np.zeros((n_null, n_cells))
    np.put_along_axis(shares, picks, 0.1, axis=1)
    scales = contrast_scales(np.full(10, 0.1), sparse.csr_array(shares))
    z, null, tested = null_scores(observed, sets, deviation, scales)
    p_value = p_values(z[None], tested[None], [null])
    assert tested.all()
    assert abs((p_value < 0.05).mean() - 0.05) < 0.02
    assert abs((p_value < 0.5).mean() - 0.5) < 0.05
    observed[:20] += 5 * (deviation[:20] + np.median(deviation))
    z, null, _ = null_scores(observed, sets, deviation, scales)
    q_value = adjusted(p_values(z[None], tested[None], [null]), tested[None])[0][0]
    assert (q_value[:20] < 0.05).all() and (q_value[20:] < 0.05).sum() <= 5


def test_scales_are_the_standard_deviations_of_the_differences(rng):
    shares = rng.dirichlet(np.ones(12), size=4)
    own = np.array([0.5, 0.3, 0.2])
    found = contrast_scales(own, sparse.csr_array(shares))
    values = rng.normal(size=(20000, 15))
    means = values[:, :12] @ shares.T
    differences = [values[:, 12:] @ own - means.mean(axis=1)]
    differences += [means[:, k] - np.delete(means, k, axis=1).mean(axis=1) for k in range(4)]
    np.testing.assert_allclose(found, np.std(differences, axis=1), rtol=0.03)


def test_rounding_is_no_change():
    assert is_change(np.array([2.0, 1e-6, -1.0, 0.0])).tolist() == [True, False, True, False]
    assert not is_change(np.zeros(3)).any()
    rows = np.array([[np.nan, 1.0, 1e-7], [np.nan, 1e-7, 0.0]])
    assert is_change(rows).tolist() == [[False, True, False], [False, True, False]]
    z, null, tested = null_scores(np.zeros(3), np.zeros((2, 3)), np.zeros(3), np.ones(3))
    assert not tested.any() and null.size == 0 and (z == 0).all()
    assert (p_values(z[None], tested[None], [null]) == 1).all()


def test_adjustment_leaves_out_what_was_not_tested(rng):
    p_value = rng.random((3, 6))
    p_value[2] = np.nan
    tested = rng.random((3, 6)) < 0.7
    tested[2] = False
    within, across = adjusted(p_value, tested)
    for k in (0, 1):
        np.testing.assert_allclose(
            within[k, tested[k]], stats.false_discovery_control(p_value[k, tested[k]])
        )
        assert (within[k, ~tested[k]] == 1).all()
    np.testing.assert_allclose(across[tested], stats.false_discovery_control(p_value[tested]))
    assert np.isnan(within[2]).all() and np.isnan(across[2]).all()
    assert (across[:2][~tested[:2]] == 1).all()


def test_null_sets_that_do_not_vary_say_nothing():
    z, null, tested = null_scores(np.ones(2), np.ones((3, 2)), np.zeros(2), np.ones(4))
    assert not tested.any() and null.size == 0 and (z == 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_two_sided(sign, rng):
    sets = rng.normal(size=(10, 50))
    observed = rng.normal(size=50)
    observed[0] = sign * 30
    z, null, tested = null_scores(observed, sets, np.ones(50), np.ones(11))
    p_value = p_values(z[None], tested[None], [null])
    assert np.sign(z[0]) == sign and p_value[0, 0] == 1 / 501
