"""Colour pictures of stains: sums of colours between limits."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict.datasets import load_cell_painting_crops
from skdict.display._style import COLORS as PLOT_COLORS
from skdict.imaging import _composite, channel_limits, composite

CHANNELS = ["DNA", "ER", "RNA", "AGP", "Mito", "Brightfield"]


def test_one_stain_has_its_colour_and_black_where_it_is_not():
    image = np.zeros((6, 1, 3))
    image[:, 0] = [0.0, 0.5, 1.0]
    limits = [(0, 1)] * 6
    for i, name in enumerate(CHANNELS[:5]):
        picture = composite(image, channels=CHANNELS, show=[name], limits=limits)
        color = np.array([int(_composite.COLORS[name][k : k + 2], 16) for k in (1, 3, 5)]) / 255
        assert_allclose(picture[0], [0 * color, 0.5 * color, color], atol=1e-6)
        assert_array_equal(composite(image, channels=CHANNELS, show=[i], limits=limits), picture)
        assert_allclose(_composite.channel_colors(CHANNELS)[i], color, atol=1e-6)


@given(seed=st.integers(0, 100), n_shown=st.integers(1, 5))
def test_stains_add_up(seed, n_shown):
    rng = np.random.default_rng(seed)
    image, limits = rng.random((6, 3, 4)), [(0.0, 4.0)] * 6
    shown = CHANNELS[:n_shown]
    singles = [composite(image, channels=CHANNELS, show=[name], limits=limits) for name in shown]
    weight = min(1, 2 / max(1, n_shown - 1))
    both = composite(image, channels=CHANNELS, show=shown, limits=limits)
    assert_allclose(both, weight * sum(singles), atol=1e-6)
    assert both.dtype == np.float32 and both.min() >= 0 and both.max() <= 1


def test_brightfield_is_left_out_unless_asked_for():
    rng = np.random.default_rng(0)
    image = rng.random((6, 2, 2))
    assert_array_equal(
        composite(image, channels=CHANNELS), composite(image, channels=CHANNELS, show=CHANNELS[:5])
    )
    only = composite(image, channels=CHANNELS, show=["Brightfield"], limits=[(0, 1)] * 6)
    assert_allclose(only[..., 0], only[..., 1])  # grey
    assert composite(image[:1], channels=["bf"]).any()  # there is nothing else to show


def test_colours_are_apart_and_those_of_the_plots():
    colors = _composite.channel_colors(CHANNELS[:5])
    assert len({tuple(color) for color in colors.tolist()}) == 5
    assert all(np.abs(a - b).sum() > 0.3 for a, b in combinations(colors, 2))
    yellow = {"#F0E442"}  # vanishes on the white of a plot, not on the black of a picture
    assert set(_composite.COLORS.values()) <= set(PLOT_COLORS) | yellow


def test_six_stains_of_the_paper_have_six_colours():
    for last in ("Golgi", "AGP", "membrane/Golgi"):
        names = ["DNA", "ER", "Actin", "RNA", "Mitochondria", last]
        colors = _composite.channel_colors(names)
        assert len(np.unique(colors, axis=0)) == 6
        assert_array_equal(colors[2], _composite.channel_colors(["Actin"])[0])


def test_names_in_other_words_have_the_same_colour():
    colors = _composite.channel_colors(["dapi", "Golgi", "MITO", "er"])
    assert_array_equal(colors, _composite.channel_colors(["DNA", "AGP", "Mito", "ER"]))
    other = _composite.channel_colors(["DNA", "first", "second", "Brightfield"])
    assert len(np.unique(other, axis=0)) == 4
    assert len(_composite.channel_colors([f"stain {i}" for i in range(20)])) == 20


def test_own_colours_by_name_or_in_order():
    image = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    by_name = composite(image, channels=["a", "b"], colors={"a": "#ff0000", "b": (0, 0, 1)},
                        limits=[(0, 1)] * 2)  # fmt: skip
    assert by_name.tolist() == [[[0, 0, 1], [1, 0, 0]]]
    in_order = composite(image, colors=["ff0000", (0, 0, 1)], limits=[(0, 1)] * 2)
    assert_array_equal(in_order, by_name)


def test_limits_of_many_images_look_at_all_columns(monkeypatch):
    images = np.zeros((2, 1, 64, 64))
    images[..., 1:] = np.arange(1, 64)
    monkeypatch.setattr(_composite, "_MAX_PIXELS", 128)  # every 64th pixel, and a row has 64
    low, high = channel_limits(images)[0]
    assert low < 3 and high > 60


def test_gamma_lifts_what_is_dim():
    image, options = np.array([[[0.25, 1.0]]]), {"colors": ["#ffffff"], "limits": [(0, 1)]}
    assert_allclose(composite(image, gamma=0.5, **options)[0, :, 0], [0.5, 1.0])
    assert_allclose(composite(image, **options)[0, :, 0], [0.25, 1.0])


def test_pixels_that_are_no_number_are_black():
    image = np.array([[[np.nan, np.inf, -np.inf, 0.0, 1.0]], [[5.0] * 5]])
    picture = composite(image, colors=["#ffffff", "#00ff00"])  # the second channel is constant
    assert picture[0, :, 0].tolist() == [0, 0, 0, 0, 1]
    assert_array_equal(picture[..., 0], picture[..., 1])
    assert channel_limits(np.full((1, 1, 2, 2), np.nan)).tolist() == [[0.0, 0.0]]


def test_shared_limits_make_brightness_comparable():
    dim = np.linspace(0, 100, 64).reshape(1, 8, 8)
    bright = 3 * dim
    alone = [composite(image, colors=["#ffffff"]) for image in (dim, bright)]
    assert_allclose(alone[0], alone[1], atol=1e-6)
    limits = channel_limits([dim, bright])
    shared = [composite(image, colors=["#ffffff"], limits=limits) for image in (dim, bright)]
    assert shared[0].max() < 0.5 < shared[1].max()


def test_limits_are_percentiles_of_all_pixels(rng, monkeypatch):
    images = rng.normal(size=(3, 2, 5, 7)) * [[[[1.0]], [[9.0]]]]
    expected = np.percentile(images.transpose(1, 0, 2, 3).reshape(2, -1), (10, 60), axis=1).T
    assert_allclose(channel_limits(images, percentiles=(10, 60)), expected)
    assert_allclose(channel_limits(images.__getitem__, percentiles=(10, 60), n_images=3), expected)
    monkeypatch.setattr(_composite, "_MAX_PIXELS", 60)
    wide = channel_limits(rng.normal(size=(3, 1, 60, 60)), percentiles=(10, 90))
    assert_allclose(wide, [[-1.28, 1.28]], atol=0.6)


def test_integers_do_not_overflow():
    image = np.array([[[0, 255]], [[255, 0]]], dtype=np.uint8)
    assert composite(image, colors=["#ffffff", "#000000"])[0, :, 0].tolist() == [0, 1]


def test_real_crops_are_neither_black_nor_white():
    crops = load_cell_painting_crops()
    limits = channel_limits(crops.images)
    pictures = [composite(i, channels=crops.channels, limits=limits) for i in crops.images]
    assert 0.05 < np.mean(pictures) < 0.5
    assert np.mean([(picture == 1).all(axis=-1).mean() for picture in pictures]) < 0.02


def test_errors_name_the_parameter():
    image = np.zeros((2, 3, 3))
    with pytest.raises(ValueError, match="channels must have one name per channel: got 1 for an"):
        composite(image, channels=["a"])
    with pytest.raises(ValueError, match="'c' is missing in 'the image'; it has 'a', 'b'"):
        composite(image, channels=["a", "b"], show=["c"])
    with pytest.raises(ValueError, match="colors names 'c', but the channels are 'a', 'b'"):
        composite(image, channels=["a", "b"], colors={"c": "#000000"})
    with pytest.raises(ValueError, match="colors must have one entry per channel: got 1 for 2"):
        composite(image, colors=["#000000"])
    for color in ("blue", "#12345", "#zzzzzz"):
        with pytest.raises(ValueError, match=f'colors must be "#rrggbb".* got {color!r}'):
            composite(image, colors=[color, "#000000"])
    with pytest.raises(ValueError, match=r"in \[0, 1\], got \(0, 0, 255\)"):
        composite(image, colors=[(0, 0, 255), "#000000"])
    with pytest.raises(ValueError, match=r"limits must hold .* shape \(2, 2\), got shape \(2,\)"):
        composite(image, limits=[0, 1])
    with pytest.raises(ValueError, match=r"gamma must be in \(0, inf\]"):
        composite(image, gamma=0)
    with pytest.raises(ValueError, match=r"image 0 of image must have shape \(n_channels"):
        composite(image[0])
    with pytest.raises(ValueError, match="percentiles must be two numbers in order"):
        channel_limits([image], percentiles=(50, 50))
    with pytest.raises(ValueError, match="the 2 channels of image 0, image 1 has 1"):
        channel_limits([image, image[:1]])
