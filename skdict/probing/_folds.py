"""The loop over folds and representations that every probing function shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from skdict._tables import columns_of, table_of
from skdict.probing._logistic import ProbeSettings, probe
from skdict.probing._rows import ProbedRows
from skdict.probing._splits import inner_splits, training_controls


class Features(NamedTuple):
    """One representation of the training and test rows of a fold."""

    name: str
    scaler: object  # unfitted, or None for features that are scaled already
    train: object
    test: object


# (training positions, test positions, control rows of X) -> representations one after the other,
# so that at most one of them is held in memory at a time
Source = Callable[[np.ndarray, np.ndarray, np.ndarray], Iterator[Features]]


@dataclass
class ProbeRun:
    """What a loop over the folds has found."""

    data: ProbedRows
    rows: list[dict] = field(default_factory=list)
    recalls: list[dict] = field(default_factory=list)
    predictions: list[dict] = field(default_factory=list)  # fold, representation, test, predicted

    def in_order(self, names) -> ProbeRun:
        """Sort within each fold by the place of the representation in `names`."""
        places = {name: place for place, name in enumerate(names)}
        for entries in (self.rows, self.recalls, self.predictions):
            entries.sort(key=lambda entry: (entry["fold"], places[entry["representation"]]))
        return self

    def recall_table(self, as_frame: bool):
        """One row per fold, representation and test label."""
        classes = self.data.classes
        return columns_of(
            [row | {"label": classes[row["label"]]} for row in self.recalls], as_frame
        )

    def prediction_table(self, as_frame: bool):
        """One row per fold, representation and test row."""
        data, parts = self.data, self.predictions
        sizes = [part["test"].shape[0] for part in parts]
        test = np.concatenate([part["test"] for part in parts])
        predicted = np.concatenate([part["predicted"] for part in parts])
        return table_of(
            {
                "fold": np.repeat([part["fold"] for part in parts], sizes),
                "representation": np.repeat([part["representation"] for part in parts], sizes),
                "row": data.rows[test],
                "y_true": data.classes[data.y[test]],
                "y_pred": data.classes[predicted],
            },
            as_frame,
        )

    def pooled(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions among the probed rows and predicted label indices, over all folds."""
        parts = [part for part in self.predictions if part["representation"] == name]
        return (
            np.concatenate([part["test"] for part in parts]),
            np.concatenate([part["predicted"] for part in parts]),
        )


def probe_folds(source: Source, data: ProbedRows, splits, settings: ProbeSettings) -> ProbeRun:
    """Probe each representation of `source` in each fold of `splits`."""
    _check_splits(data, splits)
    run = ProbeRun(data)
    for fold, (train, test) in enumerate(splits):
        controls = training_controls(data, train, test)
        inner = []
        if len(settings.Cs) > 1:
            inner = inner_splits(settings.inner_cv, data, train, settings.random_state)
        started = time.perf_counter()
        for features in source(train, test, controls):
            result = probe(
                settings,
                features.scaler,
                (features.train, data.y[train]),
                (features.test, data.y[test]),
                inner,
            )
            key = {"fold": fold, "representation": features.name}
            del features
            recall, predicted = result.pop("recall"), result.pop("predicted")
            run.rows.append({**key, **result, "n_control": controls.shape[0]})
            run.recalls.extend({**key, **entry} for entry in recall)
            run.predictions.append({**key, "test": test, "predicted": predicted})
            if settings.verbose:
                _report(run.rows[-1], len(splits), time.perf_counter() - started)
            started = time.perf_counter()
    return run


def _check_splits(data: ProbedRows, splits) -> None:
    """Raise when there is nothing to learn, before anything is fitted."""
    readable = False
    for train, test in splits:
        trained = np.unique(data.y[train])
        if trained.shape[0] < 2:
            raise ValueError(
                "cv must leave at least two labels in the training rows of each fold; one has "
                f"only {trained.shape[0]}"
            )
        readable |= bool(np.isin(data.y[test], trained).any())
    if not readable:
        raise ValueError(
            "groups must leave rows of some tested label in training, but no fold has any: each "
            "label lies in one group. To predict the group itself, such as the batch, hold out "
            "smaller ones, such as wells or plates of the batch"
        )


def _report(row, n_folds, seconds) -> None:
    """Print a line of progress."""
    print(
        f"[probe] fold {row['fold'] + 1} of {n_folds}, {row['representation']}: balanced accuracy "
        f"{row['balanced_accuracy']:.3f} (chance {row['chance']:.3f}), C={row['C']:g}, "
        f"{seconds:.1f} s",
        flush=True,
    )
