"""What the label-free rule for the size of a dictionary chooses, on planted and on real data.

On planted data the true number of atoms and of active atoms is known and is one point of the grid.
On the shipped profiles nothing is known: the table shows whether the rule finds an optimum
inside the grid or runs into its edge.
"""

import time
import warnings

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.datasets import load_jump_scope, load_pediatric_cell_atlas, make_superposition
from skdict.model_selection import choose_size, sweep_dictionaries

SEEDS = (0, 1)
# Data as `make_superposition` takes them, and the grid around the truth.
PLANTED = {
    # The rule was made with these three in sight...
    "independent atoms, 5% noise": (
        {"n_samples": 6000, "n_features": 32, "n_components": 96, "n_active": 4, "noise": 0.05},
        {"n_components": (24, 48, 96, 192), "n_nonzero_coefs": (1, 2, 4, 8)},
    ),
    "Zipf, correlation, hierarchy, 30% noise": (
        {
            "n_samples": 8000,
            "n_features": 48,
            "n_components": 128,
            "n_active": 6,
            "noise": 0.3,
            "zipf_exponent": 0.7,
            "correlation": 0.2,
            "hierarchy": 0.3,
        },
        {"n_components": (32, 64, 128, 256), "n_nonzero_coefs": (2, 3, 6, 12)},
    ),
    "few rows": (
        {"n_samples": 3000, "n_features": 40, "n_components": 80, "n_active": 3, "noise": 0.1},
        {"n_components": (40, 80, 120, 160), "n_nonzero_coefs": (1, 2, 3, 4, 6)},
    ),
    # ... and not with these.
    "Zipf 1.0, 50% noise": (
        {
            "n_samples": 10_000,
            "n_features": 64,
            "n_components": 160,
            "n_active": 8,
            "noise": 0.5,
            "zipf_exponent": 1.0,
        },
        {"n_components": (40, 80, 160, 320), "n_nonzero_coefs": (2, 4, 8, 16)},
    ),
    "labels, background": (
        {
            "n_samples": 6000,
            "n_features": 48,
            "n_components": 100,
            "n_active": 5,
            "noise": 0.2,
            "n_labels": 20,
            "background": 0.5,
        },
        {"n_components": (50, 100, 150, 200), "n_nonzero_coefs": (2, 5, 8, 12)},
    ),
}
REAL = {"n_components": (32, 64, 128, 256, 512), "n_nonzero_coefs": (5, 10, 20, 40)}
# The same wells in the 48 strongest directions of the controls.
NARROW = {"n_components": (8, 16, 32, 64, 128), "n_nonzero_coefs": (1, 2, 5, 10)}
# Few steps: the grid is large, and the runs are compared with each other only.
FIT = {"max_steps": 300, "batch_size": 256}
# One atom at a time where rows have so few.
FIT_PLANTED = FIT | {"atoms_per_step": 1}


def sweep(name, estimator, X, grid, *, n_repeats=3, **options):
    """Sweep, apply the rule, print both; the choice, or None where no size is admissible."""
    start = time.perf_counter()
    table = sweep_dictionaries(estimator, X, **grid, n_repeats=n_repeats, random_state=0, **options)
    seconds = time.perf_counter() - start
    print(f"\n{name}: {X.shape[0]} rows x {X.shape[1]}, {seconds:.0f} s", flush=True)
    try:
        chosen = choose_size(table)
    except ValueError as error:
        print(f"no choice: {error}")
        return None
    print_summary(chosen.summary)
    edges = ", ".join(chosen.on_edge) or "none"
    print(f"chosen M={chosen.n_components} K={chosen.n_nonzero_coefs}; edges touched: {edges}")
    return chosen


def print_summary(summary):
    """Print a line per size."""
    print(
        f"{'K':>4} {'M':>5} {'held-out EV':>15} {'excess stability':>17} {'product':>15} "
        f"{'null':>6} {'dead':>6}"
    )
    for i in np.lexsort((summary["n_components"], summary["n_nonzero_coefs"])):
        row = {column: values[i] for column, values in summary.items()}
        marks = [mark for mark in ("on_plateau", "chosen") if row[mark]]
        marks += [] if row["admissible"] else ["not admissible"]
        print(
            f"{row['n_nonzero_coefs']:4} {row['n_components']:5} "
            f"{row['explained_variance']:8.3f} ±{row['explained_variance_error']:5.3f} "
            f"{row['excess_stability']:10.3f} ±{row['excess_stability_error']:5.3f} "
            f"{row['replicable_variance']:8.3f} ±{row['replicable_variance_error']:5.3f} "
            f"{row['null_similarity']:6.3f} {row['dead_fraction']:6.1%}  {', '.join(marks)}",
            flush=True,
        )


def run_planted(names=tuple(PLANTED)):
    """Sweep over planted data of each kind and seed."""
    for name in names:
        options, grid = PLANTED[name]
        truth = f"true M={options['n_components']} K={options['n_active']}"
        for seed in SEEDS:
            X = make_superposition(**options, random_state=seed).data
            sweep(f"{name}, seed {seed}, {truth}", ICFLDictionary(**FIT_PLANTED), X, grid)


def run_without_structure():
    """Sweep over normal rows."""
    X = np.random.default_rng(0).standard_normal((6000, 32))
    grid = PLANTED["independent atoms, 5% noise"][1]
    sweep("normal rows: no atoms at all", ICFLDictionary(**FIT_PLANTED), X, grid)


def sweep_profiles(name, wells, grid, n_directions=None):
    """Sweep over whitened profiles, whole physical plates held out."""
    whitener = ControlPCAWhitener(n_components=n_directions)
    estimator = make_pipeline(whitener, Normalizer(), ICFLDictionary(**FIT))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*whitening overfits its controls")
        return sweep(name, estimator, wells.data, grid, groups=wells.plate, control=wells.control)


def run_narrow():
    """Sweep over few directions of JUMP-Scope."""
    sweep_profiles("JUMP-Scope, 48 directions", load_jump_scope(), NARROW, n_directions=48)


def run_real():
    """Sweep over the shipped profiles."""
    sweep_profiles("JUMP-Scope", load_jump_scope(), REAL)
    sweep_profiles("pediatric cell atlas", load_pediatric_cell_atlas(), REAL)
    run_narrow()


def run():
    """Print all sweeps and choices."""
    run_planted()
    run_without_structure()
    run_real()


if __name__ == "__main__":
    run()
