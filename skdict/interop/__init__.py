"""Other packages' objects in and out: AnnData, and models of other tools.

Thin functions around arrays: no estimator takes an AnnData. Counts are read in blocks where they
are on disk, and checked to be counts; codes go in as CSR, attributions beside the genes, and the
concepts become the variables of an AnnData of their own.

Dictionaries are written as models of SAELens and dictionary_learning, and theirs and those of
sparsify are read. Nothing in a file is executed.
"""

from skdict.interop._concept_table import concepts_to_anndata
from skdict.interop._dictionary_learning import from_dictionary_learning, to_dictionary_learning
from skdict.interop._fitted import topk_from_arrays
from skdict.interop._read import (
    attributions_from_anndata,
    codes_from_anndata,
    counts_from_anndata,
    embed_anndata,
    embeddings_from_anndata,
    iter_counts,
)
from skdict.interop._saelens_read import from_saelens
from skdict.interop._saelens_register import register_saelens
from skdict.interop._saelens_write import to_saelens
from skdict.interop._sparsify import from_sparsify
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
    "from_dictionary_learning",
    "from_saelens",
    "from_sparsify",
    "iter_counts",
    "register_saelens",
    "to_dictionary_learning",
    "to_saelens",
    "topk_from_arrays",
]
