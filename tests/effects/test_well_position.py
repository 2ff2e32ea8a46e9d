"""Names of wells: every well of every plate, edges, names that are none."""

import numpy as np
import pytest

from skdict.effects import well_position
from skdict.effects._well_position import PLATES, row_name


@pytest.mark.parametrize("size", PLATES)
def test_every_well_of_every_plate(size):
    rows, columns = np.indices(size).reshape(2, -1) + 1
    names = [f"{row_name(row)}{column:02d}" for row, column in zip(rows, columns)]
    place = well_position(names)
    assert np.array_equal(place.row, rows) and np.array_equal(place.column, columns)
    assert (place.plate_rows, place.plate_columns) == size
    inner = (rows > 1) & (rows < size[0]) & (columns > 1) & (columns < size[1])
    assert np.array_equal(place.edge, ~inner)


def test_letters_of_rows():
    assert [row_name(row) for row in (1, 26, 27, 32)] == ["A", "Z", "AA", "AF"]
    place = well_position(np.array(["AA48", "z001", "b7"], dtype=object))
    assert place.row.tolist() == [27, 26, 2] and place.column.tolist() == [48, 1, 7]


def test_the_plate_is_the_smallest_unless_it_is_given():
    assert well_position(["B02"]).plate_columns == 3
    assert well_position(["C02"]).plate_rows == 3
    inner = well_position(["B02", "G11"], plate_rows=16, plate_columns=24)
    assert not inner.edge.any() and inner.plate_columns == 24
    odd = well_position(["A01", "B02", "C03"], plate_rows=3, plate_columns=3)
    assert odd.edge.tolist() == [True, False, True]


@pytest.mark.parametrize("name", ["01A", "A", "A00", "A-1", "A01 ", "AAA1", "", "7", "A1.5"])
def test_names_that_are_none_are_named(name):
    with pytest.raises(ValueError, match="no name of a well; names are one or two letters") as info:
        well_position(["A01", name])
    assert repr(name) in str(info.value)


def test_bad_input():
    with pytest.raises(ValueError, match="well holds missing names"):
        well_position(["A01", None])
    with pytest.raises(ValueError, match="one-dimensional"):
        well_position([["A01"]])
    with pytest.raises(ValueError, match="'Z99', which lies outside a plate of 32 x 48"):
        well_position(["A01", "Z99"])
    with pytest.raises(ValueError, match="'A03', which lies outside a plate of 2 x 2"):
        well_position(["A01", "A03"], plate_rows=2, plate_columns=2)
    with pytest.raises(ValueError, match="give both or neither"):
        well_position(["A01"], plate_rows=2)
    with pytest.raises(ValueError, match="plate_rows must be an integer >= 1"):
        well_position(["A01"], plate_rows=0, plate_columns=2)
