"""The parts of the app without a browser: what they show, and that no text of others is markup."""

import re
import types

import numpy as np
import pandas as pd
import pytest

from skdict.explorer import NotesStore, explore, make_blinded_study, open_bundle
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_blinded import BlindedPage, item_html
from skdict.explorer._app_concept import (
    ConceptPage,
    _strongest_genes,
    examples,
    genes,
    head,
    labels,
)
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


def test_a_damaged_picture_is_said_and_the_rest_follows(bundle_copy, tmp_path):
    """A page was left with parts of two concepts, and a note on the one before in the form."""
    bundle = open_bundle(bundle_copy)
    with NotesStore(tmp_path / "n.sqlite", bundle=bundle) as store:
        session = Session(bundle, store)
        page, form = ConceptPage(session), NotesForm(session)
        session.open_concept(2)
        sample = int(bundle.examples(3, "top")[0])
        picture = next(bundle_copy.glob(f"thumbnails/*/{sample}.png"))
        picture.write_bytes(picture.read_bytes()[:20])
        form.text.value = "on two"
        session.open_concept(3)
        assert "warning" in page.shown.object and str(sample) in page.shown.object
        assert "Concept 3" in page.head.object and "Selectivity" in page.labels.object
        assert form.text.value == ""
        session.open_concept(2)
        assert form.text.value == "on two"  # a draft is kept
        assert "warning" not in page.shown.object


def test_a_problem_of_one_part_reaches_the_reader(small_bundle):
    session, told = Session(small_bundle), []

    def broken(concept):
        raise ValueError(f"no {concept}")

    session.watch("concept", broken)
    session.watch("concept", told.append)
    session.watch("problem", told.append)
    session.open_concept(4)
    assert told == [4, ["no 4"]]


def test_the_form_shows_ones_own_note_and_loses_nothing(small_bundle, notes):
    session = Session(small_bundle, notes)
    form = NotesForm(session)
    session.open_concept(1)
    form.expert.value, form.name.value, form.text.value = "anna", "mitosis", "long"
    form._save(None)
    session.open_concept(2)
    session.open_concept(1)
    assert (form.name.value, form.text.value) == ("mitosis", "long")
    form.rating.value = 5
    form._save(None)
    assert notes.of(1)[0].name == "mitosis"
    assert notes.of(1)[0].rating == 5
    form.expert.value = "ben"  # somebody else has written nothing
    assert form.name.value == ""
    form.name.value = "typed before the name"
    form.expert.value = "eva"
    assert form.name.value == "typed before the name"
    form.name.value = ""
    form._save(None)
    assert "nothing is written" in form.told.object and len(notes) == 2
    form.expert.value = "anna"
    form.withdraw.value = True
    form._save(None)
    assert notes.of(1) == [] and "Withdrawn" in form.told.object


def test_filters_rankings_and_late_clicks(small_bundle):
    session = Session(small_bundle)
    listed = ConceptList(session)
    listed.rarest.value, listed.commonest.value = 30, None  # an emptied field
    frequency = listed.found["frequency"]
    assert len(frequency) and (frequency[~listed.found["dead"]] >= 0.3).all()
    listed.table.sorters = [{"field": "active", "dir": "asc"}]
    listed.ranking.value = "concept number"
    assert listed.table.sorters == []
    session.open_concept(int(listed.found["concept"].iloc[0]))
    listed.commonest.value = 100
    assert listed.table.selection == [0]
    before = session.concept
    listed._clicked(types.SimpleNamespace(row=1))  # at once: of rows that are not there any more
    assert session.concept == before
    listed._changed = -np.inf
    listed._clicked(types.SimpleNamespace(row=1))
    assert session.concept != before
    listed.go.value = None
    listed._open_number()


def test_the_strongest_genes_have_either_sign():
    values = np.linspace(1.0, 0.1, 60)
    values[-1] = -50.0
    expression = np.zeros(60)
    expression[40] = 9.0
    table = pd.DataFrame({"attribution": values, "log_fold_change": expression})
    assert {40, 59} <= set(_strongest_genes(table).index)


def test_a_double_click_answers_once_and_labels_are_hidden(small_bundle, tmp_path):
    study = make_blinded_study(
        tmp_path / "s.json", {"a": np.eye(12) + 1, "b": np.eye(12) + 1}, n_examples=3,
        key_path=tmp_path / "k.json", n_per_kind=2, n_repeats=0, random_state=0,
    )  # fmt: skip
    page = BlindedPage(small_bundle, study, tmp_path / "a.sqlite")
    page.expert.value = "anna"
    page._begin()
    for _ in range(3):
        page._answer("yes")  # sooner than anyone can look
    assert page.session.n_answered == 0
    page.started -= 5
    page._answer("yes")
    page._answer("yes")
    assert page.session.n_answered == 1
    page.session.close()
    bare = types.SimpleNamespace(
        has=lambda part: False, samples=small_bundle.samples,
        label_columns=small_bundle.label_columns,
    )  # fmt: skip
    hidden, shown = (item_html(bare, study.items[0], show_labels=s) for s in (False, True))
    assert "cell_type" in shown and "depth" in hidden
    assert "cell_type" not in hidden and "donor" not in hidden


def test_addresses_that_cannot_be_served(small_bundle):
    with pytest.raises(ValueError, match="address must be a name or an IPv4 address, got '::1'"):
        serve(small_bundle, address="::1")
