"""Fixtures shared by the tests."""

import os

import numpy as np
import pytest
from hypothesis import settings

from skdict.datasets import make_superposition

# Compilation and shared machines make single examples slow at times; counts stay small instead.
settings.register_profile(
    "skdict", deadline=None, max_examples=int(os.environ.get("SKDICT_MAX_EXAMPLES", "25"))
)
settings.load_profile("skdict")


@pytest.fixture(scope="session")
def planted():
    """A small planted superposition problem."""
    return make_superposition(
        n_samples=2000, n_features=24, n_components=48, n_active=3, random_state=0
    )


@pytest.fixture
def rng():
    """A seeded generator, fresh for every test."""
    return np.random.default_rng(0)
