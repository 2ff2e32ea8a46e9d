"""Bootstrap intervals: resamples by hand, coverage, clusters, donors and differences."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import norm
from sklearn.utils import check_random_state

from skdict._units import Resampler, read_units
from skdict.metrics import (
    best_features,
    selectivity_difference_interval,
    selectivity_interval,
    selectivity_scores,
)

VARIANTS = pytest.mark.parametrize(
    "kind, reference", [("average", "pooled"), ("average", "macro"), ("maximum", "pooled")]
)


def donors(seed, n_donors=12, n_cells=30, m=7):
    """Cells of three types from each donor; the names of donors are in no order."""
    rng = np.random.default_rng(seed)
    donor = rng.integers(0, n_donors, n_cells * n_donors)
    y = rng.choice(["B", "NK", "T"], donor.size, p=[0.2, 0.3, 0.5])
    codes = rng.random((donor.size, m)) < 0.3
    codes[y == "B", 2] = True
    return codes.astype(float), y, donor, (np.arange(n_donors) % 2)[donor]


@VARIANTS
def test_resampled_scores_equal_scores_of_the_rows_drawn(kind, reference):
    codes, y, donor, strata = donors(0)
    feature = [2, 0, 5]
    options = {"kind": kind, "reference": reference}
    interval = selectivity_interval(
        sparse.csr_array(codes), y, feature=feature, units=donor, strata=strata, n_resamples=5,
        random_state=3, **options,
    )  # fmt: skip
    resampler, rng = Resampler(read_units(donor, strata, y.size)), check_random_state(3)
    for resampled in interval.resampled:
        weights = resampler.weights(rng, scaled=True)
        assert weights[::2].sum() == weights[1::2].sum() == 6  # six donors of each stratum
        rows = np.concatenate(
            [np.flatnonzero(donor == d) for d in range(12) for _ in range(weights[d])]
        )
        scores = selectivity_scores(codes[rows], y[rows], **options)
        np.testing.assert_allclose(resampled, scores[[0, 1, 2], feature], atol=1e-12)
    low, high = np.quantile(interval.resampled, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([interval.low, interval.high], [low, high])
    means = np.quantile(interval.resampled.mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose([interval.mean.low, interval.mean.high], means)
    np.testing.assert_allclose(interval.mean.score, interval.score.mean())
    assert interval.n_units.tolist() == [12, 12, 12]
    assert interval.n_drawn.tolist() == [5, 5, 5]


def test_without_a_feature_the_best_of_each_label():
    codes, y, donor, _ = donors(1)
    interval = selectivity_interval(codes, y, n_resamples=10, random_state=0, labels=["T", "B"])
    best = best_features(codes, y, labels=["T", "B"])
    for name in ("labels", "feature", "score"):
        np.testing.assert_array_equal(interval[name], best[name])


def test_width_is_that_of_a_difference_of_two_proportions():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [400, 800])
    codes = (rng.random(1200) < np.where(y == 0, 0.6, 0.2))[:, None]
    interval = selectivity_interval(
        codes, y, feature=[0, 0], confidence_level=0.9, n_resamples=2000, random_state=0
    )
    p = np.array([codes[y == 0].mean(), codes[y == 1].mean()])
    error = np.sqrt((p * (1 - p) / [400, 800]).sum())
    width = 2 * norm.ppf(0.95) * error
    np.testing.assert_allclose(interval.high - interval.low, width, rtol=0.08)


def test_units_cover_where_rows_do_not():
    # 30 wells of 10 images, all images of a well active or none: 30 observations, not 300
    covered = {"wells": [], "images": []}
    well = np.repeat(np.arange(30), 10)
    y = (np.arange(30) % 2)[well]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        active = rng.random(30) < np.where(np.arange(30) % 2 == 0, 0.7, 0.3)
        for name, units in (("wells", well), ("images", None)):
            interval = selectivity_interval(
                active[well][:, None], y, feature=[0, 0], units=units, n_resamples=200,
                random_state=seed,
            )  # fmt: skip
            covered[name].append(interval.low[0] <= 0.4 <= interval.high[0])
    assert np.mean(covered["wells"]) > 0.86
    assert np.mean(covered["images"]) < 0.6


def test_labels_that_are_not_drawn_and_labels_of_one_unit():
    y = np.array(["a"] + ["b"] * 2 + ["c"] * 30)
    codes = np.random.default_rng(0).random((33, 4)) < 0.5
    with pytest.warns(UserWarning, match="1 of 3 labels have a single unit"):
        interval = selectivity_interval(codes, y, n_resamples=400, random_state=0)
    assert interval.n_units.tolist() == [1, 2, 30]
    assert (
        np.isnan(interval.low).tolist() == np.isnan(interval.high).tolist() == [True, False, False]
    )
    # a label with k of n units is missed by (1 - k/n)^n of the resamples
    for label, k in ((0, 1), (1, 2)):
        missed = np.isnan(interval.resampled[:, label]).mean()
        assert abs(missed - (1 - k / 33) ** 33) < 0.1
        assert interval.n_drawn[label] == round(400 * (1 - missed))
    assert not np.isnan(interval.mean.low)


def test_units_alone_in_their_stratum_are_told():
    codes, y, donor, _ = donors(0)
    with pytest.warns(UserWarning, match="10 of 12 units are alone in their stratum"):
        selectivity_interval(
            codes, y, units=donor, strata=np.maximum(donor, 1), n_resamples=5, random_state=0
        )


def test_the_difference_is_paired():
    codes, y, donor, strata = donors(2)
    options = {"units": donor, "strata": strata, "n_resamples": 50, "random_state": 0}
    same = selectivity_difference_interval(codes, codes, y, **options)
    assert (same.resampled == 0).all() and same.mean.low == same.mean.high == 0
    other = np.random.default_rng(9).random((y.size, 11)) < 0.4
    between = selectivity_difference_interval(codes, other, y, **options)
    one, two = (selectivity_interval(values, y, **options) for values in (codes, other))
    np.testing.assert_allclose(between.resampled, one.resampled - two.resampled)
    np.testing.assert_allclose(between.difference, one.score - two.score)
    np.testing.assert_array_equal(between.feature_other, two.feature)
    np.testing.assert_allclose(between.mean.score, one.mean.score - two.mean.score)


def test_frames():
    pytest.importorskip("pandas")
    codes, y, *_ = donors(3)
    frame = selectivity_interval(codes, y, n_resamples=5, random_state=0, as_frame=True)
    assert list(frame.columns) == [
        "labels", "feature", "score", "low", "high", "n_units", "n_drawn"
    ]  # fmt: skip
    frame = selectivity_difference_interval(codes, codes, y, n_resamples=5, as_frame=True)
    assert list(frame.columns)[-5:] == ["difference", "low", "high", "n_units", "n_drawn"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"feature": [0]}, r"feature must hold one integer index per label scored, shape \(2,\)"),
        ({"feature": [0.0, 1.0]}, "feature must hold one integer index"),
        ({"feature": [0, 4]}, "feature must be in 0 to 3, got 0 to 4"),
        ({"strata": [0, 1, 2, 3]}, "units must have a stratum with at least two"),
        ({"units": [0, 0, 1, 1], "strata": [0, 1, 1, 1]}, "unit 0 lies in 0 and 1"),
        ({"units": [0, 0, 0, 0]}, "units must have a stratum with at least two"),
        ({"n_resamples": 0}, "n_resamples must be an integer >= 1"),
        ({"confidence_level": 1.0}, "confidence_level must be less than 1"),
        ({"confidence_level": 95}, "confidence_level must be in"),
    ],
)
def test_errors_name_the_parameter(options, message):
    with pytest.raises(ValueError, match=message):
        selectivity_interval(np.eye(4), ["a", "a", "b", "b"], **options)


def test_errors_of_the_difference():
    y = ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="codes of the same samples, got 4 and 3 rows"):
        selectivity_difference_interval(np.eye(4), np.eye(3), y)
    with pytest.raises(ValueError, match="feature_other must be in 0 to 1"):
        selectivity_difference_interval(np.eye(4), np.eye(4)[:, :2], y, feature_other=[0, 2])
    with pytest.raises(ValueError, match="codes_other must be two-dimensional"):
        selectivity_difference_interval(np.eye(4), np.ones(4), y)


def test_progress_is_printed_when_asked_for(capsys):
    codes, y = np.eye(4), ["a", "a", "b", "b"]
    for function, sets in [
        (selectivity_interval, (codes,)),
        (selectivity_difference_interval, (codes, codes)),
    ]:
        quiet = function(*sets, y, n_resamples=20, random_state=0)
        assert capsys.readouterr().out == ""
        loud = function(*sets, y, n_resamples=20, random_state=0, verbose=1)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 10 and lines[0].startswith("[selectivity] resample 2 of 20, ")
        assert all(line.endswith(" s left") for line in lines)
        np.testing.assert_array_equal(loud.resampled, quiet.resampled)
