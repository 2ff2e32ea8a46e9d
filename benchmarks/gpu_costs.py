"""Bytes that an algorithm moves and its floating-point operations, computed from the sizes.

Every row of a matrix counts at each use, as if no cache held it, so that the share of the copy
bandwidth may exceed 1. A product counts once, in whatever number of parts it is computed. All
arrays are float32, but for the Gram matrix that the default mode searches in half precision.
"""

from dataclasses import dataclass

FLOAT = 4


@dataclass(frozen=True)
class Cost:
    """Bytes moved and floating-point operations."""

    n_bytes: float = 0.0
    n_flops: float = 0.0

    def __add__(self, other):
        return Cost(self.n_bytes + other.n_bytes, self.n_flops + other.n_flops)


def product(n_rows, n_columns, n_inner):
    """Cost of the product of two matrices."""
    moved = n_rows * n_inner + n_columns * n_inner + n_rows * n_columns
    return Cost(FLOAT * moved, 2.0 * n_rows * n_columns * n_inner)


def sparse_sum(n_sums, n_entries, n_columns):
    """Weighted sums of rows that are gathered."""
    moved = (n_sums + n_entries) * n_columns
    return Cost(FLOAT * moved, 2.0 * n_entries * n_columns)


def adam(n_rows, n_columns):
    """Parameters and two moments are read and written, the gradient is read."""
    return Cost(7 * FLOAT * n_rows * n_columns, 12.0 * n_rows * n_columns)


def icfl_codes(problem, n_rows, mode):
    """ICFL in the Gram domain: one product, then a row of the Gram matrix and an atom a choice."""
    d, n_atoms, width = problem.n_features, problem.n_atoms, problem.n_nonzero
    entry = FLOAT // 2 if mode == "default" else FLOAT
    # The atom is read twice: for its inner product with the residual, and to be subtracted.
    moved = FLOAT * (d + n_atoms) + width * (entry * n_atoms + 2 * FLOAT * d)
    pursuit = Cost(n_rows * moved, n_rows * width * (2.0 * n_atoms + 4.0 * d))
    return product(n_rows, n_atoms, d) + pursuit


def icfl_step(problem, mode):
    """Gram matrix, codes, reconstruction, gradient of the atoms and Adam."""
    n_rows, d, n_atoms = problem.n_rows, problem.n_features, problem.n_atoms
    n_entries = n_rows * problem.n_nonzero
    cost = product(n_atoms, n_atoms, d) + icfl_codes(problem, n_rows, mode)
    if mode == "default":
        cost += Cost((FLOAT + FLOAT / 2) * n_atoms**2, n_atoms**2)  # its copy in half precision
    cost += sparse_sum(n_rows, n_entries, d) + sparse_sum(n_atoms, n_entries, d)
    return cost + adam(n_atoms, d)


def sae_step(problem):
    """Product, largest entries, reconstruction, three sparse gradients and Adam twice."""
    n_rows, d, n_atoms = problem.n_rows, problem.n_features, problem.n_atoms
    n_entries = n_rows * problem.n_nonzero
    cost = product(n_rows, n_atoms, d) + Cost(FLOAT * n_rows * n_atoms)
    cost += sparse_sum(n_rows, n_entries, d) + sparse_sum(n_rows, n_entries, d)
    cost += sparse_sum(n_atoms, n_entries, d) + sparse_sum(n_atoms, n_entries, d)
    return cost + adam(2 * n_atoms, d)


def omp_codes(problem, n_rows):
    """The residuals multiplied with all atoms at each step, then recomputed from those chosen."""
    d, n_atoms, width = problem.n_features, problem.n_atoms, problem.n_nonzero
    steps = product(n_rows, n_atoms, d)
    subtracted = n_rows * width * (width + 1) / 2
    return Cost(
        width * (steps.n_bytes + FLOAT * n_rows * n_atoms) + FLOAT * subtracted * d,
        width * steps.n_flops + 2.0 * subtracted * d,
    )


def gram_omp_codes(problem, n_rows):
    """OMP in the Gram domain, as v0 of orthogonal-matching-pursuit-gpu has it.

    Each step combines the rows of the Gram matrix orthogonalised so far with a new one, and updates
    the correlations with the result.
    """
    n_atoms, width = problem.n_atoms, problem.n_nonzero
    combined = width * (width - 1) / 2
    per_row = Cost(
        FLOAT * n_atoms * (combined + 6.0 * width), n_atoms * (2.0 * combined + 3.0 * width)
    )
    pursuit = Cost(n_rows * per_row.n_bytes, n_rows * per_row.n_flops)
    return product(n_rows, n_atoms, problem.n_features) + pursuit
