"""Compiled code where folders cannot be written to: the kernels work all the same."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from skdict.kernels import _cache
from tests.kernels.fresh import ROOT, run_python

CODE = """
import numba
from skdict.kernels import get_kernels
eye = np.eye(3)
decoded = get_kernels().decode((np.ones(1), np.zeros(1, np.int32), np.array([0, 1])), eye, eye[1])
np.testing.assert_array_equal(decoded, [[1, 1, 0]])
assert numba.config.CACHE_DIR == ""  # of no concern to other packages
from skdict.kernels._numba_learning import decode_rows
print(decode_rows.stats.cache_path)
print(sum(decode_rows.stats.cache_hits.values()))
"""
PROBLEM = "import numpy as np\nimport skdict\n"
TRANSFORM = """
codes = skdict.ICFLDictionary(3, max_steps=0).fit(np.eye(3)).transform(np.eye(3))
assert codes.nnz == 3
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package in which no cache can be made, whoever runs the tests."""
    folder = tmp_path / "site-packages"
    shutil.copytree(
        ROOT / "skdict",
        folder / "skdict",
        ignore=shutil.ignore_patterns("__pycache__", "data"),
    )
    for kept in [folder, *folder.rglob("*")]:
        if kept.is_dir():
            # A file in the place of the folder stops the superuser too.
            (kept / "__pycache__").touch()
            kept.chmod(0o555)
    yield folder
    for kept in [folder, *folder.rglob("*")]:
        if kept.is_dir():
            kept.chmod(0o755)


@pytest.fixture
def no_home():
    """Environment without a home folder that could be written to."""
    return {
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null/cache",
        "LOCALAPPDATA": "/dev/null/cache",
        "NUMBA_CACHE_DIR": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


posix = pytest.mark.skipif(os.name != "posix", reason="needs /dev/null and modes of files")


@posix
def test_read_only_package_with_a_home(package, tmp_path, no_home):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    where, _ = run_python(CODE, problem=PROBLEM, folder=package, **no_home | home).stdout.split()
    assert Path(where).is_relative_to(tmp_path)


@posix
def test_neither_package_nor_home(package, tmp_path, no_home):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = no_home | {"TMPDIR": str(temporary)}
    first = run_python(TRANSFORM + CODE, problem=PROBLEM, folder=package, **environment)
    second = run_python(CODE, problem=PROBLEM, folder=package, **environment)
    where, hits = second.stdout.split()
    assert not first.stderr
    assert Path(where).is_relative_to(temporary)
    assert int(hits) == 1  # the second process found what the first one had compiled
    (folder,) = temporary.glob("skdict-cache-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
def test_no_folder_at_all_warns_and_works(package, no_home):
    done = run_python(
        "import tempfile; tempfile.tempdir = '/dev/null'\n" + CODE,
        problem=PROBLEM,
        folder=package,
        **no_home,
    )
    assert done.stdout.split() == ["None", "0"]
    assert "NUMBA_CACHE_DIR" in done.stderr


@posix
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = _cache.private_folder()
    assert folder is not None
    assert _cache.private_folder() == folder
    os.chmod(folder, 0o770)
    assert _cache.private_folder() is None
    os.rmdir(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    os.symlink(elsewhere, folder)
    assert _cache.private_folder() is None
