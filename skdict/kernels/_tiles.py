"""Tiles of rows: one BLAS product per tile, on one thread, then whatever consumes it.

A row's result must not depend on the rows around it. BLAS rounds differently for another shape,
so products run on tiles of fixed size, the last one padded with zero rows, each on one thread.

Nor must it depend on the place of the row in its tile. BLAS takes rows in groups, and a group that
is not full may be summed in another order, so that its rows differ in the last bit: the height of
every tile has to be a number of full groups. In OpenBLAS they have 24 rows with AVX-512, and 12, 8
or 4 with other instructions.
"""

from __future__ import annotations

import numpy as np

from skdict.kernels._threads import run_in_parallel

# Rows of one product, full groups of BLAS (see above). Packing the dictionary costs BLAS M d moves
# a tile: 240 rows hide it.
TILE_ROWS = 240
FEW_TILE_ROWS = 72

# Bytes of a cache line: where vectors are read at random, none should lie across two lines.
LINE = 64


def tile_rows(n_atoms: int) -> int:
    """Rows of a tile; depends on the number of atoms only."""
    # Below this the whole product is so small that padding would dominate for few rows.
    return TILE_ROWS if n_atoms >= 512 else FEW_TILE_ROWS


def aligned_empty(shape, dtype):
    """Empty array that begins with a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(n_bytes + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def for_each_tile(x, intercept, dictionary, consume, *, width=None, filling=0.0):
    """Call consume(start, stop, centred tile, correlations) for all tiles, in parallel.

    The correlations are padded with `filling` to `width` columns.
    """
    n_rows, n_features = x.shape
    n_atoms = dictionary.shape[0]
    height = tile_rows(n_atoms)
    n_tiles = -(-n_rows // height)

    def work(first, last):
        tile = np.zeros((height, n_features), x.dtype)
        padded = aligned_empty((height, width or n_atoms), x.dtype)
        correlations = padded[:, :n_atoms]
        padded[:, n_atoms:] = filling
        for t in range(first, last):
            start = t * height
            stop = min(start + height, n_rows)
            used = stop - start
            np.subtract(x[start:stop], intercept, out=tile[:used])
            tile[used:] = 0
            # The caller refuses codes that are not finite, with better advice than a warning.
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(tile, dictionary.T, out=correlations)
            consume(start, stop, tile[:used], padded[:used])

    run_in_parallel(work, n_tiles)


def empty_codes(x, width):
    n_rows = x.shape[0]
    return (
        np.empty((n_rows, width), x.dtype),
        np.empty((n_rows, width), np.int32),
        np.zeros(n_rows, np.int32),
    )
