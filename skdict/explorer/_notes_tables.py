"""Notes back to where concepts are analysed: tables, the AnnData of concepts, reports."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._notes_fields import Note
from skdict.report import Column, Html, table

_SUMMARY = ("concept", "name", "n_names", "rating", "confidence", "tags", "n_experts")


def notes_table(notes: Sequence[Note]):
    """DataFrame of notes, one row each."""
    pandas = import_optional("pandas", extra="io")
    columns = {name: [getattr(note, name) for note in notes] for name in Note._fields}
    columns["tags"] = ["; ".join(tags) for tags in columns["tags"]]
    types = {name: "int64" if name == "concept" else object for name in Note._fields}
    types |= {"rating": "Int64", "confidence": "float64"}
    return pandas.DataFrame(
        {name: pandas.Series(columns[name], dtype=types[name]) for name in columns}
    )


def notes_summary(notes: Sequence[Note]):
    """DataFrame of current notes, one row per concept."""
    pandas = import_optional("pandas", extra="io")
    by_concept: dict[int, list[Note]] = {}
    for note in sorted(notes, key=lambda note: (note.concept, note.time)):
        by_concept.setdefault(note.concept, []).append(note)
    rows = [(concept, *_merged(group)) for concept, group in by_concept.items()]
    frame = pandas.DataFrame(rows, columns=list(_SUMMARY))
    whole = dict.fromkeys(["concept", "n_names", "n_experts"], "int64")
    return frame.astype(whole | {"rating": "float64", "confidence": "float64"})


def annotate(adata_or_table, notes, *, concepts=None, prefix: str = "note_"):
    """Write names, ratings and tags of the concepts beside them.

    Parameters
    ----------
    adata_or_table : AnnData or DataFrame
        Concepts as variables, from :func:`skdict.interop.concepts_to_anndata`, all or some of
        them; or a table with a row for each.
    notes : NotesStore or sequence of Note
        The notes; of a sequence, all are taken for current.
    concepts : array-like of int or None, default=None
        Index of the concept of each variable or row. None takes a column ``concept``, or names
        such as ``concept_0012``.
    prefix : str
        What the names of the new columns begin with, ``"note_"`` by default.

    Returns
    -------
    AnnData or DataFrame
        The AnnData itself, with new columns in ``var``; or a copy of the table with them. The
        columns are ``note_name`` (that of most experts; empty without any), ``note_n_names``,
        ``note_rating``, ``note_confidence`` (means over experts; NaN without any), ``note_tags``
        (joined with semicolons) and ``note_n_experts``. Columns of these names are replaced.

    Raises
    ------
    ValueError
        If it cannot be known which concepts the variables are.

    See Also
    --------
    NotesStore.to_table : Every expert by themselves.

    Examples
    --------
    >>> import pandas
    >>> from skdict.explorer import NotesStore, annotate
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with NotesStore(f"{folder.name}/notes.sqlite") as notes:
    ...     _ = notes.add(1, expert="anna", name="mitosis", rating=5)
    ...     table = annotate(pandas.DataFrame({"concept": [0, 1]}), notes)
    >>> table[["concept", "note_name", "note_rating"]].to_numpy().tolist()
    [[0, '', nan], [1, 'mitosis', 5.0]]
    >>> folder.cleanup()
    """
    frame = getattr(adata_or_table, "var", adata_or_table)
    if callable(frame):  # a DataFrame has a method var
        frame = adata_or_table
    concepts = _concepts_of(frame) if concepts is None else np.asarray(concepts)
    if concepts.shape != (len(frame),) or concepts.dtype.kind not in "iu":
        raise ValueError(
            f"concepts must have an integer for each of {len(frame)} concepts, got shape "
            f"{concepts.shape} of {concepts.dtype}"
        )
    current = notes.current() if hasattr(notes, "current") else list(notes)
    summary = notes_summary(current).set_index("concept").reindex(concepts)
    filled = {"name": "", "tags": "", "n_names": 0, "n_experts": 0}
    summary = summary.fillna(filled).astype({"n_names": "int64", "n_experts": "int64"})
    target = frame if frame is not adata_or_table else frame.copy()
    for name in summary.columns:
        target[f"{prefix}{name}"] = summary[name].to_numpy()
    return adata_or_table if frame is not adata_or_table else target


def report_table(notes, *, caption: str = "Notes of experts") -> Html:
    """Table of the current notes for a page of :mod:`skdict.report`; all text is escaped.

    Parameters
    ----------
    notes : NotesStore or sequence of Note
        The notes.
    caption : str, default="Notes of experts"
        What stands above.

    Returns
    -------
    Html
        A row for each concept and expert.

    Examples
    --------
    >>> from skdict.explorer import report_table
    >>> "Notes of experts" in report_table([])
    True
    """
    current = notes.current() if hasattr(notes, "current") else list(notes)
    columns = [
        Column("concept"),
        *(Column(name, numeric=False) for name in ("name", "expert")),
        Column("rating", "1 to 5"),
        Column("confidence", "0 to 1"),
        *(Column(name, numeric=False) for name in ("tags", "text")),
    ]
    rows = [
        (note.concept, note.name, note.expert, _shown(note.rating), _shown(note.confidence),
         "; ".join(note.tags), note.text)
        for note in current
    ]  # fmt: skip
    return table(columns, rows, caption=caption)


def _merged(group: list[Note]) -> tuple:
    """What the experts say of one concept together; the notes are in order of time."""
    names = [note.name for note in reversed(group) if note.name]
    counts = Counter(names)  # most_common keeps the order of equal counts: the latest first
    ratings = [note.rating for note in group if note.rating is not None]
    sure = [note.confidence for note in group if note.confidence is not None]
    return (
        counts.most_common(1)[0][0] if counts else "",
        len(counts),
        float(np.mean(ratings)) if ratings else np.nan,
        float(np.mean(sure)) if sure else np.nan,
        "; ".join(dict.fromkeys(tag for note in group for tag in note.tags)),
        len({note.expert for note in group}),
    )


def _concepts_of(frame) -> np.ndarray:
    """Indices of the concepts of a table, from its column or its names."""
    if "concept" in frame.columns:
        return frame["concept"].to_numpy()
    names = [str(name) for name in frame.index]
    unknown = [name for name in names if not re.fullmatch(r"concept_\d+", name)]
    if unknown:
        raise ValueError(
            f"it cannot be known which concept {unknown[0]!r} is; pass concepts=np.arange("
            f"{len(frame)}) if the table has all concepts in their order"
        )
    return np.array([int(name.removeprefix("concept_")) for name in names], dtype=np.int64)


def _shown(value) -> str:
    return "" if value is None else f"{value:g}"
