"""Fused kernels for NVIDIA GPUs, written in Triton; `_torch` takes them for tensors on a GPU.

Here ICFL; orthogonal pursuit is in `_triton_omp`, the rest in `_triton_sparse`. They run on the
host too, slowly, in the interpreter of Triton: so they are tested without a GPU.
"""

# Tuples grow while Triton unrolls loops; to Python that is a change of type.
# mypy: disable-error-code="assignment"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from skdict.kernels._torch_pursuit import DEPENDENT, REFRESH
from skdict.kernels._triton_adam import adam as adam  # all of them from here
from skdict.kernels._triton_adam import serves_adam as serves_adam
from skdict.kernels._triton_launch import (
    MOST_ATOMS,
    MOST_ATOMS_PER_STEP,
    MOST_FEATURES,
    SPARE_ATOMS,
    launch,
)
from skdict.kernels._triton_omp import omp_picks as omp_picks
from skdict.kernels._triton_omp import serves_omp as serves_omp
from skdict.kernels._triton_sparse import row_products as row_products
from skdict.kernels._triton_sparse import serves_topk as serves_topk
from skdict.kernels._triton_sparse import sum_of_rows as sum_of_rows
from skdict.kernels._triton_sparse import topk as topk

# Registers of a thread of the pursuit, so that two rows share a multiprocessor.
MOST_REGISTERS = 128


def serves_icfl(x, dictionary, gram, atoms_per_step):
    """Whether `icfl_picks` takes a problem of this kind and size."""
    return (
        gram is not None
        and x.dtype == torch.float32
        and dictionary.shape[0] <= MOST_ATOMS
        and dictionary.shape[1] <= MOST_FEATURES
        and atoms_per_step <= MOST_ATOMS_PER_STEP
        and dictionary.is_contiguous()
        and gram.is_contiguous()
    )


def icfl_picks(
    x, correlations, dictionary, gram, quantized, *, n_nonzero_coefs, atoms_per_step, absolute
):
    """Atoms and coefficients of ICFL in the order of their choice, (n, n_nonzero_coefs) each.

    `x` are centred rows, `correlations` their products with all atoms (destroyed), which need only
    be good enough to search with. So need be the Gram matrix that updates them, in half precision
    if `quantized` is not None. Coefficients come from the residual, the atoms and `gram` itself.
    """
    n_rows, n_features = x.shape
    n_atoms = dictionary.shape[0]
    atoms = torch.zeros((n_rows, n_nonzero_coefs), dtype=torch.int64, device=x.device)
    coefficients = torch.zeros(atoms.shape, dtype=torch.float64, device=x.device)
    matrix, scale = (gram, gram.new_ones(())) if quantized is None else quantized
    epsilon = torch.finfo(x.dtype).eps
    n_block = min(atoms_per_step, n_nonzero_coefs)
    n_spare = 0 if quantized is None else min(SPARE_ATOMS, n_atoms - n_block)
    block_atoms = triton.next_power_of_2(n_atoms)
    block_features = triton.next_power_of_2(n_features)
    launch(
        _icfl_kernel,
        (n_rows,),
        x.contiguous(),
        correlations,
        dictionary,
        gram,
        matrix,
        scale,
        atoms,
        coefficients,
        n_atoms,
        n_features,
        (10.0 * epsilon) ** 2 * n_features,
        REFRESH[x.dtype],
        DEPENDENT * epsilon,
        n_nonzero_coefs,
        ATOMS_PER_STEP=n_block,
        SPARE_ATOMS=n_spare,
        ABSOLUTE=absolute,
        BLOCK_ATOMS=block_atoms,
        BLOCK_FEATURES=block_features,
        BLOCK_REFRESHED=max(1, min(16, 8192 // block_features)),
        num_warps=max(1, min(16, block_atoms // 1024)),
        maxnreg=MOST_REGISTERS,
    )
    return atoms, coefficients


@triton.jit
def _squared_norm(residual):
    wide = residual.to(tl.float64)
    return tl.sum(wide * wide, axis=0)


@triton.jit
def _icfl_kernel(
    x,  # IN (n, d), centred
    correlations,  # IN (n, M); scratch
    dictionary,  # IN (M, d)
    gram,  # IN (M, M)
    search,  # IN (M, M) the Gram matrix divided by `scale`, in any precision
    scale,  # IN ()
    chosen,  # OUT (n, K), zeros to begin with
    coefficients,  # OUT (n, K), zeros to begin with
    n_atoms,
    n_features,
    stop,  # squared norm of rounding noise, relative to that of the row
    refresh,  # relative squared norm from which correlations are computed afresh
    tolerance,  # relative pivot of a dependent atom
    n_nonzero_coefs,
    ATOMS_PER_STEP: tl.constexpr,
    SPARE_ATOMS: tl.constexpr,
    ABSOLUTE: tl.constexpr,
    BLOCK_ATOMS: tl.constexpr,
    BLOCK_FEATURES: tl.constexpr,
    BLOCK_REFRESHED: tl.constexpr,
):
    """The whole pursuit of one row; its correlations stay in registers."""
    row = tl.program_id(0).to(tl.int64)
    atom_numbers = tl.arange(0, BLOCK_ATOMS)
    is_atom = atom_numbers < n_atoms
    features = tl.arange(0, BLOCK_FEATURES)
    is_feature = features < n_features
    unit = tl.load(scale).to(tl.float64)
    correlations += row * n_atoms
    residual = tl.load(x + row * n_features + features, mask=is_feature, other=0.0)
    current = tl.load(correlations + atom_numbers, mask=is_atom, other=0.0)
    squared = _squared_norm(residual)
    limit = stop * squared
    reference = squared
    used = 0
    # Not "squared > limit": what is not a number goes on, to be refused.
    while (used < n_nonzero_coefs) & ((squared <= limit) == 0):
        # The best atoms; of equal ones the lowest. Their correlations are computed exactly.
        ranking = tl.abs(current) if ABSOLUTE else current
        ranking = tl.where(is_atom, ranking, -float("inf"))
        atoms = ()
        targets = ()
        for _k in tl.static_range(ATOMS_PER_STEP + SPARE_ATOMS):
            _, atom = tl.max(ranking, axis=0, return_indices=True)
            atom = tl.minimum(atom, n_atoms - 1).to(tl.int64)
            ranking = tl.where(atom_numbers == atom, -float("inf"), ranking)
            features_of_atom = tl.load(
                dictionary + atom * n_features + features, mask=is_feature, other=0.0
            )
            atoms = atoms + (atom,)
            targets = targets + (tl.sum(features_of_atom * residual, axis=0).to(tl.float64),)
        if SPARE_ATOMS > 0:
            atoms, targets = _best(atoms, targets, ABSOLUTE, ATOMS_PER_STEP, SPARE_ATOMS)
        fit = _fit(gram, n_atoms, atoms, targets, tolerance, n_nonzero_coefs - used, ATOMS_PER_STEP)
        # Subtract the fit, from the residual and then from the correlations.
        for k in tl.static_range(ATOMS_PER_STEP):
            inside = used + k < n_nonzero_coefs
            place = row * n_nonzero_coefs + used + k
            tl.store(chosen + place, atoms[k], mask=inside)
            tl.store(coefficients + place, fit[k], mask=inside)
            # Loaded again, from a cache: kept in registers they would leave room for no other row.
            features_of_atom = tl.load(
                dictionary + atoms[k] * n_features + features, mask=is_feature, other=0.0
            )
            residual -= fit[k].to(tl.float32) * features_of_atom
        used += ATOMS_PER_STEP
        squared = _squared_norm(residual)
        if used < n_nonzero_coefs:
            if squared <= refresh * reference:
                reference = squared
                _refresh(
                    dictionary, residual, correlations, n_atoms, n_features, is_feature,
                    BLOCK_FEATURES, BLOCK_REFRESHED,
                )  # fmt: skip
                tl.debug_barrier()  # other threads wrote what this one reads
                current = tl.load(correlations + atom_numbers, mask=is_atom, other=0.0)
            else:
                for k in tl.static_range(ATOMS_PER_STEP):
                    gram_row = search + atoms[k] * n_atoms + atom_numbers
                    gram_row = tl.load(gram_row, mask=is_atom, other=0.0).to(tl.float32)
                    current -= (fit[k] * unit).to(tl.float32) * gram_row


@triton.jit
def _best(atoms, targets, ABSOLUTE: tl.constexpr, N: tl.constexpr, SPARE_ATOMS: tl.constexpr):
    """The N best of some atoms, best first, and their correlations; ties: the lower atom."""
    ranks = ()
    for i in tl.static_range(N + SPARE_ATOMS):
        mine = tl.abs(targets[i]) if ABSOLUTE else targets[i]
        rank = 0
        for j in tl.static_range(N + SPARE_ATOMS):
            if i != j:
                other = tl.abs(targets[j]) if ABSOLUTE else targets[j]
                is_before = (other > mine) | ((other == mine) & (atoms[j] < atoms[i]))
                rank += is_before.to(tl.int32)
        ranks = ranks + (rank,)
    best_atoms = ()
    best_targets = ()
    for i in tl.static_range(N):
        atom = atoms[0]
        target = targets[0]
        for j in tl.static_range(1, N + SPARE_ATOMS):
            atom = tl.where(ranks[j] == i, atoms[j], atom)
            target = tl.where(ranks[j] == i, targets[j], target)
        best_atoms = best_atoms + (atom,)
        best_targets = best_targets + (target,)
    return best_atoms, best_targets


@triton.jit
def _fit(gram, n_atoms, atoms, targets, tolerance, n_left, N: tl.constexpr):
    """Least squares on N atoms by Cholesky of their inner products, in scalars of float64.

    An atom that depends on the ones before it, or is not among the first `n_left`, gets 0.
    """
    factor = ()
    inverse = ()
    forward = ()
    for i in tl.static_range(N):
        row = ()
        norm = tl.load(gram + atoms[i] * n_atoms + atoms[i]).to(tl.float64)
        pivot = norm
        target = targets[i]
        for j in tl.static_range(i):
            inner = tl.load(gram + atoms[i] * n_atoms + atoms[j]).to(tl.float64)
            for k in tl.static_range(j):
                inner -= row[k] * factor[j][k]
            inner *= inverse[j]
            pivot -= inner * inner
            target -= inner * forward[j]
            row = row + (inner,)
        kept = (pivot > tolerance * norm) & (i < n_left)
        pivot = tl.where(kept, pivot, 1.0)
        scale = tl.where(kept, 1.0 / tl.sqrt(pivot), 0.0)
        factor = factor + (row,)
        inverse = inverse + (scale,)
        forward = forward + (target * scale,)
    solution = ()  # from the last atom to the first
    for i in tl.static_range(N):
        value = forward[N - 1 - i]
        for k in tl.static_range(i):
            value -= factor[N - 1 - k][N - 1 - i] * solution[k]
        solution = solution + (value * inverse[N - 1 - i],)
    return solution[::-1]


@triton.jit
def _refresh(
    dictionary,
    residual,
    correlations,
    n_atoms,
    n_features,
    is_feature,
    BLOCK_FEATURES: tl.constexpr,
    BLOCK_REFRESHED: tl.constexpr,
):
    """correlations = dictionary @ residual, a few atoms at a time."""
    features = tl.arange(0, BLOCK_FEATURES)
    for start in range(0, n_atoms, BLOCK_REFRESHED):
        atoms = start + tl.arange(0, BLOCK_REFRESHED)
        tile = tl.load(
            dictionary + atoms.to(tl.int64)[:, None] * n_features + features[None, :],
            mask=(atoms < n_atoms)[:, None] & is_feature[None, :],
            other=0.0,
        )
        products = tl.sum(tile * residual[None, :], axis=1)
        tl.store(correlations + atoms, products, mask=atoms < n_atoms)
