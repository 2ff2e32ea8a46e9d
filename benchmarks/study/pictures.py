"""Pictures of the sections, drawn and saved by the displays of skdict.

A panel per data set. Beside each picture stand the numbers in it and a paragraph on how they were
made; all three files are the same bytes for the same results.
"""

from benchmarks.study import captions
from skdict import display

# Colours that stay apart for colour-blind readers (Okabe and Ito). Whitening off is dashed or
# hatched, and its markers are hollow.
COLOURS = {"ICFL": "#0072B2", "TopK": "#D55E00"}
MARKERS = {"ICFL": "o", "TopK": "s"}
GREY, GREEN = "#777777", "#009E73"
ROWS = "rows themselves"


def draw(found, folder):
    """Draw every section that has something to show.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    folder : Path
        Where the files go.

    Returns
    -------
    list of Path
        The pictures; empty without matplotlib. Each has a ``.csv`` and a ``.txt`` beside it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return []
    paths = []
    # What a reader has set up for other figures must not change these.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, (key, drawer) in DRAWERS.items():
            section = found["sections"].get(name, {})
            if any(section.get(key, {}).values()):
                figure = Figure(layout="constrained")
                figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)
                last = drawer(figure, section, found)
                paths.append(last.save(folder / f"{name}.svg"))
    return paths


def panels(figure, found, names, *, width=3.3, height=2.9, n_columns=3):
    """Panels for data sets with their titles, at most three in a row."""
    n_columns = min(n_columns, len(names))
    n_rows = -(-len(names) // n_columns)
    figure.set_size_inches(width * n_columns, height * n_rows)
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for spare in axes[len(names) :]:
        figure.delaxes(spare)
    for ax, name in zip(axes, names):
        ax.set_title(found["data"][name]["title"], fontsize="medium")
    return axes[: len(names)]


def rows_of_panels(figure, found, names, *, n_columns, width, height):
    """A row of panels for each data set, with its title above the row."""
    figure.set_size_inches(width * n_columns, height * len(names))
    parts = figure.subfigures(len(names), 1, squeeze=False)[:, 0]
    for part, name in zip(parts, names):
        part.suptitle(found["data"][name]["title"], fontsize="large")
        yield list(part.subplots(1, n_columns, squeeze=False).flat)


def spread_of(values):
    """Spreads over seeds, or None where a single seed has none."""
    return None if any(value is None for value in values) else values


def line_style(label):
    """Look of a curve, from its name."""
    model = label.split(",")[0]
    style = {"color": COLOURS[model], "marker": MARKERS[model], "markersize": 4.5}
    if label.endswith("off"):
        style |= {"linestyle": "--", "markerfacecolor": "white"}
    return style


def bar_style(label, other=GREY):
    """Look of a bar, from its name; `other` is the colour of what belongs to no model."""
    style = {"color": COLOURS.get(label.split(",")[0], other), "hatch": ""}
    if label.endswith("off"):
        style |= {"alpha": 0.55, "hatch": "///"}
    return style


def draw_dead(figure, section, found):
    """Dead features of every model, a panel per data set."""
    bars = section["bars"]
    for ax, (name, entries) in zip(panels(figure, found, bars, height=3.2), bars.items()):
        columns = {key: [entry[key] for entry in entries] for key in entries[0]}
        shown = display.DeadAtomsDisplay(
            columns["model"], columns["condition"], columns["n_dead"],
            found["data"][name]["n_components"], spread=spread_of(columns["spread"]),
            name=found["data"][name]["title"], settings=captions.dead(found, name),
        ).plot(ax, styles={c: bar_style(c, GREEN) for c in columns["condition"]})  # fmt: skip
    return shown.share_legend()


def draw_parts(figure, section, found):
    """Relative accuracy of row space, null space and random subspaces, a panel per data set."""
    parts = section["parts"]
    for ax, (name, values) in zip(panels(figure, found, parts), parts.items()):
        means, spreads = zip(*values.values())
        shown = display.SubspaceProbeDisplay(
            list(values), list(means), spread=spread_of(spreads),
            name=found["data"][name]["title"], settings=captions.subspaces(found, name),
        ).plot(ax)  # fmt: skip
    return shown.share_legend()


def draw_curves(figure, section, found, make):
    """Curves of all arms, a panel per data set; `make` returns the display of an arm."""
    curves = section["curves"]
    for ax, (name, lines) in zip(panels(figure, found, curves, n_columns=2, width=4.4),
                                 curves.items()):  # fmt: skip
        for label, line in lines.items():
            title = f"{found['data'][name]['title']}, {label}"
            shown = make(name, line, name=title, spread=spread_of(line["spread"]))
            shown.plot(ax, name=label, **line_style(label))
    return shown.share_legend()


def draw_accuracy(figure, section, found):
    """Accuracy of reconstructions over sparsity."""

    def make(data, line, **options):
        return display.ProbeSparsityDisplay(
            line["x"], line["mean"], raw=section["raw"][data], raw_name=ROWS,
            settings=captions.sparsity(found, data, probed="reconstructions"), **options,
        )  # fmt: skip

    return draw_curves(figure, section, found, make)


def draw_cosine(figure, section, found):
    """Cosine of reconstructions over sparsity."""

    def make(data, line, **options):
        return display.SparsityReconstructionDisplay(
            line["x"], line["mean"], settings=captions.sparsity(found, data), **options
        )

    return draw_curves(figure, section, found, make)


def draw_rates(figure, section, found):
    """Cosine of reconstructions over the learning rate."""

    def make(data, line, **options):
        return display.LearningRateDisplay(
            line["x"], line["mean"], value_name="Learning rate / default",
            settings=captions.rates(found, data), **options,
        )  # fmt: skip

    return draw_curves(figure, section, found, make)


def draw_bars(figure, section, found):
    """Accuracy of rows and reconstructions, a panel per data set."""
    bars = section["bars"]
    arms = {ROWS: "raw"} | {
        f"{model}, whitening {state}": f"{model}, reconstruction, whitening {state}"
        for model in COLOURS
        for state in ("off", "on")
    }
    for ax, (name, values) in zip(panels(figure, found, bars), bars.items()):
        data = found["data"][name]
        means, spreads = zip(*(values[key] for key in arms.values()))
        shown = display.ProbeAccuracyDisplay(
            [data["label"]] * len(arms), list(arms), means, spread=spread_of(spreads),
            chance=[section["chance"][name]] * len(arms), name=data["title"],
            settings=captions.held_out(found, name, probed="reconstructions and rows"),
        ).plot(ax, styles={label: bar_style(label) for label in arms})  # fmt: skip
    return shown.share_legend()


def draw_selectivity(figure, section, found):
    """Best score of each label in descending order, on all rows and on held-out rows."""
    curves = section["curves"]
    for ax, (name, models) in zip(panels(figure, found, curves, height=3.1), curves.items()):
        for model, scores in models.items():
            shown = display.SelectivityDisplay(
                scores["average"], labels=scores["labels"], held_out=scores["held"],
                name=f"{found['data'][name]['title']}, {model}, whitening on",
                settings=captions.selectivity(found, name),
            )  # fmt: skip
            shown.plot(ax, name=model, color=COLOURS[model], marker=MARKERS[model], markersize=3)
    return shown.share_legend()


def draw_histograms(figure, section, found):
    """Cosines of rows with a direction: label against others, four labels per data set."""
    histograms = {name: shown for name, shown in section["histograms"].items() if shown}
    n_columns = max(map(len, histograms.values()))
    rows = rows_of_panels(figure, found, histograms, n_columns=n_columns, width=2.7, height=2.7)
    for axes, (name, entries) in zip(rows, histograms.items()):
        for spare in axes[len(entries) :]:
            spare.figure.delaxes(spare)
        columns = {key: [entry[key] for entry in entries] for key in entries[0]}
        shown = display.DirectionHistogramDisplay(
            columns["counts_label"], columns["counts_other"], columns["edges"][0],
            labels=columns["label"], auc=columns["auc"], name=found["data"][name]["title"],
            settings=captions.directions(found, name),
        ).plot(axes[: len(entries)])  # fmt: skip
        if name != list(histograms)[-1]:
            for ax in shown.axes_:
                ax.set_xlabel("")  # the same for all, so the last row has it
    return shown


def draw_binarizer(figure, section, found):
    """Binarised features beside a dictionary of them: sorted, swept, label by label."""
    curves = section["curves"]
    rows = rows_of_panels(figure, found, curves, n_columns=3, width=3.3, height=3.1)
    for axes, (name, curve) in zip(rows, curves.items()):
        first, second = (
            {"mean_active": side["active"], "mean_score": side["mean"]}
            | ({"spread": side["spread"]} if spread_of(side["spread"]) else {})
            for side in (curve["binarizer"], curve["dictionary"])
        )
        shown = display.BinarizerComparisonDisplay(
            curve["binarizer"]["best"], curve["dictionary"]["best"], labels=curve["labels"],
            binarized_sweep=first, codes_sweep=second, binarized_name="binarised",
            codes_name="ICFL", name=found["data"][name]["title"],
            settings=captions.binarizer(found, name),
        ).plot(axes)  # fmt: skip
    return shown.share_legend()


# What a section must have, by data set, and what draws it.
DRAWERS = {
    "table1": ("bars", draw_dead),
    "figure2": ("curves", draw_binarizer),
    "figure3": ("histograms", draw_histograms),
    "figure4a": ("bars", draw_bars),
    "figure4b": ("curves", draw_accuracy),
    "figure4c": ("curves", draw_cosine),
    "figure7b": ("parts", draw_parts),
    "figure8": ("curves", draw_selectivity),
    "figure9": ("curves", draw_rates),
}
