"""What the demo computes: eight models, each judged on rows that it has not seen."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from skdict import metrics
from skdict._demo._selectivity import Curves, judge_selectivity
from skdict._icfl import ICFLDictionary
from skdict._topk_sae import TopKSAE
from skdict._whitening import ControlPCAWhitener
from skdict.preprocessing import LargestValuesSelector
from skdict.probing import probe_representations

WHITENING = ("off", "on")
MODELS = ("ICFL", "TopK SAE", "PCA", "random")
# Standard measures of a probe's regularisation; one of them is chosen within the training rows.
STRENGTHS = (0.01, 0.1, 1.0)


class Arm(NamedTuple):
    """One of the models compared."""

    whitening: str
    model: str


ARMS = tuple(Arm(whitening, model) for whitening in WHITENING for model in MODELS)


@dataclass(frozen=True)
class Settings:
    """How much the demo computes."""

    n_components: int = 432
    n_nonzero_coefs: int = 20
    max_steps: int = 400
    seeds: tuple[int, ...] = (0, 1, 2)
    n_permutations: int = 40
    sparsities: tuple[int, ...] = (5, 10, 20, 40)
    compound_folds: int = 3
    test_plates: float = 0.4
    inner_folds: int = 2
    strengths: tuple[float, ...] = STRENGTHS


QUICK = Settings(
    n_components=128, seeds=(0,), n_permutations=20, sparsities=(5, 20), strengths=(0.1,),
    max_steps=50,
)  # fmt: skip


@dataclass
class Profiles:
    """The columns of a data set that the demo reads."""

    X: np.ndarray
    feature_names: np.ndarray
    control: np.ndarray
    compound: np.ndarray
    moa: np.ndarray
    plate: np.ndarray
    batch: np.ndarray
    well: np.ndarray
    paired: np.ndarray = field(init=False)
    """Rows that the mechanism probe uses: controls, and mechanisms of two or more compounds."""

    def __post_init__(self):
        treated = ~self.control
        pairs = np.unique(np.stack([self.moa[treated], self.compound[treated]]), axis=1)
        names, counts = np.unique(pairs[0], return_counts=True)
        self.paired = self.control | np.isin(self.moa, names[counts >= 2])

    @classmethod
    def from_bunch(cls, bunch) -> Profiles:
        """Take the columns from a data set of `skdict.datasets`."""
        columns = ("feature_names", "control", "compound", "moa", "plate", "batch", "well")
        return cls(X=bunch.data, **{name: np.asarray(bunch[name]) for name in columns})

    @property
    def n_mechanisms(self) -> int:
        """Number of mechanisms that are probed."""
        return np.unique(self.moa[self.paired & ~self.control]).size


def build(arm: Arm, settings: Settings, seed: int) -> Pipeline:
    """Return the unfitted pipeline of one arm: whiten, unit norm, dictionary."""
    whitener = ControlPCAWhitener(method="center" if arm.whitening == "off" else "pca")
    size = {
        "n_components": settings.n_components,
        "n_nonzero_coefs": settings.n_nonzero_coefs,
        "random_state": seed,
    }
    if arm.model == "ICFL":
        dictionary = ICFLDictionary(**size, max_steps=settings.max_steps)
    elif arm.model == "TopK SAE":
        dictionary = TopKSAE(**size, max_steps=settings.max_steps)
    elif arm.model == "PCA":
        selector = LargestValuesSelector(settings.n_nonzero_coefs)
        dictionary = Pipeline([("pca", PCA(svd_solver="full")), ("select", selector)])
    else:
        dictionary = ICFLDictionary(**size, max_steps=0)
    return Pipeline([("whiten", whitener), ("unit", Normalizer()), ("dictionary", dictionary)])


def fit(arm: Arm, profiles: Profiles, rows, settings: Settings, seed: int) -> Pipeline:
    """Fit one arm on some rows; its whitener sees the controls among them."""
    pipeline = build(arm, settings, seed)
    with config_context(enable_metadata_routing=True):
        return pipeline.fit(profiles.X[rows], control=profiles.control[rows])


def cosine(pipeline: Pipeline, X) -> float:
    """Mean cosine of rows and reconstructions in the space of the dictionary."""
    before, dictionary = pipeline[:-1].transform(X), pipeline[-1]
    rebuilt = dictionary.inverse_transform(dictionary.transform(before))
    return metrics.reconstruction_cosine(before, rebuilt)


@dataclass
class Outcome:
    """One arm and seed: its numbers, its curves, and the fit that the concepts come from."""

    arm: Arm
    seed: int
    values: dict[str, float]
    curves: Curves
    pipeline: Pipeline
    messages: set[str]


def plate_split(profiles: Profiles, settings: Settings, seed: int):
    """Return (training rows, held-out rows); a physical plate is on one side as a whole."""
    splitter = GroupShuffleSplit(1, test_size=settings.test_plates, random_state=seed)
    return next(splitter.split(profiles.X, groups=profiles.plate))


def evaluate(arm: Arm, profiles: Profiles, settings: Settings, seed: int) -> Outcome:
    """Fit one arm on the training plates and measure everything the table shows of it.

    The mechanism probe with held-out compounds fits the arm anew in each of its folds.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train, test = plate_split(profiles, settings, seed)
        pipeline = fit(arm, profiles, train, settings, seed)
        codes = pipeline.transform(profiles.X)
        selectivity, curves = judge_selectivity(
            codes,
            profiles.compound,
            profiles.plate,
            *(rows[~profiles.control[rows]] for rows in (train, test)),  # controls are no label
            n_permutations=settings.n_permutations,
            seed=seed,
        )
        values = {
            "fit_cosine": cosine(pipeline, profiles.X[train]),
            "held_cosine": cosine(pipeline, profiles.X[test]),
            "dead": metrics.dead_fraction(codes) * codes.shape[1],
            **selectivity,
            **_probe_values(arm, pipeline, profiles, settings, seed),
        }
    return Outcome(arm, seed, values, curves, pipeline, _messages(caught))


def sparsity_point(
    arm: Arm, profiles: Profiles, settings: Settings, n_nonzero: int
) -> tuple[float, float]:
    """Train an arm with another sparsity; (mean non-zeros, cosine) on the held-out plates."""
    settings = replace(settings, n_nonzero_coefs=n_nonzero)
    seed = settings.seeds[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same fits warned in `evaluate`, which reports it
        train, test = plate_split(profiles, settings, seed)
        pipeline = fit(arm, profiles, train, settings, seed)
    X = profiles.X[test]
    return metrics.activation_frequency(pipeline.transform(X)).sum(), cosine(pipeline, X)


def _probe_values(arm, fitted, profiles, settings, seed) -> dict[str, float]:
    """Balanced accuracy of the mechanism from codes and from reconstructions."""
    # The fit on the training plates is there already; held-out compounds need their own.
    frozen = Pipeline([
        ("before", FrozenEstimator(fitted[:-1])), ("dictionary", FrozenEstimator(fitted[-1]))
    ])  # fmt: skip
    values = {}
    for held_out, pipeline in (("compound", build(arm, settings, seed)), ("plate", frozen)):
        scores = _probe(pipeline, profiles, settings, seed, held_out, ("codes", "reconstruction"))
        values[f"codes_{held_out}"] = scores["codes"]
        values[f"rebuilt_{held_out}"] = scores["reconstruction"]
    return values


def evaluate_raw(profiles: Profiles, settings: Settings, seed: int):
    """Probe the input itself on the folds that the models of this seed are probed on.

    Returns the balanced accuracy by what is held out, and the warnings raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = {
            held_out: _probe(None, profiles, settings, seed, held_out, ("raw",))["raw"]
            for held_out in ("compound", "plate")
        }
    return values, _messages(caught)


def _messages(caught) -> set[str]:
    return {f"{warning.category.__name__}: {warning.message}" for warning in caught}


def _probe(pipeline, profiles, settings, seed, held_out, representations) -> dict[str, float]:
    """Mean balanced accuracy over the folds of one seed, by representation."""
    rows = np.flatnonzero(profiles.paired)
    if held_out == "compound":
        groups = profiles.compound[rows]
        cv = StratifiedGroupKFold(settings.compound_folds, shuffle=True, random_state=seed)
    else:
        groups = profiles.plate[rows]
        _, test = plate_split(profiles, settings, seed)
        probed = rows[~profiles.control[rows]]
        cv = PredefinedSplit(np.where(np.isin(probed, test), 0, -1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The groups parameter is ignored")  # the split has them
        table = probe_representations(
            pipeline, profiles.X[rows], profiles.moa[rows], groups=groups, cv=cv,
            control=profiles.control[rows], representations=representations,
            Cs=settings.strengths, inner_cv=settings.inner_folds, random_state=seed,
        )  # fmt: skip
    return {
        name: float(table["balanced_accuracy"][table["representation"] == name].mean())
        for name in representations
    }
