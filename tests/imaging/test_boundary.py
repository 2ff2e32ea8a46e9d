"""Alignment along the distance from the boundary of cells, and rings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from skdict.datasets import make_cell_fields
from skdict.imaging import (
    _boundary,
    boundary_distance,
    boundary_profile,
    cell_class_test,
    ring_contrast,
    ring_test,
    token_heatmaps,
    upsample_heatmap,
)


def blobs(seed, shape=(18, 24)):
    """A label image with touching cells, at the border as well."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    parts = np.digitize(ndimage.gaussian_filter(rng.normal(size=shape), 3), [-0.05, 0.05])
    return ndimage.label(smooth > 0)[0] * 3 + parts * (smooth > 0)


def naive_distance(labels):
    """Distance to the nearest pixel of another label, or of any cell, pixel by pixel."""
    places = np.argwhere(np.ones(labels.shape))
    distance, nearest = np.empty(labels.size), np.empty(labels.size, dtype=int)
    flat = labels.ravel()
    for k, place in enumerate(places):
        squares = ((places - place) ** 2).sum(axis=1)
        others = flat != flat[k] if flat[k] else flat > 0
        length = np.sqrt(squares[others].min())
        distance[k] = 0.5 - length if flat[k] else length - 0.5
        nearest[k] = flat[k] or flat[others & (np.sqrt(squares) == length)].max()
    return distance.reshape(labels.shape), nearest.reshape(labels.shape)


@given(seed=st.integers(0, 200))
def test_distance_against_all_pairs_of_pixels(seed):
    labels = blobs(seed)
    distance, nearest = boundary_distance(labels)
    expected, _ = naive_distance(labels)
    np.testing.assert_allclose(distance, expected)
    inside = labels > 0
    np.testing.assert_array_equal(nearest[inside], labels[inside])
    # a tie between two cells may go either way, but the cell is as near as any
    for cell in np.unique(labels[inside]):
        to_cell = ndimage.distance_transform_edt(labels != cell)
        own = (nearest == cell) & ~inside
        np.testing.assert_allclose(to_cell[own] - 0.5, distance[own])


def test_distance_without_boundary():
    distance, nearest = boundary_distance(np.zeros((3, 4), dtype=int))
    assert np.isinf(distance).all() and (distance > 0).all() and (nearest == 0).all()
    distance, nearest = boundary_distance(np.full((3, 4), 7))
    assert np.isinf(distance).all() and (distance < 0).all() and (nearest == 7).all()
    large = np.full((1, 4), 2**63 + 1, dtype=np.uint64)  # no float64 holds it
    assert boundary_distance(large)[1].tolist() == large.tolist()
    with pytest.raises(ValueError, match=r"labels must have shape \(height, width\)"):
        boundary_distance(np.zeros((1, 3, 4), dtype=int))
    with pytest.raises(ValueError, match="labels must be integers"):
        boundary_distance(np.zeros((3, 4)))


def toy(seed, n_images=3, grid=(6, 4), patch=(3, 6)):
    rng = np.random.default_rng(seed)
    labels = np.stack([blobs(seed * 10 + i) for i in range(n_images)])
    return rng.normal(size=(n_images, *grid, 3)), rng.normal(size=(5, 3)), labels


@given(seed=st.integers(0, 60))
def test_profile_is_the_mean_over_pixels_of_a_distance(seed):
    tokens, directions, labels = toy(seed)
    ignore = np.random.default_rng(seed).random(labels.shape) < 0.2
    edges = np.array([-4, -2, -0.5, 0, 0.5, 3, 6])
    found = boundary_profile(tokens, directions, labels, ignore=ignore, edges=edges)
    pixels = upsample_heatmap(token_heatmaps(tokens, directions), labels.shape[1:], order=0)
    for image in range(3):
        distance = boundary_distance(labels[image])[0]
        for b in range(6):
            last = distance <= 6 if b == 5 else distance < edges[b + 1]
            inside = (edges[b] <= distance) & last & ~ignore[image]
            # pixels whose nearest cell is ignored as a whole belong to no cell
            kept = np.isin(boundary_distance(labels[image])[1], labels[image][~ignore[image]])
            inside &= kept
            assert found.n_pixels[image, 0, b] == inside.sum()
            if inside.any():
                np.testing.assert_allclose(
                    found.unit_profile[image, 0, b], pixels[image][:, inside].mean(axis=1)
                )
            else:
                assert np.isnan(found.unit_profile[image, 0, b]).all()


def test_the_profile_has_the_precision_of_the_tokens():
    tokens, directions, labels = toy(0)
    found = boundary_profile(tokens.astype(np.float16), directions, labels)
    assert found.unit_profile.dtype == np.float32


def test_units_are_averaged_and_bring_intervals():
    tokens, directions, labels = toy(1, 6)
    each = boundary_profile(tokens, directions, labels)
    wells = boundary_profile(tokens, directions, labels, units=list("aabbcc"))
    pairs = each.unit_profile.reshape(3, 2, *each.unit_profile.shape[1:])
    whole = np.isfinite(pairs).all(axis=(0, 1))
    assert whole.any()
    np.testing.assert_allclose(wells.unit_profile[:, whole], pairs.mean(axis=1)[:, whole])
    np.testing.assert_allclose(wells.profile[whole], wells.unit_profile.mean(axis=0)[whole])
    interval = stats.ttest_1samp(wells.unit_profile, 0).confidence_interval()
    np.testing.assert_allclose(wells.low[whole], interval.low[whole])
    np.testing.assert_allclose(wells.high[whole], interval.high[whole])
    assert wells.units.tolist() == ["a", "b", "c"] and (wells.n_units <= 3).all()
    one = boundary_profile(tokens[:1], directions, labels[:1])
    assert np.isnan(one.low).all() and "no interval" in repr(one)


def test_classes_have_their_own_pixels():
    tokens, directions, labels = toy(2)
    both = boundary_profile(tokens, directions, labels)
    n_cells = sum(np.unique(image[image > 0]).size for image in labels)
    classes = np.where(np.arange(n_cells) % 2, "odd", "even")
    found = boundary_profile(tokens, directions, labels, classes=classes)
    assert found.classes.tolist() == ["even", "odd"]
    np.testing.assert_array_equal(found.n_pixels.sum(axis=1), both.n_pixels[:, 0])
    weights = found.n_pixels[..., None]
    joined = np.nansum(found.unit_profile * weights, axis=1) / np.maximum(weights.sum(axis=1), 1)
    there = both.n_pixels[:, 0] > 0
    np.testing.assert_allclose(joined[there], both.unit_profile[:, 0][there])
    curves = found.curves(3, as_frame=True)
    assert curves.shape == (2 * (found.edges.size - 1), 7)
    np.testing.assert_array_equal(curves.alignment, found.profile[..., 3].ravel())


def test_edges_in_patches_and_blocks_of_directions(monkeypatch):
    tokens, directions, labels = toy(3)
    default = boundary_profile(tokens, directions, labels)
    assert default.edges.tolist() == (np.arange(-6, 9) * 1.5).tolist()  # patches of 3 x 6 pixels
    patches = boundary_profile(
        tokens, directions, labels, edges=np.arange(-3, 4.5, 0.5), unit_of_distance="patches"
    )
    np.testing.assert_array_equal(patches.profile, default.profile)
    monkeypatch.setattr(_boundary, "_BLOCK", 2)
    blocks = boundary_profile(tokens, directions, labels)
    for name in ("profile", "low", "high"):
        np.testing.assert_allclose(blocks[name], default[name])


@pytest.mark.parametrize("share_ignored", [0, 0.3])
def test_contrast_of_a_cell_by_hand(share_ignored):
    tokens, directions, labels = toy(4)
    ignore = np.random.default_rng(0).random(labels.shape) < share_ignored
    found = ring_contrast(tokens, directions, labels, ignore=ignore, band=(-1, 2), core=-1.5, far=3)
    pixels = upsample_heatmap(token_heatmaps(tokens, directions), labels.shape[1:], order=0)
    assert np.isfinite(found.contrast).any()
    for k, (image, label) in enumerate(zip(found.image, found.label)):
        distance, nearest = boundary_distance(labels[image])
        counts = ~ignore[image] & np.isin(nearest, labels[image][~ignore[image]])
        own = (nearest == label) & counts
        band = (-1 <= distance) & (distance <= 2)
        regions = (own & (distance < -1.5), own & band, counts & (distance > 3))
        assert (found.n_core[k], found.n_band[k], found.n_far[k]) == tuple(map(np.sum, regions))
        if all(region.any() for region in regions):
            core, band, far = (pixels[image][:, region].mean(axis=1) for region in regions)
            np.testing.assert_allclose(found.contrast[k], band - (core + far) / 2)
        else:
            assert np.isnan(found.contrast[k]).all()


def test_planted_ring_is_found_and_nothing_else_looks_like_one(fields):
    found = ring_test(
        fields.tokens, fields.directions, fields.labels, units=fields.well, random_state=0
    )
    names = fields.names[found.rings(0.05).direction].tolist()
    assert names[0] == "ring"
    assert set(names) <= {"ring", "AGP"}  # this stain lies along the boundary
    ring = names.index("ring")
    assert found.rings().band_minus_core[ring] > 0.1 < found.rings().band_minus_far[ring]
    assert found.low[fields.names == "ring"] > 0.3
    contrast = ring_contrast(fields.tokens, fields.directions, fields.labels)
    whole = np.isfinite(contrast.contrast[:, 0])
    of_wells = [
        np.mean([contrast.contrast[whole & (contrast.image == i)].mean(axis=0)
                 for i in np.flatnonzero(fields.well == well)], axis=0)
        for well in np.unique(fields.well)
    ]  # fmt: skip
    np.testing.assert_allclose(found.contrast, np.mean(of_wells, axis=0), atol=1e-5)
    halves = (found.band_minus_core + found.band_minus_far) / 2
    np.testing.assert_allclose(found.contrast, halves)
    assert (np.sign(found.r) == np.sign(found.contrast))[found.q_value < 0.05].all()
    assert "ring-like" in repr(found)


def test_units_of_a_ring_test_count_alike(fields):
    arguments = fields.tokens, fields.directions, fields.labels
    found = ring_test(*arguments, units=[0] * 10 + [1, 2], n_permutations=1, random_state=0)
    parts = [
        ring_test(*(array[part] if array is not fields.directions else array
                    for array in arguments), n_permutations=1, random_state=0)
        for part in (slice(10), [10], [11])
    ]  # fmt: skip
    for name in ("contrast", "band_minus_core", "band_minus_far", "r"):
        expected = np.mean([part[name] for part in parts], axis=0)
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)


def test_every_cell_is_ringed_and_classes_can_be_compared(fields):
    found = ring_contrast(fields.tokens, fields.directions, fields.labels)
    whole = np.isfinite(found.contrast).all(axis=1)
    assert whole.sum() > 60
    of_cells = found.contrast[whole]
    assert (of_cells[:, fields.names == "ring"] > 0).mean() > 0.95
    test = cell_class_test(
        of_cells, fields.cell_perturbed[whole], field=found.image[whole], random_state=0
    )
    null = fields.names == "null"
    assert abs(of_cells[:, null].mean()) < 0.02 and (test.q_value[null] > 0.05).all()


def test_null_features_are_no_rings():
    cells = make_cell_fields(12, 4, (24, 24), n_cells=12, n_null=0, random_state=0)
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((12, 48, 48, 1000), dtype=np.float32)
    tokens = ndimage.gaussian_filter(tokens, (0, 2, 2, 0))[:, 12:-12, 12:-12]
    found = ring_test(
        tokens, np.eye(1000, dtype=np.float32), cells.labels, kind="inner", units=cells.well,
        random_state=0,
    )  # fmt: skip
    below = [np.mean(found.p_value <= level) for level in (0.05, 0.2, 0.5, 0.8)]
    np.testing.assert_allclose(below, [0.05, 0.2, 0.5, 0.8], atol=0.05)
    assert np.count_nonzero(found.q_value <= 0.05) <= 5
    assert np.mean((found.low < 0) & (found.high > 0)) > 0.9


def test_images_that_chose_or_lack_a_region_are_left_out(fields):
    labels = fields.labels[:4].copy()
    labels[3] = 0
    labels[3, 3:6, 3:6] = 1  # too small for a core
    arguments = fields.tokens[:4], fields.directions, labels
    chosen = np.zeros((4, len(fields.directions)), dtype=bool)
    chosen[0, 1] = True
    found = ring_test(*arguments, chosen=chosen, n_permutations=9, random_state=0)
    assert found.images_left_out.tolist() == [3]
    assert found.n_images[0] == 3 and found.n_images[1] == 2
    rest = ring_test(
        fields.tokens[1:3], fields.directions, labels[1:3], n_permutations=9, random_state=0
    )
    for name in ("contrast", "band_minus_core", "band_minus_far", "r"):
        assert found[name][1] == pytest.approx(rest[name][1], rel=1e-4), name
    chosen[:3, 2] = True  # all but the image without a core
    found = ring_test(*arguments, chosen=chosen, n_permutations=9, random_state=0)
    assert found.n_images[2] == 0
    for name in ("contrast", "band_minus_core", "band_minus_far", "r", "q_value"):
        assert np.isnan(found[name][2]) and np.isfinite(found[name][1]), name


def test_errors_name_the_parameter(fields):
    tokens, directions, labels = fields.tokens[:1], fields.directions, fields.labels[:1]
    with pytest.raises(ValueError, match="edges must be at least two ascending distances"):
        boundary_profile(tokens, directions, labels, edges=[1, 0])
    with pytest.raises(ValueError, match="unit_of_distance must be one of 'pixels', 'patches'"):
        boundary_profile(tokens, directions, labels, unit_of_distance="mm")
    with pytest.raises(ValueError, match="classes must have one entry per row"):
        boundary_profile(tokens, directions, labels, classes=["a"])
    with pytest.raises(ValueError, match="labels hold no cell"):
        boundary_profile(tokens, directions, 0 * labels)
    with pytest.raises(ValueError, match="core, band and far must ascend.*got core -2, band"):
        ring_contrast(tokens, directions, labels, core=-2, band=(-4, 4))
    with pytest.raises(ValueError, match=r"band must be \(low, high\) in pixels, got 4"):
        ring_contrast(tokens, directions, labels, band=4)
    with pytest.raises(ValueError, match=r"no image has a cell with a core \(below -99 pixels\)"):
        ring_test(tokens, directions, labels, core=-99)
    with pytest.raises(ValueError, match="chosen must be a boolean mask"):
        ring_test(tokens, directions, labels, chosen=[1])
    with pytest.raises(ValueError, match="token grid does not match the image"):
        ring_test(tokens, directions, labels[:, :-1])
