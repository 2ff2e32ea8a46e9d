"""The explorer as a Panel app: in a browser, or in a notebook."""

from __future__ import annotations

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_blinded import BlindedPage
from skdict.explorer._app_compare import ComparePage
from skdict.explorer._app_concept import ConceptPage
from skdict.explorer._app_list import ConceptList
from skdict.explorer._app_notes import NotesForm
from skdict.explorer._app_sample import SamplePage
from skdict.explorer._app_session import Session
from skdict.explorer._app_style import FRAGMENT, PAGE
from skdict.explorer._bundle import Bundle, open_bundle


def explore(
    bundle, *, notes=None, study=None, answers=None, key=None, show_labels: bool = False
):  # fmt: skip
    """Look into a concept bundle, in a notebook or as part of a Panel app.

    A table of all concepts that is searched by label, gene, pathway, name and note; a page for the
    concept that is open, with examples, map, selectivity, genes, pathways and related concepts;
    two concepts side by side; the concepts of a sample; notes. In the last expression of a
    notebook's cell it is shown there; ``skdict explore BUNDLE`` shows the same in a browser.

    Parameters
    ----------
    bundle : Bundle, str or path-like
        The bundle.
    notes : NotesStore or None, default=None
        Where notes are kept. None shows no form.
    study : BlindedStudy or None, default=None
        Shows this study and nothing else, since the rest would tell the kinds.
    answers : str, path-like or None, default=None
        SQLite file of the answers to `study`; needed with it.
    key : str, path-like or None, default=None
        Key of `study`: the results are shown when all items are answered. Leave it away where
        experts answer.
    show_labels : bool, default=False
        Show the label columns of the samples in `study` where they have no pictures. An expert
        who sees labels judges the labels.

    Returns
    -------
    panel.Column
        The page.

    Raises
    ------
    ImportError
        Without Panel: install ``skdict[explorer]``.
    ValueError
        If `study` comes without `answers`, is of another bundle, or the bundle is none.

    See Also
    --------
    serve : The same in a browser, without a notebook.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, explore
    >>> folder = TemporaryDirectory()
    >>> codes = [[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.0]]
    >>> bundle = build_bundle(f"{folder.name}/bundle", codes, metadata={"cell": list("TTBT")})
    >>> page = explore(bundle)  # the last line of a notebook's cell
    >>> folder.cleanup()
    """
    pn = import_optional("panel", extra="explorer")
    pn.extension("tabulator", raw_css=[PAGE], notifications=False)
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    if study is not None:
        check_study(bundle, study, answers)
        return BlindedPage(bundle, study, answers, key, show_labels=show_labels).view()
    return _browse(pn, Session(bundle, notes))


def _browse(pn, session):
    """The list beside the pages."""
    bundle = session.bundle
    listed, concept, compare = ConceptList(session), ConceptPage(session), ComparePage(session)
    sample = SamplePage(session)
    pages = {"Concept": concept.view(), "Compare": compare.view(), "Sample": sample.view()}
    if session.notes is not None:
        pages["Notes"] = NotesForm(session).view()
    # buttons and no tabs: these cannot be reached by keyboard
    chosen = pn.widgets.RadioButtonGroup(options=list(pages), value="Concept")
    page = pn.Column(pages["Concept"], sizing_mode="stretch_width")

    def turn(event):
        page[:] = [pages[event.new]]
        update_compare()

    def update_compare(*_):
        if chosen.value == "Compare":  # what is not looked at costs nothing
            compare.update()

    chosen.param.watch(turn, "value")
    session.watch("concept", update_compare)
    trouble = pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT])
    session.watch("problem", lambda problems: setattr(trouble, "object", _problems(problems)))
    _follow_address(pn, session)
    if session.concept is None and len(listed.found):
        listed.open_row(0)
    session.open_sample(0)
    title = pn.pane.HTML(
        f"<h1>{fragments.escape(bundle.title or 'Concepts')}</h1>"
        f"{fragments.note(bundle.description) if bundle.description else ''}",
        stylesheets=[FRAGMENT], sizing_mode="stretch_width",
    )  # fmt: skip
    left = pn.Column(listed.view(), styles={"flex": "1 1 430px"}, min_width=380, max_width=640)
    right = pn.Column(chosen, trouble, page, styles={"flex": "2 1 540px"}, min_width=420)
    body = pn.FlexBox(left, right, flex_wrap="wrap", align_items="flex-start", gap="0px")
    return pn.Column(title, body, sizing_mode="stretch_width", margin=(6, 12))


def _problems(problems) -> str:
    """What could not be read, as a warning; nothing where all went well."""
    return "".join(f'<p class="warning">{fragments.escape(text)}</p>' for text in problems)


def _follow_address(pn, session) -> None:
    """Open the concept that the address names, and keep the address up to date."""
    location = pn.state.location
    if location is None:
        return
    asked = str(location.query_params.get("concept", ""))
    if asked.isascii() and asked.isdigit() and int(asked) < session.bundle.n_concepts:
        session.open_concept(int(asked))
    session.watch("concept", lambda concept: location.update_query(concept=concept))


def check_study(bundle, study, answers) -> None:
    """Raise unless a study can be answered on a bundle."""
    from skdict.explorer._notes_bundle import bundle_fingerprint

    if answers is None:
        raise ValueError("answers must name a file for the answers to the study, got None")
    if study.bundle and study.bundle != bundle_fingerprint(bundle):
        raise ValueError(
            f"study {study.study_id} is of another bundle (fingerprint {study.bundle[:12]}) than "
            f"{str(bundle.path)!r}; open the bundle that it was made of"
        )
    for item in study.items:
        for sample in item.examples:
            if not 0 <= sample < bundle.n_samples:
                raise ValueError(
                    f"study {study.study_id} shows sample {sample}, the bundle has "
                    f"{bundle.n_samples}"
                )
