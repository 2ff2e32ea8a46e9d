"""Cost as work grows: seconds over rows, features, atoms and non-zeros, with fitted exponents."""

import numpy as np

from benchmarks.processes import Worker
from benchmarks.race import section

# One size grows, the others stay.
BASE = {"n_rows": 2048, "n_features": 256, "n_atoms": 2048, "n_nonzero": 50}
CURVES = {
    "icfl": {
        "n_rows": (1024, 2048, 4096, 8192, 16384),
        "n_features": (64, 128, 256, 512, 1024),
        "n_atoms": (512, 1024, 2048, 4096, 8192),
        "n_nonzero": (10, 20, 40, 80, 160),
    },
    "omp": {
        "n_rows": (256, 512, 1024, 2048),
        "n_features": (64, 128, 256, 512),
        "n_atoms": (512, 1024, 2048, 4096),
        "n_nonzero": (10, 20, 40, 80),
    },
    "gram": {
        "n_features": (64, 128, 256, 512, 1024),
        "n_atoms": (512, 1024, 2048, 4096, 8192),
    },
    "icfl_step": {
        "n_rows": (512, 1024, 2048, 4096),
        "n_features": (64, 128, 256, 512),
        "n_atoms": (512, 1024, 2048, 4096),
        "n_nonzero": (10, 20, 40, 80),
    },
}
BASES = {"omp": BASE | {"n_rows": 512}}
QUICK_BASE = {"n_rows": 256, "n_features": 32, "n_atoms": 128, "n_nonzero": 5}
QUICK_CURVES = {"icfl": {"n_rows": (256, 512, 1024)}, "gram": {"n_atoms": (128, 256, 512)}}


def fit_exponents(sizes, seconds):
    """Exponent of a power law through all points, and the one between the last two.

    Parameters
    ----------
    sizes, seconds : sequence of float
        Points of a curve, sizes ascending.

    Returns
    -------
    overall, last : float
        Slopes in double logarithmic scale.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    overall = np.polyfit(x, y, 1)[0]
    return float(overall), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def run(options):
    """Measure all curves: one section of the results."""
    curves = []
    with Worker("benchmarks.contestants.scale:Growing", options.threads) as worker:
        for work, axes in (QUICK_CURVES if options.quick else CURVES).items():
            for axis, sizes in axes.items():
                base = QUICK_BASE if options.quick else BASES.get(work, BASE)
                seconds = [_median_seconds(worker, work, base | {axis: size}) for size in sizes]
                overall, last = fit_exponents(sizes, seconds)
                curves.append(
                    {
                        "work": work,
                        "axis": axis,
                        "base": base,
                        "sizes": list(sizes),
                        "seconds": seconds,
                        "exponent": overall,
                        "last_exponent": last,
                    }
                )
    return section(options.threads, quick=options.quick, curves=curves)


def _median_seconds(worker, work, sizes):
    worker.call("setup", work, *sizes.values())
    worker.call("seconds", 0)  # compiles, and touches the memory
    runs = [worker.call("seconds", 0) for _ in range(3)]
    return float(np.median(runs))


def print_growth(results):
    """Print a line per curve."""
    print(
        "\n== growth: seconds over sizes, exponent of a power law through all points and at the end"
    )
    for curve in results["curves"]:
        points = ", ".join(
            f"{size}: {seconds:.3g}" for size, seconds in zip(curve["sizes"], curve["seconds"])
        )
        print(
            f"{curve['work']:10} {curve['axis']:11} {curve['exponent']:5.2f} "
            f"{curve['last_exponent']:5.2f}   {points}"
        )
