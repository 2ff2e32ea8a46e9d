"""Reading the files of one folder, even if another one takes its place meanwhile."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from skdict.persistence._errors import ModelFileError
from skdict.persistence._folder import MODEL

Result = TypeVar("Result")
# Who saves with overwrite=True moves the old folder aside: for a moment there is none. The waits
# between attempts double, to an eighth of a second in all.
_ATTEMPTS = 7
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


class FolderChangedError(ModelFileError):
    """The files were changed while they were read."""


class _GoneError(FileNotFoundError):
    """A folder is not there, or no longer, or it is not known whether it is the same."""


@contextmanager
def opened_folder(folder: Path) -> Iterator[Callable[[str], BinaryIO]]:
    """Give a function that opens files of a folder, always of the same one.

    A folder that is open stays the same if it is renamed and another one takes its place. Where
    the system opens no folders, files are opened by their paths.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If it is not there; from the function, if there is no such file.
    """
    descriptor = None
    try:
        if os.open in os.supports_dir_fd:
            # O_PATH needs no permission to list the folder.
            descriptor = _opened(folder, getattr(os, "O_PATH", 0) | os.O_DIRECTORY, None, MODEL)
        yield functools.partial(_open_file, folder, descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_file(folder, folder_descriptor, name):
    path = folder / name if folder_descriptor is None else Path(name)
    # A pipe would be waited for without O_NONBLOCK.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = _opened(path, flags, folder_descriptor, name, folder)
    except _GoneError as error:
        if folder_descriptor is not None and _is_at(folder, folder_descriptor):
            # It is whole when it comes to its place: waiting does not help.
            raise FileNotFoundError(str(error)) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(str(_missing(folder, name)))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _opened(path, flags, folder_descriptor, name, folder=None):
    """Descriptor of a file, or of a folder in which a file of this name is looked for."""
    try:
        return os.open(path, os.O_RDONLY | flags, dir_fd=folder_descriptor)
    except OSError as error:
        if error.errno in _MISSING:
            raise _missing(folder or path, name) from None
        raise
    except ValueError:  # a null character
        raise _missing(folder or path, name) from None


def _is_at(folder, descriptor):
    """Whether a path leads to the folder that is open."""
    try:
        return os.path.samestat(os.stat(folder), os.fstat(descriptor))
    except OSError:
        return False


def _missing(folder, name):
    if name == MODEL:
        return _GoneError(f"path={str(folder)!r} holds no model of skdict: {name} is missing")
    return _GoneError(f"{folder / name} is missing: copy the whole folder")


def patiently(read: Callable[[], Result]) -> Result:
    """Result of a function that reads files; it is called again while they are replaced.

    Parameters
    ----------
    read : callable
        Without arguments.

    Raises
    ------
    FileNotFoundError, FolderChangedError
        If the last of some attempts does.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return read()
        except (_GoneError, FolderChangedError):
            time.sleep(2**attempt / 1000)
    try:
        return read()
    except _GoneError as error:
        raise FileNotFoundError(str(error)) from None
