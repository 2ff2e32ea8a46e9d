"""Sweeps and correlations of selectivity: the parts of Fig. 2."""

import numpy as np
import pytest
import sklearn
from scipy import stats
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.comparison import concept_agreement, selectivity_correlation, selectivity_sweep
from skdict.datasets import make_superposition
from skdict.metrics import activation_stability, best_features, selectivity_scores
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


@pytest.fixture
def two_sets():
    """Eight concepts; the second set has six of them in another order and two of its own."""
    rng = np.random.default_rng(0)
    codes = csr_array(rng.exponential(size=(300, 8)) * (rng.random((300, 8)) < 0.3))
    profiles = rng.normal(size=(8, 40))
    order = np.array([7, 5, 0, 3, 1, 6, 2, 4])
    other = codes.toarray()[:, order]
    other[:, 6:] = rng.permuted(other[:, 6:], axis=0)
    noisy = profiles[order] + 0.3 * rng.normal(size=(8, 40))
    noisy[6:] = rng.normal(size=(2, 40))
    genes = np.array([f"gene{i}" for i in range(40)])
    return Bunch(
        codes=(codes, csr_array(other)),
        attribution=[
            Bunch(genes=genes, concepts=np.arange(8), attribution=part)
            for part in (profiles, noisy)
        ],
        partner=np.argsort(order),
    )


def agree(two_sets, **options):
    first, second = two_sets.attribution
    return concept_agreement(
        *two_sets.codes, attribution_first=first, attribution_second=second, random_state=0,
        **options,
    )  # fmt: skip


def test_partners_are_found_and_confirmed_by_their_genes(two_sets):
    found = agree(two_sets)
    shared = two_sets.partner < 6
    np.testing.assert_array_equal(found.partner[shared], two_sets.partner[shared])
    np.testing.assert_array_equal(found.stable, shared)
    np.testing.assert_array_equal(found.profile_rank[shared], 1)
    assert found.profile_first_share == 1 and found.profile_median > 0.9
    assert (found.n_matched, found.n_second, found.n_genes) == (8, 8, 40)
    one = np.flatnonzero(shared)[0]
    expected = stats.pearsonr(
        two_sets.attribution[0].attribution[one],
        two_sets.attribution[1].attribution[found.partner[one]],
    ).statistic
    assert found.profile_similarity[one] == pytest.approx(expected)


def test_the_match_is_that_of_activations_alone(two_sets):
    alone = concept_agreement(*two_sets.codes, random_state=0)
    expected = activation_stability(*two_sets.codes, random_state=0)
    np.testing.assert_array_equal(alone.partner, expected.assignment)
    np.testing.assert_array_equal(alone.partner, agree(two_sets).partner)
    assert alone.threshold == expected.threshold
    assert np.isnan(alone.profile_similarity).all() and np.isnan(alone.profile_first_share)
    assert "profile" not in repr(alone) and "first by profile" in repr(agree(two_sets))


def test_profiles_without_relation_rank_at_random(two_sets):
    rng = np.random.default_rng(0)
    ranks = []
    for _ in range(40):
        two_sets.attribution[1].attribution = rng.normal(size=(8, 40))
        ranks += agree(two_sets, n_permutations=1).profile_rank.tolist()
    assert np.mean(ranks) == pytest.approx(4.5, abs=0.5)
    assert np.mean(np.array(ranks) == 1) == pytest.approx(1 / 8, abs=0.06)


def test_genes_are_aligned_by_name(two_sets):
    found = agree(two_sets)
    second = two_sets.attribution[1]
    shuffled = np.random.default_rng(0).permutation(40)
    second.genes, second.attribution = second.genes[shuffled], second.attribution[:, shuffled]
    np.testing.assert_allclose(agree(two_sets).profile_similarity, found.profile_similarity)
    second.genes = np.where(np.arange(40) < 5, second.genes, np.char.add("other", second.genes))
    assert agree(two_sets).n_genes == 5
    second.genes = np.char.add("ENSG", second.genes)
    with pytest.raises(ValueError, match="at least 3 genes in common, got 0.*'gene0'.*'ENSG"):
        agree(two_sets)


def test_concepts_without_attribution_are_left_out(two_sets):
    first, second = two_sets.attribution
    first.attribution[2] = np.nan
    second.concepts = second.concepts[1:]
    second.attribution = second.attribution[1:]
    found = agree(two_sets)
    assert found.concepts.tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert found.n_second == 7 and 0 not in found.partner
    inside = (two_sets.partner[found.concepts] < 6) & (two_sets.partner[found.concepts] > 0)
    np.testing.assert_array_equal(found.partner[inside], two_sets.partner[found.concepts][inside])
    fewer = Bunch(genes=first.genes, concepts=first.concepts[:3], attribution=first.attribution[:3])
    few = concept_agreement(
        two_sets.codes[1], two_sets.codes[0], attribution_first=second, attribution_second=fewer
    )
    assert few.n_matched == 2 and (few.partner == -1).sum() == 5
    table = few.table()
    assert (table.partner[2:] == -1).all() and np.isnan(table.profile_rank[2:]).all()


def test_random_dictionaries_may_be_the_null(planted):
    dictionary = ICFLDictionary(30, n_nonzero_coefs=3, max_steps=60)
    fitted = [clone(dictionary).set_params(random_state=s).fit(planted.data) for s in (0, 1)]
    null = [clone(dictionary).set_params(random_state=s, max_steps=0).fit(planted.data)
            for s in (2, 3)]  # fmt: skip
    codes = [one.transform(planted.data) for one in fitted]
    random = [one.transform(planted.data) for one in null]
    strict = concept_agreement(*codes, null_codes=random)
    loose = concept_agreement(*codes, random_state=0)
    assert strict.threshold > loose.threshold + 0.1
    profiles = Bunch(
        genes=["a", "b", "c"],
        concepts=np.arange(25),
        attribution=np.random.default_rng(0).normal(size=(25, 3)),
    )
    both = {"attribution_first": profiles, "attribution_second": profiles}
    assert concept_agreement(*codes, null_codes=random, **both).n_second == 25


def test_agreement_refuses_what_does_not_fit(two_sets):
    first, second = two_sets.attribution
    with pytest.raises(ValueError, match="must be given both or neither"):
        concept_agreement(*two_sets.codes, attribution_first=first)
    second.concepts = second.concepts + 3
    with pytest.raises(ValueError, match=r"attribution_second\.concepts must be columns of codes_"):
        agree(two_sets)
    with pytest.raises(ValueError, match="must code the same rows"):
        concept_agreement(two_sets.codes[0][:9], two_sets.codes[1])
