"""Recovery of a known dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict.metrics import dictionary_recovery


def atoms(seed, m, d=64):
    return np.random.default_rng(seed).normal(size=(m, d))


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), m=st.integers(1, 30))
def test_a_permuted_and_scaled_dictionary_is_recovered(seed, m):
    true = atoms(seed, m)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(m)
    learned = true[order] * rng.uniform(0.1, 10, size=(m, 1))
    found = dictionary_recovery(true, learned)
    assert found.recovered == 1
    np.testing.assert_array_equal(order[found.assignment], np.arange(m))
    np.testing.assert_allclose(found.cosines, 1)
    assert found.mean_cosine == pytest.approx(1)


def test_a_random_dictionary_recovers_nothing():
    found = dictionary_recovery(atoms(0, 50), atoms(1, 200))
    assert found.recovered == 0
    assert found.mean_cosine < 0.6


def test_signs_count_unless_absolute():
    true = atoms(0, 10)
    learned = true * np.where(np.arange(10) < 4, -1, 1)[:, None]
    assert dictionary_recovery(true, learned).recovered == 0.6
    assert dictionary_recovery(true, learned, absolute=True).recovered == 1


def test_fewer_and_more_learned_atoms():
    true = atoms(0, 10)
    fewer = dictionary_recovery(true, true[:4])
    assert fewer.recovered == 0.4
    assert fewer.mean_cosine == pytest.approx(0.4, abs=1e-6)
    assert fewer.assignment.tolist() == [0, 1, 2, 3] + [-1] * 6
    more = dictionary_recovery(true, np.vstack([atoms(1, 7), true]))
    assert more.recovered == 1
    np.testing.assert_array_equal(more.assignment, np.arange(7, 17))


def test_one_learned_atom_cannot_stand_for_two_true_ones():
    true = np.array([[1.0, 0.0], [1.0, 0.01]])
    found = dictionary_recovery(true, [[1.0, 0.0], [0.0, 1.0]])
    assert found.recovered == 0.5
    # a zero atom has no direction
    assert dictionary_recovery(true, np.zeros((2, 2))).mean_cosine == 0


def test_unmatched_atoms_are_not_recovered_at_a_negative_threshold():
    assert dictionary_recovery(np.eye(3), np.eye(3)[:1], threshold=-1.0).recovered == 1 / 3


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="same number of features, got 3 and 2"):
        dictionary_recovery(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="learned holds NaN"):
        dictionary_recovery(np.eye(2), np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="true must be two-dimensional"):
        dictionary_recovery(np.ones(2), np.eye(2))
    with pytest.raises(ValueError, match="threshold must be in"):
        dictionary_recovery(np.eye(2), np.eye(2), threshold=1.5)
