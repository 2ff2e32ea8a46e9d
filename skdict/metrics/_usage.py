"""How often the components of a dictionary are used (Donhauser et al., ICML 2025, Table 1)."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._validation import check_integer, check_real
from skdict.metrics._activity import active_pattern, column_counts


def activation_frequency(codes, *, active="nonzero") -> np.ndarray:
    """Share of the samples in which each component is active.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold.

    Returns
    -------
    ndarray of float64, shape (n_components,)
        Frequencies in [0, 1]; their sum is the mean number of active components per sample.

    Raises
    ------
    ValueError
        If `codes` are not two-dimensional, numeric and finite.

    Examples
    --------
    >>> from skdict.metrics import activation_frequency
    >>> activation_frequency([[1.0, 0.0, -2.0], [0.5, 0.0, 0.0]])
    array([1. , 0. , 0.5])
    """
    pattern = active_pattern(codes, active)
    return column_counts(pattern) / pattern.shape[0]


def dead_fraction(codes, *, min_fraction: float = 1e-5, active="nonzero") -> float:
    """Share of the components that are active in less than `min_fraction` of the samples.

    The paper calls a feature dead that was active for less than a fraction 1e-5 of the
    tokens of the last 1,000 training steps. This function applies the same rule to the codes
    it is given: with fewer than 100,000 samples, that means "never active". A dictionary's
    ``history_["dead_fraction"]`` holds the count over the training window.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary.
    min_fraction : float in [0, 1], default=1e-5
        A component is dead when its frequency is below this value, or when it is never
        active.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold.

    Returns
    -------
    float
        Number of dead components divided by the number of components.

    Raises
    ------
    ValueError
        If `codes` are not two-dimensional, numeric and finite, or `min_fraction` is outside
        [0, 1].

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Table 1.

    Examples
    --------
    >>> from skdict.metrics import dead_fraction
    >>> dead_fraction([[1.0, 0.0, -2.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    0.5
    """
    check_real("min_fraction", min_fraction, 0.0, 1.0)
    frequency = activation_frequency(codes, active=active)
    return float(np.mean((frequency < min_fraction) | (frequency == 0)))


def usage_density(codes, *, n_bins: int = 20, active="nonzero", as_frame: bool = False):
    """Histogram of the log10 frequency of the components.

    The density of a healthy dictionary is one hump. A second one at the left are components
    that fire a handful of times, one at the right components that are on nearly always.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes, as returned by ``transform`` of a dictionary.
    n_bins : int, default=20
        Bins of equal width between the smallest frequency that can be seen, 1 / n_samples,
        and 1.
    active : {"nonzero", "positive"} or float, default="nonzero"
        What counts as active: a non-zero code, a positive code, or a code whose absolute
        value exceeds the given threshold.
    as_frame : bool, default=False
        Return the histogram alone as a pandas DataFrame, with the columns ``left_edge``,
        ``right_edge`` and ``counts``.

    Returns
    -------
    Bunch or DataFrame
        counts : ndarray of int, shape (n_bins,)
            Number of components in each bin.
        edges : ndarray, shape (n_bins + 1,)
            Edges of the bins, in log10 of the frequency.
        n_never : int
            Components that are never active; they are in no bin.
        log10_frequency : ndarray, shape (n_components,)
            What was counted; -inf for a component that is never active.

    Raises
    ------
    ValueError
        If `codes` are not two-dimensional, numeric and finite, or have a single row.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import usage_density
    >>> codes = np.zeros((100, 4))
    >>> codes[0, 0] = codes[:10, 1] = codes[:, 2] = 1.0
    >>> density = usage_density(codes, n_bins=2)
    >>> density.edges, density.counts, density.n_never
    (array([-2., -1.,  0.]), array([1, 2]), 1)
    """
    check_integer("n_bins", n_bins, 1)
    pattern = active_pattern(codes, active)
    n_samples = pattern.shape[0]
    if n_samples < 2:
        raise ValueError("codes must have at least two rows for a density, got 1")
    counts = column_counts(pattern)
    used = counts > 0
    log10_frequency = np.full(counts.shape, -np.inf)
    log10_frequency[used] = np.log10(counts[used]) - np.log10(n_samples)
    edges = np.linspace(-np.log10(n_samples), 0.0, n_bins + 1)
    # rounding must not push a component that is active once, or always, out of its bin
    inside = np.clip(log10_frequency[used], edges[0], edges[-1])
    histogram = np.histogram(inside, bins=edges)[0]
    if as_frame:
        return table(
            {"left_edge": edges[:-1], "right_edge": edges[1:], "counts": histogram}, as_frame
        )
    return Bunch(
        counts=histogram,
        edges=edges,
        n_never=int((~used).sum()),
        log10_frequency=log10_frequency,
    )


def dead_counts(history, n_components: int, *, as_frame: bool = False):
    """Dead components by the paper's window, over the steps of training.

    Table 1 counts the features that were active for less than a fraction 1e-5 of the samples
    of the last 1,000 steps. A dictionary keeps that share for its ``dead_window`` steps in
    ``history_``; this function turns it into counts.

    Parameters
    ----------
    history : dict of array-like
        ``history_`` of a fitted dictionary, with "step" and "dead_fraction".
    n_components : int
        Its number of components.
    as_frame : bool, default=False
        Return the curve as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        step : ndarray of int
            Steps at which the window was looked at.
        n_dead : ndarray of int
            Number of dead components then.
        final : int
            The last of them: the number of Table 1. Not in the DataFrame.

    Raises
    ------
    ValueError
        If `history` lacks a curve or is empty, or a share is not a number of components out of
        `n_components`.

    Notes
    -----
    A window of fewer than 100,000 samples can only show whether a component was active at all.
    Components that were redrawn by a reset start their count afresh, so that one redrawn
    shortly before counts as dead until it is used.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Table 1.

    Examples
    --------
    >>> from skdict.metrics import dead_counts
    >>> dead_counts({"step": [100, 200], "dead_fraction": [0.5, 0.25]}, 8).n_dead
    array([4, 2])
    """
    check_integer("n_components", n_components, 1)
    missing = {"step", "dead_fraction"} - set(history)
    if missing:
        raise ValueError(
            f"history must hold the curves 'step' and 'dead_fraction', as history_ does; "
            f"missing: {sorted(missing)}"
        )
    step, share = (np.asarray(history[name]) for name in ("step", "dead_fraction"))
    if step.shape != share.shape or step.ndim != 1 or step.size == 0:
        raise ValueError(
            "history must hold curves of equal length with at least one point, got shapes "
            f"{step.shape} and {share.shape}; a dictionary with max_steps=0 has none"
        )
    exact = share * n_components
    n_dead = np.rint(exact).astype(np.int64)
    if not np.allclose(exact, n_dead, atol=1e-6 * n_components) or (share > 1).any():
        raise ValueError(
            f"n_components={n_components} does not fit history: dead_fraction times it is not a "
            "number of components; pass components_.shape[0]"
        )
    return table({"step": step, "n_dead": n_dead}, as_frame, final=int(n_dead[-1]))
