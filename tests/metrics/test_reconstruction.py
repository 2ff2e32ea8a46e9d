"""Cosine and explained variance of reconstructions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import explained_variance_score
from sklearn.metrics.pairwise import paired_cosine_distances

from skdict.metrics import _reconstruction, explained_variance, reconstruction_cosine


def pair(seed, n, d):
    rng = np.random.default_rng(seed)
    X = rng.normal(5, 1, size=(n, d))
    return X, X + rng.normal(size=(n, d))


@given(seed=st.integers(0, 1000), n=st.integers(2, 60), d=st.integers(1, 8))
def test_equal_scikit_learn_in_any_block_size(seed, n, d):
    X, reconstructed = pair(seed, n, d)
    variance = explained_variance_score(X, reconstructed, multioutput="variance_weighted")
    cosine = 1 - paired_cosine_distances(X, reconstructed).mean()
    whole = _reconstruction._BLOCK_VALUES
    try:
        for block in (whole, 3 * d):
            _reconstruction._BLOCK_VALUES = block
            assert explained_variance(X, reconstructed) == pytest.approx(variance, abs=1e-10)
            assert reconstruction_cosine(X, reconstructed) == pytest.approx(cosine, abs=1e-10)
    finally:
        _reconstruction._BLOCK_VALUES = whole


def test_known_values():
    X, _ = pair(0, 20, 3)
    assert explained_variance(X, X) == 1
    assert explained_variance(X, np.broadcast_to(X.mean(axis=0), X.shape)) == pytest.approx(0)
    assert explained_variance(X, X + 7) == pytest.approx(1)
    assert reconstruction_cosine(X, 3 * X) == pytest.approx(1)
    assert reconstruction_cosine(X, -X) == pytest.approx(-1)


def test_zero_rows_count_as_cosine_zero():
    X = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    reconstructed = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert reconstruction_cosine(X, reconstructed) == pytest.approx(0.5)


def test_data_without_variance():
    X = np.full((5, 2), 3.0)
    assert explained_variance(X, X + 1) == 1
    assert explained_variance(X, np.arange(10.0).reshape(5, 2)) == 0


def test_a_large_mean_does_not_cancel():
    X, reconstructed = pair(0, 200, 4)
    expected = explained_variance(X, reconstructed)
    assert explained_variance(X + 1e7, reconstructed + 1e7) == pytest.approx(expected, rel=1e-6)


def test_extreme_scales():
    X, reconstructed = pair(0, 10, 3)
    expected = reconstruction_cosine(X, reconstructed)
    for scale in (1e-200, 1e200):
        assert reconstruction_cosine(X * scale, reconstructed * scale) == pytest.approx(expected)


def test_read_only_memory_maps(tmp_path):
    X, reconstructed = (a.astype(np.float32) for a in pair(0, 50, 4))
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert explained_variance(mapped, reconstructed) == explained_variance(X, reconstructed)
    assert reconstruction_cosine(mapped, X) == pytest.approx(1)


@pytest.mark.parametrize("metric", [explained_variance, reconstruction_cosine])
def test_errors_name_the_parameter(metric):
    X = np.eye(3)
    with pytest.raises(ValueError, match=r"same shape, got \(3, 3\) and \(3, 2\)"):
        metric(X, X[:, :2])
    with pytest.raises(ValueError, match="X_reconstructed holds NaN"):
        metric(X, np.where(X == 1, np.nan, X))
    with pytest.raises(ValueError, match="X must be two-dimensional"):
        metric(X[0], X)
    with pytest.raises(ValueError, match="X must hold real numbers"):
        metric(X.astype(str), X)
    with pytest.raises(TypeError, match="X must be a dense array"):
        metric(sparse.csr_array(X), X)
