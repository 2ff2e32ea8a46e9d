"""Attributed genes beside differentially expressed ones: drivers, and what only goes along."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_choice, check_integer
from skdict.genes._common_names import common_names
from skdict.genes._concept_places import places_of
from skdict.genes._differential_expression import effect_of
from skdict.genes._rounding import is_change

FOUND_BY = ("both", "attribution", "expression", "neither")
_ORDERS = ("signed", "absolute")


class GeneListComparison(Bunch):
    """Result of :func:`compare_gene_lists`; prints how far the two lists agree.

    See :func:`compare_gene_lists` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(
        self, concept, found_by: str | None = None, *, n: int | None = None, as_frame: bool = False
    ):
        """Table of the genes of one concept with both scores and both ranks.

        Parameters
        ----------
        concept : int
            The concept.
        found_by : {"both", "attribution", "expression", "neither"} or None, default=None
            Only genes among the first of both lists, or of one of them alone. "expression" lists
            confounders: genes that go along with the concept and do not drive it. None lists the
            genes among the first of either.
        n : int or None, default=None
            Most genes to list.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``gene``, ``found_by``, ``attribution_rank``, ``expression_rank`` (1 is the
            first; equal scores share the mean of their ranks), ``attribution`` and
            ``expression``, sorted by the smaller rank.

        Raises
        ------
        ValueError
            If the concept or `found_by` is unknown.
        """
        check_integer("n", n, 1, none=True)
        row = places_of(concept, self.concepts)[0]
        label = self.found_by(concept)
        kept = label != "neither"
        if found_by is not None:
            check_choice("found_by", found_by, FOUND_BY)
            kept = label == found_by
        ranks = [self.attribution_rank[row], self.expression_rank[row]]
        order = np.argsort(np.fmin(*ranks), kind="stable")
        order = order[kept[order]][:n]
        columns = {
            "gene": self.genes[order],
            "found_by": label[order],
            "attribution_rank": ranks[0][order],
            "expression_rank": ranks[1][order],
            "attribution": self.attribution[row, order],
            "expression": self.expression[row, order],
        }
        return table(columns, as_frame)

    def found_by(self, concept) -> np.ndarray:
        """Which list has each gene among its first.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        ndarray of str, shape (n_genes,)
            "both", "attribution", "expression" or "neither".

        Raises
        ------
        ValueError
            If the concept is unknown.
        """
        row = places_of(concept, self.concepts)[0]
        attribution, expression = self.first_attribution[row], self.first_expression[row]
        choices = [attribution & expression, attribution, expression]
        return np.select(choices, FOUND_BY[:3], FOUND_BY[3])

    def summary(self, *, as_frame: bool = False):
        """Table of the concepts: how far the two lists agree.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``rank_correlation``, ``both``, ``attribution`` and
            ``expression`` (genes among the first of both lists or of one alone) and
            ``both_by_chance`` (expected of two unrelated lists).
        """
        first, second = self.first_attribution, self.first_expression
        both = (first & second).sum(axis=1)
        n_first, n_second = first.sum(axis=1), second.sum(axis=1)
        columns = {
            "concept": self.concepts,
            "rank_correlation": self.rank_correlation,
            "both": both,
            "attribution": n_first - both,
            "expression": n_second - both,
            "both_by_chance": n_first * n_second / self.genes.shape[0],
        }
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: rank correlation and genes in common, medians over the concepts."""
        found = self.summary()
        known = self.rank_correlation[~np.isnan(self.rank_correlation)]
        median = f"{np.median(known):.2f}" if known.size else "unknown"
        return "\n".join(
            [
                f"GeneListComparison of {self.concepts.shape[0]} concepts x {self.genes.shape[0]} "
                f"genes, attribution and {self.effect}",
                f"  rank correlation              {median}",
                f"  among the first {self.n_first:<14}{np.median(found.both):g} of both, "
                f"{np.median(found.attribution):g} of attribution alone, "
                f"{np.median(found.expression):g} of expression alone",
                "  (medians over concepts)",
            ]
        )


def compare_gene_lists(
    attribution,
    expression,
    *,
    n_first: int = 50,
    effect: str = "log_fold_change",
    attribution_order: str = "signed",
    expression_order: str = "absolute",
) -> GeneListComparison:
    """Set attributed genes beside differentially expressed ones, for every concept.

    The lists part in two ways. Genes among the first of expression alone go along with the
    concept without driving it, as far as the model is concerned: confounders. Genes among the
    first of attribution alone drive it without a large difference between active and inactive
    cells.

    Parameters
    ----------
    attribution : GeneAttribution
        What :func:`attribute_genes` returns, or anything with its ``genes``, ``concepts`` and
        ``attribution`` (n_concepts, n_genes).
    expression : DifferentialExpression
        What :func:`differential_expression` returns. Concepts and genes are matched by name;
        what only one of the two has is left out.
    n_first : int, default=50
        Length of the beginning of each list. Genes with a score of zero (or, in a signed order,
        below) are never among the first, so that it can be shorter. Attributions below 1e-5 of
        the largest of the concept are rounding and count as zero.
    effect : {"log_fold_change", "mean_difference", "auc"}, default="log_fold_change"
        Effect of expression. Of ``"auc"``, the distance from 1/2 counts.
    attribution_order, expression_order : {"signed", "absolute"}, default="signed" and "absolute"
        Sort by the score, largest first, or by its absolute value. An attribution is positive
        where the cell's own value of the gene supports the concept, be that value high or low:
        a gene whose absence drives a concept has a positive attribution and a negative fold
        change. Hence the defaults.

    Returns
    -------
    GeneListComparison
        A Bunch that prints a summary and has methods ``table(concept, found_by)``,
        ``found_by(concept)`` and ``summary()``:

        concepts, genes : ndarray
            Names that both have in common, in the order of `attribution`.
        attribution, expression : ndarray, shape (n_concepts, n_genes)
            The scores.
        attribution_rank, expression_rank : ndarray of float32, shape (n_concepts, n_genes)
            Ranks, 1 for the first; equal scores share the mean of their ranks. NaN where a gene
            has no score in one of the lists.
        first_attribution, first_expression : ndarray of bool, shape (n_concepts, n_genes)
            Genes among the first.
        rank_correlation : ndarray, shape (n_concepts,)
            Spearman's rank correlation of the two lists; NaN where all scores of one are equal.
        n_first, effect
            As given.

    Raises
    ------
    ValueError
        If they have no concept or no gene in common, or a setting is unknown.

    See Also
    --------
    compare_enrichment : The gene sets instead of the genes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from skdict.genes import compare_gene_lists, differential_expression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.poisson(5.0, size=(200, 20))
    >>> X[:100, :2] += rng.poisson(5.0, size=(100, 2))  # both go along, "g0" alone drives
    >>> codes = np.repeat([[1.0], [0.0]], 100, axis=0)
    >>> genes = np.array([f"g{i}" for i in range(20)])
    >>> expression = differential_expression(X, codes, genes=genes)
    >>> drives = np.where(genes == "g0", 0.4, 0.0)
    >>> attribution = Bunch(genes=genes, concepts=np.array([0]), attribution=drives[None])
    >>> compared = compare_gene_lists(attribution, expression, n_first=2)
    >>> compared.table(0).gene, compared.table(0).found_by
    (array(['g0', 'g1'], dtype='<U3'), array(['both', 'expression'], dtype='<U11'))
    """
    check_integer("n_first", n_first, 1)
    check_choice("attribution_order", attribution_order, _ORDERS)
    check_choice("expression_order", expression_order, _ORDERS)
    effects = effect_of(expression, effect)
    concepts, rows = common_names(attribution.concepts, expression.concepts, "concept")
    genes, columns = common_names(attribution.genes, expression.genes, "gene")
    scores = [
        np.asarray(values)[np.ix_(rows[side], columns[side])]
        for side, values in enumerate((attribution.attribution, effects))
    ]
    centred = [scores[0], scores[1] - (0.5 if effect == "auc" else 0)]
    heights = [
        np.abs(values) if order == "absolute" else values
        for values, order in zip(centred, (attribution_order, expression_order))
    ]
    # what rounding leaves of zero drives nothing
    heights[0] = np.where(is_change(scores[0]) | np.isnan(scores[0]), heights[0], 0.0)
    missing = np.isnan(heights[0]) | np.isnan(heights[1])
    ranks = [_ranks(np.where(missing, np.nan, height)) for height in heights]
    first = [
        (rank <= n_first) & (height > 0) for rank, height in zip(ranks, heights)
    ]  # neither holds for NaN
    return GeneListComparison(
        concepts=concepts,
        genes=genes,
        attribution=scores[0],
        expression=scores[1],
        attribution_rank=ranks[0],
        expression_rank=ranks[1],
        first_attribution=first[0],
        first_expression=first[1],
        rank_correlation=_correlations(*ranks),
        n_first=n_first,
        effect=effect,
    )


def _ranks(heights) -> np.ndarray:
    """Ranks within rows, 1 for the largest; NaN stays."""
    ranks = np.empty(heights.shape, dtype=np.float32)
    for row, values in enumerate(heights):
        ranks[row] = rankdata(-values, nan_policy="omit")
    return ranks


def _correlations(first, second) -> np.ndarray:
    """Correlation of the ranks in every row, NaN left out."""
    found = np.full(first.shape[0], np.nan)
    for row in range(first.shape[0]):
        ranks = [values[row].astype(np.float64) for values in (first, second)]
        ranks = [values[~np.isnan(values)] for values in ranks]
        if ranks[0].size > 1 and all(np.ptp(values) > 0 for values in ranks):
            found[row] = np.corrcoef(*ranks)[0, 1]
    return found
