"""Attribution by exchange: planted drivers, exact sums, naive loops, and any batch size."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ICFLDictionary, TopKSAE
from skdict.datasets import make_driver_genes
from skdict.genes import (
    DictionaryConcepts,
    DirectionConcepts,
    attribute_genes,
    find_counterfactuals,
    null_counterfactuals,
)


def planted(**options):
    """Planted data with pairs and null pairs of all concepts."""
    data = make_driver_genes(n_cells=500, n_genes=150, random_state=0, **options)
    data.E = data.embed(data.counts)
    data.model = DirectionConcepts.with_active_share(data.directions, data.E, share=0.2)
    data.concepts = np.arange(data.directions.shape[0])
    data.pairs = find_counterfactuals(
        data.E, data.model, data.concepts, depth=data.counts.sum(axis=1), units=data.donor,
        random_state=0,
    )  # fmt: skip
    data.null = null_counterfactuals(
        data.pairs, data.counts, data.E, data.model, n_null=5, random_state=0
    )
    return data


def attribute(data, **options):
    settings = {"genes": data.genes, "dtype": np.float64}
    return attribute_genes(data.counts, data.embed, data.model, data.pairs, **(settings | options))


@pytest.fixture(scope="module")
def linear():
    return planted()


@pytest.fixture(scope="module")
def found(linear):
    return attribute(linear, null=linear.null)


@pytest.fixture(scope="module")
def dictionary(linear):
    """A dictionary behind a scaler and Normalizer, its pairs and null pairs."""
    sae = TopKSAE(24, n_nonzero_coefs=4, max_steps=150, random_state=0)
    pipeline = make_pipeline(StandardScaler(), Normalizer(), sae).fit(linear.E)
    model = DictionaryConcepts(pipeline)
    concepts = np.argsort(-np.diff(model.codes(linear.E).tocsc().indptr))[:4]
    pairs = find_counterfactuals(
        linear.E, model, concepts, n_prototypes=4, units=linear.donor, random_state=0
    )
    null = null_counterfactuals(pairs, linear.counts, linear.E, model, n_null=2, random_state=0)
    return model, pairs, null


def naive(X, embed, model, pairs, *, rescale=True):
    """Change of code and pre-activation for every pair and gene, one embedding at a time."""
    X = X.toarray().astype(np.float64)
    code, pre = np.zeros((2, pairs.prototype.shape[0], X.shape[1]))
    for row, (p, c) in enumerate(zip(pairs.prototype, pairs.counterfactual)):
        after = X[c] * (X[p].sum() / X[c].sum() if rescale else 1)
        rows = np.repeat(X[[p]], X.shape[1] + 1, axis=0)
        np.fill_diagonal(rows[1:], after)
        E = embed(rows)
        concept = [pairs.concepts[pairs.position[row]]]
        values = model.codes(E, concept).toarray()[:, 0], model.pre_activations(E, concept)[:, 0]
        code[row], pre[row] = (value[0] - value[1:] for value in values)
    return code, pre


@pytest.mark.parametrize("model", ["linear", "log"])
def test_drivers_come_first_and_confounders_have_exactly_nothing(model):
    data = planted(model=model)
    found = attribute(data, null=data.null)
    for k in data.concepts:
        for values in (found, found.pre):
            first = np.argsort(-values.attribution[k])[:5]
            assert data.driver[k, first].all()
            assert (values.attribution[k, data.confounder[k]] == 0).all()
            assert (values.confirmation[k, data.driver[k]] > 0).all()
            assert (values.q_value[k, data.driver[k]] <= 0.05).all()
        assert not (found.q_value[k] <= 0.05)[~data.driver[k]].any()
        # the expression of confounders tells the cells of the concept just as well
        active = data.state[:, k]
        means = [data.counts[rows].mean(axis=0) for rows in (active, ~active)]
        fold = np.log2(means[0] / means[1])
        assert fold[data.confounder[k]].min() > 1.5
    assert (found.attribution[:, data.ignored] == 0).all()
    np.testing.assert_array_equal(found.selected(0.03), data.driver)
    np.testing.assert_array_equal(found.selected(0.03, level=0.05), data.driver)


def test_a_linear_model_is_complete(linear, found):
    gaps = found.pair_completeness
    np.testing.assert_allclose(gaps.pre_sum, gaps.pre_change, rtol=1e-10)
    np.testing.assert_allclose(found.pre.completeness, 1, rtol=1e-10)
    # the change is that to the counterfactual itself, at the depth of the prototype
    p, c = linear.pairs.prototype, linear.pairs.counterfactual
    X = linear.counts.toarray().astype(np.float64)
    scaled = X[c] * (X[p].sum(axis=1) / X[c].sum(axis=1))[:, None]
    pre = [linear.model.pre_activations(linear.embed(rows)) for rows in (X[p], scaled)]
    change = (pre[0] - pre[1])[np.arange(p.size), linear.pairs.position]
    np.testing.assert_allclose(gaps.pre_change, change, rtol=1e-10)
    # without rescaling, it is the pre-activation that the counterfactual has
    raw = attribute(linear, rescale=False)
    expected = linear.pairs.pre_prototype - linear.pairs.pre_counterfactual
    np.testing.assert_allclose(raw.pair_completeness.pre_sum, expected, rtol=1e-9)


def test_an_interaction_is_over_complete_until_both_genes_go_together():
    data = planted(model="log", n_interactions=1, n_drivers=4)
    found = attribute(data)
    k = data.concepts[-1]
    assert data.interaction[k] and found.pre.completeness[k] > 1.3
    assert set(found.table(k, n=2).gene) == {f"driver{k}.0", f"driver{k}.1"}
    assert found.pre.completeness[0] == pytest.approx(1)
    groups = {
        "pair": [f"driver{k}.0", f"driver{k}.1"],
        "confounders": list(data.genes[data.confounder[k]]),
    }
    together = attribute(data, genes=data.genes, groups=groups)
    assert together.genes.tolist() == ["pair", "confounders"]
    whole = found.pair_completeness.pre_change[(data.pairs.position == k) & (data.pairs.half == 0)]
    assert together.pre.attribution[k, 0] == pytest.approx(whole.mean())
    assert together.attribution[k, 1] == 0
    assert "to 2 groups" in repr(together)


@pytest.mark.parametrize("rescale", [True, False])
def test_attributions_are_those_of_plain_loops(linear, dictionary, rescale):
    model, pairs, _ = dictionary
    found = attribute_genes(
        linear.counts, linear.embed, model, pairs, rescale=rescale, dtype=np.float64, batch_size=50
    )
    changes = naive(linear.counts, linear.embed, model, pairs, rescale=rescale)
    for values, change, name in zip((found, found.pre), changes, ("code", "pre"), strict=True):
        np.testing.assert_allclose(
            found.pair_completeness[f"{name}_sum"], change.sum(axis=1), atol=1e-9
        )
        for k in range(4):
            own = [(pairs.position == k) & (pairs.half == half) for half in (0, 1)]
            mean = change[own[0]].mean(axis=0)
            np.testing.assert_allclose(values.attribution[k], mean, atol=1e-10)
            np.testing.assert_allclose(
                values.confirmation[k], change[own[1]].mean(axis=0), atol=1e-10
            )
            np.testing.assert_allclose(
                values.spread[k], change[own[0]].std(axis=0, ddof=1), atol=1e-10
            )
            there = np.abs(mean) > 1e-5 * np.abs(mean).max()
            expression = linear.counts.astype(np.float64).mean(axis=0)
            correlation = spearmanr(np.abs(mean)[there], expression[there]).statistic
            # rounding breaks ties of the attributions
            assert values.expression_correlation[k] == pytest.approx(correlation, abs=0.01)


def test_null_means_are_those_of_plain_loops(linear, dictionary):
    model, pairs, null = dictionary
    found = attribute_genes(linear.counts, linear.embed, model, pairs, null=null, dtype=np.float64)
    code, _ = naive(linear.counts, linear.embed, model, null)
    for k in range(4):
        sets = [code[(null.position == k) & (null.set == number)].mean(axis=0) for number in (0, 1)]
        np.testing.assert_allclose(found.null_mean[k], np.mean(sets, axis=0), atol=1e-10)
        np.testing.assert_allclose(found.null_sd[k], np.std(sets, axis=0, ddof=1), atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_do_not_depend_on_the_batch_size(linear, dictionary, dtype):
    model, pairs, null = dictionary
    sizes = [
        attribute_genes(
            linear.counts, linear.embed, model, pairs, null=null, dtype=dtype, batch_size=size
        )
        for size in (13, 64, 1000)
    ]
    for other in sizes[1:]:
        for values, expected in ((other, sizes[0]), (other.pre, sizes[0].pre)):
            np.testing.assert_allclose(values.attribution, expected.attribution, atol=1e-12)
            np.testing.assert_allclose(values.p_value, expected.p_value, atol=1e-12)
            np.testing.assert_array_equal(values.attribution == 0, expected.attribution == 0)


@pytest.mark.parametrize("kind", ["topk", "icfl"])
def test_a_torch_model_gives_equal_results_in_any_batch_size(linear, kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(150, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
    net.eval()
    with torch.no_grad():
        E = net(torch.from_numpy(linear.counts.toarray())).numpy()
    options = {"n_nonzero_coefs": 4, "max_steps": 100, "random_state": 0}
    if kind == "topk":
        model = DictionaryConcepts(TopKSAE(32, **options).fit(E))
    else:
        model = DictionaryConcepts(ICFLDictionary(32, atoms_per_step=2, **options).fit(E))
    concepts = np.argsort(-np.diff(model.codes(E).tocsc().indptr))[:3]
    pairs = find_counterfactuals(E, model, concepts, n_prototypes=4, margin=0.3, random_state=0)
    results = [
        attribute_genes(linear.counts, net, model, pairs, batch_size=size) for size in (16, 250)
    ]
    one, other = results
    scale = np.abs(one.pre.attribution).max()
    np.testing.assert_allclose(one.pre.attribution, other.pre.attribution, atol=1e-5 * scale)
    # a near-tie of the pursuit may fall the other way; nearly none does
    differs = np.abs(one.attribution - other.attribution) > 1e-5 * np.abs(one.attribution).max()
    assert differs.mean() < 0.01


def test_a_shared_pair_is_run_once_and_passes_are_counted(linear):
    twice = DirectionConcepts(
        np.vstack([linear.directions[0]] * 2), thresholds=linear.model.thresholds[[0, 0]]
    )
    calls = []

    def embed(X):
        calls.append(X.shape[0])
        return linear.embed(X)

    pairs = find_counterfactuals(linear.E, twice, [0, 1], units=linear.donor, random_state=0)
    both = attribute_genes(linear.counts, embed, twice, pairs, dtype=np.float64, batch_size=32)
    np.testing.assert_array_equal(both.attribution[0], both.attribution[1])
    used = both.passes
    assert used.n_shared == used.n_swaps
    p, c = np.unique(np.column_stack([pairs.prototype, pairs.counterfactual]), axis=0).T
    X = linear.counts.toarray()
    differing = (X[p] != X[c] * (X[p].sum(axis=1) / X[c].sum(axis=1))[:, None]).sum()
    assert used.n_swaps == differing and used.n_swaps + used.n_skipped == p.size * 150
    assert sum(calls) == used.n_total + used.n_padding and set(calls) == {32}
    assert used.n_prototypes == 20 and used.n_complete == p.size and used.n_repeated == 0


def test_an_unsteady_model_still_gives_exact_zeros(linear, found):
    def embed(X):  # rounds differently in each place of a batch, as some matrix products do
        return linear.embed(X) * (1 + 1e-15 * np.arange(len(X))[:, None])

    shaky = attribute_genes(
        linear.counts, embed, linear.model, linear.pairs, dtype=np.float64, batch_size=64
    )
    assert not shaky.steady and found.steady
    assert shaky.passes.n_repeated == shaky.passes.n_swaps
    assert (shaky.attribution[:, linear.ignored] == 0).all()
    np.testing.assert_allclose(shaky.attribution, found.attribution, atol=1e-10)


def test_masks_set_a_gene_to_zero(linear):
    found = attribute(linear, variant="mask")
    X = linear.counts.toarray().astype(np.float64)
    for k in linear.concepts:
        cells = linear.pairs.prototype[(linear.pairs.position == k) & (linear.pairs.half == 0)]
        expected = (X[cells] * linear.weights[k]).mean(axis=0)
        np.testing.assert_allclose(found.pre.attribution[k], expected, atol=1e-10)
    three = find_counterfactuals(
        linear.E, linear.model, linear.concepts, n_counterfactuals=3, units=linear.donor,
        depth=linear.counts.sum(axis=1), random_state=0,
    )  # fmt: skip
    same = attribute_genes(
        linear.counts, linear.embed, linear.model, three, variant="mask", dtype=np.float64
    )
    np.testing.assert_allclose(same.attribution, found.attribution, atol=1e-12)


def test_several_counterfactuals_are_averaged(linear):
    three = find_counterfactuals(
        linear.E, linear.model, [0], n_counterfactuals=3, units=linear.donor, random_state=0
    )
    found = attribute_genes(linear.counts, linear.embed, linear.model, three, dtype=np.float64)
    code, _ = naive(linear.counts, linear.embed, linear.model, three)
    own = three.half == 0
    np.testing.assert_allclose(found.attribution[0], code[own].mean(axis=0), atol=1e-10)
    by_prototype = code[own].reshape(-1, 3, code.shape[1]).mean(axis=1)
    np.testing.assert_allclose(found.spread[0], by_prototype.std(axis=0, ddof=1), atol=1e-10)


def test_the_standard_error_counts_prototypes_of_a_donor_as_one(linear, found):
    code, _ = naive(linear.counts, linear.embed, linear.model, linear.pairs)
    rows = (linear.pairs.position == 0) & (linear.pairs.half == 0)
    values, donor = code[rows], linear.donor[linear.pairs.prototype[rows]]
    sums = np.array([(values - values.mean(axis=0))[donor == d].sum(axis=0) for d in set(donor)])
    n = len(set(donor))
    expected = np.sqrt((sums**2).sum(axis=0) * n / (n - 1)) / len(values)
    np.testing.assert_allclose(found.standard_error[0], expected, atol=1e-10)
    cells = find_counterfactuals(linear.E, linear.model, [0], random_state=0)
    alone = attribute_genes(linear.counts, linear.embed, linear.model, cells, dtype=np.float64)
    np.testing.assert_allclose(alone.standard_error, alone.spread / np.sqrt(10), atol=1e-10)


def test_candidates_leave_the_others_out(linear, found):
    some = attribute(linear, candidates=["ignored3", "driver1.2", "driver0.0"])
    assert some.genes.tolist() == ["ignored3", "driver1.2", "driver0.0"]
    where = [np.flatnonzero(linear.genes == gene)[0] for gene in some.genes]
    np.testing.assert_allclose(some.attribution, found.attribution[:, where], atol=1e-12)
    assert some.passes.n_swaps < found.passes.n_swaps / 20


def test_sparse_dense_and_mapped_counts_give_the_same(linear, found, tmp_path):
    np.save(tmp_path / "X.npy", linear.counts.toarray())
    for X in (np.load(tmp_path / "X.npy", mmap_mode="r"), sparse.csc_matrix(linear.counts)):
        other = attribute_genes(
            X, linear.embed, linear.model, linear.pairs, genes=linear.genes, dtype=np.float64
        )
        np.testing.assert_array_equal(other.attribution, found.attribution)
        np.testing.assert_allclose(other.mean_expression, linear.counts.mean(axis=0), rtol=1e-4)


def test_tables_of_genes_and_concepts(linear, found):
    pandas = pytest.importorskip("pandas")
    frame = found.table(1, as_frame=True)
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 150
    assert (np.diff(frame.attribution) <= 0).all()
    np.testing.assert_allclose(frame.relative, frame.attribution / found.activation[1])
    above = found.table(1, cutoff=0.05)
    assert (np.abs(above.relative) >= 0.05).all()
    assert found.table(1, n=2, activation="pre").gene.shape == (2,)
    summary = found.summary()
    assert summary.n_above_cutoff.tolist() == (found.relative >= 0.05).sum(axis=1).tolist()
    assert summary.n_significant.tolist() == [5, 5, 5] and (summary.null == "").all()
    assert "3 concepts to 150 genes, swap of counts" in repr(found)
    plain = attribute(linear)
    assert np.isnan(plain.p_value).all() and (plain.summary().null == "no null").all()
    with pytest.raises(ValueError, match="level needs q-values"):
        plain.selected(level=0.05)
    with pytest.raises(ValueError, match="concept must be one of those attributed"):
        found.table(17)
    with pytest.raises(ValueError, match="activation must be one of 'code', 'pre'"):
        found.table(1, activation="z")


def test_a_concept_without_pairs_has_no_attribution(linear):
    model = DirectionConcepts(linear.directions, thresholds=[1e9, *linear.model.thresholds[1:]])
    pairs = find_counterfactuals(linear.E, model, [0, 1], units=linear.donor, random_state=0)
    null = null_counterfactuals(pairs, linear.counts, linear.E, model, n_null=2, random_state=0)
    found = attribute_genes(linear.counts, linear.embed, model, pairs, null=null)
    assert np.isnan(found.attribution[0]).all() and np.isfinite(found.attribution[1]).all()
    assert found.summary().null.tolist() == ["no pair", ""]
    assert not found.selected()[0].any() and "medians" in repr(found)


def test_progress_is_printed(linear, capsys):
    attribute(linear, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("[genes] ") and "0 s left" in lines[-1] and len(lines) > 1
    attribute(linear)
    assert capsys.readouterr().out == ""


def test_errors_name_the_parameter(linear):
    X, embed, model, pairs = linear.counts, linear.embed, linear.model, linear.pairs
    with pytest.raises(ValueError, match="embed must give the embeddings that the pairs were"):
        attribute_genes(X[:, ::-1], embed, model, pairs)
    with pytest.raises(ValueError, match="X must hold the cells that the pairs were found among"):
        attribute_genes(X[:-1], embed, model, pairs)
    with pytest.raises(ValueError, match="X must hold counts"):
        attribute_genes(-X, embed, model, pairs)
    with pytest.raises(ValueError, match="genes must be unique"):
        attribute_genes(X, embed, model, pairs, genes=["a"] * 150)
    with pytest.raises(ValueError, match='null must be None with variant="mask"'):
        attribute_genes(X, embed, model, pairs, null=linear.null, variant="mask")
    with pytest.raises(ValueError, match="variant must be one of 'swap', 'mask'"):
        attribute_genes(X, embed, model, pairs, variant="drop")
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got float16"):
        attribute_genes(X, embed, model, pairs, dtype=np.float16)
    with pytest.raises(TypeError, match="pairs must be the result of find_counterfactuals"):
        attribute_genes(X, embed, model, {})
    one = find_counterfactuals(linear.E, model, [0], units=linear.donor, random_state=0)
    with pytest.raises(ValueError, match="null must be made from these pairs, but its concepts"):
        attribute_genes(X, embed, model, one, null=linear.null)
    other = find_counterfactuals(
        linear.E, model, linear.concepts, units=linear.donor, random_state=1
    )
    with pytest.raises(ValueError, match="null must be made from these pairs, but its prototypes"):
        attribute_genes(X, embed, model, other, null=linear.null)
    with pytest.raises(TypeError, match="model must be DictionaryConcepts"):
        attribute_genes(X, embed, embed, pairs)


def test_p_values_are_calibrated_where_no_gene_stands_out():
    # every gene has the same small share in each concept: what activates it is a sum over all
    rng = np.random.default_rng(3)
    means = np.exp(rng.normal(-1, 1, 600))
    X = rng.poisson(np.exp(rng.normal(0, 0.3, (600, 1))) * means).astype(np.float64)
    weights = rng.normal(size=(600, 12)) / np.sqrt(means)[:, None]

    def embed(X):
        return (X / X.sum(axis=1, keepdims=True) * means.sum()) @ weights

    E = embed(X)
    directions = np.linalg.qr(rng.normal(size=(12, 12)))[0][:4]
    model = DirectionConcepts.with_active_share(directions, E, mean=E.mean(axis=0), share=0.2)
    pairs = find_counterfactuals(E, model, np.arange(4), depth=X.sum(axis=1), random_state=0)
    null = null_counterfactuals(pairs, X, E, model, n_null=5, random_state=0)
    found = attribute_genes(X, embed, model, pairs, null=null, dtype=np.float64)
    p_value = found.p_value.ravel()
    assert 0.03 < (p_value < 0.05).mean() < 0.075
    assert 0.4 < (p_value < 0.5).mean() < 0.55
    assert (found.q_value_all <= 0.05).sum() <= 2
