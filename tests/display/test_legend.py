"""One legend for several panels, and names that fit small axes."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from skdict.display import (
    DeadAtomsDisplay,
    ProbeAccuracyDisplay,
    ProbeSparsityDisplay,
    SelectivityDisplay,
    SweepDisplay,
)


def texts(box):
    return [text.get_text() for text in box.get_texts()]


@pytest.mark.parametrize("layout", ["constrained", None])
def test_one_legend_takes_the_place_of_all(layout, tmp_path):
    figure, axes = plt.subplots(1, 2, layout=layout)
    for ax in axes:
        for name in ("one", "two"):
            shown = ProbeSparsityDisplay([1, 2], [0.1, 0.2], spread=[0.1, 0.1], raw=0.3, name=name)
            shown.plot(ax)
    assert shown.share_legend() is shown
    assert all(ax.get_legend() is None for ax in axes)
    (box,) = figure.legends
    # What the curves are compared with stands last, although the first curve draws it.
    assert texts(box) == ["one", "two", "raw embeddings"]
    assert box.get_title().get_text() == "band: ± spread"
    figure.draw_without_rendering()
    inverse = figure.dpi_scale_trans.inverted()
    top = box.get_window_extent().transformed(inverse).ymax
    assert all(ax.get_tightbbox().transformed(inverse).ymin >= top for ax in axes)
    shown.save(tmp_path / "f.svg")  # and a legend outside the figure is saved with it


def test_a_shared_legend_is_made_again_and_never_twice():
    figure = Figure(layout="constrained")
    first, second = figure.subplots(1, 2)
    shown = SweepDisplay([1], [0.1], name="a").plot(first).share_legend()
    assert shown.share_legend() is shown
    assert texts(figure.legends[0]) == ["a"]
    SweepDisplay([1], [0.2], name="a").plot(first)
    SweepDisplay([1], [0.2], name="b").plot(second).share_legend()
    assert [texts(box) for box in figure.legends] == [["a", "b"]]


def test_panels_without_names_get_no_legend():
    shown = SweepDisplay([1, 2], [0.1, 0.2]).share_legend()
    assert shown.figure_.legends == []


def test_a_legend_too_wide_for_one_row_has_columns_of_like_length():
    shown = ProbeAccuracyDisplay(
        ["t"] * 6, [f"a representation with a long name {i}" for i in range(6)], np.ones(6)
    )
    box = shown.plot(Figure(figsize=(9, 3)).subplots()).share_legend().figure_.legends[0]
    assert len(texts(box)) == 6
    assert box._ncols == 2  # 3 rows of 2 where 3 fit: no row is nearly empty
    assert "representation with a long name 0" in texts(box)[0]


def test_names_break_into_like_lines_where_axes_are_small():
    small = SelectivityDisplay([0.5, 0.2]).plot(Figure(figsize=(3, 2.6)).subplots())
    assert small.ax_.get_ylabel() == "Best average\nselectivity per label"
    lines = small.ax_.get_xlabel().split("\n")
    assert len(lines) == 2 and abs(len(lines[0]) - len(lines[1])) < 6
    large = SelectivityDisplay([0.5, 0.2]).plot()
    assert "\n" not in large.ax_.get_xlabel() + large.ax_.get_ylabel()


def test_what_is_counted_has_whole_ticks():
    shown = SelectivityDisplay([0.5, 0.2]).plot()
    assert all(float(tick).is_integer() for tick in shown.ax_.get_xticks())


@pytest.mark.parametrize(
    "shown",
    [
        ProbeAccuracyDisplay(["t", "t"], ["on", "off"], [0.5, 0.4]),
        DeadAtomsDisplay(["m", "m"], ["on", "off"], [1, 2], 4),
    ],
)
def test_bars_can_be_styled_by_name(shown):
    shown.plot(styles={"on": {"color": "red"}, "off": {"color": "red", "hatch": "//"}})
    bars = {name: container[0] for name, container in shown.bars_.items()}
    assert bars["on"].get_facecolor() == bars["off"].get_facecolor() == (1, 0, 0, 1)
    assert bars["off"].get_hatch() == "//"
    with pytest.raises(ValueError, match="styles names 'of', but there are only bars of 'on', 'o"):
        shown.plot(styles={"of": {}})


def test_long_groups_break_before_they_turn():
    model = ["an autoencoder without any loss", "b"]
    shown = DeadAtomsDisplay(model, ["x", "x"], [1, 2], 4).plot()
    ticks = shown.ax_.get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["an autoencoder\nwithout any loss", "b"]
    assert {tick.get_rotation() for tick in ticks} == {0.0}
    assert shown.source_data()["model"].tolist() == model


def test_text_of_a_saved_figure_is_outlines_that_keep_their_places(tmp_path):
    shown = SweepDisplay([1, 2], [0.1, 0.2], name="a model").plot()
    shown.save(tmp_path / "f.svg")
    svg = (tmp_path / "f.svg").read_text()
    shown.figure_.savefig(tmp_path / "g.svg", bbox_inches="tight")
    places = [
        np.array([float(x) for x in re.findall(r'translate\((\d+\.?\d*) 0\)"/>', text)])
        for text in (svg, (tmp_path / "g.svg").read_text())
    ]
    assert places[0].size > 20 and "<text" not in svg
    np.testing.assert_allclose(*places, atol=0.01)
