"""The order in which the rows of a large source are learned from: blocks, buffers, batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from skdict._validation import check_integer


class Buffer(NamedTuple):
    """Blocks that are read together, and how their rows are mixed."""

    # First row and the one behind the last of each block (k, 2), in the order of reading.
    segments: np.ndarray
    # Place among the rows read, for each row of the buffer (n,).
    order: np.ndarray
    # Rows at its beginning that were used before.
    n_used: int

    def rows(self) -> np.ndarray:
        """Row numbers in the source, in the order of use."""
        read = np.concatenate([np.arange(start, stop) for start, stop in self.segments])
        return read[self.order[self.n_used :]]


class BlockShuffle:
    """The order in which the rows of a large source are learned from.

    In each pass the blocks of `block_rows` contiguous rows come in random order. Groups of
    `blocks_in_buffer` blocks are read into a buffer and their rows permuted. Batches are cut from
    the stream of buffers across the ends of buffers and passes, so that every batch is full, and
    each row comes exactly once per pass.

    The order is a function of `random_state`, the pass and the number of the buffer; the only thing
    that changes is a counter. `state_dict` is therefore a few integers, and `restore` gives exactly
    the batches that would have come.

    With `n_streams` S above one, the shuffled blocks of a pass are cut into S equal parts, each of
    them is read and mixed on its own, and a batch takes equally many rows from each. Rank r of W
    reads streams ``r * S / W`` to ``(r + 1) * S / W - 1`` and no others, and gets their part of
    each batch. The union over ranks is the same for every W that divides S, and holds each row once
    per pass but the ``n_rows % S`` that are left over, which are others in each pass.

    Parameters
    ----------
    n_rows : int
        Rows of the source.
    block_rows : int
        Rows of a block; `block_layout` proposes sizes.
    blocks_in_buffer : int
        Blocks that are permuted together. The larger, the better the rows are mixed; two buffers
        per stream are in memory.
    random_state : int
        Seed.
    rank : int, default=0
        Number of this process.
    world_size : int, default=1
        Number of processes.
    n_streams : int, default=None
        Number of streams, a multiple of `world_size`; None stands for `world_size`.

    Attributes
    ----------
    rows_taken : int
        Rows that each stream has given so far.
    rows_per_pass : int
        Rows of a stream in one pass.

    Raises
    ------
    ValueError
        If a number is out of range, or `n_streams` is no multiple of `world_size`.

    Examples
    --------
    >>> from skdict._block_shuffle import BlockShuffle
    >>> shuffle = BlockShuffle(6, block_rows=2, blocks_in_buffer=2, random_state=0)
    >>> batches = list(shuffle.batches(3, 2))
    >>> sorted(int(row) for batch in batches for row in batch)
    [0, 1, 2, 3, 4, 5]
    >>> state = shuffle.state_dict()
    >>> state["rows_taken"]
    6
    """

    def __init__(
        self,
        n_rows: int,
        *,
        block_rows: int,
        blocks_in_buffer: int,
        random_state: int,
        rank: int = 0,
        world_size: int = 1,
        n_streams: int | None = None,
    ):
        n_streams = world_size if n_streams is None else n_streams
        for name, value, minimum in [
            ("n_rows", n_rows, 1),
            ("block_rows", block_rows, 1),
            ("blocks_in_buffer", blocks_in_buffer, 1),
            ("random_state", random_state, 0),
            ("rank", rank, 0),
            ("world_size", world_size, 1),
            ("n_streams", n_streams, 1),
        ]:
            check_integer(name, value, minimum)
        if rank >= world_size:
            raise ValueError(f"rank must be below world_size={world_size}, got {rank}")
        if n_streams % world_size:
            raise ValueError(
                f"n_streams must be a multiple of world_size={world_size}, got {n_streams}"
            )
        if n_streams > n_rows:
            raise ValueError(f"n_streams must be at most n_rows={n_rows}, got {n_streams}")
        self.n_rows, self.block_rows = int(n_rows), int(block_rows)
        self.blocks_in_buffer, self.random_state = int(blocks_in_buffer), int(random_state)
        self.rank, self.world_size, self.n_streams = int(rank), int(world_size), int(n_streams)
        self.rows_taken = 0

    @property
    def rows_per_pass(self) -> int:
        """Rows of a stream in one pass."""
        return self.n_rows // self.n_streams

    @property
    def n_passes(self) -> float:
        """Passes so far; two and a half are 2.5."""
        return self.rows_taken / self.rows_per_pass

    @property
    def own_streams(self) -> range:
        """Streams that this rank reads."""
        per_rank = self.n_streams // self.world_size
        return range(self.rank * per_rank, (self.rank + 1) * per_rank)

    def rows_per_stream(self, batch_size: int) -> int:
        """Rows that a batch takes from each stream.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, over all ranks.

        Returns
        -------
        int
            ``batch_size / n_streams``.

        Raises
        ------
        ValueError
            If that is no whole number.
        """
        check_integer("batch_size", batch_size, 1)
        if batch_size % self.n_streams:
            raise ValueError(
                f"batch_size must be a multiple of n_streams={self.n_streams} (the number of "
                f"processes, unless set), got {batch_size}"
            )
        return batch_size // self.n_streams

    def state_dict(self) -> dict[str, int]:
        """Integers that the coming batches follow from; they can be written as JSON.

        Returns
        -------
        dict of int
            The same on all ranks.
        """
        return {
            "n_rows": self.n_rows,
            "block_rows": self.block_rows,
            "blocks_in_buffer": self.blocks_in_buffer,
            "random_state": self.random_state,
            "n_streams": self.n_streams,
            "rows_taken": self.rows_taken,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Go on where a state was taken.

        Sizes, seed and number of streams are those of the state from now on. The ranks may be
        another number: as long as it divides the number of streams, the batches (all ranks
        together) are the same.

        Parameters
        ----------
        state : dict of int
            From `state_dict`.

        Raises
        ------
        ValueError
            If the state is of a source with another number of rows, or is none.

        Warns
        -----
        UserWarning
            If the number of ranks does not divide the number of streams. The number of streams is
            kept then, and the order is a new one from here on: in the pass that was begun some
            rows come twice and others not at all.
        """
        names = self.state_dict()
        missing = [name for name in names if not _is_count(state.get(name))]
        if missing:
            raise ValueError(f"state must hold whole numbers {', '.join(names)}; check {missing}")
        if state["n_rows"] != self.n_rows:
            raise ValueError(
                f"state is of a source with {state['n_rows']} rows, but this one has "
                f"{self.n_rows}; resume with the same data or start anew"
            )
        settings = {name: value for name, value in state.items() if name in names}
        rows_taken = settings.pop("rows_taken")
        place = {"rank": self.rank, "world_size": self.world_size}
        if settings["n_streams"] % self.world_size:
            warnings.warn(
                f"the state has {settings['n_streams']} streams, which {self.world_size} processes "
                "cannot share equally: rows come in a new order from here on",
                UserWarning,
                stacklevel=2,
            )
            rows_taken = rows_taken * settings["n_streams"] // self.n_streams
            settings["n_streams"] = self.n_streams
        BlockShuffle.__init__(self, **settings, **place)
        self.rows_taken = rows_taken

    def buffer(self, stream: int, position: int) -> Buffer:
        """Find the buffer that holds a row of a stream.

        Parameters
        ----------
        stream : int
            Number of the stream.
        position : int
            Place of the row in the stream, counted over all passes.

        Returns
        -------
        Buffer
            What to read and how to mix it; rows before `position` count as used.
        """
        pass_number, offset = divmod(position, self.rows_per_pass)
        segments = self._segments(stream, pass_number)
        ends = np.cumsum(segments[:, 1] - segments[:, 0])
        number = int(np.searchsorted(ends, offset, "right")) // self.blocks_in_buffer
        first = number * self.blocks_in_buffer
        begin = int(ends[first - 1]) if first else 0
        segments = segments[first : first + self.blocks_in_buffer]
        n = int((segments[:, 1] - segments[:, 0]).sum())
        order = self._random_order(n, pass_number, 1 + stream, number)
        return Buffer(segments, order, offset - begin)

    def batches(self, batch_size: int, n_batches: int) -> Iterator[np.ndarray]:
        """Row numbers of the coming batches, for rows that are in memory.

        Parameters
        ----------
        batch_size : int
            Rows of a batch, over all ranks.
        n_batches : int
            Number of batches.

        Returns
        -------
        iterator of ndarray of int, shape (batch_size / world_size,)
            The part of this rank. When a batch is handed out, it counts as taken.
        """
        part = self.rows_per_stream(batch_size)
        check_integer("n_batches", n_batches, 0)

        needed = part * n_batches
        streams = [
            (buffer.rows() for buffer in self._buffers(stream, self.rows_taken, needed))
            for stream in self.own_streams
        ]
        return self._counted(streams, part, n_batches)

    def _counted(self, streams: Sequence[Iterable[np.ndarray]], part: int, n_batches: int):
        """Cut and join the buffers of the own streams, and count."""
        cut = [_cut(buffers, part) for buffers in streams]
        for _ in range(n_batches):
            parts = [next(stream) for stream in cut]
            self.rows_taken += part
            if len(parts) == 1:
                yield parts.pop()
            else:
                yield np.concatenate(parts)

    def _buffers(self, stream: int, position: int, n_needed: int) -> Iterator[Buffer]:
        """Buffers that `n_needed` rows from `position` on are in."""
        end = position + n_needed
        while position < end:
            buffer = self.buffer(stream, position)
            yield buffer
            position += len(buffer.order) - buffer.n_used

    def _segments(self, stream: int, pass_number: int) -> np.ndarray:
        """Blocks of a stream in a pass, as first row and the one behind the last (k, 2)."""
        n_blocks = -(-self.n_rows // self.block_rows)
        starts = self._random_order(n_blocks, pass_number, 0, 0) * self.block_rows
        sizes = np.minimum(self.block_rows, self.n_rows - starts)
        # The stream has the places low to high - 1 of the pass; a block at its edge is cut there.
        low = stream * self.rows_per_pass
        high = low + self.rows_per_pass
        ends = np.cumsum(sizes)
        begins = ends - sizes
        own = (ends > low) & (begins < high)
        cut_low = np.maximum(low - begins[own], 0)
        cut_high = np.maximum(ends[own] - high, 0)
        starts, stops = starts[own], starts[own] + sizes[own]
        return np.stack([starts + cut_low, stops - cut_high], axis=1)

    def _random_order(self, n: int, *key: int) -> np.ndarray:
        """Random order of n things that belongs to a key.

        Sorted random bits: NumPy promises the same bits in all versions, but not the same
        permutations.
        """
        bits = np.random.Philox(np.random.SeedSequence(self.random_state, spawn_key=key))
        return np.argsort(bits.random_raw(n))


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _cut(buffers: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut a stream of buffers into pieces of `size` rows.

    No piece that is in use while the next buffer is fetched keeps the last one alive: the last
    piece and the rest of a buffer are copies.
    """
    rest: list[np.ndarray] = []
    for buffer in buffers:
        start = 0
        while sum(map(len, rest)) + len(buffer) - start >= size:
            stop = start + size - sum(map(len, rest))
            if rest:
                rest.append(buffer[start:stop])
                whole = np.concatenate(rest)
                rest.clear()
                yield whole
                del whole
            elif len(buffer) - stop < size:
                yield buffer[start:stop].copy()
            else:
                yield buffer[start:stop]
            start = stop
        if start < len(buffer):
            rest.append(buffer[start:].copy())
        del buffer
