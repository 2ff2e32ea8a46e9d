"""Figure 2: binarised CellProfiler features beside a dictionary."""

import numpy as np

from benchmarks.study.arms import show, table
from benchmarks.study.configurations import ICFL
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, spread

TITLE = "Figure 2: CellProfiler features called active at their tails"
TREND = (
    "The most selective CellProfiler feature of a label is more selective than the most selective "
    "ICFL feature, ICFL comes close; the curve of CellProfiler over the number of active features "
    "peaks near 300, and the best scores per label correlate with r = 0.71."
)


def wanted(sets):
    """Data sets with named measurements."""
    return [name for name, data in sets.items() if data.cellprofiler]


def tasks(settings, sets):
    """Both sweeps on every set."""
    return over_seeds("binarizer", wanted(sets), [ICFL], settings)


def usual(settings):
    """Place of the usual sparsity in the sweep."""
    return int(np.argmin(np.abs(np.array(settings.sparsity_factors) - 1)))


def section(results, settings, sets):
    """Sweeps, and the correlation at the usual number of active features."""
    rows, curves, ours, k = [], {}, {}, usual(settings)
    for name in wanted(sets):
        found = results.of("binarizer", name, ICFL)
        means = {
            side: np.array([[np.mean(point["best"]) for point in seed[side]] for seed in found])
            for side in ("binarizer", "dictionary")
        }
        correlation = [
            np.corrcoef(seed["binarizer"][k]["best"], seed["dictionary"][k]["best"])[0, 1]
            if len(seed["labels"]) > 2 else np.nan
            for seed in found
        ]  # fmt: skip
        best = found[0]["binarizer"][k]
        rows.append([
            sets[name].title, f"{best['target']}", f"{best['alpha']:.3f}",
            show(means["binarizer"][:, k]), show(means["dictionary"][:, k]), show(correlation, 2),
        ])  # fmt: skip
        ours[name] = (
            f"{means['binarizer'][:, k].mean():.3f} and {means['dictionary'][:, k].mean():.3f}, "
            f"r = {np.mean(correlation):.2f}"
        )
        curves[name] = {"labels": found[0]["labels"]} | {
            side: {
                "active": np.mean([[p["n_active"] for p in seed[side]] for seed in found], axis=0),
                "mean": means[side].mean(axis=0),
                "spread": [spread(values) for values in means[side].T],
                "best": found[0][side][k]["best"],
            }
            for side in means
        }
    header = ("data", "active features", "alpha", "best per label: binarised", "ICFL", "Pearson r")
    note = (
        "The dictionary is learned from the very features it stands beside, so this compares two "
        "ways to make one set of measurements sparse. A verdict would need learned embeddings of "
        "the same wells, which no set here has. All rows are used for both, as in the paper."
    )
    text = "CellProfiler's best features are more selective than ICFL's, which come close; r = 0.71"
    return {
        "claims": [claim("Figure 2", text, "0.78 to 0.18 and 0.42 to 0.22", ours, {})],
        "tables": [table("", header, rows, note)],
        "curves": curves,
    }
