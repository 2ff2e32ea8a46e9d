"""Searching finds what is there, ranking hides nothing, and what is left out is counted."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdict.explorer import (
    build_bundle,
    find_by_gene,
    find_by_label,
    find_by_pathway,
    search_concepts,
)

Note = namedtuple("Note", "concept expert name text tags", defaults=("", "", "", ()))


@pytest.mark.parametrize("ascending", [False, True])
def test_ranking_hides_nothing(small_bundle, ascending):
    for column in small_bundle.concepts.columns:
        found = search_concepts(small_bundle, sort_by=column, ascending=ascending)
        assert sorted(found.concept) == list(range(24))
        assert found.attrs == {"n_left_out": 0, "n_unmatched": 0}
        known = found[column].dropna()
        if ascending:
            assert known.is_monotonic_increasing
        else:
            assert known.is_monotonic_decreasing
        assert found[column].isna().to_numpy()[len(known) :].all()


@settings(max_examples=40, deadline=None)
@given(
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    include_dead=st.booleans(),
    text=st.sampled_from(["", "cell", "GENE1", "nothing of this name", "<script>"]),
)
def test_everything_is_counted(small_bundle, bounds, include_dead, text):
    found = search_concepts(small_bundle, text, frequency=bounds, include_dead=include_dead)
    share = small_bundle.concepts.frequency[found[~found.dead].concept]
    assert share.between(*bounds).all()
    assert include_dead or not found.dead.any()
    assert len(found) + found.attrs["n_left_out"] + found.attrs["n_unmatched"] == 24
    alone = search_concepts(small_bundle, frequency=bounds, include_dead=include_dead)
    assert found.attrs["n_left_out"] == alone.attrs["n_left_out"] == 24 - len(alone)


def matched(bundle, text, **options):
    found = search_concepts(bundle, text, sort_by="concept", ascending=True, **options)
    return dict(zip(found.concept.tolist(), found.matched))


def test_where_a_text_is_found(small_bundle):
    t_cell = matched(small_bundle, "t CELL")
    assert t_cell[0] == "name, pathway"  # "T cells"; "T cell activation"
    assert "label" in t_cell[1]
    assert "label" in matched(small_bundle, "monocyte")[2]
    assert matched(small_bundle, "  Monocyte ") == matched(small_bundle, "monocyte")
    assert matched(small_bundle, "23")[23] == "number"
    assert set(matched(small_bundle, "no such thing")) == set()
    assert 23 not in matched(small_bundle, "donor")  # dead: it has no best label


def test_genes_are_found_in_the_concepts_that_keep_them(small_bundle):
    found = matched(small_bundle, "gene11")
    for concept in range(24):
        kept = "GENE11" in small_bundle.genes(concept).gene.tolist()
        assert kept == ("gene" in found.get(concept, ""))


def test_hostile_texts_are_texts(small_bundle):
    found = matched(small_bundle, "<script>alert(1)</script>")
    assert "name" in found[1] and "label" in found[3]
    assert "pathway" in matched(small_bundle, '"><img src=x')[0]
    for text in ("%", "*", "\\", "(", "' OR 1=1", "\0", "a" * 10_000):
        search_concepts(small_bundle, text)


@pytest.mark.parametrize(
    "notes",
    [
        {4: "A Golgi thing", 99: "golgi of another bundle"},
        [Note(4, text="golgi"), Note(5, text="nucleus")],
        [Note(4, tags=("Golgi", "sure"))],
        [Note(4, name="GOLGI")],
        type("Store", (), {"current": lambda self: [Note(4, text="golgi")]})(),
    ],
    ids=["mapping", "texts", "tags", "names", "store"],
)
def test_notes_are_searched(small_bundle, notes):
    assert matched(small_bundle, "golgi", notes=notes) == {4: "note"}


def test_find_by_label(small_bundle):
    found = find_by_label(small_bundle, "cell_type", "monocyte")
    assert found.concept.tolist()[0] == 2 and sorted(found.concept) == list(range(24))
    assert found.selectivity.is_monotonic_decreasing
    for row in found.head(3).itertuples():
        table = small_bundle.selectivity(row.concept, "cell_type").set_index("label")
        assert table.selectivity["monocyte"] == row.selectivity
    with pytest.raises(ValueError, match=r"label must be one of .*'B cell'.* got 'b'"):
        find_by_label(small_bundle, "cell_type", "b")


def test_find_by_gene(small_bundle):
    found = find_by_gene(small_bundle, "gene1")
    assert (found.gene == "GENE1").all() and found.concept[0] == 0
    keep = [c for c in range(24) if "GENE1" in small_bundle.genes(c).gene.tolist()]
    assert sorted(found.concept) == keep
    assert found.attribution.dropna().is_monotonic_decreasing
    assert len(find_by_gene(small_bundle, "GENE")) == 0
    with pytest.raises(TypeError, match="gene must be a text"):
        find_by_gene(small_bundle, 3)


def test_find_by_pathway(small_bundle):
    found = find_by_pathway(small_bundle, "HOUSEKEEPING")
    assert (found.gene_set == "housekeeping").all() and found.p_value.is_monotonic_increasing
    assert len(found) > 1 and len(find_by_pathway(small_bundle, "house")) == 0


def test_small_row_groups_change_nothing(small_bundle, bundle_inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("skdict.explorer._build_folder.ROW_GROUP", 7)
    bundle = build_bundle(tmp_path / "bundle", **bundle_inputs)
    for concept in range(24):
        for part in ("genes", "pathways"):
            table = getattr(bundle, part)(concept)
            assert table.equals(getattr(small_bundle, part)(concept))
    for gene in ("GENE1", "GENE39"):
        assert find_by_gene(bundle, gene).equals(find_by_gene(small_bundle, gene))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"text": 3}, "text must be a text"),
        ({"sort_by": "beauty"}, "sort_by must be one of"),
        ({"ascending": 1}, "ascending must be"),
        ({"include_dead": None}, "include_dead must be"),
        ({"frequency": 0.5}, "frequency must be two numbers"),
        ({"frequency": (0.5, 0.1)}, "frequency must be two numbers"),
        ({"frequency": (0, 2)}, r"frequency\[1\] must be"),
        ({"frequency": (0, np.nan)}, r"frequency\[1\] must be"),
    ],
    ids=str,
)
def test_wrong_questions(small_bundle, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        search_concepts(small_bundle, **options)
