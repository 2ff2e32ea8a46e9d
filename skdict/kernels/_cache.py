"""Where compiled code goes if package and home folder cannot be written to."""

from __future__ import annotations

import importlib
import os
import stat
import tempfile
import threading
import warnings
from pathlib import Path
from types import ModuleType
from unittest import mock

import numba
from numba.core.dispatcher import Dispatcher

_lock = threading.RLock()


def private_folder() -> str | None:
    """Folder for temporary files that no other user can write to; None if there is none.

    Compiled code is loaded from it and run, so a folder that somebody else has made is refused.
    The name is fixed, so that the next process finds what this one has compiled.
    """
    owner = getattr(os, "getuid", lambda: None)()
    try:
        folder = Path(tempfile.gettempdir()) / f"skdict-cache-{owner}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        private = stat.S_ISDIR(found.st_mode) and (
            owner is None or (found.st_uid == owner and not found.st_mode & 0o077)
        )
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return str(folder) if private else None


def import_with_cache_elsewhere(name: str) -> ModuleType:
    """Import a module of kernels with the cache in a temporary folder, or with none.

    Parameters
    ----------
    name : str
        Full name of the module.

    Returns
    -------
    module
        The module.

    Warns
    -----
    UserWarning
        If no folder can be written to, so that each process compiles anew.
    """
    with _lock:
        folder = private_folder()
        if folder is not None:
            with mock.patch.object(numba.config, "CACHE_DIR", folder):
                return importlib.import_module(name)
        warnings.warn(
            "no folder for compiled code can be written to, so every process compiles the kernels "
            "anew (tens of seconds); set the environment variable NUMBA_CACHE_DIR to a folder "
            "that can",
            stacklevel=4,
        )
        with mock.patch.object(Dispatcher, "enable_caching", lambda dispatcher: None):
            return importlib.import_module(name)
