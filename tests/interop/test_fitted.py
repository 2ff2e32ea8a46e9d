"""Autoencoders made of arrays."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdict.interop import topk_from_arrays
from tests.interop.models import rows, topk

GOOD = {
    "components": np.ones((3, 2)),
    "encoder": np.ones((3, 2)),
    "encoder_bias": np.zeros(3),
    "intercept": np.zeros(2),
}


def test_equal_arrays_give_equal_codes():
    X = rows()
    model = topk(X)
    arrays = model.components_, model.encoder_, model.encoder_bias_, model.intercept_
    made = topk_from_arrays(*arrays, n_nonzero_coefs=4)
    assert (made.transform(X) != model.transform(X)).nnz == 0
    assert made.score(X) == model.score(X)
    assert not np.shares_memory(made.components_, model.components_)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [(np.int64, np.float64), (np.float16, np.float32), (np.float32, np.float32)],
)
def test_types(dtype, wanted):
    arrays = {name: array.astype(dtype) for name, array in GOOD.items()}
    assert topk_from_arrays(**arrays, n_nonzero_coefs=1).components_.dtype == wanted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": np.ones(3)}, "components must have shape"),
        ({"components": np.ones((0, 2))}, "components must have shape"),
        ({"encoder": np.ones((2, 3))}, r"encoder must have shape \(3, 2\)"),
        ({"encoder_bias": np.zeros(2)}, r"encoder_bias must have shape \(3,\)"),
        ({"intercept": np.array([0.0, np.nan])}, "intercept must be finite"),
        ({"intercept": np.zeros(2, complex)}, "must be real numbers"),
        ({"n_nonzero_coefs": 4}, "at most the number of atoms, 3, got 4"),
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs must be an integer >= 1"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        topk_from_arrays(**{**GOOD, "n_nonzero_coefs": 1, **change})


def test_column_major_arrays_are_taken():
    rng = np.random.default_rng(0)
    weights = np.asfortranarray(rng.standard_normal((3, 2)))
    made = topk_from_arrays(weights, weights, np.zeros(3), np.zeros(2), n_nonzero_coefs=3)
    wanted = np.maximum(np.ones((1, 2)) @ weights.T, 0)
    assert_array_equal(made.transform(np.ones((1, 2))).toarray(), wanted)
