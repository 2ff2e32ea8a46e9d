"""All tables and figures, in the order of the page."""

from benchmarks.study import (
    ablations,
    confirm,
    factorial,
    figure2,
    figure3,
    figure4a,
    figure4b,
    figure4c,
    figure7b,
    figure8,
    figure9,
    rivals,
    search,
    table1,
    table2,
)

# The search is first: what it chooses must not depend on what the others show.
SECTIONS = {
    "search": search,
    "table1": table1,
    "table2": table2,
    "figure2": figure2,
    "figure3": figure3,
    "figure4a": figure4a,
    "figure4b": figure4b,
    "figure4c": figure4c,
    "figure7b": figure7b,
    "figure8": figure8,
    "figure9": figure9,
    "factorial": factorial,
    "rivals": rivals,
    "ablations": ablations,
    "confirm": confirm,
}
