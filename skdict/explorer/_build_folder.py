"""The folder of a bundle while it is written: beside its place, and moved there when whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from skdict._validation import check_boolean_or, import_optional
from skdict.explorer._bundle_format import (
    MANIFEST,
    PARTS,
    PICTURE_PARTS,
    expected_files,
    read_format,
)
from skdict.explorer._bundle_paths import BundleError
from skdict.explorer._bundle_tables import ROW_GROUP, schema_of


def check_target(path, overwrite: bool) -> Path:
    """Raise unless a bundle may be written at `path`; return the path.

    Parameters
    ----------
    path : str or Path
        The folder to write.
    overwrite : bool
        Whether a bundle that is there may be replaced.

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    FileExistsError
        If something is there that may not be replaced.
    FileNotFoundError
        If the folder to write it into does not exist.
    """
    check_boolean_or("overwrite", overwrite, ())
    path = Path(os.path.abspath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path {str(path)!r} lies in a folder that does not exist; create "
            f"{str(path.parent)!r} first or choose another"
        )
    if not os.path.lexists(path):
        return path
    if not overwrite:
        raise FileExistsError(
            f"path {str(path)!r} exists already; choose another, or replace a bundle with "
            "overwrite=True"
        )
    try:
        if path.is_symlink() or not path.is_dir():
            raise BundleError("it is no folder")
        read_format(path.resolve())
        strange = sorted(entry.name for entry in path.iterdir() if entry.name not in _OWN)
        if strange:
            raise BundleError(f"it holds other files, such as {strange[0]!r}")
    except BundleError as error:
        raise FileExistsError(
            f"path {str(path)!r} exists and is no concept bundle, so that overwrite=True does not "
            f"replace it ({error}); choose another path or remove it yourself"
        ) from error
    return path


# What a bundle has at its top; a folder with anything else is not replaced.
_FILES = expected_files(dict.fromkeys(PARTS, True), 1)
_OWN = {MANIFEST, *PICTURE_PARTS, *(name.split("/")[0] for name in _FILES)}


class BundleWriter:
    """Writes arrays and tables into the folder of a bundle.

    Parameters
    ----------
    folder : Path
        The folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def array(self, name: str, values, dtype) -> None:
        """Write an array."""
        np.save(self._path(name), np.ascontiguousarray(values, dtype=dtype), allow_pickle=False)

    def sparse(self, folder: str, matrix) -> None:
        """Write a compressed sparse matrix as three arrays."""
        self.array(f"{folder}/data.npy", matrix.data, np.float32)
        self.array(f"{folder}/indices.npy", matrix.indices, np.int32)
        self.array(f"{folder}/indptr.npy", matrix.indptr, np.int64)

    def json(self, name: str, value) -> None:
        """Write JSON."""
        self._path(name).write_text(json.dumps(value), encoding="utf-8")

    def columns(self, name: str, columns: dict, types: dict) -> None:
        """Write columns of given types as Parquet."""
        arrow = import_optional("pyarrow", extra="explorer")
        self.table(name, arrow.table({key: columns[key] for key in types}, schema=schema_of(types)))

    def table(self, name: str, table) -> None:
        """Write an Arrow table as Parquet."""
        parquet = import_optional("pyarrow.parquet", extra="explorer")
        parquet.write_table(table, self._path(name), row_group_size=ROW_GROUP)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
