"""Maps of plates: means, places, outlines, wells without data."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from skdict.display import PlateMapDisplay


@pytest.fixture
def rows(rng):
    """Two plates of 24 wells; the second lacks D06 and has several rows in A01."""
    wells = np.array([f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)])
    well = np.concatenate([wells, wells[:-1], ["A01", "A01"]])
    plate = np.repeat(["p", "q"], [24, 25])
    codes = rng.random((49, 3)) * (rng.random((49, 3)) < 0.6)
    return codes, well, plate


@pytest.mark.parametrize("as_sparse", [True, False])
def test_each_plate_counts_the_same(rows, as_sparse):
    codes, well, plate = rows
    given = csr_array(codes) if as_sparse else codes
    shown = PlateMapDisplay.from_codes(given, 1, well, plate)
    drawn = np.asarray(shown.image_.get_array())
    assert drawn.shape == (4, 6)
    here = well == "A01"
    both = (codes[here & (plate == "p"), 1].mean() + codes[here & (plate == "q"), 1].mean()) / 2
    assert drawn[0, 0] == pytest.approx(both)
    assert drawn[3, 5] == codes[23, 1]  # one plate has it
    pooled = PlateMapDisplay.from_codes(given, 1, well, plot=False).source_data()
    assert pooled["value"][0] == pytest.approx(codes[here, 1].mean())
    assert pooled["well"].tolist() == well[:24].tolist()
    assert "over 2 plates" in shown.label and "plates = 2" in shown.methods()


def test_one_plate_and_wells_without_data(rows):
    codes, well, plate = rows
    control = np.isin(well, ["B02", "C03"]) & (plate == "q")
    shown = PlateMapDisplay.from_codes(codes, 0, well, plate, control, show="q", name="edge")
    labels = [patch.get_label() for patch in shown.ax_.patches]
    assert labels.count("no data") == 1 and labels.count("control") == 1
    outlined = [patch.get_center().tolist() for patch in shown.ax_.patches][1:]
    assert outlined == [[1, 1], [2, 2]]  # column and row from zero
    assert np.isnan(np.asarray(shown.image_.get_array().filled(np.nan))[3, 5])
    assert shown.ax_.get_title() == "edge"
    assert [text.get_text() for text in shown.ax_.get_yticklabels()] == list("ABCD")
    assert [text.get_text() for text in shown.ax_.get_xticklabels()] == list("123456")
    text = shown.methods()
    assert "23 wells of a plate of 4 x 6" in text and "The 2 control wells are outlined" in text
    assert "plate = q" in text
    other = PlateMapDisplay.from_codes(codes, 0, well, plate, control, show="p", plot=False)
    assert not other.source_data()["control"].any()


def test_colours_start_at_zero_unless_values_are_signed():
    shown = PlateMapDisplay([1, 2], [1, 1], [0.5, 2.0]).plot(colorbar=False)
    assert shown.image_.get_clim() == (0, 2) and shown.colorbar_ is None
    shown = PlateMapDisplay([1, 2], [1, 1], [-0.5, 2.0]).plot()
    assert shown.image_.get_clim() == (-2, 2)
    assert shown.colorbar_.ax.get_ylabel() == "Mean activation"
    assert PlateMapDisplay([1], [1], [0.0]).plot(vmax=7).image_.get_clim() == (0, 7)


def test_the_size_of_the_plate():
    shown = PlateMapDisplay([2], [3], [1.0], plate_rows=16, plate_columns=24).plot()
    assert shown.image_.get_array().shape == (16, 24)
    given = PlateMapDisplay.from_codes([[1.0]], 0, ["B02"], plate_rows=3, plate_columns=3)
    assert given.image_.get_array().shape == (3, 3)
    assert np.ma.count(given.image_.get_array()) == 1


def test_bad_input(rows):
    codes, well, plate = rows
    cases = [
        ((codes, 3, well), {}, "concept must be below 3, got 3"),
        ((codes, 0, well[:5]), {}, "well must have one entry per row"),
        ((codes, 0, well, plate[:5]), {}, "plate must have one entry per row"),
        ((codes, 0, well, plate), {"show": "r"}, "show must name a plate, one of .*'p', 'q'"),
        ((codes, 0, ["?"] * 49), {}, "no name of a well"),
        ((codes, 0, well, plate, np.ones(49)), {}, "control must be a boolean mask"),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            PlateMapDisplay.from_codes(*arguments, **options, plot=False)
    with pytest.raises(ValueError, match="name each well once"):
        PlateMapDisplay([1, 1], [1, 1], [0.1, 0.2]).source_data()
    with pytest.raises(ValueError, match="row must be between 1 and 2 on this plate"):
        PlateMapDisplay([3], [1], [0.1], plate_rows=2, plate_columns=2).plot()
    with pytest.raises(ValueError, match="value must hold finite numbers"):
        PlateMapDisplay([1], [1], [np.nan]).plot()
    with pytest.raises(ValueError, match="at least one well"):
        PlateMapDisplay([], [], []).source_data()
