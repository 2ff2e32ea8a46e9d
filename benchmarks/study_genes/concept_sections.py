"""Claims about concepts: planted drivers, stability, what codes keep, batches, and checks."""

from itertools import permutations

import numpy as np
from sklearn.utils import Bunch

from benchmarks.study.arms import show, table
from benchmarks.study.verdicts import claim, is_higher, is_similar
from benchmarks.study_genes.arms import DICTIONARIES
from benchmarks.study_genes.attribution import restored
from benchmarks.study_genes.embeddings import TITLES
from benchmarks.study_genes.found import COUNTED, NEEDS_DATA
from benchmarks.study_genes.markers import GROUPS
from benchmarks.study_genes.planted import MODELS
from skdict.comparison import concept_agreement

STABLE_BY_CHANCE = 0.05
BOTH_LISTS = ("attribution", "expression")
PLANTED = ("drivers", "confounders", "driver_sets", "confounder_sets")


def drivers(found):
    """Planted genes: drivers, and confounders that only go along."""
    rows, ours, outcomes = [], ({}, {}, {}), ({}, {}, {})
    for model in MODELS:
        runs = found.of("drivers", model)
        for source in runs[0]:
            value = {(by, what): np.array([run[source][by][what] for run in runs])
                     for by in BOTH_LISTS for what in PLANTED}  # fmt: skip
            largest = max(run[source]["confounders_attributed"] for run in runs)
            case = f"{source}, {model} model"
            for by in BOTH_LISTS:
                rows.append([case, by, *(show(value[by, what], 2) for what in PLANTED)])
            first, second = (value[by, "drivers"] for by in ("attribution", "expression"))
            ours[0][case] = f"{show(first, 2)} and {show(second, 2)}"
            outcomes[0][case] = is_higher(first, second)
            ours[1][case], outcomes[1][case] = f"largest {largest:.1g}", largest == 0
            sets = [value[by, "confounder_sets"] for by in ("attribution", "expression")]
            ours[2][case] = f"{show(sets[0], 2)} and {show(sets[1], 2)}"
            outcomes[2][case] = bool((sets[0] == 0).all() and (sets[1] > 0).all())
    texts = (
        "Planted: more of the drivers are among the first genes by attribution than by expression",
        "Planted: genes that only go along have an attribution of exactly zero",
        "Planted: attribution never finds the set of genes that only go along, expression does",
    )
    claims = [claim("planted", text, "drivers, not merely correlated", *entry)
              for text, *entry in zip(texts, ours, outcomes)]  # fmt: skip
    header = ("concepts", "genes by", "drivers among the first", "confounders among the first",
              "sets of drivers found", "sets of confounders found")  # fmt: skip
    return {"claims": claims, "tables": [table("", header, rows)], "note": (
        "Four states; ten genes drive the model's coordinate of each, ten go along with the state "
        "and are never read. No biology is claimed from these data."
    )}  # fmt: skip


def stability(found):
    """Concepts that come again with another seed, and in the other set."""
    ours, outcomes, rows = ({}, {}), ({}, {}), []
    for title, name, kind in found.cases():
        entries = [result["arms"][kind] for result in found.of("genes", name)]
        pairs = [agreement(*pair, found.settings) for pair in permutations(entries, 2)]
        stable = np.array([pair.stable.mean() for pair in pairs])
        first = np.array([pair.profile_first_share for pair in pairs])
        chance = np.array([1 / pair.n_second for pair in pairs])
        rows.append(stable_row(title, stable, first, chance))
        judge_stability(title, ours, outcomes, stable, first, chance)
    second = found.of("second", "pbmc68k")
    across = ({}, {}), ({}, {})
    if second:
        kept = {what: np.array([run["agreement"][what] for run in second], float)
                for what in ("stable", "profile_first", "by_chance")}  # fmt: skip
        case = "TopK, PCA"
        rows.append(stable_row("TopK, PCA: the other set", *kept.values()))
        judge_stability(case, *zip(*across), *kept.values())
    texts = (
        "More concepts come again than of random dictionaries (5%)",
        "The genes of a concept are most like those of its partner, more often than by chance",
    )
    claims = [claim("finding", f"With another seed: {text[0].lower()}{text[1:]}", "some are stable",
                    *entry) for text, *entry in zip(texts, ours, outcomes)]  # fmt: skip
    claims += [claim("finding", f"In the other set: {text[0].lower()}{text[1:]}", "some are stable",
                     entry[0] or {"": NEEDS_DATA}, entry[1])
               for text, entry in zip(texts, across)]  # fmt: skip
    header = ("pair", "stable", "partner first by genes, of those stable", "by chance")
    tables = [table("All ordered pairs of seeds, codes of the held-out cells", header, rows)]
    if second:
        tables.append(transfer_table(second))
    return {"claims": claims, "tables": tables, "note": (
        "A concept is stable if the correlation of its activations with its one-to-one partner is "
        "above the 95% quantile of what random dictionaries reach. Pairs of seeds share cells. The "
        "other set, pbmc68k, is of the same study: agreement with it is no independent evidence. "
        "It has 700 cells, logarithms only, and 353 genes in common with these."
    )}  # fmt: skip


def judge_stability(title, ours, outcomes, stable, first, chance):
    """Both claims of one pair of sets."""
    ours[0][title] = show(stable, 2)
    outcomes[0][title] = is_higher(stable, np.full(stable.size, STABLE_BY_CHANCE))
    ours[1][title] = f"{show(first, 2)}, chance {np.mean(chance):.2f}"
    outcomes[1][title] = is_higher(first, chance)


def stable_row(title, stable, first, chance):
    """A row of the table of stability."""
    return [title, show(stable, 2), show(first, 2), f"{np.mean(chance):.3f}"]


def agreement(first, second, settings):
    """Agreement of the concepts of two seeds on the common held-out cells."""
    profiles = [Bunch(genes=entry["genes"], concepts=np.array(entry["live"]),
                      attribution=np.array(entry["profiles"], dtype=float))
                for entry in (first, second)]  # fmt: skip
    return concept_agreement(
        restored(first["codes"]), restored(second["codes"]), attribution_first=profiles[0],
        attribution_second=profiles[1], random_state=0,
        null_codes=[restored(codes) for codes in second["random_codes"]],
    )  # fmt: skip


def transfer_table(second):
    """Selectivity of concepts learned on the other set, on cells of this one."""
    row = [show([run["groups"][group] for run in second], 2) for group in GROUPS]
    title = "Learned and chosen on pbmc68k: selectivity on the held-out purified cells"
    return table(title, GROUPS, [row])


def preservation(found):
    """What codes keep of the embedding: cell type, and phase of the cell cycle."""
    alike, better, rows = ({}, {}), ({}, {}), []
    for title, name, kind in found.cases():
        runs = found.of("probe", name)
        judge_probe(title, kind, runs, alike)
        own, other = (accuracies(runs, what) for what in (kind, "sparse neurons"))
        better[0][title] = f"{show(own, 2)} and {show(other, 2)}"
        better[1][title] = is_higher(own, other)
    for name in found.settings.embeddings:
        rows.append(probe_row(f"purified cells, type, {TITLES[name]}", found.of("probe", name)))
    phase, second = ({}, {}), found.of("second", "pbmc68k")
    for kind in DICTIONARIES if second else ():
        judge_probe(f"{kind}, PCA", kind, [run["phase"] for run in second], phase)
    for what in ("phase", "type") if second else ():
        rows.append(probe_row(f"pbmc68k, {what}, PCA", [run[what] for run in second]))
    claims = [
        claim("finding", "The ten cell types are read from the codes as well as from the embedding "
              "(alike, held-out cells)", "downstream power kept", *alike),
        claim("finding", "They are read from the codes better than from neurons with as many "
              "non-zeros", "-", *better),
        claim("finding", "pbmc68k: the phase of the cell cycle is read from the codes as well as "
              "from the embedding (alike)", "kept (a news post)",
              phase[0] or {"": NEEDS_DATA}, phase[1]),
    ]  # fmt: skip
    header = ("what", "embedding", "TopK", "ICFL", "random dictionary", "sparse neurons")
    return {"claims": claims, "tables": [table("Balanced accuracy", header, rows)], "note": (
        "Six of the ten types are T cells that overlap. Phase and types of pbmc68k were themselves "
        "computed from expression (17 cells in G2M), and PCA saw all its cells, without labels."
    )}  # fmt: skip


def judge_probe(title, kind, runs, into):
    """Whether codes are read alike in every seed."""
    into[0][title] = (
        f"{show(accuracies(runs, kind), 2)} and {show(accuracies(runs, 'embedding'), 2)}"
    )
    into[1][title] = all(is_similar(run[kind], run["embedding"]["accuracy"]) for run in runs)


def accuracies(runs, what):
    """Balanced accuracy by seed."""
    return np.array([run[what]["accuracy"] for run in runs])


def probe_row(title, runs):
    """A row of the table of probes."""
    names = ("embedding", "TopK", "ICFL", "random dictionary", "sparse neurons")
    return [title, *(show(accuracies(runs, name), 2) for name in names)]


def batches(found):
    """Suppressing concepts of batches: what it mixes and what it costs."""
    mixing, cost, rows = ({}, {}), ({}, {}), []
    for kind in DICTIONARIES:
        runs = found.of("batches", kind)
        value = {(which, what): np.array([run[which][what] for run in runs])
                 for which in ("none", "batch", "random") for what in runs[0]["none"]}  # fmt: skip
        own, other = value["batch", "batch_mixing"], value["random", "batch_mixing"]
        mixing[0][kind] = f"{show(own, 2)} and {show(other, 2)}"
        mixing[1][kind] = is_higher(own, other)
        lost = value["none", "label_purity"] - value["batch", "label_purity"]
        read = value["none", "label_accuracy"] - value["batch", "label_accuracy"]
        cost[0][kind] = f"purity {show(lost, 3)}, accuracy {show(read, 3)} lost"
        cost[1][kind] = bool((lost <= 0.05).all() and (read <= 0.05).all())
        for which, title in (("none", "nothing"), ("batch", "concepts of batches"),
                             ("random", "random ones of equal usage")):  # fmt: skip
            rows.append([kind, title, *(show(value[which, what], 2) for what in runs[0]["none"])])
    n = found.settings.n_suppressed
    claims = [
        claim("planted", f"Planted batches mix more when the {n} most batch-selective concepts "
              "are suppressed than when random ones are", "-", *mixing),
        claim("planted", "It costs at most 0.05 of the purity of neighbourhoods and of the "
              "accuracy of cell types", "-", *cost),
        claim("reviewers", "Batches of real cells can be removed by suppressing concepts", "-",
              {"": "type and library coincide: the library refuses"}, {}),
    ]  # fmt: skip
    header = ("dictionary", "suppressed", *(name.replace("_", " ") for name in
              found.of("batches", "TopK")[0]["none"]))  # fmt: skip
    return {"claims": claims, "tables": [table("", header, rows)], "note": (
        "Three batches, five types, two atoms to each batch. Concepts are chosen on half of the "
        "units and measured on the other. Mixing is 1 where batches are mixed at random."
    )}  # fmt: skip


def checks(found):
    """How far attributions can be trusted, and what they cost."""
    complete, confirmed, rows = ({}, {}), ({}, {}), []
    shown = ("code_completeness", "code_gap", "pre_completeness", "pre_gap",
             "code_confirmation_slope", "pre_confirmation_slope", "code_expression_correlation",
             "far", "above_cutoff")  # fmt: skip
    for title, name, kind in found.cases():
        gap, slope = (found.numbers(name, kind, "checks", what)
                      for what in ("pre_gap", "code_confirmation_slope"))  # fmt: skip
        complete[0][title], complete[1][title] = show(gap, 2), bool((gap <= 0.1).all())
        confirmed[0][title], confirmed[1][title] = show(slope, 2), bool((slope >= 0.5).all())
    for name in found.settings.embeddings:
        for arm in COUNTED:
            rows.append([TITLES[name], arm,
                         *(show(found.numbers(name, arm, "checks", what), 2) for what in shown),
                         f"{found.numbers(name, arm, 'n_passes').mean():,.0f}"])  # fmt: skip
    claims = [
        claim("check", "Attributions of the pre-activation are complete within 10% (median)", "-",
              *complete),
        claim("reviewers", "At least half of the attribution is confirmed by prototypes of the "
              "other half of the cells (median slope)", "-", *confirmed),
        claim("finding", "Immunologists name concepts more easily than neurons",
              "one expert, qualitative", {"": "no expert here"}, {}),
        claim("finding", "The findings hold for scGPT and scVI on Tabula Sapiens and the "
              "Cross-Tissue Immune Cell Atlas", "yes", {"": "neither models nor data here"}, {}),
    ]  # fmt: skip
    header = ("embedding", "kind", *(name.replace("_", " ") for name in shown), "passes a seed")
    tables = [table("Medians over the concepts", header, rows), *null_tables(found)]
    return {"claims": claims, "tables": tables, "note": (
        "Completeness: sum of the attributions over the change when all genes are exchanged at "
        "once; gap: its distance from 1. Far: share of the pairs beyond the 50 nearest cells. "
        "Above cutoff: genes with at least 5% of the activation, the paper's cut-off. Nothing is "
        "known of donors: the halves are halves of the cells, which confirm less than donors would."
    )}  # fmt: skip


def null_tables(found):
    """Genes that stand out from null pairs, for the concepts of the groups; first seed."""
    rows = []
    for title, name, kind in found.cases():
        for concept, entry in found.first(name, kind, "shown")["concepts"].items():
            rows.append([title, concept, entry["n_significant"], entry["n_significant_pre"],
                         entry["reason"] or "-"])  # fmt: skip
    header = ("concepts", "concept", "genes with q <= 0.05, code", "pre-activation", "without null")
    return [table("Concepts of the groups against null pairs, first seed", header, rows)]
