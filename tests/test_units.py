"""Units and strata: what may be permuted, in how many ways, and what is drawn."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.utils import check_random_state

from skdict._units import Resampler, Resampling, is_missing, label_units, read_units
from skdict.comparison import selectivity_correlation
from skdict.metrics import (
    activation_stability,
    aggregate_embeddings,
    selectivity_difference_interval,
    selectivity_interval,
    selectivity_null,
    selectivity_test,
    split_half_selectivity,
)
from skdict.probing import probe_difference_interval, probe_interval, probe_representations


def read(y, units=None, strata=None):
    classes, index = np.unique(y, return_inverse=True)
    return label_units(read_units(units, strata, len(y)), classes, index)


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


def test_units_are_read_by_name():
    units = read_units(["w2", "w1", "w2", "w3"], ["p", "q", "p", "p"], 4)
    assert units.names.tolist() == ["w1", "w2", "w3"]
    assert units.index.tolist() == [1, 0, 1, 2] and units.first.tolist() == [1, 0, 3]
    assert units.stratum.tolist() == [1, 0, 0] and (units.n_units, units.n_strata) == (3, 2)
    rows = read_units(None, None, 3)
    assert rows.index.tolist() == rows.first.tolist() == [0, 1, 2] and rows.n_strata == 1


def test_a_row_that_is_taken_several_times_is_one_unit():
    rows = np.array([4, 0, 4, 2])
    assert read_units(None, None, 5, rows).index.tolist() == [2, 0, 2, 1]
    named = read_units(["a", None, "b", None, "a"], [0, np.nan, 1, np.nan, 0], 5, rows)
    assert named.index.tolist() == [0, 0, 0, 1] and named.stratum.tolist() == [0, 1]


@pytest.mark.parametrize("scaled", [False, True])
def test_draws_keep_the_size_of_each_stratum_and_are_multinomial_within(scaled):
    strata = np.array([0, 1, 0, 1, 1])
    resampler, rng = Resampler(read_units(None, strata, 5)), check_random_state(0)
    weights = np.array([resampler.weights(rng, scaled=scaled) for _ in range(4000)])
    assert (weights[:, strata == 0].sum(axis=1) == 2).all()
    assert (weights[:, strata == 1].sum(axis=1) == 3).all()
    for unit, size in enumerate([2, 3, 2, 3, 3]):
        counts = np.bincount(weights[:, unit], minlength=size + 1)
        expected = 4000 * stats.binom.pmf(np.arange(size + 1), size, 1 / size)
        assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_percentile_intervals_leave_out_what_was_not_drawn():
    settings = Resampling.checked(1000, 0.5, None)
    values = np.array([[0.0, np.nan], [1.0, np.nan], [2.0, np.nan], [np.nan, np.nan]])
    low, high = settings.interval(values)
    np.testing.assert_array_equal([low, high], [[0.5, np.nan], [1.5, np.nan]])


CODES, LABELS = np.eye(6), ["a", "a", "b", "b", "c", "c"]
GUESSES = ["a", "b", "b", "b", "c", "a"]
READERS = {
    "test": lambda **o: selectivity_test(CODES, LABELS, n_permutations=2, **o),
    "null": lambda **o: selectivity_null(CODES, LABELS, n_permutations=2, **o),
    "correlation": lambda **o: selectivity_correlation(CODES, CODES, LABELS, **o),
    "interval": lambda **o: selectivity_interval(CODES, LABELS, n_resamples=2, **o),
    "difference": lambda **o: selectivity_difference_interval(CODES, CODES, LABELS, **o),
    "halves": lambda **o: split_half_selectivity(CODES, LABELS, **o),
    "probe": lambda **o: probe_interval(LABELS, GUESSES, **o),
    "probes": lambda **o: probe_difference_interval(LABELS, GUESSES, LABELS, **o),
    "representations": lambda **o: probe_representations(
        None, CODES, LABELS, groups=None, cv=2, representations="raw", **o
    ),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"units": [0, 1]}, r"units must have one entry per row: got shape \(2,\) for 6 rows"),
        (
            {"units": np.arange(6), "strata": np.zeros((6, 1))},
            r"strata must have one entry per row: got shape \(6, 1\) for 6 rows",
        ),
        ({"units": [0.0, 1, 2, 3, 4, np.nan]}, "units holds missing values; drop these rows"),
        ({"units": ["u", "v", "w", "x", "y", float("nan")]}, "units holds missing values"),
        ({"units": list("uvwxyz"), "strata": [None, *"aaabb"]}, "strata holds missing values"),
        ({"units": np.array([*"uvwxy", 1], object)}, "units must hold names of one type"),
        (
            {"units": list("uvwwyz"), "strata": [1, 1, 1, 2, 2, 2]},
            "unit 'w' lies in 1 and 2.*join the two names",
        ),
    ],
)
def test_every_function_reads_units_with_the_same_messages(reader, wrong, message):
    with pytest.raises(ValueError, match=message):
        READERS[reader](**wrong)


@pytest.mark.parametrize("reader", ["interval", "difference", "probe", "probes", "representations"])
def test_every_interval_asks_for_two_units_in_a_stratum(reader):
    with pytest.raises(ValueError, match="units must have a stratum with at least two .* got 6"):
        READERS[reader](units=np.arange(6), strata=np.arange(6))


def test_means_and_stability_read_them_too():
    with pytest.raises(ValueError, match="units holds missing values; drop these rows or name"):
        aggregate_embeddings(CODES, LABELS, units=["u", "v", "w", "x", "y", None])
    with pytest.raises(ValueError, match="strata must have one entry per row: got shape"):
        activation_stability(CODES, CODES, strata=[1])


@pytest.mark.parametrize("function", [selectivity_test, selectivity_null])
def test_units_that_cannot_be_permuted(function):
    codes, y = np.eye(4), ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match=r"unit 'w' carries 'a' and 'b'.*finer units"):
        function(codes, y, units=["v", "w", "w", "x"])
    with pytest.raises(ValueError, match=r"unit 'w' carries 'a' and 'b'"):
        function(codes, np.array(y, object), units=np.array(["v", "w", "w", "x"], object))
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


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1.0, float("nan")], [False, True]),
        (np.array([1, 2]), [False, False]),
        (["a", float("nan"), None], [False, True, True]),  # NumPy makes it the string "nan"
        (("nan", "a"), [False, False]),
        (np.array(["nan", "a"]), [False, False]),
        (np.array(["a", None, np.nan, np.float32("nan")], object), [False, True, True, True]),
        (np.array(["2020-01-01", "NaT"], "datetime64[D]"), [False, True]),
        ([], []),
    ],
)
def test_missing_values_of_every_kind(values, expected):
    assert is_missing(values).tolist() == expected


def test_missing_values_of_pandas():
    pandas = pytest.importorskip("pandas")
    assert is_missing(pandas.Series(["a", pandas.NA, None])).tolist() == [False, True, True]
    assert is_missing(pandas.array(["a", pandas.NA], dtype="string")).tolist() == [False, True]
    assert is_missing(pandas.array([1, pandas.NA], dtype="Int64")).tolist() == [False, True]
    assert is_missing(np.array([pandas.NaT, "a"], object)).tolist() == [True, False]
    assert is_missing(pandas.Categorical(["a", None])).tolist() == [False, True]
