"""The study resumes, holds out what it says, and judges by its rules."""

import json
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from docutils.core import publish_doctree
from docutils.parsers.rst import roles

from benchmarks.study import choice, confirm, search, stages
from benchmarks.study import data as data_sets
from benchmarks.study.cache import (
    SKDICT,
    Cache,
    fingerprint,
    library_files,
    plain,
    source_digest,
    write_json,
)
from benchmarks.study.configurations import ICFL, TOPK, Configuration, max_steps, whitened
from benchmarks.study.evaluate import Pooled, evaluate
from benchmarks.study.factorial import effect
from benchmarks.study.intervals import (
    accuracy_difference,
    draw_weights,
    held_out,
    selectivity_difference,
)
from benchmarks.study.methods import build, fit
from benchmarks.study.run import run, write
from benchmarks.study.settings import FULL, QUICK
from benchmarks.study.stages import Results, Task, over_seeds, run_tasks
from benchmarks.study.verdicts import (
    FAILS,
    HOLDS,
    UNTESTABLE,
    is_better,
    is_higher,
    is_similar,
    verdict,
)

TINY = replace(
    QUICK, passes=1, dead_steps=5, n_permutations=20, planted_rows=400, n_resamples=50,
    names=("planted",), baselines=("random",),
)  # fmt: skip


@pytest.fixture(scope="module")
def jump():
    return data_sets.load("jump")


@pytest.fixture(scope="module")
def planted():
    return data_sets.load("planted", TINY.planted_rows)


class TestCache:
    def test_reads_what_was_written(self, tmp_path):
        cache = Cache(tmp_path / "new")
        key = {"kind": "evaluate", "seed": 0}
        assert cache.read(key) is None
        cache.write(key, {"a": np.array([1.0, np.nan]), "b": np.int64(3)})
        assert cache.read(key) == {"a": [1.0, None], "b": 3}
        assert cache.read(key | {"seed": 1}) is None

    def test_a_broken_file_is_no_result(self, tmp_path):
        cache = Cache(tmp_path)
        key = {"kind": "evaluate"}
        cache.write(key, {"a": 1})
        cache.path(key).write_text('{"result": {"a"')
        assert cache.read(key) is None

    def test_fresh_ignores_the_past_only(self, tmp_path):
        key = {"kind": "raw"}
        Cache(tmp_path).write(key, 1)
        cache = Cache(tmp_path, fresh=True)
        assert cache.read(key) is None
        cache.write(key, 2)
        assert cache.read(key) == 2

    def test_a_failed_write_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "a.json"
        write_json({"a": 1}, path)
        with pytest.raises(TypeError):
            write_json({"a": object()}, path)
        assert json.loads(path.read_text()) == {"a": 1}
        assert list(tmp_path.iterdir()) == [path]

    def test_code_counts_and_comments_do_not(self, tmp_path):
        path = tmp_path / "module.py"
        digests = []
        for text in (
            'def f(x):\n    """Doc."""\n    return x + 1\n',
            'def f(x):\n    """Other."""\n    return x + 1  # why\n',
            "def f(x):\n    return x + 2\n",
        ):
            path.write_text(text)
            digests.append(source_digest([path]))
        assert digests[0] == digests[1] != digests[2]

    def test_fingerprint_sees_values_types_and_shapes(self):
        a = np.arange(6.0)
        others = (a + 1, a.astype(np.float32), a.reshape(2, 3), np.array(["a", "b"]))
        assert len({fingerprint(a), *map(fingerprint, others)}) == 5
        assert fingerprint(np.array(["a", "é"])) == fingerprint(np.array(["a", "é"], object))

    def test_plain(self):
        assert plain({1: (np.float32(0.5), np.bool_(True))}) == {"1": [0.5, True]}


class TestTasks:
    @pytest.fixture
    def counted(self, monkeypatch):
        """Replace the work by counting; it stops after a number of tasks."""
        done, stop_after = [], [None]

        def compute(task, settings):
            if stop_after[0] is not None and len(done) >= stop_after[0]:
                raise KeyboardInterrupt
            done.append(task)
            return {"value": task.seed}, 0.1

        monkeypatch.setattr(stages, "compute", compute)
        return done, stop_after

    def test_a_stopped_run_goes_on(self, tmp_path, counted):
        done, stop_after = counted
        tasks = over_seeds("evaluate", ["planted"], [ICFL, TOPK], replace(TINY, seeds=(0, 1, 2)))
        stop_after[0] = 4
        with pytest.raises(KeyboardInterrupt):
            run_tasks(tasks, TINY, Cache(tmp_path), stream=None)
        stop_after[0] = None
        results = run_tasks(tasks, TINY, Cache(tmp_path), stream=None)
        assert len(done) == len(set(done)) == 6
        assert {task: result["value"] for task, result in results.items()} == {
            task: task.seed for task in tasks
        }

    def test_equal_tasks_are_computed_once(self, tmp_path, counted):
        task = Task("evaluate", "planted", ICFL, 0)
        run_tasks([task, task], TINY, Cache(tmp_path), stream=None)
        assert counted[0] == [task]

    def test_keys_know_what_matters(self):
        task = Task("evaluate", "planted", ICFL, 0)
        keys = [
            task.key(TINY),
            task.key(replace(TINY, passes=2)),
            task.key(replace(TINY, planted_rows=300)),
            replace(task, seed=1).key(TINY),
            replace(task, configuration=TOPK).key(TINY),
            replace(task, options=(("keep_units", True),)).key(TINY),
        ]
        assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)
        assert task.key(TINY) == task.key(replace(TINY, dead_steps=6, n_resamples=7))

    def test_progress_says_how_long(self, tmp_path, counted, monkeypatch):
        clock = iter(np.arange(0.0, 1000.0, 20.0))
        monkeypatch.setattr(stages.time, "perf_counter", lambda: float(next(clock)))
        told = StringIO()
        tasks = over_seeds("evaluate", ["planted"], [ICFL], replace(TINY, seeds=(0, 1, 2)))
        run_tasks(tasks, TINY, Cache(tmp_path), stream=told, title="study")
        assert "study: 0 results in the cache, 3 to compute" in told.getvalue()
        # One task took 20 s: the other two take 40 s.
        assert "1/3 computed in 0.3 min, about 0.7 min left" in told.getvalue()


class TestSplits:
    def test_jump_holds_out_whole_compounds(self, jump):
        compounds = {
            name: np.unique(jump.groups[jump.y == name]) for name in np.unique(jump.y[jump.probed])
        }
        assert {len(found) for found in compounds.values()} == {2}
        for seed in (0, 1):
            tested = []
            for train, test in jump.folds(3, seed):
                assert not set(jump.groups[train]) & set(jump.groups[test])
                assert jump.control[train].sum() == jump.control.sum()
                assert not jump.control[test].any()
                tested.extend(test)
            assert np.array_equal(np.sort(tested), jump.probed)

    def test_the_search_never_sees_what_confirms(self):
        parts = [data_sets.load(f"jump_{part}") for part in ("search", "confirm")]
        whole = data_sets.load("jump")
        for column in ("y", "groups"):
            first, second = (set(getattr(part, column)[part.probed]) for part in parts)
            assert not first & second
            assert first | second == set(getattr(whole, column)[whole.probed])

    def test_pediatric_holds_out_layouts_with_their_controls(self):
        data = data_sets.load("pediatric")
        n_layouts = np.unique(data.groups).size
        folds = list(data.folds(3, 0))
        assert len(folds) == n_layouts
        for train, test in folds:
            assert np.unique(data.groups[test]).size == 1
            assert not set(data.groups[train]) & set(data.groups[test])
            assert set(data.y[test]) <= set(data.y[train])

    def test_cmqtl_holds_out_blocks(self, tmp_path, monkeypatch):
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 13)]
        genes = np.array(["CONTROL", "a", "b"])
        block = [("ABCD".index(w[0]) // 2 + (int(w[1:]) - 1) // 2) for w in wells]
        table = pandas.DataFrame({
            "meta_well": wells, "meta_gene": genes[np.array(block) % 3], "meta_batch": "one",
            "meta_plate": "p",
        })  # fmt: skip
        for name in ("Cells_x", "Cells_y"):
            table[name] = np.random.default_rng(0).normal(scale=50, size=len(wells))
        path = tmp_path / data_sets.FOLDERS["cmqtl"]
        path.parent.mkdir()
        table.to_parquet(path)
        monkeypatch.setenv("SKDICT_DATA", str(tmp_path))
        data = data_sets.cmqtl()
        assert np.unique(data.groups).size == 12
        assert all(np.unique(data.y[data.groups == group]).size == 1 for group in data.groups)
        assert np.abs(data.X).max() == data_sets.CLIP
        assert set(data.y[data.control]) == {"CONTROL"}
        for train, test in data.folds(2, 0):
            assert not set(data.groups[train]) & set(data.groups[test])

    def test_missing_sets_are_left_out(self, monkeypatch):
        monkeypatch.delenv("SKDICT_DATA", raising=False)
        assert not data_sets.has_file(data_sets.FOLDERS["cmqtl"])

    def test_permuted_labels_stay_with_compounds(self, jump):
        permuted = jump.permuted(0)
        compound = jump.groups[jump.probed]
        assert all(np.unique(permuted[compound == one]).size == 1 for one in np.unique(compound))
        assert not np.array_equal(permuted, jump.y[jump.probed])
        assert np.array_equal(np.unique(permuted), np.unique(jump.y[jump.probed]))

    def test_permuted_labels_stay_in_strata(self, jump):
        units = np.array(list("aabbccdd"))
        data = replace(
            jump, y=np.array(list("xyxyxyxy")), groups=units, units=units, strata=units,
            control=np.zeros(8, bool),
        )  # fmt: skip
        assert data.permuted_units is None
        assert data.resampled_strata is None
        for seed in range(5):
            permuted = data.permuted(seed)
            assert all(set(permuted[units == unit]) == {"x", "y"} for unit in units)


class TestRules:
    def test_higher(self):
        assert is_higher([0.50, 0.51, 0.52], [0.30, 0.31, 0.30])
        assert not is_higher([0.30, 0.31, 0.30], [0.50, 0.51, 0.52])
        assert not is_higher([0.5, 0.6, 0.4], [0.45, 0.40, 0.39])  # within twice the spread
        assert not is_higher([0.9, 0.9, 0.1], [0.1, 0.1, 0.2])  # not in every seed
        assert not is_higher([0.9], [0.1])
        assert not is_higher([0.0, 0.0], [0.0, 0.0])

    def test_intervals(self):
        assert is_better({"low": 0.01, "high": 0.2})
        assert not is_better({"low": -0.01, "high": 0.2})
        assert is_similar({"low": -0.09, "high": 0.09}, 0.5)
        assert not is_similar({"low": -0.11, "high": 0.0}, 0.5)
        assert not is_similar({"low": 0.0, "high": 0.11}, 0.5)

    def test_verdict(self):
        assert verdict({}) == UNTESTABLE
        assert verdict({"a": True, "b": True}) == HOLDS
        assert verdict({"a": True, "b": False}) == FAILS
        assert verdict({"a": True, "b": True, "c": False}, at_least=2) == HOLDS
        assert verdict({"a": True, "b": False, "c": False}, at_least=2) == FAILS

    def test_main_effect(self):
        values = {
            (atoms, encoder): np.array([1.0, 2.0]) + 3 * (atoms == "a") + 10 * (encoder == "c")
            for atoms in "ab"
            for encoder in "cd"
        }
        assert effect(values, lambda atoms, _: atoms == "a") == pytest.approx([3, 3])
        assert effect(values, lambda _, encoder: encoder == "c") == pytest.approx([10, 10])


class TestMethods:
    def test_passes_become_steps(self):
        assert max_steps(ICFL, 3, 100, 25) == 12
        assert max_steps(ICFL, 3, 10, 25) == 3
        assert max_steps(replace(ICFL, passes=1), 3, 101, 25) == 5

    def test_recipe(self, jump):
        pipeline = build(ICFL, jump, 1000, FULL, 0)
        dictionary = pipeline["dictionary"]
        assert dictionary.atoms_per_step == 5
        assert dictionary.n_nonzero_coefs == 20
        assert dictionary.n_components == jump.n_components
        assert dictionary.learning_rate == pytest.approx(0.1 / np.sqrt(jump.X.shape[1]))
        assert dictionary.selection == "signed"
        assert pipeline["whiten"].method == "pca"
        assert "whiten" not in build(Configuration(whitening="raw"), jump, 9, FULL, 0).named_steps

    def test_the_whitener_sees_training_controls_only(self, jump):
        train, _ = next(iter(jump.folds(3, 0)))
        pipeline = fit(replace(whitened(ICFL, "off"), passes=0), jump, jump.X, train, TINY, 0)
        controls = train[jump.control[train]]
        assert pipeline["whiten"].mean_ == pytest.approx(jump.X[controls].mean(axis=0), abs=1e-5)

    def test_key_names_what_differs(self):
        assert ICFL.key() == {}
        assert TOPK.key() == {"dictionary": "topk", "init": "tied"}


@pytest.fixture(scope="module")
def evaluated(planted):
    return [evaluate(planted, ICFL, seed, TINY, keep_units=True) for seed in TINY.seeds]


class TestEvaluate:
    def test_every_row_is_predicted_once(self, planted, evaluated):
        for result in evaluated:
            for predicted in result["predictions"].values():
                assert predicted.shape == planted.probed.shape
                assert predicted.min() >= 0

    def test_held_out_selectivity_is_that_of_the_units(self, evaluated):
        for result in evaluated:
            counts = result["units"]
            assert held_out(np.ones((1, len(counts))), counts)[0] == pytest.approx(
                result["held_selectivity"]
            )

    def test_pooled_selectivity_by_hand(self, planted):
        data = replace(
            planted, y=np.array(list("aabb")), units=np.arange(4), control=np.zeros(4, bool)
        )
        pooled = Pooled(data)
        pooled.active[:, 0] = [True, False, True, False]  # of a: 1/2 - 1/2
        pooled.active[:, 1] = [False, False, True, True]  # of b: 1 - 0
        assert pooled.held_selectivity() == pytest.approx([0.0, 1.0])


class TestIntervals:
    def test_weights_keep_the_units_of_a_stratum(self):
        weights = draw_weights(np.array([0, 0, 1, 1, 1]), 20)
        assert (weights[:, :2].sum(axis=1) == 2).all()
        assert (weights[:, 2:].sum(axis=1) == 3).all()

    def test_nothing_differs_from_itself(self, planted, evaluated):
        for interval in (
            selectivity_difference(planted, evaluated, evaluated, 50),
            accuracy_difference(planted, evaluated, evaluated, "codes", 50),
        ):
            assert interval["low"] == interval["difference"] == interval["high"] == 0
            assert interval["n_units"] == planted.probed.size

    def test_a_perfect_choice_is_better(self, planted, evaluated):
        labels, y = np.unique(planted.y[planted.probed], return_inverse=True)
        counts = np.array(evaluated[0]["units"])
        best = [{**r, "predictions": {"codes": y}, "units": perfect(counts)} for r in evaluated]
        found = accuracy_difference(planted, best, evaluated, "codes", 50)
        assert found["first"] == 1
        assert is_better(found)
        found = selectivity_difference(planted, best, evaluated, 50)
        assert found["first"] == 1
        assert is_better(found)


def perfect(counts):
    """Unit counts of features that are active in exactly the rows of their label."""
    counts = counts.copy()
    counts[:, 1], counts[:, 2] = counts[:, 0], 0
    return counts


class TestSearch:
    def test_draws_are_repeatable_and_keep_sparsity_and_passes(self):
        drawn = [search.draw(number) for number in range(50)]
        assert drawn == [search.draw(number) for number in range(50)]
        assert len(set(drawn)) > 45
        for configuration in drawn:
            assert configuration.dictionary == "icfl"
            assert configuration.n_nonzero is None
            assert configuration.passes is None
            assert not configuration.aligned
            build(configuration, data_sets.load(search.DATA), 500, FULL, 0)

    def test_only_the_search_half_is_used(self):
        assert {task.data for task in search.tasks(TINY, {})} == {"jump_search"}

    def test_the_best_of_both_figures_is_chosen(self):
        settings = replace(TINY, n_configurations=4, search_seeds=2, n_finalists=2)
        drawn = search.drawn(settings)
        scores = {recipe: (0.1, 0.1) for recipe in search.RECIPES}
        scores[search.RECIPES[3]] = (0.2, 0.2)
        scores |= {topk: (0.1, 0.1) for topk in search.TOPKS}
        scores[search.TOPKS[5]] = (0.15, 0.12)
        scores[drawn[0]] = (0.9, 0.15)  # better in one figure only
        scores[drawn[1]] = (0.3, 0.3)
        scores[drawn[2]] = (0.1, 0.1)
        scores[drawn[3]] = (0.25, 0.25)
        found = {}
        for configuration, (selectivity, accuracy) in scores.items():
            for task in over_seeds("evaluate", [search.DATA], [configuration], settings):
                found[task] = {"held_selectivity": selectivity, "accuracy": {"codes": accuracy}}
        results = Results(found, settings)
        decided = search.decide(results, settings)
        assert decided == (search.RECIPES[3], search.TOPKS[5], drawn[1])
        section = search.section(results, settings, {})
        assert "4 configurations were drawn, 12 rates" in section["tables"][0]["note"]
        assert section["chosen"] == drawn[1].key()


class TestConfirm:
    def test_waits_for_a_choice(self, monkeypatch):
        monkeypatch.setattr(choice, "CHOSEN", None)
        assert confirm.tasks(TINY, {}) == []
        assert "there is none yet" in confirm.section(None, TINY, {})["note"]

    def test_waits_for_the_commit(self, monkeypatch):
        monkeypatch.setattr(choice, "CHOSEN", ICFL)
        monkeypatch.setattr(confirm, "state_of_choice", lambda: "changed")
        assert confirm.tasks(TINY, {}) == []
        monkeypatch.setattr(confirm, "state_of_choice", lambda: "abc1234")
        monkeypatch.setattr(choice, "RECIPE", ICFL)
        monkeypatch.setattr(choice, "TOPK", TOPK)
        assert {task.data for task in confirm.tasks(TINY, {})} == {"jump_confirm"}

    def test_losses_are_listed(self, monkeypatch, planted, evaluated):
        counts = np.array(evaluated[0]["units"])
        _, y = np.unique(planted.y[planted.probed], return_inverse=True)
        predictions = {"codes": y, "reconstruction": y}
        best = [{**r, "predictions": predictions, "units": perfect(counts)} for r in evaluated]
        monkeypatch.setattr(choice, "CHOSEN", ICFL)
        monkeypatch.setattr(choice, "RECIPE", TOPK)
        monkeypatch.setattr(choice, "TOPK", TOPK)
        monkeypatch.setattr(confirm, "state_of_choice", lambda: "abc1234")
        monkeypatch.setattr(confirm, "wanted", lambda sets: ["planted"])
        pair = {ICFL: evaluated, TOPK: best}
        found = {
            Task("evaluate", "planted", configuration, seed, (("keep_units", True),)): result
            for configuration, results in pair.items()
            for seed, result in zip(TINY.seeds, results)
        }
        section = confirm.section(Results(found, TINY), TINY, {})
        assert [row[-1] for row in section["tables"][0]["rows"][:3]] == ["loss"] * 3
        assert "held-out selectivity on Planted data" in section["tables"][0]["note"]
        assert section["claims"][0]["verdict"] == FAILS


NAMES = ("table1", "table2", "figure3", "figure4a", "figure4c", "figure8", "factorial")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of some sections on planted data, and the folder of their cache."""
    folder = tmp_path_factory.mktemp("cache")
    return run(TINY, names=NAMES, folder=folder, stream=None), folder


class TestRun:
    def test_results_page_and_pictures(self, found, tmp_path):
        results, _ = found
        paths = {path.name: path for path in write(results, tmp_path)}
        text = paths["study.rst"].read_text()
        told = StringIO()
        roles.register_local_role("download", roles.generic_custom_role)  # Sphinx has it
        publish_doctree(
            re.sub(r"\.\. image::.*\n.*\n.*\n", "", text),
            settings_overrides={"warning_stream": told, "report_level": 2},
        )
        assert told.getvalue() == ""
        assert "This is a quick run" in text
        for name in NAMES:
            assert results["sections"][name]["title"] in text
        verdicts = {c["verdict"] for s in results["sections"].values() for c in s["claims"]}
        assert verdicts <= {HOLDS, FAILS, UNTESTABLE}
        assert json.loads(paths["study.json"].read_text()) == results
        pytest.importorskip("matplotlib")
        for name in ("table1", "figure3", "figure4a", "figure4c", "figure8"):
            assert f"image:: _static/study/{name}.svg" in text
            for suffix in (".csv", ".txt"):
                assert f"<_static/study/{name}{suffix}>`" in text
                assert paths[f"{name}{suffix}"].read_text().strip()
        assert set(paths.values()) == {path for path in tmp_path.rglob("*") if path.is_file()}

    def test_a_second_run_computes_nothing(self, found, monkeypatch):
        results, folder = found

        def compute(task, settings):
            raise AssertionError(f"computed again: {task}")

        monkeypatch.setattr(stages, "compute", compute)
        again = run(TINY, names=NAMES, folder=folder, stream=None)
        assert again["sections"] == results["sections"]


def test_a_result_depends_on_all_code_behind_its_numbers():
    """What judges counts as much as what learns: a stale score would go unnoticed."""
    names = {path.relative_to(SKDICT).as_posix() for path in library_files()}
    behind = {"_icfl.py", "_units.py", "baselines.py", "kernels/_numba_quantized.py"}
    behind |= {"metrics/_selectivity.py", "probing/_logistic.py", "preprocessing/_alignment.py"}
    assert behind <= names
    assert not {"report.py", "display/_style.py", "kernels/_triton.py", "_demo/_page.py"} & names
