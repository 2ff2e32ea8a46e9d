"""Notes as rows of a database: tables, reading, writing."""

from __future__ import annotations

import json

from skdict.explorer._notes_database import append_only
from skdict.explorer._notes_fields import Note, time_after

APPLICATION = 0x736B6E31  # "skn1"
COLUMNS = ", ".join(Note._fields)

SCHEMA = [
    """CREATE TABLE notes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, concept INTEGER NOT NULL,
        expert TEXT NOT NULL, time TEXT NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL,
        rating INTEGER, confidence REAL, tags TEXT NOT NULL, bundle TEXT NOT NULL)""",
    "CREATE INDEX notes_by_concept ON notes (concept, expert, time, seq)",
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    # The latest of each concept and expert, unless that one is empty: then it was withdrawn.
    """CREATE VIEW current_notes AS SELECT * FROM notes AS n WHERE NOT EXISTS (
        SELECT 1 FROM notes AS later WHERE later.concept = n.concept AND later.expert = n.expert
        AND (later.time, later.seq) > (n.time, n.seq))
        AND NOT (name = '' AND text = '' AND tags = '[]' AND rating IS NULL
        AND confidence IS NULL)""",
    *append_only("notes"),
]


def insert(connection, note: Note) -> None:
    """Add a row."""
    values = note._replace(tags=json.dumps(note.tags, ensure_ascii=False))  # type: ignore[arg-type]
    marks = ", ".join("?" * len(Note._fields))
    connection.execute(f"INSERT INTO notes ({COLUMNS}) VALUES ({marks})", values)


def read(row: tuple) -> Note:
    """Note of a row."""
    note = Note(*row)
    try:
        return note._replace(tags=tuple(json.loads(note.tags)))  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"note {note.id!r} has damaged tags {note.tags!r}") from error


def take(connection, note: Note, missing: set[str], bundle: str) -> bool:
    """Add a note of a file unless it is there.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    note : Note
        The note.
    missing : set of str
        Fields that the file did not have.
    bundle : str
        Fingerprint for notes that have none.

    Returns
    -------
    bool
        Whether it was new.

    Raises
    ------
    ValueError
        If another note has the same id.
    """
    row = connection.execute(f"SELECT {COLUMNS} FROM notes WHERE id = ?", (note.id,)).fetchone()
    if row is None:
        time = note.time or time_after(None)
        insert(connection, note._replace(time=time, bundle=note.bundle or bundle))
        return True
    there = read(row)
    for field in Note._fields:
        if field not in missing and getattr(there, field) != getattr(note, field):
            raise ValueError(
                f"the note {note.id} is there already with {field} {getattr(there, field)!r:.80}, "
                f"not {getattr(note, field)!r:.80}; notes are never changed: empty its id and time "
                "to add it as a new one"
            )
    return False
