"""What is saved of each class.

The classes that can be saved are listed here by name. A file names a class; nothing in it is
imported or called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from skdict import _icfl, _topk_sae, _whitening

# Training curves, and whether they are of whole numbers.
CURVES = {"step": "i", "loss": "f", "dead_fraction": "f", "n_resets": "i"}


class Held(NamedTuple):
    """What an attribute is.

    ``sizes`` names the axes of an array; equal names are equal sizes within an estimator, and
    ``"features"`` is its number of features. None stands for a plain value, which ``check`` takes.
    """

    sizes: tuple[str, ...] | None = None
    check: Callable[[Any], bool] = lambda value: True
    kind: str = "f"  # of the entries of an array
    optional: bool = False  # may be missing
    none: bool = False  # may be None
    infinite: bool = False  # may hold infinity


class SavedClass(NamedTuple):
    """A class that can be saved, and its fitted attributes by name."""

    estimator: type
    attributes: dict[str, Held]
    # Parameters that belong to a run, not to a model: default values are loaded.
    not_saved: tuple[str, ...] = ()
    # Parameters that a file must hold; None for all. Of scikit-learn's classes, which get new ones
    # from version to version, those that this schema knows; others take their default.
    parameters: tuple[str, ...] | None = None
    # Attributes that are there together or not at all.
    together: tuple[str, ...] = ()


def _whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0


def _at_least_one(value):
    return _whole(value) and value > 0


def _positive(value):
    return isinstance(value, (float, np.floating)) and np.isfinite(value) and value > 0


def _not_negative(value):
    return isinstance(value, (float, np.floating)) and np.isfinite(value) and value >= 0


def _curves(value):
    # partial_fit appends to all of them
    return (
        isinstance(value, dict) and set(value) == set(CURVES)
        and all(isinstance(curve, np.ndarray) and curve.ndim == 1 for curve in value.values())
        and len({curve.size for curve in value.values()}) == 1
        # without points there are no whole numbers to tell a type by
        and all(curve.dtype.kind == CURVES[name] or (curve.size == 0 and curve.dtype.kind == "f")
                for name, curve in value.items())
    )  # fmt: skip


def _counted(value):
    if _not_negative(value) or _whole(value):
        return True
    return (
        isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim == 1
        and bool(np.isfinite(value).all() and (value >= 0).all())
    )  # fmt: skip


def _output_config(value):
    return isinstance(value, dict) and all(
        key == "transform" and container in ("default", "pandas", "polars")
        for key, container in value.items()
    )


def _fingerprint(value):
    return (
        isinstance(value, dict) and set(value) == {"shape", "dtype", "digest"}
        and isinstance(value["shape"], list) and len(value["shape"]) == 2
        and all(map(_at_least_one, value["shape"]))
        and isinstance(value["dtype"], str) and isinstance(value["digest"], str)
    )  # fmt: skip


def _moments(value):
    return isinstance(value, tuple) and len(value) == 3 and _whole(value[0])


_COMMON = {
    "n_features_in_": Held(check=_at_least_one),
    "feature_names_in_": Held(("features",), kind="O", optional=True),
    # set_output
    "_sklearn_output_config": Held(check=_output_config, optional=True),
}
_DICTIONARY = {
    **_COMMON,
    "components_": Held(("atoms", "features")),
    "intercept_": Held(("features",)),
    "_n_atoms": Held(check=_at_least_one),
    "_n_nonzero_coefs": Held(check=_at_least_one),
    "_scale": Held(check=_positive),
    "n_steps_": Held(check=_whole),
    "n_iter_": Held(check=_whole),
    "history_": Held(check=_curves),
    # where the data came from
    "_data": Held(check=_fingerprint, optional=True, none=True),
}
_RUN = ("checkpoint", "resume", "verbose")
# A whitener from a model of SAELens knows the matrix alone.
_OF_CONTROLS = {
    "explained_variance_": Held(("directions",), optional=True),
    # infinite for a feature that is constant among controls, and not zero
    "outlier_severity_": Held(("features",), optional=True, infinite=True),
    "epsilon_": Held(check=_not_negative, optional=True),
    "n_control_": Held(check=_whole, optional=True),
    "_resolution": Held(check=_not_negative, optional=True),
    "_moments": Held(check=_moments, optional=True),
}
_COUNTED = Held(check=_counted)


def _per_feature(*names, **options):
    return {name: Held(("features",), **options) for name in names}


CLASSES = {
    "ICFLDictionary": SavedClass(
        _icfl.ICFLDictionary,
        {**_DICTIONARY, "_weights": Held(("atoms",), none=True)},
        not_saved=_RUN,
    ),
    "TopKSAE": SavedClass(
        _topk_sae.TopKSAE,
        {
            **_DICTIONARY,
            "encoder_": Held(("atoms", "features")),
            "encoder_bias_": Held(("atoms",)),
            "_variance": Held(check=_positive),
        },
        not_saved=_RUN,
    ),
    "ControlPCAWhitener": SavedClass(
        _whitening.ControlPCAWhitener,
        {
            **_COMMON,
            "mean_": Held(("features",)),
            "components_": Held(("kept", "features")),
            "_inverse": Held(("features", "kept")),
            **_OF_CONTROLS,
        },
        together=tuple(_OF_CONTROLS),
    ),
    # It works without having been fitted, and is then put between fitted estimators.
    "Normalizer": SavedClass(
        Normalizer,
        {**_COMMON, "n_features_in_": Held(check=_at_least_one, optional=True)},
        parameters=("norm", "copy"),
    ),
    "StandardScaler": SavedClass(
        StandardScaler,
        {**_COMMON, **_per_feature("mean_", "var_", "scale_", none=True),
         "n_samples_seen_": _COUNTED},
        parameters=("copy", "with_mean", "with_std"),
    ),
    "MinMaxScaler": SavedClass(
        MinMaxScaler,
        {**_COMMON, **_per_feature("min_", "scale_", "data_min_", "data_max_", "data_range_"),
         "n_samples_seen_": _COUNTED},
        parameters=("feature_range", "copy", "clip"),
    ),
    "MaxAbsScaler": SavedClass(
        MaxAbsScaler,
        {**_COMMON, **_per_feature("max_abs_", "scale_"), "n_samples_seen_": _COUNTED},
        parameters=("copy", "clip"),
    ),
    "RobustScaler": SavedClass(
        RobustScaler,
        {**_COMMON, **_per_feature("center_", "scale_", none=True)},
        parameters=("with_centering", "with_scaling", "quantile_range", "copy", "unit_variance"),
    ),
}  # fmt: skip


def class_of(estimator) -> tuple[str, SavedClass]:
    """Name and entry of the class of an estimator.

    Parameters
    ----------
    estimator : estimator
        What is to be saved.

    Raises
    ------
    TypeError
        If estimators of this class are not saved.
    """
    for name, saved in CLASSES.items():
        if type(estimator) is saved.estimator:
            return name, saved
    raise TypeError(
        f"model must be one of {', '.join(CLASSES)}, or a Pipeline of these, got "
        f"{type(estimator).__name__}; joblib and skops save others"
    )
