"""Selectivity against a naive reference, and the properties that follow from its definition."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from skdict.metrics import (
    best_features,
    best_labels,
    count_selective,
    held_out_selectivity,
    selectivity_scores,
)

VARIANTS = [("average", "pooled"), ("average", "macro"), ("maximum", "pooled")]
SCORERS = pytest.mark.parametrize("kind, reference", VARIANTS)


def naive_scores(codes, y, *, kind, reference="pooled", active=lambda z: z != 0):
    """Selectivity by the words of the paper, one label and component at a time."""
    y = np.asarray(y)
    on = active(np.asarray(codes))
    classes = np.unique(y)
    scores = np.empty((len(classes), on.shape[1]))
    for i, label in enumerate(classes):
        for m in range(on.shape[1]):
            own = on[y == label, m].mean()
            shares = [on[y == other, m].mean() for other in classes if other != label]
            if kind == "maximum":
                scores[i, m] = own - max(shares)
            elif reference == "macro":
                scores[i, m] = own - np.mean(shares)
            else:
                scores[i, m] = own - on[y != label, m].mean()
    return scores


@st.composite
def labelled_codes(draw, max_labels=5):
    """Codes with many zeros, and labels among which at least two are distinct."""
    n = draw(st.integers(2, 25))
    m = draw(st.integers(1, 6))
    elements = st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.25])
    codes = draw(hnp.arrays(np.float64, (n, m), elements=elements))
    y = draw(
        st.lists(st.integers(0, max_labels - 1), min_size=n, max_size=n).filter(
            lambda labels: len(set(labels)) > 1
        )
    )
    return codes, np.array(y)


@SCORERS
@given(data=labelled_codes())
def test_equals_the_naive_reference_dense_and_sparse(kind, reference, data):
    codes, y = data
    expected = naive_scores(codes, y, kind=kind, reference=reference)
    for make in (
        np.asarray,
        sparse.csr_array,
        sparse.csr_matrix,
        sparse.coo_array,
        sparse.csc_array,
    ):
        scores = selectivity_scores(make(codes), y, kind=kind, reference=reference)
        np.testing.assert_allclose(scores, expected, atol=1e-14)


@pytest.mark.parametrize(
    "active, rule",
    [
        ("nonzero", lambda z: z != 0),
        ("positive", lambda z: z > 0),
        (0.5, lambda z: np.abs(z) > 0.5),
        (0, lambda z: np.abs(z) > 0),
    ],
)
@given(data=labelled_codes())
def test_active_rules(active, rule, data):
    codes, y = data
    expected = naive_scores(codes, y, kind="average", active=rule)
    for values in (codes, sparse.csr_array(codes)):
        np.testing.assert_allclose(
            selectivity_scores(values, y, active=active), expected, atol=1e-14
        )


@given(data=labelled_codes())
def test_maximum_is_never_above_average_and_all_are_in_range(data):
    codes, y = data
    maximum = selectivity_scores(codes, y, kind="maximum")
    for reference in ("pooled", "macro"):
        average = selectivity_scores(codes, y, reference=reference)
        assert (maximum <= average + 1e-12).all()
        assert (np.abs(average) <= 1).all()
    assert (np.abs(maximum) <= 1).all()
    dead = (codes == 0).all(axis=0)
    assert (maximum[:, dead] == 0).all()


@given(data=labelled_codes(max_labels=2))
def test_two_labels_are_antisymmetric_and_all_kinds_equal(data):
    codes, y = data
    average = selectivity_scores(codes, y)
    np.testing.assert_array_equal(average[0], -average[1])
    np.testing.assert_array_equal(average, selectivity_scores(codes, y, kind="maximum"))
    np.testing.assert_allclose(
        average, selectivity_scores(codes, y, reference="macro"), rtol=0, atol=1e-14
    )


@SCORERS
@given(data=labelled_codes(), seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_and_names_of_labels_do_not_matter(kind, reference, data, seed):
    codes, y = data
    options = {"kind": kind, "reference": reference}
    scores = selectivity_scores(codes, y, **options)
    order = np.random.default_rng(seed).permutation(len(y))
    np.testing.assert_array_equal(scores, selectivity_scores(codes[order], y[order], **options))
    # names whose order is the reverse of the numbers
    renamed = np.array([f"label {9 - label}" for label in y])
    np.testing.assert_allclose(
        scores[::-1], selectivity_scores(codes, renamed, **options), atol=1e-14
    )


def test_explicit_zeros_and_duplicates_of_a_sparse_matrix():
    # row 0 stores a zero in column 0; row 1 stores 1 and -1 in column 0, which sum to zero
    codes = sparse.csr_array(
        (np.array([0.0, 1.0, -1.0, 2.0]), np.array([0, 0, 0, 1]), np.array([0, 1, 3, 4])),
        shape=(3, 2),
    )
    stored = codes.data.copy()
    scores = selectivity_scores(codes, ["a", "a", "b"])
    np.testing.assert_array_equal(scores, [[0, -1], [0, 1]])
    np.testing.assert_array_equal(codes.data, stored)


@SCORERS
def test_labels_choose_rows_in_their_order_and_the_others_stay_as_others(kind, reference):
    rng = np.random.default_rng(0)
    codes, y = rng.integers(0, 2, (60, 7)), rng.choice(["DMSO", "a", "b", "c"], 60)
    options = {"kind": kind, "reference": reference}
    every = selectivity_scores(codes, y, **options)
    some = selectivity_scores(codes, y, labels=["c", "a"], **options)
    np.testing.assert_array_equal(some, every[[3, 1]])
    kept = y != "DMSO"
    without = selectivity_scores(codes[kept], y[kept], labels=["c", "a"], **options)
    assert not np.allclose(some, without)


def test_count_selective_counts_components_above_each_threshold():
    rng = np.random.default_rng(1)
    codes, y = rng.integers(0, 2, (40, 30)), rng.integers(0, 3, 40)
    best = naive_scores(codes, y, kind="average").max(axis=0)
    thresholds = (0.5, 0.2, -1.0)
    counted = count_selective(codes, y, thresholds)
    assert counted.dtype.kind == "i"
    assert counted.tolist() == [int((best > t).sum()) for t in thresholds]
    assert count_selective(codes, y, 0.2).shape == (1,)
    some = naive_scores(codes, y, kind="maximum")[[0, 2]].max(axis=0)
    assert count_selective(codes, y, 0.1, kind="maximum", labels=[0, 2])[0] == (some > 0.1).sum()


def test_best_features_and_best_labels_are_the_two_summaries():
    rng = np.random.default_rng(2)
    codes, y = rng.integers(0, 2, (50, 9)), rng.choice(["x", "y", "z"], 50)
    scores = selectivity_scores(codes, y)
    features = best_features(codes, y)
    np.testing.assert_array_equal(features.feature, scores.argmax(axis=1))
    np.testing.assert_array_equal(features.score, scores.max(axis=1))
    own = [(codes[y == label, m] != 0).mean() for label, m in zip("xyz", features.feature)]
    np.testing.assert_allclose(features.active_share, own)
    assert features.n_samples.tolist() == [(y == label).sum() for label in "xyz"]
    labels = best_labels(sparse.csr_array(codes), y)
    np.testing.assert_array_equal(labels.score, scores.max(axis=0))
    np.testing.assert_array_equal(labels.label, np.array(["x", "y", "z"])[scores.argmax(axis=0)])
    np.testing.assert_allclose(labels.frequency, (codes != 0).mean(axis=0))


def test_tables_as_frames():
    pytest.importorskip("pandas")
    codes, y = np.eye(4), ["a", "a", "b", "b"]
    frame = best_features(codes, y, as_frame=True)
    assert list(frame.columns) == ["labels", "feature", "score", "active_share", "n_samples"]
    assert len(best_labels(codes, y, as_frame=True)) == 4
    assert len(held_out_selectivity(codes, y, codes, y, as_frame=True)) == 2


def test_held_out_selectivity_scores_the_chosen_feature_elsewhere():
    rng = np.random.default_rng(3)
    codes, y = rng.integers(0, 2, (2, 60, 20)), rng.integers(0, 4, (2, 60))
    held_out = held_out_selectivity(codes[0], y[0], codes[1], y[1])
    train, test = (selectivity_scores(codes[i], y[i]) for i in (0, 1))
    chosen = train.argmax(axis=1)
    np.testing.assert_array_equal(held_out.feature, chosen)
    np.testing.assert_array_equal(held_out.train_score, train.max(axis=1))
    np.testing.assert_array_equal(held_out.test_score, test[np.arange(4), chosen])
    # on noise the training score is optimistic and the held-out one is not
    assert held_out.train_score.mean() > 0.2 > abs(held_out.test_score.mean())


def test_held_out_selectivity_takes_the_labels_of_both_sets():
    codes = np.eye(4)
    held_out = held_out_selectivity(codes, ["a", "b", "c", "c"], codes, ["b", "b", "c", "d"])
    assert held_out.labels.tolist() == ["b", "c"]
    with pytest.raises(ValueError, match="no label in common"):
        held_out_selectivity(codes, ["a", "b"] * 2, codes, ["c", "d"] * 2)
    with pytest.raises(ValueError, match="same number of components, got 4 and 2"):
        held_out_selectivity(codes, ["a", "b"] * 2, codes[:, :2], ["a", "b"] * 2)


def test_held_out_selectivity_names_the_parameter_at_fault():
    codes, both, one = np.eye(4), ["a", "b", "c", "c"], ["a", "b", "b", "b"]
    with pytest.raises(ValueError, match=r"labels must occur in y_test, .*'c'"):
        held_out_selectivity(codes, both, codes, one, labels=["a", "c"])
    with pytest.raises(ValueError, match=r"labels must occur in y_train, .*'c'"):
        held_out_selectivity(codes, one, codes, both, labels=["a", "c"])
    with pytest.raises(ValueError, match=r"y_test must hold at least two labels"):
        held_out_selectivity(codes, both, codes, ["a"] * 4)
    with pytest.raises(ValueError, match=r"y_train must have one entry per row"):
        held_out_selectivity(codes, both[:3], codes, both)
    with pytest.raises(ValueError, match=r"codes_test must be two-dimensional"):
        held_out_selectivity(codes, both, codes[0], both)


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_no_dense_copy_of_the_codes(kind):
    # dense, these codes would take 8 GB
    n, m = 20_000, 50_000
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, m // 3, (n, 3)) + m // 3 * np.arange(3), axis=1)
    codes = sparse.csr_array(
        (np.ones(3 * n, dtype=np.float32), columns.ravel(), np.arange(0, 3 * n + 1, 3)),
        shape=(n, m),
    )
    y = np.arange(n) % 3
    tracemalloc.start()
    scores = selectivity_scores(codes, y, kind=kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.shape == (3, m)
    assert peak < 40e6


@pytest.mark.parametrize(
    "codes, y, options, message",
    [
        (np.ones(3), [0, 1, 1], {}, "codes must be two-dimensional"),
        (np.ones((3, 0)), [0, 1, 1], {}, "codes must have at least one row and one column"),
        ([["a"], ["b"]], [0, 1], {}, "codes must hold real numbers"),
        ([[np.nan], [1.0]], [0, 1], {}, "codes holds NaN"),
        (sparse.csr_array([[np.inf], [1.0]]), [0, 1], {}, "codes holds NaN or infinite"),
        (np.eye(2), [0, 1, 1], {}, "y must have one entry per row of the codes: got 3 entries"),
        (np.eye(2), [[0], [1]], {}, "y must be one-dimensional"),
        (np.eye(2), [0.0, np.nan], {}, "y holds missing values"),
        (np.eye(2), np.array(["a", None], dtype=object), {}, "y holds missing values"),
        (np.eye(2), np.array(["a", np.nan], dtype=object), {}, "y holds missing values"),
        (np.eye(2), ["a", np.nan], {}, "y holds missing values"),
        (np.eye(2), np.array(["a", 1], dtype=object), {}, "y must hold labels of one type"),
        (np.eye(2), ["a", "a"], {}, "y must hold at least two labels, got"),
        (np.eye(2), ["a", "b"], {"labels": ["c"]}, "labels must occur in y.*'c'"),
        (np.eye(2), ["a", "b"], {"labels": "a"}, "labels must be a list"),
        (np.eye(2), ["a", "b"], {"labels": []}, "labels must be a non-empty list"),
        (np.eye(2), ["a", "b"], {"labels": ["a", "a"]}, "labels must not repeat"),
        (np.eye(2), ["a", "b"], {"kind": "mean"}, "kind must be one of"),
        (np.eye(2), ["a", "b"], {"reference": "all"}, "reference must be one of"),
        (np.eye(2), ["a", "b"], {"active": "on"}, "active must be"),
        (np.eye(2), ["a", "b"], {"active": -0.5}, "active must be"),
        (np.eye(2), ["a", "b"], {"active": np.nan}, "active must be"),
    ],
)
def test_errors_name_the_parameter(codes, y, options, message):
    with pytest.raises(ValueError, match=message):
        selectivity_scores(codes, y, **options)


def test_other_errors():
    with pytest.raises(TypeError, match="active must be"):
        selectivity_scores(np.eye(2), [0, 1], active=True)
    with pytest.raises(ValueError, match="thresholds must be finite"):
        count_selective(np.eye(2), [0, 1], (np.nan,))


@settings(max_examples=20)
@given(data=labelled_codes())
def test_float32_integers_and_booleans_give_the_same(data):
    codes, y = data
    expected = selectivity_scores(codes, y)
    for values in (codes.astype(np.float32), (codes != 0).astype(int), codes != 0):
        for make in (np.asarray, sparse.csr_array):
            np.testing.assert_array_equal(selectivity_scores(make(values), y), expected)
