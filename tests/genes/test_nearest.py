"""Distances between cells, in blocks."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skdict.genes import _nearest
from skdict.genes._nearest import Distances


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_blocks_equal_scipy(rng, metric, offset, monkeypatch):
    E = rng.normal(size=(40, 5)) + (offset if metric == "euclidean" else 0)
    expected = cdist(E, E, metric)
    monkeypatch.setattr(_nearest, "_DISTANCE_VALUES", 130)
    monkeypatch.setattr(_nearest, "_CELL_VALUES", 35)
    distances = Distances(E, metric)
    cells = np.array([3, 39, 0, 7, 21])
    seen = []
    for taken, block in distances.blocks(cells):
        np.testing.assert_allclose(block, expected[cells[taken]], atol=1e-6)
        seen += list(range(taken.start, taken.stop))
        assert block.shape[0] <= 3
    assert seen == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(distances.between(3, [5, 3, 8]), expected[3, [5, 3, 8]], atol=1e-12)


def test_a_row_of_zeros_has_no_cosine(rng):
    E = rng.normal(size=(5, 3))
    E[2] = 0
    with pytest.raises(ValueError, match="embeddings hold a row of zeros"):
        list(Distances(E, "cosine").blocks(np.array([0])))
