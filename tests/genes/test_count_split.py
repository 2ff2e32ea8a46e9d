"""Counts split in two parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import chisquare

from skdict.genes import _count_split, _whole_counts, split_counts


def dispersed(rng, mean, dispersion, n):
    """Negative binomial counts with variance mean + dispersion * mean ** 2."""
    return rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, n))


@given(
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.2, 0.5, 0.9]),
    dispersion=st.sampled_from([None, 0.0, 1.5]),
    form=st.sampled_from([np.asarray, sparse.csr_array, sparse.csc_matrix]),
    dtype=st.sampled_from([np.int64, np.uint8, np.float32, np.float64]),
)
def test_the_parts_add_up(seed, share, dispersion, form, dtype):
    rng = np.random.default_rng(seed)
    X = rng.poisson(1.5, size=(6, 5)).astype(dtype)
    split = split_counts(form(X), share, dispersion=dispersion, random_state=seed)
    np.testing.assert_array_equal((split.calling + split.testing).toarray(), X)
    for part in (split.calling, split.testing):
        assert part.dtype == dtype and (part.data > 0).all()
    assert split.share == share


def test_poisson_counts_become_independent_poisson_counts(rng):
    X = rng.poisson(4.0, size=(40_000, 1))
    split = split_counts(X, 0.25, random_state=0)
    first, second = (part.toarray().ravel() for part in (split.calling, split.testing))
    for part, mean in ((first, 1.0), (second, 3.0)):
        assert part.mean() == pytest.approx(mean, rel=0.02)
        assert part.var() == pytest.approx(mean, rel=0.04)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(40_000)


def test_overdispersed_counts_stay_dependent_unless_their_dispersion_is_given(rng):
    mean, dispersion, share, n = 6.0, 0.8, 0.4, 40_000
    X = dispersed(rng, mean, dispersion, n)[:, None]
    parts = {}
    for given_dispersion in (None, dispersion):
        split = split_counts(X, share, dispersion=given_dispersion, random_state=0)
        parts[given_dispersion] = [
            part.toarray().ravel() for part in (split.calling, split.testing)
        ]
    excess = share * (1 - share) * dispersion * mean**2
    assert np.cov(*parts[None])[0, 1] == pytest.approx(excess, rel=0.05)
    first, second = parts[dispersion]
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(n)
    # both are negative binomial with a dispersion larger by what they lost
    assert first.var() == pytest.approx(
        share * mean + dispersion / share * (share * mean) ** 2, rel=0.08
    )


def test_dispersion_of_each_gene(rng):
    X = np.column_stack([dispersed(rng, 6.0, 0.8, 20_000), rng.poisson(6.0, 20_000)])
    split = split_counts(X, dispersion=[0.8, 0.0], random_state=0)
    for gene in (0, 1):
        pair = [part[:, [gene]].toarray().ravel() for part in (split.calling, split.testing)]
        assert abs(np.corrcoef(*pair)[0, 1]) < 4 / np.sqrt(20_000)


def test_a_single_count_falls_to_either_part():
    split = split_counts(np.ones((4000, 1)), 0.3, random_state=0)
    assert chisquare([split.calling.sum(), split.testing.sum()], [1200, 2800]).pvalue > 1e-3


def test_blocks_memory_maps_and_seeds(rng, monkeypatch, tmp_path):
    X = rng.poisson(2.0, size=(30, 7)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    whole = split_counts(X, random_state=3)
    mapped = split_counts(np.load(tmp_path / "X.npy", mmap_mode="r"), random_state=3)
    assert (whole.calling != mapped.calling).nnz == 0
    assert (whole.calling != split_counts(X, random_state=4).calling).nnz > 0
    monkeypatch.setattr(_count_split, "_BLOCK_VALUES", 11)
    monkeypatch.setattr(_whole_counts, "_BLOCK_VALUES", 11)
    small = split_counts(X, random_state=3)
    np.testing.assert_array_equal((small.calling + small.testing).toarray(), X)


def test_the_caller_keeps_the_counts():
    X = sparse.csr_array(np.array([[3.0, 0.0], [2.0, 5.0]]))
    X.data[1] = 0  # a stored zero
    before = X.copy()
    split_counts(X, random_state=0)
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(X, name), getattr(before, name))


def test_half_precision_and_booleans():
    whether = np.array([[True, False]])
    for X in (np.array([[2, 0]], dtype=np.float16), whether, sparse.csr_array(whether)):
        split = split_counts(X, random_state=0)
        assert (split.calling + split.testing).sum() == X.sum()


def test_summary():
    split = split_counts(np.full((10, 10), 10), 0.5, random_state=0)
    assert "CountSplit of 10 cells x 10 genes, 1000 counts" in repr(split)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_errors_name_the_parameter(form):
    with pytest.raises(ValueError, match=r"whole numbers, got 0.69.*log-transformed.*layer of raw"):
        split_counts(form(np.array([[0.0, 0.6931]])))
    with pytest.raises(ValueError, match="no negative, NaN or infinite"):
        split_counts(form(np.array([[0.0, -1.0]])))
    with pytest.raises(ValueError, match="no negative, NaN or infinite"):
        split_counts(form(np.array([[0.0, np.nan]])))
    X = form(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\], got 0"):
        split_counts(X, 0)
    with pytest.raises(ValueError, match="share must be less than 1"):
        split_counts(X, 1.0)
    with pytest.raises(ValueError, match=r"dispersion must be a number >= 0 or one per gene \(3\)"):
        split_counts(X, dispersion=[0.1, 0.2])
    with pytest.raises(ValueError, match="dispersion must be a number >= 0"):
        split_counts(X, dispersion=-1.0)
