"""Bright and dark cells: Table 3 of the ICFL paper."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, t

from skdict.imaging import call_bright_cells, cell_alignment, cell_recall

# Image, cells, perturbed, control-like, recalled control-like cells.
TABLE_3 = [("A", 28, 22, 6, 6), ("B", 34, 26, 8, 6), ("C", 20, 17, 3, 3), ("D", 23, 16, 7, 6),
           ("E", 19, 12, 7, 6)]  # fmt: skip


def paper_cells():
    """Cells with the counts of the paper; all perturbed cells are bright."""
    bright, perturbed, image = [], [], []
    for name, n_cells, n_perturbed, n_control, n_recalled in TABLE_3:
        assert n_cells == n_perturbed + n_control
        bright += [True] * n_perturbed + [False] * n_recalled + [True] * (n_control - n_recalled)
        perturbed += [True] * n_perturbed + [False] * n_control
        image += [name] * n_cells
    return bright, perturbed, image


def test_arithmetic_of_the_paper():
    found = cell_recall(*paper_cells())
    table = found.images()
    assert table.image.tolist() == ["A", "B", "C", "D", "E", "total"]
    rows = zip(table.image, table.n_cells, table.n_perturbed, table.n_control,
               table.n_recalled_control)  # fmt: skip
    assert [tuple(row) for row in rows] == [*TABLE_3, ("total", 124, 93, 31, 27)]
    assert f"{100 * table.recall_control[-1]:.1f}" == "87.1"
    assert table.recall_perturbed.tolist() == [1.0] * 6
    assert "27 of 31 dark = 87.1%" in repr(found)
    assert found.images(as_frame=True).shape == (6, 8)


def test_intervals_over_cells_and_images():
    found = cell_recall(*paper_cells())
    for side, counts in (("control", (27, 31)), ("perturbed", (93, 93))):
        exact = binomtest(*counts).proportion_ci(method="wilson")
        np.testing.assert_allclose(found.total[f"{side}_cells"], exact, atol=1e-12)
    # All images recall all perturbed cells: of what cannot be seen no narrower interval comes.
    np.testing.assert_allclose(found.total.perturbed_images, found.total.perturbed_cells)
    low, high = found.total.control_images
    assert low <= found.total.control_cells[0] and found.total.control_cells[1] <= high
    # Nor does one come where images differ less than independent cells would.
    bright = np.tile(np.arange(10) < 5, 6)
    bright[0] = False
    alike = cell_recall(bright, np.zeros(60, bool), np.repeat(np.arange(6), 10))
    np.testing.assert_allclose(alike.total.control_images, alike.total.control_cells)
    split = cell_recall([False] * 10 + [True] * 10, [False] * 20, np.repeat([0, 1], 10))
    low, high = split.total.control_images
    assert split.total.recall_control == 0.5
    assert low < 0.05 and high > 0.95  # two images that disagree say nothing
    alone = cell_recall([True, False], [True, False], [3, 3])
    assert np.isnan(alone.total.control_images).all()


def test_the_interval_over_images_by_hand():
    recalled, cells = np.array([9, 2, 6]), np.array([10, 8, 12])
    dark = np.concatenate([np.arange(n) < k for k, n in zip(recalled, cells)])
    image = np.repeat([0, 1, 2], cells)
    found = cell_recall(~dark, np.zeros(30, bool), image, confidence_level=0.9)
    share = 17 / 30
    variance = 3 / 2 * ((recalled - share * cells) ** 2).sum() / 30**2
    worth = share * (1 - share) / variance * (norm.ppf(0.95) / t.ppf(0.95, 2)) ** 2
    assert worth < 10  # of 30 cells
    # Wilson's limits are the shares whose score test has this level.
    for limit in found.total.control_images:
        score = (share - limit) / np.sqrt(limit * (1 - limit) / worth)
        assert abs(score) == pytest.approx(norm.ppf(0.95))


def test_the_interval_over_images_covers_where_that_over_cells_does_not():
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    image = np.repeat(np.arange(10), 20)
    for _ in range(200):
        chance = rng.beta(2, 2, 10)[image]  # images differ, 0.5 in the mean
        total = cell_recall(rng.random(200) < chance, np.zeros(200, bool), image).total
        for k, name in enumerate(("control_cells", "control_images")):
            covered[k] += total[name][0] <= 0.5 <= total[name][1]
    assert covered[0] < 120 and covered[1] >= 180


@given(seed=st.integers(0, 1000))
def test_chance_is_that_of_all_ways_to_call_as_many_cells_bright(seed):
    rng = np.random.default_rng(seed)
    image = np.array([0, 0, 0, 0, 1, 1, 1])
    perturbed, bright = rng.random((2, 7)) < 0.5
    perturbed[:2] = [True, False]
    found = cell_recall(bright, perturbed, image)
    recalled = []
    for chosen in itertools.product([False, True], repeat=7):
        chosen = np.array(chosen)
        if all(chosen[image == i].sum() == bright[image == i].sum() for i in (0, 1)):
            recalled.append(np.count_nonzero(~chosen & ~perturbed))
    recalled = np.array(recalled)
    observed = np.count_nonzero(~bright & ~perturbed)
    assert found.total.p_value == pytest.approx(np.mean(recalled >= observed))
    assert found.total.chance_control == pytest.approx(recalled.mean() / (~perturbed).sum())


def test_an_image_without_a_class_has_no_recall():
    found = cell_recall([True, False, True], [True, False, True], ["a", "a", "b"])
    assert found.recall_control[0] == 1 and np.isnan(found.recall_control[1])
    assert found.total.recall_control == 1
    nobody = cell_recall([True], [True], ["a"])
    assert np.isnan(nobody.total.recall_control) and np.isnan(nobody.total.control_cells).all()
    assert nobody.total.p_value == 1


def test_planted_cells_are_called_and_recalled(fields):
    cells = cell_alignment(fields.tokens, fields.directions, fields.labels)
    own, null = (np.flatnonzero(fields.names == name)[0] for name in ("perturbed", "null"))
    has_both = np.array([0 < fields.cell_perturbed[cells.image == i].mean() < 1
                         for i in range(12)])[cells.image]  # fmt: skip
    for method in ("image", "pooled"):
        bright = call_bright_cells(
            cells.alignment, cells.image, background=cells.background[cells.image], method=method
        )
        # An image without perturbed cells is parted all the same, unless with the others.
        counts = has_both if method == "image" else slice(None)
        found = cell_recall(bright[counts, own], fields.cell_perturbed[counts], cells.image[counts])
        assert found.total.recall_control == 1 and found.total.recall_perturbed == 1
        assert found.total.p_value < 1e-10
        by_chance = cell_recall(bright[:, null], fields.cell_perturbed, cells.image).total
        assert by_chance.p_value > 0.01
        assert abs(by_chance.recall_control - by_chance.chance_control) < 0.25


@given(
    values=st.lists(st.integers(-20, 20), min_size=2, max_size=12),
    scale=st.floats(0.1, 10),
    shift=st.floats(-5, 5),
)
def test_otsu_has_the_largest_variance_between_groups(values, scale, shift):
    values = np.array(values, dtype=float)
    bright = call_bright_cells(values, np.zeros(values.size))
    if np.ptp(values) == 0:
        assert bright.all()
        return

    def between(cut):
        above = values >= cut
        means = values[above].mean() - values[~above].mean()
        return above.mean() * (~above).mean() * means**2

    cuts = np.unique(values)[1:]
    best = max(between(cut) for cut in cuts)
    assert values[bright].min() > values[~bright].max()
    assert between(values[bright].min()) == pytest.approx(best)
    moved = call_bright_cells(scale * values + shift, np.zeros(values.size))
    assert between(values[moved].min()) == pytest.approx(best)


def test_single_cells_are_called_by_the_background():
    assert call_bright_cells([0.4], ["a"], background=[0.1]).tolist() == [True]
    assert call_bright_cells([0.1], ["a"], background=[0.4]).tolist() == [False]
    assert call_bright_cells([0.1], ["a"]).tolist() == [True]  # nothing is darker
    two = call_bright_cells([0.5, 2.6], [0, 1], background=[0.1, 2.5], method="pooled")
    assert two.tolist() == [True, False]  # 0.4 against 0.1 above their backgrounds


def test_images_are_called_on_their_own_and_columns_too(rng):
    values, image = rng.normal(size=(30, 4)), np.repeat([0, 1, 2], 10)
    bright = call_bright_cells(values + 100 * image[:, None], image)
    np.testing.assert_array_equal(bright, call_bright_cells(values, image))
    for m in range(4):
        np.testing.assert_array_equal(bright[:, m], call_bright_cells(values[:, m], image))
    assert not np.array_equal(bright, call_bright_cells(values, image, method="pooled"))


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="bright must be boolean.*got dtype int64"):
        cell_recall([1, 0], [True, False], [0, 0])
    with pytest.raises(ValueError, match="perturbed must be boolean with one entry per cell"):
        cell_recall([True, False], [True], [0, 0])
    with pytest.raises(ValueError, match="image must have one entry per row"):
        cell_recall([True, False], [True, False], [0])
    with pytest.raises(ValueError, match="bright must be one-dimensional.*column of one direction"):
        cell_recall(np.ones((2, 2), bool), [True, False], [0, 0])
    with pytest.raises(ValueError, match=r"confidence_level must be in \(0, 1\]"):
        cell_recall([True], [True], [0], confidence_level=1.5)
    with pytest.raises(ValueError, match="alignment holds NaN"):
        call_bright_cells([np.nan, 1], [0, 0])
    with pytest.raises(ValueError, match="method must be one of 'image', 'pooled'"):
        call_bright_cells([0.0, 1], [0, 0], method="eye")
    with pytest.raises(ValueError, match=r"background must have the shape of alignment, \(2,\)"):
        call_bright_cells([0.0, 1], [0, 0], background=[0.0])
