"""Prototypes and their counterfactuals, against a naive search and the rules they have to keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist

from skdict.datasets import make_driver_genes
from skdict.genes import DirectionConcepts, _pairs, find_counterfactuals
from skdict.genes._counterfactuals import effective_number


@pytest.fixture(scope="module")
def data():
    found = make_driver_genes(n_cells=400, random_state=1)
    found.E = found.embed(found.counts)
    found.model = DirectionConcepts.with_active_share(found.directions, found.E, share=0.2)
    found.total = found.counts.sum(axis=1)
    return found


def naive(data, concept, half, of_half, *, n, margin=0.5, keep=None):
    """Prototypes of a concept in a half and their nearest counterfactuals, by plain loops."""
    code = data.model.codes(data.E).toarray()[:, concept]
    pre = data.model.pre_activations(data.E)[:, concept]
    typical, low = np.median(pre[code == 0]), np.quantile(pre[code > 0], 0.1)
    ceiling = typical + (1 - margin) * max(low - typical, 0)
    cells = np.flatnonzero((code > 0) & (of_half == half))
    cells = cells[np.lexsort((cells, -code[cells]))][:n]
    distance = cdist(data.E[cells], data.E)
    found = []
    for cell, row in zip(cells, distance):
        allowed = (code == 0) & (pre <= ceiling) & (of_half == half)
        if keep is not None:
            allowed &= keep(cell)
        if allowed.any():
            found.append((cell, np.where(allowed, row, np.inf).argmin()))
    return found


@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("block", [64, 1])
def test_pairs_are_those_of_a_naive_search(data, margin, block, monkeypatch):
    monkeypatch.setattr(_pairs, "_CONCEPT_BLOCK", block)
    pairs = find_counterfactuals(
        data.E, data.model, [2, 0], n_prototypes=7, margin=margin, depth=data.total,
        batch=data.batch, units=data.donor, random_state=3,
    )  # fmt: skip

    def keep(cell):
        ratio = data.total / data.total[cell]
        return (data.batch == data.batch[cell]) & (ratio <= 2) & (ratio >= 0.5)

    for position, concept in enumerate([2, 0]):
        for half in (0, 1):
            rows = (pairs.position == position) & (pairs.half == half)
            expected = naive(data, concept, half, pairs.rules.half, n=7, margin=margin, keep=keep)
            assert list(zip(pairs.prototype[rows], pairs.counterfactual[rows])) == expected


def test_entries_of_a_pair(data):
    pairs = find_counterfactuals(
        data.E, data.model, [1], depth=data.total, units=data.donor, n_neighbors=9, random_state=0
    )
    distance = cdist(data.E, data.E)
    codes, pre = data.model.codes(data.E).toarray()[:, 1], data.model.pre_activations(data.E)[:, 1]
    p, c = pairs.prototype, pairs.counterfactual
    np.testing.assert_allclose(pairs.distance, distance[p, c])
    np.testing.assert_allclose(pairs.radius, np.sort(distance[p], axis=1)[:, 9])
    np.testing.assert_array_equal(pairs.far, pairs.distance > pairs.radius)
    np.testing.assert_allclose(pairs.depth_ratio, data.total[c] / data.total[p])
    np.testing.assert_allclose(pairs.code_prototype, codes[p])
    np.testing.assert_allclose(pairs.pre_prototype, pre[p])
    np.testing.assert_allclose(pairs.pre_counterfactual, pre[c])
    assert (codes[c] == 0).all() and (pre[c] <= pairs.ceiling[0]).all()
    assert (pairs.rules.half[p] == pairs.rules.half[c]).all()
    assert not set(data.donor[pairs.rules.half == 0]) & set(data.donor[pairs.rules.half == 1])


def test_several_counterfactuals_are_the_nearest_ones_and_share_the_weight(data):
    options = {"units": data.donor, "random_state": 0}
    one = find_counterfactuals(data.E, data.model, [0], **options)
    three = find_counterfactuals(data.E, data.model, [0], n_counterfactuals=3, **options)
    assert three.prototype.shape[0] == 3 * one.prototype.shape[0]
    np.testing.assert_array_equal(three.counterfactual[::3], one.counterfactual)
    np.testing.assert_array_equal(three.weight, 1 / 3)
    assert (np.diff(three.distance.reshape(-1, 3), axis=1) >= 0).all()


def test_prototypes_are_taken_in_turn_from_each_stratum(data):
    pairs = find_counterfactuals(
        data.E, data.model, [0], n_prototypes=6, units=data.donor, stratify=data.donor,
        random_state=0,
    )  # fmt: skip
    chosen = data.donor[pairs.prototype[pairs.half == 0]]
    assert np.unique(chosen, return_counts=True)[1].tolist() == [2, 2, 2]
    codes = data.model.codes(data.E).toarray()[:, 0]
    for donor in np.unique(chosen):
        best = np.sort(codes[data.donor == donor])[-2:]
        taken = pairs.prototype[(pairs.half == 0) & (data.donor[pairs.prototype] == donor)]
        np.testing.assert_allclose(np.sort(codes[taken]), best)


def test_cells_that_other_concepts_displace_are_no_counterfactuals():
    # the pre-activation of cell 1 is as high as that of active ones; its code was cut off
    E = np.array([[5.0], [4.9], [1.0], [0.9], [4.0], [0.5]] * 2)
    codes = sparse.csr_array(np.where(np.isin(np.arange(12) % 6, [0, 4]), E[:, 0], 0)[:, None])
    model = DirectionConcepts([[1.0]])
    pairs = find_counterfactuals(E, model, [0], codes=codes, margin=0.5, random_state=0)
    assert set(pairs.counterfactual % 6) <= {2, 3, 5}
    none = find_counterfactuals(E, model, [0], codes=codes, margin=0.0, random_state=0)
    assert not set(none.counterfactual % 6) & {1}  # above what 90% of the active ones have


def test_negative_codes_are_neither_prototypes_nor_counterfactuals(rng):
    E = rng.normal(size=(60, 2))
    codes = np.where(rng.random(60) < 0.5, 0, rng.normal(size=60))
    pairs = find_counterfactuals(
        E, DirectionConcepts([[1.0, 0.0]]), [0], codes=codes[:, None], margin=1, random_state=0
    )
    assert (codes[pairs.prototype] > 0).all() and (codes[pairs.counterfactual] == 0).all()


def test_dropped_prototypes_are_counted_with_the_rule(data):
    batch = data.batch.copy()
    code = data.model.codes(data.E).toarray()[:, 0]
    batch[code.argmax()] = "alone"
    pairs = find_counterfactuals(
        data.E, data.model, [0, 1], batch=batch, cell_type=np.where(data.state[:, 1], "a", "b"),
        depth=data.total, max_depth_ratio=1.05, units=data.donor, random_state=0,
    )  # fmt: skip
    assert "batch" in pairs.dropped.reason[pairs.dropped.prototype == code.argmax()]
    found = pairs.summary()
    total = found.n_prototypes + found.n_dropped
    np.testing.assert_array_equal(total, 10)
    assert found.n_dropped.sum() == pairs.dropped.prototype.shape[0] > 0
    assert f"{pairs.dropped.prototype.shape[0]} of 40" in repr(pairs)
    assert ((pairs.depth_ratio <= 1.05) & (pairs.depth_ratio >= 1 / 1.05)).all()


def test_a_dead_concept_has_no_pair_beside_live_ones(data):
    model = DirectionConcepts(np.vstack([data.directions[0], 0 * data.directions[0] + 1e-9]),
                              thresholds=[data.model.thresholds[0], 1e9])  # fmt: skip
    pairs = find_counterfactuals(data.E, model, [1, 0], units=data.donor, random_state=0)
    assert pairs.summary().n_prototypes.tolist() == [0, 0, 10, 10]
    assert "concepts without a pair       1" in repr(pairs)
    assert np.isnan(pairs.ceiling[0]) and pairs.n_active[0].tolist() == [0, 0]


def test_order_of_cells_does_not_matter(data):
    order = np.random.default_rng(5).permutation(data.E.shape[0])
    half = np.where(np.isin(data.donor, ["donor0", "donor2", "donor4"]), "a", "b")
    pairs = find_counterfactuals(data.E, data.model, [0], units=half, random_state=0)
    mixed = find_counterfactuals(data.E[order], data.model, [0], units=half[order], random_state=0)
    where = {tuple(pair) for pair in zip(pairs.prototype, pairs.counterfactual)}
    assert {(order[p], order[c]) for p, c in zip(mixed.prototype, mixed.counterfactual)} == where


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_effective_number_lies_between_one_and_the_number_of_cells(cells):
    found = effective_number(cells)
    assert 1 - 1e-9 <= found <= len(set(cells)) + 1e-9
    counts = np.unique(cells, return_counts=True)[1]
    assert found == pytest.approx(1 / ((counts / len(cells)) ** 2).sum())


def test_tables(data):
    pandas = pytest.importorskip("pandas")
    pairs = find_counterfactuals(data.E, data.model, [0], units=data.donor, random_state=0)
    frame = pairs.table(as_frame=True)
    assert isinstance(frame, pandas.DataFrame) and len(frame) == pairs.prototype.shape[0]
    assert frame.half.unique().tolist() == ["chosen", "confirmation"]
    assert np.isnan(frame.depth_ratio).all() and "depth ratio" not in repr(pairs)
    summary = pairs.summary(as_frame=True)
    shares = frame[frame.half == "chosen"].counterfactual.value_counts(normalize=True)
    assert summary.n_effective[0] == pytest.approx(1 / (shares**2).sum())


def test_errors_name_the_parameter(data):
    E, model = data.E, data.model
    with pytest.raises(ValueError, match="units must hold at least two units.*got 1"):
        find_counterfactuals(E, model, [0], units=["a"] * 400)
    with pytest.raises(ValueError, match="depth must be positive"):
        find_counterfactuals(E, model, [0], depth=np.zeros(400))
    with pytest.raises(ValueError, match="depth must have one entry per cell"):
        find_counterfactuals(E, model, [0], depth=np.ones(3))
    with pytest.raises(ValueError, match=r"max_depth_ratio must be in \[1,"):
        find_counterfactuals(E, model, [0], depth=data.total, max_depth_ratio=0.5)
    with pytest.raises(ValueError, match="batch holds missing values"):
        find_counterfactuals(E, model, [0], batch=[None] * 400)
    with pytest.raises(ValueError, match=r"codes must have shape .*\(400, 3\), got \(400, 1\)"):
        find_counterfactuals(E, model, [0], codes=np.ones((400, 1)))
    with pytest.raises(TypeError, match=r"model must be DictionaryConcepts.*got ndarray"):
        find_counterfactuals(E, data.directions, [0])
    with pytest.raises(ValueError, match="codes holds NaN"):
        find_counterfactuals(E, model, [0], codes=np.full((400, 3), np.nan))
    with pytest.raises(ValueError, match="concepts must lie in 0 to 2, got 3"):
        find_counterfactuals(E, model, [3])
    with pytest.raises(ValueError, match=r"margin must be in \[0, 1\], got 2"):
        find_counterfactuals(E, model, [0], margin=2)
    with pytest.raises(ValueError, match="metric must be one of"):
        find_counterfactuals(E, model, [0], metric="manhattan")
    with pytest.raises(ValueError, match="n_prototypes must be an integer >= 1"):
        find_counterfactuals(E, model, [0], n_prototypes=0)
    nobody = DirectionConcepts(data.directions, thresholds=[1e9] * 3)
    with pytest.raises(ValueError, match="concepts must have a pair of cells, but none of the 2.*"):
        find_counterfactuals(E, nobody, [0, 1])
    with pytest.raises(ValueError, match=r"dropped because of cell type \d+"):
        everywhere = np.where(model.codes(E).toarray()[:, 0] > 0, "on", "off")
        find_counterfactuals(E, model, [0], cell_type=everywhere)
