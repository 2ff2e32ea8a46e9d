"""Planted fields shared by the tests of images."""

import pytest

from skdict.datasets import make_cell_fields
from skdict.imaging import pool_channels


@pytest.fixture(scope="session")
def fields():
    """Twelve planted fields in four wells; three have a light leak."""
    return make_cell_fields(n_images=12, n_wells=4, random_state=0)


@pytest.fixture(scope="session")
def stains(fields):
    """Their channels on the grid of tokens."""
    return pool_channels(fields.images, (32, 32))
