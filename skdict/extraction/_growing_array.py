"""An .npy file to which rows are appended, readable after every checkpoint.

It is written with ordinary writes: on a full disk these are an error that can be caught, where
writing to a memory map would end the process.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class GrowingArray:
    """Rows appended to an .npy file of which only the first axis grows.

    Parameters
    ----------
    path : Path
        The file, made if it is not there.
    row_shape : tuple of int
        Shape of a row.
    dtype : str
        Type of its values.
    n_rows : int
        Rows that the file holds already; what comes after them is overwritten.

    Raises
    ------
    OSError
        If the file cannot be written, or another process is writing it.
    ValueError
        If it holds fewer rows, or other ones, than it should.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: str, n_rows: int):
        self.path, self.row_shape = path, row_shape
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.n_rows = n_rows
        self.row_bytes = self.dtype.itemsize * int(np.prod(row_shape))
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
        if not n_rows:
            flags |= os.O_CREAT
        elif not path.exists():
            raise self._damaged(n_rows)
        descriptor = os.open(path, flags, 0o666)
        # Unbuffered: what was written is in the file, and nothing is left to fail on closing.
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            _lock(self._file, path)
            if n_rows:
                self._check_content(n_rows)
        except BaseException:
            self._file.close()
            raise

    def append(self, rows: np.ndarray) -> None:
        """Write rows behind the others."""
        view = np.ascontiguousarray(rows, dtype=self.dtype).reshape(-1).view(np.uint8).data
        self._file.seek(len(self._header(0)) + self.n_rows * self.row_bytes)
        _write(self._file, view)
        self.n_rows += rows.shape[0]

    def cut(self, n_rows: int) -> None:
        """Keep only the first rows, on disk, and say so in the header."""
        header = self._header(n_rows)
        self._file.truncate(len(header) + n_rows * self.row_bytes)
        os.fsync(self._file.fileno())  # rows first: the header never promises what is not there
        self._file.seek(0)
        _write(self._file, header)
        os.fsync(self._file.fileno())
        self.n_rows = n_rows

    def close(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _header(self, n_rows) -> bytes:
        """Header of so many rows; NumPy leaves room in it, so that its length stays the same."""
        buffer = io.BytesIO()
        shape = (n_rows, *self.row_shape)
        fields = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(buffer, fields)
        return buffer.getvalue()

    def _check_content(self, n_rows) -> None:
        """Raise ValueError unless the file is such an array with at least so many rows."""
        size = os.fstat(self._file.fileno()).st_size
        wanted = len(self._header(n_rows)) + n_rows * self.row_bytes
        try:
            self._file.seek(0)
            np.lib.format.read_magic(self._file)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(self._file)
            same = (shape[1:], fortran_order, dtype) == (self.row_shape, False, self.dtype)
        except ValueError:
            same = False
        if not same or size < wanted:
            raise self._damaged(n_rows)

    def _damaged(self, n_rows) -> ValueError:
        """Error that says what the file should be."""
        return ValueError(
            f"{str(self.path)!r} was changed or damaged: it should hold {n_rows} rows of shape "
            f"{self.row_shape} in {self.dtype}; delete the files of these tokens and collect them "
            "again"
        )


def _write(file, content) -> None:
    """Write all of it: an unbuffered file may take a part at a time."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _lock(file, path) -> None:
    """Raise OSError when another process is writing this file; the lock ends with the process."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(
            error.errno, f"{str(path)!r} is being written by another process; wait for it, or "
            "choose another output"
        ) from error  # fmt: skip
    except OSError:
        pass  # a file system without locks
