"""What a file has to hold for an estimator: kinds, shapes, finite numbers, and what fits together.

``save`` asks the same, so that what was saved can be loaded.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from skdict.persistence._errors import ModelFileError
from skdict.persistence._models import CLASSES

# Entries looked at together for NaN.
_BLOCK = 2**20


def check_attributes(name: str, attributes: dict[str, Any], *, finite: bool = True):
    """Check the fitted attributes of an estimator; sizes of the axes by name.

    Parameters
    ----------
    name : str
        Name of its class.
    attributes : dict of str to object
        Fitted attributes.
    finite : bool, default=True
        Whether to look for NaN and infinity in arrays, which reads all of them.

    Returns
    -------
    dict of str to int
        ``"features"``, ``"atoms"``, ...: the sizes that it has.

    Raises
    ------
    ModelFileError
        If one is missing, unknown, or of another kind or shape.
    """
    expected = CLASSES[name].attributes
    missing = [key for key, held in expected.items() if key not in attributes and not held.optional]
    unknown = sorted(set(attributes) - set(expected))
    some = [key for key in CLASSES[name].together if key in attributes]
    if some and len(some) < len(CLASSES[name].together):
        missing += sorted(set(CLASSES[name].together) - set(some))
    if missing or unknown:
        raise ModelFileError(
            f"{name} lacks the attributes {missing} and has the unknown {unknown}: it is damaged "
            "or of another version of skdict"
        )
    sizes = {}
    if "n_features_in_" in attributes:
        if not expected["n_features_in_"].check(attributes["n_features_in_"]):
            raise ModelFileError(f"n_features_in_ of {name} must be a number of features")
        sizes["features"] = int(attributes["n_features_in_"])
    for key, value in attributes.items():
        _check_held(f"{key} of {name}", value, expected[key], sizes, finite)
    if "_moments" in attributes:
        _check_moments(attributes["_moments"], sizes["features"], finite)
    if "atoms" in sizes:
        _check_dictionary(name, attributes, sizes)
    return sizes


def _check_held(name, value, held, sizes, finite):
    if value is None and held.none:
        return
    if held.sizes is None:
        if not held.check(value):
            raise ModelFileError(f"{name} must not be {str(value)[:80]}")
        return
    if not isinstance(value, np.ndarray) or value.ndim != len(held.sizes):
        raise ModelFileError(f"{name} must be an array with {len(held.sizes)} axes")
    if value.dtype.kind != held.kind:
        raise ModelFileError(f"{name} must not hold {value.dtype}")
    for axis, size in zip(held.sizes, value.shape):
        if sizes.setdefault(axis, size) != size or size == 0:
            raise ModelFileError(
                f"{name} has shape {value.shape}, but the number of {axis} is {sizes[axis]}"
            )
    if finite and held.kind == "f" and not _is_finite(value, held.infinite):
        raise ModelFileError(f"{name} holds NaN or infinity: it cannot be used")


def _is_finite(array, infinite):
    flat = array.ravel(order="K")  # no copy of a contiguous array, mapped ones stay where they are
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if np.isnan(block).any() if infinite else not np.isfinite(block).all():
            return False
    return True


def _check_moments(moments, n_features, finite):
    _, mean, scatter = moments
    for part, sizes in ((mean, ("features",)), (scatter, ("features", "features"))):
        held = CLASSES["ControlPCAWhitener"].attributes["mean_"]._replace(sizes=sizes)
        _check_held("the moments of the controls", part, held, {"features": n_features}, finite)


def _check_dictionary(name, attributes, sizes):
    n_atoms, width = attributes["_n_atoms"], attributes["_n_nonzero_coefs"]
    if sizes["atoms"] != n_atoms:
        raise ModelFileError(f"components_ of {name} has {sizes['atoms']} rows, not {n_atoms}")
    if width > n_atoms:
        raise ModelFileError(f"{name} cannot choose {width} of {n_atoms} atoms")
    types = {
        attributes[key].dtype
        for key in ("components_", "intercept_", "encoder_", "encoder_bias_")
        if key in attributes
    }
    if len(types) != 1 or not types <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise ModelFileError(
            f"the arrays of {name} must be float32 or float64, got {sorted(map(str, types))}"
        )


def check_agreement(name: str, estimator, sizes: dict[str, int]) -> None:
    """Raise ModelFileError unless parameters and attributes fit together.

    Parameters
    ----------
    name : str
        Name of the class.
    estimator : estimator
        With parameters and attributes set.
    sizes : dict of str to int
        What `check_attributes` returned.
    """
    # What a transformer does first is to use these.
    needed = {
        "StandardScaler": {"with_mean": "mean_", "with_std": "scale_"},
        "RobustScaler": {"with_centering": "center_", "with_scaling": "scale_"},
    }
    for parameter, attribute in needed.get(name, {}).items():
        if getattr(estimator, parameter) and getattr(estimator, attribute) is None:
            raise ModelFileError(f"{name} with {parameter}=True needs {attribute}, but it is None")
    for range_of in ("feature_range", "quantile_range"):
        bounds = getattr(estimator, range_of, (0, 1))
        is_pair = len(bounds) == 2 and all(isinstance(b, (Real, np.generic)) for b in bounds)
        if not is_pair or not -np.inf < bounds[0] <= bounds[1] < np.inf:
            raise ModelFileError(f"{range_of} of {name} must be two numbers, got {bounds}")
    if name != "ControlPCAWhitener":
        return
    kept, features = sizes["kept"], sizes["features"]
    if kept > features or (estimator.method == "center" and kept != features):
        raise ModelFileError(f"{name} cannot give {kept} features of {features}")
    if sizes.get("directions", 0) > features:
        raise ModelFileError(f"{name} cannot have {sizes['directions']} directions")
