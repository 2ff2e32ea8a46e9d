"""Figures 4C and 9A: cosine of rows and reconstructions, over sparsity."""

from benchmarks.study import sparsity
from benchmarks.study.arms import STATES, show, table
from benchmarks.study.verdicts import claim, is_higher

TITLE = "Figures 4C and 9A: reconstruction over sparsity"
TREND = (
    "With whitening the cosine of ICFL's reconstructions is much higher than TopK's at every "
    "sparsity (0.65, 0.78, 0.80 and 0.32, 0.38, 0.42 at 50, 100, 150 non-zeros, from the chart). "
    "Whitening lowers the cosine of all."
)
tasks = sparsity.tasks


def section(results, settings, sets):
    """Curves on held-out rows, claims."""
    found = sparsity.curves(results, settings, sets, "cosine")
    rows, claims = [], []
    for name, lines in found.items():
        for label, line in lines.items():
            rows.append([sets[name].title, label, *(show(values) for values in line)])
    for state, paper in zip(STATES, ("not shown clearly", "higher at all sparsities")):
        ours, outcomes = {}, {}
        for name, lines in found.items():
            pairs = list(zip(lines[f"ICFL, whitening {state}"], lines[f"TopK, whitening {state}"]))
            ours[name] = "; ".join(f"{a.mean():.2f} and {b.mean():.2f}" for a, b in pairs)
            if sets[name].claims:
                outcomes[name] = all(is_higher(a, b) for a, b in pairs)
        text = f"Whitening {state}: ICFL reconstructs better than TopK at every sparsity"
        claims.append(claim("Figure 4C", text, paper, ours, outcomes))
    ours, outcomes = {}, {}
    for name, lines in found.items():
        drops = [
            is_higher(off, on)
            for model in sparsity.MODELS
            for off, on in zip(lines[f"{model}, whitening off"], lines[f"{model}, whitening on"])
        ]
        ours[name] = f"{sum(drops)} of {len(drops)} pairs lower"
        if sets[name].claims:
            outcomes[name] = all(drops)
    text = "Whitening lowers the cosine of ICFL and TopK at every sparsity"
    claims.append(claim("Figure 9A", text, "lower for all", ours, outcomes))
    header = ["data", "arm", *(f"{factor:g} x K" for factor in settings.sparsity_factors)]
    note = (
        "Mean cosine of held-out rows and their reconstructions in the space of the dictionary; K "
        "is 20 for real data and 8 for planted data."
    )
    return {
        "claims": claims,
        "tables": [table("", header, rows, note)],
        "curves": sparsity.plotted(found, results, settings, sets),
    }
