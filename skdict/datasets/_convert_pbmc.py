"""Convert the cells behind `load_pbmc` to the ``.npz`` file of ``skdict/datasets/data``.

Run as ``python -m skdict.datasets._convert_pbmc SOURCE.h5ad OUT.npz``; it prints the SHA-256 that
`skdict.datasets._shipped` has to know. No count is changed. Stored are, gene by gene, the cells
that have a count as gaps from one to the next, low and high bytes apart, and the counts in one
byte each: what a deflate stream makes small.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from scipy import sparse

from skdict._validation import import_optional

LABELS = ("cell_type", "cell_group", "split")


def pack_counts(counts) -> dict:
    """Return the members that hold a matrix of counts.

    Parameters
    ----------
    counts : sparse, shape (n_cells, n_genes)
        Whole numbers from 0 to 255, of fewer than 65,536 cells.

    Returns
    -------
    dict of ndarray
        ``counts.values``, ``counts.gaps`` and ``counts.n_per_gene``.

    Raises
    ------
    ValueError
        If a count is no whole number or does not fit into a byte, or there are too many cells.
    """
    columns = sparse.csc_array(counts, copy=True)
    columns.sum_duplicates()
    columns.eliminate_zeros()
    values = columns.data.astype(np.uint8)
    if not np.array_equal(values, columns.data):
        raise ValueError("counts must be whole numbers from 0 to 255")
    if columns.shape[0] >= 1 << 16:
        raise ValueError(f"counts must have fewer than 65,536 cells, got {columns.shape[0]}")
    n_per_gene = np.diff(columns.indptr)
    gaps = np.diff(columns.indices, prepend=-1)
    first = columns.indptr[:-1][n_per_gene > 0]
    gaps[first] = columns.indices[first] + 1
    return {
        "counts.values": values,
        "counts.gaps": np.stack([gaps & 255, gaps >> 8]).astype(np.uint8),
        "counts.n_per_gene": n_per_gene.astype(np.uint16),
    }


def unpack_counts(members) -> sparse.csr_array:
    """Return the counts that `pack_counts` has packed, as float32.

    Parameters
    ----------
    members : mapping of str to ndarray
        Holds what `pack_counts` returned, and ``cells``, which has an entry per cell.

    Returns
    -------
    csr_array, shape (n_cells, n_genes)
        The counts.
    """
    n_per_gene = members["counts.n_per_gene"]
    indptr = np.concatenate([[0], np.cumsum(n_per_gene)]).astype(np.int32)
    low, high = members["counts.gaps"].astype(np.int32)
    # Within a gene the cells are the sums of its gaps, starting before the first cell.
    total = np.concatenate([[0], np.cumsum(low + 256 * high)])
    cells = total[1:] - np.repeat(total[indptr[:-1]], n_per_gene) - 1
    columns = sparse.csc_array(
        (members["counts.values"].astype(np.float32), cells.astype(np.int32), indptr),
        shape=(members["cells"].shape[0], n_per_gene.shape[0]),
    )
    return sparse.csr_array(columns)


def convert(source, out) -> str:
    """Write the ``.npz`` file of the shipped cells.

    Parameters
    ----------
    source : path
        The ``.h5ad`` file to read; see ``DESCR`` of the loaded set.
    out : path
        The ``.npz`` file to write.

    Returns
    -------
    str
        SHA-256 of the file written.
    """
    cells = import_optional("anndata", extra="anndata").read_h5ad(source)
    members = pack_counts(cells.X)
    # Text as UTF-8 of fixed width, which takes a quarter of the place of NumPy's own.
    members["genes"] = np.char.encode(np.array(cells.var_names, dtype=str))
    members["ensembl"] = np.char.encode(np.array(cells.var["ensembl"], dtype=str))
    members["cells"] = np.char.encode(np.array(cells.obs_names, dtype=str))
    n_counts = np.asarray(cells.obs["n_counts_all_genes"])
    members["n_counts"] = n_counts.astype(np.int32)
    if not np.array_equal(members["n_counts"], n_counts):
        raise ValueError(f"n_counts_all_genes of {source} must be whole numbers")
    for name in LABELS:
        categories, codes = np.unique(np.array(cells.obs[name], dtype=str), return_inverse=True)
        members[f"categories.{name}"] = np.char.encode(categories)
        members[f"codes.{name}"] = codes.astype(np.uint8)
    with Path(out).open("wb") as file:
        np.savez_compressed(file, **members)
    return hashlib.sha256(Path(out).read_bytes()).hexdigest()


def main(argv=None) -> None:
    """Run the conversion from the command line."""
    parser = argparse.ArgumentParser(prog="python -m skdict.datasets._convert_pbmc")
    parser.add_argument("source", help=".h5ad file to read")
    parser.add_argument("out", help=".npz file to write")
    arguments = parser.parse_args(argv)
    print(convert(arguments.source, arguments.out))


if __name__ == "__main__":
    main()
