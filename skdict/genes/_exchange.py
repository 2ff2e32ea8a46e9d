"""What is exchanged between two cells: single genes or groups of genes, and their new values."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.genes._counts import Counts, locate_genes

VARIANTS = ("swap", "mask")


class Exchange:
    """Genes, or groups of genes, whose values are changed one after the other.

    Parameters
    ----------
    counts : Counts
        The counts.
    genes : ndarray, shape (n_genes,)
        Their names.
    candidates : array-like or None
        Genes to exchange, by name or as a mask; None means all.
    groups : mapping or None
        Name of each group and its genes; exchanged as a whole.
    variant : {"swap", "mask"}
        Take the value of the counterfactual, or zero.
    rescale : bool
        Rescale the counterfactual to the depth of the prototype.
    dtype : dtype
        Type of the rows.

    Attributes
    ----------
    names : ndarray, shape (n_features,)
        Names of the genes or groups.
    columns : ndarray of int
        Columns of all genes that are exchanged.
    members : list of ndarray of int
        Columns of each group; empty for single genes.
    """

    def __init__(self, counts: Counts, genes, *, candidates, groups, variant, rescale, dtype):
        self.counts, self.variant, self.rescale, self.dtype = counts, variant, rescale, dtype
        if groups is None:
            columns = np.arange(counts.n_genes)
            if candidates is not None:
                columns = locate_genes(candidates, genes, "candidates")
            self.names, self.columns = genes[columns], columns
            self.members: list[np.ndarray] = []
            return
        if candidates is not None:
            raise ValueError(
                "candidates and groups exclude each other: name the groups to exchange"
            )
        if not hasattr(groups, "items") or not groups:
            raise ValueError(f"groups must be a mapping of names to genes, got {groups!r}")
        self.members = [
            locate_genes(list(members), genes, f"groups[{name!r}]")
            for name, members in groups.items()
        ]
        self.names = np.array(list(groups))
        self.columns = np.unique(np.concatenate(self.members))
        ends = np.cumsum([0] + [members.shape[0] for members in self.members])
        self._matrix = sparse.csr_array(
            (np.ones(ends[-1]), np.concatenate(self.members), ends),
            shape=(len(self.members), counts.n_genes),
        )

    @property
    def n_features(self) -> int:
        """Number of genes or groups."""
        return self.names.shape[0]

    def profiles(self, prototypes, counterfactuals):
        """Rows of prototypes, and the values that their genes are to take.

        Parameters
        ----------
        prototypes, counterfactuals : ndarray of int, shape (n_pairs,)
            The cells.

        Returns
        -------
        before, after : ndarray, shape (n_pairs, n_genes)
            The rows.
        """
        before = self.counts.rows(prototypes, self.dtype)
        if self.variant == "mask":
            return before, np.zeros_like(before)
        after = self.counts.rows(counterfactuals)
        if self.rescale:
            ratio = self.counts.depth(prototypes) / self.counts.depth(counterfactuals)
            after *= ratio[:, None]
        return before, after.astype(self.dtype, copy=False)

    def changed(self, before, after) -> np.ndarray:
        """Features in which two rows differ."""
        differs = before != after
        if not self.members:
            return np.flatnonzero(differs[self.columns])
        return np.flatnonzero(self._matrix @ differs)

    def fill(self, rows, before, after, features) -> None:
        """Write rows that each have one feature exchanged."""
        rows[:] = before
        if not self.members:
            columns = self.columns[features]
            rows[np.arange(features.shape[0]), columns] = after[columns]
            return
        for row, feature in zip(rows, features):
            row[self.members[feature]] = after[self.members[feature]]

    def fill_all(self, rows, before, after) -> None:
        """Write rows that have all features exchanged at once."""
        rows[:] = before
        rows[:, self.columns] = after[..., self.columns]

    def mean_expression(self) -> np.ndarray:
        """Mean count over all cells of each gene, or of the genes of a group together."""
        mean = self.counts.mean()
        return mean[self.columns] if not self.members else self._matrix @ mean
