"""The form for notes, and the notes on the concept that is open."""

from __future__ import annotations

import io

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_style import FRAGMENT

# A select shows no choice whose value is None.
NOT_SAID = -1
RATINGS = {"not rated": NOT_SAID, "1 no sense": 1, "2": 2, "3": 3, "4": 4, "5 clear": 5}
CONFIDENCES = {"not said": NOT_SAID, "guess": 0.25, "likely": 0.5, "sure": 0.75, "certain": 1.0}


class NotesForm:
    """What experts write on concepts.

    Parameters
    ----------
    session : Session
        What the reader looks at; it has notes.
    """

    def __init__(self, session):
        pn = import_optional("panel", extra="explorer")
        widgets, self.session = pn.widgets, session
        self.expert = widgets.TextInput(label="Your name", width=180)
        self.name = widgets.TextInput(label="Name of the concept", width=300)
        self.text = widgets.TextAreaInput(label="Note", rows=4, sizing_mode="stretch_width")
        self.tags = widgets.TextInput(label="Tags, separated by commas", width=300)
        self.rating = widgets.Select(label="Can it be interpreted?", options=RATINGS, width=180)
        self.confidence = widgets.Select(label="How sure?", options=CONFIDENCES, width=180)
        self.save = widgets.Button(label="Save note", color="primary", width=120)
        self.told, self.written = (
            pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT]) for _ in range(2)
        )
        self.withdraw = widgets.Checkbox(label="withdraw my note", value=False, align="center")
        self._fields = (self.name, self.text, self.tags, self.rating, self.confidence)
        self._drafts: dict[int, tuple] = {}
        self._shown, self._before = None, ()
        self.expert.param.watch(lambda _: self._named(), "value")
        self.save.on_click(self._save)
        self.csv, self.json = (
            widgets.FileDownload(callback=self._export(kind), filename=f"notes.{kind}",
                                 label=f"Export {kind.upper()}", color="default", width=150)
            for kind in ("csv", "json")
        )  # fmt: skip
        session.watch("concept", lambda _: self._opened())
        session.watch("note", lambda _: self._list())

    def view(self):
        """Return the form with the notes below it."""
        pn = import_optional("panel", extra="explorer")
        wrap = {"flex-wrap": "wrap"}
        return pn.Column(
            pn.Row(self.expert, self.name, styles=wrap),
            self.text,
            pn.Row(self.rating, self.confidence, self.tags, styles=wrap),
            pn.Row(self.save, self.withdraw, self.csv, self.json, styles=wrap),
            self.told,
            self.written,
            sizing_mode="stretch_width",
        )

    def _save(self, _) -> None:
        """Save what is in the form; an error stands on the page and the form stays as it is."""
        concept = self.session.concept
        if concept is not None and not self.withdraw.value and self._is_empty():
            self.told.object = (
                '<p class="warning">Not saved: nothing is written. To take your note back, tick '
                "withdraw.</p>"
            )
            return
        tags = [tag.strip() for tag in self.tags.value.split(",") if tag.strip()]
        said = {} if self.withdraw.value else {
            "name": self.name.value, "text": self.text.value, "rating": _said(self.rating.value),
            "confidence": _said(self.confidence.value), "tags": tags,
        }  # fmt: skip
        try:
            if concept is None:
                raise ValueError("open a concept first")
            self.session.notes.add(concept, expert=self.expert.value, **said)
        except (OSError, OverflowError, TypeError, ValueError) as error:
            self.told.object = f'<p class="warning">Not saved: {fragments.escape(error)}</p>'
            return
        self._drafts.pop(concept, None)
        done = "Withdrawn from" if self.withdraw.value else "Saved on"
        self._fill(self._own(concept))
        self.told.object = f'<p class="saved">{done} concept {concept}.</p>'
        self.session.saved(concept)

    def _opened(self) -> None:
        """Show what the expert has written on the concept: a draft, or the last note."""
        if self._shown is not None and self._state() != self._before:
            self._drafts[self._shown] = self._state()
        self.told.object = ""
        self._reload()
        self._list()

    def _reload(self) -> None:
        concept = self.session.concept
        if concept is None:
            return
        own = self._own(concept)
        self._fill(own)
        if concept in self._drafts:
            self.told.object = fragments.note("A draft that was not saved.")
            self._set(self._drafts.pop(concept))

    def _named(self) -> None:
        """Show the note of the expert who gave a name, unless something else is written."""
        if self._state() == self._before or self._is_empty():
            self._reload()

    def _own(self, concept):
        """Last note of the expert on a concept, or None."""
        notes = self.session.notes.of(concept)
        return next((note for note in notes if note.expert == self.expert.value), None)

    def _fill(self, note) -> None:
        """Put a note into the form, or empty it; an expert's name stays."""
        values = ("", "", "", NOT_SAID, NOT_SAID)
        if note is not None:
            known = [NOT_SAID if v is None else v for v in (note.rating, note.confidence)]
            known[1] = known[1] if known[1] in CONFIDENCES.values() else NOT_SAID
            values = (note.name, note.text, ", ".join(note.tags), *known)
        self._set(values)
        self.withdraw.value = False
        self._shown, self._before = self.session.concept, self._state()

    def _set(self, values) -> None:
        for field, value in zip(self._fields, values):
            field.value = value

    def _state(self) -> tuple:
        return tuple(field.value for field in self._fields)

    def _is_empty(self) -> bool:
        return self._state() == ("", "", "", NOT_SAID, NOT_SAID)

    def _list(self) -> None:
        """Show the notes on the concept, the newest first."""
        if self.session.concept is None:
            return
        notes = self.session.notes.history(self.session.concept)[::-1]
        current = {note.id for note in self.session.notes.of(self.session.concept)}
        rows = [
            [note.time[:16].replace("T", " "), note.expert, note.name, note.text,
             "" if note.rating is None else note.rating, ", ".join(note.tags),
             "" if note.id in current else "replaced"]
            for note in notes
        ]  # fmt: skip
        header = ("time (UTC)", "expert", "name", "note", "rating", "tags", "")
        self.written.object = (
            fragments.table(header, rows) if rows else fragments.note("No notes on it yet.")
        )

    def _export(self, kind: str):
        """Return a function that gives all notes as a file."""
        return lambda: io.StringIO(self.session.notes.export_text(kind))


def _said(value):
    """A choice, None where there was none."""
    return None if value == NOT_SAID else value
