"""Atoms: their cosines, their way back to input space, and random ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from skdict import ControlPCAWhitener
from skdict.metrics import _atoms, atom_similarity, map_atoms, random_atoms


@given(seed=st.integers(0, 1000), m=st.integers(2, 40), absolute=st.booleans())
def test_similarity_equals_the_whole_matrix(seed, m, absolute):
    atoms = np.random.default_rng(seed).normal(size=(m, 5)) * 3
    cosine = cosine_similarity(atoms)
    cosine = np.abs(cosine) if absolute else cosine
    found = atom_similarity(atoms, n_bins=7, absolute=absolute)
    pairs = np.clip(cosine[np.triu_indices(m, 1)], -1, 1)
    np.testing.assert_array_equal(found.counts, np.histogram(pairs, found.edges)[0])
    assert found.counts.sum() == m * (m - 1) // 2
    np.fill_diagonal(cosine, -np.inf)
    np.testing.assert_allclose(found.max_cosine, cosine.max(axis=1), atol=1e-12)
    np.testing.assert_array_equal(found.nearest, cosine.argmax(axis=1))
    assert found.mean_max_cosine == pytest.approx(cosine.max(axis=1).mean())


def test_blocks_change_nothing(monkeypatch):
    atoms = random_atoms(50, 6, random_state=0)
    whole = atom_similarity(atoms)
    monkeypatch.setattr(_atoms, "_BLOCK_VALUES", 150)
    blocks = atom_similarity(atoms)
    np.testing.assert_array_equal(whole.counts, blocks.counts)
    np.testing.assert_array_equal(whole.nearest, blocks.nearest)
    np.testing.assert_allclose(whole.max_cosine, blocks.max_cosine)


def test_a_duplicate_and_a_zero_atom():
    found = atom_similarity([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(found.max_cosine, [1, 1, 0, 0])
    assert found.nearest[:2].tolist() == [1, 0]
    opposite = atom_similarity([[1.0, 0.0], [-1.0, 0.0]], absolute=True)
    np.testing.assert_allclose(opposite.max_cosine, 1)


def test_a_step_along_an_atom_moves_the_embedding_along_the_mapped_atom(rng):
    X = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) + 10
    whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=np.arange(80) < 50)
    inner = whitener.transform(X)
    atoms = rng.normal(size=(3, 5))
    back = whitener.inverse_transform(np.eye(5)) - whitener.inverse_transform(np.zeros((1, 5)))
    mapped = map_atoms(atoms, back)
    for atom, direction in zip(atoms, mapped, strict=True):
        moved = whitener.inverse_transform(inner[:1] + atom) - X[:1]
        np.testing.assert_allclose(moved[0] / np.linalg.norm(moved), direction, atol=1e-9)


def test_random_atoms_have_the_spectrum_that_was_asked_for():
    uniform = random_atoms(20_000, 4, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(uniform, axis=1), 1)
    # uniform on the sphere: second moment I / d
    np.testing.assert_allclose(uniform.T @ uniform / 20_000, np.eye(4) / 4, atol=0.01)
    like = np.diag([1.0, 1.0, 1.0, 0.0])
    flat = random_atoms(20_000, 4, like=like, random_state=0)
    np.testing.assert_allclose(flat.T @ flat / 20_000, np.diag([1, 1, 1, 0]) / 3, atol=0.01)
    again = random_atoms(20_000, 4, random_state=0)
    np.testing.assert_array_equal(uniform, again)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="at least two atoms, got 1"):
        atom_similarity([[1.0, 2.0]])
    with pytest.raises(ValueError, match="components must be two-dimensional"):
        atom_similarity([1.0, 2.0])
    with pytest.raises(ValueError, match="components holds NaN"):
        atom_similarity([[np.nan, 2.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="linear_map must have one row per feature"):
        map_atoms(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="like must have n_features=3 columns"):
        random_atoms(2, 3, like=np.eye(2))
    with pytest.raises(ValueError, match="n_components must be an integer >= 1"):
        random_atoms(0, 3)
