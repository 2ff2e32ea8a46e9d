"""Pursuit without the Gram matrix of the atoms, for dictionaries whose M^2 would not fit.

Instead of updating correlations with rows of the Gram matrix, each step multiplies the residuals
of a tile of rows with the dictionary, a block of atoms after the other. What a thread holds
does not grow with the number of atoms; the work does, M d a row and step instead of M.

A row's result must not depend on the rows around it: tiles have a fixed height, the last one is
padded with zero rows, and each product runs on one thread (see `_cpu`).
"""

from __future__ import annotations

import numpy as np

from skdict.kernels import _numba_residual as residuals
from skdict.kernels._threads import run_in_parallel

# Rows of a product, the most first; each is a number of full groups of BLAS, or one group of a size
# of its own, so that the place of a row in its tile makes no difference (see `_tiles`). Taller
# tiles are a few percent faster, but every step pays for the padding: one row costs as much as a
# tile.
TILE_ROWS = (72, 48, 24, 12, 8, 4, 2, 1)

# Atoms of a product: 72 x 2,048 correlations stay in the cache until the best ones are found.
BLOCK_ATOMS = 2048

# Orthogonal matching pursuit: most bytes that the Cholesky factors of a tile take.
OMP_FACTOR_BYTES = 2**25


def encode_icfl_without_gram(
    x, dictionary, intercept, *, n_nonzero_coefs, atoms_per_step, absolute=False, refit=False
):
    """ICFL codes of the rows: (values, indices, counts) of fixed width n_nonzero_coefs."""
    n_block = min(atoms_per_step, n_nonzero_coefs)

    def pursue(tile, current, scratch, residual, limit, active, *codes):
        for used in range(0, n_nonzero_coefs, n_block):
            n_new = min(n_block, n_nonzero_coefs - used)
            best = _best_atoms(current, dictionary, n_new, absolute, active, scratch)
            is_last = used + n_new == n_nonzero_coefs
            if not residuals.icfl_step(
                dictionary, *best, limit, is_last, residual, current, active, *codes
            ):
                break
        if refit:
            support, coefficients, n_support = codes
            residuals.refit_rows(tile, dictionary, support, n_support, coefficients)

    return _encode_tiles(x, dictionary, intercept, n_nonzero_coefs, TILE_ROWS[0], pursue)


def encode_omp_without_gram(x, dictionary, intercept, *, n_nonzero_coefs):
    """Orthogonal matching pursuit codes: (values, indices, counts)."""

    def pursue(tile, current, scratch, residual, limit, active, *codes):
        n_rows = tile.shape[0]
        factor = np.empty((n_rows, n_nonzero_coefs, n_nonzero_coefs))
        forward = np.empty((n_rows, n_nonzero_coefs))
        for _ in range(n_nonzero_coefs):
            best = _best_atoms(current, dictionary, 1, True, active, scratch)
            if not residuals.omp_step(
                tile, dictionary, *best, limit, residual, current, active, *codes, factor, forward
            ):
                break

    allowed = max(1, OMP_FACTOR_BYTES // (8 * n_nonzero_coefs**2))
    height = next(height for height in TILE_ROWS if height <= allowed)
    return _encode_tiles(x, dictionary, intercept, n_nonzero_coefs, height, pursue)


def _encode_tiles(x, dictionary, intercept, width, height, pursue):
    """Let `pursue` fill the supports of each tile, in parallel, and write the codes."""
    n_rows, n_features = x.shape
    values = np.empty((n_rows, width), x.dtype)
    indices = np.empty((n_rows, width), np.int32)
    counts = np.zeros(n_rows, np.int32)

    def work(first, last):
        scratch = np.empty(height * min(BLOCK_ATOMS, dictionary.shape[0]), x.dtype)
        current = np.empty((height, n_features), x.dtype)
        for start in range(first * height, min(last * height, n_rows), height):
            rows = slice(start, min(start + height, n_rows))
            tile = x[rows] - intercept
            n_used = tile.shape[0]
            current[:n_used], current[n_used:] = tile, 0
            residual, limit = np.empty((n_used, n_features)), np.empty(n_used)
            active = np.empty(n_used, np.bool_)
            support = np.empty((n_used, width), np.int64)
            codes = support, np.empty((n_used, width)), np.empty(n_used, np.int64)
            residuals.start_rows(tile, residual, limit, active, *codes)
            if active.any():
                pursue(tile, current, scratch, residual, limit, active, *codes)
            residuals.emit_rows(*codes, values[rows], indices[rows], counts[rows])

    run_in_parallel(work, -(-n_rows // height))
    return values, indices, counts


def _best_atoms(current, dictionary, n_best, absolute, active, scratch):
    """Largest (absolute) correlations of the residuals, best first, and their atoms."""
    best = np.full((active.size, n_best), -np.inf, current.dtype)
    best_atom = np.zeros((active.size, n_best), np.int64)
    for first in range(0, dictionary.shape[0], BLOCK_ATOMS):
        block = dictionary[first : first + BLOCK_ATOMS]
        shape = current.shape[0], block.shape[0]
        correlations = scratch[: shape[0] * shape[1]].reshape(shape)
        # The caller refuses codes that are not finite, with better advice than a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(current, block.T, out=correlations)
        residuals.keep_largest(correlations, first, active, absolute, best, best_atom)
    return best, best_atom


def similar_atoms(dictionary, atoms, norms, threshold):
    """Which atoms have a cosine above `threshold` with some given ones: bool (atoms.size, M).

    `norms` are the lengths of all atoms. Inner products are held for a block of columns only.
    """
    n_atoms = dictionary.shape[0]
    rows = dictionary[atoms]
    bounds = (threshold * norms[atoms, None]).astype(dictionary.dtype)
    similar = np.empty((atoms.size, n_atoms), np.bool_)

    def work(first, last):
        for start in range(first * BLOCK_ATOMS, min(last * BLOCK_ATOMS, n_atoms), BLOCK_ATOMS):
            columns = slice(start, start + BLOCK_ATOMS)
            products = rows @ dictionary[columns].T
            np.greater(products, bounds * norms[columns], out=similar[:, columns])

    run_in_parallel(work, -(-n_atoms // BLOCK_ATOMS))
    return similar
