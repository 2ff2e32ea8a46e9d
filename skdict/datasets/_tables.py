"""Read the community's profile tables from disk, without any silent change of their content."""

from __future__ import annotations

import csv
import difflib
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skdict._validation import import_optional

_CSV_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_PARQUET = (".parquet", ".pq")

# Columns by which CellProfiler and CytoTable number images and objects. They are integers, so
# nothing but their names tells them from features.
COUNTERS = frozenset({"ImageNumber", "ObjectNumber", "TableNumber"})


def is_metadata(name: str, prefixes: Sequence[str], extra: Sequence[str]) -> bool:
    """Return whether a column is metadata, by its name.

    ``Image_Metadata_Well`` is how CellProfiler writes ``Metadata_Well`` in its per-image tables.
    """
    starts = tuple(prefixes) + tuple(f"Image_{prefix}" for prefix in prefixes)
    return name in extra or name in COUNTERS or name.startswith(starts)


def read_tables(path, prefixes, extra) -> tuple[list, list[str]]:
    """Return the tables as DataFrames, and the name of each for messages.

    Parameters
    ----------
    path : path, DataFrame, or list of these
        What to read.
    prefixes, extra : sequence of str
        What makes a column metadata, see `is_metadata`.

    Returns
    -------
    tables : list of DataFrame
    names : list of str
    """
    pandas = import_optional("pandas", extra="io")
    items = [path] if isinstance(path, (str, os.PathLike, pandas.DataFrame)) else list(path)
    if not items:
        raise ValueError("path must name at least one file, got an empty list")
    tables, names = [], []
    for number, item in enumerate(items):
        if isinstance(item, pandas.DataFrame):
            # str: integer column names come from DataFrame(array) and are legitimate features
            table, name = item.rename(columns=str), f"<DataFrame {number}>"
        elif isinstance(item, (str, os.PathLike)):
            name = os.fspath(item)
            table = _read_file(Path(item), prefixes, extra)
        else:
            raise TypeError(
                f"path must be a file name, a DataFrame, or a list of these, got {type(item)}"
            )
        _check_unique(list(table.columns), name)
        if len(table) == 0:
            raise ValueError(f"{name} is empty: it has {table.shape[1]} columns and no row")
        tables.append(table.reset_index(drop=True))
        names.append(name)
    return tables, names


def _read_file(path: Path, prefixes, extra):
    """Read one parquet or CSV file; an unreadable one gives a ValueError that names it."""
    pandas = import_optional("pandas", extra="io")
    suffix = path.name.lower()
    if not path.exists():
        folder = path.parent
        near = difflib.get_close_matches(path.name, os.listdir(folder)) if folder.is_dir() else []
        hint = f"; did you mean {near[0]}?" if near else ""
        raise FileNotFoundError(f"path: no file {os.fspath(path)!r}{hint}")
    separator = next((s for end, s in _CSV_SEPARATORS.items() if suffix.endswith(end)), None)
    if separator is None and not suffix.endswith(_PARQUET):
        known = ", ".join([*_PARQUET, *_CSV_SEPARATORS])
        raise ValueError(f"path: {path.name!r} must end in one of {known}; or pass a DataFrame")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    if separator is None:
        # asked for here because pandas' own message about engines names no extra of this package
        import_optional("pyarrow", extra="io")
        with _readable(path, "parquet"):
            return pandas.read_parquet(path, engine="pyarrow")
    with _readable(path, "CSV"):
        header = _csv_header(path, separator)
    if not header:
        raise ValueError(f"{path} is empty: it has no header")
    _check_unique([name for name in header if name], str(path))
    # As text first: "0012" is a barcode and must not become 12.
    text = {name: str for name in header if is_metadata(name, prefixes, extra)}
    with _readable(path, "CSV"):
        table = pandas.read_csv(path, sep=separator, dtype=text, low_memory=False)
    for name in text:
        table[name] = _numbers_if_lossless(table[name])
    return table


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what readers raise on damaged files into one ValueError that names the file."""
    try:
        yield
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise ValueError(
            f"{path} could not be read as {kind}; it may be damaged or of another format "
            f"({type(error).__name__}: {error})"
        ) from error


def _csv_header(path: Path, separator: str) -> list[str]:
    """Return the column names as written: pandas would rename duplicates without a word."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, delimiter=separator), [])


def _numbers_if_lossless(column):
    """Return a text column as numbers if every value is one and none has a leading zero."""
    pandas = import_optional("pandas", extra="io")
    present = column.dropna()
    if present.empty or present.str.match(r"^[+-]?0\d").any():
        return column
    try:
        return pandas.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _check_unique(columns: list[str], name: str) -> None:
    """Raise if a column name occurs twice."""
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise ValueError(
            f"{name} has duplicated columns: {shorten(twice)}; rename or remove them, because "
            "which of them is meant cannot be told"
        )


def shorten(names, limit: int = 5) -> str:
    """Return the first names of a list as text, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
