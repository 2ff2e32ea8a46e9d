"""Seconds to equal explained variance at equal sparsity: skdict's solvers and other learners.

Every learner is fitted from scratch with 1, 2, 4, 8 ... steps until its time is up; every fit
is one point (seconds, quality). So a falling learning rate ends where a user's fit would end.
The judge is the same for all: orthogonal matching pursuit with K non-zeros codes rows that nobody
learned from, over the learned atoms. It is not the pursuit that skdict learns with; "own"
is the explained variance by the codes of the learner itself.

Targets are multiples of the least unexplained variance that anyone reached. Rows are centred. On
planted data the share of true atoms found (cosine above 0.9) stands beside it: variance explained
and recovery are two questions.
"""

import os
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.preprocessing import Normalizer, StandardScaler

from benchmarks.learners import LEARNERS
from benchmarks.machine import n_cores, package_version
from benchmarks.processes import ContestantError, Worker
from skdict import ControlPCAWhitener, sparse_encode
from skdict.datasets import load_jump_scope, make_superposition
from skdict.metrics import dictionary_recovery

# Seconds of training for one learner on one data set, all its fits together. The environment
# variable SKDICT_BENCH_SECONDS sets another time.
SECONDS = 60.0
TARGETS = (2.0, 1.5, 1.2, 1.05)
JUDGED_ROWS = 2000


@dataclass(frozen=True)
class Task:
    """Rows to learn from, rows to judge on, and the sizes of the dictionary."""

    name: str
    train: np.ndarray
    held_out: np.ndarray
    n_atoms: int
    n_nonzero: int
    truth: np.ndarray | None = None

    def write(self, folder):
        """Write the centred rows to a folder."""
        mean = self.train.mean(axis=0)
        for name in ("train", "held_out"):
            rows = np.ascontiguousarray(getattr(self, name) - mean, np.float32)
            np.save(Path(folder) / f"{name}.npy", rows)


def profiles():
    """JUMP-Scope wells, whitened on controls; two of the five plates are held out."""
    wells = load_jump_scope()
    held_out = np.isin(wells.plate, np.unique(wells.plate)[:2])
    whitener = ControlPCAWhitener()
    whitener.fit(wells.data[~held_out], control=wells.control[~held_out])
    X = Normalizer().fit_transform(whitener.transform(wells.data))
    return Task("load_jump_scope", X[~held_out], X[held_out], 432, 20)


def planted():
    """The planted problem of ``planted_recovery``, 8 active atoms."""
    data = make_superposition(60_000, 128, 1024, n_active=8, random_state=0)
    return Task("planted data", data.data[:58_000], data.data[58_000:], 1024, 8, data.components)


def planted_zipf():
    """The harder planted problem: 16 active atoms with Zipf frequencies."""
    data = make_superposition(60_000, 128, 1024, n_active=16, zipf_exponent=1.0, random_state=0)
    return Task("planted, Zipf", data.data[:58_000], data.data[58_000:], 1024, 16, data.components)


def image_patches():
    """8 x 8 patches of five three-channel fields, standardised; None where they are missing."""
    folder = Path(os.environ.get("SKDICT_DATA", "")) / "images_nf1_schwann"
    paths = sorted(folder.glob("*_image.tif"))
    if not os.environ.get("SKDICT_DATA") or not paths or find_spec("tifffile") is None:
        return None
    from tifffile import imread

    patches = []
    for path in paths:
        image = imread(path).astype(np.float32)
        channels, height, width = image.shape
        blocks = image.reshape(channels, height // 8, 8, width // 8, 8).transpose(1, 3, 0, 2, 4)
        patches.append(blocks.reshape(-1, channels * 64))
    X = StandardScaler().fit_transform(np.concatenate(patches))
    held_out = np.zeros(len(X), bool)
    held_out[np.random.default_rng(0).choice(len(X), len(X) // 20, replace=False)] = True
    return Task("image patches", X[~held_out], X[held_out], 768, 19)


TASKS = {
    "load_jump_scope": profiles,
    "planted": planted,
    "planted_zipf": planted_zipf,
    "image_patches": image_patches,
}


def judged_variance(atoms, rows, n_nonzero):
    """Explained variance of centred rows by OMP codes over the atoms, whatever their length."""
    atoms = np.asarray(atoms, np.float64)
    atoms = atoms[np.linalg.norm(atoms, axis=1) > 0]
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    rows = np.asarray(rows, np.float64)
    n_nonzero = min(n_nonzero, len(atoms))
    codes = sparse_encode(rows, atoms, algorithm="omp", n_nonzero_coefs=n_nonzero)
    return 1 - (rows - codes @ atoms).var(axis=0).sum() / rows.var(axis=0).sum()


def climb(learner, task, folder, seconds):
    """Fit with more and more steps; a list of points, dictionaries with what was measured."""
    held_out = np.load(Path(folder) / "held_out.npy")[:JUDGED_ROWS]
    points = []
    with Worker(f"benchmarks.learners:{learner.__name__}", n_cores()) as worker:
        worker.call("setup", str(folder), task.n_atoms, task.n_nonzero)
        n_steps, spent = 1, 0.0
        while True:
            took, atoms, own = worker.call("fit", n_steps, 0)
            spent += took
            point = {"steps": n_steps, "seconds": took, "own": own}
            point["variance"] = judged_variance(atoms, held_out, task.n_nonzero)
            if task.truth is not None:
                point["found"] = dictionary_recovery(task.truth, atoms).recovered
            points.append(point)
            if spent + 2 * took > seconds:
                return points
            n_steps *= 2


def seconds_to(points, target):
    """Time of the fastest fit that reached the target; None if none did."""
    times = [point["seconds"] for point in points if point["variance"] >= target]
    return min(times, default=None)


def print_table(task, results):
    """Print one line per learner."""
    best = max(point["variance"] for points in results.values() for point in points)
    names = " ".join(f"{f'x {factor:g}':>7}" for factor in TARGETS)
    print(
        f"\n{task.name}: {len(task.train):,} x {task.train.shape[1]}, {task.n_atoms} atoms, "
        f"{task.n_nonzero} non-zeros; seconds until unexplained variance is within a factor of "
        f"the least ({1 - best:.4f})"
    )
    print(f"{'learner':46} {names} {'best':>7} {'own':>7} {'steps':>6} {'s':>6} {'found':>6}")
    for label, points in results.items():
        times = [seconds_to(points, 1 - factor * (1 - best)) for factor in TARGETS]
        cells = " ".join(f"{'-' if t is None else f'{t:.2f}':>7}" for t in times)
        top = max(points, key=lambda point: point["variance"])
        own = "" if top["own"] is None else f"{top['own']:.4f}"
        found = f"{top['found']:.1%}" if "found" in top else ""
        print(
            f"{label:46} {cells} {top['variance']:7.4f} {own:>7} {top['steps']:6} "
            f"{top['seconds']:6.1f} {found:>6}",
            flush=True,
        )


def measure(task, seconds):
    """Points of every learner that is installed."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        task.write(folder)
        for learner in LEARNERS:
            version = package_version(learner.package)
            if version is None:
                print(f"{learner.label}: missing")
                continue
            try:
                points = climb(learner, task, folder, seconds)
            except ContestantError as error:
                print(f"{learner.label}: failed, {error}")
                continue
            results[f"{learner.label} {version}"] = points
    return results


def run(names=tuple(TASKS)):
    """Print one table per data set."""
    seconds = float(os.environ.get("SKDICT_BENCH_SECONDS", SECONDS))
    print(f"{seconds:.0f} s of training for each learner, {n_cores()} threads")
    for name in names:
        task = TASKS[name]()
        if task is None:
            print(f"\n{name}: missing; it needs tifffile and SKDICT_DATA (benchmarks/README.md)")
            continue
        print_table(task, measure(task, seconds))


if __name__ == "__main__":
    import sys

    run(tuple(sys.argv[1:]) or tuple(TASKS))
