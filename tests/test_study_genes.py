"""The study of genes runs on toy sets, holds out what it says, and its page is of its results."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from docutils.core import publish_doctree
from docutils.parsers.rst import roles
from scipy import sparse

from benchmarks.study.cache import SKDICT
from benchmarks.study.verdicts import FAILS, HOLDS, UNTESTABLE
from benchmarks.study_genes import arms, cells, kinds, preservation, second
from benchmarks.study_genes.cuts import best_cuts
from benchmarks.study_genes.embeddings import LinearEmbedding, embed, embedding
from benchmarks.study_genes.found import Found
from benchmarks.study_genes.markers import GROUPS, MARKERS
from benchmarks.study_genes.page import page
from benchmarks.study_genes.run import run, write
from benchmarks.study_genes.settings import FULL, QUICK
from skdict.datasets import load_pbmc

DOCS = Path(__file__).resolve().parents[1] / "docs"
TINY = replace(
    QUICK, n_cells=150, embeddings=("pca",), n_features=6, n_components=10, n_nonzero=2,
    max_steps=20, most_active=0.9, n_planted_cells=200, n_batch_cells=600,
    n_random_dictionaries=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy_sets(tmp_path_factory):
    """A folder of data with one small file of gene sets: markers, and genes at random."""
    folder = tmp_path_factory.mktemp("data")
    path = folder / cells.GENE_SETS["Reactome"]
    path.parent.mkdir()
    measured = load_pbmc().genes
    rng = np.random.default_rng(0)
    lines = [
        [name, "", *(gene for gene in genes if gene in set(measured)), *rng.choice(measured, 8)]
        for name, genes in MARKERS.items()
    ]
    lines += [[f"random {k}", "", *rng.choice(measured, 20, replace=False)] for k in range(10)]
    lines.append(lines[-1])  # a name that is there twice, as in the file of Reactome 2016
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def no_leftovers(monkeypatch):
    """Data of the machine play no part, and what was loaded for one folder is not kept."""
    monkeypatch.delenv("SKDICT_DATA", raising=False)
    clear()
    yield
    clear()


def clear():
    """Forget what was loaded."""
    for function in (cells.blood_cells, cells.gene_sets, cells.second_set, kinds.digest_of_sets):
        function.cache_clear()


@pytest.fixture(scope="module")
def results(tmp_path_factory, toy_sets):
    """Results of a tiny run with toy sets, and the folder of their cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SKDICT_DATA", str(toy_sets))
        clear()
        return run(TINY, folder=folder, stream=None), folder


def assert_reads(text):
    """Docutils has nothing to say against a page."""
    told = StringIO()
    for role in ("download", "func", "class"):  # Sphinx has them
        roles.register_local_role(role, roles.generic_custom_role)
    publish_doctree(
        re.sub(r"\.\. image::.*\n.*\n.*\n", "", text),
        settings_overrides={"warning_stream": told, "report_level": 2},
    )
    assert told.getvalue() == ""


class TestRun:
    def test_files_and_page(self, results, tmp_path):
        found, _ = results
        paths = {path.name: path for path in write(found, tmp_path)}
        text = paths["study_genes.rst"].read_text()
        assert_reads(text)
        assert "This is a quick run" in text
        verdicts = {c["verdict"] for s in found["sections"].values() for c in s["claims"]}
        assert verdicts <= {HOLDS, FAILS, UNTESTABLE}
        for section in found["sections"].values():
            assert section["title"] in text
        assert json.loads(paths["study_genes.json"].read_text()) == found
        assert set(paths.values()) == {path for path in tmp_path.rglob("*") if path.is_file()}

    def test_every_live_concept_has_a_row(self, results):
        found, _ = results
        rows = found["concepts"]
        assert len({(r["embedding"], r["dictionary"], r["concept"]) for r in rows}) == len(rows)
        for title, seeds in found["senseless"].items():
            kind = title.split(",")[0]
            assert seeds[0][1] == sum(row["dictionary"] == kind for row in rows)
            assert seeds[0][0] == sum(
                row["dictionary"] == kind and not row["sense"] for row in rows
            )

    def test_toy_sets_are_found(self, results):
        """The sets of markers are enriched somewhere; with permuted names almost nothing is."""
        found, _ = results
        bars = found["sections"]["share"]["bars"]["pca"]
        share = dict(zip(bars["kinds"], bars["share"], strict=True))
        assert share["TopK"] > 0
        assert share["TopK, permuted genes"] <= share["TopK"]

    def test_a_second_run_computes_nothing(self, results, toy_sets, monkeypatch):
        found, folder = results
        monkeypatch.setenv("SKDICT_DATA", str(toy_sets))

        def compute(task, settings):
            raise AssertionError(f"computed again: {task}")

        monkeypatch.setattr(kinds, "compute", compute)
        assert run(TINY, folder=folder, stream=None)["sections"] == found["sections"]

    def test_without_sets_nothing_is_said_of_pathways(self, results, toy_sets, monkeypatch):
        """The same results without their pathways: such claims cannot be tested."""
        found, folder = results
        monkeypatch.setenv("SKDICT_DATA", str(toy_sets))
        done = kinds.run_tasks(kinds.tasks(TINY), TINY, kinds_cache(folder), stream=None)
        for entry in done.values():
            for arm in entry["result"].get("arms", {}).values():
                arm.pop("pathways")
                for row in arm.get("concepts", []):
                    row.pop("sense")
        monkeypatch.delenv("SKDICT_DATA")
        clear()
        monkeypatch.setattr(kinds, "run_tasks", lambda *args, **options: done)
        bare = run(TINY, folder=folder, stream=None)
        claims = bare["sections"]["share"]["claims"]
        assert {claim["verdict"] for claim in claims} == {UNTESTABLE}
        assert {claim["ours"][""] for claim in claims} == {"needs SKDICT_DATA"}
        assert bare["senseless"] is None
        assert set(cells.GENE_SETS.values()) <= set(bare["missing"])
        text = page(bare, [])
        assert_reads(text)
        assert "No gene sets were there: nothing is said of pathways." in text


def kinds_cache(folder):
    """The cache of the tiny run."""
    from benchmarks.study.cache import Cache

    return Cache(folder)


class TestCells:
    def test_held_out_cells_are_never_learned_from(self):
        blood = cells.blood_cells(TINY.n_cells)
        for seed in (0, 1):
            assert not blood.test[blood.training(seed)].any()
        assert not np.array_equal(blood.training(0), blood.training(1))
        every, tested = (np.unique(blood.cell_type[rows]) for rows in (slice(None), blood.test))
        assert np.array_equal(every, tested)

    def test_genes_that_were_left_out_count_for_the_depth(self):
        blood, pbmc = cells.blood_cells(), load_pbmc()
        assert np.array_equal(blood.depth, pbmc.n_counts)
        assert blood.genes[~blood.named].tolist() == [cells.OTHERS]

    def test_a_name_that_is_there_twice_has_the_genes_of_both(self, tmp_path):
        path = tmp_path / "sets.gmt"
        path.write_text("a\t\tX\tY\nb\t\tZ\na\t\tY\tW\n")
        assert cells.distinct_sets(path) == {"a": ["W", "X", "Y"], "b": ["Z"]}

    def test_groups_of_the_second_set(self):
        types = ["CD19+ B", "CD56+ NK", "CD14+ Monocyte", "CD34+", "CD4+/CD25 T Reg",
                 "CD8+ Cytotoxic T", "Dendritic"]  # fmt: skip
        expected = ["B cell", "NK cell", "CD14+", "CD34+", "T cell", "T cell", "other"]
        assert second.group_of(np.array(types)).tolist() == expected

    def test_markers_are_measured(self):
        """A list of markers of which the data have few could not be found by anyone."""
        genes = load_pbmc().genes
        assert set(GROUPS) == set(load_pbmc().cell_group.tolist())
        assert all(np.isin(MARKERS[group], genes).sum() >= 4 for group in GROUPS)


class TestEmbeddings:
    def test_linear_embedding_is_that_of_pca(self):
        blood = cells.blood_cells(TINY.n_cells)
        counts = blood.counts[blood.training(0)]
        E = embed(embedding("pca", 0, TINY), counts)
        assert np.abs(E.mean(axis=0)).max() < 1e-3
        covariance = np.cov(E.T)
        assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-3 * covariance.max()

    def test_untrained_differs(self):
        counts = cells.blood_cells(TINY.n_cells).counts[:20]
        one, other = (
            embed(embedding("pca", 0, TINY, trained=trained), counts) for trained in (True, False)
        )
        assert np.abs(one - other).max() > 0.1

    def test_depth_is_normalised_away(self):
        rng = np.random.default_rng(0)
        counts = sparse.csr_array(rng.poisson(1.0, (5, 7)).astype(np.float32))
        function = LinearEmbedding(rng.normal(size=(2, 6)), np.zeros(6))
        np.testing.assert_allclose(function(counts), function(3 * counts), rtol=1e-5, atol=1e-5)


class TestTasks:
    def test_keys_know_what_matters(self):
        task = kinds.Task("genes", "pca", 0)
        keys = [
            task.key(TINY),
            task.key(replace(TINY, n_genes=9)),
            task.key(replace(TINY, n_cells=120)),
            replace(task, data="vae").key(TINY),
            replace(task, kind="probe").key(TINY),
            replace(task, seed=1).key(TINY),
        ]
        assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)
        assert task.key(TINY) == task.key(replace(TINY, seeds=(0, 1, 2)))

    def test_gene_sets_count(self, toy_sets, monkeypatch):
        task = kinds.Task("genes", "pca", 0)
        without = task.key(TINY)
        monkeypatch.setenv("SKDICT_DATA", str(toy_sets))
        clear()
        assert task.key(TINY) != without

    def test_full_run_has_five_seeds_of_everything(self):
        wanted = kinds.tasks(FULL)
        assert {task.seed for task in wanted} == set(range(5))
        assert {task.data for task in wanted if task.kind == "genes"} == {"pca", "vae"}

    def test_library_behind_the_numbers(self):
        names = {p.relative_to(SKDICT).parts[0] for p in kinds.library_files()}
        assert {"genes", "steering", "_topk_sae.py", "comparison.py"} <= names
        assert not {"genes", "steering", "comparison.py"} & set(kinds.UNRELATED)


class TestRules:
    def test_live(self):
        active = np.array([[1, 0, 1, -1], [1, 0, 0, -1], [1, 1, 0, 0], [1, 0, 0, 0]])
        codes = sparse.csr_array(active)
        assert arms.activity(codes).tolist() == [1, 0.25, 0.25, 0]
        assert arms.live(codes, replace(TINY, most_active=0.5)).tolist() == [1, 2]

    def test_best_cuts_are_those_of_every_threshold_tried(self):
        rng = np.random.default_rng(0)
        groups, tested = (rng.choice(GROUPS, n) for n in (60, 40))
        scores, test_scores = (
            np.maximum(rng.normal(size=(n, 7)), 0).round(1) for n in (60, 40)
        )  # many are equal
        found = best_cuts(scores, groups, test_scores, tested)
        for group in GROUPS:
            own, best = groups == group, (-2.0, None, None)
            for feature in range(7):
                for threshold in np.unique(scores[:, feature]):
                    active = scores[:, feature] > threshold
                    best = max(best, (active[own].mean() - active[~own].mean(), feature, threshold))
            _, feature, threshold = best
            assert found[group]["feature"] == feature
            active = test_scores[:, feature] > threshold
            expected = active[tested == group].mean() - active[tested != group].mean()
            assert found[group]["selectivity"] == pytest.approx(expected)

    def test_probe_is_on_held_out_cells(self, monkeypatch):
        asked = {}

        def probe(E, labels, cv, seed, settings):
            asked["folds"] = list(cv.split(E))
            return {}

        monkeypatch.setattr(preservation, "probe", probe)
        preservation.cell_type("pca", 0, TINY)
        ((train, test),) = asked["folds"]
        blood = cells.blood_cells(TINY.n_cells)
        assert train.size == blood.training(0).size
        assert test.size == blood.test.sum()

    def test_results_are_found_by_what_they_are_of(self):
        done = {kinds.Task("genes", "pca", seed): {"result": {"arms": {"TopK": {"n": seed}}}}
                for seed in TINY.seeds}  # fmt: skip
        found = Found(done, TINY)
        assert found.numbers("pca", "TopK", "n").tolist() == [0, 1]
        assert found.of("genes", "vae") == []


@pytest.fixture(scope="module")
def published():
    return json.loads((DOCS / "_static" / "study_genes" / "study_genes.json").read_text())


class TestPublished:
    """The page of the documentation is what its results say."""

    def test_page_is_made_from_the_results(self, published):
        pictures = sorted((DOCS / "_static" / "study_genes").glob("*.svg"))
        text = (DOCS / "study_genes.rst").read_text()
        named = re.findall(r"image:: _static/study_genes/(\w+)\.svg", text)
        assert sorted(named) == [path.stem for path in pictures]
        assert page(published, named) == text

    def test_it_was_a_full_run_with_all_data(self, published):
        settings = published["settings"]
        assert settings["quick"] is False
        assert settings["seeds"] == list(FULL.seeds)
        assert published["missing"] == []
        for title, seeds in published["senseless"].items():
            assert len(seeds) == 5, title
