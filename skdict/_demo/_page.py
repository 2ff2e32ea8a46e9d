"""The demo's HTML page: what the sections say and which plots they hold."""

from __future__ import annotations

import html
import platform
from importlib.metadata import version

import numpy as np

from skdict import display
from skdict._demo._concepts import Concept
from skdict._demo._experiment import ARMS, MODELS, WHITENING, Arm
from skdict._demo._metrics import METRICS, RAW, spread
from skdict._demo._results import Results
from skdict._demo._table import SPREAD, STAR, settings_line
from skdict._demo._verdict import COMPARED, RULE, judge_all, summary
from skdict._validation import import_optional
from skdict._version import __version__
from skdict.report import (
    Column,
    Html,
    Section,
    bullets,
    cards,
    details,
    figure,
    figures,
    paragraph,
    render_page,
    table,
)

_WHITENING_WORDS = {"off": "without whitening", "on": "with whitening"}


def demo_page(results: Results) -> str:
    """Return the page as HTML."""
    return render_page(
        "What a sparse dictionary finds in Cell Painting profiles",
        [
            Section("What was better and what was not", _verdict_blocks(results)),
            Section("All numbers", _number_blocks(results)),
            Section("How to read this", _reading_blocks(results)),
            Section("Plots", _plot_blocks(results)),
            Section("The most selective concepts", _concept_blocks(results)),
            Section("Limits and traps", _limit_blocks(results)),
        ],
        subtitle=f"JUMP-Scope: {settings_line(results)}",
        footer=_footer(results),
    )


# ---------------------------------------------------------------------------- words and numbers


_MARKS = {"better": "▲ better", "worse": "▼ worse", "unclear": "≈ unclear", "": ""}


def _verdict_blocks(results: Results) -> list[Html]:
    columns = [Column("first / second", numeric=False)]
    columns += [Column(words) for words in COMPARED.values()]
    rows = [
        [_two_lines(*title), *(_outcome(comparison) for comparison in comparisons)]
        for title, comparisons in judge_all(results).items()
    ]
    caption = (
        "Is the first better than the second? Below the answer the means of the first and of the "
        "second, each with its spread over seeds."
    )
    return [
        bullets(
            Html(f"<strong>{html.escape(finding.topic)}.</strong> {html.escape(finding.text)}")
            for finding in summary(results)
        ),
        table(columns, rows, caption=caption),
        paragraph(RULE, kind="note"),
    ]


def _outcome(comparison) -> Html:
    numbers = "<br>".join(html.escape(number) for number in comparison.numbers)
    return Html(f"{html.escape(_MARKS[comparison.outcome])}<small>{numbers}</small>")


def _number(values, digits: int) -> Html:
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return Html(mean)
    return Html(f"{mean} <small>±{spread(values):.{digits}f}</small>")


def _number_blocks(results: Results) -> list[Html]:
    columns = [Column("", numeric=False)]
    columns += [Column(arm.model, group=f"whitening {arm.whitening}") for arm in ARMS]
    rows: list[list] = []
    breaks = []
    for index, metric in enumerate(METRICS):
        if index and metric.group != METRICS[index - 1].group:
            breaks.append(index)
        cells = [_number(results.values[arm][metric.key], metric.digits) for arm in ARMS]
        rows.append([_row_label(metric), *cells])
    raw = [[label, _number(results.raw[key], 3)] for key, label in RAW.items()]
    raw.append(["guessing", f"{1 / results.data['mechanisms']:.3f}"])
    return [
        table(columns, rows, caption="Mean over seeds ± spread over seeds.", breaks=breaks),
        table([Column("Without any dictionary", numeric=False), Column("balanced accuracy")], raw),
        paragraph(SPREAD, kind="note"),
        paragraph(STAR, kind="note"),
    ]


def _row_label(metric) -> Html:
    return _two_lines(metric.label.replace("  ", "↳ "), metric.unit)


def _reading_blocks(results: Results) -> list[Html]:
    data, settings = results.data, results.settings
    terms = [
        ("Feature, concept, atom",
         "one row of a learned dictionary. A well is described by the few features that are "
         f"active in it, at most {settings.n_nonzero_coefs} of {settings.n_components}. "
         f"PCA has only {data['pca']} components; of these the {settings.n_nonzero_coefs} "
         "largest standardised values of each well are kept, so that it is as sparse as the "
         "others."),
        ("Whitening",
         "on: rows are centred and whitened with the covariance of the control wells. Off: they "
         "are centred on the control mean. Both are then brought to unit length."),
        ("Cosine",
         "of a row and its reconstruction, in the space the dictionary works in (1 is perfect). "
         "That space differs with whitening, so cosines compare models in the same half of the "
         "table only. “Rows it was fitted on” flatters a model that memorises."),
        ("Dead features", "active in less than one well in 100,000; here that means in none."),
        ("Selectivity",
         "share of a compound's wells in which the feature is active, minus its share in the "
         "wells of all other compounds; 1 is perfect, 0 is useless. Control wells are not a "
         "label and not counted. It is computed on the training plates."),
        ("Held-out plates",
         "each compound's best feature is chosen on the training plates and scored on plates "
         "that neither dictionary nor choice has seen. The counts: features above the threshold "
         "for a compound that are above it for the same compound there."),
        (
            "By chance",
            "the same with compound labels shuffled among the wells of each plate, mean of "
            f"{settings.n_permutations} permutations: what choosing the best of "
            f"{settings.n_components} features, or counting them, gives without any meaning. A "
            "compound is beyond chance when at most 5% of permutations reach its best feature; "
            f"of {data['compounds']} compounds {0.05 * data['compounds']:.1f} would be so by "
            "chance. On held-out plates a meaningless choice scores 0 on average.",
        ),
        ("Balanced accuracy",
         "mean share of correctly recognised wells over mechanisms, by a class-balanced logistic "
         "regression. Its regularisation is chosen within the training rows. Guessing gives "
         f"{1 / data['mechanisms']:.3f}."),
        ("Held-out compounds",
         f"the headline: {settings.compound_folds} folds, no compound in both training and test "
         f"rows, only the {data['mechanisms']} mechanisms with two or more compounds. "
         "Everything, dictionary included, is fitted on the training rows."),
        ("random", "a dictionary of random unit vectors, never trained, coded by ICFL's pursuit. "
         "What it reaches needs no learning."),
    ]  # fmt: skip
    return [bullets(Html(f"<strong>{html.escape(t)}</strong>: {html.escape(d)}") for t, d in terms)]


def _limit_blocks(results: Results) -> list[Html]:
    warning = (
        "Every compound sits in the same four wells of every plate, so whatever is scored on "
        "held-out plates of this set can be read from the position on the plate. Only the rows "
        "with held-out compounds cannot. The two Japanese imaging set-ups may show one physical "
        "plate twice and are kept on one side of every split."
    )
    limits = [
        "One data set, one cell line, well-averaged CellProfiler features rather than embeddings "
        "of a foundation model. What wins here need not win there.",
        "The permutation null shuffles wells one by one. Wells at the same position of several "
        "plates belong together, so a selectivity above this null shows a compound or its "
        "position, not the compound alone.",
        "Two compounds per mechanism: with whole compounds held out a probe learns a mechanism "
        "from one or two compounds. Small differences here rest on few compounds, and the spread "
        "over seeds does not contain that uncertainty.",
        f"All models share size, sparsity and {results.settings.max_steps} training steps, and "
        "otherwise their defaults; none was tuned on this set, and longer training may change "
        "the order.",
        "ICFL fits the coefficients of every row by least squares, a TopK SAE computes them in one "
        "step. A part of ICFL's reconstruction is that extra work, as the random dictionary, which "
        "is coded the same way, shows.",
        f"{results.data['controls']} control wells for {results.data['features']} features are "
        "few: the whitening is regularised (epsilon='auto') and still fits its controls better "
        "than new ones.",
        "Rows are brought to unit length, so a compound without any effect looks as strong as "
        "one with a large effect. ControlPCAWhitener.control_distance keeps the difference.",
    ]
    blocks = [paragraph(warning, kind="warning"), bullets(limits)]
    if results.messages:
        raised = bullets(sorted(results.messages))
        blocks.append(details("Warnings raised while computing", [raised]))
    return blocks


def _footer(results: Results) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "numba"))
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results.seconds.items())
    return (
        f"skdict {__version__}, Python {platform.python_version()}, {packages}. Time: {stages}. "
        "Data: JUMP-Scope, Cell Painting Gallery cpg0002, CC0."
    )


# --------------------------------------------------------------------------------------- plots


def _new_axes():
    # Figure without pyplot: nothing global is touched and no window can open.
    matplotlib_figure = import_optional("matplotlib.figure", extra="plot")
    plot = matplotlib_figure.Figure((6.4, 4.3), layout="constrained")
    return plot, plot.subplots()


def _plot_blocks(results: Results) -> list[Html]:
    seed = results.settings.seeds[0]
    blocks = [paragraph(f"Curves and histograms are those of seed {seed}.", kind="note")]
    blocks.append(figures(_selectivity_plot(results, whitening) for whitening in WHITENING))
    blocks.append(figures(_choice_plot(results, whitening) for whitening in WHITENING))
    blocks.append(figures(_sparsity_plot(results, whitening) for whitening in WHITENING))
    blocks.append(figures(_usage_plot(results, whitening) for whitening in WHITENING))
    blocks.append(figures(_probe_plot(results, held_out) for held_out in ("compound", "plate")))
    return blocks


def _selectivity_plot(results, whitening) -> Html:
    plot, ax = _new_axes()
    for model in MODELS:
        curves = results.curves[Arm(whitening, model)]
        display.SelectivityDisplay(curves.held_out, name=model).plot(ax)
    ax.set(title=f"Held-out selectivity, {_WHITENING_WORDS[whitening]}",
           xlabel="Compounds, sorted by each curve's own values",
           ylabel="Selectivity on held-out plates")  # fmt: skip
    return figure(
        plot,
        caption="Each compound's feature was chosen on the training plates. "
        "Position-confounded: compounds keep their wells on every plate.",
        description=f"Sorted held-out selectivity of {len(MODELS)} models, whitening {whitening}",
    )


def _choice_plot(results, whitening) -> Html:
    plot, ax = _new_axes()
    curves = results.curves[Arm(whitening, "ICFL")]
    display.SelectivityDisplay(
        curves.best, held_out=curves.held_out, null=curves.chance, name="ICFL"
    ).plot(ax)
    ax.set(title=f"ICFL, {_WHITENING_WORDS[whitening]}: choice and chance",
           xlabel="Compounds, sorted by each curve's own values")  # fmt: skip
    return figure(
        plot,
        caption="The best of all features on the training plates, the same features on held-out "
        "plates (position-confounded), and the best of all features when labels are permuted.",
        description=f"ICFL selectivity: training, held out, permuted; whitening {whitening}",
    )


def _sparsity_plot(results, whitening) -> Html:
    plot, ax = _new_axes()
    for model in MODELS:
        points = np.array(results.sparsity[Arm(whitening, model)])
        display.SparsityReconstructionDisplay(points[:, 0], points[:, 1], name=model).plot(ax)
    ax.set(title=f"Reconstruction, {_WHITENING_WORDS[whitening]}",
           ylabel="Mean cosine on held-out plates")  # fmt: skip
    return figure(
        plot,
        caption="Every point is a model trained with that sparsity. A random dictionary shows "
        "how much of a cosine needs no learning.",
        description=f"Reconstruction cosine against non-zeros, whitening {whitening}",
    )


def _usage_plot(results, whitening) -> Html:
    plot, ax = _new_axes()
    for model in MODELS:
        curves = results.curves[Arm(whitening, model)]
        display.AtomUsageDisplay(curves.frequency, n_samples=curves.n_samples, name=model).plot(ax)
    ax.set(title=f"How often features are used, {_WHITENING_WORDS[whitening]}", ylabel="Features",
           xlabel="Share of wells in which a feature is active (log10)")  # fmt: skip
    return figure(
        plot,
        caption="All wells, held-out ones included. PCA has fewer components than the others "
        "have features.",
        description=f"Histogram of feature usage, whitening {whitening}",
    )


def _probe_plot(results, held_out) -> Html:
    """Draw one row per model and representation, one point per seed."""
    plot, ax = _new_axes()
    plot.set_size_inches(6.4, 5.2)
    rows = [(f"{arm.model}, {arm.whitening}", arm) for arm in reversed(ARMS)]
    styles = (("codes", "#0072B2", "o", 0.12), ("rebuilt", "#D55E00", "s", -0.12))
    for kind, color, marker, offset in styles:
        name = "codes" if kind == "codes" else "reconstructions"
        for height, (_, arm) in enumerate(rows):
            values = results.values[arm][f"{kind}_{held_out}"]
            ax.plot(values, np.full(values.size, height + offset), marker, color=color,
                    markersize=5, alpha=0.8, label=name if height == 0 else None)  # fmt: skip
    raw = results.raw[held_out]
    ax.axvspan(raw.min(), raw.max(), color="0.6", alpha=0.45, linewidth=1, label="raw embeddings")
    ax.axvline(1 / results.data["mechanisms"], color="0.5", linestyle=":", label="guessing")
    ax.set_yticks(range(len(rows)), [label for label, _ in rows])
    ax.set_xlim(left=0)
    words = {"compound": "held-out compounds", "plate": "held-out plates *"}
    ax.set(title=f"Mechanism, {words[held_out]}", xlabel="Balanced accuracy, one point per seed")
    plot.legend(frameon=False, fontsize="small", ncols=4, loc="outside lower center")
    captions = {
        "compound": "The headline. Whole compounds held out; on and off is whitening.",
        "plate": "* Position-confounded: compounds keep their wells, and a held-out plate repeats "
        "the compounds of the training plates.",
    }
    return figure(plot, caption=captions[held_out],
                  description=f"Balanced accuracy of mechanism with {words[held_out]}")  # fmt: skip


# ------------------------------------------------------------------------------------ concepts


def _concept_blocks(results: Results) -> list[Html]:
    train, test = (", ".join(plates) for plates in results.concept_plates)
    intro = (
        f"From ICFL with whitening, seed {results.settings.seeds[0]}, fitted on the plates "
        f"{train}; held out: {test}. The features are ranked on the training plates, one per "
        "compound; the held-out selectivity beside it was not used for the choice, but a position "
        "that repeats on every plate could produce it too."
    )
    how = (
        "Input features: the atom is mapped back through the inverse of the whitener, which gives "
        "the direction in which adding the concept moves the input; it has the sign that the "
        "concept has in its compound's training wells, and the largest component is scaled to 1. "
        "Ranked by absolute component, in the units of the input. “Measured” is what really "
        "happened on the held-out plates: mean of the compound's wells minus mean of the control "
        "wells, in standard deviations of the controls. Where the two disagree in sign, the "
        "direction does not describe the compound's own change in that input."
    )
    return [
        paragraph(intro),
        paragraph(how, kind="note"),
        cards((_concept_title(concept), _concept_card(concept)) for concept in results.concepts),
    ]


def _concept_title(concept: Concept) -> str:
    first = concept.labels[0]
    return f"Feature {concept.feature}: {first.compound} ({first.mechanism})"


def _concept_card(concept: Concept) -> list[Html]:
    labels = table(
        [
            Column("compound", "mechanism", numeric=False),
            Column("selectivity", "training plates"),
            Column("by chance", "maximum, permuted"),
            Column("selectivity", "held out *"),
        ],
        [
            [
                _two_lines(label.compound, label.mechanism),
                *(f"{score:.2f}" for score in (label.train, label.chance, label.held_out)),
            ]
            for label in concept.labels
        ],
    )
    inputs = table(
        [Column("input feature", numeric=False), Column("component"),
         Column("measured", "control SD")],
        [[_breakable(x.name), f"{x.component:+.2f}", f"{x.shift:+.1f}"] for x in concept.inputs],
    )  # fmt: skip
    wells = table(
        [Column("well", numeric=False), Column("plate", "imaging", numeric=False),
         Column("compound", numeric=False), Column("code"), Column("plate was", numeric=False)],
        [[x.well, _two_lines(x.plate, x.batch), x.compound, f"{x.code:+.2f}",
          "held out" if x.held_out else "training"] for x in concept.wells],
    )  # fmt: skip
    own = sum(well.compound == concept.labels[0].compound for well in concept.wells)
    n_wells = len(concept.wells)
    positions = "position" if concept.n_positions == 1 else "positions"
    summary = (
        f"Active in {concept.frequency:.1%} of all wells. Of the {n_wells} strongest wells {own} "
        f"hold {concept.labels[0].compound}; they lie at {concept.n_positions} {positions} of "
        "the plate."
    )
    return [paragraph(summary), labels, inputs, details("Top wells", [wells])]


def _two_lines(first: str, second: str) -> Html:
    return Html(f"{html.escape(first)}<small>{html.escape(second)}</small>")


def _breakable(text: str) -> Html:
    """Let long names break after underscores."""
    return Html(html.escape(text).replace("_", "_<wbr>"))
