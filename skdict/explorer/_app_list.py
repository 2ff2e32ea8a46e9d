"""The table of all concepts: search, filters, ranking; a click opens a concept."""

from __future__ import annotations

import time

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._search import search_concepts

# Ways to rank: column of the table of concepts, and whether the smallest come first.
RANKINGS = {
    "selectivity": ("selectivity", False),
    "frequency": ("frequency", False),
    "rarest first": ("frequency", True),
    "strongest activation": ("max_activation", False),
    "stability": ("stability", False),
    "q of the top pathway": ("top_pathway_q", True),
    "concept number": ("concept", True),
}
# Seconds in which a click was meant for the rows before.
_UNSEEN = 0.25
_WRAP = {"flex-wrap": "wrap"}
_WIDTHS = {"concept": 88, "selectivity": 100, "active": 80}
_COLUMNS = ("concept", "name", "best label", "selectivity", "active", "top pathway", "found in")


class ConceptList:
    """Widgets of the list and what they show.

    Parameters
    ----------
    session : Session
        What the reader looks at.
    """

    def __init__(self, session):
        pn = import_optional("panel", extra="explorer")
        self.session = session
        known = session.bundle.concepts
        widgets = pn.widgets
        rankings = [name for name, (column, _) in RANKINGS.items() if known[column].notna().any()]
        self.text = widgets.TextInput(
            label="Find label, gene, pathway, name or note", sizing_mode="stretch_width"
        )
        self.ranking = widgets.Select(label="Rank by", options=rankings, width=170)
        self.rarest = widgets.FloatInput(label="Active in at least (%)", value=0, start=0, end=100,
                                         step=0.1, width=140)  # fmt: skip
        self.commonest = widgets.FloatInput(
            label="at most (%)", value=100, start=0, end=100, step=1, width=110
        )
        self.dead = widgets.Checkbox(label="with dead concepts", value=True, align="end")
        self.count = pn.pane.HTML("", margin=(0, 10))
        self.table = widgets.Tabulator(
            self._frame(self._search()), pagination="remote", page_size=18, show_index=False,
            disabled=True, selectable=1, layout="fit_columns", widths=_WIDTHS, height=590,
            sizing_mode="stretch_width", theme="simple", header_align="left",
            formatters=_formatters(), editors=dict.fromkeys(_COLUMNS),
        )  # fmt: skip
        self.table.on_click(self._clicked)
        self.earlier = widgets.Button(label="◀ previous", width=110)
        self.later = widgets.Button(label="next ▶", width=110)
        self.go = widgets.IntInput(label="", value=0, start=0, end=len(known) - 1, width=90)
        self.open = widgets.Button(label="open concept", width=120, color="primary")
        self.earlier.on_click(lambda _: self._step(-1))
        self.later.on_click(lambda _: self._step(1))
        self.open.on_click(lambda _: self._open_number())
        self.text.param.watch(self._update, "value_input")
        self.ranking.param.watch(self._ranked, "value")
        for widget in (self.rarest, self.commonest, self.dead):
            widget.param.watch(self._update, "value")
        self._changed = -np.inf
        session.watch("concept", self._opened)
        session.watch("note", lambda _: self._update())

    def view(self):
        """Return the list as a column of the page."""
        pn = import_optional("panel", extra="explorer")
        return pn.Column(
            self.text,
            pn.Row(self.ranking, self.rarest, self.commonest, self.dead, styles=_WRAP),
            self.count,
            self.table,
            pn.Row(self.earlier, self.later, self.go, self.open, styles=_WRAP),
            sizing_mode="stretch_width",
        )

    def open_row(self, row: int) -> None:
        """Open the concept in a row of the table."""
        self.session.open_concept(self.found["concept"].iloc[row])

    def _update(self, *_) -> None:
        """Search again and show what was found."""
        with import_optional("panel", extra="explorer").io.hold():
            self.table.value = self._frame(self._search())
            self._mark()
        self._changed = time.monotonic()

    def _ranked(self, _) -> None:
        """Rank anew: a column by which the table was sorted no longer counts."""
        self.table.sorters = []
        self._update()

    def _clicked(self, event) -> None:
        """Open the concept of a row, unless the browser cannot show the new rows yet."""
        if time.monotonic() - self._changed > _UNSEEN:
            self.session.open_concept(self.table.value["concept"].iloc[event.row])

    def _open_number(self) -> None:
        """Open the concept whose number was given."""
        if self.go.value is not None:
            self.session.open_concept(self.go.value)

    def _search(self):
        """Search, and say how much was found and what was left out."""
        session, (column, ascending) = self.session, RANKINGS[self.ranking.value]
        low = self.rarest.value or 0
        high = 100 if self.commonest.value is None else self.commonest.value
        self.found = search_concepts(
            session.bundle, self.text.value_input or "", sort_by=column, ascending=ascending,
            frequency=(low / 100, max(low, high) / 100), include_dead=self.dead.value,
            notes=session.notes,
        )  # fmt: skip
        out = self.found.attrs["n_left_out"]
        words = f"{len(self.found):,} of {session.bundle.n_concepts:,} concepts"
        if out:
            words += f"; filters leave out {out:,}"
        self.count.object = words
        return self.found

    def _frame(self, found):
        """What the table shows of the concepts."""
        shown = {"concept": found["concept"].to_numpy()}
        names = self._names(found)
        if any(names):
            shown["name"] = names
        shown |= {
            "best label": found["best_label"].fillna("").astype(str).to_numpy(),
            "selectivity": found["selectivity"].to_numpy(),
            "active": found["frequency"].to_numpy(),
        }
        if found["top_pathway"].fillna("").astype(str).str.len().any():
            shown["top pathway"] = found["top_pathway"].fillna("").astype(str).to_numpy()
        if "matched" in found and (found["matched"] != "").any():
            shown["found in"] = found["matched"].to_numpy()
        pandas = import_optional("pandas", extra="explorer")
        return pandas.DataFrame(shown, index=shown["concept"])

    def _names(self, found) -> list[str]:
        """Names that experts gave, else those of the bundle."""
        names = found["name"].fillna("").astype(str).tolist()
        given = {}
        if self.session.notes is not None:
            summary = self.session.notes.summary()
            given = dict(zip(summary["concept"].tolist(), summary["name"].tolist()))
        return [given.get(c) or name for c, name in zip(found["concept"].tolist(), names)]

    def _step(self, by: int) -> None:
        """Open the concept that stands before or after the open one, as the table is sorted."""
        order = self.table.current_view["concept"].to_numpy()
        if not order.size:
            return
        place = np.flatnonzero(order == self.session.concept)
        row = int(place[0]) + by if place.size else 0
        self.session.open_concept(order[min(max(row, 0), order.size - 1)])

    def _opened(self, concept: int) -> None:
        """Mark the row of the concept that was opened."""
        self.go.value = concept
        self._mark()

    def _mark(self) -> None:
        """Mark the row of the concept that is open."""
        place = np.flatnonzero(self.found["concept"].to_numpy() == self.session.concept)
        self.table.selection = [int(place[0])] if place.size else []


def _formatters() -> dict:
    """How numbers are shown: they stay numbers, so that they are sorted as such."""
    tables = import_optional("bokeh.models.widgets.tables", extra="explorer")
    return {
        "selectivity": tables.NumberFormatter(format="0.000", nan_format=""),
        "active": tables.NumberFormatter(format="0.00%"),
    }
