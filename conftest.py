"""Tests, docstrings and the user guide each start with scikit-learn's default settings."""

import os
import sys

import pytest
import sklearn

os.environ.setdefault("MPLBACKEND", "Agg")  # no example ever opens a window


@pytest.fixture(autouse=True)
def clean_settings():
    """Undo what a test changed for the whole process, and leave no figure open."""
    settings = sklearn.get_config()
    yield
    sklearn.set_config(**settings)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
