"""One embedding and one seed: genes and pathways of every live concept of every kind."""

import warnings

import numpy as np
from scipy import sparse

from benchmarks.study_genes import arms
from benchmarks.study_genes.cells import blood_cells, gene_sets
from benchmarks.study_genes.cuts import best_cuts
from benchmarks.study_genes.embeddings import embed, embedding
from benchmarks.study_genes.markers import GROUPS, MARKERS
from skdict.genes import (
    DirectionConcepts,
    attribute_genes,
    compare_enrichment,
    compare_gene_lists,
    differential_expression,
    find_counterfactuals,
    null_counterfactuals,
    over_representation,
    select_genes,
)
from skdict.metrics import explained_variance, selectivity_scores


def all_arms(name, seed, settings):
    """Genes of the concepts of all kinds of one embedding, and of its untrained twin.

    Parameters
    ----------
    name : str
        The embedding.
    seed : int
        Draws cells and fits.
    settings : Settings
        Sizes.
    """
    cells = blood_cells(settings.n_cells)
    training = cells.training(seed)
    trained = Embedded(cells, training, embedding(name, seed, settings))
    models = arms.learned(trained.E, settings, seed)
    codes = models["TopK"].codes(trained.E)
    share = float(arms.activity(codes)[arms.live(codes, settings)].mean())
    found = {kind: Judged(trained, model, settings, seed).result(full=True)
             for kind, model in models.items()}  # fmt: skip
    for kind, model in arms.linear(trained.E, share, seed).items():
        found[kind] = Judged(trained, model, settings, seed).result()
    untrained = Embedded(cells, training, embedding(name, seed, settings, trained=False))
    for kind, model in arms.learned(untrained.E, settings, seed).items():
        found[arms.UNTRAINED[kind]] = Judged(untrained, model, settings, seed).result()
    for kind in arms.DICTIONARIES:
        found[kind]["random_codes"] = [
            stored(
                arms.fit(kind, trained.E, settings, 1000 + k, max_steps=0).codes(trained.held_out)
            )
            for k in range(settings.n_random_dictionaries)
        ]
        found[kind]["explained_variance"] = reconstructed(models[kind], trained.held_out)
    return {"share_active": share, "arms": found}


def reconstructed(model, E):
    """Explained variance of held-out embeddings."""
    decoded = model.pipeline.inverse_transform(model.pipeline.transform(E))
    return float(explained_variance(E, decoded))


class Embedded:
    """Training and held-out cells with their embeddings.

    Parameters
    ----------
    cells : Cells
        All of them.
    training : ndarray of int
        Rows that are learned from.
    function : callable
        The embedding.
    """

    def __init__(self, cells, training, function):
        self.function, self.genes, self.named = function, cells.genes, cells.named
        self.counts, self.depth = cells.counts[training], cells.depth[training]
        self.group, self.cell_type = cells.group[training], cells.cell_type[training]
        self.test_group = cells.group[cells.test]
        self.test_type = cells.cell_type[cells.test]
        self.E = embed(function, self.counts)
        self.held_out = embed(function, cells.counts[cells.test])


class Judged:
    """The concepts of one kind, taken through the steps that all kinds share.

    Parameters
    ----------
    data : Embedded
        Cells.
    model : DictionaryConcepts or DirectionConcepts
        The concepts.
    settings : Settings
        Sizes.
    seed : int
        Of the halves and permutations.
    """

    def __init__(self, data, model, settings, seed):
        self.data, self.model, self.settings, self.seed = data, model, settings, seed
        self.codes = model.codes(data.E)
        self.test_codes = model.codes(data.held_out)
        self.live = arms.live(self.codes, settings)
        if not self.live.size:
            raise ValueError("no concept is live: train longer or allow rarer concepts")
        self.pairs = find_counterfactuals(
            data.E, model, self.live, codes=self.codes, n_prototypes=settings.n_prototypes,
            depth=data.depth, random_state=seed,
        )  # fmt: skip
        self.attribution = self.attribute()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self.expression = differential_expression(
                data.counts[:, data.named], self.codes, genes=data.genes[data.named],
                concepts=self.live, depth=data.depth,
            )  # fmt: skip
        self.background = self.could_drive()

    def attribute(self, pairs=None, null=None):
        """Attribution of the live concepts to the named genes."""
        return attribute_genes(
            self.data.counts, self.data.function, self.model, pairs or self.pairs,
            genes=self.data.genes, candidates=self.data.named, null=null,
        )  # fmt: skip

    def could_drive(self):
        """Genes that differ in at least one pair of a concept."""
        found = self.attribution
        changed = [(np.nan_to_num(part.attribution) != 0) | (np.nan_to_num(part.spread) > 0)
                   for part in (found, found.pre)]  # fmt: skip
        return changed[0] | changed[1]

    def result(self, *, full=False):
        """What is kept of a kind; `full` adds what tables of concepts and stability need."""
        found = {
            "n_live": self.live.size,
            "n_passes": self.attribution.passes.n_total,
            "checks": self.checks(),
            "lists": self.lists(),
            "groups": self.groups(),
            "cuts": self.cuts(),
        }
        if gene_sets() is not None:
            found["pathways"] = self.pathways()
        if full:
            found["concepts"] = self.table(found.get("pathways"))
            found["codes"] = stored(self.test_codes)
            found["live"] = self.live
            found["genes"] = self.attribution.genes
            found["profiles"] = [[round(float(value), 5) for value in row]
                                 for row in self.attribution.pre.relative]  # fmt: skip
            if self.seed == self.settings.seeds[0]:
                found["shown"] = self.shown(found["groups"])
        return found

    def checks(self):
        """Medians over the concepts that say how far attributions can be trusted."""
        found, pairs = self.attribution, self.pairs.summary()
        chosen = pairs.half == "chosen"
        checks = {"far": float(np.nanmedian(pairs.far_share[chosen])),
                  "effective": float(np.nanmedian(pairs.n_effective[chosen])),
                  "above_cutoff": float(np.median(found.selected(0.05).sum(axis=1)))}  # fmt: skip
        for name, part in (("code", found), ("pre", found.pre)):
            for what in ("completeness", "confirmation_slope", "expression_correlation"):
                checks[f"{name}_{what}"] = median(part[what])
            gap = np.abs(1 - part.completeness)
            checks[f"{name}_gap"] = median(gap)
        return checks

    def lists(self):
        """How far attribution and differential expression agree, medians over the concepts."""
        found = compare_gene_lists(
            self.attribution, self.expression, n_first=self.settings.n_genes,
            expression_order="signed",
        ).summary()  # fmt: skip
        return {
            name: median(found[name]) for name in ("rank_correlation", "both", "both_by_chance")
        }

    def groups(self):
        """The concept of each group: chosen on training cells, judged on those held out."""
        trained = selectivity_scores(self.codes[:, self.live], self.data.group, active="positive",
                                     labels=list(GROUPS))  # fmt: skip
        tested = selectivity_scores(self.test_codes[:, self.live], self.data.test_group,
                                    active="positive", labels=list(GROUPS))  # fmt: skip
        found = {}
        for place, group in enumerate(GROUPS):
            best = int(np.argmax(trained[place]))
            found[group] = {
                "concept": self.live[best],
                "selectivity": tested[place, best],
                "recall": self.marker_recall(group, best),
            }
        return found

    def cuts(self):
        """The same at the cut-offs that suit the groups best."""
        data = self.data
        if isinstance(self.model, DirectionConcepts):
            scores, tested = (self.model.pre_activations(E, self.live)
                              for E in (data.E, data.held_out))  # fmt: skip
        else:
            scores, tested = (codes[:, self.live].toarray()
                              for codes in (self.codes, self.test_codes))  # fmt: skip
        return best_cuts(scores, data.group, tested, data.test_group)

    def marker_recall(self, group, place):
        """Share of the measured markers among the first genes, by attribution and expression."""
        genes = self.attribution.genes
        measured = np.isin(genes, MARKERS[group])
        n = self.settings.n_marker_genes
        scores = {"attribution": self.attribution.attribution[place],
                  "expression": self.expression.log_fold_change[place]}  # fmt: skip
        first = {name: np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:n]
                 for name, values in scores.items()}  # fmt: skip
        found = {name: float(measured[rows].sum() / measured.sum()) for name, rows in first.items()}
        found["chance"] = n / genes.size
        return found | {f"{name}_genes": genes[rows] for name, rows in first.items()}

    def selections(self):
        """First genes of each concept by final code, pre-activation and expression."""
        n = self.settings.n_genes
        scores = {
            "code": np.array(self.attribution.attribution),
            "pre": np.array(self.attribution.pre.attribution),
            "expression": np.array(self.expression.log_fold_change, dtype=float),
        }
        return {name: select_genes(np.where(self.background, values, np.nan), n_top=n)
                for name, values in scores.items()}  # fmt: skip

    def pathways(self):
        """Significant sets of each concept, and those that only one of the two lists has."""
        genes, sets = self.attribution.genes, gene_sets()
        found = {}
        selections = self.selections()
        options = {"background": self.background, "concepts": self.live}
        for name, selected in selections.items():
            found[name] = over_representation(selected, sets, genes=genes, **options)
        permuted = np.random.default_rng(self.seed).permutation(genes)
        found["permuted"] = over_representation(selections["code"], sets, genes=permuted, **options)
        level = self.settings.level
        compared = compare_enrichment(found["code"], found["expression"], level=level,
                                      absent_level=self.settings.absent_level)  # fmt: skip
        kept = {name: significant(result, level) for name, result in found.items()}
        kept["n_sets"] = found["code"].gene_sets.size
        kept["found_by"] = {name: int(np.count_nonzero(compared.found_by == name))
                            for name in ("both", "attribution", "expression")}  # fmt: skip
        kept["alone"] = {
            name: strongest(compared.pairs(name)) for name in ("attribution", "expression")
        }
        best = found["code"].by_concept(level)
        kept["by_concept"] = {name: best[name] for name in ("n_sets", "best_set", "q_value")}
        return kept

    def table(self, pathways):
        """A row for each live concept."""
        types = np.unique(self.data.cell_type).tolist()
        tested = selectivity_scores(self.test_codes[:, self.live], self.data.test_type,
                                    active="positive", labels=types)  # fmt: skip
        active, summary = arms.activity(self.codes), self.attribution.summary()
        rows = []
        for place, concept in enumerate(self.live):
            best = int(np.argmax(tested[:, place]))
            row = {
                "concept": concept,
                "active": active[concept],
                "cell_type": types[best],
                "selectivity": tested[best, place],
                "confirmed": summary.confirmation_slope[place],
                "completeness": self.attribution.pre.completeness[place],
                "far_share": summary.far_share[place],
                "genes": self.first(self.attribution.attribution[place]),
                "genes_by_expression": self.first(self.expression.log_fold_change[place]),
            }
            if pathways is not None:
                row |= {name: pathways["by_concept"][name][place]
                        for name in ("n_sets", "best_set", "q_value")}  # fmt: skip
                row["sense"] = bool(row["n_sets"] or row["selectivity"] >= 0.2
                                    or row["confirmed"] >= 0.5)  # fmt: skip
            rows.append(row)
        return rows

    def first(self, scores, n=8):
        """Names of the first genes with a positive score."""
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:n]
        return self.attribution.genes[order[np.nan_to_num(scores[order]) > 0]]

    def shown(self, groups):
        """The concepts of the groups once more with null pairs: what the pictures show."""
        data, settings = self.data, self.settings
        chosen = np.unique([groups[group]["concept"] for group in GROUPS])
        pairs = find_counterfactuals(
            data.E, self.model, chosen, codes=self.codes, n_prototypes=settings.n_prototypes,
            depth=data.depth, random_state=self.seed,
        )  # fmt: skip
        null = null_counterfactuals(pairs, data.counts, data.E, self.model, codes=self.codes,
                                    n_null=settings.n_null, random_state=self.seed)  # fmt: skip
        found = self.attribute(pairs, null)
        compared = compare_gene_lists(found, self.expression, n_first=settings.n_genes,
                                      expression_order="signed")  # fmt: skip
        return {
            "n_passes": found.passes.n_total,
            "concepts": {int(concept): self.picture(found, compared, int(concept))
                         for concept in chosen},
        }  # fmt: skip

    @staticmethod
    def picture(found, compared, concept):
        """Numbers of one panel, and how many genes stand out from the null."""
        from skdict.display import GeneAttributionDisplay

        place = int(np.flatnonzero(found.concepts == concept)[0])
        display = GeneAttributionDisplay.from_attribution(
            found, concept, comparison=compared, n_genes=10, n_expressed=5, plot=False
        )
        names = ("genes", "attribution", "standard_error", "null_mean", "null_sd", "expression",
                 "group", "settings")  # fmt: skip
        columns = {name: getattr(display, name) for name in names}
        return {
            "columns": columns,
            "n_significant": int(np.count_nonzero(found.q_value[place] <= 0.05)),
            "n_significant_pre": int(np.count_nonzero(found.pre.q_value[place] <= 0.05)),
            "reason": str(found.null.reason[place]),
        }


def significant(result, level):
    """Significant pairs of positions, the best first, and the number of concepts."""
    concept, gene_set = result.significant(level)
    return {"concept": concept, "gene_set": gene_set, "n_concepts": len(result.concepts)}


def strongest(pairs, n=8):
    """The first pairs of a table, each set once."""
    first = np.sort(np.unique(pairs.gene_set, return_index=True)[1])[:n]
    return [{"concept": pairs.concept[i], "gene_set": pairs.gene_set[i]} for i in first]


def stored(codes):
    """Sparse codes as JSON can hold them."""
    codes = sparse.csr_array(codes)
    return {"shape": codes.shape, "indptr": codes.indptr, "indices": codes.indices,
            "data": [float(f"{value:.5g}") for value in codes.data]}  # fmt: skip


def restored(kept):
    """Codes from what was stored."""
    return sparse.csr_array((kept["data"], kept["indices"], kept["indptr"]), shape=kept["shape"])


def median(values):
    """Median of what is known, NaN if nothing is."""
    values = np.asarray(values, float)
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")
