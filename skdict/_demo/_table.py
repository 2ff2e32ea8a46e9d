"""The table that the demo prints, as plain text that survives a pipe."""

from __future__ import annotations

import textwrap

from skdict._demo._experiment import MODELS, WHITENING, Arm
from skdict._demo._metrics import METRICS, RAW, show
from skdict._demo._results import Results
from skdict._demo._verdict import RULE, summary

_LABEL = 38
_CELL = 14
WIDTH = _LABEL + _CELL * len(MODELS)

SPREAD = (
    "± is the spread over seeds (standard deviation). A seed sets the start of the training, which "
    "plates are held out and how compounds fall into folds. It is no confidence interval, and "
    "says nothing about other compounds or laboratories."
)
STAR = (
    "* position-confounded: a compound sits in the same wells of every plate, so a held-out "
    "plate does not tell compound from position."
)


def text_table(results: Results) -> str:
    """Return all numbers: one block with and one without whitening, one column per model."""
    lines = []
    for whitening in WHITENING:
        lines += [f"WHITENING {whitening.upper()}".ljust(_LABEL) + _row(MODELS), "-" * WIDTH]
        group = None
        for metric in METRICS:
            if metric.group != group:
                group = metric.group
                lines.append(group)
            cells = [
                show(results.values[Arm(whitening, model)][metric.key], metric.digits)
                for model in MODELS
            ]
            lines.append(f"  {metric.label}".ljust(_LABEL) + _row(cells))
        lines.append("")
    lines.append("WITHOUT ANY DICTIONARY")
    lines.append("-" * WIDTH)
    for held_out, label in RAW.items():
        lines.append(f"  {label}".ljust(_LABEL) + show(results.raw[held_out], 3).rjust(_CELL))
    chance = f"{1 / results.data['mechanisms']:.3f}"
    lines.append("  guessing".ljust(_LABEL) + chance.rjust(_CELL))
    return "\n".join(lines)


def _row(cells) -> str:
    return "".join(cell.rjust(_CELL) for cell in cells)


def text_report(results: Results) -> str:
    """Return the table, how to read it, and what was better and what was not."""
    parts = [text_table(results), "", _wrap(settings_line(results)), _wrap(SPREAD), _wrap(STAR), ""]
    parts.append("WHAT WAS BETTER AND WHAT WAS NOT")
    parts += [_wrap(str(finding), "  ", "- ") for finding in summary(results)]
    parts.append(_wrap(RULE))
    return "\n".join(parts)


def settings_line(results: Results) -> str:
    """Return one sentence on data and settings."""
    data, settings = results.data, results.settings
    seeds = f"{results.n_seeds} seed" + ("s" if results.n_seeds > 1 else "")
    return (
        f"{data['rows']:,} wells x {data['features']} features, {data['compounds']} compounds, "
        f"{data['mechanisms']} mechanisms with two or more compounds, {data['controls']} control "
        f"wells, {data['plates']} physical plates; {settings.n_components} features "
        f"(PCA: {data['pca']}) of which at most {settings.n_nonzero_coefs} are active per well, "
        f"{settings.max_steps} training steps, {seeds}."
    )


def _wrap(text: str, indent: str = "", first: str | None = None) -> str:
    start = indent if first is None else first
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=indent)
