"""How much the study computes, and every choice that was fixed before its results were seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes and choices of a full run; `QUICK` has those of a quick one.

    Attributes
    ----------
    seeds : tuple of int
        Each draws the cells that are learned from, and all randomness of embedding and concepts.
    n_cells : int or None
        Cells that are used, the first of each type; None takes all.
    embeddings : tuple of str
        Of `embeddings.EMBEDDINGS`.
    n_features : int
        Coordinates of the embeddings.
    epochs : int
        Passes of the autoencoder over the training cells.
    n_components, n_nonzero, max_steps : int
        Atoms, non-zeros of a code, and training steps of a dictionary.
    least_active, most_active : float
        A concept is live, and is counted, if it is active in at least and at most this share of
        the training cells.
    n_prototypes : int
        Prototypes of each concept, and as many for the confirmation.
    n_genes : int
        First genes of each concept that are looked for in gene sets.
    n_marker_genes : int
        First genes among which literature markers are looked for.
    level, absent_level : float
        False-discovery rate of an enriched set; and the rate above which it counts as not found.
    marks : float
        Held-out selectivity from which a concept marks a group of cells.
    n_null : int
        Sets of null pairs behind the p-values of the marking concepts (first seed).
    n_random_dictionaries : int
        Random dictionaries behind the null of stability.
    n_planted_cells, n_batch_cells : int
        Cells of the planted data.
    n_suppressed : int
        Concepts suppressed in the planted batches: the number of atoms that batches have.
    """

    quick: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n_cells: int | None = None
    embeddings: tuple[str, ...] = ("pca", "vae")
    n_features: int = 32
    epochs: int = 40
    n_components: int = 128
    n_nonzero: int = 4
    max_steps: int = 2000
    least_active: float = 0.01
    most_active: float = 0.5
    n_prototypes: int = 10
    n_genes: int = 50
    n_marker_genes: int = 20
    level: float = 0.05
    absent_level: float = 0.25
    marks: float = 0.5
    n_null: int = 5
    n_random_dictionaries: int = 5
    n_planted_cells: int = 1200
    n_batch_cells: int = 3000
    n_suppressed: int = 6


FULL = Settings()
QUICK = Settings(
    quick=True,
    seeds=(0, 1),
    n_cells=500,
    n_features=12,
    epochs=4,
    n_components=24,
    n_nonzero=3,
    max_steps=60,
    n_prototypes=2,
    n_null=2,
    n_random_dictionaries=2,
    n_planted_cells=300,
    n_batch_cells=900,
)

SELECTION = (
    "A fixed quarter of the cells of each type is held out. Each seed draws four fifths of the "
    "others; embedding and concepts learn from these alone, without labels. Seeds share most of "
    "their cells, so that their spread is no sampling error of new donors.",
    "Every live concept is attributed, tabulated and counted; none is left out for what it says. "
    "Live: active (code above zero) in {least:.0%} to {most:.0%} of the training cells.",
    "Prototypes: the {prototypes} training cells with the largest codes, {prototypes} of the other "
    "half for the confirmation, each paired with the nearest cell that does not activate the "
    "concept (margin 0.5, depth within a factor of 2).",
    "Genes of a concept: the first {genes} by positive attribution of the final code. By "
    "expression: the first {genes} by log fold change of active against inactive cells, among the "
    "same genes.",
    "Supported by pathways: at least one set of Hallmark, GO Biological Process or Reactome with "
    "10 to 500 genes in the background has q <= {level} over all concepts and sets of the kind. "
    "The background of a concept is the genes that differ in at least one of its pairs.",
    "Every kind of concept goes through the identical steps. Linear kinds (neurons, factors, "
    "random directions) are active in as many cells as the TopK concepts are on average.",
    "The concept of a group of cells is the one with the largest selectivity (share active within "
    "the group minus share active outside) on the training cells; its selectivity on the held-out "
    "cells is what is judged. It marks the group from {marks} on.",
    "Added after a first full run, which had compared selectivity at equal activity: for each "
    "group every kind also gets the feature and the cut-off that are best on the training cells, "
    "and the comparison with neurons and random directions is made with these.",
    "A concept is said to make no sense if it has no enriched set, is nowhere selective for a cell "
    "type above 0.2 on held-out cells, and less than half of its attribution is confirmed.",
)
