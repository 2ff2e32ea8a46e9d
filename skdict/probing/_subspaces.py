"""What a linear map keeps of the embeddings, what it drops, and what each part knows."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch, check_random_state

from skdict._tables import columns_of
from skdict._units import Resampling
from skdict._validation import check_integer
from skdict.probing._folds import Features, probe_folds
from skdict.probing._logistic import ProbeSettings, fit_scaler, warn_not_converged
from skdict.probing._resampling import check_units, resample_predictions
from skdict.probing._rows import check_dense, check_rows
from skdict.probing._splits import outer_splits

SUBSPACES = ("row", "null", "random")


def split_subspaces(X, W, *, rcond=None, random_state=None) -> Bunch:
    r"""Split rows into what a linear map reads, what it drops, and a random part of equal size.

    For the map :math:`x \mapsto W^T x`, with Q an orthonormal basis of the columns of W and R one
    of a random subspace of the same dimension, the parts of a row x are

    .. math::

       x_\mathrm{row} = Q Q^T x, \qquad x_\mathrm{null} = x - x_\mathrm{row}, \qquad
       x_\mathrm{random} = R R^T x,

    so that :math:`W^T x_\mathrm{row} = W^T x` and :math:`W^T x_\mathrm{null} = 0`.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Embeddings.
    W : array-like, shape (n_features, n_outputs)
        The map, for example the projection between encoder and decoder of an autoencoder. The
        weight of a ``torch.nn.Linear`` is its transpose.
    rcond : float or None, default=None
        Singular values below this share of the largest count as zero; None is the precision of
        the dtype of `W` times its larger side.
    random_state : int, RandomState instance or None, default=None
        Draws the random subspace.

    Returns
    -------
    Bunch
        row, null, random : ndarray, shape (n_samples, n_features)
            The three parts. ``row + null`` is `X` and each row of ``row`` is orthogonal to that
            of ``null``, to rounding.
        dimension : int
            Rank of `W`, the dimension of "row" and "random".
        row_basis, random_basis : ndarray, shape (n_features, dimension)
            Q and R.

    Raises
    ------
    ValueError
        If `W` does not fit `X`, is zero, or values are NaN or infinite.

    See Also
    --------
    probe_subspaces : Probe the parts.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025,
       appendix A and Fig. 7B.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.probing import split_subspaces
    >>> X = np.random.default_rng(0).normal(size=(5, 4))
    >>> W = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    >>> parts = split_subspaces(X, W, random_state=0)
    >>> parts.dimension, bool(np.allclose(parts.null @ W, 0))
    (2, True)
    >>> bool(np.allclose(parts.row + parts.null, X))
    True
    """
    X = check_dense(X, "X")
    row_basis = _row_basis(X, W, rcond)
    random_basis = _random_basis(row_basis, check_random_state(random_state))
    row = _project(X, row_basis)
    return Bunch(
        row=row,
        null=X - row,
        random=_project(X, random_basis),
        dimension=row_basis.shape[1],
        row_basis=row_basis,
        random_basis=random_basis,
    )


def probe_subspaces(
    X,
    y,
    W,
    *,
    groups,
    cv,
    units,
    strata=None,
    subspaces=("row", "null", "random"),
    n_random=3,
    rcond=None,
    Cs=(0.001, 0.03, 1.0),
    inner_cv=3,
    max_iter=1000,
    tol=1e-4,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
    verbose=0,
    as_frame=False,
):
    """Probe the parts of :func:`split_subspaces`, relative to a probe of the whole rows.

    The paper's Fig. 7B for one layer: what the decoder does not read (the null part) knows as much
    as the whole, what it reads knows less, even less than a random subspace of equal dimension.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Embeddings of one layer.
    y : array-like, shape (n_samples,)
        Label to predict.
    W : array-like, shape (n_features, n_outputs)
        The map, see :func:`split_subspaces`.
    groups : array-like, shape (n_samples,), or None
        What is held out as a whole, see :func:`probe_representations`.
    cv : int or cross-validation splitter
        Outer folds, see :func:`probe_representations`.
    units : array-like, shape (n_samples,), or None
        Independent unit of each row, see :func:`probe_interval`.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these.
    subspaces : sequence of {"row", "null", "random"}, default=("row", "null", "random")
        Parts to probe beside the whole.
    n_random : int, default=3
        Random subspaces to draw; their accuracies are averaged.
    rcond : float or None, default=None
        See :func:`split_subspaces`.
    Cs : float or sequence of float, default=(0.001, 0.03, 1.0)
        Inverse regularisation strengths to choose from.
    inner_cv : int or cross-validation splitter, default=3
        Inner folds that choose C.
    max_iter : int, default=1000
        Iterations allowed for a probe.
    tol : float, default=1e-4
        Stopping tolerance of a probe.
    n_resamples : int, default=1000
        Number of resamples of the units.
    confidence_level : float, default=0.95
        Share of the resamples within the interval.
    random_state : int, RandomState instance or None, default=None
        Draws the random subspaces and the units, and shuffles the inner folds.
    verbose : int, default=0
        Print a line per fold and part.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a dict of columns.

    Returns
    -------
    dict of ndarray, or DataFrame
        One row for "whole" and one per subspace:

        subspace, dimension
            Which part; `n_features` less the rank of `W` for "null".
        balanced_accuracy, chance
            Of the pooled predictions of all folds; mean chance over the folds.
        relative_accuracy, low, high
            Balanced accuracy divided by that of "whole", and its interval by resampled units,
            paired.
        draw_spread
            Standard deviation of the relative accuracy over the random subspaces; 0 for others.
        n_units
            Units behind the interval.

    Raises
    ------
    ValueError
        As :func:`split_subspaces` and :func:`probe_interval`, or if `W` reads everything, so that
        there is no null part.

    Warns
    -----
    ConvergenceWarning
        Once, if final probes stopped at `max_iter`.
    UserWarning
        As :func:`probe_interval`.

    Notes
    -----
    All parts are centred and divided by the standard deviations of the *whole* training rows.
    Scaling every part by its own would blow up the rounding errors in the directions that the
    split has removed, which a probe could read.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.probing import probe_subspaces
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile([0, 1], 60)
    >>> X = rng.normal(size=(120, 6))
    >>> X[:, 5] += 3 * y
    >>> W = np.eye(6)[:, :2]  # reads the first two features, the label lies in the last
    >>> table = probe_subspaces(
    ...     X, y, W, groups=np.arange(120) // 10, cv=3, units=None, Cs=1.0, random_state=0
    ... )
    >>> table["subspace"].tolist(), table["dimension"].tolist()
    (['whole', 'row', 'null', 'random'], [6, 2, 4, 2])
    >>> table["relative_accuracy"].round(1)[:3]
    array([1. , 0.5, 1. ])
    """
    resampling = Resampling.checked(n_resamples, confidence_level, random_state)
    check_integer("n_random", n_random, 1)
    settings = ProbeSettings.checked(
        Cs=Cs,
        inner_cv=inner_cv,
        max_iter=max_iter,
        tol=tol,
        random_state=random_state,
        verbose=verbose,
    )
    X = check_dense(X, "X")
    data = check_rows(X.shape[0], y, groups)
    check_units(units, strata, X.shape[0], data.rows)
    row_basis = _row_basis(X, W, rcond)
    subspaces = _check_subspaces(subspaces, row_basis)
    rng = check_random_state(random_state)
    bases = [_random_basis(row_basis, rng) for _ in range(n_random)]
    parts = _parts(subspaces, row_basis, bases)
    run = probe_folds(_scaled_parts(X, parts), data, outer_splits(cv, data), settings)
    warn_not_converged(run.rows, max_iter)

    test = run.pooled("whole")[0]
    predictions = [run.pooled(name)[1] for name in parts]
    found, n_units = resample_predictions(
        data.y[test], predictions, test, units, strata, X.shape[0], resampling
    )
    chance = float(np.mean([row["chance"] for row in run.rows]))
    rank = row_basis.shape[1]
    dimensions = {"whole": X.shape[1], "null": X.shape[1] - rank}
    rows = []
    for name in ("whole", *subspaces):
        members = [i for i, part in enumerate(parts) if part.startswith(name)]
        rows.append(
            {"subspace": name, "dimension": dimensions.get(name, rank)}
            | _relative(found, members, resampling)
            | {"chance": chance, "n_units": n_units}
        )
    return columns_of(rows, as_frame)


def _relative(found, members, resampling) -> dict:
    """Accuracy of some predictions, averaged, divided by that of prediction 0."""
    scores, accuracies = found.accuracy(), found.accuracies()
    low, high = resampling.interval(accuracies[:, members].mean(axis=1) / accuracies[:, 0])
    return {
        "balanced_accuracy": float(scores[members].mean()),
        "relative_accuracy": float(scores[members].mean() / scores[0]),
        "low": float(low),
        "high": float(high),
        "draw_spread": float(scores[members].std(ddof=min(1, len(members) - 1)) / scores[0]),
    }


def _check_subspaces(subspaces, row_basis) -> tuple[str, ...]:
    """Validate the names, and that there is a null part if it is asked for."""
    subspaces = (subspaces,) if isinstance(subspaces, str) else tuple(subspaces)
    if not subspaces or not set(subspaces) <= set(SUBSPACES):
        raise ValueError(f"subspaces must be names among {SUBSPACES}, got {subspaces!r}")
    if len(set(subspaces)) < len(subspaces):
        raise ValueError(f"subspaces must be distinct, got {subspaces!r}")
    n_features, rank = row_basis.shape
    if "null" in subspaces and rank == n_features:
        raise ValueError(
            f"W reads all {n_features} dimensions of X, so that nothing is left for the null "
            'part; pass subspaces=("row",) or a map of lower rank'
        )
    return subspaces


def _parts(subspaces, row_basis, random_bases) -> dict:
    """Basis of each part, and whether it is the part outside of that basis."""
    parts = {"whole": (None, False)}
    for name in subspaces:
        if name == "random":
            parts |= {f"random_{i}": (basis, False) for i, basis in enumerate(random_bases)}
        else:
            parts[name] = (row_basis, name == "null")
    return parts


def _scaled_parts(X, parts):
    """Source of the parts, all scaled as the whole training rows are."""

    def source(train, test, controls):
        scaler = fit_scaler(StandardScaler(), X[train])
        mean, scale = scaler.mean_.astype(X.dtype), scaler.scale_.astype(X.dtype)
        for name, (basis, outside) in parts.items():
            features = []
            for rows in (train, test):
                centred = X[rows] - mean
                if basis is not None:
                    inside = _project(centred, basis)
                    centred = centred - inside if outside else inside
                features.append(centred / scale)
            yield Features(name, None, *features)

    return source


def _row_basis(X, W, rcond) -> np.ndarray:
    """Orthonormal basis of the columns of W, in the dtype of X."""
    W = check_dense(W, "W")
    if W.shape[0] != X.shape[1]:
        remedy = "; pass W.T" if W.shape[1] == X.shape[1] else ""
        raise ValueError(
            f"W must have one row per feature of X, {X.shape[1]}, got shape {W.shape}{remedy}"
        )
    if not W.any():
        raise ValueError("W must not be zero everywhere: it reads nothing of X")
    if rcond is None:
        rcond = np.finfo(W.dtype).eps * max(W.shape)  # of the dtype before the cast to float64
    return linalg.orth(W.astype(np.float64), rcond=rcond).astype(X.dtype)


def _random_basis(row_basis, rng) -> np.ndarray:
    """Orthonormal basis of a uniformly random subspace of the dimension of `row_basis`."""
    return linalg.qr(rng.standard_normal(row_basis.shape), mode="economic")[0].astype(
        row_basis.dtype
    )


def _project(X, basis) -> np.ndarray:
    return (X @ basis) @ basis.T
