"""What can be read of cells: probes of cell type on codes, embedding and neurons."""

import numpy as np
from sklearn.model_selection import PredefinedSplit

from benchmarks.study_genes import arms
from benchmarks.study_genes.cells import blood_cells
from benchmarks.study_genes.embeddings import embed, embedding
from skdict.preprocessing import LargestValuesSelector
from skdict.probing import probe_representations

NAMES = {"raw": "embedding", "codes": "TopK"}


def cell_type(name, seed, settings):
    """Balanced accuracy of cell types on held-out cells, with differences from the embedding."""
    cells = blood_cells(settings.n_cells)
    training, test = cells.training(seed), np.flatnonzero(cells.test)
    rows = np.concatenate([training, test])
    E = embed(embedding(name, seed, settings), cells.counts[rows])
    folds = np.concatenate([np.full(training.size, -1), np.zeros(test.size, int)])
    return probe(E, cells.cell_type[rows], PredefinedSplit(folds), seed, settings)


def probe(E, labels, cv, seed, settings):
    """Accuracy of every representation; cells are resampled for intervals."""
    sparse_neurons = LargestValuesSelector(min(settings.n_nonzero, E.shape[1]))
    *_, summary = probe_representations(
        arms.pipeline("TopK", settings, seed), E, labels, groups=None, cv=cv,
        representations=("raw", "codes"), Cs=(0.01, 0.1, 1.0), units=np.arange(labels.size),
        baselines={"ICFL": arms.pipeline("ICFL", settings, seed),
                   "random dictionary": arms.pipeline("TopK", settings, seed, max_steps=0),
                   "sparse neurons": sparse_neurons},
        random_state=seed, n_resamples=200 if settings.quick else 1000,
    )  # fmt: skip
    names = [NAMES.get(name, name) for name in summary["representation"]]
    columns = ("balanced_accuracy", "difference", "difference_low", "difference_high")
    return {name: dict(zip(("accuracy", "difference", "low", "high"),
                           (float(summary[column][row]) for column in columns)))
            for row, name in enumerate(names)}  # fmt: skip
