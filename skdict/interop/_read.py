"""Counts, embeddings, codes and attributions out of an AnnData."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict._validation import check_integer
from skdict.genes._concepts import check_embeddings
from skdict.interop._counts import as_counts, first_wrong
from skdict.interop._places import genes_of, not_counts, place_of
from skdict.interop._rows import as_csr, in_memory, iter_rows, stack_rows


def counts_from_anndata(
    adata, *, layer=None, raw=False, genes=None, gene_key=None, block_rows=4096
) -> Bunch:
    """Read raw counts of an AnnData, and make sure that they are that.

    Parameters
    ----------
    adata : AnnData
        In memory, backed (``read_h5ad(path, backed="r")``) or lazy
        (``anndata.experimental.read_lazy``). It is not changed. Of a view into a backed file
        AnnData reads at once what the view shows.
    layer : str or None, default=None
        Layer that holds the counts; None takes ``X``.
    raw : bool, default=False
        Take ``adata.raw``, with its own genes, instead.
    genes : array-like of str, shape (n_chosen,), or None, default=None
        Genes to take, in this order, such as those that an embedding model knows; None takes
        all.
    gene_key : str or None, default=None
        Column of ``var`` with the names of the genes; None takes ``var_names``.
    block_rows : int, default=4096
        Cells checked at a time, and read at a time where they are not in memory.

    Returns
    -------
    Bunch
        counts : csr_array, shape (n_cells, n_genes)
            The counts, sorted indices, float32 (float64 where a count is beyond 2**24). They may
            share memory with `adata`.
        genes : ndarray of str, shape (n_genes,)
            Names of the genes, unique.
        cells : ndarray of str, shape (n_cells,)
            ``obs_names``.

    Raises
    ------
    ValueError
        If a value is no whole number of at least 0: the message says what the values look like and
        where else counts seem to be. If there is no such layer or column, names of genes are
        missing or there twice, or one of `genes` is not among them.

    See Also
    --------
    iter_counts : The same in blocks, for counts that do not fit into memory.

    Examples
    --------
    >>> import anndata
    >>> from skdict.datasets import load_pbmc
    >>> from skdict.interop import counts_from_anndata
    >>> pbmc = load_pbmc()
    >>> adata = anndata.AnnData(pbmc.counts.log1p(), layers={"counts": pbmc.counts})
    >>> adata.var_names = pbmc.genes
    >>> counts_from_anndata(adata, layer="counts", genes=["CD3D", "CD79A"]).counts.shape
    (1500, 2)
    >>> counts_from_anndata(adata)
    Traceback (most recent call last):
        ...
    ValueError: X holds no raw counts: value 0.693147 of gene 'SYTL1' in row 0 (cell '0') is no
    whole number of at least 0; the values are the logarithm of counts; counts seem to be
    elsewhere: pass layer='counts'
    """
    names = genes_of(adata, raw, genes, gene_key)[0]
    blocks = iter_counts(
        adata, layer=layer, raw=raw, genes=genes, gene_key=gene_key, block_rows=block_rows
    )
    element = place_of(adata, layer, raw)[1]
    if genes is None and sparse.issparse(element):
        for _ in blocks:  # only looked at: they need not be put together again
            pass
        counts = as_counts(as_csr(element))
    else:
        counts = stack_rows([counts for _, counts in blocks])
    return Bunch(counts=counts, genes=names, cells=np.array(adata.obs_names, dtype=str))


def iter_counts(adata, *, layer=None, raw=False, genes=None, gene_key=None, block_rows=4096):
    """Read raw counts of an AnnData in blocks of cells, and make sure that they are that.

    Parameters
    ----------
    adata : AnnData
        As in :func:`counts_from_anndata`.
    layer, raw, genes, gene_key : object
        As in :func:`counts_from_anndata`.
    block_rows : int, default=4096
        Most cells in a block. A lazy AnnData is read chunk by chunk, and its chunks cut further
        where they are larger.

    Returns
    -------
    generator
        Gives pairs of ``rows``, the cells of a block as slice, and ``counts``, their counts as
        csr_array of shape (n_block_cells, n_genes).

    Raises
    ------
    ValueError
        As :func:`counts_from_anndata`; about a value that is no count when its block is read.

    Warns
    -----
    UserWarning
        If counts that are not in memory are stored by genes (CSC), so that all of them have to be
        read at once.

    Examples
    --------
    >>> import anndata
    >>> from skdict.datasets import load_pbmc
    >>> from skdict.interop import iter_counts
    >>> adata = anndata.AnnData(load_pbmc().counts)
    >>> [counts.shape for rows, counts in iter_counts(adata, block_rows=600)]
    [(600, 2000), (600, 2000), (300, 2000)]
    """
    check_integer("block_rows", block_rows, 1)
    columns = genes_of(adata, raw, genes, gene_key)[1]
    if adata.n_obs == 0:
        raise ValueError("adata must have at least one cell")
    return _checked_blocks(adata, *place_of(adata, layer, raw), columns, block_rows)


def _checked_blocks(adata, place: str, element, columns, block_rows: int):
    """Rows and counts of each block."""
    for rows, block in iter_rows(element, block_rows):
        csr = as_csr(block)
        wrong = first_wrong(csr)
        if wrong is not None:
            raise ValueError(not_counts(adata, place, rows.start, wrong, csr))
        yield rows, as_counts(csr if columns is None else as_csr(csr[:, columns]))


def embed_anndata(
    adata, embed, *, layer=None, raw=False, genes=None, gene_key=None, block_rows=1024
) -> np.ndarray:
    """Embed the cells of an AnnData, block by block.

    Parameters
    ----------
    adata : AnnData
        As in :func:`counts_from_anndata`.
    embed : callable
        ``embed(counts)`` gives the embeddings (n_block_cells, n_features) of a dense float32 block
        of counts, as array or tensor. Normalisation, binning and the like are its business. It
        has to give a cell the same embedding whichever cells are beside it.
    layer, raw, genes, gene_key : object
        As in :func:`counts_from_anndata`.
    block_rows : int, default=1024
        Most cells at a time: with 20,000 genes a block of 1,024 cells takes 82 MB.

    Returns
    -------
    ndarray, shape (n_cells, n_features)
        The embeddings, in the floating-point type that `embed` gives for the first block.

    Raises
    ------
    ValueError
        As :func:`counts_from_anndata`, or if `embed` gives a wrong number of rows, another number
        of features than before, NaN or infinity.

    Examples
    --------
    >>> import anndata
    >>> from skdict.datasets import load_pbmc
    >>> from skdict.interop import embed_anndata
    >>> adata = anndata.AnnData(load_pbmc().counts)
    >>> embed_anndata(adata, lambda counts: counts[:, :3] + 0.5).shape
    (1500, 3)
    """
    embeddings = np.empty((0, 0))
    where = {"layer": layer, "raw": raw, "genes": genes, "gene_key": gene_key}
    for rows, counts in iter_counts(adata, **where, block_rows=block_rows):
        block = check_embeddings(embed(counts.toarray().astype(np.float32)), "what embed returns")
        if rows.start == 0:
            embeddings = np.empty((adata.n_obs, block.shape[1]), block.dtype)
        expected = (counts.shape[0], embeddings.shape[1])
        if block.shape != expected:
            raise ValueError(
                f"embed must return shape {expected} for cells {rows.start} to {rows.stop - 1}, "
                f"got {block.shape}"
            )
        embeddings[rows] = block
    return embeddings


def embeddings_from_anndata(adata, key) -> np.ndarray:
    """Read embeddings out of ``obsm``.

    Parameters
    ----------
    adata : AnnData
        In memory, backed or lazy.
    key : str
        Key in ``obsm``, such as ``"X_scvi"``.

    Returns
    -------
    ndarray, shape (n_cells, n_features)
        The embeddings, float32 or float64. They may share memory with `adata`.

    Raises
    ------
    TypeError
        If they are sparse.
    ValueError
        If there is no such key, or they are not two-dimensional, NaN or infinite.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from skdict.interop import embeddings_from_anndata
    >>> adata = anndata.AnnData(obsm={"X_pca": np.ones((3, 2), np.float32)}, shape=(3, 0))
    >>> embeddings_from_anndata(adata, "X_pca").shape
    (3, 2)
    """
    element = in_memory(_entry(adata, "obsm", key))
    element = element.to_numpy() if hasattr(element, "to_numpy") else element
    return check_embeddings(element, f"obsm[{key!r}]")


def codes_from_anndata(adata, *, key="concepts") -> sparse.csr_array:
    """Read codes that :func:`codes_to_anndata` has written.

    Parameters
    ----------
    adata : AnnData
        In memory, backed or lazy.
    key : str, default="concepts"
        Name that the codes were written under.

    Returns
    -------
    csr_array, shape (n_cells, n_concepts)
        The codes: a CSR array with sorted indices of 32 bits (64 where there are more than 2**31
        of them), whether AnnData hands out arrays or matrices.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skdict.interop import codes_from_anndata, codes_to_anndata
    >>> adata = anndata.AnnData(np.ones((3, 2)))
    >>> codes_to_anndata(adata, sparse.csr_array(np.eye(3)))
    >>> codes_from_anndata(adata).nnz
    3
    """
    return as_csr(in_memory(_entry(adata, "obsm", f"X_{key}")))


def attributions_from_anndata(adata, *, key="concepts", what="attribution") -> Bunch:
    """Read attributions that :func:`attributions_to_anndata` has written.

    Parameters
    ----------
    adata : AnnData
        In memory, backed or lazy.
    key : str, default="concepts"
        Name that they were written under.
    what : str, default="attribution"
        Which array: ``"attribution"``, or another that was written, such as
        ``"standard_error"``.

    Returns
    -------
    Bunch
        An entry named `what`, csr_array of shape (n_attributed, n_genes), with ``concepts``, their
        numbers, and ``genes``, the names of the genes that were attributed. A gene without an entry
        has exactly zero.

    Raises
    ------
    ValueError
        If there are none.

    Examples
    --------
    See :func:`attributions_to_anndata`.
    """
    columns = as_csr(in_memory(_entry(adata, "varm", f"{key}_{what}")))
    attributed = np.asarray(adata.var[f"{key}_attributed"]).astype(bool)
    names = np.array(adata.var_names, dtype=str)
    return Bunch(
        **{what: as_csr(columns[np.flatnonzero(attributed)].T)},
        concepts=np.asarray(in_memory(adata.uns[key]["attributed_concepts"])),
        genes=names[attributed],
    )


def _entry(adata, name: str, key: str):
    """Entry of obsm or varm; raise ValueError with the keys that there are."""
    mapping = getattr(adata, name)
    if key not in mapping:
        there = ", ".join(map(repr, mapping.keys())) or "nothing"
        raise ValueError(f"{name} has no {key!r}; it holds {there}")
    return mapping[key]
