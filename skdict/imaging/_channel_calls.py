"""What a feature follows, in one word."""

from __future__ import annotations

import numpy as np


def call_features(found, level: float, min_effect: float, margin: float):
    """Call every feature by the rules of :meth:`ChannelCorrelations.calls`.

    Parameters
    ----------
    found : ChannelCorrelations
        What was computed.
    level : float
        Largest q-value.
    min_effect : float
        Least absolute correlation.
    margin : float
        Lead in partial correlation.

    Returns
    -------
    call : ndarray of str, shape (n_features,)
        The calls.
    column : ndarray of int, shape (n_features,)
        The channel that decided; 0 for "none".
    """
    n_stains, n_features = found.n_stains, found.r.shape[0]
    every = np.arange(n_features)
    stains = found.r[:, :n_stains]
    significant = found.q_value <= level  # False for NaN
    strong = significant & (np.abs(found.r) >= min_effect)
    call = np.full(n_features, "none", dtype="<U10")
    column = np.zeros(n_features, dtype=np.intp)

    def say(word, where, which):
        undecided = where & (call == "none")
        call[undecided] = word
        column[undecided] = which[undecided]

    for k in range(n_stains, found.r.shape[1]):
        beside = np.abs(found.r_with_artefact[:, k - n_stains]).max(axis=1)
        leads = strong[:, k] & (np.abs(found.r[:, k]) > beside)
        say(str(found.channels[k]), leads, np.full(n_features, k))
    largest = np.abs(stains).argmax(axis=1)
    negative = (significant[:, :n_stains] & (stains < 0)).all(axis=1)
    say("inverse", negative & strong[every, largest], largest)
    lead, first = _lead(np.abs(found.partial[:, :n_stains]))
    say("specific", strong[every, first] & (lead >= margin), first)
    of_strong = np.where(strong[:, :n_stains], np.abs(stains), -1).argmax(axis=1)
    say("several", strong[:, :n_stains].any(axis=1), of_strong)
    return call, column


def _lead(partial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the largest of each row leads the second, and where it is."""
    first = partial.argmax(axis=1)
    ordered = np.sort(partial, axis=1)
    second = ordered[:, -2] if partial.shape[1] > 1 else 0.0
    return ordered[:, -1] - second, first
