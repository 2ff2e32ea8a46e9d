"""Sparse probes against a loop over scikit-learn, and on labels that mean something or nothing."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold

from skdict.probing import probe_interval, sparse_probe


@pytest.fixture
def data():
    """Codes of 30 components, three labels that shift some of them, uneven scales."""
    rng = np.random.default_rng(0)
    y = np.array(list("abc"))[rng.choice(3, 240, p=[0.5, 0.3, 0.2])]
    codes = rng.normal(size=(240, 30)) * (rng.random((240, 30)) < 0.3)
    codes[:, :9] += 0.8 * (y[:, None] == np.repeat(list("abc"), 3)) * rng.random((240, 9))
    codes *= rng.uniform(0.2, 5, size=30)
    return {"codes": codes, "y": y, "groups": np.arange(240) // 12}


@pytest.mark.parametrize("standardize", [False, True])
def test_equals_a_loop_over_scikit_learn(data, standardize):
    codes, y, groups = data["codes"], data["y"], data["groups"]
    cv = GroupKFold(4)
    table, features = sparse_probe(
        sparse.csr_array(codes),
        y,
        groups=groups,
        cv=cv,
        C=0.5,
        standardize=standardize,
        return_features=True,
    )
    row = 0
    for fold, (train, test) in enumerate(cv.split(codes, y, groups)):
        for label in "abc":
            positive = y == label
            difference = codes[train][positive[train]].mean(0) - codes[train][
                ~positive[train]
            ].mean(0)
            criterion = np.abs(difference) / (codes[train].std(0) if standardize else 1)
            best = np.argsort(-criterion, kind="stable")[:5]
            here = (features["fold"] == fold) & (features["label"] == label)
            np.testing.assert_array_equal(features["feature"][here], best)
            np.testing.assert_allclose(features["mean_difference"][here], difference[best])
            for k in (1, 2, 5):
                used = codes[:, best[:k]] / np.abs(codes[train][:, best[:k]]).max(axis=0)
                probe = LogisticRegression(C=0.5, class_weight="balanced", tol=1e-10, max_iter=1000)
                predicted = probe.fit(used[train], positive[train]).predict(used[test])
                entry = {key: column[row] for key, column in table.items()}
                assert (entry["fold"], entry["label"], entry["n_features"]) == (fold, label, k)
                assert entry["balanced_accuracy"] == pytest.approx(
                    balanced_accuracy_score(positive[test], predicted)
                )
                assert entry["recall"] == pytest.approx(predicted[positive[test]].mean())
                assert entry["n_positive"] == positive[test].sum()
                row += 1
    assert row == table["fold"].shape[0]


def test_dense_and_sparse_codes_give_the_same(data):
    options = {"groups": data["groups"], "cv": 3}
    dense = sparse_probe(data["codes"], data["y"], **options)
    for codes in (sparse.csr_matrix(data["codes"]), sparse.csc_array(data["codes"])):
        found = sparse_probe(codes, data["y"], **options)
        for name, column in dense.items():
            np.testing.assert_array_equal(found[name], column)


def test_one_feature_suffices_for_concepts_and_not_for_a_rotation():
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(12), 20)
    concepts = np.eye(16)[y] + 0.2 * rng.normal(size=(240, 16))
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    scores = {}
    for name, X in [("concepts", concepts), ("rotated", concepts @ rotation)]:
        table = sparse_probe(X, y, groups=np.arange(240) // 10, cv=4, n_features=1)
        scores[name] = table["balanced_accuracy"].mean()
    assert scores["concepts"] > 0.97
    assert scores["rotated"] < 0.9


def test_labels_that_mean_nothing_are_at_chance(data):
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(10):
        y = rng.permutation(data["y"])
        table = sparse_probe(data["codes"], y, groups=data["groups"], cv=4, n_features=(1, 5))
        scores.append(table["balanced_accuracy"].mean())
    # the features were chosen among thirty on the training rows only
    assert abs(np.mean(scores) - 0.5) < 3 * np.std(scores, ddof=1) / np.sqrt(10)


def test_predictions_give_intervals(data):
    cv = StratifiedGroupKFold(3)
    table, predictions = sparse_probe(
        data["codes"],
        data["y"],
        groups=data["groups"],
        cv=cv,
        labels=["c", "a"],
        n_features=(1, 3),
        return_predictions=True,
    )
    assert predictions.labels.tolist() == ["c", "a"]
    assert predictions.n_features.tolist() == [1, 3]
    assert predictions.predicted.shape == (2, 240, 2)
    np.testing.assert_array_equal(predictions.y_true, data["y"][predictions.row])
    for i, k in enumerate((1, 3)):
        for j, label in enumerate("ca"):
            for fold in range(3):
                here = predictions.fold == fold
                row = (table["fold"] == fold) & (table["label"] == label)
                assert table["balanced_accuracy"][
                    row & (table["n_features"] == k)
                ] == pytest.approx(
                    balanced_accuracy_score(
                        predictions.y_true[here] == label, predictions.predicted[i, here, j]
                    )
                )
    found = probe_interval(
        predictions.y_true == "c",
        predictions.predicted[1, :, 0],
        units=data["groups"][predictions.row],
        random_state=0,
    )
    assert 0.5 < found.low < found.high


def test_labels_without_training_or_test_rows(data):
    y = np.where(data["groups"] == 0, "rare", data["y"])
    table = sparse_probe(data["codes"], y, groups=data["groups"], cv=GroupKFold(4))
    rare = table["label"] == "rare"
    assert np.unique(table["fold"][rare]).size == 1  # only where it is tested
    assert not table["seen"][rare].any() and table["seen"][~rare].all()
    assert (table["balanced_accuracy"][rare] == 0.5).all()
    assert (table["recall"][rare] == 0).all() and (table["specificity"][rare] == 1).all()


def test_progress_and_frames(data, capsys):
    pytest.importorskip("pandas")
    frame, features = sparse_probe(
        data["codes"],
        data["y"],
        groups=data["groups"],
        cv=2,
        n_features=1,
        verbose=1,
        return_features=True,
        as_frame=True,
    )
    assert capsys.readouterr().out.count("[sparse_probe] fold") == 2
    assert frame.shape[0] == features.shape[0] == 6


def test_errors_name_the_parameter(data):
    def run(codes=data["codes"], **more):
        return sparse_probe(codes, data["y"], **({"groups": data["groups"], "cv": 3} | more))

    for more, message in [
        ({"n_features": 0}, "n_features must lie between 1 and the 30 columns"),
        ({"n_features": 31}, "n_features must lie between"),
        ({"n_features": 1.5}, "n_features must be integers"),
        ({"labels": ["d"]}, "labels must be distinct labels that y holds"),
        ({"labels": ["a", "a"]}, "labels must be distinct"),
        ({"C": 0.0}, "C must be in"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1"),
        ({"groups": data["y"], "cv": LeaveOneGroupOut()}, "groups must leave a test part"),
        ({"codes": sparse.csr_array(np.full((240, 6), np.nan))}, "codes holds NaN"),
        ({"groups": data["groups"][1:]}, "groups must have one entry"),
        ({"codes": data["codes"][1:]}, "y must have one entry"),
        ({"codes": np.full((240, 3), np.nan)}, "codes holds NaN"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**more)
