"""Rows in many files as one array."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdict._read_ahead import stream_batches, stream_blocks
from skdict._sharded_rows import ShardedRows
from skdict._sources import is_memory_mapped, is_row_source
from tests.streamed import order_of


@pytest.fixture
def X(rng):
    return rng.normal(size=(50, 3)).astype(np.float32)


@pytest.fixture
def shards(tmp_path, X):
    """A folder with .npy files, one in half precision, a parquet file and a zarr array."""
    pandas, zarr = pytest.importorskip("pandas"), pytest.importorskip("zarr")
    half = X[:20].astype(np.float16)
    np.save(tmp_path / "part2.npy", half)
    np.save(tmp_path / "part10.npy", np.asfortranarray(X[20:]))
    pandas.DataFrame(X, columns=list("abc")).to_parquet(
        tmp_path / "part11.parquet", row_group_size=13
    )
    array = zarr.create_array(str(tmp_path / "part12.zarr"), shape=X.shape, chunks=(16, 3),
                              dtype="f4")  # fmt: skip
    array[:] = X
    np.save(tmp_path / "part13.npy", X[:0])
    (tmp_path / "notes.txt").write_text("no rows")
    return tmp_path, np.concatenate([half.astype(np.float32), X[20:], X, X])


def test_shards_of_several_kinds_are_one_array(shards, rng):
    folder, rows = shards
    source = ShardedRows(folder)
    assert [path.name for path in source.paths] == [
        "part2.npy", "part10.npy", "part11.parquet", "part12.zarr", "part13.npy"
    ]  # fmt: skip
    assert is_row_source(source) and len(source) == 150 and source.ndim == 2
    assert (source.shape, source.dtype, source.nbytes) == (rows.shape, np.float32, rows.nbytes)
    assert source.chunks == (16, 3)
    for start, stop in [(0, 150), (0, 20), (15, 64), (49, 52), (60, 70), (149, 150), (150, 150)]:
        assert_array_equal(source[start:stop], rows[start:stop])
    assert_array_equal(source[-5:], rows[-5:])
    picked = np.sort(rng.integers(0, 150, 60))
    assert_array_equal(source[picked], rows[picked])
    mask = rng.random(150) < 0.3
    assert_array_equal(source[mask], rows[mask])
    assert_array_equal(np.asarray(source), rows)
    assert np.asarray(source, dtype=np.float64).dtype == np.float64
    copy = pickle.loads(pickle.dumps(source))
    assert_array_equal(copy[30:140], rows[30:140])


def test_shards_stream(shards):
    folder, rows = shards
    source = ShardedRows(folder)
    batches = stream_batches(source, order_of(rows), 30, 5)
    assert_array_equal(np.sort(np.concatenate(list(batches)), axis=0), np.sort(rows, axis=0))


def test_patterns_and_lists_name_shards(shards):
    folder, rows = shards
    assert len(ShardedRows(str(folder / "*.npy")).paths) == 3
    listed = ShardedRows([folder / "part10.npy", str(folder / "part2.npy")])
    assert_array_equal(listed[:], np.concatenate([rows[20:50], rows[:20]]))
    alone = ShardedRows(folder / "part12.zarr")
    assert alone.shape == (50, 3)
    assert_array_equal(
        ShardedRows(folder / "part11.parquet", columns=["c", "a"])[:], rows[50:100][:, [2, 0]]
    )


def test_one_file_is_not_copied(tmp_path, X):
    np.save(tmp_path / "x.npy", X)
    assert is_memory_mapped(ShardedRows(tmp_path)[3:9])


def test_more_shards_than_files_may_be_open(tmp_path, X, monkeypatch):
    monkeypatch.setattr("skdict._sharded_rows._MOST_OPEN", 3)
    for number in range(10):
        np.save(tmp_path / f"{number}.npy", X[5 * number : 5 * number + 5])
    source = ShardedRows(tmp_path)
    assert_array_equal(source[:], X)
    assert sum(not shard.is_closed for shard in source._shards) <= 3


def test_arrays_within_zarr_groups(tmp_path, X):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "cells.zarr"), mode="w")
    group.create_array("embeddings", data=X.astype(np.float64))
    group.create_array("obsm/scvi", data=X)
    assert ShardedRows(tmp_path / "cells.zarr", key="embeddings").dtype == np.float64
    assert_array_equal(ShardedRows(tmp_path / "cells.zarr", key="obsm/scvi")[:], X)
    with pytest.raises(ValueError, match="key must name an array.*got None.*'embeddings'"):
        ShardedRows(tmp_path / "cells.zarr")
    with pytest.raises(ValueError, match="key='obsm' is a group.*'scvi'"):
        ShardedRows(tmp_path / "cells.zarr", key="obsm")


def test_errors_of_shards_name_the_file(tmp_path, X):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(FileNotFoundError, match=r"no .npy, .parquet, .zarr file is there"):
        ShardedRows(tmp_path)
    with pytest.raises(FileNotFoundError, match="a.npy"):
        ShardedRows([tmp_path / "a.npy"])
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", X[:, :2])
    with pytest.raises(ValueError, match=r"a.npy' has 3 and .*b.npy' has 2"):
        ShardedRows(tmp_path)
    np.save(tmp_path / "b.npy", X.astype(str))
    with pytest.raises(ValueError, match=r"b.npy' must hold numbers, got dtype <U"):
        ShardedRows(tmp_path)
    np.save(tmp_path / "b.npy", X[0])
    with pytest.raises(ValueError, match=r"b.npy' must be two-dimensional"):
        ShardedRows(tmp_path)
    whole = (tmp_path / "a.npy").read_bytes()
    for size, message in [(0, "no .npy file or truncated"), (300, "b.npy' is truncated")]:
        (tmp_path / "b.npy").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=message):
            ShardedRows(tmp_path)
    (tmp_path / "b.npy").unlink()
    table = pandas.DataFrame({"well": ["A1"], "x": [1.0], "when": [pandas.Timestamp(0)]})
    table.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"columns 'well', 'when' of .*c.parquet.*columns="):
        ShardedRows(tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"columns \['y'\] are not in .*c.parquet.*'well'"):
        ShardedRows(tmp_path / "c.parquet", columns=["x", "y"])
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="c.parquet' is no parquet file or truncated"):
        ShardedRows(tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(ValueError, match="d.csv' must be a .npy, .parquet, .zarr file"):
        ShardedRows(tmp_path / "d.csv")


def test_a_file_that_was_cut_later_is_an_error_not_a_crash(tmp_path, X):
    np.save(tmp_path / "a.npy", X)
    source = ShardedRows(tmp_path)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(300)
    with pytest.raises(ValueError, match="a.npy' is truncated"):
        source[:]


def test_missing_values_of_parquet_are_found(tmp_path):
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"x": pandas.array([1, None, 3], "Int64")}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="X must be finite, got nan in row 1, column 0"):
        list(stream_blocks(ShardedRows(tmp_path), 10))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (3, "takes a slice of rows or ascending row numbers, got 3"),
        ((slice(2), 1), "choose columns afterwards"),
        (slice(0, 9, 2), "slices of step 1"),
        ([3, 1], "must ascend from 0 to at most 49, got 1 to 3"),
        ([1, 50], "must ascend from 0 to at most 49, got 1 to 50"),
        ([1.0], "must be a one-dimensional array of integers"),
    ],
)
def test_shards_refuse_other_indices(tmp_path, X, rows, message):
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(IndexError, match=message):
        ShardedRows(tmp_path)[rows]
