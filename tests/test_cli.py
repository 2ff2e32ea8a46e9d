"""The command line: exit codes, errors before the work, nothing lost after it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import TopKSAE, __version__, cli
from skdict.datasets import load_jump_scope

pytest.importorskip("matplotlib")


@pytest.fixture
def computed(monkeypatch):
    """Replace the work by nothing; returns the settings that it was called with."""
    calls = []

    class Results(str):
        pipeline = None

    def run(bunch, settings):
        calls.append(settings)
        return Results("results")

    monkeypatch.setattr("skdict.cli._explorable", lambda pipeline, data, output: cli.OK)

    monkeypatch.setattr("skdict._demo.run", run)
    monkeypatch.setattr("skdict._demo.text_report", lambda results: f"table of {results} ±")
    monkeypatch.setattr("skdict._demo.demo_page", lambda results: f"page of {results}")
    return calls


def test_demo_prints_and_writes(computed, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert cli.main(["demo", "--output", str(output)]) == cli.OK
    assert output.read_text() == "page of results"
    printed = capsys.readouterr().out
    assert "table of results ±" in printed and str(output) in printed
    assert computed[0].seeds == (0, 1, 2)


def test_the_demo_can_be_explored(tmp_path, capsys):
    explorer = pytest.importorskip("skdict.explorer")
    pytest.importorskip("pyarrow")
    data = load_jump_scope()
    pipeline = make_pipeline(StandardScaler(), TopKSAE(16, n_nonzero_coefs=2, max_steps=5))
    pipeline.fit(data.data)
    for _ in range(2):  # a second demo replaces what the first has written
        assert cli._explorable(pipeline, data, tmp_path / "page.html") == cli.OK
    assert f"skdict explore {tmp_path / 'page_concepts'}" in capsys.readouterr().out
    bundle = explorer.open_bundle(tmp_path / "page_concepts")
    assert (bundle.n_samples, bundle.n_concepts) == (data.data.shape[0], 16)
    assert bundle.label_columns == ["compound", "moa", "plate"]
    (tmp_path / "other_concepts").mkdir()  # somebody's folder
    assert cli._explorable(pipeline, data, tmp_path / "other.html") == cli.FAILED
    assert "could not be saved" in capsys.readouterr().err


def test_commands_of_the_explorer_say_what_is_wrong(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    assert cli.main(["explore", str(tmp_path / "nothing")]) == cli.USAGE
    assert "skdict explore: " in capsys.readouterr().err
    options = ["example", "cell-painting", "--gene-sets", "sets.gmt"]
    assert cli.main(options) == cli.USAGE
    assert "--gene-sets goes with pbmc only" in capsys.readouterr().err


def test_options(computed, tmp_path):
    output = ["--output", str(tmp_path / "page.html")]
    cli.main(["demo", "--quick", *output])
    cli.main(["demo", "--quick", "--seeds", "4", *output])
    assert computed[0].seeds == (0,)
    assert computed[1].seeds == (0, 1, 2, 3)
    assert computed[1].max_steps == computed[0].max_steps


def test_default_output(computed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo"]) == cli.OK
    assert (tmp_path / "skdict_demo.html").exists()


@pytest.mark.parametrize("where", [".", "missing/page.html"])
def test_bad_output_is_refused_before_the_work(where, computed, tmp_path, capsys):
    assert cli.main(["demo", "--output", str(tmp_path / where)]) == cli.USAGE
    assert not computed
    assert "output path" in capsys.readouterr().err


def test_empty_output_is_refused_before_the_work(computed, capsys):
    assert cli.main(["demo", "--output", ""]) == cli.USAGE
    assert not computed
    assert "the output path is empty" in capsys.readouterr().err


def test_missing_matplotlib_is_reported_before_the_work(computed, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(["demo", "--output", str(tmp_path / "page.html")]) == cli.USAGE
    assert not computed
    assert 'pip install "skdict[plot]"' in capsys.readouterr().err


def test_nothing_is_lost_when_the_page_cannot_be_written(computed, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "later_gone"
    folder.mkdir()
    monkeypatch.setattr("skdict._demo.text_report", lambda results: folder.rmdir() or "the table")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.main(["demo", "--output", str(folder / "page.html")]) == cli.FAILED
    captured = capsys.readouterr()
    assert "the table" in captured.out
    saved = Path(captured.err.split("saved as ")[1].split(" instead")[0])
    assert saved.read_text() == "page of results"


def test_nothing_is_lost_when_the_page_cannot_be_made(computed, tmp_path, monkeypatch, capsys):
    def broken(results):
        raise RuntimeError("no plot today")

    monkeypatch.setattr("skdict._demo.demo_page", broken)
    assert cli.main(["demo", "--output", str(tmp_path / "page.html")]) == cli.FAILED
    captured = capsys.readouterr()
    assert "table of results" in captured.out and "no plot today" in captured.err


def test_interruption(computed, tmp_path, monkeypatch, capsys):
    def interrupted(bunch, settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("skdict._demo.run", interrupted)
    output = tmp_path / "page.html"
    assert cli.main(["demo", "--output", str(output)]) == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("arguments", [[], ["dance"], ["demo", "--seeds", "0"],
                                       ["demo", "--seeds", "many"]])  # fmt: skip
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == cli.USAGE
    assert "usage: skdict" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"skdict {__version__}\n"


@pytest.mark.slow
def test_demo_end_to_end(tmp_path):
    output = tmp_path / "page.html"
    command = [sys.executable, "-m", "skdict.cli", "demo", "--quick", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    assert done.returncode == cli.OK, done.stderr
    assert "WHITENING ON" in done.stdout and "One seed only" in done.stdout
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr
    assert output.read_text(encoding="utf-8").count("<figure>") == 10
    assert "skdict explore" in done.stdout and (tmp_path / "page_concepts").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_interrupted_in_a_terminal(tmp_path):
    output = tmp_path / "page.html"
    command = [sys.executable, "-m", "skdict.cli", "demo", "--output", str(output)]
    with subprocess.Popen(
        command, bufsize=0, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        # The first count of finished work: the workers are busy with the rest. A process that
        # ends without it ends the loop, and the exit code tells.
        working = any(b" done after " in line for line in process.stderr)
        assert working, process.wait(timeout=60)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
        _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert b"interrupted" in errors and b"Traceback" not in errors
    assert not output.exists()
