"""Pages that stand alone: one HTML file with its plots, tables and style inside.

Nothing is loaded from a network and no font is fetched, so a page opens from a file, behind a
firewall and in ten years. This module knows how a page looks; what it says is put together by
its callers from the blocks below (`paragraph`, `bullets`, `table`, `figure`, `cards`), which
escape all text they are given.
"""

from __future__ import annotations

import html
import io
import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from skdict._validation import import_optional
from skdict.display._files import check_writable, write_together

__all__ = [
    "Column", "Html", "Section", "bullets", "cards", "check_output_path", "details", "figure",
    "figures", "paragraph", "render_page", "table", "write_page",
]  # fmt: skip


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


class Section(NamedTuple):
    """A titled part of a page."""

    title: str
    """Heading of the section."""
    blocks: Sequence[Html]
    """What stands below it, in order."""


class Column(NamedTuple):
    """Heading of one column of a table."""

    header: str
    """Short heading."""
    note: str = ""
    """Unit or remark, set small below the heading."""
    group: str = ""
    """Heading above neighbouring columns of the same group."""
    numeric: bool = True
    """Whether cells are aligned to the right."""


def _escape(text) -> str:
    return str(text) if isinstance(text, Html) else html.escape(str(text))


def paragraph(text, *, kind: str = "") -> Html:
    """Return a paragraph.

    Parameters
    ----------
    text : str or Html
        What it says.
    kind : {"", "note", "warning"}, default=""
        How it looks.

    Returns
    -------
    Html
        The paragraph.

    Examples
    --------
    >>> from skdict.report import paragraph
    >>> paragraph("p < 0.05")
    '<p>p &lt; 0.05</p>'
    """
    attribute = f' class="{html.escape(kind)}"' if kind else ""
    return Html(f"<p{attribute}>{_escape(text)}</p>")


def bullets(items: Iterable) -> Html:
    """Return a bulleted list.

    Parameters
    ----------
    items : iterable of str or Html
        Its entries.

    Returns
    -------
    Html
        The list.
    """
    return Html("<ul>" + "".join(f"<li>{_escape(item)}</li>" for item in items) + "</ul>")


def details(summary, blocks: Sequence[Html]) -> Html:
    """Return blocks that are folded away behind one line.

    Parameters
    ----------
    summary : str or Html
        The line that is always seen.
    blocks : sequence of Html
        What it hides until it is clicked.

    Returns
    -------
    Html
        The folded blocks; no script is needed.
    """
    return Html(f"<details><summary>{_escape(summary)}</summary>{''.join(blocks)}</details>")


def cards(items: Iterable[tuple[str, Sequence[Html]]]) -> Html:
    """Return titled boxes that stand side by side where there is room.

    Parameters
    ----------
    items : iterable of (title, blocks)
        Title and content of each box.

    Returns
    -------
    Html
        The boxes.
    """
    boxes = "".join(
        f'<article class="card"><h3>{_escape(title)}</h3>{"".join(blocks)}</article>'
        for title, blocks in items
    )
    return Html(f'<div class="cards">{boxes}</div>')


def table(
    columns: Sequence[Column], rows: Iterable[Sequence], *, caption: str = "", breaks=()
) -> Html:
    """Return a table whose first column stays in view when it is scrolled sideways.

    Parameters
    ----------
    columns : sequence of Column
        The headings.
    rows : iterable of sequence
        The cells; text is escaped, `Html` is taken as it is.
    caption : str, default=""
        What the table shows.
    breaks : collection of int, default=()
        Indices of the rows that begin a new block and get a line above them.

    Returns
    -------
    Html
        The table in a box that scrolls sideways on narrow screens.

    Raises
    ------
    ValueError
        If a row has not one cell per column.

    Examples
    --------
    >>> from skdict.report import Column, table
    >>> print(table([Column("model", numeric=False), Column("dead")], [["PCA", 0]]))
    ... # doctest: +ELLIPSIS
    <div class="scroll" tabindex="0"><table><thead>...<th scope="row">PCA</th><td...>0</td>...
    """
    body = []
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"row {index} has {len(row)} cells for {len(columns)} columns")
        cells = "".join(
            _cell("td" if i else 'th scope="row"', column, _escape(cell))
            for i, (column, cell) in enumerate(zip(columns, row, strict=True))
        )
        kind = ' class="break"' if index in breaks else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    title = f"<caption><span>{_escape(caption)}</span></caption>" if caption else ""
    return Html(
        f'<div class="scroll" tabindex="0"><table>{title}<thead>{_table_head(columns)}</thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(tag: str, column: Column, content: str) -> str:
    kind = ' class="number"' if column.numeric else ""
    return f"<{tag}{kind}>{content}</{tag.split()[0]}>"


def _table_head(columns: Sequence[Column]) -> str:
    """Return one heading row, and a row of groups above it where there are groups."""
    lines = []
    if any(column.group for column in columns):
        runs = [(group, len(list(run))) for group, run in groupby(columns, lambda c: c.group)]
        lines.append(
            "".join(f'<th class="group" colspan="{n}">{_escape(group)}</th>' for group, n in runs)
        )
    lines.append("".join(_cell('th scope="col"', c, _heading(c)) for c in columns))
    return "".join(f"<tr>{line}</tr>" for line in lines)


def _heading(column: Column) -> str:
    note = f"<small>{_escape(column.note)}</small>" if column.note else ""
    return f"{_escape(column.header)}{note}"


def figure(plot, *, caption: str, description: str) -> Html:
    """Return a matplotlib figure as inline SVG that follows the page's light or dark colours.

    Parameters
    ----------
    plot : matplotlib Figure
        What to draw. Black parts take the colour of the page's text.
    caption : str
        Text below it.
    description : str
        What a reader who cannot see it should know; different for every figure of a page.

    Returns
    -------
    Html
        The figure.
    """
    matplotlib = import_optional("matplotlib", extra="plot")
    buffer = io.StringIO()
    # Glyphs as paths: the same picture on every machine, whatever fonts it has.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": description}):
        plot.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', markup).group(0)
    markup = markup[markup.index(">") + 1 :]
    markup = re.sub(r"<metadata>.*?</metadata>", "", markup, flags=re.DOTALL)
    markup = re.sub(r"<!--.*?-->", "", markup, flags=re.DOTALL)
    markup = re.sub(r"#000000\b", "currentColor", markup)
    # Matplotlib numbers its parts from 1 in every figure; on one page they must differ.
    prefix = f"p{zlib.crc32(description.encode()):x}-"
    markup = re.sub(r'(\bid="|href="#|url\(#)', lambda found: found.group(0) + prefix, markup)
    label = html.escape(description, quote=True)
    return Html(
        f'<figure><svg role="img" aria-label="{label}" {view_box}>{markup}'
        f"<figcaption>{_escape(caption)}</figcaption></figure>"
    )


def figures(items: Iterable[Html]) -> Html:
    """Return figures that stand side by side where there is room.

    Parameters
    ----------
    items : iterable of Html
        Results of `figure`.

    Returns
    -------
    Html
        The figures.
    """
    return Html(f'<div class="figures">{"".join(items)}</div>')


def render_page(
    title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = ""
) -> str:
    """Return a complete HTML page.

    Parameters
    ----------
    title : str
        Title of the page and its first heading.
    sections : sequence of Section
        The parts of the page; more than two get a table of contents.
    subtitle : str, default=""
        One line below the title.
    footer : str, default=""
        Last line: version, run time and the like.

    Returns
    -------
    str
        The page. It refers to nothing outside itself.

    Examples
    --------
    >>> from skdict.report import Section, paragraph, render_page
    >>> page = render_page("Wells & plates", [Section("Result", [paragraph("a < b")])])
    >>> "Wells &amp; plates" in page, "a &lt; b" in page
    (True, True)
    """
    contents = "".join(
        f'<a href="#section-{i}">{_escape(section.title)}</a>' for i, section in enumerate(sections)
    )
    body = "".join(
        f'<section id="section-{i}"><h2>{_escape(section.title)}</h2>{"".join(section.blocks)}'
        "</section>"
        for i, section in enumerate(sections)
    )
    navigation = f"<nav>{contents}</nav>" if len(sections) > 2 else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{_escape(title)}</h1><p>{_escape(subtitle)}</p></header>{navigation}"
        f"<main>{body}</main><footer>{_escape(footer)}</footer></body></html>\n"
    )


def check_output_path(path) -> Path:
    """Return `path` if a file can be written there, and raise OSError otherwise.

    Called before a long computation, so that nothing is lost to a misspelt folder. A file that
    is there already is left untouched.

    Parameters
    ----------
    path : str or Path
        The file to be written later.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OSError
        If the path is empty or a folder, or its folder is missing or closed to writing.
    """
    if not str(path):  # Path("") is the current folder
        raise FileNotFoundError("the output path is empty; name a file, such as report.html")
    path = Path(path)
    check_writable(path)
    return path


def write_page(path, page: str) -> Path:
    """Write a page in one move, so that a reader never sees half of it.

    Parameters
    ----------
    path : str or Path
        The file to write; one that is there is replaced.
    page : str
        The page.

    Returns
    -------
    Path
        The absolute path of the file.

    Raises
    ------
    OSError
        If it cannot be written; a file that was there before is then unchanged.
    """
    path = Path(path).resolve()
    write_together({path: page.encode()})
    return path


_STYLE = """
:root { color-scheme: light dark; --ink: #1b2027; --soft: #57606c; --line: #d9dee5;
  --paper: #ffffff; --panel: #f5f7f9; --accent: #0b62a4; --warn: #8a4b00; --warn-paper: #fff5e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a3adb9; --line: #363e48;
  --paper: #14181d; --panel: #1c2229; --accent: #6fb7ee; --warn: #f2c078; --warn-paper: #2d2415; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 3rem; max-width: 78rem;
  background: var(--paper); color: var(--ink); overflow-wrap: break-word;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: clamp(1.5rem, 4vw, 2.1rem); line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.6rem; padding-top: 0.6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 0.4rem; }
header p, footer, figcaption, caption, small, .note { color: var(--soft); }
p, ul { max-width: 82ch; margin: 0.6rem 0; }
ul { padding-left: 1.3rem; }
li { margin: 0.3rem 0; }
.note, figcaption, caption, footer { font-size: 0.88rem; }
.warning { padding: 0.7rem 0.9rem; border-left: 4px solid var(--warn); border-radius: 4px;
  background: var(--warn-paper); }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 1rem 0; }
a { color: var(--accent); }
.scroll { overflow-x: auto; margin: 1rem 0; width: fit-content; max-width: 100%;
  border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0.7rem 0.8rem; caption-side: top; }
caption span { display: block; position: sticky; left: 0.8rem;
  max-width: min(82ch, calc(100vw - 4rem)); }
th, td { padding: 0.35rem 0.7rem; text-align: left; vertical-align: baseline; }
thead th { font-weight: 600; vertical-align: bottom; border-bottom: 1px solid var(--line);
  background: var(--panel); }
thead small { display: block; font-weight: 400; }
th.group { text-align: center; border-left: 1px solid var(--line); }
th.group:first-child, th.group:empty { border-left: 0; }
.number { text-align: right; }
td.number { white-space: nowrap; }
thead th.number { min-width: 4.5rem; }
tbody th { font-weight: 600; white-space: nowrap; position: sticky; left: 0;
  background: var(--paper); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody tr.break > * { border-top: 2px solid var(--soft); }
tbody small { display: block; font-weight: 400; white-space: nowrap; }
.figures { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
figure { margin: 0.6rem 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; fill: currentColor; }
.cards { display: grid; gap: 1rem;
  align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); }
.card { padding: 0.9rem 1rem; border: 1px solid var(--line); border-radius: 6px; min-width: 0;
  background: var(--panel); font-size: 0.92rem; }
.card .scroll { background: var(--paper); width: auto; }
.card table { font-size: 0.8rem; }
.card th, .card td { padding: 0.25rem 0.5rem; }
.card tbody th { white-space: normal; font-weight: 400; overflow-wrap: anywhere; }
details > summary { cursor: pointer; color: var(--accent); margin: 0.4rem 0; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 0.8rem; }
@media (max-width: 40rem) { tbody th, tbody th small { white-space: normal; }
  tbody th { min-width: 7rem; max-width: 9rem; }
  .card tbody th { max-width: none; overflow-wrap: break-word; } }
@media print { .scroll { overflow: visible; } .card, figure { break-inside: avoid; } }
"""
