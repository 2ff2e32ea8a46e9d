"""The parameter `device`: the same results through torch, NumPy outside, errors that help.

torch runs on the CPU here ("torch:cpu"); everything but the kernels for GPUs is the same there.
"""

import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE, sparse_encode
from skdict._minibatch import MiniBatchDictionary
from skdict._training import Adam, History, Surrogate, TrainingState, UsageWindow
from skdict._validation import check_device
from skdict.kernels import get_kernels
from tests.reference import unit_rows

ROOT = Path(__file__).resolve().parents[1]
GRAPH = "skdict.kernels._torch_graph"
WIDTH = {"n_nonzero_coefs": 4, "max_steps": 60, "random_state": 0}
SIZES = {"n_components": 48, **WIDTH}
# Atoms that are too similar from the start, so that a reset has something to do.
PAIRS = unit_rows(np.random.default_rng(0).normal(size=(48, 24)))
PAIRS[24:] = PAIRS[:24] + 1e-3
RESETS = {"init": PAIRS, "reset_every": 3, "reset_threshold": 0.6, "batch_size": 300}
MODELS = {
    "icfl": ICFLDictionary(**SIZES),
    "icfl resets": ICFLDictionary(**SIZES, **RESETS),
    "icfl no gram": ICFLDictionary(**SIZES, **RESETS, precompute=False),
    "icfl online": ICFLDictionary(**SIZES, **RESETS, solver="online"),
    "icfl refit": ICFLDictionary(**SIZES, refit=True, selection="absolute", atoms_per_step=2),
    "icfl free": ICFLDictionary(**SIZES, normalize_components=False, fit_intercept=False),
    "sae": TopKSAE(**SIZES),
    "sae dead": TopKSAE(300, **WIDTH, auxk_coef=0.5, auxk_dead_samples=300, auxk_n_coefs=5),
    "sae linear": TopKSAE(**SIZES, auxk_coef=0, init="linear"),
    "untrained": ICFLDictionary(**{**SIZES, "max_steps": 0}),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
both_models = pytest.mark.parametrize(
    "model", [MODELS["icfl resets"], MODELS["sae dead"]], ids=["icfl", "sae"]
)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def rows(planted):
    """Rows that need rescaling and an intercept, float64."""
    return 3.7 * planted.data.astype(np.float64) + 0.5


def on_torch(model, **parameters):
    return clone(model).set_params(device="torch:cpu", **parameters)


def assert_same_model(one, other, atol=1e-9):
    for name in ("components_", "intercept_", "encoder_", "encoder_bias_"):
        if hasattr(one, name):
            array = getattr(other, name)
            assert type(array) is np.ndarray
            assert array.dtype == getattr(one, name).dtype
            np.testing.assert_allclose(array, getattr(one, name), atol=atol, err_msg=name)
    assert (one.n_steps_, one.n_iter_) == (other.n_steps_, other.n_iter_)
    for name, curve in one.history_.items():
        np.testing.assert_allclose(other.history_[name], curve, rtol=1e-7, err_msg=name)


def assert_same_codes(one, other, atol=1e-9):
    np.testing.assert_array_equal(other.indptr, one.indptr)
    np.testing.assert_array_equal(other.indices, one.indices)
    np.testing.assert_allclose(other.data, one.data, atol=atol)
    assert other.dtype == one.dtype
    assert type(other) is type(one)


@pytest.fixture
def replays(torch, monkeypatch):
    """Steps are recorded on the CPU, as a GPU does it; counts the replays."""
    replayed = []

    def capture(step, inputs):
        def replay():
            replayed.append(1)
            return step(*inputs)

        return replay

    monkeypatch.setattr(f"{GRAPH}.may_record", lambda inputs: True)
    monkeypatch.setattr(f"{GRAPH}.capture", capture)
    return replayed


class TestRecordedSteps:
    """A step that is replayed sees new rows, a new rate and new dead atoms at every call."""

    @each_model
    def test_fit(self, rows, model, replays):
        expected = clone(model).fit(rows)
        found = on_torch(model).fit(rows)
        assert_same_model(expected, found)
        # A point is logged at every step here: then the dead atoms are others at every step.
        if model.max_steps and not getattr(model, "auxk_n_coefs", None):
            assert len(replays) >= 0.6 * model.max_steps

    @both_models
    def test_partial_fit_with_other_parameters(self, rows, model, replays, monkeypatch):
        """Nothing of an earlier call's parameters is replayed."""
        models = [on_torch(model, batch_size=50) for _ in range(2)]
        for records, one in enumerate(models):
            monkeypatch.setattr(f"{GRAPH}.may_record", lambda inputs, found=records: found)
            one.partial_fit(rows[:1000])
            one.set_params(n_nonzero_coefs=2, learning_rate=1e-3).partial_fit(rows[1000:2000])
            pickle.loads(pickle.dumps(one))
        assert len(replays) > 20
        assert_same_model(*models, atol=0)


class TestPrecision:
    @pytest.mark.parametrize("estimator", [ICFLDictionary, TopKSAE])
    def test_reaches_fit_and_transform(self, torch, rows, estimator, monkeypatch):
        from skdict.kernels import _torch_precision

        seen = []
        product = _torch_precision.exact_product

        def note(left, right):
            seen.append(_torch_precision._exact.get())
            return product(left, right)

        for module in ("_torch", "_torch_pursuit"):
            monkeypatch.setattr(f"skdict.kernels.{module}.exact_product", note)
        model = estimator(**{**SIZES, "max_steps": 3}, device="torch:cpu")
        for precision in ("exact", "default"):
            model.set_params(precision=precision)
            for compute in (model.fit, model.partial_fit, model.transform):
                seen.clear()
                compute(rows[:300])
                assert seen and set(seen) == {precision == "exact"}
        seen.clear()
        sparse_encode(rows[:9], rows[:30], device="torch:cpu", precision="exact")
        assert seen and all(seen)

    def test_makes_no_difference_on_the_cpu(self, planted):
        X = planted.data
        codes = [
            ICFLDictionary(**SIZES, precision=precision).fit_transform(X)
            for precision in ("default", "exact")
        ]
        assert (codes[0] != codes[1]).nnz == 0

    def test_unknown(self, rows):
        with pytest.raises(ValueError, match="'precision' parameter of ICFLDictionary.*'tf32'"):
            ICFLDictionary(precision="tf32").fit(rows)
        with pytest.raises(ValueError, match="precision must be.*'high'"):
            sparse_encode(rows, rows, precision="high")


class TestSameResults:
    """Fits, codes and scores equal those of the CPU backend to rounding."""

    @each_model
    def test_fit_and_transform(self, torch, rows, model):
        cpu, other = clone(model).fit(rows), on_torch(model).fit(rows)
        assert_same_model(cpu, other)
        assert_same_codes(cpu.transform(rows), other.transform(rows))
        assert other.score(rows) == pytest.approx(cpu.score(rows), abs=1e-9)
        # A model fitted on one device codes on the other.
        codes = cpu.transform(rows)
        assert_same_codes(codes, cpu.set_params(device="torch:cpu").transform(rows))

    def test_what_the_comparison_rests_on(self, torch, rows):
        """Rows are drawn and atoms redrawn in turns; dead atoms are found and trained."""
        model = on_torch(MODELS["icfl resets"]).fit(rows)
        assert model.history_["n_resets"].sum() >= 20
        assert model.n_iter_ > 5
        dead = on_torch(MODELS["sae dead"])
        without = clone(dead).set_params(auxk_coef=0).fit(rows)
        assert np.abs(dead.fit(rows).encoder_ - without.encoder_).max() > 0.01

    @each_model
    def test_float32(self, torch, planted, model):
        X = planted.data
        cpu, other = clone(model).fit(X), on_torch(model).fit(X)
        assert other.components_.dtype == other.transform(X).dtype == np.float32
        assert other.score(X) == pytest.approx(cpu.score(X), abs=0.02)
        one, two = cpu.transform(X), cpu.set_params(device="torch:cpu").transform(X)
        left = [np.linalg.norm(X - cpu.inverse_transform(codes), axis=1) for codes in (one, two)]
        np.testing.assert_allclose(left[1], left[0], rtol=1e-4, atol=1e-6)
        same = ((one != 0).toarray() == (two != 0).toarray()).all(axis=1)
        assert same.mean() >= 0.99

    @pytest.mark.parametrize("chunk", [64, 2000, 10**6])
    def test_chunks(self, torch, rows, monkeypatch, chunk):
        """Codes of one chunk are taken in while the next one is coded: none is lost or doubled."""
        model = on_torch(MODELS["icfl"]).fit(rows)
        whole = model.transform(rows)
        monkeypatch.setattr("skdict._base.CHUNK_ROWS", chunk)
        assert_same_codes(whole, model.transform(rows))

    @pytest.mark.parametrize("precompute", [True, False])
    @pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
    def test_sparse_encode(self, torch, rng, algorithm, precompute):
        X, dictionary = rng.normal(size=(200, 12)), rng.normal(size=(40, 12))
        arguments = {"algorithm": algorithm, "n_nonzero_coefs": 7, "precompute": precompute}
        expected = sparse_encode(X, dictionary, **arguments)
        codes = sparse_encode(X, dictionary, device="torch:cpu", **arguments)
        assert_same_codes(expected, codes)
        dictionary[[0, 7, 39]] = 0  # never chosen
        expected = sparse_encode(X, dictionary, **arguments)
        codes = sparse_encode(X, dictionary, device="torch:cpu", **arguments)
        assert_same_codes(expected, codes)
        assert not np.isin(codes.indices, [0, 7, 39]).any()
        nothing = sparse_encode(X, 0 * dictionary, device="torch:cpu", **arguments)
        assert nothing.shape == (200, 40) and nothing.nnz == 0

    def test_a_gram_matrix_may_be_given(self, torch, rng):
        X, dictionary = rng.normal(size=(50, 12)), rng.normal(size=(40, 12))
        gram = dictionary @ dictionary.T
        codes = sparse_encode(X, dictionary, gram=gram, n_nonzero_coefs=5, device="torch:cpu")
        assert_same_codes(sparse_encode(X, dictionary, n_nonzero_coefs=5), codes)

    @both_models
    def test_layouts_and_memory_maps(self, torch, rows, model, tmp_path):
        expected = on_torch(model).fit(rows)
        np.save(tmp_path / "rows.npy", rows)
        mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
        for X in (np.asfortranarray(rows), mapped):
            fitted = on_torch(model).fit(X)
            np.testing.assert_array_equal(fitted.components_, expected.components_)
            assert_same_codes(expected.transform(rows), fitted.transform(X))
        np.testing.assert_array_equal(mapped, rows)

    @both_models
    def test_rows_are_not_changed(self, torch, rows, model):
        before = rows.copy()
        on_torch(model).partial_fit(rows).transform(rows)
        np.testing.assert_array_equal(rows, before)


class TestPartialFit:
    """The solver's memory stays on the device, moves and pickles."""

    @pytest.fixture(autouse=True)
    def look_for_dead_atoms_as_the_cpu_does(self, monkeypatch):
        monkeypatch.setattr("skdict._topk_sae.LOOK_EVERY", 1)

    @each_model
    def test_same(self, torch, rows, model):
        cpu, other = clone(model), on_torch(model)
        for X in (rows[:700], rows[700:], rows[:250]):
            cpu.partial_fit(X)
            other.partial_fit(X)
        assert_same_model(cpu, other)

    @each_model
    def test_device_may_change_in_between(self, torch, rows, model):
        stays, moves = clone(model), on_torch(model)
        for device in ("torch:cpu", "cpu", "torch:cpu"):
            stays.partial_fit(rows[:800])
            moves.set_params(device=device).partial_fit(rows[:800])
        assert_same_model(stays, moves)

    @each_model
    def test_pickles_in_between(self, torch, rows, model):
        stays, other = clone(model), on_torch(model)
        for _ in range(2):
            stays.partial_fit(rows[:800])
            other = pickle.loads(pickle.dumps(other.partial_fit(rows[:800])))
            assert other.device == "torch:cpu"
        assert_same_model(stays, other)

    def test_after_fit(self, torch, rows):
        for model in (MODELS["icfl online"], MODELS["sae dead"]):
            cpu, other = clone(model).fit(rows), on_torch(model).fit(rows)
            assert_same_model(cpu.partial_fit(rows[:400]), other.partial_fit(rows[:400]))

    def test_solver_may_change(self, torch, rows):
        cpu, other = clone(MODELS["icfl"]), on_torch(MODELS["icfl"])
        for solver in ("online", "adam"):
            cpu.set_params(solver=solver).partial_fit(rows)
            other.set_params(solver=solver).partial_fit(rows)
        assert_same_model(cpu, other)


class TestScikitLearn:
    """Pipelines, searches, clone, pickle."""

    def test_pipeline_and_search(self, torch, planted):
        X, control = planted.data.astype(np.float64), np.arange(2000) % 4 == 0
        pipeline = make_pipeline(
            ControlPCAWhitener(), Normalizer(), ICFLDictionary(**{**SIZES, "max_steps": 10})
        )
        grid = {
            "icfldictionary__device": ["cpu", "torch:cpu"],
            "icfldictionary__n_nonzero_coefs": [2, 4],
        }
        search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
        search.fit(X, controlpcawhitener__control=control[: X.shape[0]])
        scores = search.cv_results_["mean_test_score"].reshape(2, 2)
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-9)
        assert scores[0, 1] > scores[0, 0]

    @both_models
    def test_dense_output_and_pandas(self, torch, rows, model):
        pytest.importorskip("pandas")
        model = on_torch(model, sparse_output=False).set_output(transform="pandas").fit(rows)
        frame = model.transform(rows)
        expected = clone(model).set_params(device="cpu").fit(rows).transform(rows)
        np.testing.assert_allclose(frame.to_numpy(), expected.to_numpy(), atol=1e-9)

    @both_models
    def test_nothing_of_torch_in_a_fitted_model(self, torch, rows, model):
        model = on_torch(model).fit(rows)
        model.transform(rows)
        assert model.device == "torch:cpu"
        assert not [name for name, value in vars(model).items() if torch.is_tensor(value)]
        assert b"torch" not in pickle.dumps(model.set_params(device="cpu"))
        model.set_params(device="torch:cpu").partial_fit(rows)
        assert b"torch" not in pickle.dumps(model.set_params(device="cpu"))

    @both_models
    @pytest.mark.parametrize("learn", ["fit", "partial_fit"])
    def test_a_pickle_serves_where_torch_is_not(self, torch, rows, model, learn, tmp_path):
        model = getattr(on_torch(model), learn)(rows)
        path = tmp_path / "model.pickle"
        path.write_bytes(pickle.dumps((model, rows)))
        code = f"""
import pickle
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'")

sys.meta_path.insert(0, NoTorch())
from pathlib import Path
model, rows = pickle.loads(Path({str(path)!r}).read_bytes())
try:
    model.transform(rows)
except ImportError as error:
    assert 'pip install "skdict[torch]"' in str(error), error
else:
    raise AssertionError("transformed without torch")
before = model.set_params(device="cpu").transform(rows)
model.partial_fit(rows)
assert "torch" not in sys.modules
Path({str(path)!r}).write_bytes(pickle.dumps((before, model)))
"""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        codes, continued = pickle.loads(path.read_bytes())
        assert_same_codes(model.transform(rows), codes)
        assert_same_model(model.set_params(device="cpu").partial_fit(rows), continued)


class TestWaiting:
    """The host waits for the device once in a block of steps."""

    @pytest.mark.parametrize("name", ["icfl no gram", "sae dead", "sae linear"])
    def test_a_step_asks_the_device_for_nothing(self, torch, rows, name):
        """On torch's meta device, tensors have no values: whoever asks for one gets an error."""
        model = clone(MODELS[name]).partial_fit(rows)
        state = model._partial_state
        kernels = get_kernels("torch:meta")
        state.move("torch:meta")
        # A step without a reset (one in three) that does not look for dead atoms (nor one in 100).
        state.is_new_block, state.n_steps = False, 1
        batch = kernels.to_device(rows[:300], "torch:meta")
        model._learn_batch(batch, state, 0.01)
        loss, used = state.step(batch, kernels.scalar(0.01, batch), *model._before_step(state)[1])
        assert loss.device.type == used.device.type == "meta"
        assert (loss.shape, used.shape) == ((), (model.n_components,))
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            state.history.fetch(1.0)

    @pytest.mark.parametrize("name", ["icfl", "icfl no gram", "sae dead"])
    def test_transfers_do_not_grow_with_the_steps(self, torch, rows, name, monkeypatch):
        calls = []
        kernels = get_kernels("torch:cpu")
        to_host = kernels.to_host
        monkeypatch.setattr(kernels, "to_host", lambda array: calls.append(1) or to_host(array))
        n_calls = []
        for batch_size in (1000, 100):  # 2 and 20 steps
            model = on_torch(MODELS[name], batch_size=batch_size)
            if "reset_every" in model.get_params():
                model.set_params(reset_every=None)
            calls.clear()
            model.partial_fit(rows)
            n_calls.append(len(calls))
        assert n_calls[0] == n_calls[1]

    def test_losses_stay_on_the_device_until_fetched(self, torch):
        for device in ("cpu", "torch:cpu"):
            kernels = get_kernels(device)
            history = History(device)
            residuals = np.arange(24.0).reshape(4, 2, 3)
            for residual in residuals:
                loss = kernels.mean_squared_norm(kernels.to_device(residual, device))
                history.add(loss, 0.1, n_resets=1)
            losses, rates = history.fetch(2.0)
            expected = (residuals**2).sum(axis=2).mean(axis=1)
            np.testing.assert_allclose(losses, expected)
            assert rates == [0.1] * 4
            assert history.fetch(2.0)[0].size == 0
            history.close_block(4, 0.5)
            history.close_block(5, 0.5)  # nothing happened: no point
            assert history.curves["loss"] == pytest.approx([4 * expected.mean()])
            assert history.curves["n_resets"] == [4]

    def test_few_kept_losses_change_nothing(self, torch, rows, monkeypatch):
        expected = on_torch(MODELS["icfl"]).partial_fit(rows)
        monkeypatch.setattr("skdict._training.KEPT_LOSSES", 3)
        assert_same_model(expected, on_torch(MODELS["icfl"]).partial_fit(rows))

    def test_dead_atoms_are_looked_for_in_between(self, torch, rows, monkeypatch):
        monkeypatch.setattr("skdict._topk_sae.LOOK_EVERY", 2)
        every = on_torch(MODELS["sae dead"], batch_size=200).partial_fit(rows)
        monkeypatch.setattr("skdict._topk_sae.LOOK_EVERY", 100)
        once = on_torch(MODELS["sae dead"], batch_size=200).partial_fit(rows)
        assert np.abs(every.components_ - once.components_).max() > 1e-6  # found later


class TestFailures:
    """What goes wrong on a device is said as on the CPU."""

    def test_divergence_names_step_and_rate(self, torch, planted):
        rows, messages = planted.data, []
        for device in ("cpu", "torch:cpu"):
            model = TopKSAE(32, learning_rate=1e30, max_steps=300, random_state=0, device=device)
            with np.errstate(all="ignore"), pytest.raises(ValueError, match="diverged") as caught:
                model.fit(rows)
            messages.append(str(caught.value))
            assert not hasattr(model, "components_")
        assert messages[0].split(":")[0] == messages[1].split(":")[0]  # the same step
        assert messages[0].split("Lower")[1] == messages[1].split("Lower")[1]

    def test_divergence_in_partial_fit(self, torch, planted):
        rows = planted.data
        model = TopKSAE(32, random_state=0, device="torch:cpu").partial_fit(rows)
        before = model.components_.copy()
        model.set_params(learning_rate=1e30, batch_size=100)
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="Lower learning_rate"):
            model.partial_fit(rows)
        np.testing.assert_array_equal(model.components_, before)
        model.set_params(learning_rate=None).partial_fit(rows)
        assert np.isfinite(model.components_).all()

    @both_models
    def test_an_interrupted_fit_keeps_what_was_learned(self, torch, rows, model, monkeypatch):
        model = on_torch(model)
        step = type(model)._step

        def interrupted(self, state, *inputs):
            if state.n_steps == 20:
                raise KeyboardInterrupt
            return step(self, state, *inputs)

        monkeypatch.setattr(type(model), "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(rows)
        assert model.n_steps_ == 20 == model.history_["step"][-1]
        assert np.isfinite(model.score(rows))

    def test_overflow_of_codes(self, torch, rows):
        model = on_torch(MODELS["sae"]).fit(rows)
        model.encoder_ = 1e200 * model.encoder_
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="the codes overflowed"):
            model.transform(1e200 * rows)

    @pytest.mark.parametrize(
        "device", ["gpu", "torch", "cuda:", "cuda:-1", "torch:meta", "CPU", ""]
    )
    def test_unknown_device(self, rows, device):
        message = rf"device must be 'cpu' \(numba\), .*'torch:cpu'.*, got '{device}'"
        for call in (
            lambda: check_device(device),
            lambda: ICFLDictionary(device=device).fit(rows),
            lambda: TopKSAE(device=device).partial_fit(rows),
            lambda: sparse_encode(rows, np.eye(24), device=device),
        ):
            with pytest.raises(ValueError, match=message):
                call()
        with pytest.raises(ValueError, match="The 'device' parameter"):
            ICFLDictionary(device=0).fit(rows)
        with pytest.raises(ValueError, match="got 0"):
            sparse_encode(rows, np.eye(24), device=0)
        with pytest.raises(ValueError, match="got 'gpu'"):
            get_kernels("gpu")

    def test_a_fitted_model_with_an_unknown_device(self, rows):
        model = ICFLDictionary(8, max_steps=0).fit(rows).set_params(device="tpu")
        for call in (model.transform, model.score):
            with pytest.raises(ValueError, match="got 'tpu'"):
                call(rows)

    @pytest.mark.parametrize("device", ["cuda", "cuda:1", "torch:cpu"])
    def test_torch_is_not_installed(self, rows, monkeypatch, device):
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(ImportError, match=r'pip install "skdict\[torch\]"'):
            TopKSAE(device=device).fit(rows)

    def test_no_gpu(self, rows, monkeypatch):
        cuda = SimpleNamespace(is_available=lambda: False)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="2.9"))
        model = ICFLDictionary(8, max_steps=0).fit(rows).set_params(device="cuda")
        message = r"device='cuda' needs a CUDA device, .*is_available\(\) is False .*set_params"
        with pytest.raises(ValueError, match=message):
            model.transform(rows)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(rows)
        assert model.set_params(device="cpu").transform(rows).nnz > 0

    def test_no_such_gpu(self, monkeypatch):
        cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="2.9"))
        for device in ("cuda", "cuda:0", "cuda:1"):
            check_device(device)
        with pytest.raises(ValueError, match=r"'cuda:2' does not exist: torch finds 2 .* 'cuda:1'"):
            check_device("cuda:2")


class TestParts:
    """Arrays of the training state, moved and copied."""

    @pytest.mark.parametrize("part", [Adam, Surrogate])
    def test_resets_take_numpy_arrays(self, torch, rng, part):
        start, fresh = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(2, 4))
        state = part(start.copy(), device="torch:cpu")
        state.reset(np.array([1, 5]), fresh)
        state.move("cpu")
        assert state.parameters.dtype == np.float32
        np.testing.assert_array_equal(state.parameters[[1, 5]], fresh.astype(np.float32))
        np.testing.assert_array_equal(state.parameters[[0, 2, 3, 4]], start[[0, 2, 3, 4]])

    def test_everything_moves(self, torch, rng):
        state = TrainingState(rng, 1.0, 5, 10, device="cpu")
        state.put(one=np.arange(3))
        state.dictionary = Adam(np.ones((5, 2)))
        state.usage.add(np.arange(5), 7)
        state.move("torch:cpu")
        assert torch.is_tensor(state.one) and torch.is_tensor(state.dictionary.parameters)
        state.usage.add(torch.arange(5), 7)
        np.testing.assert_array_equal(state.usage.counts(), 2 * np.arange(5))
        state.usage.forget(np.array([4]))
        copy = pickle.loads(pickle.dumps(state))
        assert copy.device == copy.dictionary.device == copy.usage.device == "cpu"
        assert type(copy.one) is type(copy.dictionary.parameters) is np.ndarray
        np.testing.assert_array_equal(copy.usage.counts(), [0, 2, 4, 6, 0])
        assert torch.is_tensor(state.one)  # a copy was made, the state stays where it is

    def test_usage_windows_agree(self, torch):
        here, there = UsageWindow(3, 20), UsageWindow(3, 20, "torch:cpu")
        for step in range(50):
            counts = np.array([step % 2, 0, 5])
            here.add(counts, 10)
            there.add(torch.tensor(counts), 10)
            assert here.dead_fraction() == there.dead_fraction()
            np.testing.assert_array_equal(here.counts(), there.counts())

    def test_uses_and_sums_by_atom(self, torch):
        """Stored zeros are no use: the CPU backend has none, torch fills its codes up with them."""
        codes = (
            np.array([1.0, 0.0, -2.0, 0.0]),
            np.array([2, 0, 2, 0], np.int32),
            np.array([0, 2, 4]),
        )
        weights = np.array([0.5, 0.0, 0.25, 0.0])
        for device in ("cpu", "torch:cpu"):
            kernels = get_kernels(device)
            native = [kernels.to_device(array, device) for array in codes]
            uses = kernels.to_host(kernels.count_uses(native, 4))
            np.testing.assert_array_equal(uses, [0, 0, 2, 0])
            sums = kernels.sum_by_atom(native, kernels.to_device(weights, device), 4)
            np.testing.assert_array_equal(kernels.to_host(sums), [0, 0, 0.75, 0])

    def test_small_functions_agree(self, torch, rng):
        rows = rng.normal(size=(7, 3))
        there = get_kernels("torch:cpu")
        here = get_kernels("cpu")
        native = there.to_device(rows, "torch:cpu")
        for name in ("mean", "column_mean", "column_sum", "squared_norms", "mean_squared_norm",
                     "copy", "zeros_like"):  # fmt: skip
            expected = getattr(here, name)(rows)
            np.testing.assert_allclose(there.to_host(getattr(there, name)(native)), expected)
        for value, expected in [(2.0, 2.0), (0.0, 1.0)]:
            assert float(here.positive(value)) == expected
            assert float(there.positive(torch.tensor(value))) == expected
        array = there.copy(native)
        there.subtract_scaled(array, native, np.float64(0.25))
        np.testing.assert_allclose(there.to_host(array), 0.75 * rows)
        assert not np.shares_memory(there.to_host(there.to_device(rows, "torch:cpu")), rows)

    def test_stream(self, torch, rng):
        X = rng.normal(size=(9, 2)).astype(np.float32)
        for device in ("cpu", "torch:cpu"):
            kernels = get_kernels(device)
            rows = [None, slice(0, 4), np.array([8, 0]), None]
            first, second = (kernels.to_host(b) for b in kernels.stream(X, rows, 2.0, device))
            np.testing.assert_array_equal(first, X[:4] / 2)
            np.testing.assert_array_equal(second, X[[8, 0]] / 2)
            (whole,) = kernels.stream(X, [slice(None)], None, device)
            np.testing.assert_array_equal(kernels.to_host(whole), X)

    def test_rows_are_drawn_only_when_asked_for(self, torch, monkeypatch):
        """Whoever takes the batches draws from the same generator: their turns must not change.

        The reader for GPUs, without a GPU: what it reads ahead of and what not.
        """
        from skdict.kernels import _torch_transfer as transfer

        monkeypatch.setattr(transfer, "BATCHES_AHEAD", 2)
        monkeypatch.setattr(transfer._Ahead, "_load", lambda self, rows: rows)
        monkeypatch.setattr(transfer._Ahead, "_arrived", lambda self, future: future.result())
        monkeypatch.setattr(transfer._Ahead, "_wait_for_work", lambda self: None)
        events = []

        def numbers():
            for passes in range(2):
                yield None
                events.append("draw")
                for k in range(5):
                    events.append(f"read {passes}{k}")
                    yield f"{passes}{k}"

        reader = object.__new__(transfer._Ahead)
        with ThreadPoolExecutor(1) as reader.loader:
            for batch in reader.batches(numbers()):
                events.append(f"use {batch}")
        assert [event for event in events if "use" in event] == [
            f"use {passes}{k}" for passes in range(2) for k in range(5)
        ]
        assert events.index("read 02") < events.index("use 00") < events.index("read 03")
        second_draw = len(events) - 1 - events[::-1].index("draw")
        assert events[second_draw - 1] == "use 04"


@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names:UserWarning")
@parametrize_with_checks(
    [
        ICFLDictionary(max_steps=10, device="torch:cpu"),
        ICFLDictionary(max_steps=10, device="torch:cpu", solver="online"),
        TopKSAE(max_steps=10, device="torch:cpu"),
    ]
)
def test_sklearn_compatible(torch, estimator, check):
    check(estimator)


def test_the_example_of_the_guide(torch):
    guide = (ROOT / "docs" / "user_guide" / "devices.rst").read_text(encoding="utf-8")
    lines = guide.split(".. code-block:: python")[1].splitlines()[1:]
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("   "))
    code = textwrap.dedent("\n".join(lines[:end]))
    assert 'device="cuda"' in code
    names = {}
    exec(code.replace('device="cuda"', 'device="torch:cpu"'), names)
    assert names["codes"].shape == (2000, 48) and names["codes"].nnz > 0


def test_device_is_documented_and_constrained():
    for kind in (ICFLDictionary, TopKSAE):
        assert kind().device == "cpu"
        assert kind._parameter_constraints["device"] == [str]
    assert MiniBatchDictionary._parameter_constraints["device"] == [str]
