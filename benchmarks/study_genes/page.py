"""The page of the documentation, made from the results and nothing else."""

from benchmarks.rst import heading, table
from benchmarks.study.page import escape, show, underlined, verdict_table
from benchmarks.study_genes.sections import RULES, SECTIONS
from benchmarks.study_genes.settings import SELECTION

INTRODUCTION = """\
.. This page is made by python -m benchmarks.study_genes; changes belong there.

.. _study_genes:

{title}
The findings of the paper on concepts of single-cell models [1]_, on data that anyone can have. A
rule computes each verdict from the numbers; ``make study-genes`` runs it again. The paper's models
(scGPT, scVI) and cells are not here: concepts of two small embeddings of purified blood cells are
looked at, PCA and a small autoencoder trained on the spot. A finding that does not hold here is a
fact about these data at this size, and no refutation.

{quick}{run}

"""
QUICK = """\
.. warning::
   This is a quick run: few cells, seeds and steps. Its numbers say that the study works and
   nothing else.

"""
LIMITS = """\
- **Type and library coincide.** Each of the ten populations was purified and sequenced as a library
  of its own. What marks a type here may mark its library, and no claim about batches is made on
  these cells: those are made on planted batches only.
- **One study, donors unknown.** Cells stand for themselves; no interval here speaks of new donors.
  pbmc68k is of the same study.
- **An enriched gene set is no understanding.** Genes vary together, so that any direction of an
  embedding has some. What counts is how much more than random directions concepts have.
- **Small.** 2,000 genes and tens of coordinates; a foundation model may behave otherwise.
- **Choices were fixed before shares, markers and pathways were computed**, and not tuned after. The
  numbers of atoms and non-zeros follow how many atoms are live and how well they reconstruct. Genes
  of a few concepts were seen while a first fit with other sizes was timed.
"""
REFERENCES = """\
.. [1] Claye et al. "Discovering interpretable biological concepts in single-cell RNA-seq foundation
   models." arXiv 2510.25807, 2025.
.. [2] Zheng et al. "Massively parallel digital transcriptional profiling of single cells." Nature
   Communications 8, 14049, 2017.
"""


def page(found, pictures):
    """Text of the page.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    pictures : sequence of str
        Names of the pictures.
    """
    settings = found["settings"]
    # in the order of the sections, also when read back from a file
    found = found | {"sections": {name: found["sections"][name] for name in SECTIONS}}
    parts = [
        INTRODUCTION.format(
            title=heading("The study of genes"),
            quick=QUICK if settings["quick"] else "",
            run=describe_run(found),
        ),
        underlined("Verdicts"),
        verdict_table(found),
        underlined("Limits"),
        LIMITS,
        underlined("Rules"),
        "".join(f"- {rule}\n" for rule in RULES),
        underlined("What was fixed beforehand"),
        "".join(f"- {escape(rule.format(**fixed(settings)))}\n" for rule in SELECTION),
        underlined("Data"),
        describe_data(found),
        underlined("All live concepts"),
        describe_concepts(found),
    ]
    for name, section in found["sections"].items():
        parts += [underlined(section["title"]), describe_section(name, section, pictures)]
    shown = ", ".join(
        f"{name} {show(value)}" for name, value in settings.items() if name != "quick"
    )
    parts += [underlined("Settings"), f"{escape(shown)}.\n", REFERENCES]
    return "\n".join(parts)


def fixed(settings):
    """Numbers in the rules that were fixed beforehand."""
    return {
        "least": settings["least_active"],
        "most": settings["most_active"],
        "prototypes": settings["n_prototypes"],
        "genes": settings["n_genes"],
        "level": settings["level"],
        "marks": settings["marks"],
    }


def describe_run(found):
    """When, where, how long, and with how many passes."""
    machine, minutes = found["machine"], found["processor_minutes"]
    passes = " and ".join(f"{number:,} through {name.upper()}"
                          for name, number in found["passes"].items())  # fmt: skip
    missing = ""
    if found["missing"]:
        missing = (
            f" Without {', '.join(found['missing'])}, which were not there: what needs them is not "
            "judged."
        )
    return (
        f"Run of {found['date']} on {machine['processor']}, {found['processes']} processes of one "
        f"thread, Python {machine['python']}, skdict {machine['versions']['skdict']}: "
        f"{found['n_tasks']} pieces of work, {sum(minutes.values()):.0f} processor minutes. "
        f"Forward passes for attribution: {passes}.{missing}"
    )


def describe_data(found):
    """Cells, genes, sets."""
    data = found["data"]
    sets = "No gene sets were there: nothing is said of pathways."
    if data["n_sets"]:
        sets = f"{data['n_sets']:,} gene sets: Hallmark, GO Biological Process 2021, Reactome 2016."
    return (
        f"{data['n_cells']:,} cells of ten purified populations [2]_, raw counts of "
        f"{data['n_genes']:,} genes (the most dispersed ones, chosen without labels, as shipped by "
        ":func:`~skdict.datasets.load_pbmc`); the other genes count for the depth as one column. "
        f"{data['n_held_out']:,} cells are held out from everything, each seed learns from "
        f"{data['n_training']:,}. {sets}\n\nWithout ``SKDICT_DATA`` the study runs on the 1,500 "
        "cells that the package ships, without pathways and pbmc68k; it makes no biological claim "
        "from toy sets. Planted data stand beside the real ones and carry no biology.\n"
    )


def describe_concepts(found):
    """Where the table is, and how many concepts make no sense."""
    text = (
        f":download:`All {len(found['concepts']):,} live concepts of the first seed "
        "<_static/study_genes/concepts.csv>` (CSV): activity, most selective cell type on held-out "
        "cells, confirmation, completeness, best gene set, first genes by attribution and by "
        "expression.\n"
    )
    counts = found["senseless"]
    if counts is None:
        return text
    rows = []
    for title, seeds in counts.items():
        kind, _, name = title.partition(", ")
        own = [row for row in found["concepts"]
               if (row["dictionary"], row["embedding"]) == (kind, name)]  # fmt: skip
        which = [str(row["concept"]) for row in own if not row["sense"]]
        rows.append(
            [title, ", ".join(f"{few} of {every}" for few, every in seeds), ", ".join(which) or "-"]
        )
    return f"{text}\nConcepts that make no sense by the rule above:\n\n" + table(
        ("concepts", "by seed", "those of the first seed"), rows
    )


def describe_section(name, section, pictures):
    """Note, pictures, tables."""
    parts = [section["note"] + "\n"]
    wanted = {"share": ["share"], "types": [one for one in pictures if one.startswith("genes_")]}
    for picture in wanted.get(name, []):
        if picture in pictures:
            place = f"_static/study_genes/{picture}"
            parts.append(
                f".. image:: {place}.svg\n   :alt: {section['title']}: {picture}\n   :width: 100%\n"
            )
            parts.append(
                f":download:`The numbers <{place}.csv>` and :download:`how they were made "
                f"<{place}.txt>`.\n"
            )
    for entry in section["tables"]:
        if entry["title"]:
            parts.append(f"**{escape(entry['title'])}**\n")
        cells = [[escape(str(cell)) for cell in row] for row in entry["rows"]]
        parts.append(table([escape(cell) for cell in entry["header"]], cells))
    return "\n".join(parts)
