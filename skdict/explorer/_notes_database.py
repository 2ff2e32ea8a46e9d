"""SQLite files that only grow: what was acknowledged stays, however many write and crash."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

# Primary result codes of SQLite; the extended ones carry more in their higher bits.
_PERM, _BUSY, _LOCKED, _READONLY, _IOERR = 3, 5, 6, 8, 10
_CORRUPT, _FULL, _CANTOPEN, _NOTADB = 11, 13, 14, 26


class AppendOnlyDatabase:
    """A database file of one kind, for several threads and processes.

    The journal is a write-ahead log and each commit waits for the disk (``synchronous=FULL``), so
    that a row is there after a crash of the process or the machine once :meth:`write` has ended.
    Writers wait for each other. The file must lie on a disk of this machine: write-ahead logs do
    not work over a network. A process that forks opens the file anew in the child.

    Parameters
    ----------
    path : str or path-like
        The file; it is made where there is none.
    schema : sequence of str
        Statements that make tables, views and triggers, of version 1.
    application_id : int
        Number in the head of the file that tells this kind from others.
    what : str
        What it is, for errors: "notes database".
    timeout : float, default=30.0
        Longest wait for other writers, in seconds.
    """

    version = 1

    def __init__(
        self, path, *, schema: Sequence[str], application_id: int, what: str, timeout: float = 30.0
    ):
        self.path = Path(path).absolute()  # so that ":memory:" is a name like others
        self.schema = schema
        self.application_id = application_id
        self.what = what
        self.timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._open()

    def read(self, statement: str, values=()) -> list[tuple]:
        """Rows that a statement selects."""
        with self._held() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def write(self):
        """Transaction that no other writer enters: all of it is kept, or nothing on an error."""
        with self._held() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self):
        """Close the file; what follows raises ValueError."""
        with self._lock:
            self._finalizer()
            self._connection = None

    @contextmanager
    def _held(self):
        """The connection of this process, for one thread at a time; errors of SQLite explained."""
        if os.getpid() != self._pid:  # after a fork: locks and connection are the parent's
            self._finalizer.detach()
            self._left_to_parent = self._connection
            self._open()
        with self._lock:
            if self._connection is None:
                raise ValueError(f"the {self.what} {str(self.path)!r} is closed; open it again")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._check_place()
        try:
            self._connection = self._prepared()
        except sqlite3.Error as error:
            raise self._explained(error) from error
        self._finalizer = weakref.finalize(self, _close, self._connection, self._pid)

    def _check_place(self) -> None:
        path, folder = self.path, self.path.parent
        if path.is_dir():
            raise IsADirectoryError(f"path {str(path)!r} is a folder; name a file in it")
        if not folder.is_dir():
            raise FileNotFoundError(
                f"path {str(path)!r} lies in a folder that does not exist; create {str(folder)!r} "
                "first or choose another"
            )
        # SQLite keeps its log beside the file: the folder must be writable too.
        for place in [folder, path] if path.exists() else [folder]:
            if not os.access(place, os.W_OK):
                raise PermissionError(errno.EACCES, self._read_only(place))

    def _read_only(self, place) -> str:
        return (
            f"the {self.what} {str(self.path)!r} cannot be written because {str(place)!r} is "
            "read-only; ask for write access, or copy the file (while nobody writes) to a folder "
            "of your own"
        )

    def _prepared(self) -> sqlite3.Connection:
        """Connection with the tables in place, waiting for others that do the same."""
        end = time.monotonic() + self.timeout
        while True:
            connection = sqlite3.connect(
                self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                # Changing the kind of journal fails at once while another process does.
                if _code(error) not in (_BUSY, _LOCKED) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            except BaseException:
                connection.close()
                raise

    def _prepare(self, connection) -> None:
        connection.execute("PRAGMA trusted_schema=OFF")
        version = self._checked_version(connection)
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise OSError(
                f"the {self.what} {str(self.path)!r} lies where SQLite has no write-ahead log "
                f"(journal_mode is {mode!r}); choose a folder on a disk of this machine"
            )
        connection.execute("PRAGMA synchronous=FULL")
        if version == 0:
            self._create(connection)

    def _checked_version(self, connection) -> int:
        """Version of the tables, 0 for an empty file; nothing is written before it is known."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != self.application_id and (application or version or n_tables):
            raise ValueError(
                f"path {str(self.path)!r} is a database of another program, no {self.what} of "
                "skdict; name another file"
            )
        if version > self.version:
            raise ValueError(
                f"the {self.what} {str(self.path)!r} has version {version} of the tables, and "
                f"this skdict knows versions up to {self.version}: install a newer skdict"
            )
        return version

    def _create(self, connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if self._checked_version(connection) == 0:  # nobody was quicker
            for statement in self.schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={self.application_id}")
            connection.execute(f"PRAGMA user_version={self.version}")
        connection.execute("COMMIT")

    def _explained(self, error: sqlite3.Error) -> Exception:
        """What an error of SQLite means for the caller."""
        name, code = f"the {self.what} {str(self.path)!r}", _code(error)
        if code == _FULL:
            return OSError(
                errno.ENOSPC,
                f"{name} cannot grow: the disk is full ({error}). Nothing was saved of this "
                "call, and all that was saved before is kept; free some space and save again",
            )
        if code in (_BUSY, _LOCKED):
            return TimeoutError(
                f"{name} is held by another program for longer than {self.timeout:g} s ({error}); "
                "nothing was saved of this call: save again, or close that program"
            )
        if code in (_READONLY, _PERM, _CANTOPEN):
            return PermissionError(errno.EACCES, f"{self._read_only(self.path.parent)} ({error})")
        if code in (_NOTADB, _CORRUPT):
            return ValueError(
                f"path {str(self.path)!r} is no {self.what}, or a damaged one ({error}); name "
                "another file, or put back a copy of it"
            )
        if code == _IOERR:
            return OSError(
                errno.EIO,
                f"{name} cannot be read or written ({error}): the disk is full, gone or damaged; "
                "nothing was saved of this call",
            )
        return error


def _code(error: sqlite3.Error) -> int:
    """Primary result code of SQLite."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _close(connection, pid: int) -> None:
    """Close a connection in the process that opened it."""
    if os.getpid() == pid:
        connection.close()


def append_only(table: str) -> list[str]:
    """Triggers that refuse to change or delete rows of a table."""
    return [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are append-only: add a row instead'); END"
        for verb in ("UPDATE", "DELETE")
    ]
