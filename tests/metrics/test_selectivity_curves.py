"""The full curves against the scores that they summarise."""

import numpy as np
import pytest
from scipy import sparse

from skdict.metrics import best_features, count_selective, selectivity_curves, selectivity_scores


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_curves_are_the_sorted_best_scores_and_their_counts(kind):
    rng = np.random.default_rng(0)
    codes, y = sparse.csr_array(rng.integers(0, 2, (60, 40))), rng.choice(list("abcde"), 60)
    options = {"kind": kind, "labels": ["e", "a", "c", "d"]}
    curves = selectivity_curves(codes, y, **options)
    scores = selectivity_scores(codes, y, **options)
    np.testing.assert_array_equal(curves.by_label.score, np.sort(scores.max(axis=1))[::-1])
    np.testing.assert_array_equal(curves.by_feature.score, np.sort(scores.max(axis=0))[::-1])
    # the columns stay together
    best = best_features(codes, y, **options)
    by_name = dict(zip(best.labels, zip(best.feature, best.score)))
    shown = zip(curves.by_label.labels, curves.by_label.feature, curves.by_label.score)
    assert {label: (feature, score) for label, feature, score in shown} == by_name
    thresholds = curves.counts.threshold
    np.testing.assert_allclose(thresholds, np.linspace(0, 1, 101))
    np.testing.assert_array_equal(
        curves.counts.n_features, count_selective(codes, y, thresholds, **options)
    )
    above = [(scores.max(axis=1) > t).sum() for t in thresholds]
    np.testing.assert_array_equal(curves.counts.n_labels, above)


def test_thresholds_are_exceeded_not_reached_in_the_order_given():
    codes = [[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    curves = selectivity_curves(codes, ["a", "a", "b", "b"], thresholds=[1.0, 0.5, 0.0, -0.1])
    assert curves.counts.threshold.tolist() == [1.0, 0.5, 0.0, -0.1]
    assert curves.counts.n_features.tolist() == [0, 1, 2, 3]
    assert curves.counts.n_labels.tolist() == [0, 1, 2, 2]


def test_frames_and_errors():
    with pytest.raises(ValueError, match="thresholds must be finite"):
        selectivity_curves(np.eye(2), [0, 1], thresholds=[np.inf])
    pytest.importorskip("pandas")
    curves = selectivity_curves(np.eye(4), [0, 0, 1, 1], as_frame=True)
    assert [len(curves[name]) for name in ("by_label", "by_feature", "counts")] == [2, 4, 101]
