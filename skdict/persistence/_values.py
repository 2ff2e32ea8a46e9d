"""Parameters and attributes as JSON that gives back the same values, bit by bit.

Numbers, strings, True, False and None stand for themselves. Everything else is an object with one
key, which says what it is; arrays go to the file beside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skdict.persistence._array_file import WRITABLE
from skdict.persistence._errors import ModelFileError
from skdict.persistence._json_file import LARGEST, SMALLEST

# Length of the state of a Mersenne Twister; its position may be one behind the last number.
_KEY_LENGTH = 624


def to_json(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON.

    Parameters
    ----------
    value : object
        The value.
    name : str
        Its name, for errors and for its array.
    arrays : dict of str to ndarray
        Where arrays go.

    Raises
    ------
    TypeError
        If it is of a kind that is not written.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int and SMALLEST <= value <= LARGEST:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is np.str_:
        return {"text": str(value)}
    if kind is np.random.RandomState:
        return _random_state_to_json(value, name, arrays)
    if kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        return _array_to_json(np.asarray(value), isinstance(value, np.generic), name, arrays)
    if kind in (tuple, list):
        entries = [to_json(entry, f"{name}.{i}", arrays) for i, entry in enumerate(value)]
        return {kind.__name__: entries}
    if kind is dict and all(type(key) is str for key in value):
        return {"dict": {key: to_json(v, f"{name}.{key}", arrays) for key, v in value.items()}}
    raise TypeError(
        f"{name} is {str(value)[:80]!r} of type {kind.__name__}, which is not saved; numbers of 64 "
        "bits, strings, arrays and tuples, lists and dictionaries of these are"
    )


def _random_state_to_json(value, name, arrays):
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(
            f"{name} is a RandomState on {state['bit_generator']}, which is not saved; a number "
            "or RandomState(seed) is"
        )
    key = _array_to_json(state["state"]["key"].copy(), False, name, arrays)
    position, has_gauss = int(state["state"]["pos"]), int(state["has_gauss"])
    return {"random state": [key, position, has_gauss, float(state["gauss"])]}


def _array_to_json(array, is_scalar, name, arrays):
    if array.dtype.kind in "UO":
        strings = array.tolist()
        if array.ndim != 1 or not all(isinstance(string, str) for string in strings):
            raise TypeError(f"{name} must be an array of numbers or a list of strings to be saved")
        return {"strings": [str(string) for string in strings]}
    if array.dtype not in WRITABLE:
        raise TypeError(f"{name} is an array of type {array.dtype}, which is not saved")
    key = name.encode(errors="replace").decode()  # half a sign cannot be in their file
    while key in arrays:  # names of steps may hold points as well
        key += "'"
    # The order in memory decides how BLAS rounds.
    by_column = array.flags.f_contiguous and not array.flags.c_contiguous
    arrays[key] = array.T if by_column else array
    return {"scalar" if is_scalar else "transposed" if by_column else "array": key}


def from_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value that `to_json` wrote.

    Parameters
    ----------
    value : object
        Parsed JSON.
    arrays : dict of str to ndarray
        Arrays of the file beside; those that are used are taken out.

    Raises
    ------
    ModelFileError
        If it is none of what is written.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ModelFileError(f"the model file holds {str(value)[:80]!r} where a value belongs")
    kind, content = next(iter(value.items()))
    if kind not in _READERS:
        raise ModelFileError(
            f"the model file holds a value of the unknown kind {kind[:80]!r}: it is damaged or of "
            "a newer skdict"
        )
    try:
        return _READERS[kind](content, arrays)
    except ModelFileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"the model file holds no {kind}: {str(error)[:300]}") from error


def _array(name, arrays):
    if name not in arrays:
        raise ValueError(f"the array {str(name)[:80]!r} is missing, or used twice")
    return arrays.pop(name)


def _transposed(name, arrays):
    array = _array(name, arrays)
    if array.ndim < 2:
        raise ValueError(f"{name[:80]!r} has fewer than two axes")
    return array.T


def _scalar(name, arrays):
    array = _array(name, arrays)
    if array.ndim != 0:
        raise ValueError(f"{name[:80]!r} has shape {array.shape}")
    return array[()]


def _text(content, arrays):
    if not isinstance(content, str):
        raise ValueError("no string")
    return np.str_(content)


def _strings(content, arrays):
    if not isinstance(content, list) or not all(isinstance(entry, str) for entry in content):
        raise ValueError("not all are strings")
    strings = np.empty(len(content), object)
    strings[:] = content
    return strings


def _random_state(content, arrays):
    written, position, has_gauss, gauss = content
    key = from_json(written, arrays)
    # set_state reads memory beyond the key if it is told to.
    valid = (
        isinstance(key, np.ndarray) and key.dtype == np.uint32 and key.shape == (_KEY_LENGTH,)
        and type(position) is int and 0 <= position <= _KEY_LENGTH
        and type(has_gauss) is int and has_gauss in (0, 1) and type(gauss) is float
    )  # fmt: skip
    if not valid:
        raise ValueError("not the state of a Mersenne Twister")
    state = np.random.RandomState(0)
    state.set_state(("MT19937", key, position, has_gauss, gauss))
    return state


def _list(content, arrays):
    if not isinstance(content, list):
        raise ValueError("no list")
    return [from_json(entry, arrays) for entry in content]


_READERS = {
    "array": _array,
    "transposed": _transposed,
    "scalar": _scalar,
    "float": lambda text, arrays: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[text],
    "text": _text,
    "strings": _strings,
    "random state": _random_state,
    "list": _list,
    "tuple": lambda content, arrays: tuple(_list(content, arrays)),
    "dict": lambda content, arrays: {key: from_json(v, arrays) for key, v in content.items()},
}
