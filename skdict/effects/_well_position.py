"""Names of wells as places on the plate."""

from __future__ import annotations

import re

import numpy as np
from sklearn.utils import Bunch

from skdict._units import is_missing
from skdict._validation import check_integer

# Rows and columns of the plates with 6, 12, 24, 48, 96, 384 and 1536 wells.
PLATES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))

_WELL = re.compile(r"([A-Z]{1,2})0*([1-9][0-9]{0,2})", re.IGNORECASE)


def well_position(well, *, plate_rows=None, plate_columns=None) -> Bunch:
    """Row, column and edge of wells, from names such as ``"A01"``, ``"P24"`` and ``"AF48"``.

    Rows and columns of a plate are where evaporation, temperature and dispensing show: give them
    to :func:`technical_audit` as factors.

    Parameters
    ----------
    well : array-like of str, shape (n_samples,)
        Name of each row's well: one or two letters for the row of the plate, a number for its
        column. Small letters and leading zeros do not matter.
    plate_rows, plate_columns : int, default=None
        Size of the plate. None takes the smallest plate of 6, 12, 24, 48, 96, 384 or 1536 wells
        that has all of the wells; give both where the outer wells do not occur in `well`.

    Returns
    -------
    Bunch
        With the entries

        - ``row``, ``column``: ndarray of int, shape (n_samples,), counted from 1;
        - ``edge``: ndarray of bool, shape (n_samples,), True in the first and last row and column
          of the plate;
        - ``plate_rows``, ``plate_columns``: the size of the plate.

    Raises
    ------
    ValueError
        If a name is missing or not understood, if a well lies outside the plate, or if only one
        of `plate_rows` and `plate_columns` is given.

    See Also
    --------
    technical_audit : How much of a concept's activation the position explains.

    Examples
    --------
    >>> from skdict.effects import well_position
    >>> place = well_position(["A01", "B02", "P24"])
    >>> place.row, place.column, place.edge
    (array([ 1,  2, 16]), array([ 1,  2, 24]), array([ True, False,  True]))
    >>> place.plate_rows, place.plate_columns
    (16, 24)
    """
    given, well = well, np.asarray(well)
    if well.ndim != 1 or well.shape[0] == 0:
        raise ValueError(f"well must be one-dimensional, a name per row, got shape {well.shape}")
    if is_missing(given).any():
        raise ValueError("well holds missing names; drop these rows")
    names, index = np.unique(well.astype(str), return_inverse=True)
    row, column = np.array([_place(name) for name in names.tolist()]).T
    plate_rows, plate_columns = _plate_size(names, row, column, plate_rows, plate_columns)
    edge = (row == 1) | (row == plate_rows) | (column == 1) | (column == plate_columns)
    return Bunch(
        row=row[index], column=column[index], edge=edge[index],
        plate_rows=plate_rows, plate_columns=plate_columns,
    )  # fmt: skip


def row_name(row: int) -> str:
    """Letters of a row counted from 1: A to Z, then AA, AB, ..."""
    first, last = divmod(row - 1, 26)
    return ("" if first == 0 else chr(64 + first)) + chr(65 + last)


def _place(name: str) -> tuple[int, int]:
    """Row and column of a well, counted from 1."""
    parts = _WELL.fullmatch(name)
    if parts is None:
        raise ValueError(
            f"well holds {name!r}, which is no name of a well; names are one or two letters and a "
            "number, such as 'A01', 'P24' or 'AF48'"
        )
    row = 0
    for letter in parts[1].upper():
        row = 26 * row + ord(letter) - 64
    return row, int(parts[2])


def _plate_size(names, row, column, plate_rows, plate_columns) -> tuple[int, int]:
    """Size of the plate: the one given, or the smallest that has all wells."""
    if (plate_rows is None) != (plate_columns is None):
        raise ValueError(
            "plate_rows and plate_columns are the size of one plate: give both or neither, got "
            f"plate_rows={plate_rows!r} and plate_columns={plate_columns!r}"
        )
    sizes = list(PLATES)
    if plate_rows is not None:
        check_integer("plate_rows", plate_rows, 1)
        check_integer("plate_columns", plate_columns, 1)
        sizes = [(int(plate_rows), int(plate_columns))]
    for size in sizes:
        if row.max() <= size[0] and column.max() <= size[1]:
            return size
    outside = names[(row > sizes[-1][0]) | (column > sizes[-1][1])]
    raise ValueError(
        f"well holds {outside.tolist()[0]!r}, which lies outside a plate of {sizes[-1][0]} x "
        f"{sizes[-1][1]} wells; give plate_rows and plate_columns of the plate"
    )
