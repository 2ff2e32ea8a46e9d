"""The rule by which an audit calls a concept technical, biological, mixed or not separable."""

from __future__ import annotations

import numpy as np
from scipy.stats import f as f_distribution

from skdict.effects._audit_variance import q_values

VERDICTS = ("biological", "mixed", "technical", "not separable", "unexplained", "never active")


def verdicts(shares, design, active: np.ndarray, *, min_share: float, level: float) -> np.ndarray:
    """Verdict of each concept, as told in :func:`~skdict.effects.technical_audit`.

    Parameters
    ----------
    shares : Bunch
        Shares and p-values of every concept.
    design : dict of ndarray
        What the factors have in common with the biology.
    active : ndarray of bool, shape (n_concepts,)
        Concepts that are active in some row.
    min_share : float
        Smaller shares do not count.
    level : float
        Largest q-value that counts.

    Returns
    -------
    ndarray of str, shape (n_concepts,)
        One of `VERDICTS` each.
    """

    def counts(share, p_value):
        return (share >= min_share) & (q_values(p_value, active) <= level)

    technical = counts(shares.unique_technical, shares.technical_p_value)
    biology = counts(shares.unique_biology, shares.biology_p_value)
    technical_alone = counts(shares.technical_share, shares.technical_alone_p_value)
    biology_alone = counts(shares.biology_share, shares.biology_alone_p_value)
    shared = shares.technical_share + shares.biology_share - shares.total_share

    def unseen(other_unique, other_visible):
        # Had the other side made the shared part, would it have left nothing more than is there?
        expected = np.maximum(shared, 0) * other_visible / np.maximum(1 - other_visible, 1e-12)
        return (expected < min_share) | (other_unique >= expected / 2)

    by_layout = _beyond_layout(shares, design, min_share, level)
    open_technical = (shared > shares.unique_technical) | by_layout[0]
    open_technical &= biology_alone & unseen(shares.unique_biology, shares.visible_biology)
    open_biology = (shared > shares.unique_biology) | by_layout[1]
    open_biology &= technical_alone & unseen(shares.unique_technical, shares.visible_technical)
    # alone, a side may count for what is shared and some noise: its own part must be seen
    seen_technical = q_values(shares.technical_p_value, active) <= level
    seen_technical &= shares.unique_technical > shared
    seen_biology = q_values(shares.biology_p_value, active) <= level
    seen_biology &= shares.unique_biology > shared
    rules = [
        (~active, "never active"),
        (technical & biology, "mixed"),
        ((technical & open_technical) | (biology & open_biology), "not separable"),
        (technical, "technical"),
        (biology, "biological"),
        (technical_alone & biology_alone, "not separable"),
        (technical_alone & seen_technical, "technical"),
        (biology_alone & seen_biology, "biological"),
        (technical_alone | biology_alone, "not separable"),
    ]
    conditions, names = zip(*rules)
    return np.select(conditions, names, default="unexplained")


def _beyond_layout(shares, design, min_share: float, level: float):
    """Whether more is shared than factors, or biology, would share in a layout drawn at random.

    Effects that are drawn without regard to the other side lie in its span as much as directions
    do, which the overlap counts: the mean squares of what is shared and of what is not are equal
    then. For one factor nested in the other this is the F test of nested analysis of variance.
    """
    ranks, n_free = design["degrees_of_freedom"], shares.n_biology
    overlap = design["overlap"] * n_free
    by_factor = shares.factor_shared >= min_share
    for i, common in enumerate(shares.factor_shared):
        own = shares.factor_share[i] - common
        by_factor[i] &= _nested_p_value(
            common, overlap[i], own, ranks[i] - overlap[i], shares.noise_share
        ) <= level  # fmt: skip
    shared = shares.technical_share + shares.biology_share - shares.total_share
    p_value = _nested_p_value(
        shared, overlap[-1], shares.unique_biology, n_free - overlap[-1], shares.noise_share
    )
    return by_factor.any(axis=0), (shared >= min_share) & (p_value <= level)


def _nested_p_value(shared, n_shared: float, own, n_own: float, noise) -> np.ndarray:
    """P-value of the ratio of two mean squares; 0 where nothing is left to compare with."""
    if n_shared < 1e-6:
        return np.ones(shared.shape[0])
    if n_own < 1e-6:
        return np.zeros(shared.shape[0])
    above = np.maximum(shared, 0) / n_shared + noise
    below = np.maximum(own, 0) / n_own + noise
    ratio = above / np.maximum(below, 1e-15)
    return f_distribution.sf(ratio, n_shared, n_own)


def confounded_with(shares, verdict: np.ndarray, names) -> np.ndarray:
    """Factors that share most with biology, for the concepts that are not separable.

    Parameters
    ----------
    shares : Bunch
        Shares of every concept.
    verdict : ndarray of str, shape (n_concepts,)
        The verdicts.
    names : sequence of str
        Names of the factors.

    Returns
    -------
    ndarray of object, shape (n_concepts,)
        Names in descending order, joined by commas: those that share at least half as much as the
        first. Empty for the other concepts.
    """
    found = np.full(verdict.shape[0], "", dtype=object)
    for concept in np.flatnonzero(verdict == "not separable"):
        common = shares.factor_shared[:, concept]
        order = np.argsort(-common, kind="stable")
        near = [names[i] for i in order if common[i] >= max(common[order[0]] / 2, 0.0)]
        found[concept] = ", ".join(near or [names[order[0]]])
    return found
