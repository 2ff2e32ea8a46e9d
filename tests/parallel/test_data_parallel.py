"""Two processes of torchrun that share a fit; one of them is killed in the middle."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skdict.parallel import data_parallel
from tests.parallel import shared_fits

pytest.importorskip("torch.distributed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder with what the two processes left, and what they printed."""
    folder = tmp_path_factory.mktemp("shared fits")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--max-restarts", "1", "--module", "tests.parallel.shared_fits", str(folder),
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    run = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=os.environ | threads, timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return folder


def test_two_processes_learn_what_one_does(finished):
    first, second = (np.load(finished / f"undisturbed {rank}.npy") for rank in (0, 1))
    np.testing.assert_array_equal(first, second)
    alone = shared_fits.dictionary().fit(shared_fits.data())
    np.testing.assert_allclose(first, alone.components_, rtol=0, atol=1e-10)


@pytest.mark.parametrize("number", range(len(shared_fits.KILLS)))
def test_restarted_after_a_kill_the_dictionary_is_bitwise_the_same(finished, number):
    for rank in (0, 1):
        np.testing.assert_array_equal(
            np.load(finished / f"restarted {number} {rank}.npy"),
            np.load(finished / f"undisturbed {rank}.npy"),
        )


@pytest.mark.parametrize("number", range(len(shared_fits.KILLS)))
def test_the_process_that_is_left_says_what_happened(finished, number):
    message = (finished / f"lost {number}.txt").read_text()
    left = 1 - shared_fits.KILLS[number][0]
    assert f"process {left} of 2 lost another one" in message
    assert 'start again with resume="auto"' in message


def test_without_torchrun_a_fit_is_an_ordinary_one():
    with data_parallel() as ranks:
        model = shared_fits.dictionary().fit(shared_fits.data())
    assert (ranks.rank, ranks.n_ranks, ranks.is_first) == (0, 1, True)
    alone = shared_fits.dictionary().fit(shared_fits.data())
    np.testing.assert_array_equal(model.components_, alone.components_)


@pytest.mark.parametrize("backend", [None, "no such one"])
def test_processes_that_do_not_meet(monkeypatch, backend):
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(RuntimeError, match=r"(?s)did not find each other.*torchrun"),
        data_parallel(backend=backend),
    ):
        pass
    with pytest.raises(ValueError, match="timeout"), data_parallel(timeout=0):
        pass
