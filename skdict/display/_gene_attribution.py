"""Genes that drive a concept, beside those that are expressed along with it."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer
from skdict.display._saving import SavedDisplay, listed, vector
from skdict.display._style import (
    COLORS,
    CURVE,
    GREY,
    MARKERS,
    check_panels,
    legend_beside,
    new_panels,
    wrapped,
)

DRIVES, EXPRESSED = "first by attribution", "first by expression alone"
NULL, NULL_COLOR = "null pairs, mean ± 2 sd", "0.82"


class GeneAttributionDisplay(SavedDisplay):
    """Attribution of a concept to genes, with spread and null, beside their change in expression.

    Two panels with a row per gene. Above stand the genes with the largest attribution; below,
    where expression was compared as well, the genes that come first by it and do not drive the
    concept: what a list of differentially expressed genes would have shown in their place.

    Parameters
    ----------
    genes : array-like of str, shape (n_genes,)
        Names of the genes, in the order of the rows from above.
    attribution : array-like of float, shape (n_genes,)
        Attribution of each, as a share of the activation.
    standard_error : array-like of float, shape (n_genes,), default=None
        Its standard error over units.
    null_mean, null_sd : array-like of float, shape (n_genes,), default=None
        Mean and standard deviation of the attribution of null pairs.
    expression : array-like of float, shape (n_genes,), default=None
        Effect size of active against inactive cells; ``None`` leaves out the second panel.
    effect : str, default="log_fold_change"
        What `expression` is.
    group : array-like of str, shape (n_genes,), default=None
        Which list each gene is among the first of; ``None`` puts all under attribution.
    concept : int or str, default=None
        The concept, for the title.
    cutoff : float, default=0.05
        Attribution to mark by a line; ``None`` draws none.
    name : str, default=None
        Name of the model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from skdict.display import GeneAttributionDisplay
    >>> display = GeneAttributionDisplay(
    ...     ["CD79A", "MS4A1", "RPS4Y1"], [0.4, 0.2, 0.0], expression=[2.1, 1.7, 2.9],
    ...     group=["first by attribution"] * 2 + ["first by expression alone"])
    >>> display.source_data()["expression"]
    array([2.1, 1.7, 2.9])
    """

    def __init__(self, genes, attribution, *, standard_error=None, null_mean=None, null_sd=None,
                 expression=None, effect="log_fold_change", group=None, concept=None, cutoff=0.05,
                 name=None, settings=None):  # fmt: skip
        self.genes = genes
        self.attribution = attribution
        self.standard_error = standard_error
        self.null_mean = null_mean
        self.null_sd = null_sd
        self.expression = expression
        self.effect = effect
        self.group = group
        self.concept = concept
        self.cutoff = cutoff
        self.name = name
        self.settings = settings

    @classmethod
    def from_attribution(cls, attribution, concept, *, comparison=None, n_genes=12,
                         n_expressed=6, activation="code", cutoff=0.05, name=None, axes=None,
                         plot=True):  # fmt: skip
        """Take the numbers of one concept out of results of :mod:`skdict.genes`.

        Parameters
        ----------
        attribution : GeneAttribution
            From :func:`~skdict.genes.attribute_genes`.
        concept : int
            The concept.
        comparison : GeneListComparison, default=None
            From :func:`~skdict.genes.compare_gene_lists`, for the panel of expression.
        n_genes : int, default=12
            Genes with the largest attribution to show.
        n_expressed : int, default=6
            Genes to show that are among the first by expression alone.
        activation : {"code", "pre"}, default="code"
            Attributions of the final code, or of the pre-activation.
        cutoff : float, default=0.05
            Attribution to mark; ``None`` draws no line.
        name : str, default=None
            Name of the model.
        axes : sequence of matplotlib Axes, default=None
            One per panel; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        GeneAttributionDisplay
            The display with its numbers, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If the concept was not attributed or not compared, or its activation is not positive.
        """
        check_integer("n_genes", n_genes, 1)
        check_integer("n_expressed", n_expressed, 0)
        table = attribution.table(concept, activation=activation)
        values = attribution if activation == "code" else attribution.pre
        scale = values.activation[np.flatnonzero(attribution.concepts == concept)[0]]
        if not scale > 0:
            raise ValueError(
                f"concept {concept} must have a positive mean activation to divide attributions "
                f'by, got {scale:.3g}; activation="pre" may have one'
            )
        known = np.flatnonzero(~np.isnan(table.attribution))
        rows, group, expression = known[:n_genes], None, None
        if comparison is not None:
            rows, group, expression = _with_expressed(table, comparison, concept, rows, n_expressed)
        display = cls(
            table.gene[rows], table.relative[rows],
            standard_error=table.standard_error[rows] / scale,
            null_mean=None if attribution.null is None else table.null_mean[rows] / scale,
            null_sd=None if attribution.null is None else table.null_sd[rows] / scale,
            expression=expression, group=group, concept=concept, cutoff=cutoff, name=name,
            effect="log_fold_change" if comparison is None else comparison.effect,
            settings={
                "activation": "final code" if activation == "code" else "pre-activation",
                "genes attributed": attribution.genes.size,
                "variant": attribution.settings["variant"],
                "layer": attribution.settings["layer"],
            },
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw both panels, or the one.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            One per panel; ``None`` makes a figure.

        Returns
        -------
        GeneAttributionDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        table = self._columns()
        n_panels = 2 if "expression" in table else 1
        if axes is None:
            height = 1.3 + 0.21 * table["gene"].size
            width = 4.6 if n_panels == 2 else 5.8  # the legend needs as much
            axes = new_panels(n_panels, n_columns=2, width=width, height=height)
        axes = check_panels(axes, n_panels)
        drives = table["group"] != EXPRESSED
        # a gap between the two lists
        y = np.arange(table["gene"].size) + 0.8 * ~drives
        dots = self._draw_attribution(axes[0], table, y, drives)
        if n_panels == 2:
            self._draw_expression(axes[1], table, y, drives)
        for ax in axes:
            ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
            ax.set_ylim(y[-1] + 0.7, -0.7)
            ax.grid(axis="y", color="0.92", linewidth=0.8, zorder=-1)
            ax.set_axisbelow(True)
        axes[0].set_yticks(y, [wrapped(gene, 24, max_lines=1) for gene in table["gene"]])
        note = "whiskers: ± standard error" if "standard_error" in table else ""
        if n_panels == 2:
            self._name_first_panel(axes[1], table)
        legend_beside(axes[-1], note)
        self.axes_ = list(axes)
        self._drawn_on(axes[0], dots)
        return self

    def _draw_attribution(self, ax, table, y, drives):
        """Null, whiskers and dots."""
        if "null_sd" in table:
            low, high = (table["null_mean"] + k * table["null_sd"] for k in (-2, 2))
            ax.barh(y, high - low, left=low, height=0.72, color=NULL_COLOR, zorder=1, label=NULL)
        if "standard_error" in table:
            error = np.nan_to_num(table["standard_error"])
            ax.errorbar(table["attribution"], y, xerr=error, fmt="none", ecolor="black",
                        elinewidth=1.1, capsize=2.5, zorder=3)  # fmt: skip
        for k, (own, label) in enumerate(((drives, DRIVES), (~drives, EXPRESSED))):
            if own.any():
                dots = ax.scatter(table["attribution"][own], y[own], s=30, zorder=4, gid=CURVE,
                                  color=COLORS[k], marker=MARKERS[k], label=label)  # fmt: skip
        if self.cutoff is not None:
            ax.axvline(self.cutoff, color=GREY, linewidth=0.9, linestyle="--", zorder=0,
                       label=self._cutoff_word())  # fmt: skip
        ax.set_xlabel("Attribution, share of the activation")
        ax.set_title("" if self.concept is None else f"Concept {self.concept}", fontsize="medium")
        ax.use_sticky_edges = False  # bars of the null shall not end at the frame
        ax.autoscale_view(scaley=False)
        return dots

    def _draw_expression(self, ax, table, y, drives) -> None:
        """Bars of the effect on expression."""
        for k, own in enumerate((drives, ~drives)):
            if own.any():
                ax.barh(
                    y[own], table["expression"][own], height=0.62, color=COLORS[k], alpha=0.75,
                    hatch="///" if k else "", edgecolor="white", linewidth=0, gid=CURVE,
                    label=EXPRESSED if k else DRIVES,
                )  # fmt: skip
        ax.set_yticks(y, [""] * y.size)
        ax.set_xlabel(f"{str(self.effect).replace('_', ' ').capitalize()}, active against inactive")
        ax.set_title("Expression", fontsize="medium")

    def _name_first_panel(self, ax, table) -> None:
        """Name on the last panel, beside which the legend stands, what only the first one has."""
        if "null_sd" in table:
            ax.barh([0.0], [0.0], color=NULL_COLOR, label=NULL)
        if self.cutoff is not None:
            ax.plot([], [], color=GREY, linewidth=0.9, linestyle="--", label=self._cutoff_word())

    def _cutoff_word(self) -> str:
        return f"{100 * self.cutoff:.3g}% of the activation"

    def _columns(self) -> dict:
        genes = vector("genes", self.genes, dtype=str)
        size = genes.size
        if not size:
            raise ValueError("genes must hold at least one gene")
        group = np.full(size, DRIVES) if self.group is None else self.group
        columns = {
            "gene": genes,
            "group": vector("group", group, size, dtype=str),
            "attribution": vector("attribution", self.attribution, size),
        }
        unknown = sorted(set(columns["group"].tolist()) - {DRIVES, EXPRESSED})
        if unknown:
            raise ValueError(f"group must be {DRIVES!r} or {EXPRESSED!r}, got {unknown[0]!r}")
        if (self.null_mean is None) != (self.null_sd is None):
            raise ValueError("null_mean and null_sd describe one null: give both or neither")
        for name in ("standard_error", "null_mean", "null_sd", "expression"):
            if getattr(self, name) is not None:
                columns[name] = vector(name, getattr(self, name), size)
        # rows of the second list stand below those of the first
        order = np.argsort(columns["group"] == EXPRESSED, kind="stable")
        return {name: values[order] for name, values in columns.items()}

    def _description(self) -> str:
        table = self._columns()
        drives = table["group"] != EXPRESSED
        text = (
            f"The figure shows the counterfactual attribution of {self._subject()} to "
            f"{drives.sum()} genes ({listed(table['gene'][drives].tolist())}): what the activation "
            "of prototype cells loses when one gene takes its value in the nearest cell that does "
            "not activate the concept, as a share of the activation."
        )
        if "standard_error" in table:
            text += " Whiskers are its standard error over independent units."
        if "null_sd" in table:
            text += (
                " Grey bars are the mean ± 2 standard deviations of the attribution when the "
                "other cell activates the concept as well."
            )
        if "expression" in table:
            text += (
                f" Beside it stands the {str(self.effect).replace('_', ' ')} of active against "
                f"inactive cells, and {np.count_nonzero(~drives)} genes that come first by it and "
                "not by attribution."
            )
        return text

    def _subject(self) -> str:
        return "a concept" if self.concept is None else f"concept {self.concept}"


def _with_expressed(table, comparison, concept, rows, n_expressed: int):
    """Rows, groups and effects when genes first by expression alone are added."""
    concept_row = np.flatnonzero(comparison.concepts == concept)
    if not concept_row.size:
        raise ValueError(f"comparison must hold concept {concept}, but it was not compared")
    effect = dict(zip(comparison.genes.tolist(), comparison.expression[concept_row[0]].tolist()))
    expressed = comparison.table(concept, found_by="expression").gene.tolist()
    place = {gene: row for row, gene in enumerate(table.gene.tolist())}
    shown = set(rows.tolist())
    added = [place[gene] for gene in expressed if gene in place and place[gene] not in shown]
    rows = np.concatenate([rows, np.array(added[:n_expressed], dtype=np.intp)])
    group = np.array([DRIVES] * (rows.size - len(added[:n_expressed]))
                     + [EXPRESSED] * len(added[:n_expressed]))  # fmt: skip
    return rows, group, np.array([effect.get(gene, np.nan) for gene in table.gene[rows].tolist()])
