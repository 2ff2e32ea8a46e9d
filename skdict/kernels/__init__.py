"""Compiled kernels: a backend is a module of functions with equal names and arguments."""

from __future__ import annotations

from types import ModuleType


def get_kernels(device: str = "cpu") -> ModuleType:
    """Return the backend for a device.

    Parameters
    ----------
    device : {"cpu"}
        ``"cpu"`` is numba and BLAS on the host.

    Returns
    -------
    module
        A module with the functions of the contract.

    Raises
    ------
    ValueError
        If there is no backend for the device.
    """
    if device != "cpu":
        raise ValueError(f"device must be 'cpu', got {device!r}")
    from skdict.kernels import _cpu

    return _cpu
