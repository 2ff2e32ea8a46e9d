"""Accuracy of probes on several representations (Fig. 4A of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, listed, vector, whisker_columns, whiskers_sentence
from skdict.display._style import (
    GREY,
    grouped_bars,
    interval_note,
    legend_beside,
    new_axes,
    whisker_limits,
)


class ProbeAccuracyDisplay(SavedDisplay):
    """Balanced accuracy of probes: a group of bars per task, a bar per representation.

    Fig. 4A of [1]_. The columns are those of a table with a row per task and representation.

    Parameters
    ----------
    task : array-like of shape (n_rows,)
        What is predicted; groups of bars, in order of appearance.
    representation : array-like of shape (n_rows,)
        What it is predicted from (raw, codes, reconstruction, a baseline); bars of a group.
    balanced_accuracy : array-like of float, shape (n_rows,)
        Height of the bars.
    low, high : array-like of float, shape (n_rows,), default=None
        Limits of the intervals by resampled units, drawn as whiskers.
    spread : array-like of float, shape (n_rows,), default=None
        Half length of whiskers where there are no intervals, for example the standard deviation
        over seeds. It is no interval and is not called one.
    chance : array-like of float, shape (n_rows,), default=None
        Accuracy of a guess, the same for all rows of a task; a dashed line across its bars.
    confidence_level : float, default=0.95
        Level of the intervals, for the legend.
    name : str, default=None
        Name of the data or model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    bars_ : dict of matplotlib BarContainer
        The bars of each representation.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import ProbeAccuracyDisplay
    >>> display = ProbeAccuracyDisplay(
    ...     ["mechanism", "mechanism"], ["raw", "codes"], [0.30, 0.28],
    ...     low=[0.25, 0.22], high=[0.36, 0.33], chance=[0.02, 0.02])
    >>> display.source_data()["balanced_accuracy"]
    array([0.3 , 0.28])
    """

    def __init__(self, task, representation, balanced_accuracy, *, low=None, high=None,
                 spread=None, chance=None, confidence_level=0.95, name=None,
                 settings=None):  # fmt: skip
        self.task = task
        self.representation = representation
        self.balanced_accuracy = balanced_accuracy
        self.low = low
        self.high = high
        self.spread = spread
        self.chance = chance
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    def plot(self, ax=None, *, styles=None):
        """Draw the bars, their whiskers, and the chance level of each task.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        styles : dict of dict, default=None
            By representation, options for matplotlib's ``Axes.bar``: bars that belong together
            in one colour, say.

        Returns
        -------
        ProbeAccuracyDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        tasks, accuracy = table["task"].tolist(), table["balanced_accuracy"]
        low, high = whisker_limits(table, accuracy)
        self.bars_ = grouped_bars(
            ax, tasks, table["representation"].tolist(), accuracy, low=low, high=high,
            styles=styles,
        )  # fmt: skip
        if "chance" in table:
            names = list(dict.fromkeys(tasks))
            levels = [table["chance"][tasks.index(name)] for name in names]
            middle = np.arange(len(names))
            ax.hlines(levels, middle - 0.45, middle + 0.45, colors="black", linestyles="--",
                      linewidth=1.2, label="chance", zorder=4)  # fmt: skip
        ax.set_ylabel("Balanced accuracy")
        ax.set_ylim(0.0, None)
        note = interval_note(
            "low" in table, self.confidence_level, "spread" in table, spread_as="whiskers"
        )
        legend_beside(ax, note)
        ax.axhline(0.0, color=GREY, linewidth=0.8)
        self._drawn_on(ax, next(iter(self.bars_.values()))[0])
        return self

    def _columns(self) -> dict:
        accuracy = vector("balanced_accuracy", self.balanced_accuracy)
        size = accuracy.size
        if not size:
            raise ValueError("balanced_accuracy must hold at least one value, got none")
        columns = {
            "task": vector("task", self.task, size, dtype=str),
            "representation": vector("representation", self.representation, size, dtype=str),
            "balanced_accuracy": accuracy,
        } | whisker_columns(self.low, self.high, self.spread, size)
        pairs = list(zip(columns["task"].tolist(), columns["representation"].tolist(), strict=True))
        if len(set(pairs)) < size:
            double = next(pair for pair in pairs if pairs.count(pair) > 1)
            raise ValueError(
                f"task and representation must name each bar once, got {double} more than once; "
                "average folds first, or take pooled predictions"
            )
        if self.chance is not None:
            columns["chance"] = vector("chance", self.chance, size)
        return columns

    def _description(self) -> str:
        table = self._columns()
        text = (
            "The figure shows the balanced accuracy (mean recall of the classes) of probes on "
            f"{listed(dict.fromkeys(table['representation'].tolist()))}, for the task(s) "
            f"{listed(dict.fromkeys(table['task'].tolist()))}."
        )
        if "low" in table or "spread" in table:
            text += whiskers_sentence(self.confidence_level, has_spread="spread" in table)
        if "chance" in table:
            text += " Dashed lines are the accuracy of a guess."
        return text
