"""Segments of images, and the reproduction of Fig. 6E."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from skdict.imaging import (
    segment_alignment,
    segment_histograms,
    segment_images,
    token_heatmaps,
)


def test_planted_segments_differ_as_in_the_figure(fields):
    segments = segment_images(fields.labels, fields.cell_perturbed)
    direction = fields.directions[fields.names == "perturbed"]
    found = segment_histograms(fields.tokens, direction, segments)
    background, perturbed, control = found.mean[0]
    assert perturbed > control + 0.3 and perturbed > background + 0.3
    assert found.first.tolist() == ["control-like", "perturbed"]
    assert found.second.tolist() == ["perturbed", "background"]
    assert found.p_less[0, 0] < 1e-4 and found.auc[0, 0] > 0.95
    assert found.p_greater[0, 1] < 1e-4  # perturbed cells stand out of the background


@given(seed=st.integers(0, 1000), min_share=st.sampled_from([0.5, 0.8, 1.0]))
def test_against_naive_assignment_and_scipy(seed, min_share):
    rng = np.random.default_rng(seed)
    tokens, directions = rng.integers(-2, 3, (2, 4, 5, 3)).astype(float), rng.normal(size=(2, 3))
    segments = np.repeat(np.repeat(rng.integers(-1, 3, (2, 4, 5)), 2, 1), 3, 2)
    mixed = rng.random(segments.shape) < 0.3
    segments[mixed] = rng.integers(-1, 3, mixed.sum())
    found = segment_histograms(
        tokens, directions, segments, kind="inner", min_share=min_share, n_bins=5
    )
    values = [[], [], []]
    heatmaps = token_heatmaps(tokens, directions, kind="inner")
    for i, y, x in np.ndindex(2, 4, 5):
        pixels = segments[i, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3].ravel()
        pixels = pixels[pixels >= 0]
        for k in range(3):
            n = np.count_nonzero(pixels == k)
            if 2 * n > pixels.size and n >= min_share * pixels.size:
                values[k].append(heatmaps[i, :, y, x])
    assert found.n_tokens.tolist() == [len(own) for own in values]
    for m in range(2):
        parts = [np.array(own).reshape(-1, 2)[:, m] for own in values]
        for k, part in enumerate(parts):
            if part.size:
                assert found.mean[m, k] == pytest.approx(part.mean())
                assert found.median[m, k] == pytest.approx(np.median(part))
            assert found.counts[m, k].sum() == part.size
            own = found.alignment[m, found.segment == k]
            np.testing.assert_allclose(np.sort(own), np.sort(part), atol=1e-12)
        for k, (i, j) in enumerate([(2, 1), (1, 0)]):
            if not parts[i].size or not parts[j].size:
                assert np.isnan(found.auc[m, k])
                continue
            pairs = np.sign(parts[j][:, None] - parts[i])
            assert found.auc[m, k] == pytest.approx((pairs.mean() + 1) / 2)
            for name, side in (("p_less", "less"), ("p_greater", "greater")):
                test = mannwhitneyu(parts[i], parts[j], alternative=side, method="asymptotic")
                assert found[name][m, k] == pytest.approx(test.pvalue)


def test_the_result_says_that_it_is_no_inference(fields):
    segments = segment_images(fields.labels, fields.cell_perturbed)
    found = segment_histograms(fields.tokens, fields.directions, segments)
    assert found.label == "reproduction of Fig. 6E"
    assert "reproduction of Fig. 6E" in repr(found) and "no inference" in repr(found)
    table = found.comparisons(as_frame=True)
    assert table.shape == (2 * len(fields.directions), 6)
    assert table.p_less[2] == found.p_less[1, 0]


def test_segments_are_those_of_the_cells():
    labels = np.array([[[0, 3, 3, 8]], [[0, 0, 0, 0]], [[1, 1, 0, 2]]])
    ignore = np.zeros(labels.shape, dtype=bool)
    ignore[0, 0, 3] = ignore[2, 0, 0] = True
    found = segment_images(labels, [True, False, True], ignore=ignore)
    assert found.tolist() == [[[0, 1, 1, -1]], [[0, 0, 0, 0]], [[-1, 2, 0, 1]]]


def test_errors_name_the_parameter():
    labels = np.array([[[0, 1, 1, 2]]])
    with pytest.raises(ValueError, match=r"perturbed must be boolean with one entry per cell.*\(2"):
        segment_images(labels, [True])
    with pytest.raises(ValueError, match="got dtype int64"):
        segment_images(labels, [0, 1])
    tokens = np.ones((1, 1, 4, 2))
    with pytest.raises(ValueError, match=r"segments of image 0 must be -1.*from 0 to 3"):
        segment_alignment(tokens, [1.0, 0.0], labels + (labels == 2))
    with pytest.raises(ValueError, match="segments must be integers as segment_images"):
        segment_alignment(tokens, [1.0, 0.0], labels * 1.0)
    with pytest.raises(ValueError, match="segments must have one entry per image of tokens"):
        segment_alignment(tokens, [1.0, 0.0], np.repeat(labels, 2, axis=0))
    with pytest.raises(ValueError, match="token grid does not match the image.*of segments"):
        segment_alignment(tokens, [1.0, 0.0], labels[..., :3])
    with pytest.raises(ValueError, match="segments leave no token"):
        segment_histograms(tokens, [1.0, 0.0], np.full((1, 1, 4), -1))
    with pytest.raises(ValueError, match=r"min_share must be in \[0.5, 1\]"):
        segment_histograms(tokens, [1.0, 0.0], labels, min_share=0.2)
