"""The page of the documentation, made from the results and nothing else."""

from collections import Counter

from benchmarks.rst import heading, table
from benchmarks.study.verdicts import FAILS, HOLDS, RULES, UNTESTABLE

INTRODUCTION = """\
.. This page is made by python -m benchmarks.study; changes belong there.

.. _study:

{title}
The tables and figures of the ICFL paper [1]_ on data that anyone can have, with the paper's trend
beside ours and a verdict that a rule computes from the numbers. ``make study`` runs it again:
``python -m benchmarks.study``. The paper's own models and images are closed, and these sets are
thousands of times smaller: a trend that does not hold here is a fact about these data at
this size, and no refutation.

{quick}{machine}

"""
QUICK = """\
.. warning::
   This is a quick run: few seeds, short training, small sweeps. Its numbers say that the study
   works and nothing else.

"""
REFERENCES = """\
.. [1] Donhauser et al. "Towards scientific discovery with dictionary learning: extracting
   biological concepts from microscopy foundation models." ICML 2025.
"""


def page(found, pictures):
    """Text of the page.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    pictures : sequence of str
        Names of the sections that have a picture.
    """
    sections = found["sections"]
    parts = [
        INTRODUCTION.format(
            title=heading("The study"),
            quick=QUICK if found["settings"]["quick"] else "",
            machine=describe_run(found),
        ),
        underlined("Verdicts"),
        verdict_table(found),
        underlined("Rules"),
        "".join(f"- {rule}\n" for rule in RULES),
        underlined("Data"),
        data_table(found),
    ]
    # The search runs first, and is read just before what its choice is worth.
    for name in sorted(sections, key=lambda name: name in ("search", "confirm")):
        section = sections[name]
        parts += [underlined(section["title"]), describe_section(name, section, pictures)]
    parts += [underlined("Settings"), settings_text(found), REFERENCES]
    return "\n".join(parts)


def underlined(title):
    """Title of a section below that of the page."""
    return f"{title}\n{'-' * len(title)}\n"


def describe_run(found):
    """When, where and how long."""
    machine = found["machine"]
    missing = ""
    if found["missing"]:
        missing = f" Without {', '.join(found['missing'])}, which were not there."
    return (
        f"Run of {found['date']} on {machine['processor']}, {found['processes']} processes of one "
        f"thread, Python {machine['python']}, skdict {machine['versions']['skdict']}, scikit-learn "
        f"{machine['versions']['scikit-learn']}: {found['n_tasks']:,} fits and probes, "
        f"{found['minutes']:.0f} minutes beyond what the cache held.{missing}"
    )


def escape(text):
    """Text that reStructuredText takes literally."""
    for sign in ("\\", "*", "`", "|", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text


def verdict_table(found):
    """Every claim with the paper's numbers, ours, and the verdict."""
    claims = [claim for section in found["sections"].values() for claim in section["claims"]]
    counts = Counter(claim["verdict"] for claim in claims)
    counted = (
        f"{counts[HOLDS]} hold, {counts[FAILS]} do not hold, {counts[UNTESTABLE]} cannot be tested"
    )
    rows = [
        (
            claim["figure"],
            escape(claim["claim"]),
            escape(claim["paper"]),
            "; ".join(
                f"{name}{mark(claim['outcomes'].get(name))}: {escape(text)}"
                for name, text in claim["ours"].items()
            ),
            f"**{claim['verdict']}**",
        )
        for claim in claims
    ]
    header = ("paper", "claim", "the paper's numbers", "ours, by data set", "verdict")
    note = (
        f"Of {len(claims)} claims: {counted}. ✓ and ✗: true and false on a set; sets without a "
        "mark are descriptive or could not be tested.\n\n"
    )
    return note + table(header, rows, widths=(8, 24, 16, 40, 12))


def mark(outcome):
    """Sign of an outcome."""
    return {True: " ✓", False: " ✗", None: ""}[outcome]


def data_table(found):
    """What each set is, what it can and cannot carry."""
    rows = [
        (
            f"**{name}**: {entry['title']}" + ("" if entry["claims"] else " (descriptive)"),
            f"{entry['rows']:,} x {entry['features']:,}",
            f"{entry['labels']} x {entry['label']}",
            entry["holds_out"],
            f"{entry['units']:,}",
            f"{entry['n_components']:,}, {entry['n_nonzero']}",
        )
        for name, entry in found["data"].items()
    ]
    header = ("set", "rows", "labels", "held out", "units", "atoms, non-zeros")
    carried = "".join(f"- *{name}*: {entry['carries']}\n" for name, entry in found["data"].items())
    return table(header, rows, widths=(24, 12, 18, 24, 10, 12)) + f"\n{carried}"


def describe_section(name, section, pictures):
    """The paper's trend, the picture, our tables."""
    parts = [f"*In the paper.* {section['trend']}\n"]
    if section.get("note"):
        parts.append(section["note"] + "\n")
    if name in pictures:
        parts.append(
            f".. image:: _static/study/{name}.svg\n   :alt: {section['title']}\n   :width: 100%\n"
        )
        parts.append(
            f":download:`The numbers in the picture <_static/study/{name}.csv>` and "
            f":download:`how they were made <_static/study/{name}.txt>`.\n"
        )
    for entry in section["tables"]:
        if entry["title"]:
            parts.append(f"**{entry['title']}**\n")
        if entry["note"]:
            parts.append(escape(entry["note"]) + "\n")
        cells = [[escape(str(cell)) for cell in row] for row in entry["rows"]]
        parts.append(table([escape(cell) for cell in entry["header"]], cells))
    return "\n".join(parts)


def settings_text(found):
    """All sizes of the run."""
    settings = found["settings"]
    shown = ", ".join(
        f"{name} {show(value)}" for name, value in settings.items() if name != "quick"
    )
    return (
        f"{escape(shown)}.\n\nCellProfiler values are clipped at ±10. Dictionaries learn from "
        "unit rows that are centred or whitened on the controls of the training rows. Probes are "
        "logistic regressions with class-balanced weights, C chosen by inner folds.\n"
    )


def show(value):
    """A setting as text."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
