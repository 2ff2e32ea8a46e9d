"""ICFL's two solvers where it counts: recovery, selectivity on held-out plates, stability.

Planted data as in ``planted_recovery``. Selectivity: JUMP-Scope wells whitened on the controls of
the training plates, unit rows; each label's best feature is chosen on three plates and scored on
the other two; a seed stands for a pair of held-out plates and for the start. Stability: mean
matched cosine between the dictionaries of two seeds, learned from all wells.
"""

import time
import warnings

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from benchmarks.planted_recovery import CASES, SEEDS
from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.datasets import load_jump_scope, make_superposition
from skdict.metrics import dictionary_recovery, held_out_selectivity

# Fewer steps than the default 1,172 of the planted data, to see who needs them.
STEPS = (None, 300)
# Default sizes for 216 features, and those of the demo.
SIZES = ((None, None), (432, 20))
# The default is 300 steps on these data.
PROFILE_MODELS = {
    "random": {"max_steps": 0},
    "adam": {"solver": "adam"},
    "adam, 1,200": {"solver": "adam", "max_steps": 1200},
    "online": {"solver": "online"},
}


def run_planted():
    """Print atoms found per seed, explained variance and seconds."""
    print(f"{'planted data':20} {'steps':>7} {'solver':8} {'found per seed':24} {'expl.var':>8} s")
    for case, options in CASES.items():
        rows: dict = {}
        for seed in SEEDS:
            data = make_superposition(60_000, 128, 1024, random_state=seed, **options)
            for steps in STEPS:
                for solver in ("adam", "online"):
                    model = ICFLDictionary(
                        1024,
                        n_nonzero_coefs=options["n_active"],
                        solver=solver,
                        max_steps=steps,
                        random_state=seed,
                    )
                    start = time.perf_counter()
                    model.fit(data.data)
                    seconds = time.perf_counter() - start
                    found = dictionary_recovery(data.components, model.components_).recovered
                    row = found, model.score(data.data), seconds
                    rows.setdefault((steps or "default", solver), []).append(row)
        for (steps, solver), values in rows.items():
            found, variance, seconds = np.transpose(values)
            per_seed = ", ".join(f"{share:.1%}" for share in found)
            print(
                f"{case:20} {steps:>7} {solver:8} {per_seed:24} {variance.mean():8.3f} "
                f"{np.median(seconds):.1f}",
                flush=True,
            )


def whitened(wells, rows):
    """Profiles of the rows, and of the others, whitened on the controls among the rows."""
    pipeline = make_pipeline(ControlPCAWhitener(), Normalizer())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*whitening overfits")
        pipeline.fit(wells.data[rows], controlpcawhitener__control=wells.control[rows])
    return pipeline.transform(wells.data)


def selectivity(wells, model, seed):
    """Mean held-out selectivity of compounds and of mechanisms; explained variance held out."""
    plates = np.unique(wells.plate)
    held_out = np.isin(wells.plate, plates[[seed % 5, (seed + 1) % 5]])
    X = whitened(wells, ~held_out)
    train, test = ~held_out & ~wells.control, held_out & ~wells.control
    model.fit(X[~held_out])
    codes = model.transform(X[train]), model.transform(X[test])
    scores = [
        held_out_selectivity(codes[0], y[train], codes[1], y[test]).test_score.mean()
        for y in (wells.compound, wells.moa)
    ]
    return (*scores, model.score(X[test]))


def run_profiles():
    """Print selectivity per seed and stability."""
    wells = load_jump_scope()
    everything = whitened(wells, np.ones(len(wells.data), bool))
    print(
        f"\n{'JUMP-Scope atoms, K':20} {'model':11} {'compounds per seed':20} "
        f"{'mechanisms per seed':20} {'expl.var':>8} {'stability':>9}"
    )
    for n_atoms, n_nonzero in SIZES:
        for name, options in PROFILE_MODELS.items():
            models = [
                ICFLDictionary(n_atoms, n_nonzero_coefs=n_nonzero, random_state=seed, **options)
                for seed in SEEDS
            ]
            scores = [
                selectivity(wells, model, seed) for seed, model in zip(SEEDS, models, strict=True)
            ]
            compounds, mechanisms, variance = np.transpose(scores)
            atoms = [model.fit(everything).components_ for model in models]
            pairs = [(a, b) for i, a in enumerate(atoms) for b in atoms[i + 1 :]]
            stability = np.mean([dictionary_recovery(a, b).mean_cosine for a, b in pairs])
            size = f"{len(atoms[0])}, {n_nonzero or 'default'}"
            print(
                f"{size:20} {name:11} {', '.join(f'{s:.3f}' for s in compounds):20} "
                f"{', '.join(f'{s:.3f}' for s in mechanisms):20} {variance.mean():8.3f} "
                f"{stability:9.3f}",
                flush=True,
            )


def run():
    """Print both tables."""
    run_planted()
    run_profiles()


if __name__ == "__main__":
    run()
