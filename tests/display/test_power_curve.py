"""Power curves: what is drawn is what was measured."""

import numpy as np
import pytest

from skdict.display import PowerCurveDisplay
from skdict.effects import DetectionLimit


def measured(strengths=(1.0, 2.0, 4.0), prevalences=(1.0, 0.5)):
    """A measurement with round numbers: 4 repetitions, two pipelines."""
    shape = (2, len(prevalences), len(strengths), 4)
    detected = np.zeros(shape, dtype=bool)
    detected[0, :, 1, :2] = detected[:, 0, 2:] = True
    limit = np.full(shape[:2], np.inf)
    limit[:, 0] = [3.0, 3.5]
    return DetectionLimit(
        pipelines=np.array(["icfl", "raw"]), prevalences=np.array(prevalences),
        strengths=np.array(strengths), detected=detected, n_false=np.zeros(shape, dtype=int),
        false_discovery=np.zeros(shape), limit=limit, limit_low=limit, limit_high=limit,
        n_repeats=4, n_control_units=40, n_plates=2, power=0.8, fdr_level=0.05,
        confidence_level=0.9, left_out=np.array([]),
    )  # fmt: skip


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_curve_for_each_pipeline_with_its_limit():
    shown = PowerCurveDisplay.from_limit(measured(), prevalence=1.0)
    assert list(shown.lines_) == ["icfl", "raw"]
    assert shown.lines_["icfl"].get_xdata().tolist() == [1, 2, 4]
    assert shown.lines_["icfl"].get_ydata().tolist() == [0, 0.5, 1]
    assert shown.target_line_.get_ydata()[0] == 0.8
    assert legend_texts(shown.ax_) == ["power 0.8", "icfl: limit 3", "raw: limit 3.5"]
    assert shown.ax_.get_legend().get_title().get_text() == "whiskers: 90% interval"
    marks = [line for line in shown.ax_.lines if line.get_marker() == "v"]
    assert [float(mark.get_xdata()[0]) for mark in marks] == [3.0, 3.5]
    assert shown.ax_.get_xscale() == "log"
    colors = {line.get_color() for line in shown.lines_.values()}
    assert len(colors) == 2 and {mark.get_color() for mark in marks} == colors


def test_a_line_style_for_each_prevalence():
    shown = PowerCurveDisplay.from_limit(measured())
    assert list(shown.lines_) == [("icfl", 1.0), ("icfl", 0.5), ("raw", 1.0), ("raw", 0.5)]
    full, half = (shown.lines_["icfl", share] for share in (1.0, 0.5))
    assert full.get_color() == half.get_color() and full.get_linestyle() != half.get_linestyle()
    assert "icfl, 50% of rows: limit not reached" in legend_texts(shown.ax_)
    assert "Changed were 100%, 50% of the rows." in shown.methods()


def test_source_data_and_methods():
    limit = measured()
    shown = PowerCurveDisplay.from_limit(limit, prevalence=0.5, name="plates", plot=False)
    data = shown.source_data()
    assert list(data) == ["name", "pipeline", "strength", "power", "low", "high", "limit"]
    rows = limit.table()["prevalence"] == 0.5
    assert np.array_equal(data["power"], limit.table()["power"][rows])
    assert np.array_equal(data["high"], limit.table()["high"][rows])
    assert np.isinf(data["limit"]).all()
    text = shown.methods()
    assert text.startswith("plates: The figure shows the share of the effects planted")
    assert "90% intervals of Clopper and Pearson" in text and "a power of 0.8" in text
    assert "share of rows changed = 0.5; repetitions = 4; control units = 40" in text


def test_whiskers_are_the_intervals_a_little_apart():
    shown = PowerCurveDisplay(
        ["a", "a", "b", "b"], [2, 0, 0, 2], [0.5, 0.1, 0.2, 0.9], low=[0.4, 0, 0.1, 0.8],
        high=[0.6, 0.2, 0.3, 1.0],
    ).plot()  # fmt: skip
    ends = [s for c in shown.ax_.collections for s in c.get_segments()]
    assert np.allclose([e[:, 1] for e in ends], [[0, 0.2], [0.4, 0.6], [0.1, 0.3], [0.8, 1]])
    places = np.array([e[0, 0] for e in ends])
    assert np.abs(places - [0, 2, 0, 2]).max() < 0.05 and np.unique(places).size == 4
    assert shown.ax_.get_xscale() == "linear" and shown.target_line_ is None
    assert legend_texts(shown.ax_) == ["a", "b"]


def test_a_limit_at_the_smallest_strength_lies_there_or_below():
    shown = PowerCurveDisplay(["a", "a"], [1, 2], [0.9, 1], limit=[1, 1], target=0.8).plot()
    assert legend_texts(shown.ax_) == ["power 0.8", "a: limit ≤ 1"]


def test_it_is_saved(tmp_path):
    PowerCurveDisplay.from_limit(measured(), plot=False).save(tmp_path / "power.svg")
    header, *rows = (tmp_path / "power.csv").read_text(encoding="utf-8").splitlines()
    assert header == "pipeline,prevalence,strength,power,low,high,limit" and len(rows) == 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerCurveDisplay([], [], []), "power must hold at least one value"),
        (lambda: PowerCurveDisplay(["a"], [1, 2], [0.5]), r"strength must be of shape \(1,\)"),
        (lambda: PowerCurveDisplay(["a"], [1], [0.5], low=[0]), "low and high are the limits"),
        (lambda: PowerCurveDisplay(["a"], [0], [0.5], log=True), "use log=False"),
        (
            lambda: PowerCurveDisplay.from_limit(measured(), prevalence=0.3),
            r"among those measured, \[1.0, 0.5\], got 0.3",
        ),
    ],
)
def test_bad_columns_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make().plot()
