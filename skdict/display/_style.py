"""What all displays look like: colours, markers, axes, legends, whiskers."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional

# Okabe and Ito's colours, without the yellow that vanishes on white. They stay apart under the
# common colour-vision deficiencies; the markers repeat the distinction without any colour.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++")
CURVE = "skdict-curve"
GREY = "0.35"


def new_axes(ax):
    """Return `ax`, or fresh axes on a new figure."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot")
    return pyplot.subplots(layout="constrained")[1] if ax is None else ax


def new_panels(n_panels: int, *, n_columns: int, width: float = 3.6, height: float = 3.2):
    """Return a list of `n_panels` fresh axes on one new figure."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot")
    n_columns = min(n_columns, n_panels)
    n_rows = -(-n_panels // n_columns)
    figure, grid = pyplot.subplots(
        n_rows, n_columns, figsize=(width * n_columns, height * n_rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    axes = list(grid.flat)
    for spare in axes[n_panels:]:
        figure.delaxes(spare)
    return axes[:n_panels]


def check_panels(axes, n_panels: int) -> list:
    """Return the given axes as a list; raise ValueError unless there are `n_panels`."""
    axes = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(axes) != n_panels:
        raise ValueError(
            f"axes must hold {n_panels} matplotlib Axes, one per panel, got {len(axes)}"
        )
    return axes


def next_style(ax) -> tuple[str, str]:
    """Return colour and marker for the next curve of these axes."""
    drawn = sum(artist.get_gid() == CURVE for artist in (*ax.lines, *ax.patches))
    return COLORS[drawn % len(COLORS)], MARKERS[drawn % len(MARKERS)]


def legend(ax, note: str = "", **options) -> None:
    """Draw or refresh the legend if any artist has a label; `note` explains bands and whiskers."""
    if ax.get_legend_handles_labels()[1]:
        box = ax.legend(
            frameon=False, fontsize="small", title=note or None, title_fontsize="small",
            alignment="left", **options,
        )  # fmt: skip
        box.get_title().set_color(GREY)
    elif note:
        ax.set_title(note, loc="right", fontsize="small", color=GREY)


def legend_beside(ax, note: str = "") -> None:
    """Draw the legend to the right of the axes, where neither bars nor a title lie beneath it."""
    legend(ax, note.replace(", ", ",\n"), loc="upper left", bbox_to_anchor=(1.01, 1.0))


def interval_note(has_interval: bool, confidence_level: float, has_spread: bool = False) -> str:
    """Say what whiskers and bands stand for."""
    notes = []
    if has_interval:
        notes.append(f"whiskers: {100 * confidence_level:.4g}% interval, units resampled")
    if has_spread:
        notes.append("band: ± spread")
    return "; ".join(notes)


def draw_whiskers(ax, x, y, low, high, color) -> None:
    """Draw whiskers from `low` to `high` at points that need not lie in their middle."""
    if low is None:
        return
    # A percentile interval may leave its own estimate outside; a bar of negative length is none.
    lengths = np.abs(np.stack([np.minimum(low, y) - y, np.maximum(high, y) - y]))
    ax.errorbar(x, y, yerr=lengths, fmt="none", ecolor=color, elinewidth=1.2, capsize=3, zorder=3)


def grouped_bars(ax, groups, members, values, *, low=None, high=None):
    """Draw one bar per (group, member) beside each other and return {member: container}.

    `groups`, `members` and `values` are columns of one table; order is that of appearance.
    A missing pair leaves a gap.
    """
    group_names, member_names = list(dict.fromkeys(groups)), list(dict.fromkeys(members))
    width = 0.8 / len(member_names)
    position = {name: i for i, name in enumerate(group_names)}
    bars = {}
    for i, member in enumerate(member_names):
        rows = np.flatnonzero([name == member for name in members])
        x = np.array([position[groups[row]] for row in rows], dtype=float)
        x += (i - (len(member_names) - 1) / 2) * width
        bars[member] = ax.bar(
            x, values[rows], 0.92 * width, color=COLORS[i % len(COLORS)], label=str(member),
            hatch=HATCHES[i % len(HATCHES)], edgecolor="white", linewidth=0, gid=CURVE,
        )  # fmt: skip
        if low is not None:
            draw_whiskers(ax, x, values[rows], low[rows], high[rows], "black")
    ax.set_xticks(range(len(group_names)), [str(name) for name in group_names])
    if max((len(str(name)) for name in group_names), default=0) * len(group_names) > 60:
        ax.tick_params(axis="x", rotation=30)
        for tick in ax.get_xticklabels():
            tick.set_ha("right")
            tick.set_rotation_mode("anchor")
    return bars
