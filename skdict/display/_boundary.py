"""Alignment along the distance from the boundary of cells."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer
from skdict.display._saving import SavedDisplay, listed, vector
from skdict.display._style import CURVE, GREY, legend, new_axes, next_style

# More units than these are not drawn one by one.
_MOST_UNITS = 30


class BoundaryProfileDisplay(SavedDisplay):
    """Mean alignment at every distance from the boundary of the nearest cell.

    A curve per class of cells with its interval over units, each unit as a thin line, and the
    size of a token, within which no distance can be resolved.

    Parameters
    ----------
    edges : array-like of float, shape (n_bins + 1,)
        Edges of the bins in pixels, negative inside cells.
    profile : array-like of float, shape (n_classes, n_bins)
        Mean alignment; NaN where there are no pixels.
    low, high : array-like of float, shape (n_classes, n_bins), default=None
        Limits of the intervals; both or neither.
    unit_profile : array-like of float, shape (n_units, n_classes, n_bins), default=None
        Profile of each unit.
    classes : array-like, shape (n_classes,), default=("all cells",)
        Names of the classes.
    token_size : float, default=None
        Side of a token in pixels.
    confidence_level : float, default=0.95
        Level of the intervals.
    name : str, default=None
        Name of the direction.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from skdict.datasets import make_cell_fields
    >>> from skdict.display import BoundaryProfileDisplay
    >>> from skdict.imaging import boundary_profile
    >>> fields = make_cell_fields(n_images=4, n_null=1, random_state=0)
    >>> found = boundary_profile(fields.tokens, fields.directions, fields.labels)
    >>> ring = (fields.names == "ring").argmax()
    >>> display = BoundaryProfileDisplay.from_profile(found, ring, plot=False)
    >>> float(abs(display.edges[display.profile[0].argmax()]))  # a boundary is where it is highest
    0.0
    """

    def __init__(self, edges, profile, *, low=None, high=None, unit_profile=None,
                 classes=("all cells",), token_size=None, confidence_level=0.95, name=None,
                 settings=None):  # fmt: skip
        self.edges = edges
        self.profile = profile
        self.low = low
        self.high = high
        self.unit_profile = unit_profile
        self.classes = classes
        self.token_size = token_size
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_profile(cls, found, direction=0, *, name=None, ax=None, plot=True):
        """Take one direction of what :func:`~skdict.imaging.boundary_profile` returned.

        Parameters
        ----------
        found : BoundaryProfile
            The profiles.
        direction : int, default=0
            The direction.
        name : str, default=None
            Name of the direction.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False takes the numbers only, without matplotlib.

        Returns
        -------
        BoundaryProfileDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        check_integer("direction", direction, 0)
        n_directions = found.profile.shape[-1]
        if direction >= n_directions:
            raise ValueError(
                f"direction must be less than the number of directions, {n_directions}, got "
                f"{direction}"
            )
        display = cls(
            found.edges, found.profile[..., direction], low=found.low[..., direction],
            high=found.high[..., direction], unit_profile=found.unit_profile[..., direction],
            classes=found.classes, token_size=min(found.patch),
            confidence_level=found.confidence_level, name=name,
            settings={"units": found.units.size, "images": found.n_pixels.shape[0]},
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        BoundaryProfileDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        edges, classes, tables = self._tables()
        units = None if self.unit_profile is None else np.asarray(self.unit_profile, dtype=float)
        ax = new_axes(ax)
        x = (edges[:-1] + edges[1:]) / 2
        first = all(line.get_gid() != CURVE for line in ax.lines)
        if first:
            ax.axvspan(edges[0], 0, color="0.94", zorder=0, linewidth=0)
            ax.axvline(0, color=GREY, linewidth=0.8)
        for k, name in enumerate(classes):
            color, marker = next_style(ax)
            if units is not None and 1 < len(units) <= _MOST_UNITS:
                ax.plot(x, units[:, k].T, color=color, alpha=0.25, linewidth=0.7)
            if "low" in tables:
                ax.fill_between(x, tables["low"][k], tables["high"][k], color=color, alpha=0.18,
                                linewidth=0)  # fmt: skip
            (curve,) = ax.plot(
                x, tables["alignment"][k], color=color, marker=marker,
                markersize=4, linewidth=1.8, label=self._label(name), gid=CURVE,
            )  # fmt: skip
        ax.set(xlabel="Distance from the boundary of the nearest cell (pixels)",
               ylabel="Mean alignment")  # fmt: skip
        ax.set_xlim(edges[0], edges[-1])
        bottom, top = ax.dataLim.intervaly
        ax.set_ylim(bottom - 0.06 * (top - bottom), top + 0.5 * (top - bottom))
        if first:
            self._explain_axis(ax, edges)
        legend(ax, "\n".join(self._notes(units)), loc="upper right")
        self._drawn_on(ax, curve)
        return self

    def _label(self, cell_class) -> str:
        """Name of a curve: the direction, the class, or both."""
        if self.name is None:
            return str(cell_class)
        return str(self.name) if len(self.classes) == 1 else f"{self.name}, {cell_class}"

    def _explain_axis(self, ax, edges) -> None:
        """Say which side is inside, and draw a bar as long as a token, above the curves."""
        gap = 0.015 * (edges[-1] - edges[0])
        place = ax.get_xaxis_transform()
        style = {"transform": place, "size": "small", "color": GREY, "va": "top"}
        ax.text(-gap, 0.98, "inside", ha="right", **style)
        ax.text(gap, 0.98, "outside", ha="left", **style)
        if self.token_size is not None:
            start = edges[0] + 2 * gap
            ax.plot([start, start + self.token_size], [0.9] * 2, color=GREY, lw=2, transform=place)
            ax.text(start, 0.88, "one token", ha="left", **style)

    def _notes(self, units) -> list[str]:
        notes = []
        if self.low is not None and np.isfinite(np.asarray(self.low, dtype=float)).any():
            notes.append(f"bands: {100 * self.confidence_level:.4g}% interval over units")
        if units is not None and 1 < len(units) <= _MOST_UNITS:
            notes.append("thin lines: units")
        return notes

    def _tables(self):
        """Edges, names and curves, checked against each other."""
        edges = vector("edges", self.edges)
        classes = vector("classes", self.classes, dtype=str)
        shape = (classes.size, edges.size - 1)
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are the limits of one interval: give both or neither")
        tables = {"alignment": self.profile, "low": self.low, "high": self.high}
        tables = {key: np.asarray(values, dtype=float) for key, values in tables.items()
                  if values is not None}  # fmt: skip
        for key, values in tables.items():
            if values.shape != shape:
                name = "profile" if key == "alignment" else key
                raise ValueError(
                    f"{name} must have a row per class and a column per bin, {shape} for the given "
                    f"classes and edges, got shape {values.shape}"
                )
        if self.unit_profile is not None and np.shape(self.unit_profile)[1:] != shape:
            raise ValueError(
                f"unit_profile must have shape (n_units, {shape[0]}, {shape[1]}), got "
                f"{np.shape(self.unit_profile)}"
            )
        return edges, classes, tables

    def _columns(self) -> dict:
        edges, classes, tables = self._tables()
        n_bins = edges.size - 1
        columns = {
            "cell_class": np.repeat(classes, n_bins),
            "low_edge": np.tile(edges[:-1], classes.size),
            "high_edge": np.tile(edges[1:], classes.size),
        }
        return columns | {key: values.ravel() for key, values in tables.items()}

    def _description(self) -> str:
        edges, classes, tables = self._tables()
        text = (
            f"The figure shows the mean alignment of pixels with a feature direction in bins from "
            f"{edges[0]:g} to {edges[-1]:g} pixels of the distance from the boundary of the "
            f"nearest cell, negative inside, for {listed(classes.tolist())}. A pixel has the value "
            "of its token"
        )
        if self.token_size is not None:
            text += f" of {self.token_size:g} pixels"
        text += ", so that shorter distances are not resolved."
        if "low" in tables:
            text += f" Bands are {100 * self.confidence_level:.4g}% intervals over units."
        return text
