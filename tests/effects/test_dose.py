"""Dose trends and dose curves against SciPy, and doses that are none."""

import itertools
import re

import numpy as np
import pytest
from scipy import stats

from skdict.effects import concept_effects, dose_response


def trend_screen(seed=0, n_plates=3):
    """Five doses of A on every plate, a strength that grows with them, and no trend in B."""
    rng = np.random.default_rng(seed)
    names = np.tile(np.repeat(["A", "B", "DMSO"], [5, 5, 6]), n_plates)
    dose = np.tile([0.1, 0.3, 1, 3, 10, 0.1, 0.3, 1, 3, 10] + [np.nan] * 6, n_plates)
    plate = np.repeat(np.arange(n_plates), 16)
    codes = rng.normal(size=(names.size, 4)) + plate[:, None]
    codes[names == "A", 1] += 1.5 * np.log10(dose[names == "A"])
    return codes, names, names == "DMSO", plate, dose


def test_a_planted_trend_is_found_and_no_other():
    codes, names, control, plate, dose = trend_screen()
    found = concept_effects(codes, names, control, plate, dose, random_state=0)
    hits = found.dose_hits()
    assert hits["perturbation"].tolist() == ["A"] and hits["concept"].tolist() == [1]
    assert hits["effect"][0] == pytest.approx(0.75, abs=0.4)  # half a decade per step
    assert found.dose_trend.n_doses.tolist() == [5, 5]
    assert "dose trends, q <= 0.05      1" in repr(found)


def test_trend_of_one_plate_by_all_permutations():
    codes, names, control, plate, dose = trend_screen(1, n_plates=1)
    found = concept_effects(codes, names, control, plate, dose)
    own = codes[names == "A", 1]
    null = [np.dot(order, own) for order in itertools.permutations(range(5))]
    null, observed = np.array(null), np.dot(range(5), own)
    above, below = (null >= observed - 1e-9).mean(), (null <= observed + 1e-9).mean()
    trend = found.dose_trend
    assert trend.strength.p_value[0, 1] == pytest.approx(min(1, 2 * min(above, below)), abs=1e-15)
    assert trend.smallest_p_value[0] == 2 / 120
    slope = stats.linregress(range(5), own).slope
    assert trend.strength.effect[0, 1] == pytest.approx(slope, rel=1e-5)


def test_units_without_a_trend_are_listed():
    codes, names, control, plate, dose = trend_screen()
    dose = dose.copy()
    dose[(names == "B") & (plate == 0)] = 1.0
    dose[np.flatnonzero((names == "A") & (plate == 1))[0]] = np.nan
    excluded = concept_effects(
        codes, names, control, plate, dose, random_state=0
    ).dose_trend.excluded
    assert list(zip(excluded["perturbation"], excluded["plate"], strict=True)) == [
        ("A", 1),
        ("B", 0),
    ]
    assert excluded["n_units"].tolist() == [1, 5]


def test_held_out_plates_of_one_dose_have_no_trend():
    codes, names, control, plate, dose = trend_screen()
    dose = np.where(plate == 2, 1.0, dose)
    found = concept_effects(codes, names, control, plate, dose, held_out=2, n_permutations=99)
    assert found.dose_trend is not None and found.replication.dose_trend is None


def test_dose_response_is_the_effect_of_each_dose():
    codes, names, control, plate, dose = trend_screen()
    curve = dose_response(
        codes, names, control, plate, dose, name="A", concept=1, statistic="strength"
    )
    np.testing.assert_array_equal(curve.dose, [0.1, 0.3, 1, 3, 10])
    for k, level in enumerate(curve.dose):
        rows = control | ((names == "A") & (dose == level))
        alone = concept_effects(codes[rows], names[rows], control[rows], plate[rows])
        assert curve.effect[k] == pytest.approx(alone.strength.effect[0, 1], rel=1e-5)
    one = dose_response(
        codes[plate == 0], names[plate == 0], control[plate == 0], plate[plate == 0],
        np.where(dose[plate == 0] > 0, 1.0, np.nan), name="A", concept=1, statistic="strength",
    )  # fmt: skip
    rows = plate == 0
    expected = stats.ttest_ind(
        codes[rows & (names == "A"), 1], codes[rows & control, 1]
    ).confidence_interval(0.95)
    assert one.low[0] == pytest.approx(expected.low) and one.high[0] == pytest.approx(expected.high)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10 uM", "dose must hold numbers in one unit, got '10 uM' in row 0"),
        (-1.0, "dose must be finite and not negative, got -1 in row 0"),
        (np.inf, "dose must be finite and not negative, got inf in row 0"),
    ],
)
def test_bad_doses(value, message):
    codes, names, control, plate, dose = trend_screen()
    dose = dose.astype(object)
    dose[0] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        concept_effects(codes, names, control, plate, dose)


def test_other_mistakes():
    codes, names, control, plate, dose = trend_screen()
    with pytest.raises(ValueError, match="two doses on one plate"):
        concept_effects(codes, names, control, plate, np.ones(codes.shape[0]))
    with pytest.raises(ValueError, match="one dose each"):
        unit = np.arange(codes.shape[0])
        unit[1] = 0
        concept_effects(codes, names, control, plate, dose, units=unit)
    with pytest.raises(ValueError, match="name must be a perturbation that occurs, got 'X'"):
        dose_response(codes, names, control, plate, dose, name="X", concept=0)
    with pytest.raises(ValueError, match="concept must be below 4, got 4"):
        dose_response(codes, names, control, plate, dose, name="A", concept=4)
