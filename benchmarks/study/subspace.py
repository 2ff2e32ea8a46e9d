"""Figure 7B's work: what a linear map reads and what it drops, probed."""

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

from skdict.probing import probe_subspaces

# The paper's map takes 1,664 dimensions to 512.
SHARE = 512 / 1664


def probe_parts(data, configuration, seed, settings):
    """Probe row space, null space and random subspaces of a linear map.

    The decoder of the paper's autoencoder is not public. The map here is that of a linear
    autoencoder of the same relative width: the first principal components of all rows. It is
    learned without labels. `configuration` is not used.
    """
    rows = data.probed
    X = data.X[rows].astype(np.float64)
    W = PCA(round(SHARE * X.shape[1])).fit(X).components_.T
    cv = LeaveOneGroupOut()
    if data.groups is None:
        cv = settings.folds
    elif data.split == "folds":
        cv = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = probe_subspaces(
            X, data.y[rows], W, groups=None if data.groups is None else data.groups[rows], cv=cv,
            units=data.units[rows], strata=data.resampled_strata, n_random=2,
            Cs=settings.strengths, inner_cv=2, n_resamples=200, random_state=seed,
        )  # fmt: skip
    return {
        str(name): {
            "relative": float(table["relative_accuracy"][k]),
            "accuracy": float(table["balanced_accuracy"][k]),
            "dimension": int(table["dimension"][k]),
        }
        for k, name in enumerate(table["subspace"])
    }
