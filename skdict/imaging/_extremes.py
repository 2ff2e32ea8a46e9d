"""The largest or smallest values of many rows, found block by block."""

from __future__ import annotations

import numpy as np


class Extremes:
    """Running list of the `n` most extreme values of each row.

    Values come in blocks of columns. Of equal values the one that came first stays, so the
    result is that of one stable sort over all of them.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    n : int
        Length of the lists.
    sign : {1, -1}
        1 keeps the largest values, -1 the smallest.
    max_per_group : int or None, default=None
        Values of one group of columns that a list may hold.
    max_per_block : int or None, default=None
        Values of one block that a list may hold.
    """

    def __init__(self, n_rows: int, n: int, sign: int, *, max_per_group=None, max_per_block=None):
        self.n, self.sign = n, sign
        self.max_per_group = max_per_group
        self.max_per_block = n if max_per_block is None else min(n, max_per_block)
        # Signed values: the best is always the largest.
        self._best = np.full((n_rows, n), -np.inf)
        self._group = np.full((n_rows, n), -1, dtype=np.int64)
        self.index = np.full((n_rows, n), -1, dtype=np.int64)

    def values(self) -> np.ndarray:
        """The values themselves, shape (n_rows, n)."""
        return self.sign * self._best

    def add(self, rows: slice, scores: np.ndarray, index: np.ndarray, group=None) -> None:
        """Take in one block.

        Parameters
        ----------
        rows : slice
            The rows that it belongs to.
        scores : ndarray, shape (n_rows_of_slice, n_columns)
            The values.
        index : ndarray of int, shape (n_columns,)
            Numbers of the columns, larger than those of the blocks before.
        group : ndarray of int, shape (n_columns,), or None, default=None
            Groups of the columns.
        """
        extreme = scores.max(axis=1) if self.sign > 0 else -scores.min(axis=1)
        # A list that is full changes only for something larger than its last.
        changing = np.flatnonzero(extreme > self._best[rows, -1])
        if not changing.size:
            return
        picked, column = self._pick(self.sign * scores[changing], group)
        changing += rows.start
        best = np.concatenate([self._best[changing], picked], axis=1)
        number = np.concatenate([self.index[changing], index[column]], axis=1)
        of = np.full(column.shape, -1) if group is None else group[column]
        groups = np.concatenate([self._group[changing], of], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")
        best, number, groups = (np.take_along_axis(a, order, 1) for a in (best, number, groups))
        if self.max_per_group is not None:
            best[self._too_many(groups, best)] = -np.inf
            order = np.argsort(-best, axis=1, kind="stable")
            best, number, groups = (np.take_along_axis(a, order, 1) for a in (best, number, groups))
        self._best[changing] = best[:, : self.n]
        self.index[changing] = number[:, : self.n]
        self._group[changing] = groups[:, : self.n]

    def _pick(self, scores: np.ndarray, group) -> tuple[np.ndarray, np.ndarray]:
        """The best columns of one block, one after the other; `scores` is used up."""
        n_picks = min(self.max_per_block, scores.shape[1])
        row = np.arange(len(scores))
        column = np.empty((len(scores), n_picks), dtype=np.int64)
        picked = np.empty((len(scores), n_picks))
        for i in range(n_picks):
            column[:, i] = scores.argmax(axis=1)
            picked[:, i] = scores[row, column[:, i]]
            scores[row, column[:, i]] = -np.inf
            if self.max_per_group is not None:
                mine = group[column[:, i]]
                there = np.count_nonzero(group[column[:, : i + 1]] == mine[:, None], axis=1)
                full = np.flatnonzero(there >= self.max_per_group)
                scores[full] = np.where(group == mine[full, None], -np.inf, scores[full])
        return picked, column

    def _too_many(self, groups: np.ndarray, best: np.ndarray) -> np.ndarray:
        """Entries of sorted lists whose group has as many as it may before them."""
        too_many = np.zeros(groups.shape, dtype=bool)
        for i in range(self.max_per_group, groups.shape[1]):
            before = np.count_nonzero(groups[:, :i] == groups[:, i, None], axis=1)
            too_many[:, i] = before >= self.max_per_group
        return too_many & np.isfinite(best)
