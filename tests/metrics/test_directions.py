"""Separation of the rows of a label along a direction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from skdict.metrics import _directions, direction_separation


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 100))
def test_against_scipy_and_scikit_learn(seed, scale):
    rng = np.random.default_rng(seed)
    y = np.concatenate([["a", "b", "c"], rng.choice(["a", "b", "c"], 30)])
    X = rng.integers(-2, 3, size=(33, 3)).astype(float)
    directions = rng.normal(size=(3, 3))
    found = direction_separation(X * scale, directions * 7, y, n_bins=6)
    cosine = cosine_similarity(X, directions)
    np.testing.assert_allclose(found.cosines, cosine, atol=1e-12)
    for k, label in enumerate("abc"):
        inside, outside = found.cosines[y == label, k], found.cosines[y != label, k]
        assert found.auc[k] == pytest.approx(roc_auc_score(y == label, found.cosines[:, k]))
        pairs = mannwhitneyu(inside, outside).statistic / (inside.size * outside.size)
        assert found.auc[k] == pytest.approx(pairs)
        assert (found.n_label[k], found.n_other[k]) == (inside.size, outside.size)
        assert found.mean_label[k] == pytest.approx(inside.mean())
        assert found.mean_other[k] == pytest.approx(outside.mean())
        np.testing.assert_array_equal(found.counts_label[k], np.histogram(inside, found.edges)[0])
        assert found.counts_label[k].sum() + found.counts_other[k].sum() == 33


def test_effect_size_by_hand():
    # cosines 1, 1 against -1, 0.6: means 1 and -0.2, squares 0 and 2 * 0.64, pooled over 2
    X = [[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [0.6, 0.8]]
    found = direction_separation(X, [5.0, 0.0], [1, 1, 0, 0], labels=1)
    assert found.effect_size[0] == pytest.approx(1.2 / np.sqrt(2 * 0.64 / 2))
    assert found.auc[0] == 1
    same = direction_separation([[1.0, 0.0]] * 4, [1.0, 0.0], [1, 1, 0, 0], labels=1)
    assert same.auc[0] == 0.5 and np.isnan(same.effect_size[0])


def test_the_area_is_calibrated_for_directions_that_know_nothing(rng):
    y = np.repeat(np.arange(100), 30)
    X = rng.normal(size=(3000, 10))
    found = direction_separation(X, rng.normal(size=(100, 10)), y)
    # under the null the area has variance (n + m + 1) / (12 n m)
    z = (found.auc - 0.5) / np.sqrt(3001 / (12 * 30 * 2970))
    assert abs(z.mean()) < 0.4 and 0.8 < z.std() < 1.2
    assert abs(found.effect_size).max() < 1


def test_a_direction_chosen_on_its_own_rows_separates_them_by_choice(rng):
    X, y = rng.normal(size=(200, 100)), np.repeat([0, 1], 100)
    half = np.arange(200) % 2 == 0
    direction = X[half & (y == 1)].mean(axis=0) - X[half & (y == 0)].mean(axis=0)
    own, other = (
        direction_separation(X[rows], direction, y[rows], labels=1).auc[0] for rows in (half, ~half)
    )
    assert own > 0.9 and abs(other - 0.5) < 0.15


def test_several_directions_of_one_label_and_blocks(rng, monkeypatch):
    X, y = rng.normal(size=(40, 3)), np.repeat(["u", "v"], 20)
    directions = rng.normal(size=(3, 3))
    whole = direction_separation(X, directions, y, labels=["v", "u", "v"])
    assert whole.labels.tolist() == ["v", "u", "v"]
    alone = direction_separation(X, directions[2], y, labels="v")
    assert whole.auc[2] == alone.auc[0]
    monkeypatch.setattr(_directions, "_BLOCK_VALUES", 21)
    np.testing.assert_array_equal(
        whole.cosines, direction_separation(X, directions, y, labels=["v", "u", "v"]).cosines
    )


def test_no_effect_size_where_cosines_vary_by_rounding_only():
    y = np.repeat(["a", "b"], 30)
    X = np.where((y == "a")[:, None], [[0.1, 0.2, 0.7]], [[0.3, 0.1, 0.1]])
    found = direction_separation(X, [[0.3, 0.3, 0.7]], y, labels="a")
    assert np.isnan(found.effect_size[0])
    assert found.auc[0] == 1


def test_errors_name_the_parameter():
    X, y = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="directions must have the 4 features of X, got 3"):
        direction_separation(X, np.eye(3), y)
    with pytest.raises(ValueError, match="one label per direction: got 2 labels for 4"):
        direction_separation(X, np.eye(4), y)
    with pytest.raises(ValueError, match=r"labels must occur in y.*'z'"):
        direction_separation(X, X[0], y, labels="z")
    with pytest.raises(ValueError, match="directions must not hold a row of zeros"):
        direction_separation(X, np.zeros(4), y, labels="a")
    with pytest.raises(ValueError, match="X holds NaN"):
        direction_separation(X * np.nan, X[0], y, labels="a")
    with pytest.raises(ValueError, match="at least two labels"):
        direction_separation(X, X[0], ["a"] * 4, labels="a")
    with pytest.raises(TypeError, match=r"X must be dense.*toarray"):
        direction_separation(sparse.csr_array(X), X[0], y, labels="a")
    with pytest.raises(ValueError, match="n_bins must be an integer >= 1"):
        direction_separation(X, X[0], y, labels="a", n_bins=0)
