"""Attributions and expression side by side: genes and gene sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.utils import Bunch

from skdict.genes import (
    compare_enrichment,
    compare_gene_lists,
    differential_expression,
    over_representation,
    prerank,
    select_genes,
)

GENES = np.array([f"g{i}" for i in range(40)])


def lists(attribution, expression, concepts=None, genes=None, **effects):
    """The fields of a GeneAttribution and of a DifferentialExpression."""
    attribution, expression = np.atleast_2d(attribution), np.atleast_2d(expression)
    concepts = np.arange(len(attribution)) if concepts is None else concepts
    genes = GENES[: attribution.shape[1]] if genes is None else genes
    names = {"genes": genes, "concepts": concepts}
    effects = {"log_fold_change": expression, "mean_difference": None, "auc": None} | effects
    return Bunch(**names, attribution=attribution), Bunch(**names, **effects)


class TestGeneLists:
    @given(seed=st.integers(0, 1000))
    def test_ranks_and_correlation(self, seed):
        rng = np.random.default_rng(seed)
        scores = rng.integers(-3, 4, size=(2, 2, 12)).astype(float)
        scores[0, 0, 0] = np.nan  # not attributed
        found = compare_gene_lists(*lists(*scores), n_first=4)
        for row in range(2):
            known = ~np.isnan(scores[0, row])
            pair = scores[0, row, known], np.abs(scores[1, row, known])
            exact = spearmanr(*pair).statistic if all(np.ptp(x) for x in pair) else np.nan
            np.testing.assert_allclose(found.rank_correlation[row], exact)
            for rank, first, score in zip(
                (found.attribution_rank, found.expression_rank),
                (found.first_attribution, found.first_expression),
                (scores[0], np.abs(scores[1])),
            ):
                for gene in np.flatnonzero(known):
                    better = np.count_nonzero(score[row, known] > score[row, gene])
                    equal = np.count_nonzero(score[row, known] == score[row, gene])
                    assert rank[row, gene] == better + (equal + 1) / 2
                    assert first[row, gene] == (rank[row, gene] <= 4 and score[row, gene] > 0)
                assert np.isnan(rank[row, ~known]).all() and not first[row, ~known].any()

    def test_rounding_drives_nothing(self):
        """Attributions of 1e-16 counted as the first of attribution alone."""
        attribution, expression = np.zeros(40), np.zeros(40)
        attribution[0], attribution[5:15] = 0.4, 1e-16
        expression[[0, 20]] = 1.0, 2.0
        found = compare_gene_lists(*lists(attribution, expression), n_first=8)
        assert found.summary().attribution.tolist() == [0]
        assert np.unique(found.attribution_rank[0, 1:]).tolist() == [21.0]

    def test_confounders_are_first_of_expression_alone(self):
        attribution, expression = np.zeros(40), np.zeros(40)
        attribution[:3] = [0.5, 0.4, 0.3]
        expression[[0, 10, 11]] = [1.0, 3.0, -2.0]
        found = compare_gene_lists(*lists(attribution, expression), n_first=10)
        assert found.table(0, "expression").gene.tolist() == ["g10", "g11"]
        assert found.table(0, "attribution").gene.tolist() == ["g1", "g2"]
        assert found.table(0, "both").gene.tolist() == ["g0"]
        assert found.table(0, "neither").gene.size == 35
        assert found.table(0, n=2).attribution_rank.tolist() == [1.0, 39 - 17.0]
        table = found.summary()
        assert [table[name][0] for name in ("both", "attribution", "expression")] == [1, 2, 2]
        assert table.both_by_chance[0] == pytest.approx(9 / 40)
        assert "1 of both, 2 of attribution alone, 2 of expression alone" in repr(found)
        assert found.table(0, as_frame=True).shape == (5, 6)
        assert found.summary(as_frame=True).shape == (1, 6)

    def test_signs(self):
        scores = lists([[0.5, -0.5, 0.1]], [[1.0, -2.0, 0.5]])
        signed = compare_gene_lists(*scores, n_first=2)
        assert signed.first_attribution.tolist() == [[True, False, True]]
        assert signed.first_expression.tolist() == [[True, True, False]]
        other = compare_gene_lists(
            *scores, n_first=2, attribution_order="absolute", expression_order="signed"
        )
        # two equal first scores share the ranks 1 and 2
        assert other.first_attribution.tolist() == [[True, True, False]]
        assert other.first_expression.tolist() == [[True, False, True]]

    def test_areas_count_by_their_distance_from_one_half(self):
        attribution, expression = lists([[0.3, 0.2, 0.1]], [[0.0, 0.0, 0.0]])
        expression.auc = np.array([[0.1, 0.5, 0.7]])
        found = compare_gene_lists(attribution, expression, effect="auc", n_first=2)
        assert found.expression_rank.tolist() == [[1.0, 3.0, 2.0]]
        assert found.first_expression.tolist() == [[True, False, True]]

    def test_matched_by_name(self):
        attribution, expression = lists(np.arange(12.0).reshape(3, 4), np.zeros((3, 4)))
        expression.concepts = np.array([2, 7, 0])
        expression.genes = np.array(["g3", "x", "g0", "g1"])
        expression.log_fold_change = np.arange(12.0).reshape(3, 4)
        found = compare_gene_lists(attribution, expression)
        assert found.concepts.tolist() == [0, 2] and found.genes.tolist() == ["g0", "g1", "g3"]
        assert found.attribution.tolist() == [[0.0, 1.0, 3.0], [8.0, 9.0, 11.0]]
        assert found.expression.tolist() == [[10.0, 11.0, 8.0], [2.0, 3.0, 0.0]]

    def test_with_differential_expression(self, rng):
        X = rng.poisson(5.0, size=(200, 40))
        X[:100, :2] += rng.poisson(6.0, size=(100, 2))
        codes = np.repeat([[1.0], [0.0]], 100, axis=0)
        expression = differential_expression(X, codes, genes=GENES)
        attribution = lists([np.where(GENES == "g0", 0.4, 0.0)], np.zeros((1, 40)))[0]
        found = compare_gene_lists(attribution, expression, n_first=2)
        assert found.table(0).found_by.tolist() == ["both", "expression"]
        with pytest.raises(ValueError, match='by="auc" was not computed'):
            compare_gene_lists(attribution, expression, effect="auc")

    def test_errors_name_the_parameter(self):
        scores = lists(np.ones((1, 4)), np.ones((1, 4)))
        assert np.isnan(compare_gene_lists(*scores).rank_correlation[0])
        with pytest.raises(ValueError, match="attribution_order must be one of"):
            compare_gene_lists(*scores, attribution_order="up")
        with pytest.raises(ValueError, match="n_first must be an integer >= 1"):
            compare_gene_lists(*scores, n_first=0)
        scores[1].genes = np.array(["a", "b", "c", "d"])
        with pytest.raises(ValueError, match=r"a gene in common: \['g0', 'g1', 'g2'\] against"):
            compare_gene_lists(*scores)
        scores[1].concepts = np.array([5])
        with pytest.raises(ValueError, match="a concept in common"):
            compare_gene_lists(*scores)
        found = compare_gene_lists(*lists(np.ones((1, 4)), np.ones((1, 4))))
        with pytest.raises(ValueError, match="found_by must be one of 'both'"):
            found.table(0, "all")
        with pytest.raises(ValueError, match="concepts must be among the 1"):
            found.found_by(3)


class TestEnrichment:
    SETS = {"drives": GENES[:12], "follows": GENES[12:24], "idle": GENES[24:36]}

    def found(self, **lists_of_concepts):
        return over_representation(lists_of_concepts, self.SETS, genes=GENES)

    def test_pathways_that_only_one_finds(self):
        attribution = self.found(a=GENES[:10], b=GENES[24:34], c=[])
        expression = self.found(a=[*GENES[:9], *GENES[12:21]], b=GENES[24:33], c=GENES[:8])
        found = compare_enrichment(attribution, expression)
        pairs = found.pairs()
        by_pair = dict(zip(zip(pairs.concept, pairs.gene_set), pairs.found_by))
        assert by_pair == {
            ("a", "drives"): "both",
            ("a", "follows"): "expression",
            ("b", "idle"): "both",
            ("c", "drives"): "expression",
        }
        smaller = np.fmin(pairs.attribution_q_value, pairs.expression_q_value)
        assert (np.diff(smaller) >= 0).all()
        for name, result in (("attribution", attribution), ("expression", expression)):
            for concept, gene_set, q in zip(
                pairs.concept, pairs.gene_set, pairs[f"{name}_q_value"]
            ):
                column = result.gene_sets.tolist().index(gene_set)
                assert q == result.dense("q_value", concept)[0, column]
        assert found.pairs("expression", concepts="a").gene_set.tolist() == ["follows"]
        table = found.by_concept()
        assert table.both.tolist() == [1, 1, 0] and table.expression.tolist() == [1, 0, 1]
        assert "by expression alone           2" in repr(found)
        assert found.pairs(as_frame=True).shape == (4, 5)

    def test_a_little_above_the_level_is_not_absent(self):
        attribution = self.found(a=GENES[:10])
        expression = self.found(a=[*GENES[:6], *GENES[12:18]])
        q = expression.dense("q_value")[0, 0]
        assert 0.05 < q < 0.6
        assert compare_enrichment(attribution, expression).found_by.tolist() == ["attribution"]
        wide = compare_enrichment(attribution, expression, absent_level=0.9)
        assert wide.found_by.tolist() == ["neither"]
        assert wide.by_concept().attribution.tolist() == [0]

    def test_matched_by_name_and_mixed_with_ranked_lists(self, rng):
        pytest.importorskip("gseapy")
        scores = rng.normal(size=(2, 40))
        scores[1, :12] += 3
        ranked = prerank(
            scores,
            {"idle": GENES[24:36], "drives": GENES[:12]},
            genes=GENES,
            concepts=["x", "a"],
            random_state=0,
        )
        found = compare_enrichment(self.found(a=GENES[:10], b=GENES[:10]), ranked)
        assert found.concepts.tolist() == ["a"] and found.gene_sets.tolist() == ["drives", "idle"]
        assert found.pairs("both").gene_set.tolist() == ["drives"]
        assert found.expression_q_value[0] == ranked.q_value[1, 1]

    def test_what_was_not_tested_is_not_found(self):
        pytest.importorskip("gseapy")
        scores = np.vstack([np.zeros(40), np.linspace(1, -1, 40)])
        ranked = prerank(scores, self.SETS, genes=GENES, concepts=["a", "b"], random_state=0)
        found = compare_enrichment(self.found(a=GENES[:10]), ranked)
        assert found.found_by.tolist() == ["attribution"]
        assert np.isnan(found.expression_q_value).all()

    def test_from_scores_to_sets(self):
        attribution, expression = np.zeros((1, 40)), np.zeros((1, 40))
        attribution[0, :10], expression[0, 12:22] = 0.2, 1.5
        results = [
            over_representation(select_genes(scores, n_top=15, order=order), self.SETS, genes=GENES)
            for scores, order in ((attribution, "largest"), (expression, "magnitude"))
        ]
        found = compare_enrichment(*results)
        assert found.pairs("attribution").gene_set.tolist() == ["drives"]
        assert found.pairs("expression").gene_set.tolist() == ["follows"]

    def test_errors_name_the_parameter(self):
        one = self.found(a=GENES[:10])
        with pytest.raises(ValueError, match="a concept in common: .*'a'.* against .*'z'"):
            compare_enrichment(one, self.found(z=GENES[:10]))
        other = over_representation({"a": GENES[:10]}, {"s": GENES[:12]}, genes=GENES)
        with pytest.raises(ValueError, match="a gene set in common"):
            compare_enrichment(one, other)
        with pytest.raises(ValueError, match=r"absent_level must be in \[0.05, 1\]"):
            compare_enrichment(one, one, absent_level=0.01)
        with pytest.raises(ValueError, match="less than 1"):
            compare_enrichment(one, one, absent_level=1.0)
        with pytest.raises(ValueError, match="found_by must be one of"):
            compare_enrichment(one, one).pairs("none")
