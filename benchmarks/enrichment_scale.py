"""Over-representation of 8,192 concepts in 6,036 gene sets: seconds, memory, and what is found.

Every concept has 20 to 500 of 16,000 genes; every eighth concept takes half of its genes from one
set, the others draw them at random. Sets are made with sizes and overlaps as those of Gene
Ontology; where SKDICT_DATA is set, the real sets are tested too. P-values of some pairs are
compared with `scipy.stats.hypergeom`; no figure is printed where they differ.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from scipy.stats import hypergeom

from benchmarks.machine import describe_machine
from benchmarks.processes import PeakMemory, Worker

# concepts, genes, sets
FULL = (8192, 16000, 6036)
QUICK = (256, 2000, 300)
REAL_SETS = Path("genesets") / "GO_Biological_Process_2021.gmt.gz"
EVERY = 8


def made_sets(n_genes, n_sets, rng):
    """Gene sets of log-normal sizes, to which some genes belong far more often than others."""
    popular = rng.lognormal(0, 1.2, n_genes)
    popular /= popular.sum()
    sizes = np.clip(np.round(rng.lognormal(2.9, 1.1, n_sets)), 5, 500).astype(int)
    sets = {}
    for number, size in enumerate(sizes):
        members = rng.choice(n_genes, size, replace=False, p=popular)
        sets[f"set {number}"] = [f"G{gene}" for gene in members]
    return sets


class Enrichment:
    """A contestant of `benchmarks.processes`: the problem and what is measured on it."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_concepts, n_genes, n_sets, path):
        """Make sets (or read them) and the genes of the concepts."""
        from skdict.genes import filter_gene_sets, read_gmt

        rng = np.random.default_rng(0)
        if path is None:
            self.genes = np.array([f"G{gene}" for gene in range(n_genes)])
            self.sets = made_sets(n_genes, n_sets, rng)
        else:
            self.sets = read_gmt(path)
            self.genes = np.array(sorted({gene for genes in self.sets.values() for gene in genes}))
        column = {gene: place for place, gene in enumerate(self.genes.tolist())}
        kept = list(filter_gene_sets(self.sets, self.genes, min_size=5).items())
        self.planted = {}
        self.selected = np.zeros((n_concepts, self.genes.shape[0]), dtype=bool)
        for concept in range(n_concepts):
            n_selected = int(np.exp(rng.uniform(np.log(20), np.log(500))))
            chosen = rng.choice(self.genes.shape[0], n_selected, replace=False)
            if concept % EVERY == 0:
                name, genes = kept[rng.integers(len(kept))]
                own = rng.permutation([column[gene] for gene in genes])[: n_selected // 2]
                chosen[: own.size] = own
                self.planted[concept] = name
            self.selected[concept, chosen] = True

    def test(self):
        """Seconds, memory and what was found."""
        from skdict.genes import over_representation

        with PeakMemory() as memory:
            started = time.perf_counter()
            found = over_representation(
                self.selected, self.sets, genes=self.genes, min_size=5, max_size=500
            )
            seconds = time.perf_counter() - started
        pairs = found.pairs(0.05)
        hits = set(zip(pairs.concept.tolist(), pairs.gene_set.tolist()))
        kept = sum(array.nbytes for array in (found.p_value, found.q_value, found.overlap.data))
        return {
            "pairs": found.n_tests,
            "seconds": seconds,
            "in_common": found.overlap.nnz / found.n_tests,
            "kept_gib": (kept + found.overlap.indices.nbytes) / 2**30,
            "peak_gib": (memory.above or np.nan) / 2**30,
            "planted": len(hits & set(self.planted.items())) / len(self.planted),
            "unplanted": sum(pair[0] % EVERY != 0 for pair in hits),
            "worst": _against_scipy(found),
        }


def _against_scipy(found, n_pairs=2000):
    """Largest relative difference from `scipy.stats.hypergeom` on some pairs."""
    entries = np.random.default_rng(1).integers(0, found.overlap.nnz, n_pairs)
    concept = np.searchsorted(found.overlap.indptr, entries, side="right") - 1
    size = found.set_size[found.overlap.indices[entries]]
    exact = hypergeom.sf(
        found.overlap.data[entries] - 1, found.n_background, size, found.n_selected[concept]
    )
    return float(np.abs(found.p_value[entries] / exact - 1).max())


def run(quick=False):
    """Measure and print; return what was measured."""
    folder = os.environ.get("SKDICT_DATA")
    sources = {"made sets": None}
    if folder and not quick:
        sources["GO biological process 2021"] = str(Path(folder) / REAL_SETS)
    elif not quick:
        print("real gene sets: missing; they need SKDICT_DATA (benchmarks/README.md)")
    results = {}
    for name, path in sources.items():
        with Worker("benchmarks.enrichment_scale:Enrichment", 1) as worker:
            worker.call("setup", *(QUICK if quick else FULL), path)
            found = worker.call("test")
        if found["worst"] > 1e-9:
            raise SystemExit(f"p-values differ from scipy's by a factor of 1 + {found['worst']}")
        results[name] = found
        print(
            f"{name}: {found['pairs']} pairs in {found['seconds']:.1f} s on one core, "
            f"{found['in_common']:.0%} with a gene in common; {found['kept_gib']:.2f} GiB kept, "
            f"{found['peak_gib']:.2f} GiB at the peak; planted pairs found "
            f"{found['planted']:.1%}, other concepts with a set: {found['unplanted']} pairs; "
            f"largest relative difference from scipy {found['worst']:.0e}",
            flush=True,
        )
    return results


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.enrichment_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick)


if __name__ == "__main__":
    main()
