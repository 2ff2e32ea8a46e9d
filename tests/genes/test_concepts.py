"""What turns embeddings into activations: dictionaries and linear directions."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ICFLDictionary, TopKSAE
from skdict.genes import DictionaryConcepts, DirectionConcepts, _concepts

OPTIONS = {"n_nonzero_coefs": 3, "max_steps": 20, "batch_size": 64, "random_state": 0}


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(1).normal(size=(150, 6)) * [3, 1, 1, 1, 1, 0.5] + 2


@pytest.fixture(scope="module")
def topk(embeddings):
    return make_pipeline(StandardScaler(), Normalizer(), TopKSAE(10, **OPTIONS)).fit(embeddings)


@pytest.fixture(scope="module")
def icfl(embeddings):
    dictionary = ICFLDictionary(10, atoms_per_step=1, **OPTIONS)
    return make_pipeline(StandardScaler(), dictionary).fit(embeddings)


@pytest.mark.parametrize("kind", ["topk", "icfl"])
def test_codes_are_those_of_the_pipeline(request, embeddings, kind):
    pipeline = request.getfixturevalue(kind)
    concepts = DictionaryConcepts(pipeline)
    codes, expected = concepts.codes(embeddings), pipeline.transform(embeddings)
    assert isinstance(codes, sparse.csr_array) and concepts.n_concepts == 10
    np.testing.assert_array_equal(codes.toarray(), expected.toarray())
    chosen = concepts.codes(embeddings, [7, 2])
    np.testing.assert_array_equal(chosen.toarray(), expected.toarray()[:, [7, 2]])


def test_pre_activation_of_topk_is_what_it_ranks(topk, embeddings):
    concepts = DictionaryConcepts(topk)
    pre, codes = concepts.pre_activations(embeddings), concepts.codes(embeddings).toarray()
    largest = np.sort(pre, axis=1)[:, -3:]
    active = codes > 0
    np.testing.assert_allclose(codes[active], pre[active], rtol=1e-10)
    np.testing.assert_array_equal(active, (pre >= largest[:, :1]) & (pre > 0))


def test_pre_activation_of_icfl_is_the_correlation_of_its_first_step(icfl, embeddings):
    concepts = DictionaryConcepts(icfl)
    pre = concepts.pre_activations(embeddings)
    last = icfl[-1]
    naive = [
        [atom @ (x - last.intercept_) for atom in last.components_]
        for x in icfl[:-1].transform(embeddings)
    ]
    np.testing.assert_allclose(pre, naive, rtol=1e-10)
    # with one atom the pursuit takes the best one, whose coefficient is the correlation itself
    one = make_pipeline(icfl[0], ICFLDictionary(10, **(OPTIONS | {"n_nonzero_coefs": 1})))
    one.fit(embeddings)
    first = DictionaryConcepts(one)
    codes, pre = first.codes(embeddings).toarray(), first.pre_activations(embeddings)
    best = pre.argmax(axis=1)
    rows = np.arange(len(pre))
    positive = pre[rows, best] > 0
    np.testing.assert_allclose(codes[rows, best][positive], pre[rows, best][positive], rtol=1e-8)


@pytest.mark.parametrize("kind", ["topk", "icfl", "directions"])
def test_blocks_and_the_joint_call_change_nothing(request, embeddings, monkeypatch, kind):
    if kind == "directions":
        concepts = DirectionConcepts.with_active_share(np.eye(6), embeddings, share=0.2)
    else:
        concepts = DictionaryConcepts(request.getfixturevalue(kind))
    codes, pre = concepts.codes(embeddings), concepts.pre_activations(embeddings)
    both = concepts.activations(embeddings, [1, 3])
    np.testing.assert_array_equal(both[0].toarray(), codes.toarray()[:, [1, 3]])
    np.testing.assert_allclose(both[1], pre[:, [1, 3]], rtol=1e-10)
    monkeypatch.setattr(_concepts, "_BLOCK_VALUES", 70)
    np.testing.assert_array_equal(concepts.codes(embeddings).toarray(), codes.toarray())
    np.testing.assert_allclose(concepts.pre_activations(embeddings), pre, rtol=1e-10)


def test_a_dictionary_with_dense_codes_and_one_alone(embeddings):
    dictionary = TopKSAE(10, **OPTIONS, sparse_output=False).fit(embeddings)
    codes = DictionaryConcepts(dictionary).codes(embeddings)
    np.testing.assert_array_equal(codes.toarray(), dictionary.transform(embeddings))
    np.testing.assert_array_equal(
        DictionaryConcepts(dictionary).transform_input(embeddings), embeddings
    )


def test_directions_by_hand():
    E = np.array([[1.0, 0.0], [3.0, 1.0], [2.0, 5.0]])
    concepts = DirectionConcepts([[1.0, 0.0], [0.0, 2.0]], mean=[1.0, 1.0], thresholds=[0.5, 0.0])
    np.testing.assert_array_equal(concepts.pre_activations(E), [[0, -2], [2, 0], [1, 8]])
    np.testing.assert_array_equal(concepts.codes(E).toarray(), [[0, 0], [1.5, 0], [0.5, 8]])
    np.testing.assert_array_equal(concepts.transform_input(E), E - 1)


def test_thresholds_leave_the_share_active(rng, monkeypatch):
    E = rng.normal(size=(200, 5))
    expected = DirectionConcepts.with_active_share(np.eye(5), E, share=0.15)
    np.testing.assert_array_equal(expected.codes(E).count_nonzero(axis=0), 30)
    monkeypatch.setattr(_concepts, "_BLOCK_VALUES", 250)  # one direction at a time
    again = DirectionConcepts.with_active_share(np.eye(5), E, share=0.15)
    np.testing.assert_array_equal(again.thresholds, expected.thresholds)


def test_tensors_and_memory_maps_are_read(embeddings, icfl, tmp_path):
    torch = pytest.importorskip("torch")
    concepts = DictionaryConcepts(icfl)
    expected = concepts.codes(embeddings).toarray()
    tensor = torch.from_numpy(embeddings).requires_grad_(True) * 1
    np.testing.assert_array_equal(concepts.codes(tensor).toarray(), expected)
    half = torch.from_numpy(embeddings).to(torch.bfloat16)
    np.testing.assert_allclose(
        concepts.pre_activations(half), concepts.pre_activations(embeddings), atol=0.1
    )
    np.save(tmp_path / "E.npy", embeddings)
    stored = np.load(tmp_path / "E.npy", mmap_mode="r")
    np.testing.assert_array_equal(concepts.codes(stored).toarray(), expected)


def test_errors_name_the_parameter(embeddings, icfl):
    concepts = DictionaryConcepts(icfl)
    with pytest.raises(NotFittedError):
        DictionaryConcepts(ICFLDictionary(5))
    with pytest.raises(TypeError, match="pipeline must end with an ICFLDictionary.*PCA.*Direction"):
        DictionaryConcepts(make_pipeline(StandardScaler(), PCA(2)).fit(embeddings))
    with pytest.raises(TypeError, match="pipeline must be an ICFLDictionary or a TopKSAE.*got 3"):
        DictionaryConcepts(3)
    with pytest.raises(ValueError, match="concepts must lie in 0 to 9, got 10"):
        concepts.codes(embeddings, [10])
    with pytest.raises(ValueError, match="concepts must be distinct, but 4 is there twice"):
        concepts.pre_activations(embeddings, [4, 4])
    with pytest.raises(ValueError, match="concepts must be indices"):
        concepts.codes(embeddings, ["a"])
    with pytest.raises(ValueError, match="E holds NaN or infinite values, the first in row 3"):
        concepts.codes(np.where(np.arange(150)[:, None] == 3, np.nan, embeddings))
    with pytest.raises(ValueError, match="E must have shape"):
        concepts.codes(embeddings[0])
    with pytest.raises(TypeError, match="E must be dense"):
        concepts.codes(sparse.csr_array(embeddings))
    with pytest.raises(ValueError, match="E must have the 2 features of the directions, got 6"):
        DirectionConcepts(np.eye(2)).codes(embeddings)
    with pytest.raises(ValueError, match=r"thresholds must have shape \(2,\), got \(3,\)"):
        DirectionConcepts(np.eye(2), thresholds=[1, 2, 3])
    with pytest.raises(ValueError, match="directions must have shape"):
        DirectionConcepts(np.ones(3))
    with pytest.raises(ValueError, match="mean holds NaN"):
        DirectionConcepts(np.eye(2), mean=[np.nan, 0])
    with pytest.raises(ValueError, match="share must be less than 1"):
        DirectionConcepts.with_active_share(np.eye(6), embeddings, share=1)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        DirectionConcepts.with_active_share(np.eye(6), embeddings, share=0)
