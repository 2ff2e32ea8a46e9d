"""Planted driver genes: the model reads what it says, and expression does not tell."""

import pickle

import numpy as np
import pytest

from skdict.datasets import make_driver_genes


@pytest.mark.parametrize("model", ["linear", "log"])
def test_activations_are_the_weighted_drivers(model):
    data = make_driver_genes(model=model, n_interactions=1, n_drivers=3, random_state=0)
    X = data.counts.toarray().astype(np.float64)
    read = np.log1p(X) if model == "log" else X
    found = data.embed(data.counts) @ data.directions.T
    for k in range(2):
        expected = read @ (data.weights[k] * data.driver[k])
        np.testing.assert_allclose(found[:, k], expected, atol=1e-12)
    a, b = np.flatnonzero(data.driver[2])
    np.testing.assert_allclose(found[:, 2], read[:, a] * read[:, b], atol=1e-9)
    assert data.interaction.tolist() == [False, False, True]
    np.testing.assert_allclose(data.directions @ data.directions.T, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(data.embed(X), data.embed(data.counts))


def test_ignored_genes_have_no_influence_and_the_others_have():
    data = make_driver_genes(n_interactions=1, random_state=1)
    X = data.counts.toarray()
    E = data.embed(X)
    changed = X.copy()
    changed[:, data.ignored] += 5
    np.testing.assert_array_equal(data.embed(changed), E)
    for gene in np.flatnonzero(~data.ignored):
        changed = X.copy()
        changed[:, gene] += 1
        assert (data.embed(changed) != E).any()
    assert data.ignored[data.confounder.any(axis=0)].all()
    assert not data.ignored[data.driver.any(axis=0)].any()


def test_confounders_follow_the_state_as_the_drivers_do():
    data = make_driver_genes(n_cells=3000, fold_change=4.0, random_state=0)
    for k in range(3):
        on = data.state[:, k]
        means = [data.counts[rows].astype(np.float64).mean(axis=0) for rows in (on, ~on)]
        fold = means[0] / means[1]
        assert fold[data.confounder[k]].mean() == pytest.approx(4, rel=0.15)
        assert fold[data.driver[k]].mean() == pytest.approx(4, rel=0.15)
        others = ~(data.driver | data.confounder).any(axis=0)
        assert fold[others].mean() == pytest.approx(1, rel=0.1)
    assert data.state.mean() == pytest.approx(0.2, abs=0.06)


def test_depth_donors_and_batches():
    data = make_driver_genes(
        n_cells=1200, depth_spread=0.6, n_donors=4, n_batches=2, random_state=0
    )
    total = data.counts.sum(axis=1)
    assert np.corrcoef(np.log(total), np.log(data.depth))[0, 1] > 0.8
    assert np.unique(data.donor).tolist() == ["donor0", "donor1", "donor2", "donor3"]
    pairs = {(d, b) for d, b in zip(data.donor, data.batch)}
    assert len(pairs) == 4 and len(set(data.batch)) == 2
    flat = make_driver_genes(depth_spread=0, batch_effect=0, random_state=0)
    assert (flat.depth == 1).all()


def test_names_tell_what_a_gene_is():
    data = make_driver_genes(n_genes=200, n_interactions=1, random_state=0)
    assert data.genes.shape == (200,) and len(set(data.genes)) == 200
    for role in ("driver", "confounder"):
        named = np.char.startswith(data.genes, role)
        np.testing.assert_array_equal(named, data[role].any(axis=0))
    assert np.char.startswith(data.genes, "driver2").sum() == 2


def test_the_seed_decides_and_the_model_can_be_pickled():
    one, two = (make_driver_genes(n_cells=50, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.counts.toarray(), two.counts.toarray())
    E = one.embed(one.counts)
    np.testing.assert_array_equal(E, two.embed(one.counts))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one.embed))(one.counts), E)
    other = make_driver_genes(n_cells=50, random_state=4)
    assert (one.counts != other.counts).nnz


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="n_genes must be at least 93"):
        make_driver_genes(n_genes=50)
    with pytest.raises(ValueError, match="n_interactions must be at most n_concepts=3, got 4"):
        make_driver_genes(n_interactions=4)
    with pytest.raises(ValueError, match="model must be one of 'linear', 'log'"):
        make_driver_genes(model="tree")
    with pytest.raises(ValueError, match=r"active_fraction must be in \(0, 1\]"):
        make_driver_genes(active_fraction=0)
    with pytest.raises(TypeError, match="n_cells must be an integer"):
        make_driver_genes(n_cells=2.5)
