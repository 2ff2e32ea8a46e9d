"""Counts of cells by genes: what is read, and what is refused."""

import numpy as np
import pytest
from scipy import sparse

from skdict.genes import _counts
from skdict.genes._counts import Counts, check_genes, locate_genes


@pytest.fixture
def dense(rng):
    return rng.poisson(0.7, size=(20, 9)).astype(np.float32) + np.eye(20, 9, dtype=np.float32)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array, "map"])
def test_rows_depth_and_mean_are_those_of_the_dense_array(dense, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(_counts, "_BLOCK_VALUES", 20)
    dense += 1
    if kind == "map":
        np.save(tmp_path / "X.npy", dense)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    else:
        X = kind(dense)
    counts = Counts(X)
    cells = [4, 1, 1, 19]
    np.testing.assert_array_equal(counts.rows(cells), dense[cells])
    assert counts.rows(cells, np.float32).dtype == np.float32
    np.testing.assert_allclose(counts.depth(cells), dense[cells].sum(axis=1))
    np.testing.assert_allclose(counts.mean(), dense.mean(axis=0), rtol=1e-6)


def test_duplicate_entries_are_added_and_the_callers_matrix_stays():
    X = sparse.csr_array((np.ones(3), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    counts = Counts(X)
    np.testing.assert_array_equal(counts.rows([0, 1]), [[0, 2], [1, 0]])
    assert X.nnz == 3


def test_rows_may_be_changed(dense):
    X = dense.copy()
    Counts(X).rows([0, 1], np.float32)[:] = 0
    np.testing.assert_array_equal(X, dense)


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf])
def test_values_that_are_no_counts(dense, bad):
    dense[3, 2] = bad
    with pytest.raises(ValueError, match="X must hold counts: no negative, NaN or infinite"):
        Counts(sparse.csr_array(dense))
    counts = Counts(dense)  # a memory map is looked at where it is used
    counts.rows([0, 1])
    with pytest.raises(ValueError, match="X must hold counts"):
        counts.rows([3])


def test_errors_name_the_parameter(dense):
    with pytest.raises(ValueError, match="X must have shape"):
        Counts(dense[0])
    with pytest.raises(ValueError, match="X must hold real numbers"):
        Counts(dense.astype(str))
    dense[5] = 0
    with pytest.raises(ValueError, match="cell 5 has none"):
        Counts(dense).depth([1, 5])


def test_names_of_genes():
    np.testing.assert_array_equal(check_genes(None, 3), [0, 1, 2])
    assert check_genes(np.array(["a", "b"], dtype=object), 2).dtype.kind == "U"
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match="genes must name every column of X, but 1 names"):
            check_genes(["a", missing], 2)
    with pytest.raises(ValueError, match=r"genes must name the 3 columns of X.*\(2,\)"):
        check_genes(["a", "b"], 3)
    with pytest.raises(
        ValueError, match=r"genes must be unique, but 1 names.*\['a'\].*make_unique"
    ):
        check_genes(["a", "b", "a"], 3)


def test_genes_are_located_by_name_or_mask():
    genes = np.array(["CD3E", "MS4A1", "LYZ"])
    np.testing.assert_array_equal(locate_genes(["LYZ", "CD3E"], genes, "it"), [2, 0])
    np.testing.assert_array_equal(locate_genes([True, False, True], genes, "it"), [0, 2])
    np.testing.assert_array_equal(locate_genes("LYZ", genes, "it"), [2])
    with pytest.raises(ValueError, match=r"it must hold names of genes: 1 of 2.*\['lyz'\]"):
        locate_genes(["lyz", "CD3E"], genes, "it")
    with pytest.raises(ValueError, match="names look like Ensembl ids, the data like symbols"):
        locate_genes(["ENSG00000198851", "ENSG00000156738"], genes, "it")
    with pytest.raises(ValueError, match="it must hold names of genes such as 'CD3E', got 1"):
        locate_genes([1, 2], genes, "it")
    with pytest.raises(ValueError, match="it must name each gene once"):
        locate_genes(["LYZ", "LYZ"], genes, "it")
    with pytest.raises(ValueError, match="it must name at least one gene"):
        locate_genes([False] * 3, genes, "it")
    with pytest.raises(ValueError, match="it must have one entry per gene as a mask"):
        locate_genes([True], genes, "it")
