"""What every estimator shares: names of outputs, tags, and the codes of a dictionary."""

from __future__ import annotations

import weakref
import zlib
from collections import deque

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skdict._large_rows import LargeRows, rows_of
from skdict._validation import check_device, dense_output_container, host_array
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

    A subclass provides ``_encode(X)``: CSR codes of validated rows.
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
            If X holds NaN or infinity, or has another number of features than in fit, or the
            device is not there.
        ImportError
            If the device needs torch, which is not installed.
        """
        check_is_fitted(self, "components_")
        check_device(self.device)
        X = self._read_rows(X, reset=False)
        container = dense_output_container(self)
        if container != "default" and self.sparse_output:
            raise ValueError(
                f"{container.capitalize()} output does not support sparse data. Set "
                f"sparse_output=False to output {container} dataframes or disable "
                f'{container} output via set_output(transform="default").'
            )
        codes = self._encode(X)
        return codes if self.sparse_output else codes.toarray()

    def inverse_transform(self, X):
        """Reconstruct embeddings from codes: ``X @ components_ + intercept_``.

        Computed on the CPU, whatever `device` is.

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
        X = check_array(host_array(X), accept_sparse="csr", dtype=FLOATS)
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
        check_device(self.device)
        X = self._read_rows(X, reset=False)
        if isinstance(X, LargeRows):
            left, total = self._variances_by_blocks(X)
        else:
            residual = X - self.inverse_transform(self._encode(X))
            left = np.var(residual, axis=0, dtype=np.float64).sum()
            total = np.var(X, axis=0, dtype=np.float64).sum()
        if total == 0:
            return 0.0
        return float(1.0 - left / total)

    def _read_rows(self, X, *, reset):
        """Validated rows: an array, or LargeRows, of which only the shape was looked at."""
        X = rows_of(X)
        if isinstance(X, LargeRows):
            validate_data(self, X.example(), reset=reset)
            return X
        return validate_data(self, X, dtype=FLOATS, reset=reset)

    def _variances_by_blocks(self, X):
        """Sums over features of the variances of residuals and rows, block after block."""
        shift = X[0:1][0].astype(np.float64)
        sums = np.zeros((2, 2, X.shape[1]))
        for start in range(0, X.shape[0], CHUNK_ROWS):
            block = X[start : start + CHUNK_ROWS]
            residual = block - self.inverse_transform(self._encode(block))
            for own, values in zip(sums, (residual, block - shift), strict=True):
                values = values.astype(np.float64, copy=False)
                own += values.sum(axis=0), np.einsum("ij,ij->j", values, values)
        means = sums / X.shape[0]
        return np.maximum(means[:, 1] - means[:, 0] ** 2, 0.0).sum(axis=1)

    @property
    def _n_features_out(self):
        return self.components_.shape[0]


def encode_in_chunks(encode, X, width, n_atoms, *, device="cpu", atoms=None):
    """CSR codes of validated rows; at no time more than a few chunks of fixed-width codes.

    Parameters
    ----------
    encode : callable
        Gives (values, indices, counts), `width` entries wide, of rows on the device.
    X : ndarray of shape (n_samples, n_features)
        Rows; a memory map is read chunk by chunk.
    width : int
        Most non-zeros in a code.
    n_atoms : int
        Number of columns of the codes.
    device : str, default="cpu"
        Where the rows are coded.
    atoms : ndarray of int or None, default=None
        The columns that the indices stand for, ascending. None: for themselves.

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
    for rows, (values, chosen, counts) in _codes_of_chunks(encode, X, device):
        # Nearly always all rows use all they may: then there is nothing to pick out.
        kept = slice(None) if (counts == width).all() else np.arange(width) < counts[:, None]
        new = values[kept].reshape(-1)
        if not np.isfinite(new).all():
            raise ValueError(
                f"the codes overflowed {X.dtype}: rescale X (largest absolute value "
                f"{np.abs(X[rows]).max():.3g}), for example with Normalizer"
            )
        data[filled : filled + new.size] = new
        chosen = chosen[kept].reshape(-1)
        indices[filled : filled + new.size] = chosen if atoms is None else atoms[chosen]
        ends = indptr[rows.start + 1 : rows.start + 1 + counts.size]
        np.cumsum(counts, out=ends)
        ends += filled
        filled += new.size
    data.resize(filled, refcheck=False)
    indices.resize(filled, refcheck=False)
    return csr_codes(data, indices, indptr, (n_rows, n_atoms))


def _codes_of_chunks(encode, X, device):
    """Rows (a slice) and their codes on the host, chunk by chunk.

    A device codes a chunk while the host takes in the codes of the one before.
    """
    kernels = get_kernels(device)
    chunks = [slice(i, i + CHUNK_ROWS) for i in range(0, X.shape[0], CHUNK_ROWS)]
    n_ahead = 0 if device == "cpu" else 1
    waiting = deque()
    for rows, batch in zip(chunks, kernels.stream(X, chunks, None, device), strict=True):
        waiting.append((rows, encode(batch)))
        if len(waiting) > n_ahead:
            rows, codes = waiting.popleft()
            yield rows, [kernels.to_host(array) for array in codes]
    for rows, codes in waiting:
        yield rows, [kernels.to_host(array) for array in codes]


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
