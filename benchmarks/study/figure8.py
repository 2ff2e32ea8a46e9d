"""Figure 8: the most selective feature of every label."""

import numpy as np

from benchmarks.study.arms import MODELS, all_arms, arm, show, table
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_higher

TITLE = "Figure 8: selectivity of the best feature of each label"
TREND = (
    "The curve of ICFL lies above TopK's on every task; on hard tasks the best feature of almost "
    "every label has an average selectivity above 0.1."
)
FLOOR = 0.1
# In the paper features are chosen and scored on the same rows.
SCORES = {
    "average": "all rows",
    "maximum": "all rows, against the next label",
    "held": "held-out rows",
}


def tasks(settings, sets):
    """All models with and without whitening, and the level of chance with whitening."""
    return over_seeds("evaluate", sets, all_arms(MODELS), settings) + over_seeds(
        "chance", sets, [arm("ICFL", "on"), arm("TopK", "on")], settings
    )


def section(results, settings, sets):
    """Mean over labels of the best score, curves, the level of chance."""
    rows, chance_rows, claims, curves = [], [], [], {}

    def best(name, model, state, score):
        seeds = results.of("evaluate", name, arm(model, state))
        return np.array([seed["best"][score] for seed in seeds], float)

    for name, data in sets.items():
        for state in ("off", "on"):
            for model in MODELS:
                means = [show(best(name, model, state, score).mean(axis=1)) for score in SCORES]
                rows.append([data.title, state, model, *means])
        chance = {m: results.of("chance", name, arm(m, "on")) for m in ("ICFL", "TopK")}
        for model, seeds in chance.items():
            chance_rows.append([
                data.title, model, show([np.mean(seed["best"]) for seed in seeds]),
                show([np.mean(seed["chance"]) for seed in seeds]),
                show([seed["n_significant"] for seed in seeds], 1),
                f"{seeds[0]['n_units']:,}, at least {seeds[0]['least_units_per_label']}",
                f"{seeds[0]['smallest_p_value']:.3f}",
            ])  # fmt: skip
        curves[name] = {
            model: {score: best(name, model, "on", score).mean(axis=0) for score in SCORES}
            | {"labels": results.of("evaluate", name, arm(model, "on"))[0]["labels"]}
            for model in ("ICFL", "TopK")
        }
    for rival in ("TopK", "TopK without AuxK"):
        for score in ("average", "held"):
            pairs = {
                name: [best(name, model, "on", score).mean(axis=1) for model in ("ICFL", rival)]
                for name in sets
            }
            claims.append(
                claim(
                    "Figure 8",
                    f"With whitening ICFL's best features are more selective than those of "
                    f"{rival}, on {SCORES[score]}",
                    "above TopK on all tasks",
                    {name: f"{show(a)} and {show(b)}" for name, (a, b) in pairs.items()},
                    {name: is_higher(*pair) for name, pair in pairs.items() if sets[name].claims},
                )
            )
    for score in ("average", "held"):
        least = {name: best(name, "ICFL", "on", score).mean(axis=0).min() for name in sets}
        claims.append(
            claim(
                "Figure 8",
                f"With ICFL and whitening every label has a feature above {FLOOR}, on "
                f"{SCORES[score]}",
                "almost all labels",
                {name: f"least {value:.2f}" for name, value in least.items()},
                {n: bool(value > FLOOR) for n, value in least.items() if sets[n].claims},
            )
        )
    header = ("data", "whitening", "model", *SCORES.values())
    chance_header = (
        "data", "model", "best, training rows", "by chance", "labels with q <= 0.05, number",
        "units, per label", "smallest p attainable",
    )  # fmt: skip
    note = (
        "Average selectivity of the best feature, mean over labels. On all rows a feature is "
        "chosen and scored on the same rows, as in the paper; on held-out rows the feature was "
        "chosen on training rows."
    )
    return {
        "claims": claims,
        "tables": [
            table("", header, rows, note),
            table("The level of chance: labels permuted among units within strata", chance_header,
                  chance_rows),
        ],
        "curves": curves,
    }  # fmt: skip
