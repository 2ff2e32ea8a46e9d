"""Planted batches: atoms where they belong, and nothing else that tells batches apart."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdict.datasets import make_batches


def test_rows_are_the_sum_of_their_atoms():
    planted = make_batches(200, noise=0.0, random_state=0)
    assert_allclose(planted.codes @ planted.components, planted.data, atol=1e-4)
    assert_allclose(np.linalg.norm(planted.components, axis=1), 1, rtol=1e-5)
    assert planted.data.dtype == planted.codes.dtype == np.float32


def test_atoms_of_a_batch_are_active_in_it_alone():
    planted = make_batches(2000, batch_effect=0.6, random_state=0)
    for b, atoms in enumerate(planted.batch_atoms):
        active = planted.codes[:, atoms].toarray() != 0
        assert not active[planted.batch != b].any()
        assert_allclose(active[planted.batch == b].mean(axis=0), 0.6, atol=0.06)


def test_atoms_of_biology_know_no_batch():
    planted = make_batches(4000, n_batches=2, random_state=0)
    active = planted.codes[:, :40].toarray() != 0
    shares = [active[planted.batch == b].mean(axis=0) for b in (0, 1)]
    assert_allclose(*shares, atol=0.06)
    own = [active[planted.cell_type == t][:, planted.type_atoms[t]].mean() for t in range(5)]
    assert min(own) > 0.7


def test_units_lie_in_one_batch():
    planted = make_batches(500, n_batches=3, n_units=2, random_state=0)
    assert_array_equal(planted.unit // 2, planted.batch)
    assert set(planted.unit) == set(range(6))


@pytest.mark.parametrize(("composition", "low", "high"), [(0.0, 0.28, 0.39), (0.9, 0.9, 0.96)])
def test_composition_ties_types_to_batches(composition, low, high):
    planted = make_batches(6000, composition=composition, random_state=0)
    for t in range(5):
        share = (planted.batch[planted.cell_type == t] == t % 3).mean()
        assert low < share < high


def test_strength_is_that_of_the_batch():
    weak, strong = (make_batches(300, batch_strength=s, random_state=0) for s in (0.0, 3.0))
    assert_array_equal(weak.cell_type, strong.cell_type)
    assert not weak.codes[:, 40:].toarray().any() and strong.codes[:, 40:].nnz
    assert_allclose(weak.codes[:, :40].toarray(), strong.codes[:, :40].toarray())


def test_the_same_seed_gives_the_same_cells():
    first, second = (make_batches(50, random_state=3) for _ in range(2))
    assert_array_equal(first.data, second.data)
    assert (make_batches(50, random_state=4).data != first.data).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_types": 1}, "n_types must be an integer >= 2, got 1"),
        ({"n_batches": 0}, "n_batches must be an integer >= 1"),
        ({"n_active": 1}, "n_active must be an integer >= 2"),
        ({"batch_effect": 1.5}, r"batch_effect must be in \[0, 1\], got 1.5"),
        ({"composition": -1}, r"composition must be in \[0, 1\]"),
        ({"n_components": 6}, "n_components=6"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_batches(**options)
