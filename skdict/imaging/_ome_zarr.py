"""OME-Zarr images: NGFF 0.4 in Zarr 2 and 0.5 in Zarr 3, with their pyramids."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from skdict._validation import import_optional
from skdict.imaging._stored_image import StoredImage, reading

# Axes of versions before 0.3, which do not name them.
_OLD_AXES = "TCZYX"
_BLOSC_HEADER = 16


def open_ome_zarr(path) -> StoredImage:
    """Open the folder of an OME-Zarr image; an error names what is wrong with it."""
    zarr = import_optional("zarr", extra="imaging")
    with reading(path, "OME-Zarr"):
        group = zarr.open_group(str(path), mode="r")
        attributes = dict(group.attrs)
    about = attributes.get("ome", attributes)
    _refuse_collections(path, about)
    with reading(path, "OME-Zarr"):
        image = about["multiscales"][0]
        levels = [group[dataset["path"]] for dataset in image["datasets"]]
        axes = _axes(image.get("axes"), levels[0].ndim)
        labels = [one.get("label") for one in (about.get("omero") or {}).get("channels", [])]
    names = [str(label) for label in labels]
    return StoredImage(
        str(path), "OME-Zarr", axes, [tuple(level.shape) for level in levels],
        np.dtype(levels[0].dtype), names if names and all(labels) else None,
        lambda level: _checked(path, levels[level]),
    )  # fmt: skip


def _refuse_collections(path, about) -> None:
    """Raise for a folder that holds images and is none itself."""
    if "multiscales" in about:
        return
    if "plate" in about:
        wells = [well["path"] for well in about["plate"].get("wells", [])]
        raise ValueError(
            f"{str(path)!r} is a plate of {len(wells)} wells, not an image: name a field, such as "
            f"{str(Path(path, *wells[:1], '0'))!r}"
        )
    if "bioformats2raw.layout" in about:
        raise ValueError(
            f"{str(path)!r} holds a series of images: name one, such as {str(Path(path, '0'))!r}"
        )
    raise ValueError(
        f"{str(path)!r} is a Zarr group without the multiscales metadata of an OME-Zarr image; it "
        f"has {sorted(map(str, about)) or 'no attributes'}"
    )


def _axes(axes, n_dimensions: int) -> str:
    """A letter per axis."""
    if axes is None:
        axes = list(_OLD_AXES) if n_dimensions == len(_OLD_AXES) else []
    letters = [
        axis.upper()
        if isinstance(axis, str)
        else {"channel": "C", "time": "T"}.get(axis.get("type"), axis["name"][:1].upper())
        for axis in axes
    ]
    if len(letters) != n_dimensions or len(set(letters)) != n_dimensions:
        raise ValueError(f"axes {axes} do not name the {n_dimensions} dimensions of the array")
    return "".join(letters)


def _checked(path, array):
    """The array, after a look at chunks that Zarr reads without noticing what is wrong."""
    chunks = array.nchunks
    missing = chunks - array.nchunks_initialized
    if missing:
        warnings.warn(
            f"{missing} of {chunks} chunks of {str(path)!r} do not exist and are read as "
            f"{array.fill_value}: either they were left out because they are empty, or the copy "
            "is not complete",
            UserWarning,
            stacklevel=5,
        )
    codecs = [type(codec).__name__.casefold() for codec in array.compressors]
    if array.shards is None and any("blosc" in name for name in codecs):
        _check_blosc(Path(path, array.path))
    return array


def _check_blosc(folder: Path) -> None:
    """Raise for a chunk that is shorter than its header says: Blosc reads on beyond its end."""
    for chunk in folder.rglob("*"):
        if not (chunk.name[0].isdigit() and chunk.is_file()):
            continue
        with chunk.open("rb") as file:
            header = file.read(_BLOSC_HEADER)
        size = chunk.stat().st_size
        if size < _BLOSC_HEADER or size < int.from_bytes(header[12:16], "little"):
            raise ValueError(f"chunk {chunk.relative_to(folder)} is cut short at {size} bytes")
