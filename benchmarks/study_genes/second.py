"""The second set of the same study: cell-cycle phase, and concepts that both sets have.

pbmc68k_reduced has logarithms and no counts: values are exchanged as they are, not rescaled.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.study_genes import arms
from benchmarks.study_genes.attribution import median
from benchmarks.study_genes.cells import blood_cells, second_set
from benchmarks.study_genes.embeddings import logarithm
from benchmarks.study_genes.markers import GROUPS
from benchmarks.study_genes.preservation import probe
from skdict.comparison import concept_agreement
from skdict.genes import attribute_genes, find_counterfactuals
from skdict.metrics import selectivity_scores


class Fitted:
    """Scaling, components and concepts of one set.

    Parameters
    ----------
    values : ndarray, shape (n_cells, n_genes)
        Logarithms.
    settings : Settings
        Sizes.
    seed : int
        Of components and concepts.
    """

    def __init__(self, values, settings, seed):
        self.values, self.settings, self.seed = values, settings, seed
        self.scaler = StandardScaler().fit(values)
        self.pca = PCA(settings.n_features, random_state=seed).fit(self.scaler.transform(values))
        self.E = self.embed(values)
        self.model = arms.fit("TopK", self.E, settings, seed)
        self.live = arms.live(self.model.codes(self.E), settings)

    def embed(self, values):
        """Embeddings of logarithms."""
        return self.pca.transform(self.scaler.transform(values)).astype(np.float32)

    def attribution(self, genes):
        """Attribution of the live concepts."""
        pairs = find_counterfactuals(self.E, self.model, self.live, random_state=self.seed,
                                     n_prototypes=self.settings.n_prototypes)  # fmt: skip
        return attribute_genes(self.values, self.embed, self.model, pairs, genes=genes,
                               rescale=False, layer="logarithms").pre  # fmt: skip


def second(name, seed, settings):
    """Phase and type read from the second set, and agreement with the first.

    Parameters
    ----------
    name : str
        Not used; there is one embedding, PCA.
    seed : int
        Of everything.
    settings : Settings
        Sizes.
    """
    values, genes, cell_type, phase = second_set()
    cells = blood_cells(settings.n_cells)
    common, here, there = np.intersect1d(cells.genes, genes, return_indices=True)
    E = PCA(settings.n_features, random_state=seed).fit_transform(values)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = {"phase": probe(E, phase, folds, seed, settings),
             "type": probe(E, cell_type, folds, seed, settings),
             "n_genes": common.size}  # fmt: skip
    first_values = logarithm(cells.counts[cells.training(seed)])[:, here]
    held_out = logarithm(cells.counts[cells.test])[:, here]
    first = Fitted(first_values, settings, seed)
    other = Fitted(values[:, there], settings, seed)
    # each set is scaled by itself: the two were normalised differently
    moved = other.pca.transform(first.scaler.transform(held_out)).astype(np.float32)
    codes = other.model.codes(moved)
    null = [arms.fit("TopK", other.E, settings, 1000 + k, max_steps=0).codes(moved)
            for k in range(settings.n_random_dictionaries)]  # fmt: skip
    attributions = [as_profiles(part, common) for part in (first, other)]
    agreement = concept_agreement(
        first.model.codes(first.embed(held_out)), codes, attribution_first=attributions[0],
        attribution_second=attributions[1], null_codes=null, random_state=seed,
    )  # fmt: skip
    found["agreement"] = summarised(agreement)
    found["groups"] = transferred(other, codes, group_of(cell_type), cells.group[cells.test])
    return found


def as_profiles(fitted, genes):
    """Attributions as `concept_agreement` reads them."""
    from sklearn.utils import Bunch

    return Bunch(genes=genes, concepts=fitted.live,
                 attribution=fitted.attribution(genes).attribution)  # fmt: skip


def summarised(agreement):
    """What is kept of an agreement."""
    return {
        "stable": float(agreement.stable.mean()),
        "n_stable": int(agreement.stable.sum()),
        "profile_first": agreement.profile_first_share,
        "by_chance": 1 / agreement.n_second,
        "profile_median": agreement.profile_median,
        "similarity": median(agreement.activation_similarity),
    }


def group_of(cell_type):
    """Group of each type of the second set; dendritic cells are none of them."""
    words = {"B": "B cell", "NK": "NK cell", "CD14": "CD14+", "CD34": "CD34+"}
    found = np.full(cell_type.size, "other", dtype=object)
    for one in np.unique(cell_type):
        own = [group for word, group in words.items() if word in one and "CD4" not in one]
        t_cells = one.startswith(("CD4+", "CD8+"))
        found[cell_type == one] = "T cell" if t_cells else own[0] if own else "other"
    return found.astype(str)


def transferred(fitted, codes, groups, test_groups):
    """Selectivity, on cells of the first set, of concepts learned and chosen on the second."""
    own = fitted.model.codes(fitted.E)[:, fitted.live]
    chosen = selectivity_scores(own, groups, active="positive", labels=list(GROUPS))
    tested = selectivity_scores(codes[:, fitted.live], test_groups, active="positive",
                                labels=list(GROUPS))  # fmt: skip
    return {group: float(tested[k, np.argmax(chosen[k])]) for k, group in enumerate(GROUPS)}
