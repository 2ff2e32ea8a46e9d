"""The same bits at any chunk, order and number of threads; forks and Python threads."""

import multiprocessing
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from skdict import sparse_encode
from skdict.kernels import _threads
from tests.reference import unit_rows

N_FEATURES = 37


def make(n_atoms, dtype=np.float64):
    rng = np.random.default_rng(n_atoms)
    dictionary = unit_rows(rng.normal(size=(n_atoms, N_FEATURES))).astype(dtype)
    return rng.normal(size=(700, N_FEATURES)).astype(dtype), dictionary


def encode(X, dictionary, **kwargs):
    return sparse_encode(X, dictionary, n_nonzero_coefs=9, **kwargs).toarray()


@pytest.mark.parametrize("algorithm", ["icfl", "omp"])
@pytest.mark.parametrize("n_atoms", [100, 600])
@given(data=st.data())
def test_a_row_has_the_same_code_alone_and_among_others(n_atoms, algorithm, data):
    X, dictionary = make(n_atoms)
    whole = encode(X, dictionary, algorithm=algorithm)
    rows = data.draw(st.lists(st.integers(0, 699), min_size=1, max_size=40))
    np.testing.assert_array_equal(encode(X[rows], dictionary, algorithm=algorithm), whole[rows])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_nothing(dtype):
    X, dictionary = make(600, dtype)
    whole = encode(X, dictionary)
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            np.testing.assert_array_equal(encode(X, dictionary), whole)


def test_blas_limits_are_restored():
    X, dictionary = make(600)
    before = [library["num_threads"] for library in threadpool_info()]
    encode(X, dictionary)
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_python_threads_may_code_at_the_same_time():
    X, dictionary = make(600)
    whole = encode(X, dictionary)
    before = [library["num_threads"] for library in threadpool_info()]
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(encode(X, dictionary))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, whole)
    assert [library["num_threads"] for library in threadpool_info()] == before


def _encode_in_child(queue):
    X, dictionary = make(600)
    queue.put(encode(X, dictionary))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this platform cannot fork"
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_coding_works_after_a_fork():
    X, dictionary = make(600)
    whole = encode(X, dictionary)  # the pool of threads exists before the fork
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_encode_in_child, args=(queue,))
    child.start()
    received = queue.get()
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(received, whole)


def test_all_items_are_covered_once_and_errors_surface():
    seen = np.zeros(1003, int)

    def count(start, stop):
        seen[start:stop] += 1

    _threads.run_in_parallel(count, 1003, grain=7)
    assert (seen == 1).all()
    _threads.run_in_parallel(count, 0)
    assert (seen == 1).all()

    def fail(start, stop):
        raise RuntimeError("from a thread")

    with pytest.raises(RuntimeError, match="from a thread"):
        _threads.run_in_parallel(fail, 10)
