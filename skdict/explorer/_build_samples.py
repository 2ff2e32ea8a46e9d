"""Samples of a bundle: names and metadata."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._build_labels import Labels
from skdict.explorer._build_texts import plain_text, texts

_RESERVED = ("sample", "name")


def read_metadata(metadata, n_samples: int):
    """Metadata as a data frame with distinct names of columns.

    Parameters
    ----------
    metadata : DataFrame, mapping of array-like, or None
        The columns.
    n_samples : int
        Number of samples.

    Returns
    -------
    DataFrame
        The columns, in the order of the samples.

    Raises
    ------
    TypeError, ValueError
        If it is no table, a length is wrong or a name of a column cannot be used.
    """
    pandas = import_optional("pandas", extra="explorer")
    if metadata is None:
        return pandas.DataFrame(index=range(n_samples))
    if hasattr(metadata, "to_pandas"):
        metadata = metadata.to_pandas()
    if isinstance(metadata, Mapping):
        for name, values in metadata.items():
            if isinstance(values, (str, bytes)) or len(values) != n_samples:
                raise ValueError(_wrong_length(f"metadata[{name!r}]", len(values), n_samples))
        columns = {name: getattr(v, "array", v) for name, v in metadata.items()}
        metadata = pandas.DataFrame(columns, index=range(n_samples))
    if not isinstance(metadata, pandas.DataFrame):
        raise TypeError(
            "metadata must be a data frame or a mapping from names to columns, got "
            f"{type(metadata).__name__}"
        )
    if len(metadata) != n_samples:
        raise ValueError(_wrong_length("metadata", len(metadata), n_samples))
    names = [plain_text(name) for name in metadata.columns]
    if len(set(names)) < len(names) or set(names) & set(_RESERVED):
        raise ValueError(
            "metadata must have distinct columns, none of them called 'sample' or 'name' "
            f"(sample_names holds the names), got {names}; rename the columns"
        )
    return metadata.set_axis(names, axis=1)


def _wrong_length(name: str, length: int, n_samples: int) -> str:
    return f"{name} must have one row per row of codes: got {length} for {n_samples}"


def sample_table(frame, labels: dict[str, Labels], sample_names):
    """Arrow table of the samples.

    Parameters
    ----------
    frame : DataFrame
        The metadata.
    labels : dict of Labels
        Its label columns.
    sample_names : sequence of str or None
        Names; None takes the index of `frame`.

    Returns
    -------
    pyarrow.Table
        ``sample``, ``name`` and the metadata.
    """
    arrow = import_optional("pyarrow", extra="explorer")
    n_samples = len(frame)
    if sample_names is None:
        sample_names = frame.index
    names = texts("sample_names", sample_names, n_samples, "samples")
    columns = {"sample": arrow.array(np.arange(n_samples, dtype=np.int32)), "name": names}
    for name in frame.columns:
        if name in labels:
            entry = np.array([*labels[name].labels, None], dtype=object)
            columns[name] = arrow.array(entry[labels[name].index], type=arrow.string())
        else:
            columns[name] = _stored(arrow, frame[name])
    return arrow.table(columns)


def _stored(arrow, series):
    """Column as Arrow stores it: numbers, booleans, times and texts; all else as texts."""
    types = arrow.types
    plain = ("integer", "floating", "boolean", "string", "timestamp", "date")
    try:
        column = arrow.array(series, from_pandas=True)
        if any(getattr(types, f"is_{kind}")(column.type) for kind in plain):
            return column
    except (arrow.ArrowException, TypeError, ValueError):
        pass
    missing = series.isna().to_numpy()
    values = [None if gone else plain_text(v) for v, gone in zip(series, missing)]
    return arrow.array(values, type=arrow.string())
