"""Figure 4A: what a probe reads from reconstructions, codes and the rows themselves."""

import numpy as np

from benchmarks.study.arms import STATES, all_arms, arm, show, show_interval, table
from benchmarks.study.configurations import WHITENING, Configuration
from benchmarks.study.intervals import accuracy_difference
from benchmarks.study.stages import over_seeds
from benchmarks.study.table2 import RAW
from benchmarks.study.verdicts import claim, is_better, is_similar, spread

TITLE = "Figure 4A: labels read from reconstructions and codes"
TREND = (
    "Reconstructions keep almost all of what a probe reads on easy tasks and a substantial part on "
    "hard ones; ICFL and TopK are alike; without whitening both lose clearly (0.95 and 0.92, 0.73 "
    "and 0.68, 0.28 and 0.12, 0.92 and 0.75, 0.25 and 0.18 with and without, from the chart)."
)
MODELS = ("ICFL", "TopK")
EASY, KEPT = 0.6, 0.9


def tasks(settings, sets):
    """ICFL and TopK with and without whitening; probes on rows before the dictionary."""
    before = [RAW, *(Configuration(whitening=WHITENING[state]) for state in STATES)]
    return over_seeds("evaluate", sets, all_arms(MODELS), settings) + over_seeds(
        "raw", sets, before, settings
    )


def section(results, settings, sets):
    """Accuracies, paired differences with intervals, claims."""
    rows, differences, bars = [], [], {}
    similar, whitening, easy = ({}, {}), ({}, {}), ({}, {})

    def difference(name, first, second, what="reconstruction"):
        return accuracy_difference(
            sets[name],
            results.of("evaluate", name, first),
            results.of("evaluate", name, second),
            what,
            settings.n_resamples,
        )

    for name, data in sets.items():
        raw = results.values(name, RAW, "accuracy", kind="raw")
        bars[name] = {"raw": [raw.mean(), spread(raw)]}
        for state in STATES:
            before = Configuration(whitening=WHITENING[state])
            cells = [data.title, state, show(raw)]
            cells.append(show(results.values(name, before, "accuracy", kind="raw")))
            for model in MODELS:
                for what in ("codes", "reconstruction"):
                    values = results.values(name, arm(model, state), "accuracy", what)
                    cells.append(show(values))
                    bars[name][f"{model}, {what}, whitening {state}"] = [
                        values.mean(),
                        spread(values),
                    ]
            rows.append(cells)
        pair = difference(name, arm("ICFL", "on"), arm("TopK", "on"))
        gains = {m: difference(name, arm(m, "on"), arm(m, "off")) for m in MODELS}
        differences.append(
            [data.title, f"{pair['n_units']:,}", show_interval(pair)]
            + [show_interval(gains[model]) for model in MODELS]
        )
        similar[0][name] = show_interval(pair)
        whitening[0][name] = "; ".join(f"{m} {show_interval(gains[m])}" for m in MODELS)
        share = results.values(name, arm("ICFL", "on"), "accuracy", "reconstruction") / raw
        if raw.mean() > EASY:
            easy[0][name] = f"{share.mean():.2f} of the accuracy of the rows"
        if data.claims:
            similar[1][name] = is_similar(pair, raw.mean())
            whitening[1][name] = all(is_better(gains[m]) for m in MODELS)
            if raw.mean() > EASY:
                easy[1][name] = bool(share.mean() > KEPT)
    figure = "Figure 4A"
    claims = [
        claim(figure, "Reconstructions of ICFL and TopK are read alike", "alike", *similar),
        claim(
            figure, "Whitening improves what is read from reconstructions of both",
            "0.03 to 0.17 better", *whitening,
        ),
        claim(
            figure,
            f"Where the rows themselves reach {EASY}, ICFL's reconstructions keep {KEPT:.0%} of it",
            "0.83 to 0.98 kept where the rows reach 0.88 or more", *easy,
        ),
    ]  # fmt: skip
    header = ("data", "whitening", "rows", "before the dictionary") + tuple(
        f"{model}, {what}" for model in MODELS for what in ("codes", "reconstr.")
    )
    note = "Balanced accuracy on held-out groups, mean ± spread over seeds."
    columns = ("data", "units", "ICFL - TopK", "ICFL: on - off", "TopK: on - off")
    return {
        "claims": claims,
        "tables": [
            table("", header, rows, note),
            table(
                "Paired differences of reconstructions, 95% intervals over units", columns,
                differences,
            ),
        ],
        "bars": bars,
        "chance": {name: 1 / np.unique(d.y[d.probed]).size for name, d in sets.items()},
    }  # fmt: skip
