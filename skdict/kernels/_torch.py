"""The torch backend: the functions of the CPU backend on any device that torch knows.

Functions take and return tensors and work wherever these lie. No shape depends on the data and
nothing waits for the device, so a step of training can be queued while the one before it still
runs. Exceptions are `used_atoms`, and pursuit with a Gram matrix where no fused kernel serves
(float64, more atoms than one holds, no Triton).
Codes have a fixed width: unused entries hold the value 0 and the atom 0.

On a GPU the fused kernels of `_triton` are taken where Triton is installed (CUDA builds of torch
bring it), plain torch otherwise and everywhere else. Results equal those of the CPU backend to
rounding; unlike there, a row's last bits may depend on the rows beside it.
"""

from __future__ import annotations

import torch

from skdict.kernels import _torch_pursuit as pursuit
from skdict.kernels._torch_fused import fused_kernels
from skdict.kernels._torch_graph import recorded as recorded
from skdict.kernels._torch_learning import accumulate as accumulate  # the contract, from here on
from skdict.kernels._torch_learning import adam as adam
from skdict.kernels._torch_learning import by_atom as by_atom
from skdict.kernels._torch_learning import code_gradient as code_gradient
from skdict.kernels._torch_learning import compress as compress
from skdict.kernels._torch_learning import coordinate_descent as coordinate_descent
from skdict.kernels._torch_learning import count_uses as count_uses
from skdict.kernels._torch_learning import decode as decode
from skdict.kernels._torch_learning import sparse_gradient as sparse_gradient
from skdict.kernels._torch_learning import sum_by_atom as sum_by_atom
from skdict.kernels._torch_learning import used_atoms as used_atoms
from skdict.kernels._torch_memory import chunked, with_advice
from skdict.kernels._torch_precision import HalfGram, exact_product, search_product, uses_tf32
from skdict.kernels._torch_precision import precision as precision
from skdict.kernels._torch_transfer import stream as stream
from skdict.kernels._torch_transfer import to_device as to_device
from skdict.kernels._torch_transfer import to_host as to_host


def scalar(value, like):
    """A number, float64 of no dimension, on the device of a tensor."""
    return torch.full((), value, dtype=torch.float64, device=like.device)


def zeros_like(array):
    """Zeros of the shape, type and device of a tensor."""
    return torch.zeros_like(array)


def empty_like(array):
    """Tensor of the shape, type and device of another one, not filled."""
    return torch.empty_like(array)


def copy(array):
    """Tensor of its own with the same values."""
    return array.clone()


def mean(array):
    """Mean of all entries, float64 of no dimension (the host does not wait for it)."""
    return array.double().mean()


def squared_norms(rows):
    """Squared length of every row (n,)."""
    return rows.square().sum(dim=1)


def positive(scalar):
    """A tensor of no dimension, or 1 where it is not above zero: safe to divide by."""
    return torch.where(scalar > 0, scalar, 1.0)


def subtract_scaled(array, other, factor):
    """array -= factor * other, in place; the product is rounded to the type of `array` first."""
    array -= (factor * other.double()).to(array.dtype)


def mean_squared_norm(rows):
    """Mean squared length of the rows, float64 of no dimension (the host does not wait for it)."""
    return torch.linalg.vector_norm(rows, dtype=torch.float64).square() / rows.shape[0]


def column_mean(rows):
    """Mean of the rows."""
    return rows.mean(dim=0)


def column_sum(rows):
    """Sum of the rows."""
    return rows.sum(dim=0)


# ---------------------------------------------------------------------- coding


@with_advice()
def gram_matrix(dictionary):
    """Gram matrix of the atoms, D D^T (M, M), exactly symmetric."""
    gram = exact_product(dictionary, dictionary)
    n_atoms = gram.shape[0]
    height = 1024  # rows mirrored at a time: no second array of this size
    for start in range(0, n_atoms, height):
        stop = min(start + height, n_atoms)
        block = gram[start:stop, start:stop]
        block.copy_(block.triu() + block.triu(1).T)
        gram[stop:, start:stop] = gram[start:stop, stop:].T
    return gram


@with_advice()
def similar_atoms(dictionary, atoms, norms, threshold):
    """Which atoms have a cosine above `threshold` with some given ones: bool (atoms.size, M).

    `norms` are the lengths of all atoms.
    """
    atoms = torch.as_tensor(atoms, device=dictionary.device)
    norms = torch.as_tensor(norms, device=dictionary.device)
    bounds = (threshold * norms[atoms, None]).to(dictionary.dtype)
    return exact_product(dictionary[atoms], dictionary) > bounds * norms


@with_advice()
def quantize(dictionary, gram) -> HalfGram | None:
    """Gram matrix of half the size for the search of atoms; None where no kernel reads it."""
    fused = fused_kernels(gram)
    if fused is None or not uses_tf32(gram) or gram.shape[0] > fused.MOST_ATOMS:
        return None
    # No inner product is larger than the square of the longest atom.
    scale = gram.diagonal().amax().clamp(min=torch.finfo(gram.dtype).tiny)
    return HalfGram((gram / scale).half(), scale)


@with_advice()
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
    n_atoms, n_features = dictionary.shape
    n_block = min(atoms_per_step, n_nonzero_coefs)
    fused = fused_kernels(x)
    serves = fused is not None and fused.serves_icfl(x, dictionary, gram, n_block)

    def encode(rows):
        rows = rows - intercept
        sizes = {"n_nonzero_coefs": n_nonzero_coefs, "atoms_per_step": atoms_per_step}
        if serves:
            correlations = search_product(rows, dictionary)
            picks = fused.icfl_picks(
                rows, correlations, dictionary, gram, quantized, absolute=absolute, **sizes
            )
            codes = pursuit.combine(*picks, n_atoms, x.dtype)
        else:
            codes = pursuit.icfl_rows(rows, dictionary, gram, absolute=absolute, **sizes)
        if refit:
            codes = pursuit.refit_rows(rows, dictionary, gram, *codes)
        return codes

    # Correlations, their ranking and a row of the Gram matrix; residual and chosen atoms.
    row_bytes = 3 * n_atoms * x.itemsize + 8 * n_features * (2 + n_block)
    if refit:
        row_bytes += 8 * n_nonzero_coefs * (n_features + 3 * n_nonzero_coefs)
    return _encode_chunks(encode, x, n_nonzero_coefs, row_bytes)


@with_advice()
def encode_omp(x, dictionary, gram, intercept, *, n_nonzero_coefs, quantized=None):
    """Orthogonal matching pursuit codes: (values, indices, counts).

    Each step multiplies the residuals with all atoms, which is what GPUs are best at.
    """
    n_atoms, n_features = dictionary.shape
    fused = fused_kernels(x)
    serves = fused is not None and fused.serves_omp(x, dictionary, gram, n_nonzero_coefs)

    def encode(rows):
        rows, width = rows - intercept, n_nonzero_coefs
        if not serves:
            return pursuit.omp_rows(rows, dictionary, gram, n_nonzero_coefs=width)
        picks = fused.omp_picks(rows, dictionary, gram, n_nonzero_coefs=width)
        return pursuit.combine(*picks, n_atoms, x.dtype)

    row_bytes = n_atoms * x.itemsize + 16 * n_nonzero_coefs**2 + 24 * n_features
    if gram is None:
        row_bytes += 12 * n_nonzero_coefs * n_features
    return _encode_chunks(encode, x, n_nonzero_coefs, row_bytes)


@with_advice()
def encode_topk(x, encoder, encoder_bias, intercept, *, n_nonzero_coefs, candidates=None):
    """ReLU(TopK(W_enc (x - b_pre) + b_enc)): (values, indices, counts).

    `candidates` are the features that may be chosen (all by default). A list of candidate sets
    gives a list of codes from one product. Which of several equal features is chosen is not
    defined.
    """
    several = isinstance(candidates, list)
    sets = candidates if several else [candidates]
    sets = [None if c is None else torch.as_tensor(c, device=x.device) for c in sets]
    widths = n_nonzero_coefs if several else [n_nonzero_coefs]

    def encode(rows):
        pre_activations = exact_product(rows - intercept, encoder).add_(encoder_bias)
        return [
            part
            for chosen, width in zip(sets, widths, strict=True)
            for part in _topk(pre_activations, chosen, width)
        ]

    outputs = [_empty_codes(x, width) for width in widths]
    row_bytes = 4 * encoder.shape[0] * x.itemsize + 8 * x.shape[1]
    chunked(encode, [x], [part for codes in outputs for part in codes], row_bytes=row_bytes)
    return outputs if several else outputs[0]


def _topk(pre_activations, candidates, width):
    """Codes of the largest positive entries of every row that are candidates (ascending)."""
    if candidates is not None:
        pre_activations = pre_activations[:, candidates]
    fused = fused_kernels(pre_activations)
    if fused is not None and fused.serves_topk(pre_activations):
        values, indices, counts = fused.topk(pre_activations, width)
    else:
        values, indices, counts = _topk_of_columns(pre_activations, width)
    return values, indices if candidates is None else candidates[indices.long()].int(), counts


def _topk_of_columns(pre_activations, width):
    n_features = pre_activations.shape[1]
    values, indices = pre_activations.topk(width, dim=1, sorted=False)
    # Not "> 0": what is not a number stays, to be refused.
    unused = values <= 0
    indices, order = indices.masked_fill(unused, n_features).sort(dim=1)
    values = values.masked_fill(unused, 0.0).gather(1, order)
    counts = width - unused.sum(dim=1)
    return values, indices.masked_fill(indices == n_features, 0).int(), counts.int()


def _encode_chunks(encode, x, width, row_bytes):
    codes = _empty_codes(x, width)
    chunked(encode, [x], codes, row_bytes=row_bytes)
    return codes


def _empty_codes(x, width):
    n_rows = x.shape[0]
    return (
        x.new_empty((n_rows, width)),
        x.new_empty((n_rows, width), dtype=torch.int32),
        x.new_zeros(n_rows, dtype=torch.int32),
    )
