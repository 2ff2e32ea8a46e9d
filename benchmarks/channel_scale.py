"""Channel correlations of all features at the paper's size, against the matrix product they need.

8,192 features x 1,024 tokens x 1,000 images (d = 1,024, six stains and two artefact maps). The
heatmaps alone are one product of 8,192 x 1,024 and 1,024 x 1,024 matrices per image; the ratio is
the time of that product, measured in the same process, over the time of everything. Correlations
of some pairs are compared with `numpy.corrcoef` before any time is taken.
"""

import argparse
import resource
import sys
import time

import numpy as np

from benchmarks.machine import describe_machine, n_cores
from benchmarks.processes import Worker

# features, grid, width of a token, images
FULL = (8192, 32, 1024, 1000)
QUICK = (512, 8, 64, 20)
N_STAINS = 6
# Distinct images in memory; the others repeat them, so that data do not count as memory.
DISTINCT = 16


class CycledTokens:
    """Tokens of many images of which few are distinct, read one image at a time."""

    def __init__(self, tokens, n_images):
        self.tokens, self.dtype = tokens, tokens.dtype
        self.shape = (n_images, *tokens.shape[1:])

    def __getitem__(self, image):
        return self.tokens[image % len(self.tokens)]


class Channels:
    """A contestant of `benchmarks.processes`: the problem and what is measured on it."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, n_features, side, width, n_images, seed):
        """Make tokens, directions and stains."""
        rng = np.random.default_rng(seed)
        shape = (min(DISTINCT, n_images), side, side, width)
        self.tokens = CycledTokens(rng.standard_normal(shape, dtype=np.float32), n_images)
        self.directions = rng.standard_normal((n_features, width), dtype=np.float32)
        self.stains = rng.standard_normal((n_images, N_STAINS, side, side), dtype=np.float32)
        self.before = _peak()

    def agreement(self):
        """Largest difference from `numpy.corrcoef` on some pairs."""
        found = self._correlate(slice(0, 2), 1)
        rng = np.random.default_rng(0)
        worst = 0.0
        for image, stain in np.ndindex(2, N_STAINS):
            rows = self.tokens[image].reshape(-1, self.directions.shape[1]).astype(np.float64)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            for feature in rng.integers(0, len(self.directions), 5):
                heatmap = rows @ self.directions[feature].astype(np.float64)
                r = np.corrcoef(heatmap, self.stains[image, stain].ravel())[0, 1]
                worst = max(worst, abs(r - found.image_r[image, feature, stain]))
        return worst

    def product(self, n_images):
        """Seconds of the heatmaps' product alone, per image, the median over images."""
        seconds = []
        for image in range(n_images + 1):
            rows = self.tokens[image].reshape(-1, self.directions.shape[1])
            started = time.perf_counter()
            self.directions @ rows.T
            seconds.append(time.perf_counter() - started)
        return float(np.median(seconds[1:]))

    def correlate(self, n_permutations):
        """Seconds per image of everything, and memory beyond the data and the result."""
        started = time.perf_counter()
        found = self._correlate(slice(None), n_permutations)
        seconds = time.perf_counter() - started
        result = sum(value.nbytes for value in found.values() if isinstance(value, np.ndarray))
        return {
            "seconds": seconds / self.tokens.shape[0],
            "result_gib": result / 2**30,
            "beyond_gib": _peak() - self.before - result / 2**30,
        }

    def _correlate(self, images, n_permutations):
        from skdict.imaging import channel_correlations

        stains = self.stains[images]
        tokens = CycledTokens(self.tokens.tokens, len(stains))
        return channel_correlations(
            tokens, self.directions, stains, n_permutations=n_permutations, random_state=0
        )


def _peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def run(quick=False, n_threads=None, permutations=(19, 99)):
    """Measure and print; return what was measured."""
    problem = QUICK if quick else FULL
    n_features, side, width, n_images = problem
    results = {}
    with Worker("benchmarks.channel_scale:Channels", n_threads or n_cores()) as worker:
        worker.call("setup", *problem, 0)
        worst = worker.call("agreement")
        print(f"largest difference from numpy.corrcoef: {worst:.1e}")
        if worst > 1e-4:
            raise SystemExit("the correlations disagree; no time is taken")
        for n_permutations in permutations:
            before = worker.call("product", min(50, n_images))
            found = worker.call("correlate", n_permutations)
            product = np.median([before, worker.call("product", min(50, n_images))])
            columns = (1 + n_permutations) * (N_STAINS + 2)
            found["product"] = float(product)
            found["ratio"] = product / found["seconds"]
            # Every draw is a column of a second product with the heatmaps.
            found["bound"] = width / (width + columns)
            results[n_permutations] = found
            print(
                f"{n_features} features x {side**2} tokens x {n_images} images, "
                f"{n_permutations} draws: {1e3 * found['seconds']:.0f} ms an image, the product "
                f"{1e3 * product:.0f} ms, ratio {found['ratio']:.2f} (by operations at most "
                f"{found['bound']:.2f}); {found['beyond_gib']:.2f} GiB beyond the data and a "
                f"result of {found['result_gib']:.2f} GiB",
                flush=True,
            )
    return results


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.channel_scale")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--threads", type=int, default=n_cores())
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick, options.threads)


if __name__ == "__main__":
    main()
