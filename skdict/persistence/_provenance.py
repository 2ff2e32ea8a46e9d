"""Where a model comes from: versions, data, training."""

from __future__ import annotations

import math
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "torch")


def provenance_of(steps) -> dict[str, Any]:
    """Versions of the packages, the time, and the data and length of each fit.

    Parameters
    ----------
    steps : list of (str, estimator)
        The fitted estimators.
    """
    from skdict._version import __version__

    versions = {"skdict": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    fits = {name: _fit_of(step) for name, step in steps if hasattr(step, "history_")}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"saved": now, "versions": versions, "fits": fits}


def _fit_of(dictionary) -> dict[str, Any]:
    curves = dictionary.history_
    last = {name: _last(curve) for name, curve in curves.items() if len(curve)}
    last["n_resets"] = int(curves["n_resets"].sum()) if "n_resets" in curves else 0
    data = getattr(dictionary, "_data", None)
    return {
        "data": None if data is None else dict(data),
        "steps": int(dictionary.n_steps_),
        "passes": int(dictionary.n_iter_),
        "end": last,
    }


def _last(curve):
    """Last point of a curve, None where it is no number: JSON has no NaN."""
    point = curve[-1].item()
    return point if math.isfinite(point) else None
