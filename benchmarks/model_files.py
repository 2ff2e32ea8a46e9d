"""Saved models: round trips bit by bit, damaged files, and one model in several processes.

``fuzz`` damages small models of five kinds in 17 ways (`model_mutations`), loads each with and
without checksums, and counts what comes of it: refused, a missing file, or codes that are equal
bit by bit.
``sharing`` saves a TopK autoencoder of 8,192 atoms and 1,024 features, and has four processes map
it. ``round_trips`` moves each kind of model through each format.

``python -m benchmarks.model_files`` writes ``results/model_files.json``.
"""

import argparse
import hashlib
import io
import json
import pickle
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np

from benchmarks.machine import machine, package_version
from benchmarks.model_mutations import MUTATIONS, codes_of, fuzz, saved_models, small_models
from benchmarks.model_sharing import share
from skdict.interop import topk_from_arrays
from skdict.persistence import SKOPS_TRUSTED, load, save

RESULTS = Path(__file__).parent / "results" / "model_files.json"
LARGE = {"n_atoms": 8192, "n_features": 1024, "n_rows": 200, "n_processes": 4}
QUICK = {"n_atoms": 512, "n_features": 128, "n_rows": 20, "n_processes": 2}


def run_fuzz(folder: Path, n_mutations: int) -> dict:
    """Outcomes of damaged models, by mutation and in all."""
    start = time.perf_counter()
    counts, defects = fuzz(folder / "damaged", saved_models(folder), n_mutations)
    total: dict[str, int] = {}
    for found in counts.values():
        for outcome, number in found.items():
            total[outcome] = total.get(outcome, 0) + number
    return {
        "mutations": n_mutations, "kinds": len(set(MUTATIONS)), "models": len(small_models()),
        "seconds": round(time.perf_counter() - start, 1), "total": total, "by_kind": counts,
        "defects": defects,
    }  # fmt: skip


def run_sharing(folder: Path, *, n_atoms, n_features, n_rows, n_processes) -> dict:
    """Memory (MB) and codes of processes that have one model at the same time, by mmap_mode."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(n_atoms, n_features)).astype(np.float32)
    encoder = rng.normal(size=(n_atoms, n_features)).astype(np.float32)
    bias, intercept = np.zeros(n_atoms, np.float32), np.zeros(n_features, np.float32)
    model = topk_from_arrays(atoms, encoder, bias, intercept, n_nonzero_coefs=32)
    rows = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    np.save(folder / "rows.npy", rows)
    start = time.perf_counter()
    save(model, folder / "large", overwrite=True)
    seconds = {"save": round(time.perf_counter() - start, 3)}
    for name, options in {
        "load": {}, "load mapped": {"mmap_mode": "r"},
        "load mapped, not verified": {"mmap_mode": "r", "verify": False},
    }.items():  # fmt: skip
        start = time.perf_counter()
        load(folder / "large", **options)
        seconds[name] = round(time.perf_counter() - start, 3)
    expected = hashlib.sha256(codes_of(model, rows)).hexdigest()
    modes = {}
    for mode in ("r", "c"):
        found = share(folder / "large", folder / "rows.npy", n_processes, mode)
        modes[mode] = {
            "codes_equal": [entry["codes"] == expected for entry in found],
            **{
                part: [round(entry[part] / 1024, 1) for entry in found]
                for part in ("Rss", "Pss", "Shared_Clean", "Private_Clean", "Private_Dirty")
            },
        }
    size = (folder / "large" / "arrays.safetensors").stat().st_size
    return {
        "n_atoms": n_atoms, "n_features": n_features, "rows": n_rows, "processes": n_processes,
        "file_mb": round(size / 2**20, 1), "seconds": seconds, "modes": modes,
    }  # fmt: skip


def through_joblib(model):
    """A model through joblib."""
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_cloudpickle(model):
    """A model through cloudpickle."""
    import cloudpickle

    return pickle.loads(cloudpickle.dumps(model))


def through_skops(model):
    """A model through skops, with the types that skdict lists as trusted."""
    import skops.io

    return skops.io.loads(skops.io.dumps(model), trusted=SKOPS_TRUSTED)


def run_round_trips(folder: Path) -> list[dict]:
    """Bytes of the codes that differ, by format and model."""
    roads = {
        "skdict": lambda model: load(save(model, folder / "trip", overwrite=True)),
        "skdict, mmap_mode='r'": lambda model: load(
            save(model, folder / "trip", overwrite=True), mmap_mode="r"
        ),
        "skdict, mmap_mode='c'": lambda model: load(
            save(model, folder / "trip", overwrite=True), mmap_mode="c"
        ),
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
        "joblib": through_joblib,
        "cloudpickle": through_cloudpickle,
        "skops": through_skops,
    }
    trips = []
    for road, move in roads.items():
        for name, (model, rows) in small_models().items():
            entry = {"format": road, "direction": "out and in", "model": name}
            try:
                codes, expected = codes_of(move(model), rows), codes_of(model, rows)
            except ImportError as error:
                trips.append({**entry, "parity": f"not measured: {error}"})
                continue
            differing = sum(a != b for a, b in zip(codes, expected))
            same = codes == expected
            trips.append({**entry, "bytes": len(expected), "bytes_that_differ": differing,
                          "parity": "bitwise" if same else "different"})  # fmt: skip
    return trips


def main(argv=None) -> int:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="300 mutations, a small shared model")
    parser.add_argument("--output", default=RESULTS)
    arguments = parser.parse_args(argv)
    n_mutations = 300 if arguments.quick else arguments.mutations
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = {
            "machine": machine(),
            "versions": {p: package_version(p) for p in ("safetensors", "skops", "cloudpickle")},
            "fuzz": run_fuzz(folder, n_mutations),
            "sharing": run_sharing(folder, **(QUICK if arguments.quick else LARGE)),
            "round_trips": run_round_trips(folder),
        }
    Path(arguments.output).write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({"fuzz": results["fuzz"]["total"], "sharing": results["sharing"]}, indent=1))
    wrong = [trip for trip in results["round_trips"] if trip["parity"] == "different"]
    for problem in [*results["fuzz"]["defects"], *wrong]:
        print(problem)
    return 1 if results["fuzz"]["defects"] or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
