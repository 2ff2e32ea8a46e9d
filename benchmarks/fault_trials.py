"""Trials of single faults: each returns what was seen, and raises where that was not right."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.faulted_fits import (
    KINDS,
    Fit,
    Marks,
    attributes,
    differing,
    exit_code,
    forked,
    resume,
    stop_once,
    tell_marks,
    wait_until,
)
from skdict import TopKSAE, _streaming, load_codes, transform_to_disk
from skdict._checkpoints import FitRecord

TRIALS = {}
N_STEPS = 30


class NotPermitted(Exception):
    """The system does not let this fault be tried."""


def trial(name):
    """Add a trial: a function of a folder and the number of the try."""
    return lambda function: TRIALS.setdefault(name, function)


def fit_of(folder, number, **parameters):
    """A small fit of the kind whose turn it is, with a checkpoint every second step."""
    kind = list(KINDS)[number % len(KINDS)]
    settings = {"is_streamed": bool(number // len(KINDS) % 2), "max_steps": N_STEPS, "every": 2}
    return Fit(str(folder), kind, **(settings | parameters))


def moment(number):
    """An even step within the fit, another one for each try."""
    return 2 + 2 * int(np.random.default_rng(number).integers(N_STEPS // 2 - 2))


@contextlib.contextmanager
def at_save(action):
    """Do something after each checkpoint: ``action(n_steps)``."""
    save = FitRecord.save

    def saving(record, n_steps, arrays, values):
        save(record, n_steps, arrays, values)
        action(n_steps)

    FitRecord.save = saving
    try:
        yield
    finally:
        FitRecord.save = save


class Stopped(Exception):
    """Ends a fit within this process."""


def interrupt(fit, n_steps):
    """Run a fit in this process until so many steps."""

    def stop(n):
        if n >= n_steps:
            raise Stopped

    with at_save(stop), contextlib.suppress(Stopped):
        fit.run()


def must_resume(fit, expected=None):
    """Go on with a fit, in another process: it has to end as if nothing had been."""
    if expected is None:
        expected = attributes(fit.run(checkpoint=None, resume=False))
    found, loaded_step, _ = resume(fit)
    names = differing(found, expected)
    if names:
        raise AssertionError(f"{names} differ after resuming at step {loaded_step}")
    return loaded_step


def message_of(action, kind, *words):
    """Message of the error that something has to raise, which must hold some words."""
    try:
        action()
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        if missing:
            raise AssertionError(f"{missing} missing in: {error}") from error
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


# ---------------------------------------------------------------------- disks


def mount(*arguments):
    """Call mount."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise NotPermitted(done.stderr.strip())


@contextlib.contextmanager
def disk(folder, kilobytes):
    """A file system of its own of so many kilobytes, in memory."""
    place = Path(folder) / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place)
    try:
        yield place
    finally:
        for _ in range(2):  # what is mounted on it first
            subprocess.run(["umount", "-l", place], capture_output=True)


@trial("full disk while a checkpoint is written")
def full_disk(folder, number):
    """A file system without room for the next checkpoint."""
    fit = fit_of(folder, number, name="disk/fits")
    with disk(folder, 40 + 4 * (number % 14)) as place:
        words = "could not be written", "No space left"
        message = message_of(fit.run, OSError, *words)
        mount("-o", "remount,size=10m", place)
        loaded_step = must_resume(fit)
        if loaded_step and f"step-{loaded_step:012d}" not in message:
            raise AssertionError(f"resumed at {loaded_step}, but: {message}")
    return "error that names the last good checkpoint; resumed there with more room"


@trial("full disk while codes are written")
def full_disk_codes(folder, number):
    """transform_to_disk where the codes have no room."""
    model, X = coder()
    with disk(folder, 150 + 20 * number) as place, small_shards():
        write = partial(transform_to_disk, model, X, place / "codes", block_rows=700, resume=True)
        message_of(write, OSError, "No space left", "rows are safe")
        safe = load_codes(place / "codes", allow_unfinished=True).shape[0]
        mount("-o", "remount,size=10m", place)
        same_codes(write(), model, X)
    return f"error that says how much is safe; resumed behind it ({'some' if safe else 'no'} rows)"


@trial("folder read-only from the start")
def read_only(folder, number):
    """A folder that cannot be written to."""
    fit = fit_of(folder, number, name="disk/fits")
    with disk(folder, 1000) as place:
        mount("-o", "remount,ro", place)
        model = fit.model()
        message_of(lambda: model.fit(replace(fit, is_streamed=False).rows()), OSError,
                   "could not be written", "Read-only", "another folder")  # fmt: skip
        return "error before the first step" if not hasattr(model, "n_steps_") else "error later"


@trial("folder read-only in the middle of a fit")
def read_only_later(folder, number):
    """A file system that turns read-only, as after errors of its disk."""
    fit, when = fit_of(folder, number, name="disk/fits"), moment(number)
    with disk(folder, 1000) as place:

        def turn(n_steps):
            if n_steps == when:
                mount("--bind", place, place)
                mount("-o", "remount,bind,ro", place)

        with at_save(turn):
            message_of(fit.run, OSError, "Read-only", f"step-{when:012d}")
        subprocess.run(["umount", "-l", place], check=True)
        if must_resume(fit) != when:
            raise AssertionError("resumed elsewhere")
    return "error that names the last good checkpoint; resumed there"


@trial("folder deleted in the middle of a fit")
def deleted(folder, number):
    """Everything written so far is gone."""
    fit, when = fit_of(folder, number), moment(number)
    with at_save(lambda n: n == when and shutil.rmtree(fit.checkpoints)):
        found = attributes(fit.run())
    if differing(found, attributes(fit.run(checkpoint=None, resume=False))):
        raise AssertionError("the fit differs")
    if not any(fit.checkpoints.rglob("step-*.json")):
        raise AssertionError("no new checkpoint")
    return "made anew with the next checkpoint; bitwise equal"


# ---------------------------------------------------------------------- other processes


@trial("a second process fits the same into the same folder")
def second_process(folder, number):
    """Two fits of the same parameters and data at the same time."""
    fit = fit_of(folder, number, every=1, max_steps=150)
    marks = Marks(folder)
    first = forked(fit.run_marked)
    wait_until(lambda: marks["n_saves"] > number, first)

    second = attributes(fit.run(resume=number % 2 == 0))
    if exit_code(first):
        raise AssertionError("the first was disturbed")
    with np.load(fit.result) as stored:
        undisturbed = attributes(fit.run(checkpoint=None, resume=False))
        if differing(dict(stored), undisturbed) or differing(second, undisturbed):
            raise AssertionError("one of them differs")
    return "the second takes a folder beside; both bitwise equal"


@trial("SIGTERM in the middle of a fit")
def terminated(folder, number):
    """What a machine gets that is taken away."""
    fit = fit_of(folder, number)
    if stop_once(fit, moment(number) // 2, 0.003, by=signal.SIGTERM) is None:
        return "finished before"
    must_resume(fit)
    return "ends at once; resumed"


@trial("SIGINT (Ctrl-C) in the middle of a fit")
def interrupted(folder, number):
    """The interrupt of the keyboard."""
    fit = fit_of(folder, number)
    marks = Marks(folder)

    def run():
        tell_marks(marks)
        model = fit.model()
        with contextlib.suppress(KeyboardInterrupt):
            fit.run(model=model)
        os._exit(0 if 0 < model.n_steps_ < N_STEPS and np.isfinite(model.components_).all() else 1)

    child = forked(run)
    wait_until(lambda: marks["n_saves"] >= moment(number) // 2, child)
    time.sleep(0.002 * np.random.default_rng(number).random())
    os.kill(child, signal.SIGINT)
    if exit_code(child):
        raise AssertionError("what was learned is not there")
    must_resume(fit)
    return "what was learned is kept; resumed"


# ---------------------------------------------------------------------- data


class Faulty:
    """A row source that fails at one read: by an error, or by a value that is not finite."""

    def __init__(self, rows, at_read, kind):
        self._rows, self._left, self._kind = rows, at_read, kind
        self.shape, self.dtype, self.ndim = rows.shape, rows.dtype, 2

    def __getitem__(self, rows):
        self._left -= 1
        block = np.array(self._rows[rows])
        if self._left == 0 and self._kind == "error":
            raise OSError(5, "Input/output error")
        if self._left == 0:
            block[0, 0] = np.nan
        return block


def _faulty_source(folder, number, kind, error, word):
    """A source that fails once fitting has begun; the fit is resumed with one that does not."""
    fit = fit_of(folder, number, is_streamed=True)
    rows = Faulty(fit.rows(), 79 + number, kind)  # the reads before look at all rows once
    message_of(partial(fit.run, rows), error, word)
    n_done = must_resume(fit)
    return f"error as it is; resumed {'at a checkpoint' if n_done else 'at the start'}"


@trial("the source raises an error in the middle of a fit")
def source_error(folder, number):
    """A disk or a network that fails once."""
    return _faulty_source(folder, number, "error", OSError, "Input/output error")


@trial("NaN in a block that is read late")
def late_nan(folder, number):
    """A value that is not finite, where nothing was looked at before."""
    return _faulty_source(folder, number, "nan", ValueError, "must be finite")


@trial("a shard is cut off in the middle of a fit")
def cut_shard(folder, number):
    """A .npy file that is truncated while it is mapped."""
    fit, when = fit_of(folder, number, is_streamed=True), moment(number)
    fit.rows()
    shard = folder / "rows1.npy"
    whole = shard.read_bytes()

    def run():
        with at_save(lambda n: n == when and os.truncate(shard, 4096)):
            fit.run()

    code = exit_code(forked(run))
    message_of(fit.run, ValueError, "rows1.npy", "truncated")
    shard.write_bytes(whole)
    must_resume(fit)
    ends = {0: "had been read", 1: "error", -signal.SIGBUS: "the process ends by SIGBUS"}[code]
    return f"{ends}; resumed when the shard was whole again"


# ---------------------------------------------------------------------- codes


def coder():
    """A dictionary, and rows for it."""
    X = np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32)
    return TopKSAE(48, n_nonzero_coefs=4, max_steps=5, random_state=0).fit(X[:1000]), X


@contextlib.contextmanager
def small_shards():
    """Shards of 2,000 rows: a try does not last minutes."""
    writer = _streaming.CodeWriter
    _streaming.CodeWriter = partial(writer, rows_per_shard=2000)
    try:
        yield
    finally:
        _streaming.CodeWriter = writer


def same_codes(stored, model, X):
    """Raise unless stored codes are those of `transform`."""
    stored.verify()
    if (abs(stored.to_csr() - model.transform(X))).nnz:
        raise AssertionError("other codes")


@trial("SIGKILL while codes are written")
def killed_codes(folder, number):
    """transform_to_disk, killed and resumed."""
    model, X = coder()
    path = folder / "codes"
    write = partial(transform_to_disk, model, X, path, block_rows=300, resume=True)
    with small_shards():
        child = forked(write)
        unfinished = path.with_name("codes.unfinished")
        n_shards = int(np.random.default_rng(number).integers(10))
        wait_until(
            lambda: path.exists() or len(list(unfinished.glob("*_indptr.npy"))) >= n_shards, child
        )
        time.sleep(0.02 * np.random.default_rng(number).random())
        os.kill(child, signal.SIGKILL)
        if exit_code(child) == 0 or path.exists():
            return "finished before"
        same_codes(write(), model, X)
    return "resumed; bitwise equal"


# ---------------------------------------------------------------------- damage


def _damages():
    """Ways to damage the pair of files of a checkpoint, with words that the error must hold."""

    def flip(path, rng):
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)

    for name, end in {"JSON": ".json", "arrays": ".safetensors"}.items():
        yield f"{name} of zero bytes", end, lambda path, rng: os.truncate(path, 0)
        yield (
            f"{name} cut off anywhere",
            end,
            lambda path, rng: os.truncate(path, rng.integers(path.stat().st_size)),
        )
        yield f"one bit of the {name} changed anywhere", end, flip
    yield "JSON without its arrays", ".safetensors", lambda path, rng: path.unlink()


def _add_damage(name, end, damage):
    @trial(name)
    def damaged(folder, number):
        fit, when = fit_of(folder, number), moment(number) + 2
        interrupt(fit, when)
        last = next(fit.checkpoints.rglob(f"step-{when:012d}.json"))
        damage(last.with_suffix(end), np.random.default_rng(number))
        before = f"step-{when - 2:012d}"
        message_of(fit.run, ValueError, "checkpoint", before if end != ".json" else "")
        for path in last.parent.glob(f"{last.stem}.*"):
            path.unlink()
        if must_resume(fit) != when - 2:
            raise AssertionError("resumed elsewhere")
        return "error that names the file; resumed at the checkpoint before"


for _name, _end, _damage in _damages():
    _add_damage(_name, _end, _damage)


@trial("arrays without their JSON")
def no_json(folder, number):
    """What a kill between the two files leaves."""
    fit, when = fit_of(folder, number), moment(number) + 2
    interrupt(fit, when)
    next(fit.checkpoints.rglob(f"step-{when:012d}.json")).unlink()
    if must_resume(fit) != when - 2:
        raise AssertionError("resumed elsewhere")
    return "resumed at the checkpoint before"
