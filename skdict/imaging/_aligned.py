"""The images and patches that lie most and least along each concept (Fig. 1D, 11 to 16)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._units import encode_names
from skdict._validation import check_integer, host_array
from skdict.imaging._extremes import Extremes
from skdict.imaging._tokens import PreparedTokens, check_directions

# Alignments that are in memory at a time, and rows of embeddings read at a time. They are fixed:
# the last digit of an inner product depends on the shape of its block, and so would near ties.
_BLOCK_VALUES = 1 << 23
_BLOCK_ROWS = 1024

ENDS = ("most", "least")


class MostAligned(Bunch):
    """Result of :func:`most_aligned_images` and :func:`most_aligned_patches`.

    See these functions for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """One row per direction, end and rank.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``direction``, ``end`` ("most" or "least"), ``rank`` (from 1), ``image``,
            for patches ``row`` and ``column``, and ``alignment``.
        """
        n_directions, n = self.most.shape
        columns = {
            "direction": np.repeat(np.arange(n_directions), 2 * n),
            "end": np.tile(np.repeat(ENDS, n), n_directions),
            "rank": np.tile(np.arange(1, n + 1), 2 * n_directions),
        }
        names = {"image": ""} | ({"row": "_row", "column": "_column"} if "most_row" in self else {})
        for name, suffix in (names | {"alignment": "_alignment"}).items():
            both = [self[end + suffix] for end in ENDS]
            columns[name] = np.concatenate(both, axis=1).ravel()
        return table(columns, as_frame)

    def chosen(self) -> np.ndarray:
        """Images that are shown for each direction, at either end.

        Images that were chosen by a concept do not test it: hand this mask on to
        :func:`channel_correlations` as its ``chosen``.

        Returns
        -------
        ndarray of bool, shape (n_images, n_directions)
            True where the image is among the most or the least aligned.
        """
        shown = np.zeros((self.n_images, len(self.most)), dtype=bool)
        for end in ENDS:
            shown[self[end], np.arange(len(self.most))[:, None]] = True
        return shown

    def __repr__(self):
        """Summary: how many of what."""
        n_directions, n = self.most.shape
        what = "patches" if "most_row" in self else "images"
        low, high = self.least_alignment.min(), self.most_alignment.max()
        return (
            f"MostAligned: {n} most and {n} least aligned {what} of {n_directions} directions, "
            f"from {self.n_images} images; alignment ({self.kind}) {low:.3g} to {high:.3g}"
        )


def most_aligned_images(
    embeddings,
    directions,
    *,
    n: int = 6,
    transformer=None,
    kind: str = "cosine",
    units=None,
    max_per_unit: int | None = None,
) -> MostAligned:
    """Images that lie most and least along feature directions (Fig. 1D and 11 of [1]_).

    Parameters
    ----------
    embeddings : array-like, shape (n_images, n_features)
        One row per image, usually the mean of its patch tokens; a memory map is read in blocks.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        Feature directions in the space behind `transformer`, usually rows of ``components_``.
    n : int, default=6
        Images at either end.
    transformer : fitted transformer or None, default=None
        What comes before the dictionary, usually a fitted
        :class:`~skdict.ControlPCAWhitener` or ``pipeline[:-1]``; applied to all rows.
    kind : {"cosine", "inner"}, default="cosine"
        Cosine similarity or inner product with the direction. A row of zeros has 0.
    units : array-like, shape (n_images,), or None, default=None
        Well, plate or field of each image, needed for `max_per_unit`.
    max_per_unit : int or None, default=None
        Images of one unit at either end, so that a single well does not fill the gallery.

    Returns
    -------
    MostAligned
        most, least : ndarray of int, shape (n_directions, n)
            Numbers of the images, the most extreme first. Of equally aligned images the one with
            the lower number comes first.
        most_alignment, least_alignment : ndarray of float, shape (n_directions, n)
            Their alignment.
        kind, n_images : str, int
            What was compared.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, a direction is zero, `kind` is unknown,
        or there are fewer than `n` images to show.

    See Also
    --------
    most_aligned_patches : The same for patches.

    Notes
    -----
    What is most aligned is there for every direction, a random one included. Look at the same
    number of images of a random direction before the images of a concept are given a name.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> from skdict.imaging import most_aligned_images
    >>> embeddings = [[1.0, 0.0], [0.0, 2.0], [-3.0, 3.0], [2.0, 2.0]]
    >>> found = most_aligned_images(embeddings, [1.0, 0.0], n=2)
    >>> found.most.tolist(), found.least.tolist()
    ([[0, 3]], [[2, 1]])
    >>> found.most_alignment.round(2).tolist()
    [[1.0, 0.71]]
    """
    embeddings = _check_embeddings(embeddings)
    first = _prepared(embeddings, slice(0, _BLOCK_ROWS), transformer, kind)
    directions = check_directions(directions, first.shape[1], kind)
    n_images = len(embeddings)
    groups, cap = read_groups(units, max_per_unit, n_images)
    check_enough(n, groups, cap, n_images, 1)
    ends = [Extremes(len(directions), n, sign, max_per_group=cap) for sign in (1, -1)]
    n_directions = max(1, _BLOCK_VALUES // _BLOCK_ROWS)
    for start in range(0, n_images, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        block = first if start == 0 else _prepared(embeddings, rows, transformer, kind)
        index = np.arange(start, start + len(block))
        for low in range(0, len(directions), n_directions):
            part = slice(low, low + n_directions)
            scores = _alignment(directions[part], block, kind)
            for end in ends:
                end.add(part, scores, index, None if groups is None else groups[rows])
    found = {}
    for name, end in zip(ENDS, ends, strict=True):
        found |= {name: end.index, f"{name}_alignment": end.values()}
    return MostAligned(**found, kind=kind, n_images=n_images)


def most_aligned_patches(
    tokens,
    directions,
    *,
    n: int = 12,
    max_per_image: int | None = 1,
    transformer=None,
    kind: str = "cosine",
    units=None,
    max_per_unit: int | None = None,
) -> MostAligned:
    """Patches that lie most and least along feature directions (Fig. 12 to 16 of [1]_).

    All directions are followed in one pass over the images; the memory needed is that of one
    image's alignments (at most 32 MB at a time in float32) and of the patches found.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places, read one image at a time.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        Feature directions in the space behind `transformer`.
    n : int, default=12
        Patches at either end.
    max_per_image : int or None, default=1
        Patches of one image at either end; None sets no limit. Neighbouring patches are alike, so
        that without a limit few images fill the gallery.
    transformer : fitted transformer or None, default=None
        As in :func:`most_aligned_images`; applied to all tokens.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`most_aligned_images`.
    units : array-like, shape (n_images,), or None, default=None
        As in :func:`most_aligned_images`.
    max_per_unit : int or None, default=None
        Patches of one unit at either end.

    Returns
    -------
    MostAligned
        most, least : ndarray of int, shape (n_directions, n)
            Numbers of the images, the most extreme first; of equally aligned patches the one of
            the lower image, row and column comes first.
        most_row, most_column, least_row, least_column : ndarray of int, shape (n_directions, n)
            Places of the patches in the grid of tokens.
        most_alignment, least_alignment : ndarray of float, shape (n_directions, n)
            Their alignment.
        kind, n_images, grid : str, int, tuple of (int, int)
            What was compared.

    Raises
    ------
    ValueError
        As :func:`most_aligned_images`.

    See Also
    --------
    token_heatmaps : The alignment of every patch.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import most_aligned_patches
    >>> tokens = np.zeros((2, 2, 2, 3))
    >>> tokens[0, 1, 0], tokens[1, 0, 1] = [3.0, 4.0, 0.0], [5.0, 0.0, 0.0]
    >>> found = most_aligned_patches(tokens, [1.0, 0.0, 0.0], n=2)
    >>> found.most.tolist(), found.most_row.tolist(), found.most_column.tolist()
    ([[1, 0]], [[0, 1]], [[1, 0]])
    """
    prepared = PreparedTokens(tokens, transformer, kind)
    directions = prepared.directions(directions)
    n_images, n_tokens = len(prepared), prepared.n_rows * prepared.n_columns
    per_image = patches_per_image(prepared.grid, max_per_image)
    groups, cap = read_groups(units, max_per_unit, n_images)
    check_enough(n, groups, cap, n_images, per_image, max_per_image)
    ends = [
        Extremes(len(directions), n, sign, max_per_group=cap, max_per_block=per_image)
        for sign in (1, -1)
    ]
    n_directions = max(1, _BLOCK_VALUES // n_tokens)
    for image, rows in enumerate(prepared):
        index = np.arange(image * n_tokens, (image + 1) * n_tokens)
        unit = None if groups is None else np.full(n_tokens, groups[image])
        for low in range(0, len(directions), n_directions):
            part = slice(low, low + n_directions)
            scores = _alignment(directions[part], rows, kind)
            for end in ends:
                end.add(part, scores, index, unit)
    found = {}
    for name, end in zip(ENDS, ends, strict=True):
        images, places = np.divmod(end.index, n_tokens)
        row, column = np.divmod(places, prepared.n_columns)
        found |= {name: images, f"{name}_row": row, f"{name}_column": column,
                  f"{name}_alignment": end.values()}  # fmt: skip
    return MostAligned(**found, kind=kind, n_images=n_images, grid=prepared.grid)


def _alignment(directions: np.ndarray, rows: np.ndarray, kind: str) -> np.ndarray:
    """Alignment of every direction with every row, shape (n_directions, n_rows)."""
    scores = directions.astype(rows.dtype, copy=False) @ rows.T
    return np.clip(scores, -1.0, 1.0, out=scores) if kind == "cosine" else scores


def _check_embeddings(embeddings):
    """Return embeddings as an array or memory map in two dimensions; no value is read."""
    if sparse.issparse(embeddings):
        raise TypeError(
            "embeddings must be dense rows in the space of the directions, got a sparse matrix"
        )
    embeddings = host_array(embeddings, name="embeddings")
    if not hasattr(embeddings, "shape") or not hasattr(embeddings, "dtype"):
        embeddings = np.asarray(embeddings)
    if len(embeddings.shape) != 2 or 0 in embeddings.shape:
        raise ValueError(
            "embeddings must have shape (n_images, n_features) and not be empty, got shape "
            f"{tuple(embeddings.shape)}"
        )
    if np.dtype(embeddings.dtype).kind not in "fiub":
        raise ValueError(f"embeddings must hold real numbers, got dtype {embeddings.dtype}")
    return embeddings


def _prepared(embeddings, rows: slice, transformer, kind: str) -> np.ndarray:
    """Some rows behind the transformer, of unit length for cosines."""
    block = np.asarray(embeddings[rows])
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        row = rows.start + int(np.flatnonzero(~finite)[0])
        raise ValueError(f"embeddings of image {row} hold NaN or infinite values; leave it out")
    # An image of one column: the tokens of images go the same way.
    return PreparedTokens(block[None, :, None], transformer, kind)[0]


def read_groups(units, max_per_unit, n_images: int):
    """Unit of each image as an index, and how many of one there may be."""
    if (units is None) != (max_per_unit is None):
        given, missing = ("units", "max_per_unit") if max_per_unit is None else (
            "max_per_unit", "units")  # fmt: skip
        raise ValueError(f"{given} needs {missing}, too: give both or neither")
    if units is None:
        return None, None
    check_integer("max_per_unit", max_per_unit, 1)
    return encode_names(units, n_images, "units")[1], max_per_unit


def patches_per_image(grid, max_per_image) -> int:
    """How many patches of one image there may be."""
    check_integer("max_per_image", max_per_image, 1, none=True)
    n_tokens = grid[0] * grid[1]
    return n_tokens if max_per_image is None else min(max_per_image, n_tokens)


def check_enough(n, groups, cap, n_images, per_image, max_per_image=None, name="n") -> None:
    """Raise unless the limits leave `n` to show."""
    check_integer(name, n, 1)
    most, limits = n_images * per_image, []
    if max_per_image is not None:
        limits.append(f"max_per_image={max_per_image}")
    if groups is not None:
        most = int(np.minimum(np.bincount(groups) * per_image, cap).sum())
        limits.append(f"max_per_unit={cap}")
    if n > most:
        allowed = f" with {' and '.join(limits)}" if limits else ""
        raise ValueError(
            f"{name} must be at most the {most} that {n_images} images{allowed} can give, got {n}"
        )
