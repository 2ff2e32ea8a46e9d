"""Whitening on controls: the identity covariance, odd inputs, exact partial fits."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict._whitening import _knee_epsilon
from skdict.datasets import load_jump_scope

few_controls = pytest.mark.filterwarnings("ignore:.*whitening overfits its controls")
METHODS = ["pca", "zca", "pca-cor", "zca-cor"]


def sample(seed=0, n=300, d=6, n_control=200):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) * rng.uniform(0.1, 10, size=d)
    X = rng.normal(size=(n, d)) @ mixing + rng.normal(size=d) * 50
    control = np.zeros(n, bool)
    control[rng.permutation(n)[:n_control]] = True
    X[~control] += rng.normal(size=d) * 5
    return X, control


@given(st.integers(0, 1000), st.sampled_from(METHODS))
def test_controls_have_zero_mean_and_unit_covariance(seed, method):
    X, control = sample(seed)
    whitener = ControlPCAWhitener(method=method, epsilon=0.0).fit(X, control=control)
    white = whitener.transform(X)
    np.testing.assert_allclose(white[control].mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(np.cov(white[control].T), np.eye(6), atol=1e-6)
    assert np.abs(np.cov(white.T) - np.eye(6)).max() > 1e-3  # all rows together are not white
    np.testing.assert_allclose(whitener.inverse_transform(white), X, atol=1e-6)
    assert whitener.n_control_ == control.sum()


def test_center_only_subtracts_the_control_mean():
    X, control = sample()
    whitener = ControlPCAWhitener(method="center").fit(X, control=control)
    np.testing.assert_allclose(whitener.transform(X), X - X[control].mean(axis=0))
    np.testing.assert_allclose(whitener.inverse_transform(whitener.transform(X)), X)
    np.testing.assert_allclose(whitener.explained_variance_, X[control].var(axis=0, ddof=1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.5])
def test_formula(method, epsilon):
    X, control = sample()
    whitener = ControlPCAWhitener(method=method, epsilon=epsilon).fit(X, control=control)
    covariance = np.cov(X[control].T)
    scale = np.ones(6)
    if method.endswith("cor"):
        scale = 1 / X[control].std(axis=0, ddof=1)
    values, vectors = np.linalg.eigh(covariance * scale * scale[:, None])
    values, vectors = values[::-1], vectors[:, ::-1]
    expected = (vectors / np.sqrt(values + epsilon * values[0])).T * scale
    if method.startswith("zca"):
        expected = vectors @ expected
        np.testing.assert_allclose(whitener.components_, expected, rtol=1e-6)
    else:
        signs = np.sign((whitener.components_ * expected).sum(axis=1))
        np.testing.assert_allclose(whitener.components_, expected * signs[:, None], rtol=1e-6)
        directions = whitener.components_ / scale
        largest = np.abs(directions).argmax(axis=1)
        assert (directions[np.arange(6), largest] > 0).all()
    np.testing.assert_allclose(whitener.explained_variance_, values)
    assert whitener.epsilon_ == epsilon


@few_controls
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, "auto"])
@pytest.mark.parametrize("n_control", [2, 5, 12, 60])
def test_fewer_controls_than_features_and_constant_columns(method, epsilon, n_control):
    X, control = sample(d=40, n_control=n_control)
    X[:, 3] = 7.0
    X[control, 5] = 1e4  # constant among controls only
    whitener = ControlPCAWhitener(method=method, epsilon=epsilon).fit(X, control=control)
    white = whitener.transform(X)
    assert np.isfinite(white).all()
    if epsilon == 0.0:
        kept = white[control] @ white[control].T
        rank = min(n_control - 1, 38)
        np.testing.assert_allclose(np.trace(kept), rank * (n_control - 1), rtol=1e-6)
    # No direction of the controls is scaled beyond unit variance, in or out of their span.
    assert np.var(white[control], axis=0, ddof=1).max() <= 1 + 1e-6
    expected_columns = 40 if method.startswith("zca") or epsilon != 0.0 else min(n_control - 1, 38)
    assert white.shape[1] == expected_columns


def test_epsilon_zero_drops_dependent_directions():
    X, control = sample()
    X = np.hstack([X, X[:, :2] @ [[1.0], [2.0]]])
    whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    assert whitener.components_.shape == (6, 7)
    np.testing.assert_allclose(np.cov(whitener.transform(X)[control].T), np.eye(6), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*do not vary")
def test_no_variance_at_all_is_centred():
    X = np.full((5, 3), 2.0)
    for epsilon in (0.0, "auto"):
        whitener = ControlPCAWhitener(epsilon=epsilon).fit(X, control=np.ones(5, bool))
        assert (whitener.transform(X) == 0).all()


def test_number_of_components():
    X, control = sample()
    full = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    three = ControlPCAWhitener(3, epsilon=0.0).fit(X, control=control)
    np.testing.assert_array_equal(three.components_, full.components_[:3])
    share = np.cumsum(full.explained_variance_) / full.explained_variance_.sum()
    for fraction in (0.5, 0.9, 0.999):
        kept = ControlPCAWhitener(fraction).fit(X, control=control).components_.shape[0]
        assert share[kept - 1] >= fraction
        assert kept == 1 or share[kept - 2] < fraction
    assert ControlPCAWhitener(3, method="zca").fit(X, control=control).transform(X).shape == X.shape
    with pytest.warns(UserWarning, match="n_components=9 is larger than the 6 directions"):
        ControlPCAWhitener(9).fit(X, control=control)


@given(st.integers(0, 1000), st.integers(1, 5))
def test_partial_fit_is_exact_in_any_order(seed, n_batches):
    X, control = sample(seed)
    whole = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    rng = np.random.default_rng(seed)
    order = rng.permutation(300)
    parts = ControlPCAWhitener(epsilon=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few controls after the first batches
        parts.partial_fit(X, control=np.zeros(300, bool))
        assert parts.n_control_ == 0
        for rows in np.array_split(order, n_batches):
            parts.partial_fit(X[rows], control=control[rows])
    np.testing.assert_allclose(parts.mean_, whole.mean_, rtol=1e-9, atol=1e-9)
    top = whole.explained_variance_[0]
    np.testing.assert_allclose(
        parts.explained_variance_, whole.explained_variance_, rtol=1e-9, atol=1e-12 * top
    )
    # W^T W is the inverse covariance; W itself may turn within nearly equal eigenvalues.
    inverses = [model.components_.T @ model.components_ for model in (parts, whole)]
    difference = np.linalg.norm(inverses[0] - inverses[1])
    assert difference <= 1e-5 * np.linalg.norm(inverses[1])
    assert parts.n_control_ == whole.n_control_


def test_not_usable_before_two_controls():
    X, control = sample()
    whitener = ControlPCAWhitener().partial_fit(X, control=np.zeros(300, bool))
    with pytest.raises(ValueError, match="not fitted"):
        whitener.transform(X)


def test_large_offsets_do_not_hurt():
    """Mean and covariance in float64, about the mean: 1e6 offsets in float32 data."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(500, 4)) * [1, 2, 4, 8] + 2**20).astype(np.float32)
    whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=np.ones(500, bool))
    covariance = np.cov(X.astype(np.float64).T)
    np.testing.assert_allclose(
        whitener.explained_variance_, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-8
    )
    assert whitener.transform(X).dtype == np.float32


def test_outlier_severity():
    X, control = sample()
    X[:, 0] = 5.0
    X[:, 1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        severity = ControlPCAWhitener().fit(X, control=control).outlier_severity_
    assert severity[0] == np.inf
    assert severity[1] == 0
    controls = X[control, 2:]
    expected = np.abs(controls.mean(axis=0)) / controls.std(axis=0, ddof=1)
    np.testing.assert_allclose(severity[2:], expected)


def test_control_distance_is_the_mahalanobis_distance():
    X, control = sample()
    whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    centred = X - X[control].mean(axis=0)
    inverse = np.linalg.inv(np.cov(X[control].T))
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, inverse, centred))
    np.testing.assert_allclose(whitener.control_distance(X), expected, rtol=1e-6)
    pandas_output = whitener.set_output(transform="pandas")
    np.testing.assert_allclose(pandas_output.control_distance(X), expected, rtol=1e-6)


def test_held_out_controls_show_overfitting():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 30))
    control = np.ones(2000, bool)
    many = ControlPCAWhitener(epsilon=0.0).fit(X[:1000], control=control[:1000])
    diagonal = np.diag(many.held_out_covariance(X[1000:]))
    np.testing.assert_allclose(diagonal.mean(), 1, atol=0.15)
    with pytest.warns(UserWarning, match="40 control samples for 30 whitened directions"):
        few = ControlPCAWhitener(epsilon=0.0).fit(X[:40], control=control[:40])
    assert np.diag(few.held_out_covariance(X[1000:])).mean() > 3


@few_controls
def test_auto_epsilon_on_real_profiles_tames_new_controls():
    """Half of the controls fitted, the other half looked at: 72 for 216 features."""
    data = load_jump_scope()
    rows = np.flatnonzero(data.control)
    fitted = np.zeros(len(data.control), bool)
    fitted[rows[::2]] = True
    held_out = data.control & ~fitted
    spread = {}
    for epsilon in (0.0, "auto"):
        whitener = ControlPCAWhitener(epsilon=epsilon).fit(data.data, control=fitted)
        spread[epsilon] = np.diag(whitener.held_out_covariance(data.data, control=held_out)).mean()
    assert abs(spread["auto"] - 1) < abs(spread[0.0] - 1) / 2


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (np.ones(10, int), "boolean mask, got dtype int"),
        (np.ones(9, bool), "9 entries for 10 rows"),
        (np.ones((10, 1), bool), "one-dimensional"),
        (np.eye(1, 10, dtype=bool)[0], "at least 2 control samples, got 1"),
        (np.zeros(10, bool), "at least 2 control samples, got 0"),
    ],
)
def test_bad_masks_are_named(control, message):
    with pytest.raises(ValueError, match=message):
        ControlPCAWhitener().fit(np.random.default_rng(0).normal(size=(10, 2)), control=control)


def test_forgotten_mask_warns_and_bad_parameters_raise():
    X, control = sample()
    with pytest.warns(UserWarning, match="control=None: the whitening is fitted on all rows"):
        assert ControlPCAWhitener().fit(X).n_control_ == 300
    for parameters in ({"method": "cholesky"}, {"epsilon": -1.0}, {"n_components": 0}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            ControlPCAWhitener(**parameters).fit(X, control=control)
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ControlPCAWhitener().fit(X, control=control)
    fitted = ControlPCAWhitener().fit(X[1:], control=control[1:])
    with pytest.raises(ValueError, match="6 columns, as transform returns, got 4"):
        fitted.inverse_transform(np.zeros((2, 4)))


def test_pickle():
    X, control = sample()
    whitener = ControlPCAWhitener().fit(X, control=control)
    copy = pickle.loads(pickle.dumps(whitener))
    np.testing.assert_array_equal(copy.transform(X), whitener.transform(X))
    copy.partial_fit(X, control=control)
    assert copy.n_control_ == 2 * whitener.n_control_


@pytest.mark.parametrize("offset", [0.0, 10.0, 50.0])
@pytest.mark.parametrize("rank", [16, 48, 63])
def test_rounding_of_float32_data_is_no_direction(offset, rank):
    """Rank-deficient float32 controls far from zero: their rounding noise is not whitened."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, rank)) @ rng.normal(size=(rank, 64)) / np.sqrt(rank)
    X = (X + offset).astype(np.float32)
    control = np.ones(300, bool)
    exact = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    assert exact.components_.shape[0] == rank
    auto = ControlPCAWhitener().fit(X, control=control)
    assert auto.epsilon_ > 1e-6
    assert auto.transform(X).std(axis=0)[rank:].max(initial=0) < 0.1


def test_few_controls_warn_however_few_directions_are_left():
    X, control = sample(d=10, n_control=2)
    with pytest.warns(UserWarning, match="whitening overfits"):
        ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    X[control] = 3.0
    with pytest.warns(UserWarning, match="2 control samples do not vary"):
        ControlPCAWhitener(3).fit(X, control=control)


def test_masks_of_objects_and_overflow():
    X, control = sample()
    whitener = ControlPCAWhitener().fit(X, control=control.astype(object))
    assert whitener.n_control_ == control.sum()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="rescale X"):
        ControlPCAWhitener().fit(X * 1e200, control=control)


@pytest.mark.skipif(os.environ.get("SCIPY_ARRAY_API") == "1", reason="they run in this process")
def test_array_api_in_a_process_of_its_own():
    """What needs SCIPY_ARRAY_API=1, scikit-learn's own checks of it included."""
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "array_api"]
        + [str(tests / "test_whitening_array_api.py"), str(tests / "test_common.py")],
        cwd=tests.parent,
        env=dict(os.environ, SCIPY_ARRAY_API="1"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


class Tensor:
    """Looks like a tensor on a GPU: NumPy cannot read it."""

    shape = (4, 2)
    dtype = "float32"
    device = "cuda:0"

    def __dlpack__(self, **options):
        raise BufferError("not in host memory")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize("model", [ControlPCAWhitener(), ICFLDictionary()], ids=str)
def test_tensors_on_a_device_are_named_with_a_remedy(model):
    message = r"X of type .*Tensor, dtype float32, on device cuda:0 cannot be read as a NumPy array"
    with pytest.raises(TypeError, match=message + r".*X\.detach.*array_api_dispatch=True"):
        model.fit(Tensor())
    with pytest.raises(TypeError, match="control of type .*Tensor, dtype float32, on device cuda"):
        ControlPCAWhitener().fit(np.eye(4), control=Tensor())


@pytest.mark.parametrize("spectrum", ["straight", "bent the other way", "equal"])
def test_without_a_knee_epsilon_is_a_tenth_whatever_the_rounding(spectrum):
    position = np.linspace(0.0, 1.0, 50)
    logs = {
        "straight": -8.0 * position,
        "bent the other way": -8.0 * position**2,
        "equal": np.zeros(50),
    }[spectrum]
    for scale in (1.0, 3.0, 7.0, 1e-5):  # other rounding each time
        assert _knee_epsilon(np.exp(logs) * scale) == pytest.approx(0.1)
