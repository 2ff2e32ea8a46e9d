"""Notes in CSV and JSON files: what is written is read back exactly, and errors name the line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from skdict._validation import check_choice
from skdict.explorer._notes_fields import (
    Note,
    check_concept,
    check_confidence,
    check_expert,
    check_rating,
    check_tags,
    check_text,
    check_time,
)

_TEXTS = ("expert", "name", "text", "tags")
# A spreadsheet computes cells that begin so, unless an apostrophe stands in front.
_COMPUTED = "=+-@\t\r\n"


def file_format(path) -> str:
    """Format that the name of a file stands for: "csv" or "json"."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".json"):
        raise ValueError(f"path must end in .csv or .json, got {str(path)!r}")
    return suffix[1:]


def notes_text(notes: Sequence[Note], kind: str) -> str:
    """Text of a CSV or JSON file with the notes, one after the other."""
    check_choice("kind", kind, ("csv", "json"))
    if kind == "json":
        lines = (json.dumps(note._asdict(), ensure_ascii=False) for note in notes)
        return "[\n" + ",\n".join(lines) + "\n]\n"
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(Note._fields)
    for note in notes:
        writer.writerow(_cells(note))
    return file.getvalue()


def read_notes(path: Path, n_concepts: int | None) -> list[tuple[int, Note, set[str]]]:
    """Read all notes of a file.

    Parameters
    ----------
    path : Path
        The file, ending in ``.csv`` or ``.json``.
    n_concepts : int or None
        Number of concepts, to check indices.

    Returns
    -------
    list of (int, Note, set of str)
        Line, note, and fields that the file does not have for it. A missing ``time`` is empty.

    Raises
    ------
    ValueError
        If the file or a note is wrong; the message holds the line.
    """
    kind = file_format(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: the text is not UTF-8; save it as UTF-8") from error
    found = []
    for line, fields in _csv_notes(path, text) if kind == "csv" else _json_notes(path, text):
        try:
            found.append((line, *_checked(fields, n_concepts)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    return found


def _cells(note: Note) -> list[str]:
    """Fields of a note as cells of a CSV file."""
    fields = note._asdict() | {"tags": json.dumps(note.tags, ensure_ascii=False)}
    cells = {name: "" if value is None else str(value) for name, value in fields.items()}
    return [_guarded(cell) if name in _TEXTS else cell for name, cell in cells.items()]


def _guarded(cell: str) -> str:
    """Cell that a spreadsheet takes for text; `_unguarded` takes the apostrophe away again."""
    first = cell[1:2] if cell.startswith("'") else cell[:1]
    double = cell.startswith("'") and first == "'"
    return f"'{cell}" if double or (first and first in _COMPUTED) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if re.match(f"'['{re.escape(_COMPUTED)}]", cell) else cell


def _csv_notes(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    """Line and fields of each row of a CSV file; blank cells are missing fields."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        header = next(rows, [])
        _check_header(path, header)
        line = rows.line_num + 1
        for row in rows:
            if len(row) != len(header) and row:
                raise ValueError(
                    f"{path}, line {line}: expected {len(header)} cells as in the header, got "
                    f"{len(row)}"
                )
            if row:
                yield line, _typed(path, line, dict(zip(header, row)))
            line = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: this is no CSV ({error})") from error


def _check_header(path: Path, header: list[str]) -> None:
    unknown = [name for name in header if name not in Note._fields]
    missing = [name for name in ("concept", "expert") if name not in header]
    if unknown or missing or len(set(header)) < len(header):
        problem = (
            f"there is no column {missing[0]!r}" if missing
            else f"the column {unknown[0]!r:.60} is unknown" if unknown
            else "a column is there twice"
        )  # fmt: skip
        raise ValueError(
            f"{path}, line 1: {problem}; the header must name concept and expert, and may name "
            f"{', '.join(name for name in Note._fields if name not in ('concept', 'expert'))}"
        )


def _typed(path: Path, line: int, cells: dict) -> dict:
    """Cells of a row as the values that JSON would hold."""
    fields = {name: _unguarded(cell) if name in _TEXTS else cell for name, cell in cells.items()}
    fields = {name: cell for name, cell in fields.items() if cell != ""}
    kinds: dict[str, Callable] = {"concept": _whole, "rating": _whole, "confidence": float}
    for name, kind in kinds.items():
        if name in fields:
            try:
                fields[name] = kind(fields[name])
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {line}: {name} must be a number, got {fields[name]!r:.60}"
                ) from error
    if "tags" in fields:
        try:
            fields["tags"] = json.loads(fields["tags"])
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f'{path}, line {line}: tags must be a JSON list such as ["nuclei"], got '
                f"{fields['tags']!r:.60}"
            ) from error
    return fields


def _whole(cell: str) -> int:
    """Integer of a cell; spreadsheets and data frames write 4 as 4.0 at times."""
    return int(re.sub(r"\.0+$", "", cell.strip()))


def _json_notes(path: Path, text: str) -> Iterator[tuple[int, dict]]:
    """Line and fields of each object in a JSON list; null and missing fields are the same."""
    decoder, space = json.JSONDecoder(), re.compile(r"\s*")

    def skip(place: int) -> int:
        return space.match(text, place).end()

    def wrong(place: int, expected: str) -> ValueError:
        got = repr(text[place : place + 20]) if place < len(text) else "the end of the file"
        return ValueError(
            f"{path}, line {text.count(chr(10), 0, place) + 1}: expected {expected}, got {got}"
        )

    place = skip(0)
    if text[place : place + 1] != "[":
        raise wrong(place, "a JSON list of notes")
    place = skip(place + 1)
    line, counted = 1, 0
    closed = text[place : place + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, place), place
        try:
            fields, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise wrong(getattr(error, "pos", place), f"JSON ({error})") from error
        if not isinstance(fields, dict):
            raise wrong(place, "a note, an object in braces")
        yield line, {name: value for name, value in fields.items() if value is not None}
        place = skip(end)
        closed = text[place : place + 1] == "]"
        if not closed:
            if text[place : place + 1] != ",":
                raise wrong(place, "a comma or the end of the list")
            place = skip(place + 1)
    place = skip(place + 1)
    if place < len(text):
        raise wrong(place, "nothing after the list")


def _checked(fields: dict, n_concepts: int | None) -> tuple[Note, set[str]]:
    """Note of given fields, and which were not given."""
    unknown = [name for name in fields if name not in Note._fields]
    absent = [name for name in ("concept", "expert") if name not in fields]
    if unknown or absent:
        raise ValueError(
            f"the field {unknown[0]!r:.60} is unknown; known are {', '.join(Note._fields)}"
            if unknown
            else f"{absent[0]} is missing"
        )
    identity, bundle = fields.get("id"), fields.get("bundle", "")
    if identity is not None and not _is_hex(identity, 32):
        raise ValueError(f"id must be 32 hexadecimal digits or empty, got {identity!r:.60}")
    if bundle and not _is_hex(bundle, 64):
        raise ValueError(f"bundle must be a fingerprint or empty, got {bundle!r:.60}")
    note = Note(
        id=identity or _identity(fields),
        concept=check_concept(fields["concept"], n_concepts),
        expert=check_expert(fields["expert"]),
        time=check_time(fields["time"]) if "time" in fields else "",
        name=check_text("name", fields.get("name", "")),
        text=check_text("text", fields.get("text", "")),
        rating=check_rating(fields.get("rating")),
        confidence=check_confidence(fields.get("confidence")),
        tags=check_tags(fields.get("tags", ())),
        bundle=bundle,
    )
    return note, {name for name in ("id", "time", "bundle") if not fields.get(name)}


def _is_hex(value, length: int) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{length}}}", value) is not None


def _identity(fields: dict) -> str:
    """Id of a note that has none: the same contents have the same."""
    content = {name: value for name, value in fields.items() if name not in ("id", "bundle")}
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
