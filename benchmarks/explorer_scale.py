"""A bundle of 8,192 concepts x 100,000 samples: seconds and memory to build, open and look into.

Codes are made: 100 concepts are active in each sample, popular ones far more often than others;
every tenth concept follows a label. Metadata has labels of 200 compounds, 20 plates and a number;
genes and gene sets are made for all concepts. The bundle is built in one process and opened in
another, so that the peak of resident memory is that of a reader alone. "first" asks a concept of
which nothing has been read yet, checksums of whole files included; "later" is the median over
other concepts.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.machine import describe_machine
from benchmarks.processes import PeakMemory, Worker

# samples, concepts, active concepts per sample, compounds, genes
FULL = (100_000, 8192, 100, 200, 2000)
QUICK = (2000, 128, 10, 8, 50)
N_LATER = 50
EVERY = 10


def resident_mb() -> float:
    """Peak of resident memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says holds the peak of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def made_codes(n_samples, n_concepts, n_active, compound, rng):
    """Codes with `n_active` distinct concepts per row; every tenth concept follows a compound."""
    popular = rng.lognormal(0, 1.5, n_concepts)
    popular = np.cumsum(popular / popular.sum())
    # Some more than are needed, because concepts that are drawn twice count once.
    draws = np.searchsorted(popular, rng.random((n_samples, 3 * n_active)), side="right")
    own = (compound * EVERY) % n_concepts
    rows = []
    for row, concept in zip(draws, own):
        distinct = list(dict.fromkeys([concept, *row.tolist()]))[:n_active]
        rows.append(np.sort(np.minimum(distinct, n_concepts - 1)))
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.concatenate(rows).astype(np.int32)
    values = rng.gamma(2.0, 1.0, indices.shape[0]).astype(np.float32)
    codes = sparse.csr_array((values, indices, indptr), shape=(n_samples, n_concepts))
    codes.sum_duplicates()
    return codes


class Builder:
    """A contestant of `benchmarks.processes`: makes the problem and builds the bundle."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_samples, n_concepts, n_active, n_compounds, n_genes):
        """Make codes, labels, atoms, attributions and gene sets."""
        from sklearn.utils import Bunch

        from skdict.genes import GeneAttribution, over_representation

        rng = np.random.default_rng(0)
        compound = rng.integers(n_compounds, size=n_samples)
        self.codes = made_codes(n_samples, n_concepts, n_active, compound, rng)
        self.metadata = {
            "compound": np.array([f"compound {i}" for i in range(n_compounds)])[compound],
            "plate": np.array([f"plate {i}" for i in range(20)])[rng.integers(20, size=n_samples)],
            "n_cells": rng.integers(1, 500, n_samples),
        }
        genes = np.array([f"G{gene}" for gene in range(n_genes)])
        values = rng.normal(size=(n_concepts, n_genes)).astype(np.float32)
        attribution = {"standard_error": np.abs(values), "q_value": np.abs(values) / 10}
        self.results = {
            "components": rng.normal(size=(n_concepts, 384)).astype(np.float32),
            "attribution": GeneAttribution(
                concepts=np.arange(n_concepts), genes=genes, attribution=values, **attribution,
                pre=Bunch(attribution=values + 1),
            ),
            "enrichment": over_representation(
                values > 2, {f"set {i}": rng.choice(genes, 20, replace=False) for i in range(300)},
                genes=genes, min_size=1,
            ),
        }  # fmt: skip

    def build(self, path):
        """Seconds, memory above the codes, and bytes on disk."""
        from skdict.explorer import build_bundle

        with PeakMemory() as memory:
            started = time.perf_counter()
            build_bundle(path, self.codes, metadata=self.metadata, random_state=0, **self.results)
            seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
        above = (memory.above or np.nan) / 1e6
        return {"seconds": seconds, "above_mb": above, "disk_mb": size / 1e6}


class Reader:
    """A contestant of `benchmarks.processes`: opens the bundle and looks into it."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def open(self, path):
        """Seconds and peak memory of the import and of opening."""
        started = time.perf_counter()
        from skdict.explorer import open_bundle

        imported = time.perf_counter()
        import_mb = resident_mb()
        self.bundle = open_bundle(path)
        opened = time.perf_counter()
        return {
            "import_s": imported - started,
            "import_mb": import_mb,
            "open_s": opened - imported,
            "open_mb": resident_mb(),
        }

    def look(self):
        """Seconds of each view of the first concept and, median, of later ones."""
        from skdict.explorer import find_by_gene, search_concepts

        bundle = self.bundle
        concept_views = {
            "activations": lambda concept: bundle.activations(concept),
            "examples": lambda concept: [
                bundle.examples(concept, kind) for kind in ("top", "random", "quantile", "inactive")
            ],
            "histogram": lambda concept: bundle.histogram(concept),
            "selectivity": lambda concept: bundle.selectivity(concept, "compound"),
            "genes": lambda concept: bundle.genes(concept),
            "pathways": lambda concept: bundle.pathways(concept),
            "neighbors": lambda concept: bundle.neighbors(concept),
            "coactive": lambda concept: bundle.coactive(concept),
        }
        others = {
            "map": lambda: np.array(bundle.map),
            "sample": lambda: bundle.concepts_of(7),
            "search": lambda: search_concepts(bundle, "compound 1"),
            "gene": lambda: find_by_gene(bundle, "G1"),
        }
        rng = np.random.default_rng(1)
        concepts = [int(bundle.concepts.n_active.argmax())]
        concepts += rng.choice(bundle.n_concepts, N_LATER, replace=False).tolist()
        seconds = {name: [] for name in [*concept_views, "all of a concept"]}
        for concept in concepts:
            begun = time.perf_counter()
            for name, view in concept_views.items():
                started = time.perf_counter()
                view(concept)
                seconds[name].append(time.perf_counter() - started)
            seconds["all of a concept"].append(time.perf_counter() - begun)
        found = {name: (s[0], float(np.median(s[1:])), max(s[1:])) for name, s in seconds.items()}
        for name, view in others.items():
            s = [_elapsed(view) for _ in range(3)]
            found[name] = s[0], s[1], max(s[1:])
        return {"views": found, "mb": resident_mb()}

    def verify(self):
        """Seconds to compare all checksums."""
        return _elapsed(self.bundle.verify)


def _elapsed(function):
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def run(quick=False):
    """Measure and print; return what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bundle")
        with Worker("benchmarks.explorer_scale:Builder", 1) as worker:
            worker.call("setup", *(QUICK if quick else FULL))
            built = worker.call("build", path)
        print(
            f"build: {built['seconds']:.1f} s on one core, {built['above_mb']:.0f} MB above the "
            f"codes, {built['disk_mb']:.0f} MB on disk",
            flush=True,
        )
        with Worker("benchmarks.explorer_scale:Reader", 1) as worker:
            opened = worker.call("open", path)
            looked = worker.call("look")
            verified = worker.call("verify")
    print(
        f"import {opened['import_s']:.2f} s, {opened['import_mb']:.0f} MB resident; open "
        f"{opened['open_s']:.3f} s, {opened['open_mb']:.0f} MB; after all views "
        f"{looked['mb']:.0f} MB; verify {verified:.2f} s"
    )
    print(f"{'milliseconds':<18}{'first':>9}{'later':>9}{'worst':>9}")
    for name, seconds in looked["views"].items():
        print(f"{name:<18}" + "".join(f"{1e3 * value:>9.2f}" for value in seconds))
    return built | opened | looked | {"verify_s": verified}


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick)


if __name__ == "__main__":
    main()
