"""Files that belong together, written all or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def check_writable(path: Path) -> None:
    """Raise OSError unless a file can be written at `path`; nothing that is there is touched."""
    if path.is_dir():
        raise IsADirectoryError(f"the output path {str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the output path {str(path)!r} lies in a folder that does not exist; create "
            f"{str(path.parent)!r} first or choose another"
        )
    try:
        if path.exists():
            with path.open("ab"):
                pass
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise OSError(
            f"the output path {str(path)!r} cannot be written ({error.strerror or error}); "
            "choose another folder or ask for write access"
        ) from error


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files; on an error (a full disk) all files that were there before are kept.

    Everything is written and flushed under other names first, so that what can fail fails before
    the first old file is replaced.
    """
    scratch = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in contents}
    try:
        for path, content in contents.items():
            with scratch[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in scratch.items():
            part.replace(path)
    except OSError as error:
        for part in scratch.values():
            part.unlink(missing_ok=True)
        names = ", ".join(repr(str(path)) for path in contents)
        raise OSError(
            error.errno, f"{error.strerror or error}; could not write {names}: free some space or "
            "choose another folder, and save again"
        ) from error  # fmt: skip
