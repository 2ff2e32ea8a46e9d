"""Histograms of atom usage."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from skdict import ICFLDictionary
from skdict.display import AtomUsageDisplay


@pytest.mark.parametrize("convert", [np.asarray, csr_array])
def test_usage_counts_atoms_and_dead_ones(convert):
    codes = np.zeros((100, 4))
    codes[:, 0], codes[:10, 1], codes[0, 2] = 1.0, -1.0, 2.0
    display = AtomUsageDisplay.from_codes(convert(codes), name="model")
    assert np.array_equal(display.frequency, [1.0, 0.1, 0.01, 0.0])
    assert display.n_dead == 1
    assert display.ax_.get_legend().get_texts()[0].get_text() == "model (1 dead of 4)"
    heights, _ = np.histogram([0.0, -1.0, -2.0], np.linspace(np.log10(0.005), 0, 21))
    outline = display.bars_[0].get_path().vertices[:, 1]
    assert outline.max() == heights.max()
    assert heights.sum() == 3  # every living atom is inside the axis


def test_usage_threshold_and_all_dead():
    display = AtomUsageDisplay([0.5, 0.001], n_samples=1000, min_fraction=0.01).plot()
    assert display.n_dead == 1
    assert AtomUsageDisplay([0.0, 0.0], n_samples=10).plot().n_dead == 2


def test_usage_from_estimator(planted):
    dictionary = ICFLDictionary(16, max_steps=2, random_state=0).fit(planted.data[:100])
    display = AtomUsageDisplay.from_estimator(dictionary, planted.data[:100])
    assert display.frequency.shape == (16,)
    assert display.name == "ICFLDictionary"
