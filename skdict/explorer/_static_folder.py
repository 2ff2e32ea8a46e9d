"""The folder of static pages: written beside its place, and moved there when whole."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

MARK = '<meta name="generator" content="skdict static pages">'
_OURS = re.compile(r"index\.html|concept-\d+\.html|pictures")


def check_folder(path: Path) -> None:
    """Raise unless pages may be written to a folder: a new one, or one of earlier pages.

    Parameters
    ----------
    path : Path
        The folder.

    Raises
    ------
    FileExistsError
        If something else is there.
    FileNotFoundError
        If the folder to write it into does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path {str(path)!r} lies in a folder that does not exist; create "
            f"{str(path.parent)!r} first or choose another"
        )
    if not path.exists() and not path.is_symlink():
        return
    index = path / "index.html"
    ours = path.is_dir() and not path.is_symlink() and index.is_file()
    if ours:
        strange = [entry.name for entry in path.iterdir() if not _OURS.fullmatch(entry.name)]
        ours = not strange and MARK in index.read_text(encoding="utf-8", errors="replace")[:4000]
    if not ours:
        raise FileExistsError(
            f"path {str(path)!r} exists and is no folder of such pages, or holds other files, so "
            "that it is not replaced; choose another path or remove it yourself"
        )


@contextmanager
def folder_beside(path: Path):
    """Give a new folder, and move it to `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Where it goes.

    Yields
    ------
    Path
        The new folder. It is removed if the block fails; what was at `path` is unchanged then.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        folder = scratch / "new"
        folder.mkdir()  # with the permissions that any new folder gets
        yield folder
        check_folder(path)  # it may have come into being in the meantime
        try:
            if path.exists():
                path.replace(scratch / "old")
            folder.replace(path)
        except BaseException:  # a key pressed between the two, too
            if (scratch / "old").exists() and not path.exists():
                (scratch / "old").replace(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
