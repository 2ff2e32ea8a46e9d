"""Reconstruction against sparsity."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ICFLDictionary
from skdict.display import SparsityReconstructionDisplay
from skdict.metrics import reconstruction_cosine


def test_sparsity_curve_of_one_dictionary(planted):
    X = planted.data[:200]
    dictionary = ICFLDictionary(48, n_nonzero_coefs=4, max_steps=20, random_state=0)
    pipeline = make_pipeline(Normalizer(), dictionary).fit(X)
    display = SparsityReconstructionDisplay.from_estimator(
        pipeline, X, n_nonzero_coefs=[4, 1, 2], name="ICFL"
    )
    unit = Normalizer().transform(X)
    fitted = pipeline[-1]
    rebuilt = fitted.inverse_transform(fitted.transform(unit))
    assert display.cosine[0] == pytest.approx(reconstruction_cosine(unit, rebuilt))
    assert display.cosine[1] < display.cosine[2] < display.cosine[0]
    assert display.n_nonzero[1] == pytest.approx(1.0)
    # Drawn from left to right, whatever the order asked for; the estimator is as it was.
    assert (np.diff(display.line_.get_xdata()) > 0).all()
    assert fitted.transform_n_nonzero_coefs is None


def test_sparsity_needs_a_dictionary_that_can_change_it(rng):
    X = rng.normal(size=(20, 4))
    with pytest.raises(ValueError, match="transform_n_nonzero_coefs, got PCA"):
        SparsityReconstructionDisplay.from_estimator(PCA(2).fit(X), X, n_nonzero_coefs=[1])


def test_sparsity_lists_must_have_one_length():
    X = np.eye(3)
    with pytest.raises(ValueError, match="reconstructions, codes"):
        SparsityReconstructionDisplay.from_reconstructions(X, [X, X], codes=[X])


def test_sparsity_band():
    display = SparsityReconstructionDisplay([2, 1], [0.8, 0.6], spread=[0.1, 0.2]).plot()
    heights = display.band_.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.4)
    assert heights.max() == pytest.approx(0.9)
