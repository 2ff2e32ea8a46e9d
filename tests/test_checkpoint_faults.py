"""Faults of checkpoints, on disks, in files, by others: errors are clear and nothing is lost."""

import hashlib
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from safetensors.numpy import load, save
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from benchmarks import faults
from benchmarks.fault_trials import Faulty, Stopped, at_save, interrupt, must_resume
from benchmarks.faulted_fits import (
    Fit,
    Marks,
    attributes,
    differing,
    exit_code,
    forked,
    stop_once,
    wait_until,
)
from skdict import Checkpoint, ICFLDictionary, _checkpoints, _whole_files
from skdict._checkpoints import FitRecord

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SETTINGS = {"estimator": "ICFLDictionary", "seed": 0}


@pytest.fixture
def fit(tmp_path):
    return Fit(str(tmp_path), max_steps=20, every=2)


@pytest.fixture
def record(tmp_path):
    """Checkpoints after steps 1 and 2."""
    record = FitRecord(Checkpoint(tmp_path / "fits", steps=1), SETTINGS)
    for n_steps in (1, 2):
        save_step(record, n_steps)
    yield record
    record.release()


def save_step(record, n_steps):
    record.save(n_steps, {"x": np.full(50, n_steps, np.float32)}, {"n_steps": n_steps})


def names(record, pattern="step-*"):
    return sorted(path.name for path in record.folder.glob(pattern))


# ------------------------------------------------------------------ damaged files


def changed_value(path):
    content = json.loads(path.read_text())
    content["values"]["n_steps"] = "two"
    path.write_text(json.dumps(content))


DAMAGES = {
    "JSON of zero bytes": (".json", lambda path: os.truncate(path, 0), "Expecting value"),
    "JSON of another kind": (".json", lambda path: path.write_text("[1]"), "damaged"),
    "JSON not text": (".json", lambda path: path.write_bytes(b"\xff\xfe{"), "damaged"),
    "value changed": (".json", changed_value, "does not have its checksum"),
    "arrays of zero bytes": (".safetensors", lambda path: os.truncate(path, 0), "its 0 bytes"),
    "arrays missing": (".safetensors", Path.unlink, "its arrays cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_an_error_that_names_the_checkpoint_before(record, damage):
    suffix, do_damage, message = DAMAGES[damage]
    do_damage(record.folder / f"step-000000000002{suffix}")
    with pytest.raises(ValueError, match=f"step-000000000002.*{message}.*step-000000000001"):
        record.load(must_exist=True)


def test_arrays_that_are_missing_are_not_passed_over_where_nothing_is_before(record):
    for name in ("step-000000000001.json", "step-000000000002.safetensors"):
        (record.folder / name).unlink()
    with pytest.raises(ValueError, match="arrays cannot be read.*start anew"):
        record.load(must_exist=False)


def test_nan_is_damage(record):
    record.save(3, {"x": np.array([0, np.inf]), "y": np.array([0, np.nan])}, {})
    with pytest.raises(ValueError, match="'y' holds NaN.*to go on from step-000000000002"):
        record.load(must_exist=True)


def test_the_checkpoint_of_another_fit_is_not_taken(record, tmp_path):
    other = FitRecord(Checkpoint(tmp_path / "fits", steps=1), SETTINGS | {"seed": 1})
    save_step(other, 9)
    for path in other.folder.glob("step-*"):
        shutil.copy(path, record.folder)
    other.release()
    with pytest.raises(ValueError, match="000009.json is another fit's .seed: 1 there, 0 here"):
        record.load(must_exist=True)


@pytest.mark.parametrize("error", [KeyError("rng"), TypeError("an integer is required")])
def test_a_state_that_cannot_be_taken_up_is_an_error_with_a_remedy(record, error):
    message = f"{record.folder.name} holds another state.*{type(error).__name__}.*version that"
    with pytest.raises(ValueError, match=message), record.restoring():
        raise error


CHANGES = {
    "rng": lambda values, arrays: values.update(rng="x"),
    "n_steps": lambda values, arrays: values.update(n_steps="6"),
    "more steps than there are": lambda values, arrays: values.update(n_steps=500),
    "order": lambda values, arrays: (values.pop("shuffle", None), arrays.pop("order", None)),
    "key": lambda values, arrays: arrays.pop("rng.key"),
    "curves": lambda values, arrays: values.update({"history.curves": 3}),
}


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_values_with_the_right_checksums_are_an_error(tmp_path, is_streamed, change):
    fit = Fit(str(tmp_path), is_streamed=is_streamed, max_steps=20, every=2)
    interrupt(fit, 6)
    path = max(fit.checkpoints.rglob("step-*.json"))
    arrays_path = path.with_suffix(".safetensors")
    record, arrays = json.loads(path.read_text()), load(arrays_path.read_bytes())
    CHANGES[change](record["values"], arrays)
    content = save(arrays)
    arrays_path.write_bytes(content)
    record.pop("own sha256")
    record["sha256"] = hashlib.sha256(content).hexdigest()
    record["own sha256"] = _checkpoints._digest_of_record(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="holds another state"):
        fit.run()


@needs_fork
def test_an_error_while_the_sample_is_read_releases_the_folder(tmp_path):
    fit = Fit(str(tmp_path), is_streamed=True, max_steps=20, every=2)
    interrupt(fit, 6)
    with pytest.raises(OSError, match="Input/output"):
        fit.run(Faulty(fit.rows(), 67, "error"))  # behind the fingerprint, before the first batch
    assert exit_code(forked(fit.run)) == 0  # while this process lives


@pytest.mark.parametrize("content", ["[]", '{"settings": 3}', ""])
def test_a_damaged_checkpoint_of_another_fit_is_named(record, tmp_path, content):
    (record.folder / "step-000000000002.json").write_text(content)
    other = FitRecord(Checkpoint(tmp_path / "fits", steps=1), SETTINGS | {"seed": 1})
    with pytest.raises(ValueError, match="found no checkpoint of these.*its JSON is damaged"):
        other.load(must_exist=True)


def test_what_is_left_without_its_other_half_is_removed(record):
    (record.folder / "step-000000000001.safetensors").unlink()
    (record.folder / "step-000000000000.safetensors").write_bytes(b"")
    save_step(record, 3)
    save_step(record, 4)
    assert names(record) == [
        f"step-00000000000{n}.{suffix}" for n in (3, 4) for suffix in ("json", "safetensors")
    ]


# ------------------------------------------------------------------ disks


@needs_fork
def test_a_file_that_may_not_grow_is_an_error_and_the_last_checkpoint_stays(fit):
    resource = pytest.importorskip("resource")
    interrupt(fit, 10)
    size = max(path.stat().st_size for path in fit.checkpoints.rglob("step-*"))

    def run():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 500, size - 500))
        with pytest.raises(OSError, match=r"step 12 could not be written.*last good.*0010\.json"):
            fit.run()

    assert exit_code(forked(run)) == 0
    assert not list(fit.checkpoints.rglob("*.new"))
    assert must_resume(fit) == 10


@needs_fork
@pytest.mark.skipif(getattr(os, "geteuid", int)() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("resume", [False, "auto"])
def test_a_folder_that_may_not_be_written_to_is_an_error_before_the_first_step(fit, resume):
    rows = fit.rows()
    fit.checkpoints.mkdir()
    fit.checkpoints.chmod(0o555)

    def run():
        os.setuid(65534)
        model = fit.model(resume=resume)
        with pytest.raises(OSError, match="could not be written.*another folder"):
            model.fit(rows)
        assert not hasattr(model, "n_steps_")

    assert exit_code(forked(run)) == 0


def test_a_folder_that_is_deleted_is_made_anew(fit):
    with at_save(lambda n: n == 10 and shutil.rmtree(fit.checkpoints)):
        found = attributes(fit.run())
    assert differing(found, attributes(fit.run(checkpoint=None, resume=False))) == []
    assert len(list(fit.checkpoints.rglob("step-*.json"))) == 2


def test_new_folders_are_brought_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(_whole_files, "sync_folder", synced.append)
    _whole_files.make_folder(tmp_path / "a" / "b")
    assert set(synced) == {tmp_path, tmp_path / "a"}


def full(*arguments, **keywords):
    raise OSError(28, "No space left on device")


def test_a_finished_fit_that_cannot_be_marked_has_no_checkpoints(record, monkeypatch):
    monkeypatch.setattr(_checkpoints, "write_whole", full)
    record.finish()
    assert names(record) == []
    assert record.load(must_exist=True) is None


def test_a_finished_fit_that_can_be_neither_marked_nor_unmade_warns(record, monkeypatch):
    monkeypatch.setattr(_checkpoints, "write_whole", full)
    monkeypatch.setattr(Path, "unlink", full)
    with pytest.warns(UserWarning, match="neither marked as finished nor removed.*No space left"):
        record.finish()


def test_old_checkpoints_that_cannot_be_removed_do_not_end_a_fit(record, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(FitRecord, "_remove_all_but", full)
        save_step(record, 3)
    assert record.load(must_exist=True)[1] == {"n_steps": 3}
    save_step(record, 4)
    assert len(names(record)) == 4


def test_the_clock_of_the_day_does_not_matter(tmp_path, monkeypatch):
    record = FitRecord(Checkpoint(tmp_path, minutes=10), SETTINGS)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not record.is_due(1)
    later = time.monotonic() + 601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert record.is_due(1)


# ------------------------------------------------------------------ others in the same folder


@needs_fork
@pytest.mark.parametrize("resume", [True, False])
def test_a_second_process_has_a_folder_of_its_own_while_the_first_one_lives(fit, resume):
    marks = Marks(fit.folder)

    def wait_there(n_steps):
        if n_steps == 10:
            marks["n_saves"] = n_steps
            time.sleep(60)

    def run():
        with at_save(wait_there):
            fit.run()

    first = forked(run)
    try:
        wait_until(lambda: marks["n_saves"], first)
        first_folder = next(fit.checkpoints.iterdir())
        before = {path: path.read_bytes() for path in first_folder.glob("step-*")}
        assert fit.run(resume=resume).n_steps_ == fit.max_steps
        assert {path.name for path in fit.checkpoints.iterdir()} == {
            first_folder.name,
            f"{first_folder.name}-2",
        }
        assert {path: path.read_bytes() for path in first_folder.glob("step-*")} == before
    finally:
        os.kill(first, signal.SIGKILL)
        exit_code(first)
    assert must_resume(fit) >= 10  # the lock died with the process
    assert not list(fit.checkpoints.rglob("lock"))


@needs_fork
def test_a_fit_that_failed_does_not_keep_others_from_its_folder(fit):
    def run(expect):
        with at_save(lambda n: (_ for _ in ()).throw(Stopped)), pytest.raises(expect):
            fit.run()

    run(Stopped)
    assert exit_code(forked(run, Stopped)) == 0  # while this process lives


def test_another_thread_has_a_folder_of_its_own_until_the_first_one_ends(record):
    folder = record.folder
    other = FitRecord(Checkpoint(record.parent, steps=1), SETTINGS)

    def claim():
        other.claim()
        other.release()

    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()
    assert other.folder == folder.with_name(f"{folder.name}-2")
    save_step(record, 3)  # still ours
    record.release()
    other = FitRecord(Checkpoint(record.parent, steps=1), SETTINGS)
    thread = threading.Thread(target=other.claim)  # ends without a release
    thread.start()
    thread.join()
    save_step(record, 4)


def test_too_many_at_the_same_time(record, monkeypatch):
    monkeypatch.setattr(_checkpoints, "MOST_FOLDERS", 1)
    errors = []

    def claim():
        try:
            FitRecord(Checkpoint(record.parent, steps=1), SETTINGS).claim()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=claim)
    thread.start()
    thread.join()
    assert len(errors) == 1 and f"another thread of this process ({os.getpid()})" in errors[0]


def test_a_search_over_a_later_step_in_several_workers(tmp_path):
    # the same dictionary is fitted on the same fold by several workers at the same time
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 8)), np.arange(300) % 2
    dictionary = ICFLDictionary(
        16, n_nonzero_coefs=2, max_steps=30, random_state=0, resume="auto",
        checkpoint=Checkpoint(tmp_path, steps=5),
    )  # fmt: skip
    search = GridSearchCV(
        make_pipeline(dictionary, LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0, 10.0]}, cv=2, error_score="raise",
    )  # fmt: skip
    with parallel_config("threading", n_jobs=3):  # they start sooner than processes
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_without_locks_of_the_system_fits_go_on(tmp_path, monkeypatch):
    if _whole_files.fcntl is not None:
        monkeypatch.setattr(_whole_files.fcntl, "lockf", full)  # as some network file systems
    record = FitRecord(Checkpoint(tmp_path, steps=1), SETTINGS)
    save_step(record, 1)
    monkeypatch.setattr(_whole_files, "fcntl", None)  # Windows
    save_step(record, 2)
    record.finish()
    assert "finished.json" in names(record, "*")


# ------------------------------------------------------------------ signals and sources


@needs_fork
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_fit_ended_by_a_signal_is_resumed(fit, by):
    assert stop_once(fit, 4, 0, by=by)["last_step"] >= 8
    assert must_resume(fit) >= 8


@pytest.mark.parametrize("kind", ["error", "nan"])
def test_a_source_that_fails_once_is_resumed(tmp_path, kind):
    fit = Fit(str(tmp_path), is_streamed=True, max_steps=20, every=2)
    error, message = {
        "error": (OSError, "Input/output error"),
        "nan": (ValueError, "must be finite, got nan in row"),
    }[kind]
    with pytest.raises(error, match=message):
        fit.run(Faulty(fit.rows(), 82, kind))
    assert 0 < must_resume(fit) < 20


# ------------------------------------------------------------------ the benchmark that counts them


@needs_fork
def test_faults_are_counted(tmp_path, capsys):
    names = ["kills", "arrays without their JSON", "full disk while a checkpoint is written"]
    output = tmp_path / "faults.json"
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    assert faults.main(
        ["--only", *names, "--kills", "1", "--tries", "1", "--output", str(output),
         "--folder", place]
    ) == 0  # fmt: skip
    found = json.loads(output.read_text())["faults"]
    assert list(found) == names
    assert found["kills"]["counts"]["bitwise equal"] == found["kills"]["tries"] == 1
    assert found[names[1]]["seen"] == {"resumed at the checkpoint before": 1}
    assert "SIGKILL, forked fits: 1 of 1 as expected" in capsys.readouterr().out
    assert faults.main(["--only", names[1], "--tries", "1"]) == 0
    with pytest.raises(SystemExit):
        faults.parse_arguments(["--only", "meteorite"])


def test_what_goes_wrong_is_counted_too(monkeypatch, capsys):
    def wrong(folder, number):
        raise AssertionError("other codes")

    monkeypatch.setitem(faults.FAULTS, "wrong", ("wrong", lambda o: faults.several(wrong, o)))
    assert faults.main(["--only", "wrong", "--tries", "2"]) == 1
    assert "wrong: 0 of 2 as expected" in capsys.readouterr().out
