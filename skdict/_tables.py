"""Columns as a Bunch or a DataFrame."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._validation import import_optional


def table(columns: dict, as_frame: bool, **others):
    """Bunch of equally long columns, or the same as a DataFrame.

    Parameters
    ----------
    columns : dict of ndarray
        The columns.
    as_frame : bool
        Return a DataFrame of `columns` alone.
    **others : dict
        What the Bunch holds besides, such as means.

    Returns
    -------
    Bunch or DataFrame
        The table.
    """
    return table_of(columns, True) if as_frame else Bunch(**columns, **others)


def columns_of(rows: list[dict], as_frame: bool):
    """Table of equal dicts, one per row: a dict of columns, or a DataFrame."""
    return table_of({name: np.array([row[name] for row in rows]) for name in rows[0]}, as_frame)


def table_of(columns: dict, as_frame: bool):
    """Dict of columns, or the same as a DataFrame."""
    return import_optional("pandas", extra="io").DataFrame(columns) if as_frame else columns
