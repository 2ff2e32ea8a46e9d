"""Cosine matrices: perturbation maps and the like."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import new_axes
from skdict.metrics import perturbation_map

_MOST_NAMES = 60


class SimilarityMapDisplay(SavedDisplay):
    """Heat map of a cosine matrix.

    Red is alike, blue is opposite and white is unrelated; the scale is always -1 to 1, so that
    maps can be compared.

    Parameters
    ----------
    cosine : array-like of float, shape (n_labels, n_labels)
        The matrix; not necessarily symmetric.
    labels : array-like of shape (n_labels,), default=None
        Names of its rows and columns. More than 60 are not written at the axes; they are in
        :meth:`source_data` all the same.
    name : str, default=None
        Name of the embeddings, for the title, :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    image_ : matplotlib AxesImage
        The map.
    colorbar_ : matplotlib Colorbar
        Its scale.

    Examples
    --------
    >>> from skdict.display import SimilarityMapDisplay
    >>> X = [[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]
    >>> display = SimilarityMapDisplay.from_embeddings(X, ["a", "b", "c"], order="label",
    ...                                                plot=False)
    >>> display.cosine.round(1)
    array([[1. , 0. , 0.6],
           [0. , 1. , 0.8],
           [0.6, 0.8, 1. ]])
    """

    def __init__(self, cosine, *, labels=None, name=None, settings=None):
        self.cosine = cosine
        self.labels = labels
        self.name = name
        self.settings = settings

    @classmethod
    def from_embeddings(cls, X, y, *, units=None, labels=None, order="cluster", name=None, ax=None,
                        plot=True):  # fmt: skip
        """Aggregate embeddings with :func:`~skdict.metrics.perturbation_map` and draw the map.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings with the controls at the origin.
        y : array-like of shape (n_samples,)
            Perturbation of each row.
        units : array-like of shape (n_samples,), default=None
            Independent unit of each row; units count alike.
        labels : array-like, default=None
            Perturbations to show; ``None`` means all.
        order : {"cluster", "label"}, default="cluster"
            Similar perturbations beside each other, or the order of `labels`.
        name : str, default=None
            Name of the embeddings.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        SimilarityMapDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        found = perturbation_map(X, y, units=units, labels=labels, order=order)
        display = cls(
            found.cosine, labels=found.labels, name=name,
            settings={"rows": len(y), "order": order,
                      "mean of": "rows" if units is None else "units"},
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None, *, colorbar=True, **kwargs):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure whose size fits the labels.
        colorbar : bool, default=True
            Draw the scale.
        **kwargs : dict
            Given to ``Axes.imshow``.

        Returns
        -------
        SimilarityMapDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        cosine, labels = self._matrix()
        named = self.labels is not None and len(labels) <= _MOST_NAMES
        if ax is None:
            ax = new_axes(None)
            side = max(4.8, 0.17 * len(labels) + 1.6) if named else 5.2
            ax.figure.set_size_inches(side + 1.0, side)
        style = {"cmap": "RdBu_r", "vmin": -1.0, "vmax": 1.0, "interpolation": "none"}
        self.image_ = ax.imshow(cosine, **{**style, **kwargs})
        if named:
            size = "small" if len(labels) <= 25 else "x-small"
            ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
            ax.set_yticks(range(len(labels)), labels, fontsize=size)
        else:
            ax.set(
                xlabel="Labels, in the order of the map", ylabel="Labels, in the order of the map"
            )
        if self.name is not None:
            ax.set_title(self.name)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, shrink=0.8, label="Cosine")
        self._drawn_on(ax, self.image_)
        return self

    def _matrix(self):
        cosine = np.asarray(self.cosine, dtype=float)
        if cosine.ndim != 2 or cosine.shape[0] != cosine.shape[1] or not cosine.size:
            raise ValueError(f"cosine must be a square matrix, got shape {cosine.shape}")
        labels = np.arange(len(cosine)) if self.labels is None else self.labels
        return cosine, vector("labels", labels, len(cosine), dtype=str)

    def _columns(self) -> dict:
        cosine, labels = self._matrix()
        size = len(labels)
        return {
            "row": np.repeat(labels, size),
            "column": np.tile(labels, size),
            "cosine": cosine.ravel(),
        }

    def _description(self) -> str:
        return (
            f"The figure shows the cosines between {len(self._matrix()[1])} labels, in the order "
            "given in the source data, on a colour scale from -1 (blue) to 1 (red)."
        )
