"""Cells with counts, logarithms and embeddings, and the ways to open the file they are in."""

import contextlib
import warnings

import numpy as np
import pytest
from scipy import sparse

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")


def make_counts():
    """Every cell has a count, and one above 1."""
    values = np.random.default_rng(0).poisson(0.4, (40, 12)) + 2 * np.eye(40, 12, dtype=int)
    return sparse.csr_array(values.astype(np.float32))


def make_adata():
    """Logarithms in X, counts in a layer and in raw, which has one gene more."""
    counts = make_counts()
    genes = pandas.DataFrame(index=[f"gene{i}" for i in range(12)])
    cells = pandas.DataFrame(index=[f"cell{i}" for i in range(40)])
    depth = counts.sum(axis=1)
    logarithms = sparse.csr_array(counts.multiply(1e4 / depth[:, None])).log1p()
    adata = anndata.AnnData(logarithms[:, :11], obs=cells, var=genes[:11].copy())
    adata.layers["counts"] = counts[:, :11]
    adata.raw = anndata.AnnData(counts, obs=cells.copy(), var=genes)
    adata.obs["cell_type"] = pandas.Categorical(["B", "T"] * 20)
    adata.obs["donor"] = np.repeat(["d1", "d2"], 20)
    adata.var["ensembl"] = [f"ENSG{i:03d}" for i in range(11)]
    rng = np.random.default_rng(1)
    adata.obsm["X_pca"] = rng.normal(size=(40, 5)).astype(np.float32)
    adata.obsm["X_umap"] = rng.normal(size=(40, 2)).astype(np.float32)
    adata.uns["cell_type_colors"] = np.array(["#0072B2", "#D55E00"])
    return adata


def write(adata, folder):
    """Write an AnnData in both formats."""
    folder.mkdir(exist_ok=True)
    adata.write_h5ad(folder / "cells.h5ad")
    with warnings.catch_warnings():  # of defaults that will change
        warnings.simplefilter("ignore")
        adata.write_zarr(folder / "cells.zarr")
    return folder


@contextlib.contextmanager
def open_as(folder, how):
    """Open what `write` has written in one of the ways of OPENED."""
    path = folder / ("cells.zarr" if "zarr" in how else "cells.h5ad")
    if how.startswith("lazy"):
        pytest.importorskip("dask")
        pytest.importorskip("xarray")
        yield anndata.experimental.read_lazy(path)
    elif how == "backed":
        opened = anndata.read_h5ad(path, backed="r")
        yield opened
        opened.file.close()
    else:
        yield anndata.read_zarr(path) if "zarr" in how else anndata.read_h5ad(path)
