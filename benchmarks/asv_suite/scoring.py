"""Scores of codes."""

import numpy as np

from skdict.metrics import selectivity_scores

from .arrays import random_codes


class Selectivity:
    """Selectivity of sparse codes for many labels."""

    params = ((10_000, 100_000), (1138,))
    param_names = ("n_rows", "n_labels")

    def setup(self, n_rows, n_labels):
        """Draw codes and labels."""
        self.codes = random_codes(n_rows, 8192, 100)
        self.y = np.random.default_rng(1).integers(0, n_labels, n_rows)

    def time_scores(self, n_rows, n_labels):
        """Seconds."""
        selectivity_scores(self.codes, self.y)

    def peakmem_scores(self, n_rows, n_labels):
        """Memory of the whole process, codes included."""
        selectivity_scores(self.codes, self.y)

    def track_error(self, n_rows, n_labels):
        """Largest difference to the definition, for one label."""
        first = np.unique(self.y)[0]
        inside = self.y == first
        active = self.codes != 0
        expected = np.asarray(active[inside].mean(axis=0) - active[~inside].mean(axis=0)).ravel()
        scores = selectivity_scores(self.codes, self.y)[0]
        return float(np.abs(scores - expected).max())

    track_error.unit = "difference"
