"""Means of crops per well: dense, sparse, on disk, and incomplete."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skdict.imaging import _wells, aggregate_crops, crop_table
from skdict.metrics import aggregate_embeddings


def naive(X, plate, well, keep):
    """Mean of each well by hand, wells sorted."""
    wells = sorted({pair for pair, kept in zip(zip(plate, well), keep) if kept})
    rows = [
        [i for i, pair in enumerate(zip(plate, well)) if pair == wanted and keep[i]]
        for wanted in wells
    ]
    return wells, np.stack([X[chosen].mean(axis=0) for chosen in rows]), [len(r) for r in rows]


@given(seed=st.integers(0, 1000), block=st.integers(1, 60))
def test_means_of_wells_dense_and_sparse(seed, block):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (30, 4)) * (rng.random((30, 4)) < 0.5).astype(float)
    plate, well = rng.choice(["P1", "P2"], 30), rng.choice(["A", "B", "C"], 30)
    keep = rng.random(30) < 0.8
    keep[0] = True
    wells, means, counts = naive(X, plate, well, keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_wells, "_BLOCK_VALUES", block)
        found = aggregate_crops(X, plate, well, keep=keep, incomplete="keep")
    assert list(zip(found.plate, found.well, strict=True)) == wells
    assert found.n_crops.tolist() == counts
    assert_allclose(found.X, means, atol=1e-12)
    codes = aggregate_crops(sparse.csr_array(X), plate, well, keep=keep, incomplete="keep")
    assert isinstance(codes.X, sparse.csr_array)
    assert_allclose(codes.X.toarray(), means, atol=1e-12)


def test_it_is_what_aggregate_embeddings_gives_for_wells_as_labels(rng):
    X, well = rng.normal(size=(40, 3)), rng.choice(list("ABCD"), 40)
    wells, other = aggregate_crops(X, None, well), aggregate_embeddings(X, well)
    assert "plate" not in wells
    assert_array_equal(wells.well, other.labels)
    assert_array_equal(wells.n_crops, other.n_rows)
    assert_allclose(wells.X, other.embeddings)


def test_the_mean_of_codes_is_the_code_of_the_mean_for_a_linear_code(rng):
    X, well = rng.normal(size=(20, 4)), np.repeat(["A", "B"], 10)
    encode = rng.normal(size=(4, 7))
    before = aggregate_crops(X, None, well).X @ encode
    after = aggregate_crops(sparse.csr_array(X @ encode), None, well).X
    assert_allclose(after.toarray(), before)


def test_edge_crops_of_a_table_are_left_out(rng):
    crops = crop_table([(2048, 2048)] * 2, plate=["P", "P"], well=["A01", "A02"])
    X = rng.normal(size=(len(crops.y), 5))
    found = aggregate_crops(X, crops.plate, crops.well, keep=~crops.on_edge, n_crops=36)
    assert found.n_crops.tolist() == [36, 36] and found.dropped == []
    assert_allclose(found.X[1], X[64:][~crops.on_edge[64:]].mean(axis=0))


def test_incomplete_wells_are_refused_kept_or_dropped():
    X = np.arange(10.0).reshape(5, 2)
    plate, well = ["P"] * 5, ["A", "A", "B", "B", "C"]
    with pytest.raises(
        ValueError, match=r"1 of 3 wells do not have n_crops=2 crops: P C \(1\); pass incomplete"
    ):
        aggregate_crops(X, plate, well, n_crops=2)
    kept = aggregate_crops(X, plate, well, n_crops=2, incomplete="keep")
    assert kept.n_crops.tolist() == [2, 2, 1] and kept.dropped == []
    dropped = aggregate_crops(X, plate, well, n_crops=2, incomplete="drop")
    assert dropped.well.tolist() == ["A", "B"]
    assert dropped.dropped == [{"plate": "P", "well": "C", "n_crops": 1}]
    assert_array_equal(dropped.X, kept.X[:2])
    keep = np.array([True, False, False, False, True])
    with pytest.raises(ValueError, match=r"do not have at least one crop: P B \(0\)"):
        aggregate_crops(X, plate, well, keep=keep)
    found = aggregate_crops(X, plate, well, keep=keep, incomplete="keep")
    assert found.well.tolist() == ["A", "C"]
    assert found.dropped == [{"plate": "P", "well": "B", "n_crops": 0}]
    with pytest.raises(ValueError, match="leaves no well: none of 3 has 9 crops"):
        aggregate_crops(X, plate, well, n_crops=9, incomplete="drop")


def test_precision_and_memory_maps(tmp_path, monkeypatch):
    X = np.full((6, 3), 0.1, dtype=np.float32)
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_wells, "_BLOCK_VALUES", 7)
    found = aggregate_crops(on_disk, None, ["A", "B"] * 3).X
    assert found.dtype == np.float32 and not isinstance(found, np.memmap)
    assert (found == np.float32(0.1)).all()
    assert aggregate_crops(X.astype(np.float16), None, ["A"] * 6).X.dtype == np.float32
    assert aggregate_crops([[1], [2]], None, ["A", "A"]).X.tolist() == [[1.5]]


def test_rows_that_are_left_out_may_be_broken():
    X = np.array([[1.0], [np.nan], [3.0]])
    keep = np.array([True, False, True])
    for values in (X, sparse.csr_array(X)):
        found = aggregate_crops(values, None, ["A"] * 3, keep=keep).X
        assert np.asarray(found.sum()) == 2.0
        with pytest.raises(ValueError, match="NaN or infinite values, first in row 1; leave"):
            aggregate_crops(values, None, ["A"] * 3)


def test_errors_name_the_parameter():
    X = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"X must have shape .* got shape \(2,\)"):
        aggregate_crops([1.0, 2.0], None, ["A", "A"])
    with pytest.raises(ValueError, match=r"well must have one entry per row: got shape \(1,\)"):
        aggregate_crops(X, None, ["A"])
    with pytest.raises(ValueError, match="plate holds missing values"):
        aggregate_crops(X, ["P", None], ["A", "A"])
    with pytest.raises(ValueError, match=r"keep must be a boolean mask of shape \(2,\), got dtype"):
        aggregate_crops(X, None, ["A", "A"], keep=[0, 1])
    with pytest.raises(ValueError, match="incomplete must be one of 'raise', 'keep', 'drop'"):
        aggregate_crops(X, None, ["A", "A"], incomplete="ignore")
    with pytest.raises(ValueError, match="X must hold real numbers, got dtype"):
        aggregate_crops(np.array([["a"]]), None, ["A"])
