"""Results of the pieces of work, by what they are of."""

import numpy as np

from benchmarks.study_genes.arms import DICTIONARIES, UNTRAINED
from benchmarks.study_genes.embeddings import TITLES

RIVALS = ("neurons", "PCA factors", "ICA factors", "NMF factors", "random directions")
COUNTED = (*DICTIONARIES, *RIVALS, *UNTRAINED.values())
PERMUTED = "TopK, permuted genes"
NEEDS_DATA = "needs SKDICT_DATA"


class StoredEnrichment:
    """Significant pairs that were kept, as `interpretable_share` reads them.

    Parameters
    ----------
    kept : dict
        As `attribution.significant` gives it.
    """

    def __init__(self, kept):
        self.concepts = np.arange(kept["n_concepts"])
        self.pairs = tuple(np.array(kept[name], dtype=int) for name in ("concept", "gene_set"))

    def significant(self, level):
        """Positions of concepts and sets; the level is that of the run."""
        return self.pairs


class Found:
    """Results of all tasks by kind and what they are of.

    Parameters
    ----------
    results : dict
        As `kinds.run_tasks` returns them.
    settings : Settings
        Sizes.
    """

    def __init__(self, results, settings):
        self.settings = settings
        self._results = {(task.kind, task.data, task.seed): entry["result"]
                         for task, entry in results.items()}  # fmt: skip

    def of(self, kind, data):
        """Results over the seeds; empty where there are none."""
        keys = [(kind, data, seed) for seed in self.settings.seeds]
        return [self._results[key] for key in keys if key in self._results]

    def arm(self, embedding, arm, *path):
        """A figure of a kind of concepts over the seeds."""
        values = []
        for result in self.of("genes", embedding):
            entry = result["arms"][arm]
            for step in path:
                entry = entry[step]
            values.append(entry)
        return values

    def first(self, embedding, arm, *path):
        """A figure of a kind of concepts with the first seed."""
        entry = self.of("genes", embedding)[0]["arms"][arm]
        for step in path:
            entry = entry[step]
        return entry

    def numbers(self, embedding, arm, *path):
        """The same as an array; NaN where it is not known."""
        return np.array(self.arm(embedding, arm, *path), dtype=float)

    def cases(self):
        """Titles of all dictionaries on all embeddings, with both names."""
        for embedding in self.settings.embeddings:
            for kind in DICTIONARIES:
                yield f"{kind}, {TITLES[embedding]}", embedding, kind
