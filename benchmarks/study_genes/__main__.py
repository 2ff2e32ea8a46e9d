"""Run the study of genes: ``python -m benchmarks.study_genes [--quick] [--output DIR]``."""

import argparse
import os
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "study_genes"


def parse_arguments(arguments=None):
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study_genes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cells, seeds and steps")
    parser.add_argument(
        "--output", type=Path, help="folder of results, page and pictures (default: docs)"
    )
    parser.add_argument("--cache", type=Path, default=BUILD / "cache", help="folder of the cache")
    parser.add_argument("--jobs", type=int, help="processes (default: cores, at most 8)")
    parser.add_argument("--fresh", action="store_true", help="leave aside what the cache holds")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Compute what is missing, judge, write results, pictures and page."""
    options = parse_arguments(arguments)
    # Before anything imports numba or a BLAS: work is shared out to processes of one thread.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from benchmarks.machine import n_cores
    from benchmarks.study_genes.run import run, write
    from benchmarks.study_genes.settings import FULL, QUICK

    start = time.perf_counter()
    found = run(
        QUICK if options.quick else FULL,
        folder=options.cache,
        n_jobs=options.jobs or min(n_cores(), 8),
        fresh=options.fresh,
    )
    # Only a full run with all the data is what the documentation shows.
    usual = BUILD if options.quick or found["missing"] else ROOT / "docs"
    for path in write(found, options.output or usual):
        print(f"Wrote {path}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")


if __name__ == "__main__":
    main()
