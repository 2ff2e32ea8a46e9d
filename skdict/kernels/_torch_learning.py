"""Sparse codes as CSR arrays, and what learning does with them, in torch operations.

Unused entries of codes of fixed width have the value 0; every function leaves them out.
"""

from __future__ import annotations

import torch
from torch.nn.functional import embedding_bag

from skdict.kernels._torch_fused import fused_kernels
from skdict.kernels._torch_graph import wait_for_device
from skdict.kernels._torch_memory import chunked, with_advice

# Rows whose codes are dense at a time in `accumulate`.
DENSE_ROWS = 1024

# Atoms whose remainders share one product in `coordinate_descent`.
DESCENT_ATOMS = 128


@with_advice()
def compress(values, indices, counts):
    """Fixed-width codes to three arrays as those of CSR: (data, indices, indptr).

    Every row keeps its width, so that no shape depends on the data: unused entries have the value 0
    and the atom 0. The functions below leave them out.
    """
    n_rows, width = values.shape
    unused = torch.arange(width, device=values.device) >= counts[:, None]
    indptr = torch.arange(n_rows + 1, device=values.device) * width
    return (
        values.masked_fill(unused, 0.0).reshape(-1),
        indices.masked_fill(unused, 0).reshape(-1),
        indptr,
    )


@with_advice()
def decode(codes, dictionary, intercept):
    """codes @ dictionary + intercept; `codes` are the CSR arrays (data, indices, indptr)."""
    values, indices, indptr = codes
    fused = fused_kernels(dictionary)
    if fused is not None:
        return fused.sum_of_rows(values, indices, indptr, dictionary).add_(intercept)
    return _sum_of_rows(values, indices, indptr, dictionary).add_(intercept)


def _sum_of_rows(weights, indices, pointer, matrix):
    """sums[i] = sum of weights[p] matrix[indices[p]] over p in pointer[i]:pointer[i + 1]."""
    n_entries = indices.shape[0]
    if n_entries == 0:
        return matrix.new_zeros((pointer.shape[0] - 1, matrix.shape[1]))
    # Entries behind the last pointer get a row of their own, which is cut off.
    offsets = torch.cat([pointer.long(), pointer.new_full((1,), n_entries, dtype=torch.int64)])
    sums = embedding_bag(
        indices.long(),
        matrix,
        offsets,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )
    return sums[:-1]


@with_advice()
def by_atom(codes, n_atoms):
    """Entries of CSR codes ordered by atom: (column_pointer, rows, positions).

    Unused entries come last, behind ``column_pointer[n_atoms]``.
    """
    values, indices, indptr = codes
    atoms = torch.where(values != 0, indices, n_atoms)
    atoms, positions = atoms.sort(stable=True)
    bounds = torch.arange(n_atoms + 1, dtype=atoms.dtype, device=atoms.device)
    column_pointer = torch.searchsorted(atoms, bounds)
    return column_pointer, _rows_of_entries(indptr, indices.shape[0])[positions], positions


def _rows_of_entries(indptr, n_entries):
    """Row of every entry of CSR codes."""
    entries = torch.arange(n_entries, device=indptr.device)
    return torch.searchsorted(indptr[1:].contiguous(), entries.to(indptr.dtype), right=True)


def count_uses(codes, n_atoms):
    """How often every atom is used in CSR codes, int64; entries that are 0 are no use."""
    values, indices, _ = codes
    uses = torch.zeros(n_atoms, dtype=torch.int64, device=values.device)
    return uses.index_add_(0, indices, (values != 0).long())


def sum_by_atom(codes, weights, n_atoms):
    """Sums (n_atoms,) of the weights of the entries of CSR codes, atom by atom."""
    # Added up in float64: on a GPU in any order.
    sums = torch.zeros(n_atoms, dtype=torch.float64, device=weights.device)
    return sums.index_add_(0, codes[1], weights.double()).to(weights.dtype)


def used_atoms(columns):
    """The atoms with entries in codes ordered by atom (`by_atom`), for `coordinate_descent`.

    The host waits for the device here.
    """
    wait_for_device()
    return columns[0].diff().nonzero()[:, 0]


@with_advice()
def sparse_gradient(columns, weights, samples, *, scale, out, accumulate=False):
    """out[m] = scale * sum over samples i of weights[i, m] samples[i] (weights in CSR order).

    With `accumulate` the sum is added to `out`.
    """
    column_pointer, rows, positions = columns
    weights = (weights * scale).to(samples.dtype)[positions]
    fused = fused_kernels(samples)
    if fused is not None:
        return fused.sum_of_rows(
            weights, rows, column_pointer, samples, out=out, accumulate=accumulate
        )
    sums = _sum_of_rows(weights, rows, column_pointer, samples)
    return out.add_(sums) if accumulate else out.copy_(sums)


@with_advice()
def code_gradient(residual, codes, decoder, *, scale):
    """Derivative of the loss by every active code: scale * residual . atom, in CSR order.

    That of unused entries is 0.
    """
    values, indices, indptr = codes
    fused = fused_kernels(residual)
    if fused is not None:
        gradient = fused.row_products(residual, indices, indptr, decoder)
    else:
        gradient = torch.empty_like(values)
        rows = _rows_of_entries(indptr, indices.shape[0])

        def inner_products(rows, indices):
            return ((residual[rows] * decoder[indices]).sum(dim=1),)

        row_bytes = 3 * residual.shape[1] * residual.itemsize
        chunked(inner_products, [rows, indices], [gradient], row_bytes=row_bytes)
    return gradient.mul_(scale).masked_fill_(values == 0, 0.0)


@with_advice()
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
    """One Adam step in place, row by row.

    With `unit_norm` the part of the gradient along the row is removed before the step and the
    row is brought back to unit length after it. The learning rate may be a tensor.
    """
    steps += 1
    # In the type of the parameters, as the CPU backend has it: 1 - 0.999 is not 0.001 in float32.
    decay1, decay2 = (torch.tensor(b, dtype=parameters.dtype, device="cpu") for b in (beta1, beta2))
    fused = fused_kernels(parameters)
    if fused is not None and fused.serves_adam(parameters, gradient):
        fused.adam(
            parameters, gradient, first_moment, second_moment, steps,
            learning_rate=learning_rate, unit_norm=unit_norm, decay1=decay1.item(),
            decay2=decay2.item(), beta1=beta1, beta2=beta2, epsilon=epsilon,
        )  # fmt: skip
        return
    if unit_norm:
        along = (gradient * parameters).sum(dim=1, keepdim=True)
        gradient = torch.addcmul(gradient, along, parameters, value=-1)
    count = steps.double()[:, None]
    correction1, correction2 = 1.0 - beta1**count, (1.0 - beta2**count).sqrt()
    first_moment.mul_(decay1).add_(gradient, alpha=1 - decay1)
    second_moment.mul_(decay2).addcmul_(gradient, gradient, value=1 - decay2)
    rate = (learning_rate * correction2 / correction1).to(parameters.dtype)
    floor = (epsilon * correction2).to(parameters.dtype)
    parameters.sub_(second_moment.sqrt().add_(floor).reciprocal_().mul_(first_moment).mul_(rate))
    if unit_norm:
        length = torch.linalg.vector_norm(parameters, dim=1, keepdim=True, dtype=torch.float64)
        parameters.mul_(torch.where(length > 0, 1.0 / length, 1.0).to(parameters.dtype))


@with_advice()
def accumulate(codes, columns, samples, second_moment, products, *, decay):
    """A <- decay A + Z^T Z / n and B <- decay B + Z^T X / n in place; codes as CSR arrays.

    `columns` are the codes ordered by atom (`by_atom`), `samples` the rows X that they code. Codes
    are dense for a chunk of rows at a time: then A is a matrix product.
    """
    values, indices, indptr = codes
    n_rows, n_atoms = samples.shape[0], second_moment.shape[0]
    sparse_gradient(columns, values, samples, scale=1.0 / n_rows, out=products.mul_(decay),
                    accumulate=True)  # fmt: skip
    second_moment.mul_(decay)
    rows = _rows_of_entries(indptr, indices.shape[0])
    dense = values.new_zeros((min(n_rows, DENSE_ROWS), n_atoms))
    for start in range(0, n_rows, DENSE_ROWS):
        inside = (rows >= start) & (rows < start + DENSE_ROWS)
        places = (rows - start) * n_atoms + indices
        # All but the zeros of unused entries have a place of their own: any order gives this sum.
        dense.zero_().view(-1).index_add_(
            0, places.masked_fill(~inside, 0), values.masked_fill(~inside, 0.0)
        )
        second_moment.addmm_(dense.T, dense, alpha=1.0 / n_rows)


@with_advice()
def coordinate_descent(dictionary, second_moment, products, *, atoms, floor, unit_norm):
    """One pass of block coordinate descent on tr(D^T A D) / 2 - tr(D^T B), D in place.

    Atom after atom moves to its minimum, on the unit sphere with `unit_norm`, given all moves
    before it. What the rest of the dictionary contributes to a block of atoms is one product.
    Within a block one atom waits for the other: on a GPU this is slow.
    """
    atoms = torch.as_tensor(atoms, device=dictionary.device)
    for first in range(0, atoms.shape[0], DESCENT_ATOMS):
        block = atoms[first : first + DESCENT_ATOMS]
        remainders = products[block] - second_moment[block] @ dictionary
        weights = second_moment[block][:, block]
        moves = torch.zeros_like(remainders)
        for a in range(block.shape[0]):
            m = block[a : a + 1]
            weight = weights[a, a]
            old = dictionary.index_select(0, m)[0]
            left = remainders[a] - weights[a, :a] @ moves[:a]
            value = old + left / weight
            squared = value.double().square().sum()
            moved = (weight > floor) & (squared > 0) & (squared < torch.inf)
            if unit_norm:
                value = value * squared.rsqrt().to(value.dtype)
            value = torch.where(moved, value, old)
            moves[a] = value - old
            dictionary.index_copy_(0, m, value[None])
