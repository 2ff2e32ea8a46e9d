"""Checks shared by the estimators, and the only imports of optional packages by name.

Errors raised here name the parameter, the value that was given and what would be right.
"""

from __future__ import annotations

import importlib
import warnings
from numbers import Integral, Real
from types import ModuleType

import numpy as np
from sklearn.utils import check_consistent_length
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
    "check_integer",
    "check_real",
    "check_same_length",
    "clip_n_nonzero_coefs",
    "dense_output_container",
    "import_optional",
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
    mask = np.asarray(control)
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
