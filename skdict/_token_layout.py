"""Where the tokens of a vision transformer lie on the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdict._validation import check_choice, check_integer

ORDERS = ("channel", "patch")


@dataclass(frozen=True)
class TokenLayout:
    """Places of a vision transformer's tokens: patches in a grid, and what is no patch.

    A transformer hands out its tokens as one sequence per image. The layout says which of them
    are patches, and where each patch lies:

    .. code-block:: text

       [class, registers ...]  patches, row by row  [...]
          n_prefix_tokens                         n_suffix_tokens

    A channel-wise transformer has one token per patch *and channel*; its patches come channel by
    channel (``order="channel"``) or patch by patch (``order="patch"``).

    Parameters
    ----------
    grid : tuple of (int, int)
        Rows and columns of patches.
    n_prefix_tokens : int, default=1
        Tokens before the patches: the class token and any registers. They have no place on the
        image and are dropped.
    n_suffix_tokens : int, default=0
        Tokens after the patches, dropped too.
    n_channels : int, default=1
        Tokens per patch: 1, or the number of channels of a channel-wise transformer.
    order : {"channel", "patch"}, default="channel"
        What varies slowest in the sequence of a channel-wise transformer.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range or `order` is unknown.

    Examples
    --------
    >>> from skdict.extraction import TokenLayout
    >>> layout = TokenLayout.from_image((256, 256), patch_size=8)  # as in the ICFL paper
    >>> layout.grid, layout.n_tokens
    ((32, 32), 1025)
    >>> layout.place(np.zeros((2, 1025, 64))).shape  # without the class token
    (2, 1, 32, 32, 64)
    """

    grid: tuple[int, int]
    n_prefix_tokens: int = 1
    n_suffix_tokens: int = 0
    n_channels: int = 1
    order: str = "channel"

    def __post_init__(self):
        grid = self.grid
        if not isinstance(grid, (tuple, list)) or len(grid) != 2:
            raise ValueError(f"grid must be (rows, columns) of patches, got {grid!r}")
        for size in grid:
            check_integer("grid", size, 1)
        check_integer("n_prefix_tokens", self.n_prefix_tokens, 0)
        check_integer("n_suffix_tokens", self.n_suffix_tokens, 0)
        check_integer("n_channels", self.n_channels, 1)
        check_choice("order", self.order, ORDERS)
        object.__setattr__(self, "grid", (int(grid[0]), int(grid[1])))

    @classmethod
    def from_image(cls, image_size, patch_size, **options) -> TokenLayout:
        """Layout of square or rectangular patches that cover an image.

        Parameters
        ----------
        image_size : int or tuple of (int, int)
            Height and width of the image in pixels; one number for a square.
        patch_size : int or tuple of (int, int)
            Height and width of a patch.
        **options : dict
            Other parameters of the layout.

        Returns
        -------
        TokenLayout
            The layout.

        Raises
        ------
        ValueError
            If patches do not divide the image.
        """
        image, patch = _pair("image_size", image_size), _pair("patch_size", patch_size)
        if image[0] % patch[0] or image[1] % patch[1]:
            raise ValueError(
                f"patch_size {patch[0]} x {patch[1]} does not divide image_size {image[0]} x "
                f"{image[1]}; crop or pad the image to whole patches"
            )
        return cls((image[0] // patch[0], image[1] // patch[1]), **options)

    @property
    def n_patch_tokens(self) -> int:
        """Tokens that lie on the image: rows x columns x channels."""
        return self.grid[0] * self.grid[1] * self.n_channels

    @property
    def n_tokens(self) -> int:
        """All tokens of an image, those that are dropped included."""
        return self.n_prefix_tokens + self.n_patch_tokens + self.n_suffix_tokens

    def place(self, tokens):
        """Drop what is no patch, and bring the patches to their places.

        Parameters
        ----------
        tokens : array or tensor, shape (n_images, n_tokens, n_features)
            Tokens as the transformer hands them out.

        Returns
        -------
        array or tensor, shape (n_images, n_channels, n_rows, n_columns, n_features)
            The patch tokens, a view where the library can make one.

        Raises
        ------
        ValueError
            If the number of tokens is not that of the layout.
        """
        if tokens.ndim != 3 or tokens.shape[1] != self.n_tokens:
            raise ValueError(
                f"layout describes {self.n_tokens} tokens per image: {self.n_prefix_tokens} before "
                f"the patches, {self.grid[0]} x {self.grid[1]} patches x {self.n_channels} "
                f"channel(s), {self.n_suffix_tokens} after them; got tokens of shape "
                f"{tuple(tokens.shape)}, wanted (n_images, {self.n_tokens}, n_features)"
            )
        n_images, _, n_features = tokens.shape
        rows, columns = self.grid
        end = self.n_prefix_tokens + self.n_patch_tokens
        patches = tokens[:, self.n_prefix_tokens : end]
        if self.order == "channel":
            return patches.reshape(n_images, self.n_channels, rows, columns, n_features)
        patches = patches.reshape(n_images, rows, columns, self.n_channels, n_features)
        return patches.swapaxes(2, 3).swapaxes(1, 2)

    def locate(self, rows) -> dict[str, np.ndarray]:
        """Place of stored patch tokens, numbered image by image, channel by channel, row by row.

        Parameters
        ----------
        rows : array-like of int
            Numbers of the tokens: rows of the array that ``collect_tokens`` writes.

        Returns
        -------
        dict of ndarray
            ``image``, ``channel``, ``row`` and ``column`` of each token.

        Raises
        ------
        TypeError, ValueError
            If a number is no integer or negative.

        Examples
        --------
        >>> TokenLayout((2, 3)).locate([0, 4, 6])["row"]
        array([0, 1, 0])
        """
        rows = np.asarray(rows)
        if rows.dtype.kind not in "iu":
            raise TypeError(f"rows must be integers, got dtype {rows.dtype}")
        if rows.size and rows.min() < 0:
            raise ValueError(f"rows must be numbers from 0 on, got {rows.min()}")
        image, patch = np.divmod(rows, self.n_patch_tokens)
        channel, patch = np.divmod(patch, self.grid[0] * self.grid[1])
        row, column = np.divmod(patch, self.grid[1])
        return {"image": image, "channel": channel, "row": row, "column": column}


def _pair(name, value) -> tuple[int, int]:
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be one number or (height, width), got {value!r}")
    for size in pair:
        check_integer(name, size, 1)
    return int(pair[0]), int(pair[1])
