"""How much the default rules matter: learning rate, batch size and steps of ICFL, one at a time.

Planted data as in ``planted_recovery`` (8 active atoms, uniform frequencies), one seed.
"""

import time

from skdict import ICFLDictionary
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_recovery

# The defaults here: learning rate 0.1 / sqrt(128) = 0.0088, 1,024 rows, 1,172 steps.
VARIATIONS = (
    {},
    {"learning_rate": 0.00088},
    {"learning_rate": 0.0029},
    {"learning_rate": 0.026},
    {"batch_size": 256, "max_steps": 4688},
    {"batch_size": 4096, "max_steps": 293},
    {"max_steps": 300},
    {"max_steps": 600},
    {"max_steps": 2344},
    {"init": "samples"},
    {"reset_every": None},
    {"normalize_components": False},
    {"learning_rate_schedule": "constant"},
)


def run():
    """Print the share of atoms found, explained variance and seconds per variation."""
    data = make_superposition(60_000, 128, 1024, n_active=8, random_state=0)
    print(f"{'changed':45} {'found':>6} {'cosine':>7} {'expl.var':>8} {'s':>6}")
    for options in VARIATIONS:
        model = ICFLDictionary(1024, n_nonzero_coefs=8, random_state=0, **options)
        start = time.perf_counter()
        model.fit(data.data)
        seconds = time.perf_counter() - start
        match = dictionary_recovery(data.components, model.components_)
        name = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "nothing"
        print(
            f"{name:45} {match.recovered:6.1%} {match.mean_cosine:7.3f} "
            f"{model.score(data.data):8.3f} {seconds:6.1f}",
            flush=True,
        )
