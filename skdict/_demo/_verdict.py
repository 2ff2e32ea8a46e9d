"""What was better and what was not, in plain words that follow from the numbers alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdict._demo._experiment import WHITENING, Arm
from skdict._demo._metrics import BY_KEY, compare, show, spread
from skdict._demo._results import Results
from skdict._demo._selectivity import THRESHOLDS

# What is compared. Numbers on training rows are left out: they reward a model that memorises.
COMPARED = {
    "held_cosine": "Reconstruction cosine on held-out plates *",
    "held_selectivity": "Best selectivity per compound on held-out plates *",
    "held_above_05": "Features above 0.5 that stay so on held-out plates *",
    "codes_compound": "Mechanism of held-out compounds, read from codes",
    "rebuilt_compound": "Mechanism of held-out compounds, read from reconstructions",
    "dead": "Dead features",
}
OTHERS = ("TopK SAE", "PCA", "random")
RULE = (
    "“Better” and “worse” mean: in every seed, and on average by more than twice the spread over "
    "seeds. That spread is the largest of three: of either model, and the typical one of all "
    "models. Everything else is “no clear difference”. This guards against reading noise as a "
    "result; it is no significance test."
)


class Comparison(NamedTuple):
    """Two models, one metric."""

    metric: str
    outcome: str
    """"better", "worse", "unclear", or "" where the metric cannot be compared."""
    numbers: tuple[str, ...]
    """Mean and spread of the first and of the second."""


def typical_spread(results: Results, key: str) -> float:
    """Root mean square over all models of the spread of a metric.

    A spread over three seeds is itself uncertain and sometimes tiny by luck; the typical one is
    not.
    """
    spreads = np.array([spread(values[key]) for values in results.values.values()])
    return float(np.sqrt(np.mean(spreads**2)))


def judge(results: Results, first: Arm, second: Arm, key: str) -> Comparison:
    """Say whether `first` is better than `second` by one metric.

    Parameters
    ----------
    results : Results
        All numbers.
    first, second : Arm
        The two models.
    key : str
        The metric.

    Returns
    -------
    Comparison
        The outcome for `first`, with the numbers behind it.
    """
    metric = BY_KEY[key]
    if key == "held_cosine" and first.whitening != second.whitening:
        return Comparison(key, "", ("other space",))
    values = results.values[first][key], results.values[second][key]
    outcome = compare(*values, metric.digits, floor=typical_spread(results, key))
    if outcome != "unclear":
        outcome = "better" if outcome == metric.better else "worse"
    return Comparison(key, outcome, tuple(show(v, metric.digits) for v in values))


def judge_all(results: Results) -> dict[tuple[str, str], list[Comparison]]:
    """Return the comparisons that the demo was made for, one per metric.

    Their keys say which models are compared, and under which circumstances.
    """
    pairs = {
        (f"ICFL / {name(other)}", f"whitening {whitening}"): (
            Arm(whitening, "ICFL"),
            Arm(whitening, other),
        )
        for whitening in reversed(WHITENING)
        for other in OTHERS
    }
    for model in ("ICFL", "TopK SAE"):
        pairs[model, "whitening on / off"] = Arm("on", model), Arm("off", model)
    return {
        title: [judge(results, first, second, key) for key in COMPARED]
        for title, (first, second) in pairs.items()
    }


def name(model: str) -> str:
    """Return the model's name within a sentence."""
    return "a random dictionary" if model == "random" else model


class Finding(NamedTuple):
    """One finding in words."""

    topic: str
    text: str

    def __str__(self):
        """Return topic and text as one line."""
        return f"{self.topic}. {self.text}"


def summary(results: Results) -> list[Finding]:
    """Return the outcome in sentences, metric by metric, with what else must be known."""
    if results.n_seeds < 2:
        opening = [Finding("One seed only", "The spread is unknown, so nothing is called better.")]
    else:
        opening = [_by_metric(results, key) for key in COMPARED if key != "dead"]
        opening += [_dead_features(results), _about_whitening(results)]
    return [*opening, _against_raw(results), _against_permutation(results), _position(results)]


def _by_metric(results: Results, key: str) -> Finding:
    parts = []
    for whitening in reversed(WHITENING):
        first = Arm(whitening, "ICFL")
        outcomes = {
            other: judge(results, first, Arm(whitening, other), key).outcome for other in OTHERS
        }
        parts.append(f"Whitening {whitening}: ICFL is {_phrase(outcomes)}.")
    return Finding(COMPARED[key], " ".join(parts))


def _phrase(outcomes: dict[str, str]) -> str:
    """Say "better than A and B, not clearly different from C"."""
    words = {
        "better": "better than",
        "worse": "worse than",
        "unclear": "not clearly different from",
    }
    found = []
    for outcome, start in words.items():
        models = [name(model) for model, got in outcomes.items() if got == outcome]
        if models:
            found.append(f"{start} {_enumerate(models)}")
    return ", ".join(found)


def _enumerate(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _dead_features(results: Results) -> Finding:
    dead = {
        arm: values["dead"].mean()
        for arm, values in results.values.items()
        if values["dead"].mean() > 0
    }
    if not dead:
        return Finding("Dead features", "None in any model at this size.")
    listed = ", ".join(
        f"{arm.model} (whitening {arm.whitening}) {count:.1f}" for arm, count in dead.items()
    )
    return Finding("Dead features", f"On average {listed}; none in the others.")


def _about_whitening(results: Results) -> Finding:
    keys = [key for key in COMPARED if key not in ("held_cosine", "dead")]
    parts = []
    for model in ("ICFL", "TopK SAE"):
        outcomes = {
            key: judge(results, Arm("on", model), Arm("off", model), key).outcome for key in keys
        }
        words = {"better": "better in", "worse": "worse in", "unclear": "no clear difference in"}
        found = [
            f"{start} {_enumerate([_FEW_WORDS[key] for key in keys if outcomes[key] == outcome])}"
            for outcome, start in words.items()
            if outcome in outcomes.values()
        ]
        parts.append(f"{model}: {'; '.join(found)}.")
    return Finding("With whitening against without, on held-out rows", " ".join(parts))


_FEW_WORDS = {
    "held_selectivity": "best selectivity",
    "held_above_05": "features above 0.5",
    "codes_compound": "mechanism from codes",
    "rebuilt_compound": "mechanism from reconstructions",
}


def _against_raw(results: Results) -> Finding:
    raw, chance = results.raw["compound"], 1 / results.data["mechanisms"]
    parts = []
    for key, what in (("codes_compound", "codes"), ("rebuilt_compound", "reconstructions")):
        floor = typical_spread(results, key)
        outcomes = [
            compare(values[key], raw, BY_KEY[key].digits, floor=floor)
            for values in results.values.values()
        ]
        above, below = outcomes.count("higher"), outcomes.count("lower")
        parts.append(
            f"{what} of the {len(outcomes)} models are clearly above that in {above} and clearly "
            f"below it in {below}"
        )
    return Finding(
        "Against no dictionary at all",
        f"Raw embeddings reach {show(raw, 3)} on mechanisms of held-out compounds (guessing "
        f"{chance:.3f}); {'; '.join(parts)}.",
    )


def _against_permutation(results: Results) -> Finding:
    values = results.values[Arm("on", "ICFL")]
    best, chance, held = (
        show(values[key], 3) for key in ("selectivity", "chance_selectivity", "held_selectivity")
    )
    return Finding(
        "Choice and chance",
        f"With ICFL and whitening a compound's best feature scores {best} on the plates it was "
        f"chosen on and {held} on held-out plates. With labels permuted within "
        f"plates the best of all features still scores {chance} where it is chosen; on held-out "
        f"plates a meaningless choice would score 0 on average. {_chance_counts(values)}",
    )


def _chance_counts(values: dict) -> str:
    """Say how many of the features above a threshold chance explains."""
    parts = [
        f"{values[f'chance_{key}'].mean():.0f} of the {values[key].mean():.0f} features above "
        f"{threshold}"
        for key, threshold in THRESHOLDS.items()
    ]
    return f"Permuted labels also give {_enumerate(parts)}."


def _position(results: Results) -> Finding:
    plate, compound = results.raw["plate"], results.raw["compound"]
    factor = np.mean(plate) / np.mean(compound)
    return Finding(
        "Position *",
        f"With plates held out, raw embeddings seem to know the mechanism "
        f"{factor:.1f} times as well ({show(plate, 3)}) as with whole compounds held out "
        f"({show(compound, 3)}). There the same compounds sit in the same wells of the training "
        "plates, so that number mixes mechanism, compound and position.",
    )
