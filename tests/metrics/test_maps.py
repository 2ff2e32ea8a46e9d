"""Perturbation maps and what makes the difference between two perturbations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from skdict import ICFLDictionary
from skdict.datasets import make_superposition
from skdict.metrics import aggregate_embeddings, explain_difference, perturbation_map


def problem(seed, n=40, m=7, d=5):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n, m)) * (rng.random((n, m)) < 0.4)
    components = rng.normal(size=(m, d))
    X = codes @ components + 0.1 * rng.normal(size=(n, d)) + 0.5
    y = np.concatenate([["a", "b", "c"], rng.choice(["a", "b", "c"], n - 3)])
    return X, codes, components, y, rng.integers(0, 6, n)


@given(seed=st.integers(0, 1000))
def test_means_of_units_are_those_of_pandas(seed):
    pd = pytest.importorskip("pandas")
    X, codes, _, y, units = problem(seed)
    frame = pd.DataFrame(X).assign(y=y, unit=units)
    expected = frame.groupby(["y", "unit"]).mean().groupby("y").mean()
    found = aggregate_embeddings(X, y, units=units)
    np.testing.assert_allclose(found.embeddings, expected.to_numpy())
    np.testing.assert_array_equal(found.n_rows, frame.groupby("y").size())
    np.testing.assert_array_equal(found.n_units, frame.groupby("y")["unit"].nunique())
    plain = aggregate_embeddings(sparse.csr_matrix(codes), y, labels=["c", "a"])
    np.testing.assert_allclose(
        plain.embeddings, [codes[y == label].mean(axis=0) for label in ("c", "a")], atol=1e-12
    )
    assert plain.labels.tolist() == ["c", "a"]


def test_a_unit_with_many_rows_does_not_decide():
    X = np.concatenate([np.zeros((100, 1)), np.ones((1, 1)), [[7.0]]])
    y, units = ["a"] * 101 + ["b"], [0] * 100 + [1, 2]
    assert aggregate_embeddings(X, y).embeddings[0, 0] < 0.01
    assert aggregate_embeddings(X, y, units=units).embeddings[0, 0] == 0.5


def test_the_map_holds_the_cosines_in_any_order(rng):
    X, y = rng.normal(size=(120, 4)), np.repeat(np.arange(12), 10)
    plain = perturbation_map(X, y, order="label")
    means = np.array([X[y == label].mean(axis=0) for label in range(12)])
    np.testing.assert_allclose(plain.cosine, cosine_similarity(means), atol=1e-12)
    np.testing.assert_array_equal(np.diag(plain.cosine), 1)
    np.testing.assert_array_equal(plain.cosine, plain.cosine.T)
    clustered = perturbation_map(X, y)
    np.testing.assert_array_equal(np.sort(clustered.labels), np.arange(12))
    np.testing.assert_array_equal(
        clustered.cosine, plain.cosine[np.ix_(clustered.labels, clustered.labels)]
    )
    np.testing.assert_allclose(clustered.embeddings, means[clustered.labels])


def test_clusters_become_neighbours(rng):
    centres = np.eye(6)[:3]
    y = np.tile(np.arange(9), 20)
    X = centres[y % 3] + 0.1 * rng.normal(size=(180, 6))
    cluster = perturbation_map(X, y).labels % 3
    assert (np.diff(cluster) != 0).sum() == 2
    plain = perturbation_map(X, y, order="label").labels
    assert plain.tolist() == list(range(9))


@given(seed=st.integers(0, 1000), normalize=st.booleans(), by_unit=st.booleans())
def test_shares_are_the_arithmetic_of_the_difference(seed, normalize, by_unit):
    X, codes, components, y, units = problem(seed)
    units = units if by_unit else None
    intercept = np.full(5, 0.5)
    found = explain_difference(
        X, sparse.csr_array(codes), components, y, "a", "c",
        units=units, intercept=intercept, normalize=normalize, n_concepts=None,
    )  # fmt: skip
    x_a, x_c = aggregate_embeddings(X, y, units=units, labels=["a", "c"]).embeddings
    z_a, z_c = aggregate_embeddings(codes, y, units=units, labels=["a", "c"]).embeddings
    p, q = np.linalg.norm(x_a), np.linalg.norm(x_c)
    assert found.cosine == pytest.approx(x_a @ x_c / (p * q))
    if normalize:
        x_a, x_c, z_a, z_c = x_a / p, x_c / q, z_a / p, z_c / q
        assert found.squared_distance == pytest.approx(2 * (1 - found.cosine))
    else:
        assert found.squared_distance == pytest.approx(p**2 + q**2 - 2 * p * q * found.cosine)
        assert found.intercept_share == 0
    difference = x_a - x_c
    for component, share in zip(found.component, found.share, strict=True):
        part = (z_a - z_c)[component] * components[component]
        assert share == pytest.approx(part @ difference / (difference @ difference))
    assert found.share.sum() == pytest.approx(found.explained_share)
    assert (np.diff(found.share) <= 0).all()
    np.testing.assert_allclose(found.cumulative_share, np.cumsum(found.share))
    total = found.explained_share + found.intercept_share + found.residual_share
    assert total == pytest.approx(1)
    # the rest that is not explained, from the reconstructions themselves
    offset = intercept * (1 / p - 1 / q) if normalize else 0
    rest = difference - (z_a - z_c) @ components - offset
    assert found.residual_share == pytest.approx(rest @ difference / (difference @ difference))


def test_swapping_the_two_changes_no_share():
    X, codes, components, y, _ = problem(3)
    one = explain_difference(X, codes, components, y, "a", "b")
    other = explain_difference(X, codes, components, y, "b", "a")
    np.testing.assert_array_equal(one.component, other.component)
    np.testing.assert_allclose(one.share, other.share)
    np.testing.assert_allclose(one.code_a, other.code_b)
    assert one.n_rows == other.n_rows[::-1]


def test_the_planted_concepts_of_two_labels_explain_their_difference():
    data = make_superposition(
        4000, 32, 64, 4, n_labels=4, atoms_per_label=1, label_effect=0.9, random_state=0
    )
    own = data.label_atoms[[0, 1], 0]
    truth = explain_difference(data.data, data.codes, data.components, data.target, 0, 1)
    assert set(truth.component[:2]) == set(own)
    assert truth.cumulative_share[1] > 0.8
    learned = ICFLDictionary(64, n_nonzero_coefs=4, atoms_per_step=1, random_state=0)
    codes = learned.set_params(max_steps=300).fit_transform(data.data)
    found = explain_difference(
        data.data, codes, learned.components_, data.target, 0, 1, n_concepts=2
    )
    matched = (data.components[own] @ learned.components_.T).argmax(axis=1)
    assert set(found.component) == set(matched)
    assert found.cumulative_share[-1] > 0.7


def test_errors_name_the_parameter():
    X, codes, components, y, _ = problem(0)
    with pytest.raises(ValueError, match="a and b must be two different labels, got 'a' twice"):
        explain_difference(X, codes, components, y, "a", "a")
    with pytest.raises(ValueError, match=r"labels must occur in y.*'z'"):
        explain_difference(X, codes, components, y, "a", "z")
    with pytest.raises(ValueError, match="X and codes must have the same rows, got 39 and 40"):
        explain_difference(X[1:], codes, components, y[1:], "a", "b")
    with pytest.raises(ValueError, match=r"components must have shape .* \(7, 5\)"):
        explain_difference(X, codes, components[:, 1:], y, "a", "b")
    with pytest.raises(ValueError, match="mean embeddings of a='a' and b='b' are equal"):
        explain_difference(np.ones_like(X), codes, components, y, "a", "b")
    same = np.tile([0.1, 0.2, 0.3, 0.4, 0.7], (X.shape[0], 1))  # means differ by rounding
    with pytest.raises(ValueError, match="mean embeddings of a='a' and b='b' are equal"):
        explain_difference(same, codes, components, np.repeat(["a", "b"], [17, 23]), "a", "b")
    zero = np.where((y == "b")[:, None], 0.0, X)
    with pytest.raises(ValueError, match="not zero, but that of 'b' is"):
        explain_difference(zero, codes, components, y, "a", "b", normalize=True)
    with pytest.raises(ValueError, match=r"intercept must have shape \(5,\)"):
        explain_difference(X, codes, components, y, "a", "b", normalize=True, intercept=[1.0])
    with pytest.raises(ValueError, match="order must be one of 'cluster', 'label'"):
        perturbation_map(X, y, order="size")
    with pytest.raises(ValueError, match="units must have one entry per row"):
        aggregate_embeddings(X, y, units=[1])
