"""The shared loop: batches, partial fits, usage windows, interruption."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from skdict import ICFLDictionary, TopKSAE
from skdict._minibatch import Adam, UsageWindow, shuffled_batches

MODELS = [
    ICFLDictionary(32, n_nonzero_coefs=3, max_steps=30, random_state=0),
    TopKSAE(32, n_nonzero_coefs=3, max_steps=30, random_state=0),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 30), st.integers(0, 99))
def test_batches_are_full_and_use_rows_equally(n_samples, batch_size, n_batches, seed):
    batch_size = min(batch_size, n_samples)
    batches = list(shuffled_batches(n_samples, batch_size, n_batches, np.random.RandomState(seed)))
    assert [len(batch) for batch in batches] == [batch_size] * n_batches
    used = np.bincount(np.concatenate([[], *batches]).astype(int), minlength=n_samples)
    assert used.max() - used.min() <= 1


@each_model
def test_partial_fit_learns_and_continues(planted, model):
    X = planted.data
    model = clone(model)
    for _ in range(5):
        model.partial_fit(X)
    first = model.score(X)
    n_steps = model.n_steps_
    assert model.n_iter_ == 5
    assert n_steps == 5 * 8
    kept = model.components_
    frozen = kept.copy()
    for _ in range(10):
        model.partial_fit(X)
    assert model.score(X) > first
    np.testing.assert_array_equal(kept, frozen)  # attributes handed out are not written to
    assert model.history_["step"][-1] == model.n_steps_ == 3 * n_steps


@each_model
def test_partial_fit_is_one_unshuffled_pass(planted, model):
    whole = clone(model).set_params(batch_size=100).partial_fit(planted.data)
    parts = clone(model).set_params(batch_size=100)
    parts.partial_fit(planted.data[:1000])
    other = clone(parts).partial_fit(planted.data[:1000])
    np.testing.assert_array_equal(parts.components_, other.components_)
    parts.partial_fit(planted.data[1000:])
    assert parts.n_steps_ == whole.n_steps_ == 20


@each_model
def test_partial_fit_after_fit_continues_from_it(planted, model):
    model = clone(model).fit(planted.data)
    before = model.components_.copy()
    n_steps = model.n_steps_
    model.set_params(learning_rate=1e-5).partial_fit(planted.data[:500])
    assert model.n_steps_ == n_steps + 2
    assert 0 < np.abs(model.components_ - before).max() < 1e-3
    assert model.components_.dtype == before.dtype
    refitted = model.set_params(learning_rate=None).fit(planted.data)
    np.testing.assert_array_equal(refitted.components_, before)  # fit starts afresh
    model.partial_fit(planted.data[:10].astype(np.float64))
    assert model.components_.dtype == before.dtype


@each_model
def test_an_interrupted_fit_keeps_what_was_learned(planted, model, monkeypatch):
    model = clone(model)
    step = type(model)._step

    def interrupted(self, batch, state, rate):
        if state.n_steps == 20:
            raise KeyboardInterrupt
        return step(self, batch, state, rate)

    monkeypatch.setattr(type(model), "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(planted.data)
    assert model.n_steps_ == 20
    assert np.isfinite(model.score(planted.data))


def test_divergence_is_an_error_that_names_the_learning_rate(planted):
    model = TopKSAE(32, learning_rate=1e30, max_steps=30, random_state=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Lower learning_rate"):
        model.fit(planted.data)


@each_model
def test_float64_is_kept(planted, model):
    X = planted.data.astype(np.float64)
    model = clone(model).set_params(max_steps=3).fit(X)
    assert model.components_.dtype == model.intercept_.dtype == np.float64
    assert model.transform(X).dtype == np.float64
    assert model.transform(planted.data).dtype == np.float32


@each_model
def test_verbose_prints_plain_lines(planted, model, capsys):
    clone(model).set_params(verbose=1, max_steps=2).fit(planted.data)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"[{type(model).__name__}] step 1: loss ")
    assert "dead" in lines[0]


def test_default_sizes_follow_the_rules(planted):
    X = planted.data
    model = ICFLDictionary(max_steps=1).fit(X)
    assert model.components_.shape == (4 * 24, 24)
    assert model.transform(X).getnnz(axis=1).max() == 2
    model._n_atoms = 8192 * 2
    assert model._batch_size(10**6) == 8192
    assert model._batch_size(100) == 100
    model.set_params(max_steps=None)
    assert model._max_steps(2000, 256) == 300
    assert model._max_steps(60_000, 1024) == 1172
    assert model._max_steps(40_000_000, 8192) == 20_000


def test_usage_window_forgets():
    window = UsageWindow(3, 100)
    assert window.dead_fraction() == 1.0
    for _ in range(200):
        window.add(np.array([5, 0, 1]), 10)
    assert window.dead_fraction() == pytest.approx(1 / 3)
    for _ in range(110):
        window.add(np.array([5, 1, 0]), 10)
    assert window.counts()[2] == 0
    assert window.counts()[1] == 100
    assert window.dead_fraction() == pytest.approx(1 / 3)


def test_adam_follows_its_definition(rng):
    parameters = rng.normal(size=(4, 6))
    gradients = rng.normal(size=(5, 4, 6))
    adam = Adam(parameters.copy())
    expected, first, second = parameters.copy(), 0.0, 0.0
    for t, gradient in enumerate(gradients, start=1):
        adam.step(gradient, 0.01)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected -= 0.01 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(adam.parameters, expected, rtol=1e-9)


def test_adam_on_unit_rows_ignores_the_gradient_along_them(rng):
    start = rng.normal(size=(4, 6))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    adam = Adam(start.copy())
    adam.step(3.0 * start, 0.1, unit_norm=True)
    np.testing.assert_allclose(adam.parameters, start, atol=1e-6)
    adam.step(rng.normal(size=(4, 6)), 0.1, unit_norm=True)
    np.testing.assert_allclose(np.linalg.norm(adam.parameters, axis=1), 1, atol=1e-12)
