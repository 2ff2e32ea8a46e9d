"""Whitening of tensors: same numbers, same library and device as X, pickles without it.

SciPy reads SCIPY_ARRAY_API once, when it is imported, and then treats some inputs differently. So
these tests run in a process of their own, started by test_whitening.py, or when the whole suite is
run with SCIPY_ARRAY_API=1.
"""

import copy
import importlib
import os
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import estimator_checks as checks
from sklearn.utils._array_api import get_namespace_and_device, move_estimator_to

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE, sparse_encode

if os.environ.get("SCIPY_ARRAY_API") != "1":
    pytest.skip("needs SCIPY_ARRAY_API=1 before scipy is imported", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
METHODS = ["pca", "center", "zca", "pca-cor", "zca-cor"]
ARRAYS = ["mean_", "components_", "explained_variance_", "outlier_severity_"]
LIBRARIES = {
    "torch": ("torch", "cpu"),
    "torch-cuda": ("torch", "cuda"),
    "strict": ("array_api_strict", "CPU_DEVICE"),
    # Refuses to mix with arrays of another device: what was left on the host is found.
    "strict-device": ("array_api_strict", "device1"),
}


@pytest.fixture(autouse=True)
def dispatch(clean_settings):
    sklearn.set_config(array_api_dispatch=True)


def library(name, device):
    """An array library and its device, or skip the test."""
    module = pytest.importorskip(name)
    if name == "torch":
        if device == "cuda" and not module.cuda.is_available():
            pytest.skip("no CUDA device")
        return module, module.device(device)
    return module, module.Device(device)


@pytest.fixture(params=LIBRARIES)
def to_device(request):
    """Function that brings a NumPy array to a library and device."""
    xp, device = library(*LIBRARIES[request.param])
    return lambda array: xp.asarray(array, device=device)


@pytest.fixture
def to_torch():
    torch = pytest.importorskip("torch")
    return torch.asarray


def sample(dtype=np.float64, n=300, d=6):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) * 5
    return X.astype(dtype), rng.random(n) < 0.6


def to_host(array):
    """NumPy array of an array of any library, by the library's own means."""
    if hasattr(array, "cpu"):
        return array.cpu().numpy()
    if type(array).__module__.startswith("array_api_strict"):
        xp = importlib.import_module("array_api_strict")
        return np.asarray(array.to_device(xp.Device("CPU_DEVICE")))
    return np.asarray(array)


def assert_beside(array, X):
    assert get_namespace_and_device(array) == get_namespace_and_device(X)


def assert_close(array, expected, X=None):
    """Equal to the rounding of X, and in its library and on its device."""
    if X is not None:
        assert_beside(array, X)
    array = to_host(array)
    assert array.dtype == expected.dtype
    single = np.float32 in (array.dtype, to_host(X).dtype)
    rtol = 1e-4 if single else 1e-9
    np.testing.assert_allclose(array, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", METHODS)
def test_numbers_of_numpy_in_the_library_of_x(to_device, method, dtype):
    X, control = sample(dtype)
    expected = ControlPCAWhitener(method=method, epsilon=1e-3).fit(X, control=control)
    tensor = to_device(X)
    whitener = ControlPCAWhitener(method=method, epsilon=1e-3).fit(tensor, control=control)
    for name in ARRAYS:
        array = getattr(whitener, name)
        assert_beside(array, tensor)
        assert_close(array, getattr(expected, name))
    assert whitener.n_control_ == control.sum()
    assert isinstance(whitener.epsilon_, float)
    white = whitener.transform(tensor)
    assert_close(white, expected.transform(X), tensor)
    assert_close(whitener.inverse_transform(white), X, tensor)
    assert_close(whitener.control_distance(tensor), expected.control_distance(X), tensor)
    assert_close(
        whitener.held_out_covariance(tensor, control=to_device(control)),
        expected.held_out_covariance(X, control=control),
        tensor,
    )
    assert list(whitener.get_feature_names_out()) == list(expected.get_feature_names_out())
    assert "mean_" in whitener._repr_html_()


@pytest.mark.parametrize("whitener", [ControlPCAWhitener(), ControlPCAWhitener(method="zca")])
def test_numpy_with_dispatch_is_numpy_without(whitener):
    X, control = sample()
    dispatched = whitener.fit(X, control=control)
    white = dispatched.transform(X)
    with sklearn.config_context(array_api_dispatch=False):
        plain = sklearn.clone(whitener).fit(X, control=control)
        np.testing.assert_array_equal(plain.transform(X), white)
    for name in ARRAYS:
        assert type(getattr(dispatched, name)) is np.ndarray
        np.testing.assert_array_equal(getattr(dispatched, name), getattr(plain, name))


@pytest.mark.parametrize("namespace", ["torch", "array_api_strict"])
def test_checks_of_scikit_learn_with_values(namespace):
    # Directions without variance are dropped: their basis would be arbitrary.
    whitener = ControlPCAWhitener(epsilon=0.0)
    device = {"torch": "cpu", "array_api_strict": "device1"}[namespace]
    pytest.importorskip(namespace)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "control=None", UserWarning)
        checks.check_array_api_input_and_values(
            "ControlPCAWhitener", whitener, array_namespace=namespace, device_name=device
        )


def test_float64_sums_on_a_device_without_float64():
    """Variances from 1e-4 to 1e6 in mixed directions: float32 sums lose the small ones."""
    xp = pytest.importorskip("array_api_strict")
    try:
        device = xp.Device("no_float64")
    except ValueError:
        pytest.skip("this version of array_api_strict has no such device")
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    X = rng.normal(size=(500, 4)) * [1e-2, 1, 10, 1e3] @ rotation + 50
    X = X.astype(np.float32)
    tensor = xp.asarray(X, device=device)
    whitener = ControlPCAWhitener(epsilon=0.0).fit(tensor, control=np.ones(500, bool))
    assert_beside(whitener.explained_variance_, tensor)
    expected = np.linalg.eigvalsh(np.cov(X.astype(np.float64).T))[::-1]
    variance = to_host(whitener.explained_variance_)
    assert variance.dtype == np.float32
    np.testing.assert_allclose(variance, expected, rtol=1e-5)
    assert whitener.transform(tensor).dtype == xp.float32
    assert_beside(whitener.held_out_covariance(tensor), tensor)


def test_partial_fit_follows_the_last_batch(to_device):
    X, control = sample()
    whole = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    parts = ControlPCAWhitener(epsilon=0.0)
    parts.partial_fit(X[:100], control=control[:100])
    parts.partial_fit(to_device(X[100:200]), control=to_device(control[100:200]))
    assert_beside(parts.components_, to_device(X))
    parts.partial_fit(to_device(X[200:]), control=to_device(control[200:]))
    for name in ARRAYS:
        assert_close(getattr(parts, name), getattr(whole, name), to_device(X))
    parts.partial_fit(X, control=control)
    assert type(parts.components_) is np.ndarray
    assert parts.n_control_ == 2 * control.sum()


def test_pickles_and_copies_hold_numpy(to_device):
    X, control = sample()
    tensor = to_device(X)
    whitener = ControlPCAWhitener().fit(tensor, control=control)
    white = whitener.transform(tensor)
    with sklearn.config_context(array_api_dispatch=False):
        stored = pickle.dumps(whitener)
    assert type(tensor).__module__.split(".")[0].encode() not in stored
    assert_beside(whitener.components_, tensor)  # itself stays where it is
    for loaded in (pickle.loads(stored), copy.deepcopy(whitener)):
        assert all(type(getattr(loaded, name)) is np.ndarray for name in ARRAYS)
        # NumPy arrays serve any library, and stay NumPy.
        assert_close(loaded.transform(X), to_host(white))
        assert_close(loaded.transform(tensor), to_host(white), tensor)
        assert_close(loaded.inverse_transform(white), X, tensor)
        assert type(loaded.components_) is np.ndarray
        loaded.partial_fit(tensor, control=control)
        assert_beside(loaded.components_, tensor)
        assert loaded.n_control_ == 2 * whitener.n_control_


def test_unpickles_where_torch_is_missing(to_torch, tmp_path):
    X, control = sample()
    whitener = ControlPCAWhitener().fit(to_torch(X), control=control)
    path = tmp_path / "whitener.pickle"
    path.write_bytes(pickle.dumps((whitener, X, whitener.transform(to_torch(X)).numpy())))
    code = f"""
        import pickle, sys

        class NoTorch:
            def find_spec(name, *others):
                if name.split(".")[0] == "torch":
                    raise ImportError(name)

        sys.meta_path.insert(0, NoTorch)
        import numpy
        whitener, X, expected = pickle.loads(open({str(path)!r}, "rb").read())
        numpy.testing.assert_allclose(whitener.transform(X), expected, rtol=1e-9, atol=1e-9)
        whitener.partial_fit(X, control=X[:, 0] > 0)
    """
    environment = {name: text for name, text in os.environ.items() if name != "SCIPY_ARRAY_API"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_arrays_on_a_device_refuse_other_libraries(to_device):
    X, control = sample()
    tensor = to_device(X)
    whitener = ControlPCAWhitener().fit(tensor, control=control)
    for caller in ("transform", "inverse_transform", "control_distance", "held_out_covariance"):
        message = rf"ControlPCAWhitener\.{caller}\(\) must use the same namespace"
        with pytest.raises(ValueError, match=message):
            getattr(whitener, caller)(X)
        with pytest.raises(ValueError, match=message):
            getattr(whitener, caller)(X.tolist())
    xp, _, device = get_namespace_and_device(X)
    moved = move_estimator_to(whitener, xp, device)
    assert_close(moved.transform(X), to_host(whitener.transform(tensor)))
    back = move_estimator_to(moved, *get_namespace_and_device(tensor)[::2])
    back.partial_fit(tensor, control=control)
    assert_close(back.mean_, moved.mean_, tensor)
    assert back.n_control_ == 2 * control.sum()


@pytest.mark.parametrize("read_only", [False, True])
def test_numpy_attributes_serve_tensors(to_torch, tmp_path, read_only):
    """Also memory-mapped ones, as joblib hands them to its workers; no warning of torch."""
    X, control = sample()
    whitener = ControlPCAWhitener().fit(X, control=control)
    expected = whitener.transform(X)
    if read_only:
        joblib.dump(whitener, tmp_path / "whitener.joblib")
        whitener = joblib.load(tmp_path / "whitener.joblib", mmap_mode="r")
        assert not whitener.components_.flags.writeable
    assert_close(whitener.transform(to_torch(X)), expected, to_torch(X))


def test_after_dispatch_was_switched_off(to_torch):
    X, control = sample()
    whitener = ControlPCAWhitener().fit(to_torch(X), control=control)
    expected = whitener.transform(to_torch(X)).numpy()
    sklearn.set_config(array_api_dispatch=False)
    for rows in (X, to_torch(X)):
        white = whitener.transform(rows)
        assert type(white) is np.ndarray
        assert_close(white, expected)
        assert_close(whitener.inverse_transform(white), X)


def test_other_types_of_tensors(to_torch):
    torch = pytest.importorskip("torch")
    X, control = sample()
    whitener = ControlPCAWhitener().fit(to_torch(X), control=control)
    for dtype in (torch.float16, torch.bfloat16, torch.int32):
        rounded = to_torch(X).to(dtype)
        assert whitener.transform(rounded).dtype == torch.float64
        assert_close(whitener.transform(rounded), to_host(whitener.transform(rounded.double())))
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        whitener.transform(to_torch(X))


def test_bad_masks_are_named(to_device):
    X, control = sample()
    with pytest.raises(ValueError, match="boolean mask, got dtype int"):
        ControlPCAWhitener().fit(to_device(X), control=to_device(control.astype(int)))
    with pytest.raises(ValueError, match="9 entries for 300 rows"):
        ControlPCAWhitener().fit(to_device(X), control=to_device(control[:9]))
    with pytest.raises(ValueError, match="at least 2 control samples, got 0"):
        ControlPCAWhitener().fit(to_device(X), control=to_device(control & False))


def test_pipeline_with_logistic_regression(to_torch):
    """Dense representations stay tensors from the embedding to the prediction."""
    sklearn.set_config(enable_metadata_routing=True)
    X, control = sample()
    y = np.where(X @ np.arange(6.0) > np.median(X @ np.arange(6.0)), "high", "low")
    pipe = make_pipeline(
        ControlPCAWhitener(),
        Normalizer(),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", C=0.1),
    )
    expected = sklearn.clone(pipe).fit(X, y, control=control)
    pipe.fit(to_torch(X), y, control=to_torch(control))
    assert_close(pipe[:-1].transform(to_torch(X)), expected[:-1].transform(X), to_torch(X))
    assert_beside(pipe[-1].coef_, to_torch(X))
    np.testing.assert_allclose(to_host(pipe[-1].coef_), expected[-1].coef_, rtol=1e-3, atol=1e-3)
    probabilities = pipe.predict_proba(to_torch(X))
    assert_beside(probabilities, to_torch(X))
    np.testing.assert_allclose(to_host(probabilities), expected.predict_proba(X), atol=1e-3)
    assert pipe.score(to_torch(X), y) > 0.6

    scores = cross_validate(
        pipe,
        to_torch(X),
        y,
        cv=3,
        params={"control": to_torch(control)},
        return_estimator=True,
        return_indices=True,
    )
    for fitted, train in zip(scores["estimator"], scores["indices"]["train"]):
        assert fitted[0].n_control_ == control[train].sum()
        assert_beside(fitted[0].components_, to_torch(X))


DICTIONARIES = [
    ICFLDictionary(12, n_nonzero_coefs=2, max_steps=5, random_state=0),
    TopKSAE(12, n_nonzero_coefs=2, max_steps=5, random_state=0),
    ICFLDictionary(12, n_nonzero_coefs=2, max_steps=5, random_state=0, device="torch:cpu"),
]


@pytest.mark.parametrize("dictionary", DICTIONARIES, ids=str)
def test_dictionary_after_tensors(to_device, dictionary):
    """The dictionary reads tensors into host memory; codes are SciPy's, attributes NumPy's."""
    if dictionary.device != "cpu":
        pytest.importorskip("torch")
    sklearn.set_config(enable_metadata_routing=True)
    X, control = sample()
    front = make_pipeline(ControlPCAWhitener(), Normalizer())
    rows = front.fit_transform(to_device(X), control=control)
    assert_beside(rows, to_device(X))
    host = to_host(rows)
    expected = sklearn.clone(dictionary).fit(host)
    codes = expected.transform(host)
    model = sklearn.clone(dictionary).fit(rows)
    assert type(model.components_) is np.ndarray
    np.testing.assert_array_equal(model.components_, expected.components_)
    np.testing.assert_array_equal(model.transform(rows).toarray(), codes.toarray())
    assert model.score(rows) == expected.score(host)
    dense = model.inverse_transform(to_device(codes.toarray()))
    np.testing.assert_allclose(dense, expected.inverse_transform(codes), atol=1e-9)
    partial = sklearn.clone(dictionary).partial_fit(rows)
    np.testing.assert_array_equal(
        partial.components_, sklearn.clone(dictionary).partial_fit(host).components_
    )
    pipe = make_pipeline(*sklearn.clone(front), sklearn.clone(dictionary))
    pipe.fit(to_device(X), control=to_device(control))
    np.testing.assert_array_equal(pipe.transform(to_device(X)).toarray(), codes.toarray())


def test_sparse_encode_of_tensors(to_device):
    X, _ = sample()
    atoms = np.linalg.qr(X[:6])[0]
    expected = sparse_encode(X, atoms, n_nonzero_coefs=2)
    codes = sparse_encode(to_device(X), to_device(atoms), n_nonzero_coefs=2)
    np.testing.assert_array_equal(codes.toarray(), expected.toarray())


def test_tensors_that_cannot_be_read_are_named():
    torch = pytest.importorskip("torch")
    message = r"X of type torch\.Tensor, dtype torch\.float32, on device meta cannot be read as a"
    rows = torch.zeros((5, 3), device="meta")
    with pytest.raises(TypeError, match=message):
        ICFLDictionary().fit(rows)
    sklearn.set_config(array_api_dispatch=False)
    with pytest.raises(TypeError, match=message + r".*set_config\(array_api_dispatch=True\)"):
        TopKSAE().fit(rows)
    with pytest.raises(TypeError, match=message):
        ControlPCAWhitener().fit(rows)
    with pytest.raises(TypeError, match="control of type torch"):
        ControlPCAWhitener().fit(np.zeros((5, 3)), control=rows[:, 0] > 0)


def test_example_of_the_user_guide(to_torch):
    """The code shown in docs/user_guide/whiten.rst runs, in a process of its own."""
    guide = (ROOT / "docs" / "user_guide" / "whiten.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", guide, re.MULTILINE)
    code = "\n".join(textwrap.dedent(block) for block in blocks)
    assert "array_api_dispatch=True" in code
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={name: text for name, text in os.environ.items() if name != "SCIPY_ARRAY_API"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
