"""Where `fit` takes its batches from: rows in memory, or a source that is read in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skdict._block_shuffle import BlockShuffle
from skdict._checkpoints import digest_of_rows
from skdict._large_rows import LargeRows
from skdict._read_ahead import stream_batches
from skdict._sources import block_layout, sample_rows


class RowOrder:
    """Rows of the batches of a fit: passes in random order, every batch full.

    The rows left at the end of a pass open the next one, so that none is used less often.

    Parameters
    ----------
    n_samples, batch_size : int
        Rows in all and in a batch.
    rng : RandomState
        Draws the order of each pass.
    order : ndarray of int or None, default=None
        Rows that are still to come from a pass that was begun before.
    n_taken : int, default=0
        Batches that were taken before.
    """

    def __init__(self, n_samples, batch_size, rng, order=None, n_taken=0):
        self.n_samples, self.batch_size = n_samples, batch_size
        self._rng = rng
        self._order = np.empty(0, np.int64) if order is None else order
        # batches taken in all, and those taken before the current order was made
        self._n_taken = self._n_before = n_taken

    def batches(self, n_batches) -> Iterator[np.ndarray | None]:
        """Yield the rows of so many batches.

        None comes before each draw of a random order: who reads ahead waits there, as resets draw
        from the same generator.
        """
        for _ in range(n_batches):
            rows = self.remaining(self._n_taken)
            if rows.size < self.batch_size:
                yield None
                self._order = np.concatenate([rows, self._rng.permutation(self.n_samples)])
                self._n_before = self._n_taken
                rows = self._order
            self._n_taken += 1
            yield rows[: self.batch_size]

    def remaining(self, n_taken) -> np.ndarray:
        """Rows of the current order that come after so many batches in all."""
        return self._order[(n_taken - self._n_before) * self.batch_size :]


class BatchesInMemory:
    """Batches of an array, rows in random order.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_features)
        The rows.
    batch_size : int
        Rows of a batch.
    ranks : OneProcess
        Processes that share each batch; all draw the same order.
    """

    def __init__(self, X, batch_size, ranks):
        self._X, self.shape, self.batch_size = X, X.shape, batch_size
        self._ranks, self._order = ranks, None

    def sample(self, n_rows, rng):
        """Rows that set the scale and the start."""
        rows = np.arange(self._X.shape[0])
        if rows.size > n_rows:
            rows = np.sort(rng.choice(rows.size, n_rows, replace=False))
        return np.ascontiguousarray(self._X[rows])

    def begin(self, rng):
        """Start the order; called after the sample was drawn."""
        self._order = RowOrder(self._X.shape[0], self.batch_size, rng)

    def batches(self, state, n_batches):
        """So many batches on the device of the state, in its units."""
        rows = (
            None if rows is None else self._ranks.part(rows)
            for rows in self._order.batches(n_batches)
        )  # fmt: skip
        return state.kernels.stream(self._X, rows, state.scale, state.device)

    def saved(self, n_taken):
        """What a checkpoint has to know: arrays and values."""
        return {"order": self._order.remaining(n_taken)}, {}

    def restore(self, arrays, values, n_taken, rng):
        """Go on where a checkpoint was."""
        order = arrays["order"]
        self._order = RowOrder(self._X.shape[0], self.batch_size, rng, order, n_taken)


class BatchesStreamed:
    """Batches of a source: blocks in random order, some of them mixed, the next ones read ahead.

    Parameters
    ----------
    rows : LargeRows
        The rows.
    batch_size : int
        Rows of a batch.
    ranks : OneProcess
        Processes that share each batch; each reads blocks of its own.
    """

    def __init__(self, rows: LargeRows, batch_size, ranks):
        self._rows, self.shape, self.batch_size = rows, rows.shape, batch_size
        self._ranks, self._shuffle = ranks, None

    def sample(self, n_rows, rng):
        """Rows that set the scale and the start."""
        seed = int(rng.randint(np.iinfo(np.int32).max))
        return sample_rows(self._rows.source, n_rows, seed, name=self._rows.name)

    def begin(self, rng):
        """Start the order; called after the sample was drawn."""
        block_rows, blocks_in_buffer = block_layout(self._rows.source)
        self._shuffle = BlockShuffle(
            self._rows.shape[0], block_rows=block_rows, blocks_in_buffer=blocks_in_buffer,
            random_state=int(rng.randint(np.iinfo(np.int32).max)),
            rank=self._ranks.rank, world_size=self._ranks.n_ranks,
        )  # fmt: skip

    def batches(self, state, n_batches):
        """So many batches on the device of the state, in its units."""
        batches = stream_batches(
            self._rows.source, self._shuffle, self.batch_size, n_batches,
            dtype=self._rows.dtype, name=self._rows.name,
        )  # fmt: skip
        for batch in batches:
            scaled = np.divide(batch, batch.dtype.type(state.scale), order="C")
            yield state.kernels.to_device(scaled, state.device)

    def saved(self, n_taken):
        """What a checkpoint has to know: arrays and values."""
        return {}, {"shuffle": self._shuffle.state_dict()}

    def restore(self, arrays, values, n_taken, rng):
        """Go on where a checkpoint was."""
        self._shuffle.restore(values["shuffle"])


def batches_of(X, batch_size, ranks):
    """Batches of an array or of :class:`LargeRows`, the part of one process."""
    kind = BatchesStreamed if isinstance(X, LargeRows) else BatchesInMemory
    return kind(X, batch_size, ranks)


def spread_rows(X, n_places=64):
    """Rows of 16 from so many places, the first and the last among them."""
    starts = np.linspace(0, max(0, X.shape[0] - 16), n_places).astype(np.int64)
    return np.concatenate([X[start : start + 16] for start in np.unique(starts)])


def fingerprint_of(X):
    """What identifies the data of a fit: shape, type, and a digest of some rows.

    Of rows that are read from a source only those at both ends are looked at: reading single rows
    from all over it may mean reading all of it.
    """
    rows = spread_rows(X, 2 if isinstance(X, LargeRows) else 64)
    return {"shape": list(X.shape), "dtype": str(X.dtype), "digest": digest_of_rows(rows)}
