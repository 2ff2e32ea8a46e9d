"""What a model's decoder makes of its tokens, side by side (Fig. 7A of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._pictures import (
    Stains,
    check_names,
    draw_montage,
    heatmap_colorbar,
    heatmap_picture,
    new_montage,
    symmetric_limit,
)
from skdict.display._saving import SavedDisplay, listed
from skdict.display._style import wrapped
from skdict.imaging import channel_limits

_TILE = 1.4  # inches of a picture
LIMITS = ("shared", "row")


class DecodedImagesDisplay(SavedDisplay):
    """Images that were decoded from tokens, a row per layer or per edit.

    Tokens of any layer can be passed through the decoder of a masked autoencoder: the pictures
    show what a layer still knows of the image (Fig. 7A of [1]_). With a concept added to the
    tokens or removed from them, they show what the direction does to the picture; further rows
    show the difference, stain by stain.

    Parameters
    ----------
    pictures : mapping of str to array-like, shape (n_images, n_channels, height, width)
        Images by the name of their row, in the order of the rows. Put the originals first: the
        other rows are compared with the first.
    difference : tuple of (str, str), default=None
        Names of two rows; the first minus the second is drawn in a further row for each channel,
        divided by the width of the channel's limits.
    channels : sequence of str, default=None
        Names of the channels, for their colours (:func:`skdict.imaging.composite`).
    colors : dict or sequence, default=None
        Colours of the channels.
    limits : {"shared", "row"} or array-like of float, shape (n_channels, 2), default="shared"
        Limits of contrast: those of the first row for all rows, each row its own, or given ones.
        Decoders of intermediate tokens are often off in brightness; ``"row"`` looks past that.
    image_names : sequence of str, default=None
        Names of the images.
    vmax : float, default=None
        Value of the strongest colour of the difference.
    name : str, default=None
        Name of the model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the pictures, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes with the pictures.
    colorbar_ : matplotlib Colorbar or None
        The colour scale of the difference.
    figure_ : matplotlib Figure
        Their figure.

    Notes
    -----
    The decoder was trained on the tokens of the last layer. What it cannot show of another layer
    may still be there, in directions that it does not read.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.datasets import load_cell_painting_crops
    >>> from skdict.display import DecodedImagesDisplay
    >>> crops = load_cell_painting_crops()
    >>> images = crops.images[:2].astype(float)
    >>> display = DecodedImagesDisplay(
    ...     {"original": images, "flat": 0 * images + images.mean()}, channels=crops.channels)
    >>> display.source_data()["row"][::6].tolist()
    ['original', 'original', 'flat', 'flat']
    """

    def __init__(self, pictures, *, difference=None, channels=None, colors=None, limits="shared",
                 image_names=None, vmax=None, name=None, settings=None):  # fmt: skip
        self.pictures = pictures
        self.difference = difference
        self.channels = channels
        self.colors = colors
        self.limits = limits
        self.image_names = image_names
        self.vmax = vmax
        self.name = name
        self.settings = settings

    def plot(self, ax=None):
        """Draw the rows of pictures.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; ``None`` makes a figure.

        Returns
        -------
        DecodedImagesDisplay
            This display, with ``ax_``, ``colorbar_`` and ``figure_``.
        """
        rows, names = self._rows(), self._image_names()
        tiles = []
        for row, images in rows.items():
            stains = Stains(images, self.channels, self.colors, self._limits(rows, row))
            tiles.append([stains.composite(image) for image in images])
        row_names, vmax = list(rows), None
        if self.difference is not None:
            change = self._difference(rows)
            vmax = symmetric_limit(change, self.vmax)
            for channel, name in enumerate(self._channel_names(rows)):
                tiles.append(
                    [heatmap_picture(one[channel], one.shape[1:], vmax, order=0) for one in change]
                )
                row_names.append(f"{name}: difference")
        row_names = [wrapped(row, 20, max_lines=4) for row in row_names]
        ax = new_montage(ax, tiles, _TILE, row_names, colorbar=vmax is not None)
        montage = draw_montage(ax, tiles, column_names=names, row_names=row_names)
        self.colorbar_ = None
        if vmax is not None:
            self.colorbar_ = heatmap_colorbar(
                ax.figure, ax, vmax, f"{' minus '.join(self.difference)}, in widths of the limits"
            )
        self._drawn_on(ax, montage.image)
        return self

    def _rows(self) -> dict[str, np.ndarray]:
        """Images by row, checked against each other."""
        if not hasattr(self.pictures, "items") or not self.pictures:
            raise ValueError(
                "pictures must map the name of each row to its images, such as "
                f"{{'original': images, 'layer 3': decoded}}, got {type(self.pictures).__name__}"
            )
        rows = {str(row): np.asarray(images) for row, images in self.pictures.items()}
        first = next(iter(rows.values()))
        for row, images in rows.items():
            if images.ndim != 4 or 0 in images.shape or images.shape != first.shape:
                raise ValueError(
                    "pictures must hold arrays of one shape (n_images, n_channels, height, "
                    f"width) each; {row!r} has {images.shape}, the first {first.shape}"
                )
            if not np.isfinite(images).all():
                raise ValueError(f"pictures of {row!r} hold NaN or infinite values")
        return rows

    def _image_names(self) -> list[str]:
        size = len(next(iter(self._rows().values())))
        return check_names("image_names", self.image_names, "image", size)

    def _channel_names(self, rows) -> list[str]:
        return check_names("channels", self.channels, "channel", next(iter(rows.values())).shape[1])

    def _limits(self, rows, row: str) -> np.ndarray:
        if isinstance(self.limits, str):
            if self.limits not in LIMITS:
                raise ValueError(f"limits must be 'shared', 'row' or an array, got {self.limits!r}")
            return channel_limits(rows[row] if self.limits == "row" else next(iter(rows.values())))
        return np.asarray(self.limits, dtype=float)

    def _difference(self, rows) -> np.ndarray:
        """Scaled difference of two rows, shape (n_images, n_channels, height, width)."""
        pair = tuple(self.difference)
        if len(pair) != 2 or not set(pair) <= set(rows):
            raise ValueError(
                f"difference must name two rows of {', '.join(map(repr, rows))}, got "
                f"{self.difference!r}"
            )
        low, high = self._limits(rows, pair[1]).T
        width = np.where(high > low, high - low, np.inf)
        change = rows[pair[0]].astype(float) - rows[pair[1]]
        return change / width[:, None, None]

    def _columns(self) -> dict:
        rows, names = self._rows(), self._image_names()
        first = next(iter(rows.values()))
        n_images, n_channels = first.shape[:2]
        channels = self._channel_names(rows)
        size = n_images * n_channels
        flat = {row: images.reshape(size, -1).astype(float) for row, images in rows.items()}
        original = next(iter(flat.values()))
        return {
            "row": np.repeat(list(rows), size),
            "image": np.tile(np.repeat(names, n_channels), len(rows)),
            "channel": np.tile(channels, n_images * len(rows)),
            "mean": np.concatenate([images.mean(axis=1) for images in flat.values()]),
            "standard_deviation": np.concatenate([i.std(axis=1) for i in flat.values()]),
            "correlation_with_first": np.concatenate(
                [_correlations(images, original) for images in flat.values()]
            ),
        }

    def _description(self) -> str:
        rows = self._rows()
        text = (
            f"The figure shows {len(next(iter(rows.values())))} image(s) in {len(rows)} versions "
            f"({listed(list(rows))}), as sums of their stains"
        )
        if isinstance(self.limits, str):
            shared = "those of the first version" if self.limits == "shared" else "its own"
            text += f" between limits that are {shared}"
        if self.difference is not None:
            text += (
                f", and {self.difference[0]} minus {self.difference[1]}, channel by channel in "
                "widths of the limits"
            )
        return text + ". Correlations in the source data are over the pixels of each channel."


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row with the same row; NaN where one is constant."""
    constant = (np.ptp(one, axis=1) == 0) | (np.ptp(other, axis=1) == 0)
    one = one - one.mean(axis=1, keepdims=True)
    other = other - other.mean(axis=1, keepdims=True)
    length = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.where(constant, np.nan, (one * other).sum(axis=1) / np.where(constant, 1, length))
