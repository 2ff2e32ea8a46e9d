"""The shipped images: what the loaders return, what DESCR claims, and the conversion."""

import csv
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal

from skdict.datasets import (
    _convert_images,
    _shipped,
    load_cell_painting_crops,
    load_schwann_fields,
)

LOADERS = [load_cell_painting_crops, load_schwann_fields]


@pytest.fixture(scope="module", params=LOADERS, ids=lambda loader: loader.__name__)
def images(request):
    return request.param()


@pytest.fixture(scope="module")
def crops():
    return load_cell_painting_crops()


@pytest.fixture(scope="module")
def fields():
    return load_schwann_fields()


def labels_of(label_image):
    return set(np.unique(label_image).tolist()) - {0}


def test_arrays_fit_each_other(images):
    n_images, n_channels, height, width = images.images.shape
    assert images.channels.shape == (n_channels,)
    for name in ("nuclei", "cells", "ignore", "cut"):
        assert images[name].shape == (n_images, height, width), name
    for name in ("nuclei", "cells"):
        assert images[name].dtype == np.int32 and images[name].min() == 0
    for name in ("plate", "well", "site", "field", "origin_yx"):
        assert len(images[name]) == n_images, name
    assert images.license in images.DESCR
    assert images.source.split(" at ")[1][:40] in images.DESCR
    described = set(re.findall(r"^(\w+)  +", images.DESCR, flags=re.MULTILINE))
    assert set(images) - {"DESCR", "license", "source"} == described


@pytest.mark.parametrize("loader", LOADERS)
def test_who_writes_into_the_arrays_spoils_no_later_load(loader):
    images = loader().images
    images[:] = 0
    assert loader().images.any()


def test_a_nucleus_lies_in_the_cell_of_its_number(images):
    for nuclei, cells, ignore in zip(images.nuclei, images.cells, images.ignore, strict=True):
        labelled = (nuclei > 0) & ~ignore
        assert (cells[labelled] == nuclei[labelled]).mean() > 0.99
        assert not ignore[cells > 0].any()


def test_cut_marks_whole_cells_and_those_touch_the_border(images):
    for cells, cut in zip(images.cells, images.cut, strict=True):
        marked = labels_of(cells[cut])
        assert_array_equal(cut, np.isin(cells, sorted(marked)))
        border = np.ones(cells.shape, dtype=bool)
        border[1:-1, 1:-1] = False
        assert marked <= labels_of(cells[border])


def test_crops_are_as_described(crops):
    assert crops.images.shape == (4, 6, 256, 256) and crops.images.dtype == np.uint16
    assert crops.channels.tolist() == ["DNA", "ER", "RNA", "AGP", "Mito", "Brightfield"]
    assert set(crops.field) == {"BR00143976_C03_site3"}
    numbers = [labels_of(cells) for cells in crops.cells]
    assert sum(map(len, numbers)) == 21
    assert sum(len(labels_of(cells[cut])) for cells, cut in zip(crops.cells, crops.cut)) == 15
    assert numbers[1] & numbers[3] == {8, 9, 17}
    (y1, x1), (y3, x3) = crops.origin_yx[[1, 3]].tolist()
    assert y1 == y3 == 0 and x1 - x3 == 256  # crops 1 and 3 are neighbours at the upper border
    saturated = (crops.images[:, 4] == 65535).any(axis=(1, 2))
    assert saturated.tolist() == [True, False, True, True]
    assert crops.ignore.any(axis=(1, 2)).tolist() == [False, True, False, False]


def test_a_cell_that_lies_in_two_crops_continues_at_their_common_side(crops):
    left, right = crops.cells[3][:, -1], crops.cells[1][:, 0]
    both = (left > 0) & (right > 0)
    assert (left == right)[both].mean() > 0.9


def test_fields_are_as_described(fields):
    assert fields.images.shape == (5, 3, 512, 512) and fields.images.dtype == np.uint8
    assert fields.channels.tolist() == ["DNA", "ER", "Actin"]
    genotype = dict(zip(fields.well.tolist(), fields.genotype.tolist(), strict=True))
    assert genotype == {well: "null" for well in ("B7", "D7", "F7", "H12")} | {"D6": "wild type"}
    assert "supports no test of the genotype" in fields.DESCR
    assert sum(len(labels_of(cells)) for cells in fields.cells) == 67
    assert sum(len(labels_of(cells[cut])) for cells, cut in zip(fields.cells, fields.cut)) == 44
    assert not fields.ignore.any()
    assert (fields.images.max(axis=(2, 3)) == 255).all()
    assert (fields.origin_yx == [(904 - 512) // 2, (1224 - 512) // 2]).all()


def test_the_nucleus_channel_is_bright_in_nuclei(images):
    for image, nuclei in zip(images.images, images.nuclei, strict=True):
        assert image[0][nuclei > 0].mean() > 2 * image[0][nuclei == 0].mean()


def test_both_files_are_small():
    folder = _shipped.resources.files("skdict.datasets") / "data"
    sizes = [len((folder / f"{name}.npz").read_bytes()) for name in _convert_images.SETS]
    assert sum(sizes) < 3.55e6


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    package = _shipped.resources.files("skdict.datasets")
    shutil.copytree(package / "data", tmp_path / "data")
    monkeypatch.setattr(_shipped.resources, "files", lambda name: tmp_path)
    path = tmp_path / "data" / "schwann_fields.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"schwann_fields\.npz is damaged.*reinstall skdict"):
        load_schwann_fields()


@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16]),
        array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 254, 255])),
    ),
    st.sampled_from([1, 257]),
)
def test_packing_keeps_every_pixel(pixels, stretch):
    pixels = pixels * pixels.dtype.type(stretch if pixels.dtype == np.uint16 else 1)
    packed = _convert_images.pack_pixels(pixels)
    assert packed.dtype == np.uint8 and packed.shape == (pixels.itemsize, *pixels.shape)
    unpacked = _convert_images.unpack_pixels(packed)
    assert unpacked.dtype == pixels.dtype
    assert_array_equal(unpacked, pixels)


def test_smooth_images_become_small_numbers():
    ramp = np.add.outer(np.arange(300), np.arange(300, 0, -1)).astype(np.uint16)
    assert np.count_nonzero(_convert_images.pack_pixels(ramp)[:, 1:, 1:]) == 0
    down = _convert_images.pack_pixels(np.array([[9, 8], [8, 6]], dtype=np.uint16))
    assert not down[1].any()  # a step down has no high byte


def test_cells_are_cut_where_pixels_are_missing():
    field = np.array([[1, 1, 2], [3, 2, 2], [3, 0, 4]])
    assert _convert_images.cut_cells(field, field[:2, :2]).tolist() == [2, 3]
    assert _convert_images.cut_cells(field, field).tolist() == []


@pytest.fixture
def schwann_folder(tmp_path):
    """Write a folder of two small fields in the form of the source."""
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(0)
    rows = []
    for well, site in (("D6", 2), ("B7", 3)):
        field = f"{well}_site{site}"
        image = rng.integers(0, 256, size=(2, 520, 530)).astype(np.uint16) * 257
        cells = np.zeros((520, 530), dtype=np.uint16)
        cells[:10, 250:260], cells[300:310, 300:310] = 1, 2
        for what, pixels in (("image", image), ("nuclei", cells), ("cells", cells)):
            tifffile.imwrite(tmp_path / f"{field}_{what}.tif", pixels, metadata=None)
        rows.append({"field": field, "channels": "DNA_DAPI|ER_GFP", "well": well, "site": site})
    with (tmp_path / "fields.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def test_conversion_takes_the_middle(schwann_folder, tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    out = tmp_path / "out.npz"
    _convert_images.main(["schwann_fields", str(schwann_folder), str(out)])
    assert len(capsys.readouterr().out.strip()) == 64
    with np.load(out) as members:
        pixels = _convert_images.unpack_pixels(members["images"])
        cells = _convert_images.unpack_pixels(members["cells"])
        assert members["cut"].tolist() == [[0, 1], [1, 1]]
        assert members["channels"].tolist() == ["DNA", "ER"]
        assert members["well"].tolist() == ["D6", "B7"]
    source = tifffile.imread(schwann_folder / "B7_site3_image.tif")
    assert pixels.dtype == np.uint8 and cells.shape == (2, 512, 512)
    assert_array_equal(pixels[1].astype(np.uint16) * 257, source[:, 4:516, 9:521])


def test_conversion_refuses_what_would_lose_something(schwann_folder):
    tifffile = pytest.importorskip("tifffile")
    image = np.full((2, 520, 530), 256, dtype=np.uint16)
    tifffile.imwrite(schwann_folder / "D6_site2_image.tif", image, metadata=None)
    with pytest.raises(ValueError, match=r"D6_site2 in .* is not 8-bit data times 257"):
        _convert_images.schwann_fields(schwann_folder)
    with pytest.raises(ValueError, match="at most 255 to fit one byte, got 256"):
        _convert_images._one_byte([np.full((2, 2), 256)])


def test_conversion_checks_where_crops_lie(schwann_folder):
    tifffile = pytest.importorskip("tifffile")
    table = (schwann_folder / "fields.csv").read_text().splitlines()
    (schwann_folder / "fields.csv").write_text("\n".join(table[:2]))
    image = tifffile.imread(schwann_folder / "D6_site2_image.tif")
    origin = np.array([[0, 250], [8, 0]])
    images = np.stack([image[:, y : y + 9, x : x + 9] for y, x in origin])
    np.savez(schwann_folder / "demo_crops_4x6x256x256.npz", images=images, origin_yx=origin)
    members = _convert_images.cell_painting_crops(schwann_folder)
    assert members["cut"].tolist() == [[0, 1]]
    assert_array_equal(_convert_images.unpack_pixels(members["images"]), images)
    np.savez(schwann_folder / "demo_crops_4x6x256x256.npz", images=images, origin_yx=origin[::-1])
    with pytest.raises(ValueError, match="crop 0 in .* is not what the field shows"):
        _convert_images.cell_painting_crops(schwann_folder)
