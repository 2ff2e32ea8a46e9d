"""The real images that ship with the package, with their cells.

The files are written by `skdict.datasets._convert_images` and checked on loading.
"""

from __future__ import annotations

import io

import numpy as np
from sklearn.utils import Bunch

from skdict.datasets import _descriptions
from skdict.datasets._convert_images import unpack_pixels
from skdict.datasets._shipped import _read_checked

# Columns 1 and 6 of plate 2 are wild type, 7 and 12 null, says the README of the source.
_SCHWANN_GENOTYPES = {"1": "wild type", "6": "wild type", "7": "null", "12": "null"}


def _load(name: str, *, plate: str, **about) -> Bunch:
    """Images, label images and places of a shipped file."""
    with np.load(io.BytesIO(_read_checked(name)), allow_pickle=False) as members:
        images, nuclei, cells = (unpack_pixels(members[k]) for k in ("images", "nuclei", "cells"))
        cut_pairs = members["cut"]
        names = {key: members[key] for key in ("channels", "field", "well", "site", "origin_yx")}
    nuclei, cells = nuclei.astype(np.int32), cells.astype(np.int32)
    return Bunch(
        images=images,
        nuclei=nuclei,
        cells=cells,
        ignore=_nuclei_without_cell(nuclei, cells),
        cut=_pixels_of(cells, cut_pairs),
        plate=np.full(len(images), plate),
        **names,
        **about,
    )


def _nuclei_without_cell(nuclei, cells) -> np.ndarray:
    """Pixels of nuclei whose cell has no label anywhere in the image."""
    return np.stack(
        [(nuclei[i] > 0) & ~np.isin(nuclei[i], np.unique(cells[i])) for i in range(len(cells))]
    )


def _pixels_of(cells, pairs) -> np.ndarray:
    """Pixels of the cells in a list of (image, label)."""
    marked = np.zeros((len(cells), int(cells.max()) + 1), dtype=bool)
    marked[tuple(pairs.T)] = True
    return marked[np.arange(len(cells))[:, None, None], cells]


def load_cell_painting_crops() -> Bunch:
    """Load four six-channel Cell Painting crops with their nuclei and cells.

    Crops of 256 x 256 pixels, the size of the ICFL paper's, from **one field of one well**: they
    show what a heatmap looks like on real cells and test that code runs on real images. Nothing
    about a treatment, a cell line or a plate can be inferred from them.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        images : ndarray of uint16, shape (4, 6, 256, 256)
            The crops, as acquired.
        channels : ndarray of str, shape (6,)
            "DNA", "ER", "RNA", "AGP" (actin, Golgi, plasma membrane), "Mito", "Brightfield".
        nuclei, cells : ndarray of int32, shape (4, 256, 256)
            Label images; 0 is background. A nucleus and its cell have the same number, and a cell
            that reaches into two crops has the same number in both.
        ignore : ndarray of bool, shape (4, 256, 256)
            Pixels of nuclei whose cell has no label: the source drops cells at the border of the
            field. They are not background.
        cut : ndarray of bool, shape (4, 256, 256)
            Pixels of cells that reach beyond the crop. Pass ``ignore=crops.ignore | crops.cut``
            where only whole cells should count.
        origin_yx : ndarray of int, shape (4, 2)
            Row and column of each crop's first pixel in the field of 1080 x 1080.
        plate, well, field : ndarray of str, shape (4,)
            Where the crops come from, the same for all of them.
        site : ndarray of int, shape (4,)
            Number of the field in the well.
        DESCR, license, source : str
            Description, licence, and where the images come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If the shipped file is missing or damaged.

    See Also
    --------
    load_schwann_fields : Larger fields of five wells, with three channels.

    Examples
    --------
    >>> from skdict.datasets import load_cell_painting_crops
    >>> crops = load_cell_painting_crops()
    >>> crops.images.shape, crops.images.dtype
    ((4, 6, 256, 256), dtype('uint16'))
    >>> [len(set(cells[cells > 0].tolist())) for cells in crops.cells]
    [5, 6, 3, 7]
    """
    return _load(
        "cell_painting_crops",
        plate="BR00143976",
        DESCR=_descriptions.CELL_PAINTING_CROPS,
        license="BSD-3-Clause",
        source=(
            "https://github.com/WayScience/CytoDataFrame "
            "at 462accbc18e57441b560cde034667e0c88f4d9b9, "
            "tests/data/cytotable/pediatric_cancer_atlas_profiling"
        ),
    )


def load_schwann_fields() -> Bunch:
    """Load the middle of five Cell Painting fields of Schwann cells with and without NF1.

    512 x 512 pixels of five fields from five wells. **One well is wild type and four are null**,
    which supports no test of the genotype: any two wells differ.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        images : ndarray of uint8, shape (5, 3, 512, 512)
            The fields; the source holds the same 8 bits, stretched to 16.
        channels : ndarray of str, shape (3,)
            "DNA", "ER", "Actin".
        nuclei, cells : ndarray of int32, shape (5, 512, 512)
            Label images; 0 is background. A nucleus and its cell have the same number.
        ignore : ndarray of bool, shape (5, 512, 512)
            Pixels of nuclei whose cell has no label: none in this set.
        cut : ndarray of bool, shape (5, 512, 512)
            Pixels of cells that reach beyond the crop. Pass ``ignore=fields.cut`` where only
            whole cells should count.
        origin_yx : ndarray of int, shape (5, 2)
            Row and column of each crop's first pixel in the field of 904 x 1224.
        genotype : ndarray of str, shape (5,)
            "wild type" or "null", by the column of the well.
        plate, well, field : ndarray of str, shape (5,)
            Where the fields come from. The plate is inferred, see ``DESCR``.
        site : ndarray of int, shape (5,)
            Number of the field in the well.
        DESCR, license, source : str
            Description, licence, and where the images come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If the shipped file is missing or damaged.

    See Also
    --------
    load_cell_painting_crops : Six channels, as the ICFL paper has.

    Examples
    --------
    >>> from skdict.datasets import load_schwann_fields
    >>> fields = load_schwann_fields()
    >>> fields.images.shape
    (5, 3, 512, 512)
    >>> dict(zip(fields.well.tolist(), fields.genotype.tolist()))
    {'B7': 'null', 'D6': 'wild type', 'D7': 'null', 'F7': 'null', 'H12': 'null'}
    """
    fields = _load(
        "schwann_fields",
        plate="2",
        DESCR=_descriptions.SCHWANN_FIELDS,
        license="BSD-3-Clause",
        source=(
            "https://github.com/WayScience/CytoDataFrame "
            "at 462accbc18e57441b560cde034667e0c88f4d9b9, "
            "tests/data/cytotable/NF1_cellpainting_data_shrunken"
        ),
    )
    fields.genotype = np.array([_SCHWANN_GENOTYPES[well[1:]] for well in fields.well.tolist()])
    return fields
