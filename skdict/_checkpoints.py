"""Checkpoints of long fits: written whole or not at all, checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import safetensors
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from skdict._validation import check_integer, check_real
from skdict._whole_files import claim_folder, release_folder, write_whole

SCHEMA = 2
# Fits of the same parameters and data at the same time, each with a folder of its own.
MOST_FOLDERS = 64
_FINISHED = "finished.json"
_SUFFIXES = (".json", ".safetensors")


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
    While a fit runs, a second one of the same parameters and data takes a folder beside it (on
    Unix; some network file systems have no locks).

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
        self.parent = Path(os.path.realpath(checkpoint.folder))
        self._name = f"{settings['estimator']}-{digest}"
        self.folder = self.parent / self._name
        self._every, self._seconds = checkpoint.steps, None
        if checkpoint.minutes is not None:
            self._seconds = 60 * checkpoint.minutes
        self._written = time.monotonic()

    def is_due(self, n_steps: int) -> bool:
        """Whether a checkpoint should be written after so many steps."""
        if self._every is not None and n_steps % self._every == 0:
            return True
        return self._seconds is not None and time.monotonic() - self._written >= self._seconds

    def claim(self) -> None:
        """Make the folder and keep other fits from it until `release` or the process ends.

        Where another process or thread writes to it, as in a grid search that fits the same
        dictionary for several settings of a later step, a folder beside it is taken.

        Raises
        ------
        RuntimeError
            If there are too many of these.
        OSError
            If it cannot be written to.
        """
        try:
            self.folder = self._claimed_folder()
        except OSError as error:
            raise OSError(
                error.errno,
                f"checkpoints could not be written to {self.folder} ({error.strerror or error}). "
                "Make it writable or choose another folder",
            ) from error

    def _claimed_folder(self) -> Path:
        for number in range(1, MOST_FOLDERS + 1):
            folder = self.folder
            if number > 1:
                folder = folder.with_name(f"{folder.name}-{number}")
            try:
                claim_folder(folder)
                return folder
            except RuntimeError:
                if number == MOST_FOLDERS:
                    raise
        raise AssertionError

    def release(self) -> None:
        """Let others have the folder; without a claim, do nothing."""
        release_folder(self.folder)

    def save(self, n_steps: int, arrays: dict, values: dict) -> None:
        """Write a checkpoint, then remove all but the one before.

        Raises
        ------
        OSError
            If it cannot be written; the checkpoint before is untouched.
        RuntimeError
            If another process, or another thread, writes to the folder.
        """
        stem = f"step-{n_steps:012d}"
        content = save_arrays({name: np.ascontiguousarray(a) for name, a in arrays.items()})
        record = {
            "schema": SCHEMA, "n_steps": n_steps, "settings": self.settings, "values": values,
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        record["own sha256"] = _digest_of_record(record)
        try:
            claim_folder(self.folder)
            (self.folder / _FINISHED).unlink(missing_ok=True)
            write_whole(self.folder / f"{stem}.safetensors", content)
            write_whole(self.folder / f"{stem}.json", json.dumps(record).encode())
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
        with contextlib.suppress(OSError):  # this checkpoint is good; they go with the next one
            self._remove_all_but(self._stems()[-2:])

    def load(self, *, must_exist: bool):
        """Arrays and values of the last checkpoint; None where there is none, or it is finished.

        Parameters
        ----------
        must_exist : bool
            Whether checkpoints of other fits alone are an error.

        Raises
        ------
        ValueError
            If the checkpoint is damaged, of a newer format or another fit's, or there are
            unfinished ones of other parameters or data alone.
        """
        # arrays are there before the JSON: where they are missing now, they were lost
        stems = sorted(path.stem for path in self.folder.glob("step-*.json"))
        if (self.folder / _FINISHED).exists():
            return None
        if not stems:
            others = self._other_fits() if must_exist else []
            if others:
                raise ValueError(self._differences(others[0]))
            return None
        path = self.folder / f"{stems[-1]}.json"
        before = next((stem for stem in self._stems()[::-1] if stem != stems[-1]), None)
        settings, arrays, values = read_checked(path, before)
        if settings != json.loads(json.dumps(self.settings)):
            raise ValueError(
                f"the checkpoint {path} is another fit's ({self._differing(settings)}); take it "
                "out of this folder"
            )
        return arrays, values

    @contextlib.contextmanager
    def restoring(self):
        """Context to take up in what `load` gave: what does not fit is an error with a remedy.

        Raises
        ------
        ValueError
            If something is missing, or of another type than this version of skdict writes.
        """
        try:
            yield
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(
                f"the last checkpoint in {self.folder} holds another state than this version of "
                f"skdict writes ({type(error).__name__}: {error}); resume it with the version that "
                "wrote it, or remove it and start anew"
            ) from error

    def finish(self) -> None:
        """Mark the fit as finished, so that the next one starts anew, and release the folder."""
        try:
            if self._stems():
                write_whole(self.folder / _FINISHED, json.dumps({"schema": SCHEMA}).encode())
                with contextlib.suppress(OSError):  # a kill after the last save may have left more
                    self._remove_all_but(self._stems()[-2:])
        except OSError as error:
            self._finish_unmarked(error)
        finally:
            self.release()

    def _finish_unmarked(self, error: OSError) -> None:
        """Do without the mark, on a full disk: a fit without checkpoints starts anew too."""
        try:
            self._remove_checkpoints()
        except OSError:
            warnings.warn(
                f"the fit is finished, but its checkpoints in {self.folder} could be neither "
                f"marked as finished nor removed ({error.strerror or error}): another fit with "
                "resume would repeat its last steps. Remove them",
                stacklevel=4,
            )

    def forget(self) -> None:
        """Claim the folder, and remove the checkpoints of an earlier fit of the same fingerprint.

        Raises
        ------
        RuntimeError
            If another process, or another thread, writes to the folder.
        OSError
            If the folder cannot be written to.
        """
        self.claim()
        try:
            self._remove_checkpoints()
        except OSError as error:
            raise OSError(
                error.errno,
                f"the checkpoints of an earlier fit in {self.folder} could not be removed "
                f"({error.strerror or error}). Make it writable or choose another folder",
            ) from error

    def _remove_checkpoints(self) -> None:
        """Remove checkpoints before the mark: a kill in between must not revive a finished fit."""
        self._remove_all_but([])
        for path in self.folder.glob(f"{_FINISHED}*"):
            path.unlink(missing_ok=True)

    def _stems(self) -> list[str]:
        """Checkpoints that are complete, the last one last."""
        found = {path.stem for path in self.folder.glob("step-*.json")}
        return sorted(s for s in found if (self.folder / f"{s}.safetensors").exists())

    def _remove_all_but(self, stems: list[str]) -> None:
        """Remove older checkpoints, and what a kill in the middle of writing left."""
        for suffix in (*_SUFFIXES, ".new"):  # a JSON promises arrays: it goes before them
            for path in self.folder.glob(f"step-*{suffix}"):
                if path.stem not in stems:
                    path.unlink(missing_ok=True)

    def _other_fits(self) -> list[Path]:
        """Unfinished checkpoints of other fits of this kind of estimator."""
        pattern = f"{self.settings['estimator']}-*"
        last = [
            max(folder.glob("step-*.json"), default=None)
            for folder in sorted(self.parent.glob(pattern))
            # twins of this fit that run now are no others
            if not (folder / _FINISHED).exists() and not folder.name.startswith(self._name)
        ]
        return [path for path in last if path is not None]

    def _differences(self, path: Path) -> str:
        """Say what differs between this fit and another one's checkpoint."""
        try:
            theirs = json.loads(path.read_text())["settings"]
            differing = self._differing(theirs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            differing = "its JSON is damaged"
        return (
            f"resume=True found no checkpoint of these parameters and data in {self.parent}, but "
            f"unfinished ones of others, such as {path} ({differing}). Give it "
            'the same parameters and data, or resume="auto" to start anew where there is none'
        )

    def _differing(self, theirs: dict) -> str:
        """Settings that differ, with both values."""
        differing = [
            f"{name}: {theirs.get(name)!r} there, {value!r} here"
            for name, value in self.settings.items()
            if theirs.get(name) != value
        ]
        return "; ".join(differing)[:600]


def read_checked(path: Path, before: str | None):
    """Settings, arrays and values of a checkpoint, or a clear error.

    Parameters
    ----------
    path : Path
        Its JSON file.
    before : str or None
        The checkpoint before, which the error names.

    Raises
    ------
    ValueError
        If it cannot be read, is not what was written, or is of another format.
    """
    remedy = "remove both files of this checkpoint " + (
        f"to go on from {before}" if before else "and start anew"
    )
    try:
        record = json.loads(path.read_text())
        schema, own = record["schema"], record.pop("own sha256", None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error}); {remedy}") from error
    if schema != SCHEMA:
        raise ValueError(
            f"the checkpoint {path} has format {schema!r}, this version of skdict reads {SCHEMA}; "
            "resume it with the version that wrote it"
        )
    if own != _digest_of_record(record):
        raise ValueError(
            f"the checkpoint {path} is damaged: it does not have its checksum; {remedy}"
        )
    arrays_path = path.with_suffix(".safetensors")
    try:
        content = arrays_path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"the checkpoint {path} is damaged: its arrays cannot be read from {arrays_path} "
            f"({error.strerror or error}); {remedy}"
        ) from error
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise ValueError(
            f"the checkpoint {arrays_path} is damaged: its {len(content)} bytes do not have the "
            f"checksum in {path.name}; {remedy}"
        )
    try:
        arrays = load_arrays(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error}); {remedy}") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"the checkpoint {path} is damaged: {name!r} holds NaN; {remedy}")
    return record["settings"], arrays, record["values"]


def _digest_of_record(record: dict) -> str:
    """Digest of what a JSON file says."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


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
    return {
        "estimator": type(estimator).__name__,
        **parameters_of(estimator, without=without),
        "X.shape": list(shape),
        "X.dtype": str(np.dtype(dtype)),
        "X rows": digest_of_rows(rows),
    }


def parameters_of(estimator, *, without) -> dict:
    """Parameters of an estimator as JSON that identifies them.

    Parameters
    ----------
    estimator : estimator
        Its parameters are taken.
    without : tuple of str
        Parameters that are left out.
    """
    return {
        name: _as_json(value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in without
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
