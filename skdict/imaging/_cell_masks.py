"""Label images: which pixels belong to which cell, and how many of them lie in each token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import host_array
from skdict.imaging._stains import check_grid
from skdict.imaging._tokens import PreparedTokens

IGNORED, BACKGROUND = -1, 0


@dataclass(frozen=True)
class CellMask:
    """Cells of one image.

    Attributes
    ----------
    labels : ndarray of int, shape (height, width)
        The label image as it was given.
    numbers : ndarray of int, shape (n_cells,)
        Labels of the cells with a pixel that counts, in ascending order.
    place : ndarray of int, shape (height, width)
        -1 for a pixel to leave out, 0 for background, 1 + the place in `numbers` for a cell.
    """

    labels: np.ndarray
    numbers: np.ndarray
    place: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.numbers.shape[0]

    @property
    def n_left_out(self) -> int:
        """Cells without a pixel that counts."""
        return np.unique(self.labels[self.labels > 0]).size - self.n_cells

    def properties(self) -> dict[str, np.ndarray]:
        """Size, centre and contact with the border of every cell."""
        inside = self.place > BACKGROUND
        rows, columns = np.nonzero(inside)
        cell = self.place[inside] - 1
        n_pixels = np.bincount(cell, minlength=self.n_cells)
        edge = np.ones(self.labels.shape, dtype=bool)
        edge[1:-1, 1:-1] = False
        return {
            "label": self.numbers,
            "n_pixels": n_pixels,
            "row": np.bincount(cell, rows, self.n_cells) / n_pixels,
            "column": np.bincount(cell, columns, self.n_cells) / n_pixels,
            "touches_border": np.isin(self.numbers, self.labels[edge]),
        }


class CellMasks:
    """Label images with the pixels to leave out, read one image at a time.

    Parameters
    ----------
    labels : array-like of int, shape (n_images, height, width)
        0 for background, one number per cell of an image.
    ignore : array-like of bool, shape (n_images, height, width), or None
        Pixels to leave out.
    """

    def __init__(self, labels, ignore=None):
        self.labels = image_stack(labels, "labels")
        if self.labels.dtype.kind not in "iu":
            raise ValueError(
                "labels must be integers, 0 for background and one number per cell of an image, "
                f"got dtype {self.labels.dtype}; scipy.ndimage.label numbers the parts of a mask"
            )
        self.ignore = check_ignore(ignore, self.labels.shape)

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.labels.shape[1:]

    def __len__(self):
        return self.labels.shape[0]

    def __getitem__(self, image: int) -> CellMask:
        """Cells of one image."""
        labels = np.asarray(self.labels[image])
        if labels.dtype.kind == "i" and labels.min() < 0:
            raise ValueError(
                f"labels of image {image} hold the negative number {labels.min()}; cells have "
                "positive numbers, and pixels to leave out are marked in ignore"
            )
        counts = np.ones(labels.shape, dtype=bool)
        if self.ignore is not None:
            counts = ~np.asarray(self.ignore[image])
        inside = counts & (labels > 0)
        numbers = np.unique(labels[inside])
        place = np.where(counts, BACKGROUND, IGNORED)
        place[inside] = np.searchsorted(numbers, labels[inside]) + 1
        return CellMask(labels, numbers, place)

    def on(self, tokens: PreparedTokens) -> TokenPixels:
        """Pixels of the images within their tokens; raise ValueError unless they match."""
        if len(self) != len(tokens):
            raise ValueError(
                f"labels must have one entry per image of tokens, got {len(self)} for "
                f"{len(tokens)} images"
            )
        return TokenPixels(tokens.grid, self.pixels)

    def table(self) -> dict[str, np.ndarray]:
        """Columns of all cells, by image and label; raise ValueError if there is none."""
        parts = []
        for image in range(len(self)):
            columns = self[image].properties()
            parts.append({"image": np.full(columns["label"].size, image)} | columns)
        cells = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if not cells["image"].size:
            raise ValueError(NO_CELL)
        return cells


NO_CELL = (
    "labels hold no cell on any image: all pixels are background or ignored; look at how the "
    "cells were segmented, and at ignore"
)


class TokenPixels:
    """Counts the pixels of groups (cells, segments, distances) that lie in each token.

    Parameters
    ----------
    grid : tuple of (int, int)
        Rows and columns of tokens.
    pixels : tuple of (int, int)
        Height and width of the images.
    name : str, default="labels"
        What the images are called, for the message.
    """

    def __init__(self, grid, pixels, name: str = "labels"):
        self.patch = check_grid(grid, pixels, name)
        self.n_tokens = grid[0] * grid[1]
        row, column = (np.arange(n) // size for n, size in zip(pixels, self.patch, strict=True))
        self.token = row[:, None] * grid[1] + column

    @property
    def patch_area(self) -> int:
        """Pixels of a token."""
        return self.patch[0] * self.patch[1]

    def counts(self, group: np.ndarray, n_groups: int) -> sparse.csr_array:
        """Pixels of each group in each token, shape (n_groups, n_tokens); -1 is no group."""
        used = group >= 0
        ones = np.ones(np.count_nonzero(used))
        place = (group[used], self.token[used])
        return sparse.coo_array((ones, place), shape=(n_groups, self.n_tokens)).tocsr()

    def means(self, group: np.ndarray, n_groups: int, rows: np.ndarray):
        """Mean token of each group over its pixels, and their number; no pixels give NaN."""
        counts = self.counts(group, n_groups)
        n_pixels = np.asarray(counts.sum(axis=1)).ravel()
        # Sums first: the mean alignment is the alignment of the mean, whatever the direction.
        total = counts.astype(rows.dtype) @ rows
        scale = np.where(n_pixels > 0, n_pixels, np.nan).astype(rows.dtype)
        return total / scale[:, None], n_pixels.astype(np.int64)


def cell_table(labels, *, ignore=None, as_frame: bool = False):
    """List the cells of label images, in the order in which all functions for cells take them.

    Parameters
    ----------
    labels : array-like of int, shape (n_images, height, width)
        Label images: 0 for background, one number per cell of an image. Memory maps are read one
        image at a time.
    ignore : array-like of bool, shape (n_images, height, width), or None, default=None
        Pixels to leave out. Cells that lie in them as a whole are not listed.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch, for example to join the class of each cell
        on ``image`` and ``label``.

    Returns
    -------
    Bunch or DataFrame
        One row per cell, by image and then by label:

        image : ndarray of int, shape (n_cells,)
            Its image.
        label : ndarray of int, shape (n_cells,)
            Its number in the label image.
        n_pixels : ndarray of int, shape (n_cells,)
            Its pixels that are not ignored.
        row, column : ndarray of float, shape (n_cells,)
            Their centre, in pixels.
        touches_border : ndarray of bool, shape (n_cells,)
            Whether the cell reaches the border of the image, ignored pixels included: what lies
            beyond is not known.

    Raises
    ------
    ValueError
        If `labels` are no integers, negative, of a wrong shape, or hold no cell at all. Images
        without a cell are no error; they have no rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import cell_table
    >>> labels = np.zeros((2, 4, 4), dtype=int)
    >>> labels[0, 1:3, 1:3] = 7
    >>> labels[0, 0, 3] = 2
    >>> cells = cell_table(labels)
    >>> cells.image, cells.label, cells.n_pixels
    (array([0, 0]), array([2, 7]), array([1, 4]))
    >>> cells.touches_border
    array([ True, False])
    """
    return table(CellMasks(labels, ignore).table(), as_frame)


def check_perturbed(perturbed, n_cells: int, name: str = "perturbed") -> np.ndarray:
    """Return a boolean array with one entry per cell."""
    perturbed = np.asarray(host_array(perturbed, name=name))
    if perturbed.dtype != np.bool_ or perturbed.shape != (n_cells,):
        raise ValueError(
            f"{name} must be boolean with one entry per cell, shape ({n_cells},), in the order of "
            f"cell_table (by image, then label); got dtype {perturbed.dtype} and shape "
            f"{perturbed.shape}"
        )
    return perturbed


def check_ignore(ignore, shape: tuple):
    """Return the masks of pixels to leave out, or None."""
    if ignore is None:
        return None
    ignore = image_stack(ignore, "ignore")
    if ignore.dtype != np.bool_ or ignore.shape != shape:
        raise ValueError(
            f"ignore must be boolean and have the shape of labels, {shape}, got dtype "
            f"{ignore.dtype} and shape {ignore.shape}"
        )
    return ignore


def image_stack(images, name: str):
    """Return images as an array or memory map in three dimensions; no value is read."""
    images = host_array(images, name=name)
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        images = np.asarray(images)
    if len(images.shape) != 3 or 0 in images.shape:
        raise ValueError(
            f"{name} must have shape (n_images, height, width) and not be empty, got shape "
            f"{tuple(images.shape)}"
        )
    return images


def cells_of(columns: dict) -> Bunch:
    """Bunch of the columns of cells, without what else a result holds."""
    names = ("image", "label", "n_pixels", "row", "column", "touches_border")
    return Bunch(**{name: columns[name] for name in names})
