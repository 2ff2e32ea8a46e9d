"""A second AnnData, with concepts where genes were."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional
from skdict.interop._read import codes_from_anndata
from skdict.interop._rows import in_memory
from skdict.interop._write import check_rows_of_codes

# Embeddings with no more columns are to be looked at: UMAP, t-SNE, places on a slide.
_MOST_PLOTTED = 3


def concepts_to_anndata(adata, codes=None, *, key="concepts", table=None, names=None, obsm=None):
    """Make an AnnData whose variables are concepts and whose ``X`` are codes.

    AnnData has no axis for concepts. As variables of an object of their own they have names and
    a table of properties, and all of scanpy works on them: ``sc.pl.umap(concepts,
    color="concept_0123")``, ``sc.tl.rank_genes_groups``, ``sc.pl.dotplot``. It can be written,
    and read backed or lazily, which codes in ``obsm`` cannot.

    Parameters
    ----------
    adata : AnnData
        The cells; in memory, backed or lazy. It is not changed.
    codes : array-like or sparse, shape (n_cells, n_concepts), or None, default=None
        Activations. None takes those that :func:`codes_to_anndata` has written under `key`.
    key : str, default="concepts"
        Where the codes and their parameters are in `adata`; ``uns[key]`` is copied.
    table : dict, Bunch, DataFrame or None, default=None
        Properties of the concepts, a column of n_concepts entries each (selectivity, labels,
        enriched sets): they go into ``var``.
    names : array-like of str, shape (n_concepts,), or None, default=None
        Names of the concepts; None makes ``concept_0000`` and so on.
    obsm : sequence of str or None, default=None
        Keys of ``obsm`` to take along. None takes those that are plotted: dense, with at most
        three columns (UMAP, t-SNE, places on a slide).

    Returns
    -------
    AnnData
        In memory: ``X`` are the codes (CSR, not copied), ``obs`` is a copy of that of `adata`,
        ``var`` has ``n_active_cells``, the number of non-zero codes, and
        ``mean_activation``, their mean (NaN without any), followed by `table`. Colours of
        categories (``uns["..._colors"]``) come along.

    Raises
    ------
    ImportError
        Without AnnData: install ``skdict[anndata]``.
    ValueError
        If there are no codes, their rows are not the cells, a column of `table` has a wrong
        length or a name that is taken, or names are not unique.

    Notes
    -----
    Codes of a pursuit may be negative. Functions that expect counts or their logarithms, such as
    fold changes of ``rank_genes_groups``, do not know this.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from skdict.interop import concepts_to_anndata
    >>> adata = anndata.AnnData(np.ones((3, 2)), obsm={"X_umap": np.zeros((3, 2))})
    >>> adata.obs["cell_type"] = ["T", "B", "T"]
    >>> codes = np.array([[0.5, 0.0], [0.0, 0.0], [1.5, 0.0]])
    >>> concepts = concepts_to_anndata(adata, codes, table={"label": ["T cells", "dead"]})
    >>> concepts.var_names.tolist(), list(concepts.obsm), list(concepts.obs)
    (['concept_0', 'concept_1'], ['X_umap'], ['cell_type'])
    >>> concepts.var["label"].tolist(), concepts.var["mean_activation"].tolist()
    (['T cells', 'dead'], [1.0, nan])
    """
    anndata = import_optional("anndata", extra="anndata")
    codes = codes_from_anndata(adata, key=key) if codes is None else codes
    codes = check_rows_of_codes(codes, adata.n_obs)
    uns = {key: adata.uns[key]} if key in adata.uns else {}
    uns |= {name: value for name, value in adata.uns.items() if name.endswith("_colors")}
    return anndata.AnnData(
        codes,
        obs=_in_pandas(adata.obs),
        var=_concept_table(codes, names, table),
        obsm={name: _copied(adata.obsm[name]) for name in _plotted(adata, obsm)},
        uns={name: _copied(value) for name, value in uns.items()},
    )


def _concept_table(codes, names, table):
    """Table of the concepts, by their names."""
    pandas = import_optional("pandas", extra="io")
    n_concepts = codes.shape[1]
    if names is None:
        width = len(str(max(n_concepts - 1, 0)))
        names = [f"concept_{i:0{width}d}" for i in range(n_concepts)]
    names = np.array(names, dtype=str)
    if names.shape != (n_concepts,) or np.unique(names).size < n_concepts:
        raise ValueError(
            f"names must be {n_concepts} different names, one per concept, got shape {names.shape} "
            f"with {np.unique(names).size} different ones"
        )
    n_active = np.bincount(codes.indices[codes.data != 0], minlength=n_concepts)
    total = np.bincount(codes.indices, weights=codes.data, minlength=n_concepts)
    mean = np.divide(total, n_active, out=np.full(n_concepts, np.nan), where=n_active > 0)
    columns = {"n_active_cells": n_active, "mean_activation": mean}
    for name in [] if table is None else table:
        values = np.asarray(table[name])
        if values.shape != (n_concepts,) or name in columns:
            raise ValueError(
                f"table must have one entry per concept in columns of their own, {n_concepts}, got "
                f"{name!r} of shape {values.shape}"
                + (", a name that is taken" if name in columns else "")
            )
        columns[name] = values
    return pandas.DataFrame(columns, index=names)


def _plotted(adata, obsm) -> list[str]:
    """Keys of obsm to take along."""
    if obsm is not None:
        absent = [name for name in obsm if name not in adata.obsm]
        if absent:
            raise ValueError(
                f"obsm has no {absent[0]!r}; it holds "
                f"{', '.join(map(repr, adata.obsm.keys())) or 'nothing'}"
            )
        return list(obsm)
    return [name for name, value in adata.obsm.items() if _is_plotted(value)]


def _is_plotted(value) -> bool:
    """Whether an entry of obsm is a dense array of few columns."""
    dense = isinstance(in_memory(value[:1]), np.ndarray) if hasattr(value, "dtype") else False
    return dense and len(value.shape) == 2 and value.shape[1] <= _MOST_PLOTTED


def _in_pandas(obs):
    """Annotation of the cells as a DataFrame of its own; lazy ones are read."""
    return obs.to_memory() if hasattr(obs, "to_memory") else obs.copy()


def _copied(value):
    """Unstructured annotation, nested or not, in memory and on its own."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {name: _copied(inner) for name, inner in value.items()}
    value = in_memory(value)
    return value.copy() if hasattr(value, "copy") else value
