"""Plots of the static pages: bars and histograms as SVG, the map of the samples as pixels."""

from __future__ import annotations

import html

import numpy as np

from skdict.explorer._static_pictures import palette_png
from skdict.report import Html

MAP_SIZE = (480, 360)  # width and height in pixels
_SHADES = 15
_FEW = 3000  # samples of which the dots are drawn larger


def number(value, digits: str = ".3g") -> str:
    """A number as text; a dash for NaN.

    Parameters
    ----------
    value : float
        The number.
    digits : str, default=".3g"
        How it is written.

    Returns
    -------
    str
        The text.
    """
    return "–" if value != value else f"{value:{digits}}"


def share(value: float) -> str:
    """A share of samples in percent, so that a rare concept is not taken for a dead one.

    Parameters
    ----------
    value : float
        The share, 0 to 1.

    Returns
    -------
    str
        The text.
    """
    return "<0.01%" if 0 < value < 0.00005 else f"{value:.2%}"


def with_bar(value: float, largest: float, *, signed: bool, digits: str = "z.2f") -> Html:
    """Cell of a table with a number and a bar.

    Parameters
    ----------
    value : float
        The number; NaN has no bar.
    largest : float
        Absolute value that a full bar stands for.
    signed : bool
        Whether 0 lies in the middle and not on the left.
    digits : str, default="z.2f"
        How the number is written.

    Returns
    -------
    Html
        The cell.
    """
    if value != value:
        return Html("–")
    zero, full = (50.0, 50.0) if signed else (0.0, 100.0)
    width = min(1.0, abs(value) / largest) * full if largest > 0 else 0.0
    left = zero - width if value < 0 else zero
    kind = "minus" if value < 0 else "plus"
    return Html(
        f'<span class="with-bar">{number(value, digits)}<svg class="bar" viewBox="0 0 100 10" '
        f'preserveAspectRatio="none" aria-hidden="true"><rect class="{kind}" x="{left:.1f}" y="1" '
        f'width="{width:.1f}" height="8"></rect><line x1="{zero:g}" x2="{zero:g}" y1="0" y2="10">'
        "</line></svg></span>"
    )


def histogram(counts: np.ndarray, edges: np.ndarray, label: str) -> Html:
    """Histogram of the codes of a concept.

    Parameters
    ----------
    counts : ndarray of int, shape (n_bins,)
        Samples in each bin.
    edges : ndarray, shape (n_bins + 1,)
        Edges of the bins.
    label : str
        What the codes are of.

    Returns
    -------
    Html
        A figure.
    """
    width, height, left, top, bottom = 420, 190, 48, 12, 24
    step, tallest = (width - left - 10) / len(counts), max(int(counts.max()), 1)
    scale = (height - top - bottom) / tallest
    base = height - bottom
    bars = "".join(
        f'<rect x="{left + i * step:.1f}" y="{base - n * scale:.1f}" width="{step - 1:.1f}" '
        f'height="{n * scale:.1f}"><title>{number(low)} to {number(high)}: {n:,}</title></rect>'
        for i, (n, low, high) in enumerate(
            zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist())
        )
        if n
    )
    right = width - 10
    texts = [
        (left - 6, top + 8, "end", f"{tallest:,}"), (left - 6, base, "end", "0"),
        (left, height - 7, "start", "0"), (right, height - 7, "end", number(float(edges[-1]))),
        ((left + right) / 2, height - 7, "middle", "activation"),
    ]  # fmt: skip
    marks = "".join(
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{text}</text>'
        for x, y, anchor, text in texts
    )
    total = int(counts.sum())
    most = int(counts.argmax())
    about = (
        f"Histogram of the activations of {label} in {total:,} samples, from 0 to "
        f"{number(float(edges[-1]))}; most of them, {tallest:,}, lie between "
        f"{number(float(edges[most]))} and {number(float(edges[most + 1]))}"
    )
    return Html(
        f'<figure class="histogram"><svg role="img" aria-label="{html.escape(about)}" '
        f'viewBox="0 0 {width} {height}">{bars}<line x1="{left}" x2="{right}" y1="{base}" '
        f'y2="{base}"></line>{marks}</svg><figcaption>Samples by activation, the {total:,} '
        "active ones.</figcaption></figure>"
    )


def map_pixels(places: np.ndarray) -> np.ndarray:
    """Pixel of each sample on the map, the axes stretched to its frame.

    Parameters
    ----------
    places : ndarray, shape (n_samples, 2)
        Places on the map.

    Returns
    -------
    ndarray of int32, shape (n_samples, 2)
        Column and row; -1 for a sample without a place.
    """
    places = np.asarray(places, dtype=np.float64)
    known = np.isfinite(places).all(axis=1)
    pixels = np.full(places.shape, -1, dtype=np.int32)
    if not known.any():
        return pixels
    low, high = places[known].min(axis=0), places[known].max(axis=0)
    unit = (places[known] - low) / np.where(high > low, high - low, 1.0)
    unit[:, 1] = 1 - unit[:, 1]  # rows of a picture go down
    pixels[known] = np.rint(4 + unit * (np.array(MAP_SIZE) - 9))
    return pixels


def map_background(pixels: np.ndarray) -> bytes:
    """All samples in grey, darker where they are dense.

    Parameters
    ----------
    pixels : ndarray of int, shape (n_samples, 2)
        Result of `map_pixels`.

    Returns
    -------
    bytes
        PNG.
    """
    width, height = MAP_SIZE
    counts = np.zeros((height, width))
    x, y = pixels[pixels[:, 0] >= 0].T
    for dx, dy in _dot(1 if len(pixels) <= _FEW else 0):
        np.add.at(counts, (y + dy, x + dx), 1)
    level = np.log1p(counts) / np.log1p(max(counts.max(), 1))
    shades = np.where(counts > 0, 1 + np.round(level * (_SHADES - 1)), 0).astype(np.uint8)
    opacity = [0.0, *np.linspace(0.3, 0.75, _SHADES)]
    return palette_png(shades, opacity, (128, 128, 128))


def map_activation(pixels: np.ndarray, samples: np.ndarray, values: np.ndarray) -> bytes:
    """The active samples of a concept, stronger colour for larger codes, on nothing.

    Parameters
    ----------
    pixels : ndarray of int, shape (n_samples, 2)
        Result of `map_pixels`.
    samples : ndarray of int, shape (n_active,)
        The samples.
    values : ndarray, shape (n_active,)
        Their codes.

    Returns
    -------
    bytes
        PNG.
    """
    width, height = MAP_SIZE
    shades = np.zeros((height, width), dtype=np.uint8)
    placed = pixels[samples, 0] >= 0
    x, y = pixels[samples[placed]].T
    if len(x):
        shade = (1 + np.round(values[placed] / values.max() * (_SHADES - 1))).astype(np.uint8)
        for dx, dy in _dot(2 if len(pixels) <= _FEW else 1):
            np.maximum.at(shades, (y + dy, x + dx), shade)
    return palette_png(shades, [0.0, *np.linspace(0.4, 1.0, _SHADES)])


def _dot(radius: int) -> list[tuple[int, int]]:
    """Pixels of a dot around its middle."""
    reach = range(-radius, radius + 1)
    return [(dx, dy) for dx in reach for dy in reach if dx * dx + dy * dy <= radius * radius + 1]
