"""Table 2: how well labels are read from the rows, and how many features are selective."""

from benchmarks.study.arms import show, table
from benchmarks.study.configurations import ICFL, Configuration
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_higher

TITLE = "Table 2: tasks and selective features"
TREND = (
    "A probe on the embeddings reads five tasks with balanced accuracies from 0.97 to 0.32. ICFL "
    "with whitening has 73, 11, 0, 0, 0 features with an average selectivity above 0.5 and 455, "
    "77, 141, 2, 37 above 0.2."
)
RAW = Configuration(whitening="raw")


def tasks(settings, sets):
    """A probe on the rows, and ICFL with whitening."""
    return over_seeds("raw", sets, [RAW], settings) + over_seeds("evaluate", sets, [ICFL], settings)


def section(results, settings, sets):
    """One row per data set."""
    rows, ours, outcomes = [], {}, {}
    for name, data in sets.items():
        raw = results.of("raw", name, RAW)
        found = [results.values(name, ICFL, "counts", k) for k in range(2)]
        chance = [results.values(name, ICFL, "chance_counts", k) for k in range(2)]
        rows.append([
            data.title, data.label, data.holds_out, f"{len(raw[0]['labels'])}",
            f"{raw[0]['n_rows']:,} in {raw[0]['n_units']:,}",
            show([result["accuracy"] for result in raw]),
            *(f"{show(found[k], 1)} ({chance[k].mean():.1f})" for k in range(2)),
        ])  # fmt: skip
        ours[name] = f"{found[1].mean():.1f}, permuted labels {chance[1].mean():.1f}"
        if data.claims:
            outcomes[name] = is_higher(found[1], chance[1])
    header = (
        "data", "label", "held out", "classes", "rows in units", "BTA of the rows",
        "features > 0.5 (permuted)", "features > 0.2 (permuted)",
    )  # fmt: skip
    text = "More features have an average selectivity above 0.2 than with permuted labels"
    note = (
        "Balanced accuracy (BTA) on held-out groups; counts on all rows that are not controls, as "
        "in the paper, mean over the folds' dictionaries. In brackets: labels permuted among units."
    )
    paper = "2 to 455 features, no permutation"
    return {
        "claims": [claim("Table 2", text, paper, ours, outcomes)],
        "tables": [table("", header, rows, note)],
    }
