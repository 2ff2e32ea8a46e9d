"""Figure 4B: what a probe reads from reconstructions, over sparsity."""

from benchmarks.study import sparsity
from benchmarks.study.arms import show, table
from benchmarks.study.stages import over_seeds
from benchmarks.study.table2 import RAW
from benchmarks.study.verdicts import claim, is_higher

TITLE = "Figure 4B: accuracy over sparsity"
TREND = "Accuracy rises with the number of non-zeros, but whitening matters more than sparsity."


def tasks(settings, sets):
    """The sweep, and probes on the rows themselves to compare with."""
    raw = over_seeds("raw", sparsity.wanted(sets), [RAW], settings)
    return sparsity.tasks(settings, sets) + raw


def section(results, settings, sets):
    """Curves of reconstructions and codes, claims about those of reconstructions."""
    found = sparsity.curves(results, settings, sets, "accuracy", "reconstruction")
    codes = sparsity.curves(results, settings, sets, "accuracy", "codes")
    rises, matters = ({}, {}), ({}, {})
    rows = []
    for name, lines in found.items():
        levels = sparsity.levels(sets[name], settings)
        for label, line in lines.items():
            for what, values in (("reconstruction", line), ("codes", codes[name][label])):
                cells = [f"{k}: {v.mean():.3f}" for k, v in zip(levels, values)]
                rows.append([sets[name].title, label, what, "; ".join(cells)])
        on, off = lines["ICFL, whitening on"], lines["ICFL, whitening off"]
        usual = min(range(len(levels)), key=lambda k: abs(levels[k] - sets[name].n_nonzero))
        gain, by_sparsity = on[usual] - off[usual], on[-1] - on[0]
        rises[0][name] = f"{show(on[0])} to {show(on[-1])}"
        matters[0][name] = f"{show(gain)} by whitening, {show(by_sparsity)} by non-zeros"
        if sets[name].claims:
            rises[1][name] = is_higher(on[-1], on[0])
            matters[1][name] = is_higher(gain, by_sparsity)
    figure = "Figure 4B"
    return {
        "claims": [
            claim(
                figure,
                "ICFL's reconstructions are read better with more non-zeros",
                "rises",
                *rises,
            ),
            claim(
                figure, "Whitening adds more than all of the sweep over non-zeros", "yes", *matters
            ),
        ],
        "tables": [table("", ("data", "arm", "read from", "non-zeros: accuracy"), rows)],
        "curves": sparsity.plotted(found, results, settings, sets),
        "raw": {name: results.values(name, RAW, "accuracy", kind="raw").mean() for name in found},
    }
