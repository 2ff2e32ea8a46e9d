"""What every estimator shares: names of outputs, tags, and the codes of a dictionary."""

from __future__ import annotations

import weakref
import zlib

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skdict._validation import dense_output_container
from skdict.kernels import get_kernels

FLOATS = (np.float64, np.float32)

# Largest Gram matrix that precompute="auto" forms: a quarter of the memory of a computer with
# 16 GiB, 32,768 atoms in float32 or 23,170 in float64. Fixed, so that the same dictionary takes the
# same way through the arithmetic everywhere, for any number of rows and whatever memory is free.
GRAM_BYTES = 2**32

# Rows coded at a time; bounds the memory of the fixed-width codes, changes no result.
CHUNK_ROWS = 16_384


class SkdictTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of all transformers: output names ``<class name><index>``, float32 kept."""

    # Where the HTML diagram links to; without it the diagram shows no docstring tool-tips.
    _doc_link_module = "skdict"
    _doc_link_template = (
        "https://skdict.readthedocs.io/en/latest/generated/{estimator_module}.{estimator_name}.html"
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Dictionary(SkdictTransformer):
    """Base of the dictionaries: codes out, reconstructions back.

    A subclass provides ``_encode(X)``: codes of validated rows as fixed-width arrays
    ``(values, indices, counts)``.
    """

    def transform(self, X):
        """Code every row as a sparse combination of atoms.

        The code of a row does not depend on the rows beside it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings; float32 and float64 are kept, memory maps are read in chunks.

        Returns
        -------
        CSR matrix or array of shape (n_samples, n_components), or ndarray
            The codes; dense if ``sparse_output=False``. The CSR type follows scikit-learn's
            ``sparse_interface`` setting.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, or has another number of features than in fit.
        """
        check_is_fitted(self, "components_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        container = dense_output_container(self)
        if container != "default" and self.sparse_output:
            raise ValueError(
                f"{container.capitalize()} output does not support sparse data. Set "
                f"sparse_output=False to output {container} dataframes or disable "
                f'{container} output via set_output(transform="default").'
            )
        codes = self._encode_chunks(X)
        return codes if self.sparse_output else codes.toarray()

    def inverse_transform(self, X):
        """Reconstruct embeddings from codes: ``X @ components_ + intercept_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, sparse or dense.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructed embeddings.

        Raises
        ------
        ValueError
            If the number of columns is not the number of atoms.
        """
        check_is_fitted(self, "components_")
        X = check_array(X, accept_sparse="csr", dtype=FLOATS)
        n_atoms = self.components_.shape[0]
        if X.shape[1] != n_atoms:
            raise ValueError(f"X must have {n_atoms} columns, one per atom, got {X.shape[1]}")
        components = np.ascontiguousarray(self.components_, X.dtype)
        intercept = np.ascontiguousarray(self.intercept_, X.dtype)
        if not sparse.issparse(X):
            return X @ components + intercept
        # The index types of training, so that the kernel is compiled once.
        codes = X.data, X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int64)
        return get_kernels("cpu").decode(codes, components, intercept)

    def score(self, X, y=None):
        """Explained variance of the reconstruction: higher is better, 1 is perfect.

        ``1 - sum var(X - X_hat) / sum var(X)``, variances over rows and sums over features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : None
            Ignored.

        Returns
        -------
        float
            Explained variance; 0 for constant X that is reconstructed up to a constant.
        """
        check_is_fitted(self, "components_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        residual = X - self.inverse_transform(self._encode_chunks(X))
        left = np.var(residual, axis=0, dtype=np.float64).sum()
        total = np.var(X, axis=0, dtype=np.float64).sum()
        if total == 0:
            return 0.0
        return float(1.0 - left / total)

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def _encode_chunks(self, X):
        return encode_in_chunks(self._encode, X, self._code_width(), self.components_.shape[0])


def encode_in_chunks(encode, X, width, n_atoms):
    """CSR codes of validated rows; at no time more than a chunk of fixed-width codes.

    Parameters
    ----------
    encode : callable
        Gives (values, indices, counts) of some rows, `width` entries wide.
    X : ndarray of shape (n_samples, n_features)
        Rows; a memory map is read chunk by chunk.
    width : int
        Most non-zeros in a code.
    n_atoms : int
        Number of columns of the codes.

    Returns
    -------
    CSR matrix or array of shape (n_samples, n_atoms)
        The codes, indices ascending in each row.
    """
    n_rows = X.shape[0]
    data = np.empty(n_rows * width, X.dtype)  # pages are touched only as they fill
    indices = np.empty(n_rows * width, np.int32)
    indptr = np.zeros(n_rows + 1, np.int64)
    filled = 0
    for start in range(0, n_rows, CHUNK_ROWS):
        values, atoms, counts = encode(X[start : start + CHUNK_ROWS])
        kept = np.arange(width) < counts[:, None]
        new = values[kept]
        if not np.isfinite(new).all():
            raise ValueError(
                f"the codes overflowed {X.dtype}: rescale X (largest absolute value "
                f"{np.abs(X[start : start + CHUNK_ROWS]).max():.3g}), for example with Normalizer"
            )
        data[filled : filled + new.size] = new
        indices[filled : filled + new.size] = atoms[kept]
        ends = indptr[start + 1 : start + 1 + counts.size]
        np.cumsum(counts, out=ends)
        ends += filled
        filled += new.size
    data.resize(filled, refcheck=False)
    indices.resize(filled, refcheck=False)
    return csr_codes(data, indices, indptr, (n_rows, n_atoms))


def csr_codes(data, indices, indptr, shape):
    """CSR codes of the kind that scikit-learn's ``sparse_interface`` setting names."""
    if indptr[-1] < np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    else:
        indices = indices.astype(np.int64)
    as_array = get_config().get("sparse_interface", "spmatrix") == "sparray"
    codes = (sparse.csr_array if as_array else sparse.csr_matrix)(
        (data, indices, indptr), shape=shape
    )
    codes.has_sorted_indices = True
    codes.has_canonical_format = True
    return codes


# Gram matrices of fitted dictionaries: cached beside the estimators, so that they are neither
# pickled nor cloned, and dropped with them.
_gram_cache: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def gram_is_wanted(precompute, n_atoms, dtype):
    """Whether to form the (n_atoms, n_atoms) Gram matrix, given the parameter `precompute`.

    "auto" depends on the number of atoms and the type only, not on the rows to come.
    """
    if isinstance(precompute, str):
        return gram_bytes(n_atoms, dtype) <= GRAM_BYTES
    return bool(precompute)


def gram_bytes(n_atoms, dtype):
    """Bytes of an (n_atoms, n_atoms) array."""
    return n_atoms**2 * np.dtype(dtype).itemsize


def cached_gram(estimator, components):
    """Gram matrix of `components` and its quantized copy (None where that does not pay).

    Computed once per estimator, type and content.
    """
    key = (components.dtype.str, components.shape, zlib.crc32(np.ascontiguousarray(components)))
    cached = _gram_cache.get(estimator)
    if cached is None or cached[0] != key:
        kernels = get_kernels("cpu")
        gram = kernels.gram_matrix(components)
        cached = key, (gram, kernels.quantize(components, gram))
        _gram_cache[estimator] = cached
    return cached[1]
