"""Volcano and dose curve: what is drawn is what was found."""

import numpy as np
import pytest

from skdict.display import DoseCurveDisplay, VolcanoDisplay
from skdict.effects import concept_effects, dose_response


@pytest.fixture(scope="module")
def screen():
    rng = np.random.default_rng(0)
    names = np.tile(np.repeat(["A", "B", "DMSO"], [6, 6, 12]), 2)
    plate = np.repeat([1, 2], 24)
    dose = np.where(names == "DMSO", np.nan, np.tile([1.0, 10.0, 100.0], 16))
    codes = rng.normal(size=(48, 12))
    codes[names == "A", 3] += 2 + 2 * np.log10(dose[names == "A"])
    codes[:, 5] = 0
    return (codes, names, names == "DMSO", plate), dose


@pytest.fixture(scope="module")
def effects(screen):
    return concept_effects(*screen[0], random_state=0)


def test_volcano_of_a_perturbation_and_of_a_concept(effects):
    display = VolcanoDisplay.from_effects(effects, perturbation="A", statistic="strength")
    data = display.source_data()
    assert data["pair"].tolist() == [str(m) for m in range(12) if m != 5]  # never active
    assert data["pair"][data["hit"]].tolist() == ["3"]
    np.testing.assert_allclose(
        data["p_value"], effects.strength.tail_p_value[0, np.arange(12) != 5]
    )
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["q > 0.05: 10", "more: 1", "less: 0"]
    assert [text.get_text() for text in display.ax_.texts] == ["3"]
    assert "11 tested pairs" in display.methods()
    other = VolcanoDisplay.from_effects(effects, concept=3, statistic="strength", plot=False)
    assert other.source_data()["pair"].tolist() == ["A", "B"]
    assert other.name == "Concept 3"


def test_volcano_of_a_dose_trend(screen):
    arguments, dose = screen
    found = concept_effects(*arguments, dose, random_state=0)
    display = VolcanoDisplay.from_effects(
        found.dose_trend, perturbation="A", statistic="strength", plot=False
    )
    tested = found.dose_trend.strength.tested[0]
    np.testing.assert_allclose(
        display.source_data()["p_value"], found.dose_trend.strength.tail_p_value[0, tested]
    )


def test_points_that_meet_are_named_together():
    display = VolcanoDisplay([1.0, 1.0, -1.0], [1e-6] * 3, [1e-5] * 3, ["x", "y", "z"]).plot()
    assert sorted(text.get_text() for text in display.ax_.texts) == ["x, y", "z"]


def test_volcano_without_any_pair_and_mistakes(effects):
    assert VolcanoDisplay([], [], []
                          , []).plot().source_data()["hit"].size == 0  # fmt: skip
    for arguments, message in (
        ({}, "give one of perturbation and concept"),
        ({"perturbation": "X"}, "perturbation must be one of those tested, got 'X'"),
        ({"concept": 12}, "concept must be below 12, got 12"),
        ({"concept": 1, "statistic": "mean"}, "statistic must be"),
    ):
        with pytest.raises(ValueError, match=message):
            VolcanoDisplay.from_effects(effects, **arguments)


def test_dose_curve_draws_the_response(screen):
    arguments, dose = screen
    options = {"concept": 3, "statistic": "strength"}
    display = DoseCurveDisplay.from_codes(*arguments, dose, of="A", dose_unit="uM", **options)
    expected = dose_response(*arguments, dose, name="A", **options)
    np.testing.assert_array_equal(display.line_.get_ydata(), expected.effect)
    assert display.ax_.get_xscale() == "log" and display.ax_.get_xlabel() == "Dose (uM)"
    assert display.line_.get_label() == "A, concept 3"
    second = DoseCurveDisplay.from_codes(*arguments, dose, of="B", ax=display.ax_, **options)
    assert second.line_.get_color() != display.line_.get_color()
    assert "95% intervals" in display.methods()


def test_a_dose_of_zero_has_a_place():
    display = DoseCurveDisplay([0.0, 1.0, 10.0], [0.0, 0.1, 0.2]).plot()
    assert display.ax_.get_xscale() == "symlog"


@pytest.mark.parametrize(("doses", "scale"), [([1.0, 10.0], "log"), ([0.0, 10.0], "symlog")])
def test_a_dose_curve_of_which_nothing_is_known_can_be_saved(tmp_path, doses, scale):
    display = DoseCurveDisplay(doses, [np.nan, np.nan], low=[np.nan] * 2, high=[np.nan] * 2).plot()
    low, high = display.ax_.get_xlim()
    assert display.ax_.get_xscale() == scale and low <= doses[0] and high >= doses[1]
    display.figure_.savefig(tmp_path / "curve.svg")
