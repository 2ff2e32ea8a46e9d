"""Gradient times difference: exact where the model is linear, a screen elsewhere."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils import Bunch

from skdict import ICFLDictionary
from skdict.datasets import make_driver_genes
from skdict.genes import (
    DictionaryConcepts,
    DirectionConcepts,
    attribute_genes,
    find_counterfactuals,
    gradient_attribution,
    rank_agreement,
)

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def data():
    found = make_driver_genes(n_cells=400, n_genes=120, random_state=0)
    found.linear = torch.from_numpy(found.embed(np.eye(120)).astype(np.float32))
    found.E = found.embed(found.counts)
    found.model = DirectionConcepts.with_active_share(found.directions, found.E, share=0.2)
    found.pairs = find_counterfactuals(
        found.E, found.model, [0, 2], n_counterfactuals=2, units=found.donor, random_state=0
    )
    return found


def test_a_linear_model_gives_what_exchange_gives(data):
    screen = gradient_attribution(
        data.counts,
        lambda X: X @ data.linear,
        data.model,
        data.pairs,
        genes=data.genes,
        batch_size=7,
    )
    exact = attribute_genes(data.counts, data.embed, data.model, data.pairs, genes=data.genes)
    np.testing.assert_allclose(screen.attribution, exact.pre.attribution, atol=1e-4)
    np.testing.assert_allclose(screen.confirmation, exact.pre.confirmation, atol=1e-4)
    # one pass for each prototype of a concept
    assert screen.n_passes == 40 and "40 forward and backward passes" in repr(screen)
    assert exact.passes.n_swaps > 50 * screen.n_passes
    agreement = rank_agreement(exact, screen, n=5)
    np.testing.assert_allclose(agreement.rank_correlation, 1)
    np.testing.assert_allclose(agreement.top_share, 1)
    assert agreement.n_genes.tolist() == [5, 5]


def test_gradients_pass_through_the_steps_in_front_of_the_dictionary(data):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(120, 20), torch.nn.Tanh(), torch.nn.Linear(20, 6))
    net = net.double().eval()
    X = data.counts.toarray().astype(np.float64)
    with torch.no_grad():
        E = net(torch.from_numpy(X)).numpy()
    dictionary = ICFLDictionary(12, n_nonzero_coefs=2, max_steps=30, random_state=0)
    model = DictionaryConcepts(make_pipeline(StandardScaler(), Normalizer(), dictionary).fit(E))
    concepts = np.argsort(-np.diff(model.codes(E).tocsc().indptr))[:2]
    pairs = find_counterfactuals(E, model, concepts, n_prototypes=3, margin=0, random_state=0)
    found = gradient_attribution(X, net, model, pairs, dtype=np.float64)

    def pre(rows, concept):
        with torch.no_grad():
            return model.pre_activations(net(torch.from_numpy(rows)), [concept])[:, 0]

    for k, concept in enumerate(concepts):
        expected = []
        for row in np.flatnonzero((pairs.position == k) & (pairs.half == 0)):
            p, c = X[pairs.prototype[row]], X[pairs.counterfactual[row]]
            step = 1e-5 * np.eye(120)
            slope = (pre(p + step, concept) - pre(p - step, concept)) / 2e-5
            expected.append(slope * (p - c * p.sum() / c.sum()))
        np.testing.assert_allclose(found.attribution[k], np.mean(expected, axis=0), atol=1e-7)


def test_candidates_are_the_first_of_any_concept(data):
    screen = gradient_attribution(
        data.counts, lambda X: X @ data.linear, data.model, data.pairs, genes=data.genes
    )
    assert set(screen.candidates(5)) == set(data.genes[data.driver[[0, 2]].any(axis=0)])
    table = screen.table(2, n=5)
    assert set(table.gene) == set(data.genes[data.driver[2]])
    assert (np.diff(table.attribution) <= 0).all()
    exact = attribute_genes(
        data.counts, data.embed, data.model, data.pairs, genes=data.genes,
        candidates=screen.candidates(5),
    )  # fmt: skip
    assert exact.genes.shape == (10,)
    assert rank_agreement(exact, screen).n_genes.tolist() == [5, 5]


def test_agreement_by_hand():
    exact = Bunch(concepts=[4], genes=["a", "b", "c", "d"], pre=Bunch(attribution=[[4, 3, 0, -1]]))
    screen = Bunch(concepts=[4], genes=["d", "c", "b", "a"], attribution=[[-9.0, 0, 8, 1]])
    found = rank_agreement(exact, screen, n=2)
    assert found.n_genes[0] == 3 and found.rank_correlation[0] == pytest.approx(0.5)
    assert found.top_share[0] == 1 and rank_agreement(exact, screen, n=1).top_share[0] == 0
    # genes that change nothing fill no places at the top
    apart = [Bunch(concepts=[4], genes=list("abcd"), attribution=[row]) for row in
             ([3, 0, 0, 0], [0, 0, 0, 2])]  # fmt: skip
    assert rank_agreement(*apart, n=3).top_share[0] == 0
    nothing = Bunch(concepts=[4], genes=["a"], attribution=[[0.0]])
    assert np.isnan(rank_agreement(exact | {"pre": nothing}, nothing).top_share[0])


def test_errors_name_the_parameter(data):
    def attribute(embed):
        return gradient_attribution(data.counts, embed, data.model, data.pairs)

    with pytest.raises(TypeError, match=r"embed must give a torch tensor.*got ndarray"):
        attribute(lambda X: data.embed(X.detach().numpy()))
    with pytest.raises(TypeError, match="embed must give a torch tensor that depends"):
        attribute(lambda X: X.detach() @ data.linear)
    with pytest.raises(ValueError, match="embed has NaN or infinite gradients"):
        attribute(lambda X: torch.sqrt(X) @ data.linear)
    with pytest.raises(ValueError, match="embed must be in eval mode"):
        attribute(torch.nn.Linear(120, 7))

    def screened(X, **options):
        linear = data.linear.to(torch.float64 if options.get("dtype") else torch.float32)
        return gradient_attribution(X, lambda X: X @ linear, data.model, data.pairs, **options)

    with pytest.raises(ValueError, match="X must hold the cells that the pairs were found among"):
        screened(data.counts[:-1])
    with pytest.raises(ValueError, match="embed must give the embeddings that the pairs were"):
        screened(data.counts[::-1])
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got int32"):
        screened(data.counts, dtype=np.int32)
    screen = attribute(lambda X: X @ data.linear)
    with pytest.raises(ValueError, match="exact and screen must have the same concepts"):
        rank_agreement(screen, Bunch(concepts=[1], genes=screen.genes, attribution=[[1]]))
    with pytest.raises(ValueError, match="share none"):
        rank_agreement(screen, Bunch(concepts=[0, 2], genes=["x"], attribution=[[1], [1]]))
    with pytest.raises(ValueError, match="concept must be one of those attributed"):
        screen.table(5)
