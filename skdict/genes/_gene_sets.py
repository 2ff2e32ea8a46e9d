"""Gene sets: from a dict or a file, cut to the genes that were measured, as a sparse matrix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._validation import check_integer
from skdict.genes._counts import check_genes
from skdict.genes._gmt import read_gmt
from skdict.genes._name_hint import name_hint


@dataclass(frozen=True)
class GeneSetMatrix:
    """Gene sets as rows of a sparse matrix.

    Attributes
    ----------
    names : ndarray of str, shape (n_sets,)
        Names of the sets.
    members : csr_array of int32, shape (n_sets, n_genes)
        One where a gene belongs to a set.
    """

    names: np.ndarray
    members: sparse.csr_array


def filter_gene_sets(gene_sets, background, *, min_size: int = 10, max_size: int | None = 500):
    """Cut gene sets to the genes that were measured, and keep those of some size.

    Small sets have no power, large ones say little; and a gene that cannot be found must not
    count among those that were not found.

    Parameters
    ----------
    gene_sets : dict of str to iterable of str, or path of a GMT file
        Genes of each set; a gene counts once.
    background : array-like of str, shape (n_genes,)
        The genes that could be found: those that were measured, or that were attributed.
    min_size, max_size : int, default=10 and 500
        Fewest and most genes of a set, counted in the background; `max_size` may be None.

    Returns
    -------
    dict of str to list of str
        The sets that are left, with their genes of the background, in the order given.

    Raises
    ------
    ValueError
        If the sets and the background have no gene in common (the message shows names of both
        and what may be wrong), if no set has such a size, or if names are there twice.

    See Also
    --------
    over_representation : Does this itself.
    read_gmt : Reads the sets.

    Examples
    --------
    >>> from skdict.genes import filter_gene_sets
    >>> sets = {"T cell": ["CD3D", "CD3E", "CD2"], "B cell": ["CD79A"]}
    >>> filter_gene_sets(sets, ["CD3D", "CD3E", "CD79A"], min_size=2)
    {'T cell': ['CD3D', 'CD3E']}
    """
    genes = check_genes(background, np.size(background), "background")
    _check_sizes(min_size, max_size)
    names, lists = _read(gene_sets)
    known = set(genes.tolist())
    lists = [[gene for gene in genes_of_set if gene in known] for genes_of_set in lists]
    kept = _kept(np.array([len(found) for found in lists]), min_size, max_size)
    if not kept.any():
        _refuse(gene_sets, genes, min_size, max_size)
    return {names[place]: lists[place] for place in np.flatnonzero(kept)}


def gene_set_matrix(
    gene_sets, genes: np.ndarray, *, min_size: int, max_size: int | None, background=None
) -> GeneSetMatrix:
    """Gene sets as rows of a sparse matrix over some genes.

    Parameters
    ----------
    gene_sets : dict of str to iterable of str, or path of a GMT file
        Genes of each set.
    genes : ndarray, shape (n_genes,)
        Names of the columns.
    min_size, max_size : int
        Fewest and most genes of a set, counted in the background; `max_size` may be None.
    background : ndarray of bool, shape (n_genes,), or None, default=None
        Columns that count; None means all. The others are empty.

    Returns
    -------
    GeneSetMatrix
        The sets that are left.

    Raises
    ------
    ValueError
        As :func:`filter_gene_sets`.
    """
    _check_sizes(min_size, max_size)
    names, lists = _read(gene_sets)
    counted = np.arange(genes.shape[0]) if background is None else np.flatnonzero(background)
    column = dict(zip(genes[counted].tolist(), counted.tolist()))
    found = [[column[gene] for gene in members if gene in column] for members in lists]
    sizes = np.array([len(columns) for columns in found])
    kept = _kept(sizes, min_size, max_size)
    if not kept.any():
        _refuse(gene_sets, genes[counted], min_size, max_size)
    indices = np.concatenate([found[place] for place in np.flatnonzero(kept)]).astype(np.int32)
    indptr = np.concatenate(([0], np.cumsum(sizes[kept]))).astype(np.int32)
    members = sparse.csr_array(
        (np.ones(indices.shape[0], dtype=np.int32), indices, indptr),
        shape=(int(kept.sum()), genes.shape[0]),
    )
    members.sort_indices()
    return GeneSetMatrix(np.array(names)[kept], members)


def _read(gene_sets) -> tuple[list[str], list[list[str]]]:
    """Names of the sets and the distinct genes of each."""
    if isinstance(gene_sets, (str, os.PathLike)):
        if not Path(gene_sets).is_file():
            raise ValueError(
                "gene_sets must be a dict, or the path of a GMT file that is there, got "
                f"{os.fspath(gene_sets)!r}; libraries are not downloaded by their name: save the "
                "GMT file from their site and pass its path"
            )
        gene_sets = read_gmt(gene_sets)
    if not isinstance(gene_sets, Mapping):
        raise TypeError(
            "gene_sets must be a dict of names to genes or the path of a GMT file, got "
            f"{type(gene_sets).__name__}"
        )
    for name, genes in gene_sets.items():
        if isinstance(genes, (str, bytes)) or not isinstance(genes, Iterable):
            raise TypeError(
                f"gene_sets must hold a list of genes per set, got {genes!r} for {name!r}"
            )
    if not gene_sets:
        raise ValueError("gene_sets must hold at least one set, got none")
    return [str(name) for name in gene_sets], [
        list(dict.fromkeys(genes)) for genes in gene_sets.values()
    ]


def _check_sizes(min_size, max_size) -> None:
    """Raise unless these are sizes."""
    check_integer("min_size", min_size, 1)
    check_integer("max_size", max_size, min_size, none=True)


def _kept(sizes, min_size, max_size) -> np.ndarray:
    """Which sets have an allowed size."""
    return (sizes >= min_size) & (sizes <= (np.inf if max_size is None else max_size))


def _refuse(gene_sets, genes, min_size, max_size):
    """Raise, saying why no set is left."""
    names, lists = _read(gene_sets)
    known = set(genes.tolist())
    sizes = [sum(gene in known for gene in members) for members in lists]
    if max(sizes) > 0:
        most = "or more" if max_size is None else f"to {max_size}"
        raise ValueError(
            f"gene_sets must hold a set with {min_size} {most} of the {len(known)} genes of the "
            f"background: the {len(names)} sets have {min(sizes)} to {max(sizes)}; change min_size "
            "or max_size, or pass all genes that were measured"
        )
    in_sets = sorted({str(gene) for members in lists for gene in members})
    raise ValueError(
        f"gene_sets and the genes of the data have no name in common: the sets hold "
        f"{in_sets[:4]!r}, the data {genes[:4].tolist()!r}; {name_hint(in_sets, genes, 'sets')}"
    )
