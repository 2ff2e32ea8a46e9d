"""Dask arrays on one machine: same codes, scores and whitening as of the whole array."""

import pickle
import sys

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.parallel import dask_fit_whitener, dask_score, dask_transform, save_codes

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N_ROWS, N_FEATURES = 600, 16
UNEVEN = (1, 250, 47, 302)


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(24, N_FEATURES))
    sources = rng.exponential(size=(N_ROWS, 24)) * (rng.random((N_ROWS, 24)) < 0.15)
    return sources @ mixing + rng.normal(size=(N_ROWS, N_FEATURES)) * 0.05 + 1.0


@pytest.fixture(scope="module")
def control():
    return np.random.default_rng(1).random(N_ROWS) < 0.4


def icfl(**options):
    options = {"n_nonzero_coefs": 4, "max_steps": 10, "random_state": 0} | options
    return ICFLDictionary(24, **options)


@pytest.fixture(scope="module")
def fitted(X):
    return icfl().fit(X)


@pytest.fixture(scope="module")
def pipeline(X):
    steps = make_pipeline(ControlPCAWhitener(epsilon=0.1), Normalizer(), icfl())
    with pytest.warns(UserWarning, match="control=None"):
        return steps.fit(X)


def lazy(X, rows=UNEVEN, columns=-1):
    return da.from_array(X, chunks=(rows, columns))


def unknown(X, rows=100):
    """The same rows with chunks of unknown size, one of them empty."""
    array = lazy(np.vstack([X, np.zeros_like(X[:rows])]), rows)
    return array[da.from_array(np.arange(array.shape[0]) < len(X), chunks=rows)]


def assert_same_codes(codes, expected):
    assert type(codes) is type(expected)
    assert codes.dtype == expected.dtype
    assert codes.shape == expected.shape
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(codes, name), getattr(expected, name))


# ---------------------------------------------------------------------- transform


@pytest.mark.parametrize("rows", [N_ROWS, 100, UNEVEN])
@pytest.mark.parametrize("dictionary", [icfl(), TopKSAE(24, n_nonzero_coefs=4, max_steps=5)])
def test_codes_do_not_depend_on_chunks(X, rows, dictionary):
    dictionary = clone(dictionary).set_params(random_state=0).fit(X)
    codes = dask_transform(dictionary, lazy(X, rows))
    assert_same_codes(codes.compute(), dictionary.transform(X))


def test_codes_in_single_precision(X, fitted):
    X = X.astype(np.float32)
    codes, expected = dask_transform(fitted, lazy(X)).compute(), fitted.transform(X)
    assert codes.dtype == np.float32
    left = [np.linalg.norm(X - fitted.inverse_transform(z), axis=1) for z in (codes, expected)]
    np.testing.assert_allclose(*left, rtol=1e-5, atol=1e-6)
    differs = ((codes != 0) != (expected != 0)).sum(axis=1)
    assert np.mean(differs == 0) >= 0.99


def test_result_is_described_before_it_is_computed(X, fitted):
    codes = dask_transform(fitted, lazy(X))
    assert codes.shape == (N_ROWS, 24)
    assert codes.chunks == (UNEVEN, (24,))
    assert codes.dtype == np.float64
    assert sparse.issparse(codes._meta) and codes._meta.format == "csr"
    assert_same_codes(codes.blocks[1].compute(), fitted.transform(X[1:251]))


def test_nothing_is_computed_on_call(X, pipeline):
    def refuse(block):
        raise AssertionError("read")

    source = lazy(X).map_blocks(refuse, dtype=X.dtype, meta=X[:0])
    codes = dask_transform(pipeline, source)
    lazy_score = dask_score(pipeline, source, compute=False)
    for result in (codes, lazy_score):
        with pytest.raises(AssertionError, match="read"):
            result.compute()


def test_pipelines_agree_to_rounding(X, pipeline):
    codes, expected = dask_transform(pipeline, lazy(X)).compute(), pipeline.transform(X)
    assert sparse.issparse(codes)
    np.testing.assert_allclose(codes.toarray(), expected.toarray(), rtol=0, atol=1e-10)


def test_columns_in_chunks_and_rows_of_unknown_number(X, fitted):
    expected = fitted.transform(X)
    assert_same_codes(dask_transform(fitted, lazy(X, 100, 5)).compute(), expected)
    codes = dask_transform(fitted, unknown(X))
    assert np.isnan(codes.shape[0]) and codes.shape[1] == 24
    assert_same_codes(codes.compute(), expected)


@pytest.mark.parametrize("estimator", [ControlPCAWhitener(epsilon=0.1), PCA(3), Normalizer()])
def test_transformers_with_dense_output(X, estimator):
    kwargs = {"control": np.ones(N_ROWS, bool)} if hasattr(estimator, "epsilon") else {}
    estimator.fit(X, **kwargs)
    result = dask_transform(estimator, lazy(X))
    expected = estimator.transform(X)
    assert result.shape == expected.shape
    assert isinstance(result._meta, np.ndarray)
    np.testing.assert_allclose(result.compute(), expected, rtol=1e-10, atol=1e-12)


def test_dense_codes(X):
    dictionary = icfl(sparse_output=False).fit(X)
    result = dask_transform(dictionary, lazy(X))
    assert isinstance(result._meta, np.ndarray)
    np.testing.assert_array_equal(result.compute(), dictionary.transform(X))


def test_settings_of_the_call_reach_the_tasks(X, fitted):
    with config_context(sparse_interface="sparray", assume_finite=True):
        codes = dask_transform(fitted, lazy(X))
    with dask.config.set(scheduler="threads", num_workers=2):
        result = codes.compute()
    assert isinstance(codes._meta, sparse.csr_array)
    assert isinstance(result, sparse.csr_array)


def test_integers_give_double_precision(X, pipeline):
    X = np.round(X * 10).astype(np.int32)
    codes = dask_transform(pipeline, lazy(X))
    assert codes.dtype == codes.compute().dtype == pipeline.transform(X).dtype


def test_later_fits_change_nothing(X):
    dictionary = icfl().fit(X)
    expected = dictionary.transform(X)
    codes = dask_transform(dictionary, lazy(X))
    assert codes.name == dask_transform(dictionary, lazy(X)).name
    dictionary.partial_fit(X[:100])
    assert_same_codes(codes.compute(), expected)
    assert codes.name != dask_transform(dictionary, lazy(X)).name


class Loaded(TransformerMixin, BaseEstimator):
    """Counts how often it is read from bytes."""

    n_times = 0

    def fit(self, X, y=None):
        self.ballast_ = np.zeros(100_000)
        return self

    def transform(self, X):
        return X

    def __setstate__(self, state):
        Loaded.n_times += 1
        super().__setstate__(state)


def test_the_estimator_is_one_task_of_the_graph(X):
    estimator = Loaded().fit(X)
    result = dask_transform(estimator, lazy(X, 10))
    graph = dict(dask.optimize(result)[0].__dask_graph__())
    sizes = [len(pickle.dumps(task)) for key, task in graph.items() if "from_array" not in str(key)]
    assert sum(size > estimator.ballast_.nbytes for size in sizes) == 1
    Loaded.n_times = 0
    result.compute()
    assert Loaded.n_times == 1


def test_functions_defined_on_the_spot_travel(X, fitted):
    steps = make_pipeline(FunctionTransformer(lambda block: block * 2.0), fitted)
    codes = dask_transform(steps, lazy(X)).compute()
    assert_same_codes(codes, fitted.transform(X * 2.0))


def test_bad_rows_are_refused_when_computed(X, fitted):
    spoilt = X.copy()
    spoilt[300, 2] = np.nan
    codes = dask_transform(fitted, lazy(spoilt))
    with pytest.raises(ValueError, match="NaN"):
        codes.compute()


def one_number_per_row(X):
    return X[:, 0]


def test_what_cannot_be_transformed(X, fitted):
    with pytest.raises(TypeError, match="X must be a dask array, got ndarray"):
        dask_transform(fitted, X)
    with pytest.raises(ValueError, match="two dimensions"):
        dask_transform(fitted, lazy(X)[:, 0])
    with pytest.raises(ValueError, match="16 columns, as many as ICFLDictionary saw in fit, got 3"):
        dask_transform(fitted, lazy(X)[:, :3])
    with pytest.raises(ValueError, match="known number of columns"):
        dask_transform(fitted, unknown(X.T).T)
    with pytest.raises(NotFittedError):
        dask_transform(icfl(), lazy(X))
    with pytest.raises(TypeError, match="one row for each row"):
        dask_transform(FunctionTransformer(one_number_per_row).fit(X), lazy(X))


def test_without_dask_the_message_says_how_to_install_it(X, fitted, monkeypatch):
    array = lazy(X)
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.raises(ImportError, match=r'pip install "skdict\[dask\]"'):
        dask_transform(fitted, array)


# ---------------------------------------------------------------------- score


@pytest.mark.parametrize("rows", [N_ROWS, 100, UNEVEN, 7])
def test_score_is_that_of_the_estimator(X, fitted, pipeline, rows):
    shifted = X + 1e3  # variances are lost in squares of values, not about a mean
    assert dask_score(fitted, lazy(shifted, rows)) == pytest.approx(
        fitted.score(shifted), rel=1e-10, abs=0
    )
    assert dask_score(pipeline, lazy(X, rows)) == pytest.approx(pipeline.score(X), rel=1e-10)


def test_score_of_single_precision_dense_codes_and_empty_chunks(X):
    dictionary = icfl(sparse_output=False).fit(X)
    single = X.astype(np.float32)
    assert dask_score(dictionary, unknown(single)) == pytest.approx(
        dictionary.score(single), rel=1e-6
    )
    only_dictionary = make_pipeline(dictionary)
    assert dask_score(only_dictionary, lazy(X)) == pytest.approx(dictionary.score(X), rel=1e-10)


def test_score_of_constant_rows(fitted):
    assert dask_score(fitted, da.ones((40, N_FEATURES), chunks=(16, -1))) == 0.0


def test_lazy_scores_share_a_pass(X, fitted):
    scores = [dask_score(fitted, lazy(part), compute=False) for part in (X, X * 2.0)]
    expected = [fitted.score(X), fitted.score(X * 2.0)]
    np.testing.assert_allclose(dask.compute(*scores), expected, rtol=1e-10)


def test_what_cannot_be_scored(X, fitted):
    with pytest.raises(TypeError, match="must be a dictionary"):
        dask_score(Normalizer().fit(X), lazy(X))
    nothing = lazy(X)[da.from_array(np.zeros(N_ROWS, bool), chunks=(UNEVEN,))]
    with pytest.raises(ValueError, match="at least one row"):
        dask_score(fitted, nothing)


# ---------------------------------------------------------------------- whitening


def assert_same_whitening(whitener, expected, rtol=1e-10):
    for name in ("mean_", "components_", "explained_variance_", "outlier_severity_", "_inverse"):
        found, wanted = getattr(whitener, name), getattr(expected, name)
        largest = np.abs(wanted[np.isfinite(wanted)]).max()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * largest)
    assert whitener.epsilon_ == pytest.approx(expected.epsilon_, rel=rtol)
    assert whitener.n_control_ == expected.n_control_
    assert whitener.n_features_in_ == expected.n_features_in_


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["pca", "center", "zca-cor"])
@pytest.mark.parametrize("rows", [N_ROWS, 7, UNEVEN])
def test_whitening_is_that_of_fit(X, control, dtype, method, rows):
    X = X.astype(dtype)
    X[:, 3] = 0.1  # a constant column stays exactly constant
    options = {"method": method, "epsilon": 0.0}
    expected = ControlPCAWhitener(**options).fit(X, control=control)
    whitener = ControlPCAWhitener(**options)
    assert dask_fit_whitener(whitener, lazy(X, rows, 5), control) is whitener
    assert_same_whitening(whitener, expected)
    np.testing.assert_allclose(whitener.transform(X), expected.transform(X), rtol=1e-4, atol=1e-4)


def test_forms_of_the_mask(X, control):
    expected = ControlPCAWhitener().fit(X, control=control)
    of_x = unknown(X)
    padded = np.append(control, np.zeros(100, bool))
    beside = da.from_array(padded, chunks=100)[da.from_array(np.arange(700) < N_ROWS, chunks=100)]
    for array, mask in [
        (lazy(X), list(control)),
        (lazy(X), control.astype(object)),
        (lazy(X), da.from_array(control, chunks=50)),
        (of_x, beside),
    ]:
        assert_same_whitening(dask_fit_whitener(ControlPCAWhitener(), array, mask), expected)


def test_all_rows_with_a_warning(X):
    with pytest.warns(UserWarning, match="control=None"):
        expected = ControlPCAWhitener().fit(X)
    with pytest.warns(UserWarning, match="control=None") as caught:
        whitener = dask_fit_whitener(ControlPCAWhitener(), unknown(X))
    assert caught[0].filename == __file__
    assert_same_whitening(whitener, expected)


def test_blocks_without_controls_are_not_read(X):
    control = np.arange(N_ROWS) < 200
    spoilt = X.copy()
    spoilt[400:] = np.nan
    whitener = dask_fit_whitener(ControlPCAWhitener(), lazy(spoilt, 200), control)
    assert_same_whitening(whitener, ControlPCAWhitener().fit(X, control=control))


def test_batches_can_follow(X, control):
    whitener = dask_fit_whitener(ControlPCAWhitener(), lazy(X[:400], 100), control[:400])
    whitener.partial_fit(X[400:], control=control[400:])
    assert_same_whitening(whitener, ControlPCAWhitener().fit(X, control=control))


def test_an_earlier_fit_is_forgotten(X, control):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X[:, :5], columns=list("abcde"))
    whitener = ControlPCAWhitener().fit(table, control=control)
    dask_fit_whitener(whitener, lazy(X), control)
    assert not hasattr(whitener, "feature_names_in_")
    assert_same_whitening(whitener, ControlPCAWhitener().fit(X, control=control))


def test_what_cannot_be_whitened(X, control):
    whitener = ControlPCAWhitener()
    with pytest.raises(TypeError, match="must be a ControlPCAWhitener, got Normalizer"):
        dask_fit_whitener(Normalizer(), lazy(X), control)
    with pytest.raises(ValueError, match="599 entries for 600 rows"):
        dask_fit_whitener(whitener, lazy(X), control[1:])
    with pytest.raises(ValueError, match="boolean mask, got dtype int64"):
        dask_fit_whitener(whitener, lazy(X), control.astype(np.int64))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        dask_fit_whitener(whitener, unknown(X), control)
    with pytest.raises(ValueError, match="599 entries for 600 rows"):
        dask_fit_whitener(whitener, lazy(X), da.from_array(control[1:], chunks=50))
    with pytest.raises(ValueError, match="one-dimensional boolean mask"):
        dask_fit_whitener(whitener, lazy(X), da.from_array(control.astype(int), chunks=50))
    with pytest.raises(ValueError, match="12 chunks for 7 chunks"):
        dask_fit_whitener(whitener, unknown(X), da.from_array(control, chunks=50))
    with pytest.raises(ValueError, match="at least 2 control samples, got 1"):
        dask_fit_whitener(whitener, lazy(X), da.from_array(np.arange(N_ROWS) == 5, chunks=50))
    with pytest.raises(ValueError, match="NaN"):
        dask_fit_whitener(whitener, lazy(np.where(X > 1e9, X, np.nan)), control)
    assert not hasattr(whitener, "mean_")


# ---------------------------------------------------------------------- storing


@pytest.mark.parametrize("blocks_at_once", [1, 3, 32])
def test_stored_codes_are_those_in_memory(X, fitted, tmp_path, blocks_at_once):
    codes = dask_transform(fitted, unknown(X))
    stored = save_codes(codes, tmp_path / "codes", blocks_at_once=blocks_at_once)
    assert stored.shape == (N_ROWS, 24) and stored.dtype == np.float64
    expected = fitted.transform(X)
    np.testing.assert_array_equal(stored.to_csr().toarray(), expected.toarray())
    assert stored.nnz == expected.nnz
    with pytest.raises(FileExistsError):
        save_codes(codes, tmp_path / "codes")
    nothing = dask_transform(fitted, lazy(X))[:0]
    assert save_codes(nothing, tmp_path / "codes", overwrite=True).shape == (0, 24)


def test_storing_goes_on_behind_what_is_stored(X, fitted, tmp_path):
    path = tmp_path / "codes"
    computed = []

    def fail_late(block, block_info=None):
        computed.append(block_info[0]["chunk-location"][0])
        if len(computed) == 3:
            raise RuntimeError("power cut")
        return block

    source = lazy(X, 100).map_blocks(fail_late, dtype=X.dtype, meta=X[:0])
    codes = dask_transform(fitted, source)
    with pytest.raises(RuntimeError, match="power cut"):
        save_codes(codes, path, blocks_at_once=1)
    assert not path.exists()
    with pytest.raises(ValueError, match="resume=True found 200 rows"):
        save_codes(dask_transform(fitted, unknown(X)), path, resume=True)
    stored = save_codes(codes, path, resume=True)
    assert computed == [0, 1, 2, 2, 3, 4, 5]
    np.testing.assert_array_equal(stored.to_csr().toarray(), fitted.transform(X).toarray())


def test_what_cannot_be_stored(X, fitted, tmp_path):
    for wrong in (fitted.transform(X), lazy(X)):
        with pytest.raises(TypeError, match="dask array of CSR blocks"):
            save_codes(wrong, tmp_path / "codes")
    with pytest.raises(ValueError, match="blocks_at_once"):
        save_codes(dask_transform(fitted, lazy(X)), tmp_path / "codes", blocks_at_once=0)
    assert not list(tmp_path.iterdir())
