"""The CPU backend: tiles of rows, one BLAS product per tile, then a compiled kernel.

Every function takes valid C-contiguous arrays of one floating-point type, never validates,
never draws random numbers and knows no estimator.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from skdict.kernels import _numba_learning as learning
from skdict.kernels import _numba_pursuit as pursuit
from skdict.kernels import _numba_quantized as quantized_pursuit
from skdict.kernels import _numba_sae as sae
from skdict.kernels._omp import encode_omp as encode_omp  # part of the contract
from skdict.kernels._residual import encode_icfl_without_gram
from skdict.kernels._residual import similar_atoms as similar_atoms  # part of the contract
from skdict.kernels._threads import run_in_parallel
from skdict.kernels._tiles import aligned_empty, empty_codes, for_each_tile, tile_rows

# Atoms, and atoms per feature, from which pursuit of float32 rows reads a quantized Gram matrix.
QUANTIZED_ATOMS = 1024
QUANTIZED_ATOMS_PER_FEATURE = 3


class QuantizedGram(NamedTuple):
    """Gram matrix as 16-bit integers: gram[i, j] = step[i] (integers[i, j] +- 1/2)."""

    integers: np.ndarray  # (M, M padded) int16
    step: np.ndarray  # (M,)
    longest: np.float32  # length of the longest atom
    dictionary: np.ndarray  # (M, d padded), the atoms


def to_device(array, device):
    """NumPy array as an array of the backend: here itself."""
    return np.asarray(array)


def to_host(array):
    """Array of the backend as a NumPy array: here itself."""
    return np.asarray(array)


def scalar(value, like):
    """A float64 number of the backend, beside the array `like`."""
    return float(value)


def precision(mode):
    """Context in which products have "default" or "exact" precision: here they always do."""
    return nullcontext()


def recorded(step):
    """A step that a device may replay on its own: here the step itself."""
    return step


def zeros_like(array):
    """Zeros of the shape and type of `array`."""
    return np.zeros_like(array)


def empty_like(array):
    """Memory of the shape and type of `array`."""
    return np.empty_like(array)


def copy(array):
    """Copy in row-major order."""
    return np.array(array, order="C")


def stream(X, rows_iterator, scale, device):
    """Batches of rows of a NumPy array X, divided by `scale`; None leaves them as they are.

    `rows_iterator` yields indices, slices, or None where it is about to draw random numbers: so may
    whoever takes the batches, and the next one must have been asked for before. Here nothing is
    read ahead, so that None means nothing.
    """
    for rows in rows_iterator:
        if rows is not None:
            yield X[rows] if scale is None else np.divide(X[rows], X.dtype.type(scale), order="C")


def mean(array):
    """Mean of all entries, a scalar of the backend."""
    return float(array.mean())


def column_mean(rows):
    """Mean of every column (d,)."""
    return rows.mean(axis=0)


def column_sum(rows):
    """Sum of every column (d,)."""
    return rows.sum(axis=0)


def squared_norms(rows):
    """Squared length of every row (n,)."""
    return np.einsum("ij,ij->i", rows, rows)


def mean_squared_norm(rows):
    """Mean of the squared lengths of the rows, summed in float64; a scalar of the backend."""
    return float(np.mean(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)))


def positive(scalar):
    """A scalar of the backend, or 1 where it is not above zero: safe to divide by."""
    return float(scalar) if scalar > 0 else 1.0


def subtract_scaled(array, other, factor):
    """array -= factor * other, in place; the product is rounded to the type of `array` first."""
    array -= (np.float64(factor) * other).astype(array.dtype)


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
    integers = aligned_empty((n_atoms, -(-n_atoms // lanes) * lanes), np.int16)
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
    codes = empty_codes(x, n_nonzero_coefs)
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

    for_each_tile(x, intercept, dictionary, consume)
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

    for_each_tile(
        x,
        intercept,
        dictionary,
        consume,
        width=-(-dictionary.shape[0] // searched) * searched,
        filling=0.0 if absolute else -np.inf,
    )


def encode_topk(x, encoder, encoder_bias, intercept, *, n_nonzero_coefs, candidates=None):
    """ReLU(TopK(W_enc (x - b_pre) + b_enc)): (values, indices, counts).

    `candidates` are the features that may be chosen (all by default). A list of candidate sets
    gives a list of codes from one product.
    """
    several = isinstance(candidates, list)
    sets = candidates if several else [candidates]
    sets = [np.arange(encoder.shape[0]) if c is None else c for c in sets]
    widths = n_nonzero_coefs if several else [n_nonzero_coefs]
    outputs = [empty_codes(x, width) for width in widths]

    def consume(start, stop, tile, pre_activations):
        pre_activations += encoder_bias
        for chosen, width, codes in zip(sets, widths, outputs, strict=True):
            if width:
                sae.topk_tile(
                    pre_activations, chosen, width, *(array[start:stop] for array in codes)
                )

    for_each_tile(x, intercept, encoder, consume)
    return outputs if several else outputs[0]


def compress(values, indices, counts):
    """Fixed-width codes to the three arrays of CSR: (data, indices, indptr)."""
    indptr = np.zeros(counts.shape[0] + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    if (counts == values.shape[1]).all():
        return values.reshape(-1), indices.reshape(-1), indptr
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


def used_atoms(columns):
    """The atoms with entries in codes ordered by atom (`by_atom`), for `coordinate_descent`."""
    return np.flatnonzero(np.diff(columns[0]))


def count_uses(codes, n_atoms):
    """Entries of CSR codes that each atom has, zeros not counted: int64 (M,)."""
    values, indices, _ = codes
    used = indices if values.all() else indices[values != 0]
    return np.bincount(used, minlength=n_atoms)


def sum_by_atom(codes, weights, n_atoms):
    """Sum of the weights (in CSR order) of the entries of each atom (M,)."""
    return np.bincount(codes[1], weights=weights, minlength=n_atoms).astype(weights.dtype)


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
