"""Bars, histograms, maps and the comparison of Fig. 2."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from skdict.display import (
    BinarizerComparisonDisplay,
    DeadAtomsDisplay,
    DirectionHistogramDisplay,
    ProbeAccuracyDisplay,
    SimilarityMapDisplay,
)
from skdict.metrics import direction_separation, perturbation_map


def test_probe_bars_stand_in_their_groups():
    shown = ProbeAccuracyDisplay(
        ["b", "a", "b"], ["raw", "codes", "codes"], [0.9, 0.2, 0.7], chance=[0.5, 0.1, 0.5]
    ).plot()
    heights = {name: [bar.get_height() for bar in bars] for name, bars in shown.bars_.items()}
    assert heights == {"raw": [0.9], "codes": [0.2, 0.7]}
    places = {name: [round(bar.get_center()[0]) for bar in bars]
              for name, bars in shown.bars_.items()}  # fmt: skip
    assert places == {"raw": [0], "codes": [1, 0]}  # "b" came first
    segments = [s for c in shown.ax_.collections for s in c.get_segments()]
    assert [s[0, 1] for s in segments] == [0.5, 0.1]


def test_probe_bars_differ_without_colour():
    shown = ProbeAccuracyDisplay(["t"] * 3, ["a", "b", "c"], [0.1, 0.2, 0.3]).plot()
    assert len({bars[0].get_hatch() for bars in shown.bars_.values()}) == 3


def test_probe_bars_show_a_spread_that_is_no_interval():
    shown = ProbeAccuracyDisplay(["t", "t"], ["a", "b"], [0.5, 0.3], spread=[0.1, 0.05]).plot()
    ends = [s[:, 1].tolist() for c in shown.ax_.collections for s in c.get_segments()]
    assert np.allclose(ends, [[0.4, 0.6], [0.25, 0.35]])
    assert shown.ax_.get_legend().get_title().get_text() == "whiskers: ± spread"
    assert "its spread, which is no interval" in shown.methods()
    assert shown.source_data()["spread"].tolist() == [0.1, 0.05]
    with pytest.raises(ValueError, match="whiskers show one of them"):
        ProbeAccuracyDisplay(
            ["t"], ["a"], [0.5], low=[0.4], high=[0.6], spread=[0.1]
        ).source_data()  # fmt: skip


def test_a_bar_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"\('t', 'raw'\) more than once; average folds"):
        ProbeAccuracyDisplay(["t", "t"], ["raw", "raw"], [0.1, 0.2]).plot()
    with pytest.raises(ValueError, match="balanced_accuracy must hold at least one"):
        ProbeAccuracyDisplay([], [], []).plot()


def test_dead_atoms_of_the_paper():
    shown = DeadAtomsDisplay(
        ["ICFL", "ICFL", "TopK", "TopK"], ["w/o", "w/"] * 2, [55, 341, 7640, 8026], 8192
    ).plot()
    heights = [bar.get_height() for bar in shown.bars_["w/"]]
    assert heights == pytest.approx([100 * 341 / 8192, 100 * 8026 / 8192])
    assert {text.get_text() for text in shown.ax_.texts} == {"55", "341", "7640", "8026"}
    with pytest.raises(ValueError, match="n_dead must not exceed n_components"):
        DeadAtomsDisplay(["a"], ["b"], [5], 4).plot()


def test_direction_histograms_are_shares_of_each_side(rng):
    X = rng.normal(size=(80, 3))
    y = np.repeat(["a", "b"], [20, 60])
    found = direction_separation(X, np.eye(3)[:2], y, n_bins=10)
    shown = DirectionHistogramDisplay.from_directions(X, np.eye(3)[:2], y, n_bins=10)
    assert np.array_equal(shown.auc, found.auc)
    assert len(shown.axes_) == 2
    inside, outside = (patch.get_data().values for patch in shown.axes_[1].patches)
    assert np.allclose(inside, found.counts_label[1] / 60)
    assert np.allclose(outside, found.counts_other[1] / 20)
    title = f"b\nAUC {found.auc[1]:.3f}, d = {found.effect_size[1]:.2f}"
    assert shown.axes_[1].get_title() == title
    columns = shown.source_data()
    assert columns["n_label"].sum() == 80 and columns["n_other"].sum() == 80


def test_direction_histograms_draw_the_bins_in_use_and_long_labels_in_two_lines():
    label = "phosphoinositide dependent kinase inhibitor, and of some others of that family too"
    counts = [[0, 0, 2, 1, 0, 0]]
    shown = DirectionHistogramDisplay(counts, counts, np.linspace(-1, 1, 7), labels=[label]).plot()
    values, edges, _ = shown.ax_.patches[0].get_data()
    assert np.allclose(values, [2 / 3, 1 / 3]) and np.allclose(edges, [-1 / 3, 0, 1 / 3])
    lines = shown.ax_.get_title().split("\n")
    assert len(lines) == 2 and lines[1].endswith("…")
    assert set(shown.source_data()["label"]) == {label}
    assert "AUC" not in shown.methods() and "Cohen" not in shown.methods()


def test_direction_histograms_must_fit():
    with pytest.raises(ValueError, match=r"counts_other must have a row per label.*\(1, 2\)"):
        DirectionHistogramDisplay([[1, 2]], [[1, 2, 3]], [0, 1, 2], labels=["a"]).plot()
    shown = DirectionHistogramDisplay([[1, 2]], [[1, 2]], [0, 1, 2], labels=["a"])
    with pytest.raises(ValueError, match="axes must hold 1 matplotlib Axes"):
        shown.plot(axes=[])


def test_map_is_that_of_the_metric(rng):
    X, y = rng.normal(size=(40, 5)), np.repeat(list("abcd"), 10)
    found = perturbation_map(X, y)
    shown = SimilarityMapDisplay.from_embeddings(X, y)
    assert np.array_equal(np.asarray(shown.image_.get_array()), found.cosine)
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == found.labels.tolist()
    assert shown.image_.get_clim() == (-1.0, 1.0)
    columns = shown.source_data()
    place = (columns["row"] == "a") & (columns["column"] == "c")
    a, c = (found.labels.tolist().index(name) for name in "ac")
    assert columns["cosine"][place].tolist() == [found.cosine[a, c]]


def test_map_refuses_what_is_not_square_and_thins_many_names():
    with pytest.raises(ValueError, match=r"square matrix, got shape \(1, 2\)"):
        SimilarityMapDisplay([[1, 2]]).plot()
    labels = [f"label {i}" for i in range(100)]
    shown = SimilarityMapDisplay(np.eye(100), labels=labels).plot(colorbar=False)
    assert shown.colorbar_ is None
    assert "label 7" not in [tick.get_text() for tick in shown.ax_.get_xticklabels()]
    assert "label 7" in shown.source_data()["row"]


def test_comparison_panels(rng):
    binarized, codes = rng.random(12), rng.random(12)
    sweep = {"mean_active": [100, 10], "mean_score": [0.3, 0.2]}
    shown = BinarizerComparisonDisplay(
        binarized, codes, binarized_sweep=sweep, codes_sweep=sweep, correlation_low=-0.5,
        correlation_high=0.5,
    ).plot()  # fmt: skip
    assert shown.correlation == pytest.approx(pearsonr(binarized, codes)[0])
    a, b, c = shown.axes_
    assert np.array_equal(a.lines[0].get_ydata(), np.sort(binarized)[::-1])
    assert np.array_equal(b.lines[1].get_xdata(), [10, 100])
    assert np.array_equal(b.lines[1].get_ydata(), [0.2, 0.3])
    assert np.array_equal(c.collections[0].get_offsets(), np.stack([binarized, codes], axis=1))
    assert "95% interval -0.50 to 0.50" in c.get_title(loc="right")
    columns = shown.source_data()
    assert columns["label"].size == 12 + 4
    assert columns["mean_active"][12:].tolist() == [100, 10, 100, 10]


def test_comparison_draws_the_spread_of_sweeps():
    sweep = {"mean_active": [10, 5], "mean_score": [0.3, 0.2], "spread": [0.1, 0.05]}
    plain = {"mean_active": [10], "mean_score": [0.3]}
    shown = BinarizerComparisonDisplay(
        [0.1, 0.2, 0.4], [0.1, 0.3, 0.3], binarized_sweep=plain, codes_sweep=sweep
    ).plot()
    (band,) = shown.axes_[1].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.15) and heights.max() == pytest.approx(0.4)
    assert shown.axes_[1].get_legend().get_title().get_text() == "band: ± spread"
    assert shown.source_data()["spread"][-2:].tolist() == [0.1, 0.05]
    assert "no interval" in shown.methods()


def test_two_labels_always_lie_on_a_line():
    shown = BinarizerComparisonDisplay([0.5, 0.1], [0.2, 0.1]).plot()
    assert np.isnan(shown.correlation)
    assert shown.axes_[-1].get_title(loc="right") == "" and "Pearson" not in shown.methods()


def test_comparison_without_sweeps_or_spread():
    shown = BinarizerComparisonDisplay([0.5, 0.5], [0.1, 0.2]).plot()
    assert len(shown.axes_) == 2
    assert np.isnan(shown.correlation)
    sweep = {"mean_active": [1], "mean_score": [0.1]}
    with pytest.raises(ValueError, match="give both or neither"):
        BinarizerComparisonDisplay([0.5], [0.5], codes_sweep=sweep).plot()
    with pytest.raises(ValueError, match="correlation_low and correlation_high"):
        BinarizerComparisonDisplay([0.5], [0.5], correlation_low=0.1).source_data()
