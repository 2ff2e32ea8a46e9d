"""Pursuit kernels: the invariants of Algorithm 1 and agreement with naive references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp_gram

from skdict import sparse_encode
from skdict.kernels import get_kernels
from tests.reference import icfl_code, unit_rows

sizes = st.tuples(
    st.integers(1, 12),  # rows
    st.integers(1, 90),  # atoms
    st.integers(1, 16),  # features
    st.integers(1, 12),  # non-zeros
    st.integers(1, 6),  # atoms per step
    st.integers(0, 10_000),  # seed
)


def problem(n_rows, n_atoms, n_features, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    dictionary = unit_rows(rng.normal(size=(n_atoms, n_features))).astype(dtype)
    return rng.normal(size=(n_rows, n_features)).astype(dtype), dictionary


@given(sizes)
def test_icfl_equals_the_naive_reference(size):
    n_rows, n_atoms, n_features, width, per_step, seed = size
    width = min(width, n_atoms)
    X, dictionary = problem(n_rows, n_atoms, n_features, seed)
    codes = sparse_encode(X, dictionary, n_nonzero_coefs=width, atoms_per_step=per_step).toarray()
    for x, code in zip(X, codes, strict=True):
        expected, residual, defined = icfl_code(x, dictionary, width, per_step)
        if defined:
            np.testing.assert_allclose(code, expected, rtol=1e-6, atol=1e-9)
            found = np.linalg.norm(x - code @ dictionary)
            assert found <= np.linalg.norm(residual) + 1e-9 * np.linalg.norm(x)


@given(sizes)
def test_residual_norm_never_increases_and_ends_orthogonal_to_the_last_block(size):
    n_rows, n_atoms, n_features, width, per_step, seed = size
    width = min(width, n_atoms)
    X, dictionary = problem(n_rows, n_atoms, n_features, seed)
    last_norm = np.linalg.norm(X, axis=1)
    previous = np.zeros((n_rows, n_atoms))
    for used in [*range(per_step, width, per_step), width]:
        codes = sparse_encode(X, dictionary, n_nonzero_coefs=used, atoms_per_step=per_step)
        assert codes.getnnz(axis=1).max() <= used
        dense = codes.toarray()
        residual = X - dense @ dictionary
        norm = np.linalg.norm(residual, axis=1)
        assert np.all(norm <= last_norm * (1 + 1e-9) + 1e-12)
        inner = np.where(dense != previous, residual @ dictionary.T, 0)
        assert np.abs(inner).max() <= 1e-7 * np.linalg.norm(X)
        last_norm, previous = norm, dense


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_one_atom_a_step_is_signed_matching_pursuit(seed, width):
    X, dictionary = problem(6, 40, 10, seed)
    codes = sparse_encode(X, dictionary, algorithm="mp", n_nonzero_coefs=width).toarray()
    for x, code in zip(X, codes, strict=True):
        expected = np.zeros(40)
        residual = x.copy()
        for _ in range(width):
            atom = np.argmax(dictionary @ residual)
            step = dictionary[atom] @ residual
            expected[atom] += step
            residual -= step * dictionary[atom]
        np.testing.assert_allclose(code, expected, atol=1e-10)
    same = sparse_encode(X, dictionary, n_nonzero_coefs=width, atoms_per_step=1).toarray()
    np.testing.assert_array_equal(codes, same)


@given(st.integers(0, 10_000), st.integers(1, 8))
def test_one_step_is_top_k_and_least_squares(seed, width):
    X, dictionary = problem(6, 40, 10, seed)
    codes = sparse_encode(X, dictionary, n_nonzero_coefs=width, atoms_per_step=width).toarray()
    for x, code in zip(X, codes, strict=True):
        top = np.argsort(-(dictionary @ x))[:width]
        expected = np.zeros(40)
        expected[top] = np.linalg.lstsq(dictionary[top].T, x, rcond=None)[0]
        np.testing.assert_allclose(code, expected, atol=1e-8)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("n_atoms", "width", "per_step"), [(7, 4, 3), (130, 12, 4), (300, 5, 5)])
def test_selection_rule(rng, absolute, n_atoms, width, per_step):
    X, dictionary = problem(20, n_atoms, 12, 3)
    kernels = get_kernels("cpu")
    values, indices, counts = kernels.encode_icfl(
        X,
        dictionary,
        kernels.gram_matrix(dictionary),
        np.zeros(12),
        n_nonzero_coefs=width,
        atoms_per_step=per_step,
        absolute=absolute,
    )
    n_compared = 0
    for row, x in enumerate(X):
        expected, _, defined = icfl_code(x, dictionary, width, per_step, absolute)
        code = np.zeros(n_atoms)
        code[indices[row, : counts[row]]] = values[row, : counts[row]]
        if defined:
            n_compared += 1
            np.testing.assert_allclose(code, expected, atol=1e-8)
    assert n_compared >= 5


@pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
def test_ties_take_the_lower_index(algorithm):
    dictionary = np.vstack([np.eye(3), np.eye(3)])
    codes = sparse_encode(
        [[1.0, 1.0, 1.0]], dictionary, algorithm=algorithm, n_nonzero_coefs=3, atoms_per_step=1
    )
    np.testing.assert_array_equal(codes.indices, [0, 1, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
def test_stops_at_rounding_noise(algorithm, dtype):
    """A row that three atoms explain exactly has three non-zeros, however many are allowed."""
    rng = np.random.default_rng(1)
    dictionary = unit_rows(np.linalg.qr(rng.normal(size=(30, 30)))[0]).astype(dtype)
    X = (rng.uniform(1, 2, size=(50, 3)).astype(dtype)) @ dictionary[[3, 8, 20]]
    codes = sparse_encode(X, dictionary, algorithm=algorithm, n_nonzero_coefs=12, atoms_per_step=3)
    assert set(codes.indices) == {3, 8, 20}
    assert codes.nnz == 150
    zero = sparse_encode(np.zeros((2, 30), dtype), dictionary, algorithm=algorithm)
    assert zero.nnz == 0


@pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
def test_zero_and_duplicated_atoms(algorithm):
    rng = np.random.default_rng(2)
    dictionary = unit_rows(rng.normal(size=(12, 6)))
    dictionary[[0, 5]] = 0
    dictionary[7] = dictionary[6]
    dictionary[11] = -dictionary[6]
    X = rng.normal(size=(30, 6))
    codes = sparse_encode(X, dictionary, algorithm=algorithm, n_nonzero_coefs=12, atoms_per_step=4)
    assert np.isfinite(codes.data).all()
    assert not set(codes.indices) & {0, 5}
    assert (codes.data != 0).all()
    residual = np.linalg.norm(X - codes @ dictionary, axis=1)
    assert np.all(residual <= np.linalg.norm(X, axis=1))
    nothing = sparse_encode(X, np.zeros((3, 6)), algorithm=algorithm, n_nonzero_coefs=2)
    assert nothing.nnz == 0
    assert nothing.shape == (30, 3)


@given(st.integers(0, 10_000), st.integers(1, 10), st.booleans())
def test_omp_equals_scikit_learn(seed, width, unit):
    X, dictionary = problem(8, 60, 20, seed)
    if not unit:
        dictionary *= np.random.default_rng(seed).uniform(0.5, 2, size=(60, 1))
    codes = sparse_encode(X, dictionary, algorithm="omp", n_nonzero_coefs=width).toarray()
    expected = orthogonal_mp_gram(
        dictionary @ dictionary.T, dictionary @ X.T, n_nonzero_coefs=width
    ).T
    expected = expected.reshape(8, 60)
    np.testing.assert_array_equal(codes != 0, expected != 0)
    np.testing.assert_allclose(codes, expected, atol=1e-9)


def test_omp_on_a_coherent_dictionary():
    rng = np.random.default_rng(0)
    dictionary = unit_rows(rng.normal(size=(80, 24)) + 2.0)  # cosines around 0.8
    X = rng.normal(size=(40, 24))
    codes = sparse_encode(X, dictionary, algorithm="omp", n_nonzero_coefs=10).toarray()
    expected = orthogonal_mp_gram(dictionary @ dictionary.T, dictionary @ X.T, n_nonzero_coefs=10)
    np.testing.assert_allclose(codes, expected.T, atol=1e-8)


@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
def test_float32_agrees_with_float64_on_the_residual(algorithm):
    X, dictionary = problem(300, 600, 64, 0)
    args = {"algorithm": algorithm, "n_nonzero_coefs": 20}
    wide = sparse_encode(X, dictionary, **args)
    narrow = sparse_encode(X.astype(np.float32), dictionary.astype(np.float32), **args)
    assert narrow.dtype == np.float32
    left = [np.linalg.norm(X - codes @ dictionary, axis=1) for codes in (wide, narrow)]
    size = np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(left[1] / size, left[0] / size, atol=1e-5)
    same = [np.array_equal(wide[i].indices, narrow[i].indices) for i in range(300)]
    assert np.mean(same) >= 0.99


def test_gram_matrix_is_exactly_symmetric(rng):
    kernels = get_kernels("cpu")
    for n_atoms in (1, 63, 200, 700):
        dictionary = rng.normal(size=(n_atoms, 17))
        gram = kernels.gram_matrix(dictionary)
        np.testing.assert_array_equal(gram, gram.T)
        np.testing.assert_allclose(gram, dictionary @ dictionary.T, atol=1e-12)


def test_overflow_is_refused(rng):
    dictionary = unit_rows(rng.normal(size=(200, 50))).astype(np.float32)
    X = np.full((3, 50), 3e38, np.float32)
    with pytest.raises(ValueError, match="rescale X"):
        sparse_encode(X, dictionary, n_nonzero_coefs=10)


def test_omp_in_blocks_of_columns_gives_the_same_bits(monkeypatch):
    """Many rows over a Gram matrix beyond the cache take another path through the same sums."""
    X, dictionary = problem(150, 333, 30, 5)
    X[7] = 0
    X[8] = dictionary[4]  # explained by one atom: ends early
    plain = sparse_encode(X, dictionary, algorithm="omp", n_nonzero_coefs=9)
    monkeypatch.setattr("skdict.kernels._omp.BLOCKED_ROWS", 1)
    monkeypatch.setattr("skdict.kernels._omp.CACHE_BYTES", 0)
    monkeypatch.setattr("skdict.kernels._omp.BATCH_BYTES", 200_000)  # several batches
    blocked = sparse_encode(X, dictionary, algorithm="omp", n_nonzero_coefs=9)
    np.testing.assert_array_equal(blocked.toarray(), plain.toarray())
    assert plain[[7]].nnz == 0
    np.testing.assert_array_equal(plain[[8]].indices, [4])
