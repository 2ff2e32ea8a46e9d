"""Figure 2's work: features as they are, called active at their tails, beside a dictionary."""

import warnings
from dataclasses import replace

import numpy as np

from benchmarks.study.methods import embeddings, fit
from skdict.metrics import selectivity_scores
from skdict.preprocessing import QuantileBinarizer


def compare(data, configuration, seed, settings):
    """Best average selectivity by label, of binarised features and of a dictionary of them.

    As in the paper all rows are used for both. Both are swept over the number of active features.
    """
    X, rows = embeddings(data, configuration), data.probed
    y = data.y[rows]
    result = {"labels": np.unique(y), "binarizer": [], "dictionary": []}
    for factor in settings.sparsity_factors:
        target = max(1, round(factor * data.n_nonzero))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            binarizer = QuantileBinarizer(target).fit(X[rows])
        pipeline = fit(
            replace(configuration, n_nonzero=target), data, X, range(X.shape[0]), settings, seed
        )
        for name, model in (("binarizer", binarizer), ("dictionary", pipeline)):
            codes = model.transform(X[rows])
            best = selectivity_scores(codes, y).max(axis=1)
            point = {"target": target, "n_active": codes.nnz / rows.size, "best": best}
            if name == "binarizer":
                point["alpha"] = binarizer.alpha_
            result[name].append(point)
    return result
