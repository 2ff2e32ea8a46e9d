"""Heatmaps are what the formula says, for any number of images, kind and container."""

import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.imaging import iter_token_heatmaps, token_heatmaps, upsample_heatmap


@pytest.fixture
def tokens(rng):
    return rng.normal(size=(3, 4, 5, 6))


@pytest.fixture
def directions(rng):
    return rng.normal(size=(7, 6))


def naive(tokens, directions, kind):
    """One cosine after the other."""
    out = np.empty((tokens.shape[0], directions.shape[0], *tokens.shape[1:3]))
    for place in np.ndindex(*tokens.shape[:3]):
        for m, direction in enumerate(directions):
            value = tokens[place] @ direction
            if kind == "cosine":
                value /= np.linalg.norm(tokens[place]) * np.linalg.norm(direction)
            out[(place[0], m, *place[1:])] = value
    return out


@pytest.mark.parametrize("kind", ["cosine", "inner"])
def test_formula(tokens, directions, kind):
    np.testing.assert_allclose(
        token_heatmaps(tokens, directions, kind=kind), naive(tokens, directions, kind), atol=1e-12
    )


@given(st.floats(1e-3, 1e3), st.integers(0, 2**31 - 1))
def test_cosine_ignores_the_length_of_tokens_and_directions(scale, seed):
    rng = np.random.default_rng(seed)
    tokens, directions = rng.normal(size=(1, 3, 3, 4)), rng.normal(size=(2, 4))
    lengths = rng.uniform(0.1, 10, (1, 3, 3, 1))
    heatmaps = token_heatmaps(tokens, directions)
    scaled = token_heatmaps(tokens * lengths, scale * directions)
    np.testing.assert_allclose(heatmaps, scaled, atol=1e-12)
    assert np.abs(heatmaps).max() <= 1


def test_planted_region_is_highlighted(fields):
    place = fields.names.tolist().index("perturbed")
    (heatmap,) = token_heatmaps(fields.tokens[:1], fields.directions[place])[0]
    covered = fields.maps[0, place] > 1
    assert covered.sum() > 10
    assert heatmap[covered].min() > np.median(heatmap[~covered])


def test_tokens_go_through_the_whitening(rng):
    tokens = rng.normal(size=(4, 6, 6, 5)) @ rng.normal(size=(5, 5)) + 3.0
    rows = tokens.reshape(-1, 5)
    pipeline = make_pipeline(
        ControlPCAWhitener(), Normalizer(), ICFLDictionary(8, n_nonzero_coefs=2, random_state=0)
    ).fit(rows, controlpcawhitener__control=np.ones(len(rows), bool))
    atoms = pipeline[-1].components_
    heatmaps = token_heatmaps(tokens, atoms, transformer=pipeline[0])
    by_hand = token_heatmaps(pipeline[0].transform(rows).reshape(tokens.shape), atoms)
    np.testing.assert_allclose(heatmaps, by_hand, atol=1e-12)
    # Scaling to unit length changes no cosine.
    np.testing.assert_allclose(
        heatmaps, token_heatmaps(tokens, atoms, transformer=pipeline[:-1]), atol=1e-12
    )
    with pytest.raises(TypeError, match=r"pipeline\[:-1\]"):
        token_heatmaps(tokens, atoms, transformer=pipeline)


def test_centred_positions(tokens, directions):
    centred = tokens - tokens.mean(axis=0)
    np.testing.assert_allclose(
        token_heatmaps(tokens, directions, center_positions=True),
        token_heatmaps(centred, directions),
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="needs at least 2 images"):
        token_heatmaps(tokens[:1], directions, center_positions=True)


def test_zero_tokens_have_zero(tokens, directions):
    tokens[1, 2, 3] = 0
    heatmaps = token_heatmaps(tokens, directions)
    assert (heatmaps[1, :, 2, 3] == 0).all() and np.isfinite(heatmaps).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_precision(tokens, directions, dtype):
    heatmaps = token_heatmaps(tokens.astype(dtype), directions)
    assert heatmaps.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(heatmaps, naive(tokens, directions, "cosine"), atol=3e-3)


def test_a_file_or_an_array_can_take_the_result(tokens, directions, tmp_path):
    expected = token_heatmaps(tokens, directions)
    out = np.empty_like(expected)
    assert token_heatmaps(tokens, directions, out=out) is out
    np.testing.assert_array_equal(out, expected)
    written = token_heatmaps(tokens, directions, out=tmp_path / "maps.npy")
    assert isinstance(written, np.memmap)
    np.testing.assert_array_equal(written, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npy"]
    with pytest.raises(ValueError, match=r"out must have shape \(3, 7, 4, 5\)"):
        token_heatmaps(tokens, directions, out=np.empty((1, 7, 4, 5)))
    with pytest.raises(ValueError, match=r"the name of a \.npy file"):
        token_heatmaps(tokens, directions, out=str(tmp_path / "maps.tif"))


def test_full_disk(tokens, directions, tmp_path, monkeypatch):
    old = tmp_path / "maps.npy"
    old.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(OSError, match=r"maps\.npy.*free some space"):
        token_heatmaps(tokens, directions, out=old)
    assert old.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_images_come_one_after_the_other(tokens, directions):
    images = list(iter_token_heatmaps(tokens, directions))
    np.testing.assert_array_equal(np.stack(images), token_heatmaps(tokens, directions))


class CountedReads:
    """Tokens that note which images were read."""

    def __init__(self, tokens):
        self.tokens, self.shape, self.dtype, self.read = tokens, tokens.shape, tokens.dtype, []

    def __getitem__(self, image):
        self.read.append(image)
        return self.tokens[image]


def test_tokens_are_read_one_image_at_a_time(tokens, directions):
    counted = CountedReads(tokens)
    images = iter_token_heatmaps(counted, directions)
    next(images)
    assert counted.read == [0]
    list(images)
    assert counted.read == [0, 1, 2]


def test_errors(tokens, directions):
    with pytest.raises(ValueError, match=r"tokens must have shape \(n_images, n_rows"):
        token_heatmaps(tokens[0], directions)
    with pytest.raises(
        ValueError, match=r"got shape \(\); what collect_tokens returns .*\.grid\(\)"
    ):
        token_heatmaps({"data": tokens}, directions)
    with pytest.raises(ValueError, match=r"not be empty, got shape \(0, 4, 5, 6\)"):
        token_heatmaps(tokens[:0], directions)
    with pytest.raises(ValueError, match="real numbers, got dtype complex128"):
        token_heatmaps(tokens + 1j, directions)
    with pytest.raises(ValueError, match="the 6 features of a token after the transformer, got 5"):
        token_heatmaps(tokens, directions[:, :5])
    with pytest.raises(ValueError, match="row 3 points nowhere"):
        token_heatmaps(tokens, directions * (np.arange(7) != 3)[:, None])
    with pytest.raises(ValueError, match="directions holds NaN"):
        token_heatmaps(tokens, directions * np.nan)
    with pytest.raises(ValueError, match="kind must be one of 'cosine', 'inner', got 'dot'"):
        token_heatmaps(tokens, directions, kind="dot")
    tokens[2, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="tokens of image 2 hold NaN"):
        token_heatmaps(tokens, directions)


@pytest.mark.parametrize("order", [0, 1])
def test_upsampling_keeps_the_range(order, rng):
    heatmap = rng.normal(size=(2, 4, 6))
    enlarged = upsample_heatmap(heatmap, (32, 48), order=order)
    assert enlarged.shape == (2, 32, 48)
    assert enlarged.min() >= heatmap.min() and enlarged.max() <= heatmap.max()
    if order == 0:
        patches = enlarged.reshape(2, 4, 8, 6, 8)
        assert (patches == heatmap[:, :, None, :, None]).all()
    constant = upsample_heatmap(np.full((4, 6), 0.3), (9, 7), order=order)
    np.testing.assert_allclose(constant, 0.3)


def test_upsampling_errors():
    with pytest.raises(ValueError, match=r"of at least \(4, 4\), got \(2, 8\)"):
        upsample_heatmap(np.zeros((4, 4)), (2, 8))
    with pytest.raises(ValueError, match="order must be 0 or 1, got 3"):
        upsample_heatmap(np.zeros((4, 4)), (8, 8), order=3)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        upsample_heatmap([1, 2, 3], (8, 8))
