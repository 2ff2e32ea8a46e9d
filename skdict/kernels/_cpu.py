"""The CPU backend: tiles of rows, one BLAS product per tile, then a compiled kernel.

Every function takes valid C-contiguous arrays of one floating-point type, never validates,
never draws random numbers and knows no estimator.

A row's result must not depend on the rows around it. BLAS rounds differently for another shape,
so products run on tiles of fixed size, the last one padded with zero rows, each on one thread.
"""

from __future__ import annotations

import numpy as np

from skdict.kernels import _numba_learning as learning
from skdict.kernels import _numba_pursuit as pursuit
from skdict.kernels import _numba_sae as sae
from skdict.kernels._threads import run_in_parallel

# Rows of one product. Packing the dictionary costs BLAS M d moves a tile: 256 rows hide it.
TILE_ROWS = 256


def tile_rows(n_atoms: int) -> int:
    """Rows of a tile; depends on the number of atoms only."""
    # Below this the whole product is so small that padding would dominate for few rows.
    return TILE_ROWS if n_atoms >= 512 else 64


def _for_each_tile(x, intercept, dictionary, consume):
    """Call consume(start, stop, centred tile, correlations) for all tiles, in parallel."""
    n_rows, n_features = x.shape
    n_atoms = dictionary.shape[0]
    height = tile_rows(n_atoms)
    n_tiles = -(-n_rows // height)

    def work(first, last):
        tile = np.zeros((height, n_features), x.dtype)
        correlations = np.empty((height, n_atoms), x.dtype)
        for t in range(first, last):
            start = t * height
            stop = min(start + height, n_rows)
            used = stop - start
            np.subtract(x[start:stop], intercept, out=tile[:used])
            tile[used:] = 0
            # The caller refuses codes that are not finite, with better advice than a warning.
            with np.errstate(over="ignore", invalid="ignore"):
                np.matmul(tile, dictionary.T, out=correlations)
            consume(start, stop, tile[:used], correlations[:used])

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

    def work(first, last):
        for t in range(first, last):
            start, stop = t * height, min((t + 1) * height, n_atoms)
            block = padded[start : start + height] @ padded[start:].T
            gram[start:stop, start:] = block[: stop - start, : n_atoms - start]

    run_in_parallel(work, n_tiles)
    _mirror(gram, height)
    return gram


def _mirror(gram, height):
    """Copy the upper triangle to the lower one, block by block to stay in cache."""
    n_atoms = gram.shape[0]
    for start in range(0, n_atoms, height):
        stop = min(start + height, n_atoms)
        diagonal = gram[start:stop, start:stop]
        lower = np.tril_indices(stop - start, -1)
        diagonal[lower] = diagonal.T[lower]
        gram[stop:, start:stop] = gram[start:stop, stop:].T


def encode_icfl(
    x, dictionary, gram, intercept, *, n_nonzero_coefs, atoms_per_step, absolute=False, refit=False
):
    """ICFL codes of the rows: (values, indices, counts) of fixed width n_nonzero_coefs."""
    codes = _empty_codes(x, n_nonzero_coefs)

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


def encode_omp(x, dictionary, gram, intercept, *, n_nonzero_coefs):
    """Orthogonal matching pursuit codes: (values, indices, counts)."""
    codes = _empty_codes(x, n_nonzero_coefs)

    def consume(start, stop, tile, correlations):
        pursuit.omp_tile(
            tile,
            correlations,
            dictionary,
            gram,
            n_nonzero_coefs,
            *(array[start:stop] for array in codes),
        )

    _for_each_tile(x, intercept, dictionary, consume)
    return codes


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
DESCENT_COLUMNS = 256


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
