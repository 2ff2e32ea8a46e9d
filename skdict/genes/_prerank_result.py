"""What prerank returns: a table of pairs."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_choice, check_real
from skdict.genes._concept_places import places_of


class PrerankedEnrichment(Bunch):
    """Result of :func:`prerank`; prints how many pairs were tested and found.

    See :func:`prerank` for the entries.

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
            Positions in ``concepts`` and ``gene_sets``, by ascending p-value, then by descending
            absolute ``normalized_score``.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1] or `by` is unknown.
        """
        check_real("level", level, 0, 1)
        check_choice("by", by, ("q_value", "p_value"))
        concept, gene_set = np.nonzero(self[by] <= level)  # not so for NaN
        strength = np.abs(self.normalized_score[concept, gene_set])
        order = np.lexsort((-strength, self.p_value[concept, gene_set]))
        return concept[order], gene_set[order]

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
            Columns ``concept``, ``gene_set``, ``set_size``, ``enrichment_score``,
            ``normalized_score``, ``p_value``, ``q_value`` and ``genes`` (the leading edge,
            separated by "; "), in the order of :meth:`significant`.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1], `by` or a concept is unknown.
        """
        concept, gene_set = self.significant(level, by=by)
        if concepts is not None:
            kept = np.isin(concept, places_of(concepts, self.concepts))
            concept, gene_set = concept[kept], gene_set[kept]
        columns = {"concept": self.concepts[concept], "gene_set": self.gene_sets[gene_set]}
        numbers = ("set_size", "enrichment_score", "normalized_score", "p_value", "q_value")
        columns |= {name: self[name][concept, gene_set] for name in numbers}
        columns["genes"] = np.array(
            ["; ".join(self.leading_edge[pair]) for pair in zip(concept, gene_set)], dtype=object
        )
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: pairs, how they were tested, and how much is significant."""
        n_concepts, n_sets = self.p_value.shape
        found = self.significant(0.05)[0]
        lines = [
            f"PrerankedEnrichment of {n_concepts} concepts x {n_sets} gene sets, "
            f"{np.isfinite(self.p_value).sum()} pairs tested",
            f"  method                        {self.method}, {self.n_permutations} permutations",
            f"  pairs, q <= 0.05              {found.size}",
            f"  concepts with a set, q <= 0.05  {np.unique(found).size}",
        ]
        untested = np.count_nonzero(self.reason != "")
        return "\n".join(lines + [f"  concepts not tested           {untested}"] * bool(untested))
