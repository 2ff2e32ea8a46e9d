"""Pictures of a bundle: thumbnails of samples and heatmaps of concepts, as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skdict._validation import host_array, import_optional
from skdict.explorer._bundle_format import heatmap_file, thumbnail_file

LONGEST_SIDE = 4096


def write_thumbnails(folder: Path, images, samples, n_samples: int, size: int) -> int:
    """Write the pictures of some samples, made smaller where a side is longer than `size`.

    Parameters
    ----------
    folder : Path
        The bundle.
    images : callable or sequence
        ``images(sample)`` or ``images[sample]``: uint8 array (height, width), (height, width, 3)
        or (height, width, 4); None for a sample without one.
    samples : iterable of int
        The samples.
    n_samples : int
        Number of samples, which a sequence must have.
    size : int
        Longest side, in pixels.

    Returns
    -------
    int
        Number of pictures written.

    Raises
    ------
    ValueError
        If a picture has another type or shape, or a sequence another length.
    """
    if not callable(images) and len(images) != n_samples:
        raise ValueError(
            f"images must hold one picture per row of codes: got {len(images)} for {n_samples}"
        )
    read = images if callable(images) else images.__getitem__
    number = 0
    for sample in samples:
        picture = read(int(sample))
        if picture is None:
            continue
        picture = np.asarray(host_array(picture, name="images"))
        good = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
        if not good or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(
                "images must be uint8 of shape (height, width), (height, width, 3) or (height, "
                f"width, 4), got {picture.dtype} of shape {picture.shape} for sample {sample}; "
                "see skdict.imaging.composite for images of several channels"
            )
        _write(folder / thumbnail_file(int(sample)), picture, size)
        number += 1
    return number


def write_heatmaps(folder: Path, heatmaps, examples: dict) -> int:
    """Write where each concept is active in its examples.

    Parameters
    ----------
    folder : Path
        The bundle.
    heatmaps : callable
        ``heatmaps(concept, sample)``: activations of shape (height, width), or None.
    examples : dict of ndarray
        Samples of each concept, -1 for none.

    Returns
    -------
    int
        Number of heatmaps written.

    Raises
    ------
    TypeError, ValueError
        If it is no callable, or a heatmap has another shape or a value that is not finite.
    """
    if not callable(heatmaps):
        raise TypeError(
            "heatmaps must be a function (concept, sample) -> array or None, got "
            f"{type(heatmaps).__name__}"
        )
    number = 0
    shown = np.hstack([examples[kind] for kind in ("top", "random")])
    shown = np.hstack([shown, examples["quantile"].reshape(shown.shape[0], -1)])
    for concept, row in enumerate(shown):
        maps = {}
        for sample in np.unique(row[row >= 0]).tolist():
            found = heatmaps(concept, sample)
            if found is not None:
                maps[sample] = _activation(found, concept, sample)
        # One scale for all examples of a concept, so that they can be compared.
        largest = max((values.max() for values in maps.values()), default=0)
        for sample, values in maps.items():
            share = values / largest if largest > 0 else values
            grey = np.rint(255 * share).astype(np.uint8)
            _write(folder / heatmap_file(concept, sample), grey, LONGEST_SIDE)
        number += len(maps)
    return number


def _activation(found, concept: int, sample: int) -> np.ndarray:
    """Heatmap as float64, what is below 0 as 0."""
    values = np.asarray(host_array(found, name="heatmaps"))
    good = values.ndim == 2 and 0 not in values.shape and values.dtype.kind in "fiub"
    if not good or not np.isfinite(values).all():
        raise ValueError(
            "heatmaps must give finite numbers of shape (height, width) or None, got "
            f"{values.dtype} of shape {values.shape} for concept {concept} and sample {sample}"
        )
    return np.maximum(values.astype(np.float64), 0)


def _write(path: Path, pixels: np.ndarray, size: int) -> None:
    """Write pixels as PNG, made smaller where a side is longer than `size`."""
    image_module = import_optional("PIL.Image", extra="explorer")
    picture = image_module.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((size, size))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PNG")
