"""What all displays look like: colours, markers, axes, legends, whiskers."""

from __future__ import annotations

import textwrap

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


def fit_names(ax) -> None:
    """Break the names of the axes into lines that are no longer than small axes are."""
    for name, length in ((ax.xaxis.label, ax.bbox.width), (ax.yaxis.label, ax.bbox.height)):
        letter = 0.52 * name.get_size() / 72.0  # inches, in the mean
        width = max(8, int(length / ax.figure.dpi / letter))
        n_lines = wrapped(name.get_text(), width).count("\n")
        # Lines of equal length, so that no word is left alone.
        while wrapped(name.get_text(), width - 1).count("\n") == n_lines and width > 8:
            width -= 1
        if n_lines:
            name.set_text(wrapped(name.get_text(), width))


def whole_ticks(ax) -> None:
    """Number a linear horizontal axis with whole numbers: what is counted has no halves."""
    locator = ax.xaxis.get_major_locator()
    if isinstance(locator, import_optional("matplotlib.ticker", extra="plot").MaxNLocator):
        locator.set_params(integer=True)


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


def interval_note(
    has_interval: bool, confidence_level: float, has_spread: bool = False, *, spread_as="band"
) -> str:
    """Say what whiskers and bands stand for."""
    notes = []
    if has_interval:
        notes.append(f"whiskers: {100 * confidence_level:.4g}% interval, units resampled")
    if has_spread:
        notes.append(f"{spread_as}: ± spread")
    return "; ".join(notes)


def whisker_limits(table, values):
    """Return the ends of whiskers around `values`: intervals, a spread, or None twice."""
    if "spread" in table:
        return values - table["spread"], values + table["spread"]
    return table.get("low"), table.get("high")


def wrapped(text: str, width: int, max_lines: int | None = None) -> str:
    """Return `text` broken between words; what does not fit into the lines ends in dots."""
    return textwrap.fill(
        str(text), width, break_long_words=max_lines is not None, max_lines=max_lines,
        placeholder=" …",
    )  # fmt: skip


def draw_whiskers(ax, x, y, low, high, color) -> None:
    """Draw whiskers from `low` to `high` at points that need not lie in their middle."""
    if low is None:
        return
    # A percentile interval may leave its own estimate outside; a bar of negative length is none.
    lengths = np.abs(np.stack([np.minimum(low, y) - y, np.maximum(high, y) - y]))
    ax.errorbar(x, y, yerr=lengths, fmt="none", ecolor=color, elinewidth=1.2, capsize=3, zorder=3)


def grouped_bars(ax, groups, members, values, *, low=None, high=None, styles=None):
    """Draw one bar per (group, member) beside each other and return {member: container}.

    `groups`, `members` and `values` are columns of one table; order is that of appearance.
    A missing pair leaves a gap. `styles` has options of ``Axes.bar`` for some members.
    """
    unknown = sorted(set(styles or {}) - set(members))
    if unknown:
        raise ValueError(
            f"styles names {', '.join(map(repr, unknown))}, but there are only bars of "
            f"{', '.join(map(repr, dict.fromkeys(members)))}"
        )
    group_names, member_names = list(dict.fromkeys(groups)), list(dict.fromkeys(members))
    width = 0.8 / len(member_names)
    position = {name: i for i, name in enumerate(group_names)}
    bars = {}
    for i, member in enumerate(member_names):
        rows = np.flatnonzero([name == member for name in members])
        x = np.array([position[groups[row]] for row in rows], dtype=float)
        x += (i - (len(member_names) - 1) / 2) * width
        style = {"color": COLORS[i % len(COLORS)], "hatch": HATCHES[i % len(HATCHES)],
                 "edgecolor": "white", "linewidth": 0, "label": str(member)}  # fmt: skip
        style |= (styles or {}).get(member, {})
        bars[member] = ax.bar(x, values[rows], 0.92 * width, gid=CURVE, **style)
        if low is not None:
            draw_whiskers(ax, x, values[rows], low[rows], high[rows], "black")
    texts = [wrapped(name, 16) for name in group_names]
    ax.set_xticks(range(len(group_names)), texts)
    longest = max((len(line) for text in texts for line in text.splitlines()), default=0)
    # Letters that the axes have room for, at their width without a legend beside them.
    if longest * len(group_names) > 11 * ax.figure.get_figwidth():
        ax.tick_params(axis="x", rotation=30)
        for tick in ax.get_xticklabels():
            tick.set_ha("right")
            tick.set_rotation_mode("anchor")
    return bars
