"""What over_representation returns: tables of pairs and of concepts."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_choice, check_real
from skdict.genes._concept_places import places_of

VALUES = ("p_value", "q_value")


class OverRepresentation(Bunch):
    """Result of :func:`over_representation`; prints how many pairs were tested and found.

    See :func:`over_representation` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def significant(self, level: float = 0.05, *, by: str = "q_value"):
        """Places of the significant pairs.

        Parameters
        ----------
        level : float, default=0.05
            Pairs with a value of at most `level`.
        by : {"q_value", "p_value"}, default="q_value"
            The value.

        Returns
        -------
        concept, gene_set : ndarray of int, shape (n_pairs,)
            Positions in ``concepts`` and ``gene_sets``, by ascending p-value.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1) or `by` is unknown.
        """
        entries = self._entries(level, by)
        return self._rows_of(entries), self.overlap.indices[entries].astype(np.intp)

    def pairs(
        self, level: float = 0.05, *, by: str = "q_value", concepts=None, as_frame: bool = False
    ):
        """Table of the significant pairs of concept and gene set.

        Parameters
        ----------
        level : float, default=0.05
            Pairs with a value of at most `level` are listed.
        by : {"q_value", "p_value"}, default="q_value"
            The value.
        concepts : array-like or None, default=None
            Only these concepts; None means all.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``gene_set``, ``overlap`` (genes in common), ``set_size``,
            ``n_selected``, ``fold_enrichment`` (overlap over what is expected by chance),
            ``p_value``, ``q_value`` and ``genes`` (names in common, separated by "; "), sorted by
            ascending p-value.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1), `by` or a concept is unknown.
        """
        entries = self._entries(level, by)
        concept = self._rows_of(entries)
        if concepts is not None:
            kept = np.isin(concept, places_of(concepts, self.concepts))
            entries, concept = entries[kept], concept[kept]
        gene_set = self.overlap.indices[entries].astype(np.intp)
        overlap = self.overlap.data[entries]
        size = self._sizes(concept, gene_set)
        expected = self.n_selected[concept] * size / self._totals()[concept]
        columns = {
            "concept": self.concepts[concept],
            "gene_set": self.gene_sets[gene_set],
            "overlap": overlap,
            "set_size": size,
            "n_selected": self.n_selected[concept],
            "fold_enrichment": overlap / expected,
            "p_value": self.p_value[entries],
            "q_value": self.q_value[entries],
            "genes": self._genes_in_common(concept, gene_set),
        }
        return table(columns, as_frame)

    def by_concept(self, level: float = 0.05, *, as_frame: bool = False):
        """Table of the concepts: how many sets each has, and its best.

        Parameters
        ----------
        level : float, default=0.05
            Sets with a q-value of at most `level` are counted.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``n_selected``, ``n_sets`` (significant ones), ``best_set`` (the
            smallest p-value; empty where no set has a gene of the concept), ``p_value`` and
            ``q_value`` of that set.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1).
        """
        n_concepts = self.concepts.shape[0]
        found = np.bincount(self._rows_of(self._entries(level, "q_value")), minlength=n_concepts)
        best = np.array([""] * n_concepts, dtype=np.result_type(self.gene_sets.dtype, "U1"))
        p_value, q_value = np.ones(n_concepts), np.ones(n_concepts)
        for row, (start, stop) in enumerate(self._bounds()):
            if stop > start:
                entry = start + np.argmin(self.p_value[start:stop])
                best[row] = self.gene_sets[self.overlap.indices[entry]]
                p_value[row], q_value[row] = self.p_value[entry], self.q_value[entry]
        columns = {"concept": self.concepts, "n_selected": self.n_selected, "n_sets": found}
        columns |= {"best_set": best, "p_value": p_value, "q_value": q_value}
        return table(columns, as_frame)

    def dense(self, name: str = "q_value", concepts=None) -> np.ndarray:
        """P- or q-values of some concepts as a dense array.

        Parameters
        ----------
        name : {"q_value", "p_value"}, default="q_value"
            Which values.
        concepts : array-like or None, default=None
            The concepts, in this order; None means all, which takes 8 bytes per pair.

        Returns
        -------
        ndarray, shape (n_chosen, n_sets)
            The values; 1 where concept and set have no gene in common.

        Raises
        ------
        ValueError
            If the name or a concept is unknown.
        """
        check_choice("name", name, VALUES)
        rows = places_of(concepts, self.concepts)
        dense = np.ones((rows.shape[0], self.gene_sets.shape[0]))
        bounds = self._bounds()
        for place, row in enumerate(rows):
            entries = slice(*bounds[row])
            dense[place, self.overlap.indices[entries]] = self[name][entries]
        return dense

    def _entries(self, level, by) -> np.ndarray:
        """Stored entries with a value of at most `level`, by ascending p-value."""
        check_real("level", level, 0, 1)
        if level == 1:
            raise ValueError("level must be less than 1: pairs without a common gene have 1")
        check_choice("by", by, VALUES)
        entries = np.flatnonzero(self[by] <= level)
        return entries[np.argsort(self.p_value[entries], kind="stable")]

    def _rows_of(self, entries) -> np.ndarray:
        """Row of each stored entry."""
        return np.searchsorted(self.overlap.indptr, entries, side="right") - 1

    def _bounds(self):
        """First and one past the last stored entry of every row."""
        return list(zip(self.overlap.indptr[:-1].tolist(), self.overlap.indptr[1:].tolist()))

    def _sizes(self, concept, gene_set) -> np.ndarray:
        """Size of each pair's set in the background of its concept."""
        by_pair = self.set_size.ndim == 2
        return self.set_size[concept, gene_set] if by_pair else self.set_size[gene_set]

    def _totals(self) -> np.ndarray:
        """Genes in the background of each concept."""
        return np.broadcast_to(self.n_background, self.concepts.shape)

    def _genes_in_common(self, concept, gene_set) -> np.ndarray:
        """Names of the genes that each pair has in common."""
        names = [
            "; ".join(self.genes[np.intersect1d(_row(self.selected, c), _row(self.members, s))])
            for c, s in zip(concept, gene_set)
        ]
        return np.array(names, dtype=object)

    def __repr__(self):
        """Summary: pairs, background, and how much is significant."""
        n_concepts, n_sets = self.overlap.shape
        live = self.n_selected[self.n_selected > 0]
        found = self._rows_of(self._entries(0.05, "q_value"))
        selected = f"median {np.median(live):g}, {live.min()} to {live.max()}" if live.size else "0"
        return "\n".join(
            [
                f"OverRepresentation of {n_concepts} concepts x {n_sets} gene sets, "
                f"{self.n_tests} pairs tested",
                f"  genes in the background       {_span(self.n_background)}",
                f"  genes per concept             {selected}",
                f"  concepts without genes        {n_concepts - live.size}",
                f"  pairs, q <= 0.05              {found.size}",
                f"  concepts with a set, q <= 0.05  {np.unique(found).size}",
            ]
        )


def _row(matrix, row: int) -> np.ndarray:
    """Columns of the stored entries of a row."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _span(numbers) -> str:
    """One number, or the smallest and largest of several."""
    least, most = int(np.min(numbers)), int(np.max(numbers))
    return f"{least}" if least == most else f"{least} to {most}"
