"""Images from TIFF and OME-Zarr: axes, channels, levels, and damaged files."""

import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdict.imaging import ImageFiles, image_info, iter_crops, read_image

tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")

NAMES = ["DNA", "ER", "RNA", "AGP", "Mito", "Brightfield"]


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 65536, (6, 48, 64)).astype(np.uint16)


@pytest.fixture(params=["plain", "ome", "imagej", "zlib", "big endian"])
def tiff(request, tmp_path, pixels):
    """Write a TIFF of each kind that keeps its axes."""
    path = tmp_path / "image.tif"
    ome = {"axes": "CYX", "Channel": {"Name": NAMES}}
    options = {
        "plain": {"metadata": {"axes": "CYX"}},
        "ome": {"ome": True, "metadata": ome},
        "imagej": {"imagej": True, "metadata": {"axes": "CYX", "Labels": NAMES}},
        "zlib": {"ome": True, "metadata": ome, "compression": "zlib", "tile": (16, 16)},
        "big endian": {"byteorder": ">", "metadata": {"axes": "CYX"}},
    }[request.param]
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.fixture(params=[2, 3])
def ome_zarr(request, tmp_path, pixels):
    """Write an OME-Zarr 0.4 in Zarr 2, and a 0.5 in Zarr 3, with two levels."""
    path = tmp_path / "image.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=request.param)
    datasets = []
    for level in range(2):
        values = pixels[:, :: 2**level, :: 2**level]
        array = group.create_array(
            str(level), shape=values.shape, chunks=(1, 32, 32), dtype=values.dtype
        )
        array[...] = values
        datasets.append({"path": str(level)})
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "type": "space"} for n in "yx"]
    about = {
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": name} for name in NAMES]},
    }
    group.attrs.update(about if request.param == 2 else {"ome": {"version": "0.5"} | about})
    return path


def test_tiff_of_any_kind(tiff, pixels):
    image = read_image(tiff)
    assert_array_equal(image, pixels)
    assert image.dtype.isnative
    names = image_info(tiff).channels or NAMES
    assert names == NAMES
    chosen = read_image(tiff, channels=["Mito", "DNA"], channel_names=NAMES)
    assert_array_equal(chosen, pixels[[4, 0]])
    assert_array_equal(read_image(tiff, channels=2), pixels[2:3])
    info = image_info(tiff)
    assert (info.axes, info.shapes, info.dtype) == ("CYX", [(6, 48, 64)], np.uint16)


def test_an_uncompressed_tiff_is_read_when_it_is_used(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"})
    image = read_image(path)
    assert not image.flags.writeable
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes([7, 1]))
    assert image[0, 0, 0] == 263


@pytest.mark.parametrize(
    ("shape", "axes", "taken"),
    [
        ((48, 64), "YX", lambda a: a[None]),
        ((48, 64, 3), "YXC", lambda a: a.transpose(2, 0, 1)),
        ((3, 64, 48), "CXY", lambda a: a.transpose(0, 2, 1)),
        ((4, 3, 48, 64), "ZCYX", lambda a: a[2]),
        ((3, 4, 48, 64), "CZYX", lambda a: a[:, 2]),
        ((4, 48, 64), "ZYX", lambda a: a[2][None]),
    ],
)
def test_axes_are_brought_to_channels_rows_columns(tmp_path, rng, shape, axes, taken):
    values = rng.integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, metadata=None, photometric="minisblack")
    index = {"Z": 2} if "Z" in axes else None
    if len(shape) == 4:  # pages of a plain TIFF come in one row
        tifffile.imwrite(path, values, metadata={"axes": axes}, photometric="minisblack")
    whole = read_image(path, axes=axes, index=index)
    assert_array_equal(whole, taken(values))
    for channel in range(len(whole)):
        one = read_image(path, axes=axes, index=index, channels=[channel])
        assert_array_equal(one, whole[[channel]])


def test_colours_of_a_photograph_are_channels(tmp_path, rng):
    values = rng.integers(0, 255, (8, 9, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    assert_array_equal(read_image(tmp_path / "a.tif"), values.transpose(2, 0, 1))


def test_axes_that_are_no_image_are_refused(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    with pytest.raises(ValueError, match=r"axes 'QYX' .* 'Q' is no channel: pass index=.*or axes="):
        read_image(path)
    assert_array_equal(read_image(path, axes="CYX"), pixels)
    with pytest.raises(ValueError, match=r"one letter for each of the 3 dimensions .* got 'CZYX'"):
        read_image(path, axes="CZYX")
    with pytest.raises(ValueError, match="must have axes Y and X, got 'CZX'"):
        read_image(path, axes="CZX")
    with pytest.raises(ValueError, match=r"index must be below 6 along 'Z' .* got 6"):
        read_image(path, axes="ZYX", index={"Z": 6})
    with pytest.raises(ValueError, match="index names 'T', but"):
        read_image(path, axes="CYX", index={"T": 0})
    tifffile.imwrite(path, pixels[None, None], metadata={"axes": "TZCYX"[:2] + "CYX"}, ome=True)
    assert_array_equal(read_image(path), pixels)  # axes of size one


def test_a_pyramid_of_tiff(tmp_path, pixels):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels, subifds=1, metadata={"axes": "CYX"}, tile=(16, 16))
        writer.write(pixels[:, ::2, ::2], subfiletype=1, tile=(16, 16))
    assert image_info(path).shapes == [(6, 48, 64), (6, 24, 32)]
    assert_array_equal(read_image(path, level=1, channels=3), pixels[[3], ::2, ::2])
    with pytest.raises(ValueError, match="level must be 0 to 1, the levels of .* got 2"):
        read_image(path, level=2)


def test_ome_zarr(ome_zarr, pixels):
    info = image_info(ome_zarr)
    assert (info.axes, info.channels) == ("CYX", NAMES)
    assert info.shapes == [(6, 48, 64), (6, 24, 32)]
    assert_array_equal(read_image(ome_zarr), pixels)
    assert_array_equal(read_image(str(ome_zarr), level=1), pixels[:, ::2, ::2])
    assert_array_equal(read_image(ome_zarr, channels=["AGP", "ER"]), pixels[[3, 1]])


def chunks_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name[0].isdigit())


def test_only_the_chunks_of_the_channels_are_read(ome_zarr, pixels):
    chunks = chunks_of(ome_zarr / "0")
    assert len(chunks) == 6 * 4
    for chunk in chunks:
        if chunk.relative_to(ome_zarr / "0").as_posix().removeprefix("c/")[0] != "2":
            chunk.write_bytes(chunk.read_bytes()[:16] + b"damaged" * 1000)
    assert_array_equal(read_image(ome_zarr, channels=["RNA"]), pixels[[2]])
    with pytest.raises(ValueError, match=r"image\.ome\.zarr' cannot be read as OME-Zarr"):
        read_image(ome_zarr)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_chunk_that_is_cut_short(ome_zarr, share):
    chunk = chunks_of(ome_zarr / "0")[7]
    content = chunk.read_bytes()
    chunk.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"image\.ome\.zarr' cannot be read as OME-Zarr .*copy it"):
        read_image(ome_zarr)


def test_a_chunk_that_is_missing_warns(ome_zarr, pixels):
    chunks_of(ome_zarr / "0")[7].unlink()
    with pytest.warns(UserWarning, match="1 of 24 chunks of .* do not exist") as caught:
        image = read_image(ome_zarr)
    assert caught[0].filename == __file__
    assert 0 < np.count_nonzero(image != pixels) <= 32 * 32


def test_folders_that_are_no_image(ome_zarr, tmp_path):
    group = zarr.open_group(str(ome_zarr), mode="r+")
    version = group.metadata.zarr_format

    def describe(about):
        group.attrs.clear()
        group.attrs.update(about if version == 2 else {"ome": about})

    describe({"plate": {"wells": [{"path": "B/2"}, {"path": "B/3"}]}})
    with pytest.raises(ValueError, match=r"is a plate of 2 wells.*B/2/0"):
        read_image(ome_zarr)
    describe({"bioformats2raw.layout": 3})
    with pytest.raises(ValueError, match="holds a series of images: name one"):
        read_image(ome_zarr)
    describe({"labels": []})
    with pytest.raises(ValueError, match="without the multiscales metadata .* it has .'labels'"):
        read_image(ome_zarr)
    describe({"multiscales": [{"axes": ["c", "y"], "datasets": [{"path": "0"}]}]})
    with pytest.raises(ValueError, match="do not name the 3 dimensions"):
        read_image(ome_zarr)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty' cannot be read as OME-Zarr .*GroupNotFound"):
        read_image(tmp_path / "empty")


def test_old_versions_have_five_axes(tmp_path, pixels):
    path = tmp_path / "old.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    array = group.create_array("0", shape=(1, 6, 1, 48, 64), dtype="uint16")
    array[...] = pixels[None, :, None]
    group.attrs.update({"multiscales": [{"datasets": [{"path": "0"}]}]})
    assert_array_equal(read_image(path), pixels)
    assert image_info(path).channels is None


@pytest.mark.parametrize("kind", [{}, {"compression": "zlib"}, {"ome": True}, {"metadata": None}])
def test_a_tiff_that_is_cut_short_is_an_error_or_whole(tmp_path, pixels, kind):
    path = tmp_path / "A01.tif"
    tifffile.imwrite(path, pixels, **({"metadata": {"axes": "CYX"}} | kind))
    content = path.read_bytes()
    n_errors = 0
    for end in [0, 4, 40, 130, 200, 260, *np.linspace(300, len(content) - 1, 12).astype(int)]:
        path.write_bytes(content[:end])
        try:
            image = read_image(path, axes="CYX")
        except ValueError as error:
            assert "A01.tif" in str(error), error
            n_errors += 1
        else:
            assert_array_equal(image, pixels)
    assert n_errors >= 14


def test_what_tifffile_logs_is_not_lost_on_a_file_that_is_fine(tmp_path, pixels, caplog):
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "CYX"})
    n_handlers = len(tifffile.logger().handlers)
    with caplog.at_level("WARNING", logger="tifffile"):
        read_image(tmp_path / "a.tif")
    assert not caplog.records and len(tifffile.logger().handlers) == n_handlers


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"a\.png' cannot be read as TIFF .*not a TIFF file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"no image at .*b\.tif"):
        read_image(tmp_path / "b.tif")


def test_a_compression_that_needs_a_package(tmp_path, pixels):
    if "imagecodecs" in sys.modules:
        pytest.skip("imagecodecs is there")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="zlib", metadata={"axes": "CYX"})
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite(5)  # LZW
    with pytest.raises(ValueError, match=r"requires the 'imagecodecs' package.*pip install"):
        read_image(path)


def test_a_missing_channel_lists_those_that_exist(ome_zarr, tmp_path, pixels):
    with pytest.raises(
        ValueError, match=r"channel 'mito' is missing in .*'DNA', 'ER', .*did you mean 'Mito'\?"
    ):
        read_image(ome_zarr, channels=["DNA", "mito"])
    with pytest.raises(ValueError, match=r"'Golgi' is missing in .* it has [^?]*$"):
        read_image(ome_zarr, channels="Golgi")
    with pytest.raises(ValueError, match=r"channels must be 0 to 5, .* got 6"):
        read_image(ome_zarr, channels=[6])
    with pytest.raises(ValueError, match="channels must name at least one channel"):
        read_image(ome_zarr, channels=[])
    with pytest.raises(ValueError, match="channel_names must have one name per channel: got 2"):
        read_image(ome_zarr, channel_names=["a", "b"])
    with pytest.raises(ValueError, match="names 'a', which .* more than once"):
        read_image(ome_zarr, channels="a", channel_names=["a", "a", "b", "c", "d", "e"])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match="has no channel names: pass its 6 names as channel_names"):
        read_image(path, channels=["DNA"])
    with pytest.raises(TypeError, match=r"level must be an integer, got 0\.0"):
        read_image(path, level=0.0)


def test_without_the_packages_the_extra_is_named(tiff, ome_zarr, monkeypatch):
    for name, path in (("tifffile", tiff), ("zarr", ome_zarr)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf'{name} .*pip install "skdict\[imaging\]"'):
            read_image(path)


def test_many_files_as_one_function(tmp_path, pixels):
    for number in range(2):
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels + number, metadata={"axes": "CYX"})
    images = ImageFiles(
        [tmp_path / "0.tif", str(tmp_path / "1.tif")], channels=["ER"], channel_names=NAMES
    )
    assert len(images) == 2
    assert_array_equal(images(1), pixels[[1]] + 1)
    crops = list(iter_crops(images, size=16, skip_edge=True, well=["A01", "A02"]))
    assert [crop.well for crop in crops] == ["A01"] * 2 + ["A02"] * 2
    assert_array_equal(crops[0].pixels, pixels[[1], 16:32, 16:32])
    assert repr(images) == "ImageFiles(2 images, channels=['ER'])"


def test_one_file_per_channel(tmp_path, pixels):
    paths = [tmp_path / f"r01c01-ch{k}.tif" for k in range(6)]
    for path, plane in zip(paths, pixels, strict=True):
        tifffile.imwrite(path, plane)
    assert_array_equal(ImageFiles([paths])(0), pixels)
    paths[1].write_bytes(b"")  # not opened where it is not asked for
    images = ImageFiles([paths], channels=["Mito", 0], channel_names=NAMES)
    assert_array_equal(images(0), pixels[[4, 0]])
    with pytest.raises(ValueError, match="'Golgi' is missing in 'the files of image 0'"):
        ImageFiles([paths], channels=["Golgi"], channel_names=NAMES)(0)
    tifffile.imwrite(paths[1], pixels[1, 1:])
    with pytest.raises(ValueError, match=r"equal shapes and types: .*ch0.*\(48, 64\).*ch1.*\(47,"):
        ImageFiles([paths])(0)
    tifffile.imwrite(paths[1], pixels[:2], metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match=r"one channel each, .*ch1\.tif' has 2"):
        ImageFiles([paths])(0)


def test_paths_are_a_sequence():
    with pytest.raises(TypeError, match=r"paths must be a sequence of paths, got one: 'a\.tif'"):
        ImageFiles("a.tif")
    with pytest.raises(ValueError, match="paths must hold at least one path"):
        ImageFiles([])


def test_nothing_is_left_open(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, compression="zlib", metadata={"axes": "CYX"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        read_image(path)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(ValueError, match="cannot be read"):
            read_image(path)
