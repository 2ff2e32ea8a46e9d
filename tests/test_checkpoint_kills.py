"""Fits killed at any moment, while a checkpoint is written too, end as if they had not been."""

import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faulted_fits import (
    KINDS,
    Fit,
    attributes,
    differing,
    exit_code,
    forked,
    resume,
    seconds_of,
    stop_once,
)
from skdict import Checkpoint
from skdict._checkpoints import FitRecord, read_checked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def memory():
    """A folder in memory where there is one: what a kill leaves does not depend on the disk."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def expected(memory):
    """Seconds with checkpoints, and attributes without, of each kind of fit."""
    found = {}
    for kind in KINDS:
        for is_streamed in (False, True):
            folder = memory / f"whole-{len(found)}"
            folder.mkdir()
            fit = Fit(str(folder), kind, is_streamed, max_steps=30)
            whole = attributes(fit.run(checkpoint=None, resume=False))
            found[kind, is_streamed] = seconds_of(fit)[0], whole
    return found


def test_twenty_fits_killed_once_each_are_resumed_bitwise(memory, expected):
    rng = np.random.default_rng(0)
    kinds = list(expected)
    seen = []
    for number in range(20):
        kind, is_streamed = kinds[number % len(kinds)]
        seconds, whole = expected[kind, is_streamed]
        killed = None
        while killed is None:  # else it was faster than those before, and finished
            folder = Path(tempfile.mkdtemp(dir=memory))
            fit = Fit(str(folder), kind, is_streamed, max_steps=30)
            killed = stop_once(fit, rng.integers(29), rng.uniform(0, seconds / 30))
        found, loaded_step, n_saves = resume(fit)
        assert differing(found, whole) == [], (number, kind, is_streamed, killed)
        assert loaded_step == killed["last_step"] == fit.max_steps - n_saves
        leavings = {path.name for path in fit.checkpoints.rglob("*.*")}
        last = [f"step-{n:012d}" for n in (fit.max_steps - 1, fit.max_steps)]
        assert {name for name in leavings if name != "finished.json"} <= {
            f"{stem}.{suffix}" for stem in last for suffix in ("json", "safetensors")
        }
        seen.append(killed)
    assert any(killed["in_save"] for killed in seen)
    assert len({killed["last_step"] for killed in seen}) > 5


# ------------------------------------------------------------------ at every step of the system

CALLS = ("open", "fsync", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "write")
SETTINGS = {"estimator": "ICFLDictionary", "seed": 0}


def record_in(folder):
    return FitRecord(Checkpoint(folder, steps=1), SETTINGS)


def save_step(record, n_steps):
    record.save(n_steps, {"x": np.full(1000, n_steps, np.float32)}, {"n_steps": n_steps})


def die_at(n_calls):
    """End this process at the n-th call of the system that changes a file; None: count them.

    A write ends before it, in its middle, and behind it, before its file is closed.
    """
    count = [0]

    def step():
        count[0] += 1
        if count[0] == n_calls:
            os._exit(9)

    def dying(function):
        def call(*arguments, **keywords):
            step()
            return function(*arguments, **keywords)

        return call

    def opening(path, mode="r", *arguments, **keywords):
        file = opened(path, mode, *arguments, **keywords)
        return Halving(file) if "w" in mode else file

    class Halving:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, content):
            step()
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            step()
            self._file.write(content[len(content) // 2 :])
            self._file.flush()
            step()

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    opened, io.open = io.open, opening
    return count


def calls_of(action, folder):
    """How often an action calls the system, and a folder for each call to die at."""
    folders = [shutil.copytree(folder, folder.with_name("counted"))]

    def counted():
        count = die_at(None)
        action(record_in(folders[0]))
        os._exit(count[0])

    n_calls = exit_code(forked(counted))
    assert 0 < n_calls < 200
    folders = [shutil.copytree(folder, folder.with_name(f"{n}")) for n in range(1, n_calls + 1)]

    def killed(n, copied):
        die_at(n)
        action(record_in(copied))

    for n, copied in enumerate(folders, 1):
        assert exit_code(forked(killed, n, copied)) == 9
    return folders


@pytest.fixture
def started(tmp_path):
    """A folder with two checkpoints, and what earlier kills left."""
    folder = tmp_path / "fits"
    record = record_in(folder)
    for n_steps in (1, 2):
        save_step(record, n_steps)
    record.release()
    (record.folder / "step-000000000003.safetensors").write_bytes(b"without JSON")
    (record.folder / "step-000000000003.json.77.new").write_bytes(b"half")
    (record.folder / "lock").write_text("process 77 on elsewhere")
    return folder


def test_a_save_killed_at_any_call_leaves_a_readable_checkpoint(started):
    steps = []
    for folder in calls_of(lambda record: save_step(record, 3), started):
        record = record_in(folder)
        json_files = sorted(record.folder.glob("step-*.json"))
        for path in json_files:
            read_checked(path, None)
        arrays, values = record.load(must_exist=True)
        assert f"step-{values['n_steps']:012d}.json" == json_files[-1].name
        assert (arrays["x"] == values["n_steps"]).all()
        steps.append(values["n_steps"])
        save_step(record, 4)
        record.release()
        assert record.load(must_exist=True)[1] == {"n_steps": 4}
        left = {path.name for path in record.folder.iterdir()}
        assert len(left) == 4 and len([name for name in left if name.endswith(".json")]) == 2
    assert set(steps) == {2, 3}
    assert steps == sorted(steps) and len(steps) > 20


@pytest.mark.parametrize("is_finished", [False, True])
def test_forgetting_killed_at_any_call_revives_no_finished_fit(started, is_finished):
    if is_finished:
        record_in(started).finish()
    for folder in calls_of(FitRecord.forget, started):
        saved = record_in(folder).load(must_exist=True)
        if is_finished:
            assert saved is None
        elif saved is not None:
            assert (saved[0]["x"] == saved[1]["n_steps"]).all()
        record_in(folder).forget()
        assert record_in(folder).load(must_exist=True) is None


def test_finishing_killed_at_any_call_leaves_the_checkpoint_or_the_mark(started):
    found = []
    for folder in calls_of(FitRecord.finish, started):
        saved = record_in(folder).load(must_exist=True)
        assert saved is None or saved[1] == {"n_steps": 2}
        found.append(saved is None)
    assert found == sorted(found) and True in found and False in found


def test_the_end_of_a_fit_removes_what_a_kill_after_its_last_save_left(tmp_path):
    record = record_in(tmp_path)
    for n_steps in (1, 2, 3):
        save_step(record, n_steps)
    for suffix in ("json", "safetensors"):  # as if the one before had not been removed yet
        last = record.folder / f"step-{3:012d}.{suffix}"
        (record.folder / f"step-{1:012d}.{suffix}").write_bytes(last.read_bytes())
    record.finish()
    assert sorted(path.stem[-1] for path in record.folder.glob("step-*.json")) == ["2", "3"]
