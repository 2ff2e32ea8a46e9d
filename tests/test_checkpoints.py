"""Checkpoints: a fit that was stopped anywhere ends as if it had not been."""

import errno
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdict import Checkpoint, ICFLDictionary, TopKSAE, _checkpoints
from skdict._checkpoints import FitRecord

X = np.random.default_rng(0).normal(size=(1500, 16)).astype(np.float32)
SETTINGS = {"n_components": 48, "n_nonzero_coefs": 4, "max_steps": 90, "batch_size": 128,
            "random_state": 0}  # fmt: skip
KINDS = {
    "icfl": lambda: ICFLDictionary(**SETTINGS, reset_every=20, reset_threshold=0.5),
    "online": lambda: ICFLDictionary(**SETTINGS, solver="online"),
    "topk": lambda: TopKSAE(**SETTINGS, auxk_dead_samples=300),
}


class Stopped(Exception):
    """What ends a fit in these tests."""


def stop_after(monkeypatch, n_steps):
    save = FitRecord.save

    def stopping(self, n, arrays, values):
        save(self, n, arrays, values)
        if n >= n_steps:
            raise Stopped

    monkeypatch.setattr(FitRecord, "save", stopping)


def files(folder):
    found = (path.name for path in Path(folder).rglob("*") if path.is_file())
    return sorted(name for name in found if name != "lock")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_steps", [7, 56])
def test_a_resumed_fit_is_bitwise_the_uninterrupted_one(tmp_path, monkeypatch, kind, n_steps):
    whole = KINDS[kind]().fit(X)
    model = KINDS[kind]().set_params(checkpoint=Checkpoint(tmp_path, steps=7), resume=True)
    with monkeypatch.context() as patch:
        stop_after(patch, n_steps)
        with pytest.raises(Stopped):
            clone(model).fit(X)
    assert len(files(tmp_path)) == (2 if n_steps == 7 else 4)  # the last and the one before
    again = clone(model).fit(X)
    for name in ("components_", "intercept_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    for name, curve in whole.history_.items():
        np.testing.assert_array_equal(again.history_[name], curve)
    assert (again.n_steps_, again.n_iter_) == (whole.n_steps_, whole.n_iter_)
    assert "finished.json" in files(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_twenty_moments(tmp_path):
    settings = {"max_steps": 250, "checkpoint": Checkpoint(tmp_path, steps=3), "resume": "auto"}
    model = KINDS["icfl"]().set_params(**settings)
    result = tmp_path / "result.npy"

    def run():
        child = os.fork()
        if child == 0:
            np.save(result, clone(model).fit(X).components_)
            os._exit(0)
        return child

    rng = np.random.default_rng(1)
    for _ in range(20):
        child = run()
        time.sleep(rng.uniform(0.0, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path in tmp_path.rglob("step-*.json"):
            if path.with_suffix(".safetensors").exists():
                _checkpoints.read_checked(path, None)
    assert os.waitpid(run(), 0)[1] == 0
    whole = clone(model).set_params(checkpoint=None, resume=False).fit(X)
    np.testing.assert_array_equal(np.load(result), whole.components_)
    assert not [name for name in files(tmp_path) if name.endswith(".new")]


def interrupted(tmp_path, monkeypatch, **parameters):
    """A folder with the checkpoints of a fit that was stopped after 20 steps."""
    model = KINDS["icfl"]().set_params(checkpoint=Checkpoint(tmp_path, steps=10), resume=True)
    model.set_params(**parameters)
    with monkeypatch.context() as patch:
        stop_after(patch, 20)
        with pytest.raises(Stopped):
            clone(model).fit(X)
    return model


def test_a_finished_fit_is_not_resumed(tmp_path):
    model = KINDS["icfl"]().set_params(checkpoint=str(tmp_path), resume=True)
    first = clone(model).fit(X)
    assert files(tmp_path) == []  # it took less than ten minutes
    second = clone(model).set_params(checkpoint=Checkpoint(tmp_path, steps=50)).fit(X)
    third = clone(model).set_params(checkpoint=Checkpoint(tmp_path, steps=50)).fit(X)
    assert third.n_steps_ == first.n_steps_
    np.testing.assert_array_equal(second.components_, third.components_)


def test_without_resume_a_fit_starts_anew(tmp_path, monkeypatch):
    model = interrupted(tmp_path, monkeypatch)
    seen = []
    monkeypatch.setattr(FitRecord, "save", lambda self, n, *rest: seen.append(n))
    model.set_params(resume=False).fit(X)
    assert seen == list(range(10, 91, 10))


@pytest.mark.parametrize("change", ["data", "parameter"])
def test_other_data_or_parameters_are_refused_and_nothing_is_touched(tmp_path, monkeypatch, change):
    model = interrupted(tmp_path, monkeypatch)
    before = {path: path.read_bytes() for path in tmp_path.rglob("step-*")}
    other, rows = clone(model), X
    if change == "data":
        rows = X + 1
    else:
        other.set_params(n_nonzero_coefs=3)
    expected = "X rows" if change == "data" else "n_nonzero_coefs: 4 there, 3 here"
    with pytest.raises(ValueError, match=expected):
        other.fit(rows)
    assert {path: path.read_bytes() for path in before} == before
    other.set_params(resume="auto").fit(rows)
    assert other.n_steps_ == 90
    assert model.fit(X).n_steps_ == 90


@pytest.mark.parametrize("damage", ["truncated", "tampered", "no JSON", "newer"])
def test_a_damaged_checkpoint_is_an_error_that_names_the_one_before(tmp_path, monkeypatch, damage):
    model = interrupted(tmp_path, monkeypatch)
    last = sorted(tmp_path.rglob("step-*20.json"))[0]
    arrays = last.with_suffix(".safetensors")
    content = bytearray(arrays.read_bytes())
    if damage == "truncated":
        arrays.write_bytes(content[:-10])
    elif damage == "tampered":
        content[-1] ^= 1
        arrays.write_bytes(content)
    elif damage == "no JSON":
        last.write_text("{")
    else:
        last.write_text(json.dumps(json.loads(last.read_text()) | {"schema": 99}))
    message = "format 99" if damage == "newer" else "damaged.*to go on from step-000000000010"
    with pytest.raises(ValueError, match=message):
        clone(model).fit(X)
    for path in (last, arrays):
        path.unlink()
    np.testing.assert_array_equal(
        clone(model).fit(X).components_, KINDS["icfl"]().fit(X).components_
    )


def test_a_full_disk_leaves_the_last_checkpoint_and_what_was_learned(tmp_path, monkeypatch):
    write = _checkpoints.write_whole

    def full(path, content):
        if "30" in path.name:
            path.with_name("x.new").write_bytes(content[:100])
            path.with_name("x.new").unlink()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    model = KINDS["icfl"]().set_params(checkpoint=Checkpoint(tmp_path, steps=10), resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(_checkpoints, "write_whole", full)
        with pytest.raises(OSError, match=r"after step 30.*No space left.*last good one.*20"):
            model.fit(X)
    assert model.n_steps_ == 30  # nothing that was learned is lost
    again = clone(model).fit(X)
    np.testing.assert_array_equal(again.components_, KINDS["icfl"]().fit(X).components_)


def test_clones_of_a_grid_search_do_not_meet(tmp_path):
    model = KINDS["icfl"]().set_params(checkpoint=Checkpoint(tmp_path, steps=30), resume="auto")
    search = GridSearchCV(model, {"n_nonzero_coefs": [2, 3]}, cv=2, error_score="raise").fit(X)
    assert len(list(tmp_path.iterdir())) == 2 * 2 + 1
    assert search.best_estimator_.n_steps_ == 90


def test_resume_without_a_folder_and_other_mistakes(tmp_path):
    with pytest.raises(ValueError, match="needs a folder"):
        KINDS["icfl"]().set_params(resume=True).fit(X)
    with pytest.raises(ValueError, match="must not both be None"):
        Checkpoint(tmp_path, minutes=None)
    with pytest.raises(ValueError, match="steps"):
        Checkpoint(tmp_path, steps=0)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError, match="could not be written"):
        KINDS["icfl"]().set_params(checkpoint=Checkpoint(blocked, steps=10)).fit(X)
