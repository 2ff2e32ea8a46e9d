"""Selectivity at the cut-off that suits a group best: the rate of activity does not decide it.

A direction that is active in few cells cannot be selective for a large group. Here each kind gets,
for each group, the feature and the cut-off with the largest selectivity on the training cells, and
is judged with both on the cells that were held out.
"""

import numpy as np

from benchmarks.study_genes.markers import GROUPS


def best_cuts(scores, groups, test_scores, test_groups):
    """Held-out selectivity of the best feature of each group at its best cut-off.

    Parameters
    ----------
    scores, test_scores : ndarray, shape (n_cells, n_features)
        Values that are cut; a cell is active if its value is above the cut-off.
    groups, test_groups : ndarray of str
        Group of each cell.

    Returns
    -------
    dict
        Place of the feature and selectivity, by group.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=0)
    # equal values are on the same side of every cut-off
    last = np.vstack([ranked[:-1] > ranked[1:], np.zeros((1, scores.shape[1]), bool)])
    found = {}
    for group in GROUPS:
        members = (groups == group)[order]
        inside = np.cumsum(members, axis=0) / members[:, 0].sum()
        outside = np.cumsum(~members, axis=0) / (~members[:, 0]).sum()
        value = np.where(last, inside - outside, -np.inf)
        row, feature = np.unravel_index(np.argmax(value), value.shape)
        active = test_scores[:, feature] > ranked[row + 1, feature]
        own = test_groups == group
        found[group] = {"feature": int(feature),
                        "selectivity": float(active[own].mean() - active[~own].mean())}  # fmt: skip
    return found
