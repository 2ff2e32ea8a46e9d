"""The folder of a model: its files, and writing it whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from skdict._whole_files import make_folder, sync_folder, write_whole

FORMAT, SCHEMA = "skdict model", 1
MODEL, ARRAYS, CARD = "model.json", "arrays.safetensors", "README.md"
# A model file of more bytes is none: it holds no arrays.
LARGEST_MODEL_FILE = 2**24


def check_place(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError where something is in the way.

    Parameters
    ----------
    path : Path
        Where a folder is to be written.
    overwrite : bool
        Whether a model may be there.
    """
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
    return MODEL in names and names <= {MODEL, ARRAYS, CARD}


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    """Write a folder beside its place and rename it; one that is there is moved aside before.

    Parameters
    ----------
    path : Path
        The folder; a symbolic link stays, and the folder that it leads to is written.
    files : dict of str to bytes
        Contents by name.

    Raises
    ------
    OSError
        If it cannot be written; what was there is untouched.
    """
    path = Path(os.path.realpath(path))
    name = f".{path.name}.{secrets.token_hex(4)}"  # several processes may save at a time
    beside, aside = path.with_name(f"{name}.new"), path.with_name(f"{name}.old")
    try:
        make_folder(path.parent)
        beside.mkdir()
        for file, content in files.items():
            write_whole(beside / file, content)
        if path.exists():
            path.rename(aside)
        try:
            beside.rename(path)
        except BaseException:
            if aside.exists():
                aside.rename(path)
            raise
    except OSError as error:
        untouched = f"what was there lies in {str(aside)!r}" if aside.exists() else "where nothing"
        untouched += "" if aside.exists() else " was changed"
        raise OSError(
            error.errno,
            f"{error.strerror or error}; could not write the model to {str(path)!r}, {untouched}: "
            "free some space, or choose another path",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)
