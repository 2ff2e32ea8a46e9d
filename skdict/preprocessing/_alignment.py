"""Batches on common ground: mean and covariance of each batch's own controls."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from skdict._units import is_missing
from skdict._validation import check_control, check_real, host_array


class _Controls(NamedTuple):
    """Mean, scatter and number of the controls of one batch."""

    mean: np.ndarray
    scatter: np.ndarray
    n_rows: int


def align_batches(X, *, batch, control, shrinkage=1 / 3):
    r"""Give the controls of every batch the same mean and covariance.

    Rows x of batch b become

    .. math:: x' = \mu + T^{1/2} \, \tilde S_b^{-1/2} \, T^{-1/2} (x - \mu_b) , \qquad
              \tilde S_b = T^{-1/2} \left( (1 - \lambda) S_b + \lambda T \right) T^{-1/2} ,

    where :math:`\mu_b` and :math:`S_b` are mean and covariance of the controls of the batch,
    :math:`\mu` the mean of all controls, :math:`T` the covariance of controls within batches
    (pooled), and :math:`\lambda` the `shrinkage`. With ``shrinkage=0`` the controls of each batch
    have mean :math:`\mu` and covariance :math:`T` exactly. Labels are never looked at.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Embeddings of all batches.
    batch : array-like of shape (n_samples,)
        The batch of each row: plate, experiment, run.
    control : array-like of bool of shape (n_samples,)
        True where a row is a control; every batch needs some.
    shrinkage : float, default=1/3
        How far the covariance of a batch is drawn to the pooled one. 0 trusts each batch and needs
        clearly more controls in it than features; 1 aligns the means only. The default is the
        regularisation of EFAAR [1]_, which adds 0.5 I to the covariance of whitened controls: up
        to a factor, :math:`(S + 0.5 I) / 1.5`.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        Aligned embeddings in the order of X, of its floating-point type.

    Raises
    ------
    ValueError
        If X holds NaN or infinity, a length differs, `batch` has missing values, a batch has fewer
        than 2 controls (1 for ``shrinkage=1``), `shrinkage` is not between 0 and 1, or it is 0 and
        the controls of a batch do not span what those of the others do.
    TypeError
        If `shrinkage` is not a number.

    See Also
    --------
    skdict.ControlPCAWhitener : Whitening on all controls, to follow in the pipeline.

    Notes
    -----
    This is the "typical variation normalisation" of cell imaging [2]_: correlation alignment
    (CORAL, [3]_) in the whitened space of the controls, batch by batch. EFAAR standardises,
    rotates and standardises again per batch before it; here the pooled covariance does all of
    that, and the result returns to the scale of X, so that it can be compared with X itself.
    Directions in which no control varies within its batch are shifted, not scaled.

    A function and not a transformer, since ``batch`` cannot reach ``transform`` when a model
    predicts. Call it once on all rows, before cross-validation: what a row becomes depends on the
    controls of all batches, through T and the common mean, but on no label and on no treated row.
    It cannot help where batch and label are one thing, and an effect that controls share with
    treated rows goes with the batch.

    References
    ----------
    .. [1] Celik et al. "Building, benchmarking, and exploring perturbative maps of transcriptional
       and morphological data." PLOS Computational Biology 2024, and its code, EFAAR_benchmarking.
    .. [2] Ando, McLean, Berndl. "Improving phenotypic measurements in high-content imaging
       screens." bioRxiv 2017.
    .. [3] Sun, Feng, Saenko. "Return of frustratingly easy domain adaptation." AAAI 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.preprocessing import align_batches
    >>> X = np.array([[0.0], [2.0], [5.0], [10.0], [14.0], [16.0]])
    >>> batch = np.array(["a", "a", "a", "b", "b", "b"])
    >>> control = np.array([True, True, False, True, True, False])
    >>> aligned = align_batches(X, batch=batch, control=control, shrinkage=0)
    >>> [round(float(aligned[control & (batch == b)].mean()), 3) for b in "ab"]
    [6.5, 6.5]
    >>> [round(float(aligned[control & (batch == b)].var(ddof=1)), 3) for b in "ab"]
    [5.0, 5.0]
    """
    X = check_array(host_array(X), dtype=[np.float64, np.float32], input_name="X")
    check_real("shrinkage", shrinkage, 0.0, 1.0)
    names, index = _encode_batches(batch, X.shape[0])
    if control is None:
        raise ValueError(
            "control must be a boolean mask, got None: batches are aligned on their controls"
        )
    rows = check_control(control, X.shape[0])
    _check_controls_of_batches(names, np.bincount(index[rows], minlength=len(names)), shrinkage)
    is_control = np.zeros(X.shape[0], dtype=bool)
    is_control[rows] = True
    n_batches = len(names)
    common = X[rows].mean(axis=0, dtype=np.float64)
    # Scatters are formed twice, since all at once would not fit for hundreds of batches.
    pooled = sum(_moments(X[is_control & (index == b)]).scatter for b in range(n_batches))
    covariance = pooled / max(rows.size - n_batches, 1)
    resolution = np.finfo(X.dtype).eps * np.abs(common)
    whiten, restore = _whitening(covariance, rows.size, resolution)
    aligned = np.empty_like(X)
    for b in range(n_batches):
        members = index == b
        controls = _moments(X[is_control & members])
        moved = X[members] - controls.mean
        if shrinkage < 1:
            # Added to the rows, and so without effect where no control varies.
            moved += moved @ whiten @ _correction(controls, whiten, shrinkage, names[b]) @ restore.T
        aligned[members] = moved + common
    return aligned


def _encode_batches(batch, n_samples):
    """Names of the batches and the index of the batch of each row."""
    given, batch = batch, np.asarray(batch)
    if batch.shape != (n_samples,):
        raise ValueError(
            f"batch must have one entry per row of X, shape ({n_samples},), got {batch.shape}"
        )
    missing = np.flatnonzero(is_missing(given))
    if missing.size:
        raise ValueError(
            f"batch holds missing values, the first in row {missing[0]}; drop these rows or give "
            "them a batch of their own with controls"
        )
    try:
        names, index = np.unique(batch, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"batch must hold names of one type that can be sorted ({error})"
        ) from error
    return names.tolist(), index


def _check_controls_of_batches(names, n_control, shrinkage):
    """Raise unless each batch has as many controls as its covariance (or mean) needs."""
    minimum = 1 if shrinkage == 1 else 2
    short = np.flatnonzero(n_control < minimum)
    if short.size:
        first = short[0]
        raise ValueError(
            f"control must mark at least {minimum} row(s) in every batch, but batch "
            f"{names[first]!r} has {n_control[first]} ({short.size} such batch(es) of "
            f"{len(names)}); drop these batches, join them to the one that they were measured "
            "with" + ("" if shrinkage == 1 else ", or align means only with shrinkage=1")
        )


def _moments(rows):
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    return _Controls(mean, centred.T @ centred, rows.shape[0])


def _whitening(covariance, n_rows, resolution):
    """Matrices to and from whitened rows, both (n_features, n_directions).

    Directions without variance are left out: ``rows @ whiten @ restore.T`` loses them.
    """
    deviation = np.sqrt(np.diag(covariance))
    # A feature constant within batches keeps rounding noise. The others are brought to one scale,
    # which changes nothing but which eigenvalues are lost in the rounding of the largest.
    deviation[deviation <= 2 * resolution] = 0.0
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    values, vectors = np.linalg.eigh(covariance * inverse * inverse[:, None])
    floor = max(n_rows, values.shape[0]) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    kept = values > floor
    scale = np.sqrt(values[kept])
    return vectors[:, kept] / scale * inverse[:, None], vectors[:, kept] * scale * deviation[
        :, None
    ]


def _correction(controls, whiten, shrinkage, name):
    """What to multiply whitened rows with to get the change that aligns them."""
    covariance = whiten.T @ controls.scatter @ whiten / (controls.n_rows - 1)
    n_directions = covariance.shape[0]
    if n_directions == 0:
        return covariance
    covariance *= 1 - shrinkage
    covariance[np.diag_indices(n_directions)] += shrinkage
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= max(controls.n_rows, n_directions) * np.finfo(np.float64).eps * values[-1]:
        raise ValueError(
            f"shrinkage={shrinkage} cannot align batch {name!r}: its {controls.n_rows} controls do "
            f"not vary in all {n_directions} directions of the controls of all batches; use "
            "shrinkage > 0"
        )
    scaling = (vectors / np.sqrt(values)) @ vectors.T
    scaling[np.diag_indices(n_directions)] -= 1
    return scaling
