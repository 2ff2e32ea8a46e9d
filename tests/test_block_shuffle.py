"""The order in which the rows of a large source are learned from."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdict._block_shuffle import BlockShuffle
from tests.streamed import shuffles


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
