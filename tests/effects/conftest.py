"""A planted screen: wells with cells, plates that shift everything, and known effects."""

import numpy as np
import pytest


def draw_screen(
    seed, *, n_concepts=40, n_perturbations=8, n_plates=3, n_wells=4, n_controls=12, n_cells=8,
    share=0.1, size=2.0,
):  # fmt: skip
    """Codes of cells, their perturbation (-1 control), plate, well, and the planted pairs."""
    rng = np.random.default_rng(seed)
    of_plate = np.concatenate(
        [np.repeat(np.arange(n_perturbations), n_wells), np.full(n_controls, -1)]
    )
    perturbation = np.tile(of_plate, n_plates)
    plate = np.repeat(np.arange(n_plates), of_plate.size)
    truth = rng.random((n_perturbations, n_concepts)) < share
    effect = np.where(truth, size * rng.choice([-1, 1], truth.shape), 0)
    effect = np.vstack([effect, np.zeros(n_concepts)])  # the last row is that of controls
    level = rng.normal(-1.0, 1.0, n_concepts) + effect[perturbation]
    level += rng.normal(0, 1.0, (n_plates, n_concepts))[plate]
    level += rng.normal(0, 0.5, (plate.size, n_concepts))
    strength = rng.normal(0, 0.3, (n_plates, n_concepts))[plate]
    strength = strength + rng.normal(0, 0.3, (plate.size, n_concepts))
    well = np.repeat(np.arange(plate.size), n_cells)
    active = rng.random((well.size, n_concepts)) < 1 / (1 + np.exp(-level[well]))
    codes = np.where(active, np.exp(strength[well] + rng.normal(0, 0.5, active.shape)), 0.0)
    return codes, perturbation[well], plate[well], well, truth


@pytest.fixture(scope="session")
def planted_screen():
    return draw_screen(0)
