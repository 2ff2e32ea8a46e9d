"""Counts per unit: what a permutation of labels adds up."""

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from skdict.metrics._unit_counts import count_units


def test_rows_of_a_unit_move_together():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(12), [1, 2, 3] * 4)
    y, strata = np.repeat(["a", "b", "c"], 4)[unit], (np.arange(12) % 2)[unit]
    codes = rng.integers(0, 2, (unit.size, 5)).astype(np.int32)
    order = rng.permutation(unit.size)
    names = np.array([f"well {i:02}" for i in unit])
    classes, index = np.unique(y[order], return_inverse=True)
    units = count_units(sparse.csr_array(codes[order]), classes, index, names[order], strata[order])
    label = units.permuted(check_random_state(0))
    counts, n_rows = units.label_counts(label)
    rows = label[unit]
    np.testing.assert_array_equal(n_rows, np.bincount(rows))
    expected = [codes[rows == i].sum(axis=0) for i in range(3)]
    np.testing.assert_array_equal(counts, expected)
    for stratum in (0, 1):
        own = units.stratum == stratum
        np.testing.assert_array_equal(np.bincount(label[own]), np.bincount(units.label[own]))
