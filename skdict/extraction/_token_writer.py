"""Writing tokens so that an interrupted collection goes on where it stopped."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import numpy as np

from skdict.extraction._growing_array import GrowingArray
from skdict.extraction._token_array import FORMAT, prefix_path, read_record, record_path


class TokenWriter:
    """The tokens of one layer on disk: an array that grows, and a record of what is in it.

    The record is the truth: it is replaced as a whole after the rows that it counts are on disk.
    Rows that it does not count are overwritten or cut off.

    Parameters
    ----------
    path : Path
        The ``.npy`` file. Nothing is written before the first rows come.
    settings : dict
        What the tokens depend on, by name.
    checkpoint_every : float
        Seconds between checkpoints.

    Raises
    ------
    OSError
        If the path cannot be written.
    ValueError
        If tokens are there that other settings gave.
    """

    def __init__(self, path: Path, settings: dict, checkpoint_every: float):
        self.path, self.settings, self.checkpoint_every = path, settings, checkpoint_every
        self.batches: list[list] = []
        self.complete = False
        self._arrays: list[GrowingArray] = []
        self._rows_per_image: list[int] = []
        self._saved = 0.0
        _check_place(path)
        if record_path(path).exists() and path.exists():
            record = read_record(path)
            _check_settings(path, record["settings"], settings)
            self.batches, self.complete = record["batches"], record["complete"]
        elif path.exists():
            raise FileExistsError(
                f"the output {str(path)!r} exists, and no record beside it says that "
                "collect_tokens has written it; delete it or choose another"
            )

    @property
    def n_images(self) -> int:
        """Images whose tokens are complete."""
        return sum(n_images for n_images, _ in self.batches)

    def holds(self, number: int, mark: str) -> bool:
        """Whether the tokens of batch `number` are there; raise if they are of another batch."""
        if number >= len(self.batches):
            return False
        n_images, known = self.batches[number]
        if known != mark:
            first = sum(n for n, _ in self.batches[:number])
            raise ValueError(
                f"batch {number} is not the one that {str(self.path)!r} holds the tokens of "
                f"(images {first} to {first + n_images - 1}): pass the same images in the same "
                "batches to go on, or choose another output"
            )
        return True

    def append(self, parts: list[np.ndarray], n_images: int, mark: str) -> None:
        """Write the tokens of a batch: rows for each array, patches first."""
        try:
            if not self._arrays:
                self._open(parts, n_images)
            for array, part in zip(self._arrays, parts, strict=True):
                array.append(part)
            self.batches.append([n_images, mark])
            self.complete = False
            if time.monotonic() - self._saved >= self.checkpoint_every:
                self._checkpoint()
        except BlockingIOError:
            raise  # another process has the file; its message says so
        except OSError as error:
            raise self._explained(error) from error

    def finish(self, n_batches: int) -> None:
        """Note that all batches are there; raise if fewer came than the file holds."""
        if n_batches < len(self.batches):
            raise ValueError(
                f"batches ended after {n_batches}, but {str(self.path)!r} holds the tokens of "
                f"{len(self.batches)} ({self.n_images} images): pass all of them, or choose "
                "another output"
            )
        if self.complete:
            return
        try:
            self.complete = True
            self._checkpoint()
        except OSError as error:
            self.complete = False
            raise self._explained(error) from error
        self.close()

    def keep(self) -> None:
        """Save what is complete after an error, as far as the disk allows."""
        try:
            if self._arrays:
                self._checkpoint()
        except OSError:
            pass  # the last checkpoint stands
        finally:
            self.close()

    def close(self) -> None:
        """Close the files."""
        for array in self._arrays:
            array.close()
        self._arrays = []

    def _open(self, parts, n_images) -> None:
        """Open the files for rows of these shapes, behind the rows of the record."""
        if not (self.path.exists() and record_path(self.path).exists()):
            self._write_record()  # first, so that a file without a record is never ours
        self._rows_per_image = [part.shape[0] // n_images for part in parts]
        for file, part, per_image in zip(
            (self.path, prefix_path(self.path)), parts, self._rows_per_image
        ):
            n_rows = self.n_images * per_image
            self._arrays.append(GrowingArray(file, part.shape[1:], self.settings["dtype"], n_rows))
        if read_record(self.path)["batches"] != self.batches:
            self.close()
            raise BlockingIOError(
                errno.EAGAIN,
                f"{str(self.path)!r} was written by another process meanwhile; call "
                "collect_tokens again to go on",
            )

    def _checkpoint(self) -> None:
        """Bring complete images to disk, then count them in the record."""
        for array, per_image in zip(self._arrays, self._rows_per_image):
            array.cut(self.n_images * per_image)
        self._write_record()
        self._saved = time.monotonic()

    def _write_record(self) -> None:
        """Replace the record as a whole."""
        record = {
            "format": FORMAT,
            "complete": self.complete,
            "n_images": self.n_images,
            "settings": self.settings,
            "batches": self.batches,
        }
        beside = record_path(self.path)
        part = beside.with_name(f".{beside.name}.{os.getpid()}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(beside)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _explained(self, error: OSError) -> OSError:
        """Error with the path, what is safe, and how to go on."""
        return OSError(
            error.errno,
            f"{error.strerror or error}; could not write tokens to {str(self.path)!r}, of which "
            f"{self.n_images} images are complete: free some space and call collect_tokens again "
            "with the same arguments to go on, or choose an output elsewhere",
        )


def _check_place(path: Path) -> None:
    """Raise unless `path` names an .npy file in a folder that is there."""
    if path.suffix != ".npy":
        raise ValueError(f"output must end in .npy for one layer, got {str(path)!r}")
    if path.is_dir():
        raise IsADirectoryError(f"the output {str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"the output {str(path)!r} lies in a folder that does not exist; create "
            f"{str(path.parent)!r} first or choose another"
        )
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(
            f"the output {str(path)!r} lies in a folder that cannot be written; choose another"
        )


def _check_settings(path: Path, known: dict, wanted: dict) -> None:
    """Raise ValueError naming what differs."""
    different = [
        f"{name} {known.get(name)!r} there and {value!r} here"
        for name, value in wanted.items()
        if known.get(name) != value
    ]
    if different:
        raise ValueError(
            f"the output {str(path)!r} holds tokens that were collected otherwise: "
            f"{'; '.join(different)}. Choose another output, or delete the file to start again"
        )
