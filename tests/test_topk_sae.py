"""TopK sparse autoencoder: forward, gradients, auxiliary loss, initialisation."""

import pickle

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.base import clone

from skdict import TopKSAE
from skdict._topk_sae import geometric_median
from skdict._training import TrainingState
from skdict.kernels import get_kernels
from skdict.metrics import dead_fraction, dictionary_recovery
from tests.reference import topk_code, unit_rows


@pytest.fixture(scope="module")
def fitted(planted):
    return TopKSAE(48, n_nonzero_coefs=3, random_state=0).fit(planted.data)


def test_codes_are_the_formula(planted, fitted):
    X = planted.data[:300].astype(np.float64)
    codes = fitted.transform(X)
    assert (codes.data > 0).all()
    assert codes.getnnz(axis=1).max() <= 3
    model = [
        array.astype(np.float64)
        for array in (fitted.encoder_, fitted.encoder_bias_, fitted.intercept_)
    ]
    expected = np.array([topk_code(x, *model, 3) for x in X])
    np.testing.assert_allclose(codes.toarray(), expected, atol=1e-12)


def test_ties_take_the_lower_index():
    kernels = get_kernels("cpu")
    encoder = np.vstack([np.eye(3), np.eye(3)])
    codes = kernels.encode_topk(
        np.ones((1, 3)), encoder, np.zeros(6), np.zeros(3), n_nonzero_coefs=4
    )
    np.testing.assert_array_equal(codes[1][0], [0, 1, 2, 3])


def test_learns(planted, fitted):
    untrained = clone(fitted).set_params(max_steps=0).fit(planted.data)
    assert fitted.score(planted.data) > untrained.score(planted.data) + 0.3
    recovered = dictionary_recovery(planted.components, fitted.components_).recovered
    assert (
        recovered > 0.5 > dictionary_recovery(planted.components, untrained.components_).recovered
    )
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0] / 2
    np.testing.assert_allclose(np.linalg.norm(fitted.components_, axis=1), 1, atol=1e-5)


def _state(model, rng, n_atoms, n_features, intercept):
    state = TrainingState(rng, 1.0, n_atoms, 10)
    model._n_atoms = n_atoms
    model._set_state(
        state,
        unit_rows(rng.normal(size=(n_atoms, n_features))),
        rng.normal(size=(n_atoms, n_features)),
        rng.normal(size=n_atoms),
        intercept,
        np.float64,
    )
    return state


def test_gradients_are_those_of_the_loss(rng):
    """Central differences of |x - x_hat|^2 on every parameter, selection held by its margin."""
    n_rows, n_atoms, n_features, width = 5, 12, 4, 3
    X = rng.normal(size=(n_rows, n_features))
    model = TopKSAE(n_nonzero_coefs=width)
    state = _state(model, rng, n_atoms, n_features, rng.normal(size=n_features))
    kernels = get_kernels("cpu")
    shapes = [(n_atoms, n_features), (n_atoms, n_features), (n_atoms,), (n_features,)]
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def unpack(flat):
        parts = np.split(flat, sizes)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def loss(flat):
        decoder, encoder, bias, intercept = unpack(flat)
        codes = np.array([topk_code(x, encoder, bias, intercept, width) for x in X])
        return np.sum((codes @ decoder + intercept - X) ** 2)

    start = [
        state.decoder.parameters,
        state.encoder.parameters,
        state.bias.parameters[:, 0],
        state.intercept.parameters[0],
    ]
    codes = kernels.compress(
        *kernels.encode_topk(X, start[1], start[2], start[3], n_nonzero_coefs=width)
    )
    residual = kernels.decode(codes, start[0], start[3]) - X
    bias, intercept = model._backward(codes, residual, X - start[3], 2.0, state, accumulate=False)
    ours = np.concatenate(
        [
            state.sums["decoder"].ravel(),
            state.sums["encoder"].ravel(),
            bias,
            intercept,
        ]
    )
    flat = np.concatenate([part.ravel() for part in start])
    expected = approx_fprime(flat, loss, 1e-7)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_auxiliary_loss_revives_dead_atoms(planted):
    """Atoms whose encoder bias keeps them silent come back, and only with the auxiliary loss."""
    dead = {}
    for coef in (0.0, 1 / 32):
        model = TopKSAE(
            96, n_nonzero_coefs=3, auxk_coef=coef, auxk_dead_samples=500, random_state=0
        )
        model.set_params(max_steps=1).partial_fit(planted.data[:256])
        state = model._partial_state
        state.bias.parameters[48:] = -0.3
        for _ in range(40):
            model.partial_fit(planted.data)
        dead[coef] = dead_fraction(model.transform(planted.data))
    assert dead[0.0] > 0.4
    assert dead[1 / 32] < 0.2


def test_initialisations(planted):
    X = planted.data
    tied = TopKSAE(48, max_steps=0, random_state=0).fit(X)
    np.testing.assert_array_equal(tied.encoder_, tied.components_)
    assert not tied.encoder_bias_.any()
    np.testing.assert_allclose(tied.intercept_, geometric_median(X), atol=1e-5)
    linear = TopKSAE(48, init="linear", max_steps=0, random_state=0).fit(X)
    assert np.abs(linear.encoder_).max() <= 1 / np.sqrt(24)
    assert np.abs(linear.encoder_ @ linear.components_.T).mean() < 0.2
    assert linear.encoder_bias_.any()
    assert not TopKSAE(8, fit_intercept=False, max_steps=5).fit(X).intercept_.any()


def test_geometric_median(rng):
    X = rng.normal(size=(400, 3))
    X[:100] += 100  # a quarter of outliers moves the mean by 25, the median hardly
    median = geometric_median(X)
    assert np.linalg.norm(median) < 2

    def total(point):
        return np.linalg.norm(X - point, axis=1).sum()

    for direction in np.vstack([np.eye(3), -np.eye(3)]):
        assert total(median) <= total(median + 1e-2 * direction)
    np.testing.assert_allclose(geometric_median(np.ones((5, 2))), 1)


def test_data_scale_only_scales_the_model(planted):
    model = TopKSAE(48, n_nonzero_coefs=3, max_steps=60, random_state=0)
    X = planted.data.astype(np.float64)
    one, big = clone(model).fit(X), clone(model).fit(X * 2.0**20)
    np.testing.assert_allclose(big.encoder_, one.encoder_, atol=1e-7)
    np.testing.assert_allclose(big.encoder_bias_, one.encoder_bias_ * 2.0**20, rtol=1e-5)


def test_sparsity_can_change_after_fit(planted, fitted):
    model = pickle.loads(pickle.dumps(fitted)).set_params(transform_n_nonzero_coefs=1)
    codes = model.transform(planted.data)
    assert codes.getnnz(axis=1).max() == 1
    np.testing.assert_array_equal(
        codes.max(axis=1).toarray(), fitted.transform(planted.data).max(axis=1).toarray()
    )


def test_rows_are_coded_independently_and_pickle(planted, fitted):
    X = planted.data.astype(np.float64)
    rows = [3, 700, 5]
    whole = fitted.transform(X)[rows].toarray()
    np.testing.assert_array_equal(fitted.transform(X[rows]).toarray(), whole)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.transform(X[rows]).toarray(), whole)


def test_degenerate_data_and_errors(planted):
    zeros = TopKSAE(4, n_nonzero_coefs=2, max_steps=5).fit(np.zeros((6, 3)))
    assert np.isfinite(zeros.components_).all()
    assert zeros.transform(np.zeros((6, 3))).nnz == 0
    constant = TopKSAE(40, n_nonzero_coefs=2, max_steps=5).fit(np.ones((6, 3)))
    assert np.isfinite(constant.inverse_transform(constant.transform(np.ones((6, 3))))).all()
    with pytest.warns(UserWarning, match="n_nonzero_coefs=9 is larger than the number of atoms 4"):
        TopKSAE(4, n_nonzero_coefs=9, max_steps=1).fit(planted.data)
    for parameters in ({"init": "orthogonal"}, {"auxk_coef": -1.0}, {"auxk_dead_samples": 0}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            TopKSAE(**parameters).fit(planted.data)
