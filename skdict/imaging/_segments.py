"""Background, perturbed and control-like segments of images, and the reproduction of Fig. 6E."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_integer, check_real
from skdict.imaging._cell_masks import (
    BACKGROUND,
    IGNORED,
    CellMasks,
    TokenPixels,
    check_perturbed,
    image_stack,
)
from skdict.imaging._tokens import PreparedTokens

SEGMENTS = ("background", "perturbed", "control-like")
PERTURBED, CONTROL_LIKE = 1, 2
REPRODUCTION = "reproduction of Fig. 6E"

# Who is compared with whom: the first is expected to lie below the second.
_COMPARISONS = ((CONTROL_LIKE, PERTURBED), (PERTURBED, BACKGROUND))


def segment_images(labels, perturbed, *, ignore=None) -> np.ndarray:
    """Join the cells of label images to the three segments of Fig. 6.

    Parameters
    ----------
    labels : array-like of int, shape (n_images, height, width)
        Label images: 0 for background, one number per cell of an image.
    perturbed : array-like of bool, shape (n_cells,)
        Whether each cell is perturbed, in the order of :func:`cell_table` with the same `ignore`:
        by image, then by label. All other cells are control-like.
    ignore : array-like of bool, shape (n_images, height, width), or None, default=None
        Pixels that belong to no segment.

    Returns
    -------
    ndarray of int8, shape (n_images, height, width)
        0 for background, 1 for perturbed cells, 2 for control-like cells, -1 for ignored pixels.

    Raises
    ------
    ValueError
        If there is no cell, `perturbed` has not one boolean per cell, or `labels` and `ignore`
        are refused by :func:`cell_table`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import segment_images
    >>> segment_images(np.array([[[0, 1, 1, 5]]]), np.array([True, False]))
    array([[[0, 1, 1, 2]]], dtype=int8)
    """
    masks = CellMasks(labels, ignore)
    perturbed = check_perturbed(perturbed, masks.table()["image"].size)
    segments = np.empty((len(masks), *masks.pixels), dtype=np.int8)
    start = 0
    for image in range(len(masks)):
        mask = masks[image]
        own = perturbed[start : start + mask.n_cells]
        start += mask.n_cells
        # The last entry answers to the place -1.
        names = np.concatenate([[BACKGROUND], np.where(own, PERTURBED, CONTROL_LIKE), [IGNORED]])
        segments[image] = names[mask.place]
    return segments


def segment_alignment(
    tokens, directions, segments, *, transformer=None, kind: str = "cosine",
    center_positions: bool = False,
) -> Bunch:  # fmt: skip
    """Mean alignment of background, perturbed and control-like pixels, for all directions.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`cell_alignment`.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        As in :func:`cell_alignment`.
    segments : array-like of int, shape (n_images, height, width)
        Segment of each pixel, from :func:`segment_images`.
    transformer : fitted transformer or None, default=None
        As in :func:`cell_alignment`.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`cell_alignment`.
    center_positions : bool, default=False
        As in :func:`cell_alignment`.

    Returns
    -------
    Bunch
        segments : ndarray of str, shape (3,)
            "background", "perturbed" and "control-like".
        alignment : ndarray, shape (n_images, 3, n_directions)
            Mean over the pixels of each segment; NaN where an image has none.
        n_pixels : ndarray of int, shape (n_images, 3)
            Their number.

    Raises
    ------
    ValueError
        If `segments` holds other numbers than -1, 0, 1 and 2, or as in :func:`cell_alignment`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import segment_alignment
    >>> tokens = np.eye(3)[None, :, None]  # three tokens in a column
    >>> segments = np.array([[[0], [2], [-1]]])
    >>> segment_alignment(tokens, [[1.0, 1.0, 0.0]], segments).alignment.round(2)
    array([[[0.71],
            [ nan],
            [0.71]]])
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    segments, pixels = _check_segments(segments, prepared)
    n_segments = len(SEGMENTS)
    dtype = prepared.dtype
    alignment = np.empty((len(prepared), n_segments, directions.shape[0]), dtype)
    n_pixels = np.empty((len(prepared), n_segments), dtype=np.int64)
    for image, rows in enumerate(prepared):
        means, n_pixels[image] = pixels.means(_segments_of(segments, image), n_segments, rows)
        alignment[image] = means @ directions.T
    return Bunch(segments=np.array(SEGMENTS), alignment=alignment, n_pixels=n_pixels)


class SegmentHistograms(Bunch):
    """Result of :func:`segment_histograms`; prints the comparisons and what they are not.

    See :func:`segment_histograms` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def comparisons(self, *, as_frame: bool = False):
        """Table of the Mann-Whitney tests.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``direction``, ``first``, ``second``, ``auc``, ``p_less`` and ``p_greater``:
            one row per direction and pair of segments.
        """
        n_directions, n_pairs = self.auc.shape
        columns = {"direction": np.repeat(np.arange(n_directions), n_pairs)}
        for name in ("first", "second"):
            columns[name] = np.tile(self[name], n_directions)
        for name in ("auc", "p_less", "p_greater"):
            columns[name] = self[name].ravel()
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: tokens of each segment and the tests, with their limit."""
        sizes = ", ".join(f"{n} {name}" for name, n in zip(self.segments, self.n_tokens))
        lines = [f"SegmentHistograms ({self.label}): {sizes} tokens"]
        for k, (first, second) in enumerate(zip(self.first, self.second)):
            significant = np.count_nonzero(self.p_less[:, k] < 0.05)
            lines.append(
                f"  {first} < {second}: p < 0.05 for {significant} of {self.auc.shape[0]} "
                f"directions; best AUC {np.nanmax(np.append(self.auc[:, k], -np.inf)):.3f}"
            )
        lines.append("  tokens of a cell are not independent: no inference; see cell_class_test")
        return "\n".join(lines)


def segment_histograms(
    tokens,
    directions,
    segments,
    *,
    transformer=None,
    kind: str = "cosine",
    center_positions: bool = False,
    min_share: float = 0.5,
    n_bins: int = 50,
) -> SegmentHistograms:
    """Histograms of the tokens of three segments and one-sided rank tests (Fig. 6E of [1]_).

    This is a reproduction of the figure, and its p-values are no inference: the tokens of one
    cell, and neighbouring tokens of the background, are not independent, and far fewer than
    they seem. :func:`cell_class_test` is the test.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`cell_alignment`.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        As in :func:`cell_alignment`. The values of all tokens are held in memory, 4 MB per
        direction and 1,000 images of 1,024 tokens: this is for the few directions of a figure.
    segments : array-like of int, shape (n_images, height, width)
        Segment of each pixel, from :func:`segment_images`.
    transformer : fitted transformer or None, default=None
        As in :func:`cell_alignment`.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`cell_alignment`.
    center_positions : bool, default=False
        As in :func:`cell_alignment`.
    min_share : float, default=0.5
        A token belongs to the segment that holds more than half of its pixels that are not
        ignored, and at least this share of them; otherwise to none. 1 takes pure tokens only.
    n_bins : int, default=50
        Bins between the smallest and the largest value of a direction.

    Returns
    -------
    SegmentHistograms
        A Bunch with a method ``comparisons()``, the table of the tests:

        label : str
            "reproduction of Fig. 6E", to be shown with every number of this result.
        segments : ndarray of str, shape (3,)
            "background", "perturbed" and "control-like".
        n_tokens : ndarray of int, shape (3,)
            Tokens of each segment.
        mean, median : ndarray, shape (n_directions, 3)
            Mean and median alignment; NaN for a segment without tokens.
        counts : ndarray of int, shape (n_directions, 3, n_bins)
            Histograms.
        edges : ndarray, shape (n_directions, n_bins + 1)
            Edges of the bins.
        first, second : ndarray of str, shape (2,)
            What is compared: control-like with perturbed, perturbed with background.
        auc : ndarray, shape (n_directions, 2)
            Chance that a token of the first segment lies below one of the second, ties by half.
        p_less, p_greater : ndarray, shape (n_directions, 2)
            Mann-Whitney's p-value that the first segment lies below, or above, the second.
        alignment : ndarray, shape (n_directions, n_used)
            Alignment of the tokens that belong to a segment.
        segment, image : ndarray of int, shape (n_used,)
            Their segment (0, 1, 2) and image.

    Raises
    ------
    ValueError
        If no token belongs to a segment, `min_share` is not in [0.5, 1], or as in
        :func:`segment_alignment`.

    Notes
    -----
    The paper has p < 0.0001 for control-like below perturbed, and no significant difference of
    perturbed and background, of which it does not give the side; both sides are returned. The
    p-value is that of the normal approximation with correction for ties.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Fig. 6E.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import segment_histograms
    >>> tokens = np.array([[0.1, 1.0], [0.2, 1.0], [1.0, 0.1], [1.0, 0.0]]).reshape(1, 4, 1, 2)
    >>> segments = np.array([2, 2, 1, 1]).reshape(1, 4, 1)
    >>> found = segment_histograms(tokens, [1.0, 0.0], segments)
    >>> found.label, found.auc[0]
    ('reproduction of Fig. 6E', array([ 1., nan]))
    """
    check_real("min_share", min_share, 0.5, 1)
    check_integer("n_bins", n_bins, 1)
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    segments, pixels = _check_segments(segments, prepared)
    alignments, owners, images = [], [], []
    for image, rows in enumerate(prepared):
        own = _segments_of_tokens(pixels, _segments_of(segments, image), min_share)
        used = own >= 0
        alignments.append(directions @ rows[used].T)
        owners.append(own[used])
        images.append(np.full(np.count_nonzero(used), image))
    values, segment = np.concatenate(alignments, axis=1), np.concatenate(owners)
    if not segment.size:
        raise ValueError(
            f"segments leave no token with at least {min_share:g} of its pixels in one segment; "
            "lower min_share, or look at how the cells were segmented"
        )
    parts = [values[:, segment == k] for k in range(len(SEGMENTS))]
    counts, edges = _histograms(values, parts, n_bins)
    return SegmentHistograms(
        label=REPRODUCTION, segments=np.array(SEGMENTS),
        n_tokens=np.array([part.shape[1] for part in parts]),
        mean=_each(np.mean, parts), median=_each(np.median, parts), counts=counts, edges=edges,
        first=np.array([SEGMENTS[i] for i, _ in _COMPARISONS]),
        second=np.array([SEGMENTS[j] for _, j in _COMPARISONS]), **_rank_tests(parts),
        alignment=values, segment=segment, image=np.concatenate(images),
    )  # fmt: skip


def _check_segments(segments, prepared: PreparedTokens):
    """Return segments as an array or memory map, and the pixels of its tokens."""
    segments = image_stack(segments, "segments")
    if segments.dtype.kind not in "iu":
        raise ValueError(
            f"segments must be integers as segment_images gives them, got dtype {segments.dtype}"
        )
    if segments.shape[0] != len(prepared):
        raise ValueError(
            f"segments must have one entry per image of tokens, got {segments.shape[0]} for "
            f"{len(prepared)} images"
        )
    return segments, TokenPixels(prepared.grid, segments.shape[1:], "segments")


def _segments_of(segments, image: int) -> np.ndarray:
    """Segments of one image; raise ValueError on unknown numbers."""
    own = np.asarray(segments[image])
    if own.min() < IGNORED or own.max() >= len(SEGMENTS):
        raise ValueError(
            f"segments of image {image} must be -1 (ignored), 0 (background), 1 (perturbed) or 2 "
            f"(control-like), got numbers from {own.min()} to {own.max()}; segment_images makes "
            "them of label images"
        )
    return own


def _segments_of_tokens(pixels: TokenPixels, segments, min_share: float) -> np.ndarray:
    """Segment of each token by the majority of its pixels; -1 for none."""
    counts = pixels.counts(segments, len(SEGMENTS)).toarray()
    total = counts.sum(axis=0)
    largest = counts.max(axis=0)
    won = (2 * largest > total) & (largest >= min_share * total)
    return np.where(won, counts.argmax(axis=0), IGNORED)


def _each(statistic, parts) -> np.ndarray:
    """A statistic of every direction and segment; NaN for a segment without tokens."""
    nothing = np.full(parts[0].shape[0], np.nan)
    return np.stack([statistic(part, axis=1) if part.size else nothing for part in parts], axis=1)


def _histograms(values, parts, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of the parts of each direction over the range of all of them."""
    counts = np.empty((values.shape[0], len(parts), n_bins), dtype=np.int64)
    edges = np.empty((values.shape[0], n_bins + 1))
    for m in range(values.shape[0]):
        edges[m] = np.histogram_bin_edges(values[m].astype(np.float64), bins=n_bins)
        for k, part in enumerate(parts):
            counts[m, k] = np.histogram(part[m].astype(np.float64), bins=edges[m])[0]
    return counts, edges


def _rank_tests(parts) -> dict[str, np.ndarray]:
    """Mann-Whitney tests of the pairs of segments, shape (n_directions, n_pairs) each."""
    shape = (parts[0].shape[0], len(_COMPARISONS))
    found = {name: np.full(shape, np.nan) for name in ("auc", "p_less", "p_greater")}
    for k, (i, j) in enumerate(_COMPARISONS):
        first, second = parts[i], parts[j]
        if not first.shape[1] or not second.shape[1]:
            continue
        for m in range(shape[0]):
            less, greater = (
                stats.mannwhitneyu(first[m], second[m], alternative=side, method="asymptotic")
                for side in ("less", "greater")
            )
            n_pairs = first.shape[1] * second.shape[1]
            found["auc"][m, k] = 1 - less.statistic / n_pairs
            found["p_less"][m, k], found["p_greater"][m, k] = less.pvalue, greater.pvalue
    return found
