"""Rows that are read block by block: row sources, and arrays too large to be looked through."""

from __future__ import annotations

import numpy as np

from skdict._sources import check_finite_rows, check_row_source, is_row_source, read_rows
from skdict._validation import host_array

# Data of up to so many bytes are taken as a whole, wherever they come from, and learned from in
# random order row by row; larger ones are read in blocks. Decided by size alone, so that a memory
# map, a zarr array and an array in memory with the same rows give the same dictionary.
LARGE_BYTES = 2**30


class LargeRows:
    """Rows of a source as they are asked for, each range checked when it is read.

    Parameters
    ----------
    source : object
        A row source or a NumPy array.
    name : str, default="X"
        Its name, for errors.
    """

    def __init__(self, source, name: str = "X"):
        self.source, self.name = source, name
        n_rows, n_features, self.dtype = check_row_source(source, name=name)
        self.shape = n_rows, n_features

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        block = read_rows(self.source, start, stop, self.dtype, name=self.name)
        check_finite_rows(block, start, self.name)
        return block

    def example(self) -> np.ndarray:
        """One row of zeros: what scikit-learn's validation can look at instead."""
        return np.zeros((1, self.shape[1]), self.dtype)


def rows_of(X, name: str = "X"):
    """X as an array in memory, or as :class:`LargeRows` where it is larger than ``LARGE_BYTES``.

    Parameters
    ----------
    X : array-like or row source
        What a user passed.
    name : str, default="X"
        Its name, for errors.
    """
    is_source = is_row_source(X)
    if not is_source and not (isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub"):
        return host_array(X, name=name)
    if is_source:
        n_rows, n_features, dtype = check_row_source(X, name=name)
    else:
        (n_rows, n_features), dtype = X.shape, X.dtype
    if n_rows * n_features * dtype.itemsize > LARGE_BYTES:
        return LargeRows(X, name)
    return read_rows(X, 0, n_rows, name=name) if is_source else X
