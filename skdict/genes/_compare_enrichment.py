"""Gene sets found from attributions beside those found from differential expression."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_choice, check_real
from skdict.genes._common_names import common_names
from skdict.genes._concept_places import places_of

FOUND_BY = ("both", "attribution", "expression")


class EnrichmentComparison(Bunch):
    """Result of :func:`compare_enrichment`; prints how many pairs each of the two has found.

    See :func:`compare_enrichment` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def pairs(self, found_by: str | None = None, *, concepts=None, as_frame: bool = False):
        """Table of the pairs of concept and gene set that either has found.

        Parameters
        ----------
        found_by : {"both", "attribution", "expression"} or None, default=None
            Only pairs found by both, by attributions alone, or by expression alone.
        concepts : array-like or None, default=None
            Only these concepts; None means all.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``gene_set``, ``found_by``, ``attribution_q_value`` and
            ``expression_q_value``, by ascending smaller q-value.

        Raises
        ------
        ValueError
            If `found_by` or a concept is unknown.
        """
        kept = np.ones(self.found_by.shape, dtype=bool)
        if found_by is not None:
            check_choice("found_by", found_by, FOUND_BY)
            kept = self.found_by == found_by
        if concepts is not None:
            kept &= np.isin(self.concept, places_of(concepts, self.concepts))
        columns = {
            "concept": self.concepts[self.concept[kept]],
            "gene_set": self.gene_sets[self.gene_set[kept]],
            "found_by": self.found_by[kept],
            "attribution_q_value": self.attribution_q_value[kept],
            "expression_q_value": self.expression_q_value[kept],
        }
        return table(columns, as_frame)

    def by_concept(self, *, as_frame: bool = False):
        """Table of the concepts: sets found by both, and by one of the two alone.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``both``, ``attribution`` and ``expression``.
        """
        n_concepts = self.concepts.shape[0]
        counts = {
            name: np.bincount(self.concept[self.found_by == name], minlength=n_concepts)
            for name in FOUND_BY
        }
        return table({"concept": self.concepts, **counts}, as_frame)

    def __repr__(self):
        """Summary: sets that both have found, and that one of them has found alone."""
        counts = {name: np.count_nonzero(self.found_by == name) for name in FOUND_BY}
        return "\n".join(
            [
                f"EnrichmentComparison of {self.concepts.shape[0]} concepts x "
                f"{self.gene_sets.shape[0]} gene sets, pairs with q <= {self.level:g}",
                f"  found by both                 {counts['both']}",
                f"  by attribution alone          {counts['attribution']}",
                f"  by expression alone           {counts['expression']}",
            ]
        )


def compare_enrichment(
    attribution, expression, *, level: float = 0.05, absent_level: float | None = None
) -> EnrichmentComparison:
    """Set gene sets found from attributions beside those found from differential expression.

    Parameters
    ----------
    attribution, expression : OverRepresentation or PrerankedEnrichment
        Results for attributions and for differential expression. Concepts and gene sets are
        matched by name; what only one of the two has tested is left out.
    level : float, default=0.05
        A pair is found with a q-value of at most `level`.
    absent_level : float or None, default=None
        A pair counts as found by one alone if the other's q-value is above this; None means
        `level`. A larger one, 0.25 say, keeps pairs apart that are a little above the level in
        one and a little below in the other: pairs in between are listed as neither.

    Returns
    -------
    EnrichmentComparison
        A Bunch that prints a summary and has methods ``pairs(found_by)`` and ``by_concept()``:

        concepts, gene_sets : ndarray
            Names that both have in common, in the order of `attribution`.
        concept, gene_set : ndarray of int, shape (n_pairs,)
            Positions of the pairs that at least one of them has found.
        found_by : ndarray of str, shape (n_pairs,)
            "both", "attribution" or "expression".
        attribution_q_value, expression_q_value : ndarray, shape (n_pairs,)
            Their q-values; NaN where a pair was not tested, which does not count as found.
        level, absent_level : float
            The levels.

    Raises
    ------
    ValueError
        If the results have no concept or no gene set in common, or a level is not in [0, 1).

    See Also
    --------
    compare_gene_lists : The genes instead of the sets.

    Examples
    --------
    >>> from skdict.genes import compare_enrichment, over_representation
    >>> genes = [f"gene {i}" for i in range(100)]
    >>> sets = {"drives": genes[:20], "follows": genes[80:]}
    >>> drivers = over_representation({"a": genes[:10]}, sets, genes=genes)
    >>> changed = over_representation({"a": genes[:10] + genes[90:]}, sets, genes=genes)
    >>> compare_enrichment(drivers, changed).pairs("expression").gene_set
    array(['follows'], dtype='<U7')
    """
    check_real("level", level, 0, 1)
    absent_level = level if absent_level is None else absent_level
    check_real("absent_level", absent_level, level, 1)
    if absent_level == 1:
        raise ValueError("level and absent_level must be less than 1")
    concepts, rows = common_names(attribution.concepts, expression.concepts, "concept")
    gene_sets, columns = common_names(attribution.gene_sets, expression.gene_sets, "gene set")
    pairs = np.unique(
        np.concatenate(
            [
                _found(result, level, rows[side], columns[side], gene_sets.shape[0])
                for side, result in enumerate((attribution, expression))
            ]
        )
    )
    concept, gene_set = np.divmod(pairs, gene_sets.shape[0])
    q_value = [
        _q_values(result, rows[side][concept], columns[side][gene_set])
        for side, result in enumerate((attribution, expression))
    ]
    smaller = np.fmin(*q_value)
    found = [q <= level for q in q_value]
    absent = [~(q <= absent_level) for q in q_value]
    choices = [found[0] & found[1], found[0] & absent[1], found[1] & absent[0]]
    found_by = np.select(choices, FOUND_BY, "neither")
    order = np.argsort(smaller, kind="stable")
    return EnrichmentComparison(
        concepts=concepts,
        gene_sets=gene_sets,
        concept=concept[order],
        gene_set=gene_set[order],
        found_by=found_by[order],
        attribution_q_value=q_value[0][order],
        expression_q_value=q_value[1][order],
        level=level,
        absent_level=absent_level,
    )


def _found(result, level, rows, columns, n_sets) -> np.ndarray:
    """Numbers (concept * n_sets + set) of the pairs found, where both results have them."""
    concept, gene_set = result.significant(level)
    row, column = np.full(len(result.concepts), -1), np.full(len(result.gene_sets), -1)
    row[rows], column[columns] = np.arange(rows.size), np.arange(columns.size)
    concept, gene_set = row[concept], column[gene_set]
    kept = (concept >= 0) & (gene_set >= 0)
    return concept[kept].astype(np.int64) * n_sets + gene_set[kept]


def _q_values(result, rows, columns) -> np.ndarray:
    """Q-values of some pairs, without a dense copy of sparse results."""
    if "overlap" not in result:
        return result.q_value[rows, columns]
    overlap = result.overlap
    found = np.ones(rows.shape[0])
    order = np.argsort(rows, kind="stable")
    distinct, first = np.unique(rows[order], return_index=True)
    for row, pairs in zip(distinct, np.split(order, first[1:])):
        start, stop = overlap.indptr[row], overlap.indptr[row + 1]
        dense = np.ones(overlap.shape[1])
        dense[overlap.indices[start:stop]] = result.q_value[start:stop]
        found[pairs] = dense[columns[pairs]]
    return found
