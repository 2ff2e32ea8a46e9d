"""Hand-made features as codes: active where a value is unusually small or large."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from skdict._base import csr_codes
from skdict._validation import Interval, StrOptions, check_control

# Values compared at once: the masks stay at a few megabytes.
_BLOCK_VALUES = 1 << 21

# Halvings of [0, 0.5]: more than a float64 can tell apart.
_N_HALVINGS = 60

# Relative distance from the target that is passed over in silence.
_TOLERANCE = 0.05


class QuantileBinarizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Call a feature active where its value lies outside two quantiles.

    This is how the paper turns CellProfiler's hand-made features into something that can be
    compared with sparse codes (its section 6 and Fig. 2). Feature j of a row x is active if

    .. math:: x_j < q_j(\alpha) \quad\text{or}\quad x_j > q_j(1 - \alpha) ,

    with the quantiles :math:`q_j` of the reference rows, and :math:`\alpha` is chosen so that the
    rows have `target_active` active features on average.

    Parameters
    ----------
    target_active : float, default=100
        Active features wanted in a row, on average over all rows given to ``fit``. What cannot
        be reached is approached as closely as possible, with a warning.
    alpha : float or None, default=None
        Use this quantile, between 0 and 0.5, and leave `target_active` aside. None finds it.
    reference : {"all", "control"}, default="all"
        Rows whose quantiles are taken; the paper does not say which. ``"all"`` takes all rows
        given to ``fit``: every feature is then active equally often. ``"control"`` takes the
        controls: a feature is active where a value would be unusual for a control.
    sparse_output : bool, default=True
        Return CSR; otherwise a dense array.

    Attributes
    ----------
    alpha_ : float
        The quantile used.
    lower_ : ndarray, shape (n_features,)
        Values below are active: the `alpha_` quantiles of the reference rows.
    upper_ : ndarray, shape (n_features,)
        Values above are active: the ``1 - alpha_`` quantiles.
    mean_active_ : float
        Active features per row, on average over all rows given to ``fit``.
    n_reference_ : int
        Number of reference rows.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of str, shape (`n_features_in_`,)
        Names of the features, if X has names that are all strings.

    See Also
    --------
    LargestValuesSelector : The same number of active features in every row instead.
    skdict.comparison.selectivity_sweep : Selectivity over a range of `alpha`.

    Notes
    -----
    Codes are 0 and 1 without a sign: the paper has one feature for both ends.

    ``control`` is metadata, as for :class:`~skdict.ControlPCAWhitener`; it is not looked at with
    ``reference="all"``. Features that are constant among the reference rows have no scale to be
    unusual on: they are never active and a warning counts them. Quantiles interpolate linearly
    between values, and a value that equals a quantile is not active; so where many values are
    equal (counts, zeros) fewer features are active, and alpha moves to make up for it.

    `alpha_` is found by bisection: the number of active features never falls while alpha rises.
    With all values distinct and ``reference="all"`` it is close to
    ``target_active / (2 n_features)``: 0.052 for the 964 features of the paper. ``fit`` sorts one
    copy of X; memory and time are those of sorting.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Fig. 2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.preprocessing import QuantileBinarizer
    >>> X = np.random.default_rng(0).normal(size=(1000, 50))
    >>> binarizer = QuantileBinarizer(target_active=10).fit(X)
    >>> round(binarizer.alpha_, 2), round(binarizer.mean_active_, 2)
    (0.1, 10.0)
    >>> codes = binarizer.transform(X)
    >>> codes.shape, np.unique(codes.data).tolist()
    ((1000, 50), [1.0])
    """

    __metadata_request__fit = {"control": True}  # noqa: RUF012 (scikit-learn's protocol)

    _parameter_constraints: dict = {  # noqa: RUF012
        "target_active": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, 0.5, closed="both"), None],
        "reference": [StrOptions({"all", "control"})],
        "sparse_output": ["boolean"],
    }

    def __init__(self, target_active=100, *, alpha=None, reference="all", sparse_output=True):
        self.target_active = target_active
        self.alpha = alpha
        self.reference = reference
        self.sparse_output = sparse_output

    def fit(self, X, y=None, *, control=None):
        """Find alpha and the quantiles of each feature.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense features, without missing values.
        y : None
            Ignored.
        control : array-like of bool, shape (n_samples,), or None, default=None
            True where a row is a control. Read with ``reference="control"`` only; None then takes
            all rows and warns.

        Returns
        -------
        QuantileBinarizer
            The fitted transformer.

        Raises
        ------
        ValueError
            If X holds NaN or infinity (drop or impute such features first), a parameter is out of
            range, or `control` is not a boolean mask with at least 2 True.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        rows = self._reference_rows(control, X.shape[0])
        ordered = np.sort(X, axis=0)
        reference = ordered if rows is None else np.sort(X[rows], axis=0)
        self.n_reference_ = reference.shape[0]
        varying = np.flatnonzero(reference[0] != reference[-1])
        self._warn_about_constant(X.shape[1] - varying.size)
        alpha = self._search(reference, ordered, varying) if self.alpha is None else self.alpha
        self.alpha_ = float(alpha)
        self.lower_ = np.full(X.shape[1], -np.inf, X.dtype)
        self.upper_ = np.full(X.shape[1], np.inf, X.dtype)
        self.lower_[varying], self.upper_[varying] = _bounds(reference, varying, alpha)
        self.mean_active_ = _mean_active(reference, ordered, varying, alpha)
        if self.alpha is None:
            self._warn_about_target(X.shape[1])
        return self

    def _reference_rows(self, control, n_samples):
        """Indices of the reference rows; None for all."""
        if self.reference == "all":
            return None
        if control is None:
            warnings.warn(
                'control=None: reference="control" takes the quantiles of all rows. Pass '
                "control=mask of the control samples (and route it: "
                "sklearn.set_config(enable_metadata_routing=True))",
                UserWarning,
                stacklevel=3,
            )
            return None
        return check_control(control, n_samples)

    def _search(self, reference, ordered, varying):
        """Find the alpha whose mean number of active features is nearest the target."""
        low, high = 0.0, 0.5
        for _ in range(_N_HALVINGS):
            middle = (low + high) / 2
            found = _mean_active(reference, ordered, varying, middle)
            if found == self.target_active:
                return middle
            low, high = (middle, high) if found < self.target_active else (low, middle)
        # The number jumps where values are equal: the nearer end, of equally near ones the lower.
        distance = [
            abs(_mean_active(reference, ordered, varying, end) - self.target_active)
            for end in (low, high)
        ]
        return low if distance[0] <= distance[1] else high

    def _warn_about_constant(self, n_constant):
        if n_constant:
            warnings.warn(
                f"{n_constant} of {self.n_features_in_} features are constant among the "
                f"{self.n_reference_} reference rows and are never active; remove them, for "
                "example with sklearn.feature_selection.VarianceThreshold",
                UserWarning,
                stacklevel=3,
            )

    def _warn_about_target(self, n_features):
        if abs(self.mean_active_ - self.target_active) > _TOLERANCE * self.target_active:
            warnings.warn(
                f"target_active={self.target_active} cannot be reached with {n_features} "
                f"features: rows have {self.mean_active_:.4g} active features on average at "
                f"alpha_={self.alpha_:.4g}, the nearest there is; choose another target_active",
                UserWarning,
                stacklevel=3,
            )

    def transform(self, X):
        """Mark the values outside the quantiles.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense features.

        Returns
        -------
        csr_matrix or csr_array (as scikit-learn's ``sparse_interface``), or ndarray
            1 where a feature is active and 0 elsewhere, shape (n_samples, n_features), in the
            dtype of X.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        n_rows = max(1, _BLOCK_VALUES // X.shape[1])
        blocks = []
        for start in range(0, X.shape[0], n_rows):
            values = X[start : start + n_rows]
            active = (values < self.lower_) | (values > self.upper_)
            blocks.append(sparse.csr_array(active) if self.sparse_output else active)
        if not self.sparse_output:
            return np.concatenate(blocks).astype(X.dtype)
        codes = sparse.vstack(blocks, format="csr")
        return csr_codes(codes.data.astype(X.dtype), codes.indices, codes.indptr, codes.shape)

    def __sklearn_tags__(self):
        """Tags: float32 stays float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _bounds(reference, columns, alpha):
    """Quantiles alpha and 1 - alpha of some columns of sorted rows, in the type of the rows.

    They are those of ``np.quantile``, which would sort the columns again for each alpha.
    """
    position = alpha * (reference.shape[0] - 1)
    whole = min(int(position), reference.shape[0] - 2)
    part = position - whole
    bounds = []
    for first, second in ((whole, whole + 1), (-1 - whole, -2 - whole)):
        near = reference[first, columns].astype(np.float64)
        far = reference[second, columns].astype(np.float64)
        # Never beyond its two neighbours by rounding, in particular not where they are equal.
        between = near * (1 - part) + far * part
        between = np.clip(between, np.minimum(near, far), np.maximum(near, far))
        bounds.append(between.astype(reference.dtype))
    return bounds


def _mean_active(reference, ordered, columns, alpha):
    """Active features per row of `ordered`, whose columns are sorted."""
    if columns.size == 0:
        return 0.0
    n_rows = ordered.shape[0]
    n_active = 0
    for column, low, high in zip(columns, *_bounds(reference, columns, alpha), strict=True):
        values = ordered[:, column]
        n_active += np.searchsorted(values, low, side="left")
        n_active += n_rows - np.searchsorted(values, high, side="right")
    return float(n_active / n_rows)
