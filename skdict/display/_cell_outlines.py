"""Outlines of cells on the heatmap of their image (Fig. 6D of the ICFL paper)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from skdict.display._pictures import diverging, symmetric_limit
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import legend, new_axes
from skdict.imaging import cell_table

# Black on all colours of the heatmap; classes differ in the line.
_LINES = {"cells": "-", "perturbed": "-", "control-like": (0, (2, 1.2))}


class CellOutlineDisplay(SavedDisplay):
    """Heatmap of a direction on one image, with the outlines of its cells by class (Fig. 6D).

    Each token is drawn as it is, a rectangle of one value: pixels between two tokens know nothing
    that the tokens do not know. The colour scale is symmetric about zero, as that of
    :class:`TokenHeatmapDisplay`.

    Parameters
    ----------
    heatmap : array-like of float, shape (n_rows, n_columns)
        Alignment of the tokens of one image: :func:`~skdict.imaging.token_heatmaps`.
    labels : array-like of int, shape (height, width)
        Label image: 0 for background, one number per cell.
    perturbed : array-like of bool, shape (n_cells,), default=None
        Class of each cell, by ascending label. ``None`` draws all outlines alike.
    name : str, default=None
        Name of the direction.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, in pixels of the image.
    image_ : matplotlib AxesImage
        The heatmap.
    colorbar_ : matplotlib Colorbar or None
        Its scale.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import CellOutlineDisplay
    >>> labels = np.zeros((16, 16), dtype=int)
    >>> labels[4:10, 4:10] = 1
    >>> display = CellOutlineDisplay(np.eye(2), labels, [True])
    >>> display.source_data()["alignment"]
    array([1., 0., 0., 1.])
    """

    def __init__(self, heatmap, labels, perturbed=None, *, name=None, settings=None):
        self.heatmap = heatmap
        self.labels = labels
        self.perturbed = perturbed
        self.name = name
        self.settings = settings

    def plot(self, ax=None, *, colorbar=True, **kwargs):
        """Draw the heatmap and the outlines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        colorbar : bool, default=True
            Draw the scale.
        **kwargs : dict
            Given to ``Axes.imshow``, such as ``vmin`` and ``vmax`` for a scale that several
            images share.

        Returns
        -------
        CellOutlineDisplay
            This display, with ``ax_``, ``image_``, ``colorbar_`` and ``figure_``.
        """
        heatmap, labels, perturbed = self._checked()
        ax = new_axes(ax)
        height, width = labels.shape
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        limit = symmetric_limit(heatmap)
        style = {"cmap": diverging(), "vmin": -limit, "vmax": limit, "interpolation": "none",
                 "extent": extent}  # fmt: skip
        self.image_ = ax.imshow(heatmap, **{**style, **kwargs})
        for name, own in self._classes(perturbed).items():
            self._draw_outlines(ax, labels, own, name)
        ax.set_xticks([])
        ax.set_yticks([])
        if self.name is not None:
            ax.set_title(str(self.name), fontsize="medium")
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, shrink=0.8, label="Alignment")
        if self.perturbed is not None:
            legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2)
        self._drawn_on(ax, self.image_)
        return self

    def _draw_outlines(self, ax, labels, own, name: str) -> None:
        """Draw the outline of every cell of one class; cells that touch keep their own."""
        for number in own:
            rows, columns = ndimage.find_objects((labels == number).astype(np.int8))[0]
            # A margin closes the outlines of cells that the image cuts.
            inside = np.pad(labels[rows, columns] == number, 1).astype(float)
            x = np.arange(columns.start - 1, columns.stop + 1)
            y = np.arange(rows.start - 1, rows.stop + 1)
            ax.contour(x, y, inside, levels=[0.5], linewidths=1.6, colors=["black"],
                       linestyles=[_LINES[name]])  # fmt: skip
        label = f"{name}, {len(own)}"
        ax.plot([], [], linewidth=1.6, color="black", linestyle=_LINES[name], label=label)

    def _classes(self, perturbed) -> dict:
        """Labels of the cells of each class that is there."""
        numbers = self._numbers()
        if self.perturbed is None:
            return {"cells": numbers}
        found = {"perturbed": numbers[perturbed], "control-like": numbers[~perturbed]}
        return {name: own for name, own in found.items() if own.size}

    def _numbers(self) -> np.ndarray:
        labels = np.asarray(self.labels)
        return cell_table(labels[None]).label

    def _checked(self):
        """Heatmap, label image and classes, checked against each other."""
        heatmap, labels = np.asarray(self.heatmap, dtype=float), np.asarray(self.labels)
        if heatmap.ndim != 2 or labels.ndim != 2:
            raise ValueError(
                "heatmap must have shape (n_rows, n_columns) and labels (height, width), got "
                f"shapes {heatmap.shape} and {labels.shape}"
            )
        if any(size % cells for size, cells in zip(labels.shape, heatmap.shape, strict=True)):
            raise ValueError(
                f"the token grid does not match the image: {heatmap.shape[0]} x "
                f"{heatmap.shape[1]} tokens cannot divide {labels.shape[0]} x {labels.shape[1]} "
                "pixels into equal patches"
            )
        n_cells = self._numbers().size
        perturbed = np.zeros(n_cells, dtype=bool)
        if self.perturbed is not None:
            perturbed = vector("perturbed", self.perturbed, n_cells, dtype=bool)
        return heatmap, labels, perturbed

    def _columns(self) -> dict:
        heatmap = self._checked()[0]
        rows, columns = np.indices(heatmap.shape)
        return {
            "token_row": rows.ravel(),
            "token_column": columns.ravel(),
            "alignment": heatmap.ravel(),
        }

    def _description(self) -> str:
        heatmap, labels, perturbed = self._checked()
        text = (
            f"The figure shows the alignment of {heatmap.shape[0]} x {heatmap.shape[1]} patch "
            f"tokens with a feature direction on an image of {labels.shape[0]} x {labels.shape[1]} "
            f"pixels, and the outlines of {perturbed.size} cells"
        )
        if self.perturbed is None:
            return f"{text}."
        return f"{text}, of which {np.count_nonzero(perturbed)} are perturbed (solid lines)."
