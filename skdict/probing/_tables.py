"""Rows of results as a dict of columns or a DataFrame."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional


def columns_of(rows: list[dict], as_frame: bool):
    """Table of equal dicts, one per row."""
    return table_of({name: np.array([row[name] for row in rows]) for name in rows[0]}, as_frame)


def table_of(columns: dict, as_frame: bool):
    """Dict of columns, or the same as a DataFrame."""
    if as_frame:
        return import_optional("pandas", extra="io").DataFrame(columns)
    return columns
