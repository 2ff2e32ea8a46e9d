"""The picture of a set of results: rates side by side, and cost as work grows."""

import numpy as np

COLOURS = {"skdict": "#0b6e4f", "numpy": "#888888"}
AXES = {"n_rows": "rows", "n_features": "features", "n_atoms": "atoms", "n_nonzero": "non-zeros"}
TITLES = {
    "encode_large": "rows coded per second",
    "encode_small": "rows coded per second",
    "icfl_step": "ICFL training step, rows per second",
    "sae_step": "TopK SAE training step, rows per second",
}


def plot(results, path):
    """Draw all races and curves into a file; nothing without matplotlib.

    Parameters
    ----------
    results : dict
        Sections of the results.
    path : str or Path
        Picture to write.

    Returns
    -------
    bool
        Whether there was something to draw and matplotlib to draw with.
    """
    races = [name for name in TITLES if name in results and timed_entries(results[name])]
    grown = {curve["axis"] for curve in results.get("growth", {}).get("curves", [])}
    axes = [axis for axis in AXES if axis in grown]
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    n_rows = -(-len(races) // 2) + bool(axes)
    if n_rows == 0:
        return False
    figure = Figure(figsize=(11, 3.1 * n_rows), layout="constrained")
    parts = figure.subfigures(n_rows, 1, squeeze=False)[:, 0]
    for k, part in enumerate(parts[: -(-len(races) // 2)]):
        panels = part.subplots(1, 2)
        for panel, name in zip(panels, races[2 * k : 2 * k + 2]):
            draw_race(panel, name, results[name])
        for panel in panels[len(races[2 * k : 2 * k + 2]) :]:
            panel.set_axis_off()
    if axes:
        panels = parts[-1].subplots(1, len(axes), sharey=True, squeeze=False)[0]
        for panel, axis in zip(panels, axes):
            draw_curves(panel, axis, results["growth"]["curves"])
    figure.savefig(path, dpi=110)
    return True


def timed_entries(section):
    """Contestants of a race that were timed."""
    return [entry for entry in section["entries"] if entry["status"] == "ok"]


def draw_race(panel, name, section):
    """One bar per contestant that was timed."""
    timed = sorted(timed_entries(section), key=lambda entry: entry["rows_per_second"])
    places = np.arange(len(timed))
    rates = [entry["rows_per_second"] for entry in timed]
    colours = [COLOURS.get(entry["package"], "#c8963e") for entry in timed]
    panel.barh(places, rates, color=colours)
    panel.set_yticks(places, [entry["label"] for entry in timed], fontsize=7)
    panel.set_xscale("log")
    panel.set_xlim(min(rates) / 2, max(rates) * 8)
    for place, rate in zip(places, rates):
        panel.text(
            rate * 1.1,
            place,
            f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}",
            va="center",
            fontsize=7,
        )
    problem = section["problem"]
    sizes = f"d = {problem['n_features']:,}, M = {problem['n_atoms']:,}, K = {problem['n_nonzero']}"
    panel.set_title(f"{TITLES[name]}\n{sizes}, {section['threads']} threads", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)


def draw_curves(panel, axis, curves):
    """Seconds over one size, a line per kind of work, with its exponent."""
    for curve in curves:
        if curve["axis"] == axis:
            label = f"{curve['work']}: {curve['exponent']:.2f}"
            panel.plot(curve["sizes"], curve["seconds"], marker="o", markersize=3, label=label)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xlabel(AXES[axis])
    panel.set_ylabel("seconds")
    panel.legend(fontsize=7, title="exponent", title_fontsize=7)
    panel.spines[["top", "right"]].set_visible(False)
