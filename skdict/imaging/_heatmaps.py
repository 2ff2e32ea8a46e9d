"""Token heatmaps: how far every patch of an image lies along a feature direction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from skdict._validation import check_integer
from skdict.imaging._tokens import PreparedTokens, output_array


def iter_token_heatmaps(
    tokens, directions, *, transformer=None, kind: str = "cosine", center_positions: bool = False
) -> Iterator[np.ndarray]:
    """Yield the heatmaps of all directions, one image after the other.

    The memory needed is that of one image: 32 MB for 8,192 directions and 1,024 tokens in float32.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`token_heatmaps`.
    directions : array-like, shape (n_directions, n_features)
        As in :func:`token_heatmaps`.
    transformer : fitted transformer or None, default=None
        As in :func:`token_heatmaps`.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`token_heatmaps`.
    center_positions : bool, default=False
        As in :func:`token_heatmaps`.

    Returns
    -------
    iterator of ndarray, shape (n_directions, n_rows, n_columns)
        The heatmaps of each image.

    Raises
    ------
    ValueError
        As :func:`token_heatmaps`, before the first image is computed.
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    return _heatmaps(prepared, directions)


def _heatmaps(prepared: PreparedTokens, directions: np.ndarray) -> Iterator[np.ndarray]:
    for rows in prepared:
        values = directions @ rows.T
        if prepared.kind == "cosine":
            np.clip(values, -1.0, 1.0, out=values)
        yield values.reshape(-1, *prepared.grid)


def token_heatmaps(
    tokens,
    directions,
    *,
    transformer=None,
    kind: str = "cosine",
    center_positions: bool = False,
    out=None,
) -> np.ndarray:
    r"""Alignment of every patch token with feature directions (section 7 of [1]_).

    The heatmap of direction :math:`w` on an image with patch tokens :math:`t_p` is

    .. math::

       h_p = \frac{w \cdot T(t_p)}{|w|\,|T(t_p)|} \qquad\text{or}\qquad h_p = w \cdot T(t_p)

    for ``kind="cosine"`` and ``kind="inner"`` (caption of Fig. 10), where T is `transformer`. The
    paper is silent on T. Directions live behind the whitening, so the tokens have to go through
    it too; without, the cosine compares two different spaces.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places: an array or a memory map (``collect_tokens``), read one
        image at a time. float16 is computed in float32.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        Feature directions in the space behind `transformer`, usually rows of ``components_``.
    transformer : fitted transformer or None, default=None
        What comes before the dictionary, usually a fitted
        :class:`~skdict.ControlPCAWhitener` or ``pipeline[:-1]``; applied to all tokens.
    kind : {"cosine", "inner"}, default="cosine"
        Cosine similarity or inner product. A token of zeros has 0.
    center_positions : bool, default=False
        Subtract each position's mean token over all images first: what a transformer writes into
        a position whatever the image shows (position embeddings, borders) goes with it.
    out : ndarray, str or Path, default=None
        Where to write: an array of the result's shape, or the name of a ``.npy`` file, which is
        written image by image and opened as a memory map. None makes an array in memory.

    Returns
    -------
    ndarray, shape (n_images, n_directions, n_rows, n_columns)
        The heatmaps, in the precision of the tokens.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, a direction is zero, `kind` is unknown,
        or there is a single image with ``center_positions=True``.
    OSError
        If the file cannot be written.

    See Also
    --------
    channel_correlations : Which stain the heatmaps follow, for all directions at once.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import token_heatmaps
    >>> tokens = np.zeros((1, 2, 2, 3))
    >>> tokens[0, 0, 1] = [3.0, 4.0, 0.0]
    >>> token_heatmaps(tokens, [[1.0, 0.0, 0.0]])[0, 0]
    array([[0. , 0.6],
           [0. , 0. ]])
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    shape = (len(prepared), directions.shape[0], *prepared.grid)
    images = _heatmaps(prepared, directions)
    if isinstance(out, (str, Path)):
        return _written(Path(out), images, shape, prepared.dtype)
    out = output_array(out, shape, prepared.dtype)
    for place, heatmaps in zip(out, images, strict=True):
        place[...] = heatmaps
    return out


def _written(path: Path, images, shape, dtype) -> np.ndarray:
    """Write heatmaps to a .npy file beside its name, rename it when it is whole, open it."""
    if path.suffix != ".npy":
        raise ValueError(f"out must be an array or the name of a .npy file, got {str(path)!r}")
    part = path.with_name(f".{path.name}.part")
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    try:
        # Plain writes: on a full disk they raise, where a memory map would kill the process.
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for heatmaps in images:
                file.write(np.ascontiguousarray(heatmaps).data)
        part.replace(path)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror or error}; could not write {str(path)!r}: free some "
            "space or choose another folder"
        ) from error  # fmt: skip
    finally:
        part.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def upsample_heatmap(heatmaps, shape, *, order: int = 1) -> np.ndarray:
    """Enlarge heatmaps to the size of their images, for display only.

    Every number of skdict is computed on the grid of tokens; pixels between two tokens
    know nothing that the tokens do not know.

    Parameters
    ----------
    heatmaps : array-like, shape (..., n_rows, n_columns)
        Heatmaps.
    shape : tuple of (int, int)
        Height and width in pixels, at least those of the grid.
    order : int, default=1
        0 repeats each token's value over its patch, 1 interpolates linearly between the centres
        of patches.

    Returns
    -------
    ndarray of float, shape (..., height, width)
        The enlarged heatmaps.

    Raises
    ------
    ValueError
        If `shape` is smaller than the grid, or `order` is neither 0 nor 1.

    Examples
    --------
    >>> from skdict.imaging import upsample_heatmap
    >>> upsample_heatmap([[0.0, 1.0]], (1, 4), order=0)
    array([[0., 0., 1., 1.]])
    >>> upsample_heatmap([[0.0, 1.0]], (1, 4))
    array([[0.  , 0.25, 0.75, 1.  ]])
    """
    heatmaps = np.asarray(heatmaps)
    heatmaps = heatmaps.astype(np.result_type(heatmaps.dtype, np.float32), copy=False)
    if heatmaps.ndim < 2 or 0 in heatmaps.shape:
        raise ValueError(
            f"heatmaps must have shape (..., n_rows, n_columns), got shape {heatmaps.shape}"
        )
    check_integer("order", order, 0)
    if order > 1:
        raise ValueError(f"order must be 0 or 1, got {order!r}")
    grid = heatmaps.shape[-2:]
    if len(shape) != 2 or any(size < cells for size, cells in zip(shape, grid, strict=True)):
        raise ValueError(f"shape must be (height, width) of at least {grid}, got {shape!r}")
    # Centres of pixels in units of patches; beyond the outermost centres the value stays.
    places = [
        np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        for size, cells in zip(shape, grid, strict=True)
    ]
    if order == 0:
        rows, columns = ((np.arange(size) * cells) // size for size, cells in zip(shape, grid))
        return heatmaps[..., rows[:, None], columns]
    flat = heatmaps.reshape(-1, *grid)
    mesh = np.meshgrid(*places, indexing="ij")
    enlarged = np.stack([ndimage.map_coordinates(one, mesh, order=1) for one in flat])
    return enlarged.reshape(*heatmaps.shape[:-2], *shape)
