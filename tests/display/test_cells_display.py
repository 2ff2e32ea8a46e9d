"""Displays of segments, cells, outlines and boundary profiles."""

import numpy as np
import pytest

from skdict.datasets import make_cell_fields
from skdict.display import (
    BoundaryProfileDisplay,
    CellAlignmentDisplay,
    CellOutlineDisplay,
    SegmentAlignmentDisplay,
)
from skdict.imaging import (
    boundary_profile,
    cell_alignment,
    cell_class_test,
    segment_histograms,
    segment_images,
    token_heatmaps,
)


@pytest.fixture(scope="module")
def planted_cells():
    return make_cell_fields(6, 3, (16, 16), n_cells=8, n_null=2, random_state=0)


@pytest.fixture(scope="module")
def segments(planted_cells):
    return segment_images(planted_cells.labels, planted_cells.cell_perturbed)


def test_histograms_say_what_they_are(planted_cells, segments):
    direction = planted_cells.directions[planted_cells.names == "perturbed"]
    found = segment_histograms(planted_cells.tokens, direction, segments, n_bins=20)
    shown = SegmentAlignmentDisplay.from_tokens(
        planted_cells.tokens, direction, segments, n_bins=20, name="class"
    )
    assert "reproduction of Fig. 6E, no inference" in shown.ax_.get_title()
    assert "control-like < perturbed p < 0.0001" in shown.ax_.get_title()
    outlines = [patch for patch in shown.ax_.patches if not patch.get_fill()]
    for k, patch in enumerate(outlines):
        expected = found.counts[0, k] / found.n_tokens[k]
        np.testing.assert_allclose(patch.get_data().values, expected)
    means = sorted(line.get_xdata()[0] for line in shown.ax_.lines)
    np.testing.assert_allclose(means, np.sort(found.mean[0]))
    columns = shown.source_data()
    assert columns["n_tokens"].sum() == found.n_tokens.sum()
    assert "no inference" in shown.methods() and "not independent" in shown.methods()
    styles = {patch.get_linestyle() for patch in outlines[1:]}
    assert len(styles) == 2  # told apart without colour


def test_a_segment_without_tokens_has_no_mean():
    shown = SegmentAlignmentDisplay(
        [[1, 2], [0, 0], [0, 3]], [0, 1, 2], mean=[0.5, np.nan, 1.5], p_less=[np.nan, 0.3]
    ).plot()
    assert len(shown.ax_.lines) == 2
    assert "control-like < perturbed p unknown" in shown.ax_.get_title()
    assert "p = 0.3" in shown.methods()
    assert (
        "Mann-Whitney"
        not in SegmentAlignmentDisplay(np.ones((3, 2)), [0, 1, 2], mean=[1, 1, 1]).methods()
    )


def test_cells_stand_by_field_and_class(planted_cells):
    cells = cell_alignment(planted_cells.tokens, planted_cells.directions, planted_cells.labels)
    column = cells.alignment[:, planted_cells.names == "perturbed"][:, 0]
    well = planted_cells.well[cells.image]
    arguments = {"field": cells.image, "well": well, "n_permutations": 99, "random_state": 0}
    test = cell_class_test(column, planted_cells.cell_perturbed, **arguments)
    shown = CellAlignmentDisplay.from_cells(
        column, planted_cells.cell_perturbed, name="class", **arguments
    )
    left, right = shown.axes_
    drawn = np.concatenate([dots.get_offsets() for dots in left.collections])
    assert len(drawn) == column.size
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(column))
    names = [tick.get_text() for tick in left.get_xticklabels()]
    image = np.array([int(names[round(x)]) for x in drawn[:, 0]])
    np.testing.assert_array_equal(np.sort(image), np.sort(cells.image))
    wells, mean = (dots.get_offsets()[:, 0] for dots in right.collections)
    np.testing.assert_allclose(wells, test.well_effect[:, 0])
    np.testing.assert_allclose(mean, test.effect)
    assert f"{test.low[0]:.3g} to {test.high[0]:.3g}" in right.get_title()
    assert shown.source_data()["cell_class"].tolist().count("perturbed") == (
        planted_cells.cell_perturbed.sum()
    )
    assert "interval over wells (Student's t)" in shown.methods()


def test_many_fields_are_drawn_by_well():
    field = np.repeat(np.arange(30), 4)
    perturbed = np.arange(120) % 2 == 0
    shown = CellAlignmentDisplay.from_cells(
        np.sin(np.arange(120.0)), perturbed, field=field, well=field // 10, n_permutations=9
    )
    assert shown.axes_[0].get_xlabel() == "Wells"
    assert [tick.get_text() for tick in shown.axes_[0].get_xticklabels()] == ["0", "1", "2"]


def test_one_well_has_no_interval():
    shown = CellAlignmentDisplay.from_cells(
        [0.0, 1, 2, 3], [False, True, False, True], field=[0, 0, 0, 0], n_permutations=9
    )
    assert "interval" not in shown.axes_[1].get_title() and "interval" not in shown.methods()


def test_outlines_enclose_the_cells(planted_cells):
    heatmap = token_heatmaps(planted_cells.tokens[:1], planted_cells.directions[:1])[0, 0]
    labels = planted_cells.labels[0]
    own = planted_cells.cell_perturbed[planted_cells.cell_image == 0]
    shown = CellOutlineDisplay(heatmap, labels, own, name="DNA").plot()
    assert shown.image_.get_extent() == [-0.5, 127.5, 127.5, -0.5]
    np.testing.assert_allclose(shown.image_.get_array(), heatmap)
    assert len(shown.ax_.collections) == own.size
    extents = [c.get_paths()[0].get_extents() for c in shown.ax_.collections]
    for extent in extents:  # each outline is half a pixel around one cell
        boxes = (np.nonzero(labels == number) for number in np.unique(labels)[1:])
        sides = [[x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5] for y, x in boxes]
        assert sum(np.allclose(extent.extents, side) for side in sides) == 1
    words = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert words == [f"perturbed, {own.sum()}", f"control-like, {(~own).sum()}"]
    assert shown.source_data()["alignment"].size == 16 * 16
    assert f"{own.sum()} are perturbed" in shown.methods()


def test_outlines_without_classes_and_what_does_not_fit():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
    shown = CellOutlineDisplay([[0.1, 0.2]], labels).plot(colorbar=False)
    assert shown.colorbar_ is None and shown.ax_.get_legend() is None
    with pytest.raises(ValueError, match="token grid does not match the image: 1 x 3 tokens"):
        CellOutlineDisplay([[0.1, 0.2, 0.3]], labels).plot()
    with pytest.raises(ValueError, match=r"perturbed must be of shape \(1,\)"):
        CellOutlineDisplay([[0.1, 0.2]], labels, [True, False]).plot()
    with pytest.raises(ValueError, match="heatmap must have shape"):
        CellOutlineDisplay([0.1, 0.2], labels).plot()


def test_profiles_are_drawn_by_class_with_units(planted_cells):
    classes = np.where(planted_cells.cell_perturbed, "perturbed", "control-like")
    found = boundary_profile(
        planted_cells.tokens, planted_cells.directions, planted_cells.labels,
        units=planted_cells.well, classes=classes,
    )  # fmt: skip
    ring = (planted_cells.names == "ring").argmax()
    shown = BoundaryProfileDisplay.from_profile(found, ring)
    curves = {line.get_label(): line for line in shown.ax_.lines if line.get_gid()}
    assert list(curves) == ["control-like", "perturbed"]
    for k, curve in enumerate(curves.values()):
        np.testing.assert_allclose(curve.get_ydata(), found.profile[k, :, ring])
    columns = shown.source_data()
    np.testing.assert_array_equal(columns["low"], found.low[..., ring].ravel())
    assert "token of 8 pixels" in shown.methods()
    with pytest.raises(ValueError, match="direction must be less than the number of directions"):
        BoundaryProfileDisplay.from_profile(found, 99)


def test_profiles_share_axes():
    first = BoundaryProfileDisplay([-1, 0, 1], [[0.1, 0.2]], name="one", token_size=1).plot()
    second = BoundaryProfileDisplay([-1, 0, 1], [[5.0, 7.0]], name="two").plot(first.ax_)
    curves = [line for line in second.ax_.lines if line.get_gid()]
    assert [curve.get_label() for curve in curves] == ["one", "two"]
    assert curves[0].get_color() != curves[1].get_color()
    assert second.ax_.get_ylim()[1] > 7
    assert [text.get_text() for text in second.ax_.texts].count("inside") == 1


def test_profiles_must_fit():
    with pytest.raises(ValueError, match=r"profile must have a row per class.*\(1, 2\)"):
        BoundaryProfileDisplay([-1, 0, 1], [[0.1, 0.2, 0.3]]).plot()
    with pytest.raises(ValueError, match="low and high are the limits"):
        BoundaryProfileDisplay([-1, 0, 1], [[0.1, 0.2]], low=[[0, 0]]).plot()
    with pytest.raises(ValueError, match=r"unit_profile must have shape \(n_units, 1, 2\)"):
        BoundaryProfileDisplay([-1, 0, 1], [[0.1, 0.2]], unit_profile=[[0.1, 0.2]]).plot()
    with pytest.raises(ValueError, match="counts must have a row for each of 3 segments"):
        SegmentAlignmentDisplay([[1, 2]], [0, 1, 2], mean=[0, 0, 0]).plot()


def test_one_direction_per_histogram(planted_cells, segments):
    with pytest.raises(ValueError, match="direction must be a single direction, got 2"):
        SegmentAlignmentDisplay.from_tokens(
            planted_cells.tokens, planted_cells.directions[:2], segments
        )


def test_they_save_their_numbers(tmp_path, planted_cells):
    found = boundary_profile(planted_cells.tokens, planted_cells.directions, planted_cells.labels)
    BoundaryProfileDisplay.from_profile(found, name="DNA", plot=False).save(tmp_path / "a.svg")
    shown = CellAlignmentDisplay.from_cells(
        [0.0, 1, 2, 3], [False, True, False, True], field=[0, 0, 1, 1], n_permutations=9,
        plot=False,
    )  # fmt: skip
    shown.save(tmp_path / "b.svg")
    assert (tmp_path / "a.csv").read_text().startswith("name,cell_class,low_edge")
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 5
