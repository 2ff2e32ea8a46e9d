"""What two results have in common, by name."""

from __future__ import annotations

import numpy as np


def common_names(attribution, expression, what: str):
    """Names that two results hold, and their places in each.

    Parameters
    ----------
    attribution, expression : array-like, shapes (n_first,) and (n_second,)
        Names in each result.
    what : str
        What they name, for the message.

    Returns
    -------
    names : ndarray, shape (n_common,)
        The names, in the order of `attribution`.
    places : tuple of ndarray of int, shape (n_common,)
        Their places in either.

    Raises
    ------
    ValueError
        If there are none.
    """
    first, second = np.asarray(attribution), np.asarray(expression)
    place = {name: row for row, name in enumerate(second.tolist())}
    own = np.array([row for row, name in enumerate(first.tolist()) if name in place], dtype=np.intp)
    if own.size == 0:
        raise ValueError(
            f"attribution and expression must have a {what} in common: {first[:3].tolist()!r} "
            f"against {second[:3].tolist()!r}"
        )
    return first[own], (own, np.array([place[name] for name in first[own].tolist()]))
