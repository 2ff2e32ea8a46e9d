"""Bars of the technical audit: lengths, order, verdicts, words."""

import numpy as np
import pytest

from skdict.display import TechnicalAuditDisplay
from skdict.effects import technical_audit


@pytest.fixture(scope="module")
def audit():
    rng = np.random.default_rng(0)
    compound, plate, _ = np.indices((12, 6, 2)).reshape(3, -1)
    codes = rng.normal(size=(compound.size, 25))
    codes[:, 7] += 4 * rng.normal(size=12)[compound]
    codes[:, 3] += 2 * rng.normal(size=6)[plate]
    return technical_audit(codes, compound, {"plate": plate, "box": compound // 4})


def test_bars_end_at_what_is_explained(audit):
    shown = TechnicalAuditDisplay.from_audit(audit, [3, 7, 0], name="ICFL")
    table = shown.source_data()
    assert table["concept"].tolist() == ["concept 3", "concept 7", "concept 0"]
    for key, part in (("unique_biology", audit.unique_biology), ("shared", audit.shared)):
        assert np.array_equal(table[key], part[[3, 7, 0]])  # as they are, also below zero
        widths = [bar.get_width() for bar in shown.bars_[key]]
        np.testing.assert_allclose(widths, np.clip(part[[3, 7, 0]], 0, None))
    ends = [bar.get_x() + bar.get_width() for bar in shown.bars_["unique_technical"]]
    assert ends[0] == pytest.approx(1 - table["unexplained"][0], abs=0.05)
    np.testing.assert_allclose(table["unexplained"], audit.unexplained[[3, 7, 0]])
    assert shown.ax_.get_title(loc="left") == "ICFL"
    texts = [text.get_text() for text in shown.ax_.texts]
    assert texts[:2] == ["technical", audit.verdict[7]]
    low, high = shown.ax_.get_ylim()
    assert low > high  # the first on top


def test_concepts_of_which_most_is_explained(audit):
    shown = TechnicalAuditDisplay.from_audit(audit, plot=False)
    order = np.argsort(audit.unexplained)[:20]
    assert shown.concepts == [f"concept {i}" for i in order]
    assert not hasattr(shown, "ax_")
    assert "concepts shown = those of which most is explained" in shown.methods()
    assert "Verdicts: " in shown.methods() and "factors = plate, box" in shown.methods()
    named = TechnicalAuditDisplay.from_audit(
        audit, [1], concept_names=[f"c{i}" for i in range(25)], plot=False
    )
    assert named.concepts == ["c1"] and "concepts shown" not in named.methods()


def test_factors_that_cannot_be_told_from_biology():
    shown = TechnicalAuditDisplay(
        [0.0, 0.2], [0.4, 0.0], [0.0, 0.0], verdict=["not separable", "biological"],
        confounded_with=["well", ""],
    ).plot()  # fmt: skip
    texts = [text.get_text() for text in shown.ax_.texts]
    assert texts == ["not separable: well", "biological"]
    names = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert names == ["only biology", "either of the two", "only technical", "unexplained"]


def test_parts_differ_without_colour():
    shown = TechnicalAuditDisplay([0.2], [0.2], [0.2]).plot()
    assert len({bars[0].get_hatch() for bars in shown.bars_.values()}) == 3
    assert "Verdicts" not in shown.methods()


def test_bad_input(audit):
    with pytest.raises(ValueError, match="concepts must be one or more numbers below 25"):
        TechnicalAuditDisplay.from_audit(audit, [25])
    with pytest.raises(ValueError, match="concepts must be one or more numbers below 25"):
        TechnicalAuditDisplay.from_audit(audit, np.array([], dtype=int))
    with pytest.raises(ValueError, match=r"shared must be of shape \(2,\)"):
        TechnicalAuditDisplay([0.1, 0.2], [0.1], [0.1, 0.1]).plot()
    with pytest.raises(ValueError, match="shared must hold finite shares"):
        TechnicalAuditDisplay([0.1], [np.nan], [0.1]).source_data()
    with pytest.raises(ValueError, match="at least one concept"):
        TechnicalAuditDisplay([], [], []).plot()
