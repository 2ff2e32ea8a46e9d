"""First view of the static pages: the table of the concepts, how to read it, the search box."""

from __future__ import annotations

import html
import math

from skdict.explorer._static_context import PageContext
from skdict.explorer._static_plots import number, share
from skdict.report import Column, Html, Section, bullets, paragraph, table

HOW_TO_READ = (
    "A concept is active in a sample where its code is above 0. Frequency is the share of all "
    "samples in which it is active.",
    "Selectivity is the share of a label's samples in which the concept is active minus that of "
    "all other samples: 1 is a perfect marker, 0 says nothing. The table shows the largest over "
    "all labels, which is optimistic; its p-value is corrected for that.",
    "Top examples are chosen by the concept, so they do not test it: look at the bands of "
    "activation, at the random examples and at the inactive ones, too.",
    "A name given here is a hypothesis of whoever gave it.",
)
HEATMAPS = (
    "Heatmaps over the grey pictures show where a concept is active, in vermilion; one scale for "
    "all examples of a concept, interpolated for the eye only. A switch above the examples takes "
    "them away."
)
_MISSING = ""  # sorts last


def overview(context: PageContext) -> Section:
    """Table of the concepts with its search box.

    Parameters
    ----------
    context : PageContext
        The concepts.

    Returns
    -------
    Section
        The section.
    """
    makers = [maker for maker in _COLUMNS if maker.there(context)]
    columns = [maker.column for maker in makers]
    concepts = context.bundle.concepts
    rows = [
        [maker.cell(context, concepts.iloc[concept]) for maker in makers]
        for concept in context.chosen
    ]
    # Without the script there is nothing to search with, so the box is not seen.
    tools = Html(
        '<div class="tools" hidden><label for="search">Search</label><input type="search" '
        'id="search" placeholder="label, gene, pathway, name or note" autocomplete="off">'
        f'<p id="shown" role="status">{len(rows)} concepts</p></div>'
    )
    blocks = [tools, Html(f'<div id="overview">{table(columns, rows)}</div>')]
    if context.bundle.description:
        text = html.escape(context.bundle.description)
        blocks.insert(0, Html(f'<p class="note-text">{text}</p>'))
    if len(rows) < context.bundle.n_concepts:
        left = context.bundle.n_concepts - len(rows)
        blocks.append(
            paragraph(f"{left:,} further concepts of the bundle are not shown here.", kind="note")
        )
    return Section("Concepts", blocks)


def how_to_read(context: PageContext) -> Section:
    """What the numbers and pictures mean.

    Parameters
    ----------
    context : PageContext
        The concepts.

    Returns
    -------
    Section
        The section.
    """
    more = [HEATMAPS] if context.bundle.has("heatmaps") else []
    if len(context.chosen) < context.bundle.n_concepts:
        more.append("Related concepts without a link are not shown here.")
    return Section("How to read this", [bullets([*HOW_TO_READ, *more])])


class _Maker:
    """One column of the table: whether it is there, and its cells."""

    def __init__(self, column: Column, cell, there=lambda context: True):
        self.column, self.cell, self.there = column, cell, there


def _data(value, text: str) -> Html:
    """A cell that is sorted by `value`."""
    known = value is not None and not (isinstance(value, float) and math.isnan(value))
    key = repr(value) if known else _MISSING
    return Html(f'<data value="{key}">{html.escape(text)}</data>')


def _number(name: str, digits: str = ".2f"):
    def cell(context, row):
        value = float(row[name])
        return _data(value, number(value, digits))

    return cell


def _concept(context: PageContext, row) -> Html:
    concept = int(row["concept"])
    link = context.link(concept, str(concept))
    name = html.escape(context.name(concept))
    words = [str(concept), name, *_words(context, row)]
    return Html(
        f'<data value="{concept}">{link}</data>{f"<small>{name}</small>" if name else ""}'
        f'<span class="find" hidden>{" | ".join(words)}</span>'
    )


def _words(context: PageContext, row) -> list[str]:
    """Texts that the search looks at, escaped."""
    concept = int(row["concept"])
    bundle = context.bundle
    words = [row["name"], row["best_label_column"]]
    for column in bundle.label_columns:
        place = int(bundle.best_labels(column)[concept])
        words += [bundle.labels(column)[place]] if place >= 0 else []
    for part, column, found in (
        ("genes", "gene", bundle.genes(concept)),
        ("pathways", "gene_set", bundle.pathways(concept)),
    ):
        if found is not None:
            words += found[column].tolist()
        words.append(row["top_genes" if part == "genes" else "top_pathway"])
    for note in context.notes_on(concept):
        words += [note.name, note.text, note.expert, *note.tags]
    return [html.escape(word) for word in dict.fromkeys(map(str, words)) if word]


def _label(context: PageContext, row) -> Html:
    if not row["best_label"]:
        return _data(None, "–")
    label, column = html.escape(row["best_label"]), html.escape(row["best_label_column"])
    return Html(f"{label}<small>{column}</small>")


def _pathway(context: PageContext, row) -> Html:
    if not row["top_pathway"]:
        return _data(None, "–")
    value = number(float(row["top_pathway_q"]), ".2g")
    return Html(f"{html.escape(row['top_pathway'])}<small>q = {value}</small>")


def _rating(context: PageContext, row) -> Html:
    found = context.summary.get(int(row["concept"]))
    if found is None:
        return _data(None, "–")
    experts = f"{found.n_experts} expert{'s' if found.n_experts > 1 else ''}"
    value = float(found.rating)
    return Html(f"{_data(value, number(value, '.2g'))}<small>{experts}</small>")


def _known(name: str):
    return lambda context: bool(context.bundle.concepts[name].notna().any())


_COLUMNS = (
    _Maker(Column("concept", numeric=False), _concept),
    _Maker(
        Column("frequency", "share of samples"),
        lambda context, row: _data(float(row["frequency"]), share(row["frequency"])),
    ),
    _Maker(
        Column("best label", numeric=False), _label,
        lambda context: bool(context.bundle.label_columns),
    ),
    _Maker(Column("selectivity"), _number("selectivity"), _known("selectivity")),
    _Maker(
        Column("p", "corrected"), _number("selectivity_p", ".2g"), _known("selectivity_p")
    ),
    _Maker(
        Column("top pathway", numeric=False), _pathway,
        lambda context: context.bundle.has("pathways"),
    ),
    _Maker(
        Column("top genes", numeric=False),
        lambda context, row: row["top_genes"] or _data(None, "–"),
        lambda context: context.bundle.has("genes"),
    ),
    _Maker(Column("stability"), _number("stability"), _known("stability")),
    _Maker(Column("rating", "1 to 5"), _rating, lambda context: bool(context.notes)),
)  # fmt: skip
