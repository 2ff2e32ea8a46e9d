"""Time and peak memory of probes at the sizes of the paper's tasks: codes and raw embeddings.

Each problem runs in a process of its own; the peak is that of the whole process, data included.
Labels are synthetic: every label prefers some atoms, so that there is something to read.
"""

import argparse
import resource
import sys
import time

import numpy as np
from scipy import sparse
from sklearn.model_selection import GroupKFold

from benchmarks.machine import describe_machine
from benchmarks.processes import Worker
from skdict.probing import probe_interval, probe_representations, sparse_probe

GOAL_GIB = 4.0
N_FOLDS = 5
# name: rows, features, non-zeros per row (0: dense), labels
PROBLEMS = {
    "cell type, codes": (110_971, 8192, 100, 23),
    "functional group, codes": (57_863, 8192, 100, 39),
    "cell type, raw": (110_971, 1664, 0, 23),
    "functional group, raw": (57_863, 1664, 0, 39),
}
QUICK = {
    "codes": (2000, 256, 10, 5),
    "raw": (2000, 64, 0, 5),
}


class Probes:
    """A contestant of `benchmarks.processes`: one problem and what is measured on it."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_rows, n_features, n_nonzero, n_labels, seed):
        """Make features, labels and groups."""
        rng = np.random.default_rng(seed)
        self.y = rng.integers(0, n_labels, n_rows)
        self.groups = rng.integers(0, 50, n_rows)  # experiments
        make = _codes if n_nonzero else _embeddings
        self.X = make(rng, self.y, n_features, n_nonzero)

    def probe(self, Cs):
        """One fold: its seconds, the result, and the peak so far."""
        started = time.perf_counter()
        table, predictions = probe_representations(
            None,
            self.X,
            self.y,
            groups=self.groups,
            cv=OneFold(N_FOLDS),
            representations=("raw",),
            Cs=Cs,
            return_predictions=True,
        )
        seconds = time.perf_counter() - started
        self.predictions = predictions
        keys = ("balanced_accuracy", "chance", "n_iter", "converged", "C", "n_train")
        return {"seconds": seconds} | {key: table[key][0].item() for key in keys} | _peak()

    def sparse_probe(self):
        """One fold of `sparse_probe` with 1, 2 and 5 features."""
        started = time.perf_counter()
        table = sparse_probe(self.X, self.y, groups=self.groups, cv=OneFold(N_FOLDS))
        seconds = time.perf_counter() - started
        mean = {
            f"with {k}": float(table["balanced_accuracy"][table["n_features"] == k].mean())
            for k in (1, 2, 5)
        }
        return {"seconds": seconds} | mean | _peak()

    def interval(self):
        """Thousand resamples of the test rows of `probe`, each row a unit."""
        started = time.perf_counter()
        found = probe_interval(
            self.predictions["y_true"], self.predictions["y_pred"], units=None, random_state=0
        )
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "low": found.low, "high": found.high} | _peak()


class OneFold(GroupKFold):
    """The first fold of GroupKFold."""

    def split(self, X, y=None, groups=None):
        """Yield one pair of training and test rows."""
        yield next(super().split(X, y, groups))


def _codes(rng, y, n_features, n_nonzero):
    """CSR codes: three of a row's atoms, on average, are among the 60 that its label prefers."""
    preferred = rng.integers(0, n_features, (y.max() + 1, 60))
    atoms = rng.integers(0, n_features, (y.shape[0], n_nonzero), dtype=np.int32)
    own = rng.random(atoms.shape, dtype=np.float32) < 3 / n_nonzero
    row, place = np.nonzero(own)
    atoms[row, place] = preferred[y[row], rng.integers(0, 60, row.shape[0])]
    values = rng.standard_gamma(2.0, atoms.shape, dtype=np.float32)
    indptr = np.arange(0, atoms.size + 1, n_nonzero, dtype=np.int32)
    codes = sparse.csr_array(
        (values.ravel(), atoms.ravel(), indptr), shape=(y.shape[0], n_features)
    )
    codes.sum_duplicates()
    return codes


def _embeddings(rng, y, n_features, _, separation=0.1):
    """Dense float32 rows around a centre per label."""
    centres = separation * rng.standard_normal((y.max() + 1, n_features), dtype=np.float32)
    X = rng.standard_normal((y.shape[0], n_features), dtype=np.float32)
    for label, centre in enumerate(centres):
        X[y == label] += centre
    return X


def _peak():
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30}


def run(names=None, quick=False, n_threads=1, choose=False):
    """Measure and print all problems, or the named ones."""
    problems = QUICK if quick else PROBLEMS
    results = {}
    for name in names or problems:
        with Worker("benchmarks.probe_scale:Probes", n_threads) as worker:
            worker.call("setup", *problems[name], 0)
            found = results[name] = {
                f"probe, C={C:g}": worker.call("probe", C) for C in (0.03, 1.0)
            }
            found["interval"] = worker.call("interval")
            if problems[name][2]:
                found["sparse probe"] = worker.call("sparse_probe")
            if choose:
                found["probe, C of three"] = worker.call("probe", (0.001, 0.03, 1.0))
        print(f"{name} {problems[name]}, one fold of {N_FOLDS}, {n_threads} thread(s)")
        for what, values in found.items():
            told = ", ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in values.items()
            )
            print(f"  {what}: {told}")
        peak = max(values["peak_gib"] for values in found.values())
        print(
            f"  peak {peak:.2f} GiB, goal {GOAL_GIB:g}: {'met' if peak <= GOAL_GIB else 'missed'}"
        )
        sys.stdout.flush()
    return results


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe_scale", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="problem", help="; ".join(PROBLEMS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--choose", action="store_true", help="choose among three C in three inner folds as well"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(QUICK if options.quick else PROBLEMS)
    if unknown:
        parser.error(f"unknown problem {sorted(unknown)}")
    print(describe_machine(), flush=True)
    run(options.names, options.quick, options.threads, options.choose)


if __name__ == "__main__":
    main()
