"""One JSON file per piece of work, so that a killed run goes on where it stopped.

A file's name is a digest of everything its result depends on: the kind of work with its settings,
the data, the version of skdict, and the code that computes it. Comments, formatting and docstrings
are not part of that code: editing them repeats nothing.
"""

import ast
import hashlib
import json
import os
import tempfile
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import numpy as np

import skdict

SKDICT = Path(skdict.__file__).parent
# What shows results, and what runs on other devices: no number of the study depends on it.
WITHOUT_NUMBERS = (
    "_demo/*",
    "_explore_command.py",
    "cli.py",
    "display/*",
    "effects/*",
    "explorer/*",
    "kernels/_numba_permutation.py",
    "kernels/_permutation.py",
    "kernels/_torch*",
    "kernels/_triton*",
    "report.py",
)


class Cache:
    """Results in a folder.

    Parameters
    ----------
    folder : str or Path
        Created when the first result is stored.
    fresh : bool, default=False
        Do not read what was stored before.
    """

    def __init__(self, folder, *, fresh=False):
        self.folder = Path(folder)
        self.written = set() if fresh else None

    def path(self, key):
        """File of a result.

        Parameters
        ----------
        key : dict
            All that the result depends on; what JSON can hold.
        """
        digest = hashlib.sha256(dump(key).encode()).hexdigest()[:32]
        return self.folder / f"{key['kind']}-{digest}.json"

    def read(self, key):
        """Stored result, or None if there is none that can be read."""
        path = self.path(key)
        if self.written is not None and path not in self.written:
            return None
        try:
            return json.loads(path.read_text())["result"]
        except (FileNotFoundError, json.JSONDecodeError, KeyError):
            return None

    def write(self, key, result):
        """Store a result; a reader sees the whole file or none."""
        path = self.path(key)
        write_json({"key": key, "result": result}, path)
        if self.written is not None:
            self.written.add(path)


def write_json(content, path):
    """Write a JSON file in one step: another process sees the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}", suffix=".tmp")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(dump(content))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def dump(content):
    """JSON text, with sorted keys; arrays and NumPy numbers become plain ones, NaN null."""
    return json.dumps(plain(content), sort_keys=True, separators=(",", ":"))


def plain(value):
    """Turn what NumPy holds into what JSON can hold."""
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def fingerprint(*arrays):
    """Digest of arrays: shape, type and content."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        if array.dtype.kind in "OU":
            array = np.char.encode(array.astype(str), "utf8")
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def source_digest(paths):
    """Digest of the code in Python files, without comments and docstrings."""
    digest = hashlib.sha256()
    for path in paths:
        tree = ast.parse(Path(path).read_text())
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body:
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


@lru_cache
def library_digest():
    """Digest of skdict's code behind the numbers, as it is when the process starts."""
    return source_digest(library_files())


def library_files():
    """Files of skdict that a number of the study may depend on, in order."""
    names = {path: path.relative_to(SKDICT).as_posix() for path in SKDICT.rglob("*.py")}
    return sorted(
        path
        for path, name in names.items()
        if not any(fnmatch(name, pattern) for pattern in WITHOUT_NUMBERS)
    )
