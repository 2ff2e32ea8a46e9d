"""The kinds of concepts that are compared, and which of their concepts are live."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import ICFLDictionary, TopKSAE
from skdict.genes import DictionaryConcepts, baseline_concepts

DICTIONARIES = {"TopK": TopKSAE, "ICFL": ICFLDictionary}
BASELINES = {
    "neurons": "neurons",
    "PCA factors": "pca",
    "ICA factors": "ica",
    "NMF factors": "nmf",
    "random directions": "random",
}
UNTRAINED = {"TopK": "TopK, untrained embedding", "ICFL": "ICFL, untrained embedding"}


def pipeline(kind, settings, seed, *, max_steps=None):
    """Centring and a dictionary, not fitted; `max_steps` of 0 makes it a random one."""
    steps = settings.max_steps if max_steps is None else max_steps
    options = {"atoms_per_step": 1} if kind == "ICFL" else {}
    dictionary = DICTIONARIES[kind](
        settings.n_components, n_nonzero_coefs=settings.n_nonzero, max_steps=steps, batch_size=256,
        random_state=seed, **options,
    )  # fmt: skip
    return make_pipeline(StandardScaler(with_std=False), dictionary)


def fit(kind, E, settings, seed, *, max_steps=None):
    """Concepts of a dictionary fitted on embeddings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = pipeline(kind, settings, seed, max_steps=max_steps).fit(E)
    return DictionaryConcepts(fitted)


def learned(E, settings, seed):
    """The two dictionaries by name."""
    return {kind: fit(kind, E, settings, seed) for kind in DICTIONARIES}


def linear(E, share, seed):
    """Neurons, factors and random directions by name, active in a share of the cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of ICA; its factors are what they are
        found = baseline_concepts(
            E, kinds=tuple(BASELINES.values()), share=share, random_state=seed
        )
    return {title: found[kind] for title, kind in BASELINES.items()}


def live(codes, settings):
    """Concepts that are active in as many cells as the rule asks for."""
    share = activity(codes)
    return np.flatnonzero((share >= settings.least_active) & (share <= settings.most_active))


def activity(codes):
    """Share of the cells in which each concept is active."""
    return np.asarray((codes > 0).sum(axis=0)).ravel() / codes.shape[0]
