"""What the parts of an embedding know (Fig. 7B of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, listed, vector, whisker_columns, whiskers_sentence
from skdict.display._style import (
    CURVE,
    GREY,
    draw_whiskers,
    interval_note,
    legend_beside,
    new_axes,
    next_style,
    whisker_limits,
)


class SubspaceProbeDisplay(SavedDisplay):
    """Probe accuracy of the parts of an embedding, relative to that of the whole.

    Fig. 7B of [1]_: the part that a linear map reads (row space), the part that it drops (null
    space), and a random subspace of equal dimension; over layers, or for one.

    Parameters
    ----------
    subspace : array-like of shape (n_rows,)
        Which part, for example row, null and random.
    relative_accuracy : array-like of float, shape (n_rows,)
        Balanced accuracy of the part divided by that of the whole.
    layer : array-like of shape (n_rows,), default=None
        Layer of the model, in order of appearance; ``None`` is a single one.
    low, high : array-like of float, shape (n_rows,), default=None
        Limits of the intervals by resampled units, drawn as whiskers.
    spread : array-like of float, shape (n_rows,), default=None
        Half length of whiskers where there are no intervals, for example the standard deviation
        over seeds. It is no interval and is not called one.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
    name : str, default=None
        Name of the model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of matplotlib Line2D
        The points or the curve of each part.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import SubspaceProbeDisplay
    >>> display = SubspaceProbeDisplay(["row", "null", "random"], [0.6, 1.0, 0.8])
    >>> display.source_data()["relative_accuracy"]
    array([0.6, 1. , 0.8])
    """

    def __init__(self, subspace, relative_accuracy, *, layer=None, low=None, high=None,
                 spread=None, confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.subspace = subspace
        self.relative_accuracy = relative_accuracy
        self.layer = layer
        self.low = low
        self.high = high
        self.spread = spread
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    def plot(self, ax=None):
        """Draw a curve over the layers per part, or a point per part where there is one layer.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        SubspaceProbeDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        parts = list(dict.fromkeys(table["subspace"].tolist()))
        layers = list(dict.fromkeys(table["layer"].tolist())) if "layer" in table else None
        ax.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2, label="whole embedding")
        self.lines_ = {}
        for i, part in enumerate(parts):
            rows = np.flatnonzero(table["subspace"] == part)
            if layers is None:
                x = np.full(rows.size, float(i))
            else:
                # A little apart, so that whiskers of one layer do not cover each other.
                x = np.array([layers.index(name) for name in table["layer"][rows].tolist()], float)
                x += 0.06 * (i - (len(parts) - 1) / 2)
            self.lines_[part] = self._plot_part(ax, x, rows, table, part, layers is not None)
        if layers is None:
            ax.set_xticks(range(len(parts)), parts)
            ax.set_xlim(-0.6, len(parts) - 0.4)
        else:
            ax.set_xticks(range(len(layers)), layers)
            ax.set_xlabel("Layer")
        ax.set_ylabel("Balanced accuracy relative to the whole")
        note = interval_note(
            "low" in table, self.confidence_level, "spread" in table, spread_as="whiskers"
        )
        legend_beside(ax, note)
        self._drawn_on(ax, next(iter(self.lines_.values())))
        return self

    @staticmethod
    def _plot_part(ax, x, rows, table, part, joined):
        color, marker = next_style(ax)
        order = np.argsort(x, kind="stable")
        x, rows = x[order], rows[order]
        (line,) = ax.plot(
            x, table["relative_accuracy"][rows], color=color, marker=marker, markersize=6,
            linewidth=1.6, linestyle="-" if joined else "none", label=part if joined else None,
            gid=CURVE,
        )  # fmt: skip
        low, high = whisker_limits(table, table["relative_accuracy"])
        if low is not None:
            draw_whiskers(ax, x, table["relative_accuracy"][rows], low[rows], high[rows], color)
        return line

    def _columns(self) -> dict:
        accuracy = vector("relative_accuracy", self.relative_accuracy)
        if not accuracy.size:
            raise ValueError("relative_accuracy must hold at least one value, got none")
        columns = {"subspace": vector("subspace", self.subspace, accuracy.size, dtype=str)}
        if self.layer is not None:
            columns["layer"] = vector("layer", self.layer, accuracy.size, dtype=str)
        columns["relative_accuracy"] = accuracy
        return columns | whisker_columns(self.low, self.high, self.spread, accuracy.size)

    def _description(self) -> str:
        table = self._columns()
        text = (
            "The figure shows the balanced accuracy of probes on parts of the embeddings "
            f"({listed(dict.fromkeys(table['subspace'].tolist()))}) divided by that of a probe on "
            "the whole."
        )
        if "layer" in table:
            text += f" Layers: {listed(dict.fromkeys(table['layer'].tolist()))}."
        if "low" in table or "spread" in table:
            text += whiskers_sentence(self.confidence_level, has_spread="spread" in table)
        return text
