"""The interpretable share: what is counted, its intervals, and what any directions would give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest, ttest_1samp, ttest_ind
from sklearn.utils import Bunch

from skdict.genes import baseline_concepts, interpretable_share, over_representation
from skdict.genes._quality import wilson_interval

GENES = np.array([f"gene{i}" for i in range(300)])
SETS = {f"set{k}": GENES[20 * k : 20 * k + 20] for k in range(15)}


class Found(Bunch):
    """A result of which only the significant pairs are known, best first."""

    def significant(self, level):
        return tuple(np.array(self.at[level], dtype=int).reshape(-1, 2).T)


def found(n_concepts, pairs, level=0.05):
    return Found(concepts=np.arange(n_concepts), at={level: pairs})


def selected(rng, n_concepts, n_true):
    """Genes of one set for the first concepts, of any set for the others."""
    mask = np.zeros((n_concepts, 300), dtype=bool)
    for k in range(n_concepts):
        pool = np.arange(20 * (k % 15), 20 * (k % 15) + 20) if k < n_true else np.arange(300)
        mask[k, rng.choice(pool, 12, replace=False)] = True
    return mask


def test_concepts_with_a_set_are_counted_once():
    share = interpretable_share({"concepts": found(10, [(4, 2), (4, 3), (7, 2), (0, 5)])})
    assert share.n_interpretable.tolist() == [3] and share.n_live.tolist() == [10]
    assert share.share.tolist() == [0.3]
    assert share.n_best_sets.tolist() == [2]  # set 2 of two concepts, set 5


def test_live_concepts_are_the_denominator():
    result = found(10, [(4, 2), (7, 2)])
    share = interpretable_share({"a": result, "b": result}, live={"a": 40})
    assert share.n_live.tolist() == [40, 10] and share.share.tolist() == [0.05, 0.2]
    with pytest.raises(ValueError, match=r"live\['a'\] must be at least the 2 interpretable"):
        interpretable_share({"a": result}, live={"a": 1})
    with pytest.raises(ValueError, match=r"a number for each of 1 runs, got \[3, 4\]"):
        interpretable_share({"a": result}, live={"a": [3, 4]})
    with pytest.raises(ValueError, match="live names 'c', but enrichment has"):
        interpretable_share({"a": result}, live={"c": 3})
    with pytest.raises(TypeError, match=r"live\['a'\] must be an integer"):
        interpretable_share({"a": result}, live={"a": 3.5})


def test_the_level_is_handed_on():
    result = Found(concepts=np.arange(4), at={0.05: [(0, 0)], 0.25: [(0, 0), (1, 0)]})
    assert interpretable_share({"a": result}).share.tolist() == [0.25]
    assert interpretable_share({"a": result}, level=0.25).share.tolist() == [0.5]


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95]))
def test_wilson_is_that_of_scipy(n, share, level):
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    low, high = wilson_interval(np.array([k]), np.array([n]), level)
    assert_allclose([low[0], high[0]], [expected.low, expected.high], atol=1e-12)
    assert 0 <= low[0] <= k / n <= high[0] <= 1


def test_runs_are_pooled_and_have_an_interval_of_their_own():
    runs = [found(10, [(i, 0) for i in range(n)]) for n in (2, 4, 6)]
    share = interpretable_share({"concepts": runs, "one": runs[0]})
    assert share.n_runs.tolist() == [3, 1] and share.n_live.tolist() == [30, 10]
    assert share.share.tolist() == [0.4, 0.2]
    expected = ttest_1samp([0.2, 0.4, 0.6], 0).confidence_interval(0.95)
    assert_allclose([share.run_low[0], share.run_high[0]], expected)
    assert np.isnan(share.run_low[1])
    assert "12 of 30 in 3 runs, 1 different best sets" in repr(share)
    assert "2 of 10, 1 different" in repr(share)
    table = share.table()
    assert table.kind.tolist() == ["concepts", "one"] and table.run_high[0] == share.run_high[0]


def test_differences_are_welchs_and_newcombes():
    first = [found(20, [(i, 0) for i in range(n)]) for n in (12, 14, 15)]
    second = [found(20, [(i, 0) for i in range(n)]) for n in (4, 9)]
    share = interpretable_share({"concepts": first, "random": second, "single": second[0]})
    table = share.differences("random")
    assert table.kind.tolist() == ["concepts", "single"]
    assert table.difference[0] == pytest.approx(41 / 60 - 13 / 40)
    welch = ttest_ind([0.6, 0.7, 0.75], [0.2, 0.45], equal_var=False).confidence_interval(0.95)
    assert_allclose([table.run_low[0], table.run_high[0]], welch)
    assert np.isnan(table.run_low[1])
    low, high = share.low, share.high
    assert table.low[0] == pytest.approx(
        table.difference[0] - np.hypot(share.share[0] - low[0], high[1] - share.share[1])
    )
    assert table.low[0] < table.difference[0] < table.high[0]
    with pytest.raises(ValueError, match=r"reference must be one of \['concepts', 'random'"):
        share.differences("untrained")
    with pytest.raises(ValueError, match="no other kind than the reference 'a'"):
        interpretable_share({"a": first}).differences("a")


def test_runs_that_are_equal_have_no_width():
    runs = [found(20, [(0, 0)])] * 2
    table = interpretable_share({"a": runs, "b": runs}).differences("b")
    assert table.run_low.tolist() == table.run_high.tolist() == [0.0]


def test_planted_sets_are_found_and_permuted_genes_are_not():
    rng = np.random.default_rng(0)
    mask = selected(rng, 40, 20)
    results = {
        "concepts": over_representation(mask, SETS, genes=GENES),
        "permuted genes": [
            over_representation(mask, SETS, genes=rng.permutation(GENES)) for _ in range(5)
        ],
    }
    share = interpretable_share(results)
    assert share.n_interpretable[0] in (20, 21)
    assert share.share[1] < 0.02 and share.n_live[1] == 200
    assert share.differences("permuted genes").low[0] > 0.3
    assert share.n_best_sets[0] >= 15


def test_one_set_many_times_shows_in_the_sets():
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 300), dtype=bool)
    for k in range(30):
        mask[k, rng.choice(20, 12, replace=False)] = True
    share = interpretable_share({"same": over_representation(mask, SETS, genes=GENES)})
    assert share.share.tolist() == [1.0] and share.n_best_sets.tolist() == [1.0]


def test_preranked_results_are_counted_too():
    pytest.importorskip("gseapy")
    from skdict.genes import prerank

    scores = np.random.default_rng(0).normal(size=(3, 300))
    scores[0, :20] += 3
    result = prerank(scores, SETS, genes=GENES, n_permutations=200, random_state=0)
    assert interpretable_share({"a": result}).n_interpretable[0] >= 1


def test_what_is_no_result_is_refused():
    with pytest.raises(TypeError, match="enrichment must be a dict of kinds .*, got Found"):
        interpretable_share(found(3, []))
    with pytest.raises(TypeError, match=r"enrichment\['a'\] must hold results .*, got int"):
        interpretable_share({"a": [1]})
    with pytest.raises(ValueError, match="at least one kind"):
        interpretable_share({})
    with pytest.raises(ValueError, match="each a result at least"):
        interpretable_share({"a": []})
    with pytest.raises(ValueError, match=r"level must be in \[0, 1\], got 2"):
        interpretable_share({"a": found(3, [])}, level=2)
    with pytest.raises(ValueError, match="confidence_level must be less than 1"):
        interpretable_share({"a": found(3, [])}, confidence_level=1)


@pytest.fixture(scope="module")
def embeddings():
    rng = np.random.default_rng(0)
    return rng.gamma(1.0, size=(400, 5)) @ rng.normal(size=(5, 6)) * [1, 1, 1, 100, 1, 1]


@pytest.fixture(scope="module")
def baselines(embeddings):
    return baseline_concepts(embeddings, share=0.05, n_random=9, random_state=0)


def test_every_baseline_is_as_often_active(baselines, embeddings):
    for kind, concepts in baselines.items():
        assert (concepts.codes(embeddings).count_nonzero(axis=0) == 20).all(), kind
    sizes = {kind: concepts.n_concepts for kind, concepts in baselines.items()}
    # the six features span five dimensions
    assert sizes == {"neurons": 12, "pca": 10, "ica": 10, "nmf": 3, "random": 9}


def test_both_signs_are_concepts_of_their_own(baselines, embeddings):
    for kind in ("neurons", "pca", "ica"):
        first, second = np.split(baselines[kind].directions, 2)
        assert_array_equal(first, -second)
        codes = baselines[kind].codes(embeddings).toarray() > 0
        assert not (codes[:, : len(first)] & codes[:, len(first) :]).any()


def test_neurons_are_the_features(baselines, embeddings):
    active = baselines["neurons"].codes(embeddings).toarray()[:, :6] > 0
    top = np.sort(embeddings, axis=0)[-20]
    assert_array_equal(active, embeddings >= top)


def test_pca_has_the_components(baselines, embeddings):
    directions = baselines["pca"].directions[:5]
    centred = embeddings - embeddings.mean(axis=0)
    variance = ((centred @ directions.T) ** 2).mean(axis=0)
    assert_allclose(directions @ directions.T, np.eye(5), atol=1e-8)
    expected = np.linalg.eigvalsh(centred.T @ centred / 400)[::-1][:5]
    assert_allclose(variance, expected, rtol=1e-6)


def test_random_directions_heed_no_units(embeddings):
    """A feature on a larger scale weighs no more."""
    plain, scaled = (
        baseline_concepts(E, kinds=["random"], random_state=3)["random"].codes(E)
        for E in (embeddings, embeddings * [1, 1000, 1, 1, 1, 1])
    )
    assert_array_equal(plain.toarray() > 0, scaled.toarray() > 0)


def test_kinds_do_not_depend_on_each_other(baselines, embeddings):
    alone = baseline_concepts(embeddings, kinds=["nmf"], share=0.05, random_state=0)
    assert list(alone) == ["nmf"]
    assert_allclose(alone["nmf"].directions, baselines["nmf"].directions)
    few = baseline_concepts(embeddings, kinds=["pca", "nmf"], n_factors=2, random_state=0)
    assert few["pca"].n_concepts == 4 and few["nmf"].n_concepts == 2


def test_constant_features_are_left_out(embeddings):
    E = np.insert(embeddings[:, :3], 1, 7.0, axis=1)
    found = baseline_concepts(E, share=0.05, random_state=0)
    for kind, concepts in found.items():
        assert not concepts.directions[:, 1].any(), kind
    assert found["neurons"].n_concepts == found["random"].n_concepts == 6


def test_what_cannot_be_made_is_refused(embeddings):
    with pytest.raises(ValueError, match=r"kinds must be some of neurons, pca.*got \['tsne'\]"):
        baseline_concepts(embeddings, kinds=["tsne"])
    with pytest.raises(ValueError, match="all features are constant"):
        baseline_concepts(np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        baseline_concepts(embeddings, share=0)
    with pytest.raises(ValueError, match="n_random must be an integer >= 1 or None"):
        baseline_concepts(embeddings, n_random=0)
