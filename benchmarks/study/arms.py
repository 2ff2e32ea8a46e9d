"""The arms that most tables and figures compare, their names, and how figures are shown."""

import numpy as np

from benchmarks.study.configurations import ICFL, TOPK, TOPK_PLAIN, WHITENING, whitened
from benchmarks.study.verdicts import spread

MODELS = {"ICFL": ICFL, "TopK": TOPK, "TopK without AuxK": TOPK_PLAIN}
STATES = tuple(WHITENING)  # "off", "on"


def arm(model, state):
    """Configuration of a model with whitening "on" or "off"."""
    return whitened(MODELS[model], state)


def all_arms(models=("ICFL", "TopK")):
    """Configurations of these models, with and without whitening."""
    return [arm(model, state) for state in STATES for model in models]


def show(values, digits=3):
    """Mean and spread over seeds as text."""
    values = np.asarray(values, float)
    if np.isnan(values).all():
        return "-"
    text = f"{np.mean(values):.{digits}f}"
    return text if values.size < 2 else f"{text} ± {spread(values):.{digits}f}"


def show_interval(interval, digits=3):
    """A difference with its interval as text."""
    return (
        f"{interval['difference']:+.{digits}f} "
        f"[{interval['low']:+.{digits}f}, {interval['high']:+.{digits}f}]"
    )


def table(title, header, rows, note=""):
    """A table of a section."""
    return {
        "title": title,
        "header": list(header),
        "rows": [list(row) for row in rows],
        "note": note,
    }


def claiming(sets):
    """Names of the data sets that carry claims."""
    return [name for name, data in sets.items() if data.claims]
