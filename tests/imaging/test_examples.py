"""What a gallery shows: extremes, and the heatmaps of these images only."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict.imaging import (
    concept_examples,
    most_aligned_images,
    most_aligned_patches,
    token_heatmaps,
)


@pytest.fixture
def tokens(rng):
    return rng.normal(size=(15, 3, 4, 5)) + 1


@pytest.mark.parametrize("kind", ["cosine", "inner"])
def test_heatmaps_are_those_of_the_images_found(tokens, rng, kind):
    directions = rng.normal(size=(4, 5))
    scaler = StandardScaler().fit(tokens.reshape(-1, 5))
    options = {"transformer": scaler, "kind": kind}
    found = concept_examples(tokens, directions, n=3, n_patches=5, **options)
    heatmaps = token_heatmaps(tokens, directions, **options)
    for k in range(4):
        assert_allclose(found.most_heatmaps[k], heatmaps[found.images.most[k], k], atol=1e-6)
        assert_allclose(found.least_heatmaps[k], heatmaps[found.images.least[k], k], atol=1e-6)
    images = most_aligned_images(tokens.mean(axis=(1, 2)), directions, n=3, **options)
    assert_array_equal(found.images.most, images.most)
    patches = most_aligned_patches(tokens, directions, n=5, **options)
    assert_array_equal(found.patches.least_column, patches.least_column)


def test_the_planted_image_and_patch_come_first(rng):
    tokens = rng.normal(scale=0.1, size=(30, 4, 4, 6))
    tokens[7] += np.eye(6)[2]
    tokens[11, 3, 1] += 9 * np.eye(6)[2]
    tokens[4] -= np.eye(6)[2]
    whiten = make_pipeline(StandardScaler(with_std=False), Normalizer())
    whiten.fit(tokens.reshape(-1, 6))
    found = concept_examples(tokens, np.eye(6)[2], n=2, kind="inner", transformer=whiten)
    assert found.images.most[0, 0] == 7 and found.images.least[0, 0] == 4
    inner = concept_examples(tokens, np.eye(6)[2], n=2, kind="inner")
    first = [inner.patches[name][0, 0] for name in ("most", "most_row", "most_column")]
    assert first == [11, 3, 1]


def test_own_embeddings_choose_the_images(tokens):
    embeddings = np.zeros((15, 5))
    embeddings[[3, 9], 0] = [5.0, -5.0]
    found = concept_examples(tokens, np.eye(5)[0], n=1, n_patches=0, embeddings=embeddings)
    assert (found.images.most.item(), found.images.least.item()) == (3, 9)
    assert found.patches is None
    assert repr(found) == (
        "ConceptExamples of 1 directions: 1 images and 0 patches at either end, of 15 images"
    )


def test_units_hold_for_images_and_patches(tokens):
    units = np.repeat(["A", "B", "C"], 5)
    found = concept_examples(tokens, np.eye(5), n=3, n_patches=3, units=units, max_per_unit=1)
    for shown in (found.images, found.patches):
        for end in ("most", "least"):
            assert all(set(units[row]) == {"A", "B", "C"} for row in shown[end])


def test_errors_name_the_parameter(tokens):
    with pytest.raises(ValueError, match="n_patches must be at most the 15 that 15 images with"):
        concept_examples(tokens, np.eye(5), n=2, n_patches=16)
    with pytest.raises(ValueError, match="n must be at most the 15 that 15 images can give"):
        concept_examples(tokens, np.eye(5), n=16, n_patches=0)
    with pytest.raises(ValueError, match="embeddings must have one row per image: got 3 for 15"):
        concept_examples(tokens, np.eye(5), embeddings=np.ones((3, 5)))
    with pytest.raises(ValueError, match="n_patches must be an integer >= 0, got -1"):
        concept_examples(tokens, np.eye(5), n_patches=-1)
