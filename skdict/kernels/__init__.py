"""Compiled kernels: a backend is a module of functions with equal names and arguments."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def get_kernels(device: str = "cpu") -> ModuleType:
    """Return the backend for a device.

    Parameters
    ----------
    device : str, default="cpu"
        ``"cpu"`` is numba and BLAS on the host; ``"cuda"``, ``"cuda:<index>"``, ``"torch:cpu"`` and
        ``"torch:meta"`` are torch. Whether the device is there is not checked.

    Returns
    -------
    module
        A module with the functions of the contract: equal names, equal argument names. Arrays
        are NumPy's or torch's; ``to_device`` and ``to_host`` convert. Functions never validate,
        draw random numbers or move arrays between devices.

    Raises
    ------
    ValueError
        If there is no backend for the device.
    ImportError
        If the backend needs torch, which is not installed.
    """
    if device.startswith(("cuda", "torch:")):
        from skdict.kernels import _torch

        return _torch
    if device != "cpu":
        raise ValueError(
            f"device must be 'cpu', 'cuda', 'cuda:<index>' or 'torch:cpu', got {device!r}"
        )
    return _import_compiled("skdict.kernels._cpu")


def get_permutation_kernels() -> ModuleType:
    """Return the kernels of permutation tests, on the CPU alone.

    Returns
    -------
    module
        Functions that count permutations of weighted sums over units.
    """
    return _import_compiled("skdict.kernels._permutation")


def _import_compiled(name: str) -> ModuleType:
    """Import a module of compiled kernels, with its cache in the package or elsewhere."""
    try:
        return import_module(name)
    except RuntimeError as error:
        # What numba raises where neither the package nor the home folder can be written to.
        if "no locator available" not in str(error):
            raise
        from skdict.kernels._cache import import_with_cache_elsewhere

        return import_with_cache_elsewhere(name)
