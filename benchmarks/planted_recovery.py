"""Share of planted atoms found with default settings, over three seeds.

The data follow the superposition model with known atoms: 60,000 unit rows, 128 features, 1,024
atoms, gamma(2) coefficients, 2% noise. An atom counts as found when the learned atom matched to it
(one to one) has a cosine above 0.9. Everything but the number of atoms and of non-zeros is default.
"""

import time

import numpy as np

from skdict import ICFLDictionary, TopKSAE
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_recovery

CASES = {
    "8 active, uniform": {"n_active": 8, "zipf_exponent": 0.0},
    "16 active, Zipf 1.0": {"n_active": 16, "zipf_exponent": 1.0},
}
SEEDS = (0, 1, 2)


def models(n_components, n_active, seed):
    """Models compared, all with the same number of atoms and non-zeros."""
    sizes = {"n_nonzero_coefs": n_active, "random_state": seed}
    return {
        "ICFL": ICFLDictionary(n_components, **sizes),
        "TopK SAE": TopKSAE(n_components, **sizes),
        "TopK SAE, no AuxK, linear init": TopKSAE(
            n_components, auxk_coef=0, init="linear", **sizes
        ),
        "random atoms": ICFLDictionary(n_components, max_steps=0, **sizes),
    }


def run():
    """Print found atoms, mean matched cosine, explained variance and seconds per model."""
    print(f"{'data':20} {'model':31} {'found per seed':24} {'cosine':>7} {'expl.var':>8} {'s':>6}")
    for case, options in CASES.items():
        results: dict = {}
        for seed in SEEDS:
            data = make_superposition(60_000, 128, 1024, random_state=seed, **options)
            for name, model in models(1024, options["n_active"], seed).items():
                start = time.perf_counter()
                model.fit(data.data)
                seconds = time.perf_counter() - start
                match = dictionary_recovery(data.components, model.components_)
                row = match.recovered, match.mean_cosine, model.score(data.data), seconds
                results.setdefault(name, []).append(row)
        for name, rows in results.items():
            found = ", ".join(f"{row[0]:.1%}" for row in rows)
            cosine, variance, seconds = np.mean([row[1:] for row in rows], axis=0)
            print(
                f"{case:20} {name:31} {found:24} {cosine:7.3f} {variance:8.3f} {seconds:6.1f}",
                flush=True,
            )
