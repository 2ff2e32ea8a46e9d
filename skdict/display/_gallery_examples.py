"""Pictures of the examples of a concept, read from the images."""

from __future__ import annotations

import numpy as np

from skdict.imaging._get_image import ImageSource
from skdict.imaging._stains import check_grid

ENDS = ("most", "least")


def shown_images(examples, source: ImageSource, concept: int) -> dict:
    """Images of both ends with their heatmaps; each is read once."""
    found = examples.images
    grid = examples.most_heatmaps.shape[2:]
    numbers = np.concatenate([found[end][concept] for end in ENDS])
    read = {int(i): source[int(i)] for i in np.unique(numbers)}
    for number, image in read.items():
        check_grid(grid, image.shape[1:], f"image {number}")
    return {
        "images": [read[int(i)] for i in numbers],
        "alignment": np.concatenate([found[f"{end}_alignment"][concept] for end in ENDS]),
        "ends": np.repeat(ENDS, found.most.shape[1]),
        "heatmaps": np.concatenate([examples[f"{end}_heatmaps"][concept] for end in ENDS]),
        "image_names": [f"image {i}" for i in numbers],
    }


def shown_patches(found, source: ImageSource, concept: int, context: int) -> dict:
    """Windows around the patches of both ends."""
    if found is None:
        return {}
    windows, names, boxes = [], [], []
    for end in ENDS:
        for image, row, column in zip(found[end][concept], found[f"{end}_row"][concept],
                                      found[f"{end}_column"][concept], strict=True):  # fmt: skip
            pixels = source[int(image)]
            window, box = patch_place(pixels.shape[1:], found.grid, row, column, context)
            windows.append(np.array(pixels[:, *window]))
            boxes.append(box)
            names.append(f"image {image}, row {row}, column {column}")
    return {
        "patches": windows,
        "patch_alignment": np.concatenate([found[f"{end}_alignment"][concept] for end in ENDS]),
        "patch_ends": np.repeat(ENDS, found.most.shape[1]),
        "patch_boxes": np.array(boxes),
        "patch_names": names,
    }


def patch_place(pixels, grid, row: int, column: int, context: int):
    """The window around a patch, and where the patch lies in it.

    Parameters
    ----------
    pixels : tuple of (int, int)
        Height and width of the image.
    grid : tuple of (int, int)
        Rows and columns of patches.
    row, column : int
        Place of the patch.
    context : int
        Height and width of the window in patches; the whole image where it has fewer. At the
        border of the image the window moves inwards.

    Returns
    -------
    window : tuple of (slice, slice)
        Rows and columns of its pixels.
    box : tuple of int
        First row, first column, height and width of the patch within the window.
    """
    sides = check_grid(grid, pixels, "the image")
    window, corner = [], []
    for place, side, cells in zip((int(row), int(column)), sides, grid, strict=True):
        size = min(context, cells)
        # For an even number of patches the patch lies before the middle.
        first = min(max(0, place - (size - 1) // 2), cells - size)
        window.append(slice(first * side, (first + size) * side))
        corner.append((place - first) * side)
    return tuple(window), (*corner, *sides)
