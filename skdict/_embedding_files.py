"""Files of embeddings as row sources: .npy, .npz, .parquet, .zarr, .h5ad, and folders of shards."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from skdict._sharded_rows import ShardedRows
from skdict._validation import import_optional

# Bytes that are skipped at a time where a file can only be read forward.
_SKIPPED_BYTES = 2**20


@contextmanager
def open_embeddings(path, *, key=None, columns=None) -> Iterator:
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
        Columns of parquet files.

    Returns
    -------
    context manager
        Gives the row source, and closes its file at the end.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or holds no such array or none of two dimensions.
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
    if columns is not None and path.suffix in (".npy", ".npz", ".h5ad", ".zarr"):
        raise ValueError(f"columns are chosen of parquet files only, not of {str(path)!r}")
    if key is not None and path.suffix in (".npy", ".parquet"):
        raise ValueError(f"{str(path)!r} holds one array, which has no key, got key={key!r}")
    if path.suffix in (".npz", ".h5ad") and not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} does not exist")
    if path.suffix == ".npz":
        with _open_npz(path, key) as rows:
            yield rows
    elif path.suffix == ".h5ad":
        with _open_h5ad(path, key) as rows:
            yield rows
    else:
        yield ShardedRows(path, columns=columns, key=key)


# ---------------------------------------------------------------------- .npz


@contextmanager
def _open_npz(path, key):
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
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
        with rows.file:
            yield rows


class _NpzRows:
    """An array in a .npz file, decompressed as it is read, forward."""

    def __init__(self, path, archive, member):
        self.path, self._archive, self._member = path, archive, member
        self._open()
        if len(self.shape) != 2 or self.dtype.kind not in "fiub":
            raise ValueError(
                f"{member} in {str(path)!r} must be two-dimensional (rows, features) and hold "
                f"numbers, got shape {self.shape} of {self.dtype}"
            )
        self._whole = None
        if self._by_column:  # its rows lie all over the file
            values = np.frombuffer(self._read(self._bytes(self.shape[0])), self.dtype)
            self._whole = values.reshape(self.shape, order="F")

    def _open(self):
        header = np.lib.format
        with self._damage():
            self.file = self._archive.open(self._member)
            version = header.read_magic(self.file)
            is_old = version == (1, 0)
            read = header.read_array_header_1_0 if is_old else header.read_array_header_2_0
            self.shape, self._by_column, self.dtype = read(self.file)
        self._row = 0

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        if self._whole is not None:
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
        with self._damage():
            content = self.file.read(n_bytes)
            if len(content) != n_bytes:
                raise ValueError("it ends too early")
        return content

    @contextmanager
    def _damage(self):
        damages = (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
        try:
            yield
        except damages as error:
            raise ValueError(
                f"{self._member} in {str(self.path)!r} is damaged or of another kind ({error}); "
                "write it again"
            ) from error


# ---------------------------------------------------------------------- .h5ad


@contextmanager
def _open_h5ad(path, key):
    h5py = import_optional("h5py", extra="anndata")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{str(path)!r} is no .h5ad file ({error}); write it again") from error
    with file:
        keys = [*file.get("obsm", ()), *(["X"] if "X" in file else [])]
        if key not in keys:
            found = "needs a key" if key is None else f"has no {key!r}"
            raise ValueError(f"{str(path)!r} {found}; it holds {', '.join(map(repr, keys))}")
        element = file["X"] if key == "X" else file["obsm"][key]
        if not isinstance(element, h5py.Dataset):
            element = _decoded(path, key, element)
        if len(element.shape) != 2:
            raise ValueError(
                f"{key} of {str(path)!r} must be two-dimensional (rows, features), got shape "
                f"{element.shape}"
            )
        yield element


def _decoded(path, key, group):
    """Rows of what h5ad files hold as a group: a sparse matrix or a table."""
    anndata = import_optional("anndata.io", extra="anndata")
    kind = group.attrs.get("encoding-type", "")
    if kind == "csr_matrix":
        return _DenseRows(anndata.sparse_dataset(group))
    if kind == "dataframe":
        return anndata.read_elem(group).to_numpy()
    raise ValueError(
        f"{key} of {str(path)!r} is a {kind or 'group'}, whose rows cannot be read in blocks; "
        "write it as a dense array"
    )


class _DenseRows:
    """Rows of a sparse matrix on disk."""

    def __init__(self, rows):
        self._rows, self.shape, self.dtype = rows, tuple(rows.shape), np.dtype(rows.dtype)

    def __getitem__(self, rows):
        return self._rows[rows.start : rows.stop].toarray()
