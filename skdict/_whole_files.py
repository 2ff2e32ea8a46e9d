"""Files that are on the disk whole or not at all, and folders that one fit at a time writes to."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows: no lock between processes
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, bring it to the disk, and rename it.

    Parameters
    ----------
    path : Path
        Where it goes; what is there is replaced.
    content : bytes
        What it holds.

    Raises
    ------
    OSError
        If it cannot be written; what was at `path` is untouched.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and bring their names to the disk.

    Parameters
    ----------
    folder : Path
        It may be there.
    """
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:  # after a power cut, files in a folder without a name would be lost
        sync_folder(part.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    OSError
        If the disk fails.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


class _Claim(NamedTuple):
    """Who writes to a folder: the lock file, and a thread of a process."""

    descriptor: int | None
    process: int
    thread: int

    def is_alive(self) -> bool:
        return self.thread in {thread.ident for thread in threading.enumerate()}


# Claims of this process, by folder; after a fork also copies of those of the parent.
_claims: dict[str, _Claim] = {}


def claim_folder(folder: Path) -> None:
    """Make a folder and keep it for this thread until `release_folder` or the end of the process.

    A file with a lock of the system marks it, so that nothing is left to clean up after a kill.
    A claim of the same thread, or of one that has ended, is taken over.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    RuntimeError
        If another process, or another thread of this one, has it.
    OSError
        If it cannot be made or written to.
    """
    make_folder(folder)
    key = os.path.realpath(folder)
    mine = _Claim(None, os.getpid(), threading.get_ident())
    held = _claims.setdefault(key, mine)
    if held.process == mine.process and held.thread != mine.thread and held.is_alive():
        raise _in_use(folder, f"another thread of this process ({mine.process})")
    if held.process == mine.process and _is_file_of(folder / LOCK, held.descriptor):
        _claims[key] = held._replace(thread=mine.thread)
        return
    try:
        _claims[key] = mine._replace(descriptor=_lock(folder))
    except BaseException:
        del _claims[key]
        raise


def release_folder(folder: Path) -> None:
    """Let others have a folder; one that is empty is removed.

    Parameters
    ----------
    folder : Path
        The folder; it need not be claimed.
    """
    key = os.path.realpath(folder)
    held = _claims.get(key)
    if held is None or held.process != os.getpid():
        return
    if held.thread != threading.get_ident() and held.is_alive():
        return
    del _claims[key]
    with contextlib.suppress(OSError):
        if _is_file_of(folder / LOCK, held.descriptor):
            (folder / LOCK).unlink()
        folder.rmdir()  # refused by the system unless it is empty
    if held.descriptor is not None:
        os.close(held.descriptor)


def _lock(folder: Path) -> int | None:
    """Lock the file that marks a folder; its descriptor, None where the system has no locks."""
    if fcntl is None:
        return None
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # not flock: a forked child would hold it beyond the death of its parent
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 200).decode(errors="replace")
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise _in_use(folder, owner or "another process") from None
            return None  # some network file systems cannot
        if _is_file_of(path, descriptor):  # else its owner has just removed it
            break
        os.close(descriptor)
    with contextlib.suppress(OSError):  # a full disk: it is locked all the same
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _is_file_of(path: Path, descriptor: int | None) -> bool:
    """Whether a path still leads to the file that is open."""
    if descriptor is None:
        return fcntl is None
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _in_use(folder: Path, owner: str) -> RuntimeError:
    return RuntimeError(
        f"{owner} writes its checkpoints to {folder} at this moment: a fit of the same parameters "
        "and data. Wait until it is finished or end it, or give this fit another checkpoint folder"
    )
