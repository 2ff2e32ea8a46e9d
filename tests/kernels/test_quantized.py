"""Pursuit with the quantized Gram matrix: the codes of exact correlations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp_gram

from skdict.kernels import _cpu, _omp
from tests.reference import icfl_code, unit_rows


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """Small dictionaries take the same path as large ones."""
    monkeypatch.setattr(_cpu, "QUANTIZED_ATOMS", 1)
    monkeypatch.setattr(_cpu, "QUANTIZED_ATOMS_PER_FEATURE", 0)


def problem(seed, n_rows, n_atoms, n_features, kind="random"):
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(n_atoms, n_features))
    X = rng.normal(size=(n_rows, n_features))
    if kind == "coherent":
        directions = rng.normal(size=(max(2, n_features // 3), n_features))
        dictionary = rng.normal(size=(n_atoms, len(directions))) @ directions
        dictionary += 0.05 * rng.normal(size=(n_atoms, n_features))
    if kind != "lengths":
        dictionary = unit_rows(dictionary)
    else:
        dictionary *= rng.uniform(0.1, 3, size=(n_atoms, 1))
    return X.astype(np.float32), dictionary.astype(np.float32)


def encode(X, dictionary, quantized=True, **parameters):
    gram = _cpu.gram_matrix(dictionary)
    zero = np.zeros(X.shape[1], X.dtype)
    kept = _cpu.quantize(dictionary, gram) if quantized else None
    if "atoms_per_step" in parameters:
        codes = _cpu.encode_icfl(X, dictionary, gram, zero, quantized=kept, **parameters)
    else:
        codes = _cpu.encode_omp(X, dictionary, gram, zero, quantized=kept, **parameters)
    return dense(codes, dictionary.shape[0])


def dense(codes, n_atoms):
    values, indices, counts = codes
    full = np.zeros((len(counts), n_atoms), values.dtype)
    for row, v, i, n in zip(full, values, indices, counts, strict=True):
        assert np.all(np.diff(i[:n]) > 0)
        row[i[:n]] = v[:n]
    return full


def residual_norms(X, codes, dictionary):
    return np.linalg.norm(X.astype(float) - codes.astype(float) @ dictionary.astype(float), axis=1)


sizes = st.tuples(
    st.integers(1, 300),  # atoms
    st.integers(1, 70),  # features
    st.integers(1, 14),  # non-zeros
    st.integers(1, 7),  # atoms per step
    st.integers(0, 10_000),  # seed
    st.booleans(),  # absolute
    st.sampled_from(["random", "coherent", "lengths"]),
)


@settings(deadline=None)
@given(sizes)
def test_icfl_equals_the_naive_reference_in_float64(size):
    n_atoms, n_features, width, per_step, seed, absolute, kind = size
    width = min(width, n_atoms)
    X, dictionary = problem(seed, 5, n_atoms, n_features, kind)
    codes = encode(X, dictionary, n_nonzero_coefs=width, atoms_per_step=per_step, absolute=absolute)
    for x, code in zip(X, codes, strict=True):
        expected, residual, defined = icfl_code(x, dictionary, width, per_step, absolute)
        scale = np.linalg.norm(x)
        found = np.linalg.norm(x - code.astype(float) @ dictionary.astype(float))
        if defined and np.linalg.norm(residual) > 0.05 * scale and kind == "random":
            np.testing.assert_array_equal(code != 0, expected.astype(np.float32) != 0)
            np.testing.assert_allclose(found, np.linalg.norm(residual), atol=1e-5 * scale)
        if per_step == 1:
            assert found <= scale * (1 + 1e-5)


@pytest.mark.parametrize("kind", ["random", "coherent", "lengths"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("n_atoms", "n_features"), [(2048, 96), (2500, 101), (1030, 40)])
def test_supports_are_those_of_float64(kind, absolute, n_atoms, n_features):
    X, dictionary = problem(3, 200, n_atoms, n_features, kind)
    parameters = {"n_nonzero_coefs": 20, "atoms_per_step": 4, "absolute": absolute}
    codes = encode(X, dictionary, **parameters)
    exact = encode(X.astype(float), dictionary.astype(float), quantized=False, **parameters)
    same = ((codes != 0) == (exact != 0)).all(axis=1)
    assert same.mean() >= 0.99
    np.testing.assert_allclose(
        residual_norms(X, codes, dictionary)[same],
        residual_norms(X, exact, dictionary)[same],
        atol=1e-5 * np.linalg.norm(X, axis=1).max(),
    )


def test_atoms_that_look_the_same_in_16_bits_are_told_apart():
    rng = np.random.default_rng(0)
    X, dictionary = problem(1, 300, 700, 48)
    twins = dictionary + 3e-6 * rng.normal(size=dictionary.shape).astype(np.float32)
    dictionary = np.vstack([dictionary, unit_rows(twins)])
    integers = _cpu.quantize(dictionary, _cpu.gram_matrix(dictionary)).integers
    assert np.abs(integers[:700, :700] - integers[:700, 700:1400]).max() <= 1
    parameters = {"n_nonzero_coefs": 6, "atoms_per_step": 1}
    codes = encode(X, dictionary, **parameters)
    exact = encode(X.astype(float), dictionary.astype(float), quantized=False, **parameters)
    assert ((codes != 0) == (exact != 0)).all(axis=1).mean() >= 0.97


@pytest.mark.parametrize("kind", ["random", "coherent"])
@pytest.mark.parametrize("n_copies", [2, 60])
def test_of_equal_atoms_the_lowest_is_taken(kind, n_copies):
    X, dictionary = problem(2, 40, 64, 24, kind)
    repeated = np.tile(dictionary, (n_copies, 1))
    parameters = {"n_nonzero_coefs": 4, "atoms_per_step": 1}
    codes = encode(X, repeated, **parameters)
    assert np.flatnonzero(codes.any(axis=0)).max() < 64
    once = encode(X, dictionary, **parameters)
    np.testing.assert_allclose(codes[:, :64], once, atol=1e-5)
    omp = encode(X, repeated, n_nonzero_coefs=4)
    assert np.flatnonzero(omp.any(axis=0)).max() < 64


@pytest.mark.parametrize("atoms_per_step", [1, 5, 12])
def test_rows_that_a_few_atoms_explain(atoms_per_step):
    rng = np.random.default_rng(4)
    _, dictionary = problem(4, 1, 2048, 128)
    truth = np.zeros((100, 2048), np.float32)
    for row in truth:
        row[rng.choice(2048, 3, replace=False)] = rng.uniform(1, 2, 3)
    X = truth @ dictionary
    X[50] = 0
    parameters = {"n_nonzero_coefs": 60, "atoms_per_step": atoms_per_step}
    codes = encode(X, dictionary, **parameters)
    assert not codes[50].any()
    exact = encode(X.astype(float), dictionary.astype(float), quantized=False, **parameters)
    expected = residual_norms(X, exact, dictionary)
    assert (expected < 1e-5).mean() > 0.2
    np.testing.assert_allclose(residual_norms(X, codes, dictionary), expected, atol=5e-5)


def test_refit_gives_least_squares():
    X, dictionary = problem(5, 30, 1500, 64)
    codes = encode(X, dictionary, n_nonzero_coefs=10, atoms_per_step=5, refit=True)
    for x, code in zip(X, codes, strict=True):
        atoms = dictionary[code != 0].astype(float)
        fit = np.linalg.lstsq(atoms.T, x.astype(float), rcond=None)[0]
        np.testing.assert_allclose(code[code != 0], fit, atol=1e-4)


def test_numbers_that_overflow_do_no_harm():
    X, dictionary = problem(6, 8, 1100, 32)
    X[3], X[5] = 3e38, np.nan
    for parameters in ({"atoms_per_step": 5}, {"atoms_per_step": 5, "absolute": True}, {}):
        with np.errstate(all="ignore"):
            codes = encode(X, dictionary, n_nonzero_coefs=10, **parameters)
            alone = encode(X[[0]], dictionary, n_nonzero_coefs=10, **parameters)
        np.testing.assert_array_equal(codes[[0]], alone)


@pytest.mark.parametrize("kind", ["random", "coherent", "lengths"])
@pytest.mark.parametrize(("n_atoms", "n_features"), [(2048, 96), (1030, 41)])
def test_omp_equals_scikit_learn(kind, n_atoms, n_features):
    X, dictionary = problem(7, 60, n_atoms, n_features, kind)
    codes = encode(X, dictionary, n_nonzero_coefs=12)
    wide = dictionary.astype(float)
    expected = orthogonal_mp_gram(wide @ wide.T, wide @ X.T.astype(float), n_nonzero_coefs=12).T
    same = ((codes != 0) == (expected != 0)).all(axis=1)
    assert same.mean() >= 0.98
    np.testing.assert_allclose(codes[same], expected[same], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_omp_by_blocks_and_by_rows_gives_the_same_bits(kind, monkeypatch):
    X, dictionary = problem(8, 300, 1030, 41, kind)
    rows = encode(X, dictionary, n_nonzero_coefs=15)
    monkeypatch.setattr(_omp, "CACHE_BYTES", 0)
    blocks = encode(X, dictionary, n_nonzero_coefs=15)
    np.testing.assert_array_equal(rows, blocks)


def test_omp_leaves_no_choice_to_the_quantization(monkeypatch):
    """Fewer correlations are kept than atoms look the same, so all have to be searched."""
    rng = np.random.default_rng(0)
    X, dictionary = problem(9, 100, 300, 48)
    close = [dictionary + 3e-6 * rng.normal(size=dictionary.shape) for _ in range(5)]
    dictionary = np.vstack([dictionary, *map(unit_rows, close)]).astype(np.float32)
    codes = encode(X, dictionary, n_nonzero_coefs=2)
    exact = encode(X.astype(float), dictionary.astype(float), quantized=False, n_nonzero_coefs=2)
    assert ((codes != 0) == (exact != 0)).all(axis=1).mean() >= 0.95


def test_quantized_within_half_a_step():
    _, dictionary = problem(10, 1, 300, 48, "lengths")
    gram = _cpu.gram_matrix(dictionary)
    quantized = _cpu.quantize(dictionary, gram)
    error = gram - quantized.step[:, None] * quantized.integers[:, :300]
    assert np.all(np.abs(error) <= 0.501 * quantized.step[:, None])
    assert not quantized.integers[:, 300:].any()
    assert quantized.integers.ctypes.data % 64 == 0


def test_only_where_it_pays(monkeypatch):
    monkeypatch.undo()
    for n_atoms, n_features, dtype, pays in [
        (1024, 64, np.float32, True),
        (1024, 64, np.float64, False),
        (1023, 64, np.float32, False),
        (1024, 400, np.float32, False),
    ]:
        dictionary = unit_rows(np.random.default_rng(0).normal(size=(n_atoms, n_features)))
        dictionary = dictionary.astype(dtype)
        quantized = _cpu.quantize(dictionary, _cpu.gram_matrix(dictionary))
        assert (quantized is not None) == pays
