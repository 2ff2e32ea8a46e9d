"""Fits in processes of their own, which tell how far they are and are stopped by force."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from skdict import Checkpoint, ICFLDictionary, ShardedRows, TopKSAE, _data_order, _large_rows
from skdict._checkpoints import FitRecord, read_checked

KINDS = {
    "ICFL, adam": (ICFLDictionary, {"reset_every": 9, "reset_threshold": 0.5}),
    "ICFL, online": (ICFLDictionary, {"solver": "online"}),
    "TopK": (TopKSAE, {"auxk_dead_samples": 300}),
}
RESULTS = "components_", "intercept_"


@dataclass(frozen=True)
class Fit:
    """A fit with a checkpoint after every step, in memory or streamed from shards.

    ``n_blocks`` is into how many blocks streamed rows are cut.
    """

    folder: str
    kind: str = "ICFL, adam"
    is_streamed: bool = False
    n_rows: int = 1500
    n_features: int = 16
    n_atoms: int = 48
    max_steps: int = 60
    every: int = 1
    n_blocks: int = 12
    name: str = "fits"

    @property
    def checkpoints(self):
        """Where the checkpoints go."""
        return Path(self.folder) / self.name

    @property
    def result(self):
        """Where the fitted attributes go."""
        return Path(self.folder) / "result.npz"

    def model(self, **parameters):
        """The dictionary, with a checkpoint unless `parameters` say otherwise."""
        estimator, own = KINDS[self.kind]
        settings = {
            "n_nonzero_coefs": 4, "max_steps": self.max_steps, "batch_size": 128,
            "random_state": 0, "checkpoint": Checkpoint(self.checkpoints, steps=self.every),
            "resume": True,
        }  # fmt: skip
        return estimator(self.n_atoms, **(settings | own | parameters))

    def rows(self):
        """An array, or shards on the disk, which are written once."""
        rng = np.random.default_rng(0)
        X = rng.normal(size=(self.n_rows, self.n_features)).astype(np.float32)
        if not self.is_streamed:
            return X
        paths = [Path(self.folder) / f"rows{part}.npy" for part in range(3)]
        for path, part in zip(paths, np.array_split(X, 3), strict=True):
            if not path.exists():
                np.save(path, part)
        return ShardedRows(paths)

    def run(self, rows=None, *, model=None, **parameters):
        """Fit in this process; the fitted dictionary."""
        rows = self.rows() if rows is None else rows
        model = self.model(**parameters) if model is None else model
        with streaming(self) if self.is_streamed else contextlib.nullcontext():
            return model.fit(rows)

    def run_marked(self):
        """Fit in this process as another one watches, and store what was learned."""
        tell_marks(Marks(self.folder))
        marks = Marks(self.folder)
        rows = self.rows()
        marks["started"] = 1
        model = self.run(rows)
        np.savez(self.result, **attributes(model))


class streaming:
    """Context in which small rows are streamed too, cut into several blocks."""

    def __init__(self, fit):
        self._rows = -(-fit.n_rows // fit.n_blocks)

    def __enter__(self):
        self._before = _large_rows.LARGE_BYTES, _data_order.block_layout
        _large_rows.LARGE_BYTES = 1
        _data_order.block_layout = lambda source: (self._rows, 3)

    def __exit__(self, *exception):
        _large_rows.LARGE_BYTES, _data_order.block_layout = self._before


class Marks:
    """Counters in a mapped file, which outlive the process that sets them."""

    NAMES = ("started", "in_save", "n_saves", "loaded_step")

    def __init__(self, folder):
        path = Path(folder) / "marks"
        if not path.exists():
            path.write_bytes(bytes(8 * len(self.NAMES)))
        self._counts = np.memmap(path, np.int64, "r+")

    def __getitem__(self, name):
        return int(self._counts[self.NAMES.index(name)])

    def __setitem__(self, name, value):
        self._counts[self.NAMES.index(name)] = value

    def clear(self):
        """Set all to zero."""
        self._counts[:] = 0


def tell_marks(marks):
    """Let the checkpoints of this process tell when they are written and read."""
    save, load = FitRecord.save, FitRecord.load

    def marked_save(record, n_steps, arrays, values):
        marks["in_save"] = 1
        save(record, n_steps, arrays, values)
        marks["n_saves"] += 1
        marks["in_save"] = 0

    def marked_load(record, *, must_exist):
        saved = load(record, must_exist=must_exist)
        marks["loaded_step"] = 0 if saved is None else saved[1]["n_steps"]
        return saved

    FitRecord.save, FitRecord.load = marked_save, marked_load


def attributes(model):
    """Fitted attributes that a resumed fit must have bit by bit."""
    curves = {f"history_{name}": curve for name, curve in model.history_.items()}
    return curves | {name: getattr(model, name) for name in RESULTS}


def forked(action, *arguments):
    """Run something in a child of this process; its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the kernels see to forks
        child = os.fork()
    if child:
        return child
    code = 1
    # a shell has its background processes ignore interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        action(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def start_forked(fit):
    """Start a fit in a child."""
    return forked(fit.run_marked)


def start_fresh(fit):
    """Start a fit in a new interpreter."""
    return subprocess.Popen([sys.executable, "-m", __name__, json.dumps(asdict(fit))]).pid


def exit_code(child):
    """Wait for a process: its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_until(condition, child, seconds=120.0):
    """Wait for something that a process does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            exit_code(child)
            raise TimeoutError(f"process {child} did not do it within {seconds} s")
        time.sleep(0.0002)


def stop_once(fit, n_saves, delay, *, start=start_forked, by=signal.SIGKILL):
    """Start a fit, stop it so many seconds after so many saves; None where it was finished.

    Raises ValueError where a checkpoint is unreadable.
    """
    marks = Marks(fit.folder)
    marks.clear()
    child = start(fit)
    wait_until(lambda: marks["started"] and marks["n_saves"] >= n_saves, child)
    time.sleep(delay)
    os.kill(child, by)
    if exit_code(child) == 0:
        return None
    steps = []
    for path in fit.checkpoints.rglob("step-*.json"):
        read_checked(path, None)
        steps.append(int(path.stem.split("-")[1]))
    found = {path.name for path in fit.checkpoints.rglob("*")}
    arrays = {Path(name).stem for name in found if name.endswith(".safetensors")}
    half = [name for name in found if name.endswith(".new")]
    return {
        "in_save": bool(marks["in_save"]),
        "half_written": bool(half) or len(arrays) != len(steps),
        "last_step": max(steps, default=0),
    }


def resume(fit, *, start=start_forked):
    """Go on with a fit to its end: attributes, the step it began at and the saves it made."""
    marks = Marks(fit.folder)
    marks.clear()
    code = exit_code(start(fit))
    if code:
        raise RuntimeError(f"the resumed fit ended with code {code}: {fit}")
    with np.load(fit.result) as stored:
        return dict(stored), marks["loaded_step"], marks["n_saves"]


def seconds_of(fit, *, start=start_forked):
    """Seconds of a fit that nothing disturbs, and what it learned."""
    marks = Marks(fit.folder)
    marks.clear()
    child = start(fit)
    wait_until(lambda: marks["started"], child)
    begin = time.monotonic()
    if exit_code(child):
        raise RuntimeError(f"{fit} failed")
    with np.load(fit.result) as stored:
        return time.monotonic() - begin, dict(stored)


def differing(found, expected):
    """Names of attributes that are not bitwise equal."""
    names = found.keys() | expected.keys()
    return sorted(
        name for name in names
        if name not in found or name not in expected
        or found[name].tobytes() != expected[name].tobytes()
    )  # fmt: skip


if __name__ == "__main__":
    Fit(**json.loads(sys.argv[1])).run_marked()
