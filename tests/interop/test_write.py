"""Codes, attributions, parameters and concepts into an AnnData, to disk and back."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import Bunch

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.interop import (
    attributions_from_anndata,
    attributions_to_anndata,
    codes_from_anndata,
    codes_to_anndata,
    concepts_to_anndata,
)
from tests.interop.cells import anndata, open_as, pandas, write
from tests.interop.conftest import OPENED


@pytest.fixture
def codes():
    codes = sparse.random_array((40, 9), density=0.3, rng=np.random.default_rng(2))
    codes = sparse.csr_array(codes.astype(np.float32))
    codes.data -= 0.3  # codes of a pursuit have either sign
    return codes


@pytest.fixture
def attribution():
    """Of two concepts, some genes, in another order than the AnnData has them."""
    return Bunch(
        genes=np.array(["gene7", "gene0", "gene3"]),
        concepts=np.array([8, 2]),
        attribution=np.array([[0.5, 0.0, -0.25], [0.0, 1.5, 0.0]]),
        standard_error=np.array([[0.1, 0.0, np.nan], [0.0, 0.2, 0.0]]),
    )


@pytest.fixture
def pipeline(adata):
    pipeline = make_pipeline(
        ControlPCAWhitener(epsilon=0.1),
        Normalizer(),
        ICFLDictionary(9, n_nonzero_coefs=2, max_steps=3, random_state=np.random.RandomState(0)),
    )
    control = np.arange(40) < 20
    X = adata.obsm["X_pca"]
    pipeline[0].fit(X, control=control)
    pipeline[2].fit(pipeline[:2].transform(X))
    return pipeline


@pytest.fixture
def written(adata, codes, attribution, pipeline, tmp_path):
    """Folder with cells that hold all of it."""
    codes_to_anndata(adata, codes, key="icfl", pipeline=pipeline, params={"use_rep": "X_pca"})
    what = ("attribution", "standard_error")
    attributions_to_anndata(adata, attribution, key="icfl", what=what)
    return write(adata, tmp_path / "written")


def test_what_is_written_comes_back(written, codes, attribution, pipeline):
    for how in OPENED:
        with open_as(written, how) as opened:
            found = codes_from_anndata(opened, key="icfl")
            assert isinstance(found, sparse.csr_array) and found.dtype == np.float32
            assert found.indices.dtype == found.indptr.dtype == np.int32
            assert_array_equal(found.toarray(), codes.toarray())
            assert found.nnz == codes.nnz

            for what in ("attribution", "standard_error"):
                back = attributions_from_anndata(opened, key="icfl", what=what)
                assert back.concepts.tolist() == [8, 2]
                assert back.genes.tolist() == ["gene0", "gene3", "gene7"]  # as in the AnnData
                assert_array_equal(back[what].toarray(), attribution[what][:, [1, 2, 0]])

            about = json.loads(opened.uns["icfl"]["parameters"])
            assert about["use_rep"] == "X_pca"
            assert about["pipeline"]["controlpcawhitener"] == {
                "n_components": None, "method": "pca", "epsilon": 0.1,
            }  # fmt: skip
            assert about["pipeline"]["icfldictionary"]["n_nonzero_coefs"] == 2
            assert "RandomState" in about["pipeline"]["icfldictionary"]["random_state"]
            arrays = opened.uns["icfl"]["arrays"]
            assert_array_equal(arrays["icfldictionary"]["components_"], pipeline[2].components_)
            assert_array_equal(arrays["controlpcawhitener"]["mean_"], pipeline[0].mean_)


@pytest.mark.parametrize("as_array", [True, False])
def test_arrays_come_back_whatever_anndata_hands_out(adata, codes, tmp_path, as_array):
    codes_to_anndata(adata, codes)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with anndata.settings.override(use_sparse_array_on_read=as_array):
        read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert isinstance(read.obsm["X_concepts"], sparse.csr_array) == as_array
    found = codes_from_anndata(read)
    assert isinstance(found, sparse.csr_array)
    assert_array_equal((found * 2).toarray(), 2 * codes.toarray())


def test_writing_twice_replaces(adata, codes, attribution):
    codes_to_anndata(adata, codes)
    attributions_to_anndata(adata, attribution)
    assert adata.uns["concepts"]["n_concepts"] == 9  # attributions add to the entry
    codes_to_anndata(adata, codes[:, :4].toarray())
    assert adata.uns["concepts"]["n_concepts"] == 4
    assert codes_from_anndata(adata).shape == (40, 4)
    # the attributions are still there, with the concepts that they are of
    assert attributions_from_anndata(adata).concepts.tolist() == list(attribution.concepts)


def test_attribution_may_be_sparse_and_by_identifier(adata, attribution):
    attribution.attribution = sparse.csr_array(attribution.attribution)
    attribution.genes = ["ENSG007", "ENSG000", "ENSG003"]
    attributions_to_anndata(adata, attribution, gene_key="ensembl")
    column = adata.varm["concepts_attribution"].toarray()[:, 0]
    assert dict(zip(np.flatnonzero(column), column[column != 0])) == {7: 0.5, 3: -0.25}
    assert np.flatnonzero(adata.var["concepts_attributed"]).tolist() == [0, 3, 7]


def test_what_does_not_fit_changes_nothing(adata, codes, attribution):
    before = sorted(adata.varm), sorted(adata.obsm), sorted(adata.uns), list(adata.var)
    with pytest.raises(
        ValueError, match=r"codes must have a row per cell, 40, got an array of shape \(39, 9\)"
    ):
        codes_to_anndata(adata, codes[1:])
    with pytest.raises(ValueError, match="adata is a view of another AnnData.*copy it"):
        codes_to_anndata(adata[:5], codes[:5])
    with pytest.raises(ValueError, match="is a view"):
        attributions_to_anndata(adata[:5], attribution)
    with pytest.raises(ValueError, match=r"attribution\.standard_error must have a row per conc"):
        attributions_to_anndata(
            adata,
            Bunch(**attribution | {"standard_error": np.ones((2, 2))}),
            what=("attribution", "standard_error"),
        )
    with pytest.raises(ValueError, match="1 of 3 genes are not in adata, such as 'CD3D'"):
        attributions_to_anndata(adata, Bunch(**attribution | {"genes": ["CD3D", "gene0", "gene1"]}))
    with pytest.raises(ValueError, match=r"attribution\.genes must be unique"):
        attributions_to_anndata(adata, Bunch(**attribution | {"genes": ["gene0"] * 3}))
    assert before == (sorted(adata.varm), sorted(adata.obsm), sorted(adata.uns), list(adata.var))
    with pytest.raises(ValueError, match="obsm has no 'X_concepts'; it holds 'X_pca', 'X_umap'"):
        codes_from_anndata(adata)
    with pytest.raises(ValueError, match="varm has no 'concepts_attribution'; it holds nothing"):
        attributions_from_anndata(adata)


@pytest.mark.parametrize("how", OPENED)
def test_concepts_become_variables(written, adata, codes, how):
    with open_as(written, how) as opened:
        table = {"selectivity": np.linspace(0, 1, 9)}
        concepts = concepts_to_anndata(opened, key="icfl", table=table)
    dense = codes.toarray()
    assert_array_equal(concepts.X.toarray(), dense)
    assert concepts.var_names.tolist() == [f"concept_{i}" for i in range(9)]
    assert concepts.obs_names.tolist() == adata.obs_names.tolist()
    assert concepts.obs["cell_type"].tolist() == ["B", "T"] * 20
    assert isinstance(concepts.obs, pandas.DataFrame)
    assert list(concepts.obsm) == ["X_umap"]  # what plots need, not the embedding
    assert_array_equal(concepts.obsm["X_umap"], adata.obsm["X_umap"])
    assert list(concepts.uns["cell_type_colors"]) == ["#0072B2", "#D55E00"]
    assert concepts.uns["icfl"]["n_concepts"] == 9
    assert list(concepts.var) == ["n_active_cells", "mean_activation", "selectivity"]
    n_active = (dense != 0).sum(axis=0)
    assert_array_equal(concepts.var["n_active_cells"], n_active)
    np.testing.assert_allclose(concepts.var["mean_activation"], dense.sum(axis=0) / n_active, 1e-6)


def test_concepts_go_to_disk_and_are_read_in_parts(written, codes, tmp_path):
    with open_as(written, "lazy zarr") as opened:
        concepts = concepts_to_anndata(opened, key="icfl", table={"label": list("abcdefghi")})
    write(concepts, tmp_path / "concepts")
    for how in OPENED:
        with open_as(tmp_path / "concepts", how) as again:
            part = again.X[3:6]
            part = part.compute() if hasattr(part, "compute") else part
            assert_array_equal(part.toarray(), codes.toarray()[3:6])
            assert np.asarray(again.var["label"]).tolist() == list("abcdefghi")
            assert json.loads(again.uns["icfl"]["parameters"])["use_rep"] == "X_pca"


def test_the_two_objects_are_independent(adata, codes):
    concepts = concepts_to_anndata(adata, codes)
    concepts.obs["donor"] = "none"
    concepts.uns["cell_type_colors"][0] = "black"
    concepts.obsm["X_umap"][:] = 0
    assert adata.obs["donor"].tolist() == ["d1"] * 20 + ["d2"] * 20
    assert adata.uns["cell_type_colors"][0] == "#0072B2"
    assert adata.obsm["X_umap"].all()
    assert np.shares_memory(concepts.X.data, codes.data)  # but codes are large


def test_names_and_tables(adata, codes):
    table = pandas.DataFrame({"label": list("abcdefghi")})
    names = [f"k{i}" for i in range(9)]
    concepts = concepts_to_anndata(adata, codes, table=table, names=names, obsm=["X_pca"])
    assert concepts.var_names.tolist() == names and list(concepts.obsm) == ["X_pca"]
    assert concepts.var["label"].tolist() == list("abcdefghi")
    many = concepts_to_anndata(adata, sparse.csr_array((40, 1001)))
    assert many.var_names[7] == "concept_0007" and np.isnan(many.var["mean_activation"]).all()


def test_an_explicit_zero_is_not_active(adata):
    codes = sparse.csr_array((np.array([0.0, 2.0]), ([0, 1], [0, 1])), shape=(40, 2))
    table = concepts_to_anndata(adata, codes).var
    assert table["n_active_cells"].tolist() == [0, 1]
    assert np.isnan(table["mean_activation"].iloc[0]) and table["mean_activation"].iloc[1] == 2


def test_what_does_not_fit(adata, codes):
    with pytest.raises(ValueError, match="codes must have a row per cell"):
        concepts_to_anndata(adata, codes[:3])
    with pytest.raises(ValueError, match="names must be 9 different names.*with 1 different"):
        concepts_to_anndata(adata, codes, names=["k"] * 9)
    with pytest.raises(ValueError, match=r"9, got 'x' of shape \(3,\)$"):
        concepts_to_anndata(adata, codes, table={"x": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"got 'n_active_cells' of shape \(9,\), a name that is"):
        concepts_to_anndata(adata, codes, table={"n_active_cells": np.ones(9)})
    with pytest.raises(ValueError, match="obsm has no 'X_tsne'; it holds 'X_pca', 'X_umap'"):
        concepts_to_anndata(adata, codes, obsm=["X_tsne"])
    with pytest.raises(ValueError, match="obsm has no 'X_concepts'"):
        concepts_to_anndata(adata)


def test_codes_may_be_lists_and_must_be_finite(adata):
    codes_to_anndata(adata, [[1.0, 0.0]] * 40)
    assert codes_from_anndata(adata).nnz == 40
    for wrong in (np.ones(40), np.ones((40, 2, 2))):
        with pytest.raises(ValueError, match="codes must have a row per cell, 40, got an array of"):
            codes_to_anndata(adata, wrong)
    with pytest.raises(ValueError, match="codes holds NaN or infinite values"):
        codes_to_anndata(adata, np.full((40, 2), np.nan))
