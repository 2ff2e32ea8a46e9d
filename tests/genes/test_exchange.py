"""Which genes are exchanged, and for what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skdict.genes._counts import Counts
from skdict.genes._exchange import Exchange

X = np.array([[4.0, 0.0, 2.0, 2.0], [1.0, 1.0, 2.0, 0.0], [0.0, 0.0, 8.0, 8.0]])
GENES = np.array(["a", "b", "c", "d"])


def exchange(**options):
    settings = {"candidates": None, "groups": None, "variant": "swap", "rescale": True}
    return Exchange(Counts(X), GENES, **(settings | {"dtype": np.float32} | options))


def test_counterfactual_counts_are_rescaled_to_the_depth_of_the_prototype():
    before, after = exchange().profiles([0, 0], [1, 2])
    np.testing.assert_array_equal(before, X[[0, 0]])
    np.testing.assert_array_equal(after, [[2, 2, 4, 0], [0, 0, 4, 4]])
    np.testing.assert_array_equal(exchange(rescale=False).profiles([0], [1])[1], X[[1]])
    assert (exchange(variant="mask").profiles([0], [-1])[1] == 0).all()


def test_one_gene_at_a_time():
    some = exchange()
    before, after = (rows[0] for rows in some.profiles([0], [1]))
    features = some.changed(before, after)
    assert features.tolist() == [0, 1, 2, 3]
    rows = np.empty((4, 4))
    some.fill(rows, before, after, features)
    for gene, row in enumerate(rows):
        expected = before.copy()
        expected[gene] = after[gene]
        np.testing.assert_array_equal(row, expected)
    assert some.changed(before, np.where(GENES == "b", 7, before)).tolist() == [1]


def test_candidates_and_groups():
    some = exchange(candidates=["d", "b"])
    before, after = (rows[0] for rows in some.profiles([0], [1]))
    rows = np.empty((1, 4))
    some.fill_all(rows, before, after)
    np.testing.assert_array_equal(rows[0], [4, 2, 2, 0])
    assert some.names.tolist() == ["d", "b"] and some.changed(before, after).tolist() == [0, 1]
    np.testing.assert_allclose(some.mean_expression(), X.mean(axis=0)[[3, 1]])

    groups = exchange(groups={"one": ["a"], "two": ["b", "d"], "same": ["c"]}, rescale=False)
    before, after = (rows[0] for rows in groups.profiles([0], [1]))
    assert groups.changed(before, after).tolist() == [0, 1]
    rows = np.empty((2, 4))
    groups.fill(rows, before, after, np.array([0, 1]))
    np.testing.assert_array_equal(rows, [[1, 0, 2, 2], [4, 1, 2, 0]])
    a, b, c, d = X.mean(axis=0)
    np.testing.assert_allclose(groups.mean_expression(), [a, b + d, c])


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=2))
def test_genes_that_are_equal_are_not_changed(rows):
    before, after = np.array(rows, dtype=np.float32)
    found = exchange().changed(before, after)
    assert found.tolist() == [gene for gene in range(4) if before[gene] != after[gene]]


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="candidates and groups exclude each other"):
        exchange(candidates=["a"], groups={"one": ["a"]})
    with pytest.raises(ValueError, match="groups must be a mapping"):
        exchange(groups=[["a"]])
    with pytest.raises(ValueError, match=r"groups\['one'\] must hold names of genes: 1 of 1"):
        exchange(groups={"one": ["z"]})
    with pytest.raises(ValueError, match=r"groups\['one'\] must name at least one gene"):
        exchange(groups={"one": []})
