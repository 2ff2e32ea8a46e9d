"""The largest values of each row: codes from a dense representation."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from skdict._base import csr_codes
from skdict._validation import check_integer

# Values worked on at once: the temporaries stay at a few tens of megabytes.
_BLOCK_VALUES = 1 << 21


def _largest(values: np.ndarray, n_kept: int) -> np.ndarray:
    """Mask of the `n_kept` largest |values| of each row, ties to the lower index, no zeros."""
    magnitude = np.abs(values)
    n_columns = values.shape[1]
    if n_kept >= n_columns:
        return magnitude > 0
    smallest_kept = np.partition(magnitude, n_columns - n_kept, axis=1)[:, [n_columns - n_kept]]
    above = magnitude > smallest_kept
    tied = magnitude == smallest_kept
    room = n_kept - above.sum(axis=1, keepdims=True)
    return (above | (tied & (np.cumsum(tied, axis=1) <= room))) & (magnitude > 0)


class LargestValuesSelector(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Keep the largest standardised values of each row and set the others to zero.

    Selectivity and the other measures of codes call a component active when it is not zero.
    A dense representation, such as principal components or the neurons of a layer, is active
    everywhere and would score zero by construction. This transformer gives it the same number
    of active components per sample as a dictionary, so that the two can be compared.

    Parameters
    ----------
    n_nonzero_coefs : int or None, default=None
        Number of values kept per row; None keeps ``max(1, n_features // 10)``, the default of
        the dictionaries. More than there are features is clipped with a warning.
    standardize : bool, default=True
        Subtract the mean and divide by the standard deviation of each column, learned by
        ``fit``, before values are compared and returned. Without it, columns with a large
        scale or offset (the first principal components) would be active in every row.
    sparse_output : bool, default=True
        Return CSR; otherwise a dense array.

    Attributes
    ----------
    mean_ : ndarray of float64, shape (n_features,)
        Column means; zeros with ``standardize=False``.
    scale_ : ndarray of float64, shape (n_features,)
        Column standard deviations, 1 for constant columns; ones with ``standardize=False``.
    n_nonzero_coefs_ : int
        Number of values kept per row.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of str, shape (`n_features_in_`,)
        Names of the features, if X has names that are all strings.

    See Also
    --------
    skdict.metrics.selectivity_scores : What this makes comparable.

    Notes
    -----
    Among equal absolute values the lower index is kept. A kept value that is exactly zero is
    not stored, so a row may have fewer non-zeros.

    Examples
    --------
    >>> from skdict.preprocessing import LargestValuesSelector
    >>> selector = LargestValuesSelector(1, standardize=False)
    >>> selector.fit_transform([[1.0, -3.0, 2.0], [0.5, 0.5, 0.0]]).toarray()
    array([[ 0. , -3. ,  0. ],
           [ 0.5,  0. ,  0. ]])
    """

    _parameter_constraints: dict = {  # noqa: RUF012 (scikit-learn's protocol)
        "n_nonzero_coefs": [Integral, None],
        "standardize": ["boolean"],
        "sparse_output": ["boolean"],
    }

    def __init__(self, n_nonzero_coefs=None, *, standardize=True, sparse_output=True):
        self.n_nonzero_coefs = n_nonzero_coefs
        self.standardize = standardize
        self.sparse_output = sparse_output

    def fit(self, X, y=None):
        """Learn the mean and standard deviation of each column.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense representation.
        y : None
            Ignored.

        Returns
        -------
        LargestValuesSelector
            The fitted transformer.

        Raises
        ------
        ValueError
            If `n_nonzero_coefs` is less than 1 or X is not finite.
        """
        self._validate_params()
        check_integer("n_nonzero_coefs", self.n_nonzero_coefs, 1, none=True)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        n_features = X.shape[1]
        if self.standardize:
            scaler = StandardScaler().fit(X)
            self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        else:
            self.mean_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        n_kept = self.n_nonzero_coefs
        if n_kept is not None and n_kept > n_features:
            warnings.warn(
                f"n_nonzero_coefs={n_kept} is larger than the number of features {n_features} "
                "and is clipped: all values are kept",
                UserWarning,
                stacklevel=2,
            )
        self.n_nonzero_coefs_ = min(n_kept or max(1, n_features // 10), n_features)
        return self

    def transform(self, X):
        """Standardise and keep the largest values of each row.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense representation.

        Returns
        -------
        csr_matrix or csr_array (as scikit-learn's ``sparse_interface``), or ndarray
            The kept values, shape (n_samples, n_features), in the dtype of X.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        n_rows = max(1, _BLOCK_VALUES // X.shape[1])
        blocks = []
        for start in range(0, X.shape[0], n_rows):
            values = self._standardized(X[start : start + n_rows])
            values[~_largest(values, self.n_nonzero_coefs_)] = 0
            blocks.append(sparse.csr_array(values) if self.sparse_output else values)
        if not self.sparse_output:
            return np.concatenate(blocks)
        codes = sparse.vstack(blocks, format="csr")
        return csr_codes(codes.data, codes.indices, codes.indptr, codes.shape)

    def _standardized(self, X: np.ndarray) -> np.ndarray:
        """Standardised copy of X in its dtype."""
        if not self.standardize:
            return X.copy()
        values = (X - self.mean_) / self.scale_
        return values.astype(X.dtype, copy=False)

    def inverse_transform(self, X):
        """Undo the standardisation; values that were not kept return as the column mean.

        Parameters
        ----------
        X : array-like or sparse, shape (n_samples, n_features)
            Output of ``transform``.

        Returns
        -------
        ndarray, shape (n_samples, n_features)
            Dense reconstruction in the dtype of X.
        """
        check_is_fitted(self)
        X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X must have {self.n_features_in_} columns, as during fit, got {X.shape[1]}"
            )
        dense = X.toarray() if sparse.issparse(X) else X
        return (dense * self.scale_ + self.mean_).astype(X.dtype, copy=False)

    def __sklearn_tags__(self):
        """Tags: float32 stays float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
