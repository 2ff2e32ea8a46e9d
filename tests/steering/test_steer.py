"""Steered embeddings: what changes, what is kept, and how exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    Normalizer,
    QuantileTransformer,
    StandardScaler,
)

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.datasets import make_batches
from skdict.steering import _steer, steer

X = make_batches(300, 12, n_components=20, n_types=3, random_state=0).data + 3.0
FRONTS = {
    "alone": [],
    "whitened": [ControlPCAWhitener(5, epsilon=0.0)],
    "normalized": [Normalizer()],
    "whole": [StandardScaler(), ControlPCAWhitener(8), Normalizer()],
    "pca": [PCA(6, random_state=0), "passthrough", Normalizer("l1")],
}


def fit(front, dictionary=None):
    """Pipeline fitted on X, its whitener on the first half."""
    dictionary = dictionary or ICFLDictionary(24, n_nonzero_coefs=3, max_steps=20, random_state=0)
    rows = X
    for step in front:
        if step != "passthrough":
            extra = {"control": np.arange(300) < 150} if "Whitener" in type(step).__name__ else {}
            rows = step.fit(rows, **extra).transform(rows)
    return make_pipeline(*front, dictionary.fit(rows))


@pytest.fixture(scope="module", params=FRONTS)
def pipeline(request):
    return fit(FRONTS[request.param])


@pytest.fixture(scope="module")
def alone():
    return fit([])


def dense_codes(pipeline, rows=X):
    return pipeline.transform(rows).toarray().astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("no_change", [{"mode": "scale", "value": 1.0}, {"mode": "add"}])
def test_unchanged_codes_give_the_embedding_back_bit_by_bit(pipeline, dtype, no_change):
    rows = X.astype(dtype)
    steered = steer(pipeline, rows, np.arange(24), **no_change)
    assert steered.dtype == dtype
    assert_array_equal(steered, rows)
    assert not np.shares_memory(steered, rows)


def test_only_rows_with_the_concept_move(pipeline):
    active = dense_codes(pipeline)[:, [2, 5, 9]] != 0
    steered = steer(pipeline, X, [2, 5, 9])
    moved = (steered != X).any(axis=1)
    assert_array_equal(moved, active.any(axis=1))
    assert moved.any() and not moved.all()


@given(
    st.lists(st.integers(0, 23), min_size=1, max_size=6, unique=True),
    st.sampled_from(["set", "scale", "add"]),
    st.floats(-3, 3),
    st.booleans(),
)
def test_the_difference_is_that_of_the_decoded_codes(concepts, mode, value, only_active):
    pipeline = test_the_difference_is_that_of_the_decoded_codes.pipeline
    rows = X[:40].astype(np.float64)
    codes = dense_codes(pipeline, rows)
    changed = codes.copy()
    for k in concepts:
        new = {"set": value + 0 * codes[:, k], "scale": codes[:, k] * value,
               "add": codes[:, k] + value}[mode]  # fmt: skip
        changed[:, k] = np.where((codes[:, k] != 0) | (not only_active), new, codes[:, k])
    last = pipeline[-1]
    expected = rows + last.inverse_transform(changed) - last.inverse_transform(codes)
    options = {"value": value, "mode": mode, "only_active": only_active}
    assert_allclose(steer(pipeline, rows, concepts, **options), expected, atol=1e-9)
    # without the error: the reconstruction from the changed codes
    decoded = steer(pipeline, rows, concepts, **options, keep_error=False)
    assert_allclose(decoded, last.inverse_transform(changed), atol=1e-9)


test_the_difference_is_that_of_the_decoded_codes.pipeline = fit([])


def test_each_concept_may_have_its_value(alone):
    together = steer(alone, X, [4, 1], value=[0.5, -1.0], mode="add")
    apart = steer(alone, steer(alone, X, [4], value=0.0), [1], value=0.0)
    assert together.shape == apart.shape
    difference = (together - X).astype(np.float64)
    atoms = alone[-1].components_
    assert_allclose(difference, np.tile(0.5 * atoms[4] - atoms[1], (300, 1)), atol=1e-5)


def test_through_a_normalizer_the_norm_is_kept(alone):
    pipeline = fit([Normalizer()])
    rows = X.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    steered = steer(pipeline, rows, [0, 3], value=0.3)
    assert_allclose(steered, norms * steer(pipeline[-1], rows / norms, [0, 3], value=0.3))
    # longer rows of the same direction stay longer by as much
    assert_allclose(steer(pipeline, 7 * rows, [0, 3], value=0.3), 7 * steered)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_any_norm_has_a_way_back(norm):
    pipeline = fit([Normalizer(norm)])
    rows = X.astype(np.float64)
    steered = steer(pipeline, rows, [1], value=0.05, mode="add")
    scale = (rows / pipeline[0].transform(rows))[:, :1]
    assert_allclose(steered, rows + scale * 0.05 * pipeline[-1].components_[1], rtol=1e-6)


def test_a_row_of_zeros_has_a_way_back():
    pipeline = fit([Normalizer()])
    steered = steer(pipeline, np.zeros((1, 12)), [1], value=2.0, mode="add")
    assert_allclose(steered[0], 2.0 * pipeline[-1].components_[1], rtol=1e-6)


def test_what_whitening_has_dropped_is_kept():
    pipeline = fit([ControlPCAWhitener(5, epsilon=0.0)])
    whitener, rows = pipeline[0], X.astype(np.float64)
    steered = steer(pipeline, rows, np.arange(6), value=1.0)
    dropped = np.linalg.svd(whitener.components_)[2][5:]  # directions that it does not see
    assert_allclose(steered @ dropped.T, rows @ dropped.T, atol=1e-9)
    # what it sees moves as in the space of the dictionary
    expected = steer(pipeline[-1], whitener.transform(rows), np.arange(6), value=1.0)
    assert_allclose(whitener.transform(steered), expected, atol=1e-9)


def test_steps_that_are_not_linear_are_inverted():
    front = [QuantileTransformer(n_quantiles=50, output_distribution="normal", random_state=0)]
    pipeline = fit(front)
    inside = (np.abs(pipeline[0].transform(X)) < 1.5).all(axis=1)  # away from where it is flat
    rows = X[inside].astype(np.float64)
    steered = steer(pipeline, rows, [0], value=0.1, mode="add")
    expected = pipeline[0].transform(rows) + 0.1 * pipeline[-1].components_[0]
    assert_allclose(pipeline[0].transform(steered), expected, atol=1e-6)


def test_a_large_mean_costs_no_digits():
    rows = (1e4 + np.random.default_rng(0).normal(size=(60, 6))).astype(np.float32)
    scaler = StandardScaler().fit(rows)
    last = TopKSAE(8, n_nonzero_coefs=2, max_steps=5, random_state=0).fit(scaler.transform(rows))
    pipeline = make_pipeline(scaler, last)
    moved = steer(pipeline, rows.astype(np.float64), [0], value=1e-3, mode="add") - rows
    assert_allclose(moved, np.tile(1e-3 * scaler.scale_ * last.components_[0], (60, 1)), rtol=1e-5)


@pytest.mark.parametrize("dictionary", [
    TopKSAE(24, n_nonzero_coefs=3, max_steps=20, random_state=0),
    ICFLDictionary(24, n_nonzero_coefs=3, max_steps=5, sparse_output=False, random_state=0),
])  # fmt: skip
def test_any_dictionary_does(dictionary):
    pipeline = fit([Normalizer()], dictionary)
    codes = np.asarray(pipeline.transform(X).todense() if pipeline[-1].sparse_output
                       else pipeline.transform(X))  # fmt: skip
    moved = (steer(pipeline, X, [7, 8]) != X).any(axis=1)
    assert_array_equal(moved, (codes[:, 7:9] != 0).any(axis=1))
    bare = steer(pipeline[-1], pipeline[:-1].transform(X), [7, 8])
    assert_allclose(steer(pipeline, X, [7, 8]), bare * np.linalg.norm(X, axis=1)[:, None], 1e-4)


def test_blocks_change_nothing(monkeypatch):
    pipeline = fit(FRONTS["whole"])
    whole = steer(pipeline, X, [0, 1, 2], value=0.2)
    monkeypatch.setattr(_steer, "_BLOCK_VALUES", 24 * 7)
    assert_allclose(steer(pipeline, X, [0, 1, 2], value=0.2), whole, rtol=1e-5)


def test_dense_codes_make_blocks_smaller(monkeypatch):
    pipeline = fit(FRONTS["whole"])
    whole, sizes = steer(pipeline, X, [0]), []
    dictionary = pipeline[-1].set_params(sparse_output=False)
    transform = type(dictionary).transform

    def spied(self, rows):
        sizes.append(len(rows))
        return transform(self, rows)

    monkeypatch.setattr(type(dictionary), "transform", spied)
    monkeypatch.setattr(_steer, "_BLOCK_VALUES", 10 * dictionary.components_.shape[0])
    assert_allclose(steer(pipeline, X, [0]), whole, rtol=1e-5)
    assert max(sizes) == 10


def test_memory_maps_and_tensors_are_read(alone, tmp_path):
    expected = steer(alone, X, [0, 1])
    np.save(tmp_path / "X.npy", X)
    assert_array_equal(steer(alone, np.load(tmp_path / "X.npy", mmap_mode="r"), [0, 1]), expected)
    torch = pytest.importorskip("torch")
    assert_array_equal(steer(alone, torch.from_numpy(X.copy()), [0, 1]), expected)


def test_what_cannot_be_inverted_is_refused():
    last = fit([])[-1]
    with pytest.raises(TypeError, match="Normalizer or have an inverse_transform, got Binarizer"):
        steer(Pipeline([("b", Binarizer().fit(X)), ("d", last)]), X, [0])
    log = FunctionTransformer(np.arcsinh).fit(X)
    with pytest.raises(TypeError, match="FunctionTransformer without inverse_func"):
        steer(make_pipeline(log, last), X, [0])
    both = FunctionTransformer(np.arcsinh, np.sinh, check_inverse=False).fit(X)
    assert steer(make_pipeline(both, last), X, [0]).shape == X.shape
    with pytest.raises(TypeError, match="pipeline must end with an ICFLDictionary or a TopKSAE"):
        steer(PCA(2).fit(X), X, [0])


def test_what_does_not_fit_is_refused(alone):
    with pytest.raises(ValueError, match="concepts must lie in 0 to 23, got 24"):
        steer(alone, X, [24])
    with pytest.raises(ValueError, match="concepts must be distinct"):
        steer(alone, X, [1, 1])
    with pytest.raises(ValueError, match=r"value must be a finite number, or one for each of"):
        steer(alone, X, [1, 2], value=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="value must be a finite number"):
        steer(alone, X, [1], value=np.nan)
    with pytest.raises(ValueError, match="mode must be one of 'set', 'scale', 'add', got 'clamp'"):
        steer(alone, X, [1], mode="clamp")
    with pytest.raises(ValueError, match="keep_error must be one of True, False"):
        steer(alone, X, [1], keep_error="yes")
    with pytest.raises(ValueError, match="X holds NaN"):
        steer(alone, np.full((2, 12), np.nan), [1])
