"""Build the mask of control rows from a description of the controls."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from skdict._validation import import_optional
from skdict.datasets._tables import shorten

_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)([.][0-9]+)?")


def control_mask(metadata, control, prefixes) -> np.ndarray:
    """Return the mask of control rows.

    Parameters
    ----------
    metadata : DataFrame, shape (n_samples, n_columns)
        Metadata columns.
    control : dict, str, callable, array of bool, or None
        See `read_profiles`.
    prefixes : sequence of str
        Prefixes that a key of a dict may leave out.

    Returns
    -------
    ndarray of bool, shape (n_samples,)
    """
    if control is None:
        return np.zeros(len(metadata), dtype=bool)
    if isinstance(control, Mapping):
        mask = _from_dict(metadata, control, prefixes)
    elif isinstance(control, str):
        mask = _from_query(metadata, control)
    elif callable(control):
        mask = _as_mask(control(metadata.copy()), len(metadata), "control(metadata)")
    else:
        mask = _as_mask(control, len(metadata), "control")
    if not mask.any():
        raise ValueError(
            f"control={control!r} matches no row{_value_hint(metadata, control, prefixes)}"
        )
    return mask


def _from_dict(metadata, control, prefixes) -> np.ndarray:
    """Return the rows where every column has one of its values."""
    if not control:
        raise ValueError("control must name at least one column, got an empty dict")
    mask = np.ones(len(metadata), dtype=bool)
    for key, values in control.items():
        column = metadata[_find_column(metadata, key, prefixes)]
        mask &= _matches(column, values)
    return mask


def _find_column(metadata, key, prefixes) -> str:
    """Return the column that a key means, with or without its prefix."""
    candidates = [str(key), *(f"{prefix}{key}" for prefix in prefixes)]
    for name in candidates:
        if name in metadata.columns:
            return name
    known = list(metadata.columns)
    near = difflib.get_close_matches(candidates[-1], known, n=3, cutoff=0.4)
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise ValueError(
        f"control names the column {key!r}, which is no metadata column{hint}; "
        f"metadata columns are {shorten(known, 20)}"
    )


def _matches(column, values) -> np.ndarray:
    """Return where a column has one of the values; None and NaN mean a missing entry."""
    pandas = import_optional("pandas", extra="io")
    if isinstance(values, (str, bytes)) or not np.iterable(values):
        values = [values]
    mask = np.zeros(len(column), dtype=bool)
    present = column.notna().to_numpy()
    numeric = pandas.api.types.is_numeric_dtype(column)
    for value in values:
        if pandas.isna(value):
            mask |= column.isna().to_numpy()
        elif numeric:
            mask |= (column == _as_number(value)).to_numpy(dtype=bool, na_value=False)
        else:
            equal = _equal_number if _is_number(value) else _equal_text
            mask |= np.array([equal(v, value) for v in column], dtype=bool) & present
    return mask


def _as_number(value):
    """Return "0" as 0: the file may hold the text "0" that reading made a number."""
    for kind in (int, float):  # int first: a float does not hold long identifiers
        try:
            return kind(value) if isinstance(value, str) else value
        except ValueError:
            continue
    return value


def _is_number(value) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool)


def _equal_text(entry, value) -> bool:
    return str(entry) == str(value)


def _equal_number(entry, value) -> bool:
    """Return whether an entry of a text column writes a number: 0.0 is meant by "0" and "0.0".

    Plain decimals only: "0012" and "1E5" are codes.
    """
    text = str(entry)
    return text == str(value) or (
        _PLAIN_NUMBER.fullmatch(text) is not None and Decimal(text) == Decimal(str(value))
    )


def _from_query(metadata, query) -> np.ndarray:
    """Return the rows that a pandas query selects."""
    try:
        result = metadata.eval(query, engine="python")
    except Exception as error:  # pandas raises its own errors, SyntaxError, TypeError, KeyError
        raise ValueError(
            f"control={query!r} is no query that pandas can evaluate on the metadata "
            f"({type(error).__name__}: {error}); write for example "
            f"\"Metadata_compound == 'DMSO'\"; metadata columns are "
            f"{shorten(metadata.columns, 20)}"
        ) from error
    return _as_mask(result, len(metadata), f"control={query!r}")


def _as_mask(result, n_rows: int, what: str) -> np.ndarray:
    """Return a boolean mask, refusing everything that is not one."""
    array = np.asarray(result)
    if array.dtype == object and all(isinstance(v, (bool, np.bool_)) for v in array.ravel()):
        array = array.astype(bool)
    if array.shape != (n_rows,) or array.dtype != np.bool_:
        raise ValueError(
            f"{what} must be a boolean per row, shape ({n_rows},); got shape {array.shape} and "
            f"dtype {array.dtype}; pass a dict such as {{'Metadata_compound': 'DMSO'}}, a query, "
            "a function of the metadata, or a boolean mask"
        )
    return array


def _value_hint(metadata, control, prefixes) -> str:
    """Return the commonest values of the columns of a dict, for the error message."""
    if not isinstance(control, Mapping):
        return ""
    hints = []
    for key in control:
        name = _find_column(metadata, key, prefixes)
        common = metadata[name].astype(str).value_counts().index[:8]
        hints.append(f"{name} has {shorten(common, 8)}")
    return "; commonest values: " + "; ".join(hints)
