"""Run the study: ``python -m benchmarks.study [section ...] [--quick] [--output DIR]``."""

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"


def parse_arguments(arguments=None):
    """Options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__)
    parser.add_argument("sections", nargs="*", help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer seeds, sizes and sets")
    parser.add_argument(
        "--output", type=Path, help="folder of results, page and pictures (default: docs)"
    )
    parser.add_argument("--cache", type=Path, default=HERE / "cache", help="folder of the cache")
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
    from benchmarks.study.run import run, write
    from benchmarks.study.sections import SECTIONS
    from benchmarks.study.settings import FULL, QUICK

    unknown = sorted(set(options.sections) - set(SECTIONS))
    if unknown:
        sys.exit(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    start = time.perf_counter()
    found = run(
        QUICK if options.quick else FULL,
        names=options.sections or list(SECTIONS),
        folder=options.cache,
        n_jobs=options.jobs or min(n_cores(), 8),
        fresh=options.fresh,
    )
    for path in write(found, options.output or default_output(options)):
        print(f"Wrote {path}")
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes in all")


def default_output(options):
    """The documentation for a full run of everything, a folder of its own for any other."""
    if options.quick or options.sections:
        return HERE.parent.parent / "build" / "study"
    return DOCS


if __name__ == "__main__":
    main()
