"""Pursuit without a Gram matrix gives the codes that pursuit with one gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp_gram
from threadpoolctl import threadpool_limits

import skdict._base
from skdict import sparse_encode
from skdict.kernels import _residual, _threads, get_kernels
from tests.kernels.fresh import run_python
from tests.reference import icfl_code, unit_rows

ALGORITHMS = ["icfl", "omp", "mp"]

sizes = st.tuples(
    st.integers(1, 12),  # rows
    st.integers(1, 90),  # atoms
    st.integers(1, 16),  # features
    st.integers(1, 12),  # non-zeros
    st.integers(1, 6),  # atoms per step
    st.integers(0, 10_000),  # seed
)


def problem(kind, n_rows=150, n_atoms=700, n_features=48, dtype=np.float64):
    """Rows of unit length and a dictionary; both types of float get the same numbers."""
    rng = np.random.default_rng(5)
    dictionary = rng.normal(size=(n_atoms, n_features))
    X = rng.normal(size=(n_rows, n_features))
    if kind == "coherent":  # few directions carry most: cosines up to about 0.99
        directions = np.linspace(1, 0.1, n_features)[:, None] * rng.normal(size=(n_features,) * 2)
        dictionary, X = dictionary @ directions, X @ directions
    X, dictionary = (unit_rows(part).astype(np.float32).astype(dtype) for part in (X, dictionary))
    X[7] = 0
    return X, dictionary


def encode(X, dictionary, algorithm="icfl", n_nonzero_coefs=15, **arguments):
    arguments = {"precompute": False, **arguments}
    return sparse_encode(
        X, dictionary, algorithm=algorithm, n_nonzero_coefs=n_nonzero_coefs, **arguments
    ).toarray()


def both_kernels(X, dictionary, intercept, **arguments):
    """Dense codes of `encode_icfl` with the Gram matrix and without one."""
    kernels = get_kernels("cpu")
    found = []
    for gram in (kernels.gram_matrix(dictionary), None):
        values, indices, counts = kernels.encode_icfl(X, dictionary, gram, intercept, **arguments)
        dense = np.zeros((len(X), len(dictionary)), X.dtype)
        for row, count in enumerate(counts):
            assert (np.diff(indices[row, :count]) > 0).all()
            dense[row, indices[row, :count]] = values[row, :count]
        found.append(dense)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_float64_equals_the_way_with_a_gram_matrix(kind, algorithm):
    X, dictionary = problem(kind)
    formed = encode(X, dictionary, algorithm, precompute=True)
    without = encode(X, dictionary, algorithm)
    np.testing.assert_array_equal(without != 0, formed != 0)
    np.testing.assert_allclose(without, formed, atol=1e-10 * np.abs(formed).max(), rtol=0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["random", "coherent"])
def test_float32_equals_the_way_with_a_gram_matrix(kind, algorithm):
    """Where supports are equal; near-ties may go the other way."""
    X, dictionary = problem(kind, dtype=np.float32)
    formed = encode(X, dictionary, algorithm, precompute=True)
    without = encode(X, dictionary, algorithm)
    assert without.dtype == np.float32
    same = ((without != 0) == (formed != 0)).all(axis=1)
    assert same.mean() >= 0.98
    left = [
        np.linalg.norm(X.astype(float) - codes.astype(float) @ dictionary.astype(float), axis=1)
        for codes in (formed, without)
    ]
    np.testing.assert_allclose(left[1][same], left[0][same], atol=1e-5, rtol=0)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("n_atoms", [90, 700])
def test_options_of_icfl(absolute, refit, n_atoms):
    X, dictionary = problem("random", n_atoms=n_atoms)
    dictionary *= np.random.default_rng(0).uniform(0.5, 2, size=(n_atoms, 1))
    intercept = np.full(X.shape[1], 0.03)
    options = {"absolute": absolute, "refit": refit}
    formed, without = both_kernels(
        X, dictionary, intercept, n_nonzero_coefs=17, atoms_per_step=5, **options
    )
    np.testing.assert_array_equal(without != 0, formed != 0)
    np.testing.assert_allclose(without, formed, atol=1e-9)
    plain = both_kernels(X, dictionary, intercept, n_nonzero_coefs=17, atoms_per_step=5)[1]
    assert np.array_equal(plain, without) == (not absolute and not refit)


@given(sizes, st.booleans())
def test_icfl_equals_the_naive_reference(size, absolute):
    n_rows, n_atoms, n_features, width, per_step, seed = size
    width = min(width, n_atoms)
    rng = np.random.default_rng(seed)
    dictionary = unit_rows(rng.normal(size=(n_atoms, n_features)))
    X = rng.normal(size=(n_rows, n_features))
    values, indices, counts = _residual.encode_icfl_without_gram(
        X, dictionary, np.zeros(n_features),
        n_nonzero_coefs=width, atoms_per_step=per_step, absolute=absolute,
    )  # fmt: skip
    for row, x in enumerate(X):
        code = np.zeros(n_atoms)
        code[indices[row, : counts[row]]] = values[row, : counts[row]]
        expected, residual, defined = icfl_code(x, dictionary, width, per_step, absolute)
        if defined:
            np.testing.assert_allclose(code, expected, rtol=1e-6, atol=1e-9)
            found = np.linalg.norm(x - code @ dictionary)
            # as many atoms as features may be nearly dependent: as exact as the codes above
            rounding = 1e-9 * np.linalg.norm(x) + 1e-6 * np.abs(expected).sum()
            assert found <= np.linalg.norm(residual) + rounding


@given(st.integers(0, 10_000), st.integers(1, 10))
def test_omp_equals_scikit_learn(seed, width):
    rng = np.random.default_rng(seed)
    dictionary = unit_rows(rng.normal(size=(60, 20))) * rng.uniform(0.5, 2, size=(60, 1))
    X = rng.normal(size=(8, 20))
    codes = encode(X, dictionary, "omp", width)
    expected = orthogonal_mp_gram(
        dictionary @ dictionary.T, dictionary @ X.T, n_nonzero_coefs=width
    ).T.reshape(8, 60)
    np.testing.assert_array_equal(codes != 0, expected != 0)
    np.testing.assert_allclose(codes, expected, atol=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["random", "coherent"])
@pytest.mark.parametrize("n_atoms", [70, 2100])
def test_float64_is_the_same_in_any_order_chunk_and_company(kind, n_atoms, algorithm, monkeypatch):
    X, dictionary = problem(kind, n_atoms=n_atoms)
    whole = encode(X, dictionary, algorithm)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(encode(X[order], dictionary, algorithm), whole[order])
    np.testing.assert_array_equal(
        np.vstack([encode(x[None], dictionary, algorithm) for x in X[:20]]), whole[:20]
    )
    monkeypatch.setattr(skdict._base, "CHUNK_ROWS", 37)
    np.testing.assert_array_equal(encode(X, dictionary, algorithm), whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
def test_every_number_of_threads_gives_the_same_bits(algorithm, dtype, monkeypatch):
    X, dictionary = problem("coherent", n_rows=600, dtype=dtype)
    with threadpool_limits(1):
        alone = encode(X, dictionary, algorithm)
    for n_threads in (2, 3):
        monkeypatch.setattr(_threads.single_threaded_blas, "n_threads", lambda n=n_threads: n)
        np.testing.assert_array_equal(encode(X, dictionary, algorithm), alone)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_atoms_and_copies_change_nothing(algorithm, dtype):
    """Rounding decides between an atom and its copy; together they get what the atom alone gets."""
    X, dictionary = problem("random", n_rows=50, n_atoms=200, dtype=dtype)
    more = np.vstack([dictionary, np.zeros((3, 48), dtype), dictionary[::7]])
    # A copy takes a place in a block of ICFL, so that is compared with the Gram matrix instead.
    reference, precompute = (more, True) if algorithm == "icfl" else (dictionary, False)
    plain = encode(X, reference, algorithm, 12, precompute=precompute)
    codes = encode(X, more, algorithm, 12)
    assert not codes[:, 200:203].any()
    merged = []
    for part in (plain, codes):
        merged.append(part[:, :200].copy())
        if part.shape[1] > 200:
            merged[-1][:, ::7] += part[:, 203:]
    np.testing.assert_array_equal(merged[1] != 0, merged[0] != 0)
    np.testing.assert_allclose(merged[1], merged[0], atol=1e4 * np.finfo(dtype).eps)
    if algorithm == "omp":  # one of the two at most
        assert not ((codes[:, :200:7] != 0) & (codes[:, 203:] != 0)).any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_ties_take_the_lower_index(algorithm, monkeypatch):
    dictionary = np.vstack([np.eye(3), np.eye(3)])
    for block in (2, 6):
        monkeypatch.setattr(_residual, "BLOCK_ATOMS", block)
        codes = sparse_encode(
            [[1.0, 1.0, 1.0]], dictionary, algorithm=algorithm, n_nonzero_coefs=3,
            atoms_per_step=1, precompute=False,
        )  # fmt: skip
        np.testing.assert_array_equal(codes.indices, [0, 1, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stops_at_rounding_noise(algorithm, dtype):
    """A row that three atoms explain exactly has three non-zeros, however many are allowed."""
    rng = np.random.default_rng(1)
    dictionary = unit_rows(np.linalg.qr(rng.normal(size=(30, 30)))[0]).astype(dtype)
    X = (rng.uniform(1, 2, size=(50, 3)).astype(dtype)) @ dictionary[[3, 8, 20]]
    codes = encode(X, dictionary, algorithm, 12, atoms_per_step=3)
    assert set(np.flatnonzero(codes.any(axis=0))) == {3, 8, 20}
    assert (codes != 0).sum() == 150
    assert not encode(np.zeros((2, 30), dtype), dictionary, algorithm, 12).any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_as_many_non_zeros_as_atoms_and_more_atoms_a_step_than_there_are(algorithm):
    X, dictionary = problem("random", n_rows=30, n_atoms=9)
    codes = encode(X, dictionary, algorithm, 9, atoms_per_step=20)
    np.testing.assert_allclose(
        codes, encode(X, dictionary, algorithm, 9, atoms_per_step=20, precompute=True), atol=1e-12
    )
    if algorithm == "icfl":
        expected = np.linalg.lstsq(dictionary.T, X.T, rcond=None)[0].T
        np.testing.assert_allclose(codes, expected, atol=1e-12)
    with pytest.warns(UserWarning, match="larger than the number of atoms"):
        np.testing.assert_array_equal(
            encode(X, dictionary, algorithm, 50, atoms_per_step=20), codes
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 3e38), (np.float64, 1e308)])
def test_overflow_is_refused(rng, algorithm, dtype, size):
    dictionary = unit_rows(rng.normal(size=(200, 50))).astype(dtype)
    X = np.full((3, 50), size, dtype)
    with pytest.raises(ValueError, match="rescale X"):
        encode(X, dictionary, algorithm, 10)


def test_omp_of_many_atoms_takes_lower_tiles(monkeypatch):
    """The factors of a tile stay within bounds; the codes agree to rounding, of a row bitwise."""
    X, dictionary = problem("random", n_atoms=300)
    plain = encode(X, dictionary, "omp")
    monkeypatch.setattr(_residual, "OMP_FACTOR_BYTES", 8 * 15**2 * 9)  # 8 rows a tile
    lower = encode(X, dictionary, "omp")
    np.testing.assert_allclose(lower, plain, atol=1e-12)
    np.testing.assert_array_equal(encode(X[40:], dictionary, "omp"), lower[40:])


def test_similar_atoms(rng):
    dictionary = rng.normal(size=(5000, 12))
    norms = np.linalg.norm(dictionary, axis=1)
    atoms = np.array([0, 17, 4999])
    expected = dictionary[atoms] @ dictionary.T > 0.6 * norms[atoms, None] * norms
    assert expected.sum() > 3
    found = _residual.similar_atoms(dictionary, atoms, norms, 0.6)
    np.testing.assert_array_equal(found, expected)


def test_memory_does_not_grow_with_the_square_of_the_atoms():
    """131,072 atoms: a Gram matrix would be 64 GiB; coding and training steps."""
    pytest.importorskip("resource")  # not on Windows
    run_python(
        """
        import resource, sys
        import numpy as np
        from skdict import ICFLDictionary, sparse_encode

        def peak_bytes():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
                1 if sys.platform == "darwin" else 1024
            )

        rng = np.random.default_rng(0)
        dictionary = rng.normal(size=(131_072, 16)).astype(np.float32)
        dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
        X = rng.normal(size=(40, 16)).astype(np.float32)
        few = sparse_encode(X[:5], dictionary[:9], algorithm="omp", n_nonzero_coefs=2,
                            precompute=False)  # compiles
        before = peak_bytes()
        codes = {
            algorithm: sparse_encode(X, dictionary, algorithm=algorithm, n_nonzero_coefs=6)
            for algorithm in ("icfl", "omp")
        }
        assert peak_bytes() - before < 200e6, peak_bytes() - before
        for code in codes.values():
            left = np.linalg.norm(X - code @ dictionary, axis=1) / np.linalg.norm(X, axis=1)
            assert left.max() < 0.5, left.max()
        best = (X @ dictionary.T).argmax(axis=1)
        first = sparse_encode(X, dictionary, algorithm="mp", n_nonzero_coefs=1)
        np.testing.assert_array_equal(first.indices, best)

        model = ICFLDictionary(131_072, n_nonzero_coefs=5, init=dictionary, max_steps=2,
                               batch_size=40, dead_window=10, random_state=0).fit(X)
        assert model.transform(X).nnz == 200
        assert peak_bytes() - before < 600e6, peak_bytes() - before
        """,
        problem="",
    )
