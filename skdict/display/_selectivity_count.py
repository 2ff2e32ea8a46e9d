"""Number of components above every selectivity threshold (Table 2 of the ICFL paper as a curve)."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import CURVE, legend, new_axes, next_style
from skdict.metrics import selectivity_curves


class SelectivityCountDisplay(SavedDisplay):
    """Number of components whose selectivity exceeds a threshold for at least one label.

    The paper gives it at 0.5 and 0.2 (Table 2 of [1]_, marked by dotted lines); here at all
    thresholds, with the count under permuted labels beside it where it is given.

    Parameters
    ----------
    threshold : array-like of float, shape (n_thresholds,)
        The thresholds.
    n_features : array-like of float, shape (n_thresholds,)
        Components above each.
    null : array-like of float, shape (n_thresholds,), default=None
        Expected number of components above each threshold when labels are permuted.
    n_components : int, default=None
        Number of all components, for :meth:`methods`.
    kind : {"average", "maximum"}, default="average"
        Which selectivity the numbers are.
    name : str, default=None
        Name of the model, for the legend.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The curve.
    null_line_ : matplotlib Line2D or None
        The curve under permuted labels.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import SelectivityCountDisplay
    >>> codes = [[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    >>> display = SelectivityCountDisplay.from_codes(
    ...     codes, ["a", "a", "b", "b"], thresholds=[0.2, 0.5], plot=False)
    >>> display.n_features
    array([2, 1])
    """

    def __init__(self, threshold, n_features, *, null=None, n_components=None, kind="average",
                 name=None, settings=None):  # fmt: skip
        self.threshold = threshold
        self.n_features = n_features
        self.null = null
        self.n_components = n_components
        self.kind = kind
        self.name = name
        self.settings = settings

    @classmethod
    def from_codes(cls, codes, y, *, thresholds=None, kind="average", reference="pooled",
                   active="nonzero", labels=None, name=None, ax=None, plot=True,
                   **kwargs):  # fmt: skip
        """Count with :func:`~skdict.metrics.selectivity_curves` and draw the curve.

        Parameters
        ----------
        codes : {array-like, CSR} of shape (n_samples, n_components)
            The codes.
        y : array-like of shape (n_samples,)
            Label of each row.
        thresholds : array-like of float, default=None
            The thresholds; ``None`` takes 0, 0.01, ..., 1.
        kind : {"average", "maximum"}, default="average"
            Selectivity against all other rows, or against the strongest other label.
        reference : {"pooled", "macro"}, default="pooled"
            How other labels are averaged.
        active : {"nonzero", "positive"} or float, default="nonzero"
            When a component counts as active.
        labels : array-like, default=None
            The labels to count for; ``None`` means all.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to ``Axes.plot``.

        Returns
        -------
        SelectivityCountDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        curves = selectivity_curves(
            codes, y, thresholds=thresholds, kind=kind, reference=reference, active=active,
            labels=labels,
        )  # fmt: skip
        display = cls(
            curves.counts.threshold, curves.counts.n_features, kind=kind, name=name,
            n_components=np.shape(codes)[1],
            settings={"rows": len(y), "labels": len(curves.by_label.labels),
                      "reference": reference, "active": active},
        )  # fmt: skip
        return display.plot(ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, marks=(0.2, 0.5), **kwargs):
        """Draw the curve on a logarithmic axis that begins at one component.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        marks : sequence of float, default=(0.2, 0.5)
            Thresholds to mark by vertical lines.
        **kwargs : dict
            Given to ``Axes.plot`` for the curve.

        Returns
        -------
        SelectivityCountDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        order = np.argsort(table["threshold"], kind="stable")
        fresh = not any(line.get_gid() == CURVE for line in ax.lines)
        color, marker = next_style(ax)
        name = self.name if name is None else name
        some = (table["n_features"] > 0).any()  # without any, matplotlib cannot place markers
        style = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.6,
                 "markevery": 0.1 if some else None, "label": name}  # fmt: skip
        x = table["threshold"][order]
        (self.line_,) = ax.plot(x, _above_zero(table["n_features"][order]), **{**style, **kwargs})
        self.line_.set_gid(CURVE)
        self.null_line_ = None
        if "null" in table:
            (self.null_line_,) = ax.plot(
                x, _above_zero(table["null"][order]), color=self.line_.get_color(), linestyle=":",
                linewidth=1.3, label="labels permuted" if name is None else
                f"{name}, labels permuted",
            )  # fmt: skip
        if fresh:
            for mark in marks:
                ax.axvline(mark, color="0.6", linestyle=":", linewidth=0.9, zorder=0)
        if fresh and not some:
            ax.set_ylim(0.9, 10)  # nothing to scale the axis by
        ax.set_yscale("log")
        ax.set(xlabel=f"Threshold of the {self.kind} selectivity",
               ylabel="Components above it for a label")  # fmt: skip
        legend(ax)
        self._drawn_on(ax, self.line_)
        return self

    def _columns(self) -> dict:
        threshold = vector("threshold", self.threshold)
        columns = {
            "threshold": threshold,
            "n_features": vector("n_features", self.n_features, threshold.size),
        }
        if self.null is not None:
            columns["null"] = vector("null", self.null, threshold.size)
        return columns

    def _description(self) -> str:
        of = "" if self.n_components is None else f" of {self.n_components}"
        text = (
            f"The figure shows how many{of} components exceed a threshold of the {self.kind} "
            f"selectivity for at least one label, at {len(self.threshold)} thresholds, chosen and "
            "counted on the same rows."
        )
        if self.null is not None:
            text += " The null is the expected number when labels are permuted."
        return text


def _above_zero(counts: np.ndarray) -> np.ndarray:
    """NaN for zero, which has no place on a logarithmic axis: the curve ends there."""
    return np.where(counts > 0, counts, np.nan)
