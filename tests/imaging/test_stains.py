"""Channels on the grid of tokens, and the maps of artefacts."""

import numpy as np
import pytest

from skdict.imaging import artefact_maps, pool_channels


def test_pooling_is_the_mean_of_each_patch(rng):
    images = rng.normal(size=(2, 3, 12, 20))
    pooled = pool_channels(images, (3, 5))
    assert pooled.shape == (2, 3, 3, 5)
    np.testing.assert_allclose(pooled[1, 2, 2, 4], images[1, 2, 8:, 16:].mean())
    np.testing.assert_allclose(pooled.mean(axis=(2, 3)), images.mean(axis=(2, 3)))


def test_unsigned_integers_do_not_overflow():
    images = np.full((1, 1, 64, 64), 65_535, dtype=np.uint16)
    assert (pool_channels(images, (2, 2)) == 65_535).all()


def test_a_function_can_give_the_images(rng):
    images = rng.normal(size=(3, 2, 8, 8))
    pooled = pool_channels(images.__getitem__, (4, 4), n_images=3)
    np.testing.assert_array_equal(pooled, pool_channels(images, (4, 4)))


def test_pooling_errors(rng):
    images = rng.normal(size=(2, 3, 12, 20))
    with pytest.raises(ValueError, match="token grid does not match the image: 5 x 5 tokens"):
        pool_channels(images, (5, 5))
    with pytest.raises(ValueError, match="token grid does not match the image: 24 x 20"):
        pool_channels(images, (24, 20))
    with pytest.raises(ValueError, match=r"image 0 of images must have shape .* got shape \(12"):
        pool_channels(images[0], (3, 5))
    with pytest.raises(TypeError, match="n_images must be the number of images"):
        pool_channels(images.__getitem__, (3, 5))
    with pytest.raises(ValueError, match="image 1 has 2"):
        pool_channels(lambda i: images[i, : 3 - i], (3, 5), n_images=2)
    images[1, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="image 1 holds NaN"):
        pool_channels(images, (3, 5))


def test_light_leaks_are_found_where_they_are(fields, stains):
    maps = artefact_maps(stains)
    there = maps[:, 0].any(axis=(1, 2))
    np.testing.assert_array_equal(there, fields.light_leak)
    planted = fields.maps[:, fields.names.tolist().index("light leak")]
    for image in np.flatnonzero(there):
        assert np.corrcoef(maps[image, 0].ravel(), planted[image].ravel())[0, 1] > 0.9


def test_edge_is_the_outermost_ring(stains):
    edge = artefact_maps(stains)[:, 1]
    assert (edge.sum(axis=(1, 2)) == 4 * 31).all() and not edge[:, 1:-1, 1:-1].any()


def test_maps_do_not_depend_on_units_of_brightness(stains):
    np.testing.assert_allclose(artefact_maps(stains), artefact_maps(1000 * stains + 50), atol=1e-3)


def test_constant_and_tiny_images_have_no_leak():
    assert not artefact_maps(np.ones((1, 2, 8, 8)))[:, 0].any()
    assert artefact_maps(np.ones((1, 2, 1, 1))).shape == (1, 2, 1, 1)


def test_stain_errors():
    with pytest.raises(ValueError, match="pool_channels brings images"):
        artefact_maps(np.ones((2, 8, 8)))
    with pytest.raises(ValueError, match="stains holds NaN"):
        artefact_maps(np.full((1, 1, 8, 8), np.nan))
