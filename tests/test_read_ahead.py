"""The thread that reads ahead: the right rows, bounded memory, and nothing left behind."""

import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdict._block_shuffle import BlockShuffle
from skdict._read_ahead import stream_batches, stream_blocks
from tests.streamed import Source, order_of, shuffles


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("skdict-reader")]


@pytest.fixture
def X(rng):
    return rng.normal(size=(50, 3)).astype(np.float32)


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
