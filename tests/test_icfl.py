"""ICFL: recovery of planted atoms, resets, options, and the behaviour of a good estimator."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from threadpoolctl import threadpool_limits

import skdict._base
from skdict import ICFLDictionary, sparse_encode
from skdict._icfl import correlated_atoms
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_recovery
from tests.reference import icfl_code, unit_rows


@pytest.fixture(scope="module")
def fitted(planted):
    return ICFLDictionary(48, n_nonzero_coefs=3, atoms_per_step=2, random_state=0).fit(planted.data)


@pytest.fixture(scope="module")
def online(fitted, planted):
    return clone(fitted).set_params(solver="online").fit(planted.data)


def test_recovers_planted_atoms(planted, fitted):
    assert dictionary_recovery(planted.components, fitted.components_).recovered >= 0.9
    untrained = clone(fitted).set_params(max_steps=0).fit(planted.data)
    assert dictionary_recovery(planted.components, untrained.components_).recovered == 0
    assert fitted.score(planted.data) > 0.9 > untrained.score(planted.data)


@pytest.mark.slow
def test_longer_training_does_not_lose_the_atoms(planted):
    """The intercept must not wander off and drag the atoms with it."""
    dictionary = ICFLDictionary(
        48, n_nonzero_coefs=3, atoms_per_step=2, max_steps=1500, random_state=0
    ).fit(planted.data)
    assert dictionary_recovery(planted.components, dictionary.components_).recovered >= 0.95
    assert np.linalg.norm(dictionary.intercept_) < 0.5


@pytest.mark.slow
def test_recovers_eightfold_superposition_with_defaults():
    """The planted problem of the guide at a quarter of its size, defaults except M and K."""
    data = make_superposition(
        n_samples=30_000, n_features=64, n_components=256, n_active=4, random_state=1
    )
    dictionary = ICFLDictionary(256, n_nonzero_coefs=4, random_state=0).fit(data.data)
    assert dictionary_recovery(data.components, dictionary.components_).recovered >= 0.99


class TestOnline:
    """The online solver: the same dictionary in fewer steps."""

    def test_recovers_planted_atoms(self, planted, online):
        assert dictionary_recovery(planted.components, online.components_).recovered >= 0.9
        assert online.score(planted.data) > 0.9
        np.testing.assert_allclose(np.linalg.norm(online.components_, axis=1), 1, atol=1e-5)
        assert online.history_["loss"][-1] < online.history_["loss"][0] / 2
        assert np.linalg.norm(online.intercept_) < 0.5

    @pytest.mark.parametrize("max_steps", [30, 100])
    def test_recovers_no_fewer_than_adam_in_as_many_steps(self, planted, max_steps):
        found = {}
        for solver in ("adam", "online"):
            models = [
                ICFLDictionary(
                    48, n_nonzero_coefs=3, solver=solver, max_steps=max_steps, random_state=seed
                ).fit(planted.data)
                for seed in range(3)
            ]
            found[solver] = np.mean(
                [dictionary_recovery(planted.components, m.components_).recovered for m in models]
            )
        assert found["online"] >= found["adam"]
        assert found["online"] > 0.5

    @pytest.mark.slow
    def test_recovers_eightfold_superposition_in_a_fifth_of_the_steps(self):
        data = make_superposition(
            n_samples=30_000, n_features=64, n_components=256, n_active=4, random_state=1
        )
        dictionary = ICFLDictionary(
            256, n_nonzero_coefs=4, solver="online", max_steps=120, random_state=0
        ).fit(data.data)
        assert dictionary_recovery(data.components, dictionary.components_).recovered >= 0.98

    def test_repeatable_at_any_number_of_threads(self, planted, online):
        with threadpool_limits(limits=1, user_api="blas"):
            again = clone(online).fit(planted.data)
        np.testing.assert_array_equal(again.components_, online.components_)
        np.testing.assert_array_equal(again.history_["loss"], online.history_["loss"])
        # Neither statistics (48 x 48) nor a Gram matrix in the pickle.
        assert len(pickle.dumps(online)) < 3 * online.components_.nbytes + 20_000

    def test_float32_is_near_float64(self, planted, online):
        """Supports part at near-ties, so only the quality is the same."""
        X = planted.data.astype(np.float64)
        double = clone(online).fit(X)
        assert double.components_.dtype == np.float64
        assert double.score(X) == pytest.approx(online.score(planted.data), abs=0.02)

    def test_data_scale_only_scales_the_model(self, planted):
        model = ICFLDictionary(
            48, n_nonzero_coefs=3, max_steps=40, solver="online", reset_every=10, random_state=0
        )
        X = planted.data.astype(np.float64)
        one, big = clone(model).fit(X), clone(model).fit(X * 2.0**20)
        np.testing.assert_allclose(big.components_, one.components_, atol=1e-9)
        np.testing.assert_allclose(big.history_["loss"], one.history_["loss"] * 2.0**40)

    def test_clones_are_redrawn_and_learn_again(self, planted):
        start = unit_rows(np.random.default_rng(0).normal(size=(48, 24)))
        start[24:] = start[:24] + 1e-3
        model = ICFLDictionary(
            48, n_nonzero_coefs=3, init=start, reset_every=2, max_steps=60, solver="online",
            random_state=0,
        ).fit(planted.data)  # fmt: skip
        assert model.history_["n_resets"].sum() >= 12
        cosines = model.components_ @ model.components_.T - np.eye(48)
        assert cosines.max() < 0.95
        assert model.score(planted.data) > 0.8

    def test_options(self, planted):
        X = planted.data
        base = ICFLDictionary(48, n_nonzero_coefs=3, max_steps=40, solver="online", random_state=0)
        usual = clone(base).fit(X)
        hoarder = clone(base).set_params(forgetting=0).fit(X)
        assert usual.score(X) > hoarder.score(X)  # stale codes hold it back
        free = clone(base).set_params(normalize_components=False).fit(X)
        assert np.ptp(np.linalg.norm(free.components_, axis=1)) > 1e-3
        assert free.score(X) > 0.7
        assert not clone(base).set_params(fit_intercept=False).fit(X).intercept_.any()
        for parameters in ({"solver": "lars"}, {"forgetting": -1.0}):
            with pytest.raises(ValueError, match=next(iter(parameters))):
                clone(base).set_params(**parameters).fit(X)

    def test_degenerate_rows_and_more_atoms_than_samples(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(12, 5))
        X[3] = 0
        X[:, 2] = 1.0
        model = ICFLDictionary(
            40, n_nonzero_coefs=4, max_steps=150, solver="online", random_state=0
        ).fit(X)
        assert np.isfinite(model.components_).all()
        assert model.score(X) > 0.9
        zeros = ICFLDictionary(4, n_nonzero_coefs=2, max_steps=5, solver="online")
        assert zeros.fit(np.zeros((6, 3))).transform(np.zeros((6, 3))).nnz == 0


def test_codes_are_algorithm_1(planted, fitted):
    X = planted.data[:200].astype(np.float64)
    codes = fitted.transform(X).toarray()
    n_compared = 0
    for x, code in zip(X, codes, strict=True):
        expected, _, defined = icfl_code(
            x - fitted.intercept_, fitted.components_.astype(np.float64), 3, 2
        )
        if defined:
            n_compared += 1
            np.testing.assert_allclose(code, expected, atol=1e-6)
    assert n_compared > 150


def test_fitted_attributes(planted, fitted):
    assert fitted.components_.shape == (48, 24)
    assert fitted.components_.dtype == planted.data.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(fitted.components_, axis=1), 1, atol=1e-5)
    assert fitted.n_steps_ == 300
    assert fitted.n_iter_ == -(-300 * 256 // 2000)
    history = fitted.history_
    assert {"step", "loss", "dead_fraction", "n_resets"} == set(history)
    assert len({len(curve) for curve in history.values()}) == 1
    assert history["step"][-1] == 300
    assert history["loss"][-1] < history["loss"][0] / 2
    assert fitted.get_feature_names_out()[5] == "icfldictionary5"


def test_reconstruction_and_score(planted, fitted):
    X = planted.data
    codes = fitted.transform(X)
    rebuilt = fitted.inverse_transform(codes)
    np.testing.assert_allclose(rebuilt, codes @ fitted.components_ + fitted.intercept_, atol=1e-5)
    np.testing.assert_allclose(fitted.inverse_transform(codes.toarray()), rebuilt, atol=1e-5)
    np.testing.assert_allclose(
        fitted.inverse_transform(sparse.csr_array(codes)), rebuilt, atol=1e-5
    )
    expected = 1 - (X - rebuilt).var(axis=0).sum() / X.var(axis=0).sum()
    np.testing.assert_allclose(fitted.score(X), expected, atol=1e-5)
    with pytest.raises(ValueError, match="48 columns, one per atom, got 5"):
        fitted.inverse_transform(np.zeros((2, 5)))


@given(st.integers(1, 30), st.integers(0, 1000))
def test_rows_are_coded_independently(planted, fitted, n_rows, seed):
    X = planted.data.astype(np.float64)
    rows = np.random.default_rng(seed).choice(2000, n_rows, replace=False)
    whole = fitted.transform(X)[rows].toarray()
    np.testing.assert_array_equal(fitted.transform(X[rows]).toarray(), whole)


@pytest.mark.parametrize(("dtype", "chunk"), [(np.float64, 97), (np.float32, 128)])
def test_chunks_change_nothing(planted, fitted, monkeypatch, dtype, chunk):
    """float64 bitwise at any chunk; float32 where chunks hold whole tiles, as the real one does."""
    X = planted.data.astype(dtype)
    whole = fitted.transform(X)
    monkeypatch.setattr(skdict._base, "CHUNK_ROWS", chunk)
    chunked = fitted.transform(X)
    np.testing.assert_array_equal(chunked.indptr, whole.indptr)
    np.testing.assert_array_equal(chunked.indices, whole.indices)
    np.testing.assert_array_equal(chunked.data, whole.data)


def test_memory_layouts(planted, fitted, tmp_path):
    whole = fitted.transform(planted.data).toarray()
    np.testing.assert_array_equal(
        fitted.transform(np.asfortranarray(planted.data)).toarray(), whole
    )
    np.save(tmp_path / "X.npy", planted.data)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(fitted.transform(mapped).toarray(), whole)
    again = clone(fitted).fit(mapped)
    np.testing.assert_array_equal(again.components_, fitted.components_)
    again = clone(fitted).fit(np.asfortranarray(planted.data))
    np.testing.assert_allclose(again.components_, fitted.components_, atol=1e-4)


def test_data_scale_only_scales_the_model(planted):
    model = ICFLDictionary(48, n_nonzero_coefs=3, max_steps=60, random_state=0)
    X = planted.data.astype(np.float64)
    one, big = clone(model).fit(X), clone(model).fit(X * 2.0**20)
    np.testing.assert_allclose(big.components_, one.components_, atol=1e-9)
    np.testing.assert_allclose(big.intercept_, one.intercept_ * 2.0**20)
    np.testing.assert_allclose(big.history_["loss"], one.history_["loss"] * 2.0**40)


def test_repeatable_and_unchanged_by_pickling(planted, fitted):
    again = clone(fitted).fit(planted.data)
    np.testing.assert_array_equal(again.components_, fitted.components_)
    fitted.transform(planted.data[:2])
    size = len(pickle.dumps(fitted))
    assert size < 3 * fitted.components_.nbytes + 20_000  # no Gram matrix, no moments
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(
        copy.transform(planted.data).data, fitted.transform(planted.data).data
    )


def test_changed_atoms_are_noticed(planted):
    """The cached Gram matrix must not outlive the atoms it belongs to."""
    model = ICFLDictionary(48, n_nonzero_coefs=3, max_steps=50, random_state=0).fit(planted.data)
    before = model.transform(planted.data)
    model.components_[before.indices[0]] = 0.0  # ablation in place
    after = model.transform(planted.data)
    assert before.indices[0] not in after.indices
    expected = sparse_encode(planted.data - model.intercept_, model.components_, n_nonzero_coefs=3)
    np.testing.assert_allclose(after.toarray(), expected.toarray(), atol=1e-5)


class TestResets:
    """Random resets of correlated atoms (section 4 of the paper)."""

    @given(st.integers(0, 500), st.booleans())
    def test_no_pair_stays_above_the_threshold(self, seed, has_gram):
        rng = np.random.default_rng(seed)
        base = unit_rows(rng.normal(size=(8, 20)))
        atoms = unit_rows(np.repeat(base, 4, axis=0) + 0.05 * rng.normal(size=(32, 20)))
        usage = rng.integers(0, 50, size=32)
        gram = atoms @ atoms.T
        redrawn = correlated_atoms(atoms, usage, 0.9, gram=gram if has_gram else None)
        kept = np.setdiff1d(np.arange(32), redrawn)
        cosines = gram[np.ix_(kept, kept)] - np.eye(kept.size)
        assert cosines.max(initial=0) <= 0.9
        for atom in redrawn:  # each has a kept or removed neighbour used at least as often
            close = np.flatnonzero(gram[atom] > 0.9)
            assert usage[close].max() >= usage[atom]

    @pytest.mark.parametrize("has_gram", [True, False])
    def test_a_clone_is_redrawn_once_and_the_used_one_stays(self, rng, has_gram):
        atoms = unit_rows(rng.normal(size=(10, 30)))
        atoms[7] = atoms[2]
        gram = atoms @ atoms.T if has_gram else None
        usage = np.ones(10, int)
        usage[7] = 5
        np.testing.assert_array_equal(correlated_atoms(atoms, usage, 0.9, gram=gram), [2])
        usage[7] = 0
        np.testing.assert_array_equal(correlated_atoms(atoms, usage, 0.9, gram=gram), [7])

    @pytest.mark.parametrize("has_gram", [True, False])
    def test_opposite_atoms_are_kept_and_length_does_not_matter(self, rng, has_gram):
        atoms = unit_rows(rng.normal(size=(4, 30)))
        atoms[1] = -atoms[0]
        atoms[3] = 0.2 * atoms[2]
        gram = atoms @ atoms.T if has_gram else None
        np.testing.assert_array_equal(correlated_atoms(atoms, np.ones(4), 0.9, gram=gram), [3])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_many_atoms_are_visited_as_the_rule_says(self, rng, dtype, monkeypatch):
        """Groups spread over all blocks of the search, with and without a Gram matrix."""
        centres = unit_rows(rng.normal(size=(40, 20)))
        atoms = np.tile(centres, (15, 1)) + 0.06 * rng.normal(size=(600, 20))
        atoms *= rng.uniform(0.5, 2, size=(600, 1))
        atoms, usage = atoms.astype(dtype), rng.integers(0, 9, size=600)
        gram = atoms @ atoms.T
        cosines = gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
        removed = np.zeros(600, bool)
        for atom in sorted(range(600), key=lambda a: (-usage[a], a)):
            if not removed[atom]:
                removed |= (cosines[atom] > 0.9) & (np.arange(600) != atom)
        expected = np.flatnonzero(removed)
        assert 100 < expected.size < 560
        monkeypatch.setattr("skdict._icfl.VISITED_ATOMS", 37)
        monkeypatch.setattr("skdict.kernels._residual.BLOCK_ATOMS", 101)
        np.testing.assert_array_equal(correlated_atoms(atoms, usage, 0.9, gram=gram), expected)
        np.testing.assert_array_equal(correlated_atoms(atoms, usage, 0.9), expected)

    def test_schedule(self, planted):
        """Clones in the initial dictionary are redrawn at the first reset, none at the end."""
        start = unit_rows(np.random.default_rng(0).normal(size=(48, 24)))
        start[24:] = start[:24]
        model = ICFLDictionary(
            48, n_nonzero_coefs=3, init=start, reset_every=10, max_steps=15, learning_rate=1e-9
        ).fit(planted.data)
        assert model.history_["n_resets"].sum() == 0  # fewer than 10 steps would remain
        model.set_params(max_steps=21).fit(planted.data)
        resets = dict(zip(model.history_["step"], model.history_["n_resets"], strict=True))
        assert resets[11] == sum(resets.values()) == 24
        cosines = model.components_ @ model.components_.T - np.eye(48)
        assert cosines.max() < 0.9
        model.set_params(reset_every=None).fit(planted.data)
        assert model.history_["n_resets"].sum() == 0


class TestPrecompute:
    """With and without the Gram matrix of the atoms."""

    @pytest.fixture
    def no_gram_matrix(self, monkeypatch):
        def refuse(dictionary):
            raise AssertionError("a Gram matrix was formed")

        monkeypatch.setattr("skdict.kernels._cpu.gram_matrix", refuse)

    @staticmethod
    def model(**parameters):
        """Half of the first atoms are copies, so that a reset has something to do."""
        start = unit_rows(np.random.default_rng(0).normal(size=(48, 24)))
        start[24:] = start[:24] + 1e-3
        return ICFLDictionary(
            48, n_nonzero_coefs=3, atoms_per_step=2, init=start, reset_every=2, max_steps=40,
            random_state=0,
        ).set_params(**parameters)  # fmt: skip

    @pytest.mark.parametrize("refit", [False, True])
    @pytest.mark.parametrize("solver", ["adam", "online"])
    def test_learns_the_same_without(self, planted, solver, refit):
        X = planted.data.astype(np.float64)
        formed = self.model(solver=solver, refit=refit, precompute=True).fit(X)
        assert formed.history_["n_resets"].sum() >= 12
        without = clone(formed).set_params(precompute=False).fit(X)
        np.testing.assert_array_equal(without.history_["n_resets"], formed.history_["n_resets"])
        np.testing.assert_allclose(without.components_, formed.components_, atol=1e-7)
        np.testing.assert_allclose(without.intercept_, formed.intercept_, atol=1e-7)
        codes = formed.transform(X)
        formed.set_params(precompute=False)  # after fit
        np.testing.assert_array_equal(formed.transform(X).indices, codes.indices)
        np.testing.assert_allclose(formed.transform(X).data, codes.data, atol=1e-9)

    def test_false_forms_none(self, planted, no_gram_matrix):
        model = self.model(precompute=False).fit(planted.data)
        assert model.history_["n_resets"].sum() > 0
        model.partial_fit(planted.data)
        assert model.transform(planted.data).nnz > 0
        assert model.score(planted.data) > 0.5
        model.set_params(precompute=True)
        with pytest.raises(AssertionError, match="a Gram matrix was formed"):
            model.transform(planted.data)
        with pytest.raises(AssertionError, match="a Gram matrix was formed"):
            model.fit(planted.data)

    @pytest.mark.parametrize(("dtype", "fits"), [(np.float32, True), (np.float64, False)])
    def test_auto_forms_it_where_it_fits(self, planted, dtype, fits, monkeypatch):
        """Whether it fits is a matter of the atoms and the type, at any number of rows."""
        monkeypatch.setattr("skdict._base.GRAM_BYTES", 48 * 48 * 4)
        calls = []
        form = skdict._base.get_kernels("cpu").gram_matrix
        monkeypatch.setattr(
            "skdict.kernels._cpu.gram_matrix", lambda atoms: calls.append(1) or form(atoms)
        )
        X = planted.data.astype(dtype)
        model = self.model(max_steps=2).fit(X)
        assert bool(calls) == fits
        for rows in (X, X[:1]):
            calls.clear()
            skdict._base._gram_cache.clear()
            model.transform(rows)
            assert bool(calls) == fits

    def test_auto_stands_for_4_gib(self):
        wanted = skdict._base.gram_is_wanted
        assert wanted("auto", 32_768, np.float32)
        assert not wanted("auto", 32_769, np.float32)
        assert not wanted("auto", 32_768, np.float64)
        assert wanted(True, 10**6, np.float64)
        assert not wanted(False, 2, np.float32)

    def test_online_needs_an_array_of_the_atoms_squared(self, planted, monkeypatch):
        for module in ("_base", "_icfl"):
            monkeypatch.setattr(f"skdict.{module}.GRAM_BYTES", 48 * 48 * 4 - 1)
        for precompute in ("auto", False):
            model = self.model(solver="online", precompute=precompute)
            message = r'n_components=48 in float32, .*: use solver="adam"'
            with pytest.raises(ValueError, match=message):
                model.fit(planted.data)
            with pytest.raises(ValueError, match=message):
                model.partial_fit(planted.data)
            assert model.set_params(solver="adam").fit(planted.data).n_steps_ == 40
        asked = self.model(solver="online", precompute=True).fit(planted.data)
        assert asked.n_steps_ == 40

    @pytest.mark.parametrize("precompute", ["yes", 1.0, None])
    def test_other_values_are_refused(self, planted, precompute):
        with pytest.raises(ValueError, match="precompute"):
            self.model(precompute=precompute).fit(planted.data)


def test_sparsity_can_change_after_fit(planted, fitted):
    model = pickle.loads(pickle.dumps(fitted)).set_params(transform_n_nonzero_coefs=6)
    assert model.transform(planted.data).getnnz(axis=1).max() == 6
    assert model.score(planted.data) > fitted.score(planted.data)
    model.set_params(transform_n_nonzero_coefs=100)
    with pytest.warns(UserWarning, match="n_nonzero_coefs=100 is larger than the number of atoms"):
        model.transform(planted.data)


def test_refit_never_reconstructs_worse(planted, fitted):
    refitted = pickle.loads(pickle.dumps(fitted)).set_params(refit=True)
    X = planted.data.astype(np.float64)
    codes, plain = refitted.transform(X), fitted.transform(X)
    np.testing.assert_array_equal(codes.indices, plain.indices)
    left = [np.linalg.norm(X - fitted.inverse_transform(code), axis=1) for code in (codes, plain)]
    assert (left[0] <= left[1] + 1e-9).all()
    assert left[0].mean() < left[1].mean()
    row = codes[[4]]
    support = row.indices
    expected = np.linalg.lstsq(
        fitted.components_[support].T.astype(float), X[4] - fitted.intercept_, rcond=None
    )[0]
    np.testing.assert_allclose(row.data, expected, atol=1e-6)


def test_options_of_learning(planted):
    X = planted.data
    base = ICFLDictionary(48, n_nonzero_coefs=3, max_steps=40, random_state=0)
    assert not clone(base).set_params(fit_intercept=False).fit(X).intercept_.any()
    free = clone(base).set_params(normalize_components=False).fit(X)
    assert np.ptp(np.linalg.norm(free.components_, axis=1)) > 1e-3
    negative = clone(base).set_params(selection="absolute").fit(X).transform(X)
    assert (negative.data < 0).mean() > 0.2
    samples = clone(base).set_params(init="samples", max_steps=0).fit(X)
    centred = unit_rows(X - X.mean(axis=0))
    assert np.abs(samples.components_ @ centred.T).max(axis=1).min() > 0.999
    few = clone(base).set_params(init="samples", max_steps=0).fit(X[:10])
    assert np.isfinite(few.components_).all()
    with pytest.raises(ValueError, match=r"\(48, 24\), got shape \(3, 24\)"):
        clone(base).set_params(init=np.ones((3, 24))).fit(X)


def test_more_atoms_than_samples_and_degenerate_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 5))
    X[3] = 0
    X[:, 2] = 1.0
    model = ICFLDictionary(40, n_nonzero_coefs=4, max_steps=30, random_state=0).fit(X)
    assert np.isfinite(model.components_).all()
    assert model.transform(X).shape == (12, 40)
    zeros = ICFLDictionary(4, n_nonzero_coefs=2, max_steps=5).fit(np.zeros((6, 3)))
    assert zeros.transform(np.zeros((6, 3))).nnz == 0
    assert zeros.score(np.zeros((6, 3))) == 0.0


def test_clipping_and_errors(planted):
    X = planted.data
    with pytest.warns(UserWarning, match="n_nonzero_coefs=9 is larger than the number of atoms 4"):
        ICFLDictionary(4, n_nonzero_coefs=9, max_steps=1).fit(X)
    for parameters in (
        {"atoms_per_step": 0},
        {"selection": "largest"},
        {"reset_threshold": 0.0},
        {"learning_rate": -1.0},
        {"max_steps": -1},
        {"n_components": 2.5},
        {"init": "kmeans"},
    ):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            ICFLDictionary(**parameters).fit(X)
    bad = X.copy()
    bad[5, 5] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        ICFLDictionary().fit(bad)
    model = ICFLDictionary(8, max_steps=1).fit(X)
    with pytest.raises(ValueError, match="infinity"):
        model.transform(bad)
    with pytest.raises(ValueError, match="0 sample"):
        model.transform(X[:0])
    with pytest.raises(ValueError, match="expecting 24 features"):
        model.transform(X[:, :3])
