"""Volcano plot of a screen: effect against p-value."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import COLORS, CURVE, GREY, legend, new_axes, wrapped


class VolcanoDisplay(SavedDisplay):
    """Effects of one perturbation on all concepts, or of all perturbations on one concept.

    Each point is a pair that was tested; its height is its p-value on a logarithmic axis. Points
    with a q-value of at most `level` are filled, in one colour above and another below zero.

    Parameters
    ----------
    effect : array-like of float, shape (n_pairs,)
        Effects.
    p_value : array-like of float, shape (n_pairs,)
        Their p-values.
    q_value : array-like of float, shape (n_pairs,)
        Their adjusted p-values.
    pairs : array-like of str, shape (n_pairs,)
        What each point is called: a concept or a perturbation.
    level : float, default=0.05
        False-discovery rate at which a point is a hit.
    statistic : str, default="rate"
        Which effect it is, "rate" or "strength".
    name : str, default=None
        What all points have in common, for the title.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    points_ : matplotlib PathCollection
        All points.

    See Also
    --------
    skdict.effects.concept_effects : Makes the numbers.

    Examples
    --------
    >>> from skdict.display import VolcanoDisplay
    >>> display = VolcanoDisplay([0.5, 0.0], [1e-6, 0.8], [1e-5, 0.9], ["3", "4"])
    >>> display.source_data()["hit"]
    array([ True, False])
    """

    def __init__(self, effect, p_value, q_value, pairs, *, level=0.05, statistic="rate",
                 name=None, settings=None):  # fmt: skip
        self.effect = effect
        self.p_value = p_value
        self.q_value = q_value
        self.pairs = pairs
        self.level = level
        self.statistic = statistic
        self.name = name
        self.settings = settings

    @classmethod
    def from_effects(cls, effects, *, perturbation=None, concept=None, statistic="rate",
                     level=0.05, name=None, ax=None, plot=True, **kwargs):  # fmt: skip
        """Take one row or one column of a screen.

        Parameters
        ----------
        effects : ConceptEffects
            From :func:`~skdict.effects.concept_effects`.
        perturbation : str, default=None
            Show this perturbation against all concepts.
        concept : int, default=None
            Show all perturbations against this concept. One of the two has to be given.
        statistic : {"rate", "strength"}, default="rate"
            Which effect.
        level : float, default=0.05
            False-discovery rate at which a point is a hit.
        name : str, default=None
            Title; ``None`` is the perturbation or the concept.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to :meth:`plot`.

        Returns
        -------
        VolcanoDisplay
            The display with its numbers, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            Unless one of `perturbation` and `concept` is given and occurs.
        """
        if (perturbation is None) == (concept is None):
            raise ValueError(
                "give one of perturbation and concept, got "
                f"perturbation={perturbation!r} and concept={concept!r}"
            )
        if statistic not in ("rate", "strength"):
            raise ValueError(f"statistic must be 'rate' or 'strength', got {statistic!r}")
        tests = effects[statistic]
        if perturbation is not None:
            place = _place(perturbation, effects.perturbations)
            pairs, shown = np.arange(effects.n_concepts).astype(str), (place, slice(None))
        else:
            if concept not in range(effects.n_concepts):
                raise ValueError(f"concept must be below {effects.n_concepts}, got {concept!r}")
            pairs, shown = effects.perturbations.astype(str), (slice(None), concept)
        tested = tests.tested[shown] & np.isfinite(tests.effect[shown])
        display = cls(
            tests.effect[shown][tested], tests.tail_p_value[shown][tested],
            tests.q_value[shown][tested], pairs[tested], level=level, statistic=statistic,
            name=name or (f"Concept {concept}" if perturbation is None else str(perturbation)),
            settings={"permutations within plates": effects.n_permutations,
                      "alternative": effects.alternative},
        )  # fmt: skip
        return display.plot(ax, **kwargs) if plot else display

    def plot(self, ax=None, *, n_named=6):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        n_named : int, default=6
            How many hits are named, those with the smallest p-values and the largest effects.

        Returns
        -------
        VolcanoDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        effect, hit = table["effect"], table["hit"]
        height = -np.log10(np.maximum(table["p_value"], 1e-300))
        looks = [(~hit, GREY, "o", f"q > {self.level:g}"),
                 (hit & (effect >= 0), COLORS[1], "^", "more"),
                 (hit & (effect < 0), COLORS[0], "v", "less")]  # fmt: skip
        for k, (rows, color, marker, label) in enumerate(looks):
            points = ax.scatter(
                effect[rows], height[rows], s=14 if k == 0 else 26, color=color, marker=marker,
                alpha=0.45 if k == 0 else 0.9, linewidths=0, gid=CURVE,
                label=f"{label}: {rows.sum()}",
            )  # fmt: skip
            self.points_ = points if k == 0 else self.points_
        ax.axvline(0, color="0.75", linewidth=0.8, zorder=0)
        of = "activation rate" if self.statistic == "rate" else "strength where active"
        ax.set(xlabel=f"Effect on the {of}", ylabel="$-\\log_{10}$ p")
        if self.name is not None:
            ax.set_title(str(self.name), fontsize="medium")
        ax.margins(x=0.12, y=0.1)
        ax.set_ylim(bottom=0)
        self._name_hits(ax, table, height, n_named)
        legend(ax)
        self._drawn_on(ax, self.points_)
        return self

    def _name_hits(self, ax, table, height, n_named) -> None:
        """Write the names of the foremost hits beside their points, together where these meet."""
        hits = np.flatnonzero(table["hit"])
        order = np.lexsort((-np.abs(table["effect"][hits]), -height[hits]))
        places: list[tuple[float, float, list[str]]] = []
        span = np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())
        for k in hits[order][:n_named]:
            x, y = table["effect"][k], height[k]
            near = [
                names for other_x, other_y, names in places
                if abs(x - other_x) < 0.12 * span[0] and abs(y - other_y) < 0.04 * span[1]
            ]  # fmt: skip
            if near:
                near[0].append(table["pair"][k])
            else:
                places.append((x, y, [table["pair"][k]]))
        for x, y, names in places:
            right = x < 0
            ax.annotate(
                wrapped(", ".join(names), 24), (x, y), textcoords="offset points",
                xytext=(3 if right else -3, 5), ha="left" if right else "right", va="bottom",
                fontsize="x-small",
            )  # fmt: skip

    def _columns(self) -> dict:
        effect = vector("effect", self.effect)
        q_value = vector("q_value", self.q_value, effect.size)
        return {
            "pair": vector("pairs", self.pairs, effect.size, dtype=str),
            "effect": effect,
            "p_value": vector("p_value", self.p_value, effect.size),
            "q_value": q_value,
            "hit": q_value <= self.level,
        }

    def _description(self) -> str:
        table = self._columns()
        return (
            f"The figure shows effects on the {self.statistic} against their p-values for "
            f"{table['effect'].size} tested pairs of perturbation and concept. "
            f"{table['hit'].sum()} have a q-value (Benjamini-Hochberg, over the whole screen) of "
            f"at most {self.level:g}."
        )


def _place(perturbation, names) -> int:
    """Row of a perturbation."""
    if perturbation not in names.tolist():
        raise ValueError(
            f"perturbation must be one of those tested, got {perturbation!r}; they are "
            f"{', '.join(map(str, names[:12].tolist()))}" + (", ..." if names.size > 12 else "")
        )
    return names.tolist().index(perturbation)
