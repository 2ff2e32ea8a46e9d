"""A score against a setting: sweeps, learning rates, probes against sparsity."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from skdict.display._saving import SavedDisplay, interval_columns, vector, whiskers_sentence
from skdict.display._style import (
    CURVE,
    GREY,
    draw_whiskers,
    interval_note,
    legend,
    new_axes,
    next_style,
    whole_ticks,
)

# More values than these stand too close for a tick each.
N_TICKS = 8


class SweepDisplay(SavedDisplay):
    """Score of a model against one of its settings.

    Parameters
    ----------
    value : array-like of float, shape (n_points,)
        Values of the setting.
    score : array-like of float, shape (n_points,)
        Score at each value; NaN leaves a gap (a run that diverged, say).
    low, high : array-like of float, shape (n_points,), default=None
        Limits of an interval around each score, drawn as whiskers.
    spread : array-like of float, shape (n_points,), default=None
        Half width of a band around the curve, for example the standard deviation over seeds. It
        is no interval and is not called one.
    reference : float, default=None
        Score to compare with, drawn as a horizontal line.
    reference_name : str, default="reference"
        What it is, for the legend.
    value_name, score_name : str, default="Value", "Score"
        Names of the axes.
    log : bool, default=False
        Draw the values on a logarithmic axis.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
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
    band_ : matplotlib collection or None
        The band of the spread.
    reference_line_ : matplotlib Line2D or None
        The line of the reference.

    Examples
    --------
    >>> from skdict.display import SweepDisplay
    >>> display = SweepDisplay([8, 16], [0.4, 0.5], low=[0.3, 0.4], high=[0.5, 0.6],
    ...                        value_name="Atoms per step", score_name="Selectivity")
    >>> display.source_data()["low"]
    array([0.3, 0.4])
    """

    # What columns of the source data are called where the display knows better.
    _renamed: ClassVar[dict[str, str]] = {}
    # Whether the values are counted things.
    _counts: ClassVar[bool] = False

    def __init__(self, value, score, *, low=None, high=None, spread=None, reference=None,
                 reference_name="reference", value_name="Value", score_name="Score", log=False,
                 confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.value = value
        self.score = score
        self.low = low
        self.high = high
        self.spread = spread
        self.reference = reference
        self.reference_name = reference_name
        self.value_name = value_name
        self.score_name = score_name
        self.log = log
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curve with its whiskers, its band and its reference.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        **kwargs : dict
            Given to ``Axes.plot``.

        Returns
        -------
        SweepDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._table()
        order = np.argsort(table["value"], kind="stable")
        table = {key: column[order] for key, column in table.items()}
        color, marker = next_style(ax)
        style = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.6,
                 "label": self.name if name is None else name}  # fmt: skip
        x, y = table["value"], table["score"]
        (self.line_,) = ax.plot(x, y, **{**style, **kwargs})
        self.line_.set_gid(CURVE)
        color = self.line_.get_color()
        draw_whiskers(ax, x, y, table.get("low"), table.get("high"), color)
        self.band_ = None
        if "spread" in table:
            self.band_ = ax.fill_between(
                x, y - table["spread"], y + table["spread"], color=color, alpha=0.2, linewidth=0
            )
        self.reference_line_ = self._plot_reference(ax)
        if self.log:
            self._scale(ax, x)
        elif self._counts:
            whole_ticks(ax)
        ax.set(xlabel=self.value_name, ylabel=self.score_name)
        legend(ax, interval_note("low" in table, self.confidence_level, "spread" in table))
        self._drawn_on(ax, self.line_)
        return self

    @staticmethod
    def _scale(ax, x):
        """Make the axis logarithmic; few values, of whatever curve, are its ticks."""
        ticks = np.unique(np.concatenate([
            *(line.get_xdata() for line in ax.lines if line.get_gid() == CURVE), x
        ]))  # fmt: skip
        ax.set_xscale("log")
        if ticks.size <= N_TICKS:
            ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
            ax.minorticks_off()

    def _plot_reference(self, ax):
        """Draw the reference once, however many curves share it."""
        if self.reference is None:
            return None
        for line in ax.lines:
            if line.get_label() == self.reference_name and line.get_ydata()[0] == self.reference:
                return line
        return ax.axhline(
            self.reference, color=GREY, linestyle="--", linewidth=1.2, label=self.reference_name
        )

    def _table(self) -> dict:
        value = vector("value", self.value)
        columns = {"value": value, "score": vector("score", self.score, value.size)}
        columns |= interval_columns(self.low, self.high, value.size)
        if self.spread is not None:
            columns["spread"] = vector("spread", self.spread, value.size)
        if self.reference is not None:
            columns["reference"] = np.full(value.size, float(self.reference))
        return columns

    def _columns(self) -> dict:
        return {self._renamed.get(key, key): column for key, column in self._table().items()}

    def _description(self) -> str:
        text = (
            f"The figure shows {_lower(self.score_name)} against {_lower(self.value_name)} at "
            f"{len(self.value)} values."
        )
        if self.low is not None:
            text += whiskers_sentence(self.confidence_level)
        if self.spread is not None:
            text += " The band is the score ± its spread, which is no interval."
        if self.reference is not None:
            text += f" The dashed line is {self.reference_name} at {self.reference:.4g}."
        return text


class LearningRateDisplay(SweepDisplay):
    """Reconstruction, or another score, against the learning rate (Fig. 9B of [1]_).

    Parameters
    ----------
    learning_rate : array-like of float, shape (n_points,)
        The learning rates, drawn on a logarithmic axis.
    score : array-like of float, shape (n_points,)
        Score at each rate; NaN leaves a gap for a run that diverged.
    low, high : array-like of float, shape (n_points,), default=None
        Limits of an interval around each score.
    spread : array-like of float, shape (n_points,), default=None
        Half width of a band around the curve, for example the standard deviation over seeds.
    value_name : str, default="Learning rate"
        Name of the horizontal axis, for rates as multiples of another say.
    score_name : str, default="Cosine of row and reconstruction (mean)"
        Name of the vertical axis.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
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
    band_ : matplotlib collection or None
        The band of the spread.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import LearningRateDisplay
    >>> display = LearningRateDisplay([1e-5, 1e-4], [0.6, 0.7], spread=[0.01, 0.02])
    >>> list(display.source_data())
    ['learning_rate', 'score', 'spread']
    """

    _renamed: ClassVar[dict[str, str]] = {"value": "learning_rate"}

    def __init__(self, learning_rate, score, *, low=None, high=None, spread=None,
                 value_name="Learning rate",
                 score_name="Cosine of row and reconstruction (mean)", confidence_level=0.95,
                 name=None, settings=None):  # fmt: skip
        super().__init__(
            learning_rate, score, low=low, high=high, spread=spread, value_name=value_name,
            score_name=score_name, log=True, confidence_level=confidence_level, name=name,
            settings=settings,
        )  # fmt: skip


class ProbeSparsityDisplay(SweepDisplay):
    """Balanced accuracy of a probe against the number of non-zero coefficients (Fig. 4B of [1]_).

    Parameters
    ----------
    n_nonzero : array-like of float, shape (n_points,)
        Mean number of non-zero coefficients per row.
    balanced_accuracy : array-like of float, shape (n_points,)
        Accuracy of the probe on codes, or on reconstructions.
    low, high : array-like of float, shape (n_points,), default=None
        Limits of an interval around each accuracy, by resampled units.
    spread : array-like of float, shape (n_points,), default=None
        Half width of a band around the curve, for example the standard deviation over seeds.
    raw : float, default=None
        Accuracy of the probe on the embeddings themselves, drawn as a horizontal line.
    raw_name : str, default="raw embeddings"
        What they are, for the legend.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
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
    band_ : matplotlib collection or None
        The band of the spread.
    reference_line_ : matplotlib Line2D or None
        The line of `raw`.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import ProbeSparsityDisplay
    >>> display = ProbeSparsityDisplay([10, 20], [0.5, 0.6], raw=0.7, name="codes")
    >>> display.source_data()["raw"]
    array([0.7, 0.7])
    """

    _renamed: ClassVar[dict[str, str]] = {
        "value": "n_nonzero", "score": "balanced_accuracy", "reference": "raw",
    }  # fmt: skip
    _counts: ClassVar[bool] = True

    def __init__(self, n_nonzero, balanced_accuracy, *, low=None, high=None, spread=None,
                 raw=None, raw_name="raw embeddings", confidence_level=0.95, name=None,
                 settings=None):  # fmt: skip
        super().__init__(
            n_nonzero, balanced_accuracy, low=low, high=high, spread=spread, reference=raw,
            reference_name=raw_name, value_name="Non-zero coefficients per row (mean)",
            score_name="Balanced accuracy", confidence_level=confidence_level, name=name,
            settings=settings,
        )  # fmt: skip


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
