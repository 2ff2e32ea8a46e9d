"""What of each concept is biology, what is technical, and what the design gives to both."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer
from skdict.display._pictures import check_names
from skdict.display._saving import SavedDisplay, listed, vector
from skdict.display._style import COLORS, CURVE, GREY, HATCHES, legend, new_axes, wrapped

_MOST_BARS = 20
_PARTS = {
    "unique_biology": ("only biology", COLORS[0], ""),
    "shared": ("either of the two", "0.72", HATCHES[1]),
    "unique_technical": ("only technical", COLORS[1], HATCHES[2]),
}


class TechnicalAuditDisplay(SavedDisplay):
    """Bars of the variance that biology and technical factors explain of some concepts.

    A bar per concept: what biology alone can explain, what the design gives to biology and
    technical factors alike, what only technical factors can explain, and the rest. Shares are
    unbiased, so that some lie below zero; those are drawn as zero and stand in the source data as
    they are. The verdict stands beside the bar.

    Parameters
    ----------
    unique_biology, shared, unique_technical : array-like of float, shape (n_concepts,)
        Shares of the variance, from top to bottom.
    concepts : sequence of str, default=None
        Names of the concepts; ``None`` numbers them.
    verdict : sequence of str, default=None
        Verdict of each concept.
    confounded_with : sequence of str, default=None
        Factors that cannot be told from biology, for each concept; empty where there are none.
    name : str, default=None
        Name of the model, for the title, :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    bars_ : dict of matplotlib BarContainer
        The bars of each part.

    See Also
    --------
    skdict.effects.technical_audit : Computes the numbers.

    Examples
    --------
    >>> from skdict.display import TechnicalAuditDisplay
    >>> display = TechnicalAuditDisplay([0.5, 0.0], [0.1, 0.0], [0.0, 0.3])
    >>> display.source_data()["unexplained"]
    array([0.4, 0.7])
    """

    def __init__(self, unique_biology, shared, unique_technical, *, concepts=None, verdict=None,
                 confounded_with=None, name=None, settings=None):  # fmt: skip
        self.unique_biology = unique_biology
        self.shared = shared
        self.unique_technical = unique_technical
        self.concepts = concepts
        self.verdict = verdict
        self.confounded_with = confounded_with
        self.name = name
        self.settings = settings

    @classmethod
    def from_audit(cls, audit, concepts=None, *, concept_names=None, name=None, ax=None,
                   plot=True):  # fmt: skip
        """Show concepts of :func:`~skdict.effects.technical_audit`.

        Parameters
        ----------
        audit : TechnicalAudit
            Its result.
        concepts : array-like of int, default=None
            Concepts to show, from top to bottom. ``None`` takes the 20 of which most is explained;
            they were chosen for it.
        concept_names : sequence of str, default=None
            Names of all concepts; ``None`` numbers them.
        name : str, default=None
            Name of the model.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False makes the display without drawing.

        Returns
        -------
        TechnicalAuditDisplay
            The display, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If a concept does not exist.
        """
        size = audit.verdict.shape[0]
        settings = {"units": audit.n_units, "labels": len(audit.labels),
                    "factors": audit.factors.tolist(), "min_share": audit.min_share,
                    "level": audit.level}  # fmt: skip
        if concepts is None:
            concepts = np.argsort(audit.unexplained, kind="stable")[:_MOST_BARS]
            settings["concepts shown"] = "those of which most is explained"
        concepts = np.atleast_1d(np.asarray(concepts))
        for concept in concepts:
            check_integer("concepts", concept, 0)
        if concepts.size == 0 or concepts.max() >= size:
            raise ValueError(
                f"concepts must be one or more numbers below {size}, got {concepts.tolist()}"
            )
        names = check_names("concept_names", concept_names, "concept", size)
        display = cls(
            audit.unique_biology[concepts], audit.shared[concepts],
            audit.unique_technical[concepts], concepts=[names[i] for i in concepts],
            verdict=audit.verdict[concepts], confounded_with=audit.confounded_with[concepts],
            name=name, settings=settings,
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw a bar per concept.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure as high as the bars need.

        Returns
        -------
        TechnicalAuditDisplay
            This display, with ``ax_``, ``figure_`` and ``bars_``.
        """
        table = self._columns()
        size = len(table["concept"])
        if ax is None:
            ax = new_axes(None)
            ax.figure.set_size_inches(7.2, 1.3 + 0.27 * size)
        places, start = np.arange(size), np.zeros(size)
        self.bars_ = {}
        for key, (label, color, hatch) in _PARTS.items():
            length = np.minimum(np.clip(table[key], 0.0, None), 1.0 - start)
            self.bars_[key] = ax.barh(
                places, length, left=start, height=0.74, color=color, hatch=hatch,
                edgecolor="white", linewidth=0, label=label, gid=CURVE,
            )  # fmt: skip
            start = start + length
        ax.barh(places, 1.0 - start, left=start, height=0.74, color="0.94", label="unexplained")
        for place, text in zip(places, self._texts(table)):
            ax.text(1.015, place, text, va="center", fontsize="small", color=GREY,
                    transform=ax.get_yaxis_transform())  # fmt: skip
        ax.set_yticks(places, [wrapped(name, 24, max_lines=1) for name in table["concept"]])
        ax.tick_params(axis="y", labelsize="small", length=0)
        ax.set(xlim=(0, 1), ylim=(size - 0.5, -0.5), xlabel="Share of the variance of activation")
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        if self.name is not None:
            ax.set_title(str(self.name), fontsize="medium", loc="left", pad=24)
        legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, columnspacing=1.2,
               handlelength=1.4, borderaxespad=0.2)  # fmt: skip
        self._drawn_on(ax, self.bars_["shared"][0])
        return self

    def _texts(self, table) -> list[str]:
        """Verdicts, with the factors that cannot be told from biology."""
        if "verdict" not in table:
            return []
        beside = table.get("confounded_with", [""] * len(table["verdict"]))
        return [
            wrapped(f"{verdict}: {factors}" if factors else verdict, 32, max_lines=1)
            for verdict, factors in zip(table["verdict"], beside)
        ]

    def _columns(self) -> dict:
        shares = {"unique_biology": vector("unique_biology", self.unique_biology)}
        size = shares["unique_biology"].size
        if size == 0:
            raise ValueError("unique_biology must hold at least one concept")
        for key in ("shared", "unique_technical"):
            shares[key] = vector(key, getattr(self, key), size)
        for key, values in shares.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{key} must hold finite shares, got {values.tolist()!r}")
        names = np.array(check_names("concepts", self.concepts, "concept", size))
        columns = {"concept": names} | shares | {"unexplained": 1.0 - sum(shares.values())}
        for key in ("verdict", "confounded_with"):
            if getattr(self, key) is not None:
                columns[key] = vector(key, getattr(self, key), size, dtype=str)
        return columns

    def _description(self) -> str:
        table = self._columns()
        text = (
            f"The figure shows for {len(table['concept'])} concepts the share of the variance of "
            "their activation that only biology can explain, that biology and technical factors "
            "can both explain, that only technical factors can explain, and the rest, from least "
            "squares, corrected for the number of columns (epsilon squared); shares below zero "
            "are drawn as zero."
        )
        if "verdict" in table:
            kinds = dict.fromkeys(table["verdict"].tolist())
            counts = [f"{np.count_nonzero(table['verdict'] == kind)} {kind}" for kind in kinds]
            text += f" Verdicts: {listed(counts)}."
        return text
