"""Sparse codes written to disk block by block, and complete or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._code_files import (
    FLOATS,
    FORMAT,
    INT32_MAX,
    MANIFEST,
    PARTS,
    VERSION,
    ShardFiles,
    beside,
    file_name,
    is_store,
    read_manifest,
    sum_over,
    total,
)
from skdict._code_store import StoredCodes
from skdict._validation import check_integer
from skdict._whole_files import sync_folder


class CodeWriter:
    """Write codes to disk block by block, as many as there are.

    They are written to a folder beside `path`, named ``<path>.unfinished``, which is renamed when
    the ``with`` block ends without an error: what is at `path` is always complete. When it is
    interrupted, what was written stays in that folder and can be continued.

    Parameters
    ----------
    path : path-like
        The folder that comes into being.
    n_components : int
        Number of atoms: columns of the codes.
    dtype : dtype, default=None
        Type of the values, float32 or float64; None takes that of the first block.
    rows_per_shard : int, default=262144
        Rows of a shard. What a shard holds is safe as soon as the next one begins.
    overwrite : bool, default=False
        Replace codes that are at `path` when the new ones are complete, and drop unfinished ones.
    resume : bool, default=False
        Go on behind the rows that an interrupted writer left; there need not be any. `n_rows`
        says how many they are.

    Attributes
    ----------
    n_rows : int
        Rows written so far; of an interrupted writer, those that are safe.
    nnz : int
        Entries written so far.
    path : Path
        Where the codes will be.

    Raises
    ------
    FileExistsError
        If there are codes at `path`, or unfinished ones beside it, or the folder is something else.
    ValueError
        If `resume` finds codes of another width or dtype.
    OSError
        If the disk is full; the message says what is safe.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skdict import CodeWriter, load_codes
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "codes"
    >>> with CodeWriter(path, 3) as writer:
    ...     for _ in range(4):
    ...         writer.write(sparse.csr_array(np.eye(3, dtype=np.float32)))
    >>> codes = load_codes(path)
    >>> codes.shape, codes.nnz
    ((12, 3), 12)
    >>> codes[4:6].toarray()
    array([[0., 1., 0.],
           [0., 0., 1.]], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path,
        n_components: int,
        *,
        dtype=None,
        rows_per_shard: int = 2**18,
        overwrite: bool = False,
        resume: bool = False,
    ):
        check_integer("n_components", n_components, 1)
        check_integer("rows_per_shard", rows_per_shard, 1)
        if n_components > INT32_MAX:
            raise ValueError(f"n_components must be below 2**31, got {n_components}")
        if dtype is not None and np.dtype(dtype) not in FLOATS:
            raise ValueError(f"dtype must be float32, float64 or None, got {dtype!r}")
        self.path, self.n_components = Path(path), int(n_components)
        self.dtype = None if dtype is None else np.dtype(dtype)
        self.rows_per_shard, self.overwrite = int(rows_per_shard), overwrite
        self._folder, self._shards = beside(self.path), []
        self._shard: ShardFiles | None = None
        self._is_open = False
        self._check_place()
        if (self._folder / MANIFEST).exists():
            self._take_over(resume)

    @property
    def n_rows(self) -> int:
        """Rows written so far."""
        return sum_over(self._shards, "n_rows") + (0 if self._shard is None else self._shard.n_rows)

    @property
    def nnz(self) -> int:
        """Entries written so far."""
        return sum_over(self._shards, "nnz") + (0 if self._shard is None else self._shard.nnz)

    def __enter__(self):
        self._folder.mkdir(exist_ok=True)
        kept = {file_name(number, part) for number in range(len(self._shards)) for part in PARTS}
        for path in self._folder.glob("*.npy"):
            if path.name not in kept:
                path.unlink()
        self._is_open = True
        self._explained(self._write_manifest)
        return self

    def __exit__(self, kind, error, traceback):
        self._is_open = False
        if kind is None:
            self._explained(self._finish)
            return
        try:
            self._close_shard()
        except OSError:
            pass  # the disk is full: what the manifest lists stands

    def write(self, codes) -> None:
        """Append rows.

        Parameters
        ----------
        codes : sparse matrix or array, or ndarray, of shape (n_rows, n_components)
            Codes.

        Raises
        ------
        ValueError
            If they have another number of columns, or a dtype that would lose precision.
        OSError
            If the disk is full.
        """
        if not self._is_open:
            raise ValueError("write must be called within the with block of the CodeWriter")
        codes = self._checked(codes)
        done = 0
        while done < codes.shape[0]:
            if self._shard is None:
                self._explained(self._open_shard)
            free = self.rows_per_shard - self._shard.n_rows
            block = codes if not done and free >= codes.shape[0] else codes[done : done + free]
            self._explained(lambda block=block: self._shard.append(block))
            done += block.shape[0]
            if self._shard.n_rows >= self.rows_per_shard:
                self._explained(self._close_shard)

    def _checked(self, codes) -> sparse.csr_array:
        """Codes as CSR of the right width and dtype."""
        codes = sparse.csr_array(codes)
        if codes.shape[1] != self.n_components:
            raise ValueError(
                f"codes must have n_components={self.n_components} columns, got {codes.shape[1]}"
            )
        if self.dtype is None:
            if codes.dtype not in FLOATS:
                raise ValueError(f"codes must be float32 or float64, got {codes.dtype}")
            self.dtype = codes.dtype
        if not np.can_cast(codes.dtype, self.dtype, "same_kind"):
            raise ValueError(f"codes must be {self.dtype} or smaller, got {codes.dtype}")
        return codes

    def _check_place(self) -> None:
        """Raise unless the folder may be written."""
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"path={str(self.path)!r} lies in a folder that does not exist; create "
                f"{str(self.path.parent)!r} first"
            )
        for folder in (self.path, self._folder):
            if folder.exists() and not is_store(folder):
                raise FileExistsError(
                    f"{str(folder)!r} is there and holds no codes, so that it is not overwritten; "
                    "choose another path or delete it"
                )
        if self.path.exists() and not self.overwrite and any(self.path.iterdir()):
            raise FileExistsError(
                f"path={str(self.path)!r} holds codes; choose another path or set overwrite=True"
            )

    def _take_over(self, resume: bool) -> None:
        """Go on with the shards of an interrupted writer; raise if they are in the way."""
        if not resume and self.overwrite:
            return
        manifest = read_manifest(self._folder)
        if not manifest["shards"]:
            return
        if not resume:
            raise FileExistsError(
                f"{str(self._folder)!r} holds {total(manifest, 'n_rows')} rows of an interrupted "
                "writer; set resume=True to go on behind them or overwrite=True to drop them"
            )
        store = StoredCodes(self._folder, manifest)
        wanted = self.n_components, self.dtype or store.dtype
        if (store.shape[1], store.dtype) != wanted:
            raise ValueError(
                f"resume=True found unfinished codes with n_components={store.shape[1]}, "
                f"dtype={store.dtype}, but {wanted[0]}, {wanted[1]} are asked for; set "
                "resume=False and overwrite=True to drop them"
            )
        self.dtype, self._shards = store.dtype, manifest["shards"]

    def _open_shard(self) -> None:
        assert self.dtype is not None
        self._shard = ShardFiles(self._folder, len(self._shards), self.dtype)

    def _close_shard(self) -> None:
        """End the current shard and list it."""
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        entry = shard.close()
        if entry["n_rows"]:
            self._shards.append(entry)
            self._write_manifest()

    def _finish(self) -> None:
        """Close the last shard and move the folder to its place."""
        self._close_shard()
        self._write_manifest(complete=True)
        old = self.path.with_name(f".{self.path.name}.old")
        if self.path.exists():
            if old.exists():  # left when a writer was ended between these lines
                shutil.rmtree(old)
            self.path.rename(old)
        try:
            self._folder.rename(self.path)
        except BaseException:
            if old.exists() and not self.path.exists():
                old.rename(self.path)
            raise
        if old.exists():
            shutil.rmtree(old)
        sync_folder(self.path.parent)

    def _write_manifest(self, complete: bool = False) -> None:
        """Replace the list of shards as a whole."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "complete": complete,
            "n_rows": sum_over(self._shards, "n_rows"),
            "n_components": self.n_components,
            "nnz": sum_over(self._shards, "nnz"),
            "dtype": (self.dtype or FLOATS[0]).name,
            "shards": self._shards,
        }
        part = self._folder / f".{MANIFEST}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / MANIFEST)
        sync_folder(self._folder)

    def _explained(self, action) -> None:
        """Do something that writes; an error gets the path and what is safe."""
        try:
            action()
        except OSError as error:
            if self._shard is not None:
                self._shard.remove()
                self._shard = None
            raise OSError(
                error.errno,
                f"{error.strerror or error}; could not write codes to {str(self._folder)!r}, where "
                f"{sum_over(self._shards, 'n_rows')} rows are safe: free some space and go on "
                "behind them with CodeWriter(..., resume=True), or choose another path",
            ) from error
