"""What speaks against a hit decides how it is read."""

import numpy as np
import pytest

from skdict.effects import (
    concept_effects,
    findings,
    neighbour_effects,
    technical_audit,
    well_position,
)
from tests.effects.test_neighbours import WELLS


@pytest.fixture(scope="module")
def everything():
    """Four plates; concepts: an effect of A, a gradient of columns, one plate's accident, noise."""
    rng = np.random.default_rng(0)
    plate, well = np.repeat([0, 1, 2, 3], 96), np.tile(WELLS, 4)
    place = well_position(well)
    names = np.where(np.isin(place.column, [1, 6]), "DMSO", "other").astype(object)
    names[np.isin(well, ["B11", "D11", "F11", "D03"])] = "A"
    names = names.astype(str)
    codes = rng.normal(size=(names.size, 4))
    codes[names == "A", 0] += 4
    codes[:, 1] += 0.8 * np.where(names == "A", 11, place.column)
    codes[(names == "A") & (plate < 2), 2] += 5
    arguments = codes, names, names == "DMSO", plate
    effects = concept_effects(*arguments, held_out=[2, 3], random_state=0)
    neighbours = neighbour_effects(*arguments, well, random_state=0)
    audit = technical_audit(codes, names, {"column": place.column.astype(float)})
    return effects, neighbours, audit


def outcomes(table):
    kept = table["perturbation"] == "A"
    return dict(zip(table["concept"][kept].tolist(), table["outcome"][kept].tolist(), strict=True))


def test_each_hit_is_read_by_what_speaks_against_it(everything):
    effects, neighbours, audit = everything
    assert outcomes(findings(effects)) == {0: "stands", 1: "stands", 2: "not replicated"}
    with_neighbours = findings(effects, neighbours=neighbours)
    assert outcomes(with_neighbours) == {0: "stands", 1: "position", 2: "not replicated"}
    with_audit = findings(effects, audit=audit)
    assert outcomes(with_audit)[1] in ("technical", "mixed") and outcomes(with_audit)[0] == "stands"
    row = (with_neighbours["perturbation"] == "A") & (with_neighbours["concept"] == 1)
    assert with_neighbours["neighbour_share"][row] > 0.5
    assert (with_audit["verdict"] == audit.verdict[with_audit["concept"]]).all()


def test_without_replication_nothing_is_called_unreplicated():
    names = np.repeat(["DMSO", "A"], [16, 8])
    codes = (names == "A").astype(float)[:, None]
    found = concept_effects(codes, names, names == "DMSO", np.zeros(24))
    assert findings(found)["outcome"].tolist() == ["stands"]


def test_results_of_other_codes_are_refused(everything):
    effects, neighbours, audit = everything
    names = np.repeat(["DMSO", "A"], [16, 8])
    other = concept_effects(np.arange(24.0)[:, None], names, names == "DMSO", np.zeros(24))
    with pytest.raises(ValueError, match="neighbours must be of the same codes"):
        findings(other, neighbours=neighbours)
    with pytest.raises(ValueError, match="audit must be of the same codes"):
        findings(other, audit=audit)
    with pytest.raises(ValueError, match="position_share"):
        findings(effects, position_share=0)
