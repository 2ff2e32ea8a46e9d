"""The sweep over sizes and the rule that reads it."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.datasets import make_superposition
from skdict.model_selection import choose_size, sweep_dictionaries

FIT = {"atoms_per_step": 1, "batch_size": 256, "max_steps": 100}


class Recorder(TransformerMixin, BaseEstimator):
    """Notes what it is fitted on."""

    fitted = []

    def fit(self, X, y=None):
        Recorder.fitted.append(X[:, 0].copy())
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X


def table_of(columns, n_repeats=2):
    """A table with equal repeats, from (M, K, explained variance, stability, dead)."""
    columns = np.repeat(np.array(columns, dtype=float), n_repeats, axis=0)
    names = ("n_components", "n_nonzero_coefs", "explained_variance", "stability_halves",
             "dead_fraction")  # fmt: skip
    table = dict(zip(names, columns.T, strict=True))
    table["n_components"] = table["n_components"].astype(int)
    table["n_nonzero_coefs"] = table["n_nonzero_coefs"].astype(int)
    return table | {"null_similarity": np.zeros(len(columns))}


@pytest.fixture(scope="module")
def swept():
    planted = make_superposition(3000, 24, 48, 3, random_state=0)
    table = sweep_dictionaries(
        ICFLDictionary(**FIT), planted.data, n_components=[12, 48, 96], n_nonzero_coefs=[3, 9],
        n_repeats=2, random_state=0,
    )  # fmt: skip
    return planted, table


def test_the_table_has_a_row_per_size_and_repeat(swept):
    _, table = swept
    sizes = set(zip(table["n_components"], table["n_nonzero_coefs"], table["repeat"], strict=True))
    assert sizes == {(m, k, r) for m in (12, 48, 96) for k in (3, 9) for r in (0, 1)}
    assert (table["n_test"] == 600).all() and (table["n_train"] == 1200).all()
    assert (table["stability_seeds"] <= 1).all() and (table["null_similarity"] > 0).all()
    # rows that were learned from are reconstructed better
    assert (table["train_explained_variance"] > table["explained_variance"]).all()


def test_the_planted_size_is_found(swept):
    chosen = choose_size(swept[1])
    assert chosen.n_components == 48
    assert chosen.n_nonzero_coefs == 3
    assert chosen.on_edge == ["smallest n_nonzero_coefs"]


def test_rows_without_structure_have_no_admissible_size(rng):
    X = rng.normal(size=(1500, 16))
    table = sweep_dictionaries(
        ICFLDictionary(**FIT), X, n_components=[16, 48], n_nonzero_coefs=[2, 4], n_repeats=2,
        random_state=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no admissible size"):
        choose_size(table)


def test_one_row_of_the_table_by_hand():
    """A dictionary without randomness: what the sweep must then find."""

    class Fixed(BaseEstimator, TransformerMixin):
        def __init__(self, n_components=2, n_nonzero_coefs=1, random_state=None):
            self.n_components = n_components
            self.n_nonzero_coefs = n_nonzero_coefs
            self.random_state = random_state

        def fit(self, X, y=None):
            self.components_ = np.eye(X.shape[1])[: self.n_components]
            return self

        def transform(self, X):
            return X[:, : self.n_components]

        def inverse_transform(self, codes):
            return codes @ self.components_

    X = np.zeros((100, 4))
    X[:, 0] = X[:, 3] = np.random.default_rng(0).normal(size=100)
    table = sweep_dictionaries(Fixed(), X, n_components=[3], n_nonzero_coefs=1, n_repeats=2)
    np.testing.assert_allclose(table["stability_halves"], 1)
    np.testing.assert_allclose(table["stability_seeds"], 1)
    assert (table["null_similarity"] < 1).all()
    # the atoms reach one of the two equal features, and two of them are never used
    np.testing.assert_allclose(table["explained_variance"], 0.5)
    np.testing.assert_allclose(table["train_explained_variance"], 0.5)
    np.testing.assert_allclose(table["dead_fraction"], 2 / 3)


def test_groups_stay_together_and_steps_never_see_held_out_rows():
    Recorder.fitted = []
    groups = np.repeat(np.arange(10), 20)
    X = np.random.default_rng(0).normal(size=(200, 6))
    X[:, 0] = groups
    sweep_dictionaries(
        make_pipeline(Recorder(), ICFLDictionary(max_steps=2)), X,
        n_components=[4], n_nonzero_coefs=[1, 2], groups=groups, n_repeats=3, random_state=0,
    )  # fmt: skip
    assert len(Recorder.fitted) == 3  # once per repeat
    for seen in Recorder.fitted:
        names, counts = np.unique(seen, return_counts=True)
        assert names.size == 8 and (counts == 20).all()


def test_controls_reach_the_whitener_and_the_sweep_is_reproducible():
    planted = make_superposition(
        600, 12, 24, 2, n_labels=4, control_fraction=0.3, background=1.0, random_state=0
    )
    pipeline = make_pipeline(
        ControlPCAWhitener(), Normalizer(), TopKSAE(max_steps=20, batch_size=128)
    )
    options = {"n_components": [24], "n_nonzero_coefs": [2], "n_repeats": 2}
    first, again = (
        sweep_dictionaries(
            pipeline, planted.data, control=planted.control, random_state=3, **options
        )
        for _ in range(2)
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    with pytest.warns(UserWarning, match="control"):
        other = sweep_dictionaries(pipeline, planted.data, random_state=3, **options)
    assert not np.allclose(other["explained_variance"], first["explained_variance"])


def test_frames_and_messages(capsys):
    pd = pytest.importorskip("pandas")
    X = make_superposition(400, 8, 16, 2, random_state=0).data
    table = sweep_dictionaries(
        ICFLDictionary(**FIT), X, n_components=[4, 16], n_nonzero_coefs=2, n_repeats=2,
        random_state=0, verbose=1, as_frame=True,
    )  # fmt: skip
    assert isinstance(table, pd.DataFrame) and table.shape[0] == 4
    assert "repeat 1, M=16, K=2: held-out explained variance" in capsys.readouterr().out
    chosen = choose_size(table, as_frame=True)
    assert chosen.summary["chosen"].sum() == 1
    row = chosen.summary[chosen.summary["chosen"]].iloc[0]
    assert (row["n_components"], row["n_nonzero_coefs"]) == (
        chosen.n_components, chosen.n_nonzero_coefs
    )  # fmt: skip


def test_means_errors_and_products_of_the_summary():
    table = table_of([(10, 2, 0.5, 0.6, 0.0)], n_repeats=3)
    table["explained_variance"] = np.array([0.4, 0.5, 0.6])
    table["null_similarity"] = np.array([0.2, 0.2, 0.2])
    summary = choose_size(table).summary
    assert summary["explained_variance"] == pytest.approx(0.5)
    assert summary["explained_variance_error"] == pytest.approx(0.1 / np.sqrt(3))
    assert summary["excess_stability"] == pytest.approx(0.4 / 0.8)
    assert summary["replicable_variance"] == pytest.approx(0.25)


def test_each_step_of_the_rule():
    # products 0.48, 0.72, 0.595 for K=2 and 0.42, 0.76, 0.576 for K=4
    sizes = [(10, 2, 0.6, 0.8, 0.0), (20, 2, 0.8, 0.9, 0.0), (40, 2, 0.85, 0.7, 0.0),
             (10, 4, 0.7, 0.6, 0.0), (20, 4, 0.95, 0.8, 0.0), (40, 4, 0.96, 0.6, 0.0)]  # fmt: skip
    chosen = choose_size(table_of(sizes))
    assert (chosen.n_components, chosen.n_nonzero_coefs) == (20, 4)
    assert chosen.summary["on_plateau"].sum() == 1
    # a standard error of 0.05 of the best brings (20, 2) to the plateau, and K goes before M
    noisy = table_of(sizes)
    noisy["explained_variance"][[8, 9]] += np.array([-0.05, 0.05]) / 0.8
    chosen = choose_size(noisy)
    assert chosen.summary["replicable_variance_error"][4] == pytest.approx(0.05)
    assert (chosen.n_components, chosen.n_nonzero_coefs) == (20, 2)
    # dead atoms rule a size out
    dead = [(m, k, v, e, 0.3 if (m, k) == (20, 4) else 0.0) for m, k, v, e, _ in sizes]
    chosen = choose_size(table_of(dead))
    assert (chosen.n_components, chosen.n_nonzero_coefs) == (20, 2)
    assert chosen.summary["admissible"].tolist() == [1, 1, 1, 1, 0, 1]
    assert choose_size(table_of(dead), max_dead_fraction=0.3).n_nonzero_coefs == 4
    # and so does agreement at chance
    with pytest.raises(ValueError, match="min_excess_stability=0.95"):
        choose_size(table_of(sizes), min_excess_stability=0.95)


def test_neither_reconstruction_nor_stability_decides_alone():
    # the largest reconstructs best, the smallest is the most stable
    chosen = choose_size(
        table_of([(2, 1, 0.1, 1.0, 0), (50, 1, 0.7, 0.8, 0), (500, 1, 0.9, 0.3, 0)])
    )
    assert chosen.n_components == 50 and chosen.on_edge == []


def test_edges_are_named():
    def edges(*sizes):
        return choose_size(table_of([(*size, 0.0) for size in sizes])).on_edge

    assert edges((10, 2, 0.5, 0.5)) == []  # a single size has no edge
    assert edges((10, 2, 0.5, 0.5), (20, 2, 0.5, 0.9)) == ["largest n_components"]
    assert edges((10, 2, 0.5, 0.9), (20, 2, 0.5, 0.5)) == ["smallest n_components"]
    assert edges((10, 2, 0.5, 0.2), (10, 4, 0.5, 0.5)) == ["largest n_nonzero_coefs"]


def test_errors_name_the_parameter():
    X = np.zeros((10, 3))
    dictionary, sizes = ICFLDictionary(), {"n_components": [4], "n_nonzero_coefs": [1]}
    with pytest.raises(ValueError, match=r"lacks \['n_nonzero_coefs'\]"):
        sweep_dictionaries(PCA(), X, **sizes)
    with pytest.raises(ValueError, match="n_components must be an integer >= 1, got 0"):
        sweep_dictionaries(dictionary, X, n_components=[0], n_nonzero_coefs=[1])
    with pytest.raises(ValueError, match=r"n_nonzero_coefs=\[8\] must not exceed"):
        sweep_dictionaries(dictionary, X, n_components=[4], n_nonzero_coefs=[8])
    with pytest.raises(ValueError, match="at least four groups.*got 3"):
        sweep_dictionaries(dictionary, X, groups=[0, 1, 2, 2, 2, 2, 2, 2, 2, 2], **sizes)
    with pytest.raises(ValueError, match="groups must have one entry per row"):
        sweep_dictionaries(dictionary, X, groups=[0, 1], **sizes)
    with pytest.raises(ValueError, match="n_repeats must be an integer >= 2"):
        sweep_dictionaries(dictionary, X, n_repeats=1, **sizes)
    with pytest.raises(ValueError, match="test_size must be in"):
        sweep_dictionaries(dictionary, X, test_size=0, **sizes)
    with pytest.raises(ValueError, match=r"it lacks \['explained_variance'"):
        choose_size({"n_components": [1], "n_nonzero_coefs": [1]})
    with pytest.raises(ValueError, match="at least two repeats of every size"):
        choose_size(table_of([(10, 2, 0.5, 0.6, 0.0)], n_repeats=1))
    with pytest.raises(ValueError, match="1 values of explained_variance that are NaN"):
        table = table_of([(10, 2, 0.5, 0.6, 0.0)])
        table["explained_variance"] = np.append(table["explained_variance"][1:], np.nan)
        choose_size(table)
    with pytest.raises(TypeError, match=r"X must be dense.*toarray"):
        sweep_dictionaries(dictionary, csr_array(X), **sizes)
