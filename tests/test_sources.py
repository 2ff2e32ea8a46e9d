"""Row sources, the order of learning, and the thread that reads ahead."""

import gc
import json
import pickle
import threading
import time
import tracemalloc

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict._sharded_rows import ShardedRows
from skdict._sources import (
    BlockShuffle,
    block_layout,
    check_finite_rows,
    check_row_source,
    is_memory_mapped,
    is_row_source,
    read_rows,
    sample_rows,
    stream_batches,
    stream_blocks,
)


class Source:
    """A row source that notes what is read, and may fail."""

    def __init__(self, X, fail_at=None, seconds=0.0):
        self.X, self.fail_at, self.seconds, self.read = X, fail_at, seconds, []
        self.shape, self.dtype = X.shape, X.dtype

    def __getitem__(self, rows):
        time.sleep(self.seconds)
        self.read.append((rows.start, rows.stop))
        if self.fail_at is not None and rows.start <= self.fail_at < rows.stop:
            raise OSError("the disk is gone")
        return self.X[rows]


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("skdict-reader")]


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


# ---------------------------------------------------------------------- what a row source is


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


# ---------------------------------------------------------------------- the order of learning

shuffles = st.fixed_dictionaries(
    {
        "n_rows": st.integers(8, 130),
        "block_rows": st.integers(1, 40),
        "blocks_in_buffer": st.integers(1, 5),
        "random_state": st.integers(0, 3),
    }
)


@given(shuffles, st.sampled_from([1, 2, 4]), st.integers(1, 9))
def test_each_row_comes_once_per_pass(settings, n_streams, rows_per_stream):
    shuffle = BlockShuffle(**settings, n_streams=n_streams)
    per_pass = shuffle.rows_per_pass
    n_batches = -(-3 * per_pass // rows_per_stream)
    batches = list(shuffle.batches(rows_per_stream * n_streams, n_batches))
    assert all(batch.shape == (rows_per_stream * n_streams,) for batch in batches)
    by_stream = np.stack(batches).reshape(n_batches, n_streams, -1).swapaxes(0, 1)
    by_stream = by_stream.reshape(n_streams, -1)
    for number in range(3):
        rows = by_stream[:, number * per_pass : (number + 1) * per_pass].ravel()
        assert len(np.unique(rows)) == rows.size == settings["n_rows"] // n_streams * n_streams
    assert shuffle.rows_taken == n_batches * rows_per_stream


@given(shuffles, st.sampled_from([1, 2]), st.integers(1, 30), st.integers(0, 20))
def test_restored_order_goes_on_as_the_first(settings, n_streams, half, n_taken):
    shuffle = BlockShuffle(**settings, n_streams=n_streams)
    whole = list(shuffle.batches(2 * half, 30))
    first = BlockShuffle(**settings, n_streams=n_streams)
    list(first.batches(2 * half, n_taken))
    state = json.loads(json.dumps(first.state_dict()))
    other = BlockShuffle(settings["n_rows"], block_rows=1, blocks_in_buffer=1, random_state=9)
    other.restore(state)
    assert_array_equal(list(other.batches(2 * half, 30 - n_taken)), whole[n_taken:])
    assert other.state_dict() == shuffle.state_dict()


@pytest.mark.parametrize("n_ranks", [1, 2, 4])
def test_ranks_share_the_same_batches(n_ranks):
    settings = {"n_rows": 103, "block_rows": 7, "blocks_in_buffer": 2, "random_state": 1}
    whole = list(BlockShuffle(**settings, n_streams=4).batches(12, 20))
    parts = []
    for rank in range(n_ranks):
        place = {"rank": rank, "world_size": n_ranks, "n_streams": 4}
        parts.append(list(BlockShuffle(**settings, **place).batches(12, 20)))
    for number, batch in enumerate(whole):
        assert_array_equal(np.concatenate([part[number] for part in parts]), batch)


def test_passes_and_seeds_have_orders_of_their_own():
    def order(seed):
        settings = {"block_rows": 5, "blocks_in_buffer": 3, "random_state": seed}
        return np.stack(list(BlockShuffle(100, **settings).batches(100, 2)))

    assert_array_equal(order(0), order(0))
    assert (order(0)[0] != order(0)[1]).any() and (order(0) != order(1)).any()
    # Rows are mixed across the blocks of a buffer, and blocks across the source.
    assert np.abs(np.diff(order(0)[0])).mean() > 5


def test_another_number_of_ranks_keeps_the_place():
    settings = {"block_rows": 5, "blocks_in_buffer": 3, "random_state": 0}
    shuffle = BlockShuffle(100, **settings)
    list(shuffle.batches(20, 8))
    halves = BlockShuffle(100, **settings, rank=1, world_size=2)
    with pytest.warns(UserWarning, match="1 streams, which 2 processes cannot share"):
        halves.restore(shuffle.state_dict())
    assert halves.n_passes == shuffle.n_passes == 1.6
    assert (halves.rank, halves.n_streams, halves.rows_taken) == (1, 2, 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 1}, "rank must be below world_size=1, got 1"),
        ({"world_size": 2, "n_streams": 3}, "n_streams must be a multiple of world_size=2, got 3"),
        ({"n_streams": 200}, "n_streams must be at most n_rows=100, got 200"),
        ({"block_rows": 0}, "block_rows must be an integer >= 1"),
        ({"random_state": -1}, "random_state must be an integer >= 0"),
    ],
)
def test_order_refuses_wrong_numbers(change, message):
    good = {"n_rows": 100, "block_rows": 5, "blocks_in_buffer": 3, "random_state": 0}
    with pytest.raises(ValueError, match=message):
        BlockShuffle(**good | change)


def test_order_refuses_states_of_other_data():
    shuffle = BlockShuffle(100, block_rows=5, blocks_in_buffer=3, random_state=0, n_streams=2)
    with pytest.raises(ValueError, match="batch_size must be a multiple of n_streams=2"):
        shuffle.batches(3, 1)
    with pytest.raises(ValueError, match="state is of a source with 99 rows"):
        shuffle.restore(shuffle.state_dict() | {"n_rows": 99})
    with pytest.raises(ValueError, match="state must hold whole numbers.*rows_taken"):
        shuffle.restore(shuffle.state_dict() | {"rows_taken": "1"})


# ---------------------------------------------------------------------- reading ahead


@given(shuffles, st.sampled_from([1, 2]), st.integers(1, 30), st.integers(0, 12))
def test_streamed_batches_are_the_rows_of_the_order(settings, n_streams, half, n_taken):
    X = np.arange(settings["n_rows"] * 2, dtype=np.float64).reshape(-1, 2)
    numbers = BlockShuffle(**settings, n_streams=n_streams)
    rows = list(numbers.batches(2 * half, 15))
    shuffle = BlockShuffle(**settings, n_streams=n_streams)
    first = list(stream_batches(X, shuffle, 2 * half, n_taken))
    rest = list(stream_batches(X, shuffle, 2 * half, 15 - n_taken))
    assert_array_equal(first + rest, X[np.stack(rows)])
    assert shuffle.state_dict() == numbers.state_dict()


def order_of(X, **settings):
    return BlockShuffle(len(X), **{"block_rows": 5, "blocks_in_buffer": 2, "random_state": 0}
                        | settings)  # fmt: skip


def test_state_is_that_of_the_batches_handed_out(X):
    shuffle = order_of(X)
    for number, _ in enumerate(stream_batches(X, shuffle, 7, 9)):
        assert shuffle.rows_taken == 7 * (number + 1)


def test_a_rank_reads_its_own_share_only(X):
    sources = [Source(X), Source(X)]
    for rank, source in enumerate(sources):
        list(stream_batches(source, order_of(X, rank=rank, world_size=2), 10, 5))
    read = [{i for start, stop in s.read for i in range(start, stop)} for s in sources]
    assert not read[0] & read[1] and len(read[0] | read[1]) == 50


def test_no_more_is_read_than_the_batches_need(X):
    source = Source(X)
    list(stream_batches(source, order_of(X), 10, 1))
    assert sum(stop - start for start, stop in source.read) == 10


def test_nothing_is_read_and_no_thread_runs_before_the_first_batch(X):
    source = Source(X)
    stream_batches(source, order_of(X), 10, 3)
    stream_blocks(source, 10)
    assert not source.read and not reader_threads()


@pytest.mark.parametrize("how", ["exhausted", "closed", "collected", "raised", "interrupted"])
def test_no_thread_is_left(X, how):
    batches = stream_batches(Source(X, seconds=0.01), order_of(X), 4, 20)
    next(batches)
    assert len(reader_threads()) == 1
    if how == "exhausted":
        list(batches)
    elif how == "closed":
        batches.close()
    elif how == "collected":
        del batches
        gc.collect()
    else:
        kind = {"raised": ValueError, "interrupted": KeyboardInterrupt}[how]
        with pytest.raises(kind):
            batches.throw(kind)
    assert not reader_threads()


def test_an_early_stop_does_not_wait_for_the_whole_buffer(X):
    source = Source(X, seconds=0.02)
    batches = stream_batches(source, order_of(X, block_rows=1, blocks_in_buffer=25), 5, 30)
    next(batches)
    batches.close()
    assert len(source.read) < 40


def test_errors_of_the_reader_reach_the_consumer(X):
    with pytest.raises(OSError, match="the disk is gone"):
        list(stream_batches(Source(X, fail_at=20), order_of(X), 5, 30))
    X[33, 1] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan in row 33, column 1"):
        list(stream_batches(X, order_of(X), 5, 30))
    with pytest.raises(ValueError, match="got nan in row 33, column 1"):
        list(stream_blocks(X, 8))
    assert not reader_threads()
    with sklearn.config_context(assume_finite=True):  # a setting of this thread, not the reader's
        batches = stream_batches(X, order_of(X), 5, 10)
    assert np.isnan(np.concatenate(list(batches))).sum() == 1


def test_rows_are_prepared_by_the_reader(X):
    names = set()

    def prepare(rows):
        names.add(threading.current_thread().name)
        return 2 * rows[:, :2].astype(np.float64)

    numbers = list(order_of(X).batches(6, 4))
    batches = list(stream_batches(X, order_of(X), 6, 4, prepare=prepare))
    assert_array_equal(batches, 2.0 * X[np.stack(numbers)][..., :2])
    assert all(name.startswith("skdict-reader") for name in names)
    with pytest.raises(ValueError, match="prepare must return 5 rows"):
        list(stream_batches(X, order_of(X), 6, 4, prepare=lambda rows: rows[1:]))


def test_two_buffers_are_in_memory(rng):
    """The largest number of buffers that live at a time, whatever the consumer's variables hold."""
    X = rng.normal(size=(4096, 64))
    shuffle = BlockShuffle(4096, block_rows=64, blocks_in_buffer=8, random_state=0)
    buffer_bytes, most = X[: 64 * 8].nbytes, 0
    tracemalloc.start()
    for _batch in stream_batches(X, shuffle, 48, 150):
        time.sleep(1e-4)
        most = max(most, tracemalloc.get_traced_memory()[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2.5 * buffer_bytes and peak < 2.75 * buffer_bytes


def test_blocks_come_in_order(X):
    blocks = list(stream_blocks(X, 16, start=5, stop=40))
    assert [start for start, _ in blocks] == [5, 21, 37]
    assert_array_equal(np.concatenate([block for _, block in blocks]), X[5:40])
    with pytest.raises(ValueError, match="start=5 and stop=60 must be within the 50 rows"):
        stream_blocks(X, 16, start=5, stop=60)
    with pytest.raises(ValueError, match="X has 50 rows, but the shuffle is of 49"):
        stream_batches(X, order_of(X[1:]), 5, 3)


# ---------------------------------------------------------------------- shards


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
