"""Files of embeddings as row sources: .npy, .npz, .parquet, .zarr, .h5ad, and folders of shards."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._sharded_rows import ShardedRows
from skdict._validation import import_optional

# Bytes that are skipped at a time where a file can only be read forward.
_SKIPPED_BYTES = 2**20
# An array that lies in a .npz file column by column is read as a whole, up to this size.
_MOST_BYTES_BY_COLUMN = 2**30


@contextmanager
def open_embeddings(path, *, key=None, columns=None, features=None, note=None) -> Iterator:
    """Open embeddings that are read block by block.

    Parameters
    ----------
    path : str or Path
        A ``.npy``, ``.npz``, ``.parquet``, ``.zarr`` or ``.h5ad`` file, a folder of shards or a
        pattern of their names.
    key : str or None, default=None
        Name of the array: within ``.npz`` (needed if there are several) and zarr groups, of
        ``.h5ad`` a key of ``obsm``, or ``"X"``.
    columns : list of str or None, default=None
        Columns of parquet files, in this order.
    features : list of str or None, default=None
        Names of the features that are wanted, in their order. Columns are found by them wherever
        files have names and `columns` is None: in parquet files, and of ``.h5ad`` in ``X`` and
        tables of ``obsm``.
    note : callable or None, default=None
        Called with a line of text where `features` are wanted of files without names, whose
        columns are taken as they come.

    Returns
    -------
    context manager
        Gives the row source, and closes its file at the end.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or holds no such array, none of two dimensions, or not all of
        `columns` or `features`.
    ImportError
        If a package is missing that reads this kind of file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdict._embedding_files import open_embeddings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez_compressed(folder + "/rows.npz", embeddings=np.eye(3))
    ...     with open_embeddings(folder + "/rows.npz") as rows:
    ...         rows.shape, rows[1:2]
    ((3, 3), array([[0., 1., 0.]]))
    """
    path = Path(path)
    opened = {".npz": _open_npz, ".h5ad": _open_h5ad}.get(path.suffix)
    if opened is None:
        rows, has_names = _open_shards(path, key, columns or features, columns is not None)
        _tell(note, path, features, has_names)
        yield rows
        return
    if columns is not None:
        raise ValueError(f"columns are chosen of parquet files only, not of {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist")
    with opened(path, key, features) as (rows, has_names):
        _tell(note, path, features, has_names)
        yield rows


def _tell(note, path, features, has_names):
    """Say it if names were wanted that are not there."""
    if features is not None and not has_names and note is not None:
        note(
            f"{str(path)!r} has no names of features: its columns must be the {len(features)} of "
            f"the model in their order, {features[0]!r} to {features[-1]!r}"
        )


class _FileError(ValueError):
    """What is wrong with a file, in words that need no others around them."""


@contextmanager
def _reading(what, *passed):
    """Turn whatever a reader raises at a damaged file, which may be anything, into one error."""
    try:
        yield
    except (ImportError, PermissionError, _FileError, *passed):
        raise
    except MemoryError as error:
        raise _FileError(
            f"{what} does not fit into memory; write it as .npy, of which some rows are read at a "
            "time"
        ) from error
    except Exception as error:
        raise _FileError(
            f"{what} is damaged or of another kind ({type(error).__name__}: {error}); "
            "write it again"
        ) from error


class _Rows:
    """Rows of a reader of another package: some columns of them, dense, with errors of one kind."""

    def __init__(self, rows, what, *passed, columns=None):
        self._rows, self._what, self._passed, self._columns = rows, what, passed, columns
        n_features = rows.shape[1] if columns is None else len(columns)
        self.shape, self.dtype = (int(rows.shape[0]), int(n_features)), np.dtype(rows.dtype)

    def __getitem__(self, rows):
        with _reading(self._what, *self._passed):
            block = self._rows[rows.start : rows.stop]
            block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        return block if self._columns is None else block[:, self._columns]


def _open_shards(path, key, columns, are_asked_for):
    """Rows of files that ShardedRows reads, and whether their columns were found by names."""
    passed = OSError, ValueError  # these say already which file it is
    with _reading(repr(str(path)), *passed):
        rows = ShardedRows(path, columns=columns, key=key)
        kinds = {found.suffix for found in rows.paths}  # of files: the pattern need not say it
        if are_asked_for and ".parquet" not in kinds:
            raise ValueError(f"columns are chosen of parquet files only, not of {str(path)!r}")
        if key is not None and kinds <= {".npy", ".parquet"}:
            raise ValueError(f"{str(path)!r} holds one array, which has no key, got key={key!r}")
        return _Rows(rows, repr(str(path)), *passed), kinds == {".parquet"}


# ---------------------------------------------------------------------- .npz


@contextmanager
def _open_npz(path, key, features):
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise
    except Exception as error:  # of zipfile also NotImplementedError, ValueError and others
        raise ValueError(f"{str(path)!r} is no .npz file ({error}); write it again") from error
    with archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if {"indptr", "format", "shape"} <= set(names):
            raise ValueError(f"{str(path)!r} holds a sparse matrix; embeddings must be dense")
        if key is None and len(names) != 1:
            raise ValueError(f"{str(path)!r} holds {', '.join(names)}: choose one with a key")
        if key is not None and key not in names:
            raise ValueError(f"{str(path)!r} has no {key!r}; it holds {', '.join(names)}")
        rows = _NpzRows(path, archive, archive.namelist()[names.index(key or names[0])])
        try:
            yield rows, False
        finally:
            rows.file.close()


class _NpzRows:
    """An array in a .npz file, decompressed as it is read, forward."""

    def __init__(self, path, archive, member):
        self._archive, self._member = archive, member
        self._what, self._whole = f"{member} in {str(path)!r}", None
        self.file = None
        try:
            self._open()
            self._check(archive.getinfo(member).file_size)
        except BaseException:
            if self.file is not None:
                self.file.close()
            raise

    def _check(self, has):
        """Raise unless it is an array of numbers that can be read, of at most `has` bytes."""
        if len(self.shape) != 2 or self.dtype.kind not in "fiub":
            raise ValueError(
                f"{self._what} must be two-dimensional (rows, features) and hold numbers, got "
                f"shape {self.shape} of {self.dtype}"
            )
        n_bytes = self._bytes(self.shape[0])
        if min(self.shape) < 0 or n_bytes > has:
            raise ValueError(
                f"{self._what} is damaged: its header announces shape {self.shape} of "
                f"{self.dtype}, but it has {has} bytes; write it again"
            )
        if self._by_column and n_bytes > _MOST_BYTES_BY_COLUMN:
            raise ValueError(
                f"{self._what} has {n_bytes} bytes column by column, more than the "
                f"{_MOST_BYTES_BY_COLUMN} that are read at a time; save it as .npy, or in C order "
                "with np.ascontiguousarray"
            )

    def _open(self):
        header = np.lib.format
        with _reading(self._what):
            self.file = self._archive.open(self._member)
            version = header.read_magic(self.file)
            is_old = version == (1, 0)
            read = header.read_array_header_1_0 if is_old else header.read_array_header_2_0
            self.shape, self._by_column, self.dtype = read(self.file)
        self._row = 0

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        if self._by_column:  # its rows lie all over the file
            if self._whole is None:  # not earlier: by now it is known to have the right width
                values = np.frombuffer(self._read(self._bytes(self.shape[0])), self.dtype)
                self._whole = values.reshape(self.shape, order="F")
            return self._whole[start:stop]
        if start < self._row:
            self.file.close()
            self._open()
        ahead = self._bytes(start - self._row)
        while ahead:
            ahead -= len(self._read(min(ahead, _SKIPPED_BYTES)))
        block = np.frombuffer(self._read(self._bytes(stop - start)), self.dtype)
        self._row = stop
        return block.reshape(stop - start, self.shape[1])

    def _bytes(self, n_rows):
        return prod((n_rows, self.shape[1], self.dtype.itemsize))

    def _read(self, n_bytes):
        with _reading(self._what):
            content = self.file.read(n_bytes)
            if len(content) != n_bytes:
                raise ValueError("it ends too early")
        return content


# ---------------------------------------------------------------------- .h5ad


@contextmanager
def _open_h5ad(path, key, features):
    h5py = import_optional("h5py", extra="anndata")
    try:
        file = h5py.File(path, "r")
    except PermissionError:
        raise
    except Exception as error:
        raise ValueError(f"{str(path)!r} is no .h5ad file ({error}); write it again") from error
    with file:
        with _reading(repr(str(path))):
            rows, names = _h5ad_element(h5py, file, path, key, features)
            known = features is not None and names is not None and features != names
            columns = _found(path, features, names) if known else None
            rows = _Rows(rows, f"{key} of {str(path)!r}", columns=columns)
        yield rows, names is not None


def _h5ad_element(h5py, file, path, key, features):
    """An array, matrix or table of a file, and the names of its columns or None."""
    obsm = file.get("obsm")
    obsm = obsm if isinstance(obsm, h5py.Group) else {}
    keys = [*obsm, *(["X"] if "X" in file else [])]
    if key not in keys:
        found = "needs a key" if key is None else f"has no {key!r}"
        raise _FileError(f"{str(path)!r} {found}; it holds {', '.join(map(repr, keys))}")
    element = file["X"] if key == "X" else obsm[key]
    names = _names_of_variables(h5py, file) if key == "X" else None
    if not isinstance(element, h5py.Dataset):
        element, names = _decoded(path, key, element, names, features)
    if len(element.shape) != 2:
        raise _FileError(
            f"{key} of {str(path)!r} must be two-dimensional (rows, features), got shape "
            f"{element.shape}"
        )
    if names is not None and len(names) != element.shape[1]:
        raise _FileError(
            f"{key} of {str(path)!r} has {element.shape[1]} columns, but {len(names)} names"
        )
    return element, names


def _names_of_variables(h5py, file):
    """Names of the columns of X; None if there are none."""
    variables = file.get("var")
    if not isinstance(variables, h5py.Group) or "_index" not in variables.attrs:
        return None
    index = variables[variables.attrs["_index"]]
    if isinstance(index, h5py.Dataset):
        return index.asstr()[:].tolist()
    read = import_optional("anndata.io", extra="anndata").read_elem
    return [str(name) for name in read(index)]


def _decoded(path, key, group, names, features):
    """Rows of what h5ad files hold as a group, a sparse matrix or a table, and names of columns."""
    anndata = import_optional("anndata.io", extra="anndata")
    kind = group.attrs.get("encoding-type", "")
    if kind == "csr_matrix":
        return anndata.sparse_dataset(group), names
    if kind == "dataframe":
        table = anndata.read_elem(group)
        names = [str(name) for name in table.columns]
        if features is not None:  # what else is in the table need not be numbers
            table, names = table.iloc[:, _found(path, features, names)], features
        return table.to_numpy(), names
    raise _FileError(
        f"{key} of {str(path)!r} is a {kind or 'group'}, whose rows cannot be read in blocks; "
        "write it as a dense array"
    )


def _found(path, features, names):
    """Where features are among names; raise if they are not or are there twice."""
    count = Counter(names)
    wrong = [name for name in features if count[name] != 1]
    if wrong:
        raise _FileError(
            f"{str(path)!r} has {len(wrong)} of the {len(features)} features of the model not or "
            f"several times, {wrong[0]!r} for one; name its columns as those that the model was "
            "fitted on, or write them without names, as .npy, in their order"
        )
    places = {name: place for place, name in enumerate(names)}
    return [places[name] for name in features]
