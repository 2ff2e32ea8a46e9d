"""What was better and what was not, in plain words that follow from the numbers alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdict._demo._experiment import Arm
from skdict._demo._metrics import BY_KEY, compare, show
from skdict._demo._results import Results

# Metrics on which two models of the same space are compared.
_BETWEEN_MODELS = (
    "held_cosine", "dead", "held_selectivity", "codes_compound", "rebuilt_compound",
)  # fmt: skip
# Cosines live in different spaces with and without whitening and are not compared across it.
_ACROSS_WHITENING = ("dead", "held_selectivity", "codes_compound", "rebuilt_compound")
_SHORT = {
    "held_cosine": "reconstruction cosine on held-out plates",
    "dead": "dead features",
    "held_selectivity": "selectivity on held-out plates",
    "codes_compound": "mechanism of held-out compounds from codes",
    "rebuilt_compound": "mechanism of held-out compounds from reconstructions",
}


class Verdict(NamedTuple):
    """The outcome of one comparison."""

    title: str
    better: list[str]
    worse: list[str]
    unclear: list[str]

    def sentences(self) -> list[str]:
        """Return the outcome as up to three sentences."""
        parts = (
            ("Better: ", self.better), ("Worse: ", self.worse),
            ("No clear difference: ", self.unclear),
        )  # fmt: skip
        return [f"{start}{'; '.join(items)}." for start, items in parts if items]


def judge(title: str, first: dict, second: dict, keys) -> Verdict:
    """Compare two models metric by metric.

    Parameters
    ----------
    title : str
        What is compared.
    first, second : dict of array, each of shape (n_seeds,)
        The metrics of the two.
    keys : sequence of str
        The metrics to compare.

    Returns
    -------
    Verdict
        Which metrics of `first` are better, worse, or not clearly different.
    """
    verdict = Verdict(title, [], [], [])
    for key in keys:
        metric = BY_KEY[key]
        outcome = compare(first[key], second[key], metric.digits)
        numbers = f"{show(first[key], metric.digits)} against {show(second[key], metric.digits)}"
        text = f"{_SHORT[key]} ({numbers})"
        if outcome == "unclear":
            verdict.unclear.append(text)
        elif outcome == metric.better:
            verdict.better.append(text)
        else:
            verdict.worse.append(text)
    return verdict


def judge_all(results: Results) -> list[Verdict]:
    """Return the comparisons that the demo was made for."""
    values = results.values
    verdicts = []
    for whitening in ("on", "off"):
        icfl = values[Arm(whitening, "ICFL")]
        for other in ("TopK SAE", "PCA", "random"):
            name = "a random dictionary" if other == "random" else other
            verdicts.append(judge(
                f"ICFL against {name}, whitening {whitening}",
                icfl, values[Arm(whitening, other)], _BETWEEN_MODELS,
            ))  # fmt: skip
    for model in ("ICFL", "TopK SAE"):
        verdicts.append(judge(
            f"{model} with whitening against {model} without",
            values[Arm("on", model)], values[Arm("off", model)], _ACROSS_WHITENING,
        ))  # fmt: skip
    return verdicts


def remarks(results: Results) -> list[str]:
    """Return what else the numbers say: about raw embeddings, chance and position."""
    return [_codes_against_raw(results), _against_permutation(results), _about_position(results)]


def _codes_against_raw(results: Results) -> str:
    raw = results.raw["compound"]
    outcomes = {"higher": [], "lower": [], "unclear": []}
    for arm, values in results.values.items():
        for key, what in (("codes_compound", "codes"), ("rebuilt_compound", "reconstructions")):
            outcomes[compare(values[key], raw, 3)].append(f"{arm.model} {what} ({arm.whitening})")
    chance = 1 / results.data["mechanisms"]
    start = (
        f"Mechanism of compounds that were held out whole: raw embeddings reach a balanced "
        f"accuracy of {show(raw, 3)}, guessing {chance:.3f}."
    )
    words = (("higher", "Clearly above raw"), ("lower", "clearly below raw"))
    found = "; ".join(
        f"{word}: {', '.join(outcomes[outcome]) if outcomes[outcome] else 'none'}"
        for outcome, word in words
    )
    rest = len(outcomes["unclear"])
    return f"{start} {found}; not clearly different: {rest} of {2 * len(results.values)}."


def _against_permutation(results: Results) -> str:
    values = results.values[Arm("on", "ICFL")]
    best, chance, held = (
        show(values[key], 3) for key in ("selectivity", "chance_selectivity", "held_selectivity")
    )
    return (
        f"How much of a selectivity is choice: with ICFL and whitening the best feature of a "
        f"compound scores {best} on the plates it was chosen on and {held} on held-out plates; "
        f"with the labels permuted within plates the best of all features still scores {chance}. "
        f"Only the held-out value is free of that choice, and both are free to use position."
    )


def _about_position(results: Results) -> str:
    plate, compound = results.raw["plate"], results.raw["compound"]
    factor = np.mean(plate) / np.mean(compound)
    return (
        f"Position: with plates held out, the raw embeddings seem to know the mechanism "
        f"{factor:.1f} times as well ({show(plate, 3)}) as with whole compounds held out "
        f"({show(compound, 3)}). The same compound then sits in the same wells of the training "
        f"plates, so that number mixes recognising the compound, its position and its mechanism."
    )
