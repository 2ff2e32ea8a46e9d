"""The shared loop: batches, partial fits, usage windows, interruption."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from skdict import ICFLDictionary, TopKSAE
from skdict._data_order import RowOrder
from skdict._training import Adam, Surrogate, UsageWindow
from skdict.kernels import get_kernels

MODELS = [
    ICFLDictionary(32, n_nonzero_coefs=3, max_steps=30, random_state=0),
    TopKSAE(32, n_nonzero_coefs=3, max_steps=30, random_state=0),
]
ONLINE = ICFLDictionary(32, n_nonzero_coefs=3, max_steps=30, solver="online", random_state=0)
by_gradient = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
each_model = pytest.mark.parametrize(
    "model", [*MODELS, ONLINE], ids=["ICFLDictionary", "TopKSAE", "ICFLDictionary online"]
)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 30), st.integers(0, 99))
def test_batches_are_full_and_use_rows_equally(n_samples, batch_size, n_batches, seed):
    batch_size = min(batch_size, n_samples)
    rng = np.random.RandomState(seed)
    batches = [
        rows for rows in RowOrder(n_samples, batch_size, rng).batches(n_batches) if rows is not None
    ]
    assert [len(batch) for batch in batches] == [batch_size] * n_batches
    used = np.bincount(np.concatenate([[], *batches]).astype(int), minlength=n_samples)
    assert used.max() - used.min() <= 1


def test_batches_announce_their_draws():
    """Between None and the next batch a random order is drawn, and nowhere else."""

    class Rng:
        n_draws = 0

        def permutation(self, n):
            self.n_draws += 1
            return np.arange(n)

    rng, announced = Rng(), 0
    for rows in RowOrder(10, 3, rng).batches(12):
        assert rng.n_draws == announced
        announced += rows is None
    assert announced == 4


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


@by_gradient
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


def test_online_partial_fit_after_fit_continues_from_it(planted):
    """What was learned outweighs a few rows, from a pickle too, but gives way to many."""
    model = clone(ONLINE).set_params(max_steps=300).fit(planted.data)
    before, copy = model.components_.copy(), pickle.loads(pickle.dumps(model))
    few = clone(model).partial_fit(planted.data[:100])
    model.partial_fit(planted.data[:100])
    assert model.n_steps_ == 301
    moved = np.linalg.norm(model.components_ - before, axis=1)
    assert 0 < moved.max() < 0.3
    assert np.linalg.norm(few.components_ - before, axis=1).min() > 0.3  # without the memory
    copy.partial_fit(planted.data[:100])
    np.testing.assert_array_equal(copy.components_, model.components_)
    for _ in range(100):
        model.partial_fit(-planted.data)
    assert model.score(-planted.data) > 0.75


def test_solver_may_change_between_partial_fits(planted):
    X = planted.data
    model = clone(ONLINE).partial_fit(X)
    online = model.components_
    model.set_params(solver="adam", learning_rate=1e-6).partial_fit(X)
    np.testing.assert_allclose(model.components_, online, atol=1e-3)
    model.set_params(solver="online").partial_fit(X)
    assert np.abs(model.components_ - online).max() > 0.1


@each_model
def test_an_interrupted_fit_keeps_what_was_learned(planted, model, monkeypatch):
    model = clone(model)
    step = type(model)._step

    def interrupted(self, state, *inputs):
        if state.n_steps == 20:
            raise KeyboardInterrupt
        return step(self, state, *inputs)

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


def some_codes(rng, n_samples, n_atoms, width):
    """Random codes as CSR arrays and dense."""
    dense = np.zeros((n_samples, n_atoms))
    for row in dense:
        row[rng.choice(n_atoms, width, replace=False)] = rng.normal(size=width)
    rows, indices = np.nonzero(dense)
    indptr = np.r_[0, np.cumsum(np.bincount(rows, minlength=n_samples))]
    return (dense[rows, indices], indices.astype(np.int32), indptr), dense


def take(surrogate, codes, X, **options):
    columns = get_kernels("cpu").by_atom(codes, surrogate.parameters.shape[0])
    surrogate.step(codes, columns, X, **{"decay": 1.0, "unit_norm": True, **options})


def surrogate_of(dictionary, A, B):
    return 0.5 * np.sum((A @ dictionary) * dictionary) - np.sum(B * dictionary)


class TestSurrogate:
    """Block coordinate descent on Mairal's surrogate."""

    @pytest.mark.parametrize("unit_norm", [True, False])
    def test_is_the_plain_sequential_pass(self, rng, unit_norm):
        """More atoms than a block, more features than a slice, some atoms unused."""
        n_atoms, n_features = 300, 290
        expected = rng.normal(size=(n_atoms, n_features))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        surrogate = Surrogate(expected.copy())
        A, B = np.zeros((n_atoms, n_atoms)), np.zeros((n_atoms, n_features))
        for decay in (0.0, 0.7, 0.9):
            codes, dense = some_codes(rng, 100, n_atoms, 4)
            X = rng.normal(size=(100, n_features))
            take(surrogate, codes, X, decay=decay, unit_norm=unit_norm)
            A = decay * A + dense.T @ dense / 100
            B = decay * B + dense.T @ X / 100
            used = np.flatnonzero(dense.any(axis=0))
            assert used.size < n_atoms
            for m in used:
                atom = expected[m] + (B[m] - A[m] @ expected) / A[m, m]
                expected[m] = atom / np.linalg.norm(atom) if unit_norm else atom
            np.testing.assert_allclose(surrogate.parameters, expected, atol=1e-9)
            np.testing.assert_allclose(surrogate.weights, np.diag(A))

    @given(st.integers(0, 1000), st.booleans())
    def test_the_surrogate_never_rises(self, seed, unit_norm):
        rng = np.random.default_rng(seed)
        codes, dense = some_codes(rng, 60, 20, 3)
        X = rng.normal(size=(60, 8))
        start = rng.normal(size=(20, 8))
        surrogate = Surrogate(start / np.linalg.norm(start, axis=1, keepdims=True))
        A, B = np.zeros((20, 20)), np.zeros((20, 8))
        last = np.inf
        for _ in range(8):  # the same codes again and again: a fixed function is minimised
            take(surrogate, codes, X, unit_norm=unit_norm)
            A, B = A + dense.T @ dense / 60, B + dense.T @ X / 60
            value = surrogate_of(surrogate.parameters, A, B) / A.trace()
            assert value <= last + 1e-12
            last = value

    def test_ends_at_least_squares(self, rng):
        codes, dense = some_codes(rng, 200, 12, 3)
        X = rng.normal(size=(200, 5))
        surrogate = Surrogate(rng.normal(size=(12, 5)))
        for _ in range(200):
            take(surrogate, codes, X, unit_norm=False)
        solution = np.linalg.lstsq(dense, X, rcond=None)[0]
        np.testing.assert_allclose(surrogate.parameters, solution, atol=1e-8)

    def test_keeps_atoms_that_have_no_say(self, rng):
        start = np.eye(4, 6)
        surrogate = Surrogate(start.copy())
        X = np.zeros((2, 6))
        X[0] = [0, 3, 4, 0, 0, 0]
        # Atom 0 explains row 0; atom 1 has a negligible code, atom 2 is unused; what is left for
        # atom 3 is nothing at all, so that no direction is better than another.
        codes = np.array([1.0, 1e-5, 1.0]), np.array([0, 1, 3], np.int32), np.array([0, 2, 3])
        take(surrogate, codes, X)
        np.testing.assert_allclose(surrogate.parameters[0], X[0] / 5, atol=1e-4)
        np.testing.assert_array_equal(surrogate.parameters[1:], start[1:])

    def test_leaves_atoms_whose_move_is_not_finite(self, rng):
        start = np.eye(3, 6, dtype=np.float32)
        surrogate = Surrogate(start.copy())
        X = np.ones((2, 6), np.float32)
        X[0] = 3e38
        values = np.array([9, 1, 2], np.float32)
        codes = values, np.array([0, 1, 2], np.int32), np.array([0, 1, 3])
        with np.errstate(all="ignore"):
            take(surrogate, codes, X)
        np.testing.assert_array_equal(surrogate.parameters[0], start[0])
        assert np.isfinite(surrogate.parameters).all()
        np.testing.assert_allclose(np.linalg.norm(surrogate.parameters, axis=1), 1, atol=1e-6)

    def test_reset_forgets_an_atom_and_nothing_else(self, rng):
        codes, dense = some_codes(rng, 80, 10, 2)
        truth = rng.normal(size=(10, 6))
        X = dense @ truth
        fresh = rng.normal(size=(2, 6))
        surrogate = Surrogate(truth.copy())
        take(surrogate, codes, X, unit_norm=False)
        np.testing.assert_allclose(surrogate.parameters, truth, atol=1e-9)
        surrogate.reset(np.array([3, 7]), fresh)
        assert (surrogate.weights[[3, 7]] == 0).all()
        np.testing.assert_array_equal(surrogate.parameters[[3, 7]], fresh)
        # The others still are where their statistics want them: a pass with rows that say
        # nothing new moves none.
        kept = np.setdiff1d(np.arange(10), [3, 7])
        silent = np.full(8, 1e-3), kept.astype(np.int32), np.arange(9)
        take(surrogate, silent, 1e-3 * truth[kept], unit_norm=False)
        np.testing.assert_allclose(surrogate.parameters[kept], truth[kept], atol=1e-9)

    def test_what_is_forgotten_is_zero_not_subnormal(self, rng):
        surrogate = Surrogate(np.eye(4, 6, dtype=np.float32))
        first = np.ones(4, np.float32), np.arange(4, dtype=np.int32), np.array([0, 2, 4])
        other = np.ones(2, np.float32), np.array([0, 2], np.int32), np.arange(3)
        X = np.ones((2, 6), np.float32)
        take(surrogate, first, X)
        for _ in range(1100):
            take(surrogate, other, X, decay=0.9)
        np.testing.assert_array_equal(surrogate.weights > 0, [True, False, True, False])
        for statistics in (surrogate._second_moment, surrogate._products):
            sizes = np.abs(statistics[statistics != 0])
            assert sizes.min() > np.finfo(np.float32).tiny

    def test_weights_hold_atoms_in_place(self, rng):
        codes, dense = some_codes(rng, 50, 10, 2)
        start = rng.normal(size=(10, 6))
        X = rng.normal(size=(50, 6))
        held, free = Surrogate(start.copy(), np.full(10, 1e6)), Surrogate(start.copy())
        for surrogate in (held, free):
            take(surrogate, codes, X, unit_norm=False)
        assert np.abs(held.parameters - start).max() < 1e-5
        assert np.abs(free.parameters - start).max() > 0.1


@pytest.mark.parametrize("offset", [3.0, 100.0])
@pytest.mark.parametrize(
    "model",
    [
        ICFLDictionary(48, n_nonzero_coefs=3, random_state=0),
        TopKSAE(48, n_nonzero_coefs=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_offset_does_not_keep_a_model_from_learning(planted, model, offset):
    X = planted.data.astype(np.float64)
    centred = clone(model).fit(X).score(X)
    moved = X + offset / np.sqrt(X.shape[1])
    assert clone(model).fit(moved).score(moved) > centred - 0.05


@each_model
def test_one_large_row_does_not_set_the_scale(planted, model):
    X = planted.data.astype(np.float64)
    X[0] *= 1e4
    assert clone(model).set_params(max_steps=0).fit(X)._scale < 3


@each_model
def test_a_failed_batch_does_not_spoil_the_model(planted, model):
    X = planted.data.astype(np.float64)
    model = clone(model).partial_fit(X)
    before = model.components_.copy()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="diverged"):
        model.partial_fit(X * 1e200)
    np.testing.assert_array_equal(model.components_, before)
    model.partial_fit(X)
    assert np.isfinite(model.score(X))


def test_a_diverged_fit_publishes_nothing(planted):
    model = TopKSAE(32, learning_rate=1e30, max_steps=30, random_state=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Lower learning_rate"):
        model.fit(planted.data)
    assert not hasattr(model, "components_")


@each_model
def test_partial_fit_follows_set_params(planted, model):
    model = clone(model).partial_fit(planted.data)
    model.set_params(n_nonzero_coefs=6).partial_fit(planted.data)
    assert model.transform(planted.data).getnnz(axis=1).max() > 3
    with pytest.raises(ValueError, match="partial_fit cannot change their number"):
        model.set_params(n_components=40).partial_fit(planted.data)
