"""Binarised features beside sparse codes (Fig. 2 of the ICFL paper)."""

from __future__ import annotations

import numpy as np
from scipy.stats import pearsonr

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import (
    COLORS,
    CURVE,
    GREY,
    MARKERS,
    check_panels,
    interval_note,
    legend,
    new_panels,
    whole_ticks,
)

# Colour and marker of binarised features and of codes.
STYLES = ((COLORS[2], MARKERS[2]), (COLORS[0], MARKERS[0]))


class BinarizerComparisonDisplay(SavedDisplay):
    """Selectivity of binarised features beside that of sparse codes, in three panels.

    Fig. 2 of [1]_. A: best selectivity of each label, each curve sorted by itself. B: its mean
    over the labels against the mean number of active features, while the quantile of the one and
    the sparsity of the other vary. C: the two scores of each label against each other, with
    their Pearson correlation.

    Parameters
    ----------
    binarized, codes : array-like of float, shape (n_labels,)
        Best selectivity of each label over the binarised features, and over the codes.
    labels : array-like of shape (n_labels,), default=None
        The labels.
    binarized_sweep, codes_sweep : mapping or DataFrame, default=None
        Columns ``mean_active`` and ``mean_score``, as
        :func:`~skdict.comparison.selectivity_sweep` makes them; a column ``spread``, over seeds
        say, is drawn as a band. Without both sweeps there is no panel B.
    correlation_low, correlation_high : float, default=None
        Limits of an interval of the correlation.
    confidence_level : float, default=0.95
        Its level.
    binarized_name, codes_name : str, default="binarised features", "codes"
        Names for legends and axes.
    kind : {"average", "maximum"}, default="average"
        Which selectivity the numbers are.
    name : str, default=None
        Name of the data, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    correlation : float
        Pearson correlation of the two scores over the labels; NaN if either is constant or there
        are fewer than three labels, as two always lie on a line.
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
    >>> from skdict.display import BinarizerComparisonDisplay
    >>> display = BinarizerComparisonDisplay([0.7, 0.4, 0.2], [0.5, 0.4, 0.3])
    >>> round(display.correlation, 3)
    0.993
    """

    def __init__(self, binarized, codes, *, labels=None, binarized_sweep=None, codes_sweep=None,
                 correlation_low=None, correlation_high=None, confidence_level=0.95,
                 binarized_name="binarised features", codes_name="codes", kind="average",
                 name=None, settings=None):  # fmt: skip
        self.binarized = binarized
        self.codes = codes
        self.labels = labels
        self.binarized_sweep = binarized_sweep
        self.codes_sweep = codes_sweep
        self.correlation_low = correlation_low
        self.correlation_high = correlation_high
        self.confidence_level = confidence_level
        self.binarized_name = binarized_name
        self.codes_name = codes_name
        self.kind = kind
        self.name = name
        self.settings = settings

    @property
    def correlation(self) -> float:
        """Pearson correlation of the two scores over the labels."""
        binarized, codes = self._scores()
        if binarized.size < 3 or min(np.unique(binarized).size, np.unique(codes).size) < 2:
            return float("nan")
        return float(pearsonr(binarized, codes).statistic)

    def plot(self, axes=None):
        """Draw the panels.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            One per panel: three, or two where the sweeps are missing. ``None`` makes a figure.

        Returns
        -------
        BinarizerComparisonDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        sweeps = self._sweeps()
        n_panels = 3 if sweeps else 2
        axes = new_panels(n_panels, n_columns=3) if axes is None else check_panels(axes, n_panels)
        first = self._plot_sorted(axes[0])
        if sweeps:
            self._plot_sweeps(axes[1], sweeps)
        self._plot_scatter(axes[-1])
        for ax, letter in zip(axes, "ABC", strict=False):
            ax.set_title(letter, loc="left", fontweight="bold")
        self.axes_ = axes
        self._drawn_on(axes[0], first)
        return self

    def _plot_sorted(self, ax):
        curves = zip(self._scores(), self._names(), STYLES, strict=True)
        for scores, name, (color, marker) in curves:
            ordered = np.sort(scores)[::-1]
            (line,) = ax.plot(
                np.arange(1, ordered.size + 1), ordered, color=color, marker=marker,
                markersize=3.5, linewidth=1.6, label=name, gid=CURVE,
            )  # fmt: skip
        whole_ticks(ax)
        ax.set(xlabel="Labels, each curve sorted by itself", ylabel=self._score_name())
        legend(ax)
        return line

    def _plot_sweeps(self, ax, sweeps):
        has_spread = False
        curves = zip(sweeps, self._names(), STYLES, strict=True)
        for sweep, name, (color, marker) in curves:
            order = np.argsort(sweep["mean_active"], kind="stable")
            active, score, spread = (
                sweep[key][order] for key in ("mean_active", "mean_score", "spread")
            )
            ax.plot(
                active, score, color=color, marker=marker, markersize=5, linewidth=1.6,
                label=name, gid=CURVE,
            )  # fmt: skip
            if not np.isnan(spread).all():
                has_spread = True
                ax.fill_between(
                    active, score - spread, score + spread, color=color, alpha=0.2, linewidth=0
                )
        whole_ticks(ax)
        ax.set(xlabel="Active features per row (mean)", ylabel="Mean over the labels")
        legend(ax, interval_note(False, 1.0, has_spread))

    def _plot_scatter(self, ax):
        binarized, codes = self._scores()
        ends = [min(binarized.min(), codes.min()), max(binarized.max(), codes.max())]
        ax.plot(ends, ends, color="0.7", linewidth=1.0, zorder=0)
        ax.scatter(binarized, codes, s=18, color=GREY, alpha=0.8, linewidth=0)
        correlation = self.correlation
        text = "" if np.isnan(correlation) else f"Pearson r = {correlation:.2f}"
        if self.correlation_low is not None:
            text += (
                f"\n{100 * self.confidence_level:.4g}% interval "
                f"{self.correlation_low:.2f} to {self.correlation_high:.2f}"
            )
        ax.set_title(text, loc="right", fontsize="small", color=GREY)
        ax.set(xlabel=f"Best score, {self.binarized_name}", ylabel=f"Best score, {self.codes_name}")

    def _names(self):
        return self.binarized_name, self.codes_name

    def _score_name(self) -> str:
        return f"Best {self.kind} selectivity per label"

    def _scores(self):
        binarized = vector("binarized", self.binarized)
        if not binarized.size:
            raise ValueError("binarized must hold the score of at least one label, got none")
        return binarized, vector("codes", self.codes, binarized.size)

    def _sweeps(self):
        """Both sweeps as columns of floats, or None; no spread is NaN."""
        given = {"binarized_sweep": self.binarized_sweep, "codes_sweep": self.codes_sweep}
        if any(sweep is None for sweep in given.values()):
            if not all(sweep is None for sweep in given.values()):
                raise ValueError(
                    "binarized_sweep and codes_sweep are compared: give both or neither"
                )
            return None
        sweeps = []
        for name, sweep in given.items():
            active = vector(f"{name}['mean_active']", sweep["mean_active"])
            score = vector(f"{name}['mean_score']", sweep["mean_score"], active.size)
            spread = np.full(active.size, np.nan)
            if "spread" in sweep:
                spread = vector(f"{name}['spread']", sweep["spread"], active.size)
            sweeps.append({"mean_active": active, "mean_score": score, "spread": spread})
        return sweeps

    def _columns(self) -> dict:
        """Rows of panels A and C (a label each), then those of panel B (a setting each)."""
        binarized, codes = self._scores()
        if (self.correlation_low is None) != (self.correlation_high is None):
            raise ValueError(
                "correlation_low and correlation_high are the limits of one interval: give both or "
                "neither"
            )
        labels = np.arange(binarized.size) if self.labels is None else self.labels
        labels = vector("labels", labels, binarized.size, dtype=str)
        sweeps = self._sweeps() or []
        n_swept = sum(sweep["mean_active"].size for sweep in sweeps)
        gap = np.full(n_swept, np.nan)
        models = [np.full(sweep["mean_active"].size, name)
                  for sweep, name in zip(sweeps, self._names(), strict=False)]  # fmt: skip
        columns = {
            "label": np.concatenate([labels, np.full(n_swept, "")]),
            "binarized": np.concatenate([binarized, gap]),
            "codes": np.concatenate([codes, gap]),
        }
        if sweeps:
            blank = np.full(binarized.size, np.nan)
            columns["swept"] = np.concatenate([np.full(binarized.size, ""), *models])
            has_spread = any(not np.isnan(sweep["spread"]).all() for sweep in sweeps)
            for key in ("mean_active", "mean_score", *(["spread"] if has_spread else [])):
                columns[key] = np.concatenate([blank, *[sweep[key] for sweep in sweeps]])
        return columns

    def _description(self) -> str:
        text = (
            f"The figure compares the best {self.kind} selectivity of {len(self.binarized)} labels "
            f"over {self.binarized_name} and over {self.codes_name}: sorted, and label by label"
        )
        if not np.isnan(self.correlation):
            text += f" (Pearson r = {self.correlation:.3f}"
            if self.correlation_low is not None:
                text += (
                    f", {100 * self.confidence_level:.4g}% interval {self.correlation_low:.3f} to "
                    f"{self.correlation_high:.3f}"
                )
            text += ")"
        text += "."
        if self.binarized_sweep is not None:
            text += (
                " The sweeps show the mean over the labels against the mean number of active "
                "features per row."
            )
            if "spread" in self._columns():
                text += " The band is the mean ± its spread, which is no interval."
        return text
