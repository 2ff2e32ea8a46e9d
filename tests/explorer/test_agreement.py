"""Kappa: as in the literature, right where the truth is planted, and never 1 by default."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from skdict.explorer import cohen_kappa, fleiss_kappa

# Ten items, fourteen raters, five categories: worked through in many texts, kappa 0.210.
WORKED = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip

ANSWERS = np.array(["yes", "no", "unsure"])


def test_fleiss_worked_example():
    found = fleiss_kappa(WORKED, random_state=0)
    assert round(found.kappa, 3) == 0.210
    assert round(found.agreement, 3) == 0.378
    assert found.low < found.kappa < found.high
    assert "10 items are few" in found.remark


@given(arrays(int, (12, 2), elements=st.integers(0, 2)))
def test_cohen_is_that_of_scikit_learn(ratings):
    found = cohen_kappa(*ratings.T, n_bootstrap=5, random_state=0)
    if np.unique(ratings).size == 1:
        assert np.isnan(found.kappa)
    else:
        assert found.kappa == cohen_kappa_score(*ratings.T)


@given(arrays(int, (12, 2), elements=st.integers(0, 2)))
def test_fleiss_of_two_raters_is_scotts_pi(ratings):
    if np.unique(ratings).size == 1:
        return
    counts = (ratings[:, :, None] == np.arange(3)).sum(axis=1)
    shares = np.bincount(ratings.ravel(), minlength=3) / ratings.size
    observed, expected = (ratings[:, 0] == ratings[:, 1]).mean(), (shares**2).sum()
    found = fleiss_kappa(counts, n_bootstrap=5, random_state=0)
    assert found.kappa == pytest.approx((observed - expected) / (1 - expected))


def test_the_bootstrap_draws_items(rng):
    """The same interval as from drawing rows and calling scikit-learn on each draw."""
    first = rng.choice(ANSWERS, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.choice(ANSWERS, 60))
    found = cohen_kappa(first, second, n_bootstrap=4000, random_state=0)
    draws = rng.integers(60, size=(500, 60))
    slow = [cohen_kappa_score(first[rows], second[rows]) for rows in draws]
    assert [found.low, found.high] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.04)


@pytest.mark.parametrize("error", [0.05, 0.2, 0.5])
def test_planted_agreement_is_in_the_interval(rng, error):
    """Two experts who each err at a rate have a kappa of (1 - 2 rate)²."""
    kappa, inside, found = (1 - 2 * error) ** 2, 0, []
    for seed in range(60):
        truth = rng.random(80) < 0.5
        ratings = [truth ^ (rng.random(80) < error) for _ in range(2)]
        result = cohen_kappa(*ratings, n_bootstrap=300, random_state=seed)
        found.append(result.kappa)
        inside += result.low <= kappa <= result.high
    assert np.mean(found) == pytest.approx(kappa, abs=0.04)
    assert inside >= 50  # 95% intervals: 57 are expected


def test_planted_agreement_of_five(rng):
    truth = rng.random(2000) < 0.5
    yes = sum((truth ^ (rng.random(2000) < 0.1)).astype(int) for _ in range(5))
    found = fleiss_kappa(np.stack([yes, 5 - yes], axis=1), random_state=0)
    assert found.low < 0.64 < found.high and found.high - found.low < 0.1
    assert found.remark == ""


@pytest.mark.parametrize("n_items", [1, 5, 100])
def test_equal_answers_are_no_agreement_beyond_chance(n_items):
    for found in (
        cohen_kappa(["yes"] * n_items, ["yes"] * n_items),
        fleiss_kappa([[0, 3]] * n_items, categories=["no", "yes"]),
    ):
        assert np.isnan([found.kappa, found.low, found.high]).all()
        assert found.agreement == 1 and found.n_items == n_items
        assert found.reason == "all answers are 'yes': chance alone agrees on every item"


def test_no_items():
    for found in (cohen_kappa([], []), fleiss_kappa(np.zeros((0, 3), dtype=int))):
        assert np.isnan(found.kappa) and found.n_items == 0 and "no items" in found.reason


def test_an_expert_with_one_answer_agrees_by_chance():
    found = cohen_kappa(["yes"] * 4, ["yes", "no", "yes", "no"], random_state=0)
    assert found.kappa == 0 and found.agreement == 0.5 and found.reason == ""
    assert found.undefined_share > 0 and "may be too narrow" in found.remark


def test_full_agreement_on_few_items_is_no_certainty():
    few, many = (
        cohen_kappa(["yes", "no"] * n, ["yes", "no"] * n, random_state=0) for n in (3, 200)
    )
    assert few.kappa == few.high == many.kappa == 1
    assert few.low < 0.3 < 0.95 < many.low
    assert "6 items are few" in few.remark and many.remark == ""


def test_wrong_input():
    with pytest.raises(ValueError, match=r"an entry for each item, got shapes \(2,\) and \(1,\)"):
        cohen_kappa([1, 2], [1])
    with pytest.raises(ValueError, match="same number of ratings in each row, .* with 2, 3"):
        fleiss_kappa([[1, 1], [2, 1]])
    with pytest.raises(ValueError, match="two at least"):
        fleiss_kappa([[1, 0], [0, 1]])
    for counts in ([[-1, 3]], [[0.5, 1.5]], [1, 2]):
        with pytest.raises(ValueError, match="integers of at least 0"):
            fleiss_kappa(counts)
    with pytest.raises(ValueError, match="confidence_level"):
        cohen_kappa([1], [1], confidence_level=2)
