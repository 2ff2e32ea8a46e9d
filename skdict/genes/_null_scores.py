"""How far attributions stand out from those of null pairs, gene by gene."""

from __future__ import annotations

import numpy as np

from skdict.genes._false_discovery import q_values
from skdict.genes._rounding import is_change

# Ties between scores that rounding separates, in standard deviations.
_TIE = 1e-6


def null_scores(observed, sets, deviation, scales):
    r"""Score of each gene, and of each null set, against the means over null sets.

    The observed mean :math:`v_0` is measured against the mean of the R null sets, and each null
    set against the mean of the others,

    .. math:: z_s = \frac{v_s - m_{-s}}{r_s\,(d + d_0)},

    with the standard deviation d over partners of one prototype, the median :math:`d_0` of
    these over genes, so that no gene wins because it happens not to vary (Tusher et al., PNAS
    2001), and the factor :math:`r_s` that a difference of two means has when the same cells
    stand in several of them. All are divided by the root mean square of the null sets' scores.

    Parameters
    ----------
    observed : ndarray, shape (n_genes,)
        Attributions.
    sets : ndarray, shape (n_null, n_genes)
        Attributions from each null set, at least 2.
    deviation : ndarray, shape (n_genes,)
        Standard deviation over partners of one prototype.
    scales : ndarray, shape (1 + n_null,)
        The factors r, the observed one first; see :func:`contrast_scales`.

    Returns
    -------
    z : ndarray, shape (n_genes,)
        The scores; 0 where nothing changed in any set.
    null : ndarray of float32, shape (n_null * n_tested,)
        Absolute scores of the null sets.
    tested : ndarray of bool, shape (n_genes,)
        Genes that changed something in some set, see :func:`is_change`.
    """
    z = np.zeros(observed.shape)
    tested = is_change(np.vstack([observed, sets])).any(axis=0)
    floor = np.median(deviation[tested]) if tested.any() else 0.0
    if floor == 0:
        # nothing varies: no measure of how far an attribution stands out
        return z, np.empty(0, np.float32), np.zeros_like(tested)
    own, sets = observed[tested], sets[:, tested]
    others = (sets.sum(axis=0) - sets) / (sets.shape[0] - 1)
    differences = np.vstack([own - sets.mean(axis=0), sets - others])
    scores = differences / (scales[:, None] * (deviation[tested] + floor))
    scores /= np.sqrt((scores[1:] ** 2).mean())
    z[tested] = scores[0]
    return z, np.abs(scores[1:]).astype(np.float32).ravel(), tested


def p_values(z, tested, null) -> np.ndarray:
    """Two-sided p-values: the share of all null scores that reach a gene's own.

    Parameters
    ----------
    z : ndarray, shape (n_concepts, n_genes)
        The scores; rows of NaN have no p-values.
    tested : ndarray of bool, shape (n_concepts, n_genes)
        Genes that count as tests.
    null : list of ndarray
        Absolute scores of the null sets of each concept that has some.

    Returns
    -------
    ndarray, shape (n_concepts, n_genes)
        The p-values; 1 for genes that were not tested.
    """
    p_value = np.where(np.isnan(z), np.nan, 1.0)
    pooled = np.sort(np.concatenate([np.empty(0, np.float32), *null]))
    reached = pooled.size - np.searchsorted(pooled, np.abs(z[tested]) - _TIE)
    p_value[tested] = (1 + reached) / (1 + pooled.size)
    return p_value


def contrast_scales(own, sets) -> np.ndarray:
    """Standard deviation of each set's mean minus the mean it is measured against.

    In units of the standard deviation over single cells, for cells that vary independently.

    Parameters
    ----------
    own : ndarray, shape (n_counterfactuals,)
        Share of each distinct counterfactual in the observed mean.
    sets : csr_array, shape (n_null, n_cells)
        Share of each cell in the mean of each null set.

    Returns
    -------
    ndarray, shape (1 + n_null,)
        Of the observed mean against that of all null sets, and of each null set against the
        others.
    """
    dense = sets.toarray()
    n_null = dense.shape[0]
    others = (dense.sum(axis=0) - dense) / (n_null - 1)
    squares = np.append((own**2).sum() + (dense.mean(axis=0) ** 2).sum(),
                        ((dense - others) ** 2).sum(axis=1))  # fmt: skip
    return np.sqrt(squares)


def adjusted(p_value, tested) -> tuple[np.ndarray, np.ndarray]:
    """Benjamini-Hochberg q-values of each concept by itself, and of all together.

    Parameters
    ----------
    p_value : ndarray, shape (n_concepts, n_genes)
        P-values; NaN in rows without.
    tested : ndarray of bool, shape (n_concepts, n_genes)
        Genes that count as tests.

    Returns
    -------
    within, across : ndarray, shape (n_concepts, n_genes)
        The q-values; 1 for genes that were not tested, NaN in rows without p-values.
    """
    counted = np.where(tested, p_value, np.nan)
    rest = np.where(np.isnan(p_value), np.nan, 1.0)
    within = np.array([q_values(row) for row in counted])
    return np.where(tested, within, rest), np.where(tested, q_values(counted), rest)
