"""Claims about genes and pathways: shares, cell types, attribution beside expression."""

import numpy as np

from benchmarks.study.arms import show, table
from benchmarks.study.verdicts import claim, is_higher
from benchmarks.study_genes.arms import UNTRAINED
from benchmarks.study_genes.embeddings import TITLES
from benchmarks.study_genes.found import COUNTED, NEEDS_DATA, PERMUTED, RIVALS, StoredEnrichment
from benchmarks.study_genes.markers import GROUPS
from skdict.genes import interpretable_share


def share_of(found, embedding, genes="code"):
    """Interpretable shares of all kinds on one embedding; None without gene sets.

    Parameters
    ----------
    found : Found
        Results.
    embedding : str
        The embedding.
    genes : {"code", "pre", "expression"}, default="code"
        What the genes are the first by.
    """
    if "pathways" not in found.of("genes", embedding)[0]["arms"]["TopK"]:
        return None
    runs = {arm: [StoredEnrichment(kept) for kept in found.arm(embedding, arm, "pathways", genes)]
            for arm in COUNTED}  # fmt: skip
    runs[PERMUTED] = [StoredEnrichment(kept)
                      for kept in found.arm(embedding, "TopK", "pathways", "permuted")]  # fmt: skip
    return interpretable_share(runs, level=found.settings.level)


def share(found):
    """Concepts against everything that was not learned as a concept."""
    shares = {name: share_of(found, name) for name in found.settings.embeddings}
    claims = [beats(shares, found, rival) for rival in (*RIVALS, "untrained embedding")]
    ours, outcomes = {}, {}
    for name, entry in shares.items():
        if entry is not None:
            value = entry.share[entry.kinds.tolist().index(PERMUTED)]
            ours[TITLES[name]], outcomes[TITLES[name]] = f"{value:.3f}", bool(value <= 0.05)
    text = "Control: with permuted names of genes at most 5% of the concepts are supported"
    claims.append(claim("check", text, "-", ours or {"": NEEDS_DATA}, outcomes))
    tables, bars = [], {}
    for name, entry in shares.items():
        if entry is None:
            continue
        others = [share_of(found, name, genes) for genes in ("pre", "expression")]
        tables.append(share_table(TITLES[name], entry, others))
        bars[name] = {key: entry[key] for key in ("kinds", "share", "low", "high", "n_live",
                                                  "run_shares", "level")}  # fmt: skip
    return {"claims": claims, "tables": tables, "bars": bars, "note": (
        "The paper counts what an immunologist could name; here a concept counts if a gene set is "
        "enriched. On PCA neurons and PCA factors are the same directions."
    )}  # fmt: skip


def beats(shares, found, rival):
    """Claim that dictionaries have a larger share than a rival."""
    ours, outcomes = {}, {}
    for title, embedding, kind in found.cases():
        entry = shares[embedding]
        if entry is None:
            continue
        against = UNTRAINED[kind] if rival == "untrained embedding" else rival
        rows = entry.differences(against)
        at = rows.kind.tolist().index(kind)
        own, other = (entry.share[entry.kinds.tolist().index(name)] for name in (kind, against))
        low, high = rows.run_low[at], rows.run_high[at]
        ours[title] = (
            f"{own:.2f} and {other:.2f}, {rows.difference[at]:+.2f} [{low:+.2f}, {high:+.2f}]"
        )
        outcomes[title] = bool(low > 0)
    paper = "more interpretable (no numbers)" if rival == "neurons" else "not in the paper"
    text = f"More of the concepts are supported by pathways than of {rival}"
    if rival == "untrained embedding":
        text = "More of the concepts are supported by pathways than of an untrained embedding's"
    return claim("finding" if rival == "neurons" else "reviewers", text, paper,
                 ours or {"": NEEDS_DATA}, outcomes)  # fmt: skip


def share_table(title, entry, others):
    """Shares of all kinds, with both intervals."""
    rows = []
    for i, kind in enumerate(entry.kinds):
        rows.append([
            kind, f"{entry.n_live[i] / entry.n_runs[i]:.0f}", f"{entry.share[i]:.2f}",
            f"{entry.low[i]:.2f} to {entry.high[i]:.2f}",
            f"{entry.run_low[i]:.2f} to {entry.run_high[i]:.2f}", f"{entry.n_best_sets[i]:.0f}",
            *("-" if kind == PERMUTED else f"{other.share[i]:.2f}" for other in others),
        ])  # fmt: skip
    header = ("kind", "live concepts", "supported", "Wilson", "over seeds", "different best sets",
              "genes by pre-activation", "genes by expression")  # fmt: skip
    return table(title, header, rows)


def types(found):
    """Which concepts mark which cells, and whether their genes are the known ones."""
    cases = list(found.cases())
    marks, neurons, random, chance, expression = ({} for _ in range(5))
    ours = {key: {} for key in ("marks", "neurons", "random", "chance", "expression")}
    for title, name, kind in cases:
        means = {group: np.mean(selectivity(found, name, kind, group)) for group in GROUPS}
        weakest = min(means, key=means.get)
        marks[title] = bool(means[weakest] >= found.settings.marks)
        ours["marks"][title] = f"weakest {weakest}: {means[weakest]:.2f}"
        own = at_cuts(found, name, kind)
        for key, rival, outcomes in (("neurons", "neurons", neurons),
                                     ("random", "random directions", random)):  # fmt: skip
            other = at_cuts(found, name, rival)
            outcomes[title] = is_higher(own, other)
            ours[key][title] = f"{show(own, 2)} and {show(other, 2)}"
        recall = {by: over_recalls(found, name, kind, by)
                  for by in ("attribution", "expression", "chance")}  # fmt: skip
        for key, outcomes in (("chance", chance), ("expression", expression)):
            outcomes[title] = is_higher(recall["attribution"], recall[key])
            ours[key][title] = f"{show(recall['attribution'], 2)} and {show(recall[key], 2)}"
    n, limit = found.settings.n_marker_genes, found.settings.marks
    claims = [
        claim("finding", f"Each of the five groups of cells has a concept with a held-out "
              f"selectivity of {limit} or more", "concepts of cell types", ours["marks"], marks),
        claim("finding", "The concepts of the groups are more selective than the best neurons, "
              "each at its best cut-off",
              "more interpretable", ours["neurons"], neurons),
        claim("reviewers", "They are more selective than the best random directions, each at its "
              "best cut-off", "-",
              ours["random"], random),
        claim("finding", f"Their first {n} genes by attribution hold more literature markers than "
              "chance", "genes known of the cells", ours["chance"], chance),
        claim("finding", f"Their first {n} genes by attribution hold more literature markers than "
              "those by expression", "drivers, not merely correlated", ours["expression"],
              expression),
    ]  # fmt: skip
    tables = [selectivity_table(found, name) for name in found.settings.embeddings]
    tables += [selectivity_table(found, name, cut, ", each at its best cut-off")
               for name in found.settings.embeddings]  # fmt: skip
    tables += [recall_table(found, name) for name in found.settings.embeddings]
    tables += [gene_table(found, name, kind) for _, name, kind in cases]
    return {"claims": claims, "tables": tables, "note": (
        "Each purified population was a library of its own: what marks a population may mark its "
        "library. CD34+ cells hold three times as many counts as the others, CD14+ cells half as "
        "many. Measured markers only; of CD34+ cells the shipped genes hold four. The concept of a "
        "group was chosen by the group: expression of its active cells is then much like "
        "expression of the group, which is how such markers were found in the first place. A "
        "linear direction that is active in few cells cannot be selective for a large group, so "
        "that dictionaries are compared with directions at the best cut-offs."
    )}  # fmt: skip


def selectivity(found, name, arm, group):
    """Held-out selectivity of the concept of a group, by seed."""
    return found.numbers(name, arm, "groups", group, "selectivity")


def cut(found, name, arm, group):
    """Held-out selectivity at the best cut-off of a group, by seed."""
    return found.numbers(name, arm, "cuts", group, "selectivity")


def at_cuts(found, name, arm):
    """Mean of these over the groups, by seed."""
    return np.mean([cut(found, name, arm, group) for group in GROUPS], axis=0)


def over_recalls(found, name, arm, by):
    """Mean recall of markers over the groups, by seed."""
    return np.mean([found.numbers(name, arm, "groups", group, "recall", by) for group in GROUPS],
                   axis=0)  # fmt: skip


def selectivity_table(found, name, of=selectivity, how=""):
    """Held-out selectivity of the best concept of each group, all kinds."""
    rows = [[arm, *(show(of(found, name, arm, group), 2) for group in GROUPS)] for arm in COUNTED]
    title = f"Held-out selectivity of the concept of each group{how}, {TITLES[name]}"
    return table(title, ("kind", *GROUPS), rows)


def recall_table(found, name):
    """Share of the markers among the first genes, mean over the groups."""
    rows = [[arm, *(show(over_recalls(found, name, arm, by), 3)
                    for by in ("attribution", "expression", "chance"))]
            for arm in COUNTED]  # fmt: skip
    title = (f"Literature markers among the first {found.settings.n_marker_genes} genes, mean over "
             f"the groups, {TITLES[name]}")  # fmt: skip
    return table(title, ("kind", "attribution", "expression", "chance"), rows)


def gene_table(found, name, kind):
    """The concept of each group with its genes, first seed."""
    rows = []
    for group, entry in found.first(name, kind, "groups").items():
        recall = entry["recall"]
        rows.append([group, entry["concept"], f"{entry['selectivity']:.2f}",
                     ", ".join(recall["attribution_genes"][:10]),
                     ", ".join(recall["expression_genes"][:10])])  # fmt: skip
    header = ("group", "concept", "held-out selectivity", "first genes by attribution",
              "first genes by expression")  # fmt: skip
    return table(f"The concepts of the groups, {kind} on {TITLES[name]}, first seed", header, rows)


def lists(found):
    """Attribution beside differential expression: genes, and pathways that only one finds."""
    has_sets = "pathways" in found.of("genes", found.settings.embeddings[0])[0]["arms"]["TopK"]
    overlap, alone, more = ({}, {}), ({}, {}), ({}, {})
    rows, pathways = [], []
    for name in found.settings.embeddings:
        for arm in COUNTED:
            names = ("both", "both_by_chance", "rank_correlation")
            both, chance, correlation = (found.numbers(name, arm, "lists", what) for what in names)
            row = [TITLES[name], arm, show(correlation, 2), show(both, 1), show(chance, 1)]
            if has_sets:
                row += [show(per_concept(found, name, arm, by), 2)
                        for by in ("both", "attribution", "expression")]  # fmt: skip
            rows.append(row)
    for title, name, kind in found.cases():
        both, chance = (found.numbers(name, kind, "lists", what)
                        for what in ("both", "both_by_chance"))  # fmt: skip
        overlap[0][title] = f"{show(both, 1)} and {show(chance, 1)}"
        overlap[1][title] = is_higher(both, chance)
        if has_sets:
            own = per_concept(found, name, kind, "attribution")
            other = per_concept(found, name, "random directions", "attribution")
            alone[0][title], alone[1][title] = f"{show(own, 2)} a concept", bool((own > 0).all())
            more[0][title] = f"{show(own, 2)} and {show(other, 2)}"
            more[1][title] = is_higher(own, other)
            pathways += alone_rows(found, name, kind, title)
    n = found.settings.n_genes
    claims = [
        claim("finding", f"Of the first {n} genes more are common to attribution and expression "
              "than by chance", "related, not the same", *overlap),
        claim("finding", "Attribution finds pathways that expression does not, in every seed",
              "yes (no numbers)", alone[0] or {"": NEEDS_DATA}, alone[1]),
        claim("reviewers", "It finds more of these per concept than for random directions", "-",
              more[0] or {"": NEEDS_DATA}, more[1]),
    ]  # fmt: skip
    header = ["embedding", "kind", "rank correlation", f"both, of {n}", "by chance"]
    header += ["sets of both", "attribution alone", "expression alone"] * has_sets
    tables = [table("Both lists, medians over concepts; sets per live concept", header, rows)]
    if pathways:
        tables.append(table("Sets that only one of the two finds, first seed",
                            ("concepts", "found by", "concept: set"), pathways))  # fmt: skip
    return {"claims": claims, "tables": tables, "note": (
        f"A set is found by one alone if its q is at most {found.settings.level} there and above "
        f"{found.settings.absent_level} in the other. No p-value of differential expression is "
        "given: activity is computed from the very genes, and there are no donors."
    )}  # fmt: skip


def per_concept(found, name, arm, by):
    """Pairs found by one list or both, per live concept, by seed."""
    return found.numbers(name, arm, "pathways", "found_by", by) / found.numbers(name, arm, "n_live")


def alone_rows(found, name, kind, title):
    """The strongest sets that one list alone has found."""
    kept = found.first(name, kind, "pathways", "alone")
    return [[title, by, "; ".join(f"{pair['concept']}: {pair['gene_set']}" for pair in pairs[:5])
             or "none"] for by, pairs in kept.items()]  # fmt: skip
