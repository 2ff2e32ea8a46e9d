"""What a row source is, and how ranges of its rows are read."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict._read_ahead import stream_blocks
from skdict._sources import (
    block_layout,
    check_finite_rows,
    check_row_source,
    is_memory_mapped,
    is_row_source,
    read_rows,
    sample_rows,
)
from tests.streamed import Source


def other_sources(folder, X):
    """The rows as arrays of zarr, h5py and dask."""
    zarr, h5py = pytest.importorskip("zarr"), pytest.importorskip("h5py")
    dask_array = pytest.importorskip("dask.array")
    in_zarr = zarr.create_array(str(folder / "x.zarr"), shape=X.shape, chunks=(16, 3), dtype="f4")
    in_zarr[:] = X
    file = h5py.File(folder / "x.h5", "w")
    in_hdf5 = file.create_dataset("x", data=X, chunks=(10, 2))
    return {"zarr": in_zarr, "h5py": in_hdf5, "dask": dask_array.from_array(X, chunks=(20, 2))}


@pytest.fixture
def X(rng):
    return rng.normal(size=(50, 3)).astype(np.float32)


def test_arrays_on_disk_are_sources_and_read_as_numpy_reads_them(tmp_path, X):
    for name, source in other_sources(tmp_path, X).items():
        assert is_row_source(source), name
        assert check_row_source(source) == (50, 3, np.float32)
        assert_array_equal(read_rows(source, 3, 40), X[3:40])
        blocks = [block for _, block in stream_blocks(source, 16)]
        assert_array_equal(np.concatenate(blocks), X)
    assert is_row_source(Source(X))


def test_arrays_in_memory_and_tables_are_no_sources(X):
    pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    strict, xarray = pytest.importorskip("array_api_strict"), pytest.importorskip("xarray")
    others = [X, X.tolist(), pandas.DataFrame(X), sparse.csr_array(X), torch.ones(3, 2), None]
    others += [strict.ones((3, 2)), xarray.DataArray(X), np.float32(1), "X", Source(X[0])]
    assert [is_row_source(other) for other in others] == [False] * len(others)


def test_views_of_memory_maps_are_memory_mapped(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert is_memory_mapped(mapped) and is_memory_mapped(np.asarray(mapped)[3:])
    assert not is_memory_mapped(np.array(mapped)) and not is_memory_mapped(mapped + 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i8", "?"])
def test_rows_are_read_as_float32_or_float64(dtype):
    rows = np.arange(12).reshape(6, 2).astype(dtype)
    expected = np.float64 if dtype == "f8" else np.float32
    read = read_rows(np.asfortranarray(rows), 1, 4)
    assert read.dtype == expected and read.flags.c_contiguous
    assert_array_equal(read, rows[1:4].astype(expected))
    assert read_rows(rows, 1, 4, np.float64).dtype == np.float64


def test_a_source_that_breaks_its_word_is_named(X):
    source = Source(X)
    with pytest.raises(ValueError, match="rows 40 to 60 are not within the 50 rows of X"):
        read_rows(source, 40, 60)
    source.shape = (60, 3)
    with pytest.raises(ValueError, match=r"X\[40:60\] must have shape \(20, 3\).*got \(10, 3\)"):
        read_rows(source, 40, 60)
    source = Source(sparse.csr_array(X))
    with pytest.raises(TypeError, match="X.* is sparse"):
        read_rows(source, 0, 2)
    source = Source(np.array([["a", "b"]]))
    with pytest.raises(TypeError, match="X.* must hold numbers"):
        read_rows(source, 0, 1)


def test_sources_are_checked_without_reading(X):
    dask_array = pytest.importorskip("dask.array")
    unknown = dask_array.from_array(X, chunks=10)
    unknown = unknown[unknown[:, 0] > 0]
    with pytest.raises(ValueError, match="X has an unknown number of rows.*compute_chunk_sizes"):
        check_row_source(unknown)
    with pytest.raises(ValueError, match="X must have at least one row"):
        check_row_source(X[:0])
    with pytest.raises(ValueError, match="X must be two-dimensional"):
        check_row_source(X[0])
    with pytest.raises(ValueError, match="X must hold numbers"):
        check_row_source(X.astype(str))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(X, bad):
    X[7, 2] = X[30, 0] = bad
    with pytest.raises(ValueError, match=f"Z must be finite, got {bad} in row 107, column 2"):
        check_finite_rows(X, 100, "Z")
    with sklearn.config_context(assume_finite=True):
        check_finite_rows(X, 100)


def test_a_sum_that_overflows_is_no_reason_to_refuse():
    check_finite_rows(np.full((4, 4), 3e38, np.float32), 0)
    check_finite_rows(np.array([[3e38, 3e38], [-3e38, -3e38]], np.float32), 0)


def test_layout_keeps_chunks_whole_and_memory_bounded():
    class Chunked(Source):
        chunks = (3000, 100)

    wide = np.broadcast_to(np.float32(0), (10**6, 256))
    assert block_layout(Chunked(wide))[0] % 3000 == 0
    block_rows, blocks_in_buffer = block_layout(wide, memory=2**28)
    assert 2 * block_rows * blocks_in_buffer * 256 * 4 <= 2**28
    assert block_layout(wide[:100]) == (100, 1)
    assert block_layout(wide, memory=1)[1] == 1


def test_a_sample_reads_few_blocks_and_repeats_no_row(monkeypatch):
    monkeypatch.setattr("skdict._sources.SAMPLE_BLOCKS", 4)
    X = np.broadcast_to(np.arange(400_000.0)[:, None], (400_000, 64))  # takes no memory
    source = Source(X)
    sample = sample_rows(source, 1000, 0)[:, 0]
    assert len(np.unique(sample)) == 1000 and (np.diff(sample) > 0).all()
    assert abs(sample.mean() / 200_000 - 1) < 0.2
    assert len(source.read) == 16 and block_layout(X)[0] == 16_384  # of 25 blocks
    assert_array_equal(sample_rows(X, 1000, 0), sample_rows(X, 1000, 0))
    assert_array_equal(sample_rows(X[:300], 1000, 0), X[:300])
    with pytest.raises(ValueError, match="X must be finite"):
        sample_rows(np.broadcast_to(np.nan, X.shape), 1000, 0)
