"""Whether another seed, or another half of the data, gives the same dictionary."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch, check_random_state

from skdict._units import encode_names
from skdict._validation import check_boolean_or, check_choice, check_integer, check_real
from skdict.metrics._activity import check_codes
from skdict.metrics._atoms import map_atoms, random_atoms, unit_atoms


def dictionary_stability(
    first,
    second,
    *,
    linear_maps=None,
    absolute: bool = False,
    null: str = "uniform",
    n_random: int = 20,
    confidence_level: float = 0.95,
    random_state=None,
) -> Bunch:
    """Match the atoms of two dictionaries and compare with matching random atoms.

    The atoms are matched one to one so that the sum of the cosines is largest (Hungarian
    assignment). Matching always finds something, the more so the more atoms and the fewer
    dimensions there are; therefore `first` is matched in the same way to random dictionaries of
    the size of `second`.

    Parameters
    ----------
    first : array-like, shape (n_first, n_features)
        ``components_`` of one dictionary.
    second : array-like, shape (n_second, n_features)
        ``components_`` of another: another seed, or another half of the data.
    linear_maps : pair of array-like, shape (n_inner, n_features), or None, default=None
        For each dictionary the matrix that brings its atoms back to the space of the
        embeddings; needed when the two were learned behind different whiteners.
        See :func:`map_atoms`.
    absolute : bool, default=False
        Whether an atom and its negative count as the same.
    null : {"uniform", "spectrum"}, default="uniform"
        Random atoms uniform on the sphere, or with the second moment of the atoms of `second`
        (:func:`random_atoms`), the stricter of the two. With `linear_maps`, uniform atoms are
        drawn before the map of `second` is applied.
    n_random : int, default=20
        Number of random dictionaries.
    confidence_level : float in (0, 1], default=0.95
        An atom is stable when its matched cosine is above this quantile of the matched cosines
        of all random dictionaries.
    random_state : int, RandomState instance or None, default=None
        Draws the random dictionaries.

    Returns
    -------
    Bunch
        mean_similarity : float
            Mean matched cosine, over ``min(n_first, n_second)`` pairs.
        similarity : ndarray, shape (n_first,)
            Matched cosine of each atom of `first`; NaN where none was left for it.
        assignment : ndarray of int, shape (n_first,)
            The atom of `second` matched to each of `first`, -1 where none was left.
        null_means : ndarray, shape (n_random,)
            Mean matched cosine of each random dictionary.
        threshold : float
            The quantile above which an atom is called stable.
        stable : ndarray of bool, shape (n_first,)
            Whether the matched cosine is above `threshold`.
        stable_fraction : float
            Share of the matched pairs that are stable. For atoms without meaning about
            ``1 - confidence_level``.
        p_value : float
            (1 + random dictionaries with a mean at least as large) / (1 + n_random).

    Raises
    ------
    ValueError
        If the numbers of features differ, a map does not fit, or a parameter is out of its range.

    See Also
    --------
    activation_stability : By what the atoms respond to instead of where they point.
    dictionary_recovery : The same matching with the atoms that made the data.

    Notes
    -----
    Leave out atoms that no row uses: they stay where they were drawn and say nothing.

    The null fixes `first`, so what its atoms share among themselves stays in it. The time of one
    assignment grows like the cube of the number of atoms, and there are ``1 + n_random``: about
    3 s each for 4,096 atoms on one core.

    References
    ----------
    .. [1] Paulo and Belrose, "Sparse autoencoders trained on the same data learn different
       features", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import dictionary_stability, random_atoms
    >>> atoms = random_atoms(40, 16, random_state=0)
    >>> shared = np.vstack([atoms[:20], random_atoms(20, 16, random_state=1)])[::-1]
    >>> found = dictionary_stability(atoms, shared, random_state=0)
    >>> int((found.similarity > 0.99).sum()), found.assignment[:3].tolist()
    (20, [39, 38, 37])
    >>> bool(found.mean_similarity > found.null_means.max())
    True
    """
    check_boolean_or("absolute", absolute, ())
    check_choice("null", null, ("uniform", "spectrum"))
    check_integer("n_random", n_random, 1)
    check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
    first_map, second_map = _check_maps(linear_maps)
    inner = unit_atoms(second, "second")
    first = _mapped(unit_atoms(first, "first"), first_map)
    second = _mapped(inner, second_map)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            "first and second must have the same number of features (after linear_maps), got "
            f"{first.shape[1]} and {second.shape[1]}"
        )
    # A stream of its own: the same seed must not draw `first` again where that is random, too.
    seed = check_random_state(random_state).randint(2**32, size=4, dtype="u4")
    rng = np.random.RandomState(seed)

    def random_cosines():
        atoms = random_atoms(
            *inner.shape, like=inner if null == "spectrum" else None, random_state=rng
        )
        return _cosines(first, _mapped(atoms, second_map), absolute)

    return _compare(
        _cosines(first, second, absolute),
        (random_cosines() for _ in range(n_random)),
        confidence_level,
    )


def activation_stability(
    codes_first,
    codes_second,
    *,
    null_codes=None,
    strata=None,
    n_permutations: int = 20,
    confidence_level: float = 0.95,
    random_state=None,
) -> Bunch:
    """Match the components of two dictionaries by what they respond to.

    Both code the same rows, best rows that neither has seen in fit. Components are matched one
    to one so that the sum of the Pearson correlations of their codes is largest. This needs no
    common space: the two may stand behind different whiteners, or be of different kinds.

    Parameters
    ----------
    codes_first : array-like or sparse, shape (n_samples, n_first)
        Codes of the rows from one dictionary.
    codes_second : array-like or sparse, shape (n_samples, n_second)
        Codes of the same rows from the other.
    null_codes : sequence of array-like or sparse, or None, default=None
        Codes of the same rows from *random dictionaries*, each with `n_second` components (for
        example ``ICFLDictionary(max_steps=0)``). Each takes the place of `codes_second` in the
        null. Even random atoms respond to the same large differences between rows, so this is
        the comparison to make. None permutes the rows of `codes_second` instead, which only
        tells whether the matching is better than none at all.
    strata : array-like, shape (n_samples,), or None, default=None
        Without `null_codes`: permute rows within these groups only, for example plates.
    n_permutations : int, default=20
        Without `null_codes`: number of permutations.
    confidence_level : float in (0, 1], default=0.95
        A component is stable when its matched correlation is above this quantile of the null's.
    random_state : int, RandomState instance or None, default=None
        Draws the permutations.

    Returns
    -------
    Bunch
        As :func:`dictionary_stability`, with correlations in place of cosines. A component that
        is constant over the rows has correlation 0 with everything.

    Raises
    ------
    ValueError
        If the codes differ in their number of rows, or a code of the null in its shape.

    Notes
    -----
    Holds one dense (n_first, n_second) array at a time and the product of the sparse codes, whose
    time goes with the non-zeros per row squared, times the rows: 4 s for 20,000 rows, twice
    4,096 components and 50 non-zeros per row on one core, before the assignment.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skdict.metrics import activation_stability
    >>> codes = sparse.random_array((200, 6), density=0.3, rng=np.random.default_rng(0))
    >>> found = activation_stability(codes, codes[:, ::-1], random_state=0)
    >>> found.assignment, round(found.mean_similarity, 6), found.stable_fraction
    (array([5, 4, 3, 2, 1, 0]), 1.0, 1.0)
    """
    check_integer("n_permutations", n_permutations, 1)
    check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
    first = check_codes(codes_first, "codes_first")
    second = check_codes(codes_second, "codes_second")
    if first.shape[0] != second.shape[0]:
        raise ValueError(
            "codes_first and codes_second must code the same rows, got "
            f"{first.shape[0]} and {second.shape[0]} rows"
        )
    if null_codes is None:
        null = _permuted(second, strata, n_permutations, check_random_state(random_state))
    else:
        null = _check_null_codes(null_codes, second.shape)
    return _compare(
        column_correlation(first, second),
        (column_correlation(first, other) for other in null),
        confidence_level,
    )


def column_correlation(first, second) -> np.ndarray:
    """Pearson correlation of every column of `first` with every column of `second`.

    Parameters
    ----------
    first : csr_array or ndarray, shape (n_samples, n_first)
        Codes; sparse ones are not made dense.
    second : csr_array or ndarray, shape (n_samples, n_second)
        Codes of the same rows.

    Returns
    -------
    ndarray of float64, shape (n_first, n_second)
        Correlations; 0 for a constant column.
    """
    n_samples = first.shape[0]
    first, second = (codes.astype(np.float64) for codes in (first, second))
    product = first.T @ second
    product = product.toarray() if sparse.issparse(product) else np.asarray(product)
    (mean_first, scale_first), (mean_second, scale_second) = (
        mean_and_length(codes) for codes in (first, second)
    )
    product -= n_samples * np.outer(mean_first, mean_second)
    product /= scale_first[:, None]
    product /= scale_second
    return np.clip(product, -1.0, 1.0, out=product)


def mean_and_length(codes) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column, and the norm of the centred column.

    Parameters
    ----------
    codes : csr_array or ndarray of float64, shape (n_samples, n_components)
        Codes.

    Returns
    -------
    mean, length : ndarray, shape (n_components,)
        The length of a constant column is infinite, so that its correlations become 0.
    """
    n_samples = codes.shape[0]
    mean = np.asarray(codes.mean(axis=0)).ravel()
    squares = codes.multiply(codes) if sparse.issparse(codes) else codes * codes
    squared = np.asarray(squares.sum(axis=0)).ravel()
    centred = squared - n_samples * mean**2
    # What rounding leaves of a constant column is no variation.
    constant = centred <= 1e-12 * squared
    return mean, np.sqrt(np.where(constant, np.inf, centred))


def _check_maps(linear_maps):
    """Return the pair of maps, None where there is none."""
    if linear_maps is None:
        return None, None
    if isinstance(linear_maps, np.ndarray) or len(linear_maps) != 2:
        raise ValueError(
            "linear_maps must be a pair of matrices, one for each dictionary; for one whitener "
            "in common pass the same matrix twice"
        )
    return linear_maps


def _mapped(atoms, linear_map):
    return atoms if linear_map is None else map_atoms(atoms, linear_map)


def _cosines(first, second, absolute) -> np.ndarray:
    cosines = first @ second.T
    if absolute:
        np.abs(cosines, out=cosines)
    return np.clip(cosines, -1.0, 1.0, out=cosines)


def _permuted(codes, strata, n_permutations, rng):
    """Yield the codes with their rows permuted within strata."""
    n_samples = codes.shape[0]
    if strata is None:
        stratum = np.zeros(n_samples, dtype=np.intp)
    else:
        stratum = encode_names(strata, n_samples, "strata")[1]
    by_stratum = np.argsort(stratum, kind="stable")
    order = np.empty(n_samples, dtype=np.intp)
    for _ in range(n_permutations):
        order[by_stratum] = np.lexsort((rng.random_sample(n_samples), stratum))
        yield codes[order]


def _check_null_codes(null_codes, shape):
    """Yield the codes of the null, each checked."""
    if sparse.issparse(null_codes) or isinstance(null_codes, np.ndarray):
        raise ValueError("null_codes must be a list of codes, one per random dictionary")
    null_codes = list(null_codes)
    if not null_codes:
        raise ValueError("null_codes must hold the codes of at least one random dictionary")
    for codes in null_codes:
        codes = check_codes(codes, "null_codes")
        if codes.shape != shape:
            raise ValueError(
                "null_codes must have the rows and number of components of codes_second: "
                f"expected shape {shape}, got {codes.shape}"
            )
        yield codes


def _compare(similarity, null, confidence_level) -> Bunch:
    """Match, match the null in the same way, and compare."""
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    assignment = np.full(similarity.shape[0], -1, dtype=np.intp)
    matched = np.full(similarity.shape[0], np.nan)
    assignment[rows] = columns
    matched[rows] = similarity[rows, columns]
    null_matched = []
    for other in null:
        pairs = linear_sum_assignment(other, maximize=True)
        null_matched.append(other[pairs])
    null_means = np.array([values.mean() for values in null_matched])
    threshold = float(np.quantile(np.concatenate(null_matched), confidence_level))
    mean = float(matched[rows].mean())
    stable = np.greater(matched, threshold)
    return Bunch(
        mean_similarity=mean,
        similarity=matched,
        assignment=assignment,
        null_means=null_means,
        threshold=threshold,
        stable=stable,
        stable_fraction=float(stable[rows].mean()),
        p_value=float((1 + (null_means >= mean).sum()) / (1 + null_means.size)),
    )
