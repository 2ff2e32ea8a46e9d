"""A real cluster of two worker processes, one of which is killed in the middle."""

import os
import signal
import time

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.parallel import dask_fit_whitener, dask_score, dask_transform

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("dask.distributed")

N_BLOCKS, BLOCK_ROWS, N_FEATURES = 20, 50, 12


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with (
        distributed.LocalCluster(**options, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    lengths = np.geomspace(1.0, 0.05, N_FEATURES)  # a spectrum with one clear knee
    return rng.normal(size=(N_BLOCKS * BLOCK_ROWS, N_FEATURES)) * lengths + 1.0


@pytest.fixture(scope="module")
def fitted(X):
    return ICFLDictionary(16, n_nonzero_coefs=3, max_steps=5, random_state=0).fit(X)


def slowly(X):
    """The rows in blocks that take a twentieth of a second each."""

    def wait(block):
        time.sleep(0.05)
        return block

    return da.from_array(X, chunks=(BLOCK_ROWS, -1)).map_blocks(wait, dtype=X.dtype, meta=X[:0])


def test_the_estimator_is_not_sent_with_every_block(client, X, fitted):
    class Counting(ICFLDictionary):
        """Leaves a trace in its process whenever it arrives there."""

        def __setstate__(self, state):
            import builtins

            builtins.n_arrivals = getattr(builtins, "n_arrivals", 0) + 1
            super().__setstate__(state)

    def arrivals():
        import builtins

        return getattr(builtins, "n_arrivals", 0)

    client.wait_for_workers(2, timeout=30)
    counting = Counting(**fitted.get_params()).fit(X)
    dask_transform(counting, slowly(X)).compute()
    # One worker reads it from the graph and hands it on, a busy scheduler perhaps twice. Sent with
    # every block it would be as many as blocks.
    assert 1 <= sum(client.run(arrivals).values()) <= 5


def test_whitening_and_score_over_workers(client, X, fitted):
    lazy = da.from_array(X, chunks=(BLOCK_ROWS, -1))
    control = np.arange(len(X)) % 3 == 0
    expected = ControlPCAWhitener().fit(X, control=control)
    whitener = dask_fit_whitener(ControlPCAWhitener(), lazy, control)
    np.testing.assert_allclose(whitener.components_, expected.components_, rtol=1e-9, atol=1e-12)
    assert dask_score(fitted, lazy) == pytest.approx(fitted.score(X), rel=1e-10)


def test_searches_run_on_the_cluster(client, X):
    control = np.arange(len(X)) % 3 == 0
    dictionary = ICFLDictionary(16, max_steps=5, random_state=0)
    steps = make_pipeline(ControlPCAWhitener(epsilon=0.1), Normalizer(), dictionary)
    search = GridSearchCV(steps, {"icfldictionary__n_nonzero_coefs": [2, 4]}, cv=2)
    fitting = {"controlpcawhitener__control": control}
    alone = search.fit(X, **fitting).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        together = search.fit(X, **fitting).cv_results_["mean_test_score"]
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    assert search.best_params_ == {"icfldictionary__n_nonzero_coefs": 4}


def kill_a_worker_when(client, codes, n_blocks):
    """Kill the worker that holds most of some persisted codes, once a few blocks are there."""
    processes = client.run(os.getpid)
    futures = distributed.futures_of(codes)
    deadline = time.monotonic() + 30
    while sum(future.done() for future in futures) < n_blocks:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    held = client.has_what()
    victim = max(held, key=lambda address: len(held[address]))
    os.kill(processes[victim], signal.SIGKILL)
    assert not all(future.done() for future in futures)  # in the middle


# The last test of this file: the others need not wait until the cluster has a new worker.
def test_death_of_a_worker_loses_nothing(client, X, fitted):
    codes = dask_transform(fitted, slowly(X)).persist()
    kill_a_worker_when(client, codes, n_blocks=5)
    result, expected = codes.compute(), fitted.transform(X)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
