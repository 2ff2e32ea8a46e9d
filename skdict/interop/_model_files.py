"""Files of other packages' models: JSON and safetensors, read without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save as save_arrays

from skdict._whole_files import make_folder, write_whole

# What arrays of weights may be stored as, and what they become.
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


def read_settings(path: Path) -> dict:
    """The object of a JSON file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it does not hold a JSON object.
    """
    try:
        settings = json.loads(_content(path).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}): copy or download it anew") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(settings).__name__}")
    return settings


def read_arrays(path: Path) -> dict:
    """The arrays of a safetensors file: float64 where they are stored so, otherwise float32.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or holds other numbers.
    """
    content = _content(path)
    try:
        stored = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is no valid safetensors file ({error}): copy or download it anew"
        ) from error
    arrays = {}
    for name, tensor in stored:
        if tensor["dtype"] not in FLOATS:
            raise ValueError(
                f"{name} in {path} must be of one of {', '.join(FLOATS)}, got {tensor['dtype']}"
            )
        array = np.frombuffer(tensor["data"], FLOATS[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        dtype = np.float64 if tensor["dtype"] == "F64" else np.float32
        arrays[name] = array.astype(dtype)
    return arrays


def write_arrays(path: Path, arrays: dict) -> None:
    """Write arrays as safetensors, whole or not at all."""
    content = save_arrays({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    write_whole(path, content)


def write_settings(path: Path, settings: dict) -> None:
    """Write a JSON object, whole or not at all."""
    write_whole(path, (json.dumps(settings, indent=2, allow_nan=False) + "\n").encode())


def start_folder(folder, settings_name: str, known_by: str, others: tuple = ()) -> Path:
    """Make the folder of a model; the settings of one before it go first.

    Without its settings a model that was written in part cannot be taken for a whole one.

    Parameters
    ----------
    folder : str or Path
        The folder.
    settings_name : str
        Name of its settings file.
    known_by : str
        Key that the settings of a model of this kind have.
    others : tuple of str
        Files that a model before may have had and this one may lack.

    Raises
    ------
    FileExistsError
        If there are settings of something else.
    """
    folder = Path(folder)
    make_folder(folder)
    settings = folder / settings_name
    if settings.exists():
        try:
            found = json.loads(settings.read_bytes())
        except ValueError:
            found = None
        if not isinstance(found, dict) or known_by not in found:
            raise FileExistsError(
                f"{settings} is there and belongs to something else (it has no {known_by!r}); "
                "choose another folder"
            )
    for name in (settings_name, *others):
        (folder / name).unlink(missing_ok=True)
    return folder


def to_dtype(arrays: dict, dtype) -> dict:
    """Arrays in the type of a file.

    Raises
    ------
    ValueError
        If the type is not "float32" or "float64", or a number does not fit into it.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {str(dtype)!r}")
    with np.errstate(over="ignore"):
        arrays = {name: np.asarray(array, dtype) for name, array in arrays.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} would hold NaN or infinity in {dtype}: use dtype='float64'")
    return arrays


def check_arrays(arrays: dict, shapes: dict, path: Path) -> None:
    """Raise unless exactly these finite arrays are there.

    Parameters
    ----------
    arrays : dict of ndarray
        What a file holds.
    shapes : dict of tuple
        What it must hold.
    path : Path
        Its name, for the error.

    Raises
    ------
    ValueError
        If an array is missing or not known, has another shape, or holds NaN or infinity.
    """
    missing, unknown = shapes.keys() - arrays.keys(), arrays.keys() - shapes.keys()
    if missing or unknown:
        parts = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        parts += [f"has {', '.join(sorted(unknown))} beside them"] if unknown else []
        raise ValueError(f"{path} must hold {', '.join(shapes)}; it {' and '.join(parts)}")
    for name, shape in shapes.items():
        if arrays[name].shape != tuple(shape):
            raise ValueError(
                f"{name} in {path} must have shape {tuple(shape)}, got {arrays[name].shape}"
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} in {path} holds NaN or infinity: the model is damaged")


def setting(settings: dict, name: str, kind: type, path: Path, default: Any = None) -> Any:
    """One setting, of the right type; without a default it must be there.

    Raises
    ------
    ValueError
        If it is missing, of another type, or an integer below 1.
    """
    value = settings.get(name, default)
    if value is None:
        raise ValueError(f"{path} lacks {name!r}")
    if type(value) is not kind:  # a bool is no integer here
        raise ValueError(f"{name} in {path} must be of type {kind.__name__}, got {value!r}")
    if isinstance(value, int) and kind is int and value < 1:
        raise ValueError(f"{name} in {path} must be an integer >= 1, got {value!r}")
    return value


def check_count(name: str, value: int, n_atoms: int, path: Path) -> None:
    """Raise unless a code of `value` entries fits among `n_atoms` atoms."""
    if value > n_atoms:
        raise ValueError(
            f"{name} in {path} must be at most the number of atoms, {n_atoms}, got {value}"
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"there is no {path.name} in {path.parent}") from error
