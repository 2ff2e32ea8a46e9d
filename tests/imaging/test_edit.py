"""Editing tokens moves them along the direction behind the whitening, and nowhere else."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ControlPCAWhitener
from skdict.imaging import edit_tokens


@pytest.fixture
def tokens(rng):
    return rng.normal(size=(2, 3, 4, 5)) @ rng.normal(size=(5, 5)) + 2.0


@pytest.fixture
def whitener(tokens):
    rows = tokens.reshape(-1, 5)
    return ControlPCAWhitener().fit(rows, control=np.ones(len(rows), bool))


def coordinates(tokens, transformer):
    return transformer.transform(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape)


def before_scaling(tokens, whitener):
    return 3.0 * whitener.transform(tokens.reshape(-1, 5)) + 1.0


@pytest.mark.parametrize("scaled", [False, True])
def test_adding_is_a_step_behind_the_whitening(tokens, whitener, rng, scaled):
    transformer = whitener
    if scaled:
        transformer = make_pipeline(
            whitener, StandardScaler().fit(before_scaling(tokens, whitener))
        )
    direction = rng.normal(size=5)
    direction /= np.linalg.norm(direction)
    before = coordinates(tokens, transformer)
    after = coordinates(edit_tokens(tokens, direction, 2.5, transformer=transformer), transformer)
    np.testing.assert_allclose(after - before, np.broadcast_to(2.5 * direction, before.shape),
                               atol=1e-8)  # fmt: skip


def test_setting_leaves_what_is_orthogonal(tokens, whitener, rng):
    direction = rng.normal(size=5)
    unit = direction / np.linalg.norm(direction)
    edited = edit_tokens(tokens, direction, 0.0, mode="set", transformer=whitener)
    before, after = coordinates(tokens, whitener), coordinates(edited, whitener)
    np.testing.assert_allclose(after @ unit, 0, atol=1e-8)
    remove = np.eye(5) - np.outer(unit, unit)
    np.testing.assert_allclose(after @ remove, before @ remove, atol=1e-8)
    again = edit_tokens(edited, direction, 0.0, mode="set", transformer=whitener)
    np.testing.assert_allclose(again, edited, atol=1e-8)


def test_where(tokens, rng):
    where = rng.random(tokens.shape[:3]) < 0.5
    edited = edit_tokens(tokens, np.eye(5)[0], 1.0, where=where)
    changed = (edited != tokens).any(axis=-1)
    np.testing.assert_array_equal(changed, where)


def test_input_is_not_changed(tokens):
    before = tokens.copy()
    edit_tokens(tokens, np.eye(5)[0], 1.0)
    np.testing.assert_array_equal(tokens, before)


def test_errors(tokens, whitener):
    with pytest.raises(ValueError, match="mode must be one of 'add', 'set', got 'remove'"):
        edit_tokens(tokens, np.eye(5)[0], 1.0, mode="remove")
    with pytest.raises(ValueError, match="must be a single one"):
        edit_tokens(tokens, np.eye(5), 1.0)
    with pytest.raises(TypeError, match="must have inverse_transform, got Normalizer"):
        edit_tokens(tokens, np.eye(5)[0], 1.0, transformer=Normalizer())
    reduced = ControlPCAWhitener(n_components=2)
    reduced.fit(tokens.reshape(-1, 5), control=np.ones(24, bool))
    assert edit_tokens(tokens, [1.0, 0.0], 1.0, transformer=reduced).shape == tokens.shape
    with pytest.raises(ValueError, match=r"where must be a boolean mask of shape \(2, 3, 4\)"):
        edit_tokens(tokens, np.eye(5)[0], 1.0, where=np.ones((2, 3)))
    with pytest.raises(ValueError, match="amount must be in"):
        edit_tokens(tokens, np.eye(5)[0], np.nan)


class Bent:
    """A transformer that is not affine."""

    def transform(self, X):
        return np.tanh(X)

    def inverse_transform(self, X):
        return np.asarray(X)


def test_a_transformer_that_is_not_affine(tokens):
    with pytest.raises(ValueError, match="Bent does not undo its own inverse_transform"):
        edit_tokens(tokens, np.eye(5)[0], 1.0, transformer=Bent())
