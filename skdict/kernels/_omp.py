"""Orthogonal matching pursuit on the CPU: rows of a batch advance together, one atom a step."""

from __future__ import annotations

import numpy as np

from skdict.kernels import _numba_pursuit as pursuit
from skdict.kernels import _numba_quantized_omp as quantized_omp
from skdict.kernels._residual import encode_omp_without_gram
from skdict.kernels._threads import run_in_parallel
from skdict.kernels._tiles import LINE, aligned_empty, empty_codes, for_each_tile

# Bytes of one batch (correlations and factors of its rows), of one
# row of a block of columns, the rows from which blocks pay, and the size of a Gram matrix that
# stays in the cache anyway.
BATCH_BYTES = 2**28
BLOCK_BYTES = 512
BLOCKED_ROWS = 1024
QUANTIZED_BLOCKED_ROWS = 192
CACHE_BYTES = 2**24


def encode_omp(x, dictionary, gram, intercept, *, n_nonzero_coefs, quantized=None):
    """Orthogonal matching pursuit codes: (values, indices, counts).

    A batch of rows advances together, one atom a step. Where the Gram matrix is larger than a
    cache and the rows are many, it is packed in blocks of columns, so that each step reads it from
    memory once for all rows; otherwise each row reads the rows of the Gram matrix that it
    needs. `quantized` is what `quantize` gives for the Gram matrix.
    """
    if gram is None:
        return encode_omp_without_gram(x, dictionary, intercept, n_nonzero_coefs=n_nonzero_coefs)
    codes = empty_codes(x, n_nonzero_coefs)
    search = _search(dictionary, gram, quantized, x.shape[0])
    row_bytes = 4 * n_nonzero_coefs**2 + gram.shape[0] * x.itemsize
    height = max(1, BATCH_BYTES // row_bytes)
    for start in range(0, x.shape[0], height):
        rows = slice(start, start + height)
        batch = _Batch(x[rows], dictionary, intercept, n_nonzero_coefs, search.blocks)
        batch.advance(dictionary, gram, search)
        pursuit.omp_emit(batch.support, batch.solution, batch.n_support, *(c[rows] for c in codes))
    return codes


class _Batch:
    """Rows that advance together through orthogonal matching pursuit."""

    def __init__(self, x, dictionary, intercept, width, blocks):
        n_rows = x.shape[0]
        self.x = np.empty(x.shape, x.dtype)
        self.initial = aligned_empty((blocks.shape[0], n_rows, blocks.shape[2]), x.dtype)
        for_each_tile(x, intercept, dictionary, self._keep)
        self.support = np.zeros((n_rows, width), np.int64)
        self.coefficients = np.zeros((n_rows, width), x.dtype)
        self.n_support = np.zeros(n_rows, np.int64)
        self.n_subtract = np.where((self.x != 0).any(axis=1), 0, -1)
        self.inverse = np.zeros((n_rows, width * (width + 1) // 2))
        self.forward, self.solution = np.zeros((n_rows, width)), np.zeros((n_rows, width))

    def _keep(self, start, stop, tile, correlations):
        self.x[start:stop] = tile
        pursuit.pack_columns(correlations, self.initial, start, 0, stop - start)

    def advance(self, dictionary, gram, search):
        """Add atoms until all rows are finished."""
        for _ in range(self.support.shape[1]):
            best_atom = search.best_atoms(self)

            def refit(first, last, best_atom=best_atom):
                pursuit.omp_refit(
                    first, last, self.x, dictionary, gram, best_atom, self.initial, self.support,
                    self.coefficients, self.n_support, self.n_subtract, self.inverse, self.forward,
                    self.solution,
                )  # fmt: skip

            run_in_parallel(refit, self.x.shape[0], grain=8)
            if (self.n_subtract < 0).all():
                break


def _search(dictionary, gram, quantized, n_rows):
    """How the best atoms of a batch are found."""
    many = gram.nbytes > CACHE_BYTES
    if quantized is None:
        blocked = many and n_rows >= BLOCKED_ROWS
        return _Search(_column_blocks(gram, BLOCK_BYTES) if blocked else gram[None])
    blocked = many and n_rows >= QUANTIZED_BLOCKED_ROWS
    blocks = _column_blocks(quantized.integers, LINE) if blocked else quantized.integers[None]
    return _QuantizedSearch(blocks, dictionary, quantized)


class _Search:
    """Search with the Gram matrix itself, in blocks of columns (n_blocks, M, width)."""

    def __init__(self, blocks):
        self.blocks = blocks

    def best_atoms(self, batch):
        """Atom with the largest absolute correlation of every row; of equal ones the lowest."""
        n_rows = batch.x.shape[0]
        best, atom = np.zeros(n_rows, self.blocks.dtype), np.full(n_rows, -1)
        state = (
            self.blocks, batch.initial, batch.support, batch.coefficients, batch.n_subtract
        )  # fmt: skip
        if self.blocks.shape[0] == 1:
            run_in_parallel(
                lambda first, last: pursuit.omp_scan(0, 1, first, last, *state, best, atom), n_rows
            )
            return atom
        found = []

        def scan(first, last):
            part = np.zeros(n_rows, self.blocks.dtype), np.full(n_rows, -1)
            pursuit.omp_scan(first, last, 0, n_rows, *state, *part)
            found.append((first, *part))

        run_in_parallel(scan, self.blocks.shape[0])
        for _, other, other_atom in sorted(found, key=lambda part: part[0]):
            better = other > best
            best = np.where(better, other, best)
            atom = np.where(better, other_atom, atom)
        return atom


class _QuantizedSearch:
    """Search with the quantized Gram matrix, where exact correlations decide what it cannot."""

    def __init__(self, blocks, dictionary, quantized):
        self.blocks, self.dictionary, self.quantized = blocks, dictionary, quantized

    def best_atoms(self, batch):
        """Atom with the largest absolute correlation of every row; of equal ones the lowest."""
        n_rows = batch.x.shape[0]
        step = self.quantized.step
        state = (
            batch.initial,
            batch.support.astype(np.int32),
            -batch.coefficients * step[batch.support],
            batch.n_subtract,
        )
        scan = self._scan_rows if self.blocks.shape[0] == 1 else self._scan_blocks
        kept = scan(state, n_rows)
        best_atom = np.full(n_rows, -1)

        def choose(first, last):
            quantized_omp.omp_choose(
                first, last, batch.x, self.dictionary, self.quantized.longest, step,
                batch.support, batch.solution, batch.n_support, batch.n_subtract, *kept, best_atom,
            )  # fmt: skip

        run_in_parallel(choose, n_rows, grain=8)
        return best_atom

    def _scan_rows(self, state, n_rows):
        kept = _nothing_kept(n_rows)
        run_in_parallel(
            lambda first, last: quantized_omp.omp_scan_rows(
                first, last, self.blocks[0], *state, *kept
            ),
            n_rows,
        )
        return kept

    def _scan_blocks(self, state, n_rows):
        found = []

        def scan(first, last):
            part = _nothing_kept(n_rows)
            quantized_omp.omp_scan_blocks(first, last, self.blocks, *state, *part)
            found.append((first, *part))

        run_in_parallel(scan, self.blocks.shape[0])
        (_, *kept), *others = sorted(found, key=lambda part: part[0])
        for _, *other in others:
            quantized_omp.merge_kept(*kept, *other)
        return kept


def _nothing_kept(n_rows):
    kept = n_rows, quantized_omp.KEPT
    return np.zeros(kept, np.float32), np.full(kept, -1)


def _column_blocks(matrix, n_bytes):
    """Matrix as contiguous blocks of columns, (n_blocks, n_rows, width)."""
    n_rows, n_columns = matrix.shape
    width = n_bytes // matrix.itemsize
    blocks = aligned_empty((-(-n_columns // width), n_rows, width), matrix.dtype)
    run_in_parallel(
        lambda first, last: pursuit.pack_columns(matrix, blocks, 0, first, last), n_rows, grain=64
    )
    return blocks
