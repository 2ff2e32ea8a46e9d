"""Units and strata: what may be permuted, and in how many ways."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils import check_random_state

from skdict.metrics import selectivity_null, selectivity_test
from skdict.metrics._units import read_units


def read(y, units=None, strata=None, codes=None):
    classes, index = np.unique(y, return_inverse=True)
    codes = np.ones((len(y), 1), dtype=np.int32) if codes is None else codes
    return read_units(sparse.csr_array(codes), classes, index, units, strata)


def orders_within(stratum):
    """All orders of the units that leave each in its stratum."""
    everyone = range(len(stratum))
    return [p for p in permutations(everyone) if all(stratum[list(p)] == stratum)]


@given(st.data())
def test_counts_of_distinct_permutations_equal_enumeration(data):
    n = data.draw(st.integers(2, 6))
    small = st.lists(st.integers(0, 2), min_size=n, max_size=n).map(np.array)
    y = data.draw(small)
    stratum = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).map(np.array))
    if all(len(set(y[stratum == s])) < 2 for s in set(stratum)):
        return
    units = read(y, strata=stratum)
    dealt = {tuple(y[list(order)]) for order in orders_within(stratum)}
    assert (units.n_distinct(others_matter=True) == len(dealt)).all()
    sets = [len({tuple(np.equal(one, label)) for one in dealt}) for label in np.unique(y)]
    assert units.n_distinct(others_matter=False).tolist() == sets


def test_counts_by_hand_and_beyond_float64():
    # two plates of four wells, "a" in one well of each: 4 x 4 ways
    y = np.array(["a", "b", "b", "b"] * 2)
    units = read(y, strata=np.repeat([0, 1], 4))
    assert units.n_distinct(others_matter=False).tolist() == [16, 16]
    many = read(np.repeat([0, 1], 2000))
    assert many.n_distinct(others_matter=False).tolist() == [np.inf, np.inf]
    # a stratum full of one label allows nothing
    fixed = read(["a", "a", "b", "c"], strata=[0, 0, 1, 1])
    assert fixed.n_distinct(others_matter=False).tolist() == [1, 2, 2]


def test_permutations_are_all_equally_likely():
    y, strata = np.array(["a", "b", "c", "a", "b"]), np.array([0, 0, 0, 1, 1])
    units, rng = read(y, strata=strata), check_random_state(0)
    drawn = Counter(tuple(units.permuted(rng)) for _ in range(6000))
    assert len(drawn) == 12  # 3! x 2!
    # 500 expected of each, standard deviation 21
    assert all(abs(times - 500) < 100 for times in drawn.values())


def test_rows_of_a_unit_move_together():
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(12), [1, 2, 3] * 4)
    y, strata = np.repeat(["a", "b", "c"], 4)[unit], (np.arange(12) % 2)[unit]
    codes = rng.integers(0, 2, (unit.size, 5)).astype(np.int32)
    order = rng.permutation(unit.size)
    names = np.array([f"well {i:02}" for i in unit])
    units = read(y[order], names[order], strata[order], codes[order])
    label = units.permuted(check_random_state(0))
    counts, n_rows = units.label_counts(label)
    rows = label[unit]
    np.testing.assert_array_equal(n_rows, np.bincount(rows))
    expected = [codes[rows == i].sum(axis=0) for i in range(3)]
    np.testing.assert_array_equal(counts, expected)
    for stratum in (0, 1):
        own = units.stratum == stratum
        np.testing.assert_array_equal(np.bincount(label[own]), np.bincount(units.label[own]))


@pytest.mark.parametrize("function", [selectivity_test, selectivity_null])
def test_errors_say_what_to_do(function):
    codes, y = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match=r"unit 'w' carries 'a' and 'b'.*finer units"):
        function(codes, y, units=["v", "w", "w", "x"])
    with pytest.raises(ValueError, match=r"unit 'w' carries 'a' and 'b'"):
        function(codes, np.array(y, object), units=np.array(["v", "w", "w", "x"], object))
    with pytest.raises(ValueError, match=r"unit 'w' lies in 1 and 2.*join the two names"):
        function(codes, y, units=["w", "w", "x", "y"], strata=[1, 2, 1, 2])
    with pytest.raises(ValueError, match="units must have one entry per row"):
        function(codes, y, units=["v", "w"])
    with pytest.raises(ValueError, match="units holds missing values"):
        function(codes, y, units=[0.0, np.nan, 1.0, 2.0])
    with pytest.raises(ValueError, match="strata must hold at least one stratum with two labels"):
        function(codes, y, strata=[0, 0, 1, 1])


def test_cell_types_within_donors_are_permuted_within_each_donor():
    donor = np.repeat(["d1", "d2", "d3"], 4)
    cell_type = np.tile(["B", "B", "T", "T"], 3)
    codes = (cell_type == "B")[:, None].astype(float)
    with pytest.raises(ValueError, match="carries 'B' and 'T'"):
        selectivity_test(codes, cell_type, units=donor)
    test = selectivity_test(
        codes, cell_type, units=np.char.add(donor, cell_type), strata=donor, random_state=0
    )
    assert test.n_units.tolist() == [3, 3]
    # 2 x 2 x 2 ways: no p-value below 1/8, however many permutations
    assert test.smallest_p_value.tolist() == [0.125, 0.125]
    assert abs(test.p_value[0, 0] - 0.125) < 0.04
