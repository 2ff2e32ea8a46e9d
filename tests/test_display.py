"""The displays: the numbers they compute, what they draw, and what they leave alone."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ICFLDictionary
from skdict.display import AtomUsageDisplay, SelectivityDisplay, SparsityReconstructionDisplay
from skdict.metrics import held_out_selectivity, reconstruction_cosine, selectivity_scores
from skdict.preprocessing import LargestValuesSelector

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


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


def test_sparsity_curve_of_one_dictionary(planted):
    X = planted.data[:200]
    dictionary = ICFLDictionary(48, n_nonzero_coefs=4, max_steps=20, random_state=0)
    pipeline = make_pipeline(Normalizer(), dictionary).fit(X)
    display = SparsityReconstructionDisplay.from_estimator(
        pipeline, X, n_nonzero_coefs=[4, 1, 2], name="ICFL"
    )
    unit = Normalizer().transform(X)
    fitted = pipeline[-1]
    rebuilt = fitted.inverse_transform(fitted.transform(unit))
    assert display.cosine[0] == pytest.approx(reconstruction_cosine(unit, rebuilt))
    assert display.cosine[1] < display.cosine[2] < display.cosine[0]
    assert display.n_nonzero[1] == pytest.approx(1.0)
    # Drawn from left to right, whatever the order asked for; the estimator is as it was.
    assert (np.diff(display.line_.get_xdata()) > 0).all()
    assert fitted.transform_n_nonzero_coefs is None


def test_sparsity_needs_a_dictionary_that_can_change_it(rng):
    X = rng.normal(size=(20, 4))
    with pytest.raises(ValueError, match="transform_n_nonzero_coefs, got PCA"):
        SparsityReconstructionDisplay.from_estimator(PCA(2).fit(X), X, n_nonzero_coefs=[1])


def test_sparsity_lists_must_have_one_length():
    X = np.eye(3)
    with pytest.raises(ValueError, match="reconstructions, codes"):
        SparsityReconstructionDisplay.from_reconstructions(X, [X, X], codes=[X])


def test_sparsity_band():
    display = SparsityReconstructionDisplay([2, 1], [0.8, 0.6], spread=[0.1, 0.2]).plot()
    heights = display.band_.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.4)
    assert heights.max() == pytest.approx(0.9)


@pytest.mark.parametrize("convert", [np.asarray, csr_array])
def test_usage_counts_atoms_and_dead_ones(convert):
    codes = np.zeros((100, 4))
    codes[:, 0], codes[:10, 1], codes[0, 2] = 1.0, -1.0, 2.0
    display = AtomUsageDisplay.from_codes(convert(codes), name="model")
    assert np.array_equal(display.frequency, [1.0, 0.1, 0.01, 0.0])
    assert display.n_dead == 1
    assert display.ax_.get_legend().get_texts()[0].get_text() == "model (1 dead of 4)"
    heights, _ = np.histogram([0.0, -1.0, -2.0], np.linspace(np.log10(0.005), 0, 21))
    outline = display.bars_[0].get_path().vertices[:, 1]
    assert outline.max() == heights.max()
    assert heights.sum() == 3  # every living atom is inside the axis


def test_usage_threshold_and_all_dead():
    display = AtomUsageDisplay([0.5, 0.001], n_samples=1000, min_fraction=0.01).plot()
    assert display.n_dead == 1
    assert AtomUsageDisplay([0.0, 0.0], n_samples=10).plot().n_dead == 2


def test_usage_from_estimator(planted):
    dictionary = ICFLDictionary(16, max_steps=2, random_state=0).fit(planted.data[:100])
    display = AtomUsageDisplay.from_estimator(dictionary, planted.data[:100])
    assert display.frequency.shape == (16,)
    assert display.name == "ICFLDictionary"


def test_matplotlib_is_loaded_late_and_its_settings_stay():
    code = """
import sys
from skdict.display import AtomUsageDisplay
display = AtomUsageDisplay.from_codes([[1.0, 0.0]], plot=False)
assert "matplotlib" not in sys.modules
import matplotlib
before = dict(matplotlib.rcParams)
display.plot()
assert dict(matplotlib.rcParams) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
