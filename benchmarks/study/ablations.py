"""One change at a time from the recipe: what each part of it does."""

from dataclasses import replace

from benchmarks.study.arms import show, table
from benchmarks.study.configurations import ICFL, TOPK, TOPK_PLAIN
from benchmarks.study.factorial import FIGURES
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import is_higher

TITLE = "Ablations"
TREND = "The paper varies none of these; reviewers asked for them."
WANTED = ("jump", "cmqtl")
# At equal budget: J times L is the number of non-zeros throughout.
OF_ICFL = {
    "L = 1, J = 20 (matching pursuit)": {"atoms_per_step": 1},
    "L = 2, J = 10": {"atoms_per_step": 2},
    "L = 10, J = 2": {"atoms_per_step": 10},
    "L = 20, J = 1": {"atoms_per_step": 20},
    "no resets": {"reset_every": None},
    "one pass": {"passes": 1},
    "5 passes": {"passes": 5},
    "20 passes": {"passes": 20},
    "refit of all chosen atoms": {"refit": True},
    "absolute selection": {"selection": "absolute"},
    "starts from rows": {"init": "samples"},
    "online solver": {"solver": "online"},
    "constant learning rate": {"schedule": "constant"},
    "half as many atoms": {"size": 0.5},
    "twice as many atoms": {"size": 2.0},
    "whitening, epsilon 1e-6": {"epsilon": 1e-6},
    "whitening, epsilon 0.001": {"epsilon": 1e-3},
    "whitening, epsilon 0.01": {"epsilon": 1e-2},
    "whitening, epsilon 0.1": {"epsilon": 1e-1},
    "whitening, ZCA": {"whitening": "zca"},
    "batches aligned on controls": {"aligned": True},
    "aligned, no whitening": {"aligned": True, "whitening": "center"},
    "no whitening": {"whitening": "center"},
}
OF_TOPK = {
    "no AuxK": {"auxk": False},
    "separate random encoder": {"init": "linear"},
    "neither (the paper's text)": {"auxk": False, "init": "linear"},
    "20 passes": {"passes": 20},
    "180 passes": {"passes": 180},
    "rate x 0.3": {"rate_factor": 0.3},
    "rate x 3": {"rate_factor": 3.0},
    "batches aligned on controls": {"aligned": True},
    "no whitening": {"whitening": "center"},
}
REFERENCES = {"ICFL": (ICFL, OF_ICFL), "TopK": (TOPK, OF_TOPK)}


def wanted(sets):
    """Data sets of the ablations."""
    return [name for name in WANTED if name in sets]


def tasks(settings, sets):
    """The references and every change."""
    arms = [
        configuration
        for reference, changes in REFERENCES.values()
        for configuration in [reference, *(replace(reference, **c) for c in changes.values())]
    ]
    return over_seeds("evaluate", wanted(sets), [*arms, TOPK_PLAIN], settings)


def section(results, settings, sets):
    """Differences from the reference, paired by seed."""
    tables = []
    for model, (reference, changes) in REFERENCES.items():
        rows = []
        for name in wanted(sets):
            base = {
                figure: results.values(name, reference, *path) for figure, path in FIGURES.items()
            }
            rows.append([sets[name].title, f"{model}: the reference", *map(show, base.values())])
            for label, change in changes.items():
                cells = []
                for figure, path in FIGURES.items():
                    values = results.values(name, replace(reference, **change), *path)
                    mark = ""
                    if is_higher(values, base[figure]):
                        mark = " ▲"
                    elif is_higher(base[figure], values):
                        mark = " ▽"
                    difference = values - base[figure]
                    cells.append(f"{difference.mean():+.3f}{mark}")
                rows.append([sets[name].title, label, *cells])
        note = (
            "Mean difference from the reference over seeds; ▲ higher and ▽ lower by the rule of "
            f"seeds. The reference has whitening, {settings.passes} passes and the default rate."
        )
        tables.append(
            table(f"{model}, one change at a time", ("data", "change", *FIGURES), rows, note)
        )
    return {"claims": [], "tables": tables}
