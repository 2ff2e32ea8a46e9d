"""Files in the folder of a bundle: found without leaving it, and their checksums."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


class BundleError(ValueError):
    """A folder is not a concept bundle that can be read: the message says why and what helps.

    Raised for a folder without a manifest, another format, a newer version, files that are
    missing, truncated or changed, links that lead out of the folder, and contents that do not fit
    the numbers of samples and concepts.

    See Also
    --------
    open_bundle : Raises it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import BundleError, open_bundle
    >>> with TemporaryDirectory() as folder:
    ...     try:
    ...         open_bundle(folder)
    ...     except BundleError as error:
    ...         print("no manifest.json" in str(error))
    True
    """


def safe_path(root: Path, name: str) -> Path:
    """Path of a file in the folder; raise unless it is a regular file that lies in it.

    Parameters
    ----------
    root : Path
        The folder, resolved.
    name : str
        Name of the file, from this module.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BundleError
        If it is missing, no regular file, or reached through a link that leads out of the folder.
    """
    path = root / name
    try:
        real = path.resolve(strict=True)
        kind = real.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise BundleError(
            f"{name} is missing from the bundle {str(root)!r} ({error}): the folder was not copied "
            "whole; copy it again or build it anew"
        ) from error
    if not real.is_relative_to(root):
        raise BundleError(
            f"{name} of the bundle {str(root)!r} is a link that leads out of the folder; it is not "
            "followed: copy the file itself into the folder, or do not use this bundle"
        )
    if not stat.S_ISREG(kind):
        raise BundleError(f"{name} of the bundle {str(root)!r} is no file; build the bundle anew")
    return path


def file_record(path: Path) -> dict:
    """Size and SHA-256 of a file, as the manifest lists them."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def folder_record(root: Path, part: str) -> dict:
    """Number, size and SHA-256 over names and contents of the pictures in a folder.

    Parameters
    ----------
    root : Path
        The bundle.
    part : str
        The folder in it.

    Returns
    -------
    dict
        ``number``, ``bytes`` and ``sha256``.

    Raises
    ------
    BundleError
        If a file is no regular file or leads out of the bundle.
    """
    digest, number, size = hashlib.sha256(), 0, 0
    names = []
    for folder, _, files in os.walk(root / part):  # does not follow links to folders
        relative = Path(folder).relative_to(root).as_posix()
        names += [f"{relative}/{file}" for file in files]
    for name in sorted(names):
        content = safe_path(root, name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
        number, size = number + 1, size + len(content)
    return {"number": number, "bytes": size, "sha256": digest.hexdigest()}
