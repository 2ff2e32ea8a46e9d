"""Columns as a Bunch or a DataFrame."""

from __future__ import annotations

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
    if as_frame:
        return import_optional("pandas", extra="io").DataFrame(columns)
    return Bunch(**columns, **others)
