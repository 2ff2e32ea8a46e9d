"""A batch effect that goes along with the label fools splits that cut batches, and not ours.

Every batch holds one label and has an offset of its own; the label itself changes nothing. Within
the batches of this data set label and offset cannot be told apart, so a split by rows reads the
label nearly always. On a new batch it cannot be read at all.
"""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.probing import (
    probe_gap,
    probe_interval,
    probe_layers,
    probe_representations,
    probe_subspaces,
    sparse_probe,
)

N_BATCHES, N_ROWS = 40, 16
BY_ROWS = StratifiedKFold(5, shuffle=True, random_state=0)
BY_BATCHES = StratifiedGroupKFold(5)


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    batch = np.repeat(np.arange(N_BATCHES), N_ROWS)
    y = np.where(batch % 2 == 0, "treated", "sham")
    offset = 3 * rng.normal(size=(N_BATCHES, 60))
    X = offset[batch] + rng.normal(size=(batch.shape[0], 60))
    return {"X": X, "y": y, "batch": batch, "control": np.arange(batch.shape[0]) % 4 == 0}


def pipeline():
    return make_pipeline(
        ControlPCAWhitener(40), Normalizer(), ICFLDictionary(120, max_steps=10, random_state=0)
    )


def test_probes_of_all_representations(batches):
    scores = {}
    for name, groups, cv in [("rows", None, BY_ROWS), ("batches", batches["batch"], BY_BATCHES)]:
        table, predictions = probe_representations(
            pipeline(),
            batches["X"],
            batches["y"],
            groups=groups,
            cv=cv,
            control=batches["control"],
            Cs=1.0,
            return_predictions=True,
        )
        for representation in ("raw", "codes", "reconstruction"):
            here = predictions["representation"] == representation
            scores[name, representation] = probe_interval(
                predictions["y_true"][here],
                predictions["y_pred"][here],
                units=batches["batch"][predictions["row"][here]],
                n_resamples=500,
                random_state=0,
            )
        # the fold that holds batches out keeps their controls out of the whitening as well
        n_control = batches["control"].sum() * (1 if groups is None else 4 / 5)
        assert (table["n_control"] == n_control).all()
    for representation in ("raw", "codes", "reconstruction"):
        fooled, honest = scores["rows", representation], scores["batches", representation]
        assert fooled.low > 0.8
        assert honest.low < 0.5 < honest.high
        assert fooled.low > honest.high
    # resampling rows instead of batches calls the chance result surer than it is
    here = predictions["representation"] == "raw"
    by_rows = probe_interval(
        predictions["y_true"][here], predictions["y_pred"][here], units=None, random_state=0
    )
    honest = scores["batches", "raw"]
    assert by_rows.standard_error < 0.7 * honest.standard_error


def test_gap_sparse_probe_subspaces_and_layers(batches):
    keep = ~batches["control"]
    X, y, batch = (batches[name][keep] for name in ("X", "y", "batch"))
    scores = {}
    for name, groups, cv in [("rows", None, BY_ROWS), ("batches", batch, BY_BATCHES)]:
        options = {"groups": groups, "cv": cv}
        sure = {"units": batch, "Cs": 1.0, "n_resamples": 20, "random_state": 0}
        table = sparse_probe(X, y, n_features=20, **options)
        scores[name, "sparse_probe"] = table["balanced_accuracy"].mean()
        gap = probe_gap(
            ICFLDictionary(120, max_steps=5, random_state=0),
            X,
            y,
            n_nonzero_coefs=20,
            representations="codes",
            **options,
            **sure,
        )
        scores[name, "probe_gap"] = gap["balanced_accuracy"][0]
        parts = probe_subspaces(
            X, y, np.eye(60)[:, :30], subspaces=("row", "null"), **options, **sure
        )
        scores[name, "probe_subspaces"] = parts["balanced_accuracy"].mean()
        layers = probe_layers({0: X, 1: X[:, ::2]}, y, **options, **sure)
        scores[name, "probe_layers"] = layers.balanced_accuracy
    for function in ("sparse_probe", "probe_gap", "probe_subspaces", "probe_layers"):
        # 40 batches: the standard error of an accuracy at chance is about 0.08
        assert scores["rows", function] > 0.72, function
        assert abs(scores["batches", function] - 0.5) < 0.2, function
