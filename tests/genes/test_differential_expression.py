"""Effects of active against inactive cells, and when they come with p-values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import false_discovery_control, ttest_ind, ttest_rel
from sklearn.metrics import roc_auc_score

from skdict.genes import _differential_expression, differential_expression, split_counts
from skdict.genes._count_split import CountSplit
from skdict.genes._expression_auc import SortedExpression

EFFECTS = ("log_fold_change", "mean_difference", "share_active", "share_inactive", "auc")


def made(rng, n_cells=40, n_genes=7, n_concepts=5):
    """Counts, and codes of both signs, some concepts in no cell or in all."""
    X = rng.poisson(rng.choice([0.1, 1.0, 4.0], n_genes), size=(n_cells, n_genes))
    X[:, 0] += 1  # no cell is empty
    codes = rng.normal(size=(n_cells, n_concepts)) * (rng.random((n_cells, n_concepts)) < 0.5)
    codes[:, 0] = 0
    codes[:, 1] = 1
    return X, codes, [f"g{i}" for i in range(n_genes)]


def naive(X, here, there, target_depth, pseudocount):
    """All effects of one concept with dense arrays."""
    scaled = X / X.sum(axis=1, keepdims=True) * target_depth
    logs = np.log1p(scaled)
    if not here.any() or not there.any():
        nothing = np.full(X.shape[1], np.nan)
        shares = [(X[arm] > 0).mean(axis=0) if arm.any() else nothing for arm in (here, there)]
        return [nothing, nothing, *shares, nothing]
    change = np.log2(scaled[here].mean(axis=0) + pseudocount)
    change -= np.log2(scaled[there].mean(axis=0) + pseudocount)
    both = here | there
    auc = [roc_auc_score(here[both], scaled[both, gene]) for gene in range(X.shape[1])]
    difference = logs[here].mean(axis=0) - logs[there].mean(axis=0)
    return [change, difference, (X[here] > 0).mean(axis=0), (X[there] > 0).mean(axis=0), auc]


@given(
    seed=st.integers(0, 1000),
    active=st.sampled_from(["positive", "nonzero"]),
    form=st.sampled_from([np.asarray, sparse.csr_array]),
    pseudocount=st.sampled_from([1.0, 0.01]),
)
def test_effects_against_dense_arrays(seed, active, form, pseudocount):
    X, codes, genes = made(np.random.default_rng(seed))
    found = differential_expression(
        form(X),
        form(codes),
        genes=genes,
        active=active,
        auc=True,
        target_depth=100,
        pseudocount=pseudocount,
    )
    for concept in range(codes.shape[1]):
        here = codes[:, concept] > 0 if active == "positive" else codes[:, concept] != 0
        there = codes[:, concept] == 0
        assert found.n_active[concept] == here.sum()
        assert found.n_inactive[concept] == there.sum()
        assert found.n_left_out[concept] == len(X) - here.sum() - there.sum()
        for name, exact in zip(EFFECTS, naive(X, here, there, 100, pseudocount)):
            np.testing.assert_allclose(found[name][concept], exact, atol=2e-5, err_msg=name)
    assert np.isnan(found.p_value).all() and np.isnan(found.q_value).all()


def test_some_concepts_blocks_and_memory_maps(rng, monkeypatch, tmp_path):
    X, codes, genes = made(rng)
    whole = differential_expression(X, codes, genes=genes, auc=True)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(_differential_expression, "_BLOCK_VALUES", 15)
    some = differential_expression(
        np.load(tmp_path / "X.npy", mmap_mode="r"), codes, genes=genes, auc=True, concepts=[4, 2, 3]
    )
    assert some.concepts.tolist() == [4, 2, 3]
    for name in EFFECTS:
        np.testing.assert_array_equal(some[name], whole[name][[4, 2, 3]])


def test_depth_of_all_genes_and_empty_cells(rng):
    X, codes, genes = made(rng)
    whole = differential_expression(X, codes, genes=genes)
    few = differential_expression(X[:, 2:], codes, genes=genes[2:], depth=X.sum(axis=1))
    for name in EFFECTS[:4]:
        np.testing.assert_allclose(few[name], whole[name][:, 2:], atol=1e-6)
    padded = np.vstack([X, np.zeros((3, X.shape[1]), dtype=int)])
    again = differential_expression(padded, np.vstack([codes, np.ones((3, 5))]), genes=genes)
    for name in (*EFFECTS[:4], "n_active", "n_inactive"):
        np.testing.assert_array_equal(again[name], whole[name])


@given(seed=st.integers(0, 1000), n_cells=st.integers(1, 30))
def test_areas_against_scikit_learn(seed, n_cells):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, size=(n_cells, 6)) / 2
    values[:, 0] = 0
    group = rng.integers(0, 3, n_cells)
    found = SortedExpression(sparse.csr_array(values)).auc(group == 1, group == 0)
    if not {0, 1} <= set(group):
        assert np.isnan(found).all()
        return
    both = group < 2
    for gene in range(6):
        exact = roc_auc_score(group[both], values[both, gene])
        assert found[gene] == pytest.approx(exact)


class TestTables:
    def test_genes_of_a_concept(self, rng):
        X, codes, genes = made(rng)
        found = differential_expression(X, codes, genes=genes, auc=True, layer="raw")
        for effect in ("log_fold_change", "mean_difference", "auc"):
            table = found.table(2, by=effect, n=3)
            order = np.argsort(-found[effect][2])[:3]
            assert table.gene.tolist() == [genes[gene] for gene in order]
            np.testing.assert_array_equal(table[effect], found[effect][2, order])
        assert found.table(2, as_frame=True).shape == (7, 8)
        assert found.settings.layer == "raw" and "x 7 genes, raw" in repr(found)
        without = differential_expression(X, codes, genes=genes)
        assert "auc" not in without.table(2)
        with pytest.raises(ValueError, match='by="auc" was not computed: pass auc=True'):
            without.table(2, by="auc")
        with pytest.raises(ValueError, match="concepts must be among the 5.*got 7"):
            without.table(7)

    def test_summary(self, rng):
        X, codes, genes = made(rng)
        found = differential_expression(X, codes, genes=genes)
        table = found.summary()
        assert table.n_active.tolist() == found.n_active.tolist()
        assert (table.n_significant == 0).all() and (table.design == "").all()
        assert "without, 5: codes and expression come from the same counts" in repr(found)
        assert found.summary(as_frame=True).shape == (5, 9)


def donors_problem(rng, n_units=6, n_cells=1500, n_genes=60, dispersion=None):
    """Counts of donors that differ, in which no gene differs between cells of a donor."""
    rates = np.exp(rng.normal(0, 1.2, n_genes))
    unit = rng.integers(0, n_units, n_cells)
    rates = rates * np.exp(rng.normal(0, 0.3, (n_units, n_genes)))
    rates /= rates.sum(axis=1, keepdims=True)
    mean = rates[unit] * (800 * np.exp(rng.normal(0, 0.4, n_cells)))[:, None]
    if dispersion is not None:
        mean = mean * rng.gamma(1 / dispersion, dispersion, mean.shape)
    return rng.poisson(mean), unit


def called(X, rng, share=0.1, n_concepts=20):
    """Codes that are positive in the cells that score highest on a few genes."""
    X = X.toarray() if sparse.issparse(X) else X
    logs = np.log1p(X / X.sum(axis=1, keepdims=True) * 800)
    scores = logs @ (rng.normal(size=(X.shape[1], n_concepts)))
    codes = scores - np.quantile(scores, 1 - share, axis=0)
    return sparse.csr_array(np.maximum(codes, 0))


class TestCalibration:
    """No gene differs, and concepts are called from the very counts."""

    @pytest.fixture
    def null(self):
        return np.random.default_rng(1)

    def test_the_same_counts_with_cells_as_replicates_find_what_is_not_there(self, null):
        X, _ = donors_problem(null)
        codes = called(X, null).toarray()
        logs = np.log1p(X / X.sum(axis=1, keepdims=True) * 800)
        p_value = np.array(
            [ttest_ind(logs[code > 0], logs[code == 0], equal_var=False).pvalue for code in codes.T]
        )
        assert (p_value < 0.05).mean() > 0.3
        assert (p_value < 1e-6).mean() > 0.05

    def test_split_counts_with_donors_as_replicates_do_not(self, null):
        p_values = []
        for seed in range(8):
            X, unit = donors_problem(null)
            split = split_counts(X, random_state=seed)
            codes = called(split.calling, null)
            found = differential_expression(
                split, codes, genes=np.arange(60).astype(str), units=unit
            )
            # donors differ, so that some concepts are active in few of them
            assert (found.design == "paired").mean() > 0.8
            assert ((found.reason == "") == (found.design != "")).all()
            p_values.append(found.p_value[np.isfinite(found.p_value)])
            assert np.count_nonzero(found.q_value <= 0.05) <= 3
        p_value = np.concatenate(p_values)
        assert p_value.size > 4000
        for level, slack in ((0.5, 0.05), (0.1, 0.02), (0.05, 0.012), (0.01, 0.006)):
            assert abs((p_value <= level).mean() - level) < slack

    def test_overdispersion_breaks_a_poisson_split_and_its_own_split_repairs_it(self, null):
        shares = {}
        for dispersion in (None, 0.5):
            p_values = []
            for seed in range(3):
                X, unit = donors_problem(null, dispersion=0.5)
                split = split_counts(X, dispersion=dispersion, random_state=seed)
                found = differential_expression(
                    split,
                    called(split.calling, null),
                    genes=np.arange(60).astype(str),
                    units=unit,
                )
                p_values.append(found.p_value[np.isfinite(found.p_value)])
            shares[dispersion] = (np.concatenate(p_values) < 0.05).mean()
        assert shares[None] > 0.2
        assert shares[0.5] < 0.08

    def test_what_differs_is_found(self, null):
        X, unit = donors_problem(null)
        state = null.random(len(X)) < 0.3
        X[:, :6] = null.poisson(1.0 + 6.0 * state[:, None], size=(len(X), 6))
        split = split_counts(X, random_state=0)
        codes = np.asarray(split.calling[:, :6].sum(axis=1)).reshape(-1, 1).astype(float)
        codes = np.maximum(codes - np.quantile(codes, 0.75), 0)
        found = differential_expression(split, codes, genes=np.arange(60).astype(str), units=unit)
        assert (found.q_value[0, :6] < 0.01).all() and (found.log_fold_change[0, :6] > 0.5).all()
        assert found.summary().n_significant[0] >= 6


class TestPseudobulk:
    def make(self, n_units=4, unpaired=False, n_cells=480):
        rng = np.random.default_rng(5)
        unit = np.arange(n_cells) % n_units
        X = rng.poisson(rng.uniform(2, 9, 5), size=(n_cells, 5))
        here = unit < n_units // 2 if unpaired else rng.random(n_cells) < 0.4
        split = CountSplit(calling=None, testing=sparse.csr_array(X), share=0.5)
        return split, X, unit, here

    @pytest.mark.parametrize("unpaired", [False, True])
    def test_against_scipy(self, unpaired):
        split, X, unit, here = self.make(n_units=8, unpaired=unpaired)
        found = differential_expression(split, here[:, None] * 1.0, genes=list("abcde"), units=unit)
        rates = [
            np.array([X[arm & (unit == u)].sum(axis=0) / X[arm & (unit == u)].sum()
                      for u in range(8) if (arm & (unit == u)).any()])
            for arm in (here, ~here)
        ]  # fmt: skip
        exact = ttest_ind(*rates, equal_var=False) if unpaired else ttest_rel(*rates)
        np.testing.assert_allclose(found.p_value[0], exact.pvalue)
        np.testing.assert_allclose(found.q_value[0], false_discovery_control(exact.pvalue))
        assert found.design.tolist() == ["unpaired" if unpaired else "paired"]
        assert found.n_units_active.tolist() == [4 if unpaired else 8]

    def test_negative_codes_are_in_neither_arm(self):
        split, X, unit, here = self.make()
        codes = np.where(here, 1.0, 0.0)
        out = np.arange(len(X)) % 5 == 0
        codes[out] = -1
        kept = CountSplit(calling=None, testing=split.testing[~out], share=0.5)
        found = differential_expression(split, codes[:, None], genes=list("abcde"), units=unit)
        cut = differential_expression(
            kept, codes[~out, None], genes=list("abcde"), units=unit[~out]
        )
        np.testing.assert_array_equal(found.p_value, cut.p_value)
        assert found.n_left_out[0] == out.sum()

    def test_genes_with_few_counts_are_not_tested(self):
        split, X, unit, here = self.make()
        X = X.copy()
        X[:, 0] = 0
        X[::48, 0] = 1
        split.testing = sparse.csr_array(X)
        found = differential_expression(split, here[:, None] * 1.0, genes=list("abcde"), units=unit)
        assert np.isnan(found.p_value[0, 0]) and np.isfinite(found.p_value[0, 1:]).all()
        assert np.isfinite(found.log_fold_change).all()

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"units": None}, "cells are no replicates: pass units"),
            ({"X": "counts"}, "codes and expression come from the same counts: pass split_counts"),
            ({"n_units": 2}, "units with at least 10 active cells: 2, needed 3"),
            ({"codes": "dead"}, "no active cells"),
            ({"codes": "everywhere"}, "units with at least 10 inactive cells: 0, needed 3"),
            ({"min_cells": 70}, "units with at least 70 active cells: 0, needed 3"),
        ],
    )
    def test_p_values_are_withheld_with_the_reason(self, change, reason):
        split, X, unit, here = self.make(n_units=change.get("n_units", 4))
        codes = {"dead": 0 * here, "everywhere": 0 * here + 1}.get(change.get("codes"), here)
        found = differential_expression(
            X if "X" in change else split,
            codes[:, None] * 1.0,
            genes=list("abcde"),
            units=change.get("units", unit),
            min_cells=change.get("min_cells", 10),
        )
        assert found.reason[0].startswith(reason)
        assert np.isnan(found.p_value).all() and found.p_value.shape == (1, 5)
        assert np.isnan(found.q_value).all() and found.design[0] == ""

    def test_withheld_p_values_take_no_memory(self, rng):
        X, codes, genes = made(rng)
        found = differential_expression(X, codes, genes=genes)
        assert found.p_value.strides == (0, 0) and found.q_value.strides == (0, 0)


def test_the_caller_keeps_counts_and_codes(rng):
    X, codes, genes = made(rng)
    X, codes = sparse.csr_array(X), sparse.csr_array(codes)
    X.data[3] = 0  # a stored zero
    before = [X.copy(), codes.copy()]
    differential_expression(X, codes, genes=genes, auc=True)
    for after, old in zip((X, codes), before):
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(after, name), getattr(old, name))


def test_errors_name_the_parameter(rng):
    X, codes, genes = made(rng)
    with pytest.raises(ValueError, match="whole numbers.*log-transformed"):
        differential_expression(np.log1p(X), codes, genes=genes)
    with pytest.raises(ValueError, match=r"codes must have shape.*the 40 cells of X.*\(39, 5\)"):
        differential_expression(X, codes[1:], genes=genes)
    with pytest.raises(ValueError, match="codes must be finite"):
        differential_expression(X, codes * np.nan, genes=genes)
    with pytest.raises(ValueError, match=r"genes must be unique.*\['g0'\]"):
        differential_expression(X, codes, genes=["g0", *genes[:-1]])
    with pytest.raises(ValueError, match="genes must name the 7 columns of X"):
        differential_expression(X, codes, genes=genes[1:])
    with pytest.raises(ValueError, match="concepts must lie in 0 to 4, got 9"):
        differential_expression(X, codes, genes=genes, concepts=[9])
    with pytest.raises(ValueError, match="active must be one of"):
        differential_expression(X, codes, genes=genes, active="all")
    with pytest.raises(ValueError, match="depth must have one entry per cell"):
        differential_expression(X, codes, genes=genes, depth=[1.0])
    with pytest.raises(ValueError, match="depth must be finite, and at least the sum"):
        differential_expression(X, codes, genes=genes, depth=X.sum(axis=1) - 1)
    with pytest.raises(ValueError, match="units must have one entry per row"):
        differential_expression(split_counts(X), codes, genes=genes, units=[1])
    with pytest.raises(ValueError, match="min_cells must be an integer >= 1"):
        differential_expression(X, codes, genes=genes, min_cells=0)
    with pytest.raises(ValueError, match="pseudocount must be in"):
        differential_expression(X, codes, genes=genes, pseudocount=0)
