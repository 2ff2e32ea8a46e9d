"""Labels as indices, and counts of active samples per label and component."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._units import is_missing


def encode_labels(y, n_samples: int, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct labels and the index of each sample's label.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
        One label per sample.
    n_samples : int
        Number of rows of the codes.
    name : str, default="y"
        Name of the parameter, for the messages.

    Returns
    -------
    classes : ndarray, shape (n_labels,)
        ``np.unique(y)``.
    index : ndarray of int, shape (n_samples,)
        ``classes[index]`` is `y`.

    Raises
    ------
    ValueError
        If `y` has a wrong shape or length, or missing values.
    """
    given, y = y, np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, one label per sample, got {y.shape}")
    if y.shape[0] != n_samples:
        raise ValueError(
            f"{name} must have one entry per row of the codes: got {y.shape[0]} entries for "
            f"{n_samples} rows"
        )
    if is_missing(given).any():
        raise ValueError(
            f"{name} holds missing values; drop these rows or give them a label of their own"
        )
    try:
        classes, index = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"{name} must hold labels of one type that can be sorted ({error})"
        ) from error
    return classes, index


def check_two_labels(classes: np.ndarray, name: str = "y") -> None:
    """Raise ValueError when there is no other label to compare with."""
    if classes.shape[0] < 2:
        raise ValueError(
            f"{name} must hold at least two labels, got {classes.tolist()!r}: selectivity "
            "compares each label with the others"
        )


def locate_labels(
    labels, classes: np.ndarray, name: str = "y", parameter: str = "labels"
) -> np.ndarray:
    """Return the positions of `labels` in `classes`; all positions for None.

    Parameters
    ----------
    labels : array-like, shape (n_scored,), or None
        Distinct labels among `classes`.
    classes : ndarray, shape (n_labels,)
        Sorted distinct labels.
    name : str, default="y"
        Name of the array that `classes` came from, for the messages.
    parameter : str, default="labels"
        Name of the parameter `labels` came from, likewise.

    Returns
    -------
    ndarray of int, shape (n_scored,)
        Positions, in the order of `labels`.

    Raises
    ------
    ValueError
        If `labels` is not one-dimensional, is empty, repeats a label or names an unknown one.
    """
    if labels is None:
        return np.arange(classes.shape[0])
    if isinstance(labels, (str, bytes)):
        raise ValueError(f"{parameter} must be a list of labels, got the string {labels!r}")
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.shape[0] == 0:
        raise ValueError(f"{parameter} must be a non-empty list of labels, got {labels.tolist()!r}")
    position = {label: i for i, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in position]
    if unknown:
        raise ValueError(f"{parameter} must occur in {name}, but these do not: {unknown[:5]!r}")
    found = np.array([position[label] for label in labels.tolist()], dtype=np.intp)
    if np.unique(found).shape[0] != found.shape[0]:
        raise ValueError(f"{parameter} must not repeat a label, got {labels.tolist()!r}")
    return found


def label_counts(pattern: sparse.csr_array, index: np.ndarray, n_labels: int) -> np.ndarray:
    """Count the active samples of every label and component.

    The rows are brought into the order of their labels; then a label is one long row with
    repeated columns, which ``toarray`` adds up. Cost and temporary memory follow the number of
    active codes, and the only dense array is the result.

    Parameters
    ----------
    pattern : csr_array of int32, shape (n_rows, n_components)
        One where a code is active; or number of active samples, where a row is a unit of many.
    index : ndarray of int, shape (n_rows,)
        Label index of each row.
    n_labels : int
        Number of labels.

    Returns
    -------
    ndarray of int32, shape (n_labels, n_components)
        Exact counts.
    """
    small = np.uint16 if n_labels <= 1 << 16 else np.int64  # NumPy sorts 16-bit integers by radix
    order = np.argsort(index.astype(small), kind="stable")
    bounds = np.concatenate(([0], np.cumsum(np.bincount(index, minlength=n_labels))))
    ordered = pattern[order]
    long_rows = sparse.csr_array(
        (ordered.data, ordered.indices, ordered.indptr[bounds]),
        shape=(n_labels, pattern.shape[1]),
    )
    return long_rows.toarray()
