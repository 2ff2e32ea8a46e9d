"""sparse_encode: what it refuses and what it clips."""

import numpy as np
import pytest

from skdict import sparse_encode
from tests.reference import unit_rows


@pytest.fixture
def dictionary(rng):
    return unit_rows(rng.normal(size=(20, 6)))


def test_errors_name_the_argument(dictionary, rng):
    X = rng.normal(size=(4, 6))
    cases = [
        ({"algorithm": "lars"}, "algorithm must be one of 'icfl', 'omp', 'mp', got 'lars'"),
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs must be an integer >= 1"),
        ({"atoms_per_step": 0}, "atoms_per_step must be an integer >= 1"),
        ({"gram": np.eye(3)}, r"gram must have shape .* \(20, 20\), got \(3, 3\)"),
        ({"precompute": "yes"}, "precompute must be one of 'auto', True, False, got 'yes'"),
        ({"precompute": 1}, "precompute must be one of 'auto', True, False, got 1"),
        ({"gram": np.eye(20), "precompute": False}, "precompute=False .* but gram is given"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            sparse_encode(X, dictionary, **arguments)
    with pytest.raises(ValueError, match="same number of features, got 5 and 6"):
        sparse_encode(X[:, :5], dictionary)
    with pytest.raises(ValueError, match="dictionary contains NaN"):
        sparse_encode(X, np.where(dictionary > 1e9, 0, np.nan))


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_atoms_beyond_the_range_of_the_type_are_refused(dictionary, rng, scale, precompute):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="rescale them"):
        sparse_encode(rng.normal(size=(4, 6)), dictionary * scale, precompute=precompute)


def test_length_of_atoms_only_scales_codes_of_least_squares(dictionary, rng):
    """With one step over all atoms the choice does not depend on lengths."""
    X = rng.normal(size=(5, 6))
    plain = sparse_encode(X, dictionary[:4], n_nonzero_coefs=4, atoms_per_step=4)
    longer = sparse_encode(X, dictionary[:4] * 1e3, n_nonzero_coefs=4, atoms_per_step=4)
    np.testing.assert_allclose(longer.toarray() * 1e3, plain.toarray(), atol=1e-10)


def test_a_gram_matrix_given_changes_nothing(dictionary, rng):
    X = rng.normal(size=(5, 6))
    given = sparse_encode(X, dictionary, gram=dictionary @ dictionary.T, n_nonzero_coefs=3)
    np.testing.assert_allclose(
        given.toarray(), sparse_encode(X, dictionary, n_nonzero_coefs=3).toarray(), atol=1e-12
    )


@pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
def test_precompute_decides_whether_a_gram_matrix_is_formed(
    dictionary, rng, algorithm, monkeypatch
):
    X = rng.normal(size=(5, 6))

    def encode(**arguments):
        return sparse_encode(X, dictionary, algorithm=algorithm, n_nonzero_coefs=3, **arguments)

    formed = encode(precompute=True)
    np.testing.assert_array_equal(encode().toarray(), formed.toarray())

    def refuse(dictionary):
        raise AssertionError("a Gram matrix was formed")

    monkeypatch.setattr("skdict.kernels._cpu.gram_matrix", refuse)
    with pytest.raises(AssertionError):
        encode()
    without = encode(precompute=False)
    np.testing.assert_allclose(without.toarray(), formed.toarray(), atol=1e-12)
    monkeypatch.setattr("skdict._base.GRAM_BYTES", 20 * 20 * 8 - 1)
    np.testing.assert_array_equal(encode().toarray(), without.toarray())
    gram = dictionary @ dictionary.T  # a given one is used at any size
    for precompute in ("auto", True):
        given = encode(gram=gram, precompute=precompute)
        np.testing.assert_allclose(given.toarray(), formed.toarray(), atol=1e-12)
    doubled = encode(gram=2 * gram)
    assert np.abs(doubled.toarray() - formed.toarray()).max() > 0.01


def test_too_many_non_zeros_are_clipped_and_default_is_a_tenth(dictionary, rng):
    X = rng.normal(size=(5, 6))
    with pytest.warns(UserWarning, match="n_nonzero_coefs=50 is larger than the number of atoms"):
        sparse_encode(X, dictionary, n_nonzero_coefs=50)
    assert sparse_encode(X, dictionary).nnz == 5
