"""Technical audit: what of each concept is position, plate or cell count, and what is biology."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table_of
from skdict._validation import check_real
from skdict.effects._audit_design import read_design, unit_means
from skdict.effects._audit_permutation import permute
from skdict.effects._audit_variance import (
    adjusted_selectivity,
    design_table,
    products_of,
    q_values,
    shares,
)
from skdict.effects._audit_verdict import VERDICTS, confounded_with, verdicts
from skdict.metrics._activity import active_pattern, check_active, check_codes, column_counts


class TechnicalAudit(Bunch):
    """Result of :func:`technical_audit`; prints its verdicts and the design.

    See :func:`technical_audit` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def counts(self) -> dict[str, int]:
        """Number of concepts of each verdict.

        Returns
        -------
        dict of int
            By verdict, in a fixed order; verdicts that do not occur have 0.
        """
        return {name: int(np.count_nonzero(self.verdict == name)) for name in VERDICTS}

    def table(self, *, as_frame: bool = False):
        """One row per concept.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            Columns ``concept``, ``verdict``, ``n_active_units``, the shares and q-values,
            ``main_factor`` (the factor of the largest unique share) and ``main_factor_unique``,
            ``label``, ``selectivity``, ``adjusted_selectivity`` and ``confounded_with``.
        """
        n_concepts = self.verdict.shape[0]
        columns = {"concept": np.arange(n_concepts), "verdict": self.verdict,
                   "n_active_units": self.n_active_units}  # fmt: skip
        names = ("biology_share", "technical_share", "unique_biology", "unique_technical", "shared",
                 "unexplained", "biology_q_value", "technical_q_value")  # fmt: skip
        columns |= {name: self[name] for name in names}
        if len(self.factors):
            main = self.factor_unique.argmax(axis=0)
            columns["main_factor"] = self.factors[main]
            columns["main_factor_unique"] = self.factor_unique[main, np.arange(n_concepts)]
        for name in ("label", "selectivity", "adjusted_selectivity", "confounded_with"):
            columns[name] = self[name]
        return table_of(columns, as_frame)

    def by_factor(self, *, as_frame: bool = False):
        """One row per concept and factor.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            Columns ``concept``, ``factor``, ``share`` (the factor alone), ``unique`` (beyond the
            biology and the other factors) and ``shared`` (in common with the biology).
        """
        n_factors, n_concepts = self.factor_share.shape
        columns = {
            "concept": np.repeat(np.arange(n_concepts), n_factors),
            "factor": np.tile(self.factors, n_concepts),
            "share": self.factor_share.T.ravel(),
            "unique": self.factor_unique.T.ravel(),
            "shared": self.factor_shared.T.ravel(),
        }
        return table_of(columns, as_frame)

    def __repr__(self):
        """Summary: the design, what of the biology it aliases, and the verdicts."""
        lines = [
            f"TechnicalAudit of {self.verdict.shape[0]} concepts: {self.n_units} units, "
            f"{len(self.labels)} labels, {self.n_residual} residual degrees of freedom"
        ]
        kinds = {"continuous": " (continuous)"}
        names = [name + kinds.get(kind, "") for name, kind in
                 zip(self.design["factor"].tolist(), self.design["kind"].tolist())]  # fmt: skip
        width = max(len(name) for name in names)
        for i, name in enumerate(names):
            lines.append(
                f"  {name:<{width}}  {self.design['degrees_of_freedom'][i]} degrees of freedom, "
                f"{100 * self.design['aliased_share'][i]:.3g}% of the biology aliased, "
                f"{100 * self.design['overlap'][i]:.3g}% overlap"
            )
        for name, reason in zip(self.excluded["factor"], self.excluded["reason"]):
            lines.append(f"  {name:<{width}}  excluded, {reason}")
        found = [f"{count} {name}" for name, count in self.counts().items() if count]
        lines.append(f"  verdicts: {', '.join(found)}")
        return "\n".join(lines)


def technical_audit(
    codes,
    biology,
    factors,
    *,
    units=None,
    active="nonzero",
    categorical=(),
    min_share=0.05,
    level=0.05,
    random_state=None,
) -> TechnicalAudit:
    r"""Share of each concept's activation that technical factors and biology explain.

    The activation of a unit is the mean code of its rows. It is regressed by least squares on the
    technical factors :math:`T`, on the labels of the biology :math:`B`, and on both. The share of
    any part, with sum of squares :math:`SS` and :math:`df` degrees of freedom, is

    .. math:: (SS - df \cdot s^2) / SS_{total},

    with :math:`s^2` the residual mean square of the fit of both (epsilon squared): noise explains
    0 in the mean, so that a share may lie below 0. The shares are a partition of the variance [1]_:

    - ``unique_technical``: what :math:`T` adds to :math:`B`, which no biology can explain;
    - ``unique_biology``: what :math:`B` adds to :math:`T`, which no factor can explain;
    - ``shared``: ``technical_share + biology_share`` minus the share of both, which the design
      gives to either; 0 in a balanced design;
    - ``unexplained``: 1 minus the share of both.

    **Verdict.** A part *counts* if it is at least `min_share` and its test (see the notes) has a
    q-value (Benjamini and Hochberg, over the concepts) of at most `level`.

    - ``"mixed"``: both unique parts count.
    - ``"technical"``, ``"biological"``: one unique part counts, and the shared part gives no
      reason to suspect the other side. It is ``"not separable"`` if the other side alone counts,
      if the shared part is larger than the unique one or at least `min_share` and larger than a
      layout drawn at random would make it (mean square of the shared against that of the own
      part, F test with p of at most `level`; for nested factors this is nested analysis of
      variance), and if the design cannot refute it: had the other side made the shared part, then
      its fit would have left less than `min_share` of its own, or half of that is there.
    - No unique part counts, and neither does a side alone: ``"unexplained"``. If one side alone
      counts and its unique part exceeds the shared part, with a q-value of at most `level`, it is
      that side; otherwise ``"not separable"``.
    - ``"never active"``: no row is active; not tested, shares are 0.

    What is not separable is so by design: ``confounded_with`` names the factors, and ``design``
    tells without any concept how much of the biology each factor aliases.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_concepts)
        Codes. Sparse codes are never made dense.
    biology : array-like, shape (n_samples,)
        Label of each row: perturbation, mechanism, cell type. At least two.
    factors : dict or DataFrame
        Technical factors by name, a value per row each: plate, row, column, edge, cell count,
        depth, cell-cycle score. Strings, booleans and whole numbers of at most 48 distinct values
        are categories, whether stored as int or float; other numbers (and times) enter with their
        value and its square. Where few whole numbers are measured rather than named, give their
        logarithm. A factor that biology itself moves, such as the cell count under a toxic
        compound, takes biology's share along: it becomes shared.
    units : array-like, shape (n_samples,), default=None
        Independent unit of each row, such as the well of each cell; None makes each row a unit.
        Labels and categories must not differ in a unit; numbers are averaged.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        When a concept counts as active, for the selectivity and ``"never active"``.
    categorical : sequence of str, default=()
        Factors whose numbers are names, of however many distinct values.
    min_share : float, default=0.05
        Smallest share of the variance that counts.
    level : float, default=0.05
        Largest q-value that counts.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations.

    Returns
    -------
    TechnicalAudit
        A Bunch with the methods ``table()``, ``by_factor()`` and ``counts()`` and the entries,
        of shape (n_concepts,) where nothing is said,

        - ``verdict``: see above; ``confounded_with``: names of factors, joined by commas;
        - ``technical_share``, ``biology_share``: each alone; ``unique_technical``,
          ``unique_biology``, ``shared``, ``unexplained``: the partition;
        - ``technical_p_value``, ``biology_p_value``, ``technical_q_value``, ``biology_q_value``:
          of the unique parts, see the notes; 1 where the design leaves nothing to test;
        - ``n_active_units``: units with an active row;
        - ``factor_share``, ``factor_unique``, ``factor_shared``: of shape (n_factors, n_concepts),
          each factor alone, beyond the biology and all other factors, in common with the biology;
        - ``label``, ``selectivity``: the label of the largest selectivity and that value, of the
          mean share of active rows per unit; ``adjusted_selectivity``: the label's coefficient in
          a regression of that share on it and the technical columns, NaN where they determine
          the label;
        - ``design``: dict of columns ``factor``, ``kind``, ``n_columns``, ``degrees_of_freedom``,
          ``aliased_share`` (of biology's degrees of freedom, those that the factor takes away) and
          ``overlap`` (mean squared canonical correlation with the biology: in a random layout
          about degrees of freedom / (n_units - 1)); the last row is all factors together;
        - ``excluded``: dict of columns ``factor`` and ``reason``: constant factors;
        - ``factors``, ``labels``: names; ``n_units``, ``n_residual``, ``n_unique_technical``,
          ``n_unique_biology``: number of units and degrees of freedom; ``min_share``, ``level``.

    Raises
    ------
    TypeError
        If `factors` is no dict or DataFrame.
    ValueError
        If lengths do not fit, a value is missing or not finite, `biology` holds one label, rows of
        a unit differ in label or category, `categorical` names no factor, or the design leaves no
        residual degrees of freedom.

    See Also
    --------
    well_position : Row, column and edge from the names of wells.
    skdict.metrics.selectivity_scores : Selectivity without adjustment.

    Notes
    -----
    Rows of one well are alike; as units of their own they make every test too sure of itself.

    **P-values.** Of sparse activations an F test finds too much: that two of a few active units
    have one label is rarer by the F distribution than by chance. Where a part is at least
    `min_share` and its F test has a q-value of at most `level`, its p-value is therefore the larger
    one of the F test and of a permutation test with the same sums of squares. All units are
    exchanged for a side alone; units of one label for the unique technical part; for the unique
    part of biology, residuals of the technical fit [2]_ within the levels of the categorical factor
    that explains most of the concept. There are 199 permutations or as many as the q-values
    ask for, up to 10,000 (fewer with more than 40,000 units), where a p-value that no draw reaches
    is that of Pearson's third type with the moments of the draws. A concept is left once it cannot
    count any more [3]_, or once it lies so far above all draws that Cantelli's inequality, with
    twice their standard deviation, settles it: that bound is then the p-value. Elsewhere the
    p-value is that of the F test.

    A factor as fine as the biology, such as the well in a layout that is the same on all plates,
    can explain all that biology does: then nothing is separable. Row and column are coarser and
    leave most of the biology to be seen. They do not describe every effect of a position, though:
    where the layout is the same on all plates, what is peculiar to single wells and no row or
    column looks like biology. Layouts that differ between plates are the remedy.

    Cost: sums of products only. Memory: a few dense arrays of shape (n_labels, n_concepts) and
    (n_columns, n_concepts).

    References
    ----------
    .. [1] Peres-Neto, P. R., Legendre, P., Dray, S. and Borcard, D. (2006). "Variation
       partitioning of species data matrices: estimation and comparison of fractions". Ecology 87,
       2614-2625.
    .. [2] Freedman, D. and Lane, D. (1983). "A nonstochastic interpretation of reported
       significance levels". Journal of Business & Economic Statistics 1, 292-298.
    .. [3] Besag, J. and Clifford, P. (1991). "Sequential Monte Carlo p-values". Biometrika 78,
       301-304.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import technical_audit
    >>> rng = np.random.default_rng(0)
    >>> compound, plate = np.repeat(["a", "b", "c", "d"], 30), np.tile(["p1", "p2", "p3"], 40)
    >>> codes = rng.normal(size=(120, 3))
    >>> codes[compound == "b", 0] += 3.0
    >>> codes[plate == "p2", 1] += 3.0
    >>> audit = technical_audit(codes, compound, {"plate": plate})
    >>> audit.verdict
    array(['biological', 'technical', 'unexplained'], dtype='<U13')
    >>> audit.unique_technical.round(1) + 0.0
    array([0. , 0.7, 0. ])
    >>> audit
    TechnicalAudit of 3 concepts: 120 units, 4 labels, 114 residual degrees of freedom
      plate        2 degrees of freedom, 0% of the biology aliased, 0% overlap
      all factors  2 degrees of freedom, 0% of the biology aliased, 0% overlap
      verdicts: 1 biological, 1 technical, 1 unexplained
    """
    check_real("min_share", min_share, 0, 1)
    check_real("level", level, 0, 1)
    codes = check_codes(codes)
    check_active(active, codes.shape[1])
    design = read_design(biology, factors, units, categorical, codes.shape[0])
    products = products_of(design)
    activation = unit_means(codes, design.units)
    found = shares(products, activation)
    rates = unit_means(active_pattern(codes, active), design.units)
    n_active_units = column_counts(rates)
    is_active = n_active_units > 0
    for name, values in found.items():
        if np.ndim(values):
            values[..., ~is_active] = 1.0 if name.endswith("p_value") else 0.0
    permute(found, products, design, activation, is_active, min_share=min_share, level=level,
            rng=check_random_state(random_state))  # fmt: skip
    layout = design_table(products, design)
    verdict = verdicts(found, layout, is_active, min_share=min_share, level=level)
    best, selectivity, adjusted = adjusted_selectivity(products, rates)
    return TechnicalAudit(
        verdict=verdict,
        confounded_with=confounded_with(found, verdict, design.names),
        n_active_units=n_active_units,
        **{name: found[name] for name in _ENTRIES},
        shared=found.technical_share + found.biology_share - found.total_share,
        unexplained=1.0 - found.total_share,
        technical_q_value=q_values(found.technical_p_value, is_active),
        biology_q_value=q_values(found.biology_p_value, is_active),
        label=design.labels[best],
        selectivity=selectivity,
        adjusted_selectivity=adjusted,
        design=layout,
        excluded=design.excluded,
        factors=np.array(design.names, dtype=str),
        labels=design.labels,
        n_units=products.n_units,
        min_share=min_share,
        level=level,
    )


_ENTRIES = (
    "technical_share", "biology_share", "unique_technical", "unique_biology", "technical_p_value",
    "biology_p_value", "factor_share", "factor_unique", "factor_shared", "n_residual",
    "n_unique_technical", "n_unique_biology",
)  # fmt: skip
