"""Write the performance page of the documentation: ``python -m benchmarks.page results.json``.

Everything on the page comes from the results; a goal that was missed is shown as missed.
"""

import argparse
import json
from pathlib import Path

from benchmarks.goals import GOALS, PRODUCT, entry
from benchmarks.gpu_page import gpu_text
from benchmarks.plot import AXES, plot
from benchmarks.rst import heading, number, table

DOCS = Path(__file__).resolve().parent.parent / "docs"
RACES = {
    "encode_large": "Coding, d = {n_features:,}, M = {n_atoms:,}",
    "encode_small": "Coding, d = {n_features:,}, M = {n_atoms:,}",
    "icfl_step": "ICFL training step, d = {n_features:,}, M = {n_atoms:,}",
    "sae_step": "TopK SAE training step, d = {n_features:,}, M = {n_atoms:,}",
}

INTRODUCTION = """\
.. Made by ``python -m benchmarks.page`` from the results of ``make bench``. Do not edit.

.. _performance:

===========
Performance
===========

Sparse coding is what one waits for. This page is made from a run of ``make bench``: skdict and
its opponents on the same arrays, everyone in a process of its own with {threads} threads, the
Gram matrix given, medians of interleaved runs. Who does not agree with the reference is not timed.

{machine}

{picture}"""

PICTURE = """\
.. image:: _static/performance.png
   :alt: Rows per second of skdict and its opponents, and seconds over the sizes of the problem.

"""

# What a person has to say about the misses.
NOTES = ".. include:: performance_notes.inc\n"

METHOD = """\
How it is measured
==================

Rows and atoms are random unit vectors in float32. Rows per second are compared, since a slow
coder gets fewer rows than a fast one; a run lasts about three seconds where there are rows enough.
*Memory* is the peak of anonymous memory during a run above that before it; *quality* is the mean
norm of what the codes leave of a unit row, for training steps the mean squared distance before the
first step. Codes are compared with a reference in float64: residual recomputed in NumPy for ICFL,
scikit-learn for OMP. Training steps start from the same atoms; the first step has to have the same
loss and, where the method is the same, the same direction.

.. code-block:: bash

   make bench                       # the opponents are installed as far as possible
   make bench ARGS="--quick"        # tiny sizes, under a minute
   make bench ARGS="encode_large"   # one of: encode_large encode_small icfl_step sae_step
                                    #         memory selectivity growth
   .venv/bin/python -m benchmarks.page build/benchmarks/results.json    # this page

``benchmarks/asv.conf.json`` follows time, memory and quality over commits with airspeed velocity.
"""


def describe_machines(results):
    """Say where and when the sections were measured."""
    sections = {}
    for name, content in results.items():
        facts = content["machine"]
        versions = ", ".join(f"{key} {value}" for key, value in facts["versions"].items())
        text = (
            f"{facts['processor']}, {facts['cores']} cores, {facts.get('memory_gb', '?')} GB, "
            f"{facts['system']}, Python {facts['python']}, {versions}; memory is read at "
            f"{{bandwidth}} GB/s"
        )
        sections.setdefault(text, []).append((name, content["date"], content["bandwidth_gb_s"]))
    lines = []
    for text, measured in sections.items():
        dates = sorted(date for _, date, _ in measured)
        bandwidth = number(sorted(value for _, _, value in measured)[len(measured) // 2])
        names = "" if len(sections) == 1 else " (" + ", ".join(name for name, *_ in measured) + ")"
        line = f"Measured on{names}: {text.format(bandwidth=bandwidth)}. From {dates[0]}"
        lines.append(line + (f" to {dates[-1]}." if dates[-1] != dates[0] else "."))
    return "\n\n".join(lines)


def goals_table(results):
    """Goal, figure and verdict, a row each."""
    rows = []
    for goal in GOALS:
        section = results.get(goal.section)
        figure, verdict = goal.measure(results)
        measured = "" if figure is None else number(figure) + goal.unit
        shown = f"**{verdict}**" if verdict == "missed" else verdict
        work = goal.work
        if goal.section == "memory" and section is not None:
            work = work.replace("memory map", f"{section['problem']['n_rows']:,}-row memory map")
        rows.append((work, goal.figure, goal.statement(), measured, shown))
    header = ("work", "figure", "goal", "measured", "")
    return table(header, rows, widths=(34, 30, 12, 12, 12))


def race_table(section):
    """One race: a row per contestant, missing ones included."""
    rows = []
    for contestant in section["entries"]:
        name = contestant["label"]
        if contestant["version"]:
            name += f" ({contestant['package']} {contestant['version']})"
        if contestant["status"] != "ok":
            rows.append((name, f"{contestant['status']}: {contestant['detail']}", "", "", "", ""))
            continue
        peak, quality = contestant["peak_bytes"], contestant.get("quality")
        rows.append(
            (
                name,
                number(contestant["rows_per_second"]),
                f"{contestant['n_rows']:,}",
                "" if peak is None else f"{peak / 1e6:,.0f}",
                "" if quality is None else f"{quality:.4f}",
                contestant.get("agreement", ""),
            )
        )
    header = ("", "rows/s", "rows", "memory, MB", "quality", "agreement")
    text = table(header, rows, widths=(34, 12, 10, 12, 10, 22))
    notes = [f"- {c['label']}: {c['note']}." for c in section["entries"] if c["note"]]
    return text + ("\n" + "\n".join(notes) + "\n" if notes else "")


def bounds(results):
    """Say what bounds the coders and the steps, computed from the measured figures."""
    lines = []
    for name in ("encode_large", "encode_small"):
        if name in results:
            lines += [coding_bound(results[name])]
    if "icfl_step" in results:
        lines += [icfl_step_bound(results["icfl_step"])]
    if "sae_step" in results:
        lines += [sae_step_bound(results["sae_step"], results.get("encode_large"))]
    lines = [line for line in lines if line]
    return heading("What bounds it") + "\n" + "\n\n".join(lines) + "\n" if lines else ""


def coding_bound(section):
    """Time of ICFL beyond the product, and the bytes of the Gram matrix read in it."""
    problem, bandwidth = section["problem"], section["bandwidth_gb_s"]
    try:
        product = entry(section, PRODUCT)["rows_per_second"]
        icfl = entry(section, "skdict, ICFL")["rows_per_second"]
        omp = entry(section, "skdict, OMP")["rows_per_second"]
    except KeyError:
        return ""
    n_atoms, n_nonzero = problem["n_atoms"], problem["n_nonzero"]
    read_bytes = n_nonzero * (2 * n_atoms + 4 * problem["n_features"])
    flops = 2 * problem["n_features"] * n_atoms
    rest = 1 / icfl - 1 / product
    updates = 2 * n_atoms * n_nonzero * (n_nonzero + 1) / 2
    text = (
        f"**d = {problem['n_features']:,}, M = {n_atoms:,}.** The product runs at "
        f"{number(product * flops / 1e9)} GFLOP/s: {number(1e6 / product)} µs a row, "
        f"{number(100 * icfl / product)}% of the time of ICFL. In the other "
        f"{number(1e6 * rest)} µs the pursuit chooses {n_nonzero} atoms, "
        f"{problem['atoms_per_step']} a step, and reads each of them and its row of the Gram "
        f"matrix of 16-bit integers: {number(read_bytes / 1e6)} MB a row of X, at "
        f"{number(read_bytes / rest / 1e9)} GB/s. "
    )
    sizes = 2 * n_atoms**2 / 1e6, 4 * problem["n_features"] * n_atoms / 1e6
    limit = 1 / (1 / product + read_bytes / (bandwidth * 1e9))
    text += (
        f"That matrix has {number(sizes[0])} MB, the atoms {number(sizes[1])} MB; with all of it "
        f"read from memory at the measured {number(bandwidth)} GB/s, the rate could not exceed "
        f"{number(limit)} rows/s, {number(limit / product)} of the product's; what is read from "
        f"cache instead, or while the other thread multiplies, lifts that bound. "
        f"OMP has to update the correlations with all chosen atoms, "
        f"{number(updates / 1e6)} million operations a row if nothing is saved: "
        f"{number(omp * updates / 1e9)} GFLOP/s at the measured rate."
    )
    return text


def icfl_step_bound(section):
    """Share of codes and Gram matrix in an ICFL step."""
    try:
        step = entry(section, "skdict, ICFLDictionary")["seconds"]
        codes = entry(section, "skdict, ICFL")["seconds"]
        gram = entry(section, "skdict, one Gram matrix")["seconds"]
        plain = entry(section, "the product D D^T alone")["seconds"]
    except KeyError:
        return ""
    return (
        f"**ICFL step.** {number(step)} s: codes {number(codes)} s, Gram matrix {number(gram)} s "
        f"(as a plain product: {number(plain)} s); the remaining {number(step - codes - gram)} s "
        f"are reconstruction, gradient and Adam, which read and write the atoms and their moments."
    )


def sae_step_bound(section, coding):
    """Time of the one dense product in a TopK step."""
    try:
        step = entry(section, "skdict, TopKSAE")["seconds"]
        product = entry(coding, PRODUCT)["rows_per_second"] if coding else None
    except KeyError:
        return ""
    if product is None or coding["problem"]["n_atoms"] != section["problem"]["n_atoms"]:
        return ""
    n_rows = section["problem"]["n_rows"]
    return (
        f"**TopK SAE step.** {number(step)} s, of which the product of the encoder, the only "
        f"dense one, takes {number(n_rows / product)} s at the rate above; a step by autograd has "
        f"five such products."
    )


def scale_text(results):
    """Say what memory map and selectivity needed."""
    text = ""
    if "memory" in results and results["memory"]["peak_bytes"] is not None:
        memory = results["memory"]
        problem = memory["problem"]
        parts = {
            key: f"{memory[key + '_bytes'] / 1e6:,.0f} MB" for key in ("peak", "gram", "result")
        }
        text += heading("A memory map") + (
            f"\n``transform`` of {problem['n_rows']:,} x {problem['n_features']:,} float32 rows on "
            f"disk with {problem['n_atoms']:,} atoms: {parts['peak']} of anonymous memory at the "
            f"peak (pages of the file are not counted), of which {parts['gram']} are the Gram "
            f"matrix and "
            f"{parts['result']} the codes; {memory['above_bytes'] / 1e6:,.0f} MB are left. "
            f"It took {number(memory['seconds'])} s.\n\n"
        )
    if "selectivity" in results:
        figures = results["selectivity"]
        problem = figures["problem"]
        peak = figures["peak_bytes"]
        memory = "" if peak is None else f", {peak / 1e6:,.0f} MB at the peak"
        text += heading("Selectivity") + (
            f"\n{problem['n_rows']:,} x {problem['n_atoms']:,} codes with {problem['n_nonzero']} "
            f"non-zeros a row against {problem['n_labels']:,} labels, one core: "
            f"{number(figures['seconds'])} s{memory}; an array with a byte per code would have "
            f"{figures['dense_bytes'] / 1e6:,.0f} MB. Largest error {figures['error']:.0e}.\n\n"
        )
    return text


def growth_text(results):
    """Fitted exponents, a row per curve."""
    if "growth" not in results:
        return ""
    rows = []
    for curve in results["growth"]["curves"]:
        base = ", ".join(
            f"{value:,} {AXES[key]}" for key, value in curve["base"].items() if key != curve["axis"]
        )
        sizes = f"{curve['sizes'][0]:,} to {curve['sizes'][-1]:,}"
        rows.append(
            (
                f"``{curve['work']}``",
                f"{AXES[curve['axis']]}, {sizes}",
                base,
                f"{curve['exponent']:.2f}",
                f"{curve['last_exponent']:.2f}",
            )
        )
    header = ("work", "what grows", "at", "exponent", "of the last two")
    return (
        heading("As work grows")
        + "\nSeconds as a power of one size: through all points, and between the last two.\n\n"
        + table(header, rows, widths=(12, 24, 40, 12, 12))
        + "\n"
    )


def page(results, *, picture):
    """Text of the page.

    Parameters
    ----------
    results : dict
        Sections of the results.
    picture : bool
        Whether the picture was drawn.
    """
    on_cpu = {name: section for name, section in results.items() if name != "gpu"} or results
    parts = [
        INTRODUCTION.format(
            threads=max(section["threads"] for section in on_cpu.values()),
            machine=describe_machines(on_cpu),
            picture=PICTURE if picture else "",
        ),
        heading("Goals"),
        goals_table(results),
        bounds(results),
    ]
    for name, title in RACES.items():
        if name in results:
            section = results[name]
            parts += [heading(title.format(**section["problem"])), race_table(section)]
    parts += [scale_text(results).rstrip("\n"), growth_text(results)]
    parts += [gpu_text(results), NOTES, METHOD]
    return "\n".join(part for part in parts if part)


def main():
    """Write page and picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", type=Path, help="results of python -m benchmarks")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the documentation")
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    picture = options.docs / "_static" / "performance.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    drawn = plot(results, picture)
    target = options.docs / "performance.rst"
    target.write_text(page(results, picture=drawn))
    print(f"Wrote {target}" + (f" and {picture}." if drawn else "; no picture without matplotlib."))


if __name__ == "__main__":
    main()
