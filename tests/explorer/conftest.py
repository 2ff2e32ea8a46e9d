"""A small bundle with everything in it, hostile texts too."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils import Bunch

from skdict.explorer import build_bundle, open_bundle
from skdict.genes import GeneAttribution, differential_expression, over_representation

N_SAMPLES, N_CONCEPTS, N_GENES = 300, 24, 40
DEAD = 23
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=1>', "'; DROP TABLE notes; --")


@pytest.fixture(scope="session")
def bundle_inputs():
    """Arguments of `build_bundle` for 300 samples x 24 concepts; the last concept is dead."""
    rng = np.random.default_rng(0)
    cell_types = np.array(["B cell", "T cell", "monocyte", HOSTILE[0], HOSTILE[1]], dtype=object)
    cell_type = cell_types[rng.integers(0, 5, N_SAMPLES)]
    codes = rng.gamma(2.0, 1.0, (N_SAMPLES, N_CONCEPTS))
    codes *= rng.random(codes.shape) < 0.15
    for concept, label in enumerate(cell_types):  # five concepts that follow a label
        of_label = cell_type == label
        codes[of_label, concept] += 3.0 + rng.random(of_label.sum())
    codes[:, 5] = 0
    codes[7, 5] = 2.5  # active once
    codes[:, 6] = 1.0 + rng.random(N_SAMPLES)  # active everywhere
    codes[::9, 8] = -1.0  # negative codes are not active
    codes[:, DEAD] = 0
    genes = np.array([f"GENE{i}" for i in range(N_GENES)], dtype=object)
    genes[3], genes[4] = HOSTILE[0], HOSTILE[1]
    counts = rng.poisson(2.0, (N_SAMPLES, N_GENES))
    counts[codes[:, 0] > 0, :4] += 5
    attributed = np.arange(8)
    values = rng.normal(size=(8, N_GENES))
    values[0, :4] += 10
    attribution = GeneAttribution(
        concepts=attributed,
        genes=genes,
        attribution=values,
        standard_error=np.abs(values) / 5,
        q_value=np.clip(np.abs(rng.normal(size=values.shape)), 0, 1),
        pre=Bunch(attribution=values + 0.5),
    )
    sets = {
        "T cell activation": genes[:6].tolist(),
        f"set {HOSTILE[1]}": genes[3:12].tolist(),
        "housekeeping": genes[12:30].tolist(),
    }
    settings = {"genes": genes, "concepts": attributed, "min_size": 2}
    name_of = {0: "T cells", 1: HOSTILE[0], 2: HOSTILE[1]}
    donor = np.array([f"donor {i}" for i in rng.integers(0, 4, N_SAMPLES)], dtype=object)
    donor[:5] = None
    return {
        "codes": sparse.csr_array(codes),
        "components": rng.normal(size=(N_CONCEPTS, 16)),
        "metadata": {
            "cell_type": cell_type,
            "donor": donor,
            "depth": rng.integers(500, 5000, N_SAMPLES),
            "comment": np.array([HOSTILE[i % 3] + str(i) for i in range(N_SAMPLES)], dtype=object),
        },
        "sample_names": [f"cell {i}" for i in range(N_SAMPLES - 2)] + list(HOSTILE[:2]),
        "embeddings": rng.normal(size=(N_SAMPLES, 10)),
        "images": _image,
        "heatmaps": _heatmap,
        "attribution": attribution,
        "expression": differential_expression(counts, codes, genes=genes),
        "enrichment": over_representation(values > 0.5, sets, **settings),
        "expression_enrichment": over_representation(values < -0.5, sets, **settings),
        "stability": rng.random(N_CONCEPTS),
        "names": name_of,
        "title": f"A small bundle {HOSTILE[0]}",
        "description": f"Made of random numbers. {HOSTILE[1]}",
        "n_top": 6,
        "n_random": 5,
        "n_quantiles": 3,
        "n_per_quantile": 2,
        "n_permutations": 19,
        "picture_size": 32,
        "random_state": 0,
    }


def _image(sample):
    """A grey or coloured picture; the last sample has none."""
    if sample == N_SAMPLES - 1:
        return None
    shape = (48, 40) if sample % 2 else (48, 40, 3)
    return np.full(shape, 40 + sample % 200, dtype=np.uint8)


def _heatmap(concept, sample):
    """Activation on a grid of 4 x 4, stronger for later samples; concept 4 has none."""
    if concept == 4:
        return None
    grid = np.zeros((4, 4))
    grid[sample % 4, concept % 4] = 1.0 + sample
    grid[0, 0] -= 1.0
    return grid


@pytest.fixture(scope="session")
def small_bundle_path(bundle_inputs, tmp_path_factory) -> Path:
    """Folder of the small bundle. Tests do not change it; `bundle_copy` is there for that."""
    path = tmp_path_factory.mktemp("explorer") / "bundle"
    build_bundle(path, **bundle_inputs)
    return path


@pytest.fixture(scope="session")
def small_bundle(small_bundle_path):
    """The small bundle, opened once."""
    return open_bundle(small_bundle_path)


@pytest.fixture
def bundle_copy(small_bundle_path, tmp_path) -> Path:
    """A copy of the small bundle that a test may change."""
    return Path(
        shutil.copytree(small_bundle_path, tmp_path / "copy", copy_function=shutil.copyfile)
    )
