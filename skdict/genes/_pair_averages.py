"""From the changes of single pairs to attributions of concepts, and how sure they are."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import rankdata
from sklearn.utils import Bunch

from skdict.genes._null_scores import adjusted, contrast_scales, null_scores, p_values
from skdict.genes._rounding import is_change

ACTIVATIONS = ("code", "pre")
_BY_GENE = (
    "attribution",
    "spread",
    "standard_error",
    "relative",
    "confirmation",
    "null_mean",
    "null_sd",
    "z",
)
_BY_CONCEPT = (
    "activation",
    "completeness",
    "confirmation_correlation",
    "confirmation_slope",
    "expression_correlation",
    "null_expression_correlation",
)


def averages(pairs, null, combination, start, code, pre, mean_expression) -> dict:
    """Entries of a :class:`GeneAttribution` that are computed from the passes.

    Parameters
    ----------
    pairs : Counterfactuals
        The pairs.
    null : NullCounterfactuals or None
        The null pairs.
    combination : ndarray of int, shape (n_rows,)
        Row of `code` and `pre` for each pair, then for each null pair.
    start : Bunch
        Activations of prototypes, and with everything exchanged.
    code, pre : csr_array, shape (n_combinations, n_features)
        The changes.
    mean_expression : ndarray, shape (n_features,)
        Mean counts.

    Returns
    -------
    dict
        The entries of the codes, and under ``pre`` those of the pre-activations.
    """
    n_pairs = pairs.prototype.shape[0]
    own, of_null = combination[:n_pairs], combination[n_pairs:]
    found, completeness = [], Bunch()
    for name, changes in zip(ACTIVATIONS, (code, pre), strict=True):
        before, after = start[name][own], start[f"{name}_all"][own]
        completeness[f"{name}_change"] = before - after
        completeness[f"{name}_sum"] = np.asarray(changes.sum(axis=1)).ravel()[own]
        found.append(
            _average(pairs, null, own, of_null, changes, before, before - after, mean_expression)
        )
    return {
        **found[0],
        "pre": found[1],
        "pair_completeness": completeness,
        "mean_expression": mean_expression,
    }


def _average(pairs, null, own, of_null, changes, before, change, mean_expression) -> Bunch:
    """Entries of one kind of activation."""
    shape = pairs.concepts.shape[0], changes.shape[1]
    out = Bunch(**{name: np.full(shape, np.nan) for name in _BY_GENE})
    out |= {name: np.full(shape[0], np.nan) for name in _BY_CONCEPT}
    tested, null_scored = np.zeros(shape, dtype=bool), []
    for k in range(shape[0]):
        rows = np.flatnonzero((pairs.position == k) & (pairs.half == 0))
        if rows.size == 0:
            continue
        values, cells = _by_prototype(pairs, rows, changes[own[rows]])
        mean = values.mean(axis=0)
        out.attribution[k] = mean
        out.spread[k], out.standard_error[k] = _spread(values, pairs.rules.unit[cells])
        weight = pairs.weight[rows] / cells.shape[0]
        out.activation[k] = before[rows] @ weight
        if out.activation[k] > 0:
            out.relative[k] = mean / out.activation[k]
        whole = change[rows] @ weight
        out.completeness[k] = mean.sum() / whole if whole else np.nan
        out.expression_correlation[k] = rank_correlation(
            np.abs(mean), mean_expression, is_change(mean)
        )
        _confirm(out, k, pairs, own, changes)
        if null is not None and not null.reason[k]:
            compared = _compared_with_null(k, pairs, null, own, of_null, changes, mean)
            out.null_mean[k], out.null_sd[k], out.z[k], tested[k], scores = compared
            null_scored.append(scores)
            varies = is_change(out.null_sd[k])
            out.null_expression_correlation[k] = rank_correlation(
                out.null_sd[k], mean_expression, varies
            )
    out.p_value = p_values(out.z, tested, null_scored)
    out.q_value, out.q_value_all = adjusted(out.p_value, tested)
    return out


def _confirm(out, k, pairs, own, changes) -> None:
    """Means of a concept over the other half of the units."""
    rows = np.flatnonzero((pairs.position == k) & (pairs.half == 1))
    if rows.size == 0:
        return
    other = _by_prototype(pairs, rows, changes[own[rows]])[0].mean(axis=0)
    out.confirmation[k] = other
    mean = out.attribution[k]
    there = is_change(mean) | is_change(other)
    out.confirmation_correlation[k] = rank_correlation(mean, other, there)
    squares = mean @ mean
    out.confirmation_slope[k] = mean @ other / squares if squares else np.nan


def _compared_with_null(k, pairs, null, own, of_null, changes, mean):
    """Mean and deviation over null sets, scores, genes tested, and scores of the null sets."""
    chosen = np.flatnonzero((pairs.position == k) & (pairs.half == 0))
    share = _shares(pairs.counterfactual[chosen], pairs.weight[chosen])
    rows = np.flatnonzero(null.position == k)
    n_prototypes = np.unique(null.prototype[rows]).shape[0]
    n_rows, number = rows.shape[0], np.arange(rows.shape[0])
    weights = null.weight[rows] / n_prototypes
    average = sparse.csr_array((weights, (null.set[rows], number)), shape=(null.n_null, n_rows))
    cells, place = np.unique(null.counterfactual[rows], return_inverse=True)
    stands = sparse.csr_array((np.ones(n_rows), (number, place)), shape=(n_rows, cells.shape[0]))
    sets = (average @ changes[of_null[rows]]).toarray()
    # with the observed partners, so that one rare count is as much of an outlier in any set
    deviation = _within(
        changes[np.append(of_null[rows], own[chosen])],
        np.append(null.prototype[rows], pairs.prototype[chosen]),
    )
    z, scores, tested = null_scores(mean, sets, deviation, contrast_scales(share, average @ stands))
    return sets.mean(axis=0), sets.std(axis=0, ddof=1), z, tested, scores


def _shares(cells, weights) -> np.ndarray:
    """Share of each distinct cell in a weighted mean."""
    share = np.bincount(np.unique(cells, return_inverse=True)[1], weights=weights)
    return share / share.sum()


def _within(changes, prototypes) -> np.ndarray:
    """Standard deviation of sparse rows around the mean of their prototype, by column."""
    cells, place = np.unique(prototypes, return_inverse=True)
    n_rows = prototypes.shape[0]
    member = sparse.csr_array(
        (np.ones(n_rows), (place, np.arange(n_rows))), shape=(cells.shape[0], n_rows)
    )
    size = np.asarray(member.sum(axis=1)).ravel()
    total = (member @ changes).toarray()
    squares = np.asarray(changes.power(2).sum(axis=0)).ravel()
    squares = squares - (total**2 / size[:, None]).sum(axis=0)
    return np.sqrt(np.maximum(squares, 0) / (n_rows - cells.shape[0]))


def _by_prototype(pairs, rows, changes):
    """Mean of each prototype over its counterfactuals, (n_prototypes, n_features), and cells."""
    cells, place = np.unique(pairs.prototype[rows], return_inverse=True)
    weights = sparse.csr_array(
        (pairs.weight[rows], (place, np.arange(rows.shape[0]))),
        shape=(cells.shape[0], rows.shape[0]),
    )
    return (weights @ changes).toarray(), cells


def _spread(values, unit):
    """Standard deviation over rows, and standard error of the mean with rows of a unit as one."""
    n_rows = values.shape[0]
    if n_rows < 2:
        return np.nan, np.nan
    names, index = np.unique(unit, return_inverse=True)
    n_units = names.shape[0]
    if n_units < 2:
        return values.std(axis=0, ddof=1), np.nan
    sums = np.zeros((n_units, values.shape[1]))
    np.add.at(sums, index, values - values.mean(axis=0))
    error = np.sqrt((sums**2).sum(axis=0) * n_units / (n_units - 1)) / n_rows
    return values.std(axis=0, ddof=1), error


def rank_correlation(one, other, there) -> float:
    """Spearman's rank correlation over some entries; NaN where it is not defined."""
    if np.count_nonzero(there) < 3:
        return np.nan
    ranks = [rankdata(values[there]) for values in (one, other)]
    centred = [rank - rank.mean() for rank in ranks]
    squares = (centred[0] @ centred[0]) * (centred[1] @ centred[1])
    return float(centred[0] @ centred[1] / np.sqrt(squares)) if squares else np.nan
