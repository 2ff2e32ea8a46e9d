"""Orthogonal matching pursuit on a GPU: a product with all atoms, then a program per row."""

# Triton unrolls loops; to Python values in them change their type.
# mypy: disable-error-code="assignment,attr-defined"

from __future__ import annotations

import torch
import triton
import triton.language as tl

from skdict.kernels._torch_precision import search_product, uses_tf32
from skdict.kernels._torch_pursuit import DEPENDENT, noise_limit
from skdict.kernels._triton_launch import MOST_ATOMS, MOST_FEATURES, SPARE_ATOMS, launch

# Chosen atoms of a row whose inner products fit in the registers of a program.
MOST_CHOSEN = 512
# Rows of the factor that are read at a time.
FACTOR_ROWS = 8


def serves_omp(x, dictionary, gram, n_nonzero_coefs):
    """Whether `omp_picks` takes a problem of this kind and size."""
    return (
        gram is not None
        and x.dtype == torch.float32
        and dictionary.shape[0] <= MOST_ATOMS
        and dictionary.shape[1] <= MOST_FEATURES
        and n_nonzero_coefs <= MOST_CHOSEN
        and dictionary.is_contiguous()
        and gram.is_contiguous()
    )


def omp_picks(x, dictionary, gram, *, n_nonzero_coefs):
    """Atoms and coefficients of orthogonal pursuit in the order of their choice, (n, K) each.

    `x` are centred rows. All coefficients change in each step, so the residuals are multiplied with
    all atoms afresh. Those products need only be good enough to search with. The inner products of
    a few atoms are then computed exactly, and so is everything else. Of the inner products of the
    chosen atoms the inverse Cholesky factor is kept, to which an atom adds a row.
    """
    n_rows, n_features = x.shape
    n_atoms = dictionary.shape[0]
    on_device = {"device": x.device}
    x = x.contiguous()
    residual = x.clone()
    atoms = torch.zeros((n_rows, n_nonzero_coefs), dtype=torch.int64, **on_device)
    coefficients = torch.zeros(atoms.shape, dtype=torch.float64, **on_device)
    inverse = torch.empty((*atoms.shape, n_nonzero_coefs), dtype=torch.float64, **on_device)
    squared, limit = noise_limit(x)
    active = (~(squared <= limit)).int()
    block_atoms = triton.next_power_of_2(n_atoms)
    block_features = triton.next_power_of_2(n_features)
    for n_chosen in range(n_nonzero_coefs):
        launch(
            _omp_kernel,
            (n_rows,),
            x,
            residual,
            search_product(residual, dictionary),
            dictionary,
            gram,
            atoms,
            coefficients,
            inverse,
            limit,
            active,
            n_chosen,
            n_atoms,
            n_features,
            DEPENDENT * torch.finfo(x.dtype).eps,
            n_nonzero_coefs,
            SPARE_ATOMS=min(SPARE_ATOMS, n_atoms - 1) if uses_tf32(x) else 0,
            BLOCK_ATOMS=block_atoms,
            BLOCK_FEATURES=block_features,
            BLOCK_CHOSEN=triton.next_power_of_2(n_nonzero_coefs),
            BLOCK_SUBTRACTED=max(1, min(8, 8192 // block_features)),
            FACTOR_ROWS=FACTOR_ROWS,
            num_warps=max(1, min(16, block_atoms // 1024)),
        )
    return atoms, coefficients


@triton.jit(do_not_specialize=["n_chosen"])
def _omp_kernel(
    x,  # IN (n, d), centred
    residual,  # IN, OUT (n, d)
    correlations,  # IN (n, M), good enough to search with
    dictionary,  # IN (M, d)
    gram,  # IN (M, M)
    chosen,  # IN, OUT (n, K)
    coefficients,  # IN, OUT (n, K)
    inverse,  # IN, OUT (n, K, K), lower triangles; (L L^T)^-1 = inverse^T inverse
    limit,  # IN (n,) squared norm of rounding noise
    active,  # IN, OUT (n,)
    n_chosen,
    n_atoms,
    n_features,
    tolerance,  # relative pivot of a dependent atom
    n_nonzero_coefs,
    SPARE_ATOMS: tl.constexpr,
    BLOCK_ATOMS: tl.constexpr,
    BLOCK_FEATURES: tl.constexpr,
    BLOCK_CHOSEN: tl.constexpr,
    BLOCK_SUBTRACTED: tl.constexpr,
    FACTOR_ROWS: tl.constexpr,
):
    """One step of one row: the best atom, all coefficients, the residual."""
    row = tl.program_id(0).to(tl.int64)
    features = tl.arange(0, BLOCK_FEATURES)
    is_feature = features < n_features
    places = tl.arange(0, BLOCK_CHOSEN)
    chosen += row * n_nonzero_coefs
    coefficients += row * n_nonzero_coefs
    inverse += row * n_nonzero_coefs * n_nonzero_coefs
    if tl.load(active + row) != 0:
        left = tl.load(residual + row * n_features + features, mask=is_feature, other=0.0)
        atom, target = _best_atom(
            correlations + row * n_atoms, left, dictionary, n_atoms, n_features, is_feature,
            SPARE_ATOMS, BLOCK_ATOMS, BLOCK_FEATURES,
        )  # fmt: skip
        # The new atom against those chosen: y = inverse @ cross, and inverse^T y.
        support = tl.load(chosen + places, mask=places < n_chosen, other=0)
        cross = tl.load(gram + atom * n_atoms + support, mask=places < n_chosen, other=0.0)
        cross = cross.to(tl.float64)
        norm = tl.load(gram + atom * n_atoms + atom).to(tl.float64)
        pivot = norm
        combined = tl.zeros((BLOCK_CHOSEN,), tl.float64)
        for first in range(0, n_chosen, FACTOR_ROWS):
            rows = first + tl.arange(0, FACTOR_ROWS)
            inside = (rows < n_chosen)[:, None] & (places[None, :] <= rows[:, None])
            tile = tl.load(
                inverse + rows[:, None] * n_nonzero_coefs + places[None, :], mask=inside, other=0.0
            )
            part = tl.sum(tile * cross[None, :], axis=1)
            pivot -= tl.sum(part * part, axis=0)
            combined += tl.sum(tile * part[:, None], axis=0)
        # Not "pivot > ...": what is not a number goes on, to be refused.
        kept = (target != 0) & ((pivot <= tolerance * norm) == 0)
        if kept:
            scale = 1.0 / tl.sqrt(pivot)
            added = tl.where(places == n_chosen, scale, -scale * combined)
            tl.store(inverse + n_chosen * n_nonzero_coefs + places, added, mask=places <= n_chosen)
            before = tl.load(coefficients + places, mask=places < n_chosen, other=0.0)
            fit = before + target * scale * added
            tl.store(coefficients + places, fit, mask=places <= n_chosen)
            tl.store(chosen + n_chosen, atom)
            tl.debug_barrier()  # other threads wrote what this one reads
            left = tl.load(x + row * n_features + features, mask=is_feature, other=0.0)
            for first in range(0, n_chosen + 1, BLOCK_SUBTRACTED):
                entries = first + tl.arange(0, BLOCK_SUBTRACTED)
                inside = entries <= n_chosen
                source = tl.load(chosen + entries, mask=inside, other=0)
                weight = tl.load(coefficients + entries, mask=inside, other=0.0).to(tl.float32)
                tile = tl.load(
                    dictionary + source[:, None] * n_features + features[None, :],
                    mask=inside[:, None] & is_feature[None, :],
                    other=0.0,
                )
                left -= tl.sum(weight[:, None] * tile, axis=0)
            tl.store(residual + row * n_features + features, left, mask=is_feature)
            wide = left.to(tl.float64)
            if tl.sum(wide * wide, axis=0) <= tl.load(limit + row):
                tl.store(active + row, 0)
        else:
            tl.store(active + row, 0)


@triton.jit
def _best_atom(
    correlations,
    residual,
    dictionary,
    n_atoms,
    n_features,
    is_feature,
    SPARE_ATOMS: tl.constexpr,
    BLOCK_ATOMS: tl.constexpr,
    BLOCK_FEATURES: tl.constexpr,
):
    """The atom with the largest absolute inner product with the residual, and that product.

    A few more than one are looked at exactly; of equal ones the lowest is taken.
    """
    atom_numbers = tl.arange(0, BLOCK_ATOMS)
    features = tl.arange(0, BLOCK_FEATURES)
    is_atom = atom_numbers < n_atoms
    ranking = tl.abs(tl.load(correlations + atom_numbers, mask=is_atom, other=0.0))
    ranking = tl.where(is_atom, ranking, -float("inf"))
    best_atom = n_atoms.to(tl.int64)
    best = 0.0
    for k in tl.static_range(1 + SPARE_ATOMS):
        _, atom = tl.max(ranking, axis=0, return_indices=True)
        atom = tl.minimum(atom, n_atoms - 1).to(tl.int64)
        ranking = tl.where(atom_numbers == atom, -float("inf"), ranking)
        row = tl.load(dictionary + atom * n_features + features, mask=is_feature, other=0.0)
        target = tl.sum(row * residual, axis=0)
        is_better = tl.abs(target) > tl.abs(best)
        is_better = is_better | ((tl.abs(target) == tl.abs(best)) & (atom < best_atom))
        if k == 0:
            is_better = is_better | (is_better == 0)  # also where it is not a number
        best_atom = tl.where(is_better, atom, best_atom)
        best = tl.where(is_better, target, best)
    return best_atom, best.to(tl.float64)
