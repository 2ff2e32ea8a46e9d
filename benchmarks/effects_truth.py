"""A planted screen of 5 plates: false discoveries, power, and what cells as replicates would do.

Cells lie in wells and wells on plates; plates and wells have effects of their own on every concept.
A tenth of the pairs of perturbation and concept is changed, in rate (log-odds of being active) or
in strength (logarithm of the code), with one of three sizes. A hit is true only if this statistic
of this pair was changed. Four ways to look at the same draws:

- wells: `concept_effects` with wells as units;
- cells: the same with every cell a unit, as if cells of a well were replicates;
- Welch: t-tests of well means, controls of all plates together, no blocks;
- wells, held out: hits of three plates that two held-out plates confirm.

Kinds of screens: every perturbation on all plates; each on two of them only; strengths with heavy
tails, in a third of the concepts between wells too; and no change at all.
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from scipy import stats

from benchmarks.machine import describe_machine, n_cores
from benchmarks.rst import table
from skdict.effects import concept_effects

LEVELS = (0.05, 0.1)
SIZES = (0.5, 1.0, 2.0)  # of rate, in log-odds; of strength a half of it, in logarithms
N_PLATES = 5
HELD_OUT = (3, 4)
STATISTICS = ("rate", "strength")


@dataclass(frozen=True)
class Kind:
    """What a screen looks like.

    Attributes
    ----------
    share : float
        Share of the pairs that are changed.
    n_plates_each : int
        Plates that a perturbation lies on.
    skewed : bool
        Whether strengths have heavy tails.
    """

    share: float = 0.1
    n_plates_each: int = N_PLATES
    skewed: bool = False


KINDS = {
    "all plates": Kind(),
    "two plates each": Kind(n_plates_each=2),
    "skewed strengths": Kind(skewed=True),
    "no effect": Kind(share=0.0),
}


@dataclass(frozen=True)
class Size:
    """How large the screens are, and how often they are drawn."""

    n_repeats: int = 200
    n_concepts: int = 100
    n_perturbations: int = 24
    n_wells: int = 4
    n_controls: int = 16
    n_cells: int = 20
    n_permutations: int = 999


FULL = Size()
QUICK = Size(
    n_repeats=2, n_concepts=12, n_perturbations=4, n_controls=10, n_cells=6, n_permutations=199
)


@dataclass(frozen=True)
class Drawn:
    """A screen and its truth.

    Attributes
    ----------
    codes : ndarray, shape (n_cells, n_concepts)
        Codes of the cells.
    perturbation, plate, well : ndarray of int, shape (n_cells,)
        Of each cell; -1 for controls.
    truth : dict of ndarray, shape (n_perturbations, n_concepts)
        Per statistic the number of the size, -1 where nothing was changed.
    """

    codes: np.ndarray
    perturbation: np.ndarray
    plate: np.ndarray
    well: np.ndarray
    truth: dict


def draw(kind, size, seed):
    """Draw a screen.

    Parameters
    ----------
    kind : Kind
        What it looks like.
    size : Size
        How large it is.
    seed : int
        Of the draw.
    """
    rng = np.random.default_rng(seed)
    perturbation, plate = _layout(kind, size, rng)
    shape = (size.n_perturbations, size.n_concepts)
    of_size = np.where(rng.random(shape) < kind.share, rng.integers(0, len(SIZES), shape), -1)
    of_rate = rng.random(shape) < 0.5
    truth = {
        "rate": np.where(of_rate, of_size, -1),
        "strength": np.where(of_rate, -1, of_size),
    }
    sign = rng.choice([-1.0, 1.0], shape)
    odds = rng.normal(-1.0, 1.0, size.n_concepts) + _change(truth["rate"], sign)[perturbation]
    odds += rng.normal(0, 1.0, (N_PLATES, size.n_concepts))[plate]
    odds += rng.normal(0, 0.5, odds.shape)
    level = 0.5 * _change(truth["strength"], sign)[perturbation]
    level += rng.normal(0, 0.3, (N_PLATES, size.n_concepts))[plate]
    level += _between_wells(kind, level.shape, rng)
    well = np.repeat(np.arange(plate.size), size.n_cells)
    active = rng.random((well.size, size.n_concepts)) < 1 / (1 + np.exp(-odds[well]))
    within = rng.normal(0, 1.2 if kind.skewed else 0.5, active.shape)
    codes = np.where(active, np.exp(level[well] + within), 0.0)
    return Drawn(codes, perturbation[well], plate[well], well, truth)


def _layout(kind, size, rng):
    """Perturbation and plate of each well."""
    perturbation, plate = [], []
    places = rng.permutation(size.n_perturbations)
    for q in range(N_PLATES):
        there = places[(np.arange(size.n_perturbations) + q) % N_PLATES < kind.n_plates_each]
        wells = np.concatenate([np.repeat(there, size.n_wells), np.full(size.n_controls, -1)])
        perturbation.append(wells)
        plate.append(np.full(wells.size, q))
    return np.concatenate(perturbation), np.concatenate(plate)


def _change(of_size, sign):
    """Change of each pair; the last row, that of controls, is zero."""
    change = np.where(of_size >= 0, sign * np.take(SIZES, of_size), 0.0)
    return np.vstack([change, np.zeros(of_size.shape[1])])


def _between_wells(kind, shape, rng):
    """Effects of wells on the logarithm of the strength."""
    if not kind.skewed:
        return rng.normal(0, 0.3, shape)
    effects = rng.normal(0, 0.3, shape)
    heavy = np.arange(shape[1]) % 3 == 0
    # few wells far above the others: no mean of four wells is near normal
    effects[:, heavy] = np.minimum(rng.exponential(0.8, effects[:, heavy].shape), 5.0)
    return effects


def by_wells(drawn, size):
    """Q-values of the screen with wells as units."""
    found = _screen(drawn, size, units=drawn.well)
    return {name: found[name].q_value for name in STATISTICS}


def by_cells(drawn, size):
    """Q-values of the screen with cells as units."""
    found = _screen(drawn, size, units=None)
    return {name: found[name].q_value for name in STATISTICS}


def replicated(found, level):
    """Pairs that are hits on some plates and replicated on the others, per statistic."""
    hits = found.hits(level)
    shape = (found.perturbations.size, found.n_concepts)
    kept = {name: np.zeros(shape, dtype=bool) for name in STATISTICS}
    for name in STATISTICS:
        rows = hits["replicated"] & (hits["statistic"] == name)
        kept[name][hits["perturbation"][rows], hits["concept"][rows]] = True
    return kept


def _screen(drawn, size, **settings):
    return concept_effects(
        drawn.codes, drawn.perturbation, drawn.perturbation < 0, drawn.plate,
        n_permutations=size.n_permutations, random_state=0, **settings,
    )  # fmt: skip


def by_welch(drawn, size):
    """Q-values of Welch's t-tests of well means, plates ignored; rate and strength together."""
    first = np.unique(drawn.well, return_index=True)[1]
    of_well = drawn.codes.reshape(first.size, size.n_cells, size.n_concepts)
    n_active = (of_well > 0).sum(axis=1)
    values = {
        "rate": n_active / size.n_cells,
        "strength": of_well.sum(axis=1) / np.where(n_active > 0, n_active, np.nan),
    }
    perturbation = drawn.perturbation[first]
    p_value = np.stack([
        [welch(values[name][perturbation == p], values[name][perturbation < 0])
         for p in range(size.n_perturbations)]
        for name in STATISTICS
    ])  # fmt: skip
    tested = ~np.isnan(p_value)
    q_value = np.ones(p_value.shape)
    q_value[tested] = stats.false_discovery_control(p_value[tested])
    return dict(zip(STATISTICS, q_value, strict=True))


def welch(own, other):
    """P-values of Welch's test, columns apart, NaN left out; NaN where there is none.

    As `scipy.stats.ttest_ind(own, other, equal_var=False, nan_policy="omit")`, which takes a
    hundred times as long.
    """
    moments = []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without any value
        for values in (own, other):
            n = (~np.isnan(values)).sum(axis=0)
            moments += [np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1), n]
        return stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue


METHODS = {"wells": by_wells, "cells": by_cells, "Welch": by_welch}
# Cells are slow, and what is wrong with them needs no 200 draws.
CELLS_EVERY = 20


def repeat(kind, size, seed):
    """Hits of one draw: method and level to what was counted."""
    drawn = draw(kind, size, seed)
    counted = {}
    for name, method in METHODS.items():
        if name == "cells" and seed % CELLS_EVERY:
            continue
        q_value = method(drawn, size)
        for level in LEVELS:
            hits = {statistic: q_value[statistic] <= level for statistic in STATISTICS}
            counted[name, level] = count(hits, drawn.truth)
    # a perturbation on two plates seldom lies both inside and outside of the held-out ones
    if kind.n_plates_each == N_PLATES:
        found = _screen(drawn, size, units=drawn.well, held_out=HELD_OUT)
        for level in LEVELS:
            counted["wells, held out", level] = count(replicated(found, level), drawn.truth)
    return counted


def count(hits, truth):
    """Count hits, false ones, and those found of each size.

    Parameters
    ----------
    hits, truth : dict of ndarray
        Per statistic.
    """
    n_hits = sum(int(hits[name].sum()) for name in STATISTICS)
    n_false = sum(int((hits[name] & (truth[name] < 0)).sum()) for name in STATISTICS)
    counted = {"hits": n_hits, "false": n_false}
    for name in STATISTICS:
        for k in range(len(SIZES)):
            planted = truth[name] == k
            counted[name, k] = (int((hits[name] & planted).sum()), int(planted.sum()))
    return counted


def summarise(counted):
    """Mean false-discovery proportion with its standard error, power, and draws with any hit."""
    hits = np.array([row["hits"] for row in counted])
    false = np.array([row["false"] for row in counted])
    proportion = false / np.maximum(hits, 1)
    found = {
        "n_draws": hits.size,
        "hits": float(hits.mean()),
        "false": float(false.mean()),
        "false_discovery": float(proportion.mean()),
        "error": float(proportion.std() / np.sqrt(max(proportion.size - 1, 1))),
        "any_hit": float((hits > 0).mean()),
        "any_false": float((false > 0).mean()),
    }
    for name in STATISTICS:
        pairs = np.array([[row[name, k] for k in range(len(SIZES))] for row in counted]).sum(axis=0)
        found[f"power_{name}"] = [float(a / b) if b else float("nan") for a, b in pairs.tolist()]
    return found


def run(quick=False, n_jobs=None):
    """Draw, screen, print; return what was counted: kind to method and level to numbers."""
    size = QUICK if quick else FULL
    results, started = {}, time.perf_counter()
    with Parallel(n_jobs=n_jobs or n_cores()) as parallel:
        for number, (name, kind) in enumerate(KINDS.items()):
            seeds = 100_000 * number + np.arange(size.n_repeats)
            counted = parallel(delayed(repeat)(kind, size, int(seed)) for seed in seeds)
            results[name] = {
                f"{method}, q <= {level:g}": summarise(
                    [row[method, level] for row in counted if (method, level) in row]
                )
                for method, level in counted[0]  # the first draw is looked at by all
            }
            print(f"{name}: {time.perf_counter() - started:.0f} s so far", flush=True)
    print(f"\n{page(results)}", flush=True)
    return results


def page(results):
    """Tables of what was found."""
    header = ["screen", "looked at by", "draws", "hits", "false", "false-discovery proportion",
              "draws with a false hit", *(f"power, {s} {k:g}" for s, k in sizes())]  # fmt: skip
    rows = []
    for kind, methods in results.items():
        for method, found in methods.items():
            power = [*found["power_rate"], *found["power_strength"]]
            rows.append([
                kind, method, str(found["n_draws"]), f"{found['hits']:.1f}",
                f"{found['false']:.2f}",
                f"{found['false_discovery']:.4f} ± {found['error']:.4f}",
                f"{found['any_false']:.1%}",
                *("" if np.isnan(share) else f"{share:.1%}" for share in power),
            ])  # fmt: skip
    return table(header, rows)


def sizes():
    """Statistic and size of each planted change."""
    return [("rate", k) for k in SIZES] + [("strength", k / 2) for k in SIZES]


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effects_truth")
    parser.add_argument("--quick", action="store_true", help="two small draws, seconds")
    parser.add_argument("--jobs", type=int, default=n_cores(), help="processes")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick, options.jobs)


if __name__ == "__main__":
    main()
