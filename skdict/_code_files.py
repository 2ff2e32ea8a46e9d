"""The files of codes on disk: a list of shards, and three arrays for each of them.

A store is a folder with ``codes.json``, which lists the shards, and three ``.npy`` files for each
shard: ``data``, ``indices`` (int32) and ``indptr`` (int64, counted from the shard's first entry).
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
from scipy import sparse

FORMAT = "skdict-codes"
VERSION = 1
MANIFEST = "codes.json"

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
PARTS = ("data", "indices", "indptr")
INT32_MAX = 2**31 - 1

# Entries copied at a time: bounds what a write or a check needs besides.
CHUNK_ENTRIES = 2**22


class ShardFiles:
    """The three files of a shard while they grow."""

    def __init__(self, folder: Path, number: int, dtype: np.dtype):
        self.folder, self.number, self.dtype = folder, number, dtype
        self.n_rows = self.nnz = 0
        self.is_torn = False  # an append was interrupted
        self.ends: list[np.ndarray] = [np.zeros(1, np.int64)]
        self.growing = [GrowingNpy(folder / file_name(number, "data"), dtype)]
        self.growing += [GrowingNpy(folder / file_name(number, "indices"), np.dtype(np.int32))]

    def append(self, codes: sparse.csr_array) -> None:
        """Write rows; they count when all of them are written."""
        self.mend()
        first, last = int(codes.indptr[0]), int(codes.indptr[-1])
        self.is_torn = True
        for growing, values in zip(self.growing, (codes.data, codes.indices)):
            growing.append(values[first:last])
        self.ends.append(codes.indptr[1:].astype(np.int64) - first + self.nnz)
        self.n_rows, self.nnz = self.n_rows + codes.shape[0], self.nnz + last - first
        self.is_torn = False

    def mend(self) -> None:
        """Cut off what an interrupted append has written."""
        if self.is_torn:
            ends = np.concatenate(self.ends)[: self.n_rows + 1]
            self.ends, self.nnz = [ends], int(ends[-1])
            for growing in self.growing:
                growing.cut(self.nnz)
            self.is_torn = False

    def close(self) -> dict:
        """Finish the files and describe them."""
        try:
            self.mend()
            indptr = GrowingNpy(self.folder / file_name(self.number, "indptr"), np.dtype(np.int64))
            self.growing.append(indptr)
            indptr.append(np.concatenate(self.ends))
            for growing in self.growing:
                growing.finish()
        except BaseException:
            self.remove()
            raise
        crc = {part: growing.crc for part, growing in zip(PARTS, self.growing)}
        return {"n_rows": self.n_rows, "nnz": self.nnz, "crc32": crc}

    def remove(self) -> None:
        """Delete the files, which frees their space."""
        for growing in self.growing:
            growing.remove()


class GrowingNpy:
    """A one-dimensional .npy file that is appended to; its header gets the length at the end."""

    def __init__(self, path: Path, dtype: np.dtype):
        self.path, self.dtype, self.n, self.crc = path, dtype, 0, 0
        self.file = path.open("w+b")
        self._write_header()
        self.offset = self.file.tell()

    def append(self, values: np.ndarray) -> None:
        """Write values behind those that are there."""
        for start in range(0, len(values), CHUNK_ENTRIES):
            chunk = np.ascontiguousarray(values[start : start + CHUNK_ENTRIES], self.dtype)
            self.file.write(chunk.data)
            self.crc = zlib.crc32(chunk.data, self.crc)
            self.n += len(chunk)

    def cut(self, n: int) -> None:
        """Keep the first n values, whatever was written behind them."""
        self.file.truncate(self.offset + n * self.dtype.itemsize)
        self.file.seek(self.offset)
        self.n, self.crc = n, 0
        for start in range(0, n, CHUNK_ENTRIES):
            chunk = np.fromfile(self.file, self.dtype, min(n - start, CHUNK_ENTRIES))
            self.crc = zlib.crc32(chunk.data, self.crc)
        self.file.seek(0, os.SEEK_END)

    def finish(self) -> None:
        """Write the length and bring all to disk."""
        self.file.seek(0)
        self._write_header()  # NumPy leaves room for any length: it is as long as before
        assert self.file.tell() == self.offset
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def remove(self) -> None:
        """Delete the file."""
        try:
            self.file.close()
        except OSError:
            pass  # it tries to write what did not fit
        self.path.unlink(missing_ok=True)

    def _write_header(self):
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.n,)}
        np.lib.format.write_array_header_1_0(self.file, header)


# ---------------------------------------------------------------------- the folder


def beside(path: Path) -> Path:
    """Folder that codes are written to before they are complete."""
    return path.with_name(f"{path.name}.unfinished")


def file_name(number: int, part: str) -> str:
    """Name of a file of a shard."""
    return f"{number:06d}_{part}.npy"


def sum_over(shards: list[dict], name: str) -> int:
    """Sum of an entry over shards."""
    return sum(shard[name] for shard in shards)


def total(manifest: dict, name: str) -> int:
    """Sum of an entry over the shards of a manifest."""
    return sum_over(manifest["shards"], name)


def is_store(folder: Path) -> bool:
    """Whether a folder is empty or holds codes, also half written ones."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    return MANIFEST in names or names <= {f".{MANIFEST}.part"}


def damaged(path: Path, reason: str) -> ValueError:
    """Error for a file that is not what was written."""
    return ValueError(
        f"{str(path)!r} is damaged: {reason}; copy it again from where it is whole, or write the "
        "codes anew"
    )


def read_manifest(folder: Path) -> dict:
    """Read and check the manifest of a folder."""
    path = folder / MANIFEST
    if not path.exists():
        raise FileNotFoundError(
            f"{str(folder)!r} holds no codes: there is no {MANIFEST} in it; name the folder that "
            "CodeWriter wrote"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, no UTF-8
        raise damaged(path, f"it cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise damaged(path, f"its format is not {FORMAT!r}")
    if not _is_count(manifest.get("version"), 1):
        raise damaged(path, "version must be a number")
    if manifest["version"] > VERSION:
        raise ValueError(
            f"{str(folder)!r} was written by a newer version of skdict (format "
            f"{manifest['version']}, known up to {VERSION}); upgrade skdict"
        )
    _check_manifest(path, manifest)
    return manifest


def _check_manifest(path: Path, manifest: dict) -> None:
    """Raise unless all entries are what the reader takes them for."""
    if not isinstance(manifest.get("complete"), bool):
        raise damaged(path, "complete must be true or false")
    if not _is_count(manifest.get("n_components"), 1):
        raise damaged(path, "n_components must be a number of at least 1")
    if manifest.get("dtype") not in [dtype.name for dtype in FLOATS]:
        raise damaged(path, f"dtype must be float32 or float64, got {manifest.get('dtype')!r}")
    shards = manifest.get("shards")
    if not isinstance(shards, list):
        raise damaged(path, "shards must be a list")
    for number, shard in enumerate(shards):
        good = isinstance(shard, dict) and isinstance(shard.get("crc32"), dict)
        good = good and all(_is_count(shard.get(name), 0) for name in ("n_rows", "nnz"))
        if not good or not all(_is_count(shard["crc32"].get(part), 0) for part in PARTS):
            raise damaged(path, f"shard {number} must have n_rows, nnz and crc32 of its files")
    for name in ("n_rows", "nnz"):
        if manifest.get(name) != total(manifest, name):
            raise damaged(path, f"{name} is not the sum over shards")


def _is_count(value, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
