"""Read the community's profile tables from disk, without any silent change of their content."""

from __future__ import annotations

import csv
import difflib
import gzip
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skdict._validation import import_optional

_CSV_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_PARQUET = (".parquet", ".pq")

# Columns by which CellProfiler and CytoTable number images and objects. They are integers, so
# nothing but their names tells them from features.
COUNTERS = frozenset({"ImageNumber", "ObjectNumber", "TableNumber"})

# Texts that mean a missing number: what pandas.read_csv takes for one by default. In metadata
# only the empty text is missing, because "None" and "NA" may be names of compounds or genes.
_MISSING_NUMBERS = (
    *("", " ", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
    *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


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
    single = isinstance(path, (str, os.PathLike, pandas.DataFrame)) or not np.iterable(path)
    items = [path] if single or _remedy(path) else list(path)
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
                "path must be a file name, a DataFrame, or a list of these (DataFrame of pandas), "
                f"got {type(item).__module__}.{type(item).__qualname__}{_remedy(item)}"
            )
        _check_unique(list(table.columns), name)
        if len(table) == 0:
            raise ValueError(f"{name} is empty: it has {table.shape[1]} columns and no row")
        tables.append(table.reset_index(drop=True))
        names.append(name)
    return tables, names


def _remedy(item) -> str:
    """Return how to convert the table of another library, or "" if it is none."""
    if hasattr(item, "to_pandas"):
        return "; convert it with .to_pandas()"
    return "; convert it with .collect().to_pandas()" if hasattr(item, "collect") else ""


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
    _check_separator(header, separator, path)
    _check_unique([name for name in header if name], str(path))
    # As text first: "0012" is a barcode and must not become 12.
    text = {name: str for name in header if is_metadata(name, prefixes, extra)}
    absent = {name: [""] if name in text else list(_MISSING_NUMBERS) for name in header}
    with _readable(path, "CSV"):
        table = pandas.read_csv(
            path,
            sep=separator,
            dtype=text,
            keep_default_na=False,
            na_values=absent,
            low_memory=False,
        )
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


def _check_separator(header: list[str], separator: str, path: Path) -> None:
    """Raise if the only column holds another separator: one column is never a profile table."""
    other = next((s for s in ",;\t|" if s != separator and s in header[0]), None)
    if len(header) == 1 and other is not None:
        raise ValueError(
            f"{path} has one column, {header[0][:60]!r}, when split at {separator!r}; its "
            f"separator seems to be {other!r}: write it with {separator!r}, or pass "
            f"pandas.read_csv(path, sep={other!r})"
        )


def _numbers_if_lossless(column):
    """Return a text column as numbers if every text is how Python writes its number.

    So no two texts become one number, and none changes: not "1E5", "0012", "1.50" or "inf".
    Integers beside an empty entry stay text, because as floats they would be other texts and,
    from 2**53 on, other numbers.
    """
    texts = column.dropna().unique()
    if len(texts) == 0:
        return column
    for kind, dtype in ((int, "int64"), (float, "float64")):
        numbers = _exact_numbers(texts, kind)
        if numbers is not None and not (kind is int and column.isna().any()):
            return column.map(numbers).astype(dtype)
    return column


def _exact_numbers(texts, kind: type[int] | type[float]) -> dict[str, int | float] | None:
    """Return the number of each text, or None if one is not exactly how it is written."""
    numbers: dict[str, int | float] = {}
    for text in texts:
        try:
            number = kind(text)
        except ValueError:
            return None
        fits = -(2**63) <= number < 2**63 if kind is int else math.isfinite(number)
        if not fits or str(number) != text:
            return None
        numbers[text] = number
    return numbers


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
