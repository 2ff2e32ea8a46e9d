"""How one dictionary is judged: on rows of groups that it has not seen, fold by fold.

A dictionary is learned on the training rows of a fold, without labels. Of the held-out rows we ask
how well they are reconstructed, whether the feature that is best for a label on training rows is
selective for it here, and how well a linear probe fitted on training rows reads the label. Every
row is held out once; what is measured on it is pooled over the folds.
"""

import time
import warnings
from dataclasses import replace

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import Pipeline

from benchmarks.study.methods import embeddings, fit
from skdict import metrics
from skdict.probing import probe_representations

THRESHOLDS = (0.5, 0.2)
# What is averaged over folds.
MEANS = ("cosine", "cosine_input", "n_active", "dead", "train_selectivity", "recovered", "matched")


def evaluate(data, configuration, seed, settings, *, keep_units=False):
    """Judge a configuration on a data set.

    Parameters
    ----------
    data : StudyData
        The set.
    configuration : Configuration
        The dictionary, with what comes before it and its encoder.
    seed : int
        Draws the folds and the dictionary.
    settings : Settings
        Sizes of the run.
    keep_units : bool, default=False
        Keep the counts of active features by unit, for intervals.

    Returns
    -------
    dict
        Figures by name, and:

        best
            By label, the best selectivity of any feature: "average" and "maximum" over all rows
            that are not controls (mean over folds), "held" on held-out rows.
        predictions
            By representation, the predicted label (position in ``labels``) of each row.
    """
    start = time.perf_counter()
    X = embeddings(data, configuration)
    pooled = Pooled(data)
    parts = []
    for train, test in data.folds(settings.folds, seed):
        pipeline = fit(configuration, data, X, train, settings, seed)
        parts.append(judge(pipeline, X, data, train, test, seed, pooled))
        pooled.probe(pipeline, X, train, test, settings, seed)
    result = {name: mean_of(parts, name) for name in MEANS}
    result |= {
        name: np.mean([part[name] for part in parts], axis=0)
        for name in ("counts", "chance_counts", "usage")
    }
    best = {name: np.mean([part[name] for part in parts], axis=0) for name in metrics_of_best}
    best["held"] = pooled.held_selectivity()
    result |= {
        "labels": pooled.labels,
        "best": best,
        "held_selectivity": float(best["held"].mean()),
        "accuracy": {name: pooled.accuracy(name) for name in pooled.predictions},
        "predictions": pooled.predictions,
        "seconds": time.perf_counter() - start,
    }
    if keep_units:
        result["units"] = pooled.unit_counts()
    return result


metrics_of_best = ("average", "maximum")


def mean_of(parts, name):
    """Mean of a figure over the folds that have it, or None."""
    values = [part[name] for part in parts if part.get(name) is not None]
    return float(np.mean(values)) if values else None


def judge(pipeline, X, data, train, test, seed, pooled):
    """Measure one fitted pipeline; what belongs to held-out rows goes to `pooled`."""
    rows = data.probed
    y = data.y[rows]
    codes = pipeline.transform(X[rows])
    is_test = np.isin(rows, test)
    is_train = np.isin(rows, train)
    held = metrics.held_out_selectivity(codes[is_train], y[is_train], codes[is_test], y[is_test])
    pooled.activity(codes, is_test, held)
    scores = {
        kind: metrics.selectivity_scores(codes, y, kind=kind, labels=pooled.labels).max(axis=1)
        for kind in metrics_of_best
    }
    return {
        **scores,
        **reconstruction(pipeline, X[test]),
        **recovery(pipeline, data),
        "n_active": codes[is_test].nnz / is_test.sum(),
        "dead": metrics.dead_fraction(codes) * codes.shape[1],
        "usage": np.histogram(
            np.log10(np.maximum(metrics.activation_frequency(codes), 1e-4)),
            bins=np.linspace(-4, 0, 17),
        )[0],
        "train_selectivity": float(held.train_score.mean()),
        "counts": metrics.count_selective(codes, y, THRESHOLDS),
        "chance_counts": metrics.count_selective(codes, data.permuted(seed), THRESHOLDS),
    }


def reconstruction(pipeline, X):
    """Cosine of rows and reconstructions before the dictionary, and in the input space.

    In the input space both are taken about the mean of the controls, so that figures with and
    without whitening can be compared.
    """
    dictionary = pipeline[-1]
    if not hasattr(dictionary, "inverse_transform"):
        return {}
    before = pipeline[:-1].transform(X)
    rebuilt = dictionary.inverse_transform(dictionary.transform(before))
    values = {"cosine": metrics.reconstruction_cosine(before, rebuilt)}
    if "whiten" in pipeline.named_steps:
        whitener = pipeline["whiten"]
        length = np.linalg.norm(whitener.transform(X), axis=1, keepdims=True)
        back = whitener.inverse_transform(rebuilt * length) - whitener.mean_
        values["cosine_input"] = metrics.reconstruction_cosine(X - whitener.mean_, back)
    return values


def recovery(pipeline, data):
    """Share of the planted atoms found, and their mean matched cosine; nothing for real data.

    The planted atoms are taken to the space of the dictionary by the linear part of the whitener.
    """
    atoms = getattr(pipeline[-1], "components_", None)
    if data.truth is None or atoms is None:
        return {}
    true = data.truth
    if "whiten" in pipeline.named_steps and pipeline["whiten"].method != "center":
        true = true @ pipeline["whiten"].components_.T
    if np.shape(atoms)[1] != true.shape[1]:
        return {}
    found = metrics.dictionary_recovery(true, atoms)
    return {"recovered": found.recovered, "matched": found.mean_cosine}


class Pooled:
    """What is measured on held-out rows, over all folds: each row has one entry.

    Parameters
    ----------
    data : StudyData
        The set; its rows that are not controls are pooled.
    """

    def __init__(self, data):
        self.data = data
        self.rows = data.probed
        self.labels, self.y = np.unique(data.y[self.rows], return_inverse=True)
        self.active = np.zeros((self.rows.size, self.labels.size), bool)
        self.predictions = {}

    def activity(self, codes, is_test, held):
        """Note whether the feature chosen for each label is active in each held-out row.

        A label without training rows has no feature, and stays inactive.
        """
        columns = np.searchsorted(self.labels, held.labels)
        chosen = codes[is_test][:, held.feature]
        chosen = (chosen != 0).toarray() if hasattr(chosen, "toarray") else chosen != 0
        rows = np.flatnonzero(is_test)
        self.active[rows[:, None], columns[None, :]] = chosen

    def probe(self, pipeline, X, train, test, settings, seed):
        """Probe codes and reconstructions of a fitted pipeline in one fold."""
        names = ["codes"]
        if hasattr(pipeline[-1], "inverse_transform"):
            names.append("reconstruction")
        frozen = Pipeline([
            ("before", FrozenEstimator(pipeline[:-1])),
            ("dictionary", FrozenEstimator(pipeline[-1])),
        ])  # fmt: skip
        self.probe_fold(frozen, X, test, names, settings, seed)

    def probe_fold(self, pipeline, X, test, names, settings, seed):
        """Probe representations in one fold and keep the predictions."""
        data = self.data
        is_test = np.isin(self.rows, test)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            warnings.filterwarnings("ignore", ".*inner folds.*", UserWarning)
            _, table = probe_representations(
                pipeline, X, data.y, groups=data.groups,
                cv=PredefinedSplit(np.where(is_test, 0, -1)),
                control=data.control if data.control.any() else None, representations=names,
                Cs=settings.strengths, inner_cv=2, random_state=seed, return_predictions=True,
            )  # fmt: skip
        for name in names:
            chosen = table["representation"] == name
            places = np.searchsorted(self.rows, table["row"][chosen])
            predicted = np.searchsorted(self.labels, table["y_pred"][chosen])
            self.predictions.setdefault(name, np.full(self.rows.size, -1))[places] = predicted

    def accuracy(self, name):
        """Balanced accuracy of the pooled predictions."""
        hits = self.predictions[name] == self.y
        totals = np.bincount(self.y, minlength=self.labels.size)
        return float(np.mean(np.bincount(self.y, hits, self.labels.size) / totals))

    def held_selectivity(self):
        """Average selectivity on held-out rows of the features chosen on training rows."""
        own = np.eye(self.labels.size, dtype=bool)[self.y]
        inside = (self.active & own).sum(axis=0) / own.sum(axis=0)
        outside = (self.active & ~own).sum(axis=0) / (~own).sum(axis=0)
        return inside - outside

    def unit_counts(self):
        """Counts by unit and label: rows, active rows of the label, active rows of others."""
        _, units = np.unique(self.data.units[self.rows], return_inverse=True)
        own = np.eye(self.labels.size, dtype=np.int64)[self.y]
        by_unit = np.zeros((units.max() + 1, 3, self.labels.size), np.int64)
        for k, values in enumerate((own, own * self.active, (1 - own) * self.active)):
            np.add.at(by_unit[:, k], units, values)
        return by_unit


def evaluate_raw(data, configuration, seed, settings):
    """Balanced accuracy of a probe on the rows themselves, after whitening if that is asked for.

    Parameters and returned figures are those of `evaluate`; only accuracy and predictions are
    there.
    """
    X = embeddings(data, configuration)
    pooled = Pooled(data)
    for train, test in data.folds(settings.folds, seed):
        if configuration.whitening == "raw":
            pooled.probe_fold(None, X, test, ["raw"], settings, seed)
        else:
            untrained = replace(configuration, passes=0)  # only what comes before is used
            pipeline = fit(untrained, data, X, train, settings, seed)
            pooled.probe_fold(frozen_before(pipeline), X, test, ["codes"], settings, seed)
    name = next(iter(pooled.predictions))
    return {
        "accuracy": pooled.accuracy(name),
        "predictions": pooled.predictions[name],
        "labels": pooled.labels,
        "n_rows": pooled.rows.size,
        "n_units": np.unique(data.units[pooled.rows]).size,
    }


def frozen_before(pipeline):
    """The steps before the dictionary, as a pipeline whose output is the representation."""
    return Pipeline([("before", FrozenEstimator(pipeline[:-1]))])
