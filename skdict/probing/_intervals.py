"""Intervals of balanced accuracy: the units are resampled, not the rows, folds or seeds."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._units import Resampler, Resampling, is_missing, read_units, warn_single_units
from skdict.probing._resampling import resample_recall


def probe_interval(
    y_true,
    y_pred,
    *,
    units,
    strata=None,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
) -> Bunch:
    r"""Balanced accuracy of predictions, with an interval by resampled units.

    Balanced accuracy is the mean over labels of their recall,

    .. math:: B = \frac{1}{|L|} \sum_{i \in L} \frac{h_i}{n_i},

    with :math:`n_i` rows of label i, of which :math:`h_i` are predicted rightly. Units are drawn
    with replacement, as many as there are in each stratum, and B is computed from their rows.
    The interval holds the middle `confidence_level` of these values.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Labels.
    y_pred : array-like, shape (n_samples,)
        Predictions for rows that the probe did not see, for example the table that
        ``probe_representations(..., return_predictions=True)`` returns.
    units : array-like, shape (n_samples,), or None
        Independent unit of each row: physical well, plate, donor. The rows of a unit share its
        fate: cells of a well or images of a field say the same thing many times. None makes
        every row a unit.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these (plate, batch, label), so that each keeps its number of
        units. None is a single stratum.
    n_resamples : int, default=1000
        Number of resamples.
    confidence_level : float, default=0.95
        Share of the resamples within the interval.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Bunch
        balanced_accuracy, low, high : float
            The score and its percentile interval.
        standard_error : float
            Standard deviation over the resamples.
        labels, recall, recall_low, recall_high : ndarray, shape (n_labels,)
            Recall of every label and its interval; NaN for a label with a single unit.
        n_units_per_label, n_samples_per_label : ndarray of int, shape (n_labels,)
            How much each label rests on.
        n_units, n_strata, n_samples, n_resamples : int
            Counts.
        confidence_level : float
            As given.
        resamples : ndarray, shape (n_resamples,)
            Balanced accuracy of each resample.

    Raises
    ------
    ValueError
        If lengths differ, a unit lies in several strata, or no stratum has two units.

    Warns
    -----
    UserWarning
        If labels have a single unit, or units are alone in their stratum: their own sampling
        error is not in the interval.

    See Also
    --------
    probe_difference_interval : The same for the difference of two predictions.

    Notes
    -----
    The probe is not refitted: the interval is that of the given predictions for new units, and
    does not hold the luck of the training rows. A resample without any row of a label takes the
    mean over the other labels; ``strata=y_true`` avoids it where each unit has one label.

    Rows that several folds or seeds have predicted may be there several times: then `units` must
    name the row (or what it belongs to), because with None each prediction would be a unit.

    References
    ----------
    .. [1] B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.probing import probe_interval
    >>> y_true = np.repeat(["a", "b"], 60)
    >>> y_pred = np.where(np.arange(120) % 4 == 0, "b", y_true)
    >>> wells = np.arange(120) // 3
    >>> found = probe_interval(y_true, y_pred, units=wells, random_state=0)
    >>> found.balanced_accuracy, round(found.low, 2), round(found.high, 2), found.n_units
    (0.875, 0.84, 0.91, 40)
    """
    settings = Resampling.checked(n_resamples, confidence_level, random_state)
    classes, label, (correct,) = _read(y_true, y_pred=y_pred)
    unit = read_units(units, strata, label.shape[0])
    found = resample_recall(label, [correct], Resampler(unit, stacklevel=3), settings)
    warn_single_units(found.n_units_per_label, stacklevel=3)
    accuracies = found.accuracies()[:, 0]
    low, high = settings.interval(accuracies)
    recall_low, recall_high = settings.interval(found.resampled[:, 0])
    single = found.n_units_per_label == 1
    return Bunch(
        balanced_accuracy=float(found.accuracy()[0]),
        low=float(low),
        high=float(high),
        standard_error=_standard_error(accuracies),
        labels=classes,
        recall=found.observed[0],
        recall_low=np.where(single, np.nan, recall_low),
        recall_high=np.where(single, np.nan, recall_high),
        n_units_per_label=found.n_units_per_label,
        n_samples_per_label=found.n_rows_per_label,
        n_units=unit.n_units,
        n_strata=unit.n_strata,
        n_samples=label.shape[0],
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        resamples=accuracies,
    )


def probe_difference_interval(
    y_true,
    y_pred,
    y_pred_other,
    *,
    units,
    strata=None,
    n_resamples=1000,
    confidence_level=0.95,
    random_state=None,
) -> Bunch:
    """Difference of the balanced accuracies of two predictions, with a paired interval.

    Both are computed on the same resampled units, so that what makes a unit hard for both does
    not widen the interval: take this to compare representations, not two overlapping intervals.

    Parameters
    ----------
    y_true : array-like, shape (n_samples,)
        Labels.
    y_pred : array-like, shape (n_samples,)
        Predictions from one representation.
    y_pred_other : array-like, shape (n_samples,)
        Predictions of the same rows from another one.
    units : array-like, shape (n_samples,), or None
        Independent unit of each row, see :func:`probe_interval`.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are drawn within these.
    n_resamples : int, default=1000
        Number of resamples.
    confidence_level : float, default=0.95
        Share of the resamples within the interval.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    Bunch
        difference, low, high : float
            Balanced accuracy of `y_pred` minus that of `y_pred_other`, and its interval.
        balanced_accuracy, balanced_accuracy_other : float
            The two scores.
        standard_error : float
            Standard deviation of the difference over the resamples.
        n_units, n_strata, n_samples, n_resamples : int
            Counts.
        confidence_level : float
            As given.
        resamples : ndarray, shape (n_resamples,)
            The difference in each resample.

    Raises
    ------
    ValueError
        As :func:`probe_interval`.

    Warns
    -----
    UserWarning
        As :func:`probe_interval`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.probing import probe_difference_interval
    >>> y_true = np.repeat(["a", "b"], 60)
    >>> raw = np.where(np.arange(120) % 4 == 0, "b", y_true)
    >>> codes = np.where(np.arange(120) % 3 == 0, "b", y_true)
    >>> found = probe_difference_interval(
    ...     y_true, raw, codes, units=np.arange(120) // 3, random_state=0
    ... )
    >>> round(found.difference, 3), found.low < found.difference < found.high
    (0.042, True)
    """
    settings = Resampling.checked(n_resamples, confidence_level, random_state)
    _, label, correct = _read(y_true, y_pred=y_pred, y_pred_other=y_pred_other)
    unit = read_units(units, strata, label.shape[0])
    found = resample_recall(label, correct, Resampler(unit, stacklevel=3), settings)
    warn_single_units(found.n_units_per_label, stacklevel=3)
    scores, accuracies = found.accuracy(), found.accuracies()
    differences = accuracies[:, 0] - accuracies[:, 1]
    low, high = settings.interval(differences)
    return Bunch(
        difference=float(scores[0] - scores[1]),
        low=float(low),
        high=float(high),
        balanced_accuracy=float(scores[0]),
        balanced_accuracy_other=float(scores[1]),
        standard_error=_standard_error(differences),
        n_units=unit.n_units,
        n_strata=unit.n_strata,
        n_samples=label.shape[0],
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        resamples=differences,
    )


def _read(y_true, **predictions):
    """Distinct labels, index of each row's label, and which rows each prediction has right."""
    for name, values in {"y_true": y_true, **predictions}.items():
        if np.ndim(values) == 1 and is_missing(values).any():
            raise ValueError(f"{name} holds missing values; drop these rows")
    y_true = np.asarray(y_true)
    if y_true.ndim != 1 or y_true.shape[0] == 0:
        raise ValueError(f"y_true must be one-dimensional and not empty, got {y_true.shape}")
    try:
        classes, label = np.unique(y_true, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"y_true must hold labels of one type ({error})") from error
    correct = []
    for name, y_pred in predictions.items():
        y_pred = np.asarray(y_pred)
        if y_pred.shape != y_true.shape:
            raise ValueError(
                f"{name} must have one entry per row of y_true: got shape {y_pred.shape} for "
                f"{y_true.shape[0]} rows"
            )
        if _holds_strings(y_pred) != _holds_strings(y_true):
            raise ValueError(
                f"{name} must hold labels of the kind of y_true, got dtype {y_pred.dtype} for "
                f"{y_true.dtype}"
            )
        correct.append(np.asarray(y_pred == y_true, dtype=bool))
    return classes, label, correct


def _holds_strings(labels: np.ndarray) -> bool:
    """Whether labels are strings, also in a column of objects."""
    if labels.dtype.kind == "O":
        return any(isinstance(label, str) for label in labels.tolist())
    return labels.dtype.kind in "US"


def _standard_error(values) -> float:
    """Standard deviation over the resamples; NaN for a single one."""
    return float(values.std(ddof=1)) if values.shape[0] > 1 else float("nan")
