"""Most and least aligned images and patches, against sorting everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import StandardScaler

from skdict.imaging import _aligned, most_aligned_images, most_aligned_patches, token_heatmaps


def greedy(values, n, *caps):
    """Positions of the best values; of each group of `caps` at most as many as it may give."""
    taken = []
    for i in np.argsort(-values, kind="stable"):
        full = any(np.sum(group[taken] == group[i]) >= cap for group, cap in caps)
        if not full:
            taken.append(i)
        if len(taken) == n:
            return taken
    raise AssertionError("the caps leave too few")


@given(
    seed=st.integers(0, 1000), n=st.integers(1, 6), block=st.integers(1, 20),
    cap=st.sampled_from([None, 1, 2]),
)  # fmt: skip
def test_images_are_those_of_one_sort(seed, n, block, cap):
    rng = np.random.default_rng(seed)
    # small integers: many ties, and inner products that are exact in blocks of every shape
    X, directions = rng.integers(-2, 3, (24, 3)).astype(float), rng.integers(1, 3, (4, 3))
    units = rng.permutation(np.repeat(np.arange(6), 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_aligned, "_BLOCK_ROWS", block)
        patch.setattr(_aligned, "_BLOCK_VALUES", 3 * block)
        found = most_aligned_images(
            X, directions, n=n, kind="inner", units=None if cap is None else units, max_per_unit=cap
        )
    caps = [] if cap is None else [(units, cap)]
    for k, direction in enumerate(directions):
        values = X @ direction
        assert found.most[k].tolist() == greedy(values, n, *caps)
        assert found.least[k].tolist() == greedy(-values, n, *caps)
        assert_array_equal(found.most_alignment[k], values[found.most[k]])
        assert_array_equal(found.least_alignment[k], values[found.least[k]])


@given(
    seed=st.integers(0, 1000), n=st.integers(1, 6), per_image=st.sampled_from([None, 1, 2]),
    cap=st.sampled_from([None, 2, 3]),
)  # fmt: skip
def test_patches_are_those_of_one_sort(seed, n, per_image, cap):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(-2, 3, (8, 2, 3, 4)).astype(float)
    directions = rng.integers(1, 3, (3, 4))
    units = rng.permutation(np.repeat(["a", "b", "c", "d"], 2))
    found = most_aligned_patches(
        tokens, directions, n=n, max_per_image=per_image, kind="inner",
        units=None if cap is None else units, max_per_unit=cap,
    )  # fmt: skip
    image = np.repeat(np.arange(8), 6)
    caps = [] if per_image is None else [(image, per_image)]
    caps += [] if cap is None else [(units[image], cap)]
    for k, direction in enumerate(directions):
        values = (tokens @ direction).ravel()
        for end, sign in (("most", 1), ("least", -1)):
            places = greedy(sign * values, n, *caps)
            expected = np.unravel_index(places, (8, 2, 3))
            for name, wanted in zip(("", "_row", "_column"), expected, strict=True):
                assert_array_equal(found[end + name][k], wanted)
            assert_array_equal(found[f"{end}_alignment"][k], values[places])


def test_cosines_are_those_of_scikit_learn_behind_the_transformer(rng):
    X, directions = rng.normal(size=(30, 5)) + 3, rng.normal(size=(2, 5))
    scaler = StandardScaler().fit(X)
    found = most_aligned_images(X, directions * 7, n=30, transformer=scaler)
    cosine = cosine_similarity(directions, scaler.transform(X))
    assert_array_equal(found.most, np.argsort(-cosine, axis=1))
    assert_array_equal(found.least, found.most[:, ::-1])
    assert_allclose(found.most_alignment, -np.sort(-cosine, axis=1))


def test_patches_are_the_peaks_of_the_heatmaps(rng):
    tokens = rng.normal(size=(5, 4, 3, 6)).astype(np.float32)
    directions = rng.normal(size=(3, 6))
    heatmaps = token_heatmaps(tokens, directions)
    found = most_aligned_patches(tokens, directions, n=5)
    for k in range(3):
        assert_array_equal(np.sort(found.most[k]), np.arange(5))
        peaks = heatmaps[found.most[k], k, found.most_row[k], found.most_column[k]]
        assert_allclose(peaks, heatmaps[found.most[k], k].max(axis=(1, 2)), atol=1e-6)
        assert_allclose(found.most_alignment[k], peaks, atol=1e-6)


def test_a_scale_of_tokens_changes_no_cosine(rng):
    tokens = rng.normal(size=(4, 2, 2, 3))
    scaled = tokens * rng.uniform(0.5, 2, size=(4, 2, 2, 1))
    one, other = (most_aligned_patches(t, np.eye(3), n=4) for t in (tokens, scaled))
    assert_array_equal(one.most, other.most)
    inner = most_aligned_patches(tokens * [[[[3.0]]]], np.eye(3), n=4, kind="inner")
    assert_allclose(
        inner.most_alignment, 3 * np.sort(tokens.max(axis=(1, 2)), axis=0)[::-1].T, rtol=1e-12
    )


def test_a_unit_does_not_fill_the_gallery():
    X = np.array([[9.0], [8.0], [7.0], [1.0], [2.0]])
    units = ["A01", "A01", "A01", "B02", "C03"]
    free = most_aligned_images(X, [1.0], n=3, kind="inner")
    assert free.most.tolist() == [[0, 1, 2]]
    limited = most_aligned_images(X, [1.0], n=3, kind="inner", units=units, max_per_unit=1)
    assert limited.most.tolist() == [[0, 4, 3]]
    assert limited.least.tolist() == [[3, 4, 2]]


def test_a_row_of_zeros_has_no_alignment():
    found = most_aligned_images([[0.0, 0.0], [-1.0, 0.0]], [1.0, 0.0], n=2)
    assert found.most.tolist() == [[0, 1]] and found.most_alignment.tolist() == [[0.0, -1.0]]


def test_table_chosen_and_summary():
    X = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    found = most_aligned_images(X, np.eye(2), n=1)
    table = found.table()
    assert table.direction.tolist() == [0, 0, 1, 1]
    assert table.end.tolist() == ["most", "least"] * 2
    assert table.image.tolist() == [0, 2, 2, 0]
    assert table.rank.tolist() == [1] * 4 and "row" not in table
    assert found.chosen().tolist() == [[True, True], [False, False], [True, True]]
    assert repr(found) == (
        "MostAligned: 1 most and 1 least aligned images of 2 directions, from 3 images; "
        "alignment (cosine) 0 to 1"
    )
    patches = most_aligned_patches(X.reshape(3, 1, 1, 2), np.eye(2), n=2)
    assert patches.table().row.tolist() == [0] * 8
    assert patches.table().rank.tolist() == [1, 2] * 4
    assert "2 most and 2 least aligned patches" in repr(patches)
    pandas = pytest.importorskip("pandas")
    assert isinstance(patches.table(as_frame=True), pandas.DataFrame)


def test_memory_maps_and_half_precision(tmp_path, rng):
    tokens = rng.normal(size=(3, 2, 2, 4)).astype(np.float16)
    np.save(tmp_path / "tokens.npy", tokens)
    on_disk = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    one, other = (most_aligned_patches(t, np.eye(4), n=3) for t in (on_disk, tokens))
    assert_array_equal(one.most_alignment, other.most_alignment)


def test_errors_name_the_parameter():
    X, tokens = np.ones((4, 3)), np.ones((4, 2, 2, 3))
    with pytest.raises(ValueError, match="n must be at most the 4 that 4 images can give, got 5"):
        most_aligned_images(X, np.eye(3), n=5)
    with pytest.raises(ValueError, match="4 images with max_per_image=1 can give, got 6"):
        most_aligned_patches(tokens, np.eye(3), n=6)
    with pytest.raises(ValueError, match="with max_per_image=2 and max_per_unit=3 can give, got 9"):
        most_aligned_patches(
            tokens, np.eye(3), n=9, max_per_image=2, units=[0, 0, 0, 1], max_per_unit=3
        )
    with pytest.raises(ValueError, match="units needs max_per_unit, too"):
        most_aligned_images(X, np.eye(3), n=1, units=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="max_per_unit needs units, too"):
        most_aligned_images(X, np.eye(3), n=1, max_per_unit=1)
    with pytest.raises(ValueError, match="embeddings of image 2 hold NaN"):
        most_aligned_images(np.where(np.arange(4)[:, None] == 2, np.nan, X), np.eye(3), n=1)
    with pytest.raises(ValueError, match="tokens of image 1 hold NaN"):
        most_aligned_patches(np.stack([tokens[0], tokens[0] * np.nan]), np.eye(3), n=1)
    with pytest.raises(ValueError, match=r"embeddings must have shape .* got shape \(3,\)"):
        most_aligned_images(np.ones(3), np.eye(3))
    with pytest.raises(ValueError, match="n must be an integer >= 1, got 0"):
        most_aligned_images(X, np.eye(3), n=0)
    with pytest.raises(ValueError, match="kind must be one of 'cosine', 'inner'"):
        most_aligned_images(X, np.eye(3), n=1, kind="dot")
