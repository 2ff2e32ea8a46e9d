"""Recovery of a known dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import f1_score, precision_score, recall_score

from skdict.datasets import make_superposition
from skdict.metrics import (
    activation_frequency,
    code_recovery,
    dictionary_recovery,
    recovery_by_structure,
)


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


def test_kinds_of_planted_atoms_and_their_counts():
    data = make_superposition(
        500, 24, 60, 4, hierarchy=0.3, correlation=0.5, group_size=3, zipf_exponent=0.5,
        random_state=0,
    )  # fmt: skip
    learned = np.where((data.parents >= 0)[:, None], atoms(7, 60, 24), data.components)
    found = recovery_by_structure(
        data.components, learned, parents=data.parents, groups=data.groups,
        frequencies=activation_frequency(data.codes), n_frequency_bins=3,
    )  # fmt: skip
    table = dict(zip(found.kind.tolist(), zip(found.n_atoms, found.recovered, strict=True)))
    is_parent = np.isin(np.arange(60), data.parents)
    assert table["all"] == (60, pytest.approx(42 / 60))
    assert table["child"] == (18, 0.0)
    assert table["parent"] == (is_parent.sum(), 1.0)
    assert table["neither"] == (42 - is_parent.sum(), 1.0)
    assert table["grouped"][0] == 60 and "alone" not in table
    assert [table[f"frequency {i}"][0] for i in (1, 2, 3)] == [20, 20, 20]
    whole = dictionary_recovery(data.components, learned)
    np.testing.assert_allclose(
        found.mean_cosine[found.kind == "child"], whole.cosines[data.parents >= 0].mean()
    )


def test_frequency_bins_go_from_rare_to_frequent():
    true = np.eye(4)
    found = recovery_by_structure(
        true, true[2:], frequencies=[0.1, 0.2, 0.3, 0.4], n_frequency_bins=2
    )
    assert found.kind.tolist() == ["all", "frequency 1", "frequency 2"]
    assert found.recovered.tolist() == [0.5, 0.0, 1.0]


def test_merged_children_and_groups_are_told_from_missed_ones():
    true = np.eye(6)
    learned = np.array([true[0], true[0] + true[1], true[3] + true[4]])
    # 1 and 2 are children of 0: the first is merged with it, the second is missed
    tree = recovery_by_structure(true, learned, parents=[-1, 0, 0, -1, -1, -1])
    children = tree.kind == "child"
    assert tree.recovered[children] == 0 and tree.merged[children] == 0.5
    assert np.isnan(tree.merged[~children]).all()
    # of the atoms that come in groups, 3 and 4 are learned as one
    mates = recovery_by_structure(true, learned, groups=[0, 1, 2, 3, 3, 4])
    grouped = mates.kind == "grouped"
    assert mates.n_atoms[grouped] == 2 and mates.merged[grouped] == 1
    assert mates.recovered[mates.kind == "alone"] == 0.25
    # a found child is not called merged, whatever else there is
    both = recovery_by_structure(true, np.vstack([learned, true]), parents=[-1, 0, 0, -1, -1, -1])
    assert both.merged[both.kind == "child"] == 0


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), make=st.sampled_from([np.asarray, sparse.csr_array]))
def test_codes_against_scikit_learn_and_numpy(seed, make):
    rng = np.random.default_rng(seed)
    true, learned = (rng.normal(size=(25, m)) * (rng.random((25, m)) < 0.3) for m in (4, 5))
    learned[:, 2] = true[:, 0]
    assignment = np.array([2, 0, -1, 4])
    found = code_recovery(make(true), make(learned), assignment)
    for atom, other in enumerate(assignment):
        if other < 0:
            assert found.precision[atom] == found.recall[atom] == found.correlation[atom] == 0
            continue
        pair = true[:, atom] != 0, learned[:, other] != 0
        for name, score in (
            ("precision", precision_score), ("recall", recall_score), ("f1", f1_score),
        ):  # fmt: skip
            assert found[name][atom] == pytest.approx(score(*pair, zero_division=0))
        if true[:, atom].std() and learned[:, other].std():
            expected = np.corrcoef(true[:, atom], learned[:, other])[0, 1]
            assert found.correlation[atom] == pytest.approx(expected)
    assert found.mean_f1 == pytest.approx(found.f1.mean())


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="same number of features, got 3 and 2"):
        dictionary_recovery(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="learned holds NaN"):
        dictionary_recovery(np.eye(2), np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="true must be two-dimensional"):
        dictionary_recovery(np.ones(2), np.eye(2))
    with pytest.raises(ValueError, match="threshold must be in"):
        dictionary_recovery(np.eye(2), np.eye(2), threshold=1.5)
    eye = np.eye(3)
    with pytest.raises(ValueError, match="parents must have one entry per true atom"):
        recovery_by_structure(eye, eye, parents=[0])
    with pytest.raises(ValueError, match="parents must hold indices below 3, or -1"):
        recovery_by_structure(eye, eye, parents=[3, -1, -1])
    with pytest.raises(ValueError, match="same rows, got 3 and 2"):
        code_recovery(eye, eye[:2], [0, 1, 2])
    with pytest.raises(ValueError, match="assignment must hold indices of the 3 learned atoms"):
        code_recovery(eye, eye, [0, 1, 3])
    with pytest.raises(ValueError, match="learned_codes holds NaN"):
        code_recovery(eye, eye * np.nan, [0, 1, 2])
    with pytest.raises(ValueError, match="frequencies holds NaN"):
        recovery_by_structure(eye, eye, frequencies=[0.1, np.nan, 0.2])
