"""Two bundles to look at, made in a minute from the data that ship with the package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skdict._topk_sae import TopKSAE
from skdict.datasets import load_cell_painting_crops, load_pbmc
from skdict.explorer._build import build_bundle
from skdict.genes import (
    DictionaryConcepts,
    attribute_genes,
    differential_expression,
    find_counterfactuals,
    over_representation,
    read_gmt,
    select_genes,
)
from skdict.imaging import composite

TILE, STEP, PATCH = 64, 32, 8
# From the paper that purified the cells, Zheng et al. (Nature Communications 8, 14049, 2017), and
# guides to annotation; lists of ours and no curated pathways.
MARKERS = {
    "markers of B cells": ("CD19", "MS4A1", "CD79A", "CD79B", "BLNK", "BANK1", "TCL1A", "CD74"),
    "markers of T cells": ("CD3D", "CD3E", "CD3G", "CD2", "CD5", "CD6", "IL7R", "LCK", "CCR7"),
    "markers of NK cells": ("GNLY", "NKG7", "KLRD1", "KLRF1", "GZMB", "PRF1", "FGFBP2", "SPON2"),
    "markers of monocytes": ("CD14", "LYZ", "S100A8", "S100A9", "FCN1", "VCAN", "CST3", "TYROBP"),
    "class II presentation": ("HLA-DRA", "HLA-DRB1", "HLA-DPA1", "HLA-DPB1", "HLA-DQA1", "CD74"),
}


def build_cell_painting(path, *, gene_sets=None, overwrite: bool = False):
    """Concepts of small patches of Cell Painting images, with heatmaps.

    Tiles of the four shipped crops are the samples, patches of 8 pixels their tokens: the six
    stains of a patch are reduced by PCA, and a TopK sparse autoencoder learns from all patches.
    There is no foundation model in it; it shows what a bundle with pictures looks like.

    Parameters
    ----------
    path : str or path-like
        Folder of the bundle.
    gene_sets : None
        Not used.
    overwrite : bool, default=False
        Replace a bundle that is there.

    Returns
    -------
    Bundle
        The bundle.
    """
    crops = load_cell_painting_crops()
    tiles, places = _tiles(crops.images)
    grid = TILE // PATCH
    patches = _patches(tiles)
    tokens = make_pipeline(PCA(24, whiten=True, random_state=0)).fit_transform(patches)
    dictionary = TopKSAE(64, n_nonzero_coefs=4, max_steps=600, random_state=0).fit(tokens)
    token_codes = dictionary.transform(tokens).tocsr()
    n_tiles = len(tiles)
    of_tile = np.repeat(np.arange(n_tiles), grid * grid)
    mean = np.zeros((n_tiles, dictionary.n_components))
    for tile in range(n_tiles):
        mean[tile] = np.maximum(token_codes[of_tile == tile].toarray(), 0).mean(axis=0)
    columns = token_codes.tocsc()
    pictures = [_picture(tile, crops) for tile in tiles]

    def heatmap(concept, tile):
        rows = slice(tile * grid * grid, (tile + 1) * grid * grid)
        return columns[rows, [concept]].toarray().reshape(grid, grid)

    nuclei = [(crops.nuclei[f, y : y + TILE, x : x + TILE] > 0).mean() for f, y, x in places]
    return build_bundle(
        path, _rarely(mean), components=dictionary.components_, heatmaps=heatmap,
        images=pictures.__getitem__, map="pca", embeddings=mean,
        metadata={
            "nucleus": np.where(np.array(nuclei) > 0.1, "over a tenth", "less or none"),
            "crop": places[:, 0],
        },
        label_columns=["nucleus"],
        sample_names=[f"crop {i}, y {y}, x {x}" for i, y, x in places.tolist()],
        title="Patches of Cell Painting images",
        description="Tiles of four crops of one field; concepts of pixel patches, no foundation "
        "model. Tiles overlap and are not independent of each other.",
        random_state=0, overwrite=overwrite,
    )  # fmt: skip


def build_pbmc(path, *, gene_sets=None, overwrite: bool = False):
    """Concepts of blood cells with attributed genes and pathways.

    PCA of log-normalised counts is the embedding, a TopK sparse autoencoder learns 64 concepts,
    and genes are exchanged one by one (:func:`~skdict.genes.attribute_genes`).

    Parameters
    ----------
    path : str or path-like
        Folder of the bundle.
    gene_sets : str, path-like, dict or None, default=None
        GMT file of pathways; None takes lists of marker genes.
    overwrite : bool, default=False
        Replace a bundle that is there.

    Returns
    -------
    Bundle
        The bundle.
    """
    sets = MARKERS if gene_sets is None else gene_sets
    sets = sets if isinstance(sets, dict) else read_gmt(sets)  # what is wrong with it comes first
    pbmc = load_pbmc()
    left_out = pbmc.n_counts - np.asarray(pbmc.counts.sum(axis=1)).ravel()
    counts = np.hstack([pbmc.counts.toarray(), left_out[:, None]]).astype(np.float32)
    genes = np.append(pbmc.genes, "genes left out")
    pca = PCA(20, random_state=0).fit(_normalised(counts))

    def embed(cells):
        return pca.transform(_normalised(cells))

    E = embed(counts)
    dictionary = TopKSAE(64, n_nonzero_coefs=4, random_state=0).fit(E)
    codes, model = dictionary.transform(E), DictionaryConcepts(dictionary)
    live = np.flatnonzero(np.asarray((codes > 0).sum(axis=0)).ravel() >= 20)
    pairs = find_counterfactuals(E, model, live, codes=codes, depth=pbmc.n_counts, random_state=0)
    found = attribute_genes(counts, embed, model, pairs, genes=genes,
                            candidates=genes != "genes left out")  # fmt: skip
    expression = differential_expression(
        pbmc.counts, codes, genes=pbmc.genes, concepts=live, depth=pbmc.n_counts
    )
    enriched, changed = (
        over_representation(
            select_genes(scores, n_top=50), sets, genes=names, concepts=live, min_size=4
        )
        for scores, names in (
            (np.array(found.attribution), found.genes),
            (np.array(expression.log_fold_change, dtype=float), expression.genes),
        )
    )
    return build_bundle(
        path, codes, components=dictionary.components_, embeddings=E, map="pca",
        attribution=found, expression=expression, enrichment=enriched,
        expression_enrichment=changed,
        metadata={"cell_type": pbmc.cell_type, "cell_group": pbmc.cell_group,
                  "counts": pbmc.n_counts.astype(int)},
        label_columns=["cell_type", "cell_group"],
        title="Blood cells", random_state=0, overwrite=overwrite,
        description="1,500 cells of ten purified populations, PCA and a TopK sparse autoencoder. "
        "Each population was a library of its own: what marks a type may mark its library.",
    )  # fmt: skip


EXAMPLES: dict[str, Callable] = {"cell-painting": build_cell_painting, "pbmc": build_pbmc}


def _normalised(counts):
    """Log-normalised named genes; what was left out counts for the depth."""
    depth = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.log1p(counts[:, :-1] * (2000 / depth))


def _tiles(images):
    """Overlapping tiles of the images, and the image, row and column of each."""
    n_images, _, height, width = images.shape
    places = np.array([
        (image, y, x)
        for image in range(n_images)
        for y in range(0, height - TILE + 1, STEP)
        for x in range(0, width - TILE + 1, STEP)
    ])  # fmt: skip
    return [images[i, :, y : y + TILE, x : x + TILE] for i, y, x in places], places


def _patches(tiles):
    """Logarithms of the stains of all patches, shape (n_patches, n_values)."""
    grid = TILE // PATCH
    stack = np.log1p(np.asarray(tiles, dtype=np.float32))
    n_tiles, n_channels = stack.shape[:2]
    cut = stack.reshape(n_tiles, n_channels, grid, PATCH, grid, PATCH)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(n_tiles * grid * grid, -1)


def _picture(tile, crops):
    """Coloured picture of a tile."""
    picture = composite(tile, channels=crops.channels, limits=_limits(crops.images))
    return np.asarray(np.clip(picture * 255, 0, 255), dtype=np.uint8)


def _limits(images):
    """Contrast of each stain over all fields."""
    return np.percentile(images, [0.5, 99.8], axis=(0, 2, 3)).T


def _rarely(mean):
    """Codes of tiles: what exceeds the 80% quantile of the concept, so that codes are sparse."""
    return np.maximum(mean - np.quantile(mean, 0.8, axis=0), 0)
