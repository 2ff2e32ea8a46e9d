"""What TIFF and OME-Zarr files have in common: axes, channels, levels, and damage."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np


class StoredImage(NamedTuple):
    """An image file that is open; pixels are read when they are asked for."""

    path: str
    """Where it lies."""
    kind: str
    """"TIFF" or "OME-Zarr"."""
    axes: str
    """A letter per axis, such as "CYX"."""
    shapes: list[tuple[int, ...]]
    """Shape of each level, the largest first."""
    dtype: np.dtype
    """Type of the pixels."""
    channels: list[str] | None
    """Names of the channels, where the file has them."""
    level: Callable[[int], Any]
    """Array of a level; it may be one that reads on indexing."""


@contextmanager
def reading(path, kind: str):
    """Turn whatever a library raises about a file that it cannot read into one error."""
    try:
        yield
    except (ImportError, MemoryError, PermissionError, Warning):
        raise
    except Exception as error:
        remedy = "the file may be damaged or cut short: copy it again"
        if "imagecodecs" in str(error):
            remedy = "pip install imagecodecs, or write the file without this compression"
        raise ValueError(
            f"{str(path)!r} cannot be read as {kind} ({type(error).__name__}: {error}); {remedy}"
        ) from error


def read_channels(stored: StoredImage, channels, level: int, index, names) -> np.ndarray:
    """Pixels of some channels of a level, shape (n_channels, height, width)."""
    if isinstance(level, bool) or not isinstance(level, Integral):
        raise TypeError(f"level must be an integer, got {level!r}")
    if not 0 <= level < len(stored.shapes):
        raise ValueError(
            f"level must be 0 to {len(stored.shapes) - 1}, the levels of {stored.path!r}, got "
            f"{level!r}"
        )
    letter, place = _places(stored, index or {})
    n_channels = 1 if letter is None else stored.shapes[0][stored.axes.index(letter)]
    names = stored.channels if names is None else names
    chosen = locate_channels(channels, names, n_channels, stored.path)
    kept = "".join(axis for axis in stored.axes if not isinstance(place[axis], int))
    with reading(stored.path, stored.kind):
        pixels = stored.level(level)
        if chosen is None:
            image = np.asarray(pixels[tuple(place[axis] for axis in stored.axes)])
            image = image if letter else image[None]
            kept = kept if letter else "C" + kept
            return image.transpose([kept.index(axis) for axis in (letter or "C", "Y", "X")])
        planes = []
        for channel in chosen:
            where = place | ({} if letter is None else {letter: channel})
            planes.append(np.asarray(pixels[tuple(where[axis] for axis in stored.axes)]))
    turned = kept.index("Y") > kept.index("X")
    return np.stack([plane.T if turned else plane for plane in planes])


def _places(stored: StoredImage, index) -> tuple[str | None, dict]:
    """The axis of the channels, and what to take of every axis."""
    axes, shape = stored.axes, stored.shapes[0]
    sizes = dict(zip(axes, shape, strict=True))
    unknown = sorted(set(index) - (set(axes) - set("YX")))
    if unknown:
        raise ValueError(
            f"index names {', '.join(map(repr, unknown))}, but {stored.path!r} has the axes "
            f"{axes!r}; Y and X are read whole"
        )
    if not {"Y", "X"} <= set(axes):
        raise ValueError(f"{stored.path!r} must have axes Y and X, got {axes!r} of shape {shape}")
    letters = [axis for axis in "CS" if axis in sizes and axis not in index]
    if len(letters) == 2:
        letters = [axis for axis in letters if sizes[axis] > 1] or ["C"]
    place: dict = {axis: slice(None) for axis in axes}
    for axis in set(axes) - set("YX") - set(letters[:1]):
        position = index.get(axis)
        if position is None and sizes[axis] > 1:
            raise ValueError(
                f"{stored.path!r} has axes {axes!r} of shape {shape}, and {axis!r} is no channel: "
                f"pass index={{{axis!r}: 0}} for one position along it, or axes= to say what "
                f"the axes are (C is the channel)"
            )
        position = 0 if position is None else position
        if not -sizes[axis] <= position < sizes[axis]:
            raise ValueError(
                f"index must be below {sizes[axis]} along {axis!r} of {stored.path!r}, got "
                f"{position!r}"
            )
        place[axis] = int(position)
    return (letters[0] if letters else None), place


def locate_channels(channels, names, n_channels: int, path) -> list[int] | None:
    """Numbers of the channels asked for; None for all.

    Parameters
    ----------
    channels : sequence of str or int, str, int or None
        Names or numbers.
    names : sequence of str or None
        Names of all channels.
    n_channels : int
        How many there are.
    path : str
        Where, for the messages.

    Returns
    -------
    list of int or None
        The numbers.

    Raises
    ------
    ValueError
        If a channel does not exist; the message lists those that do, and the closest name.
    """
    if names is not None and len(names) != n_channels:
        raise ValueError(
            f"channel_names must have one name per channel: got {len(names)} for the {n_channels} "
            f"channels of {path!r}"
        )
    if channels is None:
        return None
    channels = [channels] if isinstance(channels, (str, Integral)) else list(channels)
    if not channels:
        raise ValueError("channels must name at least one channel, or be None for all")
    return [_locate(channel, names, n_channels, path) for channel in channels]


def _locate(channel, names, n_channels: int, path) -> int:
    if isinstance(channel, Integral) and not isinstance(channel, bool):
        number = int(channel)
        if not 0 <= number < n_channels:
            raise ValueError(
                f"channels must be 0 to {n_channels - 1}, the channels of {path!r}, got {number}"
            )
        return number
    if names is None:
        raise ValueError(
            f"channels names {channel!r}, but {path!r} has no channel names: pass its "
            f"{n_channels} names as channel_names=, or numbers as channels="
        )
    names = [str(name) for name in names]
    matches = [i for i, name in enumerate(names) if name == channel]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"channels names {channel!r}, which {path!r} has more than once: {names}")
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(str(channel).casefold(), folded, n=1)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    raise ValueError(
        f"channel {channel!r} is missing in {path!r}; it has {', '.join(map(repr, names))}{hint}"
    )
