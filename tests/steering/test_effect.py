"""The effect of steering: neighbours, labels, batches, their intervals and probes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdict.steering import steering_effect

RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=240)
BATCH = RNG.integers(2, size=240)
PLAIN = RNG.normal(size=(240, 4))
BIOLOGY = PLAIN + 8 * np.eye(4)[LABELS]


def values_of(effect):
    return dict(zip(effect.quantities, effect.value.tolist()))


def by_hand(before, after, labels, batch, k):
    """The quantities from sorted distances, cell by cell."""
    near = []
    for X in (before, after):
        distance = np.linalg.norm(X[:, None] - X[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        near.append(np.argsort(distance, axis=1)[:, :k])
    n = len(before)
    found = {"neighbors_kept": np.mean([len(set(a) & set(b)) / k for a, b in zip(*near)])}
    for when, neighbors in zip(("before", "after"), near):
        same = other = expected = 0
        for i, ids in enumerate(neighbors):
            own = [j for j in ids if labels[j] == labels[i]]
            same += len(own)
            other += sum(batch[j] != batch[i] for j in own)
            rest = [j for j in range(n) if j != i and labels[j] == labels[i]]
            expected += len(own) * np.mean([batch[j] != batch[i] for j in rest])
        found[f"label_purity_{when}"] = same / n / k
        found[f"batch_mixing_{when}"] = other / expected
    for name in ("label_purity", "batch_mixing"):
        found[f"{name}_change"] = found[f"{name}_after"] - found[f"{name}_before"]
    return found


@pytest.mark.parametrize("k", [1, 6])
def test_quantities_are_those_found_by_hand(k):
    before = BIOLOGY + 3 * np.eye(4)[3] * BATCH[:, None]
    effect = steering_effect(before, BIOLOGY, labels=LABELS, batch=BATCH, n_neighbors=k)
    expected = by_hand(before, BIOLOGY, LABELS, BATCH, k)
    assert set(effect.quantities) == set(expected)
    for name, value in values_of(effect).items():
        assert value == pytest.approx(expected[name], abs=1e-12), name
    rest = [np.mean(np.delete(LABELS, i) == label) for i, label in enumerate(LABELS)]
    assert effect.label_purity_expected == pytest.approx(np.mean(rest))


@pytest.mark.parametrize("n_neighbors", [1, 5, 40])
@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_random_batches_are_mixed_whatever_their_sizes(n_neighbors, share, labels):
    """The mean over assignments of batches is 1: no matter how few neighbours there are."""
    rng = np.random.default_rng(0)
    batch = (np.arange(240) < share * 240).astype(int)
    values = []
    for _ in range(25):
        effect = steering_effect(
            PLAIN, PLAIN, labels=labels, batch=rng.permutation(batch), n_neighbors=n_neighbors
        )
        values.append(values_of(effect)["batch_mixing_after"])
    assert abs(np.mean(values) - 1) < 4 * np.std(values) / 5 + 0.005
    assert np.std(values) < 0.2


def test_batches_apart_have_zero_and_types_apart_have_one():
    apart = BIOLOGY + 100 * np.eye(4)[3] * BATCH[:, None]
    values = values_of(steering_effect(apart, apart, labels=LABELS, batch=BATCH))
    assert values["batch_mixing_before"] == values["batch_mixing_after"] == 0
    assert values["label_purity_before"] == 1 and values["batch_mixing_change"] == 0
    assert values["neighbors_kept"] == 1


def test_unequal_shares_of_types_are_no_batch_effect():
    batch = (np.random.default_rng(1).random(240) < np.array([0.1, 0.5, 0.9])[LABELS]).astype(int)
    with_labels = values_of(steering_effect(BIOLOGY, BIOLOGY, labels=LABELS, batch=batch))
    without = values_of(steering_effect(BIOLOGY, BIOLOGY, batch=batch))
    assert with_labels["batch_mixing_before"] > 0.9 > 0.75 > without["batch_mixing_before"]


def test_without_labels_and_batches_only_neighbours_are_compared():
    effect = steering_effect(PLAIN, -PLAIN)
    assert effect.quantities == ("neighbors_kept",) and effect.value.tolist() == [1.0]
    assert np.isnan(effect.label_purity_expected) and np.isnan(effect.label_accuracy_before)
    assert "label_purity_change" not in steering_effect(PLAIN, PLAIN, batch=BATCH).quantities


def test_displacement_is_in_radii():
    line = np.arange(20.0)[:, None]
    effect = steering_effect(line, line + 3, n_neighbors=1)
    assert effect.displacement == pytest.approx(3)
    assert "3 (median)" in repr(effect)


def test_cells_that_are_equal_are_neighbours_of_each_other():
    X = np.repeat(np.arange(6.0), 8)[:, None]
    labels = np.repeat(np.arange(6), 8)
    values = values_of(steering_effect(X, X, labels=labels, n_neighbors=5))
    assert values["label_purity_before"] == 1


def test_values_by_label():
    before = BIOLOGY.copy()
    before[LABELS == 2] += 50 * np.eye(4)[3] * BATCH[LABELS == 2, None]
    effect = steering_effect(before, BIOLOGY, labels=LABELS, batch=BATCH)
    table = effect.by_label()
    assert_array_equal(table.n_cells, np.bincount(LABELS))
    assert table.batch_mixing_before[2] == 0 and (table.batch_mixing_before[:2] > 0.5).all()
    kept = table.neighbors_kept @ table.n_cells / 240
    assert kept == pytest.approx(values_of(effect)["neighbors_kept"])


def test_a_type_in_one_batch_has_nothing_to_mix():
    batch = np.where(LABELS == 0, 0, BATCH)
    effect = steering_effect(BIOLOGY, BIOLOGY, labels=LABELS, batch=batch)
    assert np.isnan(effect.by_label().batch_mixing_after[0])
    assert np.isfinite(values_of(effect)["batch_mixing_after"])


def test_some_cells_stand_for_all():
    whole = steering_effect(BIOLOGY, PLAIN, labels=LABELS)
    part = steering_effect(BIOLOGY, PLAIN, labels=LABELS, n_cells=120, random_state=0)
    again = steering_effect(BIOLOGY, PLAIN, labels=LABELS, n_cells=120, random_state=0)
    assert part.n_cells == 120 and part.by_label().n_cells.sum() == 120
    assert_array_equal(part.value, again.value)
    assert_allclose(part.value, whole.value, atol=0.1)
    everything = steering_effect(BIOLOGY, PLAIN, labels=LABELS, n_cells=1000)
    assert_array_equal(everything.value, whole.value)


def test_intervals_by_resampled_units():
    few, many = np.arange(240) % 4, np.arange(240)
    options = {"labels": LABELS, "random_state": 0, "n_resamples": 300}
    before = PLAIN + 2 * np.eye(4)[LABELS]
    effect = steering_effect(before, PLAIN, units=many, **options)
    assert ((effect.low <= effect.value) & (effect.value <= effect.high)).all()
    assert (effect.low < effect.high).all()
    assert np.isnan(steering_effect(before, PLAIN, **options).low).all()
    whole = effect.table()
    assert whole.quantity.tolist() == list(effect.quantities)
    strata = steering_effect(before, PLAIN, units=many, strata=few, **options)
    assert_array_equal(strata.value, effect.value)
    halved = steering_effect(
        before, PLAIN, units=many, labels=LABELS, random_state=0, confidence_level=0.5
    )
    assert ((halved.high - halved.low) < (effect.high - effect.low)).all()


def test_intervals_see_that_cells_of_a_unit_go_together():
    """A batch effect in one of four donors: cells as units are far too sure of its mean."""
    donor = np.arange(240) % 4
    after = BIOLOGY.copy()
    after[donor == 0] = PLAIN[donor == 0]
    width = {}
    for name, units in (("cells", np.arange(240)), ("donors", donor)):
        effect = steering_effect(BIOLOGY, after, labels=LABELS, units=units, random_state=0)
        place = effect.quantities.index("neighbors_kept")
        width[name] = effect.high[place] - effect.low[place]
    assert width["donors"] > 2 * width["cells"]


def test_probes_read_what_neighbours_do_not_see():
    small = PLAIN.copy()
    small[:, 0] += 4 * BATCH
    large = np.hstack([small, 20 * RNG.normal(size=(240, 4))])
    erased = large.copy()
    erased[:, 0] = 0
    effect = steering_effect(
        large, erased, labels=LABELS, batch=BATCH, units=np.arange(240) // 2, cv=3, random_state=0
    )
    assert effect.batch_accuracy_before > 0.9
    assert abs(effect.batch_accuracy_after - 0.5) < 0.12 and effect.batch_chance == 0.5
    assert effect.label_chance == pytest.approx(1 / 3)
    assert values_of(effect)["batch_mixing_before"] > 0.8


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"same cells and features, got shapes \(240, 4\) and"):
        steering_effect(PLAIN, PLAIN[1:])
    with pytest.raises(ValueError, match="n_neighbors must be less than the 240 cells, got 240"):
        steering_effect(PLAIN, PLAIN, n_neighbors=240)
    with pytest.raises(ValueError, match="labels must have one entry per row"):
        steering_effect(PLAIN, PLAIN, labels=LABELS[1:])
    with pytest.raises(ValueError, match="batch holds missing values"):
        steering_effect(PLAIN, PLAIN, batch=np.where(BATCH == 0, np.nan, 1.0))
    with pytest.raises(ValueError, match="after holds NaN"):
        steering_effect(PLAIN, PLAIN * np.nan)
    with pytest.raises(ValueError, match="units must lie in one stratum"):
        steering_effect(PLAIN, PLAIN, units=np.arange(240) // 2, strata=np.arange(240) % 2)
    with pytest.raises(ValueError, match="n_cells must be an integer >= 1 or None"):
        steering_effect(PLAIN, PLAIN, n_cells=0)
