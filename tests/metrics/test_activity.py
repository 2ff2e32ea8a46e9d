"""Definitions of active: thresholds per component."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.base import clone

from skdict.metrics import (
    SelectivityScorer,
    activation_frequency,
    activation_thresholds,
    best_features,
    count_selective,
    held_out_selectivity,
    selectivity_scores,
)

VALUES = st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.25, 3.5, -0.125])
CODES = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 5)), elements=VALUES)


@given(codes=CODES, quantile=st.sampled_from([0.0, 0.3, 0.5, 0.9, 0.99]))
def test_quantiles_of_the_values_that_are_not_zero(codes, quantile):
    expected = [
        np.quantile(np.abs(column[column != 0]), quantile, method="lower") if column.any() else 0
        for column in codes.T
    ]
    stored = sparse.csc_array(codes)
    stored.data[:1] = 0  # a stored zero is no activation
    changed = stored.toarray()
    for values in (codes, sparse.csr_array(codes)):
        np.testing.assert_array_equal(activation_thresholds(values, quantile=quantile), expected)
    np.testing.assert_array_equal(
        activation_thresholds(stored, quantile=quantile),
        activation_thresholds(changed, quantile=quantile),
    )


@given(codes=CODES, share=st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_shares_of_the_maximum_are_thresholds_on_scaled_codes(codes, share):
    thresholds = activation_thresholds(codes, share_of_maximum=share)
    largest = np.abs(codes).max(axis=0)
    np.testing.assert_allclose(thresholds, share * largest)
    frequency = activation_frequency(sparse.csr_array(codes), active=thresholds)
    scaled = np.abs(codes) / np.where(largest > 0, largest, 1)
    np.testing.assert_allclose(frequency, (scaled > share).mean(axis=0))


def test_every_function_takes_thresholds_per_component():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(60, 8)) * (rng.random((60, 8)) < 0.5) * np.arange(1, 9)
    y = rng.integers(0, 3, 60)
    thresholds = activation_thresholds(codes, quantile=0.6)
    pattern = np.abs(codes) > thresholds
    expected = selectivity_scores(pattern, y)
    for values in (codes, sparse.csr_array(codes)):
        np.testing.assert_array_equal(selectivity_scores(values, y, active=thresholds), expected)
    assert best_features(codes, y, active=thresholds.tolist()).score.max() == expected.max()
    assert (
        count_selective(codes, y, 0.1, active=thresholds)[0] == (expected.max(axis=0) > 0.1).sum()
    )
    held_out = held_out_selectivity(codes[:30], y[:30], codes[30:], y[30:], active=thresholds)
    np.testing.assert_array_equal(
        held_out.train_score, selectivity_scores(pattern[:30], y[:30]).max(axis=1)
    )
    scorer = clone(SelectivityScorer(active=thresholds))
    np.testing.assert_array_equal(scorer.active, thresholds)


def test_errors_name_the_parameter():
    for options in ({}, {"quantile": 0.5, "share_of_maximum": 0.5}):
        with pytest.raises(ValueError, match="exactly one of quantile and share_of_maximum"):
            activation_thresholds(np.eye(2), **options)
    for name in ("quantile", "share_of_maximum"):
        for value in (1.0, -0.1, 2):
            with pytest.raises(ValueError, match=f"{name} must be in"):
                activation_thresholds(np.eye(2), **{name: value})
    with pytest.raises(ValueError, match="got 3 thresholds for 2 components"):
        selectivity_scores(np.eye(2), [0, 1], active=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="active must be"):
        selectivity_scores(np.eye(2), [0, 1], active=[0.1, -0.2])
    with pytest.raises(TypeError, match="active must be"):
        selectivity_scores(np.eye(2), [0, 1], active=[True, False])
    with pytest.raises(TypeError, match="active must be"):
        selectivity_scores(np.eye(2), [0, 1], active=None)
