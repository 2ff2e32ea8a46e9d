"""Sparse codes on a GPU: ICFL, and OMP beside orthogonal-matching-pursuit-gpu."""

import numpy as np

from benchmarks import gpu_costs as costs
from benchmarks.agreement import SAME_SUPPORTS
from benchmarks.contestants.pursuits import BatchedOMP
from benchmarks.gpu_device import MODES, OPPONENT_MODES, time_runs
from benchmarks.gpu_works import measure, measure_opponent, new_line, rate
from benchmarks.problems import random_arrays, write_problem
from skdict import sparse_encode

# Largest difference of residual norms from float64, relative to their mean: of the mean over all
# rows, and of each row whose support is the same.
SAME_RESIDUAL = 1e-4
SAME_SUPPORTS_DEFAULT = 0.5

ICFL, OMP = "ICFL codes", "OMP"


def compare_codes(codes, reference, X, dictionary, *, least_same):
    """Compare CSR codes by support and by the residual norms in float64.

    A search in TF32 takes other atoms at near-ties, after which a row goes its own way: such rows
    have to leave as much in the mean, those with the same support as much each.

    Parameters
    ----------
    codes, reference : CSR of shape (n_samples, n_components)
        What is judged, and what is right.
    X, dictionary : ndarray
        Rows and atoms.
    least_same : float
        Least share of rows whose supports are the same.
    """
    codes, reference = codes.toarray().astype(np.float64), reference.toarray()
    X, dictionary = X.astype(np.float64), dictionary.astype(np.float64)
    same = np.all((codes != 0) == (reference != 0), axis=1)
    norms = [np.linalg.norm(X - part @ dictionary, axis=1) for part in (codes, reference)]
    mean = norms[1].mean()
    difference = abs(norms[0].mean() - mean) / mean
    by_row = np.abs(norms[0] - norms[1]) / mean
    largest = by_row[same].max(initial=0.0)
    agreement = (
        f"{same.sum()} of {same.size} supports, residual norms to {difference:.0e} in the mean, "
        f"{largest:.0e} on the same support, {by_row.max():.0e} at most"
    )
    agrees = max(difference, largest) <= SAME_RESIDUAL and same.mean() >= least_same
    return agreement, bool(agrees)


def pursuit_arguments(problem, algorithm):
    """How `sparse_encode` is called."""
    return {
        "algorithm": algorithm,
        "n_nonzero_coefs": problem.n_nonzero,
        "atoms_per_step": problem.atoms_per_step,
    }


def judge_codes(bench, problem, algorithm, mode):
    """Codes of a few rows on the device beside those of the CPU in float64."""
    X, dictionary = random_arrays(bench.n_compared, problem.n_features, problem.n_atoms)
    arguments = pursuit_arguments(problem, algorithm)
    reference = sparse_encode(X.astype(np.float64), dictionary, **arguments)
    codes = sparse_encode(X, dictionary, device=bench.device, precision=mode, **arguments)
    # The default mode searches in TF32. Orthogonal pursuit takes one atom a step, out of four that
    # are looked at exactly: imitated in NumPy at the full size, 128 of 128 supports were the same.
    searches_exactly = algorithm == "omp" or mode == "exact"
    least_same = SAME_SUPPORTS if searches_exactly else SAME_SUPPORTS_DEFAULT
    return compare_codes(codes, reference, X, dictionary, least_same=least_same)


def time_codes(bench, problem, algorithm, mode, n_rows, cost):
    """Rows that lie on the device already, with the Gram matrix given."""
    from skdict.kernels import get_kernels

    kernels = get_kernels(bench.device)
    X, dictionary = random_arrays(n_rows, problem.n_features, problem.n_atoms)
    x, atoms, intercept = (
        kernels.to_device(array, bench.device)
        for array in (X, dictionary, np.zeros(problem.n_features, X.dtype))
    )
    arguments = {"n_nonzero_coefs": problem.n_nonzero}
    if algorithm == "icfl":
        arguments["atoms_per_step"] = problem.atoms_per_step
    encode = getattr(kernels, f"encode_{algorithm}")
    with kernels.precision(mode):
        gram = kernels.gram_matrix(atoms)
        arguments["quantized"] = kernels.quantize(atoms, gram)
        runs = time_runs(
            lambda: encode(x, atoms, gram, intercept, **arguments),
            bench.device,
            n_runs=bench.n_runs,
        )
    return rate(runs, n_rows, cost)


def time_sparse_encode(bench, problem, n_rows, cost):
    """Rows in host memory, codes as CSR there: what a caller of `sparse_encode` waits for."""
    X, dictionary = random_arrays(n_rows, problem.n_features, problem.n_atoms)
    arguments = pursuit_arguments(problem, "icfl")

    def run():
        return sparse_encode(X, dictionary, device=bench.device, **arguments)

    runs = time_runs(run, bench.device, n_runs=bench.n_runs)
    return rate(runs, n_rows, cost)


def measure_icfl_codes(bench):
    """ICFL, rows on the device in both modes, and from host memory."""
    problem = bench.model
    n_rows = problem.n_rows if bench.quick else 8 * problem.n_rows
    for mode in MODES:
        cost = costs.icfl_codes(problem, n_rows, mode)
        yield measure(
            new_line(ICFL, "skdict, rows on the device", mode),
            lambda mode=mode: judge_codes(bench, problem, "icfl", mode),
            lambda mode=mode, cost=cost: time_codes(bench, problem, "icfl", mode, n_rows, cost),
        )
    yield measure(
        new_line(
            ICFL,
            "skdict, sparse_encode of an array in host memory",
            "default",
            note="Gram matrix, copies and CSR included",
        ),
        lambda: judge_codes(bench, problem, "icfl", "default"),
        lambda: time_sparse_encode(
            bench, problem, n_rows, costs.icfl_codes(problem, n_rows, "default")
        ),
    )


def measure_omp(bench):
    """Orthogonal matching pursuit beside orthogonal-matching-pursuit-gpu."""
    problem = bench.omp
    cost = costs.omp_codes(problem, problem.n_rows)
    for mode in MODES:
        yield measure(
            new_line(OMP, "skdict, rows on the device", mode),
            lambda mode=mode: judge_codes(bench, problem, "omp", mode),
            lambda mode=mode: time_codes(bench, problem, "omp", mode, problem.n_rows, cost),
        )
    written = write_problem(problem, bench.folder)
    for mode in OPPONENT_MODES:
        yield measure_opponent(bench, OMP, BatchedOMP, written, mode, judge_omp, time_omp)


def judge_omp(bench, opponent, problem):
    """The opponent's codes of a few rows beside those of skdict on the same device."""
    from scipy.sparse import csr_matrix

    n_rows = min(bench.n_compared, problem.n_rows)
    opponent.group = n_rows
    X, dictionary = problem.load("X")[:n_rows], problem.load("dictionary")
    arguments = pursuit_arguments(problem, "omp")
    ours = sparse_encode(X, dictionary, device=bench.device, **arguments)
    theirs = csr_matrix(opponent.result(n_rows))
    return compare_codes(theirs, ours, X, dictionary, least_same=SAME_SUPPORTS)


def time_omp(bench, opponent, problem):
    """Rows in groups, since it needs n K M numbers of scratch; the best size of a group counts."""
    import torch

    best = None
    for group in (256, 1024, problem.n_rows):
        opponent.group = n_rows = min(group, problem.n_rows)
        try:
            runs = time_runs(lambda n=n_rows: opponent.run(n), bench.device, n_runs=bench.n_runs)
        except torch.OutOfMemoryError:
            break
        timed = rate(runs, n_rows, costs.gram_omp_codes(problem, n_rows))
        if best is None or timed["figure"] > best["figure"]:
            best = timed | {"detail": f"groups of {n_rows:,} rows"}
    if best is None:
        raise MemoryError("not enough memory for 256 rows")
    return best
