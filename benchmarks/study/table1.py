"""Table 1: dead features of ICFL and TopK, with and without whitening."""

from benchmarks.study.arms import MODELS, STATES, all_arms, arm, show, table
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_higher, spread

TITLE = "Table 1: dead features"
TREND = (
    "Of 8,192 features ICFL has 55 dead ones without and 341 with whitening, TopK 7,640 and 8,026. "
    "Whether that TopK had an auxiliary loss is not said, so it stands here with and without."
)
WANTED = ("jump", "pediatric", "planted")


def tasks(settings, sets):
    """Long fits on all rows."""
    return over_seeds("dead", [n for n in WANTED if n in sets], all_arms(MODELS), settings)


def section(results, settings, sets):
    """Counts, and the claims about them."""
    names = [name for name in WANTED if name in sets]

    def dead(name, model, state):
        return results.values(name, arm(model, state), "dead", kind="dead")

    rows = [
        [
            sets[name].title,
            f"{sets[name].n_components:,}",
            model,
            *(show(dead(name, model, state), 1) for state in STATES),
        ]
        for name in names
        for model in MODELS
    ]
    claims = []
    for rival in ("TopK without AuxK", "TopK"):
        outcomes = {
            name: all(
                is_higher(dead(name, rival, state), dead(name, "ICFL", state)) for state in STATES
            )
            for name in names
        }
        ours = {
            name: ", ".join(
                f"whitening {state}: {dead(name, 'ICFL', state).mean():.1f} and "
                f"{dead(name, rival, state).mean():.1f}"
                for state in STATES
            )
            for name in names
        }
        text = f"ICFL has fewer dead features than {rival}, with and without whitening"
        claims.append(claim("Table 1", text, "55 < 7,640 and 341 < 8,026", ours, outcomes))
    for model, paper in (("ICFL", "55 to 341"), ("TopK without AuxK", "7,640 to 8,026")):
        outcomes = {
            name: is_higher(dead(name, model, "on"), dead(name, model, "off")) for name in names
        }
        ours = {
            name: f"{dead(name, model, 'off').mean():.1f} to {dead(name, model, 'on').mean():.1f}"
            for name in names
        }
        text = f"Whitening increases the number of dead features of {model}"
        claims.append(claim("Table 1", text, paper, ours, outcomes))
    header = ("data", "features", "model", "dead, whitening off", "dead, whitening on")
    note = (
        f"Fewer than 1e-5 of the samples of the last 1,000 of {settings.dead_steps:,} steps "
        f"activated them: with {settings.batch_size} rows a step, two or fewer activations."
    )
    if settings.dead_steps < 1000:
        note = f"Counted over all {settings.dead_steps} steps of a quick run."
    bars = {
        name: [
            {
                "model": model,
                "condition": f"whitening {state}",
                "n_dead": dead(name, model, state).mean(),
                "spread": spread(dead(name, model, state)),
            }
            for model in MODELS
            for state in STATES
        ]
        for name in names
    }
    return {"claims": claims, "tables": [table("", header, rows, note)], "bars": bars}
