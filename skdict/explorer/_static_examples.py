"""Examples of a concept on the static pages: pictures, or a table where there are none."""

from __future__ import annotations

import html

import numpy as np

from skdict.explorer._static_context import PageContext
from skdict.explorer._static_pictures import heatmap_png, thumbnail_png
from skdict.explorer._static_plots import number
from skdict.report import Column, Html, details, paragraph, table

_MOST_COLUMNS = 8  # of metadata, in a table
_LONGEST_TEXT = 160


def examples(context: PageContext, concept: int) -> list[Html]:
    """Examples of all kinds.

    Parameters
    ----------
    context : PageContext
        The concepts.
    concept : int
        The concept.

    Returns
    -------
    list of Html
        Blocks; the top ones are seen, the others can be unfolded.
    """
    bundle = context.bundle
    shown = _Shown(context, concept)
    n = context.n_examples
    blocks = []
    if bundle.has("heatmaps") and shown.pictures:
        blocks.append(
            Html(
                '<label class="note"><input type="checkbox" class="heat-switch" checked> '
                "Heatmaps over the grey pictures</label>"
            )
        )
    top = bundle.examples(concept, "top")[:n]
    if not len(top):
        blocks.append(paragraph("This concept is active in no sample."))
    else:
        blocks += [Html("<h5>Largest activation</h5>"), shown.block(top)]
        bands = _bands(shown, bundle.examples(concept, "quantile"), n)
        blocks.append(details("Bands of activation, the strongest first", bands))
        random = bundle.examples(concept, "random")[:n]
        blocks.append(details("Random active samples", [shown.block(random)]))
    inactive = bundle.examples(concept, "inactive")[:n]
    if len(inactive):
        blocks.append(details("Random inactive samples", [shown.block(inactive)]))
    return [Html(f'<div class="examples">{"".join(blocks)}</div>')]


def _bands(shown: _Shown, places: np.ndarray, n: int) -> list[Html]:
    """Examples of each band of activation."""
    blocks = []
    for band in range(len(places) - 1, -1, -1):
        samples = places[band][places[band] >= 0][:n]
        if len(samples):
            low, high = 100 * band / len(places), 100 * (band + 1) / len(places)
            title = f"<h5>{low:.0f} to {high:.0f} % of the active samples</h5>"
            blocks.append(f"<div>{title}{shown.block(samples)}</div>")
    return [Html(f'<div class="bands">{"".join(blocks)}</div>')]


class _Shown:
    """How samples are shown for one concept."""

    def __init__(self, context: PageContext, concept: int):
        self.context, self.concept = context, concept
        self.pictures = context.bundle.has("thumbnails")
        self.active, self.values = context.bundle.activations(concept)
        frame = context.bundle.samples
        labels = context.bundle.label_columns
        others = [c for c in frame.columns if c not in ("sample", "name", *labels)]
        self.columns = [*labels, *others][:_MOST_COLUMNS]
        self.n_left = len(labels) + len(others) - len(self.columns)

    def value(self, sample: int) -> float:
        """Code of a sample; 0 where the concept is not active."""
        place = int(np.searchsorted(self.active, sample))
        there = place < len(self.active) and self.active[place] == sample
        return float(self.values[place]) if there else 0.0

    def block(self, samples) -> Html:
        """Samples as pictures or as a table."""
        samples = [int(sample) for sample in samples]
        if self.pictures:
            return Html(f'<div class="tiles">{"".join(map(self._tile, samples))}</div>')
        return self._table(samples)

    def _tile(self, sample: int) -> str:
        bundle, show = self.context.bundle, self.context.pictures.show
        row = bundle.samples.iloc[sample]
        name, value = str(row["name"]), number(self.value(sample))
        picture = bundle.thumbnail(sample)
        size = self.context.picture_size
        if picture is None:
            inside = '<span class="missing">no picture</span>'
        else:
            inside = show(
                f"t{sample}",
                lambda: thumbnail_png(picture, size, f"the thumbnail of sample {sample}"),
                f"{name}, activation {value}",
            )
            heat = bundle.heatmap(self.concept, sample)
            if heat is not None:
                what = f"the heatmap of concept {self.concept} on sample {sample}"
                key = f"h{self.concept}-{sample}"
                inside += show(key, lambda: heatmap_png(heat, what), "", "over heat")
        labels = " · ".join(_text(row[column]) for column in bundle.label_columns)
        lines = [html.escape(line) for line in (name, f"activation {value}", labels) if line]
        return (
            f'<figure><span class="stack">{inside}</span>'
            f"<figcaption>{'<br>'.join(lines)}</figcaption></figure>"
        )

    def _table(self, samples: list[int]) -> Html:
        frame = self.context.bundle.samples.iloc[samples]
        columns = [Column("sample", numeric=False), Column("activation")]
        columns += [Column(column, numeric=False) for column in self.columns]
        rows = [
            [_text(row["name"]), number(self.value(sample)), *(_text(row[c]) for c in self.columns)]
            for sample, (_, row) in zip(samples, frame.iterrows())
        ]
        more = f"{self.n_left} further columns are not shown." if self.n_left else ""
        return Html(f'<div class="samples">{table(columns, rows, caption=more)}</div>')


def _text(value) -> str:
    """A value of the metadata as text, cut where it is long; a dash for a missing one."""
    if value is None or value != value:
        return "–"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"
