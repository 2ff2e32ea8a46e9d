"""Sweeps and correlations of selectivity: the parts of Fig. 2."""

import numpy as np
import pytest
import sklearn
from scipy import stats
from scipy.sparse import csr_array
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.comparison import selectivity_correlation, selectivity_sweep
from skdict.datasets import make_superposition
from skdict.metrics import best_features, selectivity_scores
from skdict.preprocessing import QuantileBinarizer


@pytest.fixture(scope="module")
def planted():
    return make_superposition(
        n_samples=800,
        n_features=24,
        n_components=48,
        n_active=3,
        n_labels=6,
        control_fraction=0.3,
        random_state=0,
    )


def test_sweep_over_alpha_is_what_one_fits_by_hand(planted):
    alphas = [0.02, 0.1, 0.3]
    pipeline = make_pipeline(StandardScaler(), QuantileBinarizer())
    curve = selectivity_sweep(
        pipeline,
        planted.data,
        planted.target,
        param_name="quantilebinarizer__alpha",
        param_range=alphas,
        kind="maximum",
    )
    X = StandardScaler().fit_transform(planted.data)
    for i, alpha in enumerate(alphas):
        low, high = np.quantile(X.astype(float), [alpha, 1 - alpha], axis=0)
        active = (X < low) | (X > high)
        assert curve.mean_active[i] == pytest.approx(active.sum() / len(X), abs=0.05)
        expected = selectivity_scores(active, planted.target, kind="maximum").max(axis=1)
        np.testing.assert_allclose(curve.scores[i], expected, atol=0.01)
    np.testing.assert_allclose(curve.mean_score, curve.scores.mean(axis=1))
    assert curve.value.tolist() == alphas
    assert not hasattr(pipeline[-1], "alpha_")  # the given one is not fitted
    frame = selectivity_sweep(
        pipeline,
        planted.data,
        planted.target,
        param_name="quantilebinarizer__alpha",
        param_range=alphas,
        kind="maximum",
        as_frame=True,
    )
    assert list(frame.columns) == ["value", "mean_active", "mean_score"]
    np.testing.assert_array_equal(frame["mean_score"], curve.mean_score)


def test_sweep_over_sparsity_of_a_fitted_dictionary(planted):
    pipeline = make_pipeline(
        ControlPCAWhitener(epsilon=0.01),
        ICFLDictionary(48, n_nonzero_coefs=3, atoms_per_step=1, max_steps=100, random_state=0),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline.fit(planted.data, control=planted.control)
    name = "icfldictionary__transform_n_nonzero_coefs"
    labels = np.unique(planted.target[~planted.control])
    curve = selectivity_sweep(
        pipeline,
        planted.data,
        planted.target,
        param_name=name,
        param_range=[1, 3, 8],
        prefit=True,
        labels=labels,
    )
    # at most: an atom chosen twice counts once
    assert (curve.mean_active <= [1, 3, 8]).all()
    assert (curve.mean_active > [0.9, 2.8, 7]).all()
    best = best_features(pipeline.transform(planted.data), planted.target, labels=labels)
    np.testing.assert_allclose(curve.scores[1], best.score)
    np.testing.assert_array_equal(curve.labels, labels)
    assert pipeline[-1].transform_n_nonzero_coefs is None  # the given one is as before
    # with fit, and its parameters
    with sklearn.config_context(enable_metadata_routing=True):
        refitted = selectivity_sweep(
            pipeline,
            planted.data,
            planted.target,
            param_name=name,
            param_range=[3],
            params={"control": planted.control},
            labels=labels,
        )
    np.testing.assert_allclose(refitted.scores[0], curve.scores[1])


def test_active_decides_what_is_counted():
    codes_of = {0.0: [[1.0, -1.0], [0.2, 0.0]], 1.0: [[2.0, -2.0], [0.2, 0.0]]}

    class Scaled(StandardScaler):
        """Codes that depend on a parameter."""

        def __init__(self, shift=0.0):
            self.shift = shift

        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return csr_array(codes_of[self.shift])

    arguments = {"param_name": "shift", "param_range": [0.0, 1.0]}
    X, y = np.zeros((2, 2)), ["a", "b"]
    curve = selectivity_sweep(Scaled(), X, y, **arguments)
    np.testing.assert_array_equal(curve.mean_active, [1.5, 1.5])
    np.testing.assert_array_equal(curve.scores, [[1, 0], [1, 0]])
    curve = selectivity_sweep(Scaled(), X, y, **arguments, active="positive")
    np.testing.assert_array_equal(curve.mean_active, [1, 1])
    curve = selectivity_sweep(Scaled(), X, y, **arguments, active=1.5)
    np.testing.assert_array_equal(curve.mean_active, [0, 1])
    np.testing.assert_array_equal(curve.scores, [[0, 0], [1, -1]])


def test_sweep_errors(planted):
    arguments = {"X": planted.data, "y": planted.target}
    with pytest.raises(ValueError, match="param_range must hold at least one value"):
        selectivity_sweep(QuantileBinarizer(), **arguments, param_name="alpha", param_range=[])
    with pytest.raises(ValueError, match="Invalid parameter 'beta'"):
        selectivity_sweep(QuantileBinarizer(), **arguments, param_name="beta", param_range=[1])


def labelled(rng, n_labels=12, n_rows=20, n_features=30):
    """Labels, and two sets of codes that are selective to the same degree for each label."""
    y = np.repeat(np.arange(n_labels), n_rows)
    strength = np.linspace(0.0, 0.9, n_labels)[y]
    sets = []
    for _ in range(2):
        noise = rng.random((len(y), n_features)) < 0.1
        own = (y[:, None] == np.arange(n_features)) & (rng.random((len(y), 1)) < strength[:, None])
        sets.append(csr_array((noise | own).astype(float)))
    return sets, y


def test_correlation_is_that_of_scipy():
    (first, second), y = labelled(np.random.default_rng(0))
    found = selectivity_correlation(first, second, y, n_permutations=49, random_state=0)
    scores = [best_features(codes, y).score for codes in (first, second)]
    np.testing.assert_allclose(found.score, scores[0])
    np.testing.assert_allclose(found.score_other, scores[1])
    assert found.correlation == pytest.approx(stats.pearsonr(*scores).statistic)
    assert found.correlation > 0.85
    assert found.p_value == found.smallest_p_value == 1 / 50
    assert abs(found.expected_correlation) < 0.2
    labels = [7, 2, 11]
    few = selectivity_correlation(first, second, y, n_permutations=1, labels=labels)
    np.testing.assert_array_equal(few.labels, labels)
    np.testing.assert_allclose(few.score, scores[0][labels])


def test_labels_of_unequal_size_correlate_without_any_meaning():
    """What the permutation is for: rows drawn at random, yet the best scores correlate."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(15), np.linspace(4, 120, 15).astype(int))
    first, second = (csr_array((rng.random((len(y), 60)) < 0.2).astype(float)) for _ in range(2))
    found = selectivity_correlation(first, second, y, n_permutations=99, random_state=0)
    assert found.correlation > 0.8
    assert found.expected_correlation > 0.8
    assert found.p_value > 0.05


@pytest.mark.parametrize("in_units", [False, True])
def test_p_values_are_uniform_when_labels_mean_nothing(in_units):
    """Also where the rows of a unit are alike and plates differ in what is active."""
    rng = np.random.default_rng(1)
    n_units = 60
    plate = np.repeat(np.arange(2), n_units // 2)
    y = np.tile(np.arange(6), n_units // 6)
    p_values = []
    for repetition in range(120):
        chance = rng.uniform(0, 0.5, size=(2, 20))[plate]
        sets = [rng.random((n_units, 20)) < chance for _ in range(2)]
        arguments = {"strata": plate}
        labels = y
        if in_units:
            # three copies of each unit
            sets = [np.repeat(codes, 3, axis=0) for codes in sets]
            labels = np.repeat(y, 3)
            arguments = {"strata": np.repeat(plate, 3), "units": np.repeat(np.arange(n_units), 3)}
        found = selectivity_correlation(
            *sets, labels, n_permutations=19, random_state=repetition, **arguments
        )
        p_values.append(found.p_value)
    # continuous enough: 20 possible values
    counts = np.bincount(np.round(np.array(p_values) * 20).astype(int) - 1, minlength=20)
    assert stats.chisquare(counts.reshape(5, 4).sum(axis=1)).pvalue > 0.01


def test_correlation_is_nan_where_a_set_says_nothing():
    (first, _), y = labelled(np.random.default_rng(0), n_labels=4)
    dead = csr_array((len(y), 5))
    found = selectivity_correlation(first, dead, y, n_permutations=9)
    assert np.isnan(found.correlation)
    assert np.isnan(found.expected_correlation)
    assert found.p_value == 1.0


def test_correlation_errors():
    (first, second), y = labelled(np.random.default_rng(0), n_labels=4)
    with pytest.raises(ValueError, match="codes and codes_other must have the same rows"):
        selectivity_correlation(first, second[:-1], y)
    with pytest.raises(ValueError, match="labels must name at least 3 labels"):
        selectivity_correlation(first, second, y, labels=[0, 1])
    with pytest.raises(ValueError, match="units must carry one label each"):
        selectivity_correlation(first, second, y, units=np.arange(len(y)) // 33)
    with pytest.raises(ValueError, match="single label"):
        selectivity_correlation(first, second, y, strata=y)
    with pytest.raises(ValueError, match="n_permutations must be an integer >= 1"):
        selectivity_correlation(first, second, y, n_permutations=0)
    with pytest.raises(ValueError, match="codes_other"):
        selectivity_correlation(first, np.full((len(y), 2), np.nan), y)


def test_permutations_that_reach_the_correlation_by_other_labels_count():
    """With two units for each of three labels, 6 of 90 assignments only rename the labels."""
    y, units = np.repeat(["a", "b", "c"], 6), np.repeat(np.arange(6), 3)
    p_values = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        sets = [rng.random((18, 6)) < 0.4 for _ in range(2)]
        found = selectivity_correlation(
            *sets, y, units=units, n_permutations=199, random_state=seed
        )
        renamed = np.abs(found.null_correlations - found.correlation) < 1e-9
        assert found.p_value >= (1 + renamed.sum()) / 200
        p_values.append(found.p_value)
    assert min(p_values) > 0.03


def test_no_p_value_below_the_smallest_attainable_one():
    """Three labels of one unit each can be assigned in 6 ways, however many permutations."""
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], 10)
    sets = [rng.random((30, 6)) < 0.4 for _ in range(2)]
    few = selectivity_correlation(*sets, y, units=y, n_permutations=99, random_state=0)
    assert few.smallest_p_value == 1 / 6 and few.p_value >= 1 / 6
    many = selectivity_correlation(*sets, y, n_permutations=99, random_state=0)
    assert many.smallest_p_value == 1 / 100


def test_labels_are_permuted_for_both_sets_at_once():
    """What the sets share in their noise stays in the null: of one set twice, everything."""
    (codes, _), y = labelled(np.random.default_rng(0), n_labels=8)
    found = selectivity_correlation(codes, codes, y, n_permutations=9, random_state=0)
    np.testing.assert_allclose(found.null_correlations, 1)
    assert found.p_value == 1
