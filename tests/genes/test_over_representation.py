"""Over-representation against scipy, gseapy and what chance does."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import binomtest, false_discovery_control, hypergeom, kstest

from skdict.genes import over_representation, write_gmt
from skdict.genes._false_discovery import q_values, q_values_of_counts
from skdict.genes._hypergeometric import upper_tails

GENES = np.array([f"G{i}" for i in range(60)])


def made(rng, n_concepts=12, n_sets=9, n_genes=60):
    """A random selection and random sets, some of them empty or full."""
    selected = rng.random((n_concepts, n_genes)) < rng.choice([0, 0.1, 0.4, 1], (n_concepts, 1))
    sets = {
        f"S{number}": GENES[rng.choice(n_genes, rng.integers(1, 30), replace=False)].tolist()
        for number in range(n_sets)
    }
    return selected, sets


class TestTails:
    @given(
        total=st.integers(1, 60),
        parts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_against_exact_arithmetic(self, total, parts):
        size, drawn = (round(part * total) for part in parts)
        most = min(size, drawn)
        ways = [
            comb(size, k) * comb(total - size, drawn - k) if drawn - k <= total - size else 0
            for k in range(most + 1)
        ]
        exact = [float(Fraction(sum(ways[k:]), comb(total, drawn))) for k in range(most + 1)]
        found = upper_tails(np.array([size]), drawn, total, most)
        np.testing.assert_allclose(found[0], exact, rtol=1e-12)

    @pytest.mark.parametrize(("drawn", "total"), [(200, 16000), (7, 16000), (9000, 9500)])
    def test_against_scipy_at_real_sizes(self, drawn, total):
        sizes = np.array([5, 17, 120, 499])
        found = upper_tails(sizes, drawn, total, most=60)
        exact = hypergeom.sf(np.arange(61) - 1, total, sizes[:, None], drawn)
        np.testing.assert_allclose(found, exact, rtol=1e-11)


class TestAgainstOthers:
    @given(seed=st.integers(0, 10_000))
    def test_every_pair_is_that_of_scipy(self, seed):
        rng = np.random.default_rng(seed)
        selected, sets = made(rng)
        found = over_representation(selected, sets, genes=GENES, min_size=1)
        p_value, q_value = found.dense("p_value"), found.dense("q_value")
        exact = np.ones_like(p_value)
        for row, mask in enumerate(selected):
            for column, genes in enumerate(sets.values()):
                common = len(set(GENES[mask]) & set(genes))
                exact[row, column] = hypergeom.sf(common - 1, 60, len(genes), mask.sum())
                assert found.overlap[row, column] == common
        np.testing.assert_allclose(p_value, exact, rtol=1e-11)
        live = selected.any(axis=1)
        assert found.n_tests == live.sum() * len(sets)
        np.testing.assert_allclose(
            q_value[live], false_discovery_control(exact[live], axis=None).reshape(-1, 9)
        )
        assert (q_value[~live] == 1).all()

    def test_gseapy_finds_the_same(self, rng):
        gseapy = pytest.importorskip("gseapy")
        selected, sets = made(rng)
        selected = selected[selected.any(axis=1)]
        background = np.arange(60) < 50
        selected[:, ~background] = False
        found = over_representation(
            selected, sets, genes=GENES, background=background, min_size=1, max_size=None
        )
        for row, mask in enumerate(selected):
            theirs = gseapy.enrich(
                gene_list=GENES[mask].tolist(),
                gene_sets={name: list(genes) for name, genes in sets.items()},
                background=GENES[background].tolist(),
                outdir=None,
                no_plot=True,
            ).res2d.set_index("Term")
            for column, name in enumerate(found.gene_sets):
                if found.overlap[row, column] == 0:
                    assert name not in theirs.index
                    continue
                assert theirs.loc[name, "P-value"] == pytest.approx(
                    found.dense("p_value", row)[0, column], rel=1e-9
                )
                common, size = theirs.loc[name, "Overlap"].split("/")
                assert int(common) == found.overlap[row, column]
                assert int(size) == found.set_size[column]


@pytest.fixture(scope="module")
def null():
    """Concepts whose genes are drawn at random."""
    rng = np.random.default_rng(0)
    genes = np.array([f"G{i}" for i in range(1000)])
    sets = {f"S{i}": rng.choice(genes, 20 + 8 * i, replace=False) for i in range(20)}
    selected = np.zeros((2000, 1000), dtype=bool)
    for mask in selected:
        mask[rng.choice(1000, rng.integers(20, 200), replace=False)] = True
    return over_representation(selected, sets, genes=genes, min_size=1)


class TestNull:
    def test_attainable_values_are_attained_as_often_as_they_say(self, null):
        # exact p-values: P(p <= a) is a where a can be attained, below it elsewhere
        for column in (0, 7, 19):
            p_value = null.dense("p_value")[:, column]
            for level in (0.01, 0.05, 0.3):
                size = int(null.set_size[column])
                attained = 0.0
                for drawn in null.n_selected:
                    tails = upper_tails(np.array([size]), int(drawn), 1000, size)[0]
                    attained += tails[tails <= level].max(initial=0)
                assert attained <= level * 2000
                reached = int((p_value <= level).sum())
                assert binomtest(reached, 2000, attained / 2000).pvalue > 1e-3

    def test_the_randomised_value_is_uniform_and_the_mid_value_has_mean_one_half(self, null, rng):
        for column in (0, 7, 19):
            size = int(null.set_size[column])
            overlap = null.overlap[:, [column]].toarray().ravel()
            at_least = hypergeom.sf(overlap - 1, 1000, size, null.n_selected)
            np.testing.assert_allclose(null.dense("p_value")[:, column], at_least, rtol=1e-9)
            beyond = hypergeom.sf(overlap, 1000, size, null.n_selected)
            randomised = beyond + rng.random(2000) * (at_least - beyond)
            assert kstest(randomised, "uniform").pvalue > 1e-3
            assert abs((at_least + beyond).mean() / 2 - 0.5) < 4 * np.sqrt(1 / 12 / 2000)

    def test_next_to_nothing_is_found(self, null):
        assert np.unique(null.significant(0.05)[0]).size <= 2

    def test_false_discoveries_beside_true_ones(self, rng):
        genes = np.array([f"G{i}" for i in range(2000)])
        sets = {f"S{i}": genes[i * 20 : (i + 1) * 20] for i in range(100)}
        false = []
        for _ in range(20):
            selected = np.zeros((60, 2000), dtype=bool)
            for row, mask in enumerate(selected):
                mask[rng.choice(2000, 80, replace=False)] = True
                if row < 30:
                    mask[row * 20 : row * 20 + 12] = True
            concept, gene_set = over_representation(selected, sets, genes=genes).significant(0.2)
            wrong = concept != gene_set
            assert len(set(concept[~wrong])) == 30
            false.append(wrong.mean())
        assert np.mean(false) < 0.2


class TestBackground:
    def test_only_background_counts(self, rng):
        selected, sets = made(rng)
        mask = np.arange(60) % 3 > 0
        selected &= mask
        options = {"genes": GENES, "min_size": 1}
        by_mask = over_representation(selected, sets, background=mask, **options)
        by_name = over_representation(selected, sets, background=GENES[mask], **options)
        cut = over_representation(selected[:, mask], sets, genes=GENES[mask], min_size=1)
        for other in (by_name, cut):
            np.testing.assert_array_equal(by_mask.dense("p_value"), other.dense("p_value"))
            np.testing.assert_array_equal(by_mask.set_size, other.set_size)
        assert by_mask.n_background == mask.sum()

    def test_each_concept_with_its_own(self, rng):
        selected, sets = made(rng)
        own = rng.random(selected.shape) < 0.7
        selected &= own
        found = over_representation(
            selected, sets, genes=GENES, background=sparse.csr_array(own), min_size=1
        )
        n_tests = 0
        for row, (mask, background) in enumerate(zip(selected, own)):
            np.testing.assert_array_equal(found.n_background[row], background.sum())
            for column, genes in enumerate(sets.values()):
                measured = set(genes) & set(GENES[background])
                common = len(measured & set(GENES[mask]))
                assert found.set_size[row, column] == len(measured)
                n_tests += bool(measured) and bool(mask.any())
                assert found.dense("p_value", row)[0, column] == pytest.approx(
                    hypergeom.sf(common - 1, background.sum(), len(measured), mask.sum()), rel=1e-9
                )
        assert found.n_tests == n_tests
        pairs = found.pairs(0.99, by="p_value")
        place = dict(zip(found.concepts.tolist(), range(len(selected))))
        for concept, size in zip(pairs.concept, pairs.set_size):
            assert size <= found.n_background[place[concept]]

    def test_expressed_genes_are_no_enrichment_of_their_own_background(self, rng):
        # a concept's genes are any of those expressed: enriched in "expressed" against all genes
        genes = np.array([f"G{i}" for i in range(400)])
        expressed = np.arange(400) < 200
        selected = np.zeros((30, 400), dtype=bool)
        for mask in selected:
            mask[rng.choice(200, 40, replace=False)] = True
        sets = {"expressed there": genes[:60]}
        against_all = over_representation(selected, sets, genes=genes)
        own = over_representation(
            selected, sets, genes=genes, background=np.tile(expressed, (30, 1))
        )
        assert len(against_all.significant(0.05)[0]) > 15
        assert len(own.significant(0.05)[0]) <= 1


class TestTables:
    @pytest.fixture
    def found(self):
        sets = {"first": GENES[:15], "last": GENES[45:], "none": GENES[30:40]}
        selected = {"x": GENES[:10], "y": [], "z": GENES[20:50].tolist()}
        return over_representation(selected, sets, genes=GENES)

    def test_pairs(self, found):
        pairs = found.pairs(0.05)
        assert pairs.concept.tolist() == ["x", "z"]
        assert pairs.gene_set.tolist() == ["first", "none"]
        assert pairs.overlap.tolist() == [10, 10]
        assert pairs.fold_enrichment.tolist() == pytest.approx([10 / (10 * 15 / 60), 2.0])
        assert pairs.genes[0].split("; ") == sorted(GENES[:10], key=lambda gene: int(gene[1:]))
        assert (np.diff(pairs.p_value) >= 0).all()
        assert found.pairs(0.05, concepts="z").gene_set.tolist() == ["none"]
        assert found.pairs(0.05, concepts=["y"]).gene_set.size == 0
        frame = found.pairs(0.05, as_frame=True)
        assert frame.columns.tolist() == list(pairs) and len(frame) == 2

    def test_by_concept(self, found):
        table = found.by_concept(0.05)
        assert table.concept.tolist() == ["x", "y", "z"]
        assert table.n_selected.tolist() == [10, 0, 30]
        assert table.n_sets.tolist() == [1, 0, 1]
        assert table.best_set.tolist() == ["first", "", "none"]
        assert table.q_value[1] == 1
        assert table.q_value[0] == found.dense()[0].min()

    def test_summary(self, found):
        text = repr(found)
        assert "3 concepts x 3 gene sets, 6 pairs tested" in text
        assert "concepts without genes        1" in text
        assert "pairs, q <= 0.05              2" in text

    def test_nothing_in_common_at_all(self):
        found = over_representation({"x": GENES[:5]}, {"s": GENES[20:40]}, genes=GENES)
        assert found.dense("p_value").tolist() == [[1.0]] and found.pairs(0.5).concept.size == 0
        assert found.by_concept().best_set.tolist() == [""]

    def test_a_file_does_as_well(self, found, tmp_path):
        path = tmp_path / "sets.gmt"
        write_gmt(path, {"first": GENES[:15].tolist()})
        again = over_representation({"x": GENES[:10]}, path, genes=GENES)
        assert again.pairs(0.05).p_value[0] == found.pairs(0.05).p_value[0]


def test_the_inputs_stay_as_they_are():
    selected = sparse.csr_array(np.array([[1, 0, 1], [0, 1, 1]]))
    selected.data[0] = 0  # a stored zero
    found = over_representation(selected, {"s": ["a", "c"]}, genes=["a", "b", "c"], min_size=1)
    assert selected.nnz == 4 and found.n_selected.tolist() == [1, 2]


def test_errors_name_the_parameter():
    eye, sets = np.eye(60, dtype=bool), {"s": GENES[:20]}
    with pytest.raises(ValueError, match="selected must hold True and False.*select_genes"):
        over_representation(np.eye(60) * 0.4, sets, genes=GENES)
    with pytest.raises(ValueError, match="genes must name the 60 columns of selected"):
        over_representation(eye, sets, genes=GENES[:59])
    with pytest.raises(ValueError, match=r"genes must be unique.*\['G0'\]"):
        over_representation(eye, sets, genes=["G0", *GENES[:-1]])
    with pytest.raises(ValueError, match="selected must lie within background, but 40 selected"):
        over_representation(eye, sets, genes=GENES, background=GENES[:20])
    with pytest.raises(ValueError, match=r"background must have the shape \(60, 60\)"):
        over_representation(eye, sets, genes=GENES, background=eye[:3])
    with pytest.raises(ValueError, match="background must hold names of genes.*'CD3D'"):
        over_representation(eye, sets, genes=GENES, background=["CD3D"])
    with pytest.raises(ValueError, match="selected must hold names of genes.*'CD3D'"):
        over_representation({"x": ["CD3D"]}, sets, genes=GENES)
    with pytest.raises(ValueError, match="no name in common"):
        over_representation(eye, {"s": ["CD3D"]}, genes=GENES)
    with pytest.raises(ValueError, match="libraries are not downloaded"):
        over_representation(eye, "GO_Biological_Process_2021", genes=GENES)
    with pytest.raises(ValueError, match="concepts must name the 60 concepts"):
        over_representation(eye, sets, genes=GENES, concepts=[1])
    with pytest.raises(ValueError, match="concepts must be distinct"):
        over_representation(eye, sets, genes=GENES, concepts=[1] * 60)
    found = over_representation(eye, sets, genes=GENES)
    with pytest.raises(ValueError, match="concepts must be among the 60.*got 60"):
        found.dense("p_value", [60])
    with pytest.raises(ValueError, match="level must be less than 1"):
        found.pairs(1.0)
    with pytest.raises(ValueError, match="by must be one of 'p_value', 'q_value'"):
        found.pairs(by="fdr")


class TestFalseDiscovery:
    @given(seed=st.integers(0, 1000))
    def test_against_scipy(self, seed):
        rng = np.random.default_rng(seed)
        p_value, counts = rng.integers(0, 6, 8) / 8, rng.integers(0, 4, 8)
        ones = int(rng.integers(0, 5))
        whole = np.concatenate([np.repeat(p_value, counts), np.ones(ones)])
        if whole.size == 0:
            return
        found = q_values_of_counts(p_value, counts, whole.size)
        exact = false_discovery_control(whole)[: counts.sum()]
        np.testing.assert_allclose(np.repeat(found, counts), exact)

    def test_missing_values_are_not_counted(self):
        p_value = np.array([[0.01, np.nan], [0.04, 0.5]])
        found = q_values(p_value)
        assert np.isnan(found[0, 1])
        np.testing.assert_allclose(
            found[[0, 1, 1], [0, 0, 1]], false_discovery_control([0.01, 0.04, 0.5])
        )
        assert np.isnan(q_values(np.full((2, 2), np.nan))).all()


def test_genes_stored_twice_count_once():
    genes = [f"g{i}" for i in range(40)]
    places = np.array([0, 0, 1, 30]), np.array([0, 4])
    twice = sparse.csr_array((np.ones(4, dtype=bool), *places), shape=(1, 40))
    found = over_representation(twice, {"first": genes[:20]}, genes=genes)
    assert found.n_selected.tolist() == [3] and found.overlap.toarray().tolist() == [[2]]
    assert twice.nnz == 4
    with pytest.raises(ValueError, match="selected must hold at least one concept"):
        over_representation({}, {"first": genes[:20]}, genes=genes)
