"""Alignment of single cells with a direction, by field, class and well."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import (
    COLORS,
    CURVE,
    GREY,
    MARKERS,
    check_panels,
    legend,
    new_panels,
)
from skdict.imaging import cell_class_test

CLASSES = ("control-like", "perturbed")
# More fields than these are drawn well by well.
_MOST_FIELDS = 24


class CellAlignmentDisplay(SavedDisplay):
    """Alignment of single cells by field and class, and the difference of the classes by well.

    Two panels: every cell as a dot, perturbed beside control-like cells of the same field; and
    the mean difference within fields of every well, with their mean and its interval.

    Parameters
    ----------
    alignment : array-like of float, shape (n_cells,)
        Alignment of each cell.
    perturbed : array-like of bool, shape (n_cells,)
        Class of each cell.
    field : array-like, shape (n_cells,)
        Field of each cell.
    well : array-like, shape (n_cells,), default=None
        Well of each cell; ``None`` takes fields for wells.
    effect : float
        Mean difference over wells, perturbed minus control-like.
    low, high : float, default=nan
        Its interval.
    wells : array-like, shape (n_wells,)
        Names of the wells with a difference.
    well_effect : array-like of float, shape (n_wells,)
        Their differences.
    p_value : float, default=None
        P-value by permutation of cells, for the title.
    sign_flip_p_value : float, default=None
        P-value by flips of wells, for the title.
    confidence_level : float, default=0.95
        Level of the interval.
    name : str, default=None
        Name of the direction.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Both panels.
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import CellAlignmentDisplay
    >>> field = np.repeat(np.arange(6), 8)
    >>> perturbed = np.arange(48) % 2 == 0
    >>> display = CellAlignmentDisplay.from_cells(
    ...     0.2 * perturbed + 0.1 * np.sin(np.arange(48)), perturbed, field=field,
    ...     well=field // 2, random_state=0, plot=False)
    >>> bool(display.low < 0.2 < display.high), display.wells
    (True, array([0, 1, 2]))
    """

    def __init__(self, alignment, perturbed, field, *, well=None, effect, low=np.nan,
                 high=np.nan, wells, well_effect, p_value=None, sign_flip_p_value=None,
                 confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.alignment = alignment
        self.perturbed = perturbed
        self.field = field
        self.well = well
        self.effect = effect
        self.low = low
        self.high = high
        self.wells = wells
        self.well_effect = well_effect
        self.p_value = p_value
        self.sign_flip_p_value = sign_flip_p_value
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_cells(cls, alignment, perturbed, *, field, well=None, alternative="two-sided",
                   n_permutations=999, confidence_level=0.95, random_state=None, name=None,
                   axes=None, plot=True):  # fmt: skip
        """Compute the difference with :func:`~skdict.imaging.cell_class_test` and draw.

        Parameters
        ----------
        alignment : array-like of shape (n_cells,)
            Alignment of each cell with one direction: a column of ``cell_alignment(...)``.
        perturbed : array-like of bool of shape (n_cells,)
            Class of each cell.
        field : array-like of shape (n_cells,)
            Field of each cell.
        well : array-like of shape (n_cells,), default=None
            Well of each cell; ``None`` takes fields for wells.
        alternative : {"two-sided", "greater", "less"}, default="two-sided"
            Side of the p-values.
        n_permutations : int, default=999
            Permutations of cells within fields.
        confidence_level : float, default=0.95
            Level of the interval.
        random_state : int, RandomState instance or None, default=None
            Seed of the permutations.
        name : str, default=None
            Name of the direction.
        axes : sequence of 2 matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        CellAlignmentDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        alignment = vector("alignment", alignment)
        found = cell_class_test(
            alignment, perturbed, field=field, well=well, alternative=alternative,
            n_permutations=n_permutations, confidence_level=confidence_level,
            random_state=random_state,
        )  # fmt: skip
        display = cls(
            alignment, perturbed, field, well=well, effect=found.effect[0], low=found.low[0],
            high=found.high[0], wells=found.wells, well_effect=found.well_effect[:, 0],
            p_value=found.p_value[0], sign_flip_p_value=found.sign_flip_p_value[0],
            confidence_level=confidence_level, name=name,
            settings={"alternative": alternative, "n_permutations": n_permutations},
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw cells and differences.

        Parameters
        ----------
        axes : sequence of 2 matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        CellAlignmentDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        table = self._columns()
        by = "field" if np.unique(table["field"]).size <= _MOST_FIELDS else "well"
        if axes is None:
            axes = new_panels(2, n_columns=2, width=4.6, height=3.6)
        left, right = check_panels(axes, 2)
        dots = self._draw_cells(left, table, by)
        self._draw_differences(right)
        self.axes_ = [left, right]
        self._drawn_on(left, dots)
        return self

    def _draw_cells(self, ax, table, by: str):
        order = np.lexsort([table[by], table["well"]])
        groups = list(dict.fromkeys(table[by][order].tolist()))
        place = {group: i for i, group in enumerate(groups)}
        x = np.array([place[group] for group in table[by].tolist()], dtype=float)
        for k, name in enumerate(CLASSES):
            own = table["cell_class"] == name
            offset = (k - 0.5) * 0.42
            dots = ax.scatter(
                x[own] + offset + _spread(x[own]), table["alignment"][own], s=14, marker=MARKERS[k],
                color=COLORS[k], alpha=0.7, linewidths=0, gid=CURVE,
                label=f"{name}, {np.count_nonzero(own)} cells",
            )  # fmt: skip
            for i in np.unique(x[own]):
                mean = table["alignment"][own & (x == i)].mean()
                ax.plot([i + offset - 0.17, i + offset + 0.17], [mean] * 2, color="black", lw=1.5)
        if by == "field":
            self._mark_wells(ax, table, groups)
        names = groups if len(groups) <= 12 else [""] * len(groups)
        ax.set_xticks(range(len(groups)), names)
        if max(map(len, map(str, names))) * len(groups) > 40:
            ax.set_xticks(
                range(len(groups)), names, rotation=45, ha="right", rotation_mode="anchor"
            )
        ax.set(xlabel=f"{by.capitalize()}s", ylabel="Mean alignment of a cell")
        ax.set_title("" if self.name is None else str(self.name), fontsize="medium")
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top + 0.35 * (top - bottom))
        legend(ax, f"bars: means by {by}", loc="upper left")
        return dots

    def _mark_wells(self, ax, table, groups) -> None:
        """Lines between the fields of different wells, if wells have several fields."""
        well = dict(zip(table["field"].tolist(), table["well"].tolist(), strict=True))
        if len(set(well.values())) == len(groups):
            return
        for i, (one, next_one) in enumerate(zip(groups[:-1], groups[1:])):
            if well[one] != well[next_one]:
                ax.axvline(i + 0.5, color=GREY, linewidth=0.6, linestyle=":")

    def _draw_differences(self, ax) -> None:
        effects = vector("well_effect", self.well_effect)
        wells = vector("wells", np.asarray(self.wells), effects.size, dtype=str)
        y = np.arange(effects.size)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.scatter(effects, y, s=22, color=GREY, gid=CURVE, zorder=3)
        names = wells if effects.size <= 30 else [""] * effects.size
        ax.set_yticks([*y, -1.4], [*names, "mean"])
        ax.set_ylim(effects.size - 0.5, -2.2)
        ax.scatter([self.effect], [-1.4], s=50, color="black", marker="D", zorder=3)
        if np.isfinite([self.low, self.high]).all():
            ax.plot([self.low, self.high], [-1.4, -1.4], color="black", linewidth=1.6)
        ax.set_xlabel("Perturbed minus control-like, within fields")
        ax.set_title("\n".join(self._findings()), fontsize="small")

    def _findings(self) -> list[str]:
        lines = [f"{self.effect:.3g}"]
        if np.isfinite([self.low, self.high]).all():
            lines[0] += (
                f" ({100 * self.confidence_level:.4g}% interval over wells {self.low:.3g} to "
                f"{self.high:.3g})"
            )
        parts = []
        if self.p_value is not None:
            parts.append(f"cells permuted {p_word(self.p_value)}")
        if self.sign_flip_p_value is not None:
            parts.append(f"wells flipped {p_word(self.sign_flip_p_value)}")
        return [*lines, ", ".join(parts)] if parts else lines

    def _columns(self) -> dict:
        alignment = vector("alignment", self.alignment)
        size = alignment.size
        field = vector("field", np.asarray(self.field), size, dtype=None)
        well = field if self.well is None else vector("well", self.well, size, dtype=None)
        perturbed = vector("perturbed", self.perturbed, size, dtype=bool)
        return {
            "cell_class": np.array(CLASSES)[perturbed.astype(int)],
            "field": field,
            "well": well,
            "alignment": alignment,
        }

    def _description(self) -> str:
        text = (
            "The figure shows the mean alignment of single cells with a feature direction by field "
            "and class, and the difference of perturbed and control-like cells within fields for "
            f"every well, {self.effect:.3g} in the mean over wells"
        )
        if np.isfinite([self.low, self.high]).all():
            text += (
                f" with a {100 * self.confidence_level:.4g}% interval over wells (Student's t) of "
                f"{self.low:.3g} to {self.high:.3g}"
            )
        if self.p_value is not None:
            text += f"; permutation of the classes of cells within fields: {p_word(self.p_value)}"
        if self.sign_flip_p_value is not None:
            text += f"; flips of the signs of wells: {p_word(self.sign_flip_p_value)}"
        return f"{text}."


def p_word(p: float) -> str:
    """A p-value as text."""
    if np.isnan(p):
        return "p unknown"
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _spread(group: np.ndarray) -> np.ndarray:
    """Place the dots of each group side by side within a fixed width, in their order."""
    offset = np.zeros(group.size)
    for name in np.unique(group):
        own = np.flatnonzero(group == name)
        offset[own] = (np.arange(own.size) + 0.5) / own.size * 0.3 - 0.15
    return offset
