"""Where an AnnData may hold counts, and the names of its genes."""

from __future__ import annotations

import numpy as np

from skdict._units import is_missing
from skdict._validation import check_boolean_or
from skdict.interop._counts import what_values_are, where_counts_are


def place_of(adata, layer, raw):
    """Name and element of the place to read counts from.

    Parameters
    ----------
    adata : AnnData
        What is read.
    layer : str or None
        Layer.
    raw : bool
        Whether ``adata.raw``.

    Returns
    -------
    name : str
        ``"X"``, ``"raw.X"`` or ``"layers['...']"``.
    element : object
        What lies there.

    Raises
    ------
    ValueError
        If nothing does.
    """
    check_boolean_or("raw", raw, ())
    if raw and layer is not None:
        raise ValueError(f"raw has no layers: pass raw=True or layer={layer!r}, not both")
    if raw and adata.raw is None:
        raise ValueError("raw=True, but adata.raw is None")
    if layer is not None and layer not in adata.layers:
        there = ", ".join(map(repr, adata.layers.keys())) or "none"
        raise ValueError(f"layer must be one of adata's, got {layer!r}; there are {there}")
    name = "raw.X" if raw else "X" if layer is None else f"layers[{layer!r}]"
    places = _places(adata)
    if name not in places:
        raise ValueError(f"{name} is None: pass layer=... or raw=True for what holds the counts")
    return name, places[name][1]


def _places(adata) -> dict:
    """Element of each place that is there, and what to pass for it."""
    raw = None if adata.raw is None else adata.raw.X
    places = {"X": ("layer=None", adata.X), "raw.X": ("raw=True", raw)}
    for layer in adata.layers.keys():
        places[f"layers[{layer!r}]"] = f"layer={layer!r}", adata.layers[layer]
    return {name: place for name, place in places.items() if place[1] is not None}


def not_counts(adata, name: str, first_row: int, wrong, block) -> str:
    """Say what is wrong with the values at a place, and where to look instead.

    Parameters
    ----------
    adata : AnnData
        What is read.
    name : str
        The place.
    first_row : int
        First row of the block.
    wrong : tuple of (int, int, object)
        Row in the block, column and value of what is no count.
    block : csr_array
        The block.

    Returns
    -------
    str
        The message.
    """
    row, column, value = wrong
    genes = (adata.raw if name == "raw.X" else adata).var_names
    others = {what: element for other, (what, element) in _places(adata).items() if other != name}
    return (
        f"{name} holds no raw counts: value {value:.6g} of gene {str(genes[column])!r} in row "
        f"{first_row + row} (cell {str(adata.obs_names[first_row + row])!r}) is no whole number of "
        f"at least 0; the values are {what_values_are(block)}; {where_counts_are(others)}"
    )


def genes_of(adata, raw, genes, gene_key):
    """Names of the genes to take, and their columns.

    Parameters
    ----------
    adata : AnnData
        What is read.
    raw : bool
        Whether from ``adata.raw``.
    genes : array-like of str or None
        Genes to take; None for all.
    gene_key : str or None
        Column of ``var`` with the names; None for ``var_names``.

    Returns
    -------
    names : ndarray of str
        The names.
    columns : ndarray of int, or None
        Their columns; None for all.

    Raises
    ------
    ValueError
        If there is no such column, names are missing or there twice, or genes are not there.
    """
    holder = adata.raw if raw is True and adata.raw is not None else adata
    names, what = holder.var_names, "var_names"
    if gene_key is not None:
        if gene_key not in holder.var.columns:
            there = ", ".join(map(repr, holder.var.columns)) or "none"
            raise ValueError(
                f"gene_key must be a column of var, got {gene_key!r}; there are {there}"
            )
        names, what = holder.var[gene_key], f"var[{gene_key!r}]"
    names = check_genes(names, what)
    if genes is None:
        return names, None
    wanted = check_genes(genes, "genes")
    return wanted, locate_genes(wanted, names)


def locate_genes(wanted, names) -> np.ndarray:
    """Positions of some genes; raise ValueError for those that are not there.

    Parameters
    ----------
    wanted, names : ndarray of str
        What is looked for, and where.

    Returns
    -------
    ndarray of int, shape (n_wanted,)
        Positions in `names`.
    """
    place = {name: i for i, name in enumerate(names.tolist())}
    absent = [name for name in wanted.tolist() if name not in place]
    if absent:
        raise ValueError(
            f"{len(absent)} of {wanted.size} genes are not in adata, such as "
            f"{', '.join(map(repr, absent[:5]))}; it has names such as "
            f"{', '.join(map(repr, names[:5].tolist()))}: symbols and Ensembl identifiers, upper "
            "and lower case are told apart, and gene_key takes another column of var"
        )
    return np.array([place[name] for name in wanted.tolist()], dtype=np.intp)


def check_genes(names, what: str) -> np.ndarray:
    """Names as strings; raise ValueError where one is missing or there twice."""
    values = np.asarray(names)
    if values.dtype.kind == "T":  # NumPy's strings of any length, which zarr gives
        values = values.astype(object)
    n_missing = np.count_nonzero(is_missing(values))
    if n_missing:
        raise ValueError(f"{what} must name every gene, but {n_missing} names are missing")
    values = values.astype(str)
    unique, counts = np.unique(values, return_counts=True)
    if unique.size < values.size:
        several = counts > 1
        pairs = zip(unique[several].tolist(), counts[several].tolist())
        twice = [f"{name!r} ({count} times)" for name, count in pairs]
        raise ValueError(
            f"{what} must be unique, but {len(twice)} names are there more than once: "
            f"{', '.join(twice[:5])}{', ...' if len(twice) > 5 else ''}. Call "
            "adata.var_names_make_unique(), or pass gene_key=... of a column with unique "
            "identifiers"
        )
    return values
