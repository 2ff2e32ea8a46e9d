"""The blood cells of the study, and gene sets where there are any."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.study.cache import fingerprint
from skdict.datasets import load_pbmc
from skdict.genes import read_gmt
from skdict.interop import counts_from_anndata

FACS = "pbmc_facs_scrna/pbmc_facs_counts.h5ad"
PBMC68K = "pbmc68k_reduced_scrna/pbmc68k_reduced_lognorm.h5ad"
GENE_SETS = {
    "Hallmark": "genesets/hallmark_v7.0.symbols.gmt",
    "GO": "genesets/GO_Biological_Process_2021.gmt.gz",
    "Reactome": "genesets/Reactome_2016.gmt",
}
OTHERS = "other genes"
TEST_SHARE, TRAINING_SHARE = 0.25, 0.8


@dataclass(frozen=True)
class Cells:
    """Counts of cells, with their labels and who is held out.

    Attributes
    ----------
    counts : csr_array of float32, shape (n_cells, n_genes + 1)
        Counts; the last column is the sum over the genes that were left out.
    genes : ndarray of str, shape (n_genes + 1,)
        Names of the columns.
    cell_type, group : ndarray of str, shape (n_cells,)
        The purified population, and which of five groups it belongs to.
    test : ndarray of bool, shape (n_cells,)
        Cells that nothing is learned from.
    """

    counts: sparse.csr_array
    genes: np.ndarray
    cell_type: np.ndarray
    group: np.ndarray
    test: np.ndarray

    @property
    def depth(self):
        """Counts of each cell over all genes."""
        return np.asarray(self.counts.sum(axis=1)).ravel()

    @property
    def named(self):
        """Columns that are genes."""
        return self.genes != OTHERS

    def training(self, seed):
        """Rows that a seed learns from, in ascending order."""
        rng = np.random.default_rng(seed)
        rows = np.flatnonzero(~self.test)
        return np.sort(rng.choice(rows, round(TRAINING_SHARE * rows.size), replace=False))

    @property
    def digest(self):
        """Digest of everything in here."""
        csr = self.counts
        return fingerprint(np.concatenate([csr.indptr, csr.indices]), csr.data, self.genes,
                           self.cell_type, self.test)  # fmt: skip


def data_file(name):
    """Path of a file in the folder that SKDICT_DATA names, or None."""
    folder = os.environ.get("SKDICT_DATA")
    path = Path(folder or "", name)
    return path if folder and path.exists() else None


def whole_set():
    """All cells of the purified set with the genes that the package ships, or None."""
    path = data_file(FACS)
    if path is None:
        return None
    import anndata

    adata = anndata.read_h5ad(path)
    counts = sparse.csr_array(counts_from_anndata(adata).counts)
    place = {gene: column for column, gene in enumerate(adata.var_names)}
    genes = load_pbmc().genes
    chosen = counts[:, [place[gene] for gene in genes]]
    depth = np.asarray(counts.sum(axis=1)).ravel()
    return (
        chosen,
        genes,
        depth,
        adata.obs.cell_type.to_numpy(str),
        adata.obs.cell_group.to_numpy(str),
    )


@lru_cache
def blood_cells(n_cells=None):
    """Cells of ten purified populations: all 3,874 with SKDICT_DATA, else the 1,500 shipped.

    Parameters
    ----------
    n_cells : int or None, default=None
        Take about so many, the first of each population, of the shipped set.
    """
    found = whole_set() if n_cells is None else None
    if found is None:
        pbmc = load_pbmc()
        found = pbmc.counts, pbmc.genes, pbmc.n_counts, pbmc.cell_type, pbmc.cell_group
    counts, genes, depth, cell_type, group = found
    if n_cells is not None:
        each = n_cells // len(set(cell_type.tolist()))
        kept = np.sort(np.concatenate([np.flatnonzero(cell_type == one)[:each]
                                       for one in np.unique(cell_type)]))  # fmt: skip
        counts, depth, cell_type, group = counts[kept], depth[kept], cell_type[kept], group[kept]
    rest = depth - np.asarray(counts.sum(axis=1)).ravel()
    counts = sparse.csr_array(sparse.hstack([counts, rest[:, None]]), dtype=np.float32)
    test = np.zeros(cell_type.size, dtype=bool)
    rng = np.random.default_rng(0)
    for one in np.unique(cell_type):
        rows = np.flatnonzero(cell_type == one)
        test[rng.choice(rows, round(TEST_SHARE * rows.size), replace=False)] = True
    return Cells(counts, np.append(genes, OTHERS), cell_type, group, test)


@lru_cache
def gene_sets():
    """All gene sets of SKDICT_DATA by name, or None; a name begins with that of its collection."""
    found = {}
    for collection, name in GENE_SETS.items():
        path = data_file(name)
        if path is not None:
            found |= {f"{collection}: {own}": genes for own, genes in distinct_sets(path).items()}
    return found or None


def distinct_sets(path):
    """Gene sets of a file; of a name that is there twice the genes of both (Reactome 2016)."""
    try:
        return read_gmt(path)
    except ValueError as error:
        if "is there already" not in str(error):
            raise
    found = {}
    for line in path.read_text().splitlines():
        name, _, *genes = line.split("\t")
        found.setdefault(name, set()).update(filter(None, genes))
    return {name: sorted(genes) for name, genes in found.items()}


@lru_cache
def second_set():
    """The 700 cells of pbmc68k_reduced, logarithms only: (values, genes, type, phase), or None."""
    path = data_file(PBMC68K)
    if path is None:
        return None
    import anndata

    adata = anndata.read_h5ad(path)
    values = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    return (values.astype(np.float32), adata.var_names.to_numpy(str),
            adata.obs.bulk_labels.to_numpy(str), adata.obs.phase.to_numpy(str))  # fmt: skip
