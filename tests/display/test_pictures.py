"""Heatmaps on images, galleries of concepts, decoded images."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose, assert_array_equal

from skdict.display import (
    ConceptGalleryDisplay,
    DecodedImagesDisplay,
    TokenHeatmapDisplay,
    _pictures,
)
from skdict.display._gallery_examples import patch_place
from skdict.imaging import composite, concept_examples, pool_channels, token_heatmaps

CHANNELS = ["DNA", "ER", "Mito"]


@pytest.fixture
def images(rng):
    return rng.random((8, 3, 16, 24))


@pytest.fixture
def tokens(images):
    stains = pool_channels(images, (4, 6)).transpose(0, 2, 3, 1)
    return stains - stains.mean(axis=(0, 1, 2))


def picture_at(montage, row, column, shape):
    """Pixels of one picture of a montage: rows and columns are as large as each other."""
    canvas = np.asarray(montage.get_array())
    gap = max(1, round(0.04 * shape[1]))
    y, x = row * (shape[0] + gap), column * (shape[1] + gap)
    return canvas[y : y + shape[0], x : x + shape[1]]


def test_heatmaps_stand_beside_their_images(tokens, images):
    directions = np.eye(3)[:2]
    shown = TokenHeatmapDisplay.from_tokens(
        tokens, directions, images, channels=CHANNELS, show=[5, 2], overlay=False, order=0,
        concepts=["a", "b"],
    )  # fmt: skip
    heatmaps = token_heatmaps(tokens, directions)[[5, 2]]
    assert_allclose(shown.heatmaps, heatmaps)
    assert shown.vmax_ == pytest.approx(np.abs(heatmaps).max())
    limits = _pictures.Stains(images[[5, 2]], CHANNELS).limits
    first = picture_at(shown.ax_.images[0], 1, 0, (16, 24))
    assert_allclose(first[..., :3], composite(images[2], channels=CHANNELS, limits=limits))
    assert (first[..., 3] == 1).all()
    # each token is one block of its colour: vermilion for the largest, blue for the smallest
    drawn = picture_at(shown.ax_.images[0], 0, 2, (16, 24))[2::4, 2::4, :3]
    color = _pictures.diverging()((heatmaps[0, 1] / shown.vmax_ + 1) / 2)[..., :3]
    assert_allclose(drawn, color, atol=1e-6)
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == ["stains", "a", "b"]
    assert [tick.get_text() for tick in shown.ax_.get_yticklabels()] == ["image 5", "image 2"]


def test_the_source_data_are_the_heatmaps(tokens):
    shown = TokenHeatmapDisplay.from_tokens(tokens, np.eye(3), name="toy", plot=False)
    columns = shown.source_data()
    place = (columns["image"] == "image 3") & (columns["concept"] == "concept 2")
    heatmap = token_heatmaps(tokens, np.eye(3))[3, 2]
    assert_array_equal(columns["value"][place].reshape(4, 6), heatmap)
    assert columns["row"][place].max() == 3 and columns["column"][place].max() == 5
    assert shown.methods().startswith("toy: The figure shows the cosine similarity")
    assert "interpolated between tokens for display" in shown.methods()


def test_overlays_show_the_sign_and_leave_the_picture_where_nothing_is():
    picture = np.full((4, 8, 3), 0.5)
    heatmap = np.array([[1.0, 0.0], [0.0, -1.0]])
    over = _pictures.overlay_picture(picture, heatmap, 1.0, order=0)
    up, down = over[0, 0], over[-1, -1]
    assert up[0] > up[2] and down[2] > down[0]
    assert_allclose(over[0, -1], over[-1, 0])
    assert len(set(over[0, -1])) == 1  # grey
    assert_allclose(up, 0.15 * over[0, -1] + 0.85 * np.array(to_rgb(_pictures.POSITIVE)))


def test_colours_of_heatmaps_are_symmetric_about_zero():
    colors = _pictures.diverging()
    assert_allclose(colors(0.0)[:3], to_rgb(_pictures.NEGATIVE), atol=1e-3)
    assert_allclose(colors(1.0)[:3], to_rgb(_pictures.POSITIVE), atol=1e-3)
    assert min(colors(0.5)[:3]) > 0.95
    assert _pictures.symmetric_limit(np.zeros(3)) == 1.0
    assert _pictures.symmetric_limit(np.array([-3.0, 2.0])) == 3.0


def test_heatmaps_without_images_and_in_three_dimensions(tmp_path):
    shown = TokenHeatmapDisplay(np.eye(4)[None], kind="inner", concepts=["c"]).plot()
    assert [tick.get_text() for tick in shown.ax_.get_xticklabels()] == ["c"]
    assert shown.colorbar_.ax.get_ylabel() == "Inner product with the concept"
    shown.save(tmp_path / "map.svg")
    assert (tmp_path / "map.svg").stat().st_size < 2e5
    assert len((tmp_path / "map.csv").read_text().splitlines()) == 17


def test_heatmaps_must_fit(tokens, images):
    with pytest.raises(ValueError, match="the token grid does not match the image: 4 x 6"):
        TokenHeatmapDisplay(np.zeros((1, 1, 4, 6)), np.zeros((1, 3, 16, 16))).plot()
    with pytest.raises(ValueError, match="images must have one image per row of heatmaps: got 8"):
        TokenHeatmapDisplay(np.zeros((1, 1, 4, 6)), images).plot()
    with pytest.raises(ValueError, match=r"heatmaps must be finite numbers .* got shape \(2, 2\)"):
        TokenHeatmapDisplay(np.zeros((2, 2))).plot()
    with pytest.raises(ValueError, match="at most 400 to be drawn, got 1 images x 401 concepts"):
        TokenHeatmapDisplay(np.zeros((1, 401, 2, 2))).source_data()
    with pytest.raises(ValueError, match="show must name images 0 to 7"):
        TokenHeatmapDisplay.from_tokens(tokens, np.eye(3), show=[8])
    with pytest.raises(ValueError, match="show must be a list of image numbers, got 3"):
        TokenHeatmapDisplay.from_tokens(tokens, np.eye(3), show=3)
    with pytest.raises(ValueError, match="images must be those of the tokens: got 7 .* of 8"):
        TokenHeatmapDisplay.from_tokens(tokens, np.eye(3), images[:7])
    with pytest.raises(ValueError, match="concepts must have 3 entries, got 1"):
        TokenHeatmapDisplay.from_tokens(tokens, np.eye(3), concepts=["a"])
    with pytest.raises(ValueError, match=r"vmax must be in \(0, inf\]"):
        TokenHeatmapDisplay(np.zeros((1, 1, 2, 2)), vmax=0.0).plot()


def test_a_gallery_shows_both_ends(tokens, images):
    shown = ConceptGalleryDisplay.from_tokens(
        tokens, np.eye(3)[2], images, n=3, n_patches=5, channels=CHANNELS, name="mito", context=2
    )
    found = concept_examples(tokens, np.eye(3)[2], n=3, n_patches=5)
    columns = shown.source_data()
    numbers = [f"image {i}" for i in (*found.images.most[0], *found.images.least[0])]
    assert columns["image"][:6].tolist() == numbers
    assert columns["rank"].tolist() == [1, 2, 3] * 2 + [1, 2, 3, 4, 5] * 2
    assert columns["what"].tolist() == ["image"] * 6 + ["patch"] * 10
    assert_allclose(columns["alignment"][6:11], found.patches.most_alignment[0])
    most, least = shown.axes_[:2]
    rows = [tick.get_text() for tick in most.get_yticklabels()]
    assert rows == ["stains", "heatmap", *CHANNELS]
    heads = [tick.get_text() for tick in least.get_xticklabels()]
    assert heads[0].split("\n") == [numbers[3], f"{found.images.least_alignment[0, 0]:.2f}"]
    # the single stain, in grey, between limits that all pictures share
    limits = _pictures.Stains([*shown.images, *shown.patches]).limits
    grey = picture_at(least.images[0], 4, 1, (16, 24))[..., 0]
    image = images[found.images.least[0, 1]]
    assert_allclose(grey, _pictures.stain_picture(image[2], limits[2])[..., 0], atol=1e-6)
    assert len(shown.axes_) == 4 and len(shown.axes_[2].patches) == 2 * 5  # frames
    assert "do not test it" in shown.methods()


def test_a_gallery_reads_only_the_images_it_shows(tokens, images):
    read = []

    def get_image(i):
        read.append(i)
        return images[i]

    shown = ConceptGalleryDisplay.from_tokens(
        tokens, [1.0, 0, 0], get_image, n=2, n_patches=0, plot=False
    )
    assert len(read) == 4 == len(set(read))
    shown.plot()
    assert len(shown.axes_) == 2 and len(read) == 4
    examples = concept_examples(tokens, np.eye(3), n=2, n_patches=0)
    again = ConceptGalleryDisplay.from_examples(examples, images, concept=0, plot=False)
    assert_array_equal(again.source_data()["alignment"], shown.source_data()["alignment"])


def test_a_gallery_of_arrays(images, tmp_path):
    shown = ConceptGalleryDisplay(
        images[:3], [0.9, 0.1, -0.5], ["most", "least", "least"], single_stains=False,
        image_names=["A01", "A02", "A03"],
    ).plot()  # fmt: skip
    assert [tick.get_text() for tick in shown.ax_.get_yticklabels()] == ["stains"]
    assert "heatmap" not in shown.methods() and "patch" not in shown.methods()
    shown.save(tmp_path / "gallery.pdf")
    assert "A03" in (tmp_path / "gallery.csv").read_text()
    figure, axes = _pictures.import_optional("matplotlib.pyplot", extra="plot").subplots(1, 2)
    assert shown.plot(axes).figure_ is figure


def test_galleries_must_fit(tokens, images):
    with pytest.raises(ValueError, match="ends must say 'most' or 'least' and name both, got most"):
        ConceptGalleryDisplay(images[:2], [1, 2], ["most", "most"]).plot()
    with pytest.raises(ValueError, match=r"alignment must be of shape \(2,\)"):
        ConceptGalleryDisplay(images[:2], [1], ["most", "least"]).plot()
    with pytest.raises(ValueError, match=r"heatmaps must have shape \(2, n_rows, n_columns\)"):
        ConceptGalleryDisplay(
            images[:2], [1, 2], ["most", "least"], heatmaps=np.zeros((1, 4, 6))
        ).plot()
    with pytest.raises(ValueError, match=r"patch_boxes must have shape \(2, 4\)"):
        ConceptGalleryDisplay(
            images[:2], [1, 2], ["most", "least"], patches=images[:2], patch_alignment=[1, 2],
            patch_ends=["most", "least"], patch_boxes=[1, 2],
        ).plot()  # fmt: skip
    with pytest.raises(ValueError, match=r"direction must be one direction.* got \(3, 3\)"):
        ConceptGalleryDisplay.from_tokens(tokens, np.eye(3), images)
    with pytest.raises(ValueError, match="concept must be 0 to 0, the directions of the examples"):
        ConceptGalleryDisplay.from_examples(
            concept_examples(tokens, [1.0, 0, 0], n=1, n_patches=0), images, concept=1
        )
    with pytest.raises(ValueError, match="the token grid does not match the image"):
        ConceptGalleryDisplay.from_tokens(tokens, [1.0, 0, 0], images[:, :, :15], n=1, n_patches=0)
    with pytest.raises(ValueError, match="axes must hold 2 matplotlib Axes"):
        ConceptGalleryDisplay(images[:2], [1, 2], ["most", "least"]).plot(axes=[])


@pytest.mark.parametrize("context", [1, 2, 3, 4, 9])
def test_windows_around_patches(context):
    for row in range(4):
        for column in range(6):
            (y, x), (top, left, height, width) = patch_place((16, 24), (4, 6), row, column, context)
            assert 0 <= y.start < y.stop <= 16 and 0 <= x.start < x.stop <= 24
            assert (y.stop - y.start, x.stop - x.start) == (
                4 * min(context, 4), 4 * min(context, 6)
            )  # fmt: skip
            assert (y.start + top, x.start + left) == (4 * row, 4 * column)
            assert (height, width) == (4, 4)
    (y, x), box = patch_place((16, 24), (4, 6), 1, 3, 3)
    assert (y.start, x.start, box) == (0, 8, (4, 4, 4, 4))


def test_decoded_images_in_rows(rng):
    images = rng.random((2, 3, 8, 8))
    flat = np.full_like(images, 0.5)
    half = images / 2
    shown = DecodedImagesDisplay(
        {"original": images, "layer 1": flat, "layer 2": half}, channels=CHANNELS
    ).plot()
    rows = [tick.get_text() for tick in shown.ax_.get_yticklabels()]
    assert rows == ["original", "layer 1", "layer 2"] and shown.colorbar_ is None
    limits = _pictures.channel_limits(images)
    drawn = picture_at(shown.ax_.images[0], 2, 1, (8, 8))[..., :3]
    expected = composite(half[1], channels=CHANNELS, limits=limits)
    assert_allclose(drawn, expected, atol=1e-6)
    columns = shown.source_data()
    assert_allclose(columns["correlation_with_first"][:6], 1)
    assert np.isnan(columns["correlation_with_first"][6:12]).all()
    assert_allclose(columns["correlation_with_first"][12:], 1)
    assert_allclose(columns["mean"][12:], images.mean(axis=(2, 3)).ravel() / 2)
    own = DecodedImagesDisplay({"a": images, "b": half}, limits="row").plot()
    one, other = (picture_at(own.ax_.images[0], i, 0, (8, 8)) for i in (0, 1))
    assert_allclose(one, other, atol=1e-6)


def test_the_difference_of_an_edit_is_shown_per_channel(rng):
    images = rng.random((2, 3, 8, 8))
    edited = images.copy()
    edited[:, 2] += 0.25
    shown = DecodedImagesDisplay(
        {"decoded": images, "edited": edited}, difference=("edited", "decoded"),
        channels=CHANNELS, limits=[(0, 1)] * 3,
    ).plot()  # fmt: skip
    rows = [tick.get_text() for tick in shown.ax_.get_yticklabels()]
    assert rows[2:] == ["DNA: difference", "ER: difference", "Mito: difference"]
    assert shown.colorbar_.mappable.get_clim() == pytest.approx((-0.25, 0.25))
    none, all_of_it = (picture_at(shown.ax_.images[0], i, 0, (8, 8)) for i in (2, 4))
    assert_allclose(all_of_it[..., :3], np.broadcast_to(to_rgb(_pictures.POSITIVE), (8, 8, 3)),
                    atol=1e-3)  # fmt: skip
    assert none[..., :3].min() > 0.95
    assert "edited minus decoded" in shown.methods()


def test_decoded_images_must_fit(rng):
    images = rng.random((1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"one shape .* 'b' has \(1, 2, 4, 4\)"):
        DecodedImagesDisplay({"a": images, "b": images[:, :2]}).plot()
    with pytest.raises(ValueError, match="pictures must map the name of each row"):
        DecodedImagesDisplay([images]).plot()
    with pytest.raises(ValueError, match="pictures of 'b' hold NaN"):
        DecodedImagesDisplay({"a": images, "b": images * np.nan}).plot()
    with pytest.raises(ValueError, match="difference must name two rows of 'a', got"):
        DecodedImagesDisplay({"a": images}, difference=("a", "b")).plot()
    with pytest.raises(ValueError, match="limits must be 'shared', 'row' or an array, got 'own'"):
        DecodedImagesDisplay({"a": images}, limits="own").plot()


def test_images_of_several_sizes_stand_in_the_middle_of_their_place(rng):
    figure, ax = _pictures.import_optional("matplotlib.pyplot", extra="plot").subplots()
    small, large = np.ones((2, 2, 3)), np.ones((4, 6, 3))
    montage = _pictures.draw_montage(ax, [[small, large]], row_names=[], column_names=[], gap=1)
    alpha = np.asarray(montage.image.get_array())[..., 3]
    assert alpha.shape == (4, 13)
    assert_array_equal(np.argwhere(alpha[:, :6])[[0, -1]], [[1, 2], [2, 3]])
    assert alpha[:, 7:].all() and not alpha[:, 6].any()
