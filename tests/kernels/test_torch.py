"""The torch backend against the CPU backend, on torch's CPU device.

What a GPU alone can show, that tensors of two devices are never mixed and that nothing waits for
the device, is tested on the "meta" device, whose tensors have shapes but no values.
"""

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from skdict.datasets import load_jump_scope
from skdict.kernels import _cpu
from tests.reference import icfl_code, unit_rows

torch = pytest.importorskip("torch")

from skdict.kernels import (  # noqa: E402
    _torch,
    _torch_fused,
    _torch_graph,
    _torch_learning,
    _torch_memory,
    _torch_precision,
    _torch_pursuit,
    _torch_transfer,
)

DTYPES = [np.float64, np.float32]


def tolerance(dtype):
    return 1e-10 if dtype == np.float64 else 2e-5


def tensors(*arrays):
    """Tensors of their own; None stays."""
    return [None if array is None else torch.tensor(array) for array in arrays]


def dense(codes, n_atoms):
    """Codes (values, indices, counts) of either backend as a dense array; checks their form."""
    values, indices, counts = (np.asarray(part) for part in codes)
    assert (indices.dtype, counts.dtype) == (np.int32, np.int32)
    full = np.zeros((values.shape[0], n_atoms))
    for row, count in enumerate(counts):
        atoms = indices[row, :count]
        assert (np.diff(atoms) > 0).all()
        assert (values[row, :count] != 0).all()
        full[row, atoms] = values[row, :count]
    return full


def problem(rng, dtype, *, n_rows=40, n_atoms=150, n_features=24, offset=0.0):
    """Rows, atoms (coherent with an offset) and an intercept; one row is zero, one is sparse."""
    dictionary = unit_rows(rng.normal(size=(n_atoms, n_features)) + offset)
    X = rng.normal(size=(n_rows, n_features))
    intercept = 0.1 * rng.normal(size=n_features)
    X[3] = intercept
    X[4] = 2 * dictionary[9] + dictionary[20] + intercept
    return [array.astype(dtype) for array in (X, dictionary, intercept)]


def relative_residual(codes, X, dictionary, intercept):
    residual = np.linalg.norm(X - intercept - codes @ dictionary, axis=1)
    return residual / np.maximum(np.linalg.norm(X - intercept, axis=1), 1e-12)


# ------------------------------------------------------------------------------ the contract


def contract():
    """Names of the functions of the CPU backend that are not its own business."""
    own = {"tile_rows"}
    public = {
        name
        for name, value in vars(_cpu).items()
        if inspect.isfunction(value) and value.__module__ == _cpu.__name__ and name[0] != "_"
    }
    return sorted((public | {"similar_atoms"}) - own)


@pytest.mark.parametrize("name", contract())
def test_signatures_are_equal(name):
    expected = inspect.signature(getattr(_cpu, name)).parameters
    found = inspect.signature(getattr(_torch, name)).parameters
    assert list(found.values()) == list(expected.values())


# ------------------------------------------------------------------------------ pursuit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("with_gram", [True, False])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize(("width", "per_step"), [(12, 4), (10, 3), (20, 20), (7, 1)])
def test_icfl(rng, dtype, absolute, with_gram, refit, width, per_step):
    X, dictionary, intercept = problem(rng, dtype)
    gram = _cpu.gram_matrix(dictionary) if with_gram else None
    options = {
        "n_nonzero_coefs": width,
        "atoms_per_step": per_step,
        "absolute": absolute,
        "refit": refit,
    }
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), 150)
    native = tensors(X, dictionary, gram, intercept)
    found = dense(_torch.encode_icfl(*native, **options), 150)
    assert not found[3].any()
    np.testing.assert_array_equal(native[0], X)  # no input is written to
    same = ((found != 0) == (expected != 0)).all(axis=1)
    same[4] = True  # where the row is explained, what follows is rounding
    assert same.mean() >= (1.0 if dtype == np.float64 else 0.9)
    same[4] = False
    atol = 1e-8 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(found[same], expected[same], atol=atol)
    left = [relative_residual(codes, X, dictionary, intercept) for codes in (found, expected)]
    np.testing.assert_allclose(left[0], left[1], atol=1e-9 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("with_gram", [True, False])
@pytest.mark.parametrize(("width", "per_step"), [(12, 4), (20, 10)])
def test_icfl_on_a_coherent_dictionary(rng, absolute, with_gram, width, per_step):
    X, dictionary, _ = problem(rng, np.float64, offset=2.0)  # cosines around 0.8
    gram = dictionary @ dictionary.T if with_gram else None
    native = tensors(X, dictionary, gram, np.zeros(24))
    options = {"n_nonzero_coefs": width, "atoms_per_step": per_step, "absolute": absolute}
    found = dense(_torch.encode_icfl(*native, **options), 150)
    n_compared = 0
    for row, code in zip(X, found, strict=True):
        expected, _, defined = icfl_code(row, dictionary, width, per_step, absolute)
        if defined:
            n_compared += 1
            np.testing.assert_allclose(code, expected, atol=1e-7)
    assert n_compared >= 10


@pytest.mark.parametrize("with_gram", [True, False])
def test_icfl_on_real_data(with_gram):
    data = load_jump_scope().data.astype(np.float32)
    X = unit_rows(data - data.mean(axis=0)).astype(np.float32)
    dictionary, X = np.ascontiguousarray(X[200:800]), np.ascontiguousarray(X[:100])
    gram = _cpu.gram_matrix(dictionary) if with_gram else None
    intercept = np.zeros(X.shape[1], np.float32)
    options = {"n_nonzero_coefs": 20, "atoms_per_step": 5}
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), 600)
    native = tensors(X, dictionary, gram, intercept)
    found = dense(_torch.encode_icfl(*native, **options), 600)
    left = [relative_residual(codes, X, dictionary, intercept) for codes in (found, expected)]
    np.testing.assert_allclose(left[0], left[1], atol=1e-5)
    assert ((found != 0) == (expected != 0)).all(axis=1).mean() >= 0.95


@pytest.mark.parametrize("with_gram", [True, False])
@pytest.mark.parametrize("per_step", [1, 3, 9])
def test_ties_take_the_lower_atom(with_gram, per_step):
    dictionary = np.vstack([np.eye(12)] * 3)
    X = np.ones((2, 12))
    gram = dictionary @ dictionary.T if with_gram else None
    codes = _torch.encode_icfl(
        *tensors(X, dictionary, gram, np.zeros(12)), n_nonzero_coefs=9, atoms_per_step=per_step
    )
    np.testing.assert_array_equal(codes[1], [range(9)] * 2)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("with_gram", [True, False])
def test_duplicated_atoms_get_nothing(rng, with_gram, refit):
    dictionary = unit_rows(rng.normal(size=(12, 20)))
    dictionary[7] = dictionary[6]
    dictionary[11] = -dictionary[6]
    X = rng.normal(size=(30, 20))
    gram = _cpu.gram_matrix(dictionary) if with_gram else None
    options = {"n_nonzero_coefs": 12, "atoms_per_step": 12, "refit": refit}
    codes = _torch.encode_icfl(*tensors(X, dictionary, gram, np.zeros(20)), **options)
    np.testing.assert_array_equal(codes[2], 10)
    found = dense(codes, 12)
    assert ((found[:, [6, 7, 11]] != 0).sum(axis=1) == 1).all()
    fit = np.linalg.lstsq(dictionary.T, X.T, rcond=None)[0].T
    np.testing.assert_allclose(found @ dictionary, fit @ dictionary, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_gram", [True, False])
def test_rows_stop_at_rounding_noise(rng, dtype, with_gram):
    """Needs the correlations to be computed afresh: three atoms of a coherent set are exact."""
    dictionary = unit_rows(np.linalg.qr(rng.normal(size=(30, 30)))[0]).astype(dtype)
    X = rng.uniform(1, 2, size=(50, 3)).astype(dtype) @ dictionary[[3, 8, 20]]
    gram = dictionary @ dictionary.T if with_gram else None
    native = tensors(X, dictionary, gram, np.zeros(30, dtype))
    for per_step in (1, 3):
        codes = _torch.encode_icfl(*native, n_nonzero_coefs=12, atoms_per_step=per_step)
        assert set(np.flatnonzero(dense(codes, 30).any(axis=0))) == {3, 8, 20}
    codes = _torch.encode_omp(*native, n_nonzero_coefs=12)
    np.testing.assert_array_equal(codes[2], 3)


def test_stale_correlations_are_refreshed(rng):
    """Atoms whose lengths differ by 1e6: late steps would choose among rounding errors."""
    dictionary = unit_rows(rng.normal(size=(60, 20))).astype(np.float32)
    X = (1e4 * dictionary[:10] + dictionary[10:20] + 1e-2 * dictionary[20:30]).astype(np.float32)
    gram, intercept = _cpu.gram_matrix(dictionary), np.zeros(20, np.float32)
    options = {"n_nonzero_coefs": 15, "atoms_per_step": 1, "absolute": True}
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), 60)
    native = tensors(X, dictionary, gram, intercept)
    found = dense(_torch.encode_icfl(*native, **options), 60)
    left = [relative_residual(codes, X, dictionary, 0) for codes in (found, expected)]
    assert np.median(left[0]) < 1e-5
    np.testing.assert_allclose(left[0], left[1], atol=1e-6)


@pytest.mark.parametrize("with_gram", [True, False])
def test_overflow_gives_codes_that_can_be_refused(rng, with_gram):
    dictionary = unit_rows(rng.normal(size=(200, 50))).astype(np.float32)
    X = np.full((3, 50), 3e38, np.float32)
    gram = dictionary @ dictionary.T if with_gram else None
    native = tensors(X, dictionary, gram, np.zeros(50, np.float32))
    values, _, counts = _torch.encode_icfl(*native, n_nonzero_coefs=10, atoms_per_step=5)
    kept = torch.arange(10) < counts[:, None]
    assert (~torch.isfinite(values) & kept).any(dim=1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_gram", [True, False])
@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_omp(rng, dtype, with_gram, offset):
    X, dictionary, intercept = problem(rng, dtype, offset=offset)
    gram = _cpu.gram_matrix(dictionary) if with_gram else None
    expected = dense(_cpu.encode_omp(X, dictionary, gram, intercept, n_nonzero_coefs=12), 150)
    native = tensors(X, dictionary, gram, intercept)
    found = dense(_torch.encode_omp(*native, n_nonzero_coefs=12), 150)
    np.testing.assert_array_equal(native[0], X)
    exact = np.arange(40) != 4  # where the row is explained, what follows is rounding
    np.testing.assert_array_equal(found[exact] != 0, expected[exact] != 0)
    atol = 1e-8 if dtype == np.float64 else 1e-2
    np.testing.assert_allclose(found[exact], expected[exact], atol=atol)
    left = [relative_residual(codes, X, dictionary, intercept) for codes in (found, expected)]
    np.testing.assert_allclose(left[0], left[1], atol=1e-8 if dtype == np.float64 else 1e-5)


def test_omp_ends_where_the_best_atom_is_dependent():
    dictionary = np.array([[1.0, 0, 0], [1, 1e-9, 0], [0, 0, 1]])
    dictionary = unit_rows(dictionary)
    X = np.array([[1.0, 0.5, 0.25]])
    codes = _cpu.encode_omp(X, dictionary, None, np.zeros(3), n_nonzero_coefs=3)
    native = tensors(X, dictionary, None, np.zeros(3))
    found = _torch.encode_omp(*native, n_nonzero_coefs=3)
    np.testing.assert_allclose(dense(found, 3), dense(codes, 3), atol=1e-12)


# ------------------------------------------------------------------------------ TopK


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0.0, -1.5, -9.0])
def test_topk(rng, dtype, shift):
    encoder = rng.normal(size=(60, 17)).astype(dtype)
    bias = (rng.normal(size=60) + shift).astype(dtype)
    X, intercept = rng.normal(size=(50, 17)).astype(dtype), rng.normal(size=17).astype(dtype)
    candidates = np.array([3, 7, 20, 40, 41, 50])
    options = {"n_nonzero_coefs": [6, 4, 0], "candidates": [None, candidates, candidates[:0]]}
    expected = _cpu.encode_topk(X, encoder, bias, intercept, **options)
    found = _torch.encode_topk(*tensors(X, encoder, bias, intercept), **options)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(dense(one, 60), dense(other, 60), atol=tolerance(dtype))
    single = _torch.encode_topk(*tensors(X, encoder, bias, intercept), n_nonzero_coefs=6)
    np.testing.assert_array_equal(dense(single, 60), dense(found[0], 60))


# ------------------------------------------------------------------------------ codes, learning


def sparse_codes(rng, dtype, n_rows=50, n_atoms=60, width=6):
    """Codes (values, indices, counts) with rows of any length, no entry 0."""
    indices = np.sort(rng.permuted(np.tile(np.arange(n_atoms), (n_rows, 1)), axis=1)[:, :width])
    counts = rng.integers(0, width + 1, size=n_rows)
    values = rng.normal(size=(n_rows, width)).astype(dtype)
    return values, indices.astype(np.int32), counts.astype(np.int32)


@pytest.fixture(params=DTYPES)
def learning(request, rng):
    """Codes of both backends, samples and atoms."""
    dtype = request.param
    fixed = sparse_codes(rng, dtype)
    codes = _cpu.compress(*fixed)
    native = _torch.compress(*tensors(*fixed))
    samples = rng.normal(size=(50, 17)).astype(dtype)
    dictionary = unit_rows(rng.normal(size=(60, 17))).astype(dtype)
    return dtype, codes, native, samples, dictionary


def test_compressed_codes_have_fixed_width(learning):
    dtype, codes, native, samples, dictionary = learning
    values, indices, pointer = native
    np.testing.assert_array_equal(pointer, np.arange(51) * 6)
    used = values != 0
    np.testing.assert_array_equal(values[used], codes[0])
    np.testing.assert_array_equal(indices[used], codes[1])
    assert not indices[~used].any()


def test_decode(learning):
    dtype, codes, native, samples, dictionary = learning
    expected = _cpu.decode(codes, dictionary, samples[0])
    for given in (native, tensors(*codes)):  # of fixed width, and true CSR
        found = _torch.decode(given, *tensors(dictionary, samples[0]))
        np.testing.assert_allclose(found, expected, atol=tolerance(dtype))


def test_codes_by_atom(learning):
    dtype, codes, native, samples, dictionary = learning
    expected, found = _cpu.by_atom(codes, 60), _torch.by_atom(native, 60)
    np.testing.assert_array_equal(found[0], expected[0])
    n_used = expected[0][-1]
    np.testing.assert_array_equal(found[1][:n_used], expected[1])
    np.testing.assert_array_equal(native[0][found[2][:n_used]], codes[0][expected[2]])
    np.testing.assert_array_equal(_torch.used_atoms(found), _cpu.used_atoms(expected))


@pytest.mark.parametrize("accumulate", [False, True])
def test_sparse_gradient(learning, accumulate):
    dtype, codes, native, samples, dictionary = learning
    expected, found = dictionary.copy(), torch.tensor(dictionary)
    options = {"scale": 0.3, "accumulate": accumulate}
    columns = _cpu.by_atom(codes, 60)
    _cpu.sparse_gradient(columns, codes[0], samples, out=expected, **options)
    columns = _torch.by_atom(native, 60)
    _torch.sparse_gradient(columns, native[0], torch.tensor(samples), out=found, **options)
    np.testing.assert_allclose(found, expected, atol=tolerance(dtype))
    scale = torch.tensor(0.3, dtype=torch.float64)  # a scale that was computed on the device
    again = torch.tensor(dictionary)
    options["scale"] = scale
    _torch.sparse_gradient(columns, native[0], torch.tensor(samples), out=again, **options)
    np.testing.assert_allclose(again, expected, atol=tolerance(dtype))


def test_code_gradient_and_sums(learning, monkeypatch):
    dtype, codes, native, samples, dictionary = learning
    expected = _cpu.code_gradient(samples, codes, dictionary, scale=0.3)
    monkeypatch.setattr(_torch_memory, "HOST_BYTES", 5_000)  # several chunks
    found = _torch.code_gradient(torch.tensor(samples), native, torch.tensor(dictionary), scale=0.3)
    used = native[0] != 0
    np.testing.assert_allclose(found[used], expected, atol=tolerance(dtype))
    assert not found[~used].any()
    sums = _torch.sum_by_atom(native, found, 60)
    np.testing.assert_allclose(
        sums, _cpu.sum_by_atom(codes, expected, 60), atol=10 * tolerance(dtype)
    )
    uses = _torch.count_uses(native, 60)
    assert uses.dtype == torch.int64
    np.testing.assert_array_equal(uses, _cpu.count_uses(codes, 60))


def test_gradients_equal_those_of_autograd(learning):
    """The loss |decode(z) - x|^2, differentiated by hand and by torch."""
    dtype, codes, native, samples, dictionary = learning
    values, indices, pointer = native
    weights = torch.tensor(dictionary, requires_grad=True)
    z = values.clone().requires_grad_()
    rows = torch.arange(50).repeat_interleave(6)
    parts = z[:, None] * weights[indices.long()]
    residual = parts.new_zeros(50, 17).index_add(0, rows, parts) - torch.tensor(samples)
    residual.square().sum().backward()
    left = residual.detach()
    by_code = _torch.code_gradient(left, native, weights.detach(), scale=2.0)
    used = values != 0
    atol = 10 * tolerance(dtype)
    np.testing.assert_allclose(by_code[used], z.grad[used], atol=atol)
    gradient = torch.empty_like(weights.detach())
    _torch.sparse_gradient(_torch.by_atom(native, 60), values, left, scale=2.0, out=gradient)
    np.testing.assert_allclose(gradient, weights.grad, atol=atol)


@pytest.mark.parametrize("unit_norm", [False, True])
def test_adam(learning, unit_norm, rng):
    dtype, _, _, _, dictionary = learning
    gradient = rng.normal(size=dictionary.shape).astype(dtype)
    state = [dictionary.copy(), 0.1 * dictionary, dictionary**2, np.arange(60)]
    native = tensors(*state)
    for rate in (0.01, 0.005):
        options = {"learning_rate": rate, "unit_norm": unit_norm}
        _cpu.adam(state[0], gradient, *state[1:], **options)
        options["learning_rate"] = torch.tensor(rate)
        _torch.adam(native[0], torch.tensor(gradient), *native[1:], **options)
    rtol = 1e-6 if dtype == np.float64 else 1e-4  # the rate is a float32
    for found, expected in zip(native, state, strict=True):
        np.testing.assert_allclose(found, expected, atol=10 * tolerance(dtype), rtol=rtol)


@pytest.mark.parametrize("unit_norm", [False, True])
def test_online_learning(learning, unit_norm, rng, monkeypatch):
    dtype, codes, native, samples, dictionary = learning
    monkeypatch.setattr(_torch_learning, "DENSE_ROWS", 16)
    monkeypatch.setattr(_torch_learning, "DESCENT_ATOMS", 7)
    half = rng.normal(size=(60, 60)).astype(dtype)
    moments, products = half @ half.T, rng.normal(size=(60, 17)).astype(dtype)
    expected = [moments.copy(), products.copy(), dictionary.copy()]
    found = tensors(*expected)
    columns = _cpu.by_atom(codes, 60), _torch.by_atom(native, 60)
    _cpu.accumulate(codes, columns[0], samples, *expected[:2], decay=0.9)
    _torch.accumulate(native, columns[1], torch.tensor(samples), *found[:2], decay=0.9)
    options = {"floor": 40.0, "unit_norm": unit_norm}
    _cpu.coordinate_descent(
        expected[2], *expected[:2], atoms=_cpu.used_atoms(columns[0]), **options
    )
    _torch.coordinate_descent(found[2], *found[:2], atoms=_torch.used_atoms(columns[1]), **options)
    assert not np.allclose(expected[2], dictionary)
    assert (expected[2] == dictionary).all(axis=1).any()  # below the floor
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=100 * tolerance(dtype), rtol=1e-5)


def test_small_functions(learning):
    dtype, _, _, samples, dictionary = learning
    rows = torch.tensor(samples)
    for name in ("column_mean", "column_sum", "squared_norms", "mean", "mean_squared_norm"):
        found, expected = getattr(_torch, name)(rows), getattr(_cpu, name)(samples)
        np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == np.float32 else 1e-12)
    assert _torch.mean_squared_norm(rows).dtype == torch.float64
    for scalar in (3.0, 0.0, -2.0):
        assert _torch.positive(torch.tensor(scalar)) == _cpu.positive(scalar)
    found, expected = rows.clone(), samples.copy()
    _torch.subtract_scaled(found, rows, 0.3)
    _cpu.subtract_scaled(expected, samples, 0.3)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert not _torch.zeros_like(rows).any()
    assert _torch.empty_like(rows).shape == rows.shape
    same = _torch.copy(rows)
    same += 1
    np.testing.assert_array_equal(rows, samples)


def test_gram_matrix_and_similar_atoms(learning):
    dtype, _, _, _, dictionary = learning
    gram = _torch.gram_matrix(torch.tensor(dictionary))
    assert (gram == gram.T).all()
    np.testing.assert_allclose(gram, _cpu.gram_matrix(dictionary), atol=tolerance(dtype))
    assert _torch.quantize(torch.tensor(dictionary), gram) is None  # for GPUs only
    norms, atoms = np.linalg.norm(dictionary, axis=1), np.array([3, 7, 20])
    expected = _cpu.similar_atoms(dictionary, atoms, norms, 0.3)
    found = _torch.similar_atoms(*tensors(dictionary, atoms, norms), 0.3)
    np.testing.assert_array_equal(found, expected)


def test_gram_matrix_is_mirrored_in_blocks(rng):
    dictionary = torch.tensor(rng.normal(size=(2100, 5)))
    gram = _torch.gram_matrix(dictionary)
    assert (gram == gram.T).all()
    np.testing.assert_allclose(gram, dictionary @ dictionary.T, atol=1e-12)


# ------------------------------------------------------------------------------ devices


@pytest.fixture(params=["meta", "cpu"])
def on_device(request):
    """Tensors on a device, while those that name none are created on another one.

    What is not on the device ends up in the results, or cannot be mixed with the tensors. And
    nothing can be waited for on the "meta" device.
    """
    device, other = request.param, {"meta": "cpu", "cpu": "meta"}[request.param]
    with torch.device(other):
        yield lambda *shape, dtype=torch.float32: torch.ones(shape, dtype=dtype, device=device)


def test_a_topk_step_mixes_no_devices_and_waits_for_nothing(on_device):
    x, encoder, decoder, gradient = (
        on_device(50, 17),
        on_device(60, 17),
        on_device(60, 17),
        on_device(60, 17),
    )
    bias, intercept, dead = on_device(60), on_device(17), on_device(9, dtype=torch.int64)
    main, auxiliary = _torch.encode_topk(
        x, encoder, bias, intercept, n_nonzero_coefs=[6, 4], candidates=[None, dead]
    )
    codes = _torch.compress(*main)
    residual = _torch.decode(codes, decoder, intercept)
    residual -= x
    loss = _torch.mean_squared_norm(residual)
    assert (loss.device, loss.shape) == (x.device, ())
    columns = _torch.by_atom(codes, 60)
    scale = 2.0 / _torch.positive(loss)
    _torch.sparse_gradient(columns, codes[0], residual, scale=scale, out=gradient)
    by_code = _torch.code_gradient(residual, codes, decoder, scale=scale)
    sums = _torch.sum_by_atom(codes, by_code, 60)
    uses = _torch.count_uses(codes, 60)
    state = (
        decoder,
        gradient,
        on_device(60, 17),
        on_device(60, 17),
        on_device(60, dtype=torch.int64),
    )
    _torch.adam(*state, learning_rate=1e-3, unit_norm=True)
    _torch.subtract_scaled(intercept, _torch.column_mean(residual), 0.1)
    results = *auxiliary, *codes, *columns, *state, residual, sums, uses, intercept, scale, by_code
    assert {result.device for result in results} == {x.device}
    assert auxiliary[0].shape == (50, 4)


@pytest.mark.parametrize("absolute", [False, True])
def test_an_icfl_step_mixes_no_devices_and_waits_for_nothing(on_device, absolute):
    x, dictionary, intercept = on_device(50, 17), on_device(60, 17), on_device(17)
    gram = _torch.gram_matrix(dictionary)
    assert gram.shape == (60, 60)
    codes = _torch.encode_icfl(
        x, dictionary, None, intercept, n_nonzero_coefs=6, atoms_per_step=4, absolute=absolute,
        refit=True,
    )  # fmt: skip
    codes = _torch.compress(*codes)
    residual = _torch.decode(codes, dictionary, intercept)
    columns = _torch.by_atom(codes, 60)
    moments, products = on_device(60, 60), on_device(60, 17)
    _torch.accumulate(codes, columns, residual, moments, products, decay=0.9)
    atoms = on_device(5, dtype=torch.int64).cumsum(0)
    _torch.coordinate_descent(
        dictionary, moments, products, atoms=atoms, floor=_torch.mean(moments), unit_norm=True
    )
    similar = _torch.similar_atoms(dictionary, atoms, on_device(60), 0.9)
    assert similar.shape == (5, 60)
    omp = _torch.encode_omp(x, dictionary, gram, intercept, n_nonzero_coefs=3)
    assert [part.shape for part in omp] == [(50, 3), (50, 3), (50,)]
    results = *codes, *columns, *omp, gram, residual, moments, products, dictionary, similar
    assert {result.device for result in results} == {x.device}


def test_meta_tensors_stay_on_their_device(rng):
    fixed = [part.to("meta") for part in tensors(*sparse_codes(rng, np.float32))]
    codes = _torch.compress(*fixed)
    decoded = _torch.decode(codes, torch.zeros(60, 17, device="meta"), torch.zeros(17).to("meta"))
    assert (decoded.device.type, decoded.shape) == ("meta", (50, 17))
    tensor = _torch.to_device(np.zeros((3, 2), np.float32), "torch:meta")
    assert (tensor.device.type, tensor.shape, tensor.dtype) == ("meta", (3, 2), torch.float32)


# ------------------------------------------------------------------------------ memory


def test_chunks_do_not_change_the_codes(rng, monkeypatch):
    X, dictionary, intercept = problem(rng, np.float64)
    native = tensors(X, dictionary, dictionary @ dictionary.T, intercept)
    options = {"n_nonzero_coefs": 6, "atoms_per_step": 3}
    whole = _torch.encode_icfl(*native, **options)
    monkeypatch.setattr(_torch_memory, "HOST_BYTES", 50_000)
    parts = _torch.encode_icfl(*native, **options)
    np.testing.assert_allclose(dense(parts, 150), dense(whole, 150), atol=1e-10)


@pytest.fixture
def small_memory(monkeypatch):
    """Let the pursuit fail as torch does, whenever it is given more than some rows."""
    calls = []

    def limit(n_rows, error):
        pursue = _torch_pursuit.icfl_rows

        def limited(x, *args, **kwargs):
            calls.append(x.shape[0])
            if x.shape[0] > n_rows:
                raise error
            return pursue(x, *args, **kwargs)

        monkeypatch.setattr(_torch_pursuit, "icfl_rows", limited)
        return calls

    return limit


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_is_retried_with_fewer_rows(rng, small_memory, error):
    X, dictionary, intercept = problem(rng, np.float64)
    native = tensors(X, dictionary, dictionary @ dictionary.T, intercept)
    options = {"n_nonzero_coefs": 6, "atoms_per_step": 3}
    expected = _torch.encode_icfl(*native, **options)
    calls = small_memory(11, error)
    found = _torch.encode_icfl(*native, **options)
    assert calls == [40, 20, 10, 10, 10, 10]
    np.testing.assert_allclose(dense(found, 150), dense(expected, 150), atol=1e-10)


def test_out_of_memory_for_one_row_says_what_to_do(rng, small_memory):
    X, dictionary, intercept = problem(rng, np.float64)
    native = tensors(X, dictionary, None, intercept)
    calls = small_memory(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MemoryError, match=r"'cpu'.*a single row takes.*batch_size.*precompute"):
        _torch.encode_icfl(*native, n_nonzero_coefs=6, atoms_per_step=3)
    assert calls[-1] == 1


def test_other_errors_are_not_retried(rng, small_memory):
    X, dictionary, intercept = problem(rng, np.float64)
    calls = small_memory(0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        _torch.encode_icfl(
            *tensors(X, dictionary, None, intercept), n_nonzero_coefs=6, atoms_per_step=3
        )
    assert calls == [40]


def test_memory_that_cannot_be_divided_says_what_to_do():
    """A Gram matrix of 4 PiB: the host's allocator itself refuses it."""
    atoms = torch.zeros(1, 1).expand(2**25, 1)
    with pytest.raises(MemoryError, match=r"can't allocate memory.*fewer atoms"):
        _torch.gram_matrix(atoms)


# ------------------------------------------------------------------------------ precision


def test_split_products_are_as_exact_as_float32(rng):
    rows, atoms = (torch.tensor(rng.normal(size=(n, 64)), dtype=torch.float32) for n in (30, 50))
    high, low = _torch_precision.split(rows)
    assert not (high.view(torch.int32) & 0x1FFF).any()  # 10 bits of mantissa, as TF32 has
    assert (high + low == rows).all()
    assert (low.abs() <= 2.0**-10 * rows.abs()).all()
    exact = rows.double() @ atoms.double().T
    size = rows.norm(dim=1)[:, None] * atoms.norm(dim=1)
    error = (_torch_precision.split_product(rows, atoms) - exact).abs() / size
    assert error.max() < 1e-6


def test_the_setting_of_torch_is_restored():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), _torch_precision._products("tf32"):
        raise KeyError
    assert (matmul.allow_tf32, torch.get_float32_matmul_precision()) == before


# ------------------------------------------------------------------------------ transfer


def test_tensors_have_memory_of_their_own(rng):
    array = np.asfortranarray(rng.normal(size=(4, 3)))
    array.flags.writeable = False
    tensor = _torch.to_device(array, "torch:cpu")
    assert tensor.is_contiguous()
    tensor += 1
    np.testing.assert_array_equal(_torch.to_host(tensor), array + 1)


@pytest.mark.parametrize("scale", [None, np.float64(2.5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_stream(rng, scale, dtype):
    X = rng.normal(size=(20, 3)).astype(dtype)
    rows = [slice(0, 8), np.array([3, 19, 3]), slice(16, 24)]
    expected = list(_cpu.stream(X, rows, scale, "cpu"))
    found = list(_torch.stream(X, rows, scale, "torch:cpu"))
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Order:
    """Stands for a stream or an event of a GPU; everything is done at once."""

    def __init__(self, *args):
        pass

    def record(self, *stream):
        pass

    def synchronize(self):
        pass

    def wait_event(self, event):
        assert isinstance(event, Order)


@pytest.fixture
def ahead(monkeypatch):
    """Read ahead as for a GPU, but to the host."""
    for name in ("Stream", "Event", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Order)
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda which: nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return lambda X: _torch_transfer._Ahead(X, torch.device("cpu"))


def test_batches_are_read_ahead(rng, ahead):
    X = rng.normal(size=(50, 3))
    rows = [rng.integers(0, 50, size=8) for _ in range(7)] + [slice(40, 48), slice(48, 56)]
    asked = []

    def rows_iterator():
        for batch in rows:
            asked.append(batch)
            yield batch

    reader = ahead(X)
    for k, batch in enumerate(reader.batches(rows_iterator())):
        assert len(asked) == min(9, k + 1 + _torch_transfer.BATCHES_AHEAD)
        np.testing.assert_array_equal(batch, X[rows[k]])
        batch += 1  # the memory that was read into is not the batch's
    assert k == 8
    assert len(reader.free) <= 2 * _torch_transfer.BATCHES_AHEAD + 2
    reader.close()


def test_reading_ahead_stops_where_random_numbers_are_drawn(rng, ahead):
    X = rng.normal(size=(50, 3))
    events = []

    def rows_iterator():
        for start in range(0, 30, 5):
            if start == 15:
                yield None
            events.append(("asked", start))
            yield slice(start, start + 5)

    reader = ahead(X)
    for k, batch in enumerate(reader.batches(rows_iterator())):
        np.testing.assert_array_equal(batch, X[5 * k : 5 * k + 5])
        events.append(("taken", 5 * k))
    reader.close()
    assert k == 5
    assert events.index(("taken", 10)) < events.index(("asked", 15))
    assert events.index(("asked", 10)) < events.index(("taken", 0))


def test_errors_while_reading_ahead_arrive(rng, ahead):
    class Broken:
        shape, dtype = (50, 3), np.dtype(float)

    reader = ahead(Broken())
    with pytest.raises((TypeError, ValueError, IndexError, AttributeError)):
        list(reader.batches([slice(0, 4)]))
    reader.close()


@pytest.fixture
def recording(monkeypatch):
    """Steps are recorded and replayed on the CPU; gives what became of each attempt."""
    attempts = []

    def capture(step, inputs):
        attempts.append([tuple(tensor.shape) for tensor in inputs])
        return lambda: step(*inputs)  # on the inputs as they are when it is replayed

    monkeypatch.setattr(_torch_graph, "may_record", lambda inputs: True)
    monkeypatch.setattr(_torch_graph, "capture", capture)
    return attempts


def counted_step(total, calls):
    def step(x, factor):
        calls.append(x)
        return total.add_(factor * x), total.sum()

    return step


def test_a_step_runs_plainly_where_nothing_can_be_recorded():
    total = torch.zeros(3)
    step = _torch.recorded(counted_step(total, []))
    for k in range(6):
        _, found = step(torch.ones(3), torch.tensor(1.0))
        assert found == 3 * (k + 1)
    assert step.replay is None


def test_a_recorded_step_takes_the_inputs_of_each_call(recording):
    total, calls = torch.zeros(3), []
    step = _torch.recorded(counted_step(total, calls))
    kept = []
    for k in range(8):
        x = torch.full((3,), float(k))
        kept.append(step(x, torch.tensor(2.0))[1])
        # What is replayed reads inputs of its own: the caller's may be gone.
        assert (calls[-1] is x) == (k < _torch_graph.PLAIN_CALLS)
    assert recording == [[(3,), ()]]
    # Outputs of one replay are not overwritten by the next one.
    assert [float(value) for value in kept] == [3.0 * k * (k + 1) for k in range(8)]


def test_inputs_of_another_shape_are_recorded_anew(recording):
    total, calls = torch.zeros(()), []

    def step(x):
        calls.append(x)
        return (total.add_(x.sum()).clone(),)

    recorded = _torch.recorded(step)
    expected = 0.0
    for n in [2] * 5 + [3] * 6 + [2]:
        (found,) = recorded(torch.ones(n))
        expected += n
        assert found == expected
    assert recording == [[(2,)], [(3,)]]
    assert calls[-1].shape == (2,)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
def test_a_step_that_cannot_be_recorded_runs_plainly(recording, monkeypatch, error):
    attempts = []

    def capture(step, inputs):
        attempts.append(1)
        raise error("operation not permitted when stream is capturing")

    monkeypatch.setattr(_torch_graph, "capture", capture)
    total = torch.zeros(3)
    step = _torch.recorded(counted_step(total, []))
    found = [float(step(torch.ones(3), torch.tensor(1.0))[1]) for _ in range(6)]
    assert found == [3.0 * (k + 1) for k in range(6)]
    assert len(attempts) == 1


def test_what_waits_for_the_device_says_so_while_a_step_is_recorded(rng, monkeypatch):
    X, dictionary, intercept = tensors(*problem(rng, np.float64))
    gram = _torch.gram_matrix(dictionary)
    options = {"n_nonzero_coefs": 6, "atoms_per_step": 3}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        _torch.encode_icfl(X, dictionary, gram, intercept, **options)
    codes = _torch.compress(*_torch.encode_icfl(X, dictionary, None, intercept, **options))
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        _torch.used_atoms(_torch.by_atom(codes, 150))


def test_precision_holds_for_the_thread_and_ends():
    on_gpu = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    uses = _torch_precision.uses_tf32
    assert uses(on_gpu)
    with _torch.precision("exact"):
        assert not uses(on_gpu)
        with ThreadPoolExecutor(1) as others:
            assert others.submit(uses, on_gpu).result()
        with _torch.precision("default"):
            assert uses(on_gpu)
        assert not uses(on_gpu)
    with pytest.raises(KeyError), _torch.precision("exact"):
        raise KeyError
    assert uses(on_gpu)


def test_plain_operations_serve_where_triton_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "skdict.kernels._triton", raising=False)
    monkeypatch.delattr("skdict.kernels._triton", raising=False)
    _torch_fused._triton_kernels.cache_clear()
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    assert _torch_fused.fused_kernels(on_gpu) is None
    _torch_fused._triton_kernels.cache_clear()
    assert _torch_fused.fused_kernels(torch.zeros(1)) is None
