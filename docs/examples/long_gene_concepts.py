"""
Concepts in genes: counts, a small autoencoder, exchanged genes
===============================================================

A small variational autoencoder learns from counts of blood cells, dictionaries find concepts in
its embeddings, and genes are exchanged one at a time between a cell that activates a concept and
the nearest ones that do not: what the concept loses is what the gene contributes. The same runs
on the network before training.
"""

# %%
# Counts and network
# ------------------
# 1,500 cells of ten purified populations with 2,000 of their genes. Each population was a library
# of its own, so that what tells populations apart may be the library. The genes that were left
# out enter as one last column, their sum, because a cell is normalised by all that it has; that
# column is no gene and is not exchanged. The loss leaves out constants, hence its sign: only the
# difference counts, on 43 cells that were held out.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import small_vae
import torch
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skdict import ICFLDictionary, TopKSAE
from skdict.datasets import load_pbmc
from skdict.display import GeneAttributionDisplay
from skdict.genes import (
    DictionaryConcepts,
    attribute_genes,
    compare_gene_lists,
    differential_expression,
    find_counterfactuals,
    null_counterfactuals,
    over_representation,
    read_gmt,
    select_genes,
)
from skdict.metrics import best_features

torch.set_num_threads(1)
pbmc = load_pbmc()
left_out = pbmc.n_counts - np.asarray(pbmc.counts.sum(axis=1)).ravel()
counts = sparse.csr_array(sparse.hstack([pbmc.counts, left_out[:, None].astype(np.float32)]))
genes = np.append(pbmc.genes, "genes left out")
train, test = pbmc.split == "train", pbmc.split == "test"

networks = {
    "untrained": small_vae.train(counts[train], n_epochs=0)[0],
    "trained": small_vae.train(counts[train], n_epochs=30, verbose=False)[0],
}
for name, network in networks.items():
    print(f"{name}: held-out loss {small_vae.held_out_loss(network, counts[test]):.0f}")

# %%
# Concepts, and the genes that drive them
# ---------------------------------------
# Two dictionaries for each network. In each the concept that is most selective for a group of
# cells is taken: the group chose the concept, so that its selectivity is no finding. Which genes
# drive it is what is asked. All that belongs to the network happens inside ``embed``, which takes
# raw counts.


def concepts_of(network, dictionary):
    """Attributed genes of the best concept of each group."""

    def embed(X):
        return small_vae.embed(network, X)

    embeddings = embed(counts)
    pipeline = make_pipeline(StandardScaler(with_std=False), dictionary).fit(embeddings)
    codes, model = pipeline.transform(embeddings), DictionaryConcepts(pipeline)
    best = best_features(codes, pbmc.cell_group, active="positive")
    pairs = find_counterfactuals(
        embeddings, model, np.unique(best.feature), codes=codes, n_counterfactuals=3,
        depth=pbmc.n_counts, random_state=0,
    )  # fmt: skip
    null = null_counterfactuals(pairs, counts, embeddings, model, codes=codes, random_state=0)
    attribution = attribute_genes(
        counts, embed, model, pairs, genes=genes, null=null,
        candidates=genes != "genes left out",
    )  # fmt: skip
    concepts = dict(zip(best.labels.tolist(), best.feature.tolist(), strict=True))
    return Bunch(concepts=concepts, codes=codes, attribution=attribution,
                 explained=pipeline.score(embeddings))  # fmt: skip


found = {}
for name, network in networks.items():
    for kind in (TopKSAE, ICFLDictionary):
        dictionary = kind(128, n_nonzero_coefs=4, random_state=0)
        found[name, kind.__name__] = run = concepts_of(network, dictionary)
        print(f"{name}, {kind.__name__}: {run.explained:.0%} of the variance explained")

# %%
# The first genes by the pre-activation, in which concepts do not compete. The trained network
# gives known genes for B cells (CD79A, CD79B), monocytes (LYZ, S100A8, S100A9), NK cells (GNLY,
# GZMB) and, with TopK, CD34+ cells (SOX4, PRSS57). For T cells ICFL lists genes of other cells
# (TYROBP, S100A8): a gene can drive a concept by being absent. Some known genes come from the
# untrained network, too: a random mixture of genes keeps large differences between cells.

groups = sorted(set(pbmc.cell_group.tolist()))


def first_genes(run, group, n):
    """Genes with the largest attribution for the concept of a group."""
    return run.attribution.table(run.concepts[group], activation="pre", n=n).gene.tolist()


for group in groups:
    print(group)
    for (name, kind), run in found.items():
        first = ", ".join(first_genes(run, group, 7))
        print(f"  {name:9} {kind:14} {run.concepts[group]:3}: {first}")

# %%
# How many of the first 20 genes do two runs share? The dictionaries of the trained network agree
# in half of them or more for B cells, monocytes and NK cells, and hardly for T cells. With the
# untrained network fewer are shared, but not none.

arms = [("trained, TopK and ICFL", ("trained", "TopKSAE"), ("trained", "ICFLDictionary"))]
arms += [
    (f"both networks, {kind}", ("trained", kind), ("untrained", kind))
    for kind in ("TopKSAE", "ICFLDictionary")
]
print(f"{'':29}" + "".join(f"{group:>9}" for group in groups))
for label, one, other in arms:
    shared = [
        len(set(first_genes(found[one], group, 20)) & set(first_genes(found[other], group, 20)))
        for group in groups
    ]
    print(f"{label:29}" + "".join(f"{number:9}" for number in shared))

# %%
# Do the attributions stand on their own?
# ---------------------------------------
# Medians over the concepts of a run.
#
# * Completeness is the sum over genes, divided by the change when all are exchanged at once. For
#   the trained network that of pre-activations is below 1: genes stand in for each other. Codes
#   of ICFL are less steady than pre-activations, as another atom may take over.
# * The slope on other cells is 1 if attributions are as large for other prototypes. It is larger
#   for the trained network. These cells come from the same libraries, not from other donors.
# * For the trained network all counterfactuals lie beyond the neighbourhood of their prototypes:
#   they are cells of another kind.
# * Null pairs of the trained network lie much closer together than the pairs. This null is too
#   narrow, and its p-values are not used.

for key, run in found.items():
    attribution, pairs, null = run.attribution, run.attribution.pairs, run.attribution.null
    print(
        f"{', '.join(key)}: {attribution.passes.n_total:,} forward passes\n"
        f"  completeness            code {np.median(attribution.completeness):.2f}, "
        f"pre-activation {np.median(attribution.pre.completeness):.2f}\n"
        f"  slope on other cells    code {np.median(attribution.confirmation_slope):.2f}, "
        f"pre-activation {np.median(attribution.pre.confirmation_slope):.2f}\n"
        f"  beyond neighbourhood    {pairs.far.mean():.0%} of the pairs\n"
        f"  distance, null / pairs  {np.median(null.distance_ratio):.2f}"
    )

# %%
# Beside differential expression
# ------------------------------
# Genes below the gap are among the 50 that differ most between active and inactive cells, but not
# among the first 50 by attribution. P-values of expression are withheld: the counts that are
# compared made the concept active, and there are no donors. Whiskers are over single cells, and
# the grey bars are those of the null that is too narrow for the trained network.


def picture(name, kind, group):
    """Attributed genes of the concept of a group, and expression beside them."""
    run = found[name, kind]
    concept = run.concepts[group]
    expression = differential_expression(
        pbmc.counts, run.codes, genes=pbmc.genes, concepts=[concept], depth=pbmc.n_counts
    )
    own = Bunch(genes=run.attribution.genes, concepts=run.attribution.concepts,
                attribution=run.attribution.pre.attribution)  # fmt: skip
    display = GeneAttributionDisplay.from_attribution(
        run.attribution, concept, activation="pre", comparison=compare_gene_lists(own, expression)
    )
    display.figure_.suptitle(f"Chosen for {group}: {name} network, {kind}")
    return expression


for name in ("trained", "untrained"):
    for group in ("B cell", "CD14+"):
        expression = picture(name, "TopKSAE", group)
print("No p-values of expression:", expression.reason[0])
plt.show()

# %%
# Gene sets
# ---------
# No gene sets come with the package. If the variable SKDICT_DATA names a folder that holds this
# file of GO processes, or you put the path of another GMT file here, the first 50 genes of each
# concept are tested; otherwise this is skipped. The background are the genes whose exchange
# changes something. Genes of a pathway vary together: judge by the untrained network, not by q.

path = Path(os.environ.get("SKDICT_DATA", ""), "genesets", "GO_Biological_Process_2021.gmt.gz")
if path.is_file():
    sets = read_gmt(path)
    for (name, kind), run in found.items():
        scores = run.attribution.pre.attribution
        enriched = over_representation(
            select_genes(scores, n_top=50), sets, genes=run.attribution.genes,
            background=scores != 0, concepts=run.attribution.concepts,
        )  # fmt: skip
        table = enriched.pairs(0.05)
        print(f"{name}, {kind}: {len(table.concept)} sets at q <= 0.05")
        for group in groups:
            own = table.gene_set[table.concept == run.concepts[group]]
            print(f"  {group:7} {len(own):3}  {own[0] if len(own) else ''}")
else:
    print("No gene sets: SKDICT_DATA does not hold them.")
