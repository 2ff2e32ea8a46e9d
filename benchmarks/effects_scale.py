"""A concept response screen of 8,192 concepts and 1,138 perturbations over 81,224 rows.

The codes are planted, 100 non-zeros a row, with concepts from rare to common; rows are units, on
60 plates with about a tenth of controls, each perturbation on six plates. One perturbation in
twenty switches five concepts on. Before any time is taken, exact p-values of a small screen are
compared with `scipy.stats.permutation_test`, which is also the opponent: seconds per pair of
perturbation and concept, with as many permutations.
"""

import argparse
import time

import numpy as np
from scipy import sparse, stats

from benchmarks.machine import describe_machine, n_cores
from benchmarks.processes import PeakMemory, Worker

# rows, concepts, non-zeros, perturbations, plates, permutations
FULL = (81_224, 8192, 100, 1138, 60, 999)
QUICK = (1500, 200, 10, 12, 6, 49)


class Screen:
    """A contestant of `benchmarks.processes`: the codes and what is measured on them."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_rows, n_concepts, n_nonzero, n_perturbations, n_plates, n_permutations):
        """Draw the screen."""
        rng = np.random.default_rng(0)
        self.n_permutations = n_permutations
        self.plate = rng.integers(0, n_plates, n_rows)
        self.control = rng.random(n_rows) < 0.1
        # perturbation p lies on every tenth plate, beginning with another one
        stride = min(10, n_plates)
        self.perturbation = np.empty(n_rows, int)
        everything = np.arange(n_perturbations)
        for q in range(n_plates):
            rows = np.flatnonzero(self.plate == q)
            there = everything[(everything + q) % stride == 0]
            self.perturbation[rows] = rng.choice(there if there.size else everything, rows.size)
        self.changed = {int(p): rng.choice(n_concepts, 5, replace=False) for p in everything[::20]}
        self.codes = self._codes(rng, n_rows, n_concepts, n_nonzero)
        return self.codes.nnz

    def _codes(self, rng, n_rows, n_concepts, n_nonzero):
        """Sparse codes; a changed concept takes the place of another in half of the rows."""
        frequency = rng.dirichlet(np.full(n_concepts, 0.5))
        bounds = np.cumsum(frequency)
        indices = np.empty((n_rows, n_nonzero), np.int32)
        for row in range(n_rows):
            drawn = np.searchsorted(bounds, rng.random(2 * n_nonzero))
            chosen = np.unique(np.minimum(drawn, n_concepts - 1))
            if chosen.size < n_nonzero:
                chosen = np.union1d(chosen, rng.choice(n_concepts, 2 * n_nonzero, replace=False))
            chosen = rng.permutation(chosen)[:n_nonzero]
            changed = self.changed.get(int(self.perturbation[row]))
            if changed is not None and not self.control[row]:
                new = np.setdiff1d(changed[rng.random(5) < 0.5], chosen)
                chosen[: new.size] = new
            indices[row] = np.sort(chosen)
        values = rng.exponential(size=indices.size).astype(np.float32)
        pointer = np.arange(n_rows + 1) * n_nonzero
        return sparse.csr_array((values, indices.ravel(), pointer), shape=(n_rows, n_concepts))

    def agreement(self):
        """Largest difference of exact p-values from SciPy's."""
        from skdict.effects import concept_effects

        rng = np.random.default_rng(1)
        codes = rng.random((10, 20)) * (rng.random((10, 20)) < 0.7)
        codes[:, 10:] += 0.1  # always active: their strength is an ordinary mean
        names = np.repeat(["A", "control"], [4, 6])
        found = concept_effects(codes, names, names == "control", np.zeros(10), min_active_units=1)
        worst = 0.0
        for m in range(20):
            values = (codes[:, m] != 0).astype(float) if m < 10 else codes[:, m]
            if np.ptp(values) > 0:
                table = found.rate if m < 10 else found.strength
                expected = self._scipy(values[:4], values[4:], np.inf)
                worst = max(worst, abs(table.p_value[0, m] - expected.pvalue))
        return worst

    def screen(self):
        """Seconds and memory of the whole screen, and what of the planted effects is found."""
        from skdict.effects import concept_effects

        few = self.perturbation < 2  # compiles
        settings = {"n_permutations": self.n_permutations, "random_state": 0}
        concept_effects(
            self.codes[few][:, :50], self.perturbation[few], self.control[few],
            np.zeros(few.sum()), n_permutations=30,
        )  # fmt: skip
        with PeakMemory(0.02) as memory:
            started, processor = time.perf_counter(), time.process_time()
            found = concept_effects(
                self.codes, self.perturbation, self.control, self.plate, **settings
            )
            seconds = time.perf_counter() - started
            processor = time.process_time() - processor
        hits = found.hits(0.05)
        true = np.array([
            int(m) in set(self.changed.get(int(p), ())) and s == "rate"
            for p, m, s in zip(hits["perturbation"], hits["concept"], hits["statistic"],
                               strict=True)
        ], dtype=bool)  # fmt: skip
        n_planted = sum(p in found.perturbations for p in self.changed) * 5
        return {
            "seconds": seconds,
            "processor_seconds": processor,
            "peak_gib": (memory.above or np.nan) / 2**30,
            "perturbations": found.perturbations.size,
            "tests": int(found.rate.tested.sum() + found.strength.tested.sum()),
            "pairs": found.rate.tested.size,
            "planted_found": float(true.sum() / n_planted),
            "false_share": float((~true).mean()) if true.size else 0.0,
        }

    def opponent(self, n_pairs):
        """Seconds of SciPy for each pair: rates of one plate, as many permutations."""
        rows = np.flatnonzero(self.plate == 0)
        own = self.codes[rows[~self.control[rows]][:7]].toarray()[:, :n_pairs] != 0
        other = self.codes[rows[self.control[rows]]].toarray()[:, :n_pairs] != 0
        started = time.perf_counter()
        self._scipy(own.astype(float), other.astype(float), self.n_permutations)
        return (time.perf_counter() - started) / n_pairs

    @staticmethod
    def _scipy(own, other, n_resamples):
        def difference(x, y, axis):
            return x.mean(axis=axis) - y.mean(axis=axis)

        return stats.permutation_test(
            (own, other), difference, vectorized=True, n_resamples=n_resamples, axis=0,
            rng=np.random.default_rng(0), batch=100,
        )  # fmt: skip


def run(quick=False):
    """Measure and print; return what was measured."""
    with Worker("benchmarks.effects_scale:Screen", n_cores()) as worker:
        worker.call("setup", *(QUICK if quick else FULL))
        worst = worker.call("agreement")
        if worst > 1e-12:
            raise SystemExit(f"exact p-values differ from SciPy's by {worst}")
        found = worker.call("screen")
        opponent = worker.call("opponent", 20 if quick else 400)
    ratio = opponent * found["tests"] / found["seconds"]
    print(
        f"{found['perturbations']} perturbations, {found['tests']} tests of {found['pairs']} pairs "
        f"x 2: {found['seconds']:.0f} s ({found['processor_seconds']:.0f} s of processors), "
        f"{found['peak_gib']:.2f} GiB above the codes at the peak; planted effects found "
        f"{found['planted_found']:.1%}, false among hits {found['false_share']:.1%}; SciPy "
        f"{opponent * 1e3:.2f} ms a test on one plate, {ratio:.0f} times as long for as many; "
        f"exact p-values differ by {worst:.0e}",
        flush=True,
    )
    return found | {"opponent_seconds": opponent, "ratio": ratio, "worst": worst}


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effects_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick)


if __name__ == "__main__":
    main()
