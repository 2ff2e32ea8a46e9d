"""Pictures beside each other on one axes: composites, stains and heatmaps over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skdict._validation import check_real, import_optional
from skdict.display._style import COLORS, wrapped
from skdict.imaging import channel_limits, composite, upsample_heatmap
from skdict.imaging._composite import scaled

# Blue below zero, vermilion above: apart for every eye, and of equal weight.
NEGATIVE, POSITIVE = COLORS[0], COLORS[1]
_MIDDLE = "#F7F7F7"
KIND_NAMES = {"cosine": "Cosine with the concept", "inner": "Inner product with the concept"}
# Inches that a letter of a row's name and a colour scale take.
_LETTER, _COLORBAR = 0.085, 1.0
# Share of the picture's brightness below a heatmap, so that its colours stand out.
_DIMMED = 0.75


def diverging():
    """Colour map of signed values, symmetric about zero."""
    colors = import_optional("matplotlib.colors", extra="plot")
    return colors.LinearSegmentedColormap.from_list(
        "skdict_diverging", [NEGATIVE, _MIDDLE, POSITIVE]
    )


def symmetric_limit(values, limit=None) -> float:
    """Largest absolute value, or the one given; 1 where all are zero."""
    if limit is None:
        return float(np.abs(values).max()) or 1.0
    check_real("vmax", limit, 0.0, np.inf, open_low=True)
    return float(limit)


def heatmap_picture(heatmap, shape, vmax: float, *, order: int) -> np.ndarray:
    """A heatmap in colours, enlarged to the shape of an image."""
    values = upsample_heatmap(heatmap, shape, order=order)
    return diverging()((values / vmax + 1) / 2)[..., :3]


def overlay_picture(picture, heatmap, vmax: float, *, order: int) -> np.ndarray:
    """A heatmap over the grey picture: the stronger, the less of the picture is seen."""
    colors = import_optional("matplotlib.colors", extra="plot")
    grey = _DIMMED * picture.max(axis=-1, keepdims=True)
    values = upsample_heatmap(heatmap, picture.shape[:2], order=order)[..., None] / vmax
    color = np.where(values > 0, colors.to_rgb(POSITIVE), colors.to_rgb(NEGATIVE))
    weight = np.minimum(0.85 * np.abs(values), 0.85)
    return (1 - weight) * grey + weight * color


def stain_picture(channel, limits) -> np.ndarray:
    """One stain in grey."""
    return np.repeat(scaled(channel, limits)[..., None], 3, axis=-1)


class Stains:
    """How the images of a figure become pictures: names, colours and shared limits."""

    def __init__(self, images, channels=None, colors=None, limits=None, *, n_images=None):
        self.names = None if channels is None else [str(name) for name in channels]
        self.colors = colors
        self.limits = limits
        if limits is None:
            self.limits = channel_limits(images, n_images=n_images)

    def composite(self, image) -> np.ndarray:
        """Colour picture of an image."""
        return composite(image, channels=self.names, colors=self.colors, limits=self.limits)

    def single(self, image, channel: int) -> np.ndarray:
        """One stain of an image in grey."""
        return stain_picture(image[channel], self.limits[channel])

    def name(self, channel: int) -> str:
        """Name of a channel."""
        return f"channel {channel}" if self.names is None else self.names[channel]


class Montage(NamedTuple):
    """Pictures drawn as one image."""

    image: Any
    """The matplotlib AxesImage."""
    height: int
    """Pixels from one picture to the next below."""
    width: int
    """Pixels from one picture to the next at the right."""

    def frame(self, row: int, column: int, box) -> None:
        """Draw a frame around (y, x, height, width) of a picture of full size."""
        patches = import_optional("matplotlib.patches", extra="plot")
        y, x, height, width = box
        corner = (column * self.width + x - 0.5, row * self.height + y - 0.5)
        for color, line_width in (("black", 1.6), ("white", 0.8)):
            self.image.axes.add_patch(
                patches.Rectangle(corner, width, height, fill=False, color=color,
                                  linewidth=line_width)
            )  # fmt: skip


def draw_montage(ax, tiles, *, row_names, column_names, gap: int = 0):
    """Draw rows of pictures as one image, with names at the left and above.

    Parameters
    ----------
    ax : matplotlib Axes
        Where.
    tiles : list of list of (ndarray or None)
        Pictures of shape (height, width, 3), row by row; smaller ones stand in the middle of
        their place.
    row_names, column_names : sequence of str
        Names; none where there are none.
    gap : int, default=0
        Pixels between two pictures; 0 is 4% of their width.

    Returns
    -------
    Montage
        The image on the axes, and where each picture lies in it.
    """
    there = [tile for row in tiles for tile in row if tile is not None]
    height, width = (max(tile.shape[axis] for tile in there) for axis in (0, 1))
    gap = gap or max(1, round(0.04 * width))
    n_rows, n_columns = len(tiles), max(map(len, tiles))
    canvas = np.zeros(
        (n_rows * (height + gap) - gap, n_columns * (width + gap) - gap, 4), dtype=np.float32
    )
    for i, row in enumerate(tiles):
        for j, tile in enumerate(row):
            if tile is None:
                continue
            y = i * (height + gap) + (height - tile.shape[0]) // 2
            x = j * (width + gap) + (width - tile.shape[1]) // 2
            place = canvas[y : y + tile.shape[0], x : x + tile.shape[1]]
            place[..., :3], place[..., 3] = tile, 1.0
    image = ax.imshow(np.clip(canvas, 0.0, 1.0))
    _name_ticks(ax.xaxis, column_names, width, gap)
    _name_ticks(ax.yaxis, row_names, height, gap)
    ax.tick_params(length=0, labelsize="small", top=False, bottom=False, left=False,
                   labeltop=True, labelbottom=False)  # fmt: skip
    ax.spines[:].set_visible(False)
    return Montage(image, height + gap, width + gap)


def _name_ticks(axis, names, size: int, gap: int) -> None:
    places = [i * (size + gap) + size / 2 - 0.5 for i in range(len(names))]
    axis.set_ticks(places, [str(name) for name in names])


def new_montage(ax, tiles, tile: float, row_names, *, colorbar: bool):
    """Axes for pictures that are `tile` inches wide, on a new figure unless there are some."""
    if ax is not None:
        return ax
    pyplot = import_optional("matplotlib.pyplot", extra="plot")
    width, height = montage_size(tiles, tile)
    longest = max((len(line) for name in row_names for line in name.splitlines()), default=0)
    width += 0.2 + _LETTER * longest + (_COLORBAR if colorbar else 0.0)
    figure = pyplot.figure(figsize=(width, max(height + 0.6, 2.2)), layout="constrained")
    return figure.add_subplot()


def montage_size(tiles, tile: float) -> tuple[float, float]:
    """Width and height in inches of pictures that are `tile` inches wide."""
    shape = next(one.shape for row in tiles for one in row if one is not None)
    return max(map(len, tiles)) * tile, len(tiles) * tile * shape[0] / shape[1]


def heatmap_colorbar(figure, axes, vmax: float, label: str):
    """Draw the colour scale of heatmaps beside some axes."""
    matplotlib = import_optional("matplotlib.cm", extra="plot")
    colors = import_optional("matplotlib.colors", extra="plot")
    mappable = matplotlib.ScalarMappable(colors.Normalize(-vmax, vmax), diverging())
    # A scale of three inches is enough for figures of any height.
    shrink = min(0.9, 3.0 / figure.get_figheight())
    return figure.colorbar(
        mappable, ax=axes, label=wrapped(label, 36), shrink=shrink, aspect=20, pad=0.02
    )


def check_shown(show, n_images: int) -> list[int]:
    """Numbers of the images to show, all for None."""
    if show is None:
        return list(range(n_images))
    shown = np.asarray(show)
    if shown.ndim != 1 or not shown.size or shown.dtype.kind not in "iu":
        raise ValueError(f"show must be a list of image numbers, got {show!r}")
    if shown.min() < 0 or shown.max() >= n_images:
        raise ValueError(f"show must name images 0 to {n_images - 1}, got {show!r}")
    return shown.tolist()


def check_names(parameter: str, names, what: str, size: int) -> list[str]:
    """Names as text, numbered where there are none."""
    if names is None:
        return [f"{what} {i}" for i in range(size)]
    names = [str(name) for name in names]
    if len(names) != size:
        raise ValueError(f"{parameter} must have {size} entries, got {len(names)}")
    return names


def transformer_name(transformer) -> str:
    """What a transformer is called in a methods section."""
    if transformer is None:
        return "none"
    steps = [step for _, step in getattr(transformer, "steps", [("", transformer)])]
    return ", then ".join(type(step).__name__ for step in steps)
