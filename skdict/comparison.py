"""Two kinds of features side by side: hand-made ones and sparse codes, or two sets of concepts."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from scipy.stats import pearsonr
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._validation import check_integer, import_optional
from skdict.metrics import activation_stability, best_features
from skdict.metrics._activity import active_pattern, check_codes
from skdict.metrics._labels import check_two_labels, encode_labels, locate_labels
from skdict.metrics._null import TIE
from skdict.metrics._selectivity import check_kind, scores_from_counts
from skdict.metrics._stability import column_correlation
from skdict.metrics._unit_counts import count_units

__all__ = [
    "ConceptAgreement",
    "concept_agreement",
    "selectivity_correlation",
    "selectivity_sweep",
]

# Correlations that differ by less are equal: the same scores, added up in another order.
_TIE = 1e-9


def selectivity_sweep(
    transformer,
    X,
    y,
    *,
    param_name,
    param_range,
    params=None,
    prefit=False,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    as_frame=False,
):
    """Best selectivity per label while one parameter varies: Fig. 2B of the paper.

    Called twice, with `alpha` (or `target_active`) of a
    :class:`~skdict.preprocessing.QuantileBinarizer` and with the sparsity of a dictionary, it
    gives two curves over the same axis: the average number of active features in a row.

    Parameters
    ----------
    transformer : estimator
        Transformer or pipeline whose ``transform`` gives codes.
    X : array-like of shape (n_samples, n_features)
        Rows; the transformer is fitted on them (unless `prefit`), and they are scored.
    y : array-like of shape (n_samples,)
        One label per row. Never given to ``fit``.
    param_name : str
        Parameter to vary, as in ``set_params``: ``"alpha"``, or
        ``"icfldictionary__transform_n_nonzero_coefs"`` within a pipeline.
    param_range : array-like of shape (n_values,)
        Its values.
    params : dict or None, default=None
        Passed to ``fit``: ``{"control": mask}`` with metadata routing, for example.
    prefit : bool, default=False
        The transformer is fitted already and the parameter acts at ``transform``, like
        `transform_n_nonzero_coefs`: set it on a copy and do not fit again.
    kind : {"average", "maximum"}, default="average"
        See :func:`~skdict.metrics.selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`~skdict.metrics.selectivity_scores`.
    active : {"nonzero", "positive"} or float, default="nonzero"
        See :func:`~skdict.metrics.selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; rows of the others still count as "other" rows.
    as_frame : bool, default=False
        Return a pandas DataFrame of the first three columns instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        One entry per value in each column:

        value : ndarray of shape (n_values,)
            The values of `param_range`.
        mean_active : ndarray of float, shape (n_values,)
            Active features per row, averaged over all rows: the axis of Fig. 2B.
        mean_score : ndarray of float, shape (n_values,)
            Mean over the labels of the best score.
        scores : ndarray of float, shape (n_values, n_labels)
            Best score of each label.
        labels : ndarray of shape (n_labels,)
            The labels.

    Raises
    ------
    ValueError
        If `param_range` is empty, the transformer has no such parameter, or as
        :func:`~skdict.metrics.selectivity_scores`.

    Notes
    -----
    Each score is the best of all features on the rows that chose it. That favours whichever has
    more features, and more so for labels with few rows;
    :func:`~skdict.metrics.held_out_selectivity` and :func:`~skdict.metrics.selectivity_null`
    tell how much.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.comparison import selectivity_sweep
    >>> from skdict.preprocessing import QuantileBinarizer
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(np.arange(4), 50)
    >>> X = rng.normal(size=(200, 20)) + 2 * (y[:, None] == np.arange(20))
    >>> curve = selectivity_sweep(
    ...     QuantileBinarizer(), X, y, param_name="alpha", param_range=[0.01, 0.1, 0.4]
    ... )
    >>> curve.mean_active.round(1).tolist()
    [0.4, 4.0, 16.0]
    >>> int(curve.mean_score.argmax())
    1
    """
    values = np.asarray(param_range)
    if values.ndim != 1 or values.shape[0] == 0:
        raise ValueError(f"param_range must hold at least one value, got {param_range!r}")
    check_kind(kind, reference)
    options = {"kind": kind, "reference": reference, "labels": labels}
    mean_active, best = [], []
    fitted = deepcopy(transformer) if prefit else None  # one copy, which keeps its Gram matrix
    for value in values.tolist():
        setting = {param_name: value}
        if prefit:
            codes = fitted.set_params(**setting).transform(X)
        else:
            model = clone(transformer).set_params(**setting).fit(X, **(params or {}))
            codes = model.transform(X)
        pattern = active_pattern(codes, active)
        del codes  # one setting in memory at a time
        mean_active.append(float(pattern.sum(dtype=np.int64) / pattern.shape[0]))
        best.append(best_features(pattern, y, **options))
    scores = np.stack([found.score for found in best])
    columns = {
        "value": values,
        "mean_active": np.array(mean_active),
        "mean_score": scores.mean(axis=1),
    }
    if as_frame:
        return import_optional("pandas", extra="io").DataFrame(columns)
    return Bunch(**columns, scores=scores, labels=best[0].labels)


def selectivity_correlation(
    codes,
    codes_other,
    y,
    *,
    units=None,
    strata=None,
    n_permutations=100,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    random_state=None,
) -> Bunch:
    """Correlate the best selectivity per label of two sets of features: Fig. 2C of the paper.

    The paper reports a Pearson correlation of 0.71 between CellProfiler's features and ICFL. Part
    of such a number means nothing: the best of many features is higher for labels with few rows,
    in both sets alike. So the labels are permuted, for both sets at once, and the correlation
    is taken again.

    Parameters
    ----------
    codes : array-like or sparse of shape (n_samples, n_components)
        First set, codes of a dictionary for example.
    codes_other : array-like or sparse of shape (n_samples, n_other_components)
        Second set for the same rows, from a
        :class:`~skdict.preprocessing.QuantileBinarizer` for example.
    y : array-like of shape (n_samples,)
        One label per row.
    units : array-like of shape (n_samples,) or None, default=None
        The independent unit of each row (physical well, donor), which carries one label; labels
        are permuted among units. None makes every row a unit.
    strata : array-like of shape (n_samples,) or None, default=None
        Within which units are permuted, for example plates. None permutes all.
    n_permutations : int, default=100
        Number of permutations.
    kind : {"average", "maximum"}, default="average"
        See :func:`~skdict.metrics.selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`~skdict.metrics.selectivity_scores`.
    active : {"nonzero", "positive"} or float, default="nonzero"
        See :func:`~skdict.metrics.selectivity_scores`; for both sets.
    labels : array-like or None, default=None
        Labels to correlate, at least three; the others still count as "other" rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations.

    Returns
    -------
    Bunch
        labels : ndarray of shape (n_labels,)
            The labels.
        score : ndarray of float, shape (n_labels,)
            Best score of each label in `codes`.
        score_other : ndarray of float, shape (n_labels,)
            Best score of each label in `codes_other`.
        correlation : float
            Pearson correlation of the two; NaN if the scores of one set are all equal.
        null_correlations : ndarray of float, shape (n_permutations,)
            Correlations with permuted labels, NaN likewise.
        expected_correlation : float
            Mean of those that are not NaN: what the two share if labels mean nothing.
        p_value : float
            (1 + number of permutations that reach the correlation) / (1 + n_permutations), and
            never below `smallest_p_value`.
        smallest_p_value : float
            Smallest p-value attainable: 1 / (1 + n_permutations), or 1 / (number of distinct
            assignments of the labels within strata) where that is larger. A lower bound:
            assignments that only rename labels with as many units give the same correlation.

    Raises
    ------
    ValueError
        If the sets have different numbers of rows, there are fewer than three labels, a unit has
        two labels or lies in two strata, or as :func:`~skdict.metrics.selectivity_scores`.

    Notes
    -----
    A small p-value says that the two sets agree on which labels are easy. It does not say that they
    find the same thing: any two representations that see how strong an effect is will agree.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.comparison import selectivity_correlation
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(np.arange(10), 30)
    >>> strength = np.linspace(0.1, 1, 10)[y]
    >>> own = y[:, None] == np.arange(10)
    >>> first, second = (own * (rng.random((300, 1)) < strength[:, None]) for _ in range(2))
    >>> found = selectivity_correlation(first, second, y, random_state=0)
    >>> bool(found.correlation > 0.8), round(found.p_value, 2)
    (True, 0.01)
    """
    check_kind(kind, reference)
    check_integer("n_permutations", n_permutations, 1)
    patterns = [active_pattern(codes, active), active_pattern(codes_other, active, "codes_other")]
    if patterns[0].shape[0] != patterns[1].shape[0]:
        raise ValueError(
            "codes and codes_other must have the same rows, got "
            f"{patterns[0].shape[0]} and {patterns[1].shape[0]}"
        )
    classes, index = encode_labels(y, patterns[0].shape[0])
    check_two_labels(classes)
    rows = locate_labels(labels, classes)
    if rows.shape[0] < 3:
        raise ValueError(
            f"labels must name at least 3 labels to correlate, got {classes[rows].tolist()!r}"
        )
    gathered = [count_units(pattern, classes, index, units, strata) for pattern in patterns]

    def best(label):
        return [
            scores_from_counts(*part.label_counts(label), kind=kind, reference=reference).max(
                axis=1
            )[rows]
            for part in gathered
        ]

    rng = check_random_state(random_state)
    score, score_other = best(gathered[0].label)
    correlation = _correlation(score, score_other)
    null = np.array([_correlation(*best(gathered[0].permuted(rng))) for _ in range(n_permutations)])
    defined = null[~np.isnan(null)]
    # Where a correlation is not defined, the permutation counts as reaching the observed one.
    reached = np.count_nonzero(~(null < correlation - _TIE))
    distinct = gathered[0].n_distinct(others_matter=True)[0]
    smallest = float(max(1 / (1 + n_permutations), 1 / distinct))
    return Bunch(
        labels=classes[rows],
        score=score,
        score_other=score_other,
        correlation=correlation,
        null_correlations=null,
        expected_correlation=float(defined.mean()) if defined.size else float("nan"),
        p_value=max(float((1 + reached) / (1 + n_permutations)), smallest),
        smallest_p_value=smallest,
    )


def _correlation(first, second) -> float:
    """Pearson correlation; NaN, without scipy's warning, where one side is constant."""
    if np.ptp(first) <= TIE or np.ptp(second) <= TIE:
        return float("nan")
    return float(pearsonr(first, second).statistic)


class ConceptAgreement(Bunch):
    """Result of :func:`concept_agreement`; prints how many concepts have a partner.

    See :func:`concept_agreement` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Table with a row for each concept of the first set, the most alike first.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``concept``, ``partner``, ``activation_similarity``, ``stable``,
            ``profile_similarity`` and ``profile_rank``. Concepts without partner come last.
        """
        order = np.argsort(-np.nan_to_num(self.activation_similarity, nan=-2), kind="stable")
        names = ("partner", "activation_similarity", "stable", "profile_similarity")
        columns = {"concept": self.concepts[order]} | {name: self[name][order] for name in names}
        return table(columns | {"profile_rank": self.profile_rank[order]}, as_frame)

    def __repr__(self):
        """Summary: partners by activation, and whether their genes agree."""
        n_second = self.n_second
        lines = [
            f"ConceptAgreement of {self.concepts.size} and {n_second} concepts",
            f"  stable by activation          {self.stable.sum()} of {self.n_matched} matched, "
            f"similarity above {self.threshold:.2f}",
        ]
        if not np.isnan(self.profile_first_share):
            lines.append(
                f"  partner first by profile      {self.profile_first_share:.3f} of those stable, "
                f"{1 / n_second:.3f} by chance"
            )
            lines.append(f"  similarity of their profiles  {self.profile_median:.2f} (median)")
        return "\n".join(lines)


def concept_agreement(
    codes_first,
    codes_second,
    *,
    attribution_first=None,
    attribution_second=None,
    null_codes=None,
    strata=None,
    n_permutations: int = 20,
    confidence_level: float = 0.95,
    random_state=None,
) -> ConceptAgreement:
    """Match two sets of concepts by what they respond to, and ask whether their genes agree.

    The sets come from two seeds, two data sets or two models. Both code the same cells, and
    concepts are matched one to one by the correlation of their activations
    (:func:`~skdict.metrics.activation_stability`). The profiles of attribution, which had no part
    in that, then tell whether partners are driven by the same genes: is the profile of
    the partner more like that of the concept than those of all other concepts?

    Parameters
    ----------
    codes_first : array-like or sparse, shape (n_cells, n_first)
        Codes of common cells, best cells that neither has seen in fit.
    codes_second : array-like or sparse, shape (n_cells, n_second)
        Codes of the same cells.
    attribution_first, attribution_second : GeneAttribution, Bunch or None, default=None
        Attributions of each set, with ``genes``, ``concepts`` (columns of the codes) and
        ``attribution``. Then only concepts that were attributed are matched, and profiles are
        compared over the genes in common. Both or none.
    null_codes : sequence of array-like or sparse, or None, default=None
        Codes of random dictionaries as wide as `codes_second`, see
        :func:`~skdict.metrics.activation_stability`: the comparison to make. None permutes cells.
    strata : array-like, shape (n_cells,), or None, default=None
        Cells are permuted within these.
    n_permutations : int, default=20
        Number of permutations.
    confidence_level : float, default=0.95
        A concept is stable when its similarity is above this quantile of the null.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations.

    Returns
    -------
    ConceptAgreement
        A Bunch that prints a summary, with a method ``table``:

        concepts : ndarray of int, shape (n_concepts,)
            Concepts of the first set that were matched.
        partner : ndarray of int, shape (n_concepts,)
            The partner of each in the second set, -1 where none was left.
        activation_similarity : ndarray of float, shape (n_concepts,)
            Correlation of their activations; NaN without partner.
        stable : ndarray of bool, shape (n_concepts,)
            Whether it is above `threshold`.
        threshold : float
            The quantile of the null.
        profile_similarity : ndarray of float, shape (n_concepts,)
            Correlation of their profiles over the common genes; NaN without attributions.
        profile_rank : ndarray of float, shape (n_concepts,)
            Rank of the partner among all concepts of the second set by that, 1 is the most alike.
        profile_first_share : float
            Share of the stable concepts whose partner has rank 1; ``1 / n_second`` by chance. NaN
            if none is stable.
        profile_median : float
            Median `profile_similarity` of the stable concepts.
        n_matched, n_second, n_genes : int
            Pairs, concepts of the second set, and genes in common (0 without attributions).

    Raises
    ------
    ValueError
        If one attribution is given alone, they have fewer than three genes in common, or as
        :func:`~skdict.metrics.activation_stability`.

    Notes
    -----
    Concepts whose attribution is NaN (no pairs of cells were found) are left out.

    Two data sets of one study share donors, chemistry and laboratory: agreement between them is no
    independent evidence.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from skdict.comparison import concept_agreement
    >>> rng = np.random.default_rng(0)
    >>> codes, profiles = rng.exponential(size=(200, 5)), rng.normal(size=(5, 30))
    >>> genes = np.array([f"gene{i}" for i in range(30)])
    >>> first = Bunch(genes=genes, concepts=np.arange(5), attribution=profiles)
    >>> second = Bunch(genes=genes[::-1], concepts=np.arange(5), attribution=profiles[::-1, ::-1])
    >>> concept_agreement(
    ...     codes, codes[:, ::-1], attribution_first=first, attribution_second=second,
    ...     random_state=0)
    ConceptAgreement of 5 and 5 concepts
      stable by activation          5 of 5 matched, similarity above 0.19
      partner first by profile      1.000 of those stable, 0.200 by chance
      similarity of their profiles  1.00 (median)
    """
    given = [attribution_first is not None, attribution_second is not None]
    if given[0] != given[1]:
        raise ValueError("attribution_first and attribution_second must be given both or neither")
    codes = [check_codes(codes_first, "codes_first"), check_codes(codes_second, "codes_second")]
    concepts, profiles = [np.arange(part.shape[1]) for part in codes], None
    if given[0]:
        concepts, profiles = _common_profiles(attribution_first, attribution_second, codes)
        codes = [part[:, chosen] for part, chosen in zip(codes, concepts)]
        if null_codes is not None:
            null_codes = [check_codes(null, "null_codes")[:, concepts[1]] for null in null_codes]
    found = activation_stability(
        *codes,
        null_codes=null_codes,
        strata=strata,
        n_permutations=n_permutations,
        confidence_level=confidence_level,
        random_state=random_state,
    )
    matched = found.assignment >= 0
    similarity, rank = _profile_ranks(profiles, found.assignment)
    stable = found.stable & matched
    known = stable & ~np.isnan(rank)
    return ConceptAgreement(
        concepts=concepts[0],
        partner=np.where(matched, concepts[1][found.assignment], -1),
        activation_similarity=found.similarity,
        stable=stable,
        threshold=found.threshold,
        profile_similarity=similarity,
        profile_rank=rank,
        profile_first_share=float((rank[known] == 1).mean()) if known.any() else float("nan"),
        profile_median=float(np.median(similarity[known])) if known.any() else float("nan"),
        n_matched=int(matched.sum()),
        n_second=concepts[1].size,
        n_genes=0 if profiles is None else profiles[0].shape[1],
    )


def _common_profiles(first, second, codes):
    """Concepts with known attributions, and these over the genes in common."""
    genes, *places = np.intersect1d(
        np.asarray(first.genes), np.asarray(second.genes), assume_unique=True, return_indices=True
    )
    if genes.size < 3:
        raise ValueError(
            f"attribution_first and attribution_second must have at least 3 genes in common, got "
            f"{genes.size}; the first names are such as {np.asarray(first.genes)[:3].tolist()}, "
            f"the second {np.asarray(second.genes)[:3].tolist()}"
        )
    concepts, profiles = [], []
    for name, part, place, own in zip(("first", "second"), (first, second), places, codes):
        values = np.asarray(part.attribution, dtype=np.float64)[:, place]
        known = ~np.isnan(values).any(axis=1)
        numbers = np.asarray(part.concepts)[known]
        if numbers.size == 0 or numbers.min() < 0 or numbers.max() >= own.shape[1]:
            raise ValueError(
                f"attribution_{name}.concepts must be columns of codes_{name}, 0 to "
                f"{own.shape[1] - 1}, with known attributions, got {numbers[:5].tolist()}"
            )
        concepts.append(numbers)
        profiles.append(values[known])
    return concepts, profiles


def _profile_ranks(profiles, assignment):
    """Similarity of the profiles of partners, and the rank of the partner among all concepts."""
    unknown = np.full(assignment.size, np.nan)
    if profiles is None:
        return unknown, unknown.copy()
    alike = column_correlation(profiles[0].T, profiles[1].T)
    rows = np.flatnonzero(assignment >= 0)
    similarity, rank = unknown, unknown.copy()
    similarity[rows] = own = alike[rows, assignment[rows]]
    # the partner ranks behind those that are as alike
    rank[rows] = (alike[rows] >= own[:, None] - _TIE).sum(axis=1)
    return similarity, rank
