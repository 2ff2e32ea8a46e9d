"""Full-scale work without opponents: ``memory`` of a memory map, ``selectivity`` of many labels."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.problems import Problem, random_arrays
from benchmarks.processes import Worker
from benchmarks.race import section, timed

SCALE = "benchmarks.contestants.scale:"


def run_memory(options):
    """Peak anonymous memory of `transform` of a memory map."""
    if options.quick:
        problem = Problem(32, 256, 10, 4000)
    else:
        problem = Problem(1024, 8192, 100, options.memory_rows)
    with tempfile.TemporaryDirectory(prefix="skdict-bench-") as folder:
        problem = Problem(**problem.describe(), folder=folder)
        write_rows(problem)
        with Worker(SCALE + "MemoryMapTransform", options.threads) as worker:
            worker.call("setup", problem)
            seconds, figures = timed(lambda: worker.call("result", problem.n_rows))
    figures["seconds"] = seconds
    if figures["peak_bytes"] is not None:
        figures["above_bytes"] = (
            figures["peak_bytes"] - figures["gram_bytes"] - figures["result_bytes"]
        )
    return section(options.threads, quick=options.quick, problem=problem.describe(), **figures)


def write_rows(problem, block=20_000):
    """Write the file that is mapped, block by block, and the dictionary."""
    X, dictionary = random_arrays(min(block, problem.n_rows), problem.n_features, problem.n_atoms)
    np.save(Path(problem.folder) / "dictionary.npy", dictionary)
    rows = np.lib.format.open_memmap(
        Path(problem.folder) / "X.npy",
        mode="w+",
        dtype=np.float32,
        shape=(problem.n_rows, problem.n_features),
    )
    for start in range(0, problem.n_rows, block):
        stop = min(start + block, problem.n_rows)
        rows[start:stop] = X[: stop - start]
    rows.flush()


def print_memory(results):
    """Print the figures of `run_memory`."""
    problem = results["problem"]
    print(
        f"\n== memory: transform of a memory map of {problem['n_rows']:,} x "
        f"{problem['n_features']:,} float32, {problem['n_atoms']:,} atoms"
    )
    if results["peak_bytes"] is None:
        print("anonymous memory cannot be read on this system")
        return
    for key in ("peak", "gram", "result", "above"):
        print(f"{key:8} {results[key + '_bytes'] / 1e6:9,.0f} MB")
    print(f"{results['seconds']:.1f} s, mean residual norm {results['residual']:.4f}")


def run_selectivity(options):
    """Seconds and memory of selectivity on one core."""
    n_rows, n_atoms, n_nonzero, n_labels = (
        (2000, 256, 10, 50) if options.quick else (100_000, 8192, 100, 1138)
    )
    with Worker(SCALE + "Selectivity", 1) as worker:
        worker.call("setup", n_rows, n_atoms, n_nonzero, n_labels)
        error = worker.call("result", n_rows)
        runs = [worker.call("seconds", n_rows) for _ in range(3 if options.quick else 5)]
        peak = worker.call("peak_memory", n_rows)
    return section(
        1,
        quick=options.quick,
        problem={
            "n_rows": n_rows,
            "n_atoms": n_atoms,
            "n_nonzero": n_nonzero,
            "n_labels": n_labels,
        },
        runs=runs,
        seconds=float(np.median(runs)),
        peak_bytes=peak,
        dense_bytes=n_rows * n_atoms,
        error=error,
    )


def print_selectivity(results):
    """Print the figures of `run_selectivity`."""
    problem = results["problem"]
    print(
        f"\n== selectivity: {problem['n_rows']:,} x {problem['n_atoms']:,} codes, "
        f"{problem['n_nonzero']} non-zeros a row, {problem['n_labels']:,} labels; 1 thread"
    )
    peak = results["peak_bytes"]
    memory = "" if peak is None else f", {peak / 1e6:,.0f} MB at the peak"
    print(
        f"{results['seconds']:.2f} s{memory} (one byte for each entry of a dense array: "
        f"{results['dense_bytes'] / 1e6:,.0f} MB), largest error {results['error']:.0e}"
    )
