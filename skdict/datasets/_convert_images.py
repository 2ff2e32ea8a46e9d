"""Convert the folders behind the shipped images to the ``.npz`` files of ``skdict/datasets/data``.

Run as ``python -m skdict.datasets._convert_images NAME FOLDER OUT.npz``; it prints the SHA-256 that
`skdict.datasets._shipped` has to know. No pixel is changed: differences of neighbours, their low
and high bytes apart, are what a deflate stream makes small, and summing them up again gives the
same integers.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path

import numpy as np

from skdict._validation import import_optional

# Side of the square that is taken from the middle of each of the fields.
FIELD_SIZE = 512


def pack_pixels(pixels: np.ndarray) -> np.ndarray:
    """Bytes of the differences of neighbours in both directions.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (..., height, width)
        Images.

    Returns
    -------
    ndarray of uint8, shape (itemsize, ..., height, width)
        Low bytes, then high bytes; :func:`unpack_pixels` brings the pixels back.
    """
    unsigned = pixels.dtype.newbyteorder("<")
    differences = pixels.astype(unsigned)
    for axis in (-1, -2):
        differences = np.diff(differences, axis=axis, prepend=unsigned.type(0))
    # 0, -1, 1, -2, ... become 0, 1, 2, 3, ..., so that small steps down have no high byte either.
    sign = differences.astype(unsigned).view(f"<i{unsigned.itemsize}") >> (
        8 * unsigned.itemsize - 1
    )
    folded = ((differences << 1) ^ sign.view(unsigned)).astype(unsigned)
    return np.ascontiguousarray(np.moveaxis(folded[..., None].view(np.uint8), -1, 0))


def unpack_pixels(packed: np.ndarray) -> np.ndarray:
    """Pixels of what :func:`pack_pixels` made.

    Parameters
    ----------
    packed : ndarray of uint8, shape (itemsize, ..., height, width)
        The differences.

    Returns
    -------
    ndarray of uint8 or uint16, shape (..., height, width)
        The pixels.
    """
    octets = np.ascontiguousarray(np.moveaxis(packed, 0, -1))
    folded = octets.view(f"<u{packed.shape[0]}")[..., 0]
    folded = folded.astype(folded.dtype.newbyteorder("="))
    # 0 - (folded & 1) is all ones for an odd number: unsigned arithmetic goes round
    pixels = (folded >> 1) ^ (0 - (folded & 1))
    for axis in (-2, -1):
        pixels = np.cumsum(pixels, axis=axis, dtype=folded.dtype)
    return pixels


def cut_cells(whole: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Numbers of the cells that lie in part outside a crop.

    Parameters
    ----------
    whole : ndarray of int, shape (height, width)
        Label image of the field.
    crop : ndarray of int, shape (crop_height, crop_width)
        Label image of the crop.

    Returns
    -------
    ndarray of int, shape (n_cut,)
        Labels with fewer pixels in the crop than in the field.
    """
    pixels = np.bincount(whole.ravel(), minlength=2)
    inside = np.bincount(crop.ravel(), minlength=pixels.shape[0])
    labels = np.flatnonzero((inside > 0) & (inside < pixels))
    return labels[labels > 0]


def _read(folder: Path, field: str, what: str) -> np.ndarray:
    return import_optional("tifffile", extra="imaging").imread(folder / f"{field}_{what}.tif")


def _table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of fields.csv by the name of the field."""
    with (folder / "fields.csv").open(encoding="utf-8", newline="") as file:
        return {row["field"]: row for row in csv.DictReader(file)}


def _one_byte(labels) -> np.ndarray:
    """Label images as uint8."""
    labels = np.stack(labels)
    if labels.max() > 255:
        raise ValueError(f"labels must be at most 255 to fit one byte, got {labels.max()}")
    return labels.astype(np.uint8)


def _members(images, nuclei, cells, cut, origin, rows, channels) -> dict:
    """Members of the ``.npz`` file; none needs pickle to be read."""
    pairs = [(image, label) for image, labels in enumerate(cut) for label in labels]
    return {
        "images": pack_pixels(np.stack(images)),
        "nuclei": pack_pixels(_one_byte(nuclei)),
        "cells": pack_pixels(_one_byte(cells)),
        "cut": np.array(pairs, dtype=np.int16).reshape(-1, 2),
        "origin_yx": np.asarray(origin, dtype=np.int16),
        "channels": np.array(channels),
        "field": np.array([row["field"] for row in rows]),
        "well": np.array([row["well"] for row in rows]),
        "site": np.array([int(row["site"]) for row in rows], dtype=np.int16),
    }


def cell_painting_crops(folder: Path) -> dict:
    """Members of the four crops of one six-channel field.

    Parameters
    ----------
    folder : Path
        Folder with ``demo_crops_4x6x256x256.npz``, which says where the crops lie, the TIFFs of
        the field they come from, and ``fields.csv``.

    Returns
    -------
    dict of ndarray
        Members of the ``.npz`` file.
    """
    (field, row), *others = _table(folder).items()
    if others:
        raise ValueError(f"fields.csv in {folder} must list one field, got {1 + len(others)}")
    with np.load(folder / "demo_crops_4x6x256x256.npz") as crops:
        images, origin = crops["images"], crops["origin_yx"]
    image, nuclei, cells = (_read(folder, field, what) for what in ("image", "nuclei", "cells"))
    height, width = images.shape[2:]
    places = [(slice(y, y + height), slice(x, x + width)) for y, x in origin.tolist()]
    for number, place in enumerate(places):
        if not np.array_equal(image[:, *place], images[number]):
            raise ValueError(f"crop {number} in {folder} is not what the field shows at its place")
    inside = [cells[place] for place in places]
    return _members(
        images, [nuclei[place] for place in places], inside,
        [cut_cells(cells, crop) for crop in inside], origin, [row] * len(places),
        row["channels"].split("|"),
    )  # fmt: skip


def schwann_fields(folder: Path) -> dict:
    """Members of the middle of five three-channel fields, 8 bits a pixel.

    Parameters
    ----------
    folder : Path
        Folder with the TIFFs of all fields that its ``fields.csv`` lists.

    Returns
    -------
    dict of ndarray
        Members of the ``.npz`` file.
    """
    table = _table(folder)
    images, nuclei, cells, cut, origin = [], [], [], [], []
    for field in table:
        image, *labels = (_read(folder, field, what) for what in ("image", "nuclei", "cells"))
        if image.dtype != np.uint16 or (image % 257).any():
            raise ValueError(f"{field} in {folder} is not 8-bit data times 257")
        y, x = ((size - FIELD_SIZE) // 2 for size in image.shape[1:])
        place = (slice(y, y + FIELD_SIZE), slice(x, x + FIELD_SIZE))
        images.append((image[:, *place] // 257).astype(np.uint8))
        nuclei.append(labels[0][place])
        cells.append(labels[1][place])
        cut.append(cut_cells(labels[1], cells[-1]))
        origin.append((y, x))
    rows = list(table.values())
    # the source writes the stain and its fluorophore: DNA_DAPI
    channels = [name.split("_")[0] for name in rows[0]["channels"].split("|")]
    return _members(images, nuclei, cells, cut, origin, rows, channels)


SETS = {"cell_painting_crops": cell_painting_crops, "schwann_fields": schwann_fields}


def convert(name: str, folder, out) -> str:
    """Write the ``.npz`` file of a shipped set of images.

    Parameters
    ----------
    name : {"cell_painting_crops", "schwann_fields"}
        Which set.
    folder : path
        The folder to read.
    out : path
        The ``.npz`` file to write.

    Returns
    -------
    str
        SHA-256 of the file written.
    """
    members = SETS[name](Path(folder))
    with Path(out).open("wb") as file:
        np.savez_compressed(file, **members)
    return hashlib.sha256(Path(out).read_bytes()).hexdigest()


def main(argv=None) -> None:
    """Run the conversion from the command line."""
    parser = argparse.ArgumentParser(prog="python -m skdict.datasets._convert_images")
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument("folder", help="folder to read")
    parser.add_argument("out", help=".npz file to write")
    arguments = parser.parse_args(argv)
    print(convert(arguments.name, arguments.folder, arguments.out))


if __name__ == "__main__":
    main()
