"""Counts of cells by genes: checked, and a few rows of them at a time."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._units import is_missing
from skdict._validation import host_array
from skdict.genes._name_hint import name_hint

# Values of one block of rows.
_BLOCK_VALUES = 1 << 24


class Counts:
    """Cells by genes, sparse or dense, never copied as a whole.

    Parameters
    ----------
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Counts; a dense memory map is read in blocks.

    Raises
    ------
    ValueError
        If X is not two-dimensional, empty, no real numbers, or has negative, NaN or infinite
        values.
    """

    def __init__(self, X):
        if sparse.issparse(X):
            X = sparse.csr_array(X)
            if not X.has_canonical_format:
                X = X.copy()  # the caller's matrix stays as it is
                X.sum_duplicates()
        else:
            X = host_array(X)
            X = X if hasattr(X, "shape") and hasattr(X, "dtype") else np.asarray(X)
        if len(X.shape) != 2 or 0 in X.shape:
            raise ValueError(
                f"X must have shape (n_cells, n_genes) and not be empty, got shape {X.shape}"
            )
        if np.dtype(X.dtype).kind not in "fiub":
            raise ValueError(f"X must hold real numbers, got dtype {X.dtype}")
        self.X = X
        self.n_cells, self.n_genes = X.shape
        self._mean = None
        if sparse.issparse(X):
            _check_values(X.data, "X")

    def rows(self, cells, dtype=np.float64) -> np.ndarray:
        """Dense rows of some cells, shape (n_taken, n_genes)."""
        cells = np.asarray(cells, dtype=np.intp)
        if sparse.issparse(self.X):
            return self.X[cells].toarray().astype(dtype, copy=False)
        rows = np.array(self.X[cells], dtype=dtype)
        _check_values(rows, "X")
        return rows

    def depth(self, cells) -> np.ndarray:
        """Total count of some cells, in float64; raise where a cell has none."""
        cells = np.asarray(cells, dtype=np.intp)
        width = max(1, _BLOCK_VALUES // self.n_genes)
        total = np.empty(cells.shape[0])
        for start in range(0, cells.shape[0], width):
            block = cells[start : start + width]
            if sparse.issparse(self.X):
                total[start : start + width] = self.X[block].sum(axis=1, dtype=np.float64)
            else:
                total[start : start + width] = self.rows(block).sum(axis=1)
        if not total.all():
            raise ValueError(
                f"X must have counts in every cell that is used: cell {cells[total == 0][0]} has "
                "none; leave it out"
            )
        return total

    def mean(self) -> np.ndarray:
        """Mean count of every gene over all cells, shape (n_genes,)."""
        if self._mean is None:
            if sparse.issparse(self.X):
                total = self.X.sum(axis=0, dtype=np.float64)
            else:
                total, width = 0, max(1, _BLOCK_VALUES // self.n_genes)
                for start in range(0, self.n_cells, width):
                    total = total + self.rows(
                        np.arange(start, min(start + width, self.n_cells))
                    ).sum(axis=0)
            self._mean = np.asarray(total).ravel() / self.n_cells
        return self._mean


def check_genes(genes, n_genes: int, of: str = "X") -> np.ndarray:
    """Return names of the genes; their numbers for None.

    Parameters
    ----------
    genes : array-like, shape (n_genes,), or None
        The names.
    n_genes : int
        Number of columns that are genes.
    of : str, default="X"
        Name of the parameter with these columns, for the message.

    Returns
    -------
    ndarray, shape (n_genes,)
        The names.

    Raises
    ------
    ValueError
        If the number is wrong, a name is missing, or a name is there twice.
    """
    if genes is None:
        return np.arange(n_genes)
    n_missing = np.count_nonzero(is_missing(genes))
    genes = _strings(genes)
    if genes.shape != (n_genes,):
        raise ValueError(
            f"genes must name the {n_genes} columns of {of}, got an array of shape {genes.shape}"
        )
    if n_missing:
        raise ValueError(f"genes must name every column of {of}, but {n_missing} names are missing")
    names, counts = np.unique(genes, return_counts=True)
    if names.shape[0] < n_genes:
        twice = names[counts > 1].tolist()
        raise ValueError(
            f"genes must be unique, but {len(twice)} names are there more than once, for example "
            f"{twice[:5]!r}; make them unique (AnnData.var_names_make_unique) or add up their "
            "counts"
        )
    return genes


def locate_genes(wanted, genes: np.ndarray, name: str) -> np.ndarray:
    """Columns of some genes, given by name or as a mask over all; raise where one is unknown."""
    wanted = _strings(wanted)
    if wanted.dtype == np.bool_:
        if wanted.shape != genes.shape:
            raise ValueError(
                f"{name} must have one entry per gene as a mask: got shape {wanted.shape} for "
                f"{genes.shape[0]} genes"
            )
        columns = np.flatnonzero(wanted)
    else:
        columns = _columns_of(np.atleast_1d(wanted), genes, name)
    if columns.size == 0:
        raise ValueError(f"{name} must name at least one gene, got none")
    if np.unique(columns).size < columns.size:
        raise ValueError(f"{name} must name each gene once")
    return columns


def _strings(names) -> np.ndarray:
    """Names as an array; objects and strings of other types as NumPy's own strings."""
    names = np.asarray(names)
    if names.dtype.kind in ("O", "T") and all(isinstance(name, str) for name in names.ravel()):
        return names.astype(str)
    return names


def _columns_of(wanted, genes, name) -> np.ndarray:
    """Columns of genes given by name."""
    order = np.argsort(genes, kind="stable")
    if wanted.dtype.kind != genes.dtype.kind and wanted.size:
        known, got = genes.tolist()[0], wanted.tolist()[0]
        raise ValueError(f"{name} must hold names of genes such as {known!r}, got {got!r}")
    place = np.searchsorted(genes[order], wanted).clip(max=genes.shape[0] - 1)
    columns = order[place]
    unknown = genes[columns] != wanted
    if unknown.any():
        names = [str(gene) for gene in wanted]
        hint = f"; {name_hint(names, genes, 'names')}" if unknown.all() else ""
        raise ValueError(
            f"{name} must hold names of genes: {np.count_nonzero(unknown)} of {wanted.size} are "
            f"not there, for example {wanted[unknown][:5].tolist()!r}{hint}"
        )
    return columns


def _check_values(values, name: str) -> None:
    """Raise where a count is negative, NaN or infinite."""
    if values.size and not (values.min() >= 0 and np.isfinite(values.max())):
        raise ValueError(
            f"{name} must hold counts: no negative, NaN or infinite values; pass the raw counts, "
            "normalisation belongs into embed"
        )
