"""The benchmarks run, refuse what disagrees, and make a page from what they measured."""

import json
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from docutils.core import publish_doctree

from benchmarks import agreement, goals, gpu, gpu_codes, gpu_costs, gpu_steps, gpu_works, growth
from benchmarks.__main__ import SPEED, main, parse_arguments
from benchmarks.asv_suite import coding, learning, scoring
from benchmarks.gpu_device import MODES, OPPONENT_MODES
from benchmarks.gpu_goals import GPU_GOALS, verdict_of_line
from benchmarks.gpu_page import gpu_text
from benchmarks.install import HERE, read_requirements
from benchmarks.page import number, page
from benchmarks.problems import Problem, write_problem
from benchmarks.processes import ContestantError, PeakMemory, Worker, anonymous_memory
from skdict import sparse_encode

ROOT = Path(__file__).resolve().parent.parent
SIZE = (32, 256, 10)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Output and results of a quick run against scikit-learn, which is always installed."""
    output = tmp_path_factory.mktemp("bench") / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--opponents", "scikit-learn"]
    done = subprocess.run(
        [*command, "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text()), output


@pytest.fixture
def problem(tmp_path):
    return write_problem(Problem(32, 128, 6, 40), tmp_path)


def valid_rst(text):
    told = StringIO()
    publish_doctree(
        text,
        source_path=str(ROOT / "docs" / "performance.rst"),  # what it includes lies beside it
        settings_overrides={"warning_stream": told, "report_level": 2},
    )
    return told.getvalue() == ""


class TestQuickRun:
    def test_every_section_is_there(self, quick):
        _, results, output = quick
        races = {"encode_large", "encode_small", "icfl_step", "sae_step"}
        assert set(results) == races | {"memory", "selectivity", "growth"}
        assert output.with_suffix(".png").stat().st_size > 1000

    def test_agreement_and_rates(self, quick):
        entries = {entry["label"]: entry for entry in quick[1]["encode_small"]["entries"]}
        for label in ("skdict, ICFL", "skdict, OMP", "scikit-learn, OMP"):
            assert entries[label]["status"] == "ok"
            assert "supports" in entries[label]["agreement"]
            assert len(entries[label]["runs"]) == 3
            assert entries[label]["rows_per_second"] > 0
        assert entries["skdict, OMP"]["quality"] == pytest.approx(
            entries["scikit-learn, OMP"]["quality"], rel=1e-3
        )

    def test_opponents_left_out_are_listed(self, quick):
        output, results, _ = quick
        missing = {
            entry["package"]
            for entry in results["encode_small"]["entries"]
            if entry["status"] == "missing"
        }
        assert {"torch", "dictlearn", "spams-bin"} <= missing
        assert "missing: left out" in output or "missing: not installed" in output

    def test_quick_runs_measure_no_goal(self, quick):
        assert "quick run" in quick[0]
        text = page(quick[1], picture=True)
        assert text.count("- not measured") == len(goals.GOALS) + len(GPU_GOALS)

    def test_selectivity_is_exact(self, quick):
        assert quick[1]["selectivity"]["error"] < 1e-12

    def test_page_is_valid(self, quick):
        assert valid_rst(page(quick[1], picture=False).replace(".. code-block:: bash", "::"))
        text = page(quick[1], picture=False)
        assert "Unmeasured: there was no GPU" in text
        assert "missing: " in text
        assert quick[1]["growth"]["machine"]["processor"] in text


def full_section(**rates):
    """A section as a full run would give it."""
    entries = [
        {"label": label, "status": "ok", "rows_per_second": rate, "seconds": 1 / rate}
        for label, rate in rates.items()
    ]
    return {"quick": False, "entries": entries}


class TestGoals:
    def test_met_missed_and_not_measured(self):
        results = {
            "encode_large": full_section(
                **{"skdict, ICFL": 6.0, goals.PRODUCT: 10.0, goals.TORCH_ICFL: 1.0}
            )
        }
        verdicts = [
            goal.measure(results)[1] for goal in goals.GOALS if goal.section == "encode_large"
        ]
        assert verdicts[:4] == ["met", "missed", "not measured", "not measured"]

    def test_at_most(self):
        section = full_section(
            **{
                "skdict, ICFLDictionary": 1.0,
                "skdict, ICFL": 2.0,
                "skdict, one Gram matrix": 2.0,
            }
        )
        figure, verdict = next(
            goal.measure({"icfl_step": section}) for goal in goals.GOALS if goal.bound == 1.6
        )
        assert figure == pytest.approx(1.0)
        assert verdict == "met"

    def test_disagreeing_contestants_do_not_count(self):
        section = full_section(**{"skdict, ICFL": 6.0, goals.PRODUCT: 10.0})
        section["entries"][0]["status"] = "disagrees"
        assert goals.GOALS[0].measure({"encode_large": section}) == (None, "not measured")


class TestAgreement:
    @pytest.fixture
    def codes(self, problem):
        X, dictionary = problem.load("X")[:8], problem.load("dictionary")
        return {
            algorithm: sparse_encode(
                X, dictionary, algorithm=algorithm, n_nonzero_coefs=6
            ).toarray()
            for algorithm in ("icfl", "omp")
        }

    @pytest.mark.parametrize("algorithm", ["icfl", "omp"])
    def test_accepts_skdict(self, problem, codes, algorithm):
        verdict = agreement.CodesJudge(problem)({"a": codes[algorithm]}, {"a": algorithm})["a"]
        assert verdict["agrees"]

    @pytest.mark.parametrize("algorithm", ["icfl", "omp"])
    def test_refuses_other_coefficients(self, problem, codes, algorithm):
        wrong = codes[algorithm] * 1.01
        verdict = agreement.CodesJudge(problem)({"a": wrong}, {"a": algorithm})["a"]
        assert not verdict["agrees"]

    def test_refuses_another_algorithm(self, problem, codes):
        verdict = agreement.CodesJudge(problem)({"a": codes["icfl"]}, {"a": "omp"})["a"]
        assert not verdict["agrees"]

    def test_least_squares_with_fewer_coefficients_is_refused(self, problem, codes):
        judge = agreement.CodesJudge(problem)
        assert judge({"a": codes["omp"]}, {"a": "ols"})["a"]["agrees"]
        fewer = codes["omp"].copy()
        fewer[0, np.flatnonzero(fewer[0])[0]] = 0
        assert not judge({"a": fewer}, {"a": "ols"})["a"]["agrees"]

    def test_steps(self, problem):
        moved = np.eye(3)
        results = {
            "torch": {"loss": 1.0, "moved": moved},
            "same": {"loss": 1.0001, "moved": 2 * moved},
            "other loss": {"loss": 1.1, "moved": moved},
            "other way": {"loss": 1.0, "moved": -moved},
        }
        judge = agreement.StepsJudge(problem, "torch")
        verdicts = judge(results, dict.fromkeys(results, "sae step"))
        assert [verdict["agrees"] for verdict in verdicts.values()] == [True, True, False, False]


class TestProcesses:
    def test_a_failure_is_told_and_survived(self, problem):
        with Worker("benchmarks.contestants.pursuits:SkdictICFL", 1) as worker:
            with pytest.raises(ContestantError, match="AttributeError"):
                worker.call("setup", None)
            worker.call("setup", problem)
            assert worker.call("result", 4).shape == (4, 128)

    @pytest.mark.skipif(not anonymous_memory(), reason="needs /proc/self/status")
    def test_peak_memory_sees_what_was_freed(self):
        with PeakMemory() as memory:
            for _ in range(3):
                np.ones(8_000_000)
        assert memory.above > 48_000_000


class TestGrowth:
    def test_exponents_of_a_power_law(self):
        sizes = np.array([1, 2, 4, 8])
        assert growth.fit_exponents(sizes, 3.0 * sizes**1.5) == pytest.approx((1.5, 1.5))

    def test_last_exponent(self):
        overall, last = growth.fit_exponents([1, 2, 4], [1.0, 1.0, 2.0])
        assert last == pytest.approx(1.0)
        assert 0 < overall < 1


def options_of(device):
    return SimpleNamespace(device=device, quick=True, threads=1, opponents=None)


@pytest.fixture(scope="module")
def on_torch():
    """Section of a quick run in which torch's CPU device stands in for a GPU."""
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        # transformer-lens, which SAELens imports, warns of its own modules.
        warnings.simplefilter("ignore", DeprecationWarning)
        return gpu.run(options_of("torch:cpu"))


def gpu_section(**changed):
    """The section of a run on a GPU, with made-up figures that are exactly the goals."""
    lines = []
    for work, label, figure, unit in (
        ("ICFL codes", "skdict, rows on the device", 1e6, "rows/s"),
        ("ICFL step", "skdict, ICFLDictionary", 12.0, "ms"),
        ("TopK SAE step", "skdict, TopKSAE", 4.0, "ms"),
        ("TopK SAE step", "SAELens, TopKTrainingSAE", 12.0, "ms"),
        ("OMP", "skdict, rows on the device", 50.0, "rows/s"),
        ("OMP", "orthogonal-matching-pursuit-gpu, OMP", 5.0, "rows/s"),
        ("host memory", "skdict, ICFLDictionary", 10.0, "%"),
        ("host memory", "skdict, TopKSAE", 10.0, "%"),
    ):
        mine = label.startswith("skdict")
        for mode, factor in [("default", 1.0)] if mine else [("float32", 2.0), ("TF32", 1.0)]:
            line = gpu_works.new_line(work, label, mode, note="" if mine else "its defaults")
            slower = 1 / factor if unit == "rows/s" else factor
            lines.append(line | {"figure": slower * figure, "unit": unit})
    card = {"name": "Imagined", "memory_gb": 1, "torch": "2", "cuda": "13", "triton": None}
    return {
        "quick": False,
        "card": card,
        "lines": lines,
        "date": "2000-01-01 00:00 UTC",
        "machine": {"processor": "none", "cores": 1},
        "rates": {"copy_gb_s": 1.0, "float32": 2.0, "TF32": 3.0},
    } | changed


class TestOnTorch:
    def test_every_line_of_skdict_agrees_and_is_timed(self, on_torch):
        lines = [line for line in on_torch["lines"] if line["package"] == "skdict"]
        assert len(lines) == 11
        for line in lines:
            assert line["status"] == "ok", line
            assert line["agreement"]
            assert line["figure"] >= 0
            assert len(line["runs"]) == 3
            if line["work"] != "host memory":
                assert line["figure"] > 0
                assert line["bandwidth_share"] > 0
                assert line["matrix_share"] > 0

    def test_opponents_agree_or_are_missing(self, on_torch):
        lines = [line for line in on_torch["lines"] if line["package"] != "skdict"]
        assert {line["mode"] for line in lines} == set(OPPONENT_MODES)
        for line in lines:
            if line["version"] is None:
                assert line["detail"] == "not installed"
            else:
                assert line["status"] == "ok", line

    def test_no_goal_is_measured(self, on_torch, capsys):
        assert on_torch["card"] is None
        assert {row["verdict"] for row in on_torch["goals"]} == {"not measured"}
        full = on_torch | {"quick": False}
        assert {goal.measure({"gpu": full})[1] for goal in GPU_GOALS} == {"not measured"}
        gpu.print_section(on_torch)
        assert "stands in for a GPU" in capsys.readouterr().out

    def test_lines_name_goal_and_mode(self, on_torch):
        told = [gpu.describe_line(line, counts=False) for line in on_torch["lines"]]
        assert all(line["mode"] in text for line, text in zip(on_torch["lines"], told))
        assert sum("not measured" in text for text in told) == sum(
            verdict_of_line(line) != "" for line in on_torch["lines"] if line["status"] == "ok"
        )

    def test_wrong_codes_are_not_timed(self, on_torch, monkeypatch):
        bench = gpu_works.Bench("torch:cpu", True, "", 1, [], **gpu.QUICK)
        honest = gpu_codes.sparse_encode

        def wrong_on_device(*arguments, device="cpu", **options):
            return honest(*arguments, device=device, **options) * (1 if device == "cpu" else 1.01)

        monkeypatch.setattr(gpu_codes, "sparse_encode", wrong_on_device)
        lines = list(gpu_codes.measure_icfl_codes(bench))
        assert {line["status"] for line in lines} == {"disagrees"}
        assert not any("figure" in line for line in lines)

    def test_every_mode_is_measured_in_its_precision(self, monkeypatch):
        pytest.importorskip("torch")
        seen = []
        honest = gpu_codes.sparse_encode

        def note(*arguments, **options):
            seen.append(options.get("precision", "default"))
            return honest(*arguments, **options)

        monkeypatch.setattr(gpu_codes, "sparse_encode", note)
        bench = gpu_works.Bench("torch:cpu", True, "", 1, [], **gpu.QUICK)
        for mode in MODES:
            gpu_codes.judge_codes(bench, bench.model, "icfl", mode)
            assert seen[-1] == mode
        model = gpu_steps.icfl_model(bench, "torch:cpu", None, precision="exact")
        assert model.precision == "exact"


class TestGPU:
    def test_without_one_it_says_so(self, tmp_path, capsys, monkeypatch):
        reason = "torch.cuda.is_available() is False"
        monkeypatch.setattr(gpu, "why_missing", lambda device: reason)
        output = tmp_path / "results.json"
        main(["gpu", "--threads", "1", "--output", str(output)])
        told = capsys.readouterr().out
        assert reason in told
        assert "The figures on a GPU are unmeasured." in told
        results = json.loads(output.read_text())
        assert results["gpu"]["lines"] == []
        assert {row["verdict"] for row in results["gpu"]["goals"]} == {"not measured"}
        assert len(results["gpu"]["goals"]) == len(GPU_GOALS)
        text = page(results, picture=False)
        assert "Unmeasured: there was no GPU" in text

    def test_it_runs_only_when_named(self):
        assert parse_arguments([]).device == "cuda"
        assert "gpu" not in SPEED
        for wrong in (["--device", "gpu"], ["gpu", "--device", "torch:cpu"]):
            with pytest.raises(SystemExit):
                parse_arguments(wrong)

    def test_goals_met_missed_and_beside_the_faster_mode(self):
        section = gpu_section()
        verdicts = [goal.measure({"gpu": section}) for goal in GPU_GOALS]
        missing = "rate / dictionary_learning"
        for goal, (figure, verdict) in zip(GPU_GOALS, verdicts):
            assert verdict == ("not measured" if goal.figure == missing else "met")
            assert verdict != "met" or figure == pytest.approx(goal.bound)
        for line in section["lines"]:
            if line["label"].startswith("skdict"):
                line["figure"] *= 0.9 if line["unit"] == "rows/s" else 1.1
        verdicts = {goal.measure({"gpu": section})[1] for goal in GPU_GOALS}
        assert verdicts == {"missed", "not measured"}

    def test_page_of_a_measured_card(self):
        section = gpu_section()
        section["lines"][0] |= {"status": "disagrees", "detail": "1 of 64 supports"}
        text = gpu_text({"gpu": section})
        assert valid_rst(text)
        assert "Imagined, 1 GB" in text
        assert "disagrees: 1 of 64 supports" in text
        assert "Unmeasured" not in text
        assert "≤ 12 ms: met" in text
        for unmeasured in ({}, {"gpu": gpu_section(card=None)}, {"gpu": gpu_section(quick=True)}):
            text = gpu_text(unmeasured)
            assert valid_rst(text)
            assert "Unmeasured" in text
            assert text.count("- not measured") == len(GPU_GOALS)

    def test_opponents_left_out_are_listed(self, problem):
        bench = gpu_works.Bench("torch:cpu", True, "", 1, ["sae-lens"], **gpu.QUICK)
        line = gpu_works.measure_opponent(
            bench, "OMP", gpu_codes.BatchedOMP, problem, "float32", None, None
        )
        assert (line["status"], line["detail"]) == ("missing", "left out")

    def test_failures_are_told_and_survived(self):
        def fail():
            raise RuntimeError("no memory\nat all")

        line = gpu_works.measure({"status": "ok"}, fail, dict)
        assert line == {"status": "failed", "detail": "RuntimeError: no memory"}

    def test_costs_grow_as_the_algorithms(self):
        problem, larger = Problem(64, 512, 10, 128), Problem(128, 512, 10, 128)
        assert gpu_costs.product(3, 5, 7) == gpu_costs.Cost(4 * (21 + 35 + 15), 210)
        for cost in (gpu_costs.sae_step, lambda p: gpu_costs.icfl_step(p, "exact")):
            assert 1.5 < cost(larger).n_flops / cost(problem).n_flops <= 2
        exact, default = (gpu_costs.icfl_codes(problem, 100, mode) for mode in ("exact", "default"))
        assert exact.n_bytes - default.n_bytes == 100 * 10 * 512 * 2
        assert exact.n_flops == default.n_flops


class TestAsvClasses:
    @pytest.mark.parametrize(
        ("benchmark", "parameters", "figure", "best", "worst"),
        [
            (coding.Encode, (SIZE, "icfl"), "track_residual", 0.2, 0.9),
            (coding.Encode, (SIZE, "omp"), "track_residual", 0.1, 0.9),
            (coding.Gram, (SIZE,), "track_error", 0.0, 1e-5),
            (learning.ICFLStep, (SIZE,), "track_loss", 0.05, 1.0),
            (learning.TopKSAEStep, (SIZE,), "track_loss", 0.05, 3.0),
            (scoring.Selectivity, (500, 20), "track_error", 0.0, 1e-12),
        ],
    )
    def test_run(self, benchmark, parameters, figure, best, worst):
        subject = benchmark()
        assert len(subject.params) == len(subject.param_names)
        subject.setup(*parameters)
        for name in dir(subject):
            if name.startswith(("time_", "peakmem_")):
                getattr(subject, name)(*parameters)
        assert best <= getattr(subject, figure)(*parameters) <= worst

    def test_memory_map(self, monkeypatch):
        monkeypatch.setattr(coding, "SIZES", (SIZE,))
        subject = coding.MemoryMap()
        subject.setup(300)
        subject.time_transform(300)
        assert 0.2 < subject.track_residual(300) < 0.9
        subject.teardown(300)

    def test_configuration_names_the_folder(self):
        configuration = json.loads((HERE / "asv.conf.json").read_text())
        assert (HERE / configuration["benchmark_dir"] / "__init__.py").exists()


class TestRequirements:
    def test_options(self):
        text = "# opponents\n\ntorch==2  \nb>1 # no-deps\n"
        assert read_requirements(text) == [("torch==2", []), ("b>1", ["--no-deps"])]

    def test_torch_comes_first_and_as_elsewhere(self):
        first, _ = read_requirements((HERE / "requirements.txt").read_text())[0]
        assert first.startswith("torch==")
        assert first in (ROOT / ".ci" / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (14066.3, "14,066"), (123.4, "123"), (3.456, "3.46"), (0.0123, "0.0123")],
)
def test_numbers_are_readable(value, shown):
    assert number(value) == shown
