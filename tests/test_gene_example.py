"""The small variational autoencoder of the example, and genes exchanged in it."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
N_GENES = 40


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """Modules beside the example can be imported, as when it runs; the caller's threads return."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def vae():
    import small_vae

    return small_vae


def two_kinds(n_cells=300, seed=0):
    """Counts of two kinds of cells; each expresses ten genes more. The last column is the rest."""
    rng = np.random.default_rng(seed)
    rate = np.ones((n_cells, N_GENES + 1))
    rate[::2, :10] += 5.0
    rate[1::2, 10:20] += 5.0
    rate[:, -1] = 60.0
    depth = rng.uniform(0.7, 1.4, size=(n_cells, 1))
    return sparse.csr_array(rng.poisson(rate * depth).astype(np.float32))


def train(vae, counts, **settings):
    settings = {"n_latent": 6, "n_epochs": 30, "batch_size": 64, "verbose": False} | settings
    return vae.train(counts, **settings)


class TestTraining:
    def test_the_seed_decides(self, vae):
        """Equal seeds give equal networks, whatever the caller drew; others give others."""
        counts, runs = two_kinds(), []
        for seed in (0, 0, 1):
            torch.rand(3)
            model, losses = train(vae, counts, n_epochs=2, seed=seed)
            runs.append((losses, [one.clone() for one in model.parameters()]))
        assert runs[0][0] == runs[1][0] != runs[2][0]
        assert all(map(torch.equal, runs[0][1], runs[1][1]))
        assert not torch.equal(runs[0][1][0], runs[2][1][0])

    def test_the_state_of_the_caller_stays(self, vae):
        torch.manual_seed(5)
        expected = torch.rand(4)
        torch.manual_seed(5)
        train(vae, two_kinds(60), n_epochs=1)
        assert torch.equal(torch.rand(4), expected)

    def test_the_loss_falls_and_held_out_cells_are_better_known(self, vae):
        counts = two_kinds(400)
        model, losses = train(vae, counts[:300])
        untrained, none = train(vae, counts[:300], n_epochs=0)
        assert none == [] and len(losses) == 30
        assert losses[-1] < losses[0]
        better = vae.held_out_loss(untrained, counts[300:]) - vae.held_out_loss(model, counts[300:])
        assert better > 20  # of about 200 counts per cell
        assert not model.training

    def test_progress_is_told(self, vae, capsys):
        train(vae, two_kinds(60), n_epochs=10, verbose=True)
        assert capsys.readouterr().out.startswith("epoch   10  loss ")

    def test_the_likelihood_is_negative_binomial(self, vae):
        """Differences between cells of one rate are those of scipy; constants are left out."""
        from scipy.special import gammaln
        from scipy.stats import nbinom

        model = train(vae, two_kinds(60), n_epochs=2)[0]
        a, b = np.zeros((2, N_GENES + 1), np.float32)
        a[:4], b[:4] = [3, 0, 1, 6], [1, 4, 5, 0]
        cells = torch.from_numpy(np.stack([a, b]))
        latent = torch.zeros(2, 6)
        with torch.no_grad():
            found = model.log_likelihood(cells, latent).double().numpy()
            share = torch.softmax(model.decoder(latent[:1]), 1)[0].double().numpy()
            r = model.log_inverse_dispersion.exp().double().numpy()
        expected = [
            (nbinom.logpmf(own, r, r / (r + 10 * share)) + gammaln(own + 1)).sum() for own in (a, b)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestEmbedding:
    def test_the_same_in_batches_of_any_size(self, vae):
        counts = two_kinds(50)
        model = train(vae, counts, n_epochs=2)[0]
        whole = vae.embed(model, counts)
        assert whole.shape == (50, 6)
        for size in (1, 7, 50):
            np.testing.assert_allclose(vae.embed(model, counts, batch_size=size), whole, atol=1e-5)
        np.testing.assert_array_equal(vae.embed(model, counts.toarray()), whole)
        assert np.ptp(whole, axis=0).min() > 0.01

    @pytest.mark.parametrize("factor", [0.5, 3, 100])
    def test_depth_does_not_matter(self, vae, factor):
        counts = two_kinds(30)
        model = train(vae, counts, n_epochs=2)[0]
        whole = vae.embed(model, counts)
        np.testing.assert_allclose(vae.embed(model, factor * counts), whole, atol=1e-4)

    def test_the_last_column_counts_for_depth(self, vae):
        """With more counts in genes that were left out the others have smaller shares."""
        counts = two_kinds(30).toarray()
        model = train(vae, counts, n_epochs=2)[0]
        seen = []
        model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy()))
        vae.embed(model, counts)
        depth = counts.sum(axis=1, keepdims=True)
        more = counts.copy()
        more[:, -1:] += depth  # twice as deep
        vae.embed(model, more)
        for given, total in zip(seen, (depth, 2 * depth), strict=True):
            expected = np.log1p(counts[:, :-1] / total * 1e4)
            np.testing.assert_allclose(given[:, :-1], expected, rtol=1e-5)

    def test_a_cell_without_counts(self, vae):
        model = train(vae, two_kinds(60), n_epochs=1)[0]
        assert np.isfinite(vae.embed(model, np.zeros((1, N_GENES + 1)))).all()


@pytest.mark.parametrize("kind", ["TopKSAE", "ICFLDictionary"])
def test_genes_are_exchanged(vae, kind):
    """Genes equal in all pairs have 0; those that make the two kinds carry more than the rest."""
    import skdict
    from skdict.genes import DictionaryConcepts, attribute_genes, find_counterfactuals
    from skdict.metrics import best_features

    counts = two_kinds().tolil()
    counts[:, 30:33] = 2.0  # equal in all cells, and again when brought to one depth
    counts[:, N_GENES] = 300 - counts[:, :N_GENES].sum(axis=1)[:, None]
    counts = sparse.csr_array(counts, dtype=np.float32)
    model = train(vae, counts, n_latent=2, n_epochs=60)[0]
    embeddings = vae.embed(model, counts)
    dictionary = getattr(skdict, kind)(2, n_nonzero_coefs=1, max_steps=300, random_state=0)
    concepts = DictionaryConcepts(dictionary.fit(embeddings))
    kinds = np.tile(["first", "second"], 150)
    best = best_features(concepts.codes(embeddings), kinds, active="positive")
    pairs = find_counterfactuals(
        embeddings, concepts, np.unique(best.feature), n_prototypes=5, random_state=0
    )
    names = np.append([f"g{i}" for i in range(N_GENES)], "rest")
    found = attribute_genes(
        counts, lambda X: vae.embed(model, X), concepts, pairs, genes=names,
        candidates=names != "rest",
    )  # fmt: skip
    assert found.genes.tolist() == names[:-1].tolist()
    for values in (found, found.pre):
        assert (values.attribution[:, 30:33] == 0).all()
        assert (values.attribution[:, :20] != 0).any(axis=1).all()
    share = found.pre.attribution
    assert (share[:, :20].sum(axis=1) > 1.3 * share[:, 20:].sum(axis=1)).all()
    assert found.passes.n_skipped >= 3 * pairs.prototype.size


def test_the_last_column_of_the_shipped_cells_completes_their_depth(vae):
    """What the example appends: counts are whole, and the sums are those of all genes."""
    from skdict.datasets import load_pbmc

    pbmc = load_pbmc()
    left_out = pbmc.n_counts - np.asarray(pbmc.counts.sum(axis=1)).ravel()
    assert (left_out >= 0).all() and left_out.max() > 0
    counts = sparse.csr_array(sparse.hstack([pbmc.counts, left_out[:, None]]), dtype=np.float32)
    np.testing.assert_array_equal(counts.sum(axis=1), pbmc.n_counts)
    model, losses = vae.train(counts[:200], n_epochs=2, verbose=False)
    assert losses[1] < losses[0]
    assert np.isfinite(vae.embed(model, counts[:50])).all()
