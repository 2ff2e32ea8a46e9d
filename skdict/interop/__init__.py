"""Other packages' objects in and out; AnnData so far.

Thin functions around arrays: no estimator takes an AnnData. Counts are read in blocks where they
are on disk, and checked to be counts; codes go in as CSR, attributions beside the genes, and the
concepts become the variables of an AnnData of their own.
"""

from skdict.interop._concept_table import concepts_to_anndata
from skdict.interop._read import (
    attributions_from_anndata,
    codes_from_anndata,
    counts_from_anndata,
    embed_anndata,
    embeddings_from_anndata,
    iter_counts,
)
from skdict.interop._write import attributions_to_anndata, codes_to_anndata

__all__ = [
    "attributions_from_anndata",
    "attributions_to_anndata",
    "codes_from_anndata",
    "codes_to_anndata",
    "concepts_to_anndata",
    "counts_from_anndata",
    "embed_anndata",
    "embeddings_from_anndata",
    "iter_counts",
]
