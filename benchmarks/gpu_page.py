"""The section of the performance page about GPUs, which says when there is nothing to say."""

from benchmarks.gpu_goals import GPU_GOALS, verdict_of_line
from benchmarks.rst import heading, number, table

UNMEASURED = """\
Unmeasured: there was no GPU when this page was made. The kernels for GPUs are tested on the CPU,
for their results; nothing is known of their speed. ``python -m benchmarks gpu`` measures it. The
goals are for one H200 and the default mode of precision.
"""

MEASURED = """\
{card}. Copying reads and writes {copy} GB/s; products run at {float32} GFLOP/s in float32 and
{tf32} GFLOP/s in TF32. Measured {date}, everything in one process, one after another, medians of
runs between which the device is waited for. Agreement comes first: codes beside those of the CPU in
float64, the first training step beside the CPU's, the opponents' codes and losses beside skdict's.

In the *default* mode skdict searches in TF32, in the *exact* one every product is IEEE float32;
opponents run with torch's own products in float32 and in TF32, and the goals take the faster. The
shares are what the algorithm has to move and to compute, as if nothing were cached and each product
were computed once, of what the card copies and multiplies (in TF32 for the default mode) in that
time. The goals are for one H200.
"""


def gpu_text(results):
    """Section of the page: goals, and all lines where they were measured.

    Parameters
    ----------
    results : dict
        Sections of the results; measured is what ``"gpu"`` holds of a full run on a GPU.
    """
    section = results.get("gpu")
    parts = [heading("On a GPU")]
    if section is None or section["quick"] or section["card"] is None:
        return "\n".join([*parts, UNMEASURED, goals_table(results), ""])
    rates = section["rates"]
    parts.append(
        MEASURED.format(
            card=describe_card(section),
            copy=number(rates["copy_gb_s"]),
            float32=number(rates["float32"]),
            tf32=number(rates["TF32"]),
            date=section["date"],
        )
    )
    return "\n".join([*parts, goals_table(results), lines_table(section["lines"]), ""])


def describe_card(section):
    """Card and software in words."""
    card, facts = section["card"], section["machine"]
    triton = f", triton {card['triton']}" if card["triton"] else ", no triton"
    return (
        f"{card['name']}, {card['memory_gb']} GB, CUDA {card['cuda']}, torch {card['torch']}"
        f"{triton}; {facts['processor']}, {facts['cores']} cores"
    )


def goals_table(results):
    """Goal, figure and verdict, a row each."""
    rows = []
    for goal in GPU_GOALS:
        figure, verdict = goal.measure(results)
        measured = "" if figure is None else number(figure) + goal.unit
        shown = f"**{verdict}**" if verdict == "missed" else verdict
        rows.append((goal.work, goal.figure, goal.statement(), measured, shown))
    return table(("work", "figure", "goal", "measured", ""), rows, widths=(34, 30, 12, 12, 12))


def lines_table(lines):
    """Everything that was measured, failed or was missing, a row each."""
    rows = []
    for line in lines:
        name = line["label"]
        if line["package"] != "skdict" and line["version"]:
            name += f" ({line['version']})"
        if line["status"] != "ok":
            told = f"{line['status']}: {line['detail']}"
            rows.append((line["work"], name, line["mode"], told, "", "", "", ""))
            continue
        shares = [
            f"{line[key]:.0%}" if key in line else "" for key in ("bandwidth_share", "matrix_share")
        ]
        told = "; ".join(part for part in (line["agreement"], line["detail"]) if part)
        figure = f"{number(line['figure'])} {line['unit']}"
        rows.append(
            (line["work"], name, line["mode"], figure, verdict_of_line(line), *shares, told)
        )
    header = ("", "", "mode", "figure", "goal", "of copy", "of product", "agreement")
    text = table(header, rows, widths=(10, 20, 8, 12, 14, 7, 7, 22))
    notes = dict.fromkeys(f"- {c['label']}: {c['note']}." for c in lines if c["note"])
    return text + ("\n" + "\n".join(notes) + "\n" if notes else "")
