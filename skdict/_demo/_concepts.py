"""The most selective features of one dictionary, described for a biologist."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdict import metrics
from skdict._demo._experiment import Outcome, Profiles, Settings, plate_split


class Label(NamedTuple):
    """A compound that a concept stands for."""

    compound: str
    mechanism: str
    train: float
    """Selectivity on the training plates, where the feature was chosen."""
    held_out: float
    """The same feature's selectivity on the held-out plates."""
    chance: float
    """Expected maximum over all features for this compound with labels permuted in plates."""


class Well(NamedTuple):
    """A well in which a concept is strongest."""

    plate: str
    batch: str
    well: str
    compound: str
    code: float
    held_out: bool


class InputFeature(NamedTuple):
    """An input feature that the direction of a concept moves."""

    name: str
    component: float
    """Component of the direction, in units of the largest one."""
    shift: float
    """What was measured: mean of the concept's first compound minus mean of the controls, on
    held-out plates, in standard deviations of the controls."""


class Concept(NamedTuple):
    """One feature of the dictionary."""

    feature: int
    frequency: float
    labels: list[Label]
    wells: list[Well]
    n_positions: int
    """Distinct well positions among the wells listed."""
    inputs: list[InputFeature]


def describe_concepts(
    outcome: Outcome, profiles: Profiles, settings: Settings, *, n_concepts: int = 12,
    n_wells: int = 8, n_inputs: int = 6,
) -> list[Concept]:  # fmt: skip
    """Describe the features with the highest selectivity on the training plates.

    One feature is shown for each compound: the next one for the same compound says little new.
    They are ranked by the training plates alone, so that the held-out values beside them are
    not chosen for being high.

    Parameters
    ----------
    outcome : Outcome
        Arm, seed and fitted pipeline.
    profiles : Profiles
        The data.
    settings : Settings
        Gives the plate split of the seed.
    n_concepts, n_wells, n_inputs : int
        How many concepts, and how many wells and input features of each.

    Returns
    -------
    list of Concept
        The most selective first.
    """
    train, test = plate_split(profiles, settings, outcome.seed)
    codes = outcome.pipeline.transform(profiles.X)
    train_treated, test_treated = (rows[~profiles.control[rows]] for rows in (train, test))
    compounds = np.intersect1d(profiles.compound[train_treated], profiles.compound[test_treated])
    scores = [
        metrics.selectivity_scores(codes[rows], profiles.compound[rows], labels=compounds)
        for rows in (train_treated, test_treated)
    ]
    curves = outcome.curves
    chance = dict(zip(curves.labels.tolist(), curves.chance.tolist(), strict=True))
    features = _distinct(scores[0], n_concepts)
    held_out = np.zeros(profiles.X.shape[0], dtype=bool)
    held_out[test] = True
    concepts = []
    for feature in features:
        column = codes[:, [feature]].toarray().ravel()
        labels = _labels(feature, compounds, scores, chance, profiles)
        wells = _wells(column, held_out, profiles, n_wells)
        concepts.append(Concept(
            feature=feature,
            frequency=float(np.mean(column != 0)),
            labels=labels,
            wells=wells,
            n_positions=len({well.well for well in wells}),
            inputs=_inputs(
                outcome.pipeline, feature, column, labels[0].compound, profiles, held_out, n_inputs
            ),
        ))  # fmt: skip
    return concepts


def _distinct(scores, n_concepts) -> list[int]:
    """Return the most selective features, one for each compound that is their first."""
    chosen: dict[int, int] = {}
    for feature in np.argsort(-scores.max(axis=0), kind="stable"):
        chosen.setdefault(int(scores[:, feature].argmax()), int(feature))
    return list(chosen.values())[:n_concepts]


def _labels(feature, compounds, scores, chance, profiles, n_labels: int = 3) -> list[Label]:
    """Return the best compound, and others above 0.2, by the training plates."""
    train, test = (score[:, feature] for score in scores)
    order = np.argsort(-train, kind="stable")[:n_labels]
    mechanism = dict(zip(profiles.compound.tolist(), profiles.moa.tolist(), strict=True))
    return [
        Label(
            compound=(compound := str(compounds[i])),
            mechanism=mechanism[compound],
            train=float(train[i]),
            held_out=float(test[i]),
            chance=chance[compound],
        )
        for rank, i in enumerate(order)
        if rank == 0 or train[i] > 0.2
    ]


def _wells(column, held_out, profiles, n_wells) -> list[Well]:
    """Return the wells with the largest absolute code."""
    rows = np.argsort(-np.abs(column), kind="stable")[:n_wells]
    return [
        Well(
            str(profiles.plate[row]), str(profiles.batch[row]), str(profiles.well[row]),
            str(profiles.compound[row]), float(column[row]), bool(held_out[row]),
        )
        for row in rows
        if column[row] != 0
    ]  # fmt: skip


def _inputs(pipeline, feature, column, compound, profiles, held_out, n_inputs):
    """Map the direction of a feature back to the input and name its largest components.

    The atom a lives behind the whitener. Adding it there moves the input by W^+ a (the inverse
    of the whitener without its mean; the unit norm is a positive factor and cancels). The
    direction is given the sign that the feature has in its compound's wells.
    """
    whitener, dictionary = pipeline["whiten"], pipeline["dictionary"]
    atom = dictionary.components_[[feature]].astype(np.float64)
    direction = (whitener.inverse_transform(atom) - whitener.mean_).ravel()
    own = profiles.compound == compound
    direction *= -1.0 if column[own & ~held_out].sum() < 0 else 1.0
    direction /= np.abs(direction).max()
    controls = profiles.X[profiles.control & held_out].astype(np.float64)
    treated = profiles.X[own & held_out].astype(np.float64)
    scale = controls.std(axis=0, ddof=1)
    shift = (treated.mean(axis=0) - controls.mean(axis=0)) / np.where(scale > 0, scale, np.nan)
    largest = np.argsort(-np.abs(direction), kind="stable")[:n_inputs]
    return [
        InputFeature(str(profiles.feature_names[i]), float(direction[i]), float(shift[i]))
        for i in largest
    ]
