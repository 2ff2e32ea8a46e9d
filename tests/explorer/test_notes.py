"""Notes: what was acknowledged is kept, files come back exactly, errors say what to do."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdict.explorer import Note, NotesStore, annotate, bundle_fingerprint, report_table
from skdict.explorer import _notes_database as database_module
from skdict.explorer._notes_files import read_notes

pandas = pytest.importorskip("pandas")

# What a program could take for something else: formulas, quotes, ends of lines, marks, markup.
HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "'=1+1", "''", "'", "'tis", "a,b", 'say "x"', "two\nlines",
    "\r", "end\r\n", "\ttab", " blank ", "名前 é 🧬", "\ufeffmark", "<script>alert(1)</script>",
    "NULL", "nan", "[]", "; drop table notes; --", "\x1b[31m", "\u2028",
]  # fmt: skip
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)


@pytest.fixture
def store(tmp_path):
    with NotesStore(tmp_path / "notes.sqlite") as store:
        yield store


def fill(store):
    """Notes with everything that is hard to write."""
    for i, text in enumerate(HOSTILE):
        store.add(
            i % 5, expert=f"e{i % 3} {text}".strip().replace("\0", ""), name=text, text=text * 2,
            rating=None if i % 2 else 1 + i % 5, confidence=None if i % 3 else i / 7 % 1,
            tags=[text, "x"],
        )  # fmt: skip


def test_the_latest_note_of_each_expert_counts(store):
    first = store.add(3, expert="anna", name="a", rating=2)
    store.add(3, expert="ben", name="b")
    last = store.add(3, expert="anna", name="c", confidence=0.25, tags=["x", "y", "x"])
    assert [note.name for note in store.of(3)] == ["c", "b"]
    assert store.of(3)[0] == last and store.history(3)[0] == first
    assert last.tags == ("x", "y") and last.rating is None
    assert len(store) == 3 and store.of(4) == [] and store.current() == store.of(3)


def test_an_empty_note_withdraws(store):
    store.add(3, expert="anna", name="a")
    store.add(3, expert="anna")
    assert store.current() == [] and len(store.history(3)) == 2
    store.add(3, expert="anna", rating=1)
    assert [note.rating for note in store.current()] == [1]


def test_a_clock_that_goes_back_hides_no_note(store, monkeypatch):
    import skdict.explorer._notes_fields as fields

    now = datetime.now(UTC)
    for days, name in [(0, "first"), (-2, "second"), (-1, "third")]:
        moment = now + timedelta(days=days)
        monkeypatch.setattr(fields, "datetime", SimpleNamespace(
            now=lambda zone, moment=moment: moment, fromisoformat=datetime.fromisoformat
        ))  # fmt: skip
        store.add(1, expert="anna", name=name)
    assert store.of(1)[0].name == "third"
    times = [note.time for note in store.history(1)]
    assert times == sorted(set(times))


def test_notes_are_there_when_opened_again(tmp_path):
    with NotesStore(tmp_path / "notes.sqlite") as store:
        fill(store)
        notes = store.history()
    with NotesStore(tmp_path / "notes.sqlite") as store:
        assert store.history() == notes
        (mode,) = store._database.read("PRAGMA journal_mode")[0]
        (synchronous,) = store._database.read("PRAGMA synchronous")[0]
    assert (mode, synchronous) == ("wal", 2)
    with pytest.raises(ValueError, match="closed; open it again"):
        store.current()


@pytest.mark.parametrize("statement", ["UPDATE notes SET name = 'x'", "DELETE FROM notes"])
def test_rows_are_never_changed(store, statement):
    store.add(1, expert="anna", name="a")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), store._database.write() as c:
        c.execute(statement)
    assert store.of(1)[0].name == "a"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"concept": -1}, "concept must be an integer >= 0, got -1"),
        ({"concept": 2**40}, "concept must be an index from 0 to"),
        ({"concept": 1.5}, "concept must be an integer"),
        ({"expert": ""}, "expert must be a name"),
        ({"expert": " anna"}, "expert must be a name without blanks"),
        ({"expert": None}, "expert must be a str"),
        ({"name": 3}, "name must be a str"),
        ({"name": "x" * 1001}, "at most 1000 characters, got 1001"),
        ({"text": "\ud800"}, "half of a surrogate"),
        ({"text": "a\0b"}, "no null character"),
        ({"rating": 0}, "rating must be an integer >= 1"),
        ({"rating": 6}, "rating must be an integer from 1 to 5"),
        ({"rating": True}, "rating must be an integer"),
        ({"confidence": 1.01}, "confidence must be in"),
        ({"confidence": float("nan")}, "confidence must be in"),
        ({"tags": "nuclei"}, "tags must be a list of str"),
        ({"tags": [""]}, "with an empty one"),
        ({"tags": [str(i) for i in range(51)]}, "at most 50"),
    ],
    ids=str,
)
def test_wrong_values(store, values, message):
    arguments = {"concept": 1, "expert": "anna"} | values
    with pytest.raises((TypeError, ValueError), match=message):
        store.add(arguments.pop("concept"), **arguments)
    assert len(store) == 0


@pytest.fixture(scope="module")
def quick_store(tmp_path_factory):
    """A store that does not wait for the disk."""
    with NotesStore(tmp_path_factory.mktemp("notes") / "notes.sqlite") as store:
        store._database.read("PRAGMA synchronous=OFF")
        yield store


@pytest.mark.parametrize("kind", ["csv", "json"])
@given(name=TEXT, text=TEXT, tags=st.lists(TEXT.filter(bool), max_size=3, unique=True),
       confidence=st.none() | st.floats(0, 1))  # fmt: skip
def test_any_note_comes_back(quick_store, kind, name, text, tags, confidence):
    note = quick_store.add(
        2, expert="=anna", name=name, text=text, tags=tags, confidence=confidence, rating=3
    )
    assert quick_store.of(2) == [note]
    path = quick_store.path.with_suffix(f".{kind}")
    quick_store.export_file(path, current_only=True)
    assert [read for _, read, _ in read_notes(path, None)] == [note._replace(bundle="")]
    assert quick_store.import_file(path) == 0


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_export_and_import_are_exact_and_idempotent(tmp_path, kind):
    path = tmp_path / f"notes.{kind}"
    with NotesStore(tmp_path / "a.sqlite", bundle="f" * 64) as a:
        fill(a)
        a.export_file(path)
        assert a.import_file(path) == 0  # its own notes are there already
        with NotesStore(tmp_path / "b.sqlite", bundle="f" * 64) as b:
            assert b.import_file(path) == len(HOSTILE)
            assert b.import_file(path) == 0
            assert b.history() == a.history() and b.current() == a.current()
            assert b.export_text(kind) == a.export_text(kind)
        a.export_file(path, current_only=True)
        with NotesStore(tmp_path / "c.sqlite") as c:
            c.import_file(path)
            assert c.history() == sorted(a.current(), key=lambda note: note.time)


def test_a_spreadsheet_computes_nothing(store):
    fill(store)
    for row in csv.DictReader(io.StringIO(store.export_text("csv"), newline="")):
        for column in ("expert", "name", "text", "tags"):
            assert not row[column] or row[column][0] not in "=+-@\t\r\n"
    assert [note["name"] for note in json.loads(store.export_text("json"))] == HOSTILE


def test_a_file_written_by_hand(tmp_path, store):
    path = tmp_path / "hand.csv"
    path.write_text("concept,expert,name,rating\n4.0,anna,=1+1,5\n\n7,ben,,\n7,ben,,\n")
    assert store.import_file(path) == 2  # the same row twice is one
    assert store.import_file(path) == 0
    assert [(n.concept, n.expert, n.name, n.rating) for n in store.history()] == [
        (4, "anna", "=1+1", 5), (7, "ben", "", None)
    ]  # fmt: skip


HEADER = "concept,expert,rating,time,tags\n"


BAD_FILES = [
    ("a.csv", b"", 1, "there is no column 'concept'"),
    ("a.csv", b"concept,name\n", 1, "there is no column 'expert'"),
    ("a.csv", b"concept,expert,mood\n", 1, "'mood' is unknown"),
    ("a.csv", b"concept,expert,expert\n", 1, "twice"),
    ("a.csv", HEADER.encode() + b"1,anna,,,\n2,anna\n", 3, "expected 5 cells"),
    ("a.csv", HEADER.encode() + b'1,"an\nna",,,\nx,ben,,,\n', 4, "concept must be a number"),
    ("a.csv", HEADER.encode() + b"1,anna,9,,\n", 2, "rating must be an integer from 1 to 5"),
    ("a.csv", HEADER.encode() + b"1,anna,,today,\n", 2, "time must be ISO 8601"),
    ("a.csv", HEADER.encode() + b"1,anna,,2026-01-01T00:00:00,\n", 2, "with a time zone"),
    ("a.csv", HEADER.encode() + b"1,anna,,,nuclei\n", 2, "tags must be a JSON list"),
    ("a.csv", HEADER.encode() + b'1,"anna,,,\n', 2, "this is no CSV"),
    ("a.csv", HEADER.encode() + b"1,anna,,,\n1,\xff,,,\n", 3, "not UTF-8"),
    ("a.csv", HEADER.encode() + b"5000,anna,,,\n", 2, "from 0 to 99"),
    ("a.json", b"", 1, "expected a JSON list of notes, got the end"),
    ("a.json", b'{"a": 1}', 1, "expected a JSON list"),
    ("a.json", b'[\n{"concept": 1, "expert": "a"},\n{"concept": 1}\n]', 3, "expert is missing"),
    ("a.json", b'[\n{"concept": 1, "expert": "a"},\n3]', 3, "an object in braces"),
    ("a.json", b'[\n{"concept": 1, "expert": "a"}\n', 3, "a comma or the end"),
    ("a.json", b'[\n{"concept": 1, "expert": "a"}\n]\nx', 4, "nothing after"),
    ("a.json", b'[\n{"concept": 1,\n "expert": }\n]', 3, "expected JSON"),
    ("a.json", b'[{"concept": 1, "expert": "a", "mood": 1}]', 1, "'mood' is unknown"),
    ("a.json", b'[{"concept": 1, "expert": "a", "id": "x"}]', 1, "32 hexadecimal"),
    ("a.json", b'[{"concept": 1, "expert": "a", "confidence": NaN}]', 1, "confidence must"),
    ("a.json", b"[" * 100000, 1, "expected"),
    ("a.json", b'[{"concept": 1, "expert": "a", "tags": "nuclei"}]', 1, "tags must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    BAD_FILES,
    ids=[f"{name} {message}" for name, _, _, message in BAD_FILES],
)
def test_bad_files_name_the_line_and_import_nothing(tmp_path, name, content, line, message):
    path = tmp_path / name
    path.write_bytes(content)
    bundle = SimpleNamespace(n_concepts=100, manifest={"files": {}})
    with NotesStore(tmp_path / "notes.sqlite", bundle=bundle) as store:
        with pytest.raises(ValueError, match=f"line {line}: .*{message}"):
            store.import_file(path)
        assert len(store) == 0


def test_a_changed_note_is_refused_and_nothing_imported(tmp_path, store):
    store.add(1, expert="anna", name="old")
    path = tmp_path / "notes.csv"
    store.export_file(path)
    header, row = path.read_bytes().decode("utf-8-sig").splitlines()
    assert header.startswith("id,concept,expert,time,name")
    path.write_text("\n".join([header, ",2,ben,,,,,,[],", row.replace("old", "new")]))
    with pytest.raises(ValueError, match=r"line 3: the note .* with name 'old', not 'new'"):
        store.import_file(path)
    assert len(store) == 1


def test_names_of_files(store, tmp_path):
    for method in (store.export_file, store.import_file):
        with pytest.raises(ValueError, match=r"must end in \.csv or \.json"):
            method(tmp_path / "notes.xlsx")
    with pytest.raises(ValueError, match="kind must be one of 'csv', 'json'"):
        store.export_text("xlsx")


def bundle_like(digest, pictures="0"):
    files = {f"codes_by_concept/{name}.npy": {"sha256": digest} for name in ("data", "indices")}
    files["thumbnails"] = {"sha256": pictures}
    return SimpleNamespace(n_concepts=10, manifest={"files": files})


def test_notes_of_another_bundle(tmp_path):
    first, same, other = bundle_like("a"), bundle_like("a", "1"), bundle_like("b")
    assert bundle_fingerprint(first) == bundle_fingerprint(same) != bundle_fingerprint(other)
    path = tmp_path / "notes.sqlite"
    with NotesStore(path, bundle=first) as store:
        store.add(1, expert="anna", name="a")
        store.export_file(tmp_path / "notes.json")
        with pytest.raises(ValueError, match="concept must be an index from 0 to 9"):
            store.add(10, expert="anna")
    NotesStore(path, bundle=same).close()
    with NotesStore(path) as store:
        assert store.bundle == bundle_fingerprint(first)
    with pytest.raises(ValueError, match="another bundle .* on_other_bundle"):
        NotesStore(path, bundle=other)
    with pytest.warns(UserWarning, match="another bundle"):
        store = NotesStore(path, bundle=other, on_other_bundle="warn")
    assert store.add(2, expert="anna", name="b").bundle == bundle_fingerprint(other)
    store.close()
    with NotesStore(tmp_path / "other.sqlite", bundle=other) as store:
        with pytest.raises(ValueError, match="line 2: the note is on another bundle"):
            store.import_file(tmp_path / "notes.json")
        assert len(store) == 0
    with pytest.raises(TypeError, match="bundle must be what"):
        NotesStore(path, bundle=3)


def test_files_that_are_no_notes_database(tmp_path):
    text, foreign, newer = (tmp_path / name for name in ("a.txt", "b.sqlite", "c.sqlite"))
    text.write_bytes(b"these are no pages of a database" * 100)
    with pytest.raises(ValueError, match="is no notes database"):
        NotesStore(text)
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE notes (id)")
    connection.commit()
    connection.close()
    before = foreign.read_bytes()
    with pytest.raises(ValueError, match="database of another program"):
        NotesStore(foreign)
    assert foreign.read_bytes() == before
    NotesStore(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(ValueError, match="version 2 .* install a newer skdict"):
        NotesStore(newer)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        NotesStore(tmp_path)
    with pytest.raises(FileNotFoundError, match="create"):
        NotesStore(tmp_path / "no" / "notes.sqlite")


def test_a_read_only_place(tmp_path, monkeypatch):
    if os.path.isdir("/proc/self"):  # no folder takes new files less, whoever asks
        with pytest.raises(PermissionError, match=r"ask for write access"):
            NotesStore("/proc/notes.sqlite")
    monkeypatch.setattr(database_module.os, "access", lambda place, mode: False)
    with pytest.raises(PermissionError, match=r"is read-only; ask for write access"):
        NotesStore(tmp_path / "notes.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_loses_no_other_note(store):
    store.add(1, expert="anna", name="kept")
    pages = store._database.read("PRAGMA page_count")[0][0]
    store._database.read(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OSError, match="the disk is full .* Nothing was saved of this call"):
        for _ in range(20):
            store.add(1, expert="ben", text="x" * 20000)
    store._database.read("PRAGMA max_page_count=100000")
    assert {note.name for note in store.current()} >= {"kept"}
    store.add(2, expert="anna", name="after")
    assert store.of(2)[0].name == "after"


def test_another_program_holds_the_file(tmp_path):
    with NotesStore(tmp_path / "notes.sqlite", timeout=0.05) as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
            store.add(1, expert="anna")
        other.execute("ROLLBACK")
        other.close()
        store.add(1, expert="anna")


def test_threads_share_a_store(store):
    def write(thread):
        for i in range(20):
            store.add(i, expert=f"e{thread}", name=f"{thread} {i}")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {note.name for note in store.current()}
    assert names == {f"{thread} {i}" for thread in range(8) for i in range(20)}


# One process imports the package and forks the writers; the last line that each has begun and not
# acknowledged may be there or not.
WRITERS = """
import os, select, signal, sys, time
from skdict.explorer import NotesStore

path, n_writers, n_notes, n_killed = sys.argv[1], *map(int, sys.argv[2:])
shared = NotesStore(path)  # every other writer has it from the fork
pipes, writers = {}, []
for writer in range(n_writers):
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        store = shared if writer % 2 else NotesStore(path)
        for i in range(10**9 if writer < n_killed else n_notes):  # those write until the end
            store.add(i, expert=f"e{writer}", name=f"{writer} {i}", text="x" * 300)
            os.write(write_end, b"%d\\n" % i)
        os._exit(0)
    os.close(write_end)
    pipes[read_end] = writer
    writers.append(process)
acknowledged = {writer: b"" for writer in range(n_writers)}
killed = set()
while pipes:
    for end in select.select(list(pipes), [], [])[0]:
        part, writer = os.read(end, 1 << 16), pipes[end]
        acknowledged[writer] += part
        if not part:
            del pipes[end]
        # In the middle of its notes, while it writes the next one.
        if writer < n_killed and writer not in killed:
            if acknowledged[writer].count(b"\\n") > n_notes // 3:
                killed.add(writer)
                os.kill(writers[writer], signal.SIGKILL)
for process in writers:
    os.waitpid(process, 0)
for writer, text in acknowledged.items():
    print(writer, writer in killed, text.count(b"\\n"))
"""


def concurrent_writers(path, n_writers, n_notes, n_killed):
    """Writers in processes of their own, some killed; return what they had acknowledged."""
    settings = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, str(path), *map(str, (n_writers, n_notes, n_killed))],
        capture_output=True, text=True, timeout=300, env=os.environ | settings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {int(writer): (killed == "True", int(n)) for writer, killed, n in rows}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forked")
@pytest.mark.parametrize(
    ("n_notes", "n_killed"), [(25, 6), pytest.param(200, 6, marks=pytest.mark.slow)]
)
def test_concurrent_writers_and_kill_lose_nothing(tmp_path, n_notes, n_killed):
    path = tmp_path / "notes.sqlite"
    start = time.perf_counter()
    acknowledged = concurrent_writers(path, 20, n_notes, n_killed)
    print(f"20 writers x {n_notes}: {time.perf_counter() - start:.1f} s")
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with NotesStore(path) as store:
        found = {note.name for note in store.current()}
        assert len(found) == len(store)  # none is there twice
        assert store.add(0, expert="afterwards", name="x") in store.current()
    for writer, (killed, n) in acknowledged.items():
        assert killed == (writer < n_killed)
        assert n > n_notes // 3 if killed else n == n_notes
        own = {name for name in found if name.startswith(f"{writer} ")}
        assert {f"{writer} {i}" for i in range(n)} <= own
        assert len(own) <= n + 1  # the one that was being written


def test_tables(store):
    store.add(2, expert="anna", name="mitosis", rating=5, confidence=0.5, tags=["a", "b"])
    store.add(2, expert="ben", name="division", rating=4)
    store.add(2, expert="eve", name="division", tags=["b", "c"])
    store.add(0, expert="anna", text="?")
    table = store.to_table()
    assert table["concept"].tolist() == [0, 2, 2, 2]
    assert table["rating"].isna().tolist() == [True, False, False, True]
    assert table["tags"].tolist() == ["", "a; b", "", "b; c"]
    summary = store.summary().set_index("concept")
    assert summary.loc[2].to_dict() == {
        "name": "division", "n_names": 2, "rating": 4.5, "confidence": 0.5, "tags": "a; b; c",
        "n_experts": 3,
    }  # fmt: skip
    assert summary.loc[0, "name"] == "" and np.isnan(summary.loc[0, "rating"])


def test_of_equally_many_names_the_latest_counts(store):
    store.add(1, expert="anna", name="z first")
    store.add(1, expert="ben", name="a second")
    assert store.summary()["name"].tolist() == ["a second"]


def test_tables_without_notes(store):
    assert list(store.to_table().columns) == list(Note._fields) and store.to_table().empty
    assert store.summary().empty
    table = annotate(pandas.DataFrame({"concept": [1, 2]}), store)
    assert table["note_name"].tolist() == ["", ""] and table["note_rating"].isna().all()


def test_notes_go_into_the_anndata_of_concepts(store, tmp_path):
    anndata = pytest.importorskip("anndata")
    from skdict.interop import concepts_to_anndata

    fill(store)
    store.add(9, expert="anna", name="nine", rating=4, tags=["x", "y"])
    codes = np.random.default_rng(0).random((6, 12))
    concepts = concepts_to_anndata(anndata.AnnData(np.ones((6, 2))), codes)
    part = concepts[:, [9, 3, 11]].copy()  # places are no indices any more
    assert annotate(part, store) is part
    assert part.var["note_name"].tolist()[::2] == ["nine", ""]
    assert part.var.loc["concept_09", "note_rating"] == 4
    assert part.var["note_n_experts"].tolist()[::2] == [1, 0]
    annotate(concepts, store)
    store.add(9, expert="anna", name="new")
    annotate(concepts, store)  # again: columns are replaced
    assert concepts.var["note_name"].iloc[9] == "new"
    concepts.write_h5ad(tmp_path / "concepts.h5ad")
    back = anndata.read_h5ad(tmp_path / "concepts.h5ad")
    for column in concepts.var:
        assert_array_equal(back.var[column].to_numpy(), concepts.var[column].to_numpy())


def test_which_concepts_the_rows_are(store):
    store.add(1, expert="anna", name="one")
    named = pandas.DataFrame({"x": [1, 2]}, index=["T cells", "B cells"])
    with pytest.raises(ValueError, match=r"which concept 'T cells' is; pass concepts="):
        annotate(named, store)
    assert annotate(named, store, concepts=[0, 1])["note_name"].tolist() == ["", "one"]
    assert list(named) == ["x"]
    with pytest.raises(ValueError, match="an integer for each of 2"):
        annotate(named, store, concepts=[1])
    current = annotate(named, store.current(), concepts=[1, 1], prefix="")
    assert current["name"].tolist() == ["one", "one"]


def test_reports_escape_what_was_typed(store):
    store.add(1, expert="<b>", name="<script>alert(1)</script>", text="a & b", rating=5)
    page = report_table(store)
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &amp; b" in page


def test_a_note_of_the_future_is_refused(tmp_path):
    """Its time came before all others for good, and no later note could be saved."""
    path = tmp_path / "notes.json"
    future = "9999-12-31T23:59:59.999999Z"
    path.write_text(json.dumps([{"concept": 1, "expert": "anna", "name": "x", "time": future}]))
    with NotesStore(tmp_path / "notes.sqlite") as notes:
        with pytest.raises(ValueError, match="not in the future"):
            notes.import_file(path)
        path.write_text(json.dumps([{"concept": 1, "expert": "anna", "bundle": "=HYPERLINK(1)"}]))
        with pytest.raises(ValueError, match="bundle must be a fingerprint or empty"):
            notes.import_file(path)
        assert len(notes) == 0
