"""Area under the ROC curve of every gene between two groups of cells, for many groups."""

from __future__ import annotations

import numpy as np
from scipy import sparse


class SortedExpression:
    """Expression sorted by gene and value once, to be compared between any two groups of cells.

    Parameters
    ----------
    values : csr_array, shape (n_cells, n_genes)
        Positive values where a gene is expressed.
    """

    def __init__(self, values):
        by_gene = sparse.csc_array(values)
        self._bounds = by_gene.indptr
        gene = np.repeat(np.arange(by_gene.shape[1], dtype=np.int32), np.diff(self._bounds))
        order = np.lexsort((by_gene.data, gene))
        self._cells, self._gene = by_gene.indices[order], gene
        data = by_gene.data[order]
        # first entry of the run of equal values in which each entry lies, and one past the last
        new_run = np.ones(data.shape[0] + 1, dtype=bool)
        new_run[1:-1] = (np.diff(data) != 0) | (np.diff(gene) != 0)
        starts = np.flatnonzero(new_run).astype(self._bounds.dtype)
        run = np.cumsum(new_run[:-1]) - 1
        self._start, self._stop = starts[run], starts[run + 1]

    def auc(self, active: np.ndarray, inactive: np.ndarray) -> np.ndarray:
        """Chance that an active cell expresses a gene more than an inactive one, ties by half.

        Parameters
        ----------
        active, inactive : ndarray of bool, shape (n_cells,)
            The two groups.

        Returns
        -------
        ndarray, shape (n_genes,)
            The areas; NaN if a group is empty.
        """
        n_genes = self._bounds.shape[0] - 1
        n_active, n_inactive = int(active.sum()), int(inactive.sum())
        if not n_active or not n_inactive:
            return np.full(n_genes, np.nan)
        # inactive cells before each entry, over all genes
        before = np.zeros(self._cells.shape[0] + 1, dtype=np.int64)
        np.cumsum(inactive[self._cells], out=before[1:])
        zero_inactive = n_inactive - np.diff(before[self._bounds])
        entries = np.flatnonzero(active[self._cells])
        gene = self._gene[entries]
        low, high = before[self._start[entries]], before[self._stop[entries]]
        beaten = (low + high) / 2 - before[self._bounds[gene]] + zero_inactive[gene]
        wins = np.bincount(gene, weights=beaten, minlength=n_genes)
        zero_active = n_active - np.bincount(gene, minlength=n_genes)
        return (wins + zero_active * zero_inactive / 2) / (n_active * n_inactive)
