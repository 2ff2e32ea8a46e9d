"""The sweep over sparsity that Figures 4B and 4C share."""

from dataclasses import replace

from benchmarks.study.arms import STATES, arm
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import spread

WANTED = ("jump", "pediatric", "cmqtl", "planted")
MODELS = ("ICFL", "TopK")


def wanted(sets):
    """Data sets of the sweep."""
    return [name for name in WANTED if name in sets]


def levels(data, settings):
    """Numbers of non-zeros."""
    return [max(1, round(factor * data.n_nonzero)) for factor in settings.sparsity_factors]


def at(configuration, n_nonzero, data):
    """The configuration with so many non-zeros; the usual number is not written down."""
    return replace(configuration, n_nonzero=None if n_nonzero == data.n_nonzero else n_nonzero)


def tasks(settings, sets):
    """All arms at all levels."""
    return [
        task
        for name in wanted(sets)
        for n_nonzero in levels(sets[name], settings)
        for task in over_seeds(
            "evaluate",
            [name],
            [at(arm(m, s), n_nonzero, sets[name]) for m in MODELS for s in STATES],
            settings,
        )
    ]


def curves(results, settings, sets, *path):
    """A figure by data set, arm, level: arrays over seeds."""
    return {
        name: {
            f"{model}, whitening {state}": [
                results.values(name, at(arm(model, state), n_nonzero, sets[name]), *path)
                for n_nonzero in levels(sets[name], settings)
            ]
            for model in MODELS
            for state in STATES
        }
        for name in wanted(sets)
    }


def plotted(found, results, settings, sets):
    """Means and spreads of curves over the non-zeros of held-out rows, for a picture."""
    n_active = curves(results, settings, sets, "n_active")
    return {
        name: {
            label: {
                "x": [values.mean() for values in n_active[name][label]],
                "mean": [values.mean() for values in line],
                "spread": [spread(values) for values in line],
            }
            for label, line in lines.items()
        }
        for name, lines in found.items()
    }
