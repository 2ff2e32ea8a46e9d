"""Rows of a label along a feature direction (Fig. 3 of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, listed, vector
from skdict.display._style import COLORS, CURVE, check_panels, legend, new_panels, wrapped
from skdict.metrics import direction_separation


class DirectionHistogramDisplay(SavedDisplay):
    """Cosine of feature directions with the rows of one label and with all others.

    A panel per direction with two histograms (Fig. 3 of [1]_), each divided by its own number of
    rows, and the area under the ROC curve and Cohen's d that tell them apart.

    Parameters
    ----------
    counts_label, counts_other : array-like of int, shape (n_directions, n_bins)
        Histograms of the rows with the label, and of all others.
    edges : array-like of float, shape (n_bins + 1,)
        Edges of the bins.
    labels : array-like of shape (n_directions,)
        Label of each direction.
    auc : array-like of float, shape (n_directions,), default=None
        Area under the ROC curve, for the titles.
    effect_size : array-like of float, shape (n_directions,), default=None
        Cohen's d, for the titles.
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

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import DirectionHistogramDisplay
    >>> X = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> display = DirectionHistogramDisplay.from_directions(
    ...     X, [1.0, 0.0], ["a", "b", "a", "b"], labels="a", n_bins=4, plot=False)
    >>> display.counts_label, display.auc
    (array([[0, 0, 0, 2]]), array([0.75]))
    """

    def __init__(self, counts_label, counts_other, edges, *, labels, auc=None, effect_size=None,
                 name=None, settings=None):  # fmt: skip
        self.counts_label = counts_label
        self.counts_other = counts_other
        self.edges = edges
        self.labels = labels
        self.auc = auc
        self.effect_size = effect_size
        self.name = name
        self.settings = settings

    @classmethod
    def from_directions(cls, X, directions, y, *, labels=None, n_bins=50, name=None, axes=None,
                        plot=True):  # fmt: skip
        """Compute the cosines with :func:`~skdict.metrics.direction_separation` and draw them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the space of the directions.
        directions : array-like of shape (n_directions, n_features) or (n_features,)
            The directions, chosen on other rows than these.
        y : array-like of shape (n_samples,)
            Label of each row.
        labels : array-like of shape (n_directions,), or a single label, default=None
            Label of each direction; ``None`` means the sorted labels of `y`.
        n_bins : int, default=50
            Bins between -1 and 1.
        name : str, default=None
            Name of the model.
        axes : sequence of matplotlib Axes, default=None
            One per direction; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        DirectionHistogramDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        found = direction_separation(X, directions, y, labels=labels, n_bins=n_bins)
        display = cls(
            found.counts_label, found.counts_other, found.edges, labels=found.labels,
            auc=found.auc, effect_size=found.effect_size, name=name,
            settings={"rows": len(y), "n_bins": n_bins},
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw a panel per direction.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            One per direction; ``None`` makes a figure.

        Returns
        -------
        DirectionHistogramDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        labels, edges, inside, outside = self._tables()
        size = len(labels)
        if axes is None:
            axes = new_panels(size, n_columns=min(size, 4) if size != 5 else 3, height=2.9)
        axes = check_panels(axes, size)
        width = edges[-1] - edges[0]
        for i, ax in enumerate(axes):
            used = np.flatnonzero(inside[i] + outside[i])
            first, last = (used[0], used[-1] + 1) if used.size else (0, edges.size - 1)
            bins, ends = slice(first, last), edges[first : last + 1]
            # The rows of the label filled, the others an outline: told apart without colour.
            ax.stairs(_shares(inside[i])[bins], ends, fill=True, color=COLORS[1], alpha=0.55,
                      label=f"this label, n = {inside[i].sum():.0f}", gid=CURVE)  # fmt: skip
            ax.stairs(_shares(outside[i])[bins], ends, color=COLORS[0], linewidth=1.6,
                      label=f"others, n = {outside[i].sum():.0f}", gid=CURVE)  # fmt: skip
            ax.set_title(self._title(i, labels), fontsize="medium")
            ax.set_xlim(ends[0] - 0.03 * width, ends[-1] + 0.03 * width)
            ax.set_xlabel("Cosine with the direction")
            # Room for the legend above the bars.
            ax.set_ylim(0.0, 1.55 * max(_shares(inside[i]).max(), _shares(outside[i]).max(), 1e-9))
            legend(ax, loc="upper right")
        axes[0].set_ylabel("Share of rows")
        self.axes_ = list(axes)
        self._drawn_on(axes[0], axes[0].patches[-1])
        return self

    def _title(self, i: int, labels) -> str:
        parts = []
        if self.auc is not None:
            parts.append(f"AUC {vector('auc', self.auc, len(labels))[i]:.3f}")
        if self.effect_size is not None:
            parts.append(f"d = {vector('effect_size', self.effect_size, len(labels))[i]:.2f}")
        # The source data have every label in full.
        label = wrapped(labels[i], 30, max_lines=2)
        return f"{label}\n{', '.join(parts)}" if parts else label

    def _tables(self):
        """Labels, edges and both histograms, checked against each other."""
        edges = vector("edges", self.edges)
        inside = np.atleast_2d(np.asarray(self.counts_label, dtype=float))
        outside = np.atleast_2d(np.asarray(self.counts_other, dtype=float))
        labels = vector("labels", np.atleast_1d(np.asarray(self.labels)), dtype=str)
        shape = (labels.size, edges.size - 1)
        for name, counts in (("counts_label", inside), ("counts_other", outside)):
            if counts.shape != shape or not labels.size:
                raise ValueError(
                    f"{name} must have a row per label and a column per bin, {shape} for the given "
                    f"labels and edges, got shape {counts.shape}"
                )
        return labels, edges, inside, outside

    def _columns(self) -> dict:
        labels, edges, inside, outside = self._tables()
        n_bins = edges.size - 1
        columns = {
            "label": np.repeat(labels, n_bins),
            "low_edge": np.tile(edges[:-1], labels.size),
            "high_edge": np.tile(edges[1:], labels.size),
            "n_label": inside.ravel().astype(int),
            "n_other": outside.ravel().astype(int),
        }
        for name in ("auc", "effect_size"):
            if getattr(self, name) is not None:
                values = vector(name, getattr(self, name), labels.size)
                columns[name] = np.repeat(values, n_bins)
        return columns

    def _description(self) -> str:
        labels = self._tables()[0]
        text = (
            f"The figure shows histograms of the cosine between {labels.size} feature direction(s) "
            f"and the rows of the label of each ({listed(labels.tolist())}), beside those of all "
            "other rows, each divided by its number of rows."
        )
        if self.auc is not None:
            text += " AUC is the area under the ROC curve of the cosine."
        if self.effect_size is not None:
            text += " d is Cohen's effect size with the pooled standard deviation."
        return text


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / max(counts.sum(), 1.0)
