"""How many atoms and how many non-zeros, without labels: a sweep and a rule that reads it.

Labels must not choose the dictionary whose labels are then scored. What is left to go by is
how well rows that were not learned from are reconstructed, whether another seed on another half
of the data finds the same atoms, and whether the atoms are used at all.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.metadata_routing import get_routing_for_object

from skdict._validation import check_control, check_integer, check_real, import_optional
from skdict.metrics import dead_fraction, dictionary_stability, explained_variance

__all__ = ["choose_size", "sweep_dictionaries"]

_SIZE = ("n_components", "n_nonzero_coefs")
_AVERAGED = (
    "explained_variance",
    "stability",
    "null_similarity",
    "excess_stability",
    "replicable_variance",
    "dead_fraction",
)


def sweep_dictionaries(
    pipeline,
    X,
    *,
    n_components,
    n_nonzero_coefs,
    groups=None,
    control=None,
    n_repeats: int = 3,
    test_size: float = 0.2,
    n_random: int = 5,
    random_state=None,
    verbose: int = 0,
    as_frame: bool = False,
):
    """Fit a grid of dictionaries and measure what needs no labels.

    In every repeat the rows are divided into a held-out part and two halves of the rest. The
    steps before the dictionary are fitted once, on both halves. Then each size of the grid is
    fitted three times: on the first half with two seeds, and on the second half with a
    third seed.

    Parameters
    ----------
    pipeline : Pipeline or dictionary
        Unfitted; the last step is the dictionary. It must have ``n_components``,
        ``n_nonzero_coefs`` and ``random_state`` as parameters, ``components_`` once fitted, and
        ``inverse_transform``: :class:`~skdict.ICFLDictionary` and :class:`~skdict.TopKSAE` do.
    X : array-like, shape (n_samples, n_features)
        Embeddings, control rows included.
    n_components : sequence of int
        Numbers of atoms M.
    n_nonzero_coefs : sequence of int
        Sparsities K. Pairs with K > M are left out.
    groups : array-like, shape (n_samples,), or None, default=None
        What goes to one part as a whole: plate, donor. At least four. With None rows are
        divided one by one.
    control : array-like of bool, shape (n_samples,), or None, default=None
        Control rows, given to the steps that request ``control`` in ``fit``.
    n_repeats : int, default=3
        Number of divisions of the rows, at least 2.
    test_size : float in (0, 1), default=0.2
        Share of the groups (or rows) held out.
    n_random : int, default=5
        Random dictionaries in the null of the stability.
    random_state : int, RandomState instance or None, default=None
        Draws the divisions, the seeds of the dictionaries and the null.
    verbose : int, default=0
        Print a line per fitted size.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a dict of columns.

    Returns
    -------
    dict of ndarray, or DataFrame
        One row per size and repeat:

        n_components, n_nonzero_coefs, repeat
            Which one.
        explained_variance, train_explained_variance
            Of the held-out rows and of the rows learned from, in the space of the dictionary;
            means over the three fits.
        stability_seeds
            Mean matched cosine of the atoms of two seeds on the same half.
        stability_halves
            The same for different seeds on different halves.
        null_similarity
            Mean matched cosine of the atoms of the first fit with random ones of equal spectrum
            (:func:`~skdict.metrics.dictionary_stability`).
        dead_fraction
            Share of the atoms that no row learned from uses; mean over the three fits.
        n_train, n_test
            Rows of the first half, and rows held out.

    Raises
    ------
    ValueError
        If a size is below 1 or no pair is left, there are fewer than four groups, lengths
        differ, or the dictionary lacks a parameter.

    See Also
    --------
    choose_size : The rule that reads this table.

    Notes
    -----
    Atoms of the two halves are compared in the space that the earlier steps make of both halves
    together: the sweep judges the dictionary, not the whitening. With whiteners of
    their own use :func:`~skdict.metrics.dictionary_stability` with ``linear_maps``, or
    :func:`~skdict.metrics.activation_stability`.

    A half has less than half of the rows. The stability of a dictionary of all rows will be
    higher, and more atoms may be worth having.

    Examples
    --------
    >>> from skdict import ICFLDictionary
    >>> from skdict.datasets import make_superposition
    >>> from skdict.model_selection import choose_size, sweep_dictionaries
    >>> X = make_superposition(2000, 16, 32, 2, random_state=0).data
    >>> dictionary = ICFLDictionary(atoms_per_step=1, batch_size=256, max_steps=150)
    >>> table = sweep_dictionaries(
    ...     dictionary, X, n_components=[8, 32], n_nonzero_coefs=[1, 2], n_repeats=2,
    ...     random_state=0,
    ... )
    >>> table["n_components"]
    array([ 8, 32,  8, 32,  8, 32,  8, 32])
    >>> chosen = choose_size(table)
    >>> chosen.n_components, chosen.n_nonzero_coefs
    (32, 2)
    """
    steps, dictionary = _split_pipeline(pipeline)
    sizes = _check_sizes(n_components, n_nonzero_coefs)
    check_integer("n_repeats", n_repeats, 2)
    check_integer("n_random", n_random, 1)
    if sparse.issparse(X):
        raise TypeError("X must be dense, got a sparse matrix: pass X.toarray()")
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X must be two-dimensional, got shape {X.shape}")
    mask = _check_mask(control, X.shape[0])
    rng = check_random_state(random_state)
    rows = []
    for repeat, (halves, test) in enumerate(_divisions(X, groups, n_repeats, test_size, rng)):
        halves, test = _prepared(steps, X, mask, halves, test)
        for n_atoms, n_nonzero in sizes:
            sized = clone(dictionary).set_params(n_components=n_atoms, n_nonzero_coefs=n_nonzero)
            row = {"n_components": n_atoms, "n_nonzero_coefs": n_nonzero, "repeat": repeat}
            row.update(_measure(sized, halves, test, n_random, rng))
            rows.append(row)
            if verbose:
                print(
                    f"[sweep_dictionaries] repeat {repeat}, M={n_atoms}, K={n_nonzero}: held-out "
                    f"explained variance {row['explained_variance']:.3f}, stability "
                    f"{row['stability_halves']:.3f} (random {row['null_similarity']:.3f})"
                )
    return _columns(rows, as_frame)


def choose_size(
    table,
    *,
    min_excess_stability: float = 0.1,
    max_dead_fraction: float = 0.1,
    as_frame: bool = False,
) -> Bunch:
    r"""Read a sweep: the number of atoms M and of non-zeros K that its numbers support.

    With the *excess stability* e = (stability between halves - null) / (1 - null), the way from
    random atoms (0) to the same atoms (1), and the held-out explained variance v, the rule on
    means over the repeats is:

    1. A size is *admissible* if e is at least `min_excess_stability` and no more than
       `max_dead_fraction` of its atoms are dead.
    2. The *plateau* are the admissible sizes with a *replicable variance* e v within one
       standard error of the largest.
    3. Of these take the smallest K, and for it the smallest M.

    Why so: more atoms and more non-zeros always reconstruct better, so reconstruction cannot choose
    alone; a dictionary of a few atoms is stable and says little, so stability cannot either. Their
    product asks for what is explained by atoms that another half of the data gives as well.

    Parameters
    ----------
    table : dict of ndarray, or DataFrame
        From :func:`sweep_dictionaries`.
    min_excess_stability : float in [0, 1], default=0.1
        Smallest excess stability allowed. Normal rows without structure gave at most 0.04.
    max_dead_fraction : float in [0, 1], default=0.1
        Largest share of dead atoms allowed.
    as_frame : bool, default=False
        Whether the summary is a pandas DataFrame instead of a dict of columns.

    Returns
    -------
    Bunch
        n_components, n_nonzero_coefs : int
            The choice.
        on_edge : list of str
            Which limits of the grid the choice touches: "largest n_components" and so on. The
            rule has then found no optimum inside: widen the grid, or say that the data set none.
        summary : dict of ndarray, or DataFrame
            One row per size: n_components, n_nonzero_coefs, means and standard errors over the
            repeats (suffix ``_error``) of explained_variance, stability, null_similarity,
            excess_stability, replicable_variance and dead_fraction, and the marks admissible,
            on_plateau and chosen.

    Raises
    ------
    ValueError
        If a column is missing, a size has fewer than two repeats, or no size is admissible.

    See Also
    --------
    sweep_dictionaries : Makes the table.

    Notes
    -----
    The standard errors are those of the mean over divisions of the same rows, which overlap:
    a yardstick for what is noise, as in the one-standard-error rule of [1]_, not an interval.

    On clean planted data the rule finds the true M and K if the grid holds them; with 50% noise it
    took the true M and half the true K; on the shipped profiles it ended at an edge of the grid.
    The user guide has the numbers.

    References
    ----------
    .. [1] Breiman, Friedman, Olshen and Stone, "Classification and regression trees", 1984,
       section 3.4.3.

    Examples
    --------
    Too small, right, and too large a dictionary, at two sparsities:

    >>> import numpy as np
    >>> from skdict.model_selection import choose_size
    >>> table = {
    ...     "n_components": np.tile([50, 100, 200], 4),
    ...     "n_nonzero_coefs": np.tile(np.repeat([4, 8], 3), 2),
    ...     "repeat": np.repeat([0, 1], 6),
    ...     "explained_variance": np.tile([0.6, 0.9, 0.9, 0.7, 0.95, 0.96], 2),
    ...     "stability_halves": np.tile([0.7, 0.9, 0.7, 0.6, 0.8, 0.6], 2),
    ...     "null_similarity": np.full(12, 0.4),
    ...     "dead_fraction": np.zeros(12),
    ... }
    >>> chosen = choose_size(table)
    >>> chosen.n_components, chosen.n_nonzero_coefs, chosen.on_edge
    (100, 4, ['smallest n_nonzero_coefs'])
    """
    check_real("min_excess_stability", min_excess_stability, 0.0, 1.0)
    check_real("max_dead_fraction", max_dead_fraction, 0.0, 1.0)
    summary = _summarise(table)
    summary["admissible"] = (summary["excess_stability"] >= min_excess_stability) & (
        summary["dead_fraction"] <= max_dead_fraction
    )
    if not summary["admissible"].any():
        raise ValueError(
            "table holds no admissible size: each has an excess stability below "
            f"min_excess_stability={min_excess_stability:g} or more dead atoms than "
            f"max_dead_fraction={max_dead_fraction:g}. Sweep fewer n_components or use more rows; "
            "if that does not help, the data have no atoms that two halves agree on"
        )
    summary["on_plateau"] = _plateau(summary)
    near = np.flatnonzero(summary["on_plateau"])
    best = near[np.lexsort([summary[name][near] for name in _SIZE])[0]]
    summary["chosen"] = np.arange(summary["admissible"].size) == best
    n_atoms, n_nonzero = (int(summary[name][best]) for name in _SIZE)
    return Bunch(
        n_components=n_atoms,
        n_nonzero_coefs=n_nonzero,
        on_edge=_edges(summary, best),
        summary=_columns(summary, as_frame),
    )


# ---------------------------------------------------------------------------------- the sweep


def _split_pipeline(pipeline):
    """Return (steps before the dictionary or None, dictionary), checked."""
    steps, dictionary = None, pipeline
    if isinstance(pipeline, Pipeline):
        dictionary = pipeline[-1]
        steps = pipeline[:-1] if len(pipeline) > 1 else None
    known = dictionary.get_params() if hasattr(dictionary, "get_params") else {}
    missing = [name for name in (*_SIZE, "random_state") if name not in known]
    if missing:
        raise ValueError(
            "pipeline must end in a dictionary with the parameters n_components, n_nonzero_coefs "
            f"and random_state; {dictionary!r} lacks {missing!r}"
        )
    return steps, dictionary


def _check_sizes(n_components, n_nonzero_coefs) -> list[tuple[int, int]]:
    """Pairs (M, K) of the grid, M first."""
    values = {"n_components": n_components, "n_nonzero_coefs": n_nonzero_coefs}
    for name, given in values.items():
        values[name] = np.unique(np.atleast_1d(given)).tolist()
        if not values[name]:
            raise ValueError(f"{name} must hold at least one number, got {given!r}")
        for value in values[name]:
            check_integer(name, value, 1)
    sizes = [
        (m, k) for k, m in product(values["n_nonzero_coefs"], values["n_components"]) if k <= m
    ]
    if not sizes:
        raise ValueError(
            f"n_nonzero_coefs={n_nonzero_coefs!r} must not exceed n_components={n_components!r}"
        )
    return sizes


def _check_mask(control, n_samples) -> np.ndarray | None:
    if control is None:
        return None
    mask = np.zeros(n_samples, dtype=bool)
    mask[check_control(control, n_samples)] = True
    return mask


def _divisions(X, groups, n_repeats, test_size, rng):
    """Yield ((first half, second half), held-out rows), groups undivided."""
    check_real("test_size", test_size, 0.0, 1.0, open_low=True)
    splitter = ShuffleSplit
    if groups is not None:
        groups, splitter = np.asarray(groups), GroupShuffleSplit
        if groups.shape != (X.shape[0],):
            raise ValueError(
                f"groups must have one entry per row of X: got shape {groups.shape} for "
                f"{X.shape[0]} rows"
            )
        if np.unique(groups).size < 4:
            raise ValueError(
                "groups must hold at least four groups, for two halves and a held-out part, got "
                f"{np.unique(groups).size}"
            )
    for _ in range(n_repeats):
        outer = splitter(1, test_size=test_size, random_state=rng.randint(2**31 - 1))
        train, test = next(outer.split(X, groups=groups))
        inner = splitter(1, test_size=0.5, random_state=rng.randint(2**31 - 1))
        first, second = next(
            inner.split(X[train], groups=None if groups is None else groups[train])
        )
        yield (train[first], train[second]), test


def _prepared(steps, X, control, halves, test):
    """Rows as the dictionary takes them; the earlier steps are fitted on both halves."""
    if steps is None:
        return [X[half] for half in halves], X[test]
    train = np.concatenate(halves)
    with config_context(enable_metadata_routing=True):
        steps = clone(steps)
        requested = get_routing_for_object(steps).consumes("fit", ["control"])
        given = {"control": control[train]} if control is not None and requested else {}
        steps.fit(X[train], **given)
    return [steps.transform(X[half]) for half in halves], steps.transform(X[test])


def _measure(dictionary, halves, test, n_random, rng) -> dict:
    """Fit one size three times and measure it."""
    seeds = rng.randint(2**31 - 1, size=4)
    data = (halves[0], halves[0], halves[1])
    fits = [
        clone(dictionary).set_params(random_state=int(seed)).fit(rows)
        for seed, rows in zip(seeds, data)
    ]
    values = []
    for fitted, rows in zip(fits, data, strict=True):
        codes = fitted.transform(rows)
        values.append(
            (
                explained_variance(test, fitted.inverse_transform(fitted.transform(test))),
                explained_variance(rows, fitted.inverse_transform(codes)),
                dead_fraction(codes),
            )
        )
    held_out, learned, dead = np.mean(values, axis=0)
    first, other_seed, other_half = (fitted.components_ for fitted in fits)
    halves_match, seeds_match = (
        dictionary_stability(first, other, null="spectrum", n_random=n, random_state=int(seeds[3]))
        for other, n in ((other_half, n_random), (other_seed, 1))
    )
    return {
        "explained_variance": held_out,
        "train_explained_variance": learned,
        "stability_seeds": seeds_match.mean_similarity,
        "stability_halves": halves_match.mean_similarity,
        "null_similarity": float(halves_match.null_means.mean()),
        "dead_fraction": dead,
        "n_train": halves[0].shape[0],
        "n_test": test.shape[0],
    }


# ----------------------------------------------------------------------------------- the rule


def _summarise(table) -> dict:
    """Means and standard errors over the repeats, one entry per size."""
    needed = (*_SIZE, "explained_variance", "stability_halves", "null_similarity", "dead_fraction")
    missing = [name for name in needed if name not in table]
    if missing:
        raise ValueError(f"table must come from sweep_dictionaries; it lacks {missing!r}")
    columns = {name: np.asarray(table[name]) for name in needed}
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"table holds {np.count_nonzero(~np.isfinite(values))} values of {name} that are "
                "NaN or infinite: a fit diverged; drop the sizes that did"
            )
    null = columns["null_similarity"]
    columns["excess_stability"] = (columns["stability_halves"] - null) / np.maximum(1 - null, 1e-12)
    columns["replicable_variance"] = columns["excess_stability"] * columns["explained_variance"]
    columns["stability"] = columns["stability_halves"]
    sizes, index, n_repeats = np.unique(
        np.stack([columns[name] for name in _SIZE[::-1]], axis=1),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    if (n_repeats < 2).any():
        raise ValueError(
            "table must hold at least two repeats of every size for a standard error, but "
            f"n_nonzero_coefs, n_components = {sizes[n_repeats < 2][0].tolist()!r} has one"
        )
    summary = {"n_components": sizes[:, 1], "n_nonzero_coefs": sizes[:, 0], "n_repeats": n_repeats}
    index = index.ravel()
    for name in _AVERAGED:
        parts = [columns[name][index == size] for size in range(sizes.shape[0])]
        summary[name] = np.array([part.mean() for part in parts])
        summary[f"{name}_error"] = np.array([part.std(ddof=1) for part in parts]) / np.sqrt(
            n_repeats
        )
    return summary


def _plateau(summary) -> np.ndarray:
    """Mark the admissible sizes within one standard error of the best replicable variance."""
    admissible = summary["admissible"]
    values = np.where(admissible, summary["replicable_variance"], -np.inf)
    best = values.argmax()
    return admissible & (values >= values[best] - summary["replicable_variance_error"][best])


def _edges(summary, best) -> list[str]:
    """Which limits of the grid the choice touches."""
    touched = []
    for name in _SIZE:
        values = np.unique(summary[name])
        if values.size > 1:
            if summary[name][best] == values[0]:
                touched.append(f"smallest {name}")
            if summary[name][best] == values[-1]:
                touched.append(f"largest {name}")
    return touched


def _columns(table, as_frame):
    """Dict of columns from rows or columns, or a DataFrame."""
    if isinstance(table, list):
        table = {name: np.array([row[name] for row in table]) for name in table[0]}
    return import_optional("pandas", extra="io").DataFrame(table) if as_frame else table
