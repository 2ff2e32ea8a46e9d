"""Files of a bundle, checked before they are used: size, checksum, type and shape."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._bundle_format import expected_files, read_manifest
from skdict.explorer._bundle_paths import BundleError, file_record, safe_path

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_PICTURE = 1 << 24  # bytes
_LONGEST_SIDE = 4096  # pixels
_ROW_BYTES, _TABLE_BYTES = 1 << 16, 1 << 26  # how much a table may take unpacked


class BundleFiles:
    """The files of one bundle.

    Parameters
    ----------
    path : str or Path
        The folder.

    Attributes
    ----------
    root : Path
        The folder, resolved.
    manifest : dict
        Its manifest, checked.
    """

    def __init__(self, path):
        root = Path(path)
        if not root.is_dir():
            kind = "is not a folder" if root.exists() else "does not exist"
            raise BundleError(f"path must be the folder of a bundle, but {str(root)!r} {kind}")
        self.root = root.resolve()
        self.manifest = read_manifest(self.root)
        self._checked: set[str] = set()
        self.check_sizes()

    @property
    def names(self) -> list[str]:
        """Files that must be there, without the pictures."""
        return expected_files(self.manifest["parts"], len(self.manifest["label_columns"]))

    def check_sizes(self) -> None:
        """Raise unless all files are there with the sizes that the manifest lists."""
        for name in self.names:
            wanted, size = self.manifest["files"][name]["bytes"], self._path(name).stat().st_size
            if size != wanted:
                word = "truncated" if size < wanted else "changed"
                raise self.error(name, f"is {word}: {size} bytes instead of {wanted}")

    def check(self, name: str, *, again: bool = False) -> Path:
        """Path of a file, after its checksum was compared (once, or `again`)."""
        path = self._path(name)
        if again or name not in self._checked:
            if file_record(path)["sha256"] != self.manifest["files"][name]["sha256"]:
                raise self.error(name, "was changed after it was written: its checksum differs")
            self._checked.add(name)
        return path

    def array(self, name: str, shape: tuple, dtype) -> np.ndarray:
        """Memory map of an array.

        Parameters
        ----------
        name : str
            Name of the file.
        shape : tuple of (int or None)
            Shape that it must have; None where any length is right.
        dtype : dtype
            Type that it must have.

        Returns
        -------
        ndarray
            The array, read-only.

        Raises
        ------
        BundleError
            If checksum, type or shape differ, or the array would need pickle.
        """
        path = self.check(name)
        try:
            if 0 in shape:  # nothing that could be mapped
                with path.open("rb") as file:
                    array = np.lib.format.read_array(file, allow_pickle=False)
            else:
                array = np.lib.format.open_memmap(path, mode="r")  # refuses objects
        except (ValueError, OSError, EOFError, SyntaxError) as error:
            raise self.error(name, f"cannot be read as an array ({error})") from error
        fits = array.ndim == len(shape) and array.dtype == np.dtype(dtype)
        if not fits or any(want not in (None, got) for want, got in zip(shape, array.shape)):
            got = f"{array.dtype} {array.shape}"
            raise self.error(name, f"must hold {np.dtype(dtype)} {shape}, got {got}")
        array.flags.writeable = False
        return array

    def parquet(self, name: str, n_rows: int | None = None, **options):
        """Opened Parquet file, with a bound on what it unpacks to.

        Parameters
        ----------
        name : str
            Name of the file.
        n_rows : int or None, default=None
            Rows that it must have; None leaves them unchecked.
        **options : dict
            Further arguments of ``pyarrow.parquet.ParquetFile``.

        Returns
        -------
        pyarrow.parquet.ParquetFile
            The file.

        Raises
        ------
        BundleError
            If checksum or number of rows differ, or it is no Parquet file.
        """
        import_optional("pyarrow", extra="explorer")
        parquet = import_optional("pyarrow.parquet", extra="explorer")
        path = self.check(name)
        with self.reading(name):
            file = parquet.ParquetFile(path, **options)
        meta = file.metadata
        if n_rows is not None and meta.num_rows != n_rows:
            raise self.error(name, f"must have {n_rows} rows, got {meta.num_rows}")
        unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if unpacked > _TABLE_BYTES + _ROW_BYTES * meta.num_rows:
            raise self.error(name, f"takes {unpacked} bytes unpacked for {meta.num_rows} rows")
        return file

    def json(self, name: str):
        """Contents of a JSON file."""
        try:
            return json.loads(self.check(name).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            if isinstance(error, BundleError):
                raise
            raise self.error(name, f"cannot be read as JSON ({error})") from error

    def picture(self, name: str) -> bytes | None:
        """Bytes of a PNG file; None where there is none.

        Parameters
        ----------
        name : str
            Name of the file.

        Returns
        -------
        bytes or None
            The picture.

        Raises
        ------
        BundleError
            If it is no PNG, too large, or reached through a link that leads out of the folder.
        """
        path = self.root / name
        if not path.exists() and not path.is_symlink():
            return None
        path = self._path(name)
        if path.stat().st_size > _LARGEST_PICTURE:
            raise self.error(name, f"is larger than {_LARGEST_PICTURE} bytes")
        content = path.read_bytes()
        if len(content) < 33 or content[:8] != _PNG or content[12:16] != b"IHDR":
            raise self.error(name, "is no PNG picture")
        width, height = struct.unpack(">II", content[16:24])
        if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
            raise self.error(name, f"has {width} x {height} pixels, at most {_LONGEST_SIDE} a side")
        return content

    def error(self, name: str, reason: str) -> BundleError:
        """An error that names file, folder and remedy."""
        return BundleError(
            f"{name} of the bundle {str(self.root)!r} {reason}; copy the folder again or build it "
            "anew"
        )

    def reading(self, name: str):
        """Context that turns errors of pyarrow into a BundleError."""
        return _Reading(self, name)

    def _path(self, name: str) -> Path:
        return safe_path(self.root, name)


class _Reading:
    """What pyarrow and pandas raise on damaged files, as a BundleError."""

    def __init__(self, files: BundleFiles, name: str):
        self.files, self.name = files, name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        # ArrowInvalid is a ValueError, ArrowKeyError a KeyError, ArrowNotImplementedError ...
        expected = (ValueError, KeyError, OSError, NotImplementedError, TypeError)
        if isinstance(error, expected) and not isinstance(error, BundleError):
            raise self.files.error(self.name, f"cannot be read as a table ({error})") from error
        return False
