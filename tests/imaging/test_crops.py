"""Crops of fields: which there are, where they lie, and what travels along."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdict.imaging import crop_table, iter_crop_batches, iter_crops


def test_the_paper_keeps_36_of_64_crops_of_a_well():
    table = crop_table([(2048, 2048)] * 2, plate=["P", "P"], well=["A01", "B01"])
    assert table.image.tolist() == [0] * 64 + [1] * 64
    inner = crop_table([(2048, 2048)] * 2, skip_edge=True, well=["A01", "B01"])
    assert np.unique(inner.well, return_counts=True)[1].tolist() == [36, 36]
    assert_array_equal(inner.y, table.y[~table.on_edge])
    assert (inner.y.min(), inner.y.max() + 256) == (256, 2048 - 256)
    assert not inner.on_edge.any()


@given(
    height=st.integers(4, 23), width=st.integers(4, 23), size=st.integers(1, 4),
    stride=st.integers(1, 6), remainder=st.sampled_from(["center", "end"]),
)  # fmt: skip
def test_crops_are_the_pixels_at_their_place(height, width, size, stride, remainder):
    field = np.arange(2 * height * width).reshape(2, height, width)
    options = {"size": size, "stride": stride, "remainder": remainder}
    crops = list(iter_crops([field], **options))
    table = crop_table([(height, width)], **options)
    assert [(c.image, c.y, c.x, c.on_edge) for c in crops] == list(
        zip(table.image, table.y, table.x, table.on_edge, strict=True)
    )
    for crop in crops:
        assert_array_equal(
            crop.pixels, field[:, crop.y : crop.y + size, crop.x : crop.x + size], strict=True
        )
        assert crop.pixels.shape == (2, size, size)
    for start, length in ((table.y, height), (table.x, width)):
        places = np.unique(start)
        assert set(np.diff(places)) <= {stride}
        left, right = places[0], length - places[-1] - size
        assert left + right < stride  # no further crop would fit
        assert left == ((left + right) // 2 if remainder == "center" else 0)
    assert_array_equal(table.on_edge, [on_grid_edge(c, crops) for c in crops])


def on_grid_edge(crop, crops):
    rows, columns = {c.y for c in crops}, {c.x for c in crops}
    return crop.y in (min(rows), max(rows)) or crop.x in (min(columns), max(columns))


def test_crops_of_a_stride_of_their_size_put_the_field_together():
    field = np.random.default_rng(0).integers(0, 9, (3, 6, 8))
    whole = np.full_like(field, -1)
    for crop in iter_crops(field[None], size=2):
        whole[:, crop.y : crop.y + 2, crop.x : crop.x + 2] = crop.pixels
    assert_array_equal(whole, field)


def test_pixels_are_views_and_one_field_is_read_at_a_time():
    fields, read = np.zeros((3, 1, 4, 4)), []

    def get_image(i):
        read.append(i)
        return fields[i]

    crops = iter_crops(get_image, size=2, n_images=3)
    assert read == []
    first = next(crops)
    assert read == [0]
    assert np.shares_memory(first.pixels, fields)
    assert len(list(crops)) == 11 and read == [0, 1, 2]


def test_names_masks_and_labels_travel_along():
    labels = np.arange(2 * 4 * 6).reshape(2, 4, 6)
    crops = list(
        iter_crops(
            np.zeros((2, 1, 4, 6)), size=2, plate=["P1", "P2"], well=["A01", "A01"], site=[3, 7],
            labels=labels, ignore=lambda i: labels[i] > 10,
        )
    )  # fmt: skip
    assert [(c.plate, c.well, c.site) for c in crops[::6]] == [("P1", "A01", 3), ("P2", "A01", 7)]
    last = crops[-1]
    assert_array_equal(last.labels, labels[1, 2:, 4:])
    assert_array_equal(last.ignore, labels[1, 2:, 4:] > 10)
    plain = next(iter_crops(np.zeros((1, 1, 2, 2)), size=2))
    assert plain.plate is plain.well is plain.site is plain.labels is plain.ignore is None


def test_fields_of_several_sizes_from_a_callable_with_a_length():
    class Fields(list):
        def __call__(self, i):
            return self[i]

    fields = Fields([np.zeros((1, 4, 4)), np.ones((1, 2, 6))])
    crops = list(iter_crops(fields, size=2))
    assert [c.image for c in crops] == [0] * 4 + [1] * 3
    assert crop_table([(4, 4), (2, 6)], size=2).image.tolist() == [0] * 4 + [1] * 3


@given(batch_size=st.integers(1, 15))
def test_batches_are_the_crops_in_order(batch_size):
    fields = np.arange(2 * 2 * 6 * 4, dtype=np.uint16).reshape(2, 2, 6, 4)
    batches = list(iter_crop_batches(fields, size=2, batch_size=batch_size))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    crops = np.stack([crop.pixels for crop in iter_crops(fields, size=2)])
    assert_array_equal(np.concatenate(batches), crops, strict=True)
    inner = iter_crop_batches(np.zeros((1, 1, 6, 6)), size=2, skip_edge=True)
    assert [batch.shape for batch in inner] == [(1, 1, 2, 2)]


def test_a_table_as_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = crop_table([(4, 4)], size=2, well=["A01"], as_frame=True)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["image", "well", "y", "x", "on_edge"]
    assert len(frame) == 4 and frame.on_edge.all()


def test_a_million_crops_are_listed_quickly():
    table = crop_table(np.full((16_000, 2), 2048), well=np.arange(16_000))
    assert len(table.y) == 16_000 * 64
    assert table.well[-1] == 15_999


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 5}, ValueError, "size must be at most .* got 5 for image 0 of 4 x 6 pixels"),
        ({"size": 0}, ValueError, "size must be an integer >= 1, got 0"),
        ({"size": 2, "stride": 0}, ValueError, "stride must be an integer >= 1 or None, got 0"),
        ({"size": 2, "remainder": "left"}, ValueError, "remainder must be one of 'center', 'end'"),
        ({"size": 2, "skip_edge": True}, ValueError, "leaves no crop of image 0: its 4 x 6"),
        ({"size": 2, "well": ["A"]}, ValueError, r"well must have one entry per field: got .*\(1,"),
    ],
)
def test_errors_name_the_parameter(options, error, message):
    with pytest.raises(error, match=message):
        list(iter_crops(np.zeros((2, 1, 4, 6)), **options))
    with pytest.raises(error, match=message):
        crop_table([(4, 6)] * 2, **options)


def test_bad_images_are_named():
    with pytest.raises(TypeError, match="n_images must be the number of images .* without a len"):
        iter_crops(lambda i: None, size=2)
    with pytest.raises(ValueError, match=r"image 0 of images must have shape \(n_channels, height"):
        list(iter_crops(np.zeros((2, 4, 4)), size=2))
    with pytest.raises(ValueError, match="images must hold at least one image"):
        iter_crops([], size=2)
    with pytest.raises(ValueError, match="n_images must be the 2 images that images holds"):
        iter_crops(np.zeros((2, 1, 4, 4)), size=2, n_images=3)
    with pytest.raises(ValueError, match="must hold real numbers, got dtype <U1"):
        list(iter_crops([np.full((1, 2, 2), "a")], size=2))
    with pytest.raises(TypeError, match="must be an array, a sequence of arrays or a function"):
        iter_crops(5, size=2)
    with pytest.raises(ValueError, match="labels must have the height and width .* 4 x 4 .* 4 x 5"):
        list(iter_crops(np.zeros((1, 1, 4, 4)), size=2, labels=np.zeros((1, 4, 5), dtype=int)))
    with pytest.raises(ValueError, match="labels must have one image per field: got 2 for 1"):
        iter_crops(np.zeros((1, 1, 4, 4)), size=2, labels=np.zeros((2, 4, 4), dtype=int))
    with pytest.raises(ValueError, match="all have the 1 channels of image 0, image 1 has 2"):
        list(iter_crop_batches([np.zeros((1, 2, 2)), np.zeros((2, 2, 2))], size=2))
    with pytest.raises(ValueError, match=r"shapes must hold .* got shape \(2,\)"):
        crop_table([4, 4])
