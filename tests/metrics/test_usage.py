"""Frequencies of components and the share of dead ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict import ICFLDictionary
from skdict.metrics import activation_frequency, dead_counts, dead_fraction, usage_density


@given(seed=st.integers(0, 1000), n=st.integers(1, 40), m=st.integers(1, 20))
def test_frequencies_dense_and_sparse(seed, n, m):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n, m)) * (rng.random((n, m)) < 0.2)
    expected = (codes != 0).mean(axis=0)
    for make in (np.asarray, sparse.csr_array, sparse.csr_matrix):
        np.testing.assert_allclose(activation_frequency(make(codes)), expected)
        assert dead_fraction(make(codes)) == np.mean(expected == 0)
    positive = activation_frequency(codes, active="positive")
    np.testing.assert_allclose(positive, (codes > 0).mean(axis=0))


def test_dead_is_below_the_fraction_and_stored_zeros_do_not_count():
    codes = np.zeros((100, 4))
    codes[:5, 0] = 1
    codes[:4, 1] = 1
    codes[:, 2] = 1
    assert dead_fraction(codes) == 0.25
    assert dead_fraction(codes, min_fraction=0.05) == 0.5
    assert dead_fraction(codes, min_fraction=0.0) == 0.25
    stored = sparse.csr_array(codes + 1)
    stored.data[:] = 0
    assert dead_fraction(stored) == 1.0


@given(seed=st.integers(0, 1000), n=st.integers(2, 60), m=st.integers(1, 20))
def test_every_component_is_in_one_bin_or_never_active(seed, n, m):
    rng = np.random.default_rng(seed)
    codes = sparse.csr_array(rng.normal(size=(n, m)) * (rng.random((n, m)) < rng.random(m)))
    density = usage_density(codes, n_bins=7)
    frequency = activation_frequency(codes)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(density.log10_frequency, np.log10(frequency))
    assert density.n_never == (frequency == 0).sum()
    assert density.counts.sum() + density.n_never == m
    assert density.edges[0] == -np.log10(n) and density.edges[-1] == 0


def test_bins_of_the_density_by_hand():
    codes = np.zeros((1000, 6))
    for component, n_active in enumerate([0, 1, 9, 50, 999, 1000]):
        codes[:n_active, component] = -1.0
    density = usage_density(codes, n_bins=3)
    np.testing.assert_allclose(density.edges, [-3, -2, -1, 0])
    assert density.counts.tolist() == [2, 1, 2] and density.n_never == 1
    assert usage_density(codes, active="positive").n_never == 6


def test_dead_counts_follow_the_window_of_training(planted):
    # far more atoms than rows can use
    dictionary = ICFLDictionary(
        400, n_nonzero_coefs=1, atoms_per_step=1, max_steps=60, dead_window=10, random_state=0
    )
    dictionary.fit(planted.data[:300])
    found = dead_counts(dictionary.history_, 400)
    np.testing.assert_array_equal(found.step, dictionary.history_["step"])
    np.testing.assert_allclose(found.n_dead / 400, dictionary.history_["dead_fraction"])
    assert found.final == found.n_dead[-1] > 0
    # the window covers every row here, so that the codes of the end tell nearly the same
    codes = dictionary.transform(planted.data[:300])
    assert abs(found.final - 400 * dead_fraction(codes)) < 40


def test_the_arithmetic_of_table_1():
    # 55 and 7,640 dead of 8,192
    for n_dead in (55, 341, 7640, 8026):
        history = {"step": [1000], "dead_fraction": [n_dead / 8192]}
        assert dead_counts(history, 8192).final == n_dead


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="min_fraction must be in"):
        dead_fraction(np.eye(2), min_fraction=2.0)
    with pytest.raises(ValueError, match="codes holds NaN"):
        activation_frequency([[np.nan]])
    with pytest.raises(ValueError, match="at least two rows"):
        usage_density([[1.0, 0.0]])
    with pytest.raises(ValueError, match="n_bins must be an integer >= 1"):
        usage_density(np.eye(2), n_bins=0)
    with pytest.raises(ValueError, match=r"missing: \['dead_fraction'\]"):
        dead_counts({"step": [1]}, 2)
    with pytest.raises(ValueError, match="max_steps=0 has none"):
        dead_counts({"step": [], "dead_fraction": []}, 2)
    with pytest.raises(ValueError, match="n_components=3 does not fit history"):
        dead_counts({"step": [1], "dead_fraction": [0.5]}, 3)
