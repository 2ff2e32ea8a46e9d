"""One sample: which concepts are active in it, and where."""

from __future__ import annotations

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_style import FRAGMENT

_COLUMNS = ("concept", "code", "best label", "top pathway")
_MOST_CONCEPTS, _MOST_PICTURES = 40, 12


class SamplePage:
    """The sample that is open.

    Parameters
    ----------
    session : Session
        What the reader looks at.
    """

    def __init__(self, session):
        pn = import_optional("panel", extra="explorer")
        self.session = session
        last = session.bundle.n_samples - 1
        self.sample = pn.widgets.IntInput(label="Sample", value=0, start=0, end=last, width=140)
        self.strongest = pn.widgets.Button(label="strongest of the open concept", width=240,
                                           align="end")  # fmt: skip
        self.shown = pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT])
        self.active = pn.widgets.Tabulator(
            show_index=False, disabled=True, selectable=1, layout="fit_data_fill", theme="simple",
            sizing_mode="stretch_width", height=420, editors=dict.fromkeys(_COLUMNS),
        )  # fmt: skip
        self.active.on_click(
            lambda event: session.open_concept(self.active.value["concept"].iloc[event.row])
        )
        self.sample.param.watch(lambda event: session.open_sample(event.new or 0), "value")
        self.strongest.on_click(lambda _: self._strongest())
        session.watch("sample", lambda _: self.update())

    def view(self):
        """Return the page."""
        pn = import_optional("panel", extra="explorer")
        top = pn.Row(self.sample, self.strongest)
        return pn.Column(top, self.shown, self.active, sizing_mode="stretch_width")

    def update(self) -> None:
        """Show the sample that is open."""
        bundle, sample = self.session.bundle, self.session.sample
        self.sample.value = sample
        concepts, values = bundle.concepts_of(sample)
        row = bundle.samples.iloc[sample]
        facts = "".join(
            f"<span>{fragments.escape(name)} <b>{fragments.escape(entry)}</b></span>"
            for name, entry in (
                (name, fragments.value(row[name])) for name in fragments.metadata_columns(bundle)
            )
        )
        pictures = ""
        if bundle.thumbnail(sample) is not None:
            where = [c for c in concepts.tolist() if bundle.heatmap(c, sample) is not None]
            pictures = fragments.picture(bundle, sample, caption="the sample") + "".join(
                fragments.picture(bundle, sample, c, caption=f"concept {c}")
                for c in where[:_MOST_PICTURES]
            )
        self.shown.object = (
            f"<h1>{fragments.escape(row['name'])}</h1><div class='facts'>{facts}</div>"
            f"<div class='pictures'>{pictures}</div>"
            f"<h2>{concepts.size:,} active concepts, the strongest first</h2>"
        )
        kept = bundle.concepts.iloc[concepts[:_MOST_CONCEPTS]]
        columns = {"concept": kept["concept"], "code": values[:_MOST_CONCEPTS].round(4),
                   "best label": kept["best_label"].fillna("").astype(str),
                   "top pathway": kept["top_pathway"].fillna("").astype(str)}  # fmt: skip
        frame = import_optional("pandas", extra="explorer").DataFrame(columns)
        self.active.value = frame.reset_index(drop=True)

    def _strongest(self) -> None:
        """Open the sample in which the open concept is strongest."""
        if self.session.concept is not None:
            top = self.session.bundle.examples(self.session.concept, "top")
            if top.size:
                self.session.open_sample(int(top[0]))
