"""Rows coded per second, against scikit-learn and the one matrix product that coding needs.

The Gram matrix is given to all; medians of several runs. Before timing, OMP is compared with
scikit-learn on the same rows: same support, same coefficients.
"""

import statistics
import time

import numpy as np
from sklearn.linear_model import orthogonal_mp_gram

from skdict import sparse_encode

SIZES = ((256, 2048, 4000, 8), (1024, 8192, 2000, 2))
N_NONZERO = 100
REPEATS = 5


def median_seconds(function, repeats=REPEATS):
    """Median time of a call, after one call that compiles and warms caches."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def run():
    """Print rows per second and the ratio to the product, per size and algorithm."""
    print(f"{'d':>5} {'atoms':>6} {'work':34} {'rows/s':>10} {'of product':>10}")
    for n_features, n_atoms, n_rows, n_slow in SIZES:
        rng = np.random.default_rng(0)
        dictionary = rng.normal(size=(n_atoms, n_features)).astype(np.float32)
        dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
        X = rng.normal(size=(n_rows, n_features)).astype(np.float32)
        gram = dictionary @ dictionary.T

        def encode(algorithm, rows, dictionary=dictionary, gram=gram):
            return sparse_encode(
                rows, dictionary, algorithm=algorithm, n_nonzero_coefs=N_NONZERO, gram=gram
            )

        def reference(rows, dictionary=dictionary, gram=gram):
            return orthogonal_mp_gram(gram, dictionary @ rows.T, n_nonzero_coefs=N_NONZERO).T

        assert_agreement(encode("omp", X[:n_slow]).toarray(), reference(X[:n_slow]))
        product = n_rows / median_seconds(lambda: X @ dictionary.T)  # noqa: B023
        rates = {
            "the product X D^T alone": product,
            "skdict ICFL, 20 steps of 5": n_rows / median_seconds(lambda: encode("icfl", X)),  # noqa: B023
            "skdict OMP, 100 atoms": 256 / median_seconds(lambda: encode("omp", X[:256]), 3),  # noqa: B023
            "scikit-learn OMP, 100 atoms": n_slow
            / median_seconds(lambda: reference(X[:n_slow]), 3),  # noqa: B023
        }
        for name, rate in rates.items():
            print(f"{n_features:5} {n_atoms:6} {name:34} {rate:10,.1f} {rate / product:10.2g}")


def assert_agreement(ours, theirs):
    """Raise unless supports agree on nearly all rows and fits to float32 rounding."""
    same = np.mean([np.array_equal(a != 0, b != 0) for a, b in zip(ours, theirs, strict=True)])
    if same == 1.0:
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    print(f"      OMP support equal to scikit-learn's on {same:.0%} of {len(ours)} rows")
    assert same >= 0.5, "supports differ: nothing is timed"
