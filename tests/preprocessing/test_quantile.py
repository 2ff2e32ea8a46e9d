"""QuantileBinarizer: scikit-learn's checks, the definition with np.quantile, control routing."""

import pickle

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdict import ControlPCAWhitener
from skdict.preprocessing import QuantileBinarizer

VARIANTS = [
    QuantileBinarizer(),
    QuantileBinarizer(target_active=1, sparse_output=False),
    QuantileBinarizer(alpha=0.2, reference="control"),
]
QUIET = [
    pytest.mark.filterwarnings("ignore:target_active=.* cannot be reached:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*features are constant:UserWarning"),
    pytest.mark.filterwarnings("ignore:control=None:UserWarning"),
]


def quiet(test):
    """Tiny data of the checks cannot have 100 active features, nor controls."""
    for mark in QUIET:
        test = mark(test)
    return test


@quiet
@parametrize_with_checks(VARIANTS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@quiet
@pytest.mark.parametrize(
    "check",
    [
        checks.check_param_validation,
        checks.check_transformer_get_feature_names_out,
        checks.check_transformer_get_feature_names_out_pandas,
        checks.check_get_feature_names_out_error,
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_set_output_transform_polars,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("estimator", VARIANTS, ids=str)
@pytest.mark.filterwarnings("ignore:X .*feature names:UserWarning")
def test_checks_that_parametrize_with_checks_leaves_out(estimator, check):
    check(type(estimator).__name__, estimator)


def by_definition(X, reference, alpha):
    """Codes with numpy's quantiles."""
    low, high = np.quantile(reference, [alpha, 1 - alpha], axis=0)
    return ((X < low) | (X > high)).astype(X.dtype)


@pytest.mark.parametrize(("target", "alpha"), [(100, 0.052), (300, 0.156)])
def test_alpha_of_the_paper(target, alpha):
    # 964 features with quantiles of all rows: 2 alpha of them are active
    X = np.random.default_rng(0).normal(size=(2001, 964)).astype(np.float32)
    binarizer = QuantileBinarizer(target_active=target).fit(X)
    assert binarizer.alpha_ == pytest.approx(alpha, abs=5e-4)
    codes = binarizer.transform(X)
    assert codes.nnz / X.shape[0] == pytest.approx(target, abs=0.5)
    assert codes.nnz / X.shape[0] == pytest.approx(binarizer.mean_active_)


@pytest.mark.parametrize("reference", ["all", "control"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_are_those_of_the_definition(reference, dtype):
    rng = np.random.default_rng(1)
    X = rng.gamma(2.0, size=(400, 30)).astype(dtype)
    control = rng.random(400) < 0.4
    X[~control] *= 1.5
    binarizer = QuantileBinarizer(6, reference=reference).fit(X, control=control)
    rows = X if reference == "all" else X[control]
    assert binarizer.n_reference_ == len(rows)
    low, high = np.quantile(rows.astype(float), [binarizer.alpha_, 1 - binarizer.alpha_], axis=0)
    rtol = 1e-6 if dtype is np.float32 else 1e-13
    np.testing.assert_allclose(binarizer.lower_, low, rtol=rtol)
    np.testing.assert_allclose(binarizer.upper_, high, rtol=rtol)
    codes = binarizer.transform(X)
    assert codes.dtype == dtype
    expected = (X < binarizer.lower_) | (X > binarizer.upper_)
    np.testing.assert_array_equal(codes.toarray(), expected)
    assert codes.nnz / 400 == pytest.approx(6, abs=0.1)
    # rows moved away from the controls are what is unusual for a control
    shares = [codes[mask].nnz / mask.sum() for mask in (control, ~control)]
    assert shares[1] > shares[0] + (3 if reference == "control" else 0)


VALUES = st.sampled_from([0.0, -1.0, 1.0, 2.0, 2.5, -7.25, 100.0])
TABLES = hnp.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(1, 5)), elements=VALUES)


@quiet
@given(X=TABLES, target=st.floats(0.1, 6.0))
def test_no_alpha_is_nearer_the_target(X, target):
    binarizer = QuantileBinarizer(target).fit(X)
    codes = binarizer.transform(X)
    assert set(codes.data) <= {1.0}
    assert codes.nnz / len(X) == pytest.approx(binarizer.mean_active_)
    steps = np.arange(0, len(X)) / (len(X) - 1) / 2
    for alpha in np.concatenate([steps + shift for shift in (-1e-6, 0, 1e-6)]).clip(0, 0.5):
        other = by_definition(X, X, alpha).sum() / len(X)
        assert abs(binarizer.mean_active_ - target) <= abs(other - target) + 1e-9


@quiet
@given(X=TABLES, alphas=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)))
def test_more_is_active_at_a_larger_alpha(X, alphas):
    few, many = (QuantileBinarizer(alpha=a).fit_transform(X).toarray() for a in sorted(alphas))
    assert (many >= few).all()


def test_alpha_is_used_when_given():
    X = np.arange(11.0)[:, None]
    binarizer = QuantileBinarizer(alpha=0.25).fit(X)
    assert (binarizer.alpha_, binarizer.lower_[0], binarizer.upper_[0]) == (0.25, 2.5, 7.5)
    active = np.flatnonzero(binarizer.transform(X).toarray())
    np.testing.assert_array_equal(active, [0, 1, 2, 8, 9, 10])
    assert binarizer.mean_active_ == pytest.approx(6 / 11)
    # a value on a quantile is not active
    assert QuantileBinarizer(alpha=0.2).fit(X).transform(X).sum() == 4
    assert QuantileBinarizer(alpha=0.0).fit(X).transform(X).nnz == 0


def test_new_rows_are_compared_with_the_rows_of_fit():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 10))
    binarizer = QuantileBinarizer(2).fit(X[:200])
    expected = by_definition(X[200:], X[:200], binarizer.alpha_)
    np.testing.assert_array_equal(binarizer.transform(X[200:]).toarray(), expected)
    far = binarizer.transform(X[200:] + 50)
    assert far.nnz == far.shape[0] * far.shape[1]


def test_blocks_and_output_kinds_agree(monkeypatch):
    X = np.random.default_rng(0).normal(size=(50, 12))
    fitted = QuantileBinarizer(3).fit(X)
    whole = fitted.transform(X)
    assert isinstance(whole, sparse.csr_matrix)
    monkeypatch.setattr("skdict.preprocessing._quantile._BLOCK_VALUES", 30)
    np.testing.assert_array_equal(fitted.transform(X).toarray(), whole.toarray())
    dense = clone(fitted).set_params(sparse_output=False).fit_transform(X)
    np.testing.assert_array_equal(dense, whole.toarray())
    with sklearn.config_context(sparse_interface="sparray"):
        assert isinstance(fitted.transform(X), sparse.csr_array)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.transform(X).toarray(), dense)


def test_what_cannot_be_reached_is_approached_with_a_warning():
    X = np.random.default_rng(0).normal(size=(100, 8))
    with pytest.warns(UserWarning, match=r"target_active=100 cannot be reached with 8 features"):
        binarizer = QuantileBinarizer().fit(X)
    assert binarizer.alpha_ == pytest.approx(0.5)
    assert binarizer.mean_active_ == pytest.approx(8)
    # half of all values are the same: no alpha makes them active
    X[:60] = 0.0
    with pytest.warns(UserWarning, match="rows have 3.2 active features"):
        assert QuantileBinarizer(5).fit(X).mean_active_ == pytest.approx(3.2)
    # at alpha 0 there are rows outside the range of the controls already
    X = np.concatenate([np.random.default_rng(0).normal(size=(20, 8)), np.full((20, 8), 30.0)])
    with pytest.warns(UserWarning, match=r"4 active features on average at alpha_=0"):
        QuantileBinarizer(1, reference="control").fit(X, control=np.arange(40) < 20)


def test_features_constant_among_the_reference_are_never_active():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    control = np.arange(40) < 20
    X[control, 1] = 0.3
    X[:, 3] = 7.0
    with pytest.warns(UserWarning, match="2 of 5 features are constant among the 20 reference"):
        codes = QuantileBinarizer(1, reference="control").fit(X, control=control).transform(X)
    per_feature = codes.getnnz(axis=0)
    assert (per_feature[[1, 3]] == 0).all()
    assert (per_feature[[0, 2, 4]] > 0).all()


def test_controls_arrive_by_metadata_routing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 20))
    control = rng.random(120) < 0.5
    X[~control] += 1.0
    pipeline = make_pipeline(
        StandardScaler(), ControlPCAWhitener(epsilon=0.1), QuantileBinarizer(4, reference="control")
    )
    with sklearn.config_context(enable_metadata_routing=True):
        whole = clone(pipeline).fit(X, control=control)
        folds = cross_validate(
            pipeline,
            X,
            params={"control": control},
            cv=KFold(3),
            scoring=lambda estimator, X, y=None: estimator[-1].mean_active_,
            return_estimator=True,
            return_indices=True,
        )
    assert whole[-1].n_reference_ == control.sum()
    for estimator, rows in zip(folds["estimator"], folds["indices"]["train"], strict=True):
        assert estimator[-1].n_reference_ == control[rows].sum()
        prepared = estimator[:-1].transform(X[rows])[control[rows]]
        low = np.quantile(prepared, estimator[-1].alpha_, axis=0)
        np.testing.assert_allclose(estimator[-1].lower_, low)
    # and by the step's name without it
    named = clone(pipeline).fit(
        X, quantilebinarizer__control=control, controlpcawhitener__control=control
    )
    np.testing.assert_array_equal(named[-1].lower_, whole[-1].lower_)


def test_errors_and_warnings_name_what_to_do():
    X = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.warns(UserWarning, match="control=None"):
        alone = QuantileBinarizer(1, reference="control").fit(X)
    np.testing.assert_array_equal(alone.lower_, QuantileBinarizer(1).fit(X).lower_)
    with pytest.raises(ValueError, match="control must mark at least 2"):
        QuantileBinarizer(1, reference="control").fit(X, control=np.arange(10) == 0)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        QuantileBinarizer(1).fit(np.where(X > 1, np.nan, X))
    for wrong in ({"target_active": 0}, {"alpha": 0.6}, {"reference": "plate"}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            QuantileBinarizer(**wrong).fit(X)
