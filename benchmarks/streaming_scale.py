"""Fit and transform of 5,000,000 x 256 rows from a memory map, beside the same rows in memory.

The file (5.12 GB of float32) is made here: unit rows of eight atoms out of 512, with noise. There
are three ways, each in a fresh process of its own:

``map``
    `fit` from the memory map, then `transform_to_disk`.
``memory``
    The array in memory and the streaming path off: an ordinary `fit`, an ordinary `transform`,
    and all codes written at once.
``streamed``
    The array in memory, through the code of ``map``.

The steps are a fixed number, a little more than one pass. The processes take turns of two seconds:
one runs while the others are stopped, so that whatever else the machine does meets all of them. In
the first race the file is dropped from the page cache before `fit` and before `transform`, so that
``map`` reads from disk; in the others it is cached. The codes on disk of the first race are
compared with `transform` of the same rows, at ranges that begin anywhere.
"""

import argparse
import gc
import json
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.machine import describe_machine, machine, n_cores
from benchmarks.processes import Worker, anonymous_memory

OUTPUT = Path(__file__).resolve().parent / "results" / "streaming.json"

# rows, features, atoms, non-zeros, batch, steps
FULL = {"shape": (5_000_000, 256), "atoms": 1024, "nonzero": 16, "batch": 8192, "steps": 650}
QUICK = {"shape": (30_000, 32), "atoms": 64, "nonzero": 4, "batch": 512, "steps": 62}
WAYS = ("map", "memory", "streamed")
GOALS = {"peak_gb": 1.5, "ratio": 0.85}


# ---------------------------------------------------------------------- the rows


def make_rows(path, shape, *, n_atoms=512, n_active=8, noise=0.05, block_rows=50_000):
    """Write a .npy file of planted rows block by block; nothing where it is there already."""
    if path.exists() and np.load(path, mmap_mode="r").shape == tuple(shape):
        return
    free = shutil.disk_usage(path.parent).free
    wanted = shape[0] * (shape[1] * 4 + 400)  # codes of three runs, too
    if free < 1.2 * wanted:
        raise SystemExit(f"{wanted / 1e9:.1f} GB are needed, {path.parent} has {free / 1e9:.1f}")
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((n_atoms, shape[1]), np.float32)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    part = path.with_suffix(".part")  # a half written file is not taken for a whole one
    with part.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], block_rows):
            n = min(block_rows, shape[0] - start)
            values = rng.standard_gamma(2.0, n * n_active, np.float32)
            chosen = rng.integers(0, n_atoms, n * n_active, np.int32)
            ends = np.arange(0, n * n_active + 1, n_active)
            rows = sparse.csr_array((values, chosen, ends), shape=(n, n_atoms)) @ atoms
            rows += noise * rng.standard_normal(rows.shape, np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            file.write(rows.data)
        file.flush()
        os.fsync(file.fileno())  # what is not on disk cannot be dropped from the page cache
    part.rename(path)


def drop_from_cache(path):
    """Ask the system to forget the pages of a file: it is read from disk then."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------- what is measured


class Usage:
    """Context that measures wall and processor seconds, memory, reading, and what others take."""

    def __enter__(self):
        self._peak, self._done = anonymous_memory(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._read, self._busy = _bytes_read(), _busy_seconds()
        self._wall, self._processor = time.perf_counter(), time.process_time()
        self._thread.start()
        return self

    def __exit__(self, *error):
        wall = time.perf_counter() - self._wall
        processor = time.process_time() - self._processor
        self._done.set()
        self._thread.join()
        self.found = {
            "seconds": wall,
            "processor_seconds": processor,
            "peak_bytes": max(self._peak, anonymous_memory()),
            "read_bytes": _bytes_read() - self._read,
            "others_cores": max(0.0, (_busy_seconds() - self._busy - processor) / wall),
        }

    def _sample(self):
        while not self._done.wait(0.01):
            self._peak = max(self._peak, anonymous_memory())


def _bytes_read():
    """Bytes that came from disk for this process; the page cache does not count."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes"):
            return int(line.split()[1])
    return 0


def _busy_seconds():
    """Seconds that all cores together have worked."""
    counts = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(counts) - counts[3] - counts[4]) / os.sysconf("SC_CLK_TCK")  # idle, waiting


def by_turns(workers, method, arguments, turn=2.0):
    """Call a method in several processes of which one runs at a time.

    Parameters
    ----------
    workers : dict
        Workers by name; they have a method ``pid``.
    method : str
        What is called.
    arguments : dict
        Its arguments by name of the worker.
    turn : float, default=2.0
        Seconds that one runs while the others are stopped.

    Returns
    -------
    dict
        What each returned, with ``"seconds"`` replaced by those that it ran.
    """
    pids = {name: worker.call("pid") for name, worker in workers.items()}
    seconds = dict.fromkeys(workers, 0.0)
    try:
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(len(workers)) as pool:
            calls = {
                name: pool.submit(worker.call, method, *arguments[name])
                for name, worker in workers.items()
            }
            try:
                while waiting := [name for name, call in calls.items() if not call.done()]:
                    for name in waiting:
                        os.kill(pids[name], signal.SIGCONT)
                        started = time.perf_counter()
                        wait([calls[name]], timeout=turn)
                        seconds[name] += time.perf_counter() - started
                        if not calls[name].done():
                            os.kill(pids[name], signal.SIGSTOP)
            finally:
                for pid in pids.values():
                    os.kill(pid, signal.SIGCONT)
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
    return {name: call.result() | {"seconds": seconds[name]} for name, call in calls.items()}


class Run:
    """A contestant of `benchmarks.processes`: one way, from the file to the codes."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, path, way, sizes):
        """Load the rows and compile; bytes of anonymous memory before and after."""
        from skdict import ICFLDictionary, _large_rows

        _large_rows.LARGE_BYTES = 2**62 if way == "memory" else 2**20
        self.way, self.path, self.sizes = way, path, sizes
        self.model = ICFLDictionary(
            sizes["atoms"], n_nonzero_coefs=sizes["nonzero"], batch_size=sizes["batch"],
            max_steps=2, random_state=0,
        )  # fmt: skip
        example = np.random.default_rng(0).normal(size=(20_000, sizes["shape"][1]))
        self.model.fit(example.astype(np.float32)).transform(example[:100].astype(np.float32))
        bare = anonymous_memory()
        self.X = np.load(path, mmap_mode="r" if way == "map" else None)
        return bare, anonymous_memory()

    def pid(self):
        """Number of the process."""
        return os.getpid()

    def forget(self):
        """Have the rows read from disk again: pages stay as long as they are mapped."""
        self.X = None
        gc.collect()
        drop_from_cache(self.path)
        self.X = np.load(self.path, mmap_mode="r")

    def fit(self):
        """Measure a fit; with a checksum of the dictionary."""
        self.model.set_params(max_steps=self.sizes["steps"])
        with Usage() as usage:
            self.model.fit(self.X)
        return usage.found | {"crc32": zlib.crc32(self.model.components_)}

    def transform(self, folder):
        """Measure codes of all rows, and bring them to disk."""
        from skdict import CodeWriter, transform_to_disk

        with Usage() as usage:
            if self.way == "memory":
                with CodeWriter(folder, self.sizes["atoms"], overwrite=True) as writer:
                    writer.write(self.model.transform(self.X))
            else:
                transform_to_disk(self.model, self.X, folder, overwrite=True)
        return usage.found

    def agreement(self, folder, n_ranges=12):
        """Stored codes against `transform` of the same rows: equal supports, residual norms."""
        from skdict import load_codes

        codes, rng = load_codes(folder), np.random.default_rng(1)
        n_rows = min(4001, self.X.shape[0])
        equal, worst = [], 0.0
        for start in rng.integers(0, self.X.shape[0] - n_rows + 1, n_ranges):
            rows = np.array(self.X[start : start + n_rows])
            stored, coded = codes[start : start + n_rows], self.model.transform(rows)
            norms = [self._norms(rows, found) for found in (stored, coded)]
            worst = max(worst, float(np.max(np.abs(norms[0] - norms[1]) / norms[1])))
            differs = (stored != 0) != (sparse.csr_array(coded) != 0)
            equal.append(np.mean(differs.sum(axis=1) == 0))
        return {"equal_supports": float(np.mean(equal)), "residual_difference": worst}

    def _norms(self, rows, codes):
        return np.linalg.norm((rows - self.model.inverse_transform(codes)).astype("f8"), axis=1)


# ---------------------------------------------------------------------- the runs


def race(path, sizes, ways, *, cold=False, check=False):
    """Fit and transform of some ways; a list of what was measured of each."""
    folders = {way: path.with_name(f"codes_{way}") for way in ways}
    rows = {"fit": sizes["steps"] * sizes["batch"], "transform": sizes["shape"][0]}
    with ExitStack() as stack:
        workers = {
            way: stack.enter_context(Worker("benchmarks.streaming_scale:Run", n_cores()))
            for way in ways
        }
        found = {way: {"way": way, "cold": cold} for way in ways}
        for way, worker in workers.items():
            bare, loaded = worker.call("setup", path, way, sizes)
            found[way] |= {"bare_bytes": bare, "loaded_bytes": loaded}
        for part in rows:
            if cold:
                workers["map"].call("forget")
            arguments = {way: (folders[way],) if part == "transform" else () for way in ways}
            for way, measured in by_turns(workers, part, arguments).items():
                rate = rows[part] / measured["seconds"]
                found[way][part] = measured | {"rows_per_second": rate, "load": os.getloadavg()[0]}
        if check:
            found["map"]["agreement"] = workers["map"].call("agreement", folders["map"])
    for folder in folders.values():
        shutil.rmtree(folder)
    for each in found.values():
        print(_line(each), flush=True)
    return list(found.values())


def _line(found):
    parts = [
        f"{part} {f['rows_per_second']:,.0f} rows/s ({f['seconds']:.1f} s, "
        f"{f['processor_seconds']:.1f} of processors), peak {f['peak_bytes'] / 1e9:.2f} GB, "
        f"{f['read_bytes'] / 1e9:.2f} GB from disk"
        for part in ("fit", "transform")
        for f in [found[part]]
    ]
    cold = " cold" if found["cold"] else ""
    return f"{found['way']}{cold}: {'; '.join(parts)} {found.get('agreement', '')}"


def summarise(runs):
    """Medians of each way, ratios to memory, and the largest peak of ``map``."""
    summary = {"bare_gb": max(run["bare_bytes"] for run in runs) / 1e9}
    for part in ("fit", "transform"):
        for cold in (False, True):
            label = f"{part}_cold" if cold else part
            for name in ("rows_per_second", "processor_seconds"):
                medians = {}
                for way in WAYS:
                    own = [r[part][name] for r in runs if (r["way"], r["cold"]) == (way, cold)]
                    if own:
                        medians[way] = statistics.median(own)
                summary[f"{label}_{name}"] = medians
            rates = summary[f"{label}_rows_per_second"]
            if {"map", "memory"} <= set(rates):
                summary[f"{label}_ratio"] = rates["map"] / rates["memory"]
        peaks = [run[part]["peak_bytes"] for run in runs if run["way"] == "map"]
        summary[f"{part}_peak_gb"] = max(peaks) / 1e9
    # From blocks, whether they lie in a file or in memory, the dictionary is bitwise the same.
    crc = {run["fit"]["crc32"] for run in runs if run["way"] != "memory"}
    return summary | {"same_dictionary": len(crc) == 1}


def run(quick=False, folder=None, repeats=2, keep=False, before=(), save=None):
    """Make the file, measure, print; return all runs and their summary.

    Runs that were made `before` count, too, and the first race is left out then; `save` is called
    with all that is known after each race.
    """
    sizes, runs = QUICK if quick else FULL, list(before)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(folder if keep and folder else temporary) / "rows.npy"
        make_rows(path, sizes["shape"])
        races = [("map", "memory")] if not runs else []
        first_three = WAYS if "streamed" not in [run["way"] for run in runs] else ("map", "memory")
        races += [first_three if n == 0 else ("memory", "map") for n in range(repeats)]
        for ways in races:
            first = not runs
            runs += race(path, sizes, ways, cold=first, check=first)
            agreed = runs[0]["agreement"]
            if agreed["equal_supports"] < 0.99 or agreed["residual_difference"] > 1e-5:
                raise SystemExit(f"codes on disk differ from those of transform: {agreed}")
            found = {"sizes": sizes, "file_bytes": int(np.prod(sizes["shape"])) * 4,
                     "goals": GOALS, "summary": summarise(runs), "runs": runs}  # fmt: skip
            if save is not None:
                save(found)
    print(json.dumps(found["summary"], indent=1), flush=True)
    return found


def write_section(output, name, found):
    """Put a section into the file of results; the others stay."""
    results = json.loads(output.read_text()) if output.exists() else {}
    results |= {"machine": machine(), name: found}
    output.write_text(json.dumps(results, indent=1) + "\n")


def main(arguments=None):
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--folder", type=Path, help="where the file is made, 9 GB free")
    parser.add_argument("--keep", action="store_true", help="leave the file in --folder")
    parser.add_argument("--repeats", type=int, default=2, help="races with the file cached")
    parser.add_argument("--add", action="store_true", help="add races to those in --output")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where results are written")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    name, before = "memory_map_quick" if options.quick else "memory_map", []
    if options.add:
        before = json.loads(options.output.read_text())[name]["runs"]
    run(
        options.quick, options.folder, options.repeats, options.keep, before,
        lambda found: write_section(options.output, name, found),
    )  # fmt: skip


if __name__ == "__main__":
    main()
