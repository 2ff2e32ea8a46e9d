"""Figure 3: cosines of a feature's direction with the rows of its label and all others."""

import numpy as np

from benchmarks.study.arms import show, table
from benchmarks.study.configurations import ICFL
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_higher

TITLE = "Figure 3: directions separate labels"
TREND = (
    "For four genes the cosines of the representations with the direction of a feature are larger "
    "where the gene is perturbed than elsewhere."
)


def tasks(settings, sets):
    """Directions chosen on training rows, cosines of held-out rows."""
    return over_seeds("directions", sets, [ICFL], settings)


def section(results, settings, sets):
    """Area under the ROC curve and effect size, over all labels; histograms of the first seed."""
    rows, ours, outcomes, histograms = [], {}, {}, {}
    for name, data in sets.items():
        found = results.of("directions", name, ICFL)
        auc = np.array([np.mean(seed["auc"]) for seed in found])
        above = np.array([np.mean(np.array(seed["auc"]) > 0.5) for seed in found])
        effect = np.array([np.mean(seed["effect_size"]) for seed in found])
        rows.append(
            [data.title, f"{len(found[0]['auc'])}", show(auc), show(above, 2), show(effect, 2)]
        )
        ours[name] = f"mean AUC {auc.mean():.2f}, above 0.5 for {above.mean():.0%} of the labels"
        if data.claims:
            outcomes[name] = is_higher(auc, np.full(auc.size, 0.5))
        histograms[name] = found[0]["shown"]
    header = ("data", "labels", "mean AUC", "labels with AUC > 0.5", "effect size (Cohen's d)")
    text = (
        "The direction of a label's best feature ranks held-out rows of the label above others: "
        "mean AUC over the labels above 0.5"
    )
    note = (
        "Feature and sign of its direction are chosen on training rows, the cosines are those of "
        "held-out rows."
    )
    return {
        "claims": [claim("Figure 3", text, "four genes shown", ours, outcomes)],
        "tables": [table("", header, rows, note)],
        "histograms": histograms,
    }
