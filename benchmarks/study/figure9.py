"""Figure 9 (learning rate): reconstruction over the learning rate."""

from dataclasses import replace

from benchmarks.study.arms import STATES, arm, show, table
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_higher, spread

TITLE = "Figure 9: learning rate"
TREND = (
    "The cosine rises slightly with the learning rate and is flat beyond the paper's 5e-5, but for "
    "TopK with whitening, which is unstable."
)
WANTED = ("jump", "cmqtl")
MODELS = ("ICFL", "TopK")


def wanted(sets):
    """Data sets of the sweep."""
    return [name for name in WANTED if name in sets]


def at(model, state, factor):
    """An arm with a multiple of the default rate."""
    return replace(arm(model, state), rate_factor=factor)


def tasks(settings, sets):
    """All arms at all rates."""
    arms = [at(m, s, f) for m in MODELS for s in STATES for f in settings.rate_factors]
    return over_seeds("evaluate", wanted(sets), arms, settings)


def section(results, settings, sets):
    """Curves on held-out rows, claims about rise, plateau and stability."""
    factors = settings.rate_factors
    usual = factors.index(1.0)
    rows, plotted = [], {}
    flat, unstable = ({}, {}), ({}, {})
    for name in wanted(sets):
        lines = {
            f"{m}, whitening {s}": [results.values(name, at(m, s, f), "cosine") for f in factors]
            for m in MODELS
            for s in STATES
        }
        for label, line in lines.items():
            rows.append([sets[name].title, label, *(show(values) for values in line)])
        plotted[name] = {
            label: {
                "x": list(factors),
                "mean": [values.mean() for values in line],
                "spread": [spread(values) for values in line],
            }
            for label, line in lines.items()
        }
        steady = {k: line for k, line in lines.items() if k != "TopK, whitening on"}
        flat[0][name] = "; ".join(
            f"{k} {line[0].mean():.3f}, {line[usual].mean():.3f}, {line[-1].mean():.3f}"
            for k, line in steady.items()
        )
        flat[1][name] = all(
            is_higher(line[usual], line[0])
            and abs((line[-1] - line[usual]).mean()) < (line[usual] - line[0]).mean()
            for line in steady.values()
        )
        line, rival = lines["TopK, whitening on"], lines["ICFL, whitening on"]
        unstable[0][name] = (
            f"TopK {line[usual].mean():.3f} to {line[-1].mean():.3f}, "
            f"ICFL {rival[usual].mean():.3f} to {rival[-1].mean():.3f}"
        )
        unstable[1][name] = is_higher(line[usual], line[-1]) and is_higher(
            line[usual] - line[-1], rival[usual] - rival[-1]
        )
    text = (
        "But for TopK with whitening the cosine rises up to the default rate, and changes less "
        "from there to the largest rate"
    )
    claims = [
        claim("Figure 9", text, "slight rise, then flat", *flat),
        claim(
            "Figure 9",
            "Beyond the default rate TopK with whitening falls, and more than ICFL does",
            "unstable", *unstable,
        ),
    ]  # fmt: skip
    header = ["data", "arm", *(f"{factor:g} x default" for factor in factors)]
    note = (
        "The default rate is 0.1 / sqrt(d) for rows of unit length, falling linearly to 0. The "
        "paper's 5e-5 belongs to 300,000 steps and would not move these dictionaries."
    )
    return {
        "claims": claims,
        "tables": [table("Cosine on held-out rows", header, rows, note)],
        "curves": plotted,
    }
