"""Run the demo's evaluation from data to results."""

from __future__ import annotations

import time
import warnings

import numpy as np
from joblib import Parallel, cpu_count, delayed

from skdict._demo._concepts import describe_concepts
from skdict._demo._experiment import (
    ARMS,
    Arm,
    Profiles,
    Settings,
    evaluate,
    evaluate_raw,
    fit,
    plate_split,
    sparsity_point,
)
from skdict._demo._progress import make_progress
from skdict._demo._results import Results, gather

# The arm whose concepts are shown: the method of the paper. It is not chosen by the results.
_SHOWN = Arm("on", "ICFL")


def run(bunch, settings: Settings | None = None, *, n_jobs: int | None = None) -> Results:
    """Evaluate all arms on a data set.

    Parameters
    ----------
    bunch : Bunch
        As returned by :func:`skdict.datasets.load_jump_scope`.
    settings : Settings, default=None
        How much to compute; ``None`` takes the defaults of the demo.
    n_jobs : int, default=None
        Processes; ``None`` takes the number of cores, four at most.

    Returns
    -------
    Results
        All numbers and what the page shows beside them.
    """
    settings = Settings() if settings is None else settings
    profiles = Profiles.from_bunch(bunch)
    tasks = _tasks(settings)
    n_jobs = min(4, cpu_count(), len(tasks)) if n_jobs is None else n_jobs
    seconds, found = {}, {"arm": [], "raw": {}, "sparsity": {}, "messages": set()}
    with make_progress(len(tasks) + 1) as progress:
        start = time.perf_counter()
        progress.note("compiling the kernels (once per machine)")
        _compile(profiles)
        progress.advance("kernels compiled")
        seconds["kernels"] = time.perf_counter() - start
        start = time.perf_counter()
        jobs = (delayed(_work)(task, profiles, settings) for task in tasks)
        for task, outcome in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs):
            _keep(found, task, outcome)
            progress.advance(_describe(task))
        seconds["models"] = time.perf_counter() - start
    return _results(found, profiles, settings, seconds)


def _tasks(settings: Settings) -> list[tuple]:
    """Pieces of work that are independent of each other, the long ones first."""
    seeds = settings.seeds
    evaluations = [("arm", arm, seed) for seed in seeds for arm in ARMS]
    sweeps = [
        ("sparsity", arm, n_nonzero)
        for arm in ARMS
        for n_nonzero in settings.sparsities
        if n_nonzero != settings.n_nonzero_coefs
    ]
    evaluations.sort(key=lambda task: task[1].model in ("PCA", "random"))
    return evaluations + sweeps + [("raw", None, seed) for seed in seeds]


def _work(task, profiles, settings):
    """Do one piece of work; in a process of its own when there are several."""
    kind, arm, what = task
    if kind == "arm":
        return task, evaluate(arm, profiles, settings, what)
    if kind == "sparsity":
        return task, sparsity_point(arm, profiles, settings, what)
    return task, evaluate_raw(profiles, settings, what)


def _keep(found, task, outcome) -> None:
    kind, arm, what = task
    if kind == "arm":
        found["arm"].append(outcome)
    elif kind == "sparsity":
        found["sparsity"].setdefault(arm, []).append(outcome)
    else:
        found["raw"][what], messages = outcome
        found["messages"] |= messages


def _describe(task) -> str:
    kind, arm, what = task
    if kind == "raw":
        return f"raw embeddings, seed {what}"
    detail = f"seed {what}" if kind == "arm" else f"{what} non-zeros"
    return f"{arm.model}, whitening {arm.whitening}, {detail}"


def _compile(profiles) -> None:
    """Fit for a moment, so that the kernels are compiled before they are needed in parallel."""
    tiny = Settings(n_components=16, n_nonzero_coefs=4, max_steps=2)
    rows = np.flatnonzero(profiles.control)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in ("ICFL", "TopK SAE"):
            fit(Arm("off", model), profiles, rows, tiny, 0).transform(profiles.X[rows])


def _results(found, profiles, settings, seconds) -> Results:
    """Put the pieces in order."""
    outcomes = found["arm"]
    first = {outcome.arm: outcome for outcome in outcomes if outcome.seed == settings.seeds[0]}
    sparsity = {}
    for arm, outcome in first.items():
        own = (outcome.curves.frequency.sum(), float(outcome.values["held_cosine"]))
        sparsity[arm] = sorted([*found["sparsity"].get(arm, []), own])
    train, test = plate_split(profiles, settings, settings.seeds[0])
    return Results(
        settings=settings,
        data=_counts(profiles, first),
        values=gather(outcomes),
        raw={
            held_out: np.array([found["raw"][seed][held_out] for seed in sorted(settings.seeds)])
            for held_out in ("compound", "plate")
        },
        curves={arm: outcome.curves for arm, outcome in first.items()},
        sparsity=sparsity,
        concepts=describe_concepts(first[_SHOWN], profiles, settings),
        concept_plates=tuple(sorted(set(profiles.plate[rows].tolist())) for rows in (train, test)),
        messages=found["messages"].union(*(outcome.messages for outcome in outcomes)),
        seconds=seconds,
        pipeline=first[_SHOWN].pipeline,
    )


def _counts(profiles, first) -> dict[str, int]:
    """Numbers that describe data and models."""
    pca = first[Arm("on", "PCA")].pipeline["dictionary"]["pca"]
    return {
        "rows": profiles.X.shape[0],
        "features": profiles.X.shape[1],
        "compounds": np.unique(profiles.compound[~profiles.control]).size,
        "mechanisms": profiles.n_mechanisms,
        "plates": np.unique(profiles.plate).size,
        "controls": int(profiles.control.sum()),
        "pca": int(pca.n_components_),
    }
