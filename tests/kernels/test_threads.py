"""The same bits at any chunk, order and number of threads; forks and Python threads."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from skdict import sparse_encode
from skdict.kernels import _threads
from tests.kernels.fresh import ROOT, run_python
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


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(_threads.single_threaded_blas, "n_threads", lambda: 3)
    # A pool of exactly three, whatever other tests have used.
    monkeypatch.setattr(_threads._pool, "_size", 0)
    monkeypatch.setattr(_threads._pool, "_executor", None)


@pytest.mark.usefixtures("three_threads")
def test_an_error_ends_the_work_before_it_is_raised():
    before = [library["num_threads"] for library in threadpool_info()]
    running, begun = set(), []

    def task(start, stop):
        begun.append(start)
        if start == 0:
            time.sleep(0.02)
            raise RuntimeError("from a thread")
        running.add(start)
        time.sleep(0.1)
        running.remove(start)

    with pytest.raises(RuntimeError, match="from a thread"):
        _threads.run_in_parallel(task, 12)
    assert not running
    assert len(begun) < 12
    assert [library["num_threads"] for library in threadpool_info()] == before


@pytest.mark.usefixtures("three_threads")
def test_work_is_done_here_where_no_thread_can_be_had(monkeypatch):
    pool = _threads._pool.get(3)
    submitted = []

    def submit(function):
        submitted.append(function)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "submit", submit)
    seen = np.zeros(101, int)

    def count(start, stop):
        seen[start:stop] += 1

    _threads.run_in_parallel(count, 101)
    assert (seen == 1).all()
    submitted[0]()  # the executor may run what it refused all the same
    assert (seen == 1).all()


@pytest.mark.usefixtures("three_threads")
def test_no_more_tasks_at_once_than_threads():
    lock, now, most = threading.Lock(), [0], [0]

    def task(start, stop):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    callers = [threading.Thread(target=_threads.run_in_parallel, args=(task, 12)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert 1 < most[0] <= 3


def test_tasks_may_use_threads_themselves():
    run_python(
        """
        from skdict.kernels import _threads
        _threads.single_threaded_blas.n_threads = lambda: 2
        seen = np.zeros((4, 8), int)
        def outer(start, stop):
            for row in range(start, stop):
                def inner(first, last):
                    seen[row, first:last] += 1
                _threads.run_in_parallel(inner, 8)
        _threads.run_in_parallel(outer, 4)
        assert (seen == 1).all()
        """,
        timeout=30,
    )


def test_an_interrupt_ends_the_work_before_it_is_raised():
    run_python(
        """
        import _thread, threading, time
        from skdict.kernels import _threads
        _threads.single_threaded_blas.n_threads = lambda: 2
        running, begun = set(), []
        def task(start, stop):
            begun.append(start)
            running.add(start)
            if len(begun) == 2:
                threading.Timer(0.1, _thread.interrupt_main).start()
            time.sleep(0.4)
            running.remove(start)
        try:
            _threads.run_in_parallel(task, 8)
        except KeyboardInterrupt:
            assert not running and len(begun) < 8, (running, begun)
        else:
            raise AssertionError("the interrupt was lost")
        """,
        timeout=60,
    )


def test_limits_of_the_user_hold_for_libraries_loaded_later():
    run_python(
        """
        import numpy
        from threadpoolctl import threadpool_limits
        threadpool_limits(1)
        import scipy.linalg
        import skdict.kernels._threads as threads
        assert threads.single_threaded_blas.n_threads() == 1
        with threads.single_threaded_blas:
            pass
        assert threads.single_threaded_blas.n_threads() == 1
        """,
        problem="",
        NUMBA_NUM_THREADS="2",
        OPENBLAS_NUM_THREADS="2",
    )


def test_blas_that_cannot_be_asked(monkeypatch):
    """Accelerate is not known to threadpoolctl: numba's setting decides alone."""
    blas = _threads._SingleThreadedBlas()
    nothing = ThreadpoolController().select(user_api="none")
    monkeypatch.setattr(_threads, "_blas_of_numpy", lambda: nothing)
    monkeypatch.setattr(_threads, "_n_processors", lambda: 5)
    assert blas.n_threads() == 5
    with blas:
        assert blas.n_threads() == 5


def test_threads_of_the_pool_limit_a_blas_whose_setting_is_theirs():
    limited = []

    class OpenBlasOnOpenMP:
        def set_num_threads(self, n_threads):
            limited.append((threading.current_thread(), n_threads))

    class Controller:
        lib_controllers = ()

        def select(self, **kind):
            assert kind == {"threading_layer": "openmp"}
            chosen = Controller()
            chosen.lib_controllers = [OpenBlasOnOpenMP()]
            return chosen

    blas = _threads._SingleThreadedBlas()
    blas._controller = Controller()
    blas.limit_this_thread()
    assert limited == [(threading.current_thread(), 1)]


def test_blas_is_limited_in_any_thread():
    """threadpoolctl 3.8 lets one thread alone set limits, without a word to the others."""
    run_python(
        """
        import threading
        from threadpoolctl import threadpool_info, threadpool_limits
        from skdict.kernels._threads import single_threaded_blas
        def limits():
            return [i["num_threads"] for i in threadpool_info() if "numpy" in i["filepath"]]
        seen = []
        def inside():
            with single_threaded_blas:
                seen.append(limits())
            seen.append(limits())
        with threadpool_limits(2):  # the main thread is the one that may
            before = limits()
            for _ in range(2):
                inside()
                thread = threading.Thread(target=inside)
                thread.start()
                thread.join()
        assert seen == [[1] * len(before), before] * 4, seen
        """,
        NUMBA_NUM_THREADS="2",
        OPENBLAS_NUM_THREADS="2",
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, np.inf),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, np.inf),
        ({}, np.inf),
    ],
)
def test_quota_of_a_container(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert _threads._quota(tmp_path) == expected


@pytest.mark.parametrize(
    ("setting", "quota", "expected"),
    [(None, 1.5, 2), (None, 0.3, 1), (None, np.inf, 7), ("7", 1, 7)],
)
def test_threads_follow_the_quota_unless_told_otherwise(setting, quota, expected, monkeypatch):
    monkeypatch.setattr(_threads.numba.config, "NUMBA_NUM_THREADS", 7)
    monkeypatch.setattr(_threads, "_quota", lambda: quota)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    if setting:
        monkeypatch.setenv("NUMBA_NUM_THREADS", setting)
    assert _threads._n_processors() == expected


FORKS = {
    "os.fork": """
        child = os.fork()
        if child == 0:
            os._exit(0 if same() else 3)
        assert os.waitpid(child, 0)[1] == 0
        """,
    "multiprocessing": """
        import multiprocessing, sys
        context = multiprocessing.get_context("fork")
        child = context.Process(target=lambda: sys.exit(0 if same() else 3))
        child.start()
        child.join()
        assert child.exitcode == 0
        """,
    "again and again": """
        for _ in range(20):
            assert same()
            child = os.fork()
            if child == 0:
                os._exit(0 if same() and same() else 3)
            assert os.waitpid(child, 0)[1] == 0
        """,
    "while other threads code": """
        import threading
        stop = threading.Event()
        failed = []
        def work():
            while not stop.is_set():
                failed.append(not same())
        others = [threading.Thread(target=work) for _ in range(2)]
        for other in others:
            other.start()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if same() and same() else 3)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for other in others:
            other.join()
        assert not any(failed)
        """,
    "inside the context": """
        from skdict.kernels._threads import single_threaded_blas as blas
        from threadpoolctl import threadpool_info
        limits = lambda: [i["num_threads"] for i in threadpool_info() if "numpy" in i["filepath"]]
        before = limits()
        with blas:
            child = os.fork()
        good = same() and limits() == before
        with blas:
            good = good and set(limits()) <= {1} and same() and set(limits()) <= {1}
        good = good and limits() == before and blas._depth == 0
        if child == 0:
            os._exit(0 if good else 3)
        assert good
        assert os.waitpid(child, 0)[1] == 0
        """,
}


@needs_fork
@pytest.mark.parametrize("way", FORKS)
def test_a_fork_after_a_fit(way):
    start = """
        import os, signal, warnings
        warnings.simplefilter("ignore")
        codes = model.fit(X).transform(X)
        def same():
            signal.alarm(60)
            return (model.transform(X) != codes).nnz == 0
        """
    run_python(start + FORKS[way], NUMBA_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")


def test_threads_transform_while_another_fits():
    run_python(
        """
        import threading
        codes = model.fit(X).transform(X)
        alone = ICFLDictionary(600, n_nonzero_coefs=9, max_steps=20, random_state=1).fit(X)
        beside = ICFLDictionary(600, n_nonzero_coefs=9, max_steps=20, random_state=1)
        different = []
        def transform():
            for _ in range(5):
                different.append((model.transform(X) != codes).nnz)
        threads = [threading.Thread(target=transform) for _ in range(3)]
        threads.append(threading.Thread(target=beside.fit, args=(X,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert different == [0] * 15, different
        np.testing.assert_array_equal(beside.components_, alone.components_)
        """,
        NUMBA_NUM_THREADS="2",
        OPENBLAS_NUM_THREADS="2",
    )


ENDS = {
    "with an idle pool": "",
    "in a thread that is still at work": """
        threading.Thread(target=lambda: (time.sleep(0.5), same())).start()
        """,
    "in a daemon thread": """
        def for_ever():
            while True:
                model.transform(X)
        threading.Thread(target=for_ever, daemon=True).start()
        time.sleep(0.1)
        print("same", flush=True)
        """,
    "with coding at exit": """
        import atexit
        atexit.register(same)
        """,
}


@pytest.mark.parametrize("way", ENDS)
def test_the_interpreter_ends(way):
    start = """
        import threading, time
        from skdict.kernels import _threads
        _threads.single_threaded_blas.n_threads = lambda: 2
        codes = model.fit(X).transform(X)
        def same():
            assert (model.transform(X) != codes).nnz == 0
            print("same", flush=True)
        """
    done = run_python(start + ENDS[way], timeout=60)
    assert not done.stderr
    assert done.stdout == ("same\n" if ENDS[way] else "")


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_workers_share_the_processors(backend, tmp_path):
    """Workers of joblib together run no more threads than one process alone would."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys, threading
            import numpy as np
            from joblib import Parallel, cpu_count, delayed
            from skdict import ICFLDictionary

            def encode(model, X):
                codes = model.transform(X)
                pool = [t.ident for t in threading.enumerate() if t.name.startswith("skdict")]
                return codes, {(os.getpid(), ident) for ident in pool} or {(os.getpid(), 0)}

            if __name__ == "__main__":
                X = np.random.default_rng(0).normal(size=(1400, 37))
                model = ICFLDictionary(600, n_nonzero_coefs=9, max_steps=3, random_state=0).fit(X)
                codes = model.transform(X)
                parallel = Parallel(n_jobs=2, backend=sys.argv[1])
                for found, _ in (results := parallel(delayed(encode)(model, X) for _ in range(6))):
                    assert (found != codes).nnz == 0
                threads = set().union(*(threads for _, threads in results))
                assert len(threads) <= max(2, cpu_count()), threads
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, backend]
    subprocess.run(command, check=True, timeout=120, env=environment)


def test_a_pickled_estimator_in_a_spawned_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            import numpy as np
            from skdict import ICFLDictionary

            if __name__ == "__main__":
                X = np.random.default_rng(0).normal(size=(700, 37))
                model = ICFLDictionary(600, n_nonzero_coefs=9, max_steps=3, random_state=0).fit(X)
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    codes = pool.apply(model.transform, (X,))
                assert (codes != model.transform(X)).nnz == 0
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script], check=True, timeout=120, env=environment)
