"""The folder of static pages: written beside its place, and moved there when whole."""

from __future__ import annotations

import re
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
