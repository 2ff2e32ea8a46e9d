"""Neighbours against a plain search, and position told from a compound."""

import numpy as np
import pytest

from skdict.effects import concept_effects, neighbour_effects
from skdict.effects._neighbours import _neighbours

WELLS = np.array([f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)])


@pytest.mark.parametrize("distance", [1, 2, 9])
def test_neighbours_are_those_of_a_plain_search(distance):
    rng = np.random.default_rng(0)
    plate = np.repeat([0, 1], 96)[np.arange(192) % 7 > 0]  # wells are missing
    well = np.tile(WELLS, 2)[np.arange(192) % 7 > 0]
    label = rng.integers(-1, 4, plate.size)
    rows, of = _neighbours(plate, well, label, distance)
    place = np.array([(ord(name[0]), int(name[1:])) for name in well])
    expected = {
        (i, label[j])
        for i in range(plate.size)
        for j in range(plate.size)
        if i != j and plate[i] == plate[j] and min(label[i], label[j]) >= 0
        and label[i] != label[j] and np.abs(place[i] - place[j]).max() <= distance
    }  # fmt: skip
    assert set(zip(rows.tolist(), of.tolist(), strict=True)) == expected


def gradient_screen():
    """Compound A has an effect on concept 0; concept 1 grows along the columns."""
    rng = np.random.default_rng(1)
    column = np.tile(np.arange(12), 8 * 3)
    names = np.where(np.isin(column, [2, 7]), "DMSO", "other").astype(object)
    names[np.isin(np.tile(WELLS, 3), ["B11", "D11", "F11"])] = "A"
    codes = rng.normal(size=(names.size, 2))
    codes[names == "A", 0] += 4
    codes[:, 1] += 0.6 * column
    return codes, names.astype(str), names == "DMSO", np.repeat([0, 1, 2], 96), np.tile(WELLS, 3)


def test_position_is_shared_with_the_neighbours_and_an_effect_is_not():
    codes, names, control, plate, well = gradient_screen()
    own = concept_effects(codes, names, control, plate, random_state=0)
    others = neighbour_effects(codes, names, control, plate, well, random_state=0)
    assert own.perturbations.tolist() == others.perturbations.tolist() == ["A", "other"]
    assert (own.strength.q_value[0] < 0.01).all()
    assert others.strength.p_value[0, 0] > 0.05 and others.strength.p_value[0, 1] < 0.01
    assert others.n_units[0] == 3 * 18  # 8 around each of three wells, of which 3 and 3 are shared


def test_cells_of_a_well_stay_one_unit():
    codes, names, control, plate, well = gradient_screen()
    twice = np.repeat(np.arange(names.size), 2)
    one = neighbour_effects(codes, names, control, plate, well, random_state=0)
    other = neighbour_effects(
        codes[twice], names[twice], control[twice], plate[twice], well[twice], random_state=0
    )
    np.testing.assert_array_equal(one.n_units, other.n_units)
    np.testing.assert_allclose(one.strength.effect, other.strength.effect, atol=1e-6)


def test_mistakes_are_named():
    codes, names, control, plate, well = gradient_screen()
    with pytest.raises(ValueError, match="dose has no meaning"):
        neighbour_effects(codes, names, control, plate, well, dose=np.ones(names.size))
    with pytest.raises(ValueError, match="distance"):
        neighbour_effects(codes, names, control, plate, well, distance=0)
    alone = np.arange(names.size) != 5
    with pytest.raises(ValueError, match="no well has a neighbour"):
        neighbour_effects(codes, names, alone, plate, well)
