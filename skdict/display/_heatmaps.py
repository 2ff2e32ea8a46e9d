"""Heatmaps of concepts on the tokens of images (Fig. 1, 5, 6 and 10 of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer
from skdict.display._pictures import (
    KIND_NAMES,
    Stains,
    check_names,
    check_shown,
    draw_montage,
    heatmap_colorbar,
    heatmap_picture,
    new_montage,
    overlay_picture,
    symmetric_limit,
    transformer_name,
)
from skdict.display._saving import SavedDisplay, listed
from skdict.display._style import wrapped
from skdict.imaging import token_heatmaps
from skdict.imaging._get_image import ImageSource
from skdict.imaging._stains import check_grid
from skdict.imaging._tokens import check_tokens

_MAX_PICTURES = 400
_TILE = 1.5  # inches of a picture


class TokenHeatmapDisplay(SavedDisplay):
    """Alignment of the tokens of images with concepts, over or beside the images.

    A row per image, a column per concept (Fig. 1, 5, 6 and 10 of [1]_). All heatmaps share one
    colour scale, symmetric about zero: vermilion along the direction, blue against it.

    Parameters
    ----------
    heatmaps : array-like of float, shape (n_images, n_concepts, n_rows, n_columns)
        What :func:`skdict.imaging.token_heatmaps` gives; three dimensions are one concept.
    images : array-like, shape (n_images, n_channels, height, width), or sequence, default=None
        The images; ``None`` draws the heatmaps alone.
    channels : sequence of str, default=None
        Names of the channels, for their colours (:func:`skdict.imaging.composite`).
    colors : dict or sequence, default=None
        Colours of the channels, as :func:`skdict.imaging.composite` takes them.
    limits : array-like of float, shape (n_channels, 2), default=None
        Limits of contrast; ``None`` takes those that all images share.
    concepts : sequence of str, default=None
        Names of the concepts.
    image_names : sequence of str, default=None
        Names of the images.
    overlay : bool, default=True
        Draw the heatmaps over the grey images; ``False`` draws them on their own.
    order : {0, 1}, default=1
        Enlarge by repeating each token's value, or interpolate between tokens. For the eye only:
        a heatmap knows nothing that its tokens do not know.
    vmax : float, default=None
        Value of the strongest colour; ``None`` is the largest absolute value shown.
    kind : {"cosine", "inner"}, default="cosine"
        What the values are, for the colour scale.
    name : str, default=None
        Name of the model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the pictures.
    colorbar_ : matplotlib Colorbar
        The colour scale.
    figure_ : matplotlib Figure
        Their figure.
    vmax_ : float
        Value of the strongest colour.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import TokenHeatmapDisplay
    >>> tokens = np.zeros((1, 2, 2, 3))
    >>> tokens[0, 0, 1] = [3.0, 4.0, 0.0]
    >>> display = TokenHeatmapDisplay.from_tokens(tokens, [[1.0, 0.0, 0.0]], plot=False)
    >>> display.source_data()["value"]
    array([0. , 0.6, 0. , 0. ])
    """

    def __init__(self, heatmaps, images=None, *, channels=None, colors=None, limits=None,
                 concepts=None, image_names=None, overlay=True, order=1, vmax=None,
                 kind="cosine", name=None, settings=None):  # fmt: skip
        self.heatmaps = heatmaps
        self.images = images
        self.channels = channels
        self.colors = colors
        self.limits = limits
        self.concepts = concepts
        self.image_names = image_names
        self.overlay = overlay
        self.order = order
        self.vmax = vmax
        self.kind = kind
        self.name = name
        self.settings = settings

    @classmethod
    def from_tokens(cls, tokens, directions, images=None, *, show=None,
                    transformer=None, kind="cosine", channels=None, colors=None, limits=None,
                    concepts=None, overlay=True, order=1, vmax=None, name=None, ax=None,
                    plot=True):  # fmt: skip
        """Compute the heatmaps of some images and draw them.

        Parameters
        ----------
        tokens : array-like of shape (n_images, n_rows, n_columns, n_features)
            Patch tokens in their places.
        directions : array-like of shape (n_concepts, n_features) or (n_features,)
            Feature directions in the space behind `transformer`.
        images : array-like, sequence or callable, default=None
            The images of the tokens, all of them, or ``get_image(i)``.
        show : sequence of int, default=None
            Numbers of the images to show; ``None`` shows all.
        transformer : fitted transformer, default=None
            Applied to the tokens first, see :func:`skdict.imaging.token_heatmaps`.
        kind : {"cosine", "inner"}, default="cosine"
            Cosine similarity or inner product.
        channels : sequence of str, default=None
            Names of the channels.
        colors : dict or sequence, default=None
            Colours of the channels.
        limits : array-like of shape (n_channels, 2), default=None
            Limits of contrast.
        concepts : sequence of str, default=None
            Names of the concepts.
        overlay : bool, default=True
            Draw the heatmaps over the grey images.
        order : {0, 1}, default=1
            How heatmaps are enlarged.
        vmax : float, default=None
            Value of the strongest colour.
        name : str, default=None
            Name of the model.
        ax : matplotlib Axes, default=None
            Where to draw; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        TokenHeatmapDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        tokens = check_tokens(tokens)
        shown = check_shown(show, len(tokens))
        few = np.stack([np.asarray(tokens[i]) for i in shown])
        if images is not None:
            source = ImageSource.of_tokens(images, len(tokens))
            images = [source[i] for i in shown]
        heatmaps = token_heatmaps(few, directions, transformer=transformer, kind=kind)
        display = cls(
            heatmaps, images, channels=channels, colors=colors, limits=limits, concepts=concepts,
            image_names=[f"image {i}" for i in shown], overlay=overlay, order=order, vmax=vmax,
            kind=kind, name=name,
            settings={"kind": kind, "transformer": transformer_name(transformer)},
        )  # fmt: skip
        return display.plot(ax) if plot else display

    def plot(self, ax=None):
        """Draw a row of pictures per image.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; ``None`` makes a figure.

        Returns
        -------
        TokenHeatmapDisplay
            This display, with ``ax_``, ``colorbar_``, ``figure_`` and ``vmax_``.
        """
        heatmaps, concepts, names = self._tables()
        check_integer("order", self.order, 0)
        vmax = symmetric_limit(heatmaps, self.vmax)
        images = None if self.images is None else self._images(heatmaps)
        stains = None if images is None else self._stains(images)
        tiles = []
        for i, maps in enumerate(heatmaps):
            if images is None:
                tiles.append([_alone(one, vmax, self.order) for one in maps])
                continue
            picture = stains.composite(images[i])
            draw = overlay_picture if self.overlay else _beside
            tiles.append([picture, *(draw(picture, one, vmax, order=self.order) for one in maps)])
        headings = [wrapped(concept, 18, max_lines=2) for concept in concepts]
        if images is not None:
            headings = ["stains", *headings]
        names = [wrapped(image, 20, max_lines=4) for image in names]
        ax = new_montage(ax, tiles, _TILE, names, colorbar=True)
        drawn = draw_montage(ax, tiles, row_names=names, column_names=headings)
        self.vmax_ = vmax
        self.colorbar_ = heatmap_colorbar(ax.figure, ax, vmax, KIND_NAMES[self.kind])
        self._drawn_on(ax, drawn.image)
        return self

    def _images(self, heatmaps) -> list:
        source = ImageSource(self.images)
        if len(source) != len(heatmaps):
            raise ValueError(
                f"images must have one image per row of heatmaps: got {len(source)} for "
                f"{len(heatmaps)}"
            )
        images = [source[i] for i in range(len(source))]
        for i, image in enumerate(images):
            check_grid(heatmaps.shape[2:], image.shape[1:], f"image {i}")
        return images

    def _stains(self, images) -> Stains:
        return Stains(images, self.channels, self.colors, self.limits)

    def _tables(self):
        """Heatmaps in four dimensions, names of the concepts and of the images."""
        heatmaps = np.asarray(self.heatmaps, dtype=float)
        heatmaps = heatmaps[:, None] if heatmaps.ndim == 3 else heatmaps
        if heatmaps.ndim != 4 or 0 in heatmaps.shape or not np.isfinite(heatmaps).all():
            raise ValueError(
                "heatmaps must be finite numbers of shape (n_images, n_concepts, n_rows, "
                f"n_columns), got shape {heatmaps.shape}"
            )
        n_images, n_concepts = heatmaps.shape[:2]
        if n_images * n_concepts > _MAX_PICTURES:
            raise ValueError(
                f"heatmaps must be at most {_MAX_PICTURES} to be drawn, got {n_images} images x "
                f"{n_concepts} concepts; choose some of both, with show= and of directions"
            )
        concepts = check_names("concepts", self.concepts, "concept", n_concepts)
        return heatmaps, concepts, check_names("image_names", self.image_names, "image", n_images)

    def _columns(self) -> dict:
        heatmaps, concepts, names = self._tables()
        image, concept, row, column = (axis.ravel() for axis in np.indices(heatmaps.shape))
        return {
            "image": np.asarray(names)[image],
            "concept": np.asarray(concepts)[concept],
            "row": row,
            "column": column,
            "value": heatmaps.ravel(),
        }

    def _description(self) -> str:
        heatmaps, concepts, names = self._tables()
        what = {"cosine": "cosine similarity", "inner": "inner product"}[self.kind]
        text = (
            f"The figure shows the {what} of each patch token with {len(concepts)} feature "
            f"direction(s) ({listed(concepts)}) on {len(names)} image(s), a grid of "
            f"{heatmaps.shape[2]} x {heatmaps.shape[3]} tokens each"
        )
        if self.order:
            text += ", interpolated between tokens for display"
        if self.images is not None:
            text += "; images are sums of their stains between limits that all of them share"
        return text + "."


def _alone(heatmap, vmax, order):
    """A heatmap without an image, large enough to be seen."""
    scale = max(1, 128 // max(heatmap.shape))
    shape = (heatmap.shape[0] * scale, heatmap.shape[1] * scale)
    return heatmap_picture(heatmap, shape, vmax, order=order)


def _beside(picture, heatmap, vmax, *, order):
    return heatmap_picture(heatmap, picture.shape[:2], vmax, order=order)
