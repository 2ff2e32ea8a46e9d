"""Null pairs: which cells they take, and how they match."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from skdict.datasets import make_driver_genes
from skdict.genes import DirectionConcepts, find_counterfactuals, null_counterfactuals


@pytest.fixture(scope="module")
def data():
    found = make_driver_genes(n_cells=1200, random_state=2)
    found.E = found.embed(found.counts)
    found.model = DirectionConcepts.with_active_share(found.directions, found.E, share=0.2)
    found.pairs = find_counterfactuals(
        found.E, found.model, [0, 2], depth=found.counts.sum(axis=1), batch=found.batch,
        units=found.donor, random_state=0,
    )  # fmt: skip
    found.null = null_counterfactuals(
        found.pairs, found.counts, found.E, found.model, n_null=6, random_state=0
    )
    return found


def test_partners_activate_the_concept_and_keep_the_rules(data):
    null, pairs = data.null, data.pairs
    codes = data.model.codes(data.E).toarray()[:, pairs.concepts]
    p, c = null.prototype, null.counterfactual
    assert (codes[c, null.position] > 0).all() and (p != c).all()
    assert (pairs.rules.half[p] == 0).all() and (pairs.rules.half[c] == 0).all()
    assert (data.batch[p] == data.batch[c]).all()
    depth = data.counts.sum(axis=1)
    assert ((depth[c] / depth[p] <= 2) & (depth[c] / depth[p] >= 0.5)).all()
    np.testing.assert_allclose(null.level_ratio, codes[c, null.position] / codes[p, null.position])


def test_every_set_has_the_prototypes_and_shares_partners_as_the_pairs_do(data):
    null, pairs = data.null, data.pairs
    for position in range(2):
        own = (pairs.position == position) & (pairs.half == 0)
        for number in range(6):
            rows = (null.position == position) & (null.set == number)
            assert sorted(null.prototype[rows]) == sorted(pairs.prototype[own])
            partner = dict(zip(null.prototype[rows], null.counterfactual[rows]))
            shared = {}
            for p, c in zip(pairs.prototype[own], pairs.counterfactual[own]):
                shared.setdefault(c, set()).add(partner[p])
            assert all(len(cells) == 1 for cells in shared.values())
    effective = data.pairs.summary().n_effective[::2]
    np.testing.assert_allclose(data.null.summary().n_effective, effective, rtol=0.2)


def test_ratios_are_those_of_the_pair_that_is_replaced(data):
    null, pairs = data.null, data.pairs
    distance, there = cdist(data.E, data.E), data.counts.toarray() != 0
    for row in range(0, null.prototype.shape[0], 7):
        p, c = null.prototype[row], null.counterfactual[row]
        own = (pairs.position == null.position[row]) & (pairs.prototype == p) & (pairs.half == 0)
        replaced = pairs.counterfactual[own][0]
        assert null.distance_ratio[row] == pytest.approx(distance[p, c] / distance[p, replaced])
        differing = [(there[p] | there[cell]).sum() for cell in (c, replaced)]
        assert null.differing_ratio[row] == pytest.approx(differing[0] / differing[1])


def test_partners_match_better_than_cells_at_random(data):
    codes = data.model.codes(data.E).toarray()
    distance = cdist(data.E, data.E)
    at_random = []
    for position, concept in enumerate(data.pairs.concepts):
        rows = (data.pairs.position == position) & (data.pairs.half == 0)
        cells = np.flatnonzero((codes[:, concept] > 0) & (data.pairs.rules.half == 0))
        for p, c in zip(data.pairs.prototype[rows], data.pairs.counterfactual[rows]):
            ratios = distance[p, cells] / distance[p, c], codes[cells, concept] / codes[p, concept]
            at_random.append([np.abs(np.log(ratio[cells != p])).mean() for ratio in ratios])
    found = [np.abs(np.log(data.null[name])) for name in ("distance_ratio", "level_ratio")]
    assert np.mean(found) < 0.6 * np.mean(at_random)
    assert 0.7 < np.median(data.null.distance_ratio) < 1.5


def test_reasons_and_summary(data):
    pandas = pytest.importorskip("pandas")
    frame = data.null.summary(as_frame=True)
    assert isinstance(frame, pandas.DataFrame) and frame.reason.tolist() == ["", ""]
    assert "2 concepts, 6 null sets" in repr(data.null)
    # so few cells activate the second concept that none is left for a partner
    thresholds = data.model.thresholds.copy()
    thresholds[1] = np.sort(data.model.pre_activations(data.E)[:, 1])[-6]
    model = DirectionConcepts(data.directions, thresholds=thresholds)
    pairs = find_counterfactuals(data.E, model, [1, 0], units=data.donor, random_state=0)
    null = null_counterfactuals(pairs, data.counts, data.E, model, random_state=0)
    assert null.reason.tolist() == ["too few activating cells", ""]
    assert set(null.position) == {1} and "concepts without              1" in repr(null)
    strict = null_counterfactuals(
        data.pairs, data.counts, data.E, data.model, min_level=1.0, random_state=0
    )
    assert strict.reason.tolist() == ["too few activating cells"] * 2
    assert strict.position.shape == (0,) and np.isnan(strict.summary().distance_ratio).all()


def test_the_seed_decides(data):
    again = null_counterfactuals(
        data.pairs, data.counts, data.E, data.model, n_null=6, random_state=0
    )
    np.testing.assert_array_equal(again.counterfactual, data.null.counterfactual)
    other = null_counterfactuals(
        data.pairs, data.counts, data.E, data.model, n_null=6, random_state=1
    )
    assert (other.counterfactual != data.null.counterfactual).any()


def test_errors_name_the_parameter(data):
    with pytest.raises(ValueError, match="n_null must be an integer >= 2"):
        null_counterfactuals(data.pairs, data.counts, data.E, data.model, n_null=1)
    with pytest.raises(ValueError, match="must be the same, got 1199, 1200 and 1200 cells"):
        null_counterfactuals(data.pairs, data.counts[:-1], data.E, data.model)
    with pytest.raises(ValueError, match=r"min_level must be in \[0, 1\]"):
        null_counterfactuals(data.pairs, data.counts, data.E, data.model, min_level=2)
