"""Tables: a DataFrame holds the columns of the Bunch."""

import numpy as np
import pytest

from skdict import metrics

RNG = np.random.default_rng(0)
CODES = RNG.random((24, 5)) * (RNG.random((24, 5)) < 0.5)
ATOMS = RNG.normal(size=(5, 4))
ROWS = CODES @ ATOMS + 0.1 * RNG.normal(size=(24, 4))
CHILD = np.repeat(["a1", "a2", "b1", "b2"], 6)
PARENT = np.repeat(["a", "b"], 12)

# function, and what the Bunch holds beside the columns
TABLES = {
    "code_recovery": (
        lambda **o: metrics.code_recovery(CODES, CODES[:, ::-1], [4, 3, 2, -1, 0], **o),
        ["mean_precision", "mean_recall", "mean_f1", "mean_correlation"],
    ),
    "dead_counts": (
        lambda **o: metrics.dead_counts({"step": [1, 2], "dead_fraction": [0.2, 0.4]}, 5, **o),
        ["final"],
    ),
    "direction_separation": (
        lambda **o: metrics.direction_separation(ROWS, ATOMS[:2], PARENT, **o),
        ["counts_label", "counts_other", "edges", "cosines"],
    ),
    "explain_difference": (
        lambda **o: metrics.explain_difference(ROWS, CODES, ATOMS, PARENT, "a", "b", **o),
        ["explained_share", "intercept_share", "residual_share", "squared_distance", "cosine",
         "n_rows", "n_units"],
    ),
    "feature_absorption": (
        lambda **o: metrics.feature_absorption(ROWS, CODES, ATOMS, PARENT, CHILD, **o),
        ["main_components", "mean_full_absorption", "mean_absorption_fraction"],
    ),
    "recovery_by_structure": (
        lambda **o: metrics.recovery_by_structure(
            ATOMS, ATOMS[::-1], parents=[-1, 0, 0, -1, 3], frequencies=RNG.random(5).cumsum(), **o
        ),
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_frame_holds_the_columns(name):
    frame_type = pytest.importorskip("pandas").DataFrame
    function, others = TABLES[name]
    bunch, frame = function(), function(as_frame=True)
    assert isinstance(frame, frame_type) and not isinstance(bunch, frame_type)
    assert sorted([*frame.columns, *others]) == sorted(bunch)
    for column in frame.columns:
        np.testing.assert_array_equal(frame[column].to_numpy(), bunch[column])


def test_the_histogram_of_usage_as_a_frame():
    pytest.importorskip("pandas")
    bunch = metrics.usage_density(CODES, n_bins=6)
    frame = metrics.usage_density(CODES, n_bins=6, as_frame=True)
    assert frame.columns.tolist() == ["left_edge", "right_edge", "counts"]
    np.testing.assert_array_equal(frame["counts"], bunch.counts)
    np.testing.assert_array_equal([*frame["left_edge"], 0.0], bunch.edges)
    np.testing.assert_array_equal(frame["right_edge"], bunch.edges[1:])
