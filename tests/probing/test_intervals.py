"""Intervals of balanced accuracy against arithmetic, exact distributions and plain resampling."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, recall_score

from skdict.probing import probe_difference_interval, probe_interval


@pytest.fixture
def wells():
    """Rows of 60 wells on three plates; the rows of a well tend to be right or wrong together."""
    rng = np.random.default_rng(0)
    well = np.repeat(np.arange(60), 5)
    y = np.array(list("abc"))[np.repeat(rng.integers(0, 3, 60), 5)]
    easy = np.repeat(rng.random(60), 5)
    predictions = []
    for strength in (1.0, 0.8):
        right = rng.random(300) < strength * easy
        predictions.append(np.where(right, y, np.array(list("abc"))[rng.integers(0, 3, 300)]))
    return {
        "y": y,
        "pred": predictions[0],
        "other": predictions[1],
        "well": well,
        "plate": well % 3,
    }


def plain_resamples(y, predictions, well, plate, n_resamples, seed):
    """Rows of drawn wells put below each other and handed to scikit-learn."""
    rng = np.random.default_rng(seed)
    rows_of = {unit: np.flatnonzero(well == unit) for unit in np.unique(well)}
    strata = [np.unique(well[plate == p]) for p in np.unique(plate)]
    found = np.empty((n_resamples, len(predictions)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that were not drawn
        for i in range(n_resamples):
            drawn = np.concatenate([rng.choice(units, units.size) for units in strata])
            rows = np.concatenate([rows_of[unit] for unit in drawn])
            found[i] = [balanced_accuracy_score(y[rows], p[rows]) for p in predictions]
    return found


def test_scores_are_those_of_scikit_learn(wells):
    found = probe_interval(wells["y"], wells["pred"], units=wells["well"], random_state=0)
    assert found.balanced_accuracy == pytest.approx(
        balanced_accuracy_score(wells["y"], wells["pred"])
    )
    np.testing.assert_allclose(found.recall, recall_score(wells["y"], wells["pred"], average=None))
    assert found.labels.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(
        found.n_samples_per_label, [(wells["y"] == label).sum() for label in "abc"]
    )
    np.testing.assert_array_equal(found.n_units_per_label * 5, found.n_samples_per_label)
    assert (found.n_units, found.n_strata, found.n_samples) == (60, 1, 300)
    assert found.low < found.balanced_accuracy < found.high
    assert (found.recall_low <= found.recall).all() and (found.recall <= found.recall_high).all()


@pytest.mark.parametrize("stratified", [False, True])
def test_intervals_agree_with_plain_resampling(wells, stratified):
    plate = wells["plate"] if stratified else np.zeros(300)
    strata = wells["plate"] if stratified else None
    plain = plain_resamples(
        wells["y"], [wells["pred"], wells["other"]], wells["well"], plate, 700, seed=1
    )
    options = {"units": wells["well"], "strata": strata, "n_resamples": 4000, "random_state": 0}
    one = probe_interval(wells["y"], wells["pred"], **options)
    assert one.n_strata == (3 if stratified else 1)
    both = probe_difference_interval(wells["y"], wells["pred"], wells["other"], **options)
    for found, values in [(one, plain[:, 0]), (both, plain[:, 0] - plain[:, 1])]:
        # the outer quantiles of 700 draws have a standard error of about 0.1 deviations
        deviation = values.std()
        expected = np.quantile(values, [0.025, 0.975])
        np.testing.assert_allclose([found.low, found.high], expected, atol=0.35 * deviation)
        assert found.standard_error == pytest.approx(deviation, rel=0.1)
        # two samples of one distribution
        assert stats.ks_2samp(found.resamples, values).pvalue > 1e-3


def test_the_distribution_of_two_units_per_label_is_exact():
    # of two wells of a label one is right: recall 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    y, pred = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    found = probe_interval(y, pred, units=None, strata=y, n_resamples=4000, random_state=0)
    values, counts = np.unique(found.resamples, return_counts=True)
    assert values.tolist() == [0.5, 0.75, 1.0]
    assert stats.chisquare(counts, 4000 * np.array([0.25, 0.5, 0.25])).pvalue > 1e-3
    assert (found.low, found.high) == (0.5, 1.0)
    assert found.n_strata == 2


def test_the_standard_error_of_independent_rows_has_a_formula():
    # with label as stratum: variance 1/L^2 sum_i p_i (1 - p_i) / n_i
    sizes, right = np.array([40, 100, 250]), np.array([30, 40, 225])
    y = np.repeat([0, 1, 2], sizes)
    pred = np.concatenate(
        [np.where(np.arange(n) < k, i, -1) for i, (n, k) in enumerate(zip(sizes, right))]
    )
    found = probe_interval(y, pred, units=None, strata=y, n_resamples=8000, random_state=0)
    share = right / sizes
    expected = np.sqrt((share * (1 - share) / sizes).sum()) / 3
    assert found.standard_error == pytest.approx(expected, rel=0.03)
    low, high = stats.norm.interval(0.95, loc=share.mean(), scale=expected)
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=0.1 * expected)


def test_rows_of_a_unit_share_its_fate(wells):
    """Say everything ten times: the interval by wells stays, that by rows shrinks falsely."""
    y, pred = np.repeat(wells["y"], 10), np.repeat(wells["pred"], 10)
    options = {"n_resamples": 300, "random_state": 0}
    once = probe_interval(wells["y"], wells["pred"], units=wells["well"], **options)
    often = probe_interval(y, pred, units=np.repeat(wells["well"], 10), **options)
    np.testing.assert_allclose(often.resamples, once.resamples)
    rows = probe_interval(y, pred, units=None, **options)
    assert rows.standard_error < once.standard_error / 3


def test_intervals_by_units_cover_and_intervals_by_rows_do_not():
    """Wells of 20 rows that are all right or all wrong; the truth is 0.7 for both labels."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 600)
    unit = np.arange(1200) // 20
    covered = {"units": 0, "rows": 0}
    for seed in range(120):
        right = np.repeat(rng.random(60) < 0.7, 20)
        pred = np.where(right, y, 1 - y)
        for name, units in [("units", unit), ("rows", None)]:
            found = probe_interval(
                y, pred, units=units, strata=y, n_resamples=200, random_state=seed
            )
            covered[name] += found.low <= 0.7 <= found.high
    assert covered["units"] / 120 > 0.88
    assert covered["rows"] / 120 < 0.6


def test_differences_are_paired_and_antisymmetric(wells):
    options = {"units": wells["well"], "n_resamples": 500, "random_state": 3}
    y, pred, other = wells["y"], wells["pred"], wells["other"]
    found = probe_difference_interval(y, pred, other, **options)
    back = probe_difference_interval(y, other, pred, **options)
    assert found.difference == pytest.approx(-back.difference)
    assert found.low == pytest.approx(-back.high)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, pred))
    assert found.balanced_accuracy_other == pytest.approx(balanced_accuracy_score(y, other))
    same = probe_difference_interval(y, pred, pred, **options)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    # the same draws as the single intervals
    single = [probe_interval(y, p, **options).resamples for p in (pred, other)]
    np.testing.assert_allclose(found.resamples, single[0] - single[1])


def test_confidence_level_seed_and_types(wells):
    y, pred, well = wells["y"], wells["pred"], wells["well"]
    wide = probe_interval(y, pred, units=well, random_state=0)
    narrow = probe_interval(y, pred, units=well, confidence_level=0.5, random_state=0)
    assert wide.low < narrow.low < narrow.high < wide.high
    named = np.array([f"plate{w % 3}_{w}" for w in well])
    again = probe_interval(list(y), list(pred), units=list(named), random_state=0)
    assert again.n_units == 60
    # names are drawn in another order: equal in distribution, not draw by draw
    assert again.standard_error == pytest.approx(wide.standard_error, rel=0.15)
    repeated = probe_interval(y, pred, units=well, random_state=0)
    np.testing.assert_array_equal(repeated.resamples, wide.resamples)


def test_labels_with_one_unit_are_told():
    y = np.repeat(["a", "b", "c"], [20, 20, 5])
    unit = np.concatenate([np.arange(40) // 4, np.full(5, 99)])
    with pytest.warns(UserWarning, match="1 of 3 labels have a single unit"):
        found = probe_interval(y, y, units=unit, random_state=0)
    assert np.isnan(found.recall_low).tolist() == [False, False, True]
    assert np.isnan(found.recall_high).tolist() == [False, False, True]
    assert found.n_units_per_label.tolist() == [5, 5, 1]


def test_units_alone_in_their_stratum_are_told(wells):
    strata = np.maximum(wells["well"], 1)
    with pytest.warns(UserWarning, match="58 of 60 units are alone in their stratum"):
        probe_interval(
            wells["y"], wells["pred"], units=wells["well"], strata=strata, random_state=0
        )


def test_missing_labels_are_no_labels(wells):
    """NaN in y_true was a label of its own, and one in y_pred a wrong prediction."""
    y, pred, well = np.arange(300.0) % 3, np.arange(300.0) % 3, wells["well"]
    gone = y.copy()
    gone[:5] = np.nan
    with pytest.raises(ValueError, match="y_true holds missing values"):
        probe_interval(gone, pred, units=well)
    with pytest.raises(ValueError, match="y_pred holds missing values"):
        probe_interval(y, gone, units=well)
    with pytest.raises(ValueError, match="y_pred_other holds missing values"):
        probe_difference_interval(y, pred, gone.astype(object), units=well)
    with pytest.raises(ValueError, match="y_true holds missing values"):
        probe_interval([float("nan"), "a", "b"], ["a", "a", "b"], units=None)


def test_strings_and_numbers_of_one_name_differ_also_in_columns_of_objects():
    y = np.tile([0, 1], 10)
    with pytest.raises(ValueError, match="y_pred must hold labels of the kind of y_true"):
        probe_interval(y.astype(str), y.astype(object), units=None)
    found = probe_interval(y.astype(str), y.astype(str).astype(object), units=None, random_state=0)
    assert found.balanced_accuracy == 1


def test_errors_name_the_parameter(wells):
    y, pred, well = wells["y"], wells["pred"], wells["well"]

    def run(y_true=y, y_pred=pred, **options):
        return probe_interval(y_true, y_pred, **({"units": well} | options))

    for options, message in [
        ({"y_pred": pred[:-1]}, "y_pred must have one entry per row"),
        ({"y_pred": np.zeros(300)}, "y_pred must hold labels of the kind"),
        ({"y_true": []}, "y_true must be one-dimensional and not empty"),
        ({"units": well[:-1]}, "units must have one entry per row"),
        ({"units": np.full(300, np.nan)}, "units holds missing values"),
        ({"strata": np.arange(300)}, "units must lie in one stratum each"),
        ({"strata": well}, "units must have a stratum with at least two"),
        ({"units": np.zeros(300)}, "units must have a stratum with at least two"),
        ({"n_resamples": 0}, "n_resamples must be an integer >= 1"),
        ({"confidence_level": 1.5}, "confidence_level must be in"),
        ({"confidence_level": 1.0}, "confidence_level must be less than 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**options)
    with pytest.raises(ValueError, match="y_pred_other must have one entry"):
        probe_difference_interval(y, pred, pred[1:], units=None)
