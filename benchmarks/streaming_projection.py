"""What 40 million x 1,664 rows would take on this machine, from a few steps at that width.

Measured at the sizes of the paper (8,192 atoms, 100 non-zeros in 20 steps of 5, batches of 8,192
rows), from a memory map of 200,000 rows: seconds of a training step, rows coded per second, bytes
read ahead per second, seconds and bytes of a checkpoint, peak anonymous memory. Multiplied: the
number of steps of a pass, and of rows. Redrawing of correlated atoms, every 100th step, is timed by
itself and shared out.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine, n_cores
from benchmarks.processes import Worker
from benchmarks.streaming_scale import OUTPUT, Usage, drop_from_cache, make_rows, write_section

FULL = {"shape": (200_000, 1664), "atoms": 8192, "nonzero": 100, "batch": 8192, "steps": 6,
        "coded": 49_152, "rows": 40_000_000}  # fmt: skip
QUICK = {"shape": (20_000, 64), "atoms": 256, "nonzero": 10, "batch": 512, "steps": 6,
         "coded": 20_000, "rows": 40_000_000}  # fmt: skip


class Steps:
    """A contestant of `benchmarks.processes`: one dictionary of that size."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, path, sizes):
        """Open the rows; a fit of one step compiles, and is not measured."""
        from skdict import ICFLDictionary, _large_rows

        _large_rows.LARGE_BYTES = 2**20
        self.path, self.sizes = path, sizes
        self.X = np.load(path, mmap_mode="r")
        self.model = ICFLDictionary(
            sizes["atoms"], n_nonzero_coefs=sizes["nonzero"], batch_size=sizes["batch"],
            max_steps=1, random_state=0,
        ).fit(self.X)  # fmt: skip

    def fit(self, folder):
        """Seconds of a step, of a checkpoint, and of what comes before the first step."""
        from skdict import Checkpoint

        steps, stamps, saving = self.sizes["steps"], [], []
        model = self.model.set_params(
            max_steps=steps, checkpoint=Checkpoint(folder, steps=steps, minutes=None)
        )
        step, save = model._learn_batch, model._save

        def stamped(*arguments):
            stamps.append((time.perf_counter(), time.process_time()))
            step(*arguments)
            stamps.append((time.perf_counter(), time.process_time()))

        def timed(*arguments):
            started = time.perf_counter()
            save(*arguments)
            saving.append(time.perf_counter() - started)

        model._learn_batch, model._save = stamped, timed
        started = time.perf_counter()
        with Usage() as usage:
            model.fit(self.X)
        del model._learn_batch, model._save
        model.set_params(checkpoint=None)
        begins, ends = np.array(stamps[::2]), np.array(stamps[1::2])
        size = sum(f.stat().st_size for f in Path(folder).rglob("*.safetensors"))
        # From one step to the next: what is waited for rows counts, too.
        return {
            "step_seconds": float(np.median(np.diff(begins[:, 0]))),
            "step_processor_seconds": float(np.median(np.diff(begins[:, 1]))),
            "steps": steps,
            "rows_waited_for_seconds": float(np.median(begins[1:, 0] - ends[:-1, 0])),
            "start_seconds": float(begins[0, 0] - started),
            "checkpoint_seconds": float(np.median(saving)),
            "checkpoint_bytes": size,
            "usage": usage.found,
        }

    def reset(self):
        """Seconds of a search for correlated atoms among those learned."""
        from skdict._icfl import correlated_atoms
        from skdict.kernels import get_kernels

        atoms = self.model.components_
        gram = get_kernels("cpu").gram_matrix(atoms)
        started = time.perf_counter()
        correlated_atoms(atoms, np.arange(atoms.shape[0]), 0.9, gram=gram)
        return time.perf_counter() - started

    def transform(self, folder):
        """Seconds and bytes of writing codes; the Gram matrix is formed before."""
        from skdict import transform_to_disk

        coded = self.X[: self.sizes["coded"]]
        self.model.transform(np.array(coded[:256]))
        with Usage() as usage:
            transform_to_disk(self.model, coded, folder)
        size = sum(f.stat().st_size for f in Path(folder).iterdir())
        return {
            "rows_per_second": len(coded) / usage.found["seconds"],
            "rows_per_processor_second": len(coded) / usage.found["processor_seconds"],
            "bytes_per_row": size / len(coded),
            "rows": len(coded),
            "usage": usage.found,
        }

    def read(self, cold):
        """Bytes per second of the reader in shuffled order, when nothing else is done."""
        from skdict._block_shuffle import BlockShuffle
        from skdict._read_ahead import stream_batches
        from skdict._sources import block_layout

        if cold:
            self.X = None
            drop_from_cache(self.path)
            self.X = np.load(self.path, mmap_mode="r")
        n_rows, batch = self.sizes["shape"][0], self.sizes["batch"]
        block_rows, in_buffer = block_layout(self.X)
        shuffle = BlockShuffle(
            n_rows, block_rows=block_rows, blocks_in_buffer=in_buffer, random_state=0
        )
        with Usage() as usage:
            n = sum(len(rows) for rows in stream_batches(self.X, shuffle, batch, n_rows // batch))
        n_bytes = n * self.sizes["shape"][1] * 4
        return {"bytes_per_second": n_bytes / usage.found["seconds"], "usage": usage.found}


def project(sizes, found):
    """Hours, bytes and memory of the whole, multiplied from what was measured."""
    n_rows, batch, n_features = sizes["rows"], sizes["batch"], sizes["shape"][1]
    n_steps = n_rows / batch
    fit, transform = found["fit"], found["transform"]
    n_bytes, reset = n_rows * n_features * 4, found["reset_seconds"] / 100
    return {
        "steps_of_a_pass": round(n_steps),
        "fit_hours": n_steps * (fit["step_seconds"] + reset) / 3600,
        "fit_core_hours": n_steps * (fit["step_processor_seconds"] + reset) / 3600,
        "transform_hours": n_rows / transform["rows_per_second"] / 3600,
        "transform_core_hours": n_rows / transform["rows_per_processor_second"] / 3600,
        "read_hours_cold": n_bytes / found["read_cold"]["bytes_per_second"] / 3600,
        "read_hours_cached": n_bytes / found["read_cached"]["bytes_per_second"] / 3600,
        "rows_gb": n_bytes / 1e9,
        "codes_gb": n_rows * transform["bytes_per_row"] / 1e9,
        "checkpoint_share": fit["checkpoint_seconds"] / 600,
        "peak_gb": max(fit["usage"]["peak_bytes"], transform["usage"]["peak_bytes"]) / 1e9,
    }


def run(quick=False, folder=None):
    """Measure and print; return what was measured and what follows."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "rows.npy"
        make_rows(path, sizes["shape"])
        with Worker("benchmarks.streaming_projection:Steps", n_cores()) as worker:
            worker.call("setup", path, sizes)
            found = {
                "fit": worker.call("fit", Path(temporary) / "fits"),
                "reset_seconds": worker.call("reset"),
                "transform": worker.call("transform", Path(temporary) / "codes"),
                "read_cached": worker.call("read", False),
                "read_cold": worker.call("read", True),
            }
    projected = project(sizes, found)
    for name, value in {**found, **projected}.items():
        print(name, value, flush=True)
    return {"sizes": sizes, "measured": found, "projected": projected}


def main(arguments=None):
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming_projection")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--folder", type=Path, help="where the file is made, 2 GB free")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where results are written")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    found = run(options.quick, options.folder)
    write_section(options.output, "projection_quick" if options.quick else "projection", found)


if __name__ == "__main__":
    main()
