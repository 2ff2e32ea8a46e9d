"""Planted fields hold what they say."""

import numpy as np
import pytest

from skdict.datasets import make_cell_fields


@pytest.fixture(scope="module")
def fields():
    return make_cell_fields(n_images=8, n_wells=3, n_null=4, random_state=0)


def test_shapes(fields):
    assert fields.images.shape == (8, 5, 256, 256) and fields.images.dtype == np.float32
    assert fields.labels.shape == (8, 256, 256)
    assert fields.tokens.shape == (8, 32, 32, 48)
    assert fields.maps.shape == (8, len(fields.names), 32, 32)
    assert len(fields.directions) == len(fields.names) == 5 + 5 + 4
    np.testing.assert_allclose(fields.directions @ fields.directions.T, np.eye(14), atol=1e-5)


def test_cells_are_listed_once_each(fields):
    for image in range(8):
        present = np.unique(fields.labels[image])
        listed = fields.cell_label[fields.cell_image == image]
        assert set(present[present > 0]) <= set(listed)
        assert listed.tolist() == list(range(1, listed.size + 1))
    assert fields.cell_perturbed.size == fields.cell_image.size
    assert 0.2 < fields.cell_perturbed.mean() < 0.6


def test_perturbed_cells_are_smaller_and_brighter(fields):
    area, brightness = [], []
    for image, label in zip(fields.cell_image, fields.cell_label, strict=True):
        inside = fields.labels[image] == label
        area.append(inside.sum())
        brightness.append(fields.images[image, 1][inside].mean() if inside.any() else np.nan)
    area, brightness = np.array(area), np.array(brightness)
    small = fields.cell_perturbed
    assert np.median(area[small]) < 0.6 * np.median(area[~small])
    assert np.nanmedian(brightness[small]) > np.nanmedian(brightness[~small])


def test_tokens_are_the_superposition_of_the_maps():
    fields = make_cell_fields(n_images=2, n_wells=1, noise=0.0, random_state=1)
    expected = np.einsum("ikyx,kd->iyxd", fields.maps, fields.directions)
    np.testing.assert_allclose(fields.tokens, expected, atol=1e-4)


def test_maps_are_standard_or_nothing(fields):
    spread = fields.maps.std(axis=(2, 3))
    leak = fields.names.tolist().index("light leak")
    np.testing.assert_array_equal(spread[:, leak] > 0, fields.light_leak)
    others = np.delete(spread, leak, axis=1)
    np.testing.assert_allclose(others, 1, atol=1e-5)
    assert fields.light_leak.sum() == 2


def test_stains_pool_to_their_maps(fields):
    pooled = fields.images.reshape(8, 5, 32, 8, 32, 8).mean(axis=(3, 5))
    for image in range(8):
        for channel in range(5):
            r = np.corrcoef(pooled[image, channel].ravel(), fields.maps[image, channel].ravel())
            assert r[0, 1] > 0.999


def test_wells_are_filled_in_order(fields):
    assert fields.well.tolist() == ["well 0"] * 3 + ["well 1"] * 3 + ["well 2"] * 2


def test_repeatable():
    one, two = (make_cell_fields(n_images=2, n_wells=1, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.tokens, two.tokens)
    assert (one.tokens != make_cell_fields(n_images=2, n_wells=1, random_state=4).tokens).any()


def test_more_directions_than_features():
    fields = make_cell_fields(n_images=1, n_wells=1, n_features=6, n_null=9, random_state=0)
    np.testing.assert_allclose(np.linalg.norm(fields.directions, axis=1), 1, rtol=1e-5)


def test_fields_without_cells():
    fields = make_cell_fields(n_images=2, n_wells=1, n_cells=0, random_state=0)
    assert not fields.labels.any() and fields.cell_image.size == 0
    assert np.isfinite(fields.tokens).all()


def test_errors():
    with pytest.raises(ValueError, match="n_wells must be at most n_images = 2, got 3"):
        make_cell_fields(2, 3)
    with pytest.raises(ValueError, match="perturbed_fraction must be in"):
        make_cell_fields(perturbed_fraction=1.5)
    with pytest.raises(ValueError, match="grid must be an integer >= 4"):
        make_cell_fields(grid=(2, 32))
