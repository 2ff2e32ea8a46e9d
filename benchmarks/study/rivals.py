"""Whitening with simple baselines, beside ICFL and TopK at the same number of non-zeros."""

from benchmarks.study.arms import MODELS, STATES, claiming, show, table
from benchmarks.study.configurations import Configuration, whitened
from benchmarks.study.factorial import FIGURES
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import is_higher

TITLE = "Simple baselines, with and without whitening"
TREND = (
    "A reviewer of the paper suspects that whitening does most of the work. None of these "
    "baselines is in it."
)
NAMES = {
    "random": "random atoms, pursuit",
    "pca": "PCA",
    "ica": "ICA",
    "nmf": "NMF of shifted data",
    "neurons": "neurons",
    "minibatch": "MiniBatchDictionaryLearning, OMP",
}


def arms(settings):
    """Configurations by name."""
    baselines = {NAMES[name]: Configuration(dictionary=name) for name in settings.baselines}
    return MODELS | baselines


def wanted(sets):
    """Real data sets that carry claims."""
    return [name for name in claiming(sets) if name != "planted"]


def tasks(settings, sets):
    """All with and without whitening."""
    both = [
        whitened(configuration, state)
        for configuration in arms(settings).values()
        for state in STATES
    ]
    return over_seeds("evaluate", wanted(sets), both, settings)


def section(results, settings, sets):
    """One row per arm; where ICFL with whitening is higher or lower by the rule of seeds."""
    rows = []
    for name in wanted(sets):
        reference = {
            figure: results.values(name, MODELS["ICFL"], *path) for figure, path in FIGURES.items()
        }
        for label, configuration in arms(settings).items():
            for state in STATES:
                cells = []
                for figure, path in FIGURES.items():
                    values = results.values(name, whitened(configuration, state), *path)
                    mark = ""
                    if is_higher(values, reference[figure]):
                        mark = " ▲"
                    elif is_higher(reference[figure], values):
                        mark = " ▽"
                    cells.append(show(values) + mark)
                rows.append([sets[name].title, label, state, *cells])
    note = (
        "▲ higher and ▽ lower than ICFL with whitening by the rule of seeds. All codes have the "
        "same number of non-zeros. MiniBatchDictionaryLearning makes 2 passes, "
        "NMF 50, ICA at most 200 iterations: more would take most of the study's time."
    )
    return {
        "claims": [],
        "tables": [table("", ("data", "model", "whitening", *FIGURES), rows, note)],
    }
