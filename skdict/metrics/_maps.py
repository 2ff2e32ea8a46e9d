"""Maps of perturbations, and which concepts make the difference between two of them."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._units import read_units
from skdict._validation import check_boolean_or, check_choice, check_integer
from skdict.metrics._activity import check_codes
from skdict.metrics._atoms import check_atoms, unit_atoms
from skdict.metrics._labels import encode_labels, locate_labels


def aggregate_embeddings(X, y, *, units=None, labels=None) -> Bunch:
    """Mean embedding of every perturbation.

    With `units`, rows are averaged within each unit first and units then count alike, so that
    a plate with many wells, or a donor with many cells, does not decide.

    Parameters
    ----------
    X : array-like or sparse, shape (n_samples, n_features)
        Embeddings, or codes.
    y : array-like, shape (n_samples,)
        Perturbation of each row.
    units : array-like, shape (n_samples,), or None, default=None
        The independent unit of each row: physical well, plate, donor. None weighs rows alike.
    labels : array-like or None, default=None
        Perturbations to aggregate; None means all, sorted.

    Returns
    -------
    Bunch
        labels : ndarray, shape (n_labels,)
            The perturbations.
        embeddings : ndarray of float64, shape (n_labels, n_features)
            Their mean embeddings.
        n_rows, n_units : ndarray of int, shape (n_labels,)
            Number of rows and of units behind each.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing, NaN or infinite, or a label does not occur.

    Examples
    --------
    >>> from skdict.metrics import aggregate_embeddings
    >>> X = [[0.0], [0.0], [3.0], [5.0]]
    >>> aggregate_embeddings(X, ["a", "a", "a", "b"], units=[1, 1, 2, 2]).embeddings
    array([[1.5],
           [5. ]])
    """
    X = check_codes(X, "X")
    classes, index = encode_labels(y, X.shape[0])
    wanted = locate_labels(labels, classes)
    weights, n_units = _mean_weights(index, units, wanted)
    return Bunch(
        labels=classes[wanted],
        embeddings=_dense(weights @ X),
        n_rows=np.diff(weights.indptr),
        n_units=n_units,
    )


def perturbation_map(X, y, *, units=None, labels=None, order: str = "cluster") -> Bunch:
    """Cosines between the mean embeddings of perturbations.

    Perturbations of one pathway tend to point the same way once the embeddings are centred, or
    whitened, on the controls; without that, all cosines are near one.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Embeddings with the controls at the origin.
    y : array-like, shape (n_samples,)
        Perturbation of each row.
    units : array-like, shape (n_samples,), or None, default=None
        See :func:`aggregate_embeddings`.
    labels : array-like or None, default=None
        Perturbations of the map; None means all. Leave the controls out: their mean is near
        the origin and has no direction.
    order : {"cluster", "label"}, default="cluster"
        Order of rows and columns: the leaves of an average linkage on ``1 - cosine``, so that
        similar perturbations are neighbours, or that of `labels`.

    Returns
    -------
    Bunch
        labels : ndarray, shape (n_labels,)
            The perturbations, in the order of the map.
        cosine : ndarray, shape (n_labels, n_labels)
            The map; symmetric with ones on the diagonal (0 for an embedding of zeros).
        embeddings : ndarray, shape (n_labels, n_features)
            Mean embeddings.
        n_rows, n_units : ndarray of int, shape (n_labels,)
            Number of rows and of units behind each.

    Raises
    ------
    ValueError
        As :func:`aggregate_embeddings`, or if `order` is unknown.

    See Also
    --------
    explain_difference : Which concepts make the difference between two of them.

    References
    ----------
    .. [1] Celik et al., "Building, benchmarking, and exploring perturbative maps of
       transcriptional and morphological data", PLOS Computational Biology, 2024.

    Examples
    --------
    >>> from skdict.metrics import perturbation_map
    >>> X = [[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]
    >>> found = perturbation_map(X, ["a", "b", "c"], order="label")
    >>> found.cosine.round(2).tolist()
    [[1.0, 0.0, 0.6], [0.0, 1.0, 0.8], [0.6, 0.8, 1.0]]
    >>> perturbation_map(X, ["a", "b", "c"]).labels.tolist()
    ['a', 'c', 'b']
    """
    check_choice("order", order, ("cluster", "label"))
    means = aggregate_embeddings(X, y, units=units, labels=labels)
    rows = unit_atoms(means.embeddings, "X")
    cosine = np.clip(rows @ rows.T, -1.0, 1.0)
    cosine = (cosine + cosine.T) / 2
    kept = np.arange(cosine.shape[0])
    np.fill_diagonal(cosine, np.where(rows.any(axis=1), 1.0, 0.0))
    if order == "cluster" and cosine.shape[0] > 2:
        distance = 1.0 - cosine
        np.fill_diagonal(distance, 0.0)
        kept = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))
    return Bunch(
        labels=means.labels[kept],
        cosine=cosine[np.ix_(kept, kept)],
        embeddings=means.embeddings[kept],
        n_rows=means.n_rows[kept],
        n_units=means.n_units[kept],
    )


def explain_difference(
    X,
    codes,
    components,
    y,
    a,
    b,
    *,
    units=None,
    intercept=None,
    normalize: bool = False,
    n_concepts=10,
    as_frame: bool = False,
):
    r"""Which concepts make the difference between two perturbations.

    A map tells how similar two perturbations are, not why. With the mean embeddings
    :math:`\bar x` and mean codes :math:`\bar z` of the rows of `a` and of `b`, the difference
    is a sum over concepts and a rest,

    .. math:: \Delta = \bar x_a - \bar x_b
              = \sum_m (\bar z_a - \bar z_b)_m w_m + \rho ,

    because the intercept cancels. The share of concept m is the part of it along the
    difference, :math:`s_m = (\bar z_a - \bar z_b)_m \, w_m \cdot \Delta / |\Delta|^2`. Shares and
    residual share add up to one, exactly.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Rows in the space of the atoms, the dictionary's input.
    codes : array-like or sparse, shape (n_samples, n_components)
        Their codes.
    components : array-like, shape (n_components, n_features)
        The atoms, ``components_``.
    y : array-like, shape (n_samples,)
        Perturbation of each row.
    a, b : label
        The two perturbations.
    units : array-like, shape (n_samples,), or None, default=None
        Average within units first; see :func:`aggregate_embeddings`.
    intercept : array-like, shape (n_features,), or None, default=None
        ``intercept_`` of the dictionary. Needed with `normalize` only: there it does not
        cancel, and its part is the column ``intercept_share``.
    normalize : bool, default=False
        Divide mean embedding and codes of each perturbation by the norm of its mean embedding
        first. Then :math:`|\Delta|^2 = 2 (1 - \cos(\bar x_a, \bar x_b))`: the shares divide
        what is missing to a cosine of one, and the strength of an effect does not count.
    n_concepts : int or None, default=10
        How many concepts to return, those with the largest shares; None returns all whose
        mean codes differ.
    as_frame : bool, default=False
        Return the table of the concepts as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        component : ndarray of int, shape (n_returned,)
            Concepts in descending order of their shares.
        share : ndarray, shape (n_returned,)
            Their shares. A negative share is a concept that works against the difference.
        cumulative_share : ndarray, shape (n_returned,)
            Sum of the shares so far.
        code_a, code_b : ndarray, shape (n_returned,)
            Mean codes (divided by the norms with `normalize`).
        explained_share : float
            Sum of the shares of *all* concepts.
        intercept_share : float
            Share of the intercept, 0 unless `normalize`.
        residual_share : float
            What the dictionary leaves: the three add up to 1.
        squared_distance : float
            :math:`|\Delta|^2`.
        cosine : float
            Cosine of the two mean embeddings. For means of norms p and q,
            :math:`|\Delta|^2 = p^2 + q^2 - 2 p q \cos`.
        n_rows, n_units : tuple of int
            Rows and units of `a` and of `b`.

    Raises
    ------
    ValueError
        If shapes do not fit, a label does not occur, `a` is `b`, the two means are equal, or with
        `normalize` a mean embedding is zero.

    See Also
    --------
    perturbation_map : The cosines between all perturbations.

    Notes
    -----
    Shares describe the dictionary's account of the two means; they are no test. Atoms
    are correlated: of two similar ones either may carry the share. Means over few rows hold
    noise, and so does their difference: look at the same pair in another part of the units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import explain_difference
    >>> codes = np.array([[4.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    >>> found = explain_difference(codes @ np.eye(3), codes, np.eye(3), ["a", "b"], "a", "b")
    >>> found.component, found.share, found.residual_share
    (array([0, 1]), array([0.8, 0.2]), 0.0)
    """
    check_boolean_or("normalize", normalize, ())
    if n_concepts is not None:
        check_integer("n_concepts", n_concepts, 1)
    X, codes, components = _check_triple(X, codes, components)
    classes, index = encode_labels(y, X.shape[0])
    if a == b:
        raise ValueError(f"a and b must be two different labels, got {a!r} twice")
    weights, n_units = _mean_weights(index, units, locate_labels([a, b], classes))
    means, mean_codes = _dense(weights @ X), _dense(weights @ codes)
    lengths = np.linalg.norm(means, axis=1)
    cosine = float(means[0] @ means[1] / (lengths.prod() or 1.0))
    offset = np.zeros(X.shape[1])
    if normalize:
        offset = _normalized_offset(intercept, lengths, (a, b), X.shape[1])
        means, mean_codes = means / lengths[:, None], mean_codes / lengths[:, None]
    difference, code_difference = means[0] - means[1], mean_codes[0] - mean_codes[1]
    squared = float(difference @ difference)
    if squared <= 1e-28 * float((means**2).sum()):  # what rounding leaves of equal means
        raise ValueError(f"the mean embeddings of a={a!r} and b={b!r} are equal")
    share = code_difference * (components @ difference) / squared
    intercept_share = float(offset @ difference / squared)
    differing = np.flatnonzero(code_difference)
    chosen = differing[np.argsort(-share[differing], kind="stable")][:n_concepts]
    concepts = {
        "component": chosen,
        "share": share[chosen],
        "cumulative_share": np.cumsum(share[chosen]),
        "code_a": mean_codes[0, chosen],
        "code_b": mean_codes[1, chosen],
    }
    return table(
        concepts,
        as_frame,
        explained_share=float(share.sum()),
        intercept_share=intercept_share,
        residual_share=float(1.0 - share.sum() - intercept_share),
        squared_distance=squared,
        cosine=float(np.clip(cosine, -1.0, 1.0)),
        n_rows=tuple(np.diff(weights.indptr).tolist()),
        n_units=tuple(n_units.tolist()),
    )


def _check_triple(X, codes, components):
    """Validate rows, codes and atoms against each other."""
    X, codes, components = check_codes(X, "X"), check_codes(codes), check_atoms(components)
    if X.shape[0] != codes.shape[0]:
        raise ValueError(
            f"X and codes must have the same rows, got {X.shape[0]} and {codes.shape[0]}"
        )
    if (codes.shape[1], X.shape[1]) != components.shape:
        raise ValueError(
            "components must have shape (n_components, n_features) = "
            f"({codes.shape[1]}, {X.shape[1]}) as codes and X have it, got {components.shape}; "
            "X must lie in the space of the atoms, usually pipeline[:-1].transform(X)"
        )
    return X, codes, components


def _normalized_offset(intercept, lengths, labels, n_features) -> np.ndarray:
    """What the intercept adds to the difference of two normalised means."""
    if not lengths.all():
        raise ValueError(
            f"normalize=True needs mean embeddings that are not zero, but that of "
            f"{labels[int(np.argmin(lengths))]!r} is"
        )
    if intercept is None:
        return np.zeros(n_features)
    intercept = np.asarray(intercept, dtype=np.float64)
    if intercept.shape != (n_features,):
        raise ValueError(f"intercept must have shape ({n_features},), got {intercept.shape}")
    return intercept * (1.0 / lengths[0] - 1.0 / lengths[1])


def _mean_weights(index, units, wanted) -> tuple[sparse.csr_array, np.ndarray]:
    """Matrix that takes rows to the means of labels, and the number of units of each label.

    Row k holds, for each sample of label ``wanted[k]``, one over (units of the label times
    samples of the label in this unit).
    """
    n_samples = index.shape[0]
    unit = read_units(units, None, n_samples).index
    pairs, pair = np.unique(np.stack([index, unit]), axis=1, return_inverse=True)
    pair = pair.ravel()
    n_units = np.bincount(pairs[0], minlength=index.max() + 1)
    weight = 1.0 / (np.bincount(pair)[pair] * n_units[index])
    indicator = sparse.csr_array(
        (weight, (index, np.arange(n_samples))), shape=(n_units.shape[0], n_samples)
    )
    return indicator[wanted], n_units[wanted]


def _dense(matrix) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
