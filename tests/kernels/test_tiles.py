"""Products on tiles of rows: the place of a row in its tile makes no difference in float64."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skdict.kernels._residual import TILE_ROWS as RESIDUAL_TILE_ROWS
from skdict.kernels._tiles import FEW_TILE_ROWS, TILE_ROWS, for_each_tile


@pytest.mark.parametrize("height", sorted({TILE_ROWS, FEW_TILE_ROWS, *RESIDUAL_TILE_ROWS}))
def test_a_product_has_the_same_bits_in_every_row_of_a_tile(rng, height):
    """Numbers of atoms with every remainder that vector registers leave."""
    for n_features in (7, 128):
        row = rng.normal(size=n_features)
        tile = np.tile(row, (height, 1))
        for n_atoms in (*range(1, 34), 300, 700):
            atoms = rng.normal(size=(n_atoms, n_features))
            with threadpool_limits(1):
                products = tile @ atoms.T
            np.testing.assert_array_equal(products, products[[0] * height])


@pytest.mark.parametrize("n_atoms", [300, 700])
def test_equal_rows_have_equal_correlations(rng, n_atoms):
    dictionary = rng.normal(size=(n_atoms, 50))
    x = np.tile(rng.normal(size=50), (501, 1))
    found = np.empty((501, n_atoms))

    def keep(start, stop, tile, correlations):
        found[start:stop] = correlations

    for_each_tile(x, np.full(50, 0.1), dictionary, keep)
    np.testing.assert_array_equal(found, found[[0] * 501])
