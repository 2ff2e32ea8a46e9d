"""Parts of a result on disk, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np

_RECORD = "settings.json"


class SwapStore:
    """A folder with the arrays of the parts that are done, and what they were computed from.

    A file appears as a whole or not at all.

    Parameters
    ----------
    folder : path-like or None
        The folder; it is made where its parent exists. None keeps nothing.
    settings : dict
        What the result depends on, by name; strings, numbers and None.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, OSError
        If the folder cannot be used.
    ValueError
        If the folder holds the result of other settings, or something else.
    """

    def __init__(self, folder, settings: dict):
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"resume must name a folder, got the file {folder!s}")
        if not self.folder.parent.is_dir():
            raise FileNotFoundError(
                f"resume={str(folder)!r} lies in a folder that does not exist; create "
                f"{str(self.folder.parent)!r} first or choose another"
            )
        self.folder.mkdir(exist_ok=True)
        record = self.folder / _RECORD
        if record.exists():
            _check_settings(self.folder, json.loads(record.read_text("utf-8")), settings)
        elif any(self.folder.glob("*.npz")):
            raise ValueError(
                f"resume={str(folder)!r} holds other files and no {_RECORD}; choose an empty folder"
            )
        else:
            text = json.dumps(settings, indent=1)
            self._write(_RECORD, lambda file: file.write(text.encode()))

    def load(self, name: str) -> dict | None:
        """Arrays of a part, or None where it is not there."""
        if self.folder is None or not (self.folder / f"{name}.npz").exists():
            return None
        path = self.folder / f"{name}.npz"
        try:
            # opened here, because np.load leaves a file that it cannot read open
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
            raise ValueError(
                f"{str(path)!r} cannot be read ({error}); delete it, it is computed again"
            ) from error

    def save(self, name: str, arrays: dict) -> None:
        """Keep the arrays of a part."""
        if self.folder is not None:
            self._write(f"{name}.npz", lambda file: np.savez(file, **arrays))

    def _write(self, name: str, write) -> None:
        """Write a file beside its place and move it there."""
        assert self.folder is not None
        part = self.folder / f".{name}.{os.getpid()}.part"
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OSError(
                error.errno,
                f"{error.strerror or error}; could not write {name} to {str(self.folder)!r}, where "
                "all parts before it are safe: free some space and call again with the same "
                "arguments to go on",
            ) from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def digest(*arrays) -> str:
    """Short hash of the shapes, types and values of some arrays."""
    state = hashlib.sha256()
    for array in arrays:
        array = np.asarray(array)
        array = array.astype(str) if array.dtype == object else array  # not the addresses
        state.update(f"{array.dtype.str} {array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()[:16]


def _check_settings(folder: Path, known: dict, wanted: dict) -> None:
    """Raise ValueError naming what differs."""
    if known.get("pairs") != wanted.get("pairs"):
        # the counts are those of the cells in pairs: they differ with these
        wanted = {name: value for name, value in wanted.items() if name != "counts"}
    different = [
        f"{name} {known.get(name)!r} there and {value!r} here"
        for name, value in wanted.items()
        if known.get(name) != value
    ]
    different = [text.replace("pairs", "pairs, their null included,") if text.startswith("pairs")
                 else text for text in different]  # fmt: skip
    if different:
        raise ValueError(
            f"resume={str(folder)!r} holds a result of other inputs: {'; '.join(different)}. "
            "Choose another folder, or delete this one to start again"
        )
