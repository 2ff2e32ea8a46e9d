"""How selective the best feature of a label is when labels mean nothing."""

import warnings

import numpy as np

from benchmarks.study.methods import embeddings, fit
from skdict.metrics import selectivity_test


def chance(data, configuration, seed, settings):
    """Permutation test of the selectivity of all features on the training rows of one fold.

    Labels are permuted among units within strata; see `StudyData`.
    """
    X = embeddings(data, configuration)
    train, _ = next(iter(data.folds(settings.folds, seed)))
    pipeline = fit(configuration, data, X, train, settings, seed)
    is_probed = ~data.control[train]
    rows = train[is_probed]
    place = np.searchsorted(data.probed, rows)
    units = data.permuted_units
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        test = selectivity_test(
            pipeline.transform(X[rows]),
            data.y[rows],
            units=None if units is None else units[place],
            strata=None if data.strata is None else data.strata[rows],
            n_permutations=settings.n_permutations,
            random_state=seed,
        )
    return {
        "labels": test.labels,
        "best": test.score.max(axis=1),
        "chance": test.maxima.mean(axis=0),
        "n_significant": int(np.count_nonzero(test.label_q_value <= 0.05)),
        "n_family_wise": int((test.family_wise_p_value <= 0.05).any(axis=1).sum()),
        "smallest_p_value": float(test.smallest_p_value.max()),
        "n_units": test.n_units_permuted,
        "least_units_per_label": int(np.min(test.n_units)),
    }
