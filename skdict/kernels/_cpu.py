"""The CPU backend: tiles of rows, one BLAS product per tile, then a compiled kernel.

Every function takes valid C-contiguous arrays of one floating-point type, never validates,
never draws random numbers and knows no estimator.

A row's result must not depend on the rows around it. BLAS rounds differently for another shape,
so products run on tiles of fixed size, the last one padded with zero rows, each on one thread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdict.kernels import _numba_learning as learning
from skdict.kernels import _numba_pursuit as pursuit
from skdict.kernels import _numba_quantized as quantized_pursuit
from skdict.kernels import _numba_quantized_omp as quantized_omp
from skdict.kernels import _numba_sae as sae
from skdict.kernels._residual import encode_icfl_without_gram, encode_omp_without_gram
from skdict.kernels._residual import similar_atoms as similar_atoms  # part of the contract
from skdict.kernels._threads import run_in_parallel

# Rows of one product. Packing the dictionary costs BLAS M d moves a tile: 256 rows hide it.
TILE_ROWS = 256

# Orthogonal matching pursuit: bytes of one batch (correlations and factors of its rows), of one
# row of a block of columns, the rows from which blocks pay, and the size of a Gram matrix that
# stays in the cache anyway.
OMP_BATCH_BYTES = 2**28
OMP_BLOCK_BYTES = 512
OMP_BLOCKED_ROWS = 1024
OMP_QUANTIZED_BLOCKED_ROWS = 192
CACHE_BYTES = 2**24


# Atoms, and atoms per feature, from which pursuit of float32 rows reads a quantized Gram matrix.
QUANTIZED_ATOMS = 1024
QUANTIZED_ATOMS_PER_FEATURE = 3

# Bytes of a cache line: where vectors are read at random, none should lie across two lines.
LINE = 64


class QuantizedGram(NamedTuple):
    """Gram matrix as 16-bit integers: gram[i, j] = step[i] (integers[i, j] +- 1/2)."""

    integers: np.ndarray  # (M, M padded) int16
    step: np.ndarray  # (M,)
    longest: np.float32  # length of the longest atom
    dictionary: np.ndarray  # (M, d padded), the atoms


def tile_rows(n_atoms: int) -> int:
    """Rows of a tile; depends on the number of atoms only."""
    # Below this the whole product is so small that padding would dominate for few rows.
    return TILE_ROWS if n_atoms >= 512 else 64


def _aligned_empty(shape, dtype):
    """Empty array that begins with a cache line."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(n_bytes + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def _for_each_tile(x, intercept, dictionary, consume, *, width=None, filling=0.0):
    """Call consume(start, stop, centred tile, correlations) for all tiles, in parallel.

    The correlations are padded with `filling` to `width` columns.
    """
    n_rows, n_features = x.shape
    n_atoms = dictionary.shape[0]
    height = tile_rows(n_atoms)
    n_tiles = -(-n_rows // height)

    def work(first, last):
        tile = np.zeros((height, n_features), x.dtype)
        padded = _aligned_empty((height, width or n_atoms), x.dtype)
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


def gram_matrix(dictionary):
    """Gram matrix of the atoms, D D^T (M, M), exactly symmetric.

    Only the tiles on and above the diagonal are multiplied; the others are mirrored.
    """
    n_atoms, n_features = dictionary.shape
    gram = np.empty((n_atoms, n_atoms), dictionary.dtype)
    height = tile_rows(n_atoms)
    n_tiles = -(-n_atoms // height)
    padded = np.zeros((n_tiles * height, n_features), dictionary.dtype)
    padded[:n_atoms] = dictionary

    # A long tile and a short one by turns, so that all ranges take equally long.
    order = [t for pair in zip(range(n_tiles), reversed(range(n_tiles))) for t in pair][:n_tiles]

    def work(first, last):
        scratch = np.empty(height * padded.shape[0], dictionary.dtype)
        for t in order[first:last]:
            start, stop = t * height, min((t + 1) * height, n_atoms)
            width = padded.shape[0] - start
            block = scratch[: height * width].reshape(height, width)
            np.matmul(padded[start : start + height], padded[start:].T, out=block)
            gram[start:stop, start:] = block[: stop - start, : n_atoms - start]

    def mirror(first, last):
        for t in order[first:last]:
            pursuit.mirror_rows(gram, t * height, min((t + 1) * height, n_atoms))

    run_in_parallel(work, n_tiles)
    run_in_parallel(mirror, n_tiles)
    return gram


def quantize(dictionary, gram) -> QuantizedGram | None:
    """Gram matrix of half the size for the search of atoms; None where it would not pay."""
    n_atoms, n_features = dictionary.shape
    if gram.dtype != np.float32 or n_atoms < max(
        QUANTIZED_ATOMS, QUANTIZED_ATOMS_PER_FEATURE * n_features
    ):
        return None
    lengths = np.sqrt(np.diag(gram), dtype=np.float32)
    longest = lengths.max(initial=0)
    # No inner product is larger than the product of the lengths (but for rounding).
    step = np.maximum(lengths * longest / np.float32(32766), np.finfo(np.float32).tiny)
    lanes = quantized_pursuit.LANES
    integers = _aligned_empty((n_atoms, -(-n_atoms // lanes) * lanes), np.int16)
    run_in_parallel(
        lambda first, last: quantized_pursuit.quantize_rows(first, last, gram, step, integers),
        n_atoms,
        grain=64,
    )
    padding = -n_features % quantized_pursuit.FEATURE_LANES
    if padding:
        dictionary = np.pad(dictionary, ((0, 0), (0, padding)))
    return QuantizedGram(integers, step, longest, dictionary)


def encode_icfl(
    x,
    dictionary,
    gram,
    intercept,
    *,
    n_nonzero_coefs,
    atoms_per_step,
    absolute=False,
    refit=False,
    quantized=None,
):
    """ICFL codes of the rows: (values, indices, counts) of fixed width n_nonzero_coefs.

    `quantized` is what `quantize` gives for the Gram matrix.
    """
    if gram is None:
        return encode_icfl_without_gram(
            x,
            dictionary,
            intercept,
            n_nonzero_coefs=n_nonzero_coefs,
            atoms_per_step=atoms_per_step,
            absolute=absolute,
            refit=refit,
        )
    codes = _empty_codes(x, n_nonzero_coefs)
    if quantized is not None:
        _encode_icfl_quantized(
            x, dictionary, gram, intercept, quantized, n_nonzero_coefs, atoms_per_step, absolute,
            refit, codes,
        )  # fmt: skip
        return codes

    def consume(start, stop, tile, correlations):
        pursuit.icfl_tile(
            tile,
            correlations,
            dictionary,
            gram,
            n_nonzero_coefs,
            atoms_per_step,
            absolute,
            refit,
            *(array[start:stop] for array in codes),
        )

    _for_each_tile(x, intercept, dictionary, consume)
    return codes


def _encode_icfl_quantized(
    x, dictionary, gram, intercept, quantized, n_nonzero_coefs, atoms_per_step, absolute, refit,
    codes,
):  # fmt: skip
    searched = quantized_pursuit.LANES * quantized_pursuit.GATHERED

    def consume(start, stop, tile, correlations):
        part = [array[start:stop] for array in codes]
        quantized_pursuit.icfl_tile_quantized(
            tile,
            correlations,
            quantized.dictionary,
            gram,
            quantized.integers,
            quantized.step,
            quantized.longest,
            n_nonzero_coefs,
            atoms_per_step,
            absolute,
            *part,
        )
        if refit:
            pursuit.refit_tile(tile, dictionary, gram, *part)

    _for_each_tile(
        x,
        intercept,
        dictionary,
        consume,
        width=-(-dictionary.shape[0] // searched) * searched,
        filling=0.0 if absolute else -np.inf,
    )


def encode_omp(x, dictionary, gram, intercept, *, n_nonzero_coefs, quantized=None):
    """Orthogonal matching pursuit codes: (values, indices, counts).

    A batch of rows advances together, one atom a step. Where the Gram matrix is larger than a
    cache and the rows are many, it is packed in blocks of columns, so that each step reads it from
    memory once for all rows; otherwise each row reads the rows of the Gram matrix that it
    needs. `quantized` is what `quantize` gives for the Gram matrix.
    """
    if gram is None:
        return encode_omp_without_gram(x, dictionary, intercept, n_nonzero_coefs=n_nonzero_coefs)
    codes = _empty_codes(x, n_nonzero_coefs)
    search = _search(dictionary, gram, quantized, x.shape[0])
    row_bytes = 4 * n_nonzero_coefs**2 + gram.shape[0] * x.itemsize
    height = max(1, OMP_BATCH_BYTES // row_bytes)
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
        self.initial = _aligned_empty((blocks.shape[0], n_rows, blocks.shape[2]), x.dtype)
        _for_each_tile(x, intercept, dictionary, self._keep)
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
        blocked = many and n_rows >= OMP_BLOCKED_ROWS
        return _Search(_column_blocks(gram, OMP_BLOCK_BYTES) if blocked else gram[None])
    blocked = many and n_rows >= OMP_QUANTIZED_BLOCKED_ROWS
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
    blocks = _aligned_empty((-(-n_columns // width), n_rows, width), matrix.dtype)
    run_in_parallel(
        lambda first, last: pursuit.pack_columns(matrix, blocks, 0, first, last), n_rows, grain=64
    )
    return blocks


def encode_topk(x, encoder, encoder_bias, intercept, *, n_nonzero_coefs, candidates=None):
    """ReLU(TopK(W_enc (x - b_pre) + b_enc)): (values, indices, counts).

    `candidates` are the features that may be chosen (all by default). A list of candidate sets
    gives a list of codes from one product.
    """
    several = isinstance(candidates, list)
    sets = candidates if several else [candidates]
    sets = [np.arange(encoder.shape[0]) if c is None else c for c in sets]
    widths = n_nonzero_coefs if several else [n_nonzero_coefs]
    outputs = [_empty_codes(x, width) for width in widths]

    def consume(start, stop, tile, pre_activations):
        pre_activations += encoder_bias
        for chosen, width, codes in zip(sets, widths, outputs, strict=True):
            if width:
                sae.topk_tile(
                    pre_activations, chosen, width, *(array[start:stop] for array in codes)
                )

    _for_each_tile(x, intercept, encoder, consume)
    return outputs if several else outputs[0]


def _empty_codes(x, width):
    n_rows = x.shape[0]
    return (
        np.empty((n_rows, width), x.dtype),
        np.empty((n_rows, width), np.int32),
        np.zeros(n_rows, np.int32),
    )


def compress(values, indices, counts):
    """Fixed-width codes to the three arrays of CSR: (data, indices, indptr)."""
    indptr = np.zeros(counts.shape[0] + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    kept = np.arange(values.shape[1]) < counts[:, None]
    return values[kept], indices[kept], indptr


def decode(codes, dictionary, intercept):
    """codes @ dictionary + intercept; `codes` are the CSR arrays (data, indices, indptr)."""
    values, indices, indptr = codes
    n_rows = indptr.shape[0] - 1
    decoded = np.empty((n_rows, dictionary.shape[1]), dictionary.dtype)

    def work(start, stop):
        learning.decode_rows(start, stop, indptr, indices, values, dictionary, intercept, decoded)

    run_in_parallel(work, n_rows, grain=64)
    return decoded


def by_atom(codes, n_atoms):
    """Entries of CSR codes ordered by atom: (column_pointer, rows, positions)."""
    _, indices, indptr = codes
    columns = (
        np.empty(n_atoms + 1, np.int64),
        np.empty(indices.shape[0], np.int64),
        np.empty(indices.shape[0], np.int64),
    )
    learning.codes_to_columns(indptr, indices, *columns)
    return columns


def sparse_gradient(columns, weights, samples, *, scale, out, accumulate=False):
    """out[m] = scale * sum over samples i of weights[i, m] samples[i] (weights in CSR order).

    With `accumulate` the sum is added to `out`.
    """
    scale = samples.dtype.type(scale)

    def work(start, stop):
        learning.sparse_gradient_rows(
            start, stop, *columns, weights, samples, scale, accumulate, out
        )

    run_in_parallel(work, out.shape[0], grain=16)
    return out


def code_gradient(residual, codes, decoder, *, scale):
    """Derivative of the loss by every active code: scale * residual . atom, in CSR order."""
    values, indices, indptr = codes
    gradient = np.empty_like(values)
    scale = values.dtype.type(scale)

    def work(start, stop):
        sae.code_gradient_rows(start, stop, residual, indptr, indices, decoder, scale, gradient)

    run_in_parallel(work, indptr.shape[0] - 1, grain=64)
    return gradient


def adam(
    parameters,
    gradient,
    first_moment,
    second_moment,
    steps,
    *,
    learning_rate,
    unit_norm=False,
    beta1=0.9,
    beta2=0.999,
    epsilon=1e-8,
):
    """One Adam step in place, row by row; see the kernel for `unit_norm`."""

    def work(start, stop):
        learning.adam_rows(
            start,
            stop,
            parameters,
            gradient,
            first_moment,
            second_moment,
            steps,
            learning_rate,
            beta1,
            beta2,
            epsilon,
            unit_norm,
        )

    run_in_parallel(work, parameters.shape[0], grain=16)


# Atoms whose remainders share one product in `coordinate_descent`, and columns of one product:
# fixed, so that neither the result nor its rounding depends on the number of threads.
DESCENT_ATOMS = 128
DESCENT_COLUMNS = 128


def accumulate(codes, columns, samples, second_moment, products, *, decay):
    """A <- decay A + Z^T Z / n and B <- decay B + Z^T X / n in place; codes as CSR arrays.

    `columns` are the codes ordered by atom (`by_atom`), `samples` the rows X that they code.
    """
    values, indices, indptr = codes
    decay, scale = samples.dtype.type(decay), samples.dtype.type(1.0 / samples.shape[0])

    def work(start, stop):
        learning.accumulate_rows(
            start,
            stop,
            *columns,
            indptr,
            indices,
            values,
            samples,
            decay,
            scale,
            second_moment,
            products,
        )

    run_in_parallel(work, second_moment.shape[0], grain=16)


def coordinate_descent(dictionary, second_moment, products, *, atoms, floor, unit_norm):
    """One pass of block coordinate descent on tr(D^T A D) / 2 - tr(D^T B), D in place.

    Atom after atom moves to its minimum, on the unit sphere with `unit_norm`, given all moves
    before it. What the rest of the dictionary contributes to a block of atoms is one product;
    moves within the block are carried over one at a time. So BLAS does the work, and the result
    is that of the plain sequential pass.
    """
    n_features = dictionary.shape[1]
    n_slices = -(-n_features // DESCENT_COLUMNS)
    for first in range(0, atoms.size, DESCENT_ATOMS):
        block = atoms[first : first + DESCENT_ATOMS]
        weights, remainders = second_moment[block], products[block]

        def work(start, stop, weights=weights, remainders=remainders):
            for s in range(start, stop):
                part = slice(s * DESCENT_COLUMNS, (s + 1) * DESCENT_COLUMNS)
                remainders[:, part] -= weights @ dictionary[:, part]

        run_in_parallel(work, n_slices)
        learning.descend_block(block, remainders, second_moment, floor, unit_norm, dictionary)
