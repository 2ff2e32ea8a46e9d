"""Sparse codes on disk, more of them than fit into memory, read block by block."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._code_files import (
    CHUNK_ENTRIES,
    INT32_MAX,
    MANIFEST,
    PARTS,
    beside,
    damaged,
    file_name,
    read_manifest,
    total,
)
from skdict._validation import check_integer

# Shards whose memory maps are kept.
_MOST_OPEN = 16


def load_codes(path, *, verify: bool = False, allow_unfinished: bool = False) -> StoredCodes:
    """Open codes that :class:`skdict.CodeWriter` has written; nothing but their list is read.

    Parameters
    ----------
    path : path-like
        The folder.
    verify : bool, default=False
        Read everything once and compare checksums.
    allow_unfinished : bool, default=False
        Open the finished shards of a folder whose writing was interrupted.

    Returns
    -------
    StoredCodes
        The codes.

    Raises
    ------
    FileNotFoundError
        If there are no codes.
    ValueError
        If they are unfinished, truncated, changed or of a newer version of skdict.

    Examples
    --------
    See :class:`skdict.CodeWriter`.
    """
    path = Path(path)
    folder = path
    if not (path / MANIFEST).exists() and (beside(path) / MANIFEST).exists():
        folder = beside(path)
    manifest = read_manifest(folder)
    if not manifest["complete"] and not allow_unfinished:
        raise ValueError(
            f"the codes in {str(folder)!r} are unfinished: {total(manifest, 'n_rows')} rows were "
            "written before they were interrupted; go on with CodeWriter(..., resume=True), write "
            "them anew, or open these with allow_unfinished=True"
        )
    store = StoredCodes(folder, manifest)
    if verify:
        store.verify()
    return store


class StoredCodes:
    """Codes on disk that are read range by range; :func:`skdict.load_codes` opens them.

    Parameters
    ----------
    folder : Path
        The folder.
    manifest : dict
        Its checked manifest.

    Attributes
    ----------
    shape : tuple of int
        ``(n_rows, n_components)``.
    dtype : dtype
        float32 or float64.
    nnz : int
        Number of stored entries, of any size.
    n_shards : int
        Number of shards.
    is_complete : bool
        Whether the writer came to its end.
    path : Path
        The folder.

    Raises
    ------
    ValueError
        If a file is missing, truncated or of another shape than the manifest says.

    Notes
    -----
    ``codes[start:stop]`` gives these rows as csr_array; no others are read. It can be pickled,
    which stores the path.

    Examples
    --------
    See :class:`skdict.CodeWriter`.
    """

    ndim = 2

    def __init__(self, folder: Path, manifest: dict):
        self.path, self._manifest = folder, manifest
        self.shape = total(manifest, "n_rows"), manifest["n_components"]
        self.dtype = np.dtype(manifest["dtype"])
        self.nnz = total(manifest, "nnz")
        self._starts = [0]
        for shard in manifest["shards"]:
            self._starts.append(self._starts[-1] + shard["n_rows"])
        self._open: dict[int, tuple] = {}
        for number in range(self.n_shards):
            for part in PARTS:
                self._header(number, part)

    @property
    def is_complete(self) -> bool:
        """Whether the writer came to its end."""
        return self._manifest["complete"]

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return len(self._manifest["shards"])

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return (
            f"StoredCodes({str(self.path)!r}, shape={self.shape}, nnz={self.nnz}, "
            f"dtype={self.dtype})"
        )

    def __getstate__(self):
        return self.__dict__ | {"_open": {}}

    def __getitem__(self, rows) -> sparse.csr_array:
        if not isinstance(rows, slice):
            raise IndexError(f"StoredCodes takes a slice of rows, got {rows!r}; write [i : i + 1]")
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError(f"StoredCodes takes slices of step 1, got {rows}; read a range")
        return self._range(start, max(start, stop))

    def iter_blocks(self, n_rows: int) -> Iterator[tuple[slice, sparse.csr_array]]:
        """Read all codes block by block.

        Parameters
        ----------
        n_rows : int
            Rows of a block; the last one may have fewer.

        Returns
        -------
        iterator of (slice, csr_array)
            The rows of a block, and their codes.

        Raises
        ------
        ValueError
            If `n_rows` is below 1, or a shard is damaged.
        """
        check_integer("n_rows", n_rows, 1)
        ranges = (
            (start, min(start + n_rows, self.shape[0])) for start in range(0, self.shape[0], n_rows)
        )
        return ((slice(start, stop), self._range(start, stop)) for start, stop in ranges)

    def to_csr(self) -> sparse.csr_array:
        """Read all codes into memory.

        Returns
        -------
        csr_array of shape (n_rows, n_components)
            With indices of 64 bits where there are more than 2**31 - 1 entries, else of 32.

        Raises
        ------
        ValueError
            If a shard is damaged.
        """
        return self._range(0, self.shape[0])

    def verify(self) -> None:
        """Read everything once and compare it with the checksums of the manifest.

        Raises
        ------
        ValueError
            With the first file that differs from what was written.
        """
        for number, shard in enumerate(self._manifest["shards"]):
            for part, array in zip(PARTS, self._arrays(number)):
                crc = 0
                for start in range(0, len(array), CHUNK_ENTRIES):
                    crc = zlib.crc32(array[start : start + CHUNK_ENTRIES].data, crc)
                if crc != shard["crc32"][part]:
                    raise damaged(
                        self.path / file_name(number, part),
                        "its contents differ from what was written",
                    )

    def _range(self, start: int, stop: int) -> sparse.csr_array:
        """Contiguous rows."""
        pieces, counts = [], [np.zeros(1, np.int64)]
        for number in range(self.n_shards):
            low, high = self._starts[number], self._starts[number + 1]
            if max(start, low) < min(stop, high):
                data, indices, indptr = self._arrays(number)
                bounds = np.asarray(indptr[max(start, low) - low : min(stop, high) - low + 1])
                counts.append(np.diff(bounds))
                inside = slice(int(bounds[0]), int(bounds[-1]))
                pieces.append((number, data[inside], indices[inside]))
        rows = np.cumsum(np.concatenate(counts))
        index = np.int32 if max(int(rows[-1]), self.shape[1]) <= INT32_MAX else np.int64
        data, indices = np.empty(rows[-1], self.dtype), np.empty(rows[-1], index)
        n_filled = 0
        for number, values, columns in pieces:
            inside = slice(n_filled, n_filled + len(values))
            data[inside], indices[inside] = values, columns
            self._check_columns(number, indices[inside])
            n_filled += len(values)
        shape = (stop - start, self.shape[1])
        return sparse.csr_array((data, indices, rows.astype(index)), shape=shape)

    def _check_columns(self, number: int, columns: np.ndarray) -> None:
        """Raise unless indices are those of atoms: others would be read from foreign memory."""
        if columns.size and not 0 <= columns.min() <= columns.max() < self.shape[1]:
            raise damaged(
                self.path / file_name(number, "indices"), f"it names atoms beyond {self.shape[1]}"
            )

    def _arrays(self, number: int) -> tuple:
        """Memory maps of data, indices and row pointers of a shard."""
        if number not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open = {}
            arrays = tuple(self._map(number, part) for part in PARTS)
            indptr, nnz = arrays[2], self._manifest["shards"][number]["nnz"]
            if indptr[0] != 0 or indptr[-1] != nnz or (indptr[1:] < indptr[:-1]).any():
                raise damaged(
                    self.path / file_name(number, "indptr"), "row pointers are out of order"
                )
            self._open = self._open | {number: arrays}
            return arrays
        return self._open[number]

    def _map(self, number: int, part: str):
        dtype, n, offset = self._header(number, part)
        if n == 0:
            return np.empty(0, dtype)
        return np.memmap(self.path / file_name(number, part), dtype, "r", offset, (n,))

    def _header(self, number: int, part: str):
        """Check a file against the manifest without reading it; give dtype, length and offset."""
        path = self.path / file_name(number, part)
        shard = self._manifest["shards"][number]
        expected = (shard["n_rows"] + 1 if part == "indptr" else shard["nnz"],)
        dtype = {"data": self.dtype, "indices": np.dtype(np.int32)}.get(part, np.dtype(np.int64))
        try:
            with path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, found = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
        except FileNotFoundError:
            raise damaged(path, "it is missing") from None
        except ValueError as error:
            raise damaged(path, f"it has no .npy header ({error})") from error
        if (shape, found) != (expected, dtype):
            raise damaged(
                path, f"it holds {shape} of {found}, but the manifest says {expected} of {dtype}"
            )
        size, wanted = path.stat().st_size, offset + expected[0] * dtype.itemsize
        if size != wanted:
            raise damaged(path, f"it has {size} bytes instead of {wanted}")
        return dtype, expected[0], offset
