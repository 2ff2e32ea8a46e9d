"""SelectivityScorer in scikit-learn's tools, with metadata routing on and off."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.metrics import SelectivityScorer, selectivity_scores
from skdict.preprocessing import LargestValuesSelector


@pytest.fixture
def labelled():
    """Embeddings whose first two columns mark two of four labels."""
    rng = np.random.default_rng(0)
    y = np.tile(["a", "b", "c", "DMSO"], 30)
    X = rng.normal(size=(120, 8))
    X[:, 0] += 6 * (y == "a")
    X[:, 1] += 6 * (y == "b")
    return X, y


@pytest.fixture(params=[False, True], ids=["routing-off", "routing-on"])
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


def expected_score(codes, y, **options):
    return selectivity_scores(codes, y, **options).max(axis=1).mean()


class Centerer(TransformerMixin, BaseEstimator):
    """Subtracts the mean of the controls, with `control` requested as the whitener does."""

    __metadata_request__fit = {"control": True}

    def fit(self, X, y=None, *, control=None):
        self.mean_ = X[control].mean(axis=0)
        self.n_control_ = int(control.sum())
        return self

    def transform(self, X):
        return X - self.mean_


def test_value_on_transformers_pipelines_and_predictors(labelled):
    X, y = labelled
    scorer = SelectivityScorer()
    selector = LargestValuesSelector(2).fit(X)
    codes = selector.transform(X)
    expected = expected_score(codes, y)
    assert scorer(selector, X, y) == expected
    pipeline = make_pipeline(StandardScaler(), LargestValuesSelector(2, standardize=False))
    assert scorer(pipeline.fit(X), X, y) == pytest.approx(expected)
    classifier = Pipeline([*pipeline.steps, ("probe", LogisticRegression())]).fit(X, y)
    assert scorer(classifier, X, y) == pytest.approx(expected)
    nested = make_pipeline(StandardScaler(), make_pipeline(selector, LogisticRegression()))
    assert scorer(nested.fit(X, y), X, y) == pytest.approx(expected)
    search = GridSearchCV(classifier, {"probe__C": [1.0]}, cv=2).fit(X, y)
    assert scorer(search, X, y) == pytest.approx(expected)
    last = GridSearchCV(make_pipeline(selector), {"memory": [None]}, scoring=scorer, cv=2)
    assert scorer(make_pipeline(StandardScaler(), last).fit(X, y), X, y) == pytest.approx(expected)


@pytest.mark.parametrize("idle", ["passthrough", None])
def test_a_last_step_that_does_nothing_is_passed_over(labelled, idle):
    X, y = labelled
    selector = LargestValuesSelector(2).fit(X)
    expected = expected_score(selector.transform(X), y)
    switched_off = Pipeline([("codes", selector), ("probe", idle)])
    assert SelectivityScorer()(switched_off, X, y) == expected
    probe = LogisticRegression().fit(selector.transform(X), y)
    twice = Pipeline([("codes", selector), ("probe", probe), ("off", idle), ("too", idle)])
    assert SelectivityScorer()(twice, X, y) == expected
    with pytest.raises(TypeError, match="no step besides 'passthrough'"):
        SelectivityScorer()(Pipeline([("off", idle)]), X, y)


def test_options_labels_and_excluded_controls(labelled):
    X, y = labelled
    selector = LargestValuesSelector(2).fit(X)
    codes = selector.transform(X)
    score = SelectivityScorer("maximum", active="positive")(selector, X, y)
    assert score == expected_score(codes, y, kind="maximum", active="positive")
    some = SelectivityScorer(labels=["a", "b", "not in this fold"])(selector, X, y)
    assert some == expected_score(codes, y, labels=["a", "b"])
    kept = y != "DMSO"
    without = SelectivityScorer(exclude=["DMSO"])(selector, X, y)
    assert without == expected_score(codes[kept], y[kept])
    assert without != some


def test_cross_validate_and_grid_search(labelled, routing):
    X, y = labelled
    scoring = {"selectivity": SelectivityScorer(), "accuracy": "accuracy"}
    pipeline = make_pipeline(StandardScaler(), LargestValuesSelector(), LogisticRegression())
    results = cross_validate(
        pipeline, X, y, scoring=scoring, cv=StratifiedKFold(3), return_estimator=True
    )
    for (_, test), model, score in zip(
        StratifiedKFold(3).split(X, y), results["estimator"], results["test_selectivity"]
    ):
        assert score == pytest.approx(expected_score(model[:-1].transform(X[test]), y[test]))
    grid = {"largestvaluesselector__n_nonzero_coefs": [1, 2, 8]}
    search = GridSearchCV(pipeline, grid, scoring=scoring, refit="selectivity", cv=3).fit(X, y)
    # with all eight values kept everything is active and nothing is selective
    scores = search.cv_results_["mean_test_selectivity"]
    assert scores[2] == 0 < scores.max() == search.best_score_
    nested = cross_validate(
        GridSearchCV(pipeline, grid, scoring=SelectivityScorer(), cv=2),
        X,
        y,
        scoring=SelectivityScorer(),
        cv=StratifiedKFold(2),
    )
    assert (nested["test_score"] > 0.2).all()


def test_transformer_alone_with_groups_and_routed_control(labelled):
    X, y = labelled
    control, groups = y == "DMSO", np.repeat(np.arange(3), 40)
    pipeline = make_pipeline(Centerer(), LargestValuesSelector(2))
    with sklearn.config_context(enable_metadata_routing=True):
        results = cross_validate(
            pipeline,
            X,
            y,
            scoring=SelectivityScorer(exclude=["DMSO"]),
            cv=GroupKFold(3),
            params={"control": control, "groups": groups},
            return_estimator=True,
        )
        search = GridSearchCV(
            pipeline,
            {"largestvaluesselector__n_nonzero_coefs": [1, 2]},
            scoring=SelectivityScorer(),
            cv=GroupKFold(3),
        ).fit(X, y, control=control, groups=groups)
    assert np.isfinite(results["test_score"]).all()
    assert [model[0].n_control_ for model in results["estimator"]] == [20, 20, 20]
    assert search.best_estimator_[0].n_control_ == 30


def test_clone_pickle_and_repr(labelled):
    X, y = labelled
    selector = LargestValuesSelector(2).fit(X)
    scorer = SelectivityScorer("maximum", active=0.5, labels=["a"], exclude=["DMSO"])
    assert repr(scorer) == (
        "SelectivityScorer(kind='maximum', reference='pooled', active=0.5, labels=['a'], "
        "exclude=['DMSO'])"
    )
    value = scorer(selector, X, y)
    for copied in (clone(scorer), pickle.loads(pickle.dumps(scorer)), eval(repr(scorer))):
        assert copied is not scorer
        assert copied(selector, X, y) == value
    search = clone(GridSearchCV(selector, {"n_nonzero_coefs": [1]}, scoring=scorer))
    assert repr(search.scoring) == repr(scorer)


def test_errors(labelled):
    X, y = labelled
    selector = LargestValuesSelector(2).fit(X)
    with pytest.raises(ValueError, match="y must hold one label per sample"):
        SelectivityScorer()(selector, X)
    with pytest.raises(TypeError, match="needs a transformer"):
        SelectivityScorer()(LogisticRegression().fit(X, y), X, y)
    with pytest.raises(TypeError, match="no transformer before its predictor"):
        SelectivityScorer()(make_pipeline(LogisticRegression()).fit(X, y), X, y)
    with pytest.raises(ValueError, match="kind must be one of"):
        SelectivityScorer("best")
    with pytest.raises(ValueError, match="active must be"):
        SelectivityScorer(active="on")
    with pytest.raises(ValueError, match=r"exclude=.* leaves no sample"):
        SelectivityScorer(exclude=np.unique(y))(selector, X, y)
    with pytest.raises(ValueError, match=r"labels=.*none of them occurs"):
        SelectivityScorer(labels=["z"])(selector, X, y)


@pytest.mark.filterwarnings("ignore:.*control samples for.*whitened directions:UserWarning")
def test_a_whitened_dictionary_searched_over_its_sparsity():
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(12, 16))
    y = np.tile(["DMSO", "a", "b", "c"], 60)
    loadings = np.abs(rng.normal(size=(240, 12))) * (rng.random((240, 12)) < 0.2)
    for column, label in enumerate("abc"):
        loadings[:, column] += 3 * (y == label)
    X = loadings @ atoms + 0.3 * rng.normal(size=(240, 16))
    control, groups = y == "DMSO", np.repeat(np.arange(4), 60)
    pipeline = make_pipeline(
        ControlPCAWhitener(),
        Normalizer(),
        ICFLDictionary(24, max_steps=30, random_state=0),
        LogisticRegression(),
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            pipeline,
            {"icfldictionary__n_nonzero_coefs": [2, 4]},
            scoring={"selectivity": SelectivityScorer(exclude=["DMSO"]), "accuracy": "accuracy"},
            refit="selectivity",
            cv=GroupKFold(4),
        ).fit(X, y, control=control, groups=groups)
    for name in ("selectivity", "accuracy"):
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
    assert search.best_score_ > 0.2
    assert search.best_estimator_[0].n_control_ == 60
    kept = ~control
    codes = search.best_estimator_[:-1].transform(X)
    score = SelectivityScorer(exclude=["DMSO"])(search, X, y)
    assert score == pytest.approx(expected_score(codes[kept], y[kept]))
