"""Fused kernels of sparse codes: the K largest of each row, and sparse products."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from skdict.kernels._triton_launch import MOST_ATOMS, launch

# Columns of a program of the sparse products. All programs of one block of columns run before those
# of the next, so that the block of the gathered matrix stays in the cache of the GPU
# (8,192 rows x 512 columns of float32 are 16 MiB).
BLOCK_COLUMNS = 512
BLOCK_ENTRIES = 8


def serves_topk(pre_activations):
    """Whether `topk` takes a problem of this kind and size."""
    return pre_activations.dtype == torch.float32 and pre_activations.shape[1] <= MOST_ATOMS


def topk(pre_activations, width):
    """The largest positive entries of every row: (values, indices, counts), indices ascending.

    Ties take the lower index.
    """
    n_rows, n_features = pre_activations.shape
    values = pre_activations.new_zeros((n_rows, width))
    indices = torch.zeros((n_rows, width), dtype=torch.int32, device=values.device)
    counts = torch.empty(n_rows, dtype=torch.int32, device=values.device)
    block = triton.next_power_of_2(n_features)
    launch(
        _topk_kernel,
        (n_rows,),
        pre_activations.contiguous(),
        values,
        indices,
        counts,
        n_features,
        width,
        BLOCK=block,
        num_warps=max(1, min(16, block // 512)),
    )
    return values, indices, counts


@triton.jit
def _topk_kernel(pre_activations, values, indices, counts, n_features, width, BLOCK: tl.constexpr):
    """Positive floats sort as their bits do: the K-th largest is found bit by bit."""
    row = tl.program_id(0).to(tl.int64)
    features = tl.arange(0, BLOCK)
    inside = features < n_features
    value = tl.load(pre_activations + row * n_features + features, mask=inside, other=0.0)
    # Not "> 0": what is not a number stays, to be refused.
    value = tl.where(value <= 0, 0.0, value)
    bits = value.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    worst = 0
    for place in range(31):
        higher = worst | (1 << (30 - place))
        n_at_least = tl.sum((bits >= higher).to(tl.int32), axis=0)
        worst = tl.where(n_at_least >= width, higher, worst)
    above = bits > worst
    level = (bits == worst) & (bits > 0)
    n_above = tl.sum(above.to(tl.int32), axis=0)
    kept = above | (level & (tl.cumsum(level.to(tl.int32), axis=0) <= width - n_above))
    place = row * width + tl.cumsum(kept.to(tl.int32), axis=0) - 1
    tl.store(values + place, value, mask=kept)
    tl.store(indices + place, features, mask=kept)
    tl.store(counts + row, tl.sum(kept.to(tl.int32), axis=0))


# ---------------------------------------------------------------------- sparse products


def sum_of_rows(weights, indices, pointer, matrix, *, out=None, accumulate=False):
    """out[i] = sum of weights[p] matrix[indices[p]] over p in pointer[i]:pointer[i + 1].

    With `accumulate` the sums are added to `out`. Sums run in a fixed order.
    """
    n_columns = matrix.shape[1]
    if out is None:
        out = matrix.new_empty((pointer.shape[0] - 1, n_columns))
    if out.shape[0]:
        launch(
            _sum_of_rows_kernel,
            (out.shape[0], triton.cdiv(n_columns, BLOCK_COLUMNS)),
            weights,
            indices,
            pointer,
            matrix.contiguous(),
            out,
            n_columns,
            ACCUMULATE=accumulate,
            BLOCK_ENTRIES=BLOCK_ENTRIES,
            BLOCK_COLUMNS=BLOCK_COLUMNS,
        )
    return out


@triton.jit
def _sum_of_rows_kernel(
    weights,  # IN (nnz,)
    indices,  # IN (nnz,)
    pointer,  # IN (n + 1,)
    matrix,  # IN (M, d)
    out,  # OUT (n, d)
    n_columns,
    ACCUMULATE: tl.constexpr,
    BLOCK_ENTRIES: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """One sum and one block of columns; several entries are loaded at a time."""
    i = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    is_column = columns < n_columns
    start = tl.load(pointer + i)
    stop = tl.load(pointer + i + 1)
    total = tl.zeros((BLOCK_ENTRIES, BLOCK_COLUMNS), out.dtype.element_ty)
    for first in range(start, stop, BLOCK_ENTRIES):
        entries = first + tl.arange(0, BLOCK_ENTRIES)
        inside = entries < stop
        weight = tl.load(weights + entries, mask=inside, other=0.0)
        source = tl.load(indices + entries, mask=inside, other=0).to(tl.int64)
        total += weight[:, None] * tl.load(
            matrix + source[:, None] * n_columns + columns[None, :],
            mask=inside[:, None] & is_column[None, :],
            other=0.0,
        )
    place = out + i * n_columns + columns
    result = tl.sum(total, axis=0)
    if ACCUMULATE:
        result += tl.load(place, mask=is_column, other=0.0)
    tl.store(place, result, mask=is_column)


def row_products(rows, indices, pointer, matrix):
    """Inner products of every row i with matrix[indices[p]], p in pointer[i]:pointer[i + 1]."""
    n_rows, n_columns = rows.shape
    n_blocks = triton.cdiv(n_columns, BLOCK_COLUMNS)
    n_entries = indices.shape[0]
    # Blocks of columns are summed afterwards, in a fixed order.
    parts = rows.new_zeros((n_blocks, n_entries))
    if n_entries:
        launch(
            _row_products_kernel,
            (n_rows, n_blocks),
            rows.contiguous(),
            indices,
            pointer,
            matrix.contiguous(),
            parts,
            n_columns,
            n_entries,
            BLOCK_ENTRIES=BLOCK_ENTRIES,
            BLOCK_COLUMNS=BLOCK_COLUMNS,
        )
    return parts.sum(dim=0)


@triton.jit
def _row_products_kernel(
    rows,  # IN (n, d)
    indices,  # IN (nnz,)
    pointer,  # IN (n + 1,)
    matrix,  # IN (M, d)
    parts,  # OUT (n_blocks, nnz)
    n_columns,
    n_entries,
    BLOCK_ENTRIES: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """The products of one row over one block of columns."""
    i = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    columns = block * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    is_column = columns < n_columns
    row = tl.load(rows + i * n_columns + columns, mask=is_column, other=0.0)
    start = tl.load(pointer + i)
    stop = tl.load(pointer + i + 1)
    for first in range(start, stop, BLOCK_ENTRIES):
        entries = first + tl.arange(0, BLOCK_ENTRIES)
        inside = entries < stop
        source = tl.load(indices + entries, mask=inside, other=0).to(tl.int64)
        tile = tl.load(
            matrix + source[:, None] * n_columns + columns[None, :],
            mask=inside[:, None] & is_column[None, :],
            other=0.0,
        )
        products = tl.sum(tile * row[None, :], axis=1)
        tl.store(parts + block.to(tl.int64) * n_entries + entries, products, mask=inside)
