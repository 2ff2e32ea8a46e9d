"""The rules by which numbers become verdicts; nothing on the page is judged otherwise."""

import numpy as np

HOLDS, FAILS, UNTESTABLE = "holds", "does not hold", "cannot be tested here"
SIMILAR = 0.2

RULES = (
    "**Seeds.** One figure is *higher* than another on a data set if it is in every seed, and on "
    "average by more than twice the larger of the two standard deviations over seeds. Else it is "
    "not. The spread over seeds is that of splits and random starts on one set of rows. It is no "
    "confidence interval and this rule is no significance test.",
    "**Units.** A probe is *better* than another on a data set if the 95% interval of the paired "
    "difference of balanced accuracy, over resampled units, lies above zero.",
    f"**Alike** are two probes if this interval lies within ±{SIMILAR} times the accuracy of a "
    "probe on the rows themselves.",
    "**Verdict.** A claim holds if it is true on every data set that carries claims and could be "
    "tested, does not hold if it is false on at least one, and cannot be tested here where none "
    "of the sets can answer.",
)


def spread(values):
    """Standard deviation over seeds (ddof=1), NaN for a single seed."""
    values = np.asarray(values, float)
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")


def is_higher(first, second):
    """Whether `first` is higher than `second` by the rule of seeds; paired by seed.

    With one seed nothing is.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.size < 2 or first.size != second.size:
        return False
    difference = first - second
    beyond = difference.mean() > 2 * max(spread(first), spread(second))
    return bool((difference > 0).all() and beyond)


def is_better(interval):
    """Whether the interval of a paired difference lies above zero."""
    return bool(interval["low"] > 0)


def is_similar(interval, accuracy):
    """Whether the interval of a paired difference is small beside an accuracy."""
    margin = SIMILAR * accuracy
    return bool(interval["low"] > -margin and interval["high"] < margin)


def verdict(outcomes, at_least=None):
    """Verdict of a claim.

    Parameters
    ----------
    outcomes : dict of bool
        Whether the claim is true, by data set.
    at_least : int or None, default=None
        On how many sets it has to be true; None means all.
    """
    if not outcomes:
        return UNTESTABLE
    wanted = len(outcomes) if at_least is None else at_least
    return HOLDS if sum(outcomes.values()) >= wanted else FAILS


def claim(figure, text, paper, ours, outcomes, at_least=None):
    """One line of the verdict table.

    Parameters
    ----------
    figure : str
        Table or figure of the paper.
    text : str
        What is claimed.
    paper : str
        The paper's numbers or trend.
    ours : dict of str
        Our numbers by data set.
    outcomes : dict of bool
        Whether the claim is true, by data set; a subset of `ours`, descriptive sets are left out.
    at_least : int or None, default=None
        On how many sets it has to be true, where the claim itself says so.
    """
    return {
        "figure": figure,
        "claim": text,
        "paper": paper,
        "ours": ours,
        "outcomes": outcomes,
        "verdict": verdict(outcomes, at_least),
    }
