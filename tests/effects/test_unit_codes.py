"""Rates and strengths of units: sums row by row as the oracle, whatever the blocks."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from skdict.effects import _unit_codes
from skdict.effects._unit_codes import unit_codes


def by_hand(codes, index, n_units):
    """Dense rates and strengths, NaN where a unit has no active row."""
    rate = np.zeros((n_units, codes.shape[1]))
    strength = np.full(rate.shape, np.nan)
    for unit in range(n_units):
        rows = codes[index == unit]
        rate[unit] = (rows != 0).mean(axis=0)
        for concept in np.flatnonzero(rate[unit]):
            strength[unit, concept] = rows[rows[:, concept] != 0, concept].mean()
    return rate, strength


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_rates_and_strengths(rng, monkeypatch, form, several, block):
    monkeypatch.setattr(_unit_codes, "_BLOCK", block)
    codes = rng.normal(size=(60, 7)) * (rng.random((60, 7)) < 0.3)
    index = np.arange(60)
    if several:
        index = np.unique(rng.integers(0, 20, 60), return_inverse=True)[1]
        codes[index == 3, 0] = 0.0
        codes[np.flatnonzero(index == 5)[:2], 1] = [1.0, -1.0]  # active, though the sum is zero
    n_units = index.max() + 1
    found = unit_codes(form(codes), index, n_units)
    rate, strength = by_hand(codes, index, n_units)
    units, concepts = np.nonzero(rate)
    assert np.array_equal(np.repeat(np.arange(n_units), np.diff(found.indptr)), units)
    assert np.array_equal(found.indices, concepts)
    np.testing.assert_allclose(found[2], rate[units, concepts])
    np.testing.assert_allclose(found[3], strength[units, concepts], atol=1e-15)


def test_memory_is_a_small_multiple_of_dense_codes(rng):
    codes = rng.normal(size=(8000, 512)).astype(np.float32)
    tracemalloc.start()
    try:
        unit_codes(codes, np.arange(8000) // 20, 400)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * codes.nbytes
