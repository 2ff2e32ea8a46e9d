"""Several stains as one picture, in colours that stay apart."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from skdict._validation import check_real, host_array
from skdict.imaging._get_image import ImageSource
from skdict.imaging._stored_image import locate_channels

# Okabe and Ito's colours, which stay apart under the common colour-vision deficiencies. Their dark
# blue is too dark on black for nuclei. Actin is the A of AGP.
COLORS = {
    "DNA": "#56B4E9",
    "ER": "#009E73",
    "RNA": "#F0E442",
    "AGP": "#D55E00",
    "Actin": "#D55E00",
    "Mito": "#CC79A7",
}
# For stains of other names, these come first.
_FURTHER = ("#E69F00", "#0072B2")
BRIGHTFIELD = "Brightfield"
_GREY = "#999999"
_SYNONYMS = {
    "dapi": "DNA",
    "hoechst": "DNA",
    "nucleus": "DNA",
    "nuclei": "DNA",
    "golgi": "AGP",
    "membrane": "AGP",
    "mitochondria": "Mito",
    "bf": BRIGHTFIELD,
}
# Pixels of each channel that decide the limits of contrast.
_MAX_PIXELS = 1 << 20


def composite(
    image, *, channels=None, show=None, colors=None, limits=None, gamma: float = 1.0
) -> np.ndarray:
    r"""Colour picture of a fluorescence image: the sum of its stains, each in a colour of its own.

    .. math::

       \text{rgb} = \min\left(1,\; w \sum_c \text{color}_c\, v_c^{\gamma}\right), \qquad
       v_c = \text{clip}\left(\frac{x_c - \text{low}_c}{\text{high}_c - \text{low}_c}, 0, 1\right)

    with w = 1 for up to three stains and 2 / (n - 1) for n, so that a place which has all of them
    is not plain white. Colours are those of Okabe and Ito. Three numbers per pixel cannot keep
    five stains apart, whatever the colours: look at single stains before you believe a colour.

    Parameters
    ----------
    image : array-like, shape (n_channels, height, width)
        The image.
    channels : sequence of str, or None, default=None
        Names of its channels. Cell Painting stains have colours by their name (DNA, ER, RNA, AGP,
        Mito, Actin), other names get those that are left, in order. Actin and AGP have one colour;
        where there are both, the second gets another.
    show : sequence of str or int, or None, default=None
        Channels to add up; None is all but the channel "Brightfield", which is no stain.
    colors : dict of str, sequence, or None, default=None
        Colour by name, or one for each channel: ``"#rrggbb"`` or (red, green, blue) in [0, 1].
        None takes the colours above.
    limits : array-like, shape (n_channels, 2), or None, default=None
        Values of each channel that are black and of full colour. None takes those of this image
        (:func:`channel_limits`), so that two pictures cannot be compared by their brightness.
    gamma : float, default=1.0
        Exponent; below 1 lifts what is dim.

    Returns
    -------
    ndarray of float32, shape (height, width, 3)
        Red, green and blue in [0, 1]. A constant channel and pixels that are NaN or infinite are
        black.

    Raises
    ------
    ValueError
        If shapes do not fit, a channel does not exist, or a colour or limit is none.

    See Also
    --------
    channel_limits : Limits that several images share.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import composite
    >>> image = np.array([[[0.0, 1.0]], [[2.0, 0.0]]])
    >>> composite(image, colors=["#ff0000", "#0000ff"], limits=[(0, 1), (0, 2)]).tolist()
    [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
    """
    image = ImageSource([host_array(image, name="image")], name="image")[0]
    check_real("gamma", gamma, 0.0, np.inf, open_low=True)
    names = _names(channels, len(image))
    shown = _shown(show, names, len(image))
    rgb = channel_colors(names, colors)
    limits = channel_limits([image]) if limits is None else _check_limits(limits, len(image))
    weight = min(1.0, 2 / max(1, len(shown) - 1))
    picture = np.zeros((*image.shape[1:], 3), dtype=np.float32)
    for channel in shown:
        value = scaled(image[channel], limits[channel])
        if gamma != 1:
            value **= gamma
        picture += value[..., None] * (weight * rgb[channel])
    return np.minimum(picture, 1.0, out=picture)


def channel_limits(images, *, percentiles=(0.5, 99.8), n_images: int | None = None) -> np.ndarray:
    """Limits of contrast that several images share, so that their brightness compares.

    Parameters
    ----------
    images : array-like, shape (n_images, n_channels, height, width), or sequence or callable
        The images, or ``get_image(i)``.
    percentiles : tuple of (float, float), default=(0.5, 99.8)
        Percentiles of all finite pixels of a channel that become black and full colour.
    n_images : int or None, default=None
        Number of images of a callable without a length.

    Returns
    -------
    ndarray of float64, shape (n_channels, 2)
        Low and high limit of each channel; both are 0 for a channel without finite pixels. Of
        many images every k-th pixel is looked at, about a million of each channel.

    Raises
    ------
    TypeError, ValueError
        If images differ in their channels, or the percentiles are not two numbers in order.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import channel_limits
    >>> channel_limits(np.arange(201.0).reshape(1, 1, 3, 67), percentiles=(1, 99)).tolist()
    [[2.0, 198.0]]
    """
    low, high = percentiles
    for percentile in (low, high):
        check_real("percentiles", percentile, 0.0, 100.0)
    if low >= high:
        raise ValueError(f"percentiles must be two numbers in order, got {percentiles!r}")
    source = ImageSource(images, n_images)
    parts: list[np.ndarray] = []
    for i in range(len(source)):
        image = source[i]
        # Odd, or rows of 2^k pixels would be looked at in a few columns only.
        step = -(-image[0].size * len(source) // _MAX_PIXELS) | 1
        parts.append(image.reshape(len(image), -1)[:, ::step])
        if len(parts[i]) != len(parts[0]):
            raise ValueError(
                f"images must all have the {len(parts[0])} channels of image 0, image {i} has "
                f"{len(parts[i])}"
            )
    limits = np.zeros((len(parts[0]), 2))
    for channel, values in enumerate(np.concatenate(parts, axis=1).astype(np.float64)):
        values = values[np.isfinite(values)]
        if values.size:
            limits[channel] = np.percentile(values, percentiles)
    return limits


def scaled(channel: np.ndarray, limits) -> np.ndarray:
    """One channel between its limits as float32 in [0, 1]; 0 where it is constant or not finite."""
    low, high = limits
    if not high > low:
        return np.zeros(channel.shape, dtype=np.float32)
    value = (channel.astype(np.float64) - low) / (high - low)
    value = np.where(np.isfinite(value), value, 0.0)
    return np.clip(value, 0.0, 1.0).astype(np.float32)


def channel_colors(names, colors=None) -> np.ndarray:
    """Colour of each channel.

    Parameters
    ----------
    names : sequence of str
        Names of the channels.
    colors : dict, sequence or None, default=None
        As in :func:`composite`.

    Returns
    -------
    ndarray of float32, shape (n_channels, 3)
        Red, green and blue in [0, 1].

    Raises
    ------
    ValueError
        If a colour is none, or names or numbers do not fit the channels.
    """
    chosen: list = [None] * len(names)
    if isinstance(colors, dict):
        unknown = [name for name in colors if name not in names]
        if unknown:
            raise ValueError(
                f"colors names {', '.join(map(repr, unknown))}, but the channels are "
                f"{', '.join(map(repr, names))}"
            )
        chosen = [colors.get(name) for name in names]
    elif colors is not None:
        chosen = list(colors)
        if len(chosen) != len(names):
            raise ValueError(
                f"colors must have one entry per channel: got {len(chosen)} for {len(names)} "
                "channels"
            )
    defaults = _defaults([_known(name) for name in names])
    return np.array(
        [
            _rgb(default if color is None else color)
            for color, default in zip(chosen, defaults, strict=True)
        ],
        dtype=np.float32,
    )


def _known(name: str) -> str:
    """Name under which a stain has its colour, or the name itself."""
    folded = name.casefold()
    for known in (*COLORS, BRIGHTFIELD):
        if folded == known.casefold():
            return known
    return _SYNONYMS.get(folded, name)


def _defaults(names) -> list[str]:
    """A colour per stain: its own if no stain before it has taken that, or one that is left."""
    own = [_GREY if name == BRIGHTFIELD else COLORS.get(name) for name in names]
    left = cycle([c for c in (*_FURTHER, *dict.fromkeys(COLORS.values())) if c not in own])
    colors: list[str] = []
    for color in own:
        colors.append(next(left) if color is None or color in colors else color)
    return colors


def _rgb(color) -> np.ndarray:
    if isinstance(color, str):
        digits = color.removeprefix("#")
        try:
            if len(digits) == 6:
                return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        except ValueError:
            pass
        raise ValueError(f'colors must be "#rrggbb" or (red, green, blue), got {color!r}')
    values = np.asarray(color, dtype=float)
    if values.shape != (3,) or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f'colors must be "#rrggbb" or (red, green, blue) in [0, 1], got {color!r}')
    return values


def _names(channels, n_channels: int) -> list[str]:
    if channels is None:
        return [f"channel {i}" for i in range(n_channels)]
    names = [str(name) for name in channels]
    if len(names) != n_channels:
        raise ValueError(
            f"channels must have one name per channel: got {len(names)} for an image of "
            f"{n_channels} channels"
        )
    return names


def _shown(show, names, n_channels: int) -> list[int]:
    if show is not None:
        return locate_channels(show, names, n_channels, "the image") or []
    stains = [i for i, name in enumerate(names) if _known(name) != BRIGHTFIELD]
    return stains or list(range(n_channels))


def _check_limits(limits, n_channels: int) -> np.ndarray:
    values = np.asarray(limits, dtype=np.float64)
    if values.shape != (n_channels, 2) or not np.isfinite(values).all():
        raise ValueError(
            f"limits must hold two finite numbers per channel, shape ({n_channels}, 2), got shape "
            f"{values.shape}; channel_limits computes them"
        )
    return values
