"""Genes selected by their scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict.genes import _selected_genes, select_genes


def naive(row, n_top, cutoff, order):
    """Sort and cut, one gene at a time."""
    height = {"largest": row, "smallest": -row, "magnitude": np.abs(row)}[order]
    allowed = [g for g in range(row.size) if height[g] > cutoff]
    return sorted(sorted(allowed, key=lambda g: (-height[g], g))[:n_top])


@given(
    seed=st.integers(0, 1000),
    n_top=st.one_of(st.none(), st.integers(1, 12)),
    cutoff=st.sampled_from([0.0, 0.5, 1.0]),
    order=st.sampled_from(["largest", "smallest", "magnitude"]),
)
def test_against_a_sort(seed, n_top, cutoff, order):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 4, size=(4, 10)).astype(float) / 2
    scores[rng.random(scores.shape) < 0.1] = np.nan
    found = select_genes(scores, n_top=n_top, cutoff=cutoff, order=order)
    assert found.dtype == bool
    for row, chosen in zip(scores, found.toarray()):
        assert np.flatnonzero(chosen).tolist() == naive(row, n_top, cutoff, order)


def test_zero_stands_for_nothing():
    assert select_genes([[0.0, 0.0, 1.0]], n_top=2).toarray().tolist() == [[False, False, True]]


def test_blocks_and_memory_maps(rng, monkeypatch, tmp_path):
    scores = rng.normal(size=(9, 20)).astype(np.float32)
    whole = select_genes(scores, n_top=5)
    assert (whole.sum(axis=1) == 5).all()
    np.save(tmp_path / "scores.npy", scores)
    monkeypatch.setattr(_selected_genes, "_BLOCK_VALUES", 41)
    again = select_genes(np.load(tmp_path / "scores.npy", mmap_mode="r"), n_top=5)
    assert (whole != again).nnz == 0


def test_unsigned_numbers_have_a_smallest():
    scores = np.array([[0, 3, 5]], dtype=np.uint8)
    assert select_genes(scores, n_top=1, order="smallest").nnz == 0


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="n_top or cutoff must be given"):
        select_genes([[1.0]])
    with pytest.raises(ValueError, match="order must be one of 'largest'"):
        select_genes([[1.0]], n_top=1, order="best")
    with pytest.raises(ValueError, match="dense array of shape.*got ndarray of shape"):
        select_genes([1.0, 2.0], n_top=1)
    with pytest.raises(ValueError, match="dense array of shape.*csr_array"):
        select_genes(sparse.csr_array(np.eye(2)), n_top=1)
    with pytest.raises(ValueError, match="real numbers"):
        select_genes([["a"]], n_top=1)
    with pytest.raises(ValueError, match="cutoff must be in"):
        select_genes([[1.0]], cutoff=-1.0)


def test_rounding_stands_for_nothing():
    """Genes with what rounding leaves of zero filled up the first genes."""
    scores = np.full((2, 30), 1e-16)
    scores[0, 4] = 0.4
    scores[1, :2] = 3e-5, 0.02
    assert select_genes(scores, n_top=5).nonzero()[1].tolist() == [4, 0, 1]
    assert select_genes(scores, n_top=5, cutoff=0).sum() == 10
