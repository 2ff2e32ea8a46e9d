"""Answers of experts to a blinded study: saved one by one, resumed where they stopped."""

from __future__ import annotations

from typing import NamedTuple

from skdict._validation import check_choice, check_real
from skdict.explorer._notes_database import AppendOnlyDatabase, append_only
from skdict.explorer._notes_fields import check_confidence, check_expert, check_text, time_after

ANSWERS = ("yes", "no", "unsure")

_APPLICATION = 0x736B6131  # "ska1"
_SCHEMA = [
    """CREATE TABLE answers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, code TEXT NOT NULL,
        expert TEXT NOT NULL, time TEXT NOT NULL, interpretable TEXT NOT NULL, name TEXT NOT NULL,
        confidence REAL, seconds REAL)""",
    "CREATE INDEX answers_by_code ON answers (study, expert, code, seq)",
    """CREATE VIEW current_answers AS SELECT * FROM answers WHERE seq IN (
        SELECT max(seq) FROM answers GROUP BY study, expert, code)""",
    *append_only("answers"),
]


class StudyAnswer(NamedTuple):
    """What an expert says of an item.

    Parameters
    ----------
    code : str
        Code of the item.
    expert : str
        Who says it.
    time : str
        When, UTC.
    interpretable : {"yes", "no", "unsure"}
        Whether the examples show one thing.
    name : str
        Which.
    confidence : float or None
        How sure, 0 to 1.
    seconds : float or None
        How long it took.

    Examples
    --------
    >>> from skdict.explorer import StudyAnswer
    >>> StudyAnswer._fields[3:]
    ('interpretable', 'name', 'confidence', 'seconds')
    """

    code: str
    """Code of the item."""
    expert: str
    """Who says it."""
    time: str
    """When, UTC."""
    interpretable: str
    """"yes", "no" or "unsure"."""
    name: str
    """What it is."""
    confidence: float | None
    """0 to 1, or None."""
    seconds: float | None
    """How long it took, or None."""


_COLUMNS = ", ".join(StudyAnswer._fields)


class StudySession:
    """One expert's way through a study.

    An answer is on disk once :meth:`answer` has returned; a session that ends in any way is
    resumed by opening it again. An item may be answered again: all is kept, the last one counts.

    Parameters
    ----------
    study : BlindedStudy
        The study.
    expert : str
        Who answers.
    answers_path : str or path-like
        SQLite file of the answers.

    Attributes
    ----------
    study : BlindedStudy
        As given.
    expert : str
        As given.

    Raises
    ------
    OSError
        If the file cannot be opened or written.
    ValueError
        If it is no file of answers, or the name of the expert is empty.

    Examples
    --------
    See :func:`make_blinded_study`.
    """

    def __init__(self, study, expert: str, answers_path):
        self.study = study
        self.expert = check_expert(expert)
        self._codes = {item.code for item in study.items}
        self._database = _open(answers_path)

    def next(self):
        """First item that has no answer yet.

        Returns
        -------
        StudyItem or None
            None when all are answered.
        """
        answered = {answer.code for answer in self.answers()}
        return next((item for item in self.study.items if item.code not in answered), None)

    def answer(
        self, code: str, interpretable: str, *, name: str = "", confidence=None, seconds=None
    ) -> StudyAnswer:
        """Save an answer; it is on disk when this returns.

        Parameters
        ----------
        code : str
            Code of the item.
        interpretable : {"yes", "no", "unsure"}
            Whether the examples show one thing.
        name : str, default=""
            Which.
        confidence : float or None, default=None
            0 to 1.
        seconds : float or None, default=None
            How long it took.

        Returns
        -------
        StudyAnswer
            The answer as saved.

        Raises
        ------
        OSError
            If it could not be saved.
        ValueError
            If the study has no such item, or a value is out of its range.
        """
        if code not in self._codes:
            raise ValueError(f"code must be that of an item of study {self.study.study_id}, got "
                             f"{code!r}")  # fmt: skip
        check_choice("interpretable", interpretable, ANSWERS)
        if seconds is not None:
            check_real("seconds", seconds, 0, 1e9)
            seconds = float(seconds)
        name, confidence = check_text("name", name), check_confidence(confidence)
        answer = StudyAnswer(
            code, self.expert, time_after(None), interpretable, name, confidence, seconds
        )
        marks = ", ".join("?" * (1 + len(answer)))
        with self._database.write() as connection:
            connection.execute(
                f"INSERT INTO answers (study, {_COLUMNS}) VALUES ({marks})",
                (self.study.study_id, *answer),
            )
        return answer

    def answers(self) -> list[StudyAnswer]:
        """Latest answers of this expert.

        Returns
        -------
        list of StudyAnswer
            In the order of the study.
        """
        return _current(self._database, self.study, self.expert)

    @property
    def n_answered(self) -> int:
        """Number of items with an answer."""
        return len(self.answers())

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.study.items)

    def close(self) -> None:
        """Close the file; the answers are on disk already."""
        self._database.close()

    def __enter__(self):
        """Return the session itself."""
        return self

    def __exit__(self, *error):
        """Close the file."""
        self.close()


def read_answers(study, answers_path) -> list[StudyAnswer]:
    """Latest answers of all experts."""
    database = _open(answers_path, must_exist=True)
    try:
        return _current(database, study, None)
    finally:
        database.close()


def _open(path, must_exist: bool = False) -> AppendOnlyDatabase:
    if must_exist:
        with open(path, "rb"):  # an empty file of answers is not made by reading
            pass
    return AppendOnlyDatabase(
        path, schema=_SCHEMA, application_id=_APPLICATION, what="file of study answers"
    )


def _current(database, study, expert: str | None) -> list[StudyAnswer]:
    rows = database.read(
        f"SELECT {_COLUMNS} FROM current_answers WHERE study = ? AND (? IS NULL OR expert = ?)",
        (study.study_id, expert, expert),
    )
    place = {item.code: i for i, item in enumerate(study.items)}
    answers = [StudyAnswer(*row) for row in rows]
    known = [answer for answer in answers if answer.code in place]
    return sorted(known, key=lambda answer: (answer.expert, place[answer.code]))
