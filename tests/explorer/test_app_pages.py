"""The parts of the app without a browser: what they show, and that no text of others is markup."""

import re

import pytest

from skdict.explorer import NotesStore, explore, make_blinded_study
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_concept import ConceptPage, examples, genes, head, labels
from skdict.explorer._app_list import ConceptList
from skdict.explorer._app_notes import NotesForm
from skdict.explorer._app_session import Session
from skdict.explorer._serve import _is_loopback, serve
from tests.explorer.conftest import DEAD, HOSTILE, N_CONCEPTS

pytest.importorskip("panel")


@pytest.fixture
def notes(small_bundle, tmp_path):
    with NotesStore(tmp_path / "notes.sqlite", bundle=small_bundle) as store:
        yield store


def test_every_concept_has_a_page_without_foreign_markup(small_bundle, notes):
    session = Session(small_bundle, notes)
    for text in HOSTILE:
        notes.add(3, expert=text, name=text, text=text, tags=[text])
    for concept in range(N_CONCEPTS):
        shown = head(session, concept) + genes(small_bundle, concept)
        for kind in ("top", "random", "quantile", "inactive"):
            shown += examples(small_bundle, concept, kind)
        for column in small_bundle.label_columns:
            shown += labels(small_bundle, concept, column)
        assert not re.search(r"<script|<img src=x|onerror=1>", shown)
        assert f"Concept {concept}" in shown
    assert "never active" in head(session, DEAD)


def test_list_searches_ranks_and_steps(small_bundle, notes):
    session = Session(small_bundle, notes)
    listed = ConceptList(session)
    assert len(listed.found) == N_CONCEPTS
    listed.text.value_input = "T cells"
    assert listed.found["concept"].tolist() == [0]
    notes.add(5, expert="anna", name="odd T cells")
    session.saved(5)
    assert set(listed.table.value["concept"]) == {0, 5}
    assert "odd T cells" in listed.table.value["name"].tolist()
    listed.text.value_input = ""
    listed.ranking.value = "concept number"
    session.open_concept(7)
    listed._step(1)
    assert session.concept == 8
    session.open_concept(N_CONCEPTS - 1)
    listed._step(1)  # the last one stays
    assert session.concept == N_CONCEPTS - 1
    listed.rarest.value, listed.dead.value = 90, False
    assert "filters leave out" in listed.count.object
    listed.text.value_input = "nothing like that"
    listed._step(1)
    assert session.concept == N_CONCEPTS - 1 and len(listed.table.value) == 0


def test_a_note_that_cannot_be_saved_stays_in_the_form(small_bundle, notes, monkeypatch):
    session = Session(small_bundle, notes)
    form = NotesForm(session)
    form.text.value, form.expert.value = "long thought", "anna"
    form._save(None)
    assert "open a concept first" in form.told.object
    session.open_concept(4)
    form.text.value = "long thought"

    def full(*args, **options):
        raise OSError(f"disk is full {HOSTILE[0]}")

    monkeypatch.setattr(NotesStore, "add", full)
    form._save(None)
    assert "Not saved: disk is full &lt;script&gt;" in form.told.object
    assert form.text.value == "long thought" and len(notes) == 0
    monkeypatch.undo()
    form._save(None)
    assert "Saved on concept 4" in form.told.object and notes.of(4)[0].text == "long thought"


def test_related_concepts_open(small_bundle):
    session = Session(small_bundle)
    page = ConceptPage(session)
    session.open_concept(2)
    wanted = next(value for value in page.follow.options.values() if value >= 0)
    page.follow.value = wanted
    assert session.concept == wanted


def test_it_is_shown_in_a_notebook(small_bundle, notes):
    page = explore(small_bundle, notes=notes)
    assert page.get_root() is not None
    pytest.importorskip("IPython")
    assert "text/html" in page._repr_mimebundle_()[0]


def test_a_study_of_another_bundle_is_refused(small_bundle, tmp_path):
    study = make_blinded_study(
        tmp_path / "s.json", {"a": range(3), "b": range(3)}, key_path=tmp_path / "k.json",
        n_per_kind=2, n_repeats=0, bundle="0" * 64, random_state=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="is of another bundle"):
        explore(small_bundle, study=study, answers=tmp_path / "a.sqlite")
    with pytest.raises(ValueError, match="answers must name a file"):
        explore(small_bundle, study=study)


def test_addresses_and_tokens(small_bundle):
    assert all(map(_is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(_is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
    with pytest.raises(ValueError, match="token must have at least 16 characters, got 5"):
        serve(small_bundle, token="short")


def test_numbers_are_short_and_missing_ones_are_dashes():
    assert fragments.number(float("nan")) == fragments.number(None) == fragments.MISSING
    assert fragments.number(1234) == "1,234" and fragments.number(0.123456) == "0.123"
    assert fragments.share(0.5) == "50%"
    assert fragments.value(float("nan")) == fragments.MISSING and fragments.value("a") == "a"
    assert "left:50%;width:25.0%" in fragments.bar(0.5, 1.0)
    assert "right:50%;width:50.0%" in fragments.bar(-3.0, 1.0)
