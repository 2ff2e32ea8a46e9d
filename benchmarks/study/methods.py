"""From a configuration to a fitted pipeline."""

import math
import warnings

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from benchmarks.study.configurations import max_steps
from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE

# Baselines of scikit-learn that would take most of the study's time otherwise. More passes of the
# dictionary learner change its reconstructions by a hundredth; ICA has its own default back.
SHORTER = {
    "minibatch": {"dictionary__max_iter": 2},
    "ica": {"fastica__max_iter": 200},
    "nmf": {"minibatchnmf__max_iter": 50},
}


def embeddings(data, configuration):
    """Rows of a data set, aligned if the configuration asks for it."""
    if not configuration.aligned:
        return data.X
    from skdict.preprocessing import align_batches

    return align_batches(data.X, batch=data.batch, control=data.control).astype(np.float32)


def build(configuration, data, n_rows, settings, seed):
    """Return the unfitted pipeline: whitening, unit norm, dictionary.

    Parameters
    ----------
    configuration : Configuration
        What to build.
    data : StudyData
        Tells the number of features and of atoms.
    n_rows : int
        Rows that the dictionary will learn from: passes are turned into steps.
    settings : Settings
        Sizes of the run.
    seed : int
        Randomness of the dictionary.
    """
    dictionary = learner(configuration, data, n_rows, settings, seed)
    steps = [("unit", Normalizer()), ("dictionary", dictionary)]
    if configuration.whitening != "raw":
        whitener = ControlPCAWhitener(method=configuration.whitening, epsilon=configuration.epsilon)
        steps.insert(0, ("whiten", whitener))
    return Pipeline(steps)


def learner(configuration, data, n_rows, settings, seed):
    """Return the unfitted dictionary with the encoder that the configuration names."""
    n_nonzero = configuration.n_nonzero or data.n_nonzero
    size = {
        "n_components": max(1, round(configuration.size * data.n_components)),
        "random_state": seed,
    }
    kind = configuration.dictionary
    if kind not in ("icfl", "topk"):
        from skdict.baselines import make_baselines

        baseline = make_baselines(**size, n_nonzero_coefs=n_nonzero)[kind]
        return baseline.set_params(**SHORTER.get(kind, {}))
    size["n_nonzero_coefs"] = configuration.train_n_nonzero or n_nonzero
    if size["n_nonzero_coefs"] != n_nonzero:
        size["transform_n_nonzero_coefs"] = n_nonzero
    schedule = {
        "learning_rate": configuration.rate_factor * 0.1 / math.sqrt(data.X.shape[1]),
        "learning_rate_schedule": configuration.schedule,
        "batch_size": settings.batch_size,
        "max_steps": max_steps(configuration, settings.passes, n_rows, settings.batch_size),
    }
    if kind == "icfl":
        dictionary = ICFLDictionary(
            **size, **schedule, atoms_per_step=configuration.atoms_per_step,
            selection=configuration.selection, refit=configuration.refit,
            solver=configuration.solver, init=configuration.init,
            reset_every=configuration.reset_every,
        )  # fmt: skip
    else:
        auxk_coef = 1 / 32 if configuration.auxk else 0
        init = configuration.init if configuration.init != "random" else "tied"
        dictionary = TopKSAE(**size, **schedule, init=init, auxk_coef=auxk_coef)
    if configuration.encoder is None:
        return dictionary
    from skdict.baselines import RecodedDictionary

    return RecodedDictionary(dictionary, algorithm=configuration.encoder)


def fit(configuration, data, X, rows, settings, seed):
    """Fit a configuration on some rows; its whitener sees the controls among them."""
    pipeline = build(configuration, data, len(rows), settings, seed)
    given = {}
    if data.control.any() and "whiten" in pipeline.named_steps:
        given["control"] = data.control[rows]
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        # Few controls for the number of features, and sets without controls: said on the page.
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        return pipeline.fit(X[rows], **given)
