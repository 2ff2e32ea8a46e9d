"""Sparse pursuit in plain torch operations, all rows of a chunk together.

The same rules as the compiled kernels (`_numba_pursuit`, `_numba_residual`): ties take the lower
atom, an atom that depends on the ones before it in its block gets 0, a row stops when its residual
is rounding noise. Rows that have stopped are carried along with coefficients of 0, so that shapes
do not depend on the data.
"""

from __future__ import annotations

import torch

from skdict.kernels._torch_graph import wait_for_device
from skdict.kernels._torch_precision import exact_product, search_product

# An atom whose squared distance to the span of the ones before it is below this many rounding
# errors of its squared length counts as dependent on them.
DEPENDENT = 100.0

# The squared residual norm, relative to the last exact one, below which rounding would spoil the
# updated correlations: residual and correlations are then computed afresh.
REFRESH = {torch.float64: 1e-8, torch.float32: 1e-4}

# Most atoms of a step that are found one after the other.
FEW_ATOMS = 8


def noise_limit(x):
    """Squared norm of every row, and of a residual that is rounding noise; both float64.

    The limit of a row that overflowed is below every norm: it goes on, and is refused later.
    """
    squared = x.double().square().sum(dim=1)
    limit = (10.0 * torch.finfo(x.dtype).eps) ** 2 * x.shape[1] * squared
    return squared, torch.where(torch.isfinite(squared), limit, -1.0)


def icfl_rows(x, dictionary, gram, *, n_nonzero_coefs, atoms_per_step, absolute):
    """ICFL codes (values, indices, counts) of centred rows; without the Gram matrix if None."""
    n_block = min(atoms_per_step, n_nonzero_coefs)
    squared, limit = noise_limit(x)
    residuals = _Updated(x, dictionary, gram, squared) if gram is not None else _Held(x, dictionary)
    for used in range(0, n_nonzero_coefs, n_block):
        n_new = min(n_block, n_nonzero_coefs - used)
        # Not ">": a residual that is not a number goes on, to be refused.
        active = ~(squared <= limit)
        atoms = largest(residuals.correlations, n_new, absolute)
        fit = residuals.fit(atoms).masked_fill(~active[:, None], 0.0)
        residuals.keep(atoms, fit)
        if used + n_new < n_nonzero_coefs:
            squared = residuals.subtract(atoms, fit, active, squared)
    atoms, coefficients = torch.cat(residuals.atoms, 1), torch.cat(residuals.coefficients, 1)
    return combine(atoms, coefficients.to(torch.float64), dictionary.shape[0], x.dtype)


class _Pursued:
    """Residuals of some rows: their correlations with the atoms, and the atoms chosen so far."""

    def __init__(self, x, dictionary, correlations):
        self.x, self.dictionary, self.correlations = x, dictionary, correlations
        self.atoms, self.coefficients = [], []

    def keep(self, atoms, fit):
        self.atoms.append(atoms)
        self.coefficients.append(fit)


class _Updated(_Pursued):
    """Correlations that are updated with rows of the Gram matrix."""

    def __init__(self, x, dictionary, gram, squared):
        super().__init__(x, dictionary, exact_product(x, dictionary))
        self.gram, self.reference = gram, squared

    def fit(self, atoms):
        """Least squares of the residual on some atoms, float64."""
        self._right_side = self.correlations.gather(1, atoms).double()
        inner = self.gram[atoms[:, :, None], atoms[:, None, :]].double()
        return solve(inner, self._right_side, DEPENDENT * torch.finfo(self.x.dtype).eps)

    def subtract(self, atoms, fit, active, squared):
        """Subtract the fit; returns the squared norms of what is left."""
        squared = squared - (fit * self._right_side).sum(dim=1)
        step = fit.to(self.x.dtype)
        for k in range(atoms.shape[1]):
            # One atom at a time: no array of the size rows x atoms of a step x atoms.
            self.correlations.addcmul_(self.gram[atoms[:, k]], step[:, k : k + 1], value=-1)
        stale = active & (squared <= REFRESH[self.x.dtype] * self.reference)
        # The host waits for the device here. The fused kernel (`_triton`) does not need to.
        wait_for_device()
        if stale.any():
            rows = stale.nonzero()[:, 0]
            residual = self._exact_residual(rows)
            squared = squared.index_copy(0, rows, residual.square().sum(dim=1))
            self.reference = torch.where(stale, squared, self.reference)
            self.correlations[rows] = exact_product(residual.to(self.x.dtype), self.dictionary)
        return squared

    def _exact_residual(self, rows):
        residual = self.x[rows].double()
        for atoms, fit in zip(self.atoms, self.coefficients, strict=True):
            subtract_atoms(residual, self.dictionary, atoms[rows], fit[rows])
        return residual


class _Held(_Pursued):
    """Residuals that are held, and multiplied with all atoms at every step."""

    def __init__(self, x, dictionary):
        super().__init__(x, dictionary, search_product(x, dictionary))
        self.residual = x.to(torch.float64, copy=True)

    def fit(self, atoms):
        """Least squares of the residual on some atoms, float64."""
        chosen = self.dictionary[atoms].double()
        right_side = (chosen @ self.residual[:, :, None])[:, :, 0]
        inner = chosen @ chosen.transpose(1, 2)
        return solve(inner, right_side, DEPENDENT * torch.finfo(self.x.dtype).eps)

    def subtract(self, atoms, fit, active, squared):
        """Subtract the fit; returns the squared norms of what is left."""
        subtract_atoms(self.residual, self.dictionary, atoms, fit)
        self.correlations = search_product(self.residual.to(self.x.dtype), self.dictionary)
        return self.residual.square().sum(dim=1)


def subtract_atoms(residual, dictionary, atoms, coefficients):
    """residual -= coefficients @ dictionary[atoms] in place and in float64."""
    for k in range(atoms.shape[1]):
        residual.addcmul_(dictionary[atoms[:, k]].double(), coefficients[:, k : k + 1], value=-1)


def largest(correlations, n, absolute):
    """Atoms (rows, n) of the largest (absolute) correlations, best first; ties: the lower atom."""
    ranking = correlations.abs() if absolute else correlations
    if n > FEW_ATOMS:
        return _many_largest(ranking, n)
    found = []
    taken = []
    for _ in range(n):
        best, atom = ranking.max(dim=1, keepdim=True)  # of equal ones the first
        found.append(atom)
        taken.append(best)
        ranking.scatter_(1, atom, -torch.inf)
    atoms = torch.cat(found, 1)
    if not absolute:
        ranking.scatter_(1, atoms, torch.cat(taken, 1))
    return atoms


def _many_largest(ranking, n):
    """Largest entries of every row; the smallest ones taken are taken from the left."""
    n_atoms = ranking.shape[1]
    worst = ranking.topk(n, dim=1).values[:, -1:]
    above, level = ranking > worst, ranking == worst
    level &= level.cumsum(dim=1, dtype=torch.int32) <= n - above.sum(dim=1, keepdim=True)
    numbers = torch.arange(n_atoms, dtype=torch.int32, device=ranking.device)
    candidates = torch.where(above | level, numbers, n_atoms)
    atoms = candidates.topk(n, dim=1, largest=False, sorted=True).values.long()
    atoms = atoms.clamp_(max=n_atoms - 1)  # not a number anywhere: refused later
    order = ranking.gather(1, atoms).sort(dim=1, descending=True, stable=True).indices
    return atoms.gather(1, order)


def solve(inner, right_side, tolerance, valid=None):
    """Least squares on a few atoms by Cholesky of their inner products (rows, n, n), in place.

    An atom that depends on the ones before it, or is not `valid`, gets 0.
    """
    n = inner.shape[1]
    norms = inner.diagonal(dim1=1, dim2=2).clone()
    factor = torch.zeros_like(inner)
    lengths = torch.ones_like(norms)
    independent = torch.ones_like(norms, dtype=torch.bool) if valid is None else valid.clone()
    for j in range(n):
        pivot = inner[:, j, j]
        # Not "<=": what is not a number must come out as such.
        independent[:, j] &= ~(pivot <= tolerance * norms[:, j])
        kept = independent[:, j]
        lengths[:, j] = torch.where(kept, pivot, 1.0).sqrt()
        column = inner[:, j + 1 :, j] / lengths[:, j : j + 1]
        column = column.masked_fill(~kept[:, None], 0.0)
        factor[:, j + 1 :, j] = column
        inner[:, j + 1 :, j + 1 :].sub_(column[:, :, None] * column[:, None, :])
    # Rows of dependent atoms become those of the identity, with nothing on the right side.
    factor.masked_fill_(~independent[:, :, None], 0.0)
    factor.diagonal(dim1=1, dim2=2).copy_(lengths)
    right_side = right_side.masked_fill(~independent, 0.0)[:, :, None]
    forward = torch.linalg.solve_triangular(factor, right_side, upper=False)
    return torch.linalg.solve_triangular(factor.transpose(1, 2), forward, upper=True)[:, :, 0]


def combine(atoms, coefficients, n_atoms, dtype):
    """Codes of fixed width from atoms in the order of their choice, with coefficients.

    Coefficients of equal atoms are added, atoms put in order and zeros dropped.
    """
    width = atoms.shape[1]
    ordered, order = torch.where(coefficients != 0, atoms, n_atoms).sort(dim=1, stable=True)
    coefficients = coefficients.gather(1, order)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = is_first.cumsum(dim=1) - 1
    sums = torch.zeros_like(coefficients).scatter_add_(1, group, coefficients).to(dtype)
    sums = sums.gather(1, group)
    return compact(ordered, sums, is_first & (sums != 0) & (ordered < n_atoms), width)


def compact(atoms, values, kept, width):
    """Codes (values, indices, counts) of the kept entries, in their order."""
    n_rows = atoms.shape[0]
    place = torch.where(kept, kept.cumsum(dim=1) - 1, width)
    out_values = values.new_zeros((n_rows, width + 1)).scatter_(1, place, values)
    out_atoms = atoms.new_zeros((n_rows, width + 1)).scatter_(1, place, atoms)
    counts = kept.sum(dim=1)
    # Everything that was not kept went to the last column.
    return out_values[:, :width], out_atoms[:, :width].int(), counts.int()


def refit_rows(x, dictionary, gram, values, indices, counts):
    """Codes of centred rows with the coefficients replaced by least squares on their atoms."""
    width = values.shape[1]
    valid = torch.arange(width, device=x.device) < counts[:, None]
    atoms = indices.long()
    chosen = dictionary[atoms].double()
    right_side = (chosen @ x.double()[:, :, None])[:, :, 0]
    if gram is None:
        inner = chosen @ chosen.transpose(1, 2)
    else:
        inner = gram[atoms[:, :, None], atoms[:, None, :]].double()
    inner.masked_fill_(~(valid[:, :, None] & valid[:, None, :]), 0.0)
    tolerance = DEPENDENT * torch.finfo(dictionary.dtype).eps
    solution = solve(inner, right_side, tolerance, valid).to(x.dtype)
    finite = torch.isfinite(values).all(dim=1, keepdim=True)  # others are refused later
    solution = torch.where(finite, solution, values)
    return compact(atoms, solution, valid & (solution != 0), width)


def omp_rows(x, dictionary, gram, *, n_nonzero_coefs):
    """Orthogonal matching pursuit codes (values, indices, counts) of centred rows.

    All coefficients change at every step, so the residuals are multiplied with all atoms afresh;
    the Gram matrix, where given, only saves the inner products of the chosen atoms.
    """
    n_rows = x.shape[0]
    shape = n_rows, n_nonzero_coefs
    state = _Factored(
        atoms=torch.zeros(shape, dtype=torch.int64, device=x.device),
        factor=torch.eye(n_nonzero_coefs, dtype=torch.float64, device=x.device).repeat(
            n_rows, 1, 1
        ),
        forward=torch.zeros(shape, dtype=torch.float64, device=x.device),
    )
    squared, limit = noise_limit(x)
    active = ~(squared <= limit)
    residual = x.to(torch.float64, copy=True)
    coefficients = torch.zeros_like(state.forward)
    for n in range(n_nonzero_coefs):
        correlations = exact_product(residual.to(x.dtype), dictionary)
        best, atom = correlations.abs_().max(dim=1)
        active = active & (best != 0)
        active = state.extend(n, atom, active, x, dictionary, gram)
        fit = state.back_substitute(n + 1)
        coefficients[:, : n + 1] = torch.where(active[:, None], fit, coefficients[:, : n + 1])
        if n + 1 < n_nonzero_coefs:
            residual = x.to(torch.float64, copy=True)
            subtract_atoms(residual, dictionary, state.atoms[:, : n + 1], coefficients[:, : n + 1])
            active = active & ~(residual.square().sum(dim=1) <= limit)
    return combine(state.atoms, coefficients, dictionary.shape[0], x.dtype)


class _Factored:
    """Chosen atoms (rows, K) and the Cholesky factors of their inner products, float64."""

    def __init__(self, atoms, factor, forward):
        self.atoms, self.factor, self.forward = atoms, factor, forward

    def extend(self, n, atom, active, x, dictionary, gram):
        """Append an atom to the rows that are active; those whose atom is dependent end."""
        added = dictionary[atom].double()
        earlier = self.atoms[:, :n]
        if gram is None:
            cross = (dictionary[earlier].double() @ added[:, :, None])[:, :, 0]
            norm = added.square().sum(dim=1)
        else:
            cross = gram[atom[:, None], earlier].double()
            norm = gram[atom, atom].double()
        row = torch.linalg.solve_triangular(self.factor[:, :n, :n], cross[:, :, None], upper=False)[
            :, :, 0
        ]
        pivot = norm - row.square().sum(dim=1)
        active = active & ~(pivot <= DEPENDENT * torch.finfo(x.dtype).eps * norm)
        length = torch.where(active, pivot, 1.0).sqrt()
        target = (added * x).sum(dim=1) - (row * self.forward[:, :n]).sum(dim=1)
        # Rows that have ended go on with an atom of their own that is worth nothing.
        self.factor[:, n, :n] = row.masked_fill(~active[:, None], 0.0)
        self.factor[:, n, n] = length
        self.forward[:, n] = (target / length).masked_fill(~active, 0.0)
        self.atoms[:, n] = atom.masked_fill(~active, 0)
        return active

    def back_substitute(self, n):
        """Coefficients of the first n atoms."""
        upper = self.factor[:, :n, :n].transpose(1, 2)
        return torch.linalg.solve_triangular(upper, self.forward[:, :n, None], upper=True)[:, :, 0]
