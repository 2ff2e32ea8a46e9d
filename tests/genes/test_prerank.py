"""Pre-ranked enrichment through gseapy, against a running sum written out here."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import false_discovery_control, kstest

from skdict.genes import prerank, write_gmt

pytest.importorskip("gseapy")

N_GENES = 300
GENES = np.array([f"gene; {i}" for i in range(N_GENES)])  # names that gseapy would cut in two


def running_sum(scores, members, weight):
    """Largest deviation of the running sum, written as in Subramanian et al."""
    order = np.argsort(-scores, kind="stable")
    hit = members[order]
    up = np.where(hit, np.abs(scores[order]) ** weight, 0)
    deviation = np.cumsum(up / up.sum() - ~hit / (~hit).sum())
    return deviation[np.argmax(np.abs(deviation))]


def naive(scores, members, weight, n_permutations, rng):
    """Score, normalised score and p-value by permuting the genes of the set."""
    score = running_sum(scores, members, weight)
    null = np.array(
        [running_sum(scores, rng.permutation(members), weight) for _ in range(n_permutations)]
    )
    same = null[np.sign(null) == np.sign(score)]
    reached = np.count_nonzero(np.abs(same) >= abs(score))
    return score, score / np.abs(same).mean(), (1 + reached) / (1 + same.size)


@pytest.fixture
def problem(rng):
    """Scores of three concepts, the first with genes up, the second with genes down."""
    scores = rng.normal(size=(3, N_GENES))
    scores[0, :20] += 1.5
    scores[1, 20:40] -= 1.0
    sets = {"up": GENES[:20], "down": GENES[20:40], "wide": GENES[50:150]}
    return scores, sets | {f"S{i}": rng.choice(GENES, 15 + i, replace=False) for i in range(5)}


@pytest.mark.parametrize("method", ["multilevel", "permutation"])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_against_a_naive_running_sum(problem, method, weight, rng):
    scores, sets = problem
    found = prerank(scores[:2], sets, genes=GENES, method=method, weight=weight, random_state=0)
    for row in range(2):
        for column, genes in enumerate(sets.values()):
            score, normalized, p_value = naive(scores[row], np.isin(GENES, genes), weight, 400, rng)
            assert found.enrichment_score[row, column] == pytest.approx(score, abs=1e-9)
            assert found.normalized_score[row, column] == pytest.approx(normalized, rel=0.15)
            # one side counts about 200 permutations of a sign, the other 500 or more
            p = max(p_value, found.p_value[row, column])
            error = 5 * np.sqrt(p * (1 - p) * (1 / 150 + 1 / 400)) + 2 / 150
            assert abs(found.p_value[row, column] - p_value) < error
    assert found.set_size[0].tolist() == [len(genes) for genes in sets.values()]


def test_what_was_planted_is_found(problem):
    scores, sets = problem
    found = prerank(scores, sets, genes=GENES, concepts=["a", "b", "c"], random_state=0)
    pairs = found.pairs(0.01)
    assert set(zip(pairs.concept, pairs.gene_set)) >= {("a", "up"), ("b", "down")}
    assert pairs.concept[0] == "a" and pairs.normalized_score[0] > 2
    assert pairs.normalized_score[list(pairs.gene_set).index("down")] < -1.5
    assert found.pairs(0.01, concepts="b").gene_set.tolist() == ["down"]
    np.testing.assert_allclose(
        found.q_value, false_discovery_control(found.p_value, axis=None).reshape(3, -1)
    )
    text = repr(found)
    assert "3 concepts x 8 gene sets, 24 pairs tested" in text and "not tested" not in text
    frame = found.pairs(0.01, as_frame=True)
    assert frame.columns.tolist() == list(pairs)


def test_the_leading_edge(problem):
    scores, sets = problem
    found = prerank(scores[0], sets, genes=GENES, random_state=0)
    order = np.argsort(-scores[0])
    members = np.isin(GENES, sets["up"])[order]
    up = np.where(members, np.abs(scores[0][order]), 0)
    deviation = np.cumsum(up / up.sum() - ~members / (~members).sum())
    leading = GENES[order][: np.argmax(deviation) + 1][members[: np.argmax(deviation) + 1]]
    assert found.leading_edge[0, 0] == tuple(leading.tolist())
    assert found.pairs(0.05).genes[0] == "; ".join(leading)


def test_p_values_are_uniform_under_the_null(rng):
    sets = {f"S{i}": rng.choice(GENES, 25, replace=False) for i in range(10)}
    found = prerank(rng.normal(size=(25, N_GENES)), sets, genes=GENES, random_state=0)
    # every concept is an independent list; its sets share genes, so the mean over them is coarse
    assert kstest(found.p_value[:, 0], "uniform").pvalue > 1e-3
    assert abs(found.p_value.mean() - 0.5) < 0.06
    assert np.count_nonzero(found.q_value <= 0.05) <= 2


def test_small_values_are_resolved_by_levels_only(problem):
    scores, sets = problem
    scores = scores[:1].copy()
    scores[0, :20] += 2
    by_level = prerank(scores, sets, genes=GENES, random_state=0)
    counted = prerank(
        scores, sets, genes=GENES, method="permutation", n_permutations=98, random_state=0
    )
    assert by_level.p_value[0, 0] < 1e-6
    assert counted.p_value.min() == pytest.approx(0.02)


def test_a_concept_does_not_depend_on_the_others_nor_on_threads(problem):
    scores, sets = problem
    options = {"genes": GENES, "random_state": 3}
    whole = prerank(scores, sets, **options, n_threads=2)
    others = np.vstack([scores[0], np.zeros(N_GENES), scores[2]])
    for again in (prerank(scores, sets, **options), prerank(others, sets, **options)):
        for name in ("enrichment_score", "normalized_score", "p_value"):
            np.testing.assert_array_equal(whole[name][[0, 2]], again[name][[0, 2]])
    other_seed = prerank(scores, sets, genes=GENES, random_state=4)
    assert (other_seed.p_value != whole.p_value).any()


@pytest.mark.slow
def test_results_do_not_depend_on_the_hash_seed():
    code = (
        "import numpy as np\n"
        "from skdict.genes import prerank\n"
        "genes = [f'G{i}' for i in range(100)]\n"
        "scores = np.sin(np.arange(100.0))\n"
        "found = prerank(scores, {'a': genes[::4], 'b': genes[:20]}, genes=genes, random_state=0)\n"
        "told = [found.p_value.tolist(), found.leading_edge.tolist()]\n"
    )
    here: dict = {}
    exec(code, here)
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + "print(told)"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert there.stdout.strip() == str(here["told"])


def test_zeros_and_ties(rng):
    scores = np.zeros(N_GENES)
    scores[:30] = rng.permutation(np.arange(30) - 10.0) + 0.5
    sets = {"zeros too": GENES[20:60], "scored": GENES[:15]}
    seeds = [prerank(scores, sets, genes=GENES, random_state=seed) for seed in (0, 1)]
    # zeros among themselves may stand in any order
    np.testing.assert_allclose(seeds[0].enrichment_score, seeds[1].enrichment_score, atol=1e-9)
    assert seeds[0].tied_share.tolist() == [0.0]
    scores[:4] = 7.0
    assert prerank(scores, sets, genes=GENES).tied_share[0] == pytest.approx(4 / 30)


def test_what_cannot_be_tested_is_withheld(problem, capsys):
    scores, sets = problem
    scores = scores.copy()
    scores[1] = 0
    scores[2, 10:] = np.nan
    found = prerank(scores, sets, genes=GENES, random_state=0, verbose=1)
    assert found.reason.tolist() == [
        "",
        "all scores are zero or missing",
        "no set has the size asked for among the genes scored",
    ]
    assert np.isnan(found.p_value[1:]).all() and np.isfinite(found.p_value[0]).all()
    assert set(found.significant(1.0)[0]) == {0}
    assert "concepts not tested           2" in repr(found)
    told = capsys.readouterr()
    assert told.out.count("[prerank] concept") == 3 and told.err == ""


def test_missing_genes_are_left_out_of_the_list(problem):
    scores, sets = problem
    gone = np.arange(N_GENES) >= 250
    with_gaps = np.where(gone, np.nan, scores[0])
    found = prerank(with_gaps, sets, genes=GENES, random_state=0)
    cut = prerank(scores[0, ~gone], sets, genes=GENES[~gone], random_state=0)
    np.testing.assert_allclose(found.enrichment_score, cut.enrichment_score, atol=1e-9)
    assert found.set_size.tolist() == cut.set_size.tolist()


def test_a_file_does_as_well(problem, tmp_path):
    scores, sets = problem
    write_gmt(tmp_path / "sets.gmt", sets)
    found = prerank(scores[0], tmp_path / "sets.gmt", genes=GENES, random_state=0)
    direct = prerank(scores[0], sets, genes=GENES, random_state=0)
    np.testing.assert_array_equal(found.p_value, direct.p_value)


def test_errors_name_the_parameter(problem, monkeypatch):
    scores, sets = problem
    with pytest.raises(ValueError, match="libraries are not downloaded"):
        prerank(scores, "KEGG_2021_Human", genes=GENES)
    with pytest.raises(ValueError, match="scores must be finite, or NaN"):
        prerank(np.full((1, N_GENES), np.inf), sets, genes=GENES)
    with pytest.raises(ValueError, match=r"scores must have shape.*got \(1, 2, 3\)"):
        prerank(np.zeros((1, 2, 3)), sets, genes=GENES)
    with pytest.raises(ValueError, match="genes must name the 300 columns of scores"):
        prerank(scores, sets, genes=GENES[1:])
    with pytest.raises(ValueError, match="genes must be unique"):
        prerank(scores, sets, genes=np.where(np.arange(300) == 1, "gene; 0", GENES))
    with pytest.raises(ValueError, match="method must be one of 'multilevel'"):
        prerank(scores, sets, genes=GENES, method="fgsea")
    with pytest.raises(ValueError, match="no name in common"):
        prerank(scores, {"s": ["CD3D"]}, genes=GENES)
    with pytest.raises(ValueError, match="weight must be in"):
        prerank(scores, sets, genes=GENES, weight=-1)


def test_an_old_gseapy_does_not_silently_do_something_else(problem, monkeypatch):
    import gseapy

    def old(rnk, gene_sets, *, seed=123, **kwargs):
        raise AssertionError("not to be reached")

    monkeypatch.setattr(gseapy, "prerank", old)
    with pytest.raises(ImportError, match='"multilevel" needs gseapy 1.3 or later'):
        prerank(problem[0], problem[1], genes=GENES)


def test_without_gseapy(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "gseapy", None)
    with pytest.raises(ImportError, match=r'pip install "skdict\[genes\]"'):
        prerank(problem[0], problem[1], genes=GENES)


@pytest.mark.parametrize("n_scored", [5, 100])
@pytest.mark.parametrize("seed", range(3))
def test_attributions_are_mostly_zeros(n_scored, seed):
    """Null sets of zeros alone made gseapy fail, or give a perfect hit p = 1."""
    rng = np.random.default_rng(seed)
    genes = [f"gene {i}" for i in range(400)]
    scores = np.zeros(400)
    scores[:n_scored] = np.sort(rng.exponential(size=n_scored))[::-1]
    sets = {"hit": genes[:8], "zeros": genes[300:310]}
    by_levels, by_counts = (
        prerank(scores, sets, genes=genes, min_size=5, method=method, random_state=seed)
        for method in ("multilevel", "permutation")
    )
    assert by_levels.p_value[0, 0] < 0.01
    assert by_levels.p_value[0, 1] > 0.05
    np.testing.assert_allclose(by_levels.enrichment_score, by_counts.enrichment_score)
    # all that is not zero in the set stands at the top of the list
    assert by_levels.enrichment_score[0, 0] == pytest.approx(1, abs=1e-4)
