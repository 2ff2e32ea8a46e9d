"""Notes of experts on concepts, kept in one SQLite file that only grows."""

from __future__ import annotations

import uuid
import warnings
from pathlib import Path

from skdict._validation import check_choice, check_real
from skdict.display._files import check_writable, write_together
from skdict.explorer._notes_bundle import bundle_fingerprint
from skdict.explorer._notes_database import AppendOnlyDatabase
from skdict.explorer._notes_fields import (
    Note,
    check_concept,
    check_confidence,
    check_expert,
    check_rating,
    check_tags,
    check_text,
    time_after,
)
from skdict.explorer._notes_files import file_format, notes_text, read_notes
from skdict.explorer._notes_rows import APPLICATION, COLUMNS, SCHEMA, insert, read, take
from skdict.explorer._notes_tables import notes_summary, notes_table


class NotesStore:
    """Names, texts, ratings and tags that experts give to concepts.

    Every note is kept. What counts now is the latest note of each expert on each concept; an empty
    one withdraws those before it. A note is on disk once :meth:`add` has returned, also if the
    process is killed right after. Several processes and threads may write at the same time.

    Parameters
    ----------
    path : str or path-like
        The SQLite file, made where there is none. It must lie on a disk of this machine, not on
        a network share.
    bundle : Bundle, str or None, default=None
        The bundle that the concepts are of, or its :func:`bundle_fingerprint`. The first one is
        kept with the file. None takes the notes as they are.
    on_other_bundle : {"raise", "warn"}, default="raise"
        What to do if the notes of the file are on another bundle, where the same number is
        another concept.
    timeout : float, default=30.0
        Longest wait for other writers, in seconds.

    Attributes
    ----------
    path : Path
        The file.
    bundle : str
        Fingerprint that new notes get; empty if no bundle is known.

    Raises
    ------
    OSError
        If the file cannot be opened or written; a PermissionError where folder or file are
        read-only, a TimeoutError where another program holds it.
    ValueError
        If the file is no notes database, of a newer skdict, or of another bundle.

    See Also
    --------
    annotate : Notes in a table of concepts, or in the AnnData of concepts.

    Examples
    --------
    >>> import tempfile
    >>> from skdict.explorer import NotesStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> with NotesStore(f"{folder.name}/notes.sqlite") as notes:
    ...     _ = notes.add(12, expert="anna", name="mitosis?", rating=3)
    ...     _ = notes.add(12, expert="anna", name="mitosis", rating=5, tags=["nuclei"])
    ...     [note.name for note in notes.current()], len(notes.history(12))
    (['mitosis'], 2)
    >>> folder.cleanup()
    """

    def __init__(self, path, *, bundle=None, on_other_bundle: str = "raise", timeout: float = 30.0):
        check_choice("on_other_bundle", on_other_bundle, ("raise", "warn"))
        check_real("timeout", timeout, 0, 3600)
        self._on_other_bundle = on_other_bundle
        self._n_concepts = getattr(bundle, "n_concepts", None)
        self._database = AppendOnlyDatabase(
            path,
            schema=SCHEMA,
            application_id=APPLICATION,
            what="notes database",
            timeout=timeout,
        )
        self.path = self._database.path
        try:
            self.bundle = self._known_bundle(bundle_fingerprint(bundle))
        except BaseException:
            self.close()
            raise

    def add(
        self, concept: int, *, expert: str, name: str = "", text: str = "", rating=None,
        confidence=None, tags=(),
    ) -> Note:  # fmt: skip
        """Save a note; it is on disk when this returns.

        Parameters
        ----------
        concept : int
            Index of the concept.
        expert : str
            Who says it.
        name : str, default=""
            Name of the concept.
        text : str, default=""
            Free text.
        rating : int or None, default=None
            1 (cannot be interpreted) to 5 (clear).
        confidence : float or None, default=None
            0 to 1.
        tags : sequence of str, default=()
            Tags; doubles are dropped.

        Returns
        -------
        Note
            The note as saved. Its time is after that of all notes on the concept by the expert,
            also where the clock has been set back.

        Raises
        ------
        OSError
            If it could not be saved: the disk is full, say.
        ValueError
            If a value is out of its range.
        """
        note = Note(
            id=uuid.uuid4().hex,
            concept=check_concept(concept, self._n_concepts),
            expert=check_expert(expert),
            time="",
            name=check_text("name", name),
            text=check_text("text", text),
            rating=check_rating(rating),
            confidence=check_confidence(confidence),
            tags=check_tags(tags),
            bundle=self.bundle,
        )
        with self._database.write() as connection:
            (last,) = connection.execute(
                "SELECT max(time) FROM notes WHERE concept = ? AND expert = ?",
                (note.concept, note.expert),
            ).fetchone()
            note = note._replace(time=time_after(last))
            insert(connection, note)
        return note

    def current(self) -> list[Note]:
        """Latest note of each expert on each concept, withdrawn ones left out.

        Returns
        -------
        list of Note
            By concept and expert.
        """
        return self._notes("FROM current_notes ORDER BY concept, expert")

    def of(self, concept: int) -> list[Note]:
        """Latest notes on a concept, by expert.

        Parameters
        ----------
        concept : int
            Index of the concept.

        Returns
        -------
        list of Note
            One for each expert.
        """
        where = "FROM current_notes WHERE concept = ? ORDER BY expert"
        return self._notes(where, check_concept(concept))

    def history(self, concept: int | None = None) -> list[Note]:
        """All notes on a concept, or all there are, the oldest first.

        Parameters
        ----------
        concept : int or None, default=None
            Index of the concept.

        Returns
        -------
        list of Note
            The notes, withdrawn ones too.
        """
        if concept is None:
            return self._notes("FROM notes ORDER BY time, seq")
        where = "FROM notes WHERE concept = ? ORDER BY time, seq"
        return self._notes(where, check_concept(concept))

    def to_table(self):
        """Table of the current notes, a row for each concept and expert.

        Returns
        -------
        DataFrame
            The fields of :class:`Note`; ``rating`` is a nullable integer and ``tags`` are joined
            with semicolons. Merge it on ``concept``.
        """
        return notes_table(self.current())

    def summary(self):
        """Table of the current notes, a row for each concept that has one.

        Returns
        -------
        DataFrame
            ``concept``; ``name``, that of most experts, the latest of equally many; ``n_names``,
            different names that were given; ``rating`` and ``confidence``, means over experts (NaN
            without any); ``tags`` of all experts, joined with semicolons; ``n_experts``.
        """
        return notes_summary(self.current())

    def export_text(self, kind: str = "csv", *, current_only: bool = False) -> str:
        """Return the notes as the text of a CSV or JSON file.

        Parameters
        ----------
        kind : {"csv", "json"}, default="csv"
            Format. In CSV, text that a spreadsheet would compute (``=1+1``) gets an apostrophe in
            front, which :meth:`import_file` takes away.
        current_only : bool, default=False
            Leave out what was replaced or withdrawn.

        Returns
        -------
        str
            The text, UTF-8 without a mark in front.
        """
        return notes_text(self.current() if current_only else self.history(), kind)

    def export_file(self, path, *, current_only: bool = False) -> None:
        """Write the notes to a CSV or JSON file, as its name says.

        Parameters
        ----------
        path : str or path-like
            The file, ending in ``.csv`` or ``.json``; one that is there is replaced.
        current_only : bool, default=False
            Leave out what was replaced or withdrawn.

        Raises
        ------
        OSError
            If it cannot be written; a file that was there is kept.
        ValueError
            If its name ends otherwise.
        """
        path, kind = Path(path), file_format(path)
        check_writable(path)
        text = self.export_text(kind, current_only=current_only)
        # The mark tells spreadsheets that CSV is UTF-8.
        write_together({path: text.encode("utf-8-sig" if kind == "csv" else "utf-8")})

    def import_file(self, path) -> int:
        """Take in the notes of a CSV or JSON file, all or none.

        Notes that are there already are left out, so importing twice changes nothing. A file may
        be written by hand: ``concept`` and ``expert`` are needed, and a note without ``id`` gets
        one made from its contents.

        Parameters
        ----------
        path : str or path-like
            The file, ending in ``.csv`` or ``.json``.

        Returns
        -------
        int
            Number of new notes.

        Raises
        ------
        OSError
            If it cannot be read.
        ValueError
            If a note is wrong, of another bundle, or has the id of another note; the message
            holds the line. Nothing is imported then.
        """
        path = Path(path)
        found = read_notes(path, self._n_concepts)
        n_new = 0
        self._check_bundles(path, found)
        with self._database.write() as connection:
            for line, note, missing in found:
                try:
                    n_new += take(connection, note, missing, self.bundle)
                except ValueError as error:
                    raise ValueError(f"{path}, line {line}: {error}") from error
        return n_new

    def close(self) -> None:
        """Close the file; the notes are on disk already."""
        self._database.close()

    def __enter__(self):
        """Return the store itself."""
        return self

    def __exit__(self, *error):
        """Close the file."""
        self.close()

    def __len__(self) -> int:
        """Number of all notes, replaced and withdrawn ones too."""
        return self._database.read("SELECT count(*) FROM notes")[0][0]

    def __repr__(self):
        """Path and bundle."""
        return f"NotesStore({str(self.path)!r}, bundle={self.bundle!r})"

    def _notes(self, where: str, *values) -> list[Note]:
        return [read(row) for row in self._database.read(f"SELECT {COLUMNS} {where}", values)]

    def _known_bundle(self, given: str) -> str:
        """Bundle of the file; `given` becomes it if there is none yet."""
        statement = "SELECT value FROM settings WHERE key = 'bundle'"
        rows = self._database.read(statement)
        if given and not rows:
            with self._database.write() as connection:  # another process may be quicker
                insert_it = "INSERT OR IGNORE INTO settings VALUES ('bundle', ?)"
                connection.execute(insert_it, (given,))
            rows = self._database.read(statement)
        kept = rows[0][0] if rows else ""
        if given and kept != given:
            self._other_bundle(f"the notes in {str(self.path)!r} are", kept, given)
        return given or kept

    def _check_bundles(self, path, found) -> None:
        """Raise or warn if a note of a file is on another bundle."""
        for line, note, _ in found if self.bundle else ():
            if note.bundle not in ("", self.bundle):
                self._other_bundle(f"{path}, line {line}: the note is", note.bundle, self.bundle)
                return

    def _other_bundle(self, what: str, theirs: str, own: str) -> None:
        message = (
            f"{what} on another bundle (fingerprint {theirs[:12]}) than this one ({own[:12]}), "
            "where the same number is another concept; open the bundle that they are on or choose "
            "another file"
        )
        if self._on_other_bundle == "raise":
            raise ValueError(
                f'{message}, or pass on_other_bundle="warn" to NotesStore if you know that the '
                "concepts are the same"
            )
        warnings.warn(message, UserWarning, stacklevel=4)
