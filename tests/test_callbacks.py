"""scikit-learn's callbacks on the estimators, alone, in pipelines and in searches."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE

X = np.random.default_rng(0).normal(size=(400, 8))
CONTROL = np.arange(400) < 200
DICTIONARIES = {
    "icfl": ICFLDictionary(16, n_nonzero_coefs=2, max_steps=50, batch_size=64, random_state=0),
    "topk": TopKSAE(16, n_nonzero_coefs=2, max_steps=50, batch_size=64, random_state=0),
}


class Recorder:
    """Notes the tasks, and stops after some of them."""

    def __init__(self, stop_after=None):
        self.tasks, self.steps, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.tasks.append(("setup", type(estimator).__name__))

    def teardown(self, estimator, context):
        self.tasks.append(("teardown", type(estimator).__name__))

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.tasks.append(("end", context.task_name))
        if context.task_name == "steps":
            self.steps.append(fitted_estimator.n_steps_)
            return self.stop_after is not None and len(self.steps) == self.stop_after


@pytest.mark.parametrize("name", DICTIONARIES)
def test_a_block_of_steps_is_a_task(name):
    recorder = Recorder()
    model = clone(DICTIONARIES[name]).set_callbacks(recorder).fit(X)
    assert recorder.steps == list(range(1, 51))  # 50 steps are 50 blocks
    assert recorder.tasks[:3] == [
        ("setup", type(model).__name__), ("begin", "fit"), ("begin", "steps")
    ]  # fmt: skip
    assert recorder.tasks[-2:] == [("end", "fit"), ("teardown", type(model).__name__)]
    without = clone(DICTIONARIES[name]).fit(X)
    np.testing.assert_array_equal(model.components_, without.components_)
    for curve in without.history_:
        np.testing.assert_array_equal(model.history_[curve], without.history_[curve])


def test_blocks_of_a_long_fit():
    recorder = Recorder()
    clone(DICTIONARIES["icfl"]).set_params(max_steps=250).set_callbacks(recorder).fit(X)
    assert recorder.steps == list(range(2, 251, 2))
    recorder = Recorder()
    clone(DICTIONARIES["icfl"]).set_params(max_steps=0).set_callbacks(recorder).fit(X)
    assert recorder.steps == [] and ("end", "fit") in recorder.tasks


@pytest.mark.parametrize("name", DICTIONARIES)
def test_a_callback_stops_early(name):
    model = clone(DICTIONARIES[name]).set_callbacks(Recorder(stop_after=20)).fit(X)
    assert model.n_steps_ == 20 and model.transform(X).shape == (400, 16)


def test_scores_while_fitting():
    monitor = ScoringMonitor(scoring={"explained variance": lambda model, X, y: model.score(X)})
    model = clone(DICTIONARIES["icfl"]).set_callbacks(monitor).fit(X)
    scores = [
        row["explained variance"] for row in monitor.get_logs().data if row["task_name"] == "steps"
    ]
    assert len(scores) == 50 and scores[-1] > scores[0]
    assert scores[-1] == pytest.approx(model.score(X))


def test_progress_in_a_pipeline_and_a_search(capsys):
    pytest.importorskip("rich")
    pipeline = make_pipeline(ControlPCAWhitener(), clone(DICTIONARIES["icfl"]))
    pipeline.set_callbacks(ProgressBar())
    with config_context(enable_metadata_routing=True):
        pipeline.fit(X, control=CONTROL)
    assert "ICFLDictionary" in capsys.readouterr().out
    search = GridSearchCV(clone(DICTIONARIES["icfl"]), {"n_nonzero_coefs": [1, 2]}, cv=2)
    recorder = Recorder()
    search.set_callbacks(ProgressBar()).fit(X)
    assert "ICFLDictionary" in capsys.readouterr().out
    search = GridSearchCV(
        clone(DICTIONARIES["icfl"]).set_callbacks(recorder), {"n_nonzero_coefs": [1, 2]}, cv=2
    ).fit(X)
    assert len(recorder.steps) == 5 * 50


def test_the_whitener_is_one_task():
    recorder = Recorder()
    ControlPCAWhitener().set_callbacks(recorder).fit(X, control=CONTROL)
    assert [task for task in recorder.tasks if task[0] in ("begin", "end")] == [
        ("begin", "fit"), ("end", "fit")
    ]  # fmt: skip


def test_an_error_in_a_callback_keeps_what_was_learned():
    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("full")

    model = clone(DICTIONARIES["icfl"]).set_callbacks(Failing())
    with pytest.raises(RuntimeError, match="full"):
        model.fit(X)
    assert model.n_steps_ == 1 and not hasattr(model, "_callback_fit_ctx")
