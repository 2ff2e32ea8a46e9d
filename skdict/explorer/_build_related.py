"""Related concepts: atoms of similar direction, and concepts active in the same samples."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.metrics._atoms import check_atoms

_BLOCK_VALUES = 1 << 22  # cosines or counts held at a time


def nearest_atoms(components, n_concepts: int, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the atoms with the largest cosines, a block of atoms at a time.

    Parameters
    ----------
    components : array-like, shape (n_concepts, n_features)
        The atoms. One of zeros has cosine 0 with all.
    n_concepts : int
        Number of concepts that the codes have.
    n_neighbors : int
        Atoms to find for each, fewer where there are not so many others.

    Returns
    -------
    index : ndarray of int32, shape (n_concepts, n_found)
        The atoms, by descending cosine.
    cosine : ndarray of float32, shape (n_concepts, n_found)
        Their cosines.

    Raises
    ------
    ValueError
        If the atoms are not finite, or their number is another one.
    """
    atoms = check_atoms(components)
    if atoms.shape[0] != n_concepts:
        raise ValueError(
            f"components must have one row per column of codes: got {atoms.shape[0]} rows for "
            f"{n_concepts} columns"
        )
    largest = np.abs(atoms).max(axis=1, keepdims=True)
    atoms = atoms / np.where(largest > 0, largest, 1)  # squares of tiny atoms do not vanish
    norm = np.linalg.norm(atoms, axis=1, keepdims=True)
    atoms = (atoms / np.where(norm > 0, norm, 1)).astype(np.float32)
    n_found = min(n_neighbors, n_concepts - 1)
    index = np.empty((n_concepts, n_found), dtype=np.int32)
    cosine = np.empty((n_concepts, n_found), dtype=np.float32)
    for block in _blocks(n_concepts):
        values = np.clip(atoms[block] @ atoms.T, -1, 1)
        own = np.arange(values.shape[0])
        values[own, block.start + own] = -np.inf
        index[block], cosine[block] = largest_of(values, n_found)
    return index, cosine


def coactive_concepts(by_concept: sparse.csc_array, n_neighbors: int) -> dict[str, np.ndarray]:
    """Find the concepts that share most active samples, by Jaccard index.

    Parameters
    ----------
    by_concept : csc_array, shape (n_samples, n_concepts)
        Codes; those stored are active.
    n_neighbors : int
        Concepts to find for each.

    Returns
    -------
    dict of ndarray, shapes (n_concepts, n_found)
        ``index`` (int32, -1 where no other concept is left), ``lift`` and ``jaccard`` (float32,
        0 there).
    """
    n_samples, n_concepts = by_concept.shape
    ones = np.ones(by_concept.nnz, dtype=np.int32)
    pattern = sparse.csc_array((ones, by_concept.indices, by_concept.indptr), by_concept.shape)
    n_active = np.diff(by_concept.indptr).astype(np.float64)
    rows = pattern.tocsr()
    n_found = min(n_neighbors, n_concepts - 1)
    index = np.empty((n_concepts, n_found), dtype=np.int32)
    lift = np.empty((n_concepts, n_found), dtype=np.float32)
    jaccard = np.empty((n_concepts, n_found), dtype=np.float32)
    for block in _blocks(n_concepts):
        both = (pattern[:, block].T @ rows).toarray().astype(np.float64)
        either = n_active[block, None] + n_active - both
        shares = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        own = np.arange(shares.shape[0])
        shares[own, block.start + own] = -1
        index[block], found = largest_of(shares, n_found)
        jaccard[block] = np.maximum(found, 0)
        chance = n_active[block, None] * n_active[index[block]]
        common = np.take_along_axis(both, index[block].astype(np.intp), axis=1)
        lift[block] = np.divide(
            n_samples * common, chance, out=np.zeros_like(common), where=chance > 0
        )
    index[jaccard == 0] = -1
    return {"index": index, "lift": lift, "jaccard": jaccard}


def largest_of(values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and values of the n largest of each row, descending."""
    if n == 0:
        return np.empty((values.shape[0], 0), np.intp), np.empty((values.shape[0], 0))
    top = np.sort(np.argpartition(-values, n - 1, axis=1)[:, :n], axis=1)
    found = np.take_along_axis(values, top, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1), np.take_along_axis(found, order, axis=1)


def _blocks(n_concepts: int):
    """Slices over the concepts, of rows that fit into a block."""
    width = max(1, _BLOCK_VALUES // n_concepts)
    for start in range(0, n_concepts, width):
        yield slice(start, min(start + width, n_concepts))
