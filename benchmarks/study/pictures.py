"""Pictures of the sections: one vector graphic each, the same bytes for the same results."""

import numpy as np

from skdict.display import DeadAtomsDisplay, SubspaceProbeDisplay

# Colours that stay apart for colour-blind readers (Okabe and Ito); whitening off is dashed.
COLOURS = {"ICFL": "#0072B2", "TopK": "#D55E00", "raw": "#777777", "binarizer": "#009E73"}
NAMES = {"binarizer": "binarised CellProfiler", "dictionary": "ICFL"}


def draw(found, folder):
    """Draw every section that has something to show; a list of paths, empty without matplotlib.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    folder : Path
        Where pictures go.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return []
    paths = []
    drawers = {
        "table1": draw_dead, "figure7b": draw_parts,
        "figure2": draw_binarizer, "figure3": draw_histograms, "figure4a": draw_bars,
        "figure4b": draw_lines, "figure4c": draw_lines, "figure8": draw_selectivity,
        "figure9": draw_lines,
    }  # fmt: skip
    with matplotlib.rc_context({"svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 9}):
        for name, drawer in drawers.items():
            if name in found["sections"]:
                figure = Figure(layout="constrained")
                figure.patch.set_facecolor("white")
                drawer(figure, found["sections"][name], found["data"])
                path = folder / f"{name}.svg"
                figure.savefig(path, metadata={"Date": None})
                paths.append(path)
    return paths


def grid(figure, names, *, width=3.6, height=2.9, n_columns=3, **options):
    """Panels for data sets, at most three in a row."""
    n_columns = min(n_columns, len(names))
    n_rows = -(-len(names) // n_columns)
    figure.set_size_inches(width * n_columns, height * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False, **options).ravel()
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return panels


def style(label):
    """Colour and dashes of an arm, from its name."""
    colour = next((c for name, c in COLOURS.items() if label.startswith(name)), "#777777")
    return {"color": colour, "linestyle": "--" if label.endswith("off") else "-"}


def legend(figure, panel):
    """One legend for all panels, below them."""
    handles, labels = panel.get_legend_handles_labels()
    n_columns = max(1, int(figure.get_figwidth() // 2))
    figure.legend(handles, labels, loc="outside lower center", ncols=n_columns, frameon=False)


def draw_dead(figure, section, data):
    """Dead features of every model, a panel per data set."""
    bars = section["bars"]
    panels = grid(figure, bars, width=4.6, height=3.2)
    for panel, (name, entries) in zip(panels, bars.items()):
        columns = {key: [entry[key] for entry in entries] for key in entries[0]}
        columns["model"] = [model.replace(" without ", "\nwithout ") for model in columns["model"]]
        DeadAtomsDisplay(**columns, n_components=data[name]["n_components"]).plot(ax=panel)
        panel.set_title(data[name]["title"])


def draw_parts(figure, section, data):
    """Relative accuracy of row space, null space and random subspaces, a panel per data set."""
    parts = section["parts"]
    panels = grid(figure, parts)
    for panel, (name, values) in zip(panels, parts.items()):
        SubspaceProbeDisplay(list(values), list(values.values())).plot(ax=panel)
        panel.set_title(data[name]["title"])


def draw_lines(figure, section, data):
    """Curves with their spread over seeds, a panel per data set."""
    curves = section["curves"]
    panels = grid(figure, curves, n_columns=2)
    for panel, (name, curve) in zip(panels, curves.items()):
        for label, line in curve["lines"].items():
            panel.errorbar(
                curve["x"], line["mean"], yerr=line["spread"], label=label, marker="o",
                markersize=3, capsize=2, linewidth=1.4, **style(label),
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xticks(curve["x"], [f"{x:g}" for x in curve["x"]])
        panel.minorticks_off()
        panel.set_title(data[name]["title"])
        panel.set_xlabel(section["xlabel"])
        panel.set_ylabel(section["ylabel"])
    legend(figure, panels[0])


def draw_bars(figure, section, data):
    """Accuracy of rows and reconstructions, a panel per data set, chance as a line."""
    bars = section["bars"]
    panels = grid(figure, bars)
    labels = ["raw"] + [
        f"{model}, reconstruction, whitening {state}"
        for model in ("ICFL", "TopK")
        for state in ("on", "off")
    ]
    for panel, (name, values) in zip(panels, bars.items()):
        for place, label in enumerate(labels):
            mean, spread = values[label]
            panel.bar(
                place, mean, yerr=spread, capsize=2, color=style(label)["color"],
                alpha=0.45 if label.endswith("off") else 1.0,
                hatch="//" if label.endswith("off") else None,
                label=label.replace(" reconstruction,", "").replace("raw", "rows themselves"),
            )  # fmt: skip
        panel.axhline(section["chance"][name], color="black", linewidth=0.8, linestyle=":")
        panel.set_xticks([])
        panel.set_title(f"{data[name]['title']}\n{data[name]['label']}")
        panel.set_ylabel("balanced accuracy")
    legend(figure, panels[0])


def draw_selectivity(figure, section, data):
    """Best score of each label in descending order; held-out scores dashed."""
    curves = section["curves"]
    panels = grid(figure, curves)
    for panel, (name, models) in zip(panels, curves.items()):
        for model, scores in models.items():
            for score, dashes in (("average", "-"), ("held", "--")):
                values = scores[score]
                where = "all rows" if score == "average" else "held-out rows"
                panel.plot(
                    np.arange(1, len(values) + 1), values, dashes, color=COLOURS[model],
                    label=f"{model}, {where}", marker="o" if len(values) < 8 else None,
                    markersize=3,
                )  # fmt: skip
        panel.axhline(0, color="black", linewidth=0.6)
        panel.set_title(data[name]["title"])
        panel.set_xlabel(f"labels ({data[name]['label']}), sorted")
        panel.set_ylabel("average selectivity")
    legend(figure, panels[0])


def draw_histograms(figure, section, data):
    """Cosines of rows with a direction: label against others, four labels per data set."""
    histograms = {name: shown for name, shown in section["histograms"].items() if shown}
    n_columns = max(map(len, histograms.values()))
    figure.set_size_inches(2.9 * n_columns, 2.2 * len(histograms))
    panels = figure.subplots(len(histograms), n_columns, squeeze=False)
    for row, (name, shown) in zip(panels, histograms.items()):
        for panel in row[len(shown) :]:
            panel.set_axis_off()
        for panel, entry in zip(row, shown):
            edges = np.array(entry["edges"])
            for counts, colour, label in (
                (entry["counts_other"], COLOURS["raw"], "others"),
                (entry["counts_label"], COLOURS["ICFL"], "the label"),
            ):
                counts = np.array(counts, float)
                panel.stairs(
                    counts / max(counts.sum(), 1), edges, fill=True, alpha=0.5, color=colour,
                    label=label,
                )  # fmt: skip
            used = np.flatnonzero(np.array(entry["counts_other"]) + np.array(entry["counts_label"]))
            panel.set_xlim(edges[used[0]], edges[used[-1] + 1])
            panel.set_title(f"{shorten(entry['label'])}, AUC {entry['auc']:.2f}", fontsize=8)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_yticks([])
        row[0].set_ylabel(data[name]["title"], fontsize=7)
    for panel in panels[-1]:
        panel.set_xlabel("cosine")
    legend(figure, panels[0, 0])


def shorten(text, length=26):
    """Text that fits above a panel."""
    return text if len(text) <= length else text[: length - 1] + "…"


def draw_binarizer(figure, section, data):
    """Mean best score over the number of active features, and best scores against each other."""
    curves = section["curves"]
    figure.set_size_inches(3.4 * len(curves), 5.4)
    panels = figure.subplots(2, len(curves), squeeze=False)
    for column, (name, sides) in zip(panels.T, curves.items()):
        for side, curve in sides.items():
            colour = COLOURS["binarizer"] if side == "binarizer" else COLOURS["ICFL"]
            column[0].errorbar(
                curve["target"], curve["mean"], yerr=curve["spread"], marker="o", markersize=3,
                capsize=2, color=colour, label=NAMES[side],
            )  # fmt: skip
        column[0].set_title(data[name]["title"])
        column[0].set_xlabel("active features")
        column[1].scatter(
            sides["binarizer"]["best"], sides["dictionary"]["best"], s=12, color=COLOURS["ICFL"]
        )
        column[1].axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle=":")
        column[1].set_xlabel("best per label, binarised")
        for panel in column:
            panel.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_ylabel("best per label, mean")
    panels[1, 0].set_ylabel("best per label, ICFL")
    legend(figure, panels[0, 0])
