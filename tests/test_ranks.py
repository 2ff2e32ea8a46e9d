"""Fits that several processes share: the same dictionary as one process learns."""

import numpy as np
import pytest
from sklearn.base import clone

from skdict import Checkpoint, ICFLDictionary, TopKSAE, _large_rows
from skdict._checkpoints import FitRecord
from skdict.datasets import make_superposition
from tests.parallel.thread_ranks import fit_together

X = make_superposition(
    n_samples=1200, n_features=16, n_components=40, n_active=3, random_state=0
).data
SETTINGS = {"n_components": 48, "n_nonzero_coefs": 3, "batch_size": 120, "random_state": 0}
KINDS = {
    "icfl": ICFLDictionary(**SETTINGS, reset_every=10, reset_threshold=0.5),
    "icfl without intercept": ICFLDictionary(**SETTINGS, fit_intercept=False),
    "topk": TopKSAE(**SETTINGS, auxk_dead_samples=200),
}
LEARNED = ("components_", "intercept_")


@pytest.fixture
def large(monkeypatch):
    """All data count as large: read in blocks."""
    monkeypatch.setattr(_large_rows, "LARGE_BYTES", 1)


def shared_fit(model, n_ranks, rows=X):
    models, meeting = fit_together(n_ranks, lambda rank: clone(model).fit(rows))
    for other in models:
        if isinstance(other, Exception):
            raise other
        for name in LEARNED:
            np.testing.assert_array_equal(getattr(other, name), getattr(models[0], name))
        for name, curve in models[0].history_.items():
            np.testing.assert_array_equal(other.history_[name], curve)
    return models[0], meeting


def assert_equal_to_rounding(model, other, tolerance):
    for name in LEARNED:
        np.testing.assert_allclose(
            getattr(model, name), getattr(other, name), rtol=0, atol=tolerance
        )
    for name, curve in other.history_.items():
        np.testing.assert_allclose(model.history_[name], curve, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "max_steps", "tolerance"), [("f4", 1, 2e-7), ("f8", 60, 1e-11)])
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_equal_to_one_process(kind, dtype, max_steps, tolerance, n_ranks):
    model, rows = clone(KINDS[kind]).set_params(max_steps=max_steps), X.astype(dtype)
    alone = clone(model).fit(rows)
    together, meeting = shared_fit(model, n_ranks, rows)
    assert_equal_to_rounding(together, alone, tolerance)
    if kind.startswith("icfl"):
        assert meeting.n_messages == max_steps
    if max_steps == 60 and kind == "icfl":
        assert alone.history_["n_resets"].sum() > 0


def test_one_number_more_is_sent_only_while_atoms_are_dead():
    model = clone(KINDS["topk"]).set_params(max_steps=20)
    assert shared_fit(model, 2)[1].n_messages > 20
    assert shared_fit(model.set_params(auxk_coef=0), 2)[1].n_messages == 20


def test_without_a_seed_all_start_as_the_first():
    shared_fit(clone(KINDS["icfl"]).set_params(random_state=None, max_steps=5), 2)


class Read:
    """Rows that count how often each was read."""

    shape, dtype = X.shape, X.dtype

    def __init__(self):
        self.counts = np.zeros(X.shape[0], int)

    def __getitem__(self, rows):
        self.counts[rows] += 1
        return X[rows]


def test_streamed_each_process_reads_its_share(large, monkeypatch):
    monkeypatch.setattr("skdict._data_order.block_layout", lambda source: (20, 5))
    monkeypatch.setattr("skdict._data_order.sample_rows", lambda *args, **kwargs: X[:500])
    sources = [Read(), Read()]
    model = clone(KINDS["icfl"]).set_params(max_steps=10)
    models, _ = fit_together(2, lambda rank: clone(model).fit(sources[rank]))
    np.testing.assert_array_equal(models[0].components_, models[1].components_)
    counts = [source.counts for source in sources]
    assert abs(counts[0].sum() - counts[1].sum()) <= 100
    assert np.mean(counts[0] + counts[1]) < 1.2  # ten steps are one pass
    assert np.mean((counts[0] > 0) & (counts[1] > 0)) < 0.2


def stop_after(monkeypatch, n_steps):
    save = FitRecord.save

    def stopping(self, n, arrays, values):
        save(self, n, arrays, values)
        if n >= n_steps:
            raise InterruptedError

    monkeypatch.setattr(FitRecord, "save", stopping)


@pytest.mark.parametrize("kind", ["icfl", "topk"])
@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2), (2, 4)])
@pytest.mark.parametrize("streamed", [False, True])
def test_resumed_on_another_number_of_processes(
    kind, before, after, streamed, tmp_path, monkeypatch, request
):
    if streamed:
        request.getfixturevalue("large")
    model, rows = clone(KINDS[kind]).set_params(max_steps=40), X.astype("f8")
    whole, _ = shared_fit(model, before, rows)
    model.set_params(checkpoint=Checkpoint(tmp_path, steps=7), resume="auto")
    with monkeypatch.context() as patch:
        stop_after(patch, 20)
        ended, _ = fit_together(before, lambda rank: clone(model).fit(rows))
    assert isinstance(ended[0], InterruptedError)
    assert all(isinstance(error, ConnectionError) for error in ended[1:])
    if streamed and before % after:
        with pytest.warns(UserWarning, match="new order"):
            resumed, _ = shared_fit(model, after, rows)
        assert resumed.n_steps_ == 40
        assert resumed.score(rows) > whole.score(rows) - 0.1
        return
    resumed, _ = shared_fit(model, after, rows)
    if before == after:
        for name in LEARNED:
            np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    assert_equal_to_rounding(resumed, whole, 1e-11)


def test_the_first_process_alone_prints_saves_and_calls_back(tmp_path, monkeypatch, capsys):
    saved = []
    monkeypatch.setattr(FitRecord, "save", lambda self, n, *rest: saved.append(n))
    model = clone(KINDS["icfl"]).set_params(
        max_steps=4, verbose=1, checkpoint=Checkpoint(tmp_path, steps=2)
    )
    shared_fit(model, 2)
    assert capsys.readouterr().out.count("step 4:") == 1
    assert saved == [2, 4]


class StopsAfter:
    """Callback that asks to stop after some blocks of steps."""

    def __init__(self, n_blocks):
        self.n_blocks, self.seen = n_blocks, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **data):
        pass

    def on_fit_task_end(self, estimator, context, **data):
        self.seen += context.parent is not None
        return self.seen >= self.n_blocks

    def teardown(self, estimator, context):
        pass


def test_a_callback_of_the_first_process_stops_all():
    callbacks = [StopsAfter(3), StopsAfter(1)]
    models, _ = fit_together(
        2,
        lambda rank: (
            clone(KINDS["icfl"]).set_params(max_steps=50).set_callbacks(callbacks[rank]).fit(X)
        ),
    )
    assert [model.n_steps_ for model in models] == [3, 3]
    assert callbacks[1].seen == 0


def test_a_damaged_checkpoint_is_an_error_of_all(tmp_path, monkeypatch):
    model = clone(KINDS["icfl"]).set_params(
        max_steps=20, checkpoint=Checkpoint(tmp_path, steps=5), resume=True
    )
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        with pytest.raises(InterruptedError):
            clone(model).fit(X)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"")
    ended, _ = fit_together(2, lambda rank: clone(model).fit(X))
    assert all("damaged" in str(error) for error in ended)


def outcomes(fits):
    """What each of several fits gave: a dictionary, or its error."""
    results = []
    for fit in fits:
        try:
            results.append(fit())
        except Exception as error:
            results.append(error)
    return results


def test_who_fails_alone_ends_this_fit_and_all_later_ones(large, monkeypatch):
    monkeypatch.setattr("skdict._data_order.block_layout", lambda source: (20, 5))
    broken = X.copy()
    broken[500, 3] = np.nan

    def fit(rank):
        model = clone(KINDS["icfl"]).set_params(max_steps=40)
        return outcomes(
            lambda rows=rows: clone(model).fit(rows) for rows in (broken if rank else X, X, X)
        )

    monkeypatch.setattr("skdict._data_order.sample_rows", lambda *args, **kwargs: X[:500])
    first, second = fit_together(2, fit)[0]
    assert isinstance(second[0], ValueError) and "row 500" in str(second[0])
    assert all(isinstance(error, ConnectionError) for error in [*first, *second[1:]])
    assert "has left the others after an error (ValueError" in str(second[1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_nonzero_coefs": -1}, "n_nonzero_coefs"),
        ({"learning_rate": 1e30, "normalize_components": False}, "diverged"),
    ],
)
def test_who_fail_together_go_on_together(parameters, message):
    model = clone(KINDS["icfl"]).set_params(max_steps=20)

    def fit(rank):
        bad = clone(model).set_params(**parameters)
        with np.errstate(all="ignore"):  # of this thread
            return outcomes([lambda: bad.fit(X), lambda: clone(model).fit(X)])

    results = fit_together(2, fit)[0]
    alone = clone(model).fit(X)
    for error, fitted in results:
        assert message in str(error)
        np.testing.assert_allclose(fitted.components_, alone.components_, atol=1e-5)


def test_who_cannot_begin_keeps_the_others_from_it():
    rows = X.copy()
    rows[7, 3] = np.nan
    model = clone(KINDS["icfl"]).set_params(max_steps=5)
    results = fit_together(
        2,
        lambda rank: outcomes(
            [lambda: clone(model).fit(rows if rank else X), lambda: clone(model).fit(X)]
        ),
    )[0]
    assert "process 1 could not begin" in str(results[0][0])
    assert isinstance(results[1][0], ValueError)
    np.testing.assert_array_equal(results[0][1].components_, results[1][1].components_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.02}, "process 1 has learning_rate=0.02 and process 0 0.01"),
        ({"reset_every": 7}, "process 1 has reset_every=7 and process 0 10"),
        ({"batch_size": 60}, "process 1 has batch_size=60 and process 0 120"),
        ("rows", "process 1 has digest="),
    ],
)
def test_other_parameters_or_data_of_the_same_shape_are_an_error_of_all(change, message):
    def fit(rank):
        model, rows = clone(KINDS["icfl"]).set_params(learning_rate=0.01, max_steps=5), X
        if rank and change == "rows":
            rows = X[::-1]
        elif rank:
            model.set_params(**change)
        return model.fit(rows)

    assert all(message in str(error) for error in fit_together(2, fit)[0])


def test_machines_that_round_differently_end_with_one_dictionary():
    model = clone(KINDS["icfl"]).set_params(max_steps=230)
    models, meeting = fit_together(2, lambda rank: clone(model).fit(X), noise=1e-4)
    for name in LEARNED:
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))
    assert meeting.n_handed_out == 2 * 3  # after steps 100 and 200 and at the end


@pytest.mark.parametrize(("before", "after"), [(3, 1), (6, 3), (3, 2)])
def test_the_size_of_batches_stays_on_another_number_of_processes(
    before, after, large, tmp_path, monkeypatch
):
    # 256 rows by default are not shared by three
    model = ICFLDictionary(
        48, n_nonzero_coefs=3, max_steps=30, random_state=0, resume="auto",
        checkpoint=Checkpoint(tmp_path, steps=5),
    )  # fmt: skip
    with monkeypatch.context() as patch:
        stop_after(patch, 10)
        fit_together(before, lambda rank: clone(model).fit(X))
    if before % after:
        with pytest.warns(UserWarning, match="new order"):
            resumed, _ = shared_fit(model, after)
    else:
        resumed, _ = shared_fit(model, after)
    assert resumed.n_steps_ == 30


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "online"}, 'solver="online" cannot be fitted by 3 processes'),
        ({"batch_size": 100}, "batch_size must be a multiple of the number of processes, 3, got"),
    ],
)
def test_what_cannot_be_shared(parameters, message):
    ended, _ = fit_together(3, lambda rank: clone(KINDS["icfl"]).set_params(**parameters).fit(X))
    assert all(message in str(error) for error in ended)


def test_other_data_on_one_process():
    ended, _ = fit_together(2, lambda rank: clone(KINDS["icfl"]).fit(X[rank * 10 :]))
    assert all("process 1 has shape=[1190, 16] and process 0 [1200, 16]" in str(e) for e in ended)


def test_default_batches_are_shared_equally():
    model = ICFLDictionary(50, n_nonzero_coefs=3, max_steps=2, random_state=0)
    shared_fit(model, 3)  # 256 rows, the default, are no multiple of three


def test_partial_fit_is_refused():
    ended, _ = fit_together(2, lambda rank: clone(KINDS["icfl"]).partial_fit(X))
    assert all("partial_fit learns in this process alone" in str(error) for error in ended)
