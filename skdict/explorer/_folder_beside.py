"""A folder that is there whole or not at all: written beside its place, and moved there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def folder_beside(path: Path, check: Callable[[], object]):
    """Give a new folder beside `path`, and move it to `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Where the folder goes; what is there is replaced.
    check : callable
        Raises if what is at `path` may not be replaced. Called when the block has ended, since
        it may have come into being in the meantime.

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
        check()
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
