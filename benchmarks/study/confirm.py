"""The committed choice beside tuned rivals, on data that the search did not see."""

import subprocess
from pathlib import Path

import numpy as np

from benchmarks.study import choice
from benchmarks.study.arms import show, show_interval, table
from benchmarks.study.data import load
from benchmarks.study.intervals import accuracy_difference, selectivity_difference
from benchmarks.study.search import describe
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, is_better

TITLE = "The choice, evaluated once elsewhere"
TREND = "Better than the tuned recipe in selectivity and in accuracy of codes on two real sets?"
WANTED = ("jump_confirm", "pediatric", "cmqtl", "cytosummarynet")
CHOICE = Path(choice.__file__)


def wanted(sets):
    """Data sets of the confirmation; the other half of JUMP-Scope's mechanisms is always there."""
    return [name for name in WANTED if name in sets or name == "jump_confirm"]


def state_of_choice():
    """The commit that holds the choice, "changed" if the file differs from it, or None.

    None: there is no repository to ask, as in a source distribution.
    """
    try:
        folder = CHOICE.parent
        changed = _git(folder, "status", "--porcelain", "--", CHOICE.name)
        commit = _git(folder, "log", "-1", "--format=%h", "--", CHOICE.name)
    except (OSError, subprocess.CalledProcessError):
        return None
    return "changed" if changed or not commit else commit


def _git(folder, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def is_ready():
    """Whether there is a choice, and it is committed as far as that can be known."""
    return choice.CHOSEN is not None and state_of_choice() != "changed"


def rivals():
    """What the choice stands beside, by name."""
    return {"tuned recipe": choice.RECIPE, "tuned TopK": choice.TOPK}


def tasks(settings, sets):
    """All three configurations, with the counts that intervals need; nothing before the commit."""
    if not is_ready():
        return []
    arms = [choice.CHOSEN, *rivals().values()]
    return over_seeds("evaluate", wanted(sets), arms, settings, keep_units=True)


def section(results, settings, sets):
    """Paired differences with intervals by resampled units; gains and losses alike."""
    if not is_ready():
        reason = "there is none yet" if choice.CHOSEN is None else "it is not committed"
        text = f"Nothing was evaluated: this waits for a committed choice, and {reason}."
        return {"claims": [], "tables": [], "note": text}
    rows, claims, losses = [], [], []
    for rival, configuration in rivals().items():
        ours, outcomes = {}, {}
        for name in wanted(sets):
            data = load(name, settings.planted_rows)
            found, cosines = compare(data, configuration, results, settings)
            for figure, interval in found.items():
                rows.append([
                    data.title, rival, figure, f"{interval['second']:.3f}",
                    f"{interval['first']:.3f}", show_interval(interval),
                    f"{interval['n_units']:,}", outcome(interval),
                ])  # fmt: skip
                if outcome(interval) == "loss":
                    losses.append(f"{figure} on {data.title} against the {rival}")
            rows.append([data.title, rival, "cosine, input space", *cosines, "", "", ""])
            both = [found["held-out selectivity"], found["accuracy, codes"]]
            ours[name] = "; ".join(show_interval(interval) for interval in both)
            outcomes[name] = all(map(is_better, both))
        text = (
            f"The choice is better than the {rival} in held-out selectivity and accuracy of codes, "
            "on two sets or more"
        )
        claims.append(claim("Beyond the paper", text, "-", ours, outcomes, at_least=2))
    note = (
        f"Recipe: {describe(choice.RECIPE)}. TopK: {describe(choice.TOPK)}. Choice: "
        f"{describe(choice.CHOSEN)}. Commit of the choice: {state_of_choice() or 'unknown'}. "
        "95% intervals over resampled units. Losses: "
        f"{'; '.join(losses) or 'none beyond the interval'}."
    )
    header = ("data", "rival", "figure", "of the rival", "of the choice", "choice - rival")
    header += ("units", "outcome")
    return {"claims": claims, "tables": [table("", header, rows, note)]}


def compare(data, rival, results, settings):
    """Intervals of the choice minus a rival, and both cosines as text."""
    chosen, other = (
        results.of("evaluate", data.name, configuration, keep_units=True)
        for configuration in (choice.CHOSEN, rival)
    )
    n_resamples = settings.n_resamples
    found = {"held-out selectivity": selectivity_difference(data, chosen, other, n_resamples)}
    for what in ("codes", "reconstruction"):
        found[f"accuracy, {what}"] = accuracy_difference(data, chosen, other, what, n_resamples)
    cosines = [
        show(np.array([seed["cosine_input"] for seed in seeds], float)) for seeds in (other, chosen)
    ]
    return found, cosines


def outcome(interval):
    """Gain, loss, or neither."""
    if interval["low"] > 0:
        return "gain"
    return "loss" if interval["high"] < 0 else "undecided"
