"""The chosen layer is scored on groups that did not choose it, or the result says otherwise."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict.probing import probe_interval, probe_layers, probe_representations


@pytest.fixture
def data():
    """Three layers of which the second tells most; twenty plates of twelve rows."""
    rng = np.random.default_rng(0)
    y = np.array(list("abc"))[np.tile(np.arange(3), 80)]
    shift = rng.normal(size=(3, 6))[np.searchsorted(list("abc"), y)]
    layers = {
        f"block {i}": rng.normal(size=(240, 6)) + strength * shift
        for i, strength in enumerate((0.2, 1.0, 0.5))
    }
    return {"layers": layers, "y": y, "groups": np.arange(240) // 12}


def test_choice_and_score_come_from_different_groups(data):
    layers, y, groups = data["layers"], data["y"], data["groups"]
    found = probe_layers(layers, y, groups=groups, cv=3, units=groups, Cs=0.5, random_state=0)
    assert found.best_layer == "block 1" and not found.labels_reused
    assert not set(groups[found.selection]) & set(groups[found.evaluation])
    np.testing.assert_array_equal(found.selection, ~found.evaluation)
    assert abs(found.selection.mean() - 0.5) < 0.05
    train, test = found.selection, found.evaluation
    for i, (name, X) in enumerate(layers.items()):
        # the evaluation: fitted on the one part, scored on the other
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, class_weight="balanced"))
        predicted = probe.fit(X[train], y[train]).predict(X[test])
        expected = probe_interval(y[test], predicted, units=groups[test], random_state=0)
        assert found.table["layer"][i] == name
        assert found.table["balanced_accuracy"][i] == pytest.approx(expected.balanced_accuracy)
        assert found.table["low"][i] == pytest.approx(expected.low)
        assert found.table["high"][i] == pytest.approx(expected.high)
        # the selection: folds within the selection part
        _, pooled = probe_representations(
            None,
            X[train],
            y[train],
            groups=groups[train],
            cv=3,
            representations="raw",
            Cs=0.5,
            return_predictions=True,
        )
        assert found.table["selection_balanced_accuracy"][i] == pytest.approx(
            balanced_accuracy_score(pooled["y_true"], pooled["y_pred"])
        )
    assert found.table["chosen"].tolist() == [False, True, False]
    assert found.balanced_accuracy == found.table["balanced_accuracy"][1]
    assert found.selection_score == found.table["selection_balanced_accuracy"].max()
    assert found.n_units == 10 and found.chance == pytest.approx(1 / 3)


def test_the_score_of_a_choice_among_noise_is_chance_and_reuse_is_optimistic():
    rng = np.random.default_rng(0)
    y, groups = np.tile([0, 1], 80), np.arange(160) // 8
    honest, optimistic, reused = [], [], []
    for _ in range(12):
        layers = {i: rng.normal(size=(160, 3)) for i in range(10)}
        options = {"groups": groups, "units": None, "Cs": 0.1, "n_resamples": 20}
        found = probe_layers(layers, y, cv=GroupKFold(2), random_state=0, **options)
        honest.append(found.balanced_accuracy)
        optimistic.append(found.selection_score)
        with pytest.warns(UserWarning, match="chosen and scored with the same labels"):
            again = probe_layers(layers, y, cv=GroupKFold(2), reuse_labels=True, **options)
        assert again.labels_reused and again.table["labels_reused"].all()
        assert again.balanced_accuracy == pytest.approx(again.selection_score)
        assert again.evaluation.all() and again.selection.all()
        reused.append(again.balanced_accuracy)
    error = np.std(honest, ddof=1) / np.sqrt(12)
    assert abs(np.mean(honest) - 0.5) < 3 * error
    assert np.mean(optimistic) > 0.5 + 4 * error and np.mean(reused) > 0.5 + 3 * error


def test_given_parts_frames_and_progress(data, capsys):
    pytest.importorskip("pandas")
    selection = data["groups"] < 8
    found = probe_layers(
        data["layers"],
        data["y"],
        groups=data["groups"],
        cv=2,
        units=None,
        strata=data["groups"],
        selection=selection,
        Cs=1.0,
        n_resamples=50,
        verbose=1,
        as_frame=True,
    )
    np.testing.assert_array_equal(found.selection, selection)
    assert found.n_units == (~selection).sum()
    assert found.table["chosen"].sum() == 1
    assert "fold 2 of 2, block 0: balanced accuracy" in capsys.readouterr().out
    loose = probe_layers(
        data["layers"], data["y"], groups=None, cv=2, units=None, Cs=1.0, random_state=0
    )
    assert loose.best_layer == "block 1"


def test_errors_name_the_parameter(data):
    def run(layers=data["layers"], **more):
        options = {"groups": data["groups"], "cv": 3, "units": None, "Cs": 1.0} | more
        return probe_layers(layers, data["y"], **options)

    one = dict(list(data["layers"].items())[:1])
    for more, message in [
        ({"layers": one}, "layers must hold at least two layers"),
        ({"layers": one | {"short": np.zeros((3, 2))}}, "layers must have the same rows"),
        ({"layers": one | {"odd": np.full((240, 2), np.inf)}}, "layers\\['odd'\\] holds NaN"),
        ({"selection": np.arange(240)}, "selection must be a boolean mask"),
        ({"selection": np.ones(240, dtype=bool)}, "selection must hold some rows"),
        ({"selection": np.arange(240) < 100}, "selection must not share groups"),
        (
            {"selection": data["groups"] < 8, "reuse_labels": True},
            "selection must be None with reuse_labels=True",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**more)
    with pytest.raises(TypeError, match="layers must be a dict"):
        run(layers=list(data["layers"].values()))
