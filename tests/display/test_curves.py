"""Sweeps, counts, stability and subspaces: what is drawn is what was given or counted."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from skdict.display import (
    LearningRateDisplay,
    ProbeSparsityDisplay,
    SelectivityCountDisplay,
    StabilityDisplay,
    SubspaceProbeDisplay,
    SweepDisplay,
)
from skdict.metrics import count_selective, dictionary_stability, random_atoms


def whisker_ends(ax):
    """Lower and upper ends of all vertical whiskers."""
    segments = [s for c in ax.collections for s in getattr(c, "get_segments", list)()]
    return np.array([[s[0, 1], s[-1, 1]] for s in segments])


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_sweep_is_drawn_in_order_with_its_own_whiskers():
    shown = SweepDisplay(
        [4, 1], [0.6, 0.4], low=[0.5, 0.1], high=[0.9, 0.45], name="model", confidence_level=0.9
    ).plot()
    assert np.array_equal(shown.line_.get_xdata(), [1, 4])
    assert np.array_equal(shown.line_.get_ydata(), [0.4, 0.6])
    assert np.allclose(whisker_ends(shown.ax_), [[0.1, 0.45], [0.5, 0.9]])
    note = shown.ax_.get_legend().get_title().get_text()
    assert note == "whiskers: 90% interval, units resampled"


def test_an_interval_that_leaves_its_estimate_outside_is_drawn():
    shown = SweepDisplay([1], [0.5], low=[0.6], high=[0.7]).plot()
    assert np.allclose(whisker_ends(shown.ax_), [[0.5, 0.7]])


def test_spread_is_a_band_and_never_called_an_interval():
    shown = LearningRateDisplay([1e-4, 1e-3], [0.5, 0.6], spread=[0.1, 0.2], name="model").plot()
    heights = shown.band_.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.4) and heights.max() == pytest.approx(0.8)
    assert shown.ax_.get_xscale() == "log"
    assert "interval" not in shown.ax_.get_legend().get_title().get_text()
    assert "no interval" in shown.methods()


def test_reference_is_drawn_once_for_all_curves():
    first = ProbeSparsityDisplay([1, 2], [0.2, 0.3], raw=0.5, name="one").plot()
    second = ProbeSparsityDisplay([1, 2], [0.1, 0.2], raw=0.5, name="two").plot(first.ax_)
    assert second.reference_line_ is first.reference_line_
    assert sorted(legend_texts(first.ax_)) == ["one", "raw embeddings", "two"]
    other = ProbeSparsityDisplay([1], [0.1], raw=0.6, name="three").plot(first.ax_)
    assert other.reference_line_ is not first.reference_line_


def test_raw_embeddings_have_the_name_given():
    shown = ProbeSparsityDisplay([1, 2], [0.2, 0.3], raw=0.5, raw_name="profiles", name="m").plot()
    assert sorted(legend_texts(shown.ax_)) == ["m", "profiles"]
    assert "The dashed line is profiles at 0.5." in shown.methods()


def test_few_values_on_a_logarithmic_axis_are_its_ticks():
    first = LearningRateDisplay([0.3, 1], [0.5, 0.6], value_name="Rate / default").plot()
    LearningRateDisplay([1, 3], [0.5, 0.6], value_name="Rate / default").plot(first.ax_)
    labels = [tick.get_text() for tick in first.ax_.get_xticklabels()]
    assert labels == ["0.3", "1", "3"]
    assert first.ax_.get_xlabel() == "Rate / default"
    many = LearningRateDisplay(np.geomspace(1e-5, 1, 30), np.ones(30)).plot()
    assert len(many.ax_.get_xticks()) < 30


def test_curves_on_one_axes_differ():
    first = SweepDisplay([1], [1], name="a").plot()
    second = SweepDisplay([1], [2], name="b").plot(first.ax_)
    assert first.line_.get_color() != second.line_.get_color()
    assert first.line_.get_marker() != second.line_.get_marker()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": [0.1, 0.1]}, "low and high are the limits of one interval"),
        ({"low": [0.1], "high": [0.2, 0.2]}, r"low must be of shape \(2,\), got shape \(1,\)"),
        ({"spread": [0.1]}, r"spread must be of shape \(2,\)"),
    ],
)
def test_columns_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SweepDisplay([1, 2], [0.3, 0.4], **options).plot()


def test_counts_are_those_of_the_metric(rng):
    codes = csr_array((rng.random((60, 12)) < 0.3) * 1.0)
    y = np.repeat(["a", "b", "c"], 20)
    shown = SelectivityCountDisplay.from_codes(codes, y, thresholds=[0.9, 0.05, 0.1])
    expected = count_selective(codes, y, thresholds=[0.9, 0.05, 0.1])
    assert np.array_equal(shown.n_features, expected) and expected[0] == 0 < expected[2]
    # From left to right on a logarithmic axis; a count of zero is not on it.
    assert np.array_equal(shown.line_.get_xdata(), [0.05, 0.1, 0.9])
    assert np.array_equal(shown.line_.get_ydata()[:2], expected[1:])
    assert np.isnan(shown.line_.get_ydata()[2])
    assert shown.source_data()["n_features"][0] == 0
    assert "rows = 60; labels = 3" in shown.methods() and "of 12 components" in shown.methods()


def test_stability_is_that_of_the_metric():
    atoms = random_atoms(20, 8, random_state=0)
    other = np.vstack([atoms[:10], random_atoms(10, 8, random_state=1)])
    found = dictionary_stability(atoms, other, n_random=3, random_state=5)
    shown = StabilityDisplay.from_components(atoms, other, n_random=3, random_state=5, name="x")
    assert np.array_equal(shown.similarity, found.similarity)
    assert np.array_equal(shown.line_.get_ydata(), np.sort(found.similarity)[::-1])
    assert shown.threshold_line_.get_ydata()[0] == found.threshold
    assert shown.stable_fraction == pytest.approx(found.stable_fraction)
    assert legend_texts(shown.ax_) == [f"x ({100 * found.stable_fraction:.0f}% stable)"]


def test_unmatched_atoms_do_not_count_as_unstable():
    assert StabilityDisplay([0.9, np.nan, 0.1], threshold=0.5).stable_fraction == 0.5
    assert np.isnan(StabilityDisplay([0.9]).stable_fraction)
    assert "the mean is 0.500" in StabilityDisplay([0.9, np.nan, 0.1]).methods()


def test_subspaces_over_layers():
    shown = SubspaceProbeDisplay(
        ["row", "null", "row", "null"], [0.5, 0.9, 0.6, 1.0], layer=[16, 16, 4, 4]
    ).plot()
    assert list(shown.lines_) == ["row", "null"]
    assert np.array_equal(shown.lines_["null"].get_ydata(), [0.9, 1.0])
    # Layers in the order given, not sorted as text.
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == ["16", "4"]


def test_subspaces_of_one_layer():
    shown = SubspaceProbeDisplay(["row", "null"], [0.5, 0.9], low=[0.4, 0.8], high=[0.6, 1]).plot()
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == ["row", "null"]
    assert np.allclose(whisker_ends(shown.ax_), [[0.4, 0.6], [0.8, 1.0]])
    spread = SubspaceProbeDisplay(["row", "null"], [0.5, 0.9], spread=[0.1, 0.05]).plot()
    assert np.allclose(whisker_ends(spread.ax_), [[0.4, 0.6], [0.85, 0.95]])
    assert "no interval" in spread.methods()


def test_counts_that_are_all_zero_can_be_saved(tmp_path):
    display = SelectivityCountDisplay([0.2, 0.5], [0, 0])
    assert display.save(tmp_path / "zero.svg").exists()
