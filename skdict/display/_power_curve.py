"""Which strength of an effect is found how often: power curves with their limits of detection."""

from __future__ import annotations

from itertools import product

import numpy as np

from skdict.display._saving import SavedDisplay, interval_columns, listed, vector
from skdict.display._style import (
    COLORS,
    CURVE,
    GREY,
    MARKERS,
    draw_whiskers,
    legend,
    new_axes,
)

LINES = ("-", "--", "-.", (0, (1, 1.2)))


class PowerCurveDisplay(SavedDisplay):
    """Share of planted effects that a screen found, against their strength.

    A curve per pipeline and prevalence. A triangle on the line of the power asked for is the limit
    of detection.

    Parameters
    ----------
    pipeline : array-like of shape (n_rows,)
        Name of the pipeline, in order of appearance.
    strength : array-like of float, shape (n_rows,)
        Strength of the effect, in standard deviations of the controls.
    power : array-like of float, shape (n_rows,)
        Share of the repetitions in which it was found.
    prevalence : array-like of float, shape (n_rows,), default=None
        Share of the compound's rows that were changed; a line style for each.
    low, high : array-like of float, shape (n_rows,), default=None
        Limits of an interval of the power, drawn as whiskers.
    limit : array-like of float, shape (n_rows,), default=None
        Limit of detection of the curve that the row belongs to; ``inf`` where the curve does not
        reach it.
    target : float, default=None
        The power at the limit of detection, drawn as a horizontal line.
    log : bool, default=False
        Draw the strengths on a logarithmic axis, on which 0 has no place.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
    name : str, default=None
        Name of the data set, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : dict of matplotlib Line2D
        The curve of each pipeline, or of each pair of pipeline and prevalence where there are
        several prevalences.
    target_line_ : matplotlib Line2D or None
        The line of `target`.

    See Also
    --------
    skdict.effects.detection_limit : Measures what is drawn.

    Examples
    --------
    >>> from skdict.display import PowerCurveDisplay
    >>> display = PowerCurveDisplay(["raw", "raw"], [0.5, 1], [0.4, 0.9], target=0.8)
    >>> display.source_data()["power"]
    array([0.4, 0.9])
    """

    def __init__(self, pipeline, strength, power, *, prevalence=None, low=None, high=None,
                 limit=None, target=None, log=False, confidence_level=0.95, name=None,
                 settings=None):  # fmt: skip
        self.pipeline = pipeline
        self.strength = strength
        self.power = power
        self.prevalence = prevalence
        self.low = low
        self.high = high
        self.limit = limit
        self.target = target
        self.log = log
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_limit(cls, limit, *, prevalence=None, name=None, ax=None, plot=True):
        """Draw what :func:`~skdict.effects.detection_limit` measured.

        The axis is logarithmic unless a strength is 0.

        Parameters
        ----------
        limit : DetectionLimit
            The measurement.
        prevalence : float or sequence of float, default=None
            Prevalences to draw; ``None`` draws all.
        name : str, default=None
            Name of the data set.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False takes the numbers only, without matplotlib.

        Returns
        -------
        PowerCurveDisplay
            The display with its numbers, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If a prevalence was not measured.
        """
        table = limit.table()
        known = np.asarray(limit.prevalences)
        wanted = known if prevalence is None else np.atleast_1d(np.asarray(prevalence, float))
        if wanted.size == 0 or not np.isin(wanted, known).all():
            raise ValueError(
                f"prevalence must be among those measured, {known.tolist()}, got {prevalence!r}"
            )
        per_curve = np.repeat(limit.limit.ravel(), limit.strengths.shape[0])
        rows = np.isin(table["prevalence"], wanted)
        several = wanted.size > 1
        settings = {} if several else {"share of rows changed": float(wanted[0])}
        display = cls(
            *(table[key][rows] for key in ("pipeline", "strength", "power")),
            prevalence=table["prevalence"][rows] if several else None,
            low=table["low"][rows], high=table["high"][rows], limit=per_curve[rows],
            target=limit.power, log=bool((limit.strengths > 0).all()), name=name,
            confidence_level=limit.confidence_level,
            settings=settings | {
                "repetitions": limit.n_repeats, "control units": limit.n_control_units,
                "plates": limit.n_plates, "false-discovery rate": limit.fdr_level,
            },
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw the curves, their whiskers and their limits of detection.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        PowerCurveDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        self.target_line_ = None
        if self.target is not None:
            self.target_line_ = ax.axhline(
                self.target, color=GREY, linestyle=":", linewidth=1.2,
                label=f"power {self.target:g}",
            )  # fmt: skip
        curves = self._curves(table)
        self.lines_ = {}
        for i, (key, curve) in enumerate(curves.items()):
            # A little apart, so that whiskers of one strength do not cover each other.
            shift = 0.01 * (i - (len(curves) - 1) / 2)
            self.lines_[key] = self._plot_curve(ax, curve, shift)
        if self.log:
            ax.set_xscale("log")
            ticks = np.unique(table["strength"])
            ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
            ax.minorticks_off()
        ax.set_ylim(-0.03, 1.03)
        ax.set(xlabel="Strength planted (standard deviations of the controls)",
               ylabel="Share of planted effects found")  # fmt: skip
        level = f"{100 * self.confidence_level:.4g}%"
        note = f"whiskers: {level} interval" if "low" in table else ""
        # long handles: dashes must show
        legend(ax, note, loc="upper left", bbox_to_anchor=(1.01, 1.0), handlelength=3.2)
        self._drawn_on(ax, next(iter(self.lines_.values())))
        return self

    def _curves(self, table) -> dict:
        """Columns of each curve, with its label and look; keys as in `lines_`."""
        pipelines = list(dict.fromkeys(table["pipeline"].tolist()))
        prevalence = table.get("prevalence", np.ones(table["power"].size))
        prevalences = list(dict.fromkeys(prevalence.tolist()))
        curves = {}
        for (i, name), (j, share) in product(enumerate(pipelines), enumerate(prevalences)):
            rows = np.flatnonzero((table["pipeline"] == name) & (prevalence == share))
            rows = rows[np.argsort(table["strength"][rows], kind="stable")]
            curve = {key: column[rows] for key, column in table.items()}
            which = name if self.prevalence is None else f"{name}, {100 * share:g}% of rows"
            curve["label"] = which + self._limit_text(curve)
            curve["look"] = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)],
                             "linestyle": LINES[j % len(LINES)]}  # fmt: skip
            if rows.size:
                curves[name if self.prevalence is None else (name, share)] = curve
        return curves

    @staticmethod
    def _limit_text(curve) -> str:
        """What the legend says of the limit: at the ends of the curve only on which side it is."""
        if "limit" not in curve or np.isnan(curve["limit"][0]):
            return ""
        limit, least = curve["limit"][0], curve["strength"][0]
        if np.isinf(limit):
            return ": limit not reached"
        return f": limit ≤ {least:.3g}" if limit <= least else f": limit {limit:.3g}"

    def _plot_curve(self, ax, curve, shift):
        """Draw one curve, its whiskers, and its limit on the line of the power."""
        x, y, label, look = (curve[key] for key in ("strength", "power", "label", "look"))
        limit = curve["limit"][0] if "limit" in curve else np.nan
        (line,) = ax.plot(x, y, markersize=5, linewidth=1.6, label=label, gid=CURVE, **look)
        if "low" in curve:
            span = np.ptp(np.log(x)) if self.log else np.ptp(x)
            beside = x * np.exp(shift * span) if self.log else x + shift * span
            draw_whiskers(ax, beside, y, curve["low"], curve["high"], look["color"])
        if self.target is not None and np.isfinite(limit):
            ax.plot([limit], [self.target], marker="v", markersize=9, color=look["color"],
                    markeredgecolor="white", linestyle="none", zorder=4)  # fmt: skip
        return line

    def _columns(self) -> dict:
        power = vector("power", self.power)
        if not power.size:
            raise ValueError("power must hold at least one value, got none")
        columns = {"pipeline": vector("pipeline", self.pipeline, power.size, dtype=str)}
        for key in ("prevalence", "strength"):
            if (values := getattr(self, key)) is not None:
                columns[key] = vector(key, values, power.size)
        if self.log and not (columns["strength"] > 0).all():
            raise ValueError(
                "strength must be positive on a logarithmic axis, got "
                f"{columns['strength'].min():g}; use log=False"
            )
        columns["power"] = power
        columns |= interval_columns(self.low, self.high, power.size)
        if self.limit is not None:
            columns["limit"] = vector("limit", self.limit, power.size)
        return columns

    def _description(self) -> str:
        table = self._columns()
        text = (
            "The figure shows the share of the effects planted in controls that a screen found, "
            f"against their strength, for {listed(dict.fromkeys(table['pipeline'].tolist()))}."
        )
        if "prevalence" in table:
            shares = [f"{100 * value:g}%" for value in dict.fromkeys(table["prevalence"].tolist())]
            text += f" Changed were {listed(shares)} of the rows."
        if "low" in table:
            level = f"{100 * self.confidence_level:.4g}%"
            text += f" The whiskers are {level} intervals of Clopper and Pearson."
        if self.target is not None:
            text += f" The dotted line is a power of {self.target:g}"
            text += (
                ", the triangles on it are the limits of detection." if "limit" in table else "."
            )
        return text
