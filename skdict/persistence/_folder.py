"""The folder of a model: its files, and writing it whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from pathlib import Path

from skdict._whole_files import make_folder, sync_folder, write_whole
from skdict.persistence._json_file import parse

FORMAT, SCHEMA = "skdict model", 1
MODEL, ARRAYS, CARD = "model.json", "arrays.safetensors", "README.md"
# A model file of more bytes is none: it holds no arrays.
LARGEST_MODEL_FILE = 2**24
_START = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + b'"')
# What renaming a folder onto a folder with files, or onto a file, leads to.
_IN_THE_WAY = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
# Two processes that overwrite one model all the time need some.
_ATTEMPTS = 50


def check_place(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError where something is in the way.

    Parameters
    ----------
    path : Path
        Where a folder is to be written.
    overwrite : bool
        Whether a model may be there.
    """
    if _is_current(path):
        raise FileExistsError(
            f"path={str(path)!r} is the current folder or one above it, which cannot be replaced; "
            "give the name of a folder in it"
        )
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # others have just moved it: look again
            return _check_what_is_there(path, overwrite)
    raise FileExistsError(f"path={str(path)!r} cannot be looked at; choose another one")


def _check_what_is_there(path, overwrite):
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir() or not is_model_folder(path):
        raise FileExistsError(
            f"path={str(path)!r} is there and is no model of skdict, or holds other files too; "
            "choose another one"
        )
    if not overwrite:
        raise FileExistsError(
            f"path={str(path)!r} holds a model; give another one, or overwrite=True"
        )


def is_model_folder(path: Path) -> bool:
    """Whether a folder holds a model and nothing else.

    Parameters
    ----------
    path : Path
        The folder.
    """
    names = {entry.name for entry in path.iterdir()}
    return MODEL in names and names <= {MODEL, ARRAYS, CARD} and _is_model_file(path / MODEL)


def _is_model_file(file):
    """Whether a file says that it is of this format; a damaged one says so at its beginning."""
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for
        return False
    with file.open("rb") as opened:
        content = opened.read(LARGEST_MODEL_FILE)
    try:
        record = parse(content)
    except (ValueError, RecursionError):
        return _START.match(content) is not None
    return isinstance(record, dict) and record.get("format") == FORMAT


def _is_current(path):
    """Whether a path is the current folder, which would move along, or one above it."""
    try:
        current = Path.cwd()
    except FileNotFoundError:
        return False
    path = Path(os.path.realpath(path))
    return path == current or path in current.parents


def write_folder(path: Path, files: dict[str, bytes], *, overwrite: bool = False) -> None:
    """Write a folder beside its place and rename it.

    Parameters
    ----------
    path : Path
        The folder; a symbolic link stays, and the folder that it leads to is written.
    files : dict of str to bytes
        Contents by name.
    overwrite : bool, default=False
        Whether a model that is there is replaced: it is moved aside before. Otherwise nothing is
        moved.

    Raises
    ------
    FileExistsError
        If something is in the way, also if it came meanwhile.
    OSError
        If it cannot be written; what was there is untouched.
    """
    path = Path(os.path.realpath(path))
    beside = _neighbour(path, "new")
    moved: list[Path] = []
    try:
        make_folder(path.parent)
        beside.mkdir()
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_dir() else None
        if mode is not None:
            beside.chmod(mode | stat.S_IRWXU)
        for file, content in files.items():
            write_whole(beside / file, content)
        if mode is not None:
            beside.chmod(mode)
        _put(beside, path, overwrite, moved)
    except OSError as error:
        left = ", ".join(repr(str(aside)) for aside in moved if aside.exists())
        if error.errno is None and not left:  # of check_place
            raise
        untouched = f"what was there lies in {left}" if left else "where nothing was changed"
        raise OSError(
            error.errno or errno.EEXIST,
            f"{error.strerror or error}; could not write the model to {str(path)!r}, {untouched}: "
            "free some space, or choose another path",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(path.parent)
    for aside in moved:
        _remove_model(aside)


def _neighbour(path, ending):
    """A name beside a path that no other process has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")


def _put(beside, path, overwrite, moved):
    """Rename a folder to its place; models that are moved aside for it are added to `moved`.

    The system renames a folder onto nothing or an empty folder. Another process may save at any
    time: what came between looking and renaming is looked at again.
    """
    try:
        for _ in range(_ATTEMPTS):
            check_place(path, overwrite)
            if overwrite:
                _move_aside(path, moved)
            if os.name == "nt":  # where nothing is renamed onto an empty folder
                with contextlib.suppress(OSError):
                    path.rmdir()
            try:
                beside.rename(path)
                return
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
        raise FileExistsError(
            f"path={str(path)!r} is written by others all the time; wait for them"
        )
    except BaseException:
        if moved:
            # Refused by the system if another model is there by now.
            with contextlib.suppress(OSError):
                moved[-1].rename(path)
        raise


def _move_aside(path, moved):
    aside = _neighbour(path, "old")
    with contextlib.suppress(FileNotFoundError):  # another process has just moved it
        if any(path.iterdir()):
            path.rename(aside)
            moved.append(aside)


def _remove_model(folder):
    """Remove the files of a model and their folder, which stays if others have come into it."""
    with contextlib.suppress(OSError):
        folder.chmod(stat.S_IRWXU)
        for name in (MODEL, ARRAYS, CARD):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
