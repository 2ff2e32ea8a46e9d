"""Effect of a perturbation on a concept against its dose."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, interval_columns, vector
from skdict.display._style import CURVE, draw_whiskers, legend, new_axes, next_style
from skdict.effects import dose_response


class DoseCurveDisplay(SavedDisplay):
    """Effect at every dose with its interval, against controls of the same plate.

    Parameters
    ----------
    dose : array-like of float, shape (n_doses,)
        Doses.
    effect : array-like of float, shape (n_doses,)
        Effects.
    low, high : array-like of float, shape (n_doses,), default=None
        Intervals.
    statistic : str, default="rate"
        Which effect it is, "rate" or "strength".
    dose_unit : str, default=None
        Unit of the doses, for the axis.
    confidence_level : float, default=0.95
        Level of the intervals.
    name : str, default=None
        Name of the curve, for the legend.
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

    See Also
    --------
    skdict.effects.dose_response : Makes the numbers.

    Examples
    --------
    >>> from skdict.display import DoseCurveDisplay
    >>> display = DoseCurveDisplay([0.1, 1, 10], [0.0, 0.1, 0.6], dose_unit="uM")
    >>> display.source_data()["effect"]
    array([0. , 0.1, 0.6])
    """

    def __init__(self, dose, effect, *, low=None, high=None, statistic="rate", dose_unit=None,
                 confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.dose = dose
        self.effect = effect
        self.low = low
        self.high = high
        self.statistic = statistic
        self.dose_unit = dose_unit
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_codes(cls, codes, perturbation, control, plate, dose, *, of, concept,
                   statistic="rate", units=None, active="nonzero", confidence_level=0.95,
                   dose_unit=None, name=None, ax=None, plot=True, **kwargs):  # fmt: skip
        """Compute with :func:`~skdict.effects.dose_response` and draw the curve.

        Parameters
        ----------
        codes : {array-like, CSR} of shape (n_rows, n_concepts)
            The codes.
        perturbation : array-like of shape (n_rows,)
            What was done to each row.
        control : array-like of bool of shape (n_rows,)
            True for control rows.
        plate : array-like of shape (n_rows,)
            Plate of each row.
        dose : array-like of float of shape (n_rows,)
            Doses.
        of : str
            The perturbation to show.
        concept : int
            The concept to show.
        statistic : {"rate", "strength"}, default="rate"
            Which effect.
        units : array-like of shape (n_rows,), default=None
            The independent unit of each row.
        active : {"nonzero", "positive"} or float, default="nonzero"
            When a concept counts as active.
        confidence_level : float, default=0.95
            Level of the intervals.
        dose_unit : str, default=None
            Unit of the doses, for the axis.
        name : str, default=None
            Name in the legend; ``None`` is the perturbation and the concept.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to ``Axes.plot``.

        Returns
        -------
        DoseCurveDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        found = dose_response(
            codes, perturbation, control, plate, dose, name=of, concept=concept,
            statistic=statistic, units=units, active=active, confidence_level=confidence_level,
        )  # fmt: skip
        display = cls(
            found.dose, found.effect, low=found.low, high=found.high, statistic=statistic,
            dose_unit=dose_unit, confidence_level=confidence_level,
            name=f"{of}, concept {concept}" if name is None else name,
            settings={"units": found.n_units, "control units": found.n_control_units},
        )  # fmt: skip
        return display.plot(ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curve on a logarithmic axis; a dose of zero makes it symlog.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        **kwargs : dict
            Given to ``Axes.plot`` for the curve.

        Returns
        -------
        DoseCurveDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        order = np.argsort(table["dose"], kind="stable")
        table = {key: values[order] for key, values in table.items()}
        color, marker = next_style(ax)
        style = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.6,
                 "label": self.name if name is None else name}  # fmt: skip
        (self.line_,) = ax.plot(table["dose"], table["effect"], **{**style, **kwargs})
        self.line_.set_gid(CURVE)
        draw_whiskers(
            ax, table["dose"], table["effect"], table.get("low"), table.get("high"),
            self.line_.get_color(),
        )  # fmt: skip
        ax.axhline(0, color="0.6", linestyle=":", linewidth=0.9, zorder=0)
        positive = table["dose"][table["dose"] > 0]
        if positive.size < table["dose"].size and positive.size:
            ax.set_xscale("symlog", linthresh=positive.min())
        elif positive.size:
            ax.set_xscale("log")
        if positive.size and not np.isfinite(table["effect"]).any():
            # nothing was drawn that a logarithmic axis could take its limits from
            least = 0.0 if positive.size < table["dose"].size else positive.min() / 2
            ax.set_xlim(least, 2 * positive.max())
        of = "activation rate" if self.statistic == "rate" else "strength where active"
        ax.set(xlabel="Dose" + (f" ({self.dose_unit})" if self.dose_unit else ""),
               ylabel=f"Effect on the {of}")  # fmt: skip
        note = f"whiskers: {100 * self.confidence_level:.4g}% interval" if "low" in table else ""
        legend(ax, note)
        self._drawn_on(ax, self.line_)
        return self

    def _columns(self) -> dict:
        dose = vector("dose", self.dose)
        return {
            "dose": dose,
            "effect": vector("effect", self.effect, dose.size),
            **interval_columns(self.low, self.high, dose.size),
        }

    def _description(self) -> str:
        text = (
            f"The figure shows the effect on the {self.statistic} of a concept at "
            f"{len(self.dose)} doses, against control units of the same plate."
        )
        if self.low is not None:
            text += (
                f" The whiskers are Student's {100 * self.confidence_level:.4g}% intervals with the"
                " variance of units about the mean of their arm and plate."
            )
        return text
