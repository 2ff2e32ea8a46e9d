"""What dictionary, encoder and whitening buy at equal sparsity, factor by factor.

Eight arms: atoms learned by ICFL or by TopK; coded by pursuit or in one step; whitening on or
off. One step is TopK's own encoder for its own atoms, and the tied encoder for ICFL's.
"""

from dataclasses import replace

import numpy as np

from benchmarks.study.arms import STATES, claiming, show, table
from benchmarks.study.configurations import ICFL, TOPK, whitened
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import spread

TITLE = "Which of ICFL, TopK and whitening buys what?"
TREND = (
    "The paper compares ICFL with TopK, atoms and encoder at once. Here atoms, encoder and "
    "whitening vary one by one, at equal numbers of non-zeros."
)
ENCODERS = {
    ("ICFL", "pursuit"): ICFL,
    ("ICFL", "one step"): replace(ICFL, encoder="topk"),
    ("TopK", "pursuit"): replace(TOPK, encoder="icfl"),
    ("TopK", "one step"): TOPK,
}
FIGURES = {
    "cosine, input space": ("cosine_input",),
    "held-out selectivity": ("held_selectivity",),
    "accuracy, codes": ("accuracy", "codes"),
    "accuracy, reconstructions": ("accuracy", "reconstruction"),
}
RECOVERY = {"planted atoms found": ("recovered",)}
FACTORS = {
    "atoms: ICFL - TopK": lambda dictionary, encoder, state: dictionary == "ICFL",
    "encoder: pursuit - one step": lambda dictionary, encoder, state: encoder == "pursuit",
    "whitening: on - off": lambda dictionary, encoder, state: state == "on",
}


def arms():
    """The eight arms by (atoms, encoder, whitening)."""
    return {
        (*names, state): whitened(configuration, state)
        for names, configuration in ENCODERS.items()
        for state in STATES
    }


def tasks(settings, sets):
    """All eight on every set that carries claims."""
    return over_seeds("evaluate", claiming(sets), arms().values(), settings)


def effect(values, is_first):
    """Main effect of a factor by seed: mean of the arms with its first level minus the others.

    Parameters
    ----------
    values : dict of ndarray
        Figures over seeds, by arm.
    is_first : callable
        Whether an arm has the first level.
    """
    first = [value for names, value in values.items() if is_first(*names)]
    second = [value for names, value in values.items() if not is_first(*names)]
    return np.mean(first, axis=0) - np.mean(second, axis=0)


def noise(values):
    """Typical spread over seeds: root mean square over the arms."""
    return float(np.sqrt(np.mean([spread(value) ** 2 for value in values.values()])))


def section(results, settings, sets):
    """Effects with their size in units of the spread, and the eight arms."""
    effects, rows = [], []
    for name in claiming(sets):
        data = sets[name]
        figures = FIGURES | ({} if data.truth is None else RECOVERY)
        for figure, path in figures.items():
            values = {
                names: results.values(name, configuration, *path)
                for names, configuration in arms().items()
            }
            cells = []
            for is_first in FACTORS.values():
                change = effect(values, is_first)
                scale = noise(values)
                size = f" ({change.mean() / scale:+.1f})" if scale > 0 else ""
                cells.append(show(change) + size)
            effects.append([data.title, figure, *cells])
        for names, configuration in arms().items():
            shown = [
                show(results.values(name, configuration, *path))
                for path in (FIGURES | RECOVERY).values()
            ]
            rows.append([data.title, *names, *shown])
    note = (
        "Mean over the four pairs of arms that differ in one factor only, ± spread over seeds; in "
        "brackets in units of the typical spread of an arm over seeds."
    )
    header = ("data", "figure", *FACTORS)
    return {
        "claims": [],
        "tables": [
            table("Effects", header, effects, note),
            table("The arms", ("data", "atoms", "encoder", "whitening", *FIGURES, *RECOVERY), rows),
        ],
    }
