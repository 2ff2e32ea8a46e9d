"""What the static pages say of one concept."""

from __future__ import annotations

import html
import math

import numpy as np

from skdict.explorer._static_context import PageContext
from skdict.explorer._static_examples import examples
from skdict.explorer._static_plots import (
    histogram,
    map_activation,
    map_background,
    number,
    share,
    with_bar,
)
from skdict.report import Column, Html, Section, figures, paragraph, table

_MOST_LABELS = 8  # largest selectivities of a label column
_LEAST_LABELS = 3  # and smallest


def concept_parts(context: PageContext, concept: int) -> list[Section]:
    """Parts of the page of a concept that have something to say.

    Parameters
    ----------
    context : PageContext
        The concepts.
    concept : int
        The concept.

    Returns
    -------
    list of Section
        The parts.
    """
    parts = [
        Section("Summary", [_facts(context, concept), *_notes(context, concept)]),
        Section("Examples", examples(context, concept)),
        Section("Where it is active", _where(context, concept)),
        Section("Labels", _labels(context, concept)),
        Section("Genes", _genes(context, concept)),
        Section("Pathways", _pathways(context, concept)),
        Section("Related concepts", _related(context, concept)),
    ]
    return [part for part in parts if part.blocks]


def _facts(context: PageContext, concept: int) -> Html:
    row = context.bundle.concepts.iloc[concept]
    n_active, n_samples = int(row["n_active"]), context.bundle.n_samples
    texts = [f"Active in {n_active:,} of {n_samples:,} samples ({share(row['frequency'])})"]
    if n_active:
        mean, largest = float(row["mean_activation"]), float(row["max_activation"])
        texts[0] += f", there {number(mean)} on average and {number(largest)} at most"
    if row["best_label"]:
        p = float(row["selectivity_p"])
        test = "" if math.isnan(p) else f" (p = {number(p, '.2g')}, corrected)"
        label = f"{row['best_label_column']} = {row['best_label']}"
        texts.append(
            f"most selective for {label}: {number(float(row['selectivity']), '.2f')}{test}"
        )
    if not math.isnan(row["stability"]):
        texts.append(f"stability {number(float(row['stability']), '.2f')}")
    return paragraph("; ".join(texts) + ".")


def _notes(context: PageContext, concept: int) -> list[Html]:
    """One block per expert; everything as plain text, links too."""
    blocks = []
    for note in context.notes_on(concept):
        rating = "" if note.rating is None else f"rated {note.rating} of 5"
        sure = "" if note.confidence is None else f"confidence {note.confidence:g}"
        head = [note.name, rating, sure, ", ".join(note.tags)]
        first = " · ".join(html.escape(text) for text in head if text)
        text = f'<p class="note-text">{html.escape(note.text)}</p>' if note.text else ""
        who = f"<small>{html.escape(note.expert)}, {html.escape(note.time[:10])}</small>"
        blocks.append(Html(f"<blockquote><p><b>{first}</b></p>{text}{who}</blockquote>"))
    return blocks


def _where(context: PageContext, concept: int) -> list[Html]:
    samples, values = context.bundle.activations(concept)
    blocks = []
    if context.pixels is not None:
        blocks.append(_map(context, context.pixels, concept, samples, values))
    if len(samples):
        counts, edges = context.bundle.histogram(concept)
        blocks.append(histogram(counts, edges, f"concept {concept}"))
    return [figures(blocks)] if blocks else []


def _map(context: PageContext, pixels: np.ndarray, concept: int, samples, values) -> Html:
    show = context.pictures.show
    n, n_all = len(samples), context.bundle.n_samples
    label = f"Map of {n_all:,} samples with the {n:,} in which concept {concept} is active"
    inside = show("map", lambda: map_background(pixels), label)
    caption = f"Map of all {n_all:,} samples in grey, the {n:,} active ones in colour."
    scale = ""
    if n:
        key = f"m{concept}"
        inside += show(key, lambda: map_activation(pixels, samples, values), "", "over")
        scale = f' <span class="scale">0<i></i>{number(float(values.max()))}</span>'
    return Html(
        f'<figure class="map"><span class="stack">{inside}</span><figcaption>{caption}{scale}'
        "</figcaption></figure>"
    )


def _labels(context: PageContext, concept: int) -> list[Html]:
    tables = [_label_table(context, concept, name) for name in context.bundle.label_columns]
    return [Html(f'<div class="pair">{"".join(tables)}</div>')] if tables else []


def _label_table(context: PageContext, concept: int, column: str) -> Html:
    found = context.bundle.selectivity(concept, column)
    n_left = len(found) - _MOST_LABELS - _LEAST_LABELS
    caption = "share of the label's samples minus that of the others"
    if n_left > 1:
        kept = [*range(_MOST_LABELS), *range(len(found) - _LEAST_LABELS, len(found))]
        found = found.iloc[kept]
        caption += f"; {n_left:,} labels between them are not shown"
    rows = [
        [row.label, with_bar(row.selectivity, 1.0, signed=True), f"{row.share_active:.1%}",
         f"{row.n_samples:,}"]
        for row in found.itertuples()
    ]  # fmt: skip
    columns = [
        Column(column, numeric=False), Column("selectivity"), Column("active"), Column("samples"),
    ]  # fmt: skip
    breaks = (_MOST_LABELS,) if n_left > 1 else ()
    return table(columns, rows, caption=f"Selectivity: {caption}.", breaks=breaks)


def _genes(context: PageContext, concept: int) -> list[Html]:
    found = context.bundle.genes(concept)
    if found is None:
        return []
    if not len(found):
        return [paragraph("No genes were looked for.", kind="note")]
    names = ("attribution", "log_fold_change")
    known = [name for name in names if found[name].notna().any()]
    n_each = max(1, context.n_genes // max(1, len(known)))
    order = [(-found[name].abs().fillna(-1)).argsort(kind="stable")[:n_each] for name in known]
    kept = np.unique(np.concatenate(order))
    shown = found.iloc[kept]
    columns, makers = [Column("gene", numeric=False)], []
    if "attribution" in known:
        largest = float(shown["attribution"].abs().max())
        columns += [Column("attribution", "± standard error"), Column("q")]
        makers += [lambda row: _with_error(row, largest), lambda row: number(row.q_value, ".2g")]
    if "log_fold_change" in known:
        most = float(shown["log_fold_change"].abs().max())
        columns.append(Column("log fold change", "active or not"))
        makers.append(lambda row: with_bar(row.log_fold_change, most, signed=True))
    rows = [[row.gene, *(maker(row) for maker in makers)] for row in shown.itertuples()]
    caption = f"{len(shown)} of the {len(found)} genes kept in the bundle: the largest by " + (
        " and by ".join(column.header for column in columns[1:] if column.header != "q")
    )
    return [Html(f'<div class="genes">{table(columns, rows, caption=caption + ".")}</div>')]


def _with_error(row, largest: float) -> Html:
    error = row.standard_error
    bar = with_bar(row.attribution, largest, signed=True, digits="#.3g")
    if math.isnan(row.attribution) or math.isnan(error):
        return bar
    return Html(bar.replace("<svg", f"<small>± {number(error, '#.2g')}</small><svg", 1))


def _pathways(context: PageContext, concept: int) -> list[Html]:
    found = context.bundle.pathways(concept)
    if found is None:
        return []
    if not len(found):
        return [paragraph("No gene set was found.", kind="note")]
    columns = [
        Column("gene set", numeric=False), Column("found by", numeric=False), Column("genes"),
        Column("p"), Column("q"), Column("in common", numeric=False),
    ]  # fmt: skip
    rows = [
        [row.gene_set, row.found_by, row.n_overlap, number(row.p_value, ".2g"),
         number(row.q_value, ".2g"), _shortened(row.overlap)]
        for row in found.itertuples()
    ]  # fmt: skip
    return [Html(f'<div class="sets">{table(columns, rows)}</div>')]


def _shortened(genes: str, most: int = 12) -> str:
    """The first of genes that are separated by semicolons."""
    names = genes.split("; ")
    more = len(names) - most
    return "; ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _related(context: PageContext, concept: int) -> list[Html]:
    blocks = []
    similar = context.bundle.neighbors(concept)
    if similar is not None and len(similar):
        signed = bool((similar["cosine"] < 0).any())
        rows = [
            [_other(context, row.concept), with_bar(row.cosine, 1.0, signed=signed)]
            for row in similar.itertuples()
        ]
        columns = [Column("concept", numeric=False), Column("cosine")]
        blocks.append(table(columns, rows, caption="Similar directions."))
    together = context.bundle.coactive(concept)
    if len(together):
        rows = [
            [_other(context, row.concept), with_bar(row.jaccard, 1.0, signed=False),
             Html(number(row.lift, ".2f"))]
            for row in together.itertuples()
        ]  # fmt: skip
        columns = [Column("concept", numeric=False), Column("Jaccard index"), Column("lift")]
        blocks.append(table(columns, rows, caption="Active in the same samples."))
    return [Html(f'<div class="pair">{"".join(blocks)}</div>')] if blocks else []


def _other(context: PageContext, concept: int) -> Html:
    """Another concept by number and name, or best label."""
    name = context.name(concept) or context.bundle.concepts["best_label"].iloc[concept]
    link = context.link(concept, str(concept))
    return Html(f"{link} {html.escape(name)}" if name else link)
