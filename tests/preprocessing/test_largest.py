"""LargestValuesSelector: scikit-learn's checks and the rule it applies."""

import pickle

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.utils.estimator_checks import (
    check_get_feature_names_out_error,
    check_param_validation,
    check_set_output_transform,
    check_set_output_transform_pandas,
    check_set_output_transform_polars,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
    parametrize_with_checks,
)

from skdict.preprocessing import LargestValuesSelector
from skdict.preprocessing._largest import _largest

VARIANTS = [
    LargestValuesSelector(),
    LargestValuesSelector(sparse_output=False),
    LargestValuesSelector(1, standardize=False),
]


@parametrize_with_checks(VARIANTS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        check_param_validation,
        check_transformer_get_feature_names_out,
        check_transformer_get_feature_names_out_pandas,
        check_get_feature_names_out_error,
        check_set_output_transform,
        check_set_output_transform_pandas,
        check_set_output_transform_polars,
    ],
)
@pytest.mark.parametrize("estimator", VARIANTS, ids=str)
@pytest.mark.filterwarnings("ignore:X .*feature names:UserWarning")
def test_checks_that_parametrize_with_checks_leaves_out(estimator, check):
    check(type(estimator).__name__, estimator)


VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 2.5, 1e-3])


@given(
    values=hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 7)), elements=VALUES),
    n_kept=st.integers(1, 9),
)
def test_keeps_what_a_stable_sort_would_keep(values, n_kept):
    expected = np.zeros_like(values)
    for i, row in enumerate(values):
        order = np.argsort(-np.abs(row), kind="stable")[:n_kept]
        expected[i, order] = row[order]
    np.testing.assert_array_equal(np.where(_largest(values, n_kept), values, 0), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_standardised_with_the_training_statistics(dtype):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(200, 20)) * np.arange(1, 21) + 50).astype(dtype)
    selector = LargestValuesSelector(3).fit(X[:100])
    codes = selector.transform(X[100:])
    assert codes.dtype == dtype
    assert isinstance(codes, sparse.csr_matrix)
    assert (np.diff(codes.indptr) == 3).all()
    values = (X[100:] - X[:100].mean(axis=0)) / X[:100].std(axis=0)
    dense = codes.toarray()
    np.testing.assert_allclose(dense[dense != 0], values[dense != 0], rtol=1e-3)
    kept = np.where(dense != 0, np.abs(values), np.inf).min(axis=1)
    dropped = np.where(dense == 0, np.abs(values), 0).max(axis=1)
    assert (kept >= dropped - 1e-3).all()
    # without standardisation the last columns, of the largest scale, would win everywhere
    raw = LargestValuesSelector(3, standardize=False).fit(X[:100]).transform(X[100:]).toarray()
    np.testing.assert_array_equal(raw[raw != 0], X[100:][raw != 0])
    np.testing.assert_allclose(
        selector.inverse_transform(codes), dense * selector.scale_ + selector.mean_, rtol=1e-5
    )


def test_blocks_and_output_kinds_agree(monkeypatch):
    X = np.random.default_rng(0).normal(size=(50, 12))
    whole = LargestValuesSelector(4).fit(X).transform(X)
    monkeypatch.setattr("skdict.preprocessing._largest._BLOCK_VALUES", 30)
    blocks = LargestValuesSelector(4).fit(X).transform(X)
    np.testing.assert_array_equal(whole.toarray(), blocks.toarray())
    dense = LargestValuesSelector(4, sparse_output=False).fit_transform(X)
    np.testing.assert_array_equal(whole.toarray(), dense)
    with sklearn.config_context(sparse_interface="sparray"):
        codes = LargestValuesSelector(4).fit_transform(X)
    assert isinstance(codes, sparse.csr_array)
    restored = pickle.loads(pickle.dumps(LargestValuesSelector(4).fit(X)))
    np.testing.assert_array_equal(restored.transform(X).toarray(), dense)


def test_default_and_clipped_number_of_values():
    X = np.random.default_rng(0).normal(size=(30, 40))
    assert LargestValuesSelector().fit(X).n_nonzero_coefs_ == 4
    with pytest.warns(UserWarning, match="n_nonzero_coefs=50 is larger .* 40"):
        selector = LargestValuesSelector(50).fit(X)
    assert selector.n_nonzero_coefs_ == 40
    assert (selector.transform(X).toarray() != 0).all()


def test_errors_name_the_parameter():
    X = np.eye(3)
    with pytest.raises(ValueError, match="n_nonzero_coefs must be an integer >= 1"):
        LargestValuesSelector(0).fit(X)
    with pytest.raises(TypeError, match="n_nonzero_coefs must be an integer >= 1"):
        LargestValuesSelector(True).fit(X)
    with pytest.raises(ValueError, match="X must have 3 columns"):
        LargestValuesSelector(1).fit(X).inverse_transform(np.ones((2, 4)))
