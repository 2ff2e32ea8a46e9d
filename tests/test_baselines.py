"""Baselines: equally sparse codes, reconstructions; dictionaries coded by another encoder."""

import pickle

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA, MiniBatchDictionaryLearning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import orthogonal_mp
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE, sparse_encode
from skdict.baselines import NonNegativeShift, RecodedDictionary, make_baselines
from skdict.datasets import make_superposition
from skdict.metrics import dictionary_recovery, explained_variance, reconstruction_cosine
from skdict.probing import probe_representations

NAMES = ["random", "neurons", "pca", "ica", "nmf", "minibatch"]

ESTIMATORS = [
    RecodedDictionary(ICFLDictionary(max_steps=20, random_state=0), algorithm="topk"),
    RecodedDictionary(TopKSAE(max_steps=20, random_state=0)),
    RecodedDictionary(TopKSAE(max_steps=20, random_state=0), algorithm="omp"),
    NonNegativeShift(),
]

pytestmark = pytest.mark.filterwarnings(
    "ignore:Maximum number of iterations:sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def planted():
    return make_superposition(
        n_samples=600,
        n_features=16,
        n_components=32,
        n_active=2,
        n_labels=4,
        control_fraction=0.3,
        random_state=0,
    )


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        checks.check_transformer_get_feature_names_out,
        checks.check_get_feature_names_out_error,
        checks.check_set_output_transform,
        checks.check_set_output_transform_pandas,
        checks.check_n_features_in_after_fitting,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.filterwarnings("ignore:X .*feature names:UserWarning")
def test_checks_beyond_the_list(estimator, check):
    check(type(estimator).__name__, estimator)


# ---------------------------------------------------------------------- the dictionary of others


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["icfl", "omp", "mp"])
def test_pursuits_are_those_of_sparse_encode(planted, algorithm, dtype):
    X = planted.data.astype(dtype)
    recoded = RecodedDictionary(
        TopKSAE(32, n_nonzero_coefs=3, max_steps=50, random_state=0),
        algorithm=algorithm,
        atoms_per_step=2,
    ).fit(X)
    alone = TopKSAE(32, n_nonzero_coefs=3, max_steps=50, random_state=0).fit(X)
    np.testing.assert_array_equal(recoded.components_, alone.components_)
    codes = recoded.transform(X)
    expected = sparse_encode(
        X - alone.intercept_,
        alone.components_,
        algorithm=algorithm,
        n_nonzero_coefs=3,
        atoms_per_step=2,
    )
    atol = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(codes.toarray(), expected.toarray(), atol=atol)
    assert codes.dtype == dtype
    reconstructed = codes @ alone.components_ + alone.intercept_
    np.testing.assert_allclose(recoded.inverse_transform(codes), reconstructed, atol=atol)


def test_one_step_keeps_the_largest_inner_products(planted):
    X = planted.data.astype(np.float64)
    recoded = RecodedDictionary(
        ICFLDictionary(32, max_steps=50, random_state=0), algorithm="topk", n_nonzero_coefs=4
    ).fit(X)
    products = (X - recoded.intercept_) @ recoded.components_.T
    expected = np.zeros_like(products)
    top = np.argsort(-products, axis=1)[:, :4]
    np.put_along_axis(expected, top, np.take_along_axis(products, top, axis=1), axis=1)
    codes = recoded.transform(X)
    np.testing.assert_allclose(codes.toarray(), np.maximum(expected, 0), atol=1e-12)
    # a TopK autoencoder whose encoder is its decoder says the same
    autoencoder = TopKSAE(32, n_nonzero_coefs=4, max_steps=1, random_state=0).fit(X)
    autoencoder.components_ = autoencoder.encoder_ = recoded.components_
    autoencoder.intercept_, autoencoder.encoder_bias_ = recoded.intercept_, np.zeros(32)
    np.testing.assert_allclose(autoencoder.transform(X).toarray(), codes.toarray(), atol=1e-12)


def test_encoder_and_dictionary_are_told_apart(planted):
    # The planted atoms, all that is right; and a random dictionary. With the right atoms the
    # pursuit finds the codes, the single step does not; with the wrong ones neither does.
    X = planted.data
    right = ICFLDictionary(32, n_nonzero_coefs=2, max_steps=0, init=planted.components)
    wrong = ICFLDictionary(32, n_nonzero_coefs=2, max_steps=0, random_state=0)
    for dictionary in (right, wrong):
        dictionary.set_params(fit_intercept=False)
    cosine = {}
    for name, dictionary in (("right", right), ("wrong", wrong)):
        for algorithm in ("omp", "topk"):
            model = RecodedDictionary(dictionary, algorithm=algorithm).fit(X)
            X_hat = model.inverse_transform(model.transform(X))
            cosine[name, algorithm] = reconstruction_cosine(X, X_hat)
    assert cosine["right", "omp"] > 0.97
    assert cosine["right", "omp"] > cosine["right", "topk"] + 0.01
    assert cosine["right", "topk"] > cosine["wrong", "omp"] + 0.05
    # A trained TopK dictionary gains by pursuit, at the same sparsity.
    by_pursuit = RecodedDictionary(
        TopKSAE(32, n_nonzero_coefs=2, max_steps=300, random_state=0), algorithm="omp"
    ).fit(X)
    assert by_pursuit.transform(X).count_nonzero(axis=1).max() == 2
    assert by_pursuit.score(X) > by_pursuit.dictionary_.score(X) + 0.02


def test_dictionary_of_scikit_learn(planted):
    X = planted.data.astype(np.float64)
    X = np.concatenate([X, np.zeros((1, 16))])
    learner = MiniBatchDictionaryLearning(20, alpha=0.1, max_iter=5, random_state=0)
    recoded = RecodedDictionary(learner, algorithm="omp", n_nonzero_coefs=3).fit(X)
    atoms = clone(learner).fit(X).components_
    np.testing.assert_array_equal(recoded.components_, atoms)
    np.testing.assert_array_equal(recoded.intercept_, 0)
    expected = orthogonal_mp(atoms.T, X[:50].T, n_nonzero_coefs=3).T
    codes = recoded.transform(X)
    assert sparse.issparse(codes)
    np.testing.assert_allclose(codes[:50].toarray(), expected, atol=1e-9)
    assert codes[[600]].nnz == 0
    # it learned something: more of the planted atoms than chance
    chance = ICFLDictionary(20, max_steps=0, random_state=0).fit(X).components_
    found = [dictionary_recovery(planted.components, d).mean_cosine for d in (atoms, chance)]
    assert found[0] > found[1] + 0.05


def test_number_of_nonzeros_comes_from_the_dictionary_unless_given(planted):
    X = planted.data

    def most(model):
        return int(model.fit(X).transform(X).count_nonzero(axis=1).max())

    inner = ICFLDictionary(32, n_nonzero_coefs=4, atoms_per_step=2, max_steps=5, random_state=0)
    assert most(RecodedDictionary(inner)) == 4
    assert most(RecodedDictionary(clone(inner).set_params(transform_n_nonzero_coefs=3))) == 3
    assert most(RecodedDictionary(inner, n_nonzero_coefs=2)) == 2
    assert most(RecodedDictionary(PCA())) == 1  # a tenth of 16 features
    with pytest.warns(UserWarning, match="n_nonzero_coefs=50 is larger than the number of atoms"):
        assert most(RecodedDictionary(inner, n_nonzero_coefs=50, algorithm="topk")) <= 32


@pytest.mark.parametrize("algorithm", ["icfl", "omp", "topk"])
def test_devices_agree(planted, algorithm):
    pytest.importorskip("torch")
    inner = ICFLDictionary(32, n_nonzero_coefs=4, max_steps=20, random_state=0)
    model = RecodedDictionary(inner, algorithm=algorithm).fit(planted.data)
    codes = model.transform(planted.data)
    elsewhere = model.set_params(device="torch:cpu").transform(planted.data)
    np.testing.assert_allclose(elsewhere.toarray(), codes.toarray(), atol=1e-5)


def test_a_fitted_dictionary_is_not_fitted_again(planted):
    fitted = ICFLDictionary(32, n_nonzero_coefs=2, max_steps=50, random_state=0).fit(planted.data)
    recoded = RecodedDictionary(FrozenEstimator(fitted), algorithm="topk").fit(planted.data[:50])
    assert recoded.components_ is fitted.components_
    assert recoded.transform(planted.data).count_nonzero(axis=1).max() == 2


def test_searches_clones_and_pickles(planted):
    X = planted.data
    inner = TopKSAE(16, n_nonzero_coefs=2, max_steps=30, random_state=0)
    search = GridSearchCV(
        make_pipeline(Normalizer(), RecodedDictionary(inner)),
        {
            "recodeddictionary__algorithm": ["omp", "topk"],
            "recodeddictionary__dictionary__n_components": [8, 24],
        },
        cv=2,
    ).fit(X)
    best = search.best_estimator_[-1]
    assert (best.algorithm, best.components_.shape[0]) == ("omp", 24)
    assert not hasattr(inner, "components_")
    codes = best.transform(X)
    restored = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(restored.transform(X).toarray(), codes.toarray())
    assert not hasattr(clone(best), "dictionary_")
    dense = clone(best).set_params(sparse_output=False).fit_transform(X)
    np.testing.assert_array_equal(dense, clone(best).fit_transform(X).toarray())
    assert list(best.get_feature_names_out()[:2]) == ["recodeddictionary0", "recodeddictionary1"]


def test_errors_name_what_is_wrong(planted):
    X = planted.data
    with pytest.raises(TypeError, match="dictionary must have components_ after fit"):
        RecodedDictionary(make_pipeline(Normalizer(), PCA())).fit(X)
    with pytest.raises(ValueError, match=r"atoms of the 10 features of X, .* shape \(8, 16\)"):
        RecodedDictionary(FrozenEstimator(ICFLDictionary(8, max_steps=1).fit(X))).fit(X[:, :10])
    with pytest.raises(ValueError, match="'dictionary' parameter"):
        RecodedDictionary("icfl").fit(X)
    with pytest.raises(ValueError, match="'algorithm' parameter"):
        RecodedDictionary(ICFLDictionary(), algorithm="lasso").fit(X)
    with pytest.raises(ValueError, match="device must be"):
        RecodedDictionary(ICFLDictionary(), device="tpu").fit(X)


# ----------------------------------------------------------------------------- the other baselines


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_equally_sparse_and_reconstruct(planted, name):
    X = planted.data
    baseline = make_baselines(32, 3, random_state=0)[name]
    codes = baseline.fit(X).transform(X)
    assert sparse.issparse(codes)
    assert codes.format == "csr"
    assert codes.dtype == X.dtype
    assert codes.shape == (600, 32 if name in ("random", "minibatch") else 16)
    counts = np.diff(codes.indptr)
    assert counts.max() == 3
    assert counts.mean() > 2.9
    X_hat = baseline.inverse_transform(codes)
    assert X_hat.shape == X.shape
    # better than the mean of the rows, which explains 0
    assert explained_variance(X, X_hat) > 0.15
    again = clone(baseline).fit(X).transform(X)
    np.testing.assert_array_equal(again.toarray(), codes.toarray())


def test_with_all_components_the_dense_ones_reconstruct_exactly(planted):
    X = planted.data.astype(np.float64)
    for name in ("neurons", "pca", "ica"):
        baseline = make_baselines(32, 16, random_state=0)[name].fit(X)
        X_hat = baseline.inverse_transform(baseline.transform(X))
        np.testing.assert_allclose(X_hat, X, atol=1e-6)


def test_random_dictionary_does_not_learn(planted):
    X = planted.data
    first = make_baselines(32, 2, random_state=0)["random"].fit(X)
    second = make_baselines(32, 2, random_state=0)["random"].fit(X[::-1] ** 3)
    np.testing.assert_allclose(first.components_, second.components_, atol=1e-6)
    assert first.n_steps_ == 0
    learned = ICFLDictionary(32, n_nonzero_coefs=2, random_state=0).fit(X)
    assert learned.score(X) > first.score(X) + 0.1


def test_seeds():
    seeds = [
        make_baselines(8, 2, random_state=state)["ica"].get_params()["fastica__random_state"]
        for state in (3, np.random.RandomState(0), np.random.RandomState(0), None)
    ]
    assert seeds[0] == 3
    assert seeds[1] == seeds[2]
    assert seeds[3] is None
    drawn = make_baselines(8, 2, random_state=np.random.RandomState(0))
    assert drawn["random"].random_state == seeds[1] == drawn["minibatch"].dictionary.random_state


def test_shift_clips_new_rows_below_the_smallest_seen():
    shift = NonNegativeShift().fit([[-1.0, 5.0], [3.0, 2.0]])
    np.testing.assert_array_equal(shift.minimum_, [-1, 2])
    moved = shift.transform([[-3.0, 4.0], [0.0, 2.0]])
    np.testing.assert_array_equal(moved, [[0, 2], [1, 0]])
    np.testing.assert_array_equal(shift.inverse_transform(moved), [[-1, 4], [0, 2]])
    with pytest.raises(ValueError, match="X must have 2 columns"):
        shift.inverse_transform(np.ones((1, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_takes_the_place_of_the_dictionary_in_a_pipeline(planted, name):
    """Whitened on the controls of each fold, and probed."""
    pipeline = make_pipeline(
        ControlPCAWhitener(epsilon=0.01),
        Normalizer(),
        make_baselines(24, 3, random_state=0)[name],
    )
    with sklearn.config_context(enable_metadata_routing=True):
        fitted = clone(pipeline).fit(planted.data, control=planted.control)
    assert fitted.transform(planted.data).shape[0] == 600
    table = probe_representations(
        pipeline,
        planted.data,
        planted.target,
        groups=np.arange(600) % 4,
        cv=2,
        control=planted.control,
        representations=("codes", "reconstruction"),
        Cs=1.0,
    )
    assert (np.asarray(table["balanced_accuracy"]) > 0.3).all()  # chance is 0.25


@pytest.mark.parametrize("wrong", [{"n_components": 0}, {"n_nonzero_coefs": 0}])
def test_sizes_are_checked(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1"):
        make_baselines(**({"n_components": 4, "n_nonzero_coefs": 2} | wrong))
    with pytest.raises(TypeError, match=f"{name} must be an integer >= 1"):
        make_baselines(**({"n_components": 4, "n_nonzero_coefs": 2} | dict.fromkeys(wrong, 1.5)))
