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
    try:
        from skdict.kernels import _cpu
    except RuntimeError as error:
        # What numba raises where neither the package nor the home folder can be written to.
        if "no locator available" not in str(error):
            raise
        from skdict.kernels._cache import import_with_cache_elsewhere

        return import_with_cache_elsewhere("skdict.kernels._cpu")
    return _cpu
