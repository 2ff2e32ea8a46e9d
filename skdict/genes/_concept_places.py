"""Concepts by name: the rows of a result that some of them have."""

from __future__ import annotations

import numpy as np


def check_names(concepts, n_concepts: int) -> np.ndarray:
    """Names of the concepts of a result, each once; their numbers for None."""
    if concepts is None:
        return np.arange(n_concepts)
    names = np.asarray(concepts)
    if names.shape != (n_concepts,):
        raise ValueError(
            f"concepts must name the {n_concepts} concepts, got an array of shape {names.shape}"
        )
    if np.unique(names).shape[0] < n_concepts:
        raise ValueError("concepts must be distinct, but names are there more than once")
    return names


def places_of(wanted, concepts: np.ndarray) -> np.ndarray:
    """Rows of some concepts of a result, in the order asked for.

    Parameters
    ----------
    wanted : array-like, a single name, or None
        The concepts; None means all.
    concepts : ndarray, shape (n_concepts,)
        Names of the rows.

    Returns
    -------
    ndarray of int, shape (n_wanted,)
        The rows.

    Raises
    ------
    ValueError
        If a concept is not there.
    """
    if wanted is None:
        return np.arange(concepts.shape[0])
    wanted = np.atleast_1d(np.asarray(wanted))
    place = {name: row for row, name in enumerate(concepts.tolist())}
    unknown = [name for name in wanted.tolist() if name not in place]
    if unknown:
        raise ValueError(
            f"concepts must be among the {concepts.shape[0]} of the result, such as "
            f"{concepts[0]!r}, got {unknown[0]!r}"
        )
    return np.array([place[name] for name in wanted.tolist()], dtype=np.intp)
