"""Figure 7B: what a linear map reads and what it drops."""

from benchmarks.study.arms import claiming, show, table
from benchmarks.study.configurations import ICFL
from benchmarks.study.stages import over_seeds
from benchmarks.study.verdicts import claim, spread

TITLE = "Figure 7B: row space, null space, random subspace"
TREND = (
    "For the projection between encoder and decoder of the masked autoencoder, a probe reads as "
    "much from the null part of a token as from the whole, less from the row part, and more from a "
    "random subspace of the same dimension than from the row part."
)
PARTS = ("row", "null", "random")


def tasks(settings, sets):
    """Parts of the rows of sets that carry claims, but for planted data."""
    return over_seeds("subspace", wanted(sets), [ICFL], settings)


def wanted(sets):
    """Real sets that carry claims."""
    return [name for name in claiming(sets) if name != "planted"]


def section(results, settings, sets):
    """Relative accuracies."""
    rows, ours, parts = [], {}, {}
    for name in wanted(sets):
        values = {
            part: results.values(name, ICFL, part, "relative", kind="subspace") for part in PARTS
        }
        first = results.of("subspace", name, ICFL)[0]
        whole = results.values(name, ICFL, "whole", "accuracy", kind="subspace")
        rows.append(
            [sets[name].title, f"{first['row']['dimension']} of {first['whole']['dimension']}"]
            + [show(whole), *(show(values[part], 2) for part in PARTS)]
        )
        parts[name] = {part: [values[part].mean(), spread(values[part])] for part in PARTS}
        ours[name] = ", ".join(f"{part} {values[part].mean():.2f}" for part in PARTS)
    header = (
        "data",
        "dimension",
        "accuracy of the whole",
        *(f"{part}, relative" for part in PARTS),
    )
    note = (
        "The paper's projection is not public, and none of these sets comes with the decoder of "
        "its encoder. The map here is that of a linear autoencoder of the same relative width, the "
        "first 31% of the principal components, so the row part is the best linear summary by "
        "construction: the tool runs, the paper's finding cannot be tested with it."
    )
    text = "The null part is read as well as the whole; the row part less than a random subspace"
    return {
        "claims": [claim("Figure 7B", text, "null about 1.0, row < random", ours, {})],
        "tables": [table("", header, rows, note)],
        "parts": parts,
    }
