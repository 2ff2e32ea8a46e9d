"""How exact the codes are: in float64 the same bits however rows come, in float32 within bounds.

The user guide ("Exactness, threads and memory") shows the same at full size.
"""

import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp_gram
from threadpoolctl import threadpool_limits

import skdict._base
from skdict import sparse_encode
from skdict.kernels import _threads
from tests.reference import unit_rows

N_FEATURES = 128
WIDTH = 40


def problem(kind, n_rows=400, n_atoms=1500, dtype=np.float64):
    """Rows of unit length and a dictionary; both types of float get the same numbers."""
    rng = np.random.default_rng(5)
    if kind == "random":  # cosines up to about 0.4
        dictionary = rng.normal(size=(n_atoms, N_FEATURES))
        X = rng.normal(size=(n_rows, N_FEATURES))
    else:  # few directions carry most: cosines up to about 0.99
        directions = rng.normal(size=(40, N_FEATURES)) * np.arange(1, 41)[:, None] ** -0.7
        dictionary = rng.normal(size=(n_atoms, 40)) @ directions
        dictionary += 0.1 * rng.normal(size=(n_atoms, N_FEATURES))
        X = rng.normal(size=(n_rows, 40)) @ directions
        X += 0.1 * rng.normal(size=(n_rows, N_FEATURES))
    return tuple(unit_rows(part).astype(np.float32).astype(dtype) for part in (X, dictionary))


def encode(X, dictionary, algorithm="icfl"):
    return sparse_encode(X, dictionary, algorithm=algorithm, n_nonzero_coefs=WIDTH).toarray()


def residual_norms(X, codes, dictionary):
    """In float64, whatever the codes are in."""
    return np.linalg.norm(X.astype(float) - codes.astype(float) @ dictionary.astype(float), axis=1)


def other_ways(X, dictionary, algorithm, monkeypatch):
    """Codes of the same rows in another order, in other chunks and alone."""
    order = np.random.default_rng(0).permutation(len(X))
    back = np.argsort(order)
    yield encode(X[order], dictionary, algorithm)[back]
    monkeypatch.setattr(skdict._base, "CHUNK_ROWS", 77)
    yield encode(X, dictionary, algorithm)
    monkeypatch.undo()
    yield np.vstack([encode(x[None], dictionary, algorithm) for x in X])


@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
@pytest.mark.parametrize("kind", ["random", "coherent"])
@pytest.mark.parametrize("n_atoms", [300, 700])
def test_float64_is_the_same_in_any_order_chunk_and_company(kind, n_atoms, algorithm, monkeypatch):
    X, dictionary = problem(kind, n_rows=160, n_atoms=n_atoms)
    whole = encode(X, dictionary, algorithm)
    for codes in other_ways(X, dictionary, algorithm, monkeypatch):
        np.testing.assert_array_equal(codes, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
def test_every_number_of_threads_gives_the_same_bits(algorithm, dtype, monkeypatch):
    X, dictionary = problem("coherent", n_rows=900, dtype=dtype)
    with threadpool_limits(1):
        alone = encode(X, dictionary, algorithm)
    for n_threads in (2, 3):
        monkeypatch.setattr(_threads.single_threaded_blas, "n_threads", lambda n=n_threads: n)
        np.testing.assert_array_equal(encode(X, dictionary, algorithm), alone)


@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_float32_in_any_order_chunk_and_company(kind, monkeypatch):
    """Residual norms within 1e-5 of the row's length, at least 99% of supports equal."""
    X, dictionary = problem(kind, dtype=np.float32)
    whole = encode(X, dictionary)
    left = residual_norms(X, whole, dictionary)
    for codes in other_ways(X, dictionary, "icfl", monkeypatch):
        same = ((codes != 0) == (whole != 0)).all(axis=1)
        assert same.mean() >= 0.99
        found = residual_norms(X, codes, dictionary)
        np.testing.assert_allclose(found[same], left[same], atol=1e-5, rtol=0)


@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_float32_against_float64(kind, algorithm):
    X, dictionary = problem(kind)
    wide = encode(X, dictionary, algorithm)
    X32, dictionary32 = problem(kind, dtype=np.float32)
    narrow = encode(X32, dictionary32, algorithm)
    assert narrow.dtype == np.float32
    same = ((wide != 0) == (narrow != 0)).all(axis=1)
    assert same.mean() >= 0.99
    expected = residual_norms(X, wide, dictionary)
    found = residual_norms(X, narrow, dictionary)
    np.testing.assert_allclose(found[same], expected[same], atol=1e-5, rtol=0)


def test_float32_and_float64_part_at_near_ties_only():
    """Pairs of nearly equal atoms: float32 cannot tell which one of a pair fits better."""
    X, dictionary = problem("random", n_atoms=600)
    rng = np.random.default_rng(6)
    twins = unit_rows(dictionary + 1e-7 * rng.normal(size=dictionary.shape))
    both = np.vstack([dictionary, twins])

    def first_atoms(X, both):
        return sparse_encode(X, both, algorithm="mp", n_nonzero_coefs=1).indices

    wide, narrow = first_atoms(X, both), first_atoms(X.astype(np.float32), both.astype(np.float32))
    parted = np.flatnonzero(wide != narrow)
    assert parted.size > 10
    correlations = X @ both.T
    gap = correlations[parted, wide[parted]] - correlations[parted, narrow[parted]]
    assert gap.min() >= 0
    assert gap.max() <= 1e-6


@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_omp_equals_scikit_learn(kind):
    X, dictionary = problem(kind, n_rows=30)
    codes = encode(X, dictionary, "omp")
    expected = orthogonal_mp_gram(
        dictionary @ dictionary.T, dictionary @ X.T, n_nonzero_coefs=WIDTH
    ).T
    np.testing.assert_array_equal(codes != 0, expected != 0)
    np.testing.assert_allclose(codes, expected, atol=1e-11 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("algorithm", ["omp", "mp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_atoms_and_copies_change_nothing(algorithm, dtype):
    """Rounding decides between an atom and its copy; together they get what the atom alone gets."""
    X, dictionary = problem("random", n_rows=50, n_atoms=200, dtype=dtype)
    plain = encode(X, dictionary, algorithm)
    more = np.vstack([dictionary, np.zeros((3, N_FEATURES), dtype), dictionary[::7]])
    codes = encode(X, more, algorithm)
    assert not codes[:, 200:203].any()
    merged = codes[:, :200].copy()
    merged[:, ::7] += codes[:, 203:]
    np.testing.assert_array_equal(merged != 0, plain != 0)
    np.testing.assert_allclose(merged, plain, atol=1e4 * np.finfo(dtype).eps)
    if algorithm == "omp":  # one of the two at most
        assert not ((codes[:, :200:7] != 0) & (codes[:, 203:] != 0)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_atoms_and_rows_that_are_not_finite_are_refused(bad):
    X, dictionary = problem("random", n_rows=5, n_atoms=20)
    gram = dictionary @ dictionary.T
    for name, array in {"X": X, "dictionary": dictionary, "gram": gram}.items():
        kept, array[1, 2] = array[1, 2], bad
        with pytest.raises(ValueError, match=f"{name} contains"):
            sparse_encode(X, dictionary, gram=gram, n_nonzero_coefs=3)
        array[1, 2] = kept
