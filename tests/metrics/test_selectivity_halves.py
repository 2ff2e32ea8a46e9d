"""Features chosen on one half of the units and scored on the other."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils import check_random_state

from skdict.metrics import held_out_selectivity, split_half_selectivity
from skdict.metrics._selectivity_halves import _halves


def wells(seed, m=60):
    """Three images of each well, four wells of each label on each of two plates."""
    rng = np.random.default_rng(seed)
    well = rng.permutation(np.repeat(np.arange(48), 3))
    y = np.array(list("abcdef"))[well % 6]
    return (rng.random((well.size, m)) < 0.2).astype(float), y, well, well // 24


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_equals_held_out_selectivity_of_the_two_halves(kind):
    codes, y, well, plate = wells(0)
    result = split_half_selectivity(
        sparse.csr_array(codes), y, units=well, strata=plate, n_splits=1, kind=kind, random_state=7
    )
    label, stratum = np.arange(48) % 6, np.arange(48) // 24
    half = _halves(check_random_state(7), label, stratum)[well]
    scored = [
        held_out_selectivity(codes[one], y[one], codes[two], y[two], kind=kind)
        for one, two in ((half, ~half), (~half, half))
    ]
    for name in ("train_score", "test_score"):
        np.testing.assert_allclose(result[name], np.mean([h[name] for h in scored], axis=0))
    spread = np.std([h.test_score for h in scored], axis=0)
    np.testing.assert_allclose(result.spread, spread, atol=1e-15)
    same = scored[0].feature == scored[1].feature
    np.testing.assert_array_equal(result.chosen_share, np.where(same, 1, 0.5))
    assert result.n_units.tolist() == [8] * 6


def test_halves_share_labels_and_strata_evenly():
    label, stratum = np.repeat(np.arange(5), [2, 3, 8, 9, 20]), np.tile([0, 1], 21)
    first = []
    for seed in range(40):
        half = _halves(check_random_state(seed), label, stratum)
        for i in range(5):
            own = half[label == i]
            assert abs(2 * own.sum() - own.size) <= 1
            for s in (0, 1):
                within = half[(label == i) & (stratum == s)]
                assert abs(2 * within.sum() - within.size) <= 1
        first.append(half[0])
    assert 5 < sum(first) < 35


def test_noise_scores_nothing_where_it_was_not_chosen_and_a_planted_feature_keeps_its_score():
    codes, y, well, plate = wells(1)
    codes[:, 9] = (y == "c") & (well % 4 < 3)
    result = split_half_selectivity(codes, y, units=well, strata=plate, random_state=0)
    noise = result.labels != "c"
    assert result.train_score[noise].min() > 0.2
    assert abs(result.test_score[noise].mean()) < 0.06
    assert result.feature[2] == 9 and result.chosen_share[2] == 1
    own = codes[y == "c", 9].mean()
    assert abs(result.test_score[2] - own) < 0.05


def test_rows_of_a_well_in_both_halves_are_optimistic():
    # a noise feature of a well is seen in both halves when its images are dealt out one by one
    rng = np.random.default_rng(0)
    well = np.repeat(np.arange(24), 6)
    codes, y = (rng.random((24, 300)) < 0.2)[well], (np.arange(24) % 4)[well]
    by_well = split_half_selectivity(codes, y, units=well, random_state=0)
    by_image = split_half_selectivity(codes, y, random_state=0)
    assert abs(by_well.test_score.mean()) < 0.1
    assert by_image.test_score.mean() > 0.4


def test_units_of_several_labels_are_dealt_out_whole():
    rng = np.random.default_rng(2)
    donor = rng.integers(0, 8, 300)
    y = np.where(donor < 2, rng.choice(["B", "rare"], 300), rng.choice(["B", "T"], 300))
    codes = np.column_stack([y == "T", y == "rare", rng.random(300) < 0.5])
    result = split_half_selectivity(codes, y, units=donor, n_splits=20, random_state=0)
    assert result.labels.tolist() == ["B", "T", "rare"]
    assert result.n_units.tolist() == [8, 6, 2]
    # "rare" has no score when both of its donors fall into one half, and 1 otherwise
    assert result.test_score[1:].tolist() == [1, 1]
    assert result.feature[1:].tolist() == [0, 1]


def test_labels_with_a_single_unit():
    codes, y = np.eye(5), ["a", "a", "b", "b", "c"]
    assert split_half_selectivity(codes, y).labels.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"labels must have at least two units each.*\['c'\]"):
        split_half_selectivity(codes, y, labels=["a", "c"])
    with pytest.raises(ValueError, match="every label has a single unit"):
        split_half_selectivity(codes, y, units=[0, 0, 1, 1, 2])
    assert split_half_selectivity(codes, y, labels=["b"]).labels.tolist() == ["b"]


def test_seed_and_frame():
    codes, y, well, plate = wells(3)
    same = [split_half_selectivity(codes, y, units=well, n_splits=2, random_state=s).test_score
            for s in (0, 0, 1)]  # fmt: skip
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])
    pytest.importorskip("pandas")
    frame = split_half_selectivity(codes, y, n_splits=1, as_frame=True)
    assert list(frame.columns) == [
        "labels", "feature", "chosen_share", "train_score", "test_score", "spread", "n_units"
    ]  # fmt: skip


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="n_splits must be an integer >= 1"):
        split_half_selectivity(np.eye(2), [0, 1], n_splits=0)
    with pytest.raises(ValueError, match="unit 'u' lies in 0 and 1"):
        split_half_selectivity(
            np.eye(4), [0, 0, 1, 1], units=["u", "u", "v", "w"], strata=[0, 1, 0, 1]
        )


def test_one_unit_of_a_label_on_each_plate_is_split_at_random():
    """Plates must not always go together in the order of their names."""
    label, plate = np.repeat([0, 1, 2], 6), np.tile(np.arange(6), 3)
    rng = check_random_state(0)
    splits = set()
    for _ in range(200):
        half = _halves(rng, label, plate)[label == 0]
        assert half.sum() == 3
        splits.add(tuple(half == half[0]))
    assert len(splits) == 10  # of six plates, half of the ways to choose three
