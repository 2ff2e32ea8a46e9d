"""The sorted curves of selectivity: numbers, order, legends."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict.display import SelectivityDisplay
from skdict.metrics import held_out_selectivity, selectivity_scores
from skdict.preprocessing import LargestValuesSelector


@pytest.fixture
def codes(rng):
    y = np.repeat(["a", "b", "c"], 20)
    values = (rng.random((60, 10)) < 0.2) * 1.0
    values[:, 0] = (y == "a") & (rng.random(60) < 0.9)
    return csr_array(values), y


def drawn(line):
    return np.asarray(line.get_ydata())


def test_selectivity_curve_is_sorted_best_score_per_label(codes):
    Z, y = codes
    display = SelectivityDisplay.from_codes(Z, y)
    best = selectivity_scores(Z, y).max(axis=1)
    assert np.array_equal(display.best_selectivity, best)
    assert np.array_equal(display.labels, ["a", "b", "c"])
    assert np.array_equal(drawn(display.line_), np.sort(best)[::-1])
    assert display.held_out_line_ is None and display.null_line_ is None
    assert display.figure_ is display.ax_.figure


def test_selectivity_held_out_and_null(codes):
    Z, y = codes
    train, test = np.arange(0, 60, 2), np.arange(1, 60, 2)
    display = SelectivityDisplay.from_codes(
        Z[train], y[train], codes_test=Z[test], y_test=y[test], labels=["c", "a"],
        n_permutations=5, random_state=0, name="model",
    )  # fmt: skip
    expected = held_out_selectivity(Z[train], y[train], Z[test], y[test], labels=["c", "a"])
    assert np.array_equal(display.labels, ["c", "a"])
    assert np.array_equal(display.held_out, expected.test_score)
    assert np.array_equal(drawn(display.held_out_line_), np.sort(expected.test_score)[::-1])
    assert (display.null > 0).all()  # the best of ten components is above zero by chance
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["model", "model, held out", "model, labels permuted"]


def test_a_label_without_held_out_rows_is_a_gap(codes):
    Z, y = codes
    test = np.flatnonzero(y != "b")
    display = SelectivityDisplay.from_codes(Z, y, codes_test=Z[test], y_test=y[test])
    expected = held_out_selectivity(Z, y, Z[test], y[test], labels=["a", "c"]).test_score
    assert np.array_equal(display.labels, ["a", "b", "c"])
    assert np.isnan(display.held_out[1])
    assert np.array_equal(display.held_out[[0, 2]], expected)
    # Sorted as ever, the gap at the end.
    heights = drawn(display.held_out_line_)
    assert np.array_equal(heights[:2], np.sort(expected)[::-1]) and np.isnan(heights[2])
    with pytest.raises(ValueError, match="y_test must hold at least one of the labels"):
        SelectivityDisplay.from_codes(Z, y, codes_test=Z, y_test=np.repeat(["x", "z"], 30))


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_selectivity_axis_names_the_kind(codes, kind):
    display = SelectivityDisplay.from_codes(*codes, kind=kind)
    assert display.kind == kind
    assert display.ax_.get_ylabel() == f"Best {kind} selectivity per label"


def test_selectivity_needs_codes_and_labels_of_held_out_rows(codes):
    Z, y = codes
    with pytest.raises(ValueError, match="y_test; got codes alone"):
        SelectivityDisplay.from_codes(Z, y, codes_test=Z)


def test_several_curves_on_one_axes_differ_in_colour_and_marker(codes):
    Z, y = codes
    first = SelectivityDisplay.from_codes(Z, y, name="one")
    second = SelectivityDisplay.from_codes(Z[:, 1:], y, name="two", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.line_.get_color() != first.line_.get_color()
    assert second.line_.get_marker() != first.line_.get_marker()
    assert len(first.ax_.get_legend().get_texts()) == 2


def test_plot_takes_matplotlib_keywords(codes):
    display = SelectivityDisplay.from_codes(*codes, plot=False)
    assert not hasattr(display, "ax_")
    assert display.plot(color="black", linewidth=3) is display
    assert display.line_.get_color() == "black"
    assert display.line_.get_linewidth() == 3


def test_selectivity_from_estimator_uses_the_pipeline(rng):
    X, y = rng.normal(size=(60, 8)), np.repeat(["a", "b", "c"], 20)
    pipeline = make_pipeline(StandardScaler(), PCA(4), LargestValuesSelector(2)).fit(X)
    display = SelectivityDisplay.from_estimator(pipeline, X, y)
    expected = selectivity_scores(pipeline.transform(X), y).max(axis=1)
    assert np.array_equal(display.best_selectivity, expected)
    assert display.name == "LargestValuesSelector"
    idle = make_pipeline(*(step for _, step in pipeline.steps), "passthrough")
    again = SelectivityDisplay.from_estimator(idle, X, y, plot=False)
    assert np.array_equal(again.best_selectivity, expected)
    assert again.name == "LargestValuesSelector"


def test_the_null_permutes_units():
    """Rows of a unit are alike: the best score by chance is that of few units."""
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(12), 20)
    codes, y = (rng.random((12, 50)) < 0.5).astype(float)[unit], np.repeat(["a", "b"], 6)[unit]
    options = {"n_permutations": 5, "random_state": 0, "plot": False}
    by_row = SelectivityDisplay.from_codes(codes, y, **options)
    by_unit = SelectivityDisplay.from_codes(codes, y, units=unit, **options)
    assert by_unit.null.min() > 2 * by_row.null.max()
    assert "permuted = units" in by_unit.methods()
    assert "permuted = rows" in by_row.methods()
