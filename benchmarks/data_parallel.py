"""Fits of several processes under torchrun beside a fit of one: equality, kills, speed.

- One step in float32 and whole fits in float64 of two processes against one, at equal batches.
- Whole float32 fits of two processes against those of one over seeds: explained variance.
- Fits under torchrun, one process of which is killed at a random moment; torchrun starts both
  again, the fit goes on from its checkpoint and has to end bit by bit as an undisturbed one.
- Steps a second of one and two processes with one thread each, and how much of a step is spent
  adding up: waiting for the other process and sending the message. Each process forms the Gram
  matrix of the atoms and takes the step of Adam itself, whatever its share of the batch: the larger
  the batch, the more is shared.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine

# kills, seeds, and the sizes whose speed is taken: rows, features, atoms, non-zeros, batch, steps
FULL = (20, 5, ((40_000, 512, 4096, 40, 4096, 10), (40_000, 512, 4096, 40, 16_384, 6)))
QUICK = (1, 2, ((2000, 32, 128, 4, 256, 4),))


def planted(n_samples, n_features, n_components, n_active, seed=0):
    """Planted superposition data."""
    from skdict.datasets import make_superposition

    return make_superposition(
        n_samples=n_samples, n_features=n_features, n_components=n_components, n_active=n_active,
        random_state=seed,
    ).data  # fmt: skip


def models(**parameters):
    """The two dictionaries that are compared."""
    from skdict import ICFLDictionary, TopKSAE

    settings = {"n_components": 256, "n_nonzero_coefs": 6, "batch_size": 512, **parameters}
    return {
        "ICFL": ICFLDictionary(**settings, reset_every=20, reset_threshold=0.6),
        "TopK": TopKSAE(**settings, auxk_dead_samples=2000),
    }


# ---------------------------------------------------------------------- what each process does


def fit_equality(folder, n_seeds):
    """One step, float64 fits, float32 fits of several seeds."""
    from skdict.parallel import data_parallel

    X = planted(8000, 48, 192, 5)
    found = {}
    with data_parallel() as ranks:
        for name, dtype, steps, seed in [
            *((name, "f4", 1, 0) for name in models()),
            *((name, "f8", 150, 0) for name in models()),
            *((name, "f4", 300, seed) for name in models() for seed in range(n_seeds)),
        ]:
            rows = X.astype(dtype)
            model = models(max_steps=steps, random_state=seed)[name].fit(rows)
            key = f"{name} {dtype} {steps} {seed}"
            found[key] = model.components_
            found[f"{key} score"] = model.score(rows)
        np.savez(folder / f"equality {ranks.n_ranks} {ranks.rank}.npz", **found)


class Enough(Exception):
    """Ends a fit after the steps that are timed."""


def fit_speed(folder, number, sizes):
    """Seconds of each step of a size, and those spent adding up.

    The steps are the first ones of a fit of 100,000: in short fits the parameters are handed out
    more often than in those that are worth sharing.
    """
    from skdict import ICFLDictionary
    from skdict.parallel import data_parallel

    n_rows, n_features, n_atoms, n_nonzero, batch_size, n_steps = sizes[number]
    X = np.random.default_rng(0).normal(size=(n_rows, n_features)).astype(np.float32)
    with data_parallel() as ranks:
        add_up, seconds, marks = ranks.add_up, [], []
        alone = message_alone(ranks, n_atoms * n_features)

        def timed(array):
            began = time.perf_counter()
            add_up(array)
            seconds.append(time.perf_counter() - began)

        model = ICFLDictionary(
            n_atoms, n_nonzero_coefs=n_nonzero, batch_size=batch_size, max_steps=100_000,
            random_state=0,
        )  # fmt: skip
        learn = model._learn_batch

        def marked(*arguments):
            learn(*arguments)
            marks.append((time.perf_counter(), time.process_time()))
            if len(marks) > n_steps:
                raise Enough

        ranks.add_up, model._learn_batch = timed, marked
        with contextlib.suppress(Enough):
            model.fit(X)
    taken = {
        "step": float(np.median(np.diff([mark[0] for mark in marks]))),
        "step, processor": float(np.median(np.diff([mark[1] for mark in marks]))),
        "adding up": float(np.median(seconds)) if seconds else 0.0,
        "message alone": alone,
    }
    (folder / f"speed {ranks.n_ranks} {ranks.rank}.json").write_text(json.dumps(taken))


def message_alone(ranks, n_numbers):
    """Seconds of a message of so many float32 while nobody computes."""
    if ranks.n_ranks == 1:
        return 0.0
    message, seconds = np.zeros(n_numbers, np.float32), []
    for _ in range(5):
        ranks.hand_out(message[:1])  # all are there
        began = time.perf_counter()
        ranks.add_up(message)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def fit_killed(folder, n_kills):
    """Fits, each with a kill; what was done before a restart is not done again."""
    from skdict import Checkpoint
    from skdict._checkpoints import read_checked
    from skdict.parallel import data_parallel

    X = planted(3000, 48, 192, 5)
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    with data_parallel() as ranks:
        for number in range(n_kills):
            done = folder / f"fit {number} {ranks.rank}.json"
            if (
                ranks.from_first(
                    lambda number=number: len(list(folder.glob(f"fit {number} *.json")))
                )
                == ranks.n_ranks
            ):
                continue
            name = ("ICFL", "TopK")[number % 2]
            for path in folder.glob(f"fits {number}/*/step-*.json"):
                if ranks.is_first:
                    read_checked(path, None)
            undisturbed = folder / f"undisturbed {number} {ranks.rank}.npz"
            if not ranks.from_first(undisturbed.exists):
                began = time.perf_counter()
                model = models(max_steps=200, random_state=number)[name].fit(X)
                took = time.perf_counter() - began
                np.savez(undisturbed, components=model.components_, seconds=took)
            expected = np.load(undisturbed)
            model = models(max_steps=200, random_state=number)[name]
            model.set_params(
                checkpoint=Checkpoint(folder / f"fits {number}", steps=2), resume="auto"
            )
            draws = np.random.default_rng(1000 * number + attempt)
            victim, share = number // 2 % ranks.n_ranks, draws.uniform(0.0, 1.0)
            kill = threading.Timer(
                share * float(expected["seconds"]), os.kill, (os.getpid(), signal.SIGKILL)
            )
            was_killed = folder / f"killed {number}.json"
            if ranks.rank == victim and not was_killed.exists():
                # Written beforehand: afterwards there is nobody to write it.
                was_killed.write_text(json.dumps({"rank": int(victim), "share": share}))
                kill.start()
            model.fit(X)
            kill.cancel()
            same = bool((model.components_ == expected["components"]).all())
            done.write_text(json.dumps({"same": same, "attempt": attempt}))


# ---------------------------------------------------------------------- the runs


def torchrun(what, n_ranks, folder, number, *, restarts=0, quick=False):
    """Run a function of this module in so many processes of one thread."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(n_ranks), "--max-restarts", str(restarts), "--module", "benchmarks.data_parallel",
        what, str(folder), str(number), *(["quick"] if quick else []),
    ]  # fmt: skip
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        command, env=os.environ | threads, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"{what} of {n_ranks} processes failed:\n{run.stderr[-4000:]}")


def equality(folder, n_seeds, quick):
    """Largest differences between one and two processes, and the spread over seeds."""
    for n_ranks in (1, 2):
        torchrun("fit_equality", n_ranks, folder, n_seeds, quick=quick)
    alone = np.load(folder / "equality 1 0.npz")
    together, other = (np.load(folder / f"equality 2 {rank}.npz") for rank in (0, 1))
    found = {"ranks equal": all((together[key] == other[key]).all() for key in together.files)}
    for name in models():
        scores = [
            [float(fits[f"{name} f4 300 {seed} score"]) for seed in range(n_seeds)]
            for fits in (alone, together)
        ]
        found[name] = {
            "one step, float32": float(
                np.abs(alone[f"{name} f4 1 0"] - together[f"{name} f4 1 0"]).max()
            ),
            "150 steps, float64": float(
                np.abs(alone[f"{name} f8 150 0"] - together[f"{name} f8 150 0"]).max()
            ),
            "explained variance, one process": scores[0],
            "explained variance, two processes": scores[1],
        }
    return found


def kills(folder, n_kills, quick):
    """How many fits were killed, and how many of these ended as if they had not been."""
    torchrun("fit_killed", 2, folder, n_kills, restarts=3 * n_kills, quick=quick)
    done = [
        [json.loads((folder / f"fit {number} {rank}.json").read_text()) for rank in (0, 1)]
        for number in range(n_kills)
    ]
    drawn = [json.loads((folder / f"killed {n}.json").read_text()) for n in range(n_kills)]
    attempts = [fit[0]["attempt"] for fit in done]
    restarts = np.diff([0, *attempts])
    return {
        "fits": n_kills,
        "killed": int((restarts > 0).sum()),
        "bitwise equal, both processes": sum(all(f["same"] for f in fit) for fit in done),
        "killed process": [one["rank"] for one in drawn],
        "moment, share of the fit": [round(one["share"], 3) for one in drawn],
    }


def speed(folder, number, n_repeats, quick):
    """Seconds a step of one and of two processes with a thread each, in turn, at a size."""
    taken = {1: [], 2: []}
    for _ in range(n_repeats):
        for n_ranks in taken:
            torchrun("fit_speed", n_ranks, folder, number, quick=quick)
            taken[n_ranks].append(json.loads((folder / f"speed {n_ranks} 0.json").read_text()))
    medians = {
        n_ranks: {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
        for n_ranks, runs in taken.items()
    }
    return {
        "seconds, one process": medians[1],
        "seconds, two processes": medians[2],
        "times as fast": medians[1]["step"] / medians[2]["step"],
        "times less processor": medians[1]["step, processor"] / medians[2]["step, processor"],
        "runs": {str(n_ranks): runs for n_ranks, runs in taken.items()},
    }


def run(quick=False):
    """All of it; a dictionary of figures."""
    n_kills, n_seeds, sizes = QUICK if quick else FULL
    names = ("rows", "features", "atoms", "non-zeros", "batch", "steps")
    results = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results["equality"] = equality(folder, n_seeds, quick)
        results["kills"] = kills(folder, n_kills, quick)
        results["speed"] = [
            {"size": dict(zip(names, size))} | speed(folder, number, 1 if quick else 3, quick)
            for number, size in enumerate(sizes)
        ]
    print(json.dumps(results, indent=1))
    return results


if __name__ == "__main__":
    what, folder, number, *quick = sys.argv[1:]
    if what == "fit_speed":
        fit_speed(Path(folder), int(number), (QUICK if quick else FULL)[2])
    else:
        {"fit_equality": fit_equality, "fit_killed": fit_killed}[what](Path(folder), int(number))
