"""From settings to results, and from results to files."""

import csv
import io
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.study.cache import Cache, dump, write_json
from benchmarks.study_genes import cells, kinds
from benchmarks.study_genes.arms import DICTIONARIES
from benchmarks.study_genes.embeddings import TITLES
from benchmarks.study_genes.found import COUNTED, Found
from benchmarks.study_genes.page import page
from benchmarks.study_genes.pictures import draw
from benchmarks.study_genes.sections import SECTIONS

COLUMNS = ("embedding", "dictionary", "concept", "active", "cell_type", "selectivity", "confirmed",
           "completeness", "far_share", "n_sets", "best_set", "q_value", "sense", "genes",
           "genes_by_expression")  # fmt: skip


def run(settings, *, folder, n_jobs=1, fresh=False, stream=sys.stderr):
    """Results of the study.

    Parameters
    ----------
    settings : Settings
        Sizes of the run.
    folder : str or Path
        Of the cache.
    n_jobs : int, default=1
        Processes of one thread.
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
    missing = missing_data()
    if missing and stream is not None:
        print(f"Without {', '.join(missing)}: SKDICT_DATA does not hold them.", file=stream)
    tasks = kinds.tasks(settings)
    done = kinds.run_tasks(tasks, settings, Cache(folder, fresh=fresh), n_jobs=n_jobs,
                           stream=stream)  # fmt: skip
    found = Found(done, settings)
    sections = {name: {"title": title} | section(found)
                for name, (title, section) in SECTIONS.items()}  # fmt: skip
    # as it will be read back from its file, so that the page is the same
    return json.loads(dump({
        "settings": asdict(settings),
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "minutes": (time.perf_counter() - start) / 60,
        "processor_minutes": processor_minutes(done),
        "processes": n_jobs,
        "n_tasks": len(done),
        "missing": missing,
        "data": described(settings),
        "passes": passes(found),
        "sections": sections,
        "concepts": concept_rows(found),
        "shown": {name: found.first(name, "TopK", "shown") for name in settings.embeddings},
        "groups": {name: found.first(name, "TopK", "groups") for name in settings.embeddings},
        "senseless": senseless(found),
    }))  # fmt: skip


def missing_data():
    """What SKDICT_DATA lacks."""
    wanted = (cells.FACS, cells.PBMC68K, *cells.GENE_SETS.values())
    return [name for name in wanted if cells.data_file(name) is None]


def described(settings):
    """Numbers of the cells and sets."""
    blood, sets = cells.blood_cells(settings.n_cells), cells.gene_sets()
    return {
        "n_cells": blood.cell_type.size,
        "n_genes": int(blood.named.sum()),
        "n_held_out": int(blood.test.sum()),
        "n_training": blood.training(settings.seeds[0]).size,
        "n_sets": None if sets is None else len(sets),
        "cells": blood.digest,
    }


def processor_minutes(done):
    """Minutes that the work took when it was done, by kind."""
    kinds_done = sorted({task.kind for task in done})
    return {kind: sum(entry["seconds"] for task, entry in done.items() if task.kind == kind) / 60
            for kind in kinds_done}  # fmt: skip


def passes(found):
    """Forward passes through each embedding, all seeds and kinds of concepts together."""
    total = {}
    for name in found.settings.embeddings:
        total[name] = int(sum(found.numbers(name, arm, "n_passes").sum() for arm in COUNTED))
        total[name] += sum(found.first(name, kind, "shown")["n_passes"] for kind in DICTIONARIES)
    return total


def concept_rows(found):
    """A row for each live concept of the first seed."""
    rows = []
    for name in found.settings.embeddings:
        for kind in DICTIONARIES:
            for entry in found.first(name, kind, "concepts"):
                rows.append({"embedding": TITLES[name], "dictionary": kind} | entry)
    return rows


def senseless(found):
    """Live concepts that make no sense by the rule, and all of them, by seed; None without sets."""
    counts = {}
    for title, name, kind in found.cases():
        tables = found.arm(name, kind, "concepts")
        if "sense" not in tables[0][0]:
            return None
        counts[title] = [[sum(not row["sense"] for row in rows), len(rows)] for rows in tables]
    return counts


def concept_table(rows):
    """The concepts as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in COLUMNS])
    return text.getvalue()


def cell(value):
    """A value as text."""
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.3g}"
    return "; ".join(value) if isinstance(value, list) else str(value)


def write(found, folder):
    """Write results, pictures, the table of concepts and the page; yield their paths.

    Parameters
    ----------
    found : dict
        As `run` returns it.
    folder : str or Path
        Gets ``study_genes.rst``, and ``_static/study_genes`` with the rest.
    """
    folder = Path(folder)
    static = folder / "_static" / "study_genes"
    static.mkdir(parents=True, exist_ok=True)
    pictures = draw(found, static)
    for picture in pictures:
        yield from (picture, picture.with_suffix(".csv"), picture.with_suffix(".txt"))
    concepts = static / "concepts.csv"
    concepts.write_text(concept_table(found["concepts"]))
    yield concepts
    write_json(found, static / "study_genes.json")
    yield static / "study_genes.json"
    target = folder / "study_genes.rst"
    target.write_text(page(found, [path.stem for path in pictures]))
    yield target
