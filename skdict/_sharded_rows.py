"""Rows in many files on disk as one array that is read range by range."""

from __future__ import annotations

import glob
import re
import threading
from numbers import Integral
from pathlib import Path

import numpy as np

from skdict._validation import import_optional

SUFFIXES = (".npy", ".parquet", ".zarr")

# Files open at a time: systems allow about a thousand to a process.
_MOST_OPEN = 64


class ShardedRows:
    """Rows in ``.npy``, ``.parquet`` and ``.zarr`` files, one below the other, as one array.

    Only headers are read at first. The dictionaries and the whitener read it block by block, in
    `fit` as in `transform`; see the notes for what else is a row source.

    Parameters
    ----------
    paths : path-like or list of path-like
        A folder, a pattern such as ``"embeddings/*.npy"``, one file, or a list of files. The files
        of a folder or pattern are sorted by name with numbers as numbers (``part2`` before
        ``part10``); those of a list keep their order. Files of other kinds in a folder are passed
        over.
    columns : list of str, default=None
        Columns of the parquet files, in this order. None takes all, which must be numeric then.
    key : str, default=None
        Name of the array within zarr groups, such as ``"embeddings"`` or ``"obsm/X_scvi"``.

    Attributes
    ----------
    shape : tuple of int
        ``(n_rows, n_features)``.
    dtype : dtype
        Type of the rows that are read: float64 if one of the files has it, otherwise float32.
        float16 and integers are converted to float32, which is exact up to 2**24.
    ndim : int
        2.
    nbytes : int
        Bytes of all rows in memory.
    chunks : tuple of int
        Rows that are best read together, and `n_features`; the largest row group or zarr chunk,
        1 row if all files are ``.npy``.
    paths : list of Path
        The files.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or none in the folder or of the pattern.
    ValueError
        If a file is truncated, not two-dimensional or of a kind that is not known; if files have
        different numbers of columns, or columns that are not numeric.
    ImportError
        If pyarrow (extra ``io``) or zarr (extra ``streaming``) is needed and not installed.

    Notes
    -----
    Index it with a slice of step 1, with integers in ascending order or with a boolean mask. A
    slice within one ``.npy`` file is a view of its memory map; all else is read into a new array.
    ``np.asarray(rows)`` reads everything.

    A row group of a parquet file is read as a whole, and the last one is kept: write groups of some
    megabytes. ``.npy`` files in Fortran order are read slowly.

    It can be pickled, which stores the paths: another process opens the files anew.

    `fit` takes any object with ``shape``, ``dtype`` and ``source[start:stop]`` in the same way;
    arrays of zarr, h5py and dask are such objects.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from skdict import ShardedRows
    >>> folder = tempfile.TemporaryDirectory()
    >>> for i in range(3):
    ...     np.save(Path(folder.name) / f"part{i}.npy", np.full((2, 4), i, np.float16))
    >>> X = ShardedRows(folder.name)
    >>> X
    ShardedRows(3 files, shape=(6, 4), dtype=float32)
    >>> X[1:3]
    array([[0., 0., 0., 0.],
           [1., 1., 1., 1.]], dtype=float32)
    >>> folder.cleanup()
    """

    ndim = 2

    def __init__(self, paths, *, columns=None, key=None):
        self.columns = None if columns is None else [str(name) for name in columns]
        self.key = key
        self.paths = _listed(paths)
        self._shards = [_open(path, self.columns, key) for path in self.paths]
        for path, shard in zip(self.paths, self._shards):
            if shard.shape[1] != self._shards[0].shape[1]:
                raise ValueError(
                    f"all files must have the same number of columns, but {str(self.paths[0])!r} "
                    f"has {self._shards[0].shape[1]} and {str(path)!r} has {shard.shape[1]}"
                )
        ends = np.cumsum([shard.shape[0] for shard in self._shards], dtype=np.int64)
        self._starts = np.concatenate([[0], ends])
        self.shape = int(ends[-1]), int(self._shards[0].shape[1])
        is_double = any(shard.dtype.itemsize >= 8 and shard.dtype.kind == "f"
                        for shard in self._shards)  # fmt: skip
        self.dtype = np.dtype(np.float64 if is_double else np.float32)
        self.chunks = max(shard.chunk_rows for shard in self._shards), self.shape[1]
        self._lock = threading.Lock()
        for shard in self._shards:
            shard.close()

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        n = len(self.paths)
        files = "1 file" if n == 1 else f"{n} files"
        return f"ShardedRows({files}, shape={self.shape}, dtype={self.dtype})"

    def __getstate__(self):
        state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("ShardedRows cannot become an array without reading its files")
        rows = np.array(self[:])  # a view of a memory map is copied too
        return rows if dtype is None else rows.astype(dtype, copy=False)

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step != 1:
                raise IndexError(f"ShardedRows takes slices of step 1, got {rows}; read a range")
            return self._range(start, max(start, stop))
        return self._picked(self._ascending(rows))

    def _range(self, start: int, stop: int) -> np.ndarray:
        """Contiguous rows."""
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        if first < len(self._shards) and stop <= self._starts[first + 1]:
            offset = int(self._starts[first])
            return self._read(first, start - offset, stop - offset)
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        for number, low, high in self._overlaps(start, stop):
            offset = int(self._starts[number])
            out[low - start : high - start] = self._read(number, low - offset, high - offset)
        return out

    def _overlaps(self, start, stop):
        """Files that rows are in, with the first row and the one behind the last in each."""
        for number, (low, high) in enumerate(zip(self._starts[:-1], self._starts[1:])):
            low, high = max(start, int(low)), min(stop, int(high))
            if low < high:
                yield number, low, high

    def _picked(self, rows: np.ndarray) -> np.ndarray:
        """Rows of ascending numbers."""
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        places = np.searchsorted(rows, self._starts)
        for number, (low, high) in enumerate(zip(places[:-1], places[1:])):
            if low < high:
                inside = rows[low:high] - self._starts[number]
                out[low:high] = self._pick(number, inside)
        return out

    def _ascending(self, rows) -> np.ndarray:
        """Row numbers of an index array or mask; raise unless they are valid."""
        if isinstance(rows, Integral) or isinstance(rows, tuple) or rows is None:
            raise IndexError(
                f"ShardedRows takes a slice of rows or ascending row numbers, got {rows!r}; write "
                "X[i : i + 1] for one row, and choose columns afterwards"
            )
        rows = np.asarray(rows)
        if rows.dtype == np.bool_ and rows.shape == self.shape[:1]:
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.empty(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise IndexError(
                f"row numbers must be a one-dimensional array of integers, or a mask of "
                f"{self.shape[0]} entries; got shape {rows.shape}, dtype {rows.dtype}"
            )
        rows = rows.astype(np.int64)
        if rows[0] < 0 or (rows[1:] < rows[:-1]).any() or rows[-1] >= self.shape[0]:
            raise IndexError(
                f"row numbers must ascend from 0 to at most {self.shape[0] - 1}, got "
                f"{rows.min()} to {rows.max()}; sort them with np.sort"
            )
        return rows

    def _read(self, number: int, start: int, stop: int) -> np.ndarray:
        with self._lock:
            rows = self._opened(number).read(start, stop)
        return np.asarray(rows).astype(self.dtype, copy=False)

    def _pick(self, number: int, rows: np.ndarray) -> np.ndarray:
        with self._lock:
            return self._opened(number).pick(rows)

    def _opened(self, number: int):
        """A shard, which it is time to open; others are closed when too many are."""
        shard = self._shards[number]
        if shard.is_closed:
            open_ones = [other for other in self._shards if not other.is_closed]
            if len(open_ones) >= _MOST_OPEN:
                for other in open_ones:
                    other.close()
        return shard


# ---------------------------------------------------------------------- which files


def _listed(paths) -> list[Path]:
    """Files that `paths` names."""
    if isinstance(paths, (str, Path)) or hasattr(paths, "__fspath__"):
        found = _found(Path(paths))
    else:
        found = [Path(path) for path in paths]
        for path in found:
            if not path.exists():
                raise FileNotFoundError(f"paths holds {str(path)!r}, but there is no such file")
    if not found:
        raise FileNotFoundError(
            f"paths={paths!s}: no {', '.join(SUFFIXES)} file is there; name files, a folder that "
            "holds them or a pattern such as 'embeddings/*.npy'"
        )
    return found


def _found(path: Path) -> list[Path]:
    """Files of one path: a file, a folder or a pattern."""
    if _is_zarr(path) or path.is_file():
        return [path]
    if path.is_dir():
        inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
        inside = [entry for entry in inside if entry.suffix in SUFFIXES or _is_zarr(entry)]
    else:
        inside = [Path(name) for name in glob.glob(str(path), recursive=True)]
    return sorted(inside, key=_natural)


def _natural(path: Path):
    """Sorts part2 before part10."""
    return [
        [
            (1, int(text), "") if text.isdigit() else (0, 0, text)
            for text in re.split(r"(\d+)", part)
        ]
        for part in path.parts
    ]


def _is_zarr(path: Path) -> bool:
    names = "zarr.json", ".zarray", ".zgroup"
    return path.is_dir() and (path.suffix == ".zarr" or any((path / n).exists() for n in names))


# ---------------------------------------------------------------------- kinds of files


def _open(path: Path, columns, key):
    """Shard of a file."""
    if _is_zarr(path):
        return _ZarrShard(path, key)
    if path.suffix == ".npy":
        return _NpyShard(path)
    if path.suffix == ".parquet":
        return _ParquetShard(path, columns)
    raise ValueError(
        f"{str(path)!r} must be a {', '.join(SUFFIXES)} file; convert it, or write a class with "
        "shape, dtype and source[start:stop]"
    )


def _check_shard(path: Path, shape, dtype) -> None:
    """Raise unless a file holds a table of numbers."""
    if len(shape) != 2:
        raise ValueError(f"{str(path)!r} must be two-dimensional (rows, features), got {shape}")
    if np.dtype(dtype).kind not in "fiub":
        raise ValueError(f"{str(path)!r} must hold numbers, got dtype {dtype}")


class _NpyShard:
    """A .npy file, as a memory map."""

    chunk_rows = 1

    def __init__(self, path: Path):
        self.path, self._map = path, None
        header = np.lib.format
        try:
            with path.open("rb") as file:
                version = header.read_magic(file)
                read = (
                    header.read_array_header_1_0
                    if version == (1, 0)
                    else header.read_array_header_2_0
                )
                self.shape, self.is_fortran, self.dtype = read(file)
                self.offset = file.tell()
        except ValueError as error:
            raise ValueError(
                f"{str(path)!r} is no .npy file or truncated ({error}); write it again"
            ) from error
        _check_shard(path, self.shape, self.dtype)
        self._check_size()

    def _check_size(self):
        expected = self.offset + self.shape[0] * self.shape[1] * self.dtype.itemsize
        size = self.path.stat().st_size
        if size < expected:
            raise ValueError(
                f"{str(self.path)!r} is truncated: its header announces shape {self.shape} of "
                f"{self.dtype}, {expected} bytes, but it has {size}; write or copy it again"
            )

    @property
    def is_closed(self):
        return self._map is None

    def close(self):
        self._map = None  # unmapped when no view is left

    def __getstate__(self):
        return self.__dict__ | {"_map": None}

    def read(self, start, stop):
        if 0 in self.shape:
            return np.empty((stop - start, self.shape[1]), self.dtype)
        if self._map is None:
            self._check_size()  # a file cut since then would end the process at the first access
            order = "F" if self.is_fortran else "C"
            self._map = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
        return self._map[start:stop]

    def pick(self, rows):
        return self.read(0, self.shape[0])[rows]


class _ParquetShard:
    """A .parquet file, read by row groups."""

    def __init__(self, path: Path, columns):
        self.path, self._file = path, None
        self._group = -1, np.empty((0, 0))
        schema = self._opened().schema_arrow
        names = schema.names if columns is None else columns
        missing = [name for name in names if name not in schema.names]
        if missing:
            raise ValueError(
                f"columns {missing} are not in {str(path)!r}, which has {_few(schema.names)}"
            )
        types = import_optional("pyarrow", extra="io").types
        wrong = [
            name
            for name in names
            for kind in [schema.field(name).type]
            if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind))
        ]
        if wrong:
            raise ValueError(
                f"columns {_few(wrong)} of {str(path)!r} are not numeric; choose others with "
                "columns=[...]"
            )
        self.names = list(names)
        dtypes = {schema.field(name).type.to_pandas_dtype() for name in names}
        self.dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
        meta = self._opened().metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self.ends = np.cumsum(sizes, dtype=np.int64)
        self.shape = meta.num_rows, len(names)
        self.chunk_rows = max(sizes, default=1)

    def _opened(self):
        if self._file is None:
            parquet = import_optional("pyarrow.parquet", extra="io")
            try:
                self._file = parquet.ParquetFile(self.path)
            except (ValueError, OSError) as error:  # pyarrow's own errors are ValueErrors
                raise ValueError(
                    f"{str(self.path)!r} is no parquet file or truncated ({error}); write it again"
                ) from error
        return self._file

    @property
    def is_closed(self):
        return self._file is None

    def close(self):
        if self._file is not None:
            self._file.close()
        self._file, self._group = None, (-1, np.empty((0, 0)))

    def __getstate__(self):
        return self.__dict__ | {"_file": None, "_group": (-1, np.empty((0, 0)))}

    def read(self, start, stop):
        out = np.empty((stop - start, self.shape[1]), self._number_type())
        first = int(np.searchsorted(self.ends, start, "right"))
        for number in range(first, len(self.ends)):
            begin = int(self.ends[number - 1]) if number else 0
            low, high = max(start, begin), min(stop, int(self.ends[number]))
            if low >= high:
                break
            out[low - start : high - start] = self._read_group(number)[low - begin : high - begin]
        return out

    def pick(self, rows):
        out = np.empty((len(rows), self.shape[1]), self._number_type())
        groups = np.searchsorted(self.ends, rows, "right")
        for number in np.unique(groups).tolist():
            inside = groups == number
            begin = int(self.ends[number - 1]) if number else 0
            out[inside] = self._read_group(number)[rows[inside] - begin]
        return out

    def _number_type(self):
        is_double = self.dtype.kind == "f" and self.dtype.itemsize == 8
        return np.float64 if is_double else np.float32

    def _read_group(self, number: int) -> np.ndarray:
        """A row group; the last one is kept, as blocks are often smaller."""
        if self._group[0] != number:
            self._group = -1, np.empty((0, 0))  # not in memory while the next one is read
            table = self._opened().read_row_group(number, columns=self.names, use_threads=False)
            # Columns are written as rows and turned at the end: that is much faster.
            rows = np.empty((self.shape[1], table.num_rows), self._number_type())
            for place, name in enumerate(self.names):
                rows[place] = table.column(name).to_numpy()
            self._group = number, np.ascontiguousarray(rows.T)
        return self._group[1]


class _ZarrShard:
    """A zarr array in a folder."""

    def __init__(self, path: Path, key):
        self.path, self.key, self._array = path, key, None
        array = self._opened()
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)
        _check_shard(path, self.shape, self.dtype)
        self.chunk_rows = int((getattr(array, "shards", None) or array.chunks)[0])

    def _opened(self):
        if self._array is None:
            zarr = import_optional("zarr", extra="streaming")
            try:
                node = zarr.open(str(self.path), mode="r")
            except (FileNotFoundError, ValueError, KeyError) as error:
                raise ValueError(f"{str(self.path)!r} is no zarr array ({error})") from error
            self._array = self._array_of(node)
        return self._array

    def _array_of(self, node):
        if not hasattr(node, "array_keys"):
            return node
        if self.key is None or self.key not in node:
            names = sorted(node.array_keys())
            raise ValueError(
                f"key must name an array of the zarr group {str(self.path)!r}, got {self.key!r}; "
                f"it has {_few(names)}"
            )
        return self._array_of_key(node[self.key])

    def _array_of_key(self, node):
        if hasattr(node, "array_keys"):
            raise ValueError(
                f"key={self.key!r} is a group of {str(self.path)!r}, not an array; it has "
                f"{_few(sorted(node.array_keys()))}"
            )
        return node

    @property
    def is_closed(self):
        return self._array is None

    def close(self):
        self._array = None

    def __getstate__(self):
        return self.__dict__ | {"_array": None}

    def read(self, start, stop):
        return self._opened()[start:stop]

    def pick(self, rows):
        return self._opened().oindex[rows]


def _few(names) -> str:
    """The first names of many."""
    listed = ", ".join(repr(name) for name in list(names)[:8])
    return (listed or "none") + (f" and {len(names) - 8} more" if len(names) > 8 else "")
