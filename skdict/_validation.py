"""Checks shared by the estimators, and the only imports of optional packages by name.

Errors raised here name the parameter, the value that was given and what would be right.
"""

from __future__ import annotations

import importlib
import re
import warnings
from numbers import Integral, Real
from types import ModuleType

import numpy as np
from sklearn import config_context, get_config
from sklearn.utils import check_consistent_length
from sklearn.utils._array_api import (
    _is_numpy_namespace,
    check_same_namespace,
    get_namespace_and_device,
    move_to,
    supported_float_dtypes,
)
from sklearn.utils._param_validation import HasMethods as HasMethods  # used beyond this module
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils._set_output import _get_output_config

__all__ = [
    "Interval",
    "RealNotInt",
    "StrOptions",
    "at_least",
    "check_boolean_or",
    "check_choice",
    "check_control",
    "check_device",
    "check_integer",
    "check_real",
    "check_same_length",
    "check_same_namespace",
    "clip_n_nonzero_coefs",
    "dense_output_container",
    "float_dtypes",
    "get_namespace_and_device",
    "host_array",
    "import_optional",
    "move_array",
    "to_numpy",
]


def at_least(minimum: int) -> Interval:
    """Constraint of a parameter: an integer of at least `minimum`."""
    return Interval(Integral, minimum, None, closed="left")


def import_optional(name: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say which extra of skdict installs it.

    Parameters
    ----------
    name : str
        Name of the module to import, for example ``"matplotlib.pyplot"``.
    extra : str
        The extra of skdict that installs it, for example ``"plot"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the module cannot be imported; the message holds the install command.

    Examples
    --------
    >>> from skdict._validation import import_optional
    >>> import_optional("json", extra="none").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed here but could not be imported ({error}); "
            f'install it with: pip install "skdict[{extra}]"'
        ) from error


def check_device(device) -> None:
    """Raise unless `device` names a device that is there.

    torch is imported for the devices that need it only.

    Parameters
    ----------
    device : str
        ``"cpu"`` (numba), ``"cuda"``, ``"cuda:<index>"`` or ``"torch:cpu"``.

    Raises
    ------
    ValueError
        If the name is unknown, or that GPU is not there.
    ImportError
        If torch is needed and not installed.
    """
    if isinstance(device, str) and device == "cpu":
        return
    parts = re.fullmatch(r"torch:cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if parts is None:
        raise ValueError(
            "device must be 'cpu' (numba), 'cuda' or 'cuda:<index>' (torch on a GPU) or "
            f"'torch:cpu' (torch on the CPU), got {device!r}"
        )
    torch = import_optional("torch", extra="torch")
    if device == "torch:cpu":
        return
    remedy = 'use device="cpu"; a fitted dictionary moves there with set_params(device="cpu")'
    if not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} needs a CUDA device, but there is none: torch.cuda.is_available() "
            f"is False (torch {torch.__version__}); {remedy}"
        )
    n_devices = torch.cuda.device_count()
    if parts[1] is not None and int(parts[1]) >= n_devices:
        raise ValueError(
            f"device={device!r} does not exist: torch finds {n_devices} CUDA device(s), "
            f"'cuda:0' to 'cuda:{n_devices - 1}'; {remedy}"
        )


def check_control(control, n_samples: int, *, minimum: int = 2) -> np.ndarray:
    """Return the row indices of the control samples of a boolean mask.

    A mask of integers is refused: used as an index it would silently pick rows 0 and 1.

    Parameters
    ----------
    control : array-like of bool, shape (n_samples,), or None
        True where a row is a control. ``None`` means that every row is one.
    n_samples : int
        Number of rows that the mask must have.
    minimum : int, default=2
        Smallest number of controls allowed.

    Returns
    -------
    ndarray of int, shape (n_control,)
        Indices of the control rows.

    Raises
    ------
    ValueError
        If the mask has a wrong length or type, or marks fewer than `minimum` rows.
    """
    if control is None:
        return np.arange(n_samples)
    mask = np.asarray(host_array(control, name="control"))
    if mask.ndim != 1:
        raise ValueError(
            f"control must be one-dimensional with one entry per row of X, got shape {mask.shape}"
        )
    if mask.shape[0] != n_samples:
        raise ValueError(
            f"control must have one entry per row of X: got {mask.shape[0]} entries for "
            f"{n_samples} rows"
        )
    if mask.dtype == object and all(isinstance(entry, (bool, np.bool_)) for entry in mask):
        mask = mask.astype(bool)
    if mask.dtype != np.bool_:
        raise ValueError(
            f"control must be a boolean mask, got dtype {mask.dtype}; "
            "pass for example control=(compound == 'DMSO'), not indices or 0/1 integers"
        )
    rows = np.flatnonzero(mask)
    if rows.size < minimum:
        raise ValueError(
            f"control must mark at least {minimum} control samples, got {rows.size} among "
            f"{n_samples} rows; in cross-validation use folds that each keep controls, "
            "for example StratifiedKFold with the mask as y"
        )
    return rows


def check_choice(name: str, value, choices) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if not (isinstance(value, str) and value in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def check_boolean_or(name: str, value, choices) -> None:
    """Raise ValueError unless `value` is True, False or one of the strings `choices`."""
    if not isinstance(value, (bool, np.bool_)):
        check_choice(name, value, (*choices, True, False))


def check_integer(name: str, value, minimum: int, *, none: bool = False) -> None:
    """Raise unless `value` is an integer (not a bool) of at least `minimum`."""
    if value is None and none:
        return
    allowed = f"an integer >= {minimum}" + (" or None" if none else "")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be {allowed}, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


def check_real(name: str, value, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise unless `value` is a finite real number in [low, high] (or (low, high])."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    bracket = "(" if open_low else "["
    number = float(value)
    if not np.isfinite(number) or not low <= number <= high or (open_low and number == low):
        raise ValueError(f"{name} must be in {bracket}{low:g}, {high:g}], got {value!r}")


def clip_n_nonzero_coefs(
    n_nonzero_coefs: int, n_atoms: int, *, name: str = "n_nonzero_coefs"
) -> int:
    """Clip the number of non-zeros to the number of atoms, with a warning.

    A grid search over sparsity should not crash because one candidate is too large.
    """
    if n_nonzero_coefs <= n_atoms:
        return n_nonzero_coefs
    warnings.warn(
        f"{name}={n_nonzero_coefs} is larger than the number of atoms {n_atoms} "
        f"and is clipped to {n_atoms}",
        UserWarning,
        stacklevel=3,
    )
    return n_atoms


def check_same_length(**arrays) -> None:
    """Raise ValueError naming the arrays when their lengths differ."""
    try:
        check_consistent_length(*arrays.values())
    except ValueError as error:
        names = ", ".join(arrays)
        raise ValueError(f"{names} must have the same number of rows: {error}") from error


def dense_output_container(estimator) -> str:
    """Return the container that ``set_output`` asks transform for: "default", "pandas", ..."""
    return _get_output_config("transform", estimator=estimator)["dense"]


def float_dtypes(xp, device) -> list:
    """Return float64 and float32 of an array namespace, as far as the device has them."""
    if device is None:  # array API dispatch is off: NumPy
        return [np.float64, np.float32]
    supported = supported_float_dtypes(xp, device)
    return [dtype for dtype in supported if dtype in (xp.float64, xp.float32)]


def is_device_array(array) -> bool:
    """Whether `array` is an array of another library than NumPy: a tensor, say."""
    known = hasattr(array, "__dlpack__") and hasattr(array, "device")
    return known and not isinstance(array, np.ndarray)


def to_numpy(array):
    """Copy an array of any library from any device to NumPy (no copy if it lies in host memory)."""
    if not is_device_array(array):
        return array
    with config_context(array_api_dispatch=True):
        return move_to(array, xp=np, device="cpu")


def move_array(array, xp, device):
    """Bring an array to a namespace and device; it is returned itself where it is there already."""
    if _is_numpy_namespace(xp):
        return to_numpy(array)
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.copy()  # older torch warns of memory that it must not write to
    return move_to(array, xp=xp, device=device)


def host_array(array, *, name: str = "X"):
    """Return what runs in NumPy for an input that may be a tensor.

    With scikit-learn's ``array_api_dispatch`` a tensor is copied from its device; without it only
    tensors in host memory can be read. Anything but an array of another library is returned as it
    is: lists, data frames, sparse matrices.

    Parameters
    ----------
    array : object
        The input.
    name : str, default="X"
        Its name, for the error.

    Returns
    -------
    object
        A NumPy array that may share the memory of the tensor, or `array` itself.

    Raises
    ------
    TypeError
        If the tensor cannot be converted.
    """
    if not is_device_array(array):
        return array
    dispatch = get_config()["array_api_dispatch"]
    try:
        return to_numpy(array) if dispatch else np.asarray(array)
    except (BufferError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        remedy = f"pass {name} as a float32 or float64 array in host memory, for example {name}"
        remedy += ".detach().float().cpu()"
        if not dispatch:
            remedy += ", or copy from devices with sklearn.set_config(array_api_dispatch=True)"
        raise TypeError(
            f"{name} of type {type(array).__module__}.{type(array).__name__}, dtype "
            f"{array.dtype}, on device {array.device} cannot be read as a NumPy array ({error}); "
            f"{remedy}"
        ) from error
