"""From settings to results, and from results to files."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.study import data as data_sets
from benchmarks.study.cache import Cache, plain, write_json
from benchmarks.study.page import page
from benchmarks.study.pictures import draw
from benchmarks.study.sections import SECTIONS
from benchmarks.study.stages import Results, run_tasks


def load_sets(settings, stream=sys.stderr):
    """Data sets of the run by name; those that SKDICT_DATA lacks are named and left out."""
    sets, missing = {}, []
    for name in settings.names:
        found = data_sets.load(name, settings.planted_rows)
        if found is None:
            missing.append(name)
        else:
            sets[name] = found
    if missing and stream is not None:
        print(
            f"Without {', '.join(missing)}: SKDICT_DATA does not hold them "
            "(python -m benchmarks.fetch_data fetches what can be fetched).",
            file=stream,
            flush=True,
        )
    return sets, missing


def run(settings, *, names, folder, n_jobs=1, fresh=False, stream=sys.stderr):
    """Results of the named sections.

    Parameters
    ----------
    settings : Settings
        Sizes of the run.
    names : sequence of str
        Sections.
    folder : str or Path
        Of the cache.
    n_jobs : int, default=1
        Processes.
    fresh : bool, default=False
        Compute everything again.
    stream : file or None, default=sys.stderr
        Gets lines of progress.

    Returns
    -------
    dict
        What `write` and the page need; what JSON can hold.
    """
    start = time.perf_counter()
    sets, missing = load_sets(settings, stream)
    cache = Cache(folder, fresh=fresh)
    options = {"n_jobs": n_jobs, "stream": stream}
    modules = {name: SECTIONS[name] for name in SECTIONS if name in names}
    tasks = [task for module in modules.values() for task in module.tasks(settings, sets)]
    found = run_tasks(tasks, settings, cache, **options, title="study")
    for name, module in modules.items():
        if hasattr(module, "more_tasks"):
            more = module.more_tasks(Results(found, settings), settings, sets)
            found |= run_tasks(more, settings, cache, **options, title=name)
    results = Results(found, settings)
    sections = {}
    for name, module in modules.items():
        sections[name] = {"title": module.TITLE, "trend": module.TREND}
        sections[name] |= module.section(results, settings, sets)
    return plain({
        "settings": asdict(settings),
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "minutes": (time.perf_counter() - start) / 60,
        "processes": n_jobs,
        "n_tasks": len(found),
        "missing": missing,
        "data": {name: describe(data, settings) for name, data in sets.items()},
        "sections": sections,
    })  # fmt: skip


def describe(data, settings):
    """What the page says of a data set."""
    return {
        "title": data.title,
        "rows": data.X.shape[0],
        "features": data.X.shape[1],
        "controls": int(data.control.sum()),
        "labels": len(set(data.y[data.probed])),
        "units": len(set(data.units[data.probed].tolist())),
        "n_components": data.n_components,
        "n_nonzero": data.n_nonzero,
        "label": data.label,
        "holds_out": data.holds_out,
        "folds": sum(1 for _ in data.folds(settings.folds, settings.seeds[0])),
        "carries": data.carries,
        "claims": data.claims,
        "fingerprint": data.fingerprint,
    }


def write(found, folder):
    """Write results, pictures and page; yield their paths.

    Parameters
    ----------
    found : dict
        As `run` returns it.
    folder : str or Path
        Gets ``study.rst``, and ``_static/study`` with ``study.json``, the pictures and, beside
        each, its numbers and how they were made.
    """
    folder = Path(folder)
    static = folder / "_static" / "study"
    static.mkdir(parents=True, exist_ok=True)
    pictures = draw(found, static)
    for picture in pictures:
        yield from (picture, picture.with_suffix(".csv"), picture.with_suffix(".txt"))
    write_json(found, static / "study.json")
    yield static / "study.json"
    target = folder / "study.rst"
    target.write_text(page(found, [path.stem for path in pictures]))
    yield target
