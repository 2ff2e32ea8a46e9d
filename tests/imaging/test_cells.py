"""Mean alignment of single cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdict.imaging import (
    cell_alignment,
    cell_table,
    segment_alignment,
    segment_images,
    token_heatmaps,
    upsample_heatmap,
)


def toy(seed=0, n_images=3, n_labels=6, grid=(3, 4), patch=(5, 2)):
    """Tokens, directions and label images in which any pixel may belong to any cell."""
    rng = np.random.default_rng(seed)
    shape = (n_images, grid[0] * patch[0], grid[1] * patch[1])
    labels = rng.integers(0, n_labels, shape) * rng.integers(1, 9)
    return rng.normal(size=(n_images, *grid, 4)), rng.normal(size=(7, 4)), labels


def test_planted_cells_align_with_their_direction(fields):
    cells = cell_alignment(fields.tokens, fields.directions, fields.labels)
    assert np.array_equal(cells.image, fields.cell_image)
    assert np.array_equal(cells.label, fields.cell_label)
    own = cells.alignment[:, fields.names == "perturbed"][:, 0]
    assert own[fields.cell_perturbed].min() > own[~fields.cell_perturbed].max() + 0.2
    no_cell = (fields.names == "no cell").argmax()
    assert (cells.alignment[:, no_cell] < cells.background[cells.image, no_cell]).all()


@pytest.mark.parametrize("kind", ["cosine", "inner"])
@given(seed=st.integers(0, 1000))
def test_a_cell_is_the_mean_of_the_heatmap_over_its_pixels(kind, seed):
    tokens, directions, labels = toy(seed)
    ignore = np.random.default_rng(seed).random(labels.shape) < 0.3
    cells = cell_alignment(tokens, directions, labels, ignore=ignore, kind=kind)
    heatmaps = token_heatmaps(tokens, directions, kind=kind)
    pixels = upsample_heatmap(heatmaps, labels.shape[1:], order=0)
    for k in range(cells.image.size):
        image = cells.image[k]
        inside = (labels[image] == cells.label[k]) & ~ignore[image]
        np.testing.assert_allclose(cells.alignment[k], pixels[image][:, inside].mean(axis=1))
        assert cells.n_pixels[k] == inside.sum() == 10 * cells.n_tokens[k]
    for image in range(len(labels)):
        outside = (labels[image] == 0) & ~ignore[image]
        np.testing.assert_allclose(
            cells.background[image], pixels[image][:, outside].mean(axis=1), atol=1e-12
        )
        assert cells.background_n_pixels[image] == outside.sum()


@given(seed=st.integers(0, 1000))
def test_numbers_of_cells_and_order_of_images_do_not_matter(seed):
    tokens, directions, labels = toy(seed)
    cells = cell_alignment(tokens, directions, labels)
    rng = np.random.default_rng(seed)
    new_number = np.append(0, rng.permutation(labels.max()) + 1)
    renamed = cell_alignment(tokens, directions, new_number[labels])
    order = np.lexsort([new_number[cells.label], cells.image])
    np.testing.assert_array_equal(renamed.label, new_number[cells.label][order])
    np.testing.assert_allclose(renamed.alignment, cells.alignment[order])

    images = rng.permutation(len(labels))
    moved = cell_alignment(tokens[images], directions, labels[images])
    for new, old in enumerate(images):
        np.testing.assert_array_equal(
            moved.alignment[moved.image == new], cells.alignment[cells.image == old]
        )


def test_a_call_can_be_split():
    tokens, directions, labels = toy()
    whole = cell_alignment(tokens, directions, labels)
    parts = [cell_alignment(tokens[s], directions, labels[s]) for s in (slice(2), slice(2, None))]
    np.testing.assert_array_equal(np.concatenate([p.alignment for p in parts]), whole.alignment)
    columns = [cell_alignment(tokens, directions[s], labels) for s in (slice(3), slice(3, None))]
    for name in ("alignment", "background"):
        joined = np.concatenate([part[name] for part in columns], axis=1)
        np.testing.assert_allclose(joined, whole[name])


def test_the_transformer_comes_first_and_positions_can_be_centred():
    tokens, directions, labels = toy(1)
    scaler = StandardScaler().fit(tokens.reshape(-1, 4))
    scaled = scaler.transform(tokens.reshape(-1, 4)).reshape(tokens.shape)
    np.testing.assert_allclose(
        cell_alignment(tokens, directions, labels, transformer=scaler).alignment,
        cell_alignment(scaled, directions, labels).alignment,
    )
    centred = cell_alignment(
        tokens, directions, labels, center_positions=True, kind="inner"
    ).alignment
    np.testing.assert_allclose(
        centred,
        cell_alignment(tokens - tokens.mean(axis=0), directions, labels, kind="inner").alignment,
    )


def test_the_result_has_the_precision_of_the_tokens_and_goes_where_it_is_told():
    tokens, directions, labels = toy()
    exact = cell_alignment(tokens, directions, labels)
    half = cell_alignment(tokens.astype(np.float16), directions.astype(np.float32), labels)
    assert exact.alignment.dtype == np.float64 and half.alignment.dtype == np.float32
    np.testing.assert_allclose(half.alignment, exact.alignment, atol=2e-3)
    # directions of a dictionary that was fitted in double precision
    single = cell_alignment(tokens.astype(np.float32), directions, labels)
    assert single.alignment.dtype == single.background.dtype == np.float32
    out = np.empty(exact.alignment.shape, np.float32)
    assert cell_alignment(tokens, directions, labels, out=out).alignment is out
    np.testing.assert_allclose(out, exact.alignment, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"out must have shape \(15, 7\), a row per cell"):
        cell_alignment(tokens, directions, labels, out=out[:4])
    with pytest.raises(ValueError, match="out must hold floats, got dtype int64"):
        cell_alignment(tokens, directions, labels, out=out.astype(int))


def test_memory_maps_and_lists_are_read(tmp_path):
    tokens, directions, labels = toy()
    expected = cell_alignment(tokens, directions, labels).alignment
    maps = []
    for name, array in (("tokens", tokens), ("labels", labels), ("ignore", labels < 0)):
        np.save(tmp_path / f"{name}.npy", array)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    found = cell_alignment(maps[0], directions, maps[1], ignore=maps[2])
    np.testing.assert_array_equal(found.alignment, expected)
    listed = cell_alignment(tokens.tolist(), directions.tolist(), labels.tolist())
    np.testing.assert_array_equal(listed.alignment, expected)
    assert found.cells(as_frame=True).equals(cell_table(labels, as_frame=True))


def test_cells_smaller_than_a_token_and_at_the_border():
    labels = np.zeros((1, 8, 8), dtype=np.uint16)
    labels[0, 3, 3] = 9  # one pixel
    labels[0, 5:7, 5:7] = 4
    labels[0, 0, 7] = 65535  # the corner
    tokens = np.arange(4.0).reshape(1, 2, 2, 1)
    cells = cell_alignment(tokens, [[1.0]], labels, kind="inner")
    assert cells.label.tolist() == [4, 9, 65535]
    assert cells.alignment[:, 0].tolist() == [3, 0, 1]
    assert cells.n_tokens.tolist() == [4 / 16, 1 / 16, 1 / 16]
    assert cells.touches_border.tolist() == [False, False, True]
    assert cells.row.tolist() == [5.5, 3, 0] and cells.column.tolist() == [5.5, 3, 7]
    assert "3 smaller than a token" in repr(cells)


def test_ignored_pixels_count_for_nothing():
    tokens, directions, labels = toy(2)
    ignore = np.random.default_rng(0).random(labels.shape) < 0.4
    changed = labels.copy()
    changed[ignore] = np.where(labels[ignore] > 0, 0, labels.max())
    one, other = (cell_alignment(tokens, directions, own, ignore=ignore)
                  for own in (labels, changed))  # fmt: skip
    np.testing.assert_array_equal(one.alignment, other.alignment)
    np.testing.assert_array_equal(one.background, other.background)


def test_a_cell_touches_the_border_also_where_that_is_ignored():
    labels = np.zeros((1, 4, 4), dtype=int)
    labels[0, 0:2, 1:3] = 1
    ignore = np.zeros(labels.shape, dtype=bool)
    ignore[0, 0] = True
    cells = cell_table(labels, ignore=ignore)
    assert cells.n_pixels.tolist() == [2] and cells.touches_border.tolist() == [True]


def test_a_cell_that_is_ignored_as_a_whole_has_no_row():
    tokens, directions, labels = toy(3)
    first = labels[0] == labels[0].max()
    ignore = np.zeros(labels.shape, dtype=bool)
    ignore[0] = first
    cells = cell_alignment(tokens, directions, labels, ignore=ignore)
    assert cells.n_ignored_cells == 1
    assert labels[0].max() not in cells.label[cells.image == 0]
    assert cells.image.size == cell_table(labels).image.size - 1


def test_images_without_cells_are_listed_and_no_cell_at_all_is_an_error():
    tokens, directions, labels = toy(4)
    labels[1] = 0
    cells = cell_alignment(tokens, directions, labels)
    assert cells.images_without_cells.tolist() == [1]
    assert set(cells.image) == {0, 2}
    assert np.isfinite(cells.background[1]).all()
    labels[2] = 1  # no background
    assert np.isnan(cell_alignment(tokens, directions, labels).background[2]).all()
    for function in (
        lambda: cell_alignment(tokens, directions, np.zeros_like(labels)),
        lambda: cell_alignment(tokens, directions, labels, ignore=np.ones(labels.shape, bool)),
        lambda: cell_table(np.zeros_like(labels)),
    ):
        with pytest.raises(ValueError, match="labels hold no cell on any image"):
            function()


def test_errors_name_the_parameter():
    tokens, directions, labels = toy()
    for wrong, message in (
        (labels.astype(float), "labels must be integers.*got dtype float64"),
        (labels > 0, "labels must be integers.*got dtype bool; scipy.ndimage.label"),
        (-labels, "labels of image 0 hold the negative number"),
        (labels[0], r"labels must have shape \(n_images, height, width\).*got shape \(15, 8\)"),
        (labels[:2], "labels must have one entry per image of tokens, got 2 for 3 images"),
        (labels[:, :-1], "token grid does not match the image: 3 x 4 tokens.*14 x 8 pixels of"),
    ):
        with pytest.raises(ValueError, match=message):
            cell_alignment(tokens, directions, wrong)
    with pytest.raises(ValueError, match="ignore must be boolean and have the shape of labels"):
        cell_alignment(tokens, directions, labels, ignore=labels)
    with pytest.raises(ValueError, match="ignore must be boolean and have the shape of labels"):
        cell_alignment(tokens, directions, labels, ignore=labels[:1] > 0)
    tokens[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="tokens of image 1 hold NaN"):
        cell_alignment(tokens, directions, labels)


def test_segments_join_cells_and_their_means():
    tokens, directions, labels = toy(5)
    ignore = np.random.default_rng(0).random(labels.shape) < 0.2
    perturbed = np.arange(cell_table(labels, ignore=ignore).image.size) % 2 == 0
    segments = segment_images(labels, perturbed, ignore=ignore)
    cells = cell_alignment(tokens, directions, labels, ignore=ignore)
    found = segment_alignment(tokens, directions, segments)
    assert set(np.unique(segments[ignore])) == {-1}
    for image in range(len(labels)):
        np.testing.assert_allclose(found.alignment[image, 0], cells.background[image])
        for k, own in ((1, perturbed), (2, ~perturbed)):
            own = own & (cells.image == image)
            assert found.n_pixels[image, k] == cells.n_pixels[own].sum()
            np.testing.assert_allclose(
                found.alignment[image, k],
                np.average(cells.alignment[own], axis=0, weights=cells.n_pixels[own]),
            )


def test_a_sparse_transformer_is_refused():
    tokens, directions, labels = toy()
    codes = FunctionTransformer(sparse.csr_array)
    with pytest.raises(TypeError, match="transformer must give dense tokens"):
        cell_alignment(tokens, directions, labels, transformer=codes)
