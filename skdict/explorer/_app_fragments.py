"""Pieces of a page about one concept or one sample, as HTML whose texts are escaped."""

from __future__ import annotations

import base64
import html
import math

import numpy as np

MISSING = "–"


def escape(text) -> str:
    """Return any value as the text of an HTML page."""
    return html.escape(str(text), quote=True)


def number(value, digits: int = 3) -> str:
    """Return a number with so many significant digits, a dash where it is unknown."""
    if value is None or (isinstance(value, (float, np.floating)) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def value(entry):
    """Return an entry of the metadata, a dash where it is missing."""
    missing = entry is None or entry != entry  # NaN and NaT alone differ from themselves
    return MISSING if missing else entry


def share(value) -> str:
    """Return a share as a percentage."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.3g}%"


def note(text) -> str:
    """Return a remark in small letters."""
    return f'<p class="remark">{escape(text)}</p>'


def table(header, rows, *, numeric=()) -> str:
    """Return a plain table.

    Parameters
    ----------
    header : sequence of str
        Headings.
    rows : iterable of sequence
        Cells; those that begin with ``<`` as made by :func:`bar` are told by being `Markup`.
    numeric : collection of int
        Columns that are aligned to the right.

    Returns
    -------
    str
        The table, in a box that scrolls sideways.
    """
    kinds = [' class="number"' if i in numeric else "" for i in range(len(header))]
    head = "".join(f'<th scope="col"{k}>{escape(h)}</th>' for k, h in zip(kinds, header))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{_cell(c)}</td>" for k, c in zip(kinds, row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _cell(value) -> str:
    return str(value) if isinstance(value, Markup) else escape(value)


def bar(value, largest) -> Markup:
    """Return a bar from the middle of its cell: to the right for positive values."""
    if value is None or not math.isfinite(value) or not largest:
        return Markup(f'<span class="bar">{MISSING}</span>')
    width = 50 * min(abs(value) / largest, 1)
    side = f"left:50%;width:{width:.1f}%" if value >= 0 else f"right:50%;width:{width:.1f}%"
    kind = "up" if value >= 0 else "down"
    return Markup(
        f'<span class="bar"><i class="{kind}" style="{side}"></i><b>{number(value)}</b></span>'
    )


def histogram(counts, edges) -> str:
    """Return a histogram of codes as SVG, with its numbers as a description."""
    largest = max(int(np.max(counts, initial=0)), 1)
    width = 100 / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{i * width:.2f}" y="{40 * (1 - count / largest):.2f}" '
        f'width="{width * 0.9:.2f}" height="{40 * count / largest:.2f}"/>'
        for i, count in enumerate(counts)
    )
    title = f"{int(np.sum(counts)):,} active samples, codes from 0 to {number(float(edges[-1]))}"
    return (
        f'<figure class="histogram"><svg viewBox="0 0 100 40" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(title)}">{bars}</svg>'
        f"<figcaption><span>0</span><span>code</span>"
        f"<span>{number(float(edges[-1]))}</span></figcaption></figure>"
    )


def picture(bundle, sample, concept=None, *, caption=None, overlay: bool = True) -> str:
    """Return the picture of a sample, with the heatmap of a concept on it."""
    image = bundle.thumbnail(sample)
    heat = bundle.heatmap(concept, sample) if concept is not None and overlay else None
    caption = sample_name(bundle, sample) if caption is None else caption
    if image is None:
        shown = '<span class="blank">no picture</span>'
    else:
        shown = f'<img src="{data_uri(image)}" alt="{escape(caption)}">'
    if heat is not None:
        uri = data_uri(heat)
        style = f"mask-image:url({uri});-webkit-mask-image:url({uri})"
        shown += f'<span class="heat" style="{style}"></span>'
    caption = f"<figcaption>{escape(caption)}</figcaption>"
    return f'<figure class="picture"><div>{shown}</div>{caption}</figure>'


def data_uri(png: bytes) -> str:
    """Return a picture as an address that needs no server."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def sample_name(bundle, sample) -> str:
    """Return the name of a sample."""
    return str(bundle.samples["name"].iloc[sample])


def metadata_columns(bundle) -> list[str]:
    """Return the columns of the samples that are no number and no name."""
    return [name for name in bundle.samples.columns if name not in ("sample", "name")]


def sample_rows(bundle, samples, values=None, *, columns=None, named: bool = True) -> str:
    """Return a table of samples with their metadata."""
    columns = metadata_columns(bundle)[:6] if columns is None else columns
    found = bundle.samples.iloc[np.asarray(samples, dtype=int)]
    rows = []
    for place, (_, row) in enumerate(found.iterrows()):
        code = [] if values is None else [number(float(values[place]))]
        own = [value(row[name]) for name in columns]
        who = [int(row["sample"]), row["name"]] if named else [place + 1]
        rows.append([*who, *code, *own])
    header = ["sample", "name"] if named else ["example"]
    header += [*([] if values is None else ["code"]), *columns]
    return table(header, rows, numeric=(0,) if values is None else (0, 2))
