"""What attribute_genes returns: tables of genes, concepts and selections."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import columns_of, table
from skdict._validation import check_choice, check_integer, check_real
from skdict.genes._pair_averages import ACTIVATIONS

_GENE_COLUMNS = (
    "attribution",
    "relative",
    "spread",
    "standard_error",
    "confirmation",
    "null_mean",
    "null_sd",
    "z",
    "p_value",
    "q_value",
    "q_value_all",
)
_CONCEPT_COLUMNS = (
    "activation",
    "completeness",
    "confirmation_correlation",
    "confirmation_slope",
    "expression_correlation",
    "null_expression_correlation",
)


class GeneAttribution(Bunch):
    """Result of :func:`attribute_genes`; prints passes, completeness and how much is confirmed.

    See :func:`attribute_genes` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(
        self,
        concept,
        *,
        activation: str = "code",
        cutoff: float | None = None,
        n: int | None = None,
        as_frame: bool = False,
    ):
        """Table of the genes of one concept, the largest attribution first.

        Parameters
        ----------
        concept : int
            The concept.
        activation : {"code", "pre"}, default="code"
            Attributions of the final code, or of the pre-activation.
        cutoff : float or None, default=None
            List genes with an absolute `relative` attribution of at least this; 0.05 is 5% of
            the activation. None lists all.
        n : int or None, default=None
            Most genes to list.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            The column ``gene``, those of :func:`attribute_genes` that have a value per gene, and
            ``mean_expression``.

        Raises
        ------
        ValueError
            If the concept was not attributed, or a value is out of range.
        """
        check_integer("n", n, 1, none=True)
        k, values = self._position(concept), self._values(activation)
        order = np.argsort(-values.attribution[k], kind="stable")
        if cutoff is not None:
            check_real("cutoff", cutoff, 0, np.finfo(float).max)
            order = order[np.abs(values.relative[k, order]) >= cutoff]
        order = order[:n]
        columns = {"gene": self.genes[order]}
        columns |= {name: values[name][k, order] for name in _GENE_COLUMNS}
        return table(columns | {"mean_expression": self.mean_expression[order]}, as_frame)

    def selected(
        self,
        cutoff: float = 0.05,
        *,
        level: float | None = None,
        activation: str = "code",
    ) -> np.ndarray:
        """Genes that support each concept.

        Parameters
        ----------
        cutoff : float, default=0.05
            Least `relative` attribution. Genes that hold a concept down (negative) are left out.
        level : float or None, default=None
            Largest `q_value`; None asks for none.
        activation : {"code", "pre"}, default="code"
            Attributions of the final code, or of the pre-activation.

        Returns
        -------
        ndarray of bool, shape (n_concepts, n_genes)
            The genes.

        Raises
        ------
        ValueError
            If a value is out of range, or `level` is given and there was no null.
        """
        check_real("cutoff", cutoff, 0, np.finfo(float).max)
        values = self._values(activation)
        chosen = (values.relative >= cutoff) & (values.attribution > 0)
        if level is not None:
            check_real("level", level, 0, 1)
            if self.null is None:
                raise ValueError("level needs q-values: pass null to attribute_genes")
            chosen &= values.q_value <= level
        return chosen

    def summary(self, *, activation: str = "code", as_frame: bool = False):
        """Table with a row for each concept.

        Parameters
        ----------
        activation : {"code", "pre"}, default="code"
            Attributions of the final code, or of the pre-activation.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            concept : ndarray of int
                The concept.
            n_prototypes, n_effective, distance, far_share : ndarray
                Of the pairs where prototypes were chosen, see :meth:`Counterfactuals.summary`.
            activation, completeness, confirmation_correlation, confirmation_slope, \
expression_correlation, null_expression_correlation : ndarray of float
                See :func:`attribute_genes`.
            n_above_cutoff : ndarray of int
                Genes with a relative attribution of at least 0.05.
            n_significant : ndarray of int
                Genes with a q-value of at most 0.05 within the concept.
            null : ndarray of str
                Why there is no comparison with null pairs; empty where there is.
        """
        values, pairs = self._values(activation), self.pairs.summary()
        reason = ["no null"] * self.concepts.shape[0] if self.null is None else self.null.reason
        chosen = np.flatnonzero(pairs.half == "chosen")
        rows = []
        for k, concept in enumerate(self.concepts):
            row = {"concept": concept}
            for name in ("n_prototypes", "n_effective", "distance", "far_share"):
                row[name] = pairs[name][chosen[k]]
            row |= {name: values[name][k] for name in _CONCEPT_COLUMNS}
            row["n_above_cutoff"] = np.count_nonzero(values.relative[k] >= 0.05)
            row["n_significant"] = np.count_nonzero(values.q_value[k] <= 0.05)
            row["null"] = reason[k]
            rows.append(row)
        found = columns_of(rows, as_frame)
        return found if as_frame else Bunch(**found)

    def _position(self, concept) -> int:
        """Place of a concept."""
        place = np.flatnonzero(self.concepts == concept)
        if place.size == 0:
            raise ValueError(
                f"concept must be one of those attributed, {self.concepts[:10].tolist()}"
                f"{' and others' if self.concepts.shape[0] > 10 else ''}, got {concept!r}"
            )
        return int(place[0])

    def _values(self, activation) -> Bunch:
        """Entries of the codes or of the pre-activations."""
        check_choice("activation", activation, ACTIVATIONS)
        return self if activation == "code" else self.pre

    def __repr__(self):
        """What was exchanged, at which cost, and how well it holds together."""
        passes = self.passes
        lines = [
            f"GeneAttribution of {self.concepts.shape[0]} concepts to {self.genes.shape[0]} "
            f"{self.settings['features']}, {self.settings['variant']} of {self.settings['layer']}",
            f"  forward passes                {passes.n_total:,} used; {passes.n_skipped:,} genes "
            f"equal in both skipped, {passes.n_shared:,} shared",
        ]
        for name, values in (("code", self), ("pre-activation", self.pre)):
            words = [
                f"completeness {_median(values.completeness)}",
                f"confirmed by a slope of {_median(values.confirmation_slope)}",
                f"with expression {_median(values.expression_correlation)}",
            ]
            if self.null is not None:
                found = np.count_nonzero(values.q_value_all <= 0.05)
                words.append(f"{found} genes at q <= 0.05 over all")
            lines.append(f"  {name:<30}" + ", ".join(words))
        return "\n".join([*lines, "  (medians over concepts; rank correlations)"])


def _median(values) -> str:
    """Median of what is there, as text."""
    known = values[~np.isnan(values)]
    return f"{np.median(known):.2f}" if known.size else "unknown"
