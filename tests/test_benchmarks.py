"""The benchmarks run, refuse what disagrees, and make a page from what they measured."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from docutils.core import publish_doctree

from benchmarks import agreement, goals, growth
from benchmarks.asv_suite import coding, learning, scoring
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
        assert text.count("- not measured") == len(goals.GOALS)

    def test_selectivity_is_exact(self, quick):
        assert quick[1]["selectivity"]["error"] < 1e-12

    def test_page_is_valid(self, quick):
        warnings = StringIO()
        text = page(quick[1], picture=False).replace(".. code-block:: bash", "::")
        publish_doctree(text, settings_overrides={"warning_stream": warnings, "report_level": 2})
        assert warnings.getvalue() == ""
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
