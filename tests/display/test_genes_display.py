"""Displays of genes: what stands where, beside what, and what is said of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import Bunch

from skdict.datasets import make_driver_genes
from skdict.display import GeneAttributionDisplay, InterpretableShareDisplay
from skdict.genes import (
    DirectionConcepts,
    attribute_genes,
    compare_gene_lists,
    differential_expression,
    find_counterfactuals,
    interpretable_share,
    null_counterfactuals,
)


@pytest.fixture(scope="module")
def planted():
    data = make_driver_genes(random_state=0)
    E = data.embed(data.counts)
    model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
    depth = data.counts.sum(axis=1)
    pairs = find_counterfactuals(E, model, [0, 1], depth=depth, units=data.donor, random_state=0)
    null = null_counterfactuals(pairs, data.counts, E, model, n_null=3, random_state=0)
    found = attribute_genes(data.counts, data.embed, model, pairs, genes=data.genes, null=null)
    expression = differential_expression(
        data.counts, model.codes(E), genes=data.genes, concepts=[0, 1]
    )
    return found, compare_gene_lists(found, expression, n_first=12)


def drawn_dots(ax):
    return np.concatenate([dots.get_offsets() for dots in ax.collections if dots.get_gid()])


def test_genes_stand_by_attribution_with_the_confounders_below(planted):
    found, comparison = planted
    shown = GeneAttributionDisplay.from_attribution(
        found, 0, comparison=comparison, n_genes=5, n_expressed=4
    )
    left, right = shown.axes_
    names = [tick.get_text() for tick in left.get_yticklabels()]
    table = found.table(0)
    assert names[:5] == table.gene[:5].tolist() and all("driver" in gene for gene in names[:5])
    confounders = comparison.table(0, found_by="expression").gene[:4].tolist()
    assert names[5:] == confounders and not any("driver0" in gene for gene in confounders)
    dots = drawn_dots(left)
    values = dict(zip(table.gene.tolist(), table.relative.tolist()))
    assert_allclose(dots[:, 0], [values[gene] for gene in names])
    assert_array_equal(np.diff(dots[:, 1]) > 1.5, [False] * 4 + [True] + [False] * 3)
    effects = dict(zip(comparison.genes.tolist(), comparison.expression[0].tolist()))
    widths = [bar.get_width() for bar in right.patches if bar.get_gid()]
    assert_allclose(widths, [effects[gene] for gene in names])
    words = [text.get_text() for text in right.get_legend().get_texts()]
    assert set(words) == {
        "first by attribution", "first by expression alone", "null pairs, mean ± 2 sd",
        "5% of the activation",
    }  # fmt: skip
    assert right.get_legend().get_title().get_text() == "whiskers: ± standard error"


def test_whiskers_and_null_are_in_shares_of_the_activation(planted):
    found, _ = planted
    columns = GeneAttributionDisplay.from_attribution(found, 1, n_genes=3, plot=False).source_data()
    table, activation = found.table(1), found.activation[1]
    assert_allclose(columns["standard_error"], table.standard_error[:3] / activation)
    assert_allclose(columns["null_sd"], table.null_sd[:3] / activation)
    shown = GeneAttributionDisplay.from_attribution(found, 1, n_genes=3)
    bars = shown.ax_.patches
    assert_allclose([bar.get_width() for bar in bars], 4 * columns["null_sd"], atol=1e-12)
    assert "expression" not in columns and len(shown.axes_) == 1
    assert "± 2 standard deviations" in shown.methods()


def test_pre_activations_are_shown_on_request(planted):
    found, comparison = planted
    shown = GeneAttributionDisplay.from_attribution(found, 0, activation="pre", plot=False)
    assert_allclose(
        shown.source_data()["attribution"], found.table(0, activation="pre").relative[:12]
    )
    assert "activation = pre-activation" in shown.methods()


def test_settings_and_genes_are_told(planted):
    found, comparison = planted
    text = GeneAttributionDisplay.from_attribution(
        found, 0, comparison=comparison, name="linear", plot=False
    ).methods()
    assert "linear" in text and "concept 0" in text and "log fold change" in text
    assert f"genes attributed = {found.genes.size}" in text and "variant = swap" in text


def test_without_null_spread_and_cutoff_there_are_only_dots():
    shown = GeneAttributionDisplay(["a", "b"], [0.2, 0.1], cutoff=None).plot()
    assert not shown.ax_.patches and len(shown.ax_.lines) == 1  # the line at zero
    assert shown.ax_.get_legend().get_title().get_text() == ""
    assert shown.ax_.get_title() == ""


def test_rows_of_the_second_list_stand_below():
    columns = GeneAttributionDisplay(
        ["a", "b", "c"], [1, 2, 3],
        group=["first by expression alone", "first by attribution", "first by attribution"],
    ).source_data()  # fmt: skip
    assert columns["gene"].tolist() == ["b", "c", "a"]
    assert columns["attribution"].tolist() == [2, 3, 1]


def test_a_concept_without_activation_is_refused(planted):
    found, _ = planted
    broken = type(found)(**found)
    broken.activation = np.array([np.nan, 1.0])
    with pytest.raises(ValueError, match="concept 0 must have a positive mean activation"):
        GeneAttributionDisplay.from_attribution(broken, 0, plot=False)


def test_what_does_not_fit_is_refused(planted):
    found, comparison = planted
    with pytest.raises(ValueError, match="concept must be one of those attributed"):
        GeneAttributionDisplay.from_attribution(found, 7)
    other = type(comparison)(**comparison)
    other.concepts = np.array([5, 6])
    with pytest.raises(ValueError, match="comparison must hold concept 0, but it was not compared"):
        GeneAttributionDisplay.from_attribution(found, 0, comparison=other)
    with pytest.raises(ValueError, match=r"expression must be of shape \(2,\)"):
        GeneAttributionDisplay(["a", "b"], [0.2, 0.1], expression=[1.0]).plot()
    with pytest.raises(ValueError, match="null_mean and null_sd describe one null"):
        GeneAttributionDisplay(["a"], [0.2], null_sd=[1.0]).plot()
    with pytest.raises(ValueError, match="group must be 'first by attribution' or"):
        GeneAttributionDisplay(["a"], [0.2], group=["neither"]).plot()
    with pytest.raises(ValueError, match="genes must hold at least one gene"):
        GeneAttributionDisplay([], []).plot()
    with pytest.raises(ValueError, match="axes must hold 2 matplotlib Axes"):
        GeneAttributionDisplay(["a"], [0.2], expression=[1.0]).plot(
            GeneAttributionDisplay(["a"], [0.2]).plot().ax_
        )


class Found(Bunch):
    """A result of which only the concepts with a set are known."""

    def significant(self, level):
        concept = np.arange(self.n_found)
        return concept, concept % 3


@pytest.fixture
def share():
    runs = [Found(concepts=np.arange(10), n_found=n) for n in (5, 7)]
    random = Found(concepts=np.arange(20), n_found=2)
    return interpretable_share({"concepts": runs, "random": random})


def test_bars_are_the_shares_with_their_intervals(share):
    shown = InterpretableShareDisplay.from_share(share, nulls=["random"])
    assert_allclose([bar.get_height() for bar in shown.bars_], [0.6, 0.1])
    segments = shown.ax_.collections[0].get_segments()
    assert_allclose([[s[0, 1], s[1, 1]] for s in segments], np.stack([share.low, share.high], 1))
    dots = shown.ax_.collections[1].get_offsets()
    assert_allclose(dots[:, 1], [0.5, 0.7])  # none for the single run
    names = [tick.get_text() for tick in shown.ax_.get_xticklabels()]
    assert names == ["concepts\nof 20", "random\nof 20"]
    first, second = (bar.get_facecolor() for bar in shown.bars_)
    assert first != second and second[0] == second[1] == second[2]
    assert [bar.get_hatch() for bar in shown.bars_] == ["", "///"]
    words = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert words == ["a run (seed)", "learned nothing"]
    assert shown.ax_.get_ylim()[1] > max(share.high[0], 0.7)


def test_shares_tell_their_numbers(share):
    shown = InterpretableShareDisplay.from_share(share, nulls=["random"], name="PBMC", plot=False)
    columns = shown.source_data()
    assert columns["n_live"].tolist() == [20, 20] and columns["runs"].tolist() == [2, 1]
    assert columns["run_sd"][0] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert "Of these learned nothing: random" in shown.methods()
    assert "false-discovery rate of 0.05" in shown.methods() and "PBMC" in shown.methods()


def test_plain_shares_have_no_legend():
    shown = InterpretableShareDisplay(["a", "b"], [0.0, 0.0]).plot()
    assert shown.ax_.get_legend() is None and shown.ax_.get_ylim() == (0, 1)
    with_interval = InterpretableShareDisplay(["a"], [0.5], low=[0.4], high=[0.6]).plot()
    assert "95% interval (Wilson)" in with_interval.ax_.get_title(loc="right")


def test_shares_must_fit():
    with pytest.raises(ValueError, match="kinds must hold at least one kind"):
        InterpretableShareDisplay([], []).plot()
    with pytest.raises(ValueError, match="nulls names 'random', but kinds are"):
        InterpretableShareDisplay(["a"], [0.5], nulls=["random"]).plot()
    with pytest.raises(ValueError, match="low and high are the limits"):
        InterpretableShareDisplay(["a"], [0.5], low=[0.4]).plot()
    with pytest.raises(ValueError, match="run_shares must have an entry per kind, 2, got 1"):
        InterpretableShareDisplay(["a", "b"], [0.5, 0.1], run_shares=[[0.5]]).plot()


def test_they_save_their_numbers(planted, share, tmp_path):
    found, comparison = planted
    GeneAttributionDisplay.from_attribution(
        found, 0, comparison=comparison, n_genes=4, n_expressed=2, name="linear"
    ).save(tmp_path / "genes.svg")
    InterpretableShareDisplay.from_share(share).save(tmp_path / "share.svg")
    assert len((tmp_path / "genes.csv").read_text().splitlines()) == 7
    assert (tmp_path / "share.csv").read_text().startswith("kind,null,share,low,high,n_live")
