"""How alike the atoms of two dictionaries are, beside chance."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import CURVE, legend, new_axes, next_style
from skdict.metrics import dictionary_stability


class StabilityDisplay(SavedDisplay):
    """Matched similarity of each atom, sorted, with what matching random atoms reaches.

    Matching always finds something; only what lies above the dotted line is more than chance.

    Parameters
    ----------
    similarity : array-like of float, shape (n_components,)
        Similarity of each atom with its partner; NaN for an atom without one.
    threshold : float, default=None
        Similarity above which an atom counts as stable, drawn as a dotted line.
    null_mean : float, default=None
        Mean matched similarity with random dictionaries, for :meth:`methods` and the legend.
    confidence_level : float, default=0.95
        Share of the matched random atoms below `threshold`.
    measure : str, default="cosine"
        What the similarity is: cosine of atoms, correlation of activations.
    name : str, default=None
        Name of the comparison, for the legend.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    stable_fraction : float
        Share of the matched atoms above `threshold`; NaN without one.
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The curve.
    threshold_line_ : matplotlib Line2D or None
        The line of the threshold.

    Examples
    --------
    >>> from skdict.display import StabilityDisplay
    >>> display = StabilityDisplay([0.9, 0.8, 0.3, 0.2], threshold=0.5)
    >>> display.stable_fraction
    0.5
    """

    def __init__(self, similarity, *, threshold=None, null_mean=None, confidence_level=0.95,
                 measure="cosine", name=None, settings=None):  # fmt: skip
        self.similarity = similarity
        self.threshold = threshold
        self.null_mean = null_mean
        self.confidence_level = confidence_level
        self.measure = measure
        self.name = name
        self.settings = settings

    @property
    def stable_fraction(self) -> float:
        """Share of the matched atoms above the threshold."""
        similarity = vector("similarity", self.similarity)
        matched = similarity[~np.isnan(similarity)]
        if self.threshold is None or not matched.size:
            return float("nan")
        return float(np.mean(matched > self.threshold))

    @classmethod
    def from_components(cls, first, second, *, linear_maps=None, absolute=False, null="uniform",
                        n_random=20, confidence_level=0.95, random_state=None, name=None, ax=None,
                        plot=True, **kwargs):  # fmt: skip
        """Match with :func:`~skdict.metrics.dictionary_stability` and draw the curve.

        Parameters
        ----------
        first, second : array-like of shape (n_components, n_features)
            ``components_`` of the two dictionaries, without dead atoms.
        linear_maps : pair of array-like, default=None
            What brings the atoms back to the space of the embeddings.
        absolute : bool, default=False
            Whether an atom and its negative count as the same.
        null : {"uniform", "spectrum"}, default="uniform"
            Which random atoms they are compared with.
        n_random : int, default=20
            Number of random dictionaries.
        confidence_level : float, default=0.95
            Share of the matched random atoms below the threshold.
        random_state : int, RandomState instance or None, default=None
            Draws the random dictionaries.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to ``Axes.plot``.

        Returns
        -------
        StabilityDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        found = dictionary_stability(
            first, second, linear_maps=linear_maps, absolute=absolute, null=null,
            n_random=n_random, confidence_level=confidence_level, random_state=random_state,
        )  # fmt: skip
        display = cls(
            found.similarity, threshold=found.threshold, null_mean=float(found.null_means.mean()),
            confidence_level=confidence_level, name=name,
            settings={"absolute": absolute, "null": null, "n_random": n_random},
        )  # fmt: skip
        return display.plot(ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the sorted similarities and the threshold.

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
        StabilityDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        ordered = -np.sort(-vector("similarity", self.similarity))  # NaN comes last
        color, marker = next_style(ax)
        label = self.name if name is None else name
        if self.threshold is not None:
            share = f"{100 * self.stable_fraction:.0f}% stable"
            label = share if label is None else f"{label} ({share})"
        style = {"color": color, "marker": marker, "markevery": 0.1, "markersize": 4,
                 "linewidth": 1.6, "label": label}  # fmt: skip
        # Share of the atoms, so that dictionaries of different sizes lie on one axis.
        x = (np.arange(ordered.size) + 0.5) / ordered.size
        (self.line_,) = ax.plot(x, ordered, **{**style, **kwargs})
        self.line_.set_gid(CURVE)
        self.threshold_line_ = None
        if self.threshold is not None:
            self.threshold_line_ = ax.axhline(
                self.threshold, color=self.line_.get_color(), linestyle=":", linewidth=1.3
            )
        ax.set(xlabel="Share of the atoms, sorted by each curve's own values",
               ylabel=f"Matched {self.measure}", xlim=(0.0, 1.0))  # fmt: skip
        note = ""
        if self.threshold is not None:
            note = f"dotted: {100 * self.confidence_level:.4g}% of matched random atoms lie below"
        legend(ax, note)
        self._drawn_on(ax, self.line_)
        return self

    def _columns(self) -> dict:
        similarity = vector("similarity", self.similarity)
        columns = {"atom": np.arange(similarity.size), "similarity": similarity}
        if self.threshold is not None:
            columns["threshold"] = np.full(similarity.size, float(self.threshold))
        return columns

    def _description(self) -> str:
        similarity = vector("similarity", self.similarity)
        matched = similarity[~np.isnan(similarity)]
        text = (
            f"The figure shows the {self.measure} of {matched.size} atoms with their partners in "
            "another dictionary, matched one to one and sorted"
        )
        text += f"; the mean is {matched.mean():.3f}." if matched.size else "."
        if self.null_mean is not None:
            text += f" Random dictionaries, matched alike, reach a mean of {self.null_mean:.3f}."
        if self.threshold is not None:
            text += (
                f" {100 * self.stable_fraction:.1f}% of the atoms lie above {self.threshold:.3f}, "
                f"below which {100 * self.confidence_level:.4g}% of matched random atoms lie."
            )
        return text
