"""The summary of probe_representations: intervals of pooled predictions, paired with raw."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, RepeatedStratifiedKFold

from skdict.preprocessing import LargestValuesSelector
from skdict.probing import probe_difference_interval, probe_interval, probe_representations

RESAMPLING = {"n_resamples": 60, "confidence_level": 0.8, "random_state": 3}


@pytest.fixture
def wells():
    """Noisy rows of 48 wells on four plates, two rows each, and control wells among them."""
    rng = np.random.default_rng(0)
    well = rng.permutation(np.repeat(np.arange(48), 2))
    y = np.array(list("abc"))[well % 3]
    X = rng.normal(size=(96, 6)) + rng.normal(size=(48, 6))[well]
    X[:, :3] += y[:, None] == np.array(list("abc"))
    return {"X": X, "y": y, "well": well, "plate": well // 12, "control": well % 8 == 7}


def probed(wells, **options):
    given = {"groups": wells["plate"], "cv": GroupKFold(4), "Cs": 0.1} | options
    return probe_representations(PCA(3, random_state=0), wells["X"], wells["y"], **given)


def predicted(predictions, name):
    """Predictions of a representation in the order of the rows, row by row."""
    here = predictions["representation"] == name
    order = np.argsort(predictions["row"][here], kind="stable")
    return tuple(predictions[column][here][order] for column in ("row", "y_true", "y_pred"))


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("controls", [False, True])
def test_it_holds_the_intervals_one_computes_by_hand(wells, stratified, controls):
    strata = wells["plate"] if stratified else None
    table, predictions, summary = probed(
        wells,
        baselines={"largest": LargestValuesSelector(2)},
        control=wells["control"] if controls else None,
        units=wells["well"],
        strata=strata,
        return_predictions=True,
        **RESAMPLING,
    )
    names = ["raw", "codes", "reconstruction", "largest"]
    assert summary["representation"].tolist() == names
    raw = predicted(predictions, "raw")[2]
    for i, name in enumerate(names):
        rows, y_true, y_pred = predicted(predictions, name)
        within = None if strata is None else strata[rows]
        options = {"units": wells["well"][rows], "strata": within, **RESAMPLING}
        own = probe_interval(y_true, y_pred, **options)
        pair = probe_difference_interval(y_true, y_pred, raw, **options)
        expected = {
            "balanced_accuracy": own.balanced_accuracy,
            "low": own.low,
            "high": own.high,
            "difference": pair.difference,
            "difference_low": pair.low,
            "difference_high": pair.high,
            "n_units": own.n_units,
        }
        assert {key: summary[key][i] for key in expected} == pytest.approx(expected)
        assert own.balanced_accuracy == pytest.approx(balanced_accuracy_score(y_true, y_pred))
    assert summary["n_units"].tolist() == [42 if controls else 48] * 4
    assert [summary[f"difference{end}"][0] for end in ("", "_low", "_high")] == [0, 0, 0]
    # the mean over folds is another number than the pooled one, and both are there
    assert table["balanced_accuracy"].shape == (16,)


def test_repeats_of_a_row_are_one_unit(wells):
    """Ten repeats of cross-validation neither add units nor make the interval narrower."""
    widths = {}
    for n_repeats in (1, 10):
        _, predictions, summary = probed(
            wells,
            groups=None,
            cv=RepeatedStratifiedKFold(n_splits=3, n_repeats=n_repeats, random_state=0),
            units=np.arange(96),
            return_predictions=True,
            n_resamples=400,
            random_state=0,
        )
        assert (summary["n_units"] == 96).all()
        widths[n_repeats] = summary["high"] - summary["low"]
    rows, y_true, y_pred = predicted(predictions, "raw")
    assert rows.shape == (960,)
    by_hand = probe_interval(y_true, y_pred, units=rows, n_resamples=400, random_state=0)
    assert summary["low"][0] == pytest.approx(by_hand.low)
    assert summary["high"][0] == pytest.approx(by_hand.high)
    wrong = probe_interval(y_true, y_pred, units=None, n_resamples=400, random_state=0)
    assert (widths[10] > 0.7 * widths[1]).all()
    assert widths[10][0] > 2 * (wrong.high - wrong.low)


def test_without_raw_there_is_no_difference(wells):
    _, summary = probed(
        wells, representations="codes", baselines={"two": PCA(2)}, units=wells["well"], **RESAMPLING
    )
    assert summary["representation"].tolist() == ["codes", "two"]
    for end in ("", "_low", "_high"):
        assert np.isnan(summary[f"difference{end}"]).all()
    assert (summary["low"] < summary["balanced_accuracy"]).all()


def test_it_comes_last_and_only_with_units(wells):
    frame = pytest.importorskip("pandas").DataFrame
    plain = probed(wells)
    tables = probed(
        wells, units=wells["well"], return_recall=True, return_predictions=True, **RESAMPLING
    )
    assert [("seen" in t, "y_pred" in t, "n_units" in t) for t in tables] == [
        (False, False, False), (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip
    for name, column in plain.items():
        np.testing.assert_array_equal(tables[0][name], column)
    _, summary = probed(wells, units=wells["well"], as_frame=True, **RESAMPLING)
    assert isinstance(summary, frame) and summary.columns.tolist() == list(tables[3])


class Unfittable(BaseEstimator):
    """Says so when a mistake is found too late."""

    def fit(self, X, y=None):
        raise AssertionError("fitted before units and strata were looked at")

    def transform(self, X):
        raise AssertionError("not fitted")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"strata": np.zeros(96)}, "strata must come with units, got units=None"),
        ({"units": np.arange(5)}, "units must have one entry per row"),
        ({"units": np.arange(96) // 2, "strata": np.arange(96)}, "units must lie in one stratum"),
        ({"units": np.zeros(96)}, "units must have a stratum with at least two"),
        ({"units": np.arange(96), "n_resamples": 0}, "n_resamples must be an integer >= 1"),
        ({"units": np.arange(96), "confidence_level": 1}, "confidence_level must be less than 1"),
    ],
)
def test_mistakes_are_found_before_anything_is_fitted(wells, wrong, message):
    with pytest.raises(ValueError, match=message):
        probe_representations(
            Unfittable(), wells["X"], wells["y"], groups=None, cv=3, representations="codes",
            **wrong,
        )  # fmt: skip


def test_controls_need_no_unit(wells):
    units = wells["well"].astype(object)
    units[wells["control"]] = None
    _, summary = probed(wells, units=units, control=wells["control"], **RESAMPLING)
    assert (summary["n_units"] == 42).all()


def test_warnings_point_to_the_call(wells):
    units = np.where(wells["y"] == "a", 99, wells["well"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe_representations(
            None, wells["X"], wells["y"], groups=None, cv=3, representations="raw", Cs=0.1,
            units=units, strata=np.where(units == 99, 1, 0), **RESAMPLING,
        )  # fmt: skip
    messages = [str(warning.message) for warning in caught]
    assert any("1 of 3 labels have a single unit" in message for message in messages)
    assert any("1 of 33 units are alone in their stratum" in message for message in messages)
    assert {warning.filename for warning in caught} == {__file__}
