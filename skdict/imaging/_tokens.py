"""Patch tokens in their places, and one image of them at a time, ready for inner products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from skdict._validation import check_choice, host_array

KINDS = ("cosine", "inner")


def check_tokens(tokens, name: str = "tokens"):
    """Return tokens as an array or memory map in four dimensions; no value is read.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places.
    name : str, default="tokens"
        Name of the parameter, for the messages.

    Returns
    -------
    array, shape (n_images, n_rows, n_columns, n_features)
        The tokens.

    Raises
    ------
    ValueError
        If they are not four-dimensional, empty, or no real numbers.
    """
    tokens = host_array(tokens, name=name)
    if not hasattr(tokens, "shape") or not hasattr(tokens, "dtype"):
        tokens = np.asarray(tokens)
    if len(tokens.shape) != 4 or 0 in tokens.shape:
        raise ValueError(
            f"{name} must have shape (n_images, n_rows, n_columns, n_features) and not be empty, "
            f"got shape {tuple(tokens.shape)}; what collect_tokens returns is brought to its "
            "places by .grid(), of a channel-wise model by .grid(channel), and other tokens by "
            "TokenLayout.place"
        )
    if np.dtype(tokens.dtype).kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {tokens.dtype}")
    return tokens


def check_directions(directions, n_features: int, kind: str) -> np.ndarray:
    """Return directions as rows of floats; of unit length for cosines.

    Parameters
    ----------
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        The directions.
    n_features : int
        Width of a prepared token.
    kind : {"cosine", "inner"}
        What they are for.

    Returns
    -------
    ndarray of float32 or float64, shape (n_directions, n_features)
        The directions.

    Raises
    ------
    ValueError
        If `kind` is unknown, shapes do not fit, a value is NaN or infinite, or a direction is zero.
    """
    check_choice("kind", kind, KINDS)
    directions = np.atleast_2d(np.asarray(host_array(directions, name="directions")))
    directions = directions.astype(np.result_type(directions.dtype, np.float32), copy=False)
    if directions.ndim != 2 or 0 in directions.shape:
        raise ValueError(
            "directions must have shape (n_directions, n_features) and not be empty, got shape "
            f"{directions.shape}"
        )
    if directions.shape[1] != n_features:
        raise ValueError(
            f"directions must have the {n_features} features of a token after the transformer, "
            f"got {directions.shape[1]}; atoms live behind the whitening: pass it as transformer="
        )
    if not np.isfinite(directions).all():
        raise ValueError("directions holds NaN or infinite values")
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    if not length.all():
        row = int(np.flatnonzero(length == 0)[0])
        raise ValueError(f"directions must not be zero: row {row} points nowhere; leave it out")
    return directions / length if kind == "cosine" else directions


def output_array(out, shape: tuple, dtype, rows: str = "") -> np.ndarray:
    """The caller's array or memory map for a result, or an array of its own.

    Parameters
    ----------
    out : ndarray or None
        What the caller gave.
    shape : tuple of int
        Shape of the result.
    dtype : dtype
        Type of an array of its own.
    rows : str, default=""
        What the rows are, for the message.

    Returns
    -------
    ndarray
        Where to write.

    Raises
    ------
    ValueError
        If `out` has another shape or does not hold floats.
    """
    if out is None:
        return np.empty(shape, dtype)
    if getattr(out, "shape", None) != shape:
        raise ValueError(
            f"out must have shape {shape}{rows}, got {getattr(out, 'shape', type(out).__name__)}"
        )
    if np.dtype(out.dtype).kind != "f":
        raise ValueError(f"out must hold floats, got dtype {out.dtype}")
    return out


class PreparedTokens:
    """Tokens of one image after the other: whitened, centred by position and scaled as asked.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens; read image by image.
    transformer : fitted transformer or None
        Applied to the tokens of each image.
    kind : {"cosine", "inner"}
        Scale tokens to unit length, or leave them. A token of zeros stays zero.
    center_positions : bool, default=False
        Subtract each position's mean token over all images, after the transformer and before the
        scaling. It takes one more pass over the tokens.
    """

    def __init__(self, tokens, transformer, kind: str, *, center_positions: bool = False):
        self.tokens, self.transformer, self.kind = check_tokens(tokens), transformer, kind
        check_choice("kind", kind, KINDS)
        self.n_images, self.n_rows, self.n_columns, _ = self.tokens.shape
        self.position_mean = None
        self._first = self._transformed(0)
        if center_positions:
            self.position_mean = self._position_mean()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.n_rows, self.n_columns

    @property
    def n_features(self) -> int:
        """Features of a token after the transformer."""
        return self._first.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Type of a prepared token, float32 or float64."""
        return self._first.dtype

    def directions(self, directions) -> np.ndarray:
        """Checked directions in the type of the tokens, shape (n_directions, n_features)."""
        checked = check_directions(directions, self.n_features, self.kind)
        return checked.astype(self.dtype, copy=False)

    def __len__(self):
        return self.n_images

    def __getitem__(self, image: int) -> np.ndarray:
        """Prepared tokens of one image, shape (n_rows * n_columns, n_features)."""
        rows = self._first if image == 0 else self._transformed(image)
        if self.position_mean is not None:
            rows = rows - self.position_mean
        if self.kind == "cosine":
            length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
            rows = rows / np.where(length > 0, length, 1)
        return rows

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[image] for image in range(self.n_images))

    def _transformed(self, image: int) -> np.ndarray:
        """Tokens of one image behind the transformer, as finite float32 or float64."""
        rows = np.asarray(self.tokens[image])
        rows = rows.reshape(-1, rows.shape[-1])
        rows = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"tokens of image {image} hold NaN or infinite values; leave the image out or "
                "extract it again"
            )
        if self.transformer is None:
            return rows
        rows = self.transformer.transform(rows)
        if sparse.issparse(rows):
            raise TypeError(
                "transformer must give dense tokens, got sparse codes: pass the steps before the "
                "dictionary, pipeline[:-1]"
            )
        return np.asarray(rows)

    def _position_mean(self) -> np.ndarray:
        """Mean token of every position, shape (n_rows * n_columns, n_features)."""
        if self.n_images < 2:
            raise ValueError(
                "center_positions=True needs at least 2 images: the mean of one image is the "
                "image itself"
            )
        total = self._first.astype(np.float64)
        for image in range(1, self.n_images):
            total += self._transformed(image)
        return (total / self.n_images).astype(self._first.dtype)
