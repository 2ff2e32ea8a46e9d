"""Gene sets, cut to what was measured."""

import numpy as np
import pytest

from skdict.genes import filter_gene_sets, write_gmt
from skdict.genes._gene_sets import gene_set_matrix

GENES = np.array(["CD3D", "CD3E", "CD79A", "MS4A1", "LYZ"])
SETS = {
    "T cell": ["CD3E", "CD3D", "CD2", "CD3E"],
    "B cell": ["CD79A", "MS4A1", "CD19"],
    "myeloid": ["LYZ", "CD14"],
    "elsewhere": ["ALB"],
}


def test_sets_keep_their_order_and_lose_what_was_not_measured():
    found = filter_gene_sets(SETS, GENES, min_size=1)
    assert list(found.items()) == [
        ("T cell", ["CD3E", "CD3D"]),
        ("B cell", ["CD79A", "MS4A1"]),
        ("myeloid", ["LYZ"]),
    ]
    assert list(filter_gene_sets(SETS, GENES, min_size=2)) == ["T cell", "B cell"]
    assert list(filter_gene_sets(SETS, GENES, min_size=1, max_size=1)) == ["myeloid"]
    assert len(filter_gene_sets(SETS, GENES, min_size=1, max_size=None)) == 3


@pytest.mark.parametrize("background", [None, np.array([True, True, True, False, True])])
def test_the_matrix_holds_what_the_dict_holds(background):
    sets = gene_set_matrix(SETS, GENES, min_size=1, max_size=None, background=background)
    counted = GENES if background is None else GENES[background]
    kept = filter_gene_sets(SETS, counted, min_size=1, max_size=None)
    assert sets.names.tolist() == list(kept)
    for row, genes in zip(sets.members.toarray(), kept.values()):
        assert set(GENES[row == 1]) == set(genes)
    assert sets.members.has_sorted_indices and sets.members.sum() == sum(map(len, kept.values()))


def test_a_path_is_read(tmp_path):
    path = tmp_path / "sets.gmt"
    write_gmt(path, SETS)
    for given in (path, str(path)):
        found = filter_gene_sets(given, GENES, min_size=1)
        assert found == filter_gene_sets(SETS, GENES, min_size=1)


def test_names_of_libraries_are_refused():
    with pytest.raises(ValueError, match=r"got 'KEGG_2021_Human'; libraries are not downloaded"):
        filter_gene_sets("KEGG_2021_Human", GENES)


@pytest.mark.parametrize(
    ("in_sets", "genes", "hint"),
    [
        (["CD3D", "CD19"], ["ENSG00000167286", "ENSG00000177455"], "the sets look like symbols"),
        (["ENSG00000167286"], ["CD3D", "CD4"], "the sets look like Ensembl ids, the data like sym"),
        (["CD3D", "CD19"], ["Cd3d", "Cd19", "Actb"], "in upper case 2 would match: names of anot"),
        (["ENSG01", "ENSG02"], ["ENSG01.4", "ENSG07.1"], r"the dot \(the version\) 1 would match"),
        (["CD3D"], ["915", "930"], r"the data like numbers \(Entrez ids"),
        (["CD3D"], ["ALB", "AFP"], "names must be written alike"),
    ],
)
def test_no_overlap_says_what_may_be_wrong(in_sets, genes, hint):
    with pytest.raises(ValueError, match=hint) as error:
        filter_gene_sets({"set": in_sets}, genes, min_size=1)
    assert "no name in common" in str(error.value)
    assert in_sets[0] in str(error.value) and genes[0] in str(error.value)


def test_sizes_that_leave_nothing():
    with pytest.raises(
        ValueError, match=r"10 to 500 of the 5 genes.*the 4 sets have 0 to 2; change min_size"
    ):
        filter_gene_sets(SETS, GENES)
    with pytest.raises(ValueError, match="3 or more of the 5 genes"):
        filter_gene_sets(SETS, GENES, min_size=3, max_size=None)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match=r"genes must be unique.*\['CD3D'\].*make them unique"):
        filter_gene_sets(SETS, ["CD3D", "CD4", "CD3D"])
    with pytest.raises(TypeError, match="a list of genes per set, got 'CD3D' for 'T'"):
        filter_gene_sets({"T": "CD3D"}, GENES)
    with pytest.raises(TypeError, match="gene_sets must be a dict.*got list"):
        filter_gene_sets([["CD3D"]], GENES)
    with pytest.raises(ValueError, match="at least one set"):
        filter_gene_sets({}, GENES)
    with pytest.raises(ValueError, match="min_size must be an integer >= 1"):
        filter_gene_sets(SETS, GENES, min_size=0)
    with pytest.raises(ValueError, match="max_size must be an integer >= 3 or None"):
        filter_gene_sets(SETS, GENES, min_size=3, max_size=2)
