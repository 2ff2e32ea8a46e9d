"""Share of concepts that stand for something known, by kind of concept."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional
from skdict.display._saving import SavedDisplay, interval_columns, listed, vector
from skdict.display._style import COLORS, CURVE, GREY, draw_whiskers, legend, new_axes, wrapped


class InterpretableShareDisplay(SavedDisplay):
    """Share of the live concepts with an enriched gene set: a bar per kind of concept.

    Parameters
    ----------
    kinds : array-like of str, shape (n_kinds,)
        Names of the kinds, in the order of the bars.
    share : array-like of float, shape (n_kinds,)
        The shares.
    low, high : array-like of float, shape (n_kinds,), default=None
        Limits of their intervals.
    n_live : array-like of int, shape (n_kinds,), default=None
        What the shares are of, written below the names.
    run_shares : list of array-like of float, default=None
        For each kind the share of each run (seed), drawn as dots where there are several.
    nulls : array-like of str, default=()
        Kinds that learned nothing (random directions, an untrained embedding, permuted genes):
        drawn in grey.
    level : float, default=0.05
        False-discovery rate, for the name of the axis.
    confidence_level : float, default=0.95
        Level of the intervals.
    name : str, default=None
        Name of the data, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    bars_ : matplotlib BarContainer
        The bars.

    Examples
    --------
    >>> from skdict.display import InterpretableShareDisplay
    >>> display = InterpretableShareDisplay(
    ...     ["concepts", "neurons", "random"], [0.6, 0.3, 0.25], low=[0.5, 0.2, 0.15],
    ...     high=[0.7, 0.4, 0.35], nulls=["random"])
    >>> display.source_data()["share"]
    array([0.6 , 0.3 , 0.25])
    """

    def __init__(self, kinds, share, *, low=None, high=None, n_live=None, run_shares=None, nulls=(),
                 level=0.05, confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.kinds = kinds
        self.share = share
        self.low = low
        self.high = high
        self.n_live = n_live
        self.run_shares = run_shares
        self.nulls = nulls
        self.level = level
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_share(cls, found, *, nulls=(), name=None, ax=None, plot=True):
        """Take the numbers of :func:`~skdict.genes.interpretable_share`.

        Parameters
        ----------
        found : InterpretableShare
            Its result.
        nulls : sequence of str, default=()
            Kinds that learned nothing, drawn in grey.
        name : str, default=None
            Name of the data.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        InterpretableShareDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        display = cls(
            found.kinds, found.share, low=found.low, high=found.high, n_live=found.n_live,
            run_shares=found.run_shares, nulls=nulls, level=found.level,
            confidence_level=found.confidence_level, name=name,
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        InterpretableShareDisplay
            This display, with ``ax_``, ``figure_`` and ``bars_``.
        """
        table, runs = self._columns(), self._runs()
        ax = new_axes(ax)
        x = np.arange(table["kind"].size)
        null = table["null"]
        self.bars_ = ax.bar(
            x, table["share"], 0.66, color=np.where(null, "0.78", COLORS[0]), gid=CURVE,
            edgecolor="white", linewidth=0,
        )  # fmt: skip
        for bar, is_null in zip(self.bars_, null):
            bar.set_hatch("///" if is_null else "")
        draw_whiskers(ax, x, table["share"], table.get("low"), table.get("high"), "black")
        several = [i for i, shares in enumerate(runs) if shares.size > 1]
        for i in several:
            beside = x[i] + 0.12 + 0.16 * np.linspace(0, 1, runs[i].size)
            ax.scatter(beside, runs[i], s=16, facecolor="white", edgecolor="black", linewidth=0.9,
                       zorder=4, label="a run (seed)" if i == several[0] else None)  # fmt: skip
        ax.set_xticks(x, self._names(table))
        ax.tick_params(axis="x", labelsize="small")
        ax.set_ylabel(f"Share of live concepts with a gene set at q ≤ {self.level:g}")
        ax.set_ylim(0, min(1.0, 1.15 * self._top(table, runs)) or 1.0)
        self._draw_legend(ax, null)
        self._drawn_on(ax, self.bars_[0])
        return self

    def _draw_legend(self, ax, null) -> None:
        patches = import_optional("matplotlib.patches", extra="plot")
        if null.any():
            ax.add_patch(patches.Rectangle((0, 0), 0, 0, facecolor="0.78", hatch="///",
                                           edgecolor="white", label="learned nothing"))  # fmt: skip
        note = ""
        if self.low is not None:
            note = f"whiskers: {100 * self.confidence_level:.4g}% interval (Wilson)"
        legend(ax, note, loc="upper right")
        if ax.get_legend() is None and note:
            ax.set_title(note, loc="right", fontsize="small", color=GREY)

    def _names(self, table) -> list[str]:
        names = [wrapped(kind, 13) for kind in table["kind"]]
        if "n_live" not in table:
            return names
        return [f"{name}\nof {n}" for name, n in zip(names, table["n_live"])]

    def _top(self, table, runs) -> float:
        """Largest value that is drawn."""
        values = [table["share"], table.get("high", [0.0]), *runs]
        return float(max(np.max(part, initial=0.0) for part in values))

    def _runs(self) -> list[np.ndarray]:
        """Shares of the runs of each kind."""
        size = len(np.atleast_1d(self.kinds))
        runs = [()] * size if self.run_shares is None else list(self.run_shares)
        if len(runs) != size:
            raise ValueError(f"run_shares must have an entry per kind, {size}, got {len(runs)}")
        return [vector("run_shares", shares) for shares in runs]

    def _columns(self) -> dict:
        kinds = vector("kinds", self.kinds, dtype=str)
        if not kinds.size:
            raise ValueError("kinds must hold at least one kind")
        unknown = sorted(set(self.nulls) - set(kinds.tolist()))
        if unknown:
            raise ValueError(f"nulls names {unknown[0]!r}, but kinds are {kinds.tolist()}")
        columns = {"kind": kinds, "null": np.isin(kinds, list(self.nulls))}
        columns["share"] = vector("share", self.share, kinds.size)
        columns |= interval_columns(self.low, self.high, kinds.size)
        if self.n_live is not None:
            columns["n_live"] = vector("n_live", self.n_live, kinds.size, dtype=int)
        if any(shares.size > 1 for shares in self._runs()):
            columns["runs"] = np.array([shares.size for shares in self._runs()])
            columns["run_sd"] = np.array(
                [s.std(ddof=1) if s.size > 1 else np.nan for s in self._runs()]
            )
        return columns

    def _description(self) -> str:
        table = self._columns()
        text = (
            "The figure shows the share of live concepts in which at least one gene set is "
            f"enriched at a false-discovery rate of {self.level:g} over all concepts and sets, for "
            f"{listed(table['kind'].tolist())}."
        )
        if self.low is not None:
            text += (
                f" Whiskers are Wilson's {100 * self.confidence_level:.4g}% intervals, concepts "
                "taken as independent."
            )
        if table["null"].any():
            text += f" Of these learned nothing: {listed(table['kind'][table['null']].tolist())}."
        if "runs" in table:
            text += " Dots are runs (seeds)."
        return text
