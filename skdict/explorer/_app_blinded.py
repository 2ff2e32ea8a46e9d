"""The blinded study: one item after the other, kinds and numbers hidden."""

from __future__ import annotations

import time

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_style import FRAGMENT
from skdict.explorer._blinded_results import study_results

# A second click so soon, in seconds, was meant for the item before.
_DOUBLE_CLICK = 0.3
ANSWERS = {"yes": "Yes", "no": "No", "unsure": "Unsure"}


class BlindedPage:
    """The items of a study, for one expert at a time.

    Parameters
    ----------
    bundle : Bundle
        The bundle that the examples are samples of.
    study : BlindedStudy
        The study.
    answers_path : str or path-like
        SQLite file of the answers.
    key_path : str, path-like or None, default=None
        The key, to show results at the end; None shows none, as experts should not see them.
    show_labels : bool, default=False
        Show the label columns of samples that have no picture.
    """

    def __init__(self, bundle, study, answers_path, key_path=None, *, show_labels=False):
        pn = import_optional("panel", extra="explorer")
        widgets = pn.widgets
        self.bundle, self.study = bundle, study
        self.answers_path, self.key_path = answers_path, key_path
        self.show_labels = show_labels
        self.session = self.item = None
        self.expert = widgets.TextInput(label="Your name", width=220)
        self.begin = widgets.Button(label="Begin or go on", color="primary", width=150,
                                    align="end")  # fmt: skip
        self.head, self.shown, self.told = (
            pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT]) for _ in range(3)
        )
        self.name = widgets.TextInput(label="What is it?", width=380)
        self.buttons = {
            answer: widgets.Button(label=text, width=120) for answer, text in ANSWERS.items()
        }
        self.results = widgets.Button(label="Open the key and count", width=220, visible=False)
        self.form = pn.Column(self.name, pn.Row(*self.buttons.values()), visible=False)
        self.begin.on_click(lambda _: self._begin())
        self.results.on_click(lambda _: self._results())
        for answer, button in self.buttons.items():
            button.on_click(lambda _, answer=answer: self._answer(answer))
        self.head.object = f"<h1>{fragments.escape(study.title or 'Blinded study')}</h1>"

    def view(self):
        """Return the page."""
        pn = import_optional("panel", extra="explorer")
        return pn.Column(
            self.head, pn.Row(self.expert, self.begin), self.told, self.shown, self.form,
            self.results, sizing_mode="stretch_width",
        )  # fmt: skip

    def _begin(self) -> None:
        """Open the session of the expert whose name was given."""
        try:
            session = self.study.session(self.expert.value, self.answers_path)
        except (OSError, TypeError, ValueError) as error:
            self.told.object = f'<p class="warning">{fragments.escape(error)}</p>'
            return
        if self.session is not None:
            self.session.close()
        self.session = session
        self._next()

    def _next(self) -> None:
        """Show the first item that has no answer."""
        session, self.item = self.session, self.session.next()
        self.told.object = fragments.note(
            f"{session.n_answered} of {session.n_items} answered by {session.expert}"
        )
        self.form.visible = self.item is not None
        self.results.visible = self.item is None and self.key_path is not None
        self.name.value = ""
        if self.item is None:
            self.shown.object = '<p class="saved">All items are answered. Thank you.</p>'
            return
        question = f"<h2>{fragments.escape(self.study.question)}</h2>"
        self.shown.object = question + item_html(
            self.bundle, self.item, show_labels=self.show_labels
        )
        self.started = time.monotonic()

    def _answer(self, answer: str) -> None:
        """Save an answer, then show the next item."""
        seconds = time.monotonic() - self.started
        if self.item is None or seconds < _DOUBLE_CLICK:
            return
        try:
            self.session.answer(self.item.code, answer, name=self.name.value, seconds=seconds)
        except (OSError, TypeError, ValueError) as error:
            self.told.object = f'<p class="warning">Not saved: {fragments.escape(error)}</p>'
            return
        self._next()

    def _results(self) -> None:
        """Show the results of all experts."""
        try:
            found = study_results(self.study, self.key_path, self.answers_path, random_state=0)
        except (OSError, TypeError, ValueError) as error:
            self.told.object = f'<p class="warning">{fragments.escape(error)}</p>'
            return
        self.shown.object = results_html(found)


def item_html(bundle, item, *, show_labels: bool = False) -> str:
    """Return the examples of an item: pictures without heatmaps, or rows of the samples."""
    if not bundle.has("thumbnails"):
        columns = [name for name in fragments.metadata_columns(bundle)
                   if show_labels or name not in bundle.label_columns]  # fmt: skip
        return fragments.sample_rows(bundle, item.examples, columns=columns, named=False)
    pictures = "".join(fragments.picture(bundle, sample, caption=" ") for sample in item.examples)
    return f'<div class="pictures">{pictures}</div>'


def results_html(found) -> str:
    """Return the results of a study as tables."""
    shares = [
        [row.kind, f"{row.n_interpretable} of {row.n_items}", fragments.number(row.share),
         f"{fragments.number(row.low)} to {fragments.number(row.high)}"]
        for row in found.shares.itertuples()
    ]  # fmt: skip
    header = ("kind", "interpretable", "share", f"{100 * found.confidence_level:g}% interval")
    parts = ["<h2>Interpretable share</h2>", fragments.table(header, shares)]
    agreement = [
        [row.expert, "with themselves", fragments.number(row.kappa), row.reason]
        for row in found.intra.itertuples()
    ] + [["all", row.method, fragments.number(row.kappa), row.reason]
         for row in found.inter.itertuples()]  # fmt: skip
    if agreement:
        header = ("expert", "agreement", "kappa", "why not known")
        parts += ["<h2>Agreement</h2>", fragments.table(header, agreement)]
    return "".join(parts + [fragments.note(remark) for remark in found.remarks])
