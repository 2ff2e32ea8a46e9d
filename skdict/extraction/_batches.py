"""Batches of images: checked, recognised again, and brought to a model's device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from skdict._validation import import_optional

_PLAIN = (bool, int, float, str, type(None))


def read_batch(batch, number: int) -> tuple[Any, int]:
    """Check a batch and count its images.

    Parameters
    ----------
    batch : ndarray, torch.Tensor or mapping
        Images (n_images, n_channels, height, width), or arguments of the model by name.
    number : int
        Number of the batch, for the messages.

    Returns
    -------
    batch : ndarray, torch.Tensor or dict
        The same; what NumPy can read as an array is one.
    n_images : int
        Number of images.

    Raises
    ------
    TypeError, ValueError
        If it is no such thing, has no images, or images are not floats.
    """
    name = f"batch {number}"
    if isinstance(batch, Mapping):
        return _read_arguments(batch, name)
    if isinstance(batch, (list, tuple)) or not (is_tensor(batch) or hasattr(batch, "__array__")):
        raise TypeError(
            f"{name} must be an array of images or a dict of the model's arguments, got "
            f"{_describe(batch)}; of a loader that yields images and labels pass "
            "(images for images, _ in loader)"
        )
    batch = batch if is_tensor(batch) else np.asarray(batch)
    if batch.ndim != 4:
        raise ValueError(
            f"{name} must have shape (n_images, n_channels, height, width), got "
            f"{tuple(batch.shape)}; batches is an iterable of such arrays: pass [images] for one "
            "array of images"
        )
    if not _is_float(batch):
        raise TypeError(
            f"{name} must hold floats, scaled as the images that the model was trained on, got "
            f"dtype {batch.dtype}"
        )
    return batch, _count(batch, name)


def _read_arguments(batch, name) -> tuple[dict, int]:
    """Check arguments by name; the first four-dimensional array, or else the first, has images."""
    arguments: dict[str, Any] = {}
    for key, value in batch.items():
        if not isinstance(value, (*_PLAIN, np.ndarray)) and not is_tensor(value):
            raise TypeError(
                f"{name} must hold arrays and plain numbers, strings or None, got "
                f"{_describe(value)} as {key!r}"
            )
        arguments[str(key)] = value
    arrays = [value for value in arguments.values() if not isinstance(value, _PLAIN)]
    arrays = [value for value in arrays if value.ndim]
    if not arrays:
        raise TypeError(f"{name} must hold an array of images, got {list(arguments)}")
    images = next((value for value in arrays if value.ndim == 4), arrays[0])
    return arguments, _count(images, name)


def _count(images, name) -> int:
    """Number of images, at least one."""
    if 0 in images.shape:
        raise ValueError(f"{name} is empty: its images have shape {tuple(images.shape)}")
    return int(images.shape[0])


def _describe(value) -> str:
    """Type of a value, and the length of a list."""
    kind = type(value).__name__
    return f"{kind} of {len(value)}" if isinstance(value, (list, tuple)) else kind


def is_tensor(value) -> bool:
    """Whether a value is a torch tensor."""
    return isinstance(value, import_optional("torch", extra="torch").Tensor)


def _is_float(array) -> bool:
    return array.is_floating_point() if is_tensor(array) else array.dtype.kind == "f"


def digest(batch) -> str:
    """Hash of the content of a batch, the same for NumPy and torch."""
    named = batch if isinstance(batch, dict) else {"": batch}
    state = hashlib.sha256()
    for name, value in sorted(named.items()):
        if isinstance(value, _PLAIN):
            state.update(f"{name} {value!r}".encode())
            continue
        dtype = str(value.dtype).removeprefix("torch.")
        state.update(f"{name} {dtype} {tuple(value.shape)}".encode())
        state.update(_bytes_of(value).data)
    return state.hexdigest()[:16]


def _bytes_of(array) -> np.ndarray:
    """Bytes of an array or tensor in row order."""
    if not is_tensor(array):
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    torch = import_optional("torch", extra="torch")
    return array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def to_model(batch, device, dtype):
    """Bring a batch to a device as tensors; floats in `dtype` unless it is None."""
    if isinstance(batch, dict):
        return {name: to_model(value, device, dtype) for name, value in batch.items()}
    if isinstance(batch, _PLAIN):
        return batch
    tensor = batch if is_tensor(batch) else as_tensor(batch)
    wanted = dtype if tensor.is_floating_point() else None
    return tensor.to(device=device, dtype=wanted, non_blocking=True)


def as_tensor(array: np.ndarray):
    """Tensor on a NumPy array; a copy where torch cannot share the memory or must not write."""
    torch = import_optional("torch", extra="torch")
    native = np.asarray(array, dtype=array.dtype.newbyteorder("="))
    if not native.flags.writeable or any(stride < 0 for stride in native.strides):
        native = native.copy()
    return torch.from_numpy(native)
