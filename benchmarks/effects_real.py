"""Dictionaries, PCA and raw features on real wells: false positives, hits, limits of detection.

Two sets: JUMP-Scope (90 compounds in the same four wells of five physical plates) and, where
SKDICT_DATA is set, cmQTL CRISPRi (ten knock-down lines of five genes in blocks of 2 x 2 wells, on a
plate and its rerun). Units are physical wells, of cmQTL the blocks: wells of a block are no
replicates. Features are clipped at 20 before anything else. The methods: ICFL and TopK SAE of
256 atoms and 12 non-zeros on whitened rows of unit length, PCA whitened on controls with as many
directions, and features standardised by the controls.

- False positives: controls relabelled as compounds, with the pipeline fitted once on all rows, or
  anew without the relabelled ones ("anew").
- Hits: on all plates; and on some plates, replicated on the held-out ones. A replicated hit is
  that of a position where the wells around the compound show the same effect with p <= 0.05.
- Limits: effects planted in the half of the controls that no pipeline was fitted on. One compound
  is screened at a time: among 90 the limits are higher.
"""

import argparse
import json
import math
import os
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from benchmarks.machine import describe_machine, machine, n_cores
from benchmarks.rst import heading, table
from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.datasets import load_jump_scope
from skdict.effects import (
    concept_effects,
    detection_limit,
    false_positive_rate,
    neighbour_effects,
    well_position,
)

CLIP = 20.0
DICTIONARIES = {"ICFL": ICFLDictionary, "TopK SAE": TopKSAE}
METHODS = (*DICTIONARIES, "PCA", "raw")
STATISTICS = ("rate", "strength")
P_VALUES = {"p_value": "p", "tail_p_value": "tail p"}
LEVEL = 0.05
OUTPUT = Path(__file__).resolve().parent / "results" / "effects.json"


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Attributes
    ----------
    more_directions : tuple of int
        Numbers of whitened directions that are tried in JUMP-Scope beside `n_directions`.
    """

    n_components: int = 256
    n_nonzero_coefs: int = 12
    n_directions: int = 48
    more_directions: tuple[int, ...] = (96,)
    max_steps: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    n_repeats: int = 50
    n_refits: int = 20
    n_planted: int = 25
    strengths: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64)
    prevalences: tuple[float, ...] = (1.0, 0.5)
    n_permutations: int = 999


FULL = Settings()
QUICK = Settings(
    n_components=16, n_nonzero_coefs=3, n_directions=8, more_directions=(), max_steps=20,
    seeds=(0, 1), n_repeats=2, n_refits=2, n_planted=2, strengths=(32,), prevalences=(1.0,),
    n_permutations=99,
)  # fmt: skip


@dataclass(frozen=True)
class Wells:
    """Wells and what was done to them.

    Attributes
    ----------
    units : ndarray
        Independent unit of each row.
    held_out : tuple of str
        Plates that replicate the hits of the others.
    n_units_per_plate : int
        Units of a pseudo-compound, about as many as a perturbation has.
    """

    name: str
    X: np.ndarray
    perturbation: np.ndarray
    control: np.ndarray
    plate: np.ndarray
    well: np.ndarray
    units: np.ndarray
    held_out: tuple[str, ...]
    n_units_per_plate: int

    @property
    def design(self):
        """Arguments of a screen after the codes."""
        return self.perturbation, self.control, self.plate


def jump_scope():
    """JUMP-Scope; a plate that was imaged twice has two rows to a unit."""
    wells = load_jump_scope()
    return Wells(
        "JUMP-Scope", np.clip(wells.data, -CLIP, CLIP), wells.compound, wells.control,
        wells.plate, wells.well, _joined(wells.plate, wells.well),
        held_out=("BR00117059", "YokogawaJP"), n_units_per_plate=4,
    )  # fmt: skip


def cmqtl(folder):
    """Read cmQTL CRISPRi: a perturbation is a gene and its line, a unit a block of 2 x 2 wells."""
    import pandas as pd

    frame = pd.read_parquet(Path(folder) / "cmqtl_crispri_wells" / "wells.parquet")
    features = frame[[name for name in frame if not name.startswith("meta_")]]
    plate, well = (frame[f"meta_{name}"].to_numpy().astype(str) for name in ("plate", "well"))
    place = well_position(well)
    block = _joined((place.row + 1) // 2, (place.column + 1) // 2)
    return Wells(
        "cmQTL", np.clip(features.to_numpy(np.float32), -CLIP, CLIP),
        _joined(frame["meta_gene"], frame["meta_sample_id"]), frame["meta_is_control"].to_numpy(),
        plate, well, _joined(plate, block),
        held_out=("MT_rerun_20220919",), n_units_per_plate=6,
    )  # fmt: skip


def _joined(first, second):
    """Two names as one."""
    return np.array([f"{a} {b}" for a, b in zip(first, second, strict=True)])


class ControlScaler(TransformerMixin, BaseEstimator):
    """Features less the mean of the controls, by their standard deviation, clipped."""

    __metadata_request__fit = {"control": True}  # noqa: RUF012 (scikit-learn's protocol)

    def fit(self, X, y=None, *, control):
        """Take mean and standard deviation of the controls."""
        self.mean_ = X[control].mean(axis=0, dtype=np.float64)
        deviation = X[control].std(axis=0, dtype=np.float64)
        self.scale_ = np.where(deviation > 0, deviation, np.inf)
        return self

    def transform(self, X):
        """Return standardised features; 0 where controls do not vary."""
        return np.clip((X - self.mean_) / self.scale_, -CLIP, CLIP)


def fit(method, wells, settings, seed, rows=slice(None)):
    """Pipeline of a method, fitted on some rows.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    wells : Wells
        The data.
    settings : Settings
        Sizes.
    seed : int
        Of the dictionary.
    rows : slice or ndarray of bool
        What it is fitted on.
    """
    if method == "raw":
        pipeline = make_pipeline(ControlScaler())
    else:
        steps = [ControlPCAWhitener(n_components=settings.n_directions)]
        if method in DICTIONARIES:
            dictionary = DICTIONARIES[method](
                settings.n_components, n_nonzero_coefs=settings.n_nonzero_coefs,
                max_steps=settings.max_steps, random_state=seed,
            )  # fmt: skip
            steps += [Normalizer(), dictionary]
        pipeline = make_pipeline(*steps)
    with _routing():
        return pipeline.fit(wells.X[rows], control=wells.control[rows])


@contextmanager
def _routing():
    """Routing of metadata; that whitening may overfit is what is looked at here."""
    with warnings.catch_warnings(), config_context(enable_metadata_routing=True):
        warnings.filterwarnings("ignore", message=".*whitening overfits its controls")
        yield


def calibrate(wells, method, settings, seed, how):
    """False positives of a method: rows of results.

    Parameters
    ----------
    wells, method, settings, seed
        As in `fit`.
    how : {"once", "anew", "wells as units"}
        Whether the pipeline is fitted in every relabelling; wells as units: once, and the screen
        takes wells of a block for replicates.
    """
    with _routing():
        found = false_positive_rate(
            wells.X, wells.control, wells.plate, pipeline=fit(method, wells, settings, seed),
            refit=how == "anew", units=wells.units,
            screen_units=np.arange(wells.X.shape[0]) if how == "wells as units" else None,
            n_units_per_plate=wells.n_units_per_plate,
            n_repeats=settings.n_refits if how == "anew" else settings.n_repeats,
            n_permutations=settings.n_permutations, random_state=seed,
        )  # fmt: skip
    rates = found.table()
    row = {
        f"{statistic}, {P_VALUES[p_value]} <= {level:g}": [
            float(rates[key][i]) for key in ("share", "low", "high")
        ]
        for i, (statistic, p_value, level) in enumerate(
            zip(rates["statistic"], rates["p_value"], rates["level"], strict=True)
        )
        if rates["n_pairs"][i]
    }
    for name in ("compound_hit", "any_hit"):
        row[name] = [float(found[name][key]) for key in ("share", "low", "high")]
    return _label(wells, method, settings, seed) | {
        "fitted": how, "n_compounds": found.n_compounds, "n_repeats": found.n_repeats,
        "mean_hits": found.mean_hits, **row,
    }  # fmt: skip


def screen(wells, method, settings, seed):
    """Count hits of a method, those that replicate, and those whose neighbours agree."""
    codes = fit(method, wells, settings, seed).transform(wells.X)
    options = {"n_permutations": settings.n_permutations, "random_state": seed}
    everything = concept_effects(codes, *wells.design, units=wells.units, **options)
    part = concept_effects(
        codes, *wells.design, units=wells.units, held_out=wells.held_out, **options
    )
    around = neighbour_effects(codes, *wells.design, wells.well, units=wells.units, **options)
    all_hits, hits = everything.hits(LEVEL), part.hits(LEVEL)
    kept = hits["replicated"]
    alone = kept & ~shared_by_neighbours(hits, around)
    tested = np.concatenate([around[name].tail_p_value[around[name].tested] for name in STATISTICS])
    counted = {
        "n_perturbations": part.perturbations.size,
        "hits": all_hits["concept"].size,
        "perturbations": _n_names(all_hits["perturbation"]),
        "part_hits": kept.size,
        "part_perturbations": _n_names(hits["perturbation"]),
        "replicated": int(kept.sum()),
        "replicated_perturbations": _n_names(hits["perturbation"][kept]),
        "alone": int(alone.sum()),
        "alone_perturbations": _n_names(hits["perturbation"][alone]),
        "neighbour_share": float((tested <= LEVEL).mean()),
        "control_lines": hits_between_control_lines(codes, wells, options),
    }
    return _label(wells, method, settings, seed) | counted


def shared_by_neighbours(hits, around):
    """Whether the wells around the perturbation of each hit show it too, in the same direction."""
    shared = np.zeros(hits["concept"].size, dtype=bool)
    for name in STATISTICS:
        rows = np.flatnonzero(
            (hits["statistic"] == name) & np.isin(hits["perturbation"], around.perturbations)
        )
        place = np.searchsorted(around.perturbations, hits["perturbation"][rows])
        concept = hits["concept"][rows]
        same = np.sign(around[name].z[place, concept]) == np.sign(hits["z"][rows])
        shared[rows] = same & (around[name].tail_p_value[place, concept] <= LEVEL)
    return shared


def _n_names(names):
    return int(np.unique(names).size)


def hits_between_control_lines(codes, wells, options):
    """Hits of one line of controls against another; None where there is one alone."""
    names = wells.perturbation[wells.control]
    lines = np.unique(names)
    if lines.size == 1:
        return None
    found = concept_effects(
        codes[wells.control], names, names == lines[-1], wells.plate[wells.control],
        units=wells.units[wells.control], **options,
    )  # fmt: skip
    return int(found.hits(LEVEL)["concept"].size)


def limits(wells, settings, directions):
    """Limits of detection of all methods: rows of power, and of limits.

    Parameters
    ----------
    wells, settings
        As in `fit`.
    directions : {"random", "perturbations"}
        What is planted: random directions, or how real perturbations differ from the controls.
    """
    rng = np.random.default_rng(0)
    fit_rows = ~held_out_controls(wells, rng)
    names = [(method, seed) for method in METHODS for seed in _seeds(method, settings)]
    pipelines = {f"{m}, seed {s}": fit(m, wells, settings, s, fit_rows) for m, s in names}
    found = detection_limit(
        wells.X, wells.control, wells.plate, pipelines, units=wells.units, fit_rows=fit_rows,
        strengths=settings.strengths, prevalences=settings.prevalences,
        directions=None if directions == "random" else differences(wells, rng),
        n_repeats=settings.n_planted, n_units_per_plate=wells.n_units_per_plate,
        n_permutations=settings.n_permutations, random_state=0,
    )  # fmt: skip
    rows = []
    for i, (method, seed) in enumerate(names):
        for j, prevalence in enumerate(settings.prevalences):
            rows.append(_label(wells, method, settings, seed) | {
                "directions": directions, "prevalence": prevalence,
                "strengths": list(settings.strengths),
                "power": found.detected[i, j].mean(axis=-1).tolist(),
                "false_share": float((found.n_false[i, j] > 0).mean()),
                "limit": [float(found[key][i, j]) for key in ("limit", "limit_low", "limit_high")],
                "n_control_units": found.n_control_units,
            })  # fmt: skip
    return rows


def held_out_controls(wells, rng):
    """Half of the control units of each plate, as a mask of rows."""
    chosen = []
    for plate in np.unique(wells.plate[wells.control]):
        units = np.unique(wells.units[wells.control & (wells.plate == plate)])
        chosen.extend(rng.permutation(units)[: units.size // 2 + units.size % 2])
    return wells.control & np.isin(wells.units, chosen)


def differences(wells, rng):
    """Means of the perturbations less those of controls, in random order."""
    centre = wells.X[wells.control].mean(axis=0)
    treated = np.unique(wells.perturbation[~wells.control])
    means = [wells.X[wells.perturbation == name].mean(axis=0) - centre for name in treated]
    return rng.permutation(np.array(means, dtype=np.float64))


def _seeds(method, settings):
    """Seeds of a method: one where nothing is drawn."""
    return settings.seeds if method in DICTIONARIES else settings.seeds[:1]


def _label(wells, method, settings, seed):
    return {"set": wells.name, "method": method, "n_directions": settings.n_directions,
            "seed": seed}  # fmt: skip


def tasks(wells, settings):
    """Everything that is done with a set: pairs of the part of the results and a call."""
    # the longest ones first
    for directions in ("random", "perturbations"):
        yield "limits", delayed(limits)(wells, settings, directions)
    for method in METHODS:
        for seed in _seeds(method, settings):
            yield "calibration", delayed(calibrate)(wells, method, settings, seed, "once")
            yield "screens", delayed(screen)(wells, method, settings, seed)
        first = settings.seeds[0]
        yield "calibration", delayed(calibrate)(wells, method, settings, first, "anew")
        if wells.name == "cmQTL":
            yield (
                "calibration",
                delayed(calibrate)(wells, method, settings, first, "wells as units"),
            )
        elif method != "raw":
            for n_directions in settings.more_directions:
                other = replace(settings, n_directions=n_directions)
                for how in ("once", "anew"):
                    yield "calibration", delayed(calibrate)(wells, method, other, first, how)
                yield "screens", delayed(screen)(wells, method, other, first)


def run(quick=False, n_jobs=None):
    """Measure and print; return the rows of the three tables."""
    settings, sets = (QUICK if quick else FULL), [jump_scope()]
    folder = os.environ.get("SKDICT_DATA")
    if quick:
        sets = [_few(sets[0])]
    elif folder:
        sets.append(cmqtl(folder))
    else:
        print("cmQTL: missing; it needs SKDICT_DATA (benchmarks/README.md)")
    results = {"calibration": [], "screens": [], "limits": []}
    started = time.perf_counter()
    for wells in sets:
        planned = list(tasks(wells, settings))
        done = Parallel(n_jobs=n_jobs or n_cores())(call for _, call in planned)
        for (part, _), found in zip(planned, done, strict=True):
            results[part].extend(found if isinstance(found, list) else [found])
        print(f"{wells.name}: {time.perf_counter() - started:.0f} s so far", flush=True)
    print(page(results), flush=True)
    return results


def _few(wells):
    """Few compounds and features."""
    names = np.unique(wells.perturbation[~wells.control])[:6]
    rows = wells.control | np.isin(wells.perturbation, names)
    arrays = {name: getattr(wells, name)[rows]
              for name in ("perturbation", "control", "plate", "well", "units")}  # fmt: skip
    return replace(wells, X=wells.X[rows][:, :40], **arrays)


def page(results):
    """Three tables in reStructuredText."""
    return "\n".join([
        heading("False positives"), _calibration_table(results["calibration"]),
        heading("Hits"), _screen_table(results["screens"]),
        heading("Limits of detection"), _limit_table(results["limits"]),
    ])  # fmt: skip


def _grouped(rows, *keys):
    """Rows of the seeds together, in order of appearance."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups.items()


def _over_seeds(values, form="{:.4f}"):
    """Mean and range; a single value without one."""
    text = form.format(np.mean(values))
    if min(values) == max(values):
        return text
    return f"{text} ({form.format(min(values))} to {form.format(max(values))})"


def _share(rows, key):
    """A share: with its interval, or mean and range of the seeds."""
    if key not in rows[0]:
        return ""
    if len(rows) > 1:
        return _over_seeds([row[key][0] for row in rows])
    share, low, high = rows[0][key]
    return f"{share:.4f} [{low:.4f}, {high:.4f}]"


def _calibration_table(rows):
    # of tail p the level that differs from p; the results have all
    keys = [f"{statistic}, {what}" for statistic in STATISTICS
            for what in ("p <= 0.01", "p <= 0.05", "tail p <= 0.01")]  # fmt: skip
    header = ["set", "method", "directions", "fitted", "pseudo-compounds", *keys,
              "pseudo-compounds with a hit", "relabellings with a hit"]  # fmt: skip
    keys += ["compound_hit", "any_hit"]
    return table(header, [
        [*map(str, group), str(members[0]["n_compounds"]), *(_share(members, key) for key in keys)]
        for group, members in _grouped(rows, "set", "method", "n_directions", "fitted")
    ])  # fmt: skip


SCREEN_COLUMNS = {
    "n_perturbations": "perturbations",
    "hits": "hits on all plates",
    "perturbations": "perturbations with one",
    "part_hits": "hits without the held-out plates",
    "part_perturbations": "perturbations with one",
    "replicated": "replicated hits",
    "replicated_perturbations": "perturbations with one",
    "alone": "not shown by neighbours",
    "alone_perturbations": "perturbations with one",
    "neighbour_share": "all pairs of neighbours with p <= 0.05",
    "control_lines": "hits between control lines",
}


def _screen_table(rows):
    def cell(members, key):
        values = [row[key] for row in members if row[key] is not None]
        form = "{:.1%}" if key == "neighbour_share" else "{:.4g}"
        return _over_seeds(values, form) if values else ""

    return table(["set", "method", "directions", *SCREEN_COLUMNS.values()], [
        [*map(str, group), *(cell(members, key) for key in SCREEN_COLUMNS)]
        for group, members in _grouped(rows, "set", "method", "n_directions")
    ])  # fmt: skip


def _limit_table(rows):
    header = ["set", "directions", "prevalence", "method", "limit (mean of seeds, range)",
              "intervals of the seeds", "power at each strength", "false"]  # fmt: skip
    cells = []
    for group, members in _grouped(rows, "set", "directions", "prevalence", "method"):
        power = np.mean([row["power"] for row in members], axis=0)
        cells.append([
            *map(str, group), _over_seeds([row["limit"][0] for row in members], "{:.1f}"),
            "; ".join(f"{row['limit'][1]:.1f} to {row['limit'][2]:.1f}" for row in members),
            ", ".join(f"{strength:g}: {share:.0%}"
                      for strength, share in zip(members[0]["strengths"], power, strict=True)),
            f"{np.mean([row['false_share'] for row in members]):.1%}",
        ])  # fmt: skip
    return table(header, cells)


def finite(value):
    """JSON has no infinity: None stands for a limit beyond the strengths that were planted."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(arguments=None):
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.effects_real")
    parser.add_argument("--quick", action="store_true", help="a few compounds, seconds")
    parser.add_argument("--jobs", type=int, default=n_cores(), help="processes")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where results are written")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    results = run(options.quick, options.jobs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    found = finite({"machine": machine(), **results})
    options.output.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(f"Wrote {options.output}.")


if __name__ == "__main__":
    main()
