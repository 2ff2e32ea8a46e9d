"""Places of tokens on the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skdict.extraction import TokenLayout

layouts = st.builds(
    TokenLayout,
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    n_prefix_tokens=st.integers(0, 3),
    n_suffix_tokens=st.integers(0, 2),
    n_channels=st.integers(1, 4),
    order=st.sampled_from(["channel", "patch"]),
)


@given(layout=layouts, n_images=st.integers(1, 3))
def test_every_patch_comes_to_its_place_once(layout, n_images):
    # a token says where it belongs; the others are marked with -1
    tokens = np.full((n_images, layout.n_tokens, 4), -1)
    rows, columns = layout.grid
    position = layout.n_prefix_tokens
    channels, patches = range(layout.n_channels), range(rows * columns)
    pairs = [(c, p) for c in channels for p in patches]
    if layout.order == "patch":
        pairs = [(c, p) for p in patches for c in channels]
    for channel, patch in pairs:
        for image in range(n_images):
            tokens[image, position] = image, channel, patch // columns, patch % columns
        position += 1
    placed = layout.place(tokens)
    assert placed.shape == (n_images, layout.n_channels, rows, columns, 4)
    np.testing.assert_array_equal(placed, np.moveaxis(np.indices(placed.shape[:-1]), 0, -1))
    # stored row by row, the number of a row says the same
    stored = placed.reshape(-1, 4)
    found = layout.locate(np.arange(stored.shape[0]))
    names = ("image", "channel", "row", "column")
    np.testing.assert_array_equal(np.column_stack([found[name] for name in names]), stored)


def test_placing_copies_nothing_where_it_need_not():
    tokens = np.zeros((2, 17, 8))
    assert np.shares_memory(TokenLayout((4, 4)).place(tokens), tokens)


def test_the_papers_layout():
    layout = TokenLayout.from_image(256, patch_size=8)
    assert (layout.grid, layout.n_patch_tokens, layout.n_tokens) == ((32, 32), 1024, 1025)
    wide = TokenLayout.from_image((64, 128), (8, 16), n_prefix_tokens=0, n_channels=3)
    assert (wide.grid, wide.n_tokens) == ((8, 8), 192)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="grid must be \\(rows, columns\\) of patches, got 32"):
        TokenLayout(32)
    with pytest.raises(ValueError, match="grid must be an integer >= 1, got 0"):
        TokenLayout((0, 4))
    with pytest.raises(TypeError, match=r"n_channels must be an integer >= 1, got 1\.5"):
        TokenLayout((2, 2), n_channels=1.5)
    with pytest.raises(ValueError, match="order must be one of 'channel', 'patch', got 'row'"):
        TokenLayout((2, 2), order="row")
    with pytest.raises(ValueError, match="patch_size 8 x 8 does not divide image_size 250 x 256"):
        TokenLayout.from_image((250, 256), 8)
    with pytest.raises(ValueError, match=r"patch_size must be one number or \(height, width\)"):
        TokenLayout.from_image(256, (8, 8, 8))
    with pytest.raises(ValueError, match=r"describes 5 tokens per image: 1 before.*\(3, 4, 8\)"):
        TokenLayout((2, 2)).place(np.zeros((3, 4, 8)))
    with pytest.raises(ValueError, match=r"got tokens of shape \(5, 8\)"):
        TokenLayout((2, 2)).place(np.zeros((5, 8)))
    with pytest.raises(TypeError, match="rows must be integers, got dtype float64"):
        TokenLayout((2, 2)).locate([0.5])
    with pytest.raises(ValueError, match="rows must be numbers from 0 on, got -1"):
        TokenLayout((2, 2)).locate([3, -1])
