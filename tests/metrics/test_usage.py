"""Frequencies of components and the share of dead ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict.metrics import activation_frequency, dead_fraction


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


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="min_fraction must be in"):
        dead_fraction(np.eye(2), min_fraction=2.0)
    with pytest.raises(ValueError, match="codes holds NaN"):
        activation_frequency([[np.nan]])
