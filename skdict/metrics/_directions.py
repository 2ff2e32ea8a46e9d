"""How far the rows of a label lie along a direction (Donhauser et al., ICML 2025, Fig. 3)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.metrics import roc_auc_score

from skdict._tables import table
from skdict._validation import check_integer
from skdict.metrics._atoms import check_atoms, unit_atoms
from skdict.metrics._labels import check_two_labels, encode_labels, locate_labels

# Float64 values of one block of rows.
_BLOCK_VALUES = 1 << 20


def direction_separation(
    X, directions, y, *, labels=None, n_bins: int = 50, as_frame: bool = False
):
    r"""Compare the cosines of a direction with the rows of one label and with all others.

    For each direction :math:`w` and its label, the cosines :math:`x \cdot w / (|x|\,|w|)` of the
    rows with this label are set against those of all other rows: as two histograms (Fig. 3 of
    [1]_), as the area under the ROC curve, and as an effect size.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Rows in the space of the directions: for atoms the dictionary's input, whitened and of
        unit length.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        The directions, usually ``components_`` of the features that were selective for the
        labels on *other* rows (:func:`best_features`).
    y : array-like, shape (n_samples,)
        One label per row. Drop rows that should be neither, for example controls.
    labels : array-like, shape (n_directions,), or a single label, or None, default=None
        The label of each direction; a label may have several. None means the sorted distinct
        labels of `y`, which then needs one direction each.
    n_bins : int, default=50
        Bins of the histograms over [-1, 1].
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch: a row per direction, without histograms
        and cosines.

    Returns
    -------
    Bunch or DataFrame
        labels : ndarray, shape (n_directions,)
            Label of each direction.
        auc : ndarray, shape (n_directions,)
            Probability that a row of the label has the larger cosine than another row, ties
            counted by half. 0.5 is chance.
        effect_size : ndarray, shape (n_directions,)
            Cohen's d: difference of the mean cosines divided by their pooled standard deviation;
            NaN where that is zero.
        mean_label, mean_other : ndarray, shape (n_directions,)
            Mean cosine of the rows of the label, and of the others.
        n_label, n_other : ndarray of int, shape (n_directions,)
            Number of rows of each.
        counts_label, counts_other : ndarray of int, shape (n_directions, n_bins)
            Histograms.
        edges : ndarray, shape (n_bins + 1,)
            Edges of the bins.
        cosines : ndarray, shape (n_samples, n_directions)
            The cosines themselves; 0 for a row of zeros.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, a direction is zero, or `y` has fewer
        than two labels.

    Notes
    -----
    A direction that was chosen because it separates these rows separates them by choice. Take
    the direction from one part of the plates or donors and the rows from another.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Fig. 3.

    Examples
    --------
    >>> from skdict.metrics import direction_separation
    >>> X = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    >>> found = direction_separation(X, [1.0, 0.0], ["a", "b", "a", "b"], labels="a", n_bins=4)
    >>> found.auc, found.counts_label, found.counts_other
    (array([0.75]), array([[0, 0, 0, 2]]), array([[0, 0, 1, 1]]))
    """
    check_integer("n_bins", n_bins, 1)
    directions = unit_atoms(np.atleast_2d(np.asarray(directions)), "directions")
    if not np.linalg.norm(directions, axis=1).all():
        raise ValueError("directions must not hold a row of zeros: it points nowhere")
    cosines = _row_cosines(X, directions)
    classes, index = encode_labels(y, cosines.shape[0])
    check_two_labels(classes)
    wanted = _labels_of_directions(labels, classes, directions.shape[0])
    edges = np.linspace(-1.0, 1.0, n_bins + 1)
    columns = []
    for cosine, label in zip(cosines.T, wanted, strict=True):
        member = index == label
        inside, outside = cosine[member], cosine[~member]
        columns.append(
            {
                "auc": roc_auc_score(member, cosine),
                "effect_size": _cohen_d(inside, outside),
                "mean_label": inside.mean(),
                "mean_other": outside.mean(),
                "n_label": inside.size,
                "n_other": outside.size,
                "counts_label": np.histogram(inside, bins=edges)[0],
                "counts_other": np.histogram(outside, bins=edges)[0],
            }
        )
    found = {name: np.array([column[name] for column in columns]) for name in columns[0]}
    histograms = {name: found.pop(name) for name in ("counts_label", "counts_other")}
    return table(
        {"labels": classes[wanted], **found},
        as_frame,
        **histograms,
        edges=edges,
        cosines=cosines,
    )


def _row_cosines(X, directions) -> np.ndarray:
    """Cosine of every row with every unit direction, in blocks of rows."""
    if sparse.issparse(X):
        raise TypeError("X must be dense, got a sparse matrix: pass X.toarray()")
    X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"X must be two-dimensional (n_samples, n_features) and not empty, got shape {X.shape}"
        )
    if X.shape[1] != directions.shape[1]:
        raise ValueError(
            f"directions must have the {X.shape[1]} features of X, got {directions.shape[1]}; "
            "rows must lie in the space of the atoms, usually pipeline[:-1].transform(X)"
        )
    cosines = np.empty((X.shape[0], directions.shape[0]))
    n_rows = max(1, _BLOCK_VALUES // X.shape[1])
    for start in range(0, X.shape[0], n_rows):
        rows = slice(start, start + n_rows)
        cosines[rows] = unit_atoms(check_atoms(X[rows], "X"), "X") @ directions.T
    return np.clip(cosines, -1.0, 1.0, out=cosines)


def _labels_of_directions(labels, classes, n_directions) -> np.ndarray:
    """Position in `classes` of the label of each direction."""
    if labels is None:
        wanted = np.arange(classes.shape[0])
    else:
        labels = np.atleast_1d(np.asarray(labels))
        known = locate_labels(np.unique(labels), classes)
        wanted = known[np.unique(labels, return_inverse=True)[1]]
    if wanted.shape[0] != n_directions:
        raise ValueError(
            f"labels must name one label per direction: got {wanted.shape[0]} labels for "
            f"{n_directions} directions"
        )
    return wanted


def _cohen_d(inside, outside) -> float:
    """Difference of the means in units of the pooled standard deviation."""
    freedom = inside.size + outside.size - 2
    squares = inside.var() * inside.size + outside.var() * outside.size
    # cosines that are all equal vary by rounding only
    if freedom < 1 or squares <= freedom * 1e-28:
        return np.nan
    return float((inside.mean() - outside.mean()) / np.sqrt(squares / freedom))
