"""The import contracts of setup.cfg hold, and `import skdict` stays light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "matplotlib", "pandas", "polars", "pyarrow", "rich"]


def run_python(code):
    """Run code in a fresh interpreter and return what its last line printed, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_contracts():
    # A process of its own: import-linter edits sys.path and prints its report.
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
        + ["--config", "setup.cfg", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kept, 0 broken" in done.stdout


def test_import_loads_no_optional_package():
    # scikit-learn itself imports pandas (which imports pyarrow), and rich with its callbacks, where
    # they are installed.
    code = f"import json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    loaded = set(run_python("import skdict\n" + code))
    assert loaded <= set(run_python("import sklearn.base, sklearn.callback\n" + code))
    assert not loaded & {"torch", "matplotlib"}


def test_every_public_name_exists_and_loads_no_torch():
    # Names may be resolved lazily; asking for all of them must still not pull in torch.
    loaded = run_python(
        "import json, sys, skdict\n"
        "for name in skdict.__all__: getattr(skdict, name)\n"
        "print(json.dumps('torch' in sys.modules))"
    )
    assert loaded is False


def test_import_is_quick():
    """Next to what scikit-learn (with pandas where it is installed) and numba take themselves."""

    def seconds(imports):
        # The best of three: the first one may have to write byte code. Time of the process, not of
        # the clock, so that other work on the machine does not decide.
        code = (
            "import json, time\n"
            "start = time.process_time()\n"
            f"import {imports}\n"
            "print(json.dumps(time.process_time() - start))"
        )
        return min(run_python(code) for _ in range(3))

    own = seconds("skdict") - seconds("sklearn.base, scipy.sparse, numba")
    assert own < 0.75, f"import skdict took {own:.2f} s more than its dependencies"


@pytest.mark.parametrize("name", ["sklearn", "numba"])
def test_contracts_can_break(tmp_path, name):
    """A kernel that imports scikit-learn is found, and so is numba outside the kernels."""
    package = tmp_path / "skdict"
    for source in (ROOT / "skdict").rglob("*.py"):
        target = package / source.relative_to(ROOT / "skdict")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (tmp_path / "setup.cfg").write_bytes((ROOT / "setup.cfg").read_bytes())
    guilty = package / {"sklearn": "kernels/__init__.py", "numba": "_validation.py"}[name]
    guilty.write_text(guilty.read_text(encoding="utf-8") + f"\nimport {name}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
        + ["--config", "setup.cfg", "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "4 kept, 1 broken" in done.stdout
