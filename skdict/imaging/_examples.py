"""What a gallery of concepts shows: extreme images with their heatmaps, and extreme patches."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._validation import check_integer
from skdict.imaging._aligned import (
    ENDS,
    MostAligned,
    check_enough,
    most_aligned_images,
    most_aligned_patches,
    patches_per_image,
    read_groups,
)
from skdict.imaging._tokens import PreparedTokens, check_tokens


class ConceptExamples(Bunch):
    """Result of :func:`concept_examples`.

    See there for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def __repr__(self):
        """Summary: how many of what."""
        n_directions, n = self.images.most.shape
        n_patches = 0 if self.patches is None else self.patches.most.shape[1]
        return (
            f"ConceptExamples of {n_directions} directions: {n} images and {n_patches} patches at "
            f"either end, of {self.images.n_images} images"
        )


def concept_examples(
    tokens,
    directions,
    *,
    embeddings=None,
    n: int = 6,
    n_patches: int = 12,
    max_per_image: int | None = 1,
    transformer=None,
    kind: str = "cosine",
    units=None,
    max_per_unit: int | None = None,
) -> ConceptExamples:
    """Find what a gallery shows of each concept: images, their heatmaps, and patches.

    The extremes of :func:`most_aligned_images` and :func:`most_aligned_patches`, and the
    heatmaps of these images only.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places, read one image at a time.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        Feature directions in the space behind `transformer`.
    embeddings : array-like, shape (n_images, n_features), or None, default=None
        One row per image, in the space before `transformer`; None takes the mean of the image's
        patch tokens.
    n : int, default=6
        Images at either end.
    n_patches : int, default=12
        Patches at either end; 0 for none.
    max_per_image : int or None, default=1
        Patches of one image at either end; None sets no limit.
    transformer : fitted transformer or None, default=None
        What comes before the dictionary; applied to tokens and embeddings.
    kind : {"cosine", "inner"}, default="cosine"
        Cosine similarity or inner product.
    units : array-like, shape (n_images,), or None, default=None
        Well, plate or field of each image, needed for `max_per_unit`.
    max_per_unit : int or None, default=None
        Images, and patches, of one unit at either end.

    Returns
    -------
    ConceptExamples
        images, patches : MostAligned
            The extremes; `patches` is None where none were asked for.
        most_heatmaps, least_heatmaps : ndarray, shape (n_directions, n, n_rows, n_columns)
            Heatmaps of the direction on its own images.

    Raises
    ------
    ValueError
        As :func:`most_aligned_images` and :func:`most_aligned_patches`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import concept_examples
    >>> tokens = np.random.default_rng(0).normal(size=(20, 4, 4, 8))
    >>> examples = concept_examples(tokens, np.eye(8)[:2], n=3, n_patches=5)
    >>> examples
    ConceptExamples of 2 directions: 3 images and 5 patches at either end, of 20 images
    >>> examples.most_heatmaps.shape
    (2, 3, 4, 4)
    """
    tokens = check_tokens(tokens)
    check_integer("n_patches", n_patches, 0)
    if n_patches:
        groups, cap = read_groups(units, max_per_unit, len(tokens))
        per_image = patches_per_image(tokens.shape[1:3], max_per_image)
        check_enough(
            n_patches, groups, cap, len(tokens), per_image, max_per_image, name="n_patches"
        )
    options = {"transformer": transformer, "kind": kind, "units": units,
               "max_per_unit": max_per_unit}  # fmt: skip
    embeddings = _mean_tokens(tokens) if embeddings is None else embeddings
    if len(embeddings) != len(tokens):
        raise ValueError(
            f"embeddings must have one row per image: got {len(embeddings)} for {len(tokens)} "
            "images"
        )
    images = most_aligned_images(embeddings, directions, n=n, **options)
    patches = None
    if n_patches:
        patches = most_aligned_patches(
            tokens, directions, n=n_patches, max_per_image=max_per_image, **options
        )
    maps = _heatmaps_of(images, tokens, directions, transformer, kind)
    return ConceptExamples(
        images=images, patches=patches, most_heatmaps=maps["most"], least_heatmaps=maps["least"]
    )


def _mean_tokens(tokens) -> np.ndarray:
    """Mean token of each image, shape (n_images, n_features)."""
    means = [np.asarray(tokens[i]).mean(axis=(0, 1), dtype=np.float64) for i in range(len(tokens))]
    return np.stack(means).astype(np.result_type(tokens.dtype, np.float32))


def _heatmaps_of(found: MostAligned, tokens, directions, transformer, kind) -> dict:
    """Heatmaps of each direction on the images found for it, one image read at a time."""
    prepared = PreparedTokens(tokens, transformer, kind)
    directions = prepared.directions(directions)
    maps = {end: np.zeros((*found[end].shape, *prepared.grid), np.float32) for end in ENDS}
    for image in np.unique(np.concatenate([found[end].ravel() for end in ENDS])).tolist():
        rows = prepared[image]
        for end in ENDS:
            direction, rank = np.nonzero(found[end] == image)
            values = directions[direction] @ rows.T
            if kind == "cosine":
                np.clip(values, -1.0, 1.0, out=values)
            maps[end][direction, rank] = values.reshape(-1, *prepared.grid)
    return maps
