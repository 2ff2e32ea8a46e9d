"""Sparse codes on disk: more of them than fit into memory, written and read block by block.

A store is a folder with ``codes.json``, which lists the shards, and three ``.npy`` files for each
shard: ``data``, ``indices`` (int32) and ``indptr`` (int64, counted from the shard's first entry).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._validation import check_integer

FORMAT = "skdict-codes"
VERSION = 1
MANIFEST = "codes.json"

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_PARTS = ("data", "indices", "indptr")
_INT32_MAX = 2**31 - 1

# Entries copied at a time: bounds what a write or a check needs besides.
_CHUNK_ENTRIES = 2**22

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
    if not (path / MANIFEST).exists() and (_beside(path) / MANIFEST).exists():
        folder = _beside(path)
    manifest = _read_manifest(folder)
    if not manifest["complete"] and not allow_unfinished:
        raise ValueError(
            f"the codes in {str(folder)!r} are unfinished: {_total(manifest, 'n_rows')} rows were "
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
        self.shape = _total(manifest, "n_rows"), manifest["n_components"]
        self.dtype = np.dtype(manifest["dtype"])
        self.nnz = _total(manifest, "nnz")
        self._starts = [0]
        for shard in manifest["shards"]:
            self._starts.append(self._starts[-1] + shard["n_rows"])
        self._open: dict[int, tuple] = {}
        for number in range(self.n_shards):
            for part in _PARTS:
                self._header(number, part)

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
            for part, array in zip(_PARTS, self._arrays(number)):
                crc = 0
                for start in range(0, len(array), _CHUNK_ENTRIES):
                    crc = zlib.crc32(array[start : start + _CHUNK_ENTRIES].data, crc)
                if crc != shard["crc32"][part]:
                    raise _damaged(
                        self.path / _file(number, part), "its contents differ from what was written"
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
        index = np.int32 if max(int(rows[-1]), self.shape[1]) <= _INT32_MAX else np.int64
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
            raise _damaged(
                self.path / _file(number, "indices"), f"it names atoms beyond {self.shape[1]}"
            )

    def _arrays(self, number: int) -> tuple:
        """Memory maps of data, indices and row pointers of a shard."""
        if number not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open = {}
            arrays = tuple(self._map(number, part) for part in _PARTS)
            indptr, nnz = arrays[2], self._manifest["shards"][number]["nnz"]
            if indptr[0] != 0 or indptr[-1] != nnz or (indptr[1:] < indptr[:-1]).any():
                raise _damaged(self.path / _file(number, "indptr"), "row pointers are out of order")
            self._open = self._open | {number: arrays}
            return arrays
        return self._open[number]

    def _map(self, number: int, part: str):
        dtype, n, offset = self._header(number, part)
        if n == 0:
            return np.empty(0, dtype)
        return np.memmap(self.path / _file(number, part), dtype, "r", offset, (n,))

    def _header(self, number: int, part: str):
        """Check a file against the manifest without reading it; give dtype, length and offset."""
        path = self.path / _file(number, part)
        shard = self._manifest["shards"][number]
        expected = (shard["n_rows"] + 1 if part == "indptr" else shard["nnz"],)
        dtype = {"data": self.dtype, "indices": np.dtype(np.int32)}.get(part, np.dtype(np.int64))
        try:
            with path.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, found = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
        except FileNotFoundError:
            raise _damaged(path, "it is missing") from None
        except ValueError as error:
            raise _damaged(path, f"it has no .npy header ({error})") from error
        if (shape, found) != (expected, dtype):
            raise _damaged(
                path, f"it holds {shape} of {found}, but the manifest says {expected} of {dtype}"
            )
        size, wanted = path.stat().st_size, offset + expected[0] * dtype.itemsize
        if size != wanted:
            raise _damaged(path, f"it has {size} bytes instead of {wanted}")
        return dtype, expected[0], offset


class CodeWriter:
    """Write codes to disk block by block, as many as there are.

    They are written to a folder beside `path`, named ``<path>.unfinished``, which is renamed when
    the ``with`` block ends without an error: what is at `path` is always complete. When it is
    interrupted, what was written stays in that folder and can be continued.

    Parameters
    ----------
    path : path-like
        The folder that comes into being.
    n_components : int
        Number of atoms: columns of the codes.
    dtype : dtype, default=None
        Type of the values, float32 or float64; None takes that of the first block.
    rows_per_shard : int, default=262144
        Rows of a shard. What a shard holds is safe as soon as the next one begins.
    overwrite : bool, default=False
        Replace codes that are at `path` when the new ones are complete, and drop unfinished ones.
    resume : bool, default=False
        Go on behind the rows that an interrupted writer left; there need not be any. `n_rows`
        says how many they are.

    Attributes
    ----------
    n_rows : int
        Rows written so far; of an interrupted writer, those that are safe.
    nnz : int
        Entries written so far.
    path : Path
        Where the codes will be.

    Raises
    ------
    FileExistsError
        If there are codes at `path`, or unfinished ones beside it, or the folder is something else.
    ValueError
        If `resume` finds codes of another width or dtype.
    OSError
        If the disk is full; the message says what is safe.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skdict import CodeWriter, load_codes
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "codes"
    >>> with CodeWriter(path, 3) as writer:
    ...     for _ in range(4):
    ...         writer.write(sparse.csr_array(np.eye(3, dtype=np.float32)))
    >>> codes = load_codes(path)
    >>> codes.shape, codes.nnz
    ((12, 3), 12)
    >>> codes[4:6].toarray()
    array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path,
        n_components: int,
        *,
        dtype=None,
        rows_per_shard: int = 2**18,
        overwrite: bool = False,
        resume: bool = False,
    ):
        check_integer("n_components", n_components, 1)
        check_integer("rows_per_shard", rows_per_shard, 1)
        if n_components > _INT32_MAX:
            raise ValueError(f"n_components must be below 2**31, got {n_components}")
        if dtype is not None and np.dtype(dtype) not in _FLOATS:
            raise ValueError(f"dtype must be float32, float64 or None, got {dtype!r}")
        self.path, self.n_components = Path(path), int(n_components)
        self.dtype = None if dtype is None else np.dtype(dtype)
        self.rows_per_shard, self.overwrite = int(rows_per_shard), overwrite
        self._folder, self._shards = _beside(self.path), []
        self._shard: _ShardFiles | None = None
        self._is_open = False
        self._check_place()
        if (self._folder / MANIFEST).exists():
            self._take_over(resume)

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return _sum(self._shards, "n_rows") + (0 if self._shard is None else self._shard.n_rows)

    @property
    def nnz(self) -> int:
        """Entries written so far."""
        return _sum(self._shards, "nnz") + (0 if self._shard is None else self._shard.nnz)

    def __enter__(self):
        self._folder.mkdir(exist_ok=True)
        kept = {_file(number, part) for number in range(len(self._shards)) for part in _PARTS}
        for path in self._folder.glob("*.npy"):
            if path.name not in kept:
                path.unlink()
        self._is_open = True
        self._explained(self._write_manifest)
        return self

    def __exit__(self, kind, error, traceback):
        self._is_open = False
        if kind is None:
            self._explained(self._finish)
            return
        try:
            self._close_shard()
        except OSError:
            pass  # the disk is full: what the manifest lists stands

    def write(self, codes) -> None:
        """Append rows.

        Parameters
        ----------
        codes : sparse matrix or array, or ndarray, of shape (n_rows, n_components)
            Codes.

        Raises
        ------
        ValueError
            If they have another number of columns, or a dtype that would lose precision.
        OSError
            If the disk is full.
        """
        if not self._is_open:
            raise ValueError("write must be called within the with block of the CodeWriter")
        codes = self._checked(codes)
        done = 0
        while done < codes.shape[0]:
            if self._shard is None:
                self._explained(self._open_shard)
            free = self.rows_per_shard - self._shard.n_rows
            block = codes if not done and free >= codes.shape[0] else codes[done : done + free]
            self._explained(lambda block=block: self._shard.append(block))
            done += block.shape[0]
            if self._shard.n_rows >= self.rows_per_shard:
                self._explained(self._close_shard)

    def _checked(self, codes) -> sparse.csr_array:
        """Codes as CSR of the right width and dtype."""
        codes = sparse.csr_array(codes)
        if codes.shape[1] != self.n_components:
            raise ValueError(
                f"codes must have n_components={self.n_components} columns, got {codes.shape[1]}"
            )
        if self.dtype is None:
            if codes.dtype not in _FLOATS:
                raise ValueError(f"codes must be float32 or float64, got {codes.dtype}")
            self.dtype = codes.dtype
        if not np.can_cast(codes.dtype, self.dtype, "same_kind"):
            raise ValueError(f"codes must be {self.dtype} or smaller, got {codes.dtype}")
        return codes

    def _check_place(self) -> None:
        """Raise unless the folder may be written."""
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"path={str(self.path)!r} lies in a folder that does not exist; create "
                f"{str(self.path.parent)!r} first"
            )
        for folder in (self.path, self._folder):
            if folder.exists() and not _is_store(folder):
                raise FileExistsError(
                    f"{str(folder)!r} is there and holds no codes, so that it is not overwritten; "
                    "choose another path or delete it"
                )
        if self.path.exists() and not self.overwrite and any(self.path.iterdir()):
            raise FileExistsError(
                f"path={str(self.path)!r} holds codes; choose another path or set overwrite=True"
            )

    def _take_over(self, resume: bool) -> None:
        """Go on with the shards of an interrupted writer; raise if they are in the way."""
        if not resume and self.overwrite:
            return
        manifest = _read_manifest(self._folder)
        if not manifest["shards"]:
            return
        if not resume:
            raise FileExistsError(
                f"{str(self._folder)!r} holds {_total(manifest, 'n_rows')} rows of an interrupted "
                "writer; set resume=True to go on behind them or overwrite=True to drop them"
            )
        store = StoredCodes(self._folder, manifest)
        wanted = self.n_components, self.dtype or store.dtype
        if (store.shape[1], store.dtype) != wanted:
            raise ValueError(
                f"resume=True found unfinished codes with n_components={store.shape[1]}, "
                f"dtype={store.dtype}, but {wanted[0]}, {wanted[1]} are asked for; set "
                "resume=False and overwrite=True to drop them"
            )
        self.dtype, self._shards = store.dtype, manifest["shards"]

    def _open_shard(self) -> None:
        assert self.dtype is not None
        self._shard = _ShardFiles(self._folder, len(self._shards), self.dtype)

    def _close_shard(self) -> None:
        """End the current shard and list it."""
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        entry = shard.close()
        if entry["n_rows"]:
            self._shards.append(entry)
            self._write_manifest()

    def _finish(self) -> None:
        """Close the last shard and move the folder to its place."""
        self._close_shard()
        self._write_manifest(complete=True)
        old = self.path.with_name(f".{self.path.name}.old")
        if self.path.exists():
            if old.exists():  # left when a writer was ended between these lines
                shutil.rmtree(old)
            self.path.rename(old)
        try:
            self._folder.rename(self.path)
        except BaseException:
            if old.exists() and not self.path.exists():
                old.rename(self.path)
            raise
        if old.exists():
            shutil.rmtree(old)
        _sync_folder(self.path.parent)

    def _write_manifest(self, complete: bool = False) -> None:
        """Replace the list of shards as a whole."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "complete": complete,
            "n_rows": _sum(self._shards, "n_rows"),
            "n_components": self.n_components,
            "nnz": _sum(self._shards, "nnz"),
            "dtype": (self.dtype or _FLOATS[0]).name,
            "shards": self._shards,
        }
        part = self._folder / f".{MANIFEST}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / MANIFEST)
        _sync_folder(self._folder)

    def _explained(self, action) -> None:
        """Do something that writes; an error gets the path and what is safe."""
        try:
            action()
        except OSError as error:
            if self._shard is not None:
                self._shard.remove()
                self._shard = None
            raise OSError(
                error.errno,
                f"{error.strerror or error}; could not write codes to {str(self._folder)!r}, where "
                f"{_sum(self._shards, 'n_rows')} rows are safe: free some space and go on behind "
                "them with CodeWriter(..., resume=True), or choose another path",
            ) from error


class _ShardFiles:
    """The three files of a shard while they grow."""

    def __init__(self, folder: Path, number: int, dtype: np.dtype):
        self.folder, self.number, self.dtype = folder, number, dtype
        self.n_rows = self.nnz = 0
        self.is_torn = False  # an append was interrupted
        self.ends: list[np.ndarray] = [np.zeros(1, np.int64)]
        self.growing = [_GrowingNpy(folder / _file(number, "data"), dtype)]
        self.growing += [_GrowingNpy(folder / _file(number, "indices"), np.dtype(np.int32))]

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
            indptr = _GrowingNpy(self.folder / _file(self.number, "indptr"), np.dtype(np.int64))
            self.growing.append(indptr)
            indptr.append(np.concatenate(self.ends))
            for growing in self.growing:
                growing.finish()
        except BaseException:
            self.remove()
            raise
        crc = {part: growing.crc for part, growing in zip(_PARTS, self.growing)}
        return {"n_rows": self.n_rows, "nnz": self.nnz, "crc32": crc}

    def remove(self) -> None:
        """Delete the files, which frees their space."""
        for growing in self.growing:
            growing.remove()


class _GrowingNpy:
    """A one-dimensional .npy file that is appended to; its header gets the length at the end."""

    def __init__(self, path: Path, dtype: np.dtype):
        self.path, self.dtype, self.n, self.crc = path, dtype, 0, 0
        self.file = path.open("w+b")
        self._write_header()
        self.offset = self.file.tell()

    def append(self, values: np.ndarray) -> None:
        for start in range(0, len(values), _CHUNK_ENTRIES):
            chunk = np.ascontiguousarray(values[start : start + _CHUNK_ENTRIES], self.dtype)
            self.file.write(chunk.data)
            self.crc = zlib.crc32(chunk.data, self.crc)
            self.n += len(chunk)

    def cut(self, n: int) -> None:
        """Keep the first n values, whatever was written behind them."""
        self.file.truncate(self.offset + n * self.dtype.itemsize)
        self.file.seek(self.offset)
        self.n, self.crc = n, 0
        for start in range(0, n, _CHUNK_ENTRIES):
            chunk = np.fromfile(self.file, self.dtype, min(n - start, _CHUNK_ENTRIES))
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


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _file(number: int, part: str) -> str:
    return f"{number:06d}_{part}.npy"


def _sum(shards: list[dict], name: str) -> int:
    return sum(shard[name] for shard in shards)


def _total(manifest: dict, name: str) -> int:
    return _sum(manifest["shards"], name)


def _is_store(folder: Path) -> bool:
    """Whether a folder is empty or holds codes, also half written ones."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    return MANIFEST in names or names <= {f".{MANIFEST}.part"}


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{str(path)!r} is damaged: {reason}; copy it again from where it is whole, or write the "
        "codes anew"
    )


def _read_manifest(folder: Path) -> dict:
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
        raise _damaged(path, f"it cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, f"its format is not {FORMAT!r}")
    if not _is_count(manifest.get("version"), 1):
        raise _damaged(path, "version must be a number")
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
        raise _damaged(path, "complete must be true or false")
    if not _is_count(manifest.get("n_components"), 1):
        raise _damaged(path, "n_components must be a number of at least 1")
    if manifest.get("dtype") not in [dtype.name for dtype in _FLOATS]:
        raise _damaged(path, f"dtype must be float32 or float64, got {manifest.get('dtype')!r}")
    shards = manifest.get("shards")
    if not isinstance(shards, list):
        raise _damaged(path, "shards must be a list")
    for number, shard in enumerate(shards):
        good = isinstance(shard, dict) and isinstance(shard.get("crc32"), dict)
        good = good and all(_is_count(shard.get(name), 0) for name in ("n_rows", "nnz"))
        if not good or not all(_is_count(shard["crc32"].get(part), 0) for part in _PARTS):
            raise _damaged(path, f"shard {number} must have n_rows, nnz and crc32 of its files")
    for name in ("n_rows", "nnz"):
        if manifest.get(name) != _total(manifest, name):
            raise _damaged(path, f"{name} is not the sum over shards")


def _is_count(value, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
