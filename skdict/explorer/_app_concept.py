"""The page of one concept."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_map import SampleMap
from skdict.explorer._app_style import FRAGMENT

EXAMPLES = {"strongest": "top", "by strength": "quantile", "random": "random",
            "inactive": "inactive"}  # fmt: skip
_MOST_LABELS, _MOST_ROWS, _MOST_RELATED = 12, 20, 8
_CHOOSE = "choose one"
_PAINT_MS = 300


class ConceptPage:
    """All that the bundle has of the concept that is open.

    Parameters
    ----------
    session : Session
        What the reader looks at.
    """

    def __init__(self, session):
        pn = import_optional("panel", extra="explorer")
        self.session, bundle = session, session.bundle
        self.head, self.shown, self.labels, self.told, self.genes = (
            pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT]) for _ in range(5)
        )
        widgets = pn.widgets
        self.kind = widgets.RadioButtonGroup(options=list(EXAMPLES), value="strongest")
        self.overlay = widgets.Checkbox(
            label="heatmaps", value=True, visible=bundle.has("heatmaps")
        )
        columns = bundle.label_columns
        self.column = widgets.Select(label="", options=columns, width=180, visible=len(columns) > 1)
        self.map = None  # made when the rest has been painted
        self.related = pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT])
        self.follow = widgets.Select(
            label="Open a related concept", options={_CHOOSE: -1}, width=330
        )
        self.follow.param.watch(lambda event: self._follow(event.new), "value")
        self.kind.param.watch(lambda _: self._examples(), "value")
        self.overlay.param.watch(lambda _: self._examples(), "value")
        self.column.param.watch(lambda _: self._labels(), "value")
        session.watch("concept", lambda _: self.update())

    def view(self):
        """Return the page."""
        pn = import_optional("panel", extra="explorer")
        parts = [pn.Column(self.column, self.labels, styles={"flex": "2 1 370px"}, min_width=330)]
        if self.session.bundle.has("map"):
            column = pn.Column(self.told, styles={"flex": "1 1 310px"}, min_width=310)
            parts.insert(0, column)
            _after_first_paint(pn, lambda: self._add_map(column))
        return pn.Column(
            self.head, pn.Row(self.kind, self.overlay), self.shown, pn.FlexBox(*parts), self.genes,
            self.related, self.follow, sizing_mode="stretch_width",
        )  # fmt: skip

    def _add_map(self, column) -> None:
        """Put the map into its column: half a second that a reader does not have to wait for."""
        pn = import_optional("panel", extra="explorer")
        self.map = SampleMap(self.session.bundle)
        column.insert(0, pn.pane.Bokeh(self.map.figure, sizing_mode="stretch_width"))
        self._points()

    def _points(self) -> None:
        if self.map is not None and self.session.concept is not None:
            self.told.object = fragments.note(self.map.show(self.session.concept))

    def update(self) -> None:
        """Show the concept that is open; a part that cannot be read says so, the others follow."""
        for pane, show in (
            (self.head, self._head), (self.shown, self._examples), (self.told, self._points),
            (self.labels, self._labels), (self.genes, self._genes), (self.related, self._related),
        ):  # fmt: skip
            try:
                show()
            except (OSError, ValueError) as error:
                pane.object = f'<p class="warning">{fragments.escape(error)}</p>'

    def _genes(self) -> None:
        self.genes.object = genes(self.session.bundle, self.session.concept)

    def _head(self) -> None:
        self.head.object = head(self.session)

    def _examples(self) -> None:
        if self.session.concept is not None:
            kind = EXAMPLES[self.kind.value]
            self.shown.object = examples(
                self.session.bundle, self.session.concept, kind, overlay=self.overlay.value
            )

    def _labels(self) -> None:
        if self.session.concept is not None and self.column.value is not None:
            self.labels.object = labels(
                self.session.bundle, self.session.concept, self.column.value
            )

    def _related(self) -> None:
        """Show related concepts; the choice below them opens one."""
        bundle, concept = self.session.bundle, self.session.concept
        lists = related_concepts(bundle, concept)
        self.related.object = related(bundle, lists)
        wanted = dict.fromkeys(c for _, found, _ in lists for c in found["concept"].tolist())
        best = bundle.concepts["best_label"].fillna("").astype(str).to_numpy()
        self.follow.options = {_CHOOSE: -1} | {f"{c} {best[c]}".strip(): c for c in wanted}
        self.follow.value = -1

    def _follow(self, concept) -> None:
        if isinstance(concept, int) and concept >= 0:
            self.session.open_concept(concept)


def _after_first_paint(pn, function) -> None:
    """Call a function shortly after the page is there; at once where there is no server."""
    document = pn.state.curdoc
    if document is None or document.session_context is None:
        function()
        return
    pn.state.onload(lambda: document.add_timeout_callback(function, _PAINT_MS))


def head(session, concept=None) -> str:
    """Return the name of a concept and the numbers of its row."""
    concept = session.concept if concept is None else concept
    row = session.bundle.concepts.iloc[concept]
    names = [str(row["name"])] if row["name"] else []
    if session.notes is not None:
        names = [note.name for note in session.notes.of(concept) if note.name] or names
    title = f"Concept {concept}" + (f": {' / '.join(dict.fromkeys(names))}" if names else "")
    n_active = fragments.number(int(row["n_active"]))
    facts = {
        "active in": f"{fragments.share(row['frequency'])} ({n_active})",
        "mean code where active": fragments.number(row["mean_activation"]),
        "largest": fragments.number(row["max_activation"]),
    }
    if row["best_label"]:
        where = f"{row['best_label']} ({row['best_label_column']})"
        facts["best label"] = f"{where}, selectivity {fragments.number(row['selectivity'])}"
        if fragments.number(row["selectivity_p"]) != fragments.MISSING:
            facts["its p"] = fragments.number(row["selectivity_p"])
    if fragments.number(row["stability"]) != fragments.MISSING:
        facts["stability"] = fragments.number(row["stability"])
    if row["top_pathway"]:
        facts["top pathway"] = f"{row['top_pathway']} (q {fragments.number(row['top_pathway_q'])})"
    listed = "".join(
        f"<span>{fragments.escape(key)} <b>{fragments.escape(value)}</b></span>"
        for key, value in facts.items()
    )
    dead = '<p class="warning">This concept is never active.</p>' if row["dead"] else ""
    counts, edges = session.bundle.histogram(concept)
    shape = "" if row["dead"] else fragments.histogram(counts, edges)
    return f'<h1>{fragments.escape(title)}</h1>{dead}<div class="facts">{listed}</div>{shape}'


def examples(bundle, concept, kind, *, overlay: bool = True) -> str:
    """Return examples of a concept: pictures, or a table where there are none."""
    samples = bundle.examples(concept, kind)
    if kind == "quantile":
        bands = [band[band >= 0] for band in samples]
        parts = []
        for place, band in enumerate(bands):
            if band.size:
                low, high = (100 * k // len(bands) for k in (place, place + 1))
                title = f"<h2>{low} to {high}% of the active samples, by code</h2>"
                parts.append(title + _shown(bundle, concept, band, overlay))
        return "".join(parts[::-1]) or fragments.note("No active samples.")
    if not samples.size:
        return fragments.note("No such samples.")
    return _shown(bundle, concept, samples, overlay)


def _shown(bundle, concept, samples, overlay) -> str:
    """Pictures of samples, or their rows."""
    active, values = bundle.activations(concept)
    code = dict(zip(active.tolist(), values.tolist()))
    if not bundle.has("thumbnails"):
        return fragments.sample_rows(bundle, samples, [code.get(int(s), 0.0) for s in samples])
    column = bundle.label_columns[0] if bundle.label_columns else "name"
    labels = bundle.samples[column].astype(str).to_numpy()
    pictures = ""
    for sample in samples.tolist():
        caption = f"{sample}: {fragments.number(code.get(sample, 0.0), 2)} · {labels[sample]}"
        pictures += fragments.picture(bundle, sample, concept, overlay=overlay, caption=caption)
    return f'<div class="pictures">{pictures}</div>'


def labels(bundle, concept, column) -> str:
    """Return the selectivity for the labels of a column."""
    found = bundle.selectivity(concept, column)
    shown = found.head(_MOST_LABELS)
    largest = _largest(found["selectivity"])
    rows = [
        [row.label, fragments.bar(row.selectivity, largest), fragments.share(row.share_active),
         fragments.number(int(row.n_samples))]
        for row in shown.itertuples()
    ]  # fmt: skip
    table = fragments.table((column, "selectivity", "active", "samples"), rows, numeric=(2, 3))
    more = len(found) - len(shown)
    rest = fragments.note(f"and {more:,} labels with smaller values") if more else ""
    return f"<h2>Selectivity</h2>{table}{rest}"


def genes(bundle, concept) -> str:
    """Return genes by attribution beside expression, and pathways."""
    parts = []
    found = bundle.genes(concept)
    if found is not None and len(found):
        shown = _strongest_genes(found)
        largest = [_largest(shown[name]) for name in ("attribution", "log_fold_change")]
        tested = shown["q_value"].notna().any()
        rows = [
            [row.gene, fragments.bar(row.attribution, largest[0]),
             *([fragments.number(row.q_value)] if tested else []),
             fragments.bar(row.log_fold_change, largest[1])]
            for row in shown.itertuples()
        ]  # fmt: skip
        header = ("gene", "attribution", *(["q"] * bool(tested)),
                  "log fold change, active / inactive")  # fmt: skip
        parts.append(
            "<h2>Genes</h2>" + fragments.table(header, rows, numeric=(2,) if tested else ())
        )
    sets = bundle.pathways(concept)
    if sets is not None and len(sets):
        rows = [[row.gene_set, row.found_by, row.overlap, fragments.number(row.q_value)]
                for row in sets.head(_MOST_ROWS).itertuples()]  # fmt: skip
        header = ("pathway", "genes by", "genes in common", "q")
        parts.append("<h2>Pathways</h2>" + fragments.table(header, rows, numeric=(3,)))
    return "".join(parts)


def _largest(values) -> float:
    """Largest absolute value of those that are known, 0 without any."""
    return float(np.nan_to_num(np.abs(values.to_numpy(dtype=float))).max(initial=0.0))


def related_concepts(bundle, concept) -> list:
    """Titles, tables and measures of the concepts that are related to one."""
    lists = [("Active together", bundle.coactive(concept).head(_MOST_RELATED), "jaccard")]
    similar = bundle.neighbors(concept)
    if similar is not None:
        lists.insert(0, ("Similar directions", similar.head(_MOST_RELATED), "cosine"))
    return lists


def related(bundle, lists) -> str:
    """Return related concepts as tables."""
    best = bundle.concepts["best_label"].fillna("").astype(str).to_numpy()
    parts = []
    for title, found, measure in lists:
        rows = [
            [concept, fragments.number(float(value)), best[concept]]
            for concept, value in zip(found["concept"].tolist(), found[measure])
        ]
        table = fragments.table(("concept", measure, "best label"), rows, numeric=(0, 1))
        parts.append(f"<section><h2>{fragments.escape(title)}</h2>{table}</section>")
    return f'<div class="beside">{"".join(parts)}</div>'


def _strongest_genes(found):
    """Rows with the largest attributions and the largest fold changes, of either sign."""
    known = [name for name in ("attribution", "log_fold_change") if found[name].notna().any()]
    n_each = max(1, _MOST_ROWS // max(1, len(known)))
    places = [(-found[name].abs().fillna(-1)).argsort(kind="stable")[:n_each] for name in known]
    return found.iloc[np.unique(np.concatenate(places))] if places else found.head(0)
