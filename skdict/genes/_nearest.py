"""Distances of a few cells to all others, in blocks of both."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

METRICS = ("euclidean", "cosine")

# Float64 values of the distances, and of the cells, that are held at a time.
_DISTANCE_VALUES = 1 << 23
_CELL_VALUES = 1 << 22


class Distances:
    """Distances between cells in embedding space.

    Parameters
    ----------
    embeddings : ndarray, shape (n_cells, n_features)
        Checked embeddings; a memory map is read in blocks.
    metric : {"euclidean", "cosine"}
        Euclidean distance, or one minus the cosine.

    Raises
    ------
    ValueError
        When a row of zeros is met, which has no cosine.
    """

    def __init__(self, embeddings, metric: str):
        self.embeddings, self.metric = embeddings, metric
        self.n_cells, self.n_features = embeddings.shape
        # A common offset costs digits in the expanded square; distances do not see it.
        self._origin = np.zeros(self.n_features)
        if metric == "euclidean":
            total = np.zeros(self.n_features)
            for start in range(0, self.n_cells, self._width):
                total += embeddings[start : start + self._width].sum(axis=0, dtype=np.float64)
            self._origin = total / self.n_cells

    @property
    def _width(self) -> int:
        return max(1, _CELL_VALUES // self.n_features)

    def _rows(self, cells) -> np.ndarray:
        """Centred or unit rows of some cells (an index or a slice), in float64."""
        rows = np.asarray(self.embeddings[cells], dtype=np.float64) - self._origin
        if self.metric == "cosine":
            length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
            if not length.all():
                raise ValueError(
                    "embeddings hold a row of zeros, which has no cosine: leave the cell out, or "
                    'use metric="euclidean"'
                )
            rows /= length
        return rows

    def blocks(self, cells) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield slices of `cells` and their distances to all cells, up to rounding.

        Parameters
        ----------
        cells : ndarray of int, shape (n_taken,)
            The cells.

        Yields
        ------
        taken : slice
            Places in `cells`.
        distances : ndarray, shape (n_block, n_cells)
            Distances that order the cells; a pair that matters is measured again by `between`.
        """
        height = max(1, _DISTANCE_VALUES // self.n_cells)
        for first in range(0, len(cells), height):
            taken = slice(first, min(first + height, len(cells)))
            rows = self._rows(cells[taken])
            squares = np.einsum("ij,ij->i", rows, rows)[:, None]
            distances = np.empty((rows.shape[0], self.n_cells))
            for start in range(0, self.n_cells, self._width):
                others = self._rows(slice(start, start + self._width))
                block = rows @ others.T
                block *= -2
                block += squares
                block += np.einsum("ij,ij->i", others, others)
                distances[:, start : start + self._width] = block
            yield taken, self._finished(np.maximum(distances, 0, out=distances))

    def between(self, cell: int, others) -> np.ndarray:
        """Distances of one cell to some others, by their difference."""
        difference = self._rows(np.asarray(others)) - self._rows([cell])
        return self._finished(np.einsum("ij,ij->i", difference, difference))

    def _finished(self, squares) -> np.ndarray:
        """Distances from squared Euclidean ones; of unit rows, half the square is 1 - cosine."""
        return np.sqrt(squares) if self.metric == "euclidean" else squares / 2
