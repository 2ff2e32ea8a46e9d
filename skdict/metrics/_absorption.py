"""Whether the concept of a broad label falls silent in rows where a narrower one takes over."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._tables import table
from skdict._validation import check_integer, check_real
from skdict.metrics._activity import check_codes
from skdict.metrics._atoms import check_atoms, unit_atoms
from skdict.metrics._labels import encode_labels, locate_labels
from skdict.metrics._selectivity import selectivity_scores

# Dense codes of one block of rows.
_BLOCK_VALUES = 1 << 21


def feature_absorption(
    X,
    codes,
    components,
    parent,
    child,
    *,
    parents=None,
    intercept=None,
    directions=None,
    main=None,
    n_main: int = 1,
    n_absorbing: int = 3,
    full_cosine: float = 0.025,
    fraction_cosine: float = 0.1,
    min_projection: float = 0.4,
    as_frame: bool = False,
):
    r"""Full and fractional absorption of the concepts of broad labels, by narrower label.

    A sparse code saves one entry if the concept "T cell" is silent in regulatory T cells and
    the concept of these carries both meanings. The broad concept then has holes that no
    summary of it shows: it was *absorbed*. The measure is that of [1]_ in the form of
    SAEBench [2]_, brought from spelling tasks to nested labels (see Notes).

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        Rows in the space of the atoms, the dictionary's input.
    codes : array-like or sparse, shape (n_samples, n_components)
        Their codes.
    components : array-like, shape (n_components, n_features)
        The atoms, ``components_``.
    parent : array-like, shape (n_samples,)
        Broad label of each row, for example the cell type or the mechanism.
    child : array-like, shape (n_samples,)
        Narrow label of each row, for example the subtype or the compound; each narrow label
        belongs to a single broad one.
    parents : array-like or None, default=None
        Broad labels to look at; None means all that have two or more narrow ones.
    intercept : array-like, shape (n_features,), or None, default=None
        ``intercept_`` of the dictionary, subtracted from the rows. None subtracts nothing.
    directions : array-like, shape (n_parents, n_features), or None, default=None
        Direction of each broad label, for example coefficients of a probe. None takes the mean of
        its rows minus the mean of all others.
    main : list of array-like of int, length n_parents, or None, default=None
        The components that stand for each broad label. None takes the `n_main` with the
        largest average selectivity for it (:func:`selectivity_scores`).
    n_main : int, default=1
        How many, without `main`.
    n_absorbing : int, default=3
        Most components that may share in a fractional absorption.
    full_cosine : float in [0, 1], default=0.025
        Smallest cosine of an absorbing atom with the direction, for full absorption.
    fraction_cosine : float in [0, 1], default=0.1
        The same for fractional absorption.
    min_projection : float in [0, 1], default=0.4
        Smallest share of the row's projection that the absorbing components must carry.
    as_frame : bool, default=False
        Return the table as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        A table with one row per broad and narrow label, and in the Bunch summaries:

        parent, child : ndarray
            The labels.
        n_rows, n_present : ndarray of int
            Rows of the narrow label; those among them in which the direction finds the
            broad label.
        full_absorption, absorption_fraction : ndarray
            Share of the present rows that are fully absorbed, and their mean fraction.
            NaN without present rows.
        main_active : ndarray
            Share of the present rows in which a main component is active.
        absorbing : ndarray of int
            The component that carries most of the projection in most fully absorbed rows,
            -1 if there are none.
        main_components : dict of list of int
            The components that stand for each broad label.
        mean_full_absorption, mean_absorption_fraction : float
            Mean over broad labels of the mean over their present rows. NaN without any.

    Raises
    ------
    ValueError
        If shapes do not fit, a narrow label has two broad ones, no broad label has two
        narrow ones, or a parameter is out of its range.

    Notes
    -----
    With the unit direction d of a broad label, row x has the projection
    :math:`p = (x - b) \cdot d`, of which component m carries
    :math:`q_m = z_m \, (w_m \cdot d)`; :math:`\sum_m q_m = p` but for the residual.

    *Present.* A row of the broad label counts if p exceeds the midpoint between the mean
    projections of the rows with and without the label, and 0.

    *Full absorption.* No main component is active, and the component with the largest
    :math:`q_m` has a cosine of at least `full_cosine` with d and carries at least
    `min_projection` of p.

    *Fraction.* Let Q be the sum of the `n_absorbing` largest positive :math:`q_m` of
    components that are not main and have a cosine of at least `fraction_cosine` with d, and P
    that of the main ones. The fraction is 0 if :math:`P \ge p` or :math:`Q < `
    ``min_projection`` :math:`p`; 1 if :math:`P \le 0`; else :math:`Q' / (Q' + P)` with
    :math:`Q' = \min(Q, p - P)`.

    *What differs from SAEBench.* (1) Words that begin with a letter become rows of a broad
    label, reported for each narrow label. (2) The logistic probe is by default a difference of
    means, and "the probe is right" becomes the midpoint rule. (3) SAEBench calls a second
    latent a split, hence main, when it raises the F1 of a sparse probe by 0.03. Broad labels
    here may have few narrow ones, where an absorbing component would itself pass that
    test; so the number of main components is fixed, 1 by default. (4) Contributions use
    :math:`w_m \cdot d` rather than the cosine, so that they add up for atoms that are not of
    unit length. (5) Rows are centred by the intercept. The thresholds are SAEBench's.

    Direction and main component are chosen on the rows that are scored. To keep them apart pass
    `directions` and `main` from other rows. A large value says that the broad concept has
    holes; whether the absorbing component means the narrow label is a second question, for
    :func:`selectivity_scores` among the rows of the broad label.

    References
    ----------
    .. [1] Chanin et al., "A is for absorption: studying feature splitting and absorption in
       sparse autoencoders", 2024, arXiv 2409.14507.
    .. [2] Karvonen et al., "SAEBench: A comprehensive benchmark for sparse autoencoders in
       language model interpretability", ICML 2025.

    Examples
    --------
    The first atom stands for "T", but is silent in its subtype "reg", whose atom points the
    same way.

    >>> import numpy as np
    >>> from skdict.metrics import feature_absorption
    >>> atoms = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    >>> codes = np.repeat([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 2]], [6, 2, 4, 4], axis=0)
    >>> child = np.repeat(["helper", "reg", "naive", "memory"], [6, 2, 4, 4])
    >>> parent = np.where(np.isin(child, ["helper", "reg"]), "T", "B")
    >>> found = feature_absorption(codes @ atoms, codes, atoms, parent, child, parents=["T"])
    >>> found.main_components
    {'T': [0]}
    >>> found.child.tolist(), found.full_absorption.tolist(), found.absorbing.tolist()
    (['helper', 'reg'], [0.0, 1.0], [-1, 1])
    """
    check_integer("n_main", n_main, 1)
    check_integer("n_absorbing", n_absorbing, 1)
    for name, value in (
        ("full_cosine", full_cosine),
        ("fraction_cosine", fraction_cosine),
        ("min_projection", min_projection),
    ):
        check_real(name, value, 0.0, 1.0)
    X, codes, components = _check_triple(X, codes, components, intercept)
    labels = _Nested(parent, child, X.shape[0], parents)
    if directions is None:
        directions = np.array([_mean_difference(X, labels.index == p) for p in labels.chosen])
    directions = _check_directions(directions, labels.chosen.size, X.shape[1])
    mains = _check_main(main, labels, codes, n_main)
    limits = n_absorbing, full_cosine, fraction_cosine, min_projection
    rows, summaries = [], []
    for p, direction, chosen in zip(labels.chosen, directions, mains, strict=True):
        present, projection = _present_rows(X, direction, labels.index == p)
        judged = _absorbed(codes[present], projection, components, direction, chosen, limits)
        if present.size:
            summaries.append((judged["full"].mean(), judged["fraction"].mean()))
        rows.extend(_rows_of_parent(labels, p, present, judged))
    means = np.mean(summaries, axis=0) if summaries else (np.nan, np.nan)
    names = labels.classes[labels.chosen].tolist()
    return table(
        {name: np.array([row[name] for row in rows]) for name in rows[0]},
        as_frame,
        main_components={name: chosen.tolist() for name, chosen in zip(names, mains)},
        mean_full_absorption=float(means[0]),
        mean_absorption_fraction=float(means[1]),
    )


def _present_rows(X, direction, member) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a broad label in which the direction finds it, and their projections."""
    projection = X @ direction
    middle = (projection[member].mean() + projection[~member].mean()) / 2
    present = np.flatnonzero(member & (projection > max(middle, 0.0)))
    return present, projection[present]


def _rows_of_parent(labels, p, present, judged):
    """Yield the table's row for each narrow label of a broad one."""
    for c in np.flatnonzero(labels.parent_of == p):
        here = labels.child_index[present] == c
        full = judged["top"][here & judged["full"]]
        any_here = here.any()
        yield {
            "parent": labels.classes[p],
            "child": labels.child_classes[c],
            "n_rows": int((labels.child_index == c).sum()),
            "n_present": int(here.sum()),
            "full_absorption": judged["full"][here].mean() if any_here else np.nan,
            "absorption_fraction": judged["fraction"][here].mean() if any_here else np.nan,
            "main_active": judged["main_active"][here].mean() if any_here else np.nan,
            "absorbing": int(np.bincount(full).argmax()) if full.size else -1,
        }


class _Nested:
    """Broad and narrow labels as indices, checked to be nested."""

    def __init__(self, parent, child, n_samples, parents):
        self.classes, self.index = encode_labels(parent, n_samples, "parent")
        self.child_classes, self.child_index = encode_labels(child, n_samples, "child")
        pairs = np.unique(np.stack([self.child_index, self.index]), axis=1)
        children, counts = np.unique(pairs[0], return_counts=True)
        if (counts > 1).any():
            twice = self.child_classes[children[counts > 1]][:3].tolist()
            raise ValueError(
                f"child must be nested in parent, but {twice!r} occur with several broad labels"
            )
        self.parent_of = np.empty(self.child_classes.shape[0], dtype=np.intp)
        self.parent_of[pairs[0]] = pairs[1]
        n_children = np.bincount(self.parent_of, minlength=self.classes.shape[0])
        if self.classes.shape[0] < 2:
            raise ValueError("parent must hold at least two broad labels")
        if parents is None:
            self.chosen = np.flatnonzero(n_children > 1)
            if not self.chosen.size:
                raise ValueError("child must split at least one broad label into two or more")
        else:
            self.chosen = locate_labels(parents, self.classes, "parent", parameter="parents")


def _check_triple(X, codes, components, intercept):
    """Validate rows, codes and atoms against each other; centre the rows."""
    X, codes, components = check_atoms(X, "X"), check_codes(codes), check_atoms(components)
    if codes.shape[0] != X.shape[0] or components.shape != (codes.shape[1], X.shape[1]):
        raise ValueError(
            "X, codes and components must have shapes (n_samples, n_features), (n_samples, "
            "n_components) and (n_components, n_features), got "
            f"{X.shape}, {codes.shape} and {components.shape}"
        )
    if intercept is not None:
        intercept = np.asarray(intercept, dtype=np.float64)
        if intercept.shape != (X.shape[1],):
            raise ValueError(f"intercept must have shape ({X.shape[1]},), got {intercept.shape}")
        X = X - intercept
    return X, sparse.csr_array(codes), components


def _mean_difference(X, member) -> np.ndarray:
    return X[member].mean(axis=0) - X[~member].mean(axis=0)


def _check_directions(directions, n_parents, n_features) -> np.ndarray:
    directions = unit_atoms(directions, "directions")
    if directions.shape != (n_parents, n_features):
        raise ValueError(
            "directions must have one row per broad label: expected shape "
            f"({n_parents}, {n_features}), got {directions.shape}"
        )
    if not directions.any(axis=1).all():
        raise ValueError(
            "directions must not hold a row of zeros; without them, a broad label has the mean of "
            "all other rows"
        )
    return directions


def _check_main(main, labels, codes, n_main) -> list[np.ndarray]:
    """Components that stand for each broad label."""
    n_components = codes.shape[1]
    if main is None:
        scores = selectivity_scores(
            codes, labels.classes[labels.index], labels=labels.classes[labels.chosen]
        )
        return list(np.argsort(-scores, axis=1, kind="stable")[:, :n_main])
    if len(main) != labels.chosen.size:
        raise ValueError(
            f"main must hold one list of components per broad label: got {len(main)} for "
            f"{labels.chosen.size}"
        )
    main = [np.atleast_1d(np.asarray(chosen)) for chosen in main]
    for chosen in main:
        if chosen.dtype.kind not in "iu" or ((chosen < 0) | (chosen >= n_components)).any():
            raise ValueError(f"main must hold indices below {n_components}, got {chosen!r}")
    return main


def _absorbed(codes, projection, components, direction, main, limits) -> dict:
    """Full absorption, fraction, top component and activity of the main ones, per row."""
    n_absorbing, full_cosine, fraction_cosine, min_projection = limits
    n_rows, n_components = codes.shape
    is_main = np.isin(np.arange(n_components), main)
    cosines = unit_atoms(components) @ direction
    may_absorb = ~is_main & (cosines >= fraction_cosine)
    carried = codes.multiply((components @ direction)[None, :]).tocsr()
    main_part = np.asarray(carried[:, is_main].sum(axis=1)).ravel()
    main_active = np.asarray((codes[:, is_main] != 0).sum(axis=1)).ravel() > 0
    top = np.zeros(n_rows, dtype=np.intp)
    largest, absorbed = np.zeros(n_rows), np.zeros(n_rows)
    step = max(1, _BLOCK_VALUES // n_components)
    for start in range(0, n_rows, step):
        block = carried[start : start + step].toarray()
        rows = slice(start, start + block.shape[0])
        top[rows], largest[rows] = block.argmax(axis=1), block.max(axis=1)
        others = np.maximum(block[:, may_absorb], 0.0)
        if others.shape[1] > n_absorbing:
            others = -np.partition(-others, n_absorbing - 1, axis=1)[:, :n_absorbing]
        absorbed[rows] = others.sum(axis=1)
    enough = min_projection * projection
    full = ~main_active & (cosines[top] >= full_cosine) & (largest > 0) & (largest >= enough)
    none = (main_part >= projection) | (absorbed < enough) | (absorbed == 0)
    taken = np.minimum(absorbed, projection - main_part)
    shared = np.where(main_part > 0, taken + main_part, 1.0)  # no division where it is not used
    fraction = np.where(main_part > 0, taken / shared, 1.0)
    return {
        "full": full,
        "fraction": np.where(none, 0.0, fraction),
        "top": top,
        "main_active": main_active,
    }
