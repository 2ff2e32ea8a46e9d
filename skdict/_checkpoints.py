"""Checkpoints of long fits: written whole or not at all, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from skdict._validation import check_integer, check_real

SCHEMA = 1
_FINISHED = "finished.json"


class Checkpoint:
    """Where and how often a long fit writes down its state.

    Given as ``checkpoint=`` to :class:`~skdict.ICFLDictionary` or :class:`~skdict.TopKSAE`; with
    ``resume=True`` the fit goes on from there. The folder may serve several fits: each has a
    subfolder of its own, named by a fingerprint of its parameters and data.

    Parameters
    ----------
    folder : str or Path
        Where the checkpoints go; made if need be.
    steps : int or None, default=None
        Write every so many steps.
    minutes : float or None, default=10.0
        Write every so many minutes. At least one of the two has to be given.

    Raises
    ------
    ValueError
        If both are None, or one is out of range.

    Notes
    -----
    A checkpoint is a pair of files, arrays as safetensors and the rest as JSON with the checksum
    of the arrays. Both are written under another name and renamed when they are on the disk; the
    pair before is kept. Killed at any moment and resumed on the same device with the same number
    of threads, a fit ends with the dictionary, bit by bit, that it would have had without.

    A fit without ``resume`` begins by removing what an earlier one with the same fingerprint left.

    The fingerprint of the data is made of their shape, type and 1,024 rows spread over them: a
    change elsewhere is not seen.

    Examples
    --------
    >>> from skdict import Checkpoint, ICFLDictionary
    >>> dictionary = ICFLDictionary(8192, checkpoint=Checkpoint("fits", minutes=5), resume=True)
    >>> dictionary.checkpoint
    Checkpoint('fits', steps=None, minutes=5)
    """

    def __init__(self, folder, *, steps=None, minutes=10.0):
        check_integer("steps", steps, 1, none=True)
        if minutes is not None:
            check_real("minutes", minutes, 0, float("inf"))
        if steps is None and minutes is None:
            raise ValueError("steps and minutes must not both be None: nothing would be written")
        self.folder, self.steps, self.minutes = Path(folder), steps, minutes

    def __repr__(self):
        return f"Checkpoint({str(self.folder)!r}, steps={self.steps}, minutes={self.minutes})"

    def __eq__(self, other):
        return isinstance(other, Checkpoint) and vars(self) == vars(other)

    def __hash__(self):
        return hash((self.folder, self.steps, self.minutes))


class FitRecord:
    """The checkpoints of one fit, in a folder of their own.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where and how often.
    settings : dict
        What identifies the fit: JSON-able parameters, and a digest of the data.
    """

    def __init__(self, checkpoint: Checkpoint, settings: dict):
        self.settings = settings
        canonical = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        self.parent = checkpoint.folder
        self.folder = checkpoint.folder / f"{settings['estimator']}-{digest}"
        self._every, self._seconds = checkpoint.steps, None
        if checkpoint.minutes is not None:
            self._seconds = 60 * checkpoint.minutes
        self._written = time.monotonic()

    def is_due(self, n_steps: int) -> bool:
        """Whether a checkpoint should be written after so many steps."""
        if self._every is not None and n_steps % self._every == 0:
            return True
        return self._seconds is not None and time.monotonic() - self._written >= self._seconds

    def save(self, n_steps: int, arrays: dict, values: dict) -> None:
        """Write a checkpoint, then remove all but the one before.

        Raises
        ------
        OSError
            If it cannot be written; the checkpoint before is untouched.
        """
        stem = f"step-{n_steps:012d}"
        content = save_arrays({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        record = {
            "schema": SCHEMA, "n_steps": n_steps, "settings": self.settings, "values": values,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _FINISHED).unlink(missing_ok=True)
            _write_whole(self.folder / f"{stem}.safetensors", content)
            _write_whole(self.folder / f"{stem}.json", json.dumps(record).encode())
        except OSError as error:
            last = self._stems()
            kept = (
                f"the last good one is {self.folder / last[-1]}.json" if last else "there is none"
            )
            raise OSError(
                error.errno,
                f"the checkpoint after step {n_steps} could not be written to {self.folder} "
                f"({error.strerror or error}); {kept}. Free space or choose another folder, then "
                "fit again with resume=True",
            ) from error
        self._written = time.monotonic()
        for old in self._stems()[:-2]:
            for suffix in (".json", ".safetensors"):
                (self.folder / f"{old}{suffix}").unlink(missing_ok=True)
        self._remove_strays()

    def load(self, *, must_exist: bool):
        """Arrays and values of the last checkpoint; None where there is none, or it is finished.

        Parameters
        ----------
        must_exist : bool
            Whether checkpoints of other fits alone are an error.

        Raises
        ------
        ValueError
            If the checkpoint is damaged or of a newer format, or there are unfinished ones of other
            parameters or data alone.
        """
        stems = self._stems()
        if (self.folder / _FINISHED).exists():
            return None
        if not stems:
            others = self._other_fits() if must_exist else []
            if others:
                raise ValueError(self._differences(others[0]))
            return None
        path = self.folder / f"{stems[-1]}.json"
        before = f"{stems[-2]}" if len(stems) > 1 else None
        return _read_checked(path, before)

    def finish(self) -> None:
        """Mark the fit as finished, so that the next one starts anew."""
        if self.folder.is_dir():
            _write_whole(self.folder / _FINISHED, json.dumps({"schema": SCHEMA}).encode())

    def forget(self) -> None:
        """Remove the checkpoints of an earlier fit with the same fingerprint."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name == _FINISHED or path.suffix in (".json", ".safetensors", ".new"):
                    path.unlink(missing_ok=True)

    def _stems(self) -> list[str]:
        """Checkpoints that are complete, the last one last."""
        found = {path.stem for path in self.folder.glob("step-*.json")}
        return sorted(s for s in found if (self.folder / f"{s}.safetensors").exists())

    def _remove_strays(self) -> None:
        """Remove what a kill in the middle of writing left."""
        complete = set(self._stems())
        for path in [*self.folder.glob("*.new"), *self.folder.glob("step-*.safetensors")]:
            if path.suffix == ".new" or path.stem not in complete:
                path.unlink(missing_ok=True)

    def _other_fits(self) -> list[Path]:
        """Unfinished checkpoints of other fits of this kind of estimator."""
        pattern = f"{self.settings['estimator']}-*"
        return [
            sorted(folder.glob("step-*.json"))[-1]
            for folder in sorted(self.parent.glob(pattern))
            if any(folder.glob("step-*.json")) and not (folder / _FINISHED).exists()
        ]

    def _differences(self, path: Path) -> str:
        """Say what differs between this fit and another one's checkpoint."""
        try:
            theirs = json.loads(path.read_text())["settings"]
        except (OSError, ValueError, KeyError):
            theirs = {}
        differing = [
            f"{name}: {theirs.get(name)!r} there, {value!r} here"
            for name, value in self.settings.items()
            if theirs.get(name) != value
        ]
        return (
            f"resume=True found no checkpoint of these parameters and data in {self.parent}, but "
            f"unfinished ones of others, such as {path} ({'; '.join(differing)[:600]}). Give it "
            'the same parameters and data, or resume="auto" to start anew where there is none'
        )


def _read_checked(path: Path, before: str | None):
    """Arrays and values of a checkpoint, or a clear error."""
    remedy = "remove both files of this checkpoint " + (
        f"to go on from {before}" if before else "and start anew"
    )
    try:
        record = json.loads(path.read_text())
        schema = record["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error}); {remedy}") from error
    if schema != SCHEMA:
        raise ValueError(
            f"the checkpoint {path} has format {schema!r}, this version of skdict reads {SCHEMA}; "
            "resume it with the version that wrote it"
        )
    arrays_path = path.with_suffix(".safetensors")
    content = arrays_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.get("sha256"):
        raise ValueError(
            f"the checkpoint {arrays_path} is damaged: its {len(content)} bytes do not have the "
            f"checksum in {path.name}; {remedy}"
        )
    try:
        return load_arrays(content), record["values"]
    except (safetensors.SafetensorError, KeyError) as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error}); {remedy}") from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, bring it to the disk, and rename it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot
    finally:
        os.close(descriptor)


def digest_of_rows(rows) -> str:
    """Digest of an array of rows.

    Parameters
    ----------
    rows : ndarray
        The rows.
    """
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()[:16]


def settings_of(estimator, shape, dtype, rows, *, without) -> dict:
    """What identifies a fit: class, parameters and data, as JSON.

    Parameters
    ----------
    estimator : estimator
        What is fitted.
    shape, dtype : tuple, dtype
        Of the data.
    rows : ndarray
        Some rows of the data.
    without : tuple of str
        Parameters that do not change what is learned.
    """
    parameters = {
        name: _as_json(value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in without
    }
    return {
        "estimator": type(estimator).__name__,
        **parameters,
        "X.shape": list(shape),
        "X.dtype": str(np.dtype(dtype)),
        "X rows": digest_of_rows(rows),
    }


def _as_json(value):
    """A parameter as something that JSON can hold and that identifies it."""
    if isinstance(value, np.random.RandomState):
        _, key, position, *_ = value.get_state()
        return f"RandomState {digest_of_rows(key)} {position}"
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"array {digest_of_rows(np.asarray(value))}"
