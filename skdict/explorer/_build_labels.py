"""Labels of the samples of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._build_texts import plain_text

# A column that nobody names is taken for labels with at most so many of them.
_MOST_LABELS_FOUND = 1000
_MOST_LABELS = 10_000


@dataclass(frozen=True)
class Labels:
    """Labels of one column.

    Attributes
    ----------
    labels : list of str
        Distinct labels, sorted.
    index : ndarray of int, shape (n_samples,)
        Place of each sample's label; -1 where it has none.
    """

    labels: list[str]
    index: np.ndarray


def read_labels(frame, label_columns) -> dict[str, Labels]:
    """Labels of the columns that hold some.

    Parameters
    ----------
    frame : DataFrame
        The metadata.
    label_columns : sequence of str or None
        The columns; None takes those of texts, categories and booleans whose labels repeat.

    Returns
    -------
    dict of Labels
        One entry per column.

    Raises
    ------
    ValueError
        If a column is missing or given twice, has no label at all or too many.
    """
    if label_columns is None:
        columns = [name for name in frame.columns if _holds_labels(frame[name])]
        return {name: _labels_of(name, frame[name]) for name in columns}
    if isinstance(label_columns, str):
        label_columns = [label_columns]
    columns = [plain_text(name) for name in label_columns]
    unknown = [name for name in columns if name not in frame.columns]
    if unknown or len(set(columns)) < len(columns):
        raise ValueError(
            f"label_columns must be distinct columns of metadata, {list(frame.columns)}, "
            f"got {columns}"
        )
    return {name: _labels_of(name, frame[name]) for name in columns}


def _holds_labels(series) -> bool:
    """Whether a column nobody named looks like labels."""
    types = import_optional("pandas", extra="explorer").api.types
    kinds = (types.is_object_dtype, types.is_string_dtype, types.is_bool_dtype)
    categorical = getattr(series.dtype, "categories", None) is not None
    if not (categorical or any(kind(series.dtype) for kind in kinds)):
        return False
    try:
        n_labels = series.nunique()
    except TypeError:  # lists, say
        return False
    return 2 <= n_labels <= min(_MOST_LABELS_FOUND, max(2, len(series) // 2))


def _labels_of(name: str, series) -> Labels:
    """Labels of one column as texts; equal texts are one label."""
    pandas = import_optional("pandas", extra="explorer")
    try:
        codes, values = pandas.factorize(series)
    except TypeError as error:
        raise ValueError(
            f"label_columns must name columns of labels, but {name!r} holds something else "
            f"({error})"
        ) from error
    values = values.tolist()
    if not 0 < len(values) <= _MOST_LABELS:
        raise ValueError(
            f"label_columns: {name!r} must have at least one and at most {_MOST_LABELS} distinct "
            f"labels, got {len(values)}; leave it out of label_columns"
        )
    written = [_label_text(value) for value in values]
    labels = list(dict.fromkeys(written[place] for place in _order(series, values, written)))
    place_of = {label: place for place, label in enumerate(labels)}
    places = np.array([*(place_of[label] for label in written), -1], dtype=np.int32)
    return Labels(labels, places[codes])  # a code of -1 is the last


def _order(series, values, written) -> list[int]:
    """Order of the distinct values: that of their categories, else ascending."""
    categories = getattr(series.dtype, "categories", None)
    if categories is not None:
        place = {value: row for row, value in enumerate(categories.tolist())}
        return sorted(range(len(values)), key=lambda row: place[values[row]])
    try:
        return sorted(range(len(values)), key=values.__getitem__)
    except TypeError:  # of several types
        return sorted(range(len(values)), key=written.__getitem__)


def _label_text(value) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return plain_text(int(value) if whole else value)
