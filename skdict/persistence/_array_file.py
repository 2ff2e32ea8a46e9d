"""The arrays of a model in one safetensors file, with a checksum; memory-mapped if wanted."""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save as to_bytes

from skdict.persistence._errors import ModelFileError, damage_in
from skdict.persistence._json_file import parse

# Little-endian, as the format has it.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
WRITABLE = {np.dtype(dtype).newbyteorder("=") for dtype in DTYPES.values()}
# A header of more bytes is no header: a model has some tens of arrays.
LONGEST_HEADER = 2**20
_MOST_AXES = 8


def array_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Content of the file.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Arrays of the types in `DTYPES`.
    """
    # not ascontiguousarray, which gives numbers an axis
    return to_bytes({name: np.asarray(array, order="C") for name, array in arrays.items()})


def arrays_in(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of the content of a file, as views.

    Parameters
    ----------
    content : bytes
        What `array_bytes` gave.

    Raises
    ------
    ValueError
        If they could not be read.
    """
    buffer = np.frombuffer(content, np.uint8)
    places = _places(_header(io.BytesIO(content)), buffer.size)
    return {name: _view(buffer, *place) for name, place in places.items()}


def read_arrays(
    file: BinaryIO,
    path: Path,
    *,
    n_bytes: int,
    digest: str,
    mmap_mode: str | None = None,
    verify: bool = True,
) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file by name.

    What is checked is what is used: one file is open all the time. The header is looked at before
    anything else is read.

    Parameters
    ----------
    file : file
        It is opened for reading.
    path : Path
        Its path, for errors.
    n_bytes : int
        Bytes that it must have.
    digest : str
        Its SHA-256, as hexadecimal digits.
    mmap_mode : {"r", "c", None}, default=None
        None reads the arrays into memory. With "r" they are read-only views of the file, whose
        memory processes share; with "c" pages that are written to are copied.
    verify : bool, default=True
        Whether to compare the checksum.

    Returns
    -------
    dict of str to ndarray
        The arrays, views of one buffer.

    Raises
    ------
    ModelFileError
        If the file is damaged.
    """
    found = os.fstat(file.fileno()).st_size
    if found != n_bytes or found < 8:
        raise ModelFileError(
            f"{path} has {found} bytes where {n_bytes} were written: it is truncated or was "
            "changed; copy the model again"
        )
    with damage_in(path):
        header = _header(file)
        places = _places(header, found)
    file.seek(0)
    buffer = _content(file, found, mmap_mode, path)
    if buffer[: len(header)].tobytes() != header:
        raise ModelFileError(f"{path} was changed while it was read; load the model again")
    if verify and hashlib.sha256(buffer).hexdigest() != digest:
        raise ModelFileError(
            f"{path} was changed after it was written: its SHA-256 is not the one in the model "
            "file; copy the model again"
        )
    with damage_in(path):
        return {name: _view(buffer, *place) for name, place in places.items()}


def _content(file, n_bytes, mmap_mode, path):
    """The file as an array of bytes."""
    if mmap_mode is not None:
        access = {"r": mmap.ACCESS_READ, "c": mmap.ACCESS_COPY}[mmap_mode]
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=access), np.uint8)
    buffer = np.empty(n_bytes, np.uint8)
    view, filled = memoryview(buffer), 0
    while filled < n_bytes:
        count = file.readinto(view[filled:])
        if not count:
            raise ModelFileError(f"{path} became shorter while it was read; load the model again")
        filled += count
    return buffer


def _header(file):
    """Beginning of a file, in front of its arrays."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if not 2 <= length <= LONGEST_HEADER:
        raise ValueError(f"its header cannot have {length} bytes")
    header = start + file.read(length)
    if len(header) != 8 + length:
        raise ValueError(f"its header has {len(header) - 8} bytes of {length}")
    return header


def _places(start, n_bytes):
    """Type, shape and offset in the file of each array; raise unless they fill it exactly."""
    length = len(start) - 8
    header = parse(start[8:])
    header.pop("__metadata__", None)
    places, behind = {}, []
    for name, entry in header.items():
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name!r} has the keys {sorted(entry)}")
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        numbers = [*shape, begin, end]
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"sizes and offsets of {name!r} must be whole numbers")
        if len(shape) > _MOST_AXES or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name!r} of shape {shape} cannot take {end - begin} bytes")
        places[name] = dtype, shape, 8 + length + begin
        behind.append((begin, end))
    filled = 0
    for begin, end in sorted(behind):
        if begin != filled:
            raise ValueError("its arrays overlap or leave gaps")
        filled = end
    if 8 + length + filled != n_bytes:
        raise ValueError(f"its arrays take {filled} bytes of {n_bytes - 8 - length}")
    return places


def _view(buffer, dtype, shape, offset):
    """An array within the file; a copy only where it cannot be used as it lies there."""
    view = np.ndarray(shape, dtype, buffer, offset)
    if dtype == np.bool_ and view.view(np.uint8).max(initial=0) > 1:
        raise ValueError("an array of True and False holds other values")
    if view.flags.aligned and dtype.isnative:
        return view
    return view.astype(dtype.newbyteorder("="))
