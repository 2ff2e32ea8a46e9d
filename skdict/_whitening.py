"""PCA whitening fitted on control samples."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skdict._base import SkdictTransformer
from skdict._callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skdict._large_rows import LargeRows, rows_of
from skdict._sources import is_row_source
from skdict._validation import (
    Interval,
    RealNotInt,
    StrOptions,
    at_least,
    check_control,
    check_same_namespace,
    float_dtypes,
    get_namespace_and_device,
    host_array,
    move_array,
    to_numpy,
)

METHODS = ("pca", "center", "zca", "pca-cor", "zca-cor")

# What fit brings to the device of X, and a pickle brings back.
FITTED_ARRAYS = (
    "mean_",
    "components_",
    "explained_variance_",
    "outlier_severity_",
    "_inverse",
)


class ControlPCAWhitener(CallbackSupportMixin, SkdictTransformer):
    r"""Whiten embeddings with the mean and covariance of the control samples.

    A perturbation matters by how far it moves a sample compared with how controls vary. The
    transform is :math:`x \mapsto W (x - \mu)` with the mean :math:`\mu` of the controls and

    .. math:: W = (\Lambda + \epsilon\,\lambda_{\max} I)^{-1/2} U^T,
              \qquad \Sigma_{\text{control}} = U \Lambda U^T ,

    so that for ``epsilon=0`` the transformed controls have zero mean and unit covariance
    (section 4.1 of [1]_). Mean and covariance are computed in float64.

    Parameters
    ----------
    n_components : int, float or None, default=None
        Number of leading directions to keep; a float in (0, 1) keeps as many as explain that
        fraction of the control variance; None keeps all. An int larger than the number of
        directions that there are is clipped to it, with a warning. The ZCA methods keep that many
        directions but return all features.
    method : {"pca", "center", "zca", "pca-cor", "zca-cor"}, default="pca"
        ``"pca"`` is the whitening of the paper. ``"center"`` only subtracts the control mean: the
        paper's "without whitening". ``"zca"`` rotates the whitened sample back, so that output
        feature j belongs to input feature j. The ``-cor`` forms first scale every feature by its
        standard deviation among controls (features constant among controls are dropped:
        they contribute 0).
    epsilon : float or "auto", default="auto"
        Regularisation relative to the largest eigenvalue. ``0.0`` is the full whitening of
        the paper, which names no regularisation; directions with an eigenvalue of at most
        ``n eps lambda_max`` (``eps`` the precision of float64, ``n`` the larger side of the
        control matrix), or within the rounding of the data (float32 far from zero), are then
        dropped. A positive value keeps all directions and damps the weak ones.
        ``"auto"`` departs from the paper: it takes the knee of the spectrum, see Notes.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of the controls.
    components_ : ndarray of shape (n_features_out, n_features)
        The matrix W: ``transform(X) = (X - mean_) @ components_.T``.
    explained_variance_ : ndarray of shape (n_directions,)
        Eigenvalues of the control covariance (correlation for the ``-cor`` methods) of the
        directions kept, largest first, before regularisation. Per-feature variances for
        ``method="center"``.
    epsilon_ : float
        The regularisation used, relative to the largest eigenvalue.
    n_control_ : int
        Number of control samples.
    outlier_severity_ : ndarray of shape (n_features,)
        \|mean\| / standard deviation of every feature among controls (0 where both vanish).
        Features with large values predict dead dictionary atoms when data are not centred.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in fit, when X had string names.

    See Also
    --------
    sklearn.decomposition.PCA : PCA and whitening fitted on all rows.

    Notes
    -----
    ``control`` is metadata: with ``sklearn.set_config(enable_metadata_routing=True)`` it is
    passed through pipelines, cross-validation and searches without further requests.

    ``epsilon="auto"``: with n controls and d features, the sample eigenvalues below the knee of
    the spectrum are mostly noise; dividing by their square root would make noise the strongest
    signal. The knee is the point of the curve of log-eigenvalues (those above rounding) farthest
    below the straight line between its ends, and epsilon is a tenth of the eigenvalue there,
    divided by the largest one. Where there is no such point epsilon is 0.1.

    Unit length after whitening makes a control look as strong as a hit;
    :meth:`control_distance` keeps the length.

    With ``sklearn.set_config(array_api_dispatch=True)`` X may be an array of any library that
    scikit-learn's array API support knows, a torch tensor on a GPU for example. Results and fitted
    arrays are then of the same library on the same device; sums over rows are formed there (in
    host memory if the device has no float64), the (n_features, n_features) eigenvalue problem is
    solved in NumPy. Pickles and copies hold NumPy arrays, which serve X of any library; arrays on a
    device serve X of the same library and device only. ``control`` may lie anywhere.

    References
    ----------
    .. [1] Donhauser et al. "Towards scientific discovery with dictionary learning: extracting
       biological concepts from microscopy foundation models." ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ControlPCAWhitener
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3)) * [1.0, 10.0, 0.1] + 5.0
    >>> control = np.arange(200) < 150
    >>> whitener = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    >>> np.round(np.cov(whitener.transform(X)[control].T), 6) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    __metadata_request__fit = {"control": True}  # noqa: RUF012 (scikit-learn's protocol)
    __metadata_request__partial_fit = {"control": True}  # noqa: RUF012

    _parameter_constraints = {  # noqa: RUF012
        "n_components": [at_least(1), Interval(RealNotInt, 0, 1, closed="neither"), None],
        "method": [StrOptions(set(METHODS))],
        "epsilon": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    }

    def __init__(self, n_components=None, *, method="pca", epsilon="auto"):
        self.n_components = n_components
        self.method = method
        self.epsilon = epsilon

    @with_callbacks
    def fit(self, X, y=None, *, control=None):
        """Compute mean and whitening matrix from the control rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : None
            Ignored.
        control : array-like of bool of shape (n_samples,), default=None
            True where a row is a control. None whitens on all rows and warns.

        Returns
        -------
        self : ControlPCAWhitener
            The fitted whitener.

        Raises
        ------
        ValueError
            If `control` is not a boolean mask of the right length with at least 2 True, or a
            parameter is out of range.
        """
        self._validate_params()
        X, xp, device = _readable(X, by_blocks=True)
        minimum = 1 if control is None else 2
        if isinstance(X, LargeRows):
            validate_data(self, X.example())
            task = FitTasks(self, 0, X.example(), None)
            self._moments = _moments_by_blocks(X, self._control_rows(X, control, minimum=minimum))
        else:
            X = validate_data(self, X, dtype=float_dtypes(xp, device))
            task = FitTasks(self, 0, X, y)
            self._moments = _moments(X, self._control_rows(X, control, minimum=minimum))
        self._resolution = float(xp.finfo(X.dtype).eps)
        self._solve()
        self._place(xp, device)
        task.end(lambda: vars(self).copy())
        return self

    def partial_fit(self, X, y=None, *, control=None):
        """Add the controls of a batch: exact, and independent of the order to rounding.

        Fitted arrays are where the last batch was.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A batch of embeddings.
        y : None
            Ignored.
        control : array-like of bool of shape (n_samples,), default=None
            True where a row is a control; a batch without controls adds nothing. None takes
            all rows and warns.

        Returns
        -------
        self : ControlPCAWhitener
            The whitener. It can transform once 2 controls were seen.
        """
        self._validate_params()
        first = not hasattr(self, "_moments")
        X, xp, device = _readable(X)
        X = validate_data(self, X, dtype=float_dtypes(xp, device), reset=first)
        rows = self._control_rows(X, control, minimum=0)
        batch = _moments(X, rows)
        self._moments = batch if first else _merge(self._moments, batch)
        resolution = float(xp.finfo(X.dtype).eps)
        self._resolution = resolution if first else max(resolution, self._resolution)
        if self._moments.n_rows >= 2:
            self._solve()
            self._place(xp, device)
        else:
            self.n_control_ = int(self._moments.n_rows)
        return self

    def transform(self, X):
        """Whiten rows: ``(X - mean_) @ components_.T``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Whitened embeddings, in the floating-point type of X.
        """
        return self._whiten(X, "transform")

    def _whiten(self, X, caller):
        check_is_fitted(self, "components_")
        X, xp, device = _readable(X)
        self._check_device_of(X, caller)
        X = validate_data(self, X, dtype=float_dtypes(xp, device), reset=False)
        mean, components = self._beside(X, "mean_", "components_")
        centred = X - mean
        return centred if self.method == "center" else centred @ components.T

    def inverse_transform(self, X):
        """Map whitened rows back to embeddings.

        Exact on the directions that were kept; dropped directions take the control mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_out)
            Whitened embeddings.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Embeddings.
        """
        check_is_fitted(self, "components_")
        self._check_device_of(X, "inverse_transform")
        X = self._check_output(X)
        inverse, mean = self._beside(X, "_inverse", "mean_")
        return X @ inverse.T + mean

    def control_distance(self, X):
        """Length of the whitened rows: distance from the control mean in control units.

        For ``epsilon=0`` this is the Mahalanobis distance. Normalising rows to unit length hides
        it, so keep it beside the codes: rows near the typical distance of (held-out) controls
        show no effect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.

        Returns
        -------
        ndarray of shape (n_samples,)
            Euclidean length of each whitened row.
        """
        whitened = self._whiten(X, "control_distance")
        xp, _, _ = get_namespace_and_device(whitened)
        return xp.linalg.vector_norm(whitened, axis=1)

    def held_out_covariance(self, X, *, control=None):
        """Covariance of whitened controls that were not used in fit: a diagnostic.

        Controls used in fit are white by construction; with few of them for the number of
        features, new controls are not. The closer this matrix is to the identity (mean of the
        diagonal near 1), the less the whitening overfits; otherwise raise `epsilon` or
        lower `n_components`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings that were not part of the fit.
        control : array-like of bool of shape (n_samples,), default=None
            True where a row is a control; None takes all rows.

        Returns
        -------
        ndarray of shape (n_features_out, n_features_out)
            Second moment of the whitened rows about the mean of the fitted controls.
        """
        whitened = self._whiten(X, "held_out_covariance")
        rows = check_control(control, whitened.shape[0], minimum=1)
        xp, _, device = get_namespace_and_device(whitened)
        whitened = xp.astype(whitened, float_dtypes(xp, device)[0], copy=False)
        return _take(whitened, rows).T @ _take(whitened, rows) / rows.size

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def __getstate__(self):
        # NumPy, so that a whitener fitted on a GPU can be read without one, or without torch.
        state = dict(super().__getstate__())
        state.update({name: to_numpy(state[name]) for name in FITTED_ARRAYS if name in state})
        return state

    @property
    def _n_features_out(self):
        return self.components_.shape[0]

    def _check_output(self, X):
        X, xp, device = _readable(X)
        X = check_array(X, dtype=float_dtypes(xp, device))
        if X.shape[1] != self.components_.shape[0]:
            raise ValueError(
                f"X must have {self.components_.shape[0]} columns, as transform returns, "
                f"got {X.shape[1]}"
            )
        return X

    def _control_rows(self, X, control, *, minimum):
        if control is None:
            warnings.warn(
                "control=None: the whitening is fitted on all rows. Pass control=mask of the "
                "control samples (and route it: sklearn.set_config(enable_metadata_routing=True))",
                UserWarning,
                stacklevel=3,
            )
        return check_control(control, X.shape[0], minimum=minimum)

    def _check_device_of(self, X, caller):
        """Raise if fitted arrays on a device meet X of another library or device."""
        if not isinstance(self.components_, np.ndarray):
            check_same_namespace(X, self, attribute="components_", method=caller)

    def _beside(self, X, *names):
        """Fitted arrays in the type of X, where X is."""
        xp, _, device = get_namespace_and_device(X)
        arrays = (move_array(getattr(self, name), xp, device) for name in names)
        return [xp.astype(array, X.dtype, copy=False) for array in arrays]

    def _place(self, xp, device):
        """Bring the fitted arrays to the device of X."""
        for name in FITTED_ARRAYS:
            setattr(self, name, move_array(getattr(self, name), xp, device))

    def _solve(self):
        """Fitted attributes from the accumulated moments, in NumPy."""
        n_control, mean, scatter = self._moments
        n_features = mean.shape[0]
        covariance = scatter / max(n_control - 1, 1)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        if not np.isfinite(covariance).all():
            raise ValueError("the covariance of the controls overflows float64: rescale X")
        # A feature constant among controls keeps rounding noise of about eps |mean|.
        constant = deviation <= 2 * self._resolution * np.abs(mean)
        deviation[constant] = 0.0
        covariance[constant, :] = 0.0
        covariance[:, constant] = 0.0
        self.n_control_ = int(n_control)
        self.mean_ = mean
        with np.errstate(divide="ignore", invalid="ignore"):
            severity = np.abs(mean) / deviation
        self.outlier_severity_ = np.where(mean == 0, 0.0, severity)
        if self.method == "center":
            self._set_center(deviation)
            return
        scale = np.ones(n_features)
        if self.method.endswith("-cor"):
            scale = np.divide(1.0, deviation, out=np.zeros(n_features), where=deviation > 0)
            covariance = covariance * scale * scale[:, None]
        # What rounding of the data contributes to the variance along any direction.
        rounding = self._resolution**2 * np.sum((mean**2 + deviation**2) * scale**2)
        self._set_whitening(covariance, scale, n_control, rounding)

    def _set_center(self, deviation):
        self.epsilon_ = 0.0
        self.explained_variance_ = deviation**2
        self.components_ = np.eye(self.mean_.shape[0])
        self._inverse = self.components_

    def _set_whitening(self, covariance, scale, n_control, rounding):
        n_features = covariance.shape[0]
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        # Deterministic signs: the entry of largest magnitude of each direction is positive.
        largest = np.argmax(np.abs(vectors), axis=0)
        vectors = vectors * np.where(vectors[largest, np.arange(n_features)] < 0, -1.0, 1.0)
        top = values[0]
        size = max(n_control, n_features)
        significant = values > max(size * np.finfo(np.float64).eps * top, rounding)
        if n_control <= n_features:
            significant[max(n_control - 1, 0) :] = False
        self.epsilon_ = self._resolve_epsilon(values[significant])
        kept = self._n_kept(values, int(significant.sum()))
        floor = values[:kept] + self.epsilon_ * top
        if top == 0.0:  # no variance among controls at all: only centring is possible
            floor = np.ones(kept)
            if n_control > 1:
                warnings.warn(
                    f"the {n_control} control samples do not vary: there is nothing to whiten, "
                    "rows are only centred (and 0 for the -cor methods)",
                    UserWarning,
                    stacklevel=4,
                )
        self._warn_few_controls(n_control, n_features, kept)
        directions = vectors[:, :kept]
        self.explained_variance_ = values[:kept].copy()
        self.components_ = (directions / np.sqrt(floor)).T * scale
        unscale = np.divide(1.0, scale, out=np.zeros(n_features), where=scale > 0)
        self._inverse = unscale[:, None] * directions * np.sqrt(floor)
        if self.method.startswith("zca"):
            self.components_ = directions @ self.components_
            self._inverse = self._inverse @ directions.T

    def _resolve_epsilon(self, values):
        if not isinstance(self.epsilon, str):
            return float(self.epsilon)
        return _knee_epsilon(values)

    def _n_kept(self, values, n_significant):
        """Number of directions to keep."""
        available = values.shape[0] if self.epsilon_ > 0 else max(n_significant, 1)
        if self.n_components is None:
            return available
        if isinstance(self.n_components, (float, np.floating)):
            share = np.cumsum(values) / max(values.sum(), np.finfo(np.float64).tiny)
            reached = int(np.searchsorted(share, self.n_components - 1e-12)) + 1
            return min(reached, available)
        if self.n_components > available:
            warnings.warn(
                f"n_components={self.n_components} is larger than the {available} directions "
                f"that the {self.n_control_} controls determine and is clipped to {available}",
                UserWarning,
                stacklevel=4,
            )
        return min(int(self.n_components), available)

    def _warn_few_controls(self, n_control, n_features, kept):
        undetermined = self.n_components is None and n_control <= n_features
        if n_control < 2 or (n_control >= 2 * kept and not undetermined):
            return
        advice = (
            "use epsilon='auto' or fewer n_components"
            if self.epsilon_ == 0
            else f"epsilon={self.epsilon_:.1e} damps the weak directions"
        )
        warnings.warn(
            f"{n_control} control samples for {kept} whitened directions of {n_features} "
            f"features: whitening overfits its controls; {advice}, and compare "
            "held_out_covariance with the identity",
            UserWarning,
            stacklevel=5,
        )


# Rows of controls converted to float64 at a time, so that memory does not grow with them.
CHUNK_ROWS = 8192


def _readable(X, *, by_blocks=False):
    """X, its namespace and its device; in NumPy unless array API dispatch is on.

    With `by_blocks` large rows of NumPy arrays and row sources stay where they are.
    """
    xp, device = np, None
    if not is_row_source(X):
        xp, dispatched, device = get_namespace_and_device(X)
        if dispatched:
            return X, xp, device
    rows = rows_of(X)
    if isinstance(rows, LargeRows) and not by_blocks:
        rows = rows[:] if is_row_source(X) else host_array(X)
    return rows, xp, device


class _Moments(NamedTuple):
    """Number, mean and scatter matrix about the mean of some rows."""

    n_rows: int
    mean: Any
    scatter: Any


def _moments(X, rows):
    """Moments of some rows in float64: summed where X is, returned in NumPy."""
    moments = _Moments(0, np.zeros(X.shape[1]), np.zeros((X.shape[1], X.shape[1])))
    for start in range(0, rows.size, CHUNK_ROWS):
        chunk = _chunk_moments(_float64(_take(X, rows[start : start + CHUNK_ROWS])))
        moments = _merge(moments, chunk)
    return _Moments(moments.n_rows, to_numpy(moments.mean), to_numpy(moments.scatter))


def _moments_by_blocks(X: LargeRows, rows):
    """Moments of some rows of a source, in one pass that skips blocks without any."""
    moments = _Moments(0, np.zeros(X.shape[1]), np.zeros((X.shape[1], X.shape[1])))
    for start in range(0, X.shape[0], CHUNK_ROWS):
        first, last = np.searchsorted(rows, [start, start + CHUNK_ROWS])
        if first < last:
            block = X[start : start + CHUNK_ROWS][rows[first:last] - start]
            moments = _merge(moments, _chunk_moments(_float64(block)))
    return moments


def _take(X, rows):
    """Some rows of X, where X is."""
    if isinstance(X, np.ndarray):
        return X[rows]
    xp, _, device = get_namespace_and_device(X)
    return xp.take(X, xp.asarray(rows, device=device), axis=0)


def _float64(rows):
    """Rows in float64, in NumPy if their device has none."""
    xp, _, device = get_namespace_and_device(rows)
    if xp.float64 not in float_dtypes(xp, device):
        return to_numpy(rows).astype(np.float64)
    return xp.astype(rows, xp.float64, copy=False)


def _chunk_moments(controls):
    """Moments of float64 rows."""
    xp, _, _ = get_namespace_and_device(controls)
    first = controls[0, :]
    # Summing differences to the first row keeps a constant column exactly constant.
    shifted = controls - first
    offset = xp.mean(shifted, axis=0)
    shifted -= offset
    return _Moments(controls.shape[0], first + offset, shifted.T @ shifted)


def _merge(first, second):
    """Moments of the union of two sets of rows (Chan et al.)."""
    n1, mean1, scatter1 = first
    n2, mean2, scatter2 = second
    if n1 == 0 or n2 == 0:
        return second if n1 == 0 else first
    n = n1 + n2
    delta = mean2 - mean1
    scatter = scatter1 + scatter2 + (delta[:, None] * delta) * (n1 * n2 / n)
    return _Moments(n, mean1 + delta * (n2 / n), scatter)


def _knee_epsilon(values):
    """A tenth of the eigenvalue at the knee of the spectrum, relative to the largest one.

    Without a knee, as with fewer than three eigenvalues or a spectrum that bends the other way,
    it is a tenth of the largest eigenvalue.
    """
    if values.size < 3:
        return 0.1
    logs = np.log(values)
    position = np.linspace(0.0, 1.0, values.size)
    chord = logs[0] + (logs[-1] - logs[0]) * position
    depth = chord - logs
    # Rounding alone puts points of a straight line below it.
    knee = int(np.argmax(depth)) if depth.max() > 1e-9 * (logs[0] - logs[-1]) else 0
    return float(0.1 * values[knee] / values[0])
