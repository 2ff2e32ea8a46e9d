"""Tokens of background, perturbed and control-like cells (Fig. 6E of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._cells import p_word
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import COLORS, CURVE, GREY, legend, new_axes
from skdict.imaging import segment_histograms

SEGMENTS = np.array(["background", "perturbed", "control-like"])
# Background, perturbed, control-like: colours and lines that also differ in print.
_SEGMENT_COLORS, _SEGMENT_LINES = (GREY, COLORS[1], COLORS[0]), ("-", "-", "--")


class SegmentAlignmentDisplay(SavedDisplay):
    """Histograms of the tokens of background, perturbed and control-like cells (Fig. 6E).

    The title says that this is a reproduction of the figure: tokens of one cell are not
    independent, so that its p-values are no inference. :class:`CellAlignmentDisplay` shows cells.

    Parameters
    ----------
    counts : array-like of int, shape (3, n_bins)
        Tokens of each segment in each bin: background, perturbed, control-like.
    edges : array-like of float, shape (n_bins + 1,)
        Edges of the bins.
    mean : array-like of float, shape (3,)
        Mean alignment of each segment; NaN for none.
    p_less : array-like of float, shape (2,), default=None
        P-values of the Mann-Whitney tests that control-like tokens lie below perturbed ones, and
        perturbed ones below the background.
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

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.datasets import make_cell_fields
    >>> from skdict.display import SegmentAlignmentDisplay
    >>> from skdict.imaging import segment_images
    >>> fields = make_cell_fields(n_images=4, n_null=1, random_state=0)
    >>> segments = segment_images(fields.labels, fields.cell_perturbed)
    >>> display = SegmentAlignmentDisplay.from_tokens(
    ...     fields.tokens, fields.directions[fields.names == "perturbed"], segments, plot=False)
    >>> display.mean.argmax()  # perturbed cells are aligned best
    np.int64(1)
    """

    def __init__(self, counts, edges, *, mean, p_less=None, name=None, settings=None):
        self.counts = counts
        self.edges = edges
        self.mean = mean
        self.p_less = p_less
        self.name = name
        self.settings = settings

    @classmethod
    def from_tokens(cls, tokens, direction, segments, *, transformer=None, kind="cosine",
                    min_share=0.5, n_bins=40, name=None, ax=None, plot=True):  # fmt: skip
        """Compute with :func:`~skdict.imaging.segment_histograms` and draw.

        Parameters
        ----------
        tokens : array-like of shape (n_images, n_rows, n_columns, n_features)
            Patch tokens in their places.
        direction : array-like of shape (n_features,) or (1, n_features)
            One direction.
        segments : array-like of int of shape (n_images, height, width)
            Segments: :func:`~skdict.imaging.segment_images`.
        transformer : fitted transformer, default=None
            Whitening, applied to the tokens first.
        kind : {"cosine", "inner"}, default="cosine"
            Alignment.
        min_share : float, default=0.5
            Least share of a token's pixels in its segment.
        n_bins : int, default=40
            Bins of the histograms.
        name : str, default=None
            Name of the direction.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        SegmentAlignmentDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        found = segment_histograms(
            tokens, direction, segments, transformer=transformer, kind=kind, min_share=min_share,
            n_bins=n_bins,
        )  # fmt: skip
        if found.counts.shape[0] != 1:
            raise ValueError(
                f"direction must be a single direction, got {found.counts.shape[0]}; draw one "
                "display for each"
            )
        settings = {"kind": kind, "min_share": min_share, "images": np.unique(found.image).size}
        display = cls(found.counts[0], found.edges[0], mean=found.mean[0], p_less=found.p_less[0],
                      name=name, settings=settings)  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw the histograms, each as shares of its own tokens, with the means as lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.

        Returns
        -------
        SegmentAlignmentDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        counts, edges, mean = self._tables()
        ax = new_axes(ax)
        for k, segment in enumerate(SEGMENTS):
            n_tokens = counts[k].sum()
            shares = counts[k] / max(n_tokens, 1)
            style = {"color": _SEGMENT_COLORS[k], "linestyle": _SEGMENT_LINES[k]}
            label = f"{segment}, {n_tokens:.0f} tokens"
            drawn = ax.stairs(shares, edges, linewidth=1.8, label=label, gid=CURVE, **style)
            ax.stairs(shares, edges, fill=True, color=_SEGMENT_COLORS[k], alpha=0.15)
            if np.isfinite(mean[k]):
                ax.axvline(mean[k], ymax=0.7, linewidth=1.2, **style)
        ax.set(xlabel="Alignment of a token with the direction", ylabel="Share of tokens")
        # Room for the legend above the bars.
        highest = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).max()
        ax.set_ylim(0, 1.4 * max(highest, 1e-9))
        ax.margins(x=0.02)
        ax.set_title("\n".join(self._title()), fontsize="medium")
        legend(ax, "vertical lines: means", loc="upper left")
        self._drawn_on(ax, drawn)
        return self

    def _title(self) -> list[str]:
        named = "" if self.name is None else f"{self.name}: "
        lines = [f"{named}reproduction of Fig. 6E, no inference"]
        if self.p_less is not None:
            first, second = (p_word(p) for p in vector("p_less", self.p_less, 2))
            lines.append(f"tokens: control-like < perturbed {first}, perturbed < background "
                         f"{second}")  # fmt: skip
        return lines

    def _tables(self):
        """Counts, edges and means, checked against each other."""
        edges = vector("edges", self.edges)
        counts = np.asarray(self.counts, dtype=float)
        if counts.shape != (3, edges.size - 1):
            raise ValueError(
                f"counts must have a row for each of 3 segments and a column per bin, "
                f"(3, {edges.size - 1}) for the given edges, got shape {counts.shape}"
            )
        return counts, edges, vector("mean", self.mean, 3)

    def _columns(self) -> dict:
        counts, edges, mean = self._tables()
        n_bins = edges.size - 1
        return {
            "segment": np.repeat(SEGMENTS, n_bins),
            "low_edge": np.tile(edges[:-1], 3),
            "high_edge": np.tile(edges[1:], 3),
            "n_tokens": counts.ravel().astype(int),
            "mean": np.repeat(mean, n_bins),
        }

    def _description(self) -> str:
        text = (
            "The figure shows histograms of the alignment of patch tokens with a feature direction "
            "in the background, in perturbed and in control-like cells, each divided by its number "
            "of tokens, with the means as vertical lines. It is a reproduction of Fig. 6E of "
            "Donhauser et al. (2025): the tokens of a cell are not independent"
        )
        if self.p_less is None:
            return f"{text}."
        first, second = (p_word(p) for p in vector("p_less", self.p_less, 2))
        return (
            f"{text}, so that the one-sided Mann-Whitney tests over tokens (control-like below "
            f"perturbed {first}, perturbed below background {second}) are no inference."
        )
