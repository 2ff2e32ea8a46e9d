"""Concepts of batches are found within types, and suppressing them mixes batches at no cost."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import TopKSAE
from skdict.datasets import make_batches
from skdict.metrics import activation_frequency, selectivity_scores
from skdict.steering import batch_selectivity, suppress_batch


@pytest.fixture(scope="module")
def planted():
    """Batches that differ in their types, too."""
    return make_batches(1600, composition=0.4, random_state=0)


@pytest.fixture(scope="module")
def pipeline(planted):
    sae = TopKSAE(56, n_nonzero_coefs=6, max_steps=350, random_state=0)
    return make_pipeline(StandardScaler(), Normalizer(), sae).fit(planted.data)


@pytest.fixture(scope="module")
def found(planted, pipeline):
    return suppress_batch(
        pipeline, planted.data, batch=planted.batch, labels=planted.cell_type, units=planted.unit,
        n_concepts=[2, 6], n_random=3, random_state=0,
    )  # fmt: skip


def test_planted_atoms_of_batches_are_the_most_selective(planted):
    scores = batch_selectivity(planted.codes, planted.batch, labels=planted.cell_type)
    top = np.argsort(-scores.score)[:6]
    assert set(top) == set(planted.batch_atoms.ravel())
    assert_array_equal(scores.batch[planted.batch_atoms], [[0, 0], [1, 1], [2, 2]])
    assert scores.score[top].min() > 0.7 and np.sort(scores.score)[-7] < 0.15


def test_atoms_of_types_look_like_those_of_batches_without_labels(planted):
    """A batch that has more of a type: what labels are for."""
    without = batch_selectivity(planted.codes, planted.batch).score[planted.type_atoms]
    within = batch_selectivity(planted.codes, planted.batch, labels=planted.cell_type)
    assert without.mean() > 2 * within.score[planted.type_atoms].mean()


def test_one_label_is_plain_selectivity(planted):
    scores = batch_selectivity(planted.codes, planted.batch)
    expected = selectivity_scores(planted.codes, planted.batch)
    np.testing.assert_allclose(scores.by_batch, expected)
    assert_array_equal(scores.score, expected.max(axis=0))


def test_labels_weigh_equally_and_rare_ones_do_not_count():
    codes = np.zeros((110, 1))
    batch = np.array(["x", "y"] * 55)
    label = np.array(["big"] * 60 + ["small"] * 40 + ["rare"] * 10)
    codes[(label == "small") & (batch == "x")] = 1.0  # all of it in the smaller label
    codes[(label == "rare") & (batch == "y")] = 1.0  # the other way round in one that is too rare
    assert batch_selectivity(codes, batch, labels=label).score.tolist() == [0.5]
    small = batch_selectivity(codes, batch, labels=label, min_cells=5)
    np.testing.assert_allclose(small.by_batch.ravel(), [0.0, 0.0], atol=1e-12)


def test_a_batch_without_a_shared_label_has_no_score():
    label = np.repeat(["a", "a", "b"], 20)
    batch = np.repeat(["x", "y", "z"], 20)
    scores = batch_selectivity(np.eye(3)[np.repeat([0, 1, 2], 20)], batch, labels=label)
    assert np.isnan(scores.by_batch[2]).all() and scores.score.tolist() == [1, 1, 0]


def test_type_and_batch_that_coincide_are_refused():
    batch = np.repeat(["x", "y"], 20)
    with pytest.raises(ValueError, match="batch and label cannot be told apart"):
        batch_selectivity(np.ones((40, 2)), batch, labels=batch)


def test_suppression_mixes_batches_and_keeps_types(found):
    table = found.table()
    assert table.kind.tolist() == ["none", "batch", "random", "batch", "random"]
    none, _, _, six, random = range(5)
    assert table.batch_mixing[none] < 0.6 and table.batch_mixing[six] > 0.85
    assert table.label_purity[six] > table.label_purity[none] - 0.01
    # as many concepts as often used: batches stay apart, and types suffer
    assert abs(table.batch_mixing[random] - table.batch_mixing[none]) < 0.15
    assert table.label_purity[random] < table.label_purity[none] - 0.05


def test_concepts_chosen_are_those_of_planted_batches(planted, pipeline, found):
    scaled = planted.components[planted.batch_atoms.ravel()] / pipeline[0].scale_
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    cosine = pipeline[-1].components_[found.concepts] @ scaled.T
    assert (cosine.max(axis=1) > 0.8).all() and set(cosine.argmax(axis=1)) == set(range(6))
    assert_array_equal(found.batch, cosine.argmax(axis=1) // 2)
    assert (np.diff(found.score) <= 0).all() and found.score[-1] > 0.3


def test_halves_share_no_unit_and_hold_every_batch(planted, found):
    first = set(planted.unit[found.chosen_on])
    second = set(planted.unit[~found.chosen_on])
    assert not first & second and len(first) == len(second) == 6
    assert set(planted.batch[found.chosen_on]) == set(planted.batch[~found.chosen_on]) == {0, 1, 2}
    assert found.n_chosen_on + found.n_measured_on == 1600


def test_controls_are_others_of_equal_usage(planted, pipeline, found):
    usage = activation_frequency(sparse.csr_array(pipeline.transform(planted.data)))
    assert len(found.random_concepts) == 6
    for concepts in found.random_concepts:
        assert len(set(concepts)) == len(concepts) and not set(concepts) & set(found.concepts)
        chosen = usage[found.concepts[: len(concepts)]]
        assert abs(np.log(usage[concepts].mean() / chosen.mean())) < 0.7
    runs = found.runs
    assert runs.draw[runs.kind == "random"].tolist() == [0, 1, 2] * 2
    assert len({tuple(c) for c in found.random_concepts}) > 3


def test_without_a_batch_effect_nothing_is_gained():
    plain = make_batches(900, batch_strength=0.0, random_state=1)
    sae = TopKSAE(48, n_nonzero_coefs=5, max_steps=120, random_state=0).fit(plain.data)
    table = suppress_batch(
        sae, plain.data, batch=plain.batch, labels=plain.cell_type, units=plain.unit,
        n_concepts=[4], n_random=1, random_state=0,
    ).table()  # fmt: skip
    assert table.batch_mixing[0] > 0.9 and abs(table.batch_mixing[1] - table.batch_mixing[0]) < 0.06


def test_the_same_seed_gives_the_same(planted, pipeline):
    runs = [
        suppress_batch(
            pipeline, planted.data[:600], batch=planted.batch[:600], n_cells=100, n_random=1,
            labels=planted.cell_type[:600], n_concepts=3, random_state=5,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert_array_equal(runs[0].concepts, runs[1].concepts)
    for name in runs[0].runs:
        assert_array_equal(runs[0].runs[name], runs[1].runs[name])
    assert "measured on" in repr(runs[0]) and "3 random" in repr(runs[0])


def test_probes_come_along(planted, pipeline):
    table = suppress_batch(
        pipeline, planted.data[:900], batch=planted.batch[:900], labels=planted.cell_type[:900],
        n_concepts=[6], n_random=0, cv=2, random_state=0,
    ).table()  # fmt: skip
    assert table.kind.tolist() == ["none", "batch"]
    assert table.batch_accuracy[1] < table.batch_accuracy[0] - 0.2
    assert table.label_accuracy[1] > table.label_accuracy[0] - 0.05
    assert np.isnan(table.batch_accuracy_sd).all()  # of a single draw


def test_what_does_not_fit_is_refused(planted, pipeline):
    X, of = planted.data, {"batch": planted.batch, "labels": planted.cell_type}
    with pytest.raises(ValueError, match="batch must have at least two values, got"):
        suppress_batch(pipeline, X, batch=np.zeros(1600), labels=planted.cell_type)
    with pytest.raises(ValueError, match="at least two in each batch, .* batch 0 has one"):
        suppress_batch(pipeline, X, **of, units=planted.batch)
    with pytest.raises(ValueError, match="units must lie in one stratum each"):
        suppress_batch(pipeline, X, **of, units=np.arange(1600) % 7)
    with pytest.raises(ValueError, match=r"n_concepts must hold numbers from 1 to \d+, half of"):
        suppress_batch(pipeline, X, **of, n_concepts=[40])
    with pytest.raises(ValueError, match="n_concepts must be an integer >= 1, got 0"):
        suppress_batch(pipeline, X, **of, n_concepts=[0])
    with pytest.raises(ValueError, match="labels must have one entry per row"):
        suppress_batch(pipeline, X, batch=planted.batch, labels=[1, 2])
