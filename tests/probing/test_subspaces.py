"""The split against scipy's null space and pseudo-inverse; the probes on planted subspaces."""

import numpy as np
import pytest
from scipy import linalg, sparse

from skdict.probing import probe_interval, probe_representations, probe_subspaces, split_subspaces


@pytest.fixture
def planted():
    """Labels in the last three of ten features; a map that reads the first four, rotated."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(3), 80)
    X = rng.normal(size=(240, 10))
    X[:, 7:] += 2.5 * np.eye(3)[y]
    rotation = linalg.qr(rng.normal(size=(10, 10)))[0]
    return {
        "X": X @ rotation,
        "y": y,
        "W": rotation.T[:, :4] @ rng.normal(size=(4, 6)),  # rank 4, six outputs
        "blind": rotation.T[:, 7:],
        "groups": np.arange(240) // 12,
    }


@pytest.mark.parametrize("shape", [(12, 5), (12, 20), (12, 1)])
@pytest.mark.parametrize("rank", [1, 3, 12])
def test_split_against_scipy(shape, rank):
    rng = np.random.default_rng(0)
    rank = min(rank, *shape)
    X = rng.normal(size=(30, 12))
    W = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    parts = split_subspaces(X, W, random_state=0)
    assert parts.dimension == rank == np.linalg.matrix_rank(W)
    outside = linalg.null_space(W.T, rcond=1e-10)
    np.testing.assert_allclose(parts.null, X @ outside @ outside.T, atol=1e-10)
    np.testing.assert_allclose(parts.row, X @ (W @ linalg.pinv(W)), atol=1e-10)
    np.testing.assert_allclose(parts.row + parts.null, X, atol=1e-14)
    np.testing.assert_allclose(parts.row @ W, X @ W, atol=1e-10)
    np.testing.assert_allclose(parts.null @ W, 0, atol=1e-10)
    np.testing.assert_allclose((parts.row * parts.null).sum(axis=1), 0, atol=1e-10)


def test_the_random_part_is_a_projection_of_equal_dimension(planted):
    X, W = planted["X"], planted["W"]
    parts = split_subspaces(X, W, random_state=0)
    assert parts.random_basis.shape == parts.row_basis.shape == (10, 4)
    for basis in (parts.row_basis, parts.random_basis):
        np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(parts.random, X @ parts.random_basis @ parts.random_basis.T)
    other = split_subspaces(X, W, random_state=1)
    assert np.abs(other.random - parts.random).max() > 0.1
    np.testing.assert_array_equal(other.row, parts.row)
    # uniform: the mean squared length in it is dimension / n_features of the whole
    rows = np.random.default_rng(2).normal(size=(2, 10))
    kept = [(split_subspaces(rows, W, random_state=seed).random ** 2).sum() for seed in range(300)]
    assert np.mean(kept) / (rows**2).sum() == pytest.approx(0.4, abs=0.04)


def test_float32_stays_and_its_rank_is_found(planted):
    X, W = planted["X"].astype(np.float32), planted["W"].astype(np.float32)
    parts = split_subspaces(X, W)
    assert parts.row.dtype == parts.null.dtype == parts.random.dtype == np.float32
    assert parts.dimension == 4
    np.testing.assert_allclose(parts.row + parts.null, X, atol=1e-5)


def test_relative_accuracy_of_planted_labels(planted):
    X, y, groups = planted["X"], planted["y"], planted["groups"]
    options = {"groups": groups, "cv": 4, "units": groups, "Cs": 1.0, "n_resamples": 300}
    table = probe_subspaces(X, y, planted["W"], random_state=0, **options)
    found = {
        name: {key: column[i] for key, column in table.items()}
        for i, name in enumerate(table["subspace"])
    }
    assert list(found) == ["whole", "row", "null", "random"]
    assert [found[name]["dimension"] for name in found] == [10, 4, 6, 4]
    assert (found["whole"]["relative_accuracy"], found["whole"]["low"]) == (1.0, 1.0)
    assert found["null"]["low"] > 0.95 and found["row"]["high"] < 0.6  # chance is 1/3
    assert found["row"]["relative_accuracy"] < found["random"]["low"]
    assert found["random"]["draw_spread"] > 0 == found["row"]["draw_spread"]
    for entry in found.values():
        ratio = entry["balanced_accuracy"] / found["whole"]["balanced_accuracy"]
        assert entry["relative_accuracy"] == pytest.approx(ratio)
        assert entry["low"] <= entry["relative_accuracy"] <= entry["high"]
        assert (entry["n_units"], entry["chance"]) == (20, pytest.approx(1 / 3))
    # the map that reads the labels turns it round
    table = probe_subspaces(X, y, planted["blind"], random_state=0, **options)
    assert table["low"][1] > 0.95 and table["high"][2] < 0.6


def test_the_whole_is_the_raw_probe_and_the_parts_are_probes_of_the_split(planted):
    X, y, groups = planted["X"], planted["y"], planted["groups"]
    options = {"groups": groups, "cv": 4, "Cs": 0.1}
    table = probe_subspaces(
        X, y, planted["W"], units=None, subspaces="row", random_state=0, **options
    )
    _, predictions = probe_representations(
        None, X, y, representations="raw", return_predictions=True, **options
    )
    raw = probe_interval(predictions["y_true"], predictions["y_pred"], units=None)
    assert table["balanced_accuracy"][0] == pytest.approx(raw.balanced_accuracy)
    assert table["subspace"].tolist() == ["whole", "row"]
    # features of equal spread: dividing by the spread of the whole changes no prediction
    white = X / X.std(axis=0)
    row = split_subspaces(white, planted["W"]).row
    table = probe_subspaces(
        white,
        y,
        planted["W"],
        units=None,
        subspaces="row",
        random_state=0,
        **(options | {"Cs": 1e6}),
    )
    _, predictions = probe_representations(
        None, row, y, representations="raw", return_predictions=True, **(options | {"Cs": 1e6})
    )
    expected = probe_interval(predictions["y_true"], predictions["y_pred"], units=None)
    assert table["balanced_accuracy"][1] == pytest.approx(expected.balanced_accuracy, abs=0.02)


def test_what_the_split_removes_stays_removed():
    """The label is all that feature 0 holds; what rounding leaves of it must not be read."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 300)
    X = rng.normal(size=(600, 5))
    X[:, 0] = 1000.0 * y + rng.normal(size=600)
    W = linalg.qr(rng.normal(size=(5, 5)))[0] @ np.diag([1, 2, 3, 0, 0])
    W = np.column_stack([np.eye(5)[0], W[:, :2]])  # reads feature 0 and two directions more
    table = probe_subspaces(
        X, y, W, groups=np.arange(600) // 20, cv=5, units=None, Cs=1e4, random_state=0
    )
    assert table["balanced_accuracy"][table["subspace"] == "row"] == 1.0
    assert abs(table["balanced_accuracy"][table["subspace"] == "null"] - 0.5) < 0.08


def test_errors_name_the_parameter(planted):
    X, y, W = planted["X"], planted["y"], planted["W"]
    with pytest.raises(ValueError, match="W must have one row per feature of X, 10, got .*W.T"):
        split_subspaces(X, W.T)
    with pytest.raises(ValueError, match="W must not be zero"):
        split_subspaces(X, np.zeros((10, 2)))
    with pytest.raises(ValueError, match="W holds NaN"):
        split_subspaces(X, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="X must be two-dimensional"):
        split_subspaces(X[0], W)
    with pytest.raises(TypeError, match="X must be a dense array"):
        split_subspaces(sparse.csr_array(X), W)
    with pytest.raises(TypeError, match="X must hold numbers"):
        split_subspaces(X.astype(str), W)

    def run(W=W, **more):
        options = {"groups": planted["groups"], "cv": 3, "units": None, "Cs": 1.0} | more
        return probe_subspaces(X, y, W, **options)

    for more, message in [
        ({"W": np.eye(10)}, "nothing is left for the null part"),
        ({"subspaces": ("row", "column")}, "subspaces must be names among"),
        ({"subspaces": ("row", "row")}, "subspaces must be distinct"),
        ({"subspaces": ()}, "subspaces must be names among"),
        ({"n_random": 0}, "n_random must be an integer >= 1"),
        ({"units": np.arange(3)}, "units must have one entry per row"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**more)
