"""Codes, attributions and parameters into an AnnData."""

from __future__ import annotations

import json

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skdict.interop._places import check_genes, genes_of, locate_genes
from skdict.interop._rows import as_csr


def codes_to_anndata(adata, codes, *, key="concepts", pipeline=None, params=None) -> None:
    """Write codes into ``obsm``, and what made them into ``uns``.

    Parameters
    ----------
    adata : AnnData
        What is written to, in place; in memory, backed or lazy. ``obsm`` of a backed AnnData is in
        memory: writing changes no file.
    codes : array-like or sparse, shape (n_cells, n_concepts)
        Activations, such as ``pipeline.transform`` gives. An entry of explicit zero is kept.
    key : str, default="concepts"
        The codes become ``obsm["X_" + key]``, a CSR array. Codes that are there already are
        replaced, attributions stay.
    pipeline : estimator or None, default=None
        The fitted dictionary or pipeline. ``uns[key]`` then holds its settings as JSON
        (``"parameters"``) and its fitted arrays by step (``"arrays"``), components and whitening
        among them. To transform further cells keep the pipeline itself.
    params : dict or None, default=None
        Further settings for the JSON: the key of the embeddings, the layer of the counts.

    Raises
    ------
    ValueError
        If `adata` is a view, or the codes have another number of rows, NaN or infinity.

    See Also
    --------
    concepts_to_anndata : A second AnnData with a variable per concept: for scanpy, and for more
        codes than should be in memory with every other use of `adata`.

    Examples
    --------
    >>> import anndata
    >>> import json
    >>> import numpy as np
    >>> from skdict import TopKSAE
    >>> from skdict.interop import codes_to_anndata
    >>> X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    >>> adata = anndata.AnnData(obsm={"X_pca": X}, shape=(60, 0))
    >>> sae = TopKSAE(8, n_nonzero_coefs=2, max_steps=5, random_state=0).fit(X)
    >>> codes_to_anndata(adata, sae.transform(X), pipeline=sae, params={"use_rep": "X_pca"})
    >>> adata.obsm["X_concepts"].shape, adata.uns["concepts"]["arrays"]["TopKSAE"]["encoder_"].shape
    ((60, 8), (8, 4))
    >>> parameters = json.loads(adata.uns["concepts"]["parameters"])
    >>> parameters["use_rep"], parameters["pipeline"]["TopKSAE"]["n_nonzero_coefs"]
    ('X_pca', 2)
    """
    check_no_view(adata)
    codes = check_rows_of_codes(codes, adata.n_obs)
    from skdict._version import __version__

    about = dict(params or {}, skdict=__version__)
    entry = {"n_concepts": codes.shape[1]}
    if pipeline is not None:
        steps = _steps(pipeline)
        about["pipeline"] = {name: step.get_params(deep=False) for name, step in steps.items()}
        entry["arrays"] = {name: _fitted_arrays(step) for name, step in steps.items()}
    entry["parameters"] = json.dumps(about, default=_plain)
    before = adata.uns.get(key, {})
    if "attributed_concepts" in before:  # belongs to what stays in varm
        entry["attributed_concepts"] = before["attributed_concepts"]
    adata.obsm[f"X_{key}"] = codes
    adata.uns[key] = entry


def attributions_to_anndata(
    adata, attribution, *, key="concepts", what=("attribution",), gene_key=None
) -> None:
    """Write attributions of concepts to genes into ``varm``.

    Parameters
    ----------
    adata : AnnData
        What is written to, in place.
    attribution : GeneAttribution or Bunch
        Has ``genes``, the genes that were attributed, ``concepts``, the numbers of the concepts,
        and arrays of shape (n_attributed, n_genes), sparse or dense.
    key : str, default="concepts"
        Each array becomes ``varm[key + "_" + name]``, CSR of shape (n_vars, n_attributed).
        ``var[key + "_attributed"]`` marks the genes that were attributed: of these, one without an
        entry has exactly zero. ``uns[key]["attributed_concepts"]`` has the concepts.
    what : sequence of str, default=("attribution",)
        Names of the arrays, such as ``"standard_error"`` beside it.
    gene_key : str or None, default=None
        Column of ``var`` with the names that ``attribution.genes`` has; None for ``var_names``.

    Raises
    ------
    ValueError
        If `adata` is a view, genes are there twice or not in `adata`, or an array has a wrong
        shape.

    Examples
    --------
    >>> import anndata
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from skdict.interop import attributions_from_anndata, attributions_to_anndata
    >>> adata = anndata.AnnData(np.ones((2, 4)))
    >>> adata.var_names = ["LYZ", "CD3D", "GNLY", "MS4A1"]
    >>> found = Bunch(genes=["GNLY", "LYZ"], concepts=[5], attribution=np.array([[0.2, 0.0]]))
    >>> attributions_to_anndata(adata, found)
    >>> adata.varm["concepts_attribution"].shape, adata.var["concepts_attributed"].tolist()
    ((4, 1), [True, False, True, False])
    >>> attributions_from_anndata(adata).attribution.toarray()
    array([[0. , 0.2]])
    """
    check_no_view(adata)
    names, _ = genes_of(adata, False, None, gene_key)
    genes = check_genes(attribution.genes, "attribution.genes")
    place = locate_genes(genes, names)
    concepts = np.asarray(attribution.concepts)
    columns = {}
    for name in what:
        rows = as_csr(attribution[name])
        if rows.shape != (concepts.size, genes.size):
            raise ValueError(
                f"attribution.{name} must have a row per concept and a column per gene, "
                f"{(concepts.size, genes.size)}, got shape {rows.shape}"
            )
        entries = rows.tocoo()
        shape = (names.size, concepts.size)
        columns[name] = sparse.coo_array((entries.data, (place[entries.col], entries.row)), shape)
    for name, entries in columns.items():
        adata.varm[f"{key}_{name}"] = as_csr(entries)
    adata.var[f"{key}_attributed"] = np.isin(np.arange(names.size), place)
    adata.uns[key] = dict(adata.uns.get(key, {}), attributed_concepts=concepts)


def check_no_view(adata) -> None:
    """Raise ValueError for a view: writing would copy it, and the caller look at the original."""
    if adata.is_view:
        raise ValueError("adata is a view of another AnnData and cannot be written to; copy it")


def check_rows_of_codes(codes, n_cells: int) -> sparse.csr_array:
    """Codes as a CSR array; raise ValueError unless finite, with a row per cell."""
    codes = codes if sparse.issparse(codes) else np.asarray(codes)
    if codes.ndim != 2 or codes.shape[0] != n_cells:
        raise ValueError(
            f"codes must have a row per cell, {n_cells}, got an array of shape {codes.shape}"
        )
    codes = as_csr(codes)
    if not np.isfinite(codes.data).all():
        raise ValueError("codes holds NaN or infinite values")
    return codes


def _steps(pipeline) -> dict:
    """Steps of a pipeline that do something, or the estimator under the name of its class."""
    if not isinstance(pipeline, Pipeline):
        return {type(pipeline).__name__: pipeline}
    return {name: step for name, step in pipeline.steps if step not in (None, "passthrough")}


def _fitted_arrays(step) -> dict:
    """Fitted attributes of an estimator that are arrays of numbers."""
    return {
        name: value
        for name, value in vars(step).items()
        if name.endswith("_") and isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    }


def _plain(value):
    """What JSON can hold of a parameter."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, BaseEstimator):
        return {type(value).__name__: value.get_params(deep=False)}
    return repr(value)
