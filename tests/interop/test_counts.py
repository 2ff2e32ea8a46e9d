"""Counts out of an AnnData: from every kind of file, in blocks, and nothing but counts."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict.interop import (
    counts_from_anndata,
    embed_anndata,
    embeddings_from_anndata,
    iter_counts,
)
from skdict.interop._rows import as_csr, index_dtype, iter_rows, stack_rows
from tests.interop.cells import anndata, open_as, pandas, write


def assert_as_estimators_want(counts):
    assert isinstance(counts, sparse.csr_array) and counts.dtype == np.float32
    assert counts.indices.dtype == counts.indptr.dtype == np.int32
    assert counts.has_canonical_format


@pytest.mark.parametrize(("where", "n_genes"), [({"layer": "counts"}, 11), ({"raw": True}, 12)])
def test_every_kind_of_file_gives_the_same_counts(opened, counts, where, n_genes):
    found = counts_from_anndata(opened, **where, block_rows=7)
    assert_as_estimators_want(found.counts)
    assert_array_equal(found.counts.toarray(), counts.toarray()[:, :n_genes])
    assert found.genes.tolist() == [f"gene{i}" for i in range(n_genes)]
    assert found.cells.tolist() == [f"cell{i}" for i in range(40)]


def test_genes_are_taken_in_the_order_asked_for(opened, counts):
    found = counts_from_anndata(opened, raw=True, genes=["gene11", "gene0", "gene5"])
    assert_as_estimators_want(found.counts)
    assert_array_equal(found.counts.toarray(), counts.toarray()[:, [11, 0, 5]])
    by_id = counts_from_anndata(
        opened, layer="counts", gene_key="ensembl", genes=["ENSG003", "ENSG001"]
    )
    assert_array_equal(by_id.counts.toarray(), counts.toarray()[:, [3, 1]])
    assert by_id.genes.tolist() == ["ENSG003", "ENSG001"]


def test_blocks_cover_the_cells_once(opened, counts):
    blocks = list(iter_counts(opened, layer="counts", block_rows=16))
    assert [rows.start for rows, _ in blocks] == [0, 16, 32] and blocks[-1][0].stop == 40
    for rows, block in blocks:
        assert_as_estimators_want(block)
        assert_array_equal(block.toarray(), counts.toarray()[rows, :11])


@pytest.mark.parametrize("how", ["memory h5ad", "backed", "lazy h5ad"])
def test_views_are_read_as_they_are(counts, folder, how):
    chosen = np.array([3, 30, 4, 17])
    with open_as(folder, how) as opened:
        view = opened[chosen, [2, 0]]
        found = counts_from_anndata(view, layer="counts", block_rows=3).counts.toarray()
        assert_array_equal(found, counts.toarray()[chosen][:, [2, 0]])
        whole = counts_from_anndata(view, raw=True, block_rows=3).counts.toarray()
        assert_array_equal(whole, counts.toarray()[chosen])


@pytest.mark.parametrize("how", ["backed", "dense", "lazy"])
def test_what_is_on_disk_is_read_in_blocks(tmp_path, how):
    counts = sparse.csr_array(np.random.default_rng(0).poisson(1.0, (4000, 300)).astype("f4"))
    values = counts.toarray() if how == "dense" else counts
    adata = anndata.AnnData(values)
    adata.obs_names = [f"c{i}" for i in range(4000)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    whole = counts.data.nbytes + counts.indices.nbytes
    with open_as(tmp_path, "lazy h5ad" if how == "lazy" else "backed") as opened:
        next(iter_counts(opened, block_rows=100))  # imports and caches
        tracemalloc.start()
        total = sum(block.sum() for _, block in iter_counts(opened, block_rows=100))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert total == counts.sum()
    # chunks of a lazy AnnData are a quarter of it
    assert peak < (0.8 if how == "lazy" else 0.35) * whole


def test_what_is_stored_by_genes_is_read_at_once_and_says_so(adata, counts, tmp_path):
    adata.X = sparse.csc_matrix(adata.layers["counts"])
    assert_array_equal(counts_from_anndata(adata).counts.toarray(), counts.toarray()[:, :11])
    for how in ("backed", "lazy h5ad"):
        with open_as(write(adata, tmp_path), how) as opened:
            if how.startswith("lazy"):
                opened.X = opened.X.rechunk((40, 4))  # as those of many genes are
            with pytest.warns(UserWarning, match="stored by columns.*write them as CSR"):
                found = counts_from_anndata(opened, block_rows=9)
        assert_array_equal(found.counts.toarray(), counts.toarray()[:, :11])


def test_counts_in_memory_are_not_copied(adata):
    adata.layers["counts"] = sparse.csr_array(adata.layers["counts"])
    found = counts_from_anndata(adata, layer="counts").counts
    assert np.shares_memory(found.data, adata.layers["counts"].data)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float64, np.float16])
def test_whole_numbers_of_any_type_are_counts(counts, dtype):
    found = counts_from_anndata(anndata.AnnData(counts.astype(np.float32).toarray().astype(dtype)))
    assert_as_estimators_want(found.counts)
    assert_array_equal(found.counts.toarray(), counts.toarray())


def test_counts_beyond_float32_stay_exact():
    found = counts_from_anndata(anndata.AnnData(np.array([[2**24 + 1, 3]])))
    assert found.counts.dtype == np.float64 and found.counts[0, 0] == 2**24 + 1


def test_explicit_zeros_and_entries_twice_are_put_right_in_the_copy_only():
    values = sparse.csr_matrix(
        (np.array([2.0, 1.0, 0.0, 1.0]), np.array([1, 0, 2, 1]), np.array([0, 4])), shape=(1, 3)
    )
    adata = anndata.AnnData(values)
    found = counts_from_anndata(adata).counts
    assert found.toarray().tolist() == [[1, 3, 0]] and found.nnz == 2
    assert adata.X.nnz == 4


LOGARITHM = (
    r"X holds no raw counts: value \d\.\d+ of gene 'gene\d+' in row 0 \(cell 'cell0'\) is no whole "
    "number of at least 0; the values are "
)


def test_counts_elsewhere_are_pointed_out(opened):
    with pytest.raises(ValueError, match="pass raw=True or layer='counts'"):
        counts_from_anndata(opened)


def test_what_the_values_look_like_is_said(adata):
    with pytest.raises(ValueError, match="no whole numbers, as after"):
        counts_from_anndata(adata)  # one gene of the normalised ones was left out
    depth = adata.raw.X.sum(axis=1)
    normalised = sparse.csr_array(adata.raw.X.multiply(1e4 / np.asarray(depth).reshape(-1, 1)))
    adata = adata.raw.to_adata()
    for values, words in [
        (normalised, "counts normalised to 10000 per cell"),
        (normalised.log1p(), "the logarithm of counts normalised to 10000 per cell"),
        (sparse.csr_array(adata.X).log1p(), "the logarithm of counts;"),
        (normalised.toarray() - 1, "negative in places, as after scaling"),
        (adata.X.toarray() > 0, "true and false"),
    ]:
        adata.X = values
        with pytest.raises(ValueError, match=words):
            counts_from_anndata(adata)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5])
def test_one_wrong_value_is_found_where_it_is(adata, value):
    values = adata.layers["counts"].toarray()
    values[23, 7] = value
    adata.layers["counts"] = values
    with pytest.raises(ValueError, match=r"of gene 'gene7' in row 23 \(cell 'cell23'\)"):
        counts_from_anndata(adata, layer="counts", block_rows=5)


def test_without_counts_anywhere_the_error_says_that(adata):
    del adata.raw
    adata.layers["counts"] = adata.layers["counts"].astype(bool)  # ones alone are no counts
    with pytest.raises(ValueError, match=r"neither X nor raw\.X nor a layer holds whole numbers"):
        counts_from_anndata(adata)


def test_places_that_are_not_there(adata):
    with pytest.raises(ValueError, match="layer must be one of adata's, got 'umi'; .* 'counts'"):
        counts_from_anndata(adata, layer="umi")
    with pytest.raises(ValueError, match="pass raw=True or layer='counts', not both"):
        counts_from_anndata(adata, layer="counts", raw=True)
    with pytest.raises(ValueError, match="gene_key must be a column of var, got 'x'; .*'ensembl'"):
        iter_counts(adata, gene_key="x")
    del adata.raw
    with pytest.raises(ValueError, match=r"adata\.raw is None"):
        counts_from_anndata(adata, raw=True)
    with pytest.raises(ValueError, match="X is None: pass layer"):
        counts_from_anndata(anndata.AnnData(shape=(3, 2)))
    with pytest.raises(ValueError, match="raw must be one of True, False"):
        counts_from_anndata(adata, raw="yes")
    with pytest.raises(ValueError, match="block_rows must be an integer >= 1"):
        counts_from_anndata(adata, layer="counts", block_rows=0)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_that_are_there_twice(adata):
    names = adata.var_names.tolist()
    names[4] = names[7] = names[2]
    adata.var_names = names
    with pytest.raises(
        ValueError,
        match=r"var_names must be unique.*'gene2' \(3 times\).*var_names_make_unique.*gene_key",
    ):
        counts_from_anndata(adata, layer="counts")
    found = counts_from_anndata(adata, layer="counts", gene_key="ensembl")
    assert found.genes[4] == "ENSG004"
    adata.var["ensembl"] = [None, *found.genes[1:]]
    with pytest.raises(ValueError, match=r"var\['ensembl'\] must name every gene, but 1 names"):
        counts_from_anndata(adata, layer="counts", gene_key="ensembl")


def test_genes_that_are_not_there(adata):
    with pytest.raises(
        ValueError, match=r"2 of 3 genes are not in adata, such as 'GENE1', 'ENSG001'; .*'gene0'"
    ):
        counts_from_anndata(adata, layer="counts", genes=["gene0", "GENE1", "ENSG001"])
    with pytest.raises(ValueError, match=r"genes must be unique.*'gene0' \(2 times\)"):
        counts_from_anndata(adata, layer="counts", genes=["gene0", "gene0"])


def test_embedding_is_the_same_in_blocks(opened, counts):
    def embed(block):
        assert block.dtype == np.float32 and block.flags.c_contiguous
        return np.log1p(block) @ np.ones((12, 3), np.float32)

    found = embed_anndata(opened, embed, raw=True, block_rows=6)
    np.testing.assert_allclose(found, embed(np.ascontiguousarray(counts.toarray())), rtol=1e-6)


def test_embedding_may_be_a_tensor(adata, counts):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(12, 2)
    found = embed_anndata(adata, lambda block: layer(torch.from_numpy(block)), raw=True)
    expected = layer(torch.from_numpy(counts.toarray())).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_embedding_must_fit(adata):
    with pytest.raises(ValueError, match=r"must return shape \(6, 11\) for cells 0 to 5, got"):
        embed_anndata(adata, lambda block: block[1:], layer="counts", block_rows=6)
    widths = iter([2, 3])
    with pytest.raises(ValueError, match=r"shape \(6, 2\) for cells 6 to 11, got \(6, 3\)"):
        embed_anndata(adata, lambda b: b[:, : next(widths)], layer="counts", block_rows=6)
    with pytest.raises(ValueError, match="what embed returns holds NaN"):
        embed_anndata(adata, lambda block: block * np.float32(np.nan), layer="counts")


def test_embeddings_of_every_file(opened, adata):
    assert_array_equal(embeddings_from_anndata(opened, "X_pca"), adata.obsm["X_pca"])
    with pytest.raises(ValueError, match="obsm has no 'X_scvi'; it holds .*'X_pca'"):
        embeddings_from_anndata(opened, "X_scvi")


def test_embeddings_in_a_table_and_wrong_ones(adata):
    adata.obsm["table"] = pandas.DataFrame(adata.obsm["X_pca"], index=adata.obs_names)
    adata.obsm["table"].columns = list("abcde")
    assert_array_equal(embeddings_from_anndata(adata, "table"), adata.obsm["X_pca"])
    adata.obsm["X_pca"][3, 1] = np.nan
    with pytest.raises(ValueError, match=r"obsm\['X_pca'\] holds NaN"):
        embeddings_from_anndata(adata, "X_pca")
    adata.obsm["sparse"] = adata.X[:, :3]
    with pytest.raises(TypeError, match=r"obsm\['sparse'\] must be dense"):
        embeddings_from_anndata(adata, "sparse")


@given(
    arrays(np.int8, array_shapes(min_dims=2, max_dims=2, max_side=6)),
    st.integers(1, 8),
    st.sampled_from([np.asarray, sparse.csr_array, sparse.csr_matrix, sparse.coo_array]),
)
def test_blocks_put_together_are_the_whole(values, block_rows, kind):
    blocks = [as_csr(block) for _, block in iter_rows(kind(values).tocsr() if kind is
              sparse.coo_array else kind(values), block_rows)]  # fmt: skip
    assert all(block.shape[0] <= block_rows for block in blocks)
    together = stack_rows(blocks)
    assert_array_equal(together.toarray(), values)
    assert together.indices.dtype == together.indptr.dtype == np.int32 and blocks == []


def test_a_grid_of_chunks_is_read_row_by_row():
    """Dense arrays of zarr are cut along both axes."""
    array = pytest.importorskip("dask.array")
    values = np.arange(35).reshape(7, 5)
    blocks = list(iter_rows(array.from_array(values, chunks=(3, 2)), 2))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [
        (0, 2),
        (2, 3),
        (3, 5),
        (5, 6),
        (6, 7),
    ]
    assert_array_equal(np.concatenate([block for _, block in blocks]), values)


def test_indices_are_of_64_bits_where_they_must_be():
    largest = np.iinfo(np.int32).max
    assert index_dtype(largest, 8192) == np.int32
    assert index_dtype(largest + 1, 8192) == np.int64
    assert index_dtype(10, largest + 1) == np.int64


@pytest.mark.parametrize(("indices", "indptr"), [("i8", "i8"), ("i4", "i8")])
def test_indices_of_64_bits_are_narrowed(indices, indptr):
    """As other programs write them; matrices may even have both kinds."""
    matrix = sparse.csr_matrix(np.array([[0, 2.0], [1.0, 0]]))
    matrix.indices, matrix.indptr = matrix.indices.astype(indices), matrix.indptr.astype(indptr)
    assert matrix.indptr.dtype == indptr
    csr = as_csr(matrix)
    assert csr.indices.dtype == csr.indptr.dtype == np.int32
    assert_array_equal(csr.toarray(), matrix.toarray())
