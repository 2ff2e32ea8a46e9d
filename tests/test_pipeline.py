"""The estimators in pipelines, cross-validation and searches, with `control` routed."""

import io
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.datasets import make_superposition
from skdict.metrics import SelectivityScorer


@pytest.fixture(scope="module")
def profiles():
    data = make_superposition(
        n_samples=360,
        n_features=12,
        n_components=24,
        n_active=2,
        n_labels=4,
        control_fraction=0.2,
        random_state=0,
    )
    group = np.random.default_rng(0).integers(0, 6, size=360)
    return data.data, data.target, data.control, group


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def make_pipe(dictionary=None, classifier=True):
    steps = [
        ("whiten", ControlPCAWhitener()),
        ("normalize", Normalizer()),
        ("dictionary", dictionary or ICFLDictionary(24, max_steps=20, random_state=0)),
    ]
    if classifier:
        steps += [("scale", MaxAbsScaler()), ("probe", LogisticRegression())]
    return Pipeline(steps)


def test_folds_see_exactly_their_own_controls(profiles, routing):
    X, y, control, group = profiles
    results = cross_validate(
        make_pipe(),
        X,
        y,
        cv=GroupKFold(3),
        params={"control": control, "groups": group},
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    assert len(results["estimator"]) == 3
    for pipe, train in zip(results["estimator"], results["indices"]["train"], strict=True):
        assert pipe["whiten"].n_control_ == control[train].sum() < control.sum()
        rows = X[train][control[train]].astype(np.float64)
        np.testing.assert_allclose(pipe["whiten"].mean_, rows.mean(axis=0))


@pytest.mark.parametrize(
    "dictionary",
    [ICFLDictionary(24, max_steps=15, random_state=0), TopKSAE(24, max_steps=15, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_grid_search_over_sparsity(profiles, routing, dictionary):
    X, y, control, group = profiles
    search = GridSearchCV(
        make_pipe(dictionary),
        {"dictionary__n_nonzero_coefs": [1, 3]},
        cv=GroupKFold(3),
        scoring={"accuracy": "balanced_accuracy", "selectivity": SelectivityScorer()},
        refit="accuracy",
        error_score="raise",
    ).fit(X, y, control=control, groups=group)
    assert search.best_estimator_["whiten"].n_control_ == control.sum()
    codes = search.best_estimator_[:3].transform(X)
    assert codes.getnnz(axis=1).max() <= search.best_params_["dictionary__n_nonzero_coefs"]
    assert np.isfinite(search.cv_results_["mean_test_selectivity"]).all()
    nested = cross_validate(
        search, X, y, params={"control": control, "groups": group}, cv=GroupKFold(2)
    )
    assert np.isfinite(nested["test_score"]).all()


def test_too_large_a_sparsity_does_not_end_a_search(profiles, routing):
    X, y, control, group = profiles
    with pytest.warns(UserWarning, match="n_nonzero_coefs=99 is larger"):
        search = GridSearchCV(
            make_pipe(), {"dictionary__n_nonzero_coefs": [2, 99]}, cv=GroupKFold(2)
        ).fit(X, y, control=control, groups=group)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_works_without_routing_too(profiles):
    X, y, control, group = profiles
    pipe = make_pipe().fit(X, y, whiten__control=control)
    assert pipe["whiten"].n_control_ == control.sum()
    results = cross_validate(
        make_pipe(), X, y, groups=group, cv=GroupKFold(3), params={"whiten__control": control}
    )
    assert np.isfinite(results["test_score"]).all()


def test_a_fold_without_controls_is_an_error_that_says_what_to_do(profiles, routing):
    X, y, control, _ = profiles
    group = np.where(control, 0, 1 + np.arange(360) % 2)
    with pytest.raises(ValueError, match="StratifiedKFold with the mask as y"):
        cross_validate(
            make_pipe(),
            X,
            y,
            cv=GroupKFold(3),
            params={"control": control, "groups": group},
            error_score="raise",
        )
    folds = StratifiedKFold(3).split(X, control)
    results = cross_validate(make_pipe(), X, y, cv=list(folds), params={"control": control})
    assert np.isfinite(results["test_score"]).all()


def test_clone_pickle_joblib(profiles, routing):
    X, y, control, _ = profiles
    pipe = make_pipe().fit(X, y, control=control)
    expected = pipe.predict_proba(X)
    again = clone(pipe).fit(X, y, control=control)
    np.testing.assert_allclose(again.predict_proba(X), expected)
    buffer = io.BytesIO()
    joblib.dump(pipe, buffer)
    buffer.seek(0)
    for copy in (joblib.load(buffer), pickle.loads(pickle.dumps(pipe))):
        np.testing.assert_array_equal(copy.predict_proba(X), expected)


def test_parallel_workers_give_the_same_codes(profiles, routing):
    X, y, control, group = profiles
    scores = [
        cross_validate(
            make_pipe(),
            X,
            y,
            cv=GroupKFold(3),
            params={"control": control, "groups": group},
            n_jobs=n_jobs,
        )["test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])


def _threads_in_worker():
    from skdict.kernels._threads import single_threaded_blas

    return single_threaded_blas.n_threads()


def test_workers_share_the_cores():
    """Two joblib workers use no more threads in all than there are cores."""
    n_threads = joblib.Parallel(n_jobs=2)(joblib.delayed(_threads_in_worker)() for _ in range(2))
    assert sum(n_threads) <= max(2, joblib.cpu_count())


def test_data_frames(profiles, routing):
    pandas = pytest.importorskip("pandas")
    X, y, control, _ = profiles
    frame = pandas.DataFrame(X, columns=[f"Cells_{j}" for j in range(12)])
    pipe = make_pipe(ICFLDictionary(24, max_steps=5, sparse_output=False), classifier=False)
    out = pipe.set_output(transform="pandas").fit(frame, y, control=control).transform(frame)
    assert list(out.columns[:2]) == ["icfldictionary0", "icfldictionary1"]
    assert out.index.equals(frame.index)
    assert list(pipe["whiten"].feature_names_in_) == list(frame.columns)
    sparse_pipe = make_pipe(classifier=False).set_output(transform="pandas")
    with pytest.raises(ValueError, match="output does not support sparse data"):
        sparse_pipe.fit_transform(frame, y, control=control)


@pytest.mark.parametrize(
    ("interface", "kind"), [("spmatrix", sparse.csr_matrix), ("sparray", sparse.csr_array)]
)
def test_the_sparse_type_follows_the_setting(profiles, interface, kind):
    X, _, control, _ = profiles
    pipe = make_pipe(classifier=False)
    with sklearn.config_context(sparse_interface=interface, enable_metadata_routing=True):
        codes = pipe.fit_transform(X, control=control)
    assert isinstance(codes, kind)
    assert codes.has_canonical_format
    assert codes.indices.dtype == np.int32


def test_the_html_diagram_shows_the_docstrings(profiles, routing):
    X, y, control, _ = profiles
    pipe = make_pipe().fit(X, y, control=control)
    html = pipe._repr_html_()
    assert "Most non-zeros in a code" in html
    assert "outlier_severity_" in html


def test_float32_survives_the_pipeline(profiles, routing):
    X, _, control, _ = profiles
    pipe = make_pipeline(ControlPCAWhitener(), Normalizer(), ICFLDictionary(24, max_steps=3))
    codes = pipe.fit_transform(X.astype(np.float32), control=control)
    assert codes.dtype == np.float32
