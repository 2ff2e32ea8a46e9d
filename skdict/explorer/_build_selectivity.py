"""Selectivity of the concepts of a bundle, and the best label of each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from skdict.explorer._build_labels import Labels
from skdict.metrics import selectivity_scores, selectivity_test

_BLOCK_VALUES = 1 << 23  # scores held at a time


@dataclass(frozen=True)
class Permutations:
    """Settings of the permutation test; 0 permutations test nothing."""

    n: int
    units: object
    strata: object
    random_state: object


def column_scores(codes, labels: Labels) -> np.ndarray:
    """Selectivity of all concepts for the labels of a column, a block of concepts at a time.

    Parameters
    ----------
    codes : csc_array, shape (n_samples, n_concepts)
        Codes above 0.
    labels : Labels
        Labels; samples without one are left out.

    Returns
    -------
    ndarray of float32, shape (n_labels, n_concepts)
        Scores of :func:`skdict.metrics.selectivity_scores`; NaN with one label only.
    """
    n_concepts, n_labels = codes.shape[1], len(labels.labels)
    scores = np.full((n_labels, n_concepts), np.nan, dtype=np.float32)
    if n_labels < 2:
        return scores
    known = labels.index >= 0
    width = max(1, _BLOCK_VALUES // n_labels)
    for start in range(0, n_concepts, width):
        block = codes[:, start : start + width]
        block = block if known.all() else block.tocsr()[known]
        scores[:, start : start + width] = selectivity_scores(block, labels.index[known])
    return scores


def best_of_columns(codes, columns: dict[str, Labels], all_scores: list, test: Permutations):
    """Best label of each concept, in each column and over all of them.

    Parameters
    ----------
    codes : PositiveCodes
        The codes.
    columns : dict of Labels
        The label columns.
    all_scores : list of ndarray
        Scores of each column.
    test : Permutations
        How to test.

    Returns
    -------
    best : ndarray of int32, shape (n_columns, n_concepts)
        Best label in each column; -1 for a dead concept or a column with one label only.
    table : dict
        Columns ``best_label_column``, ``best_label``, ``selectivity`` and ``selectivity_p`` of
        the table of concepts.
    """
    n_concepts = codes.by_concept.shape[1]
    alive = np.diff(codes.by_concept.indptr) > 0
    best = np.full((len(columns), n_concepts), -1, dtype=np.int32)
    table = {
        "best_label_column": np.full(n_concepts, "", dtype=object),
        "best_label": np.full(n_concepts, "", dtype=object),
        "selectivity": np.where(alive | (not columns), np.nan, 0.0),
        "selectivity_p": np.full(n_concepts, np.nan),
    }
    compared = [name for name in columns if len(columns[name].labels) > 1]
    if not compared:
        table["selectivity"][:] = np.nan
    for place, (name, labels) in enumerate(columns.items()):
        if name not in compared:
            warnings.warn(
                f"label column {name!r} holds one label only, {labels.labels[0]!r}: it has no "
                "selectivity",
                UserWarning,
                stacklevel=4,
            )
            continue
        top = all_scores[place].argmax(axis=0)
        best[place, alive] = top[alive]
        score = all_scores[place][top, np.arange(n_concepts)].astype(np.float64)
        better = alive & ~(score <= table["selectivity"])
        table["selectivity"][better] = score[better]
        table["best_label_column"][better] = name
        table["best_label"][better] = np.array(labels.labels, dtype=object)[top[better]]
        if test.n:
            p_value = _p_values(codes.by_sample, labels, top, test)
            table["selectivity_p"][better] = np.minimum(1, p_value[better] * len(compared))
    return best, table


def _p_values(codes, labels: Labels, top: np.ndarray, test: Permutations) -> np.ndarray:
    """Family-wise p-value of each concept's best label."""
    known = labels.index >= 0
    units, strata = (
        None if values is None else np.asarray(values)[known]
        for values in (test.units, test.strata)
    )
    result = selectivity_test(
        codes if known.all() else codes[known],
        labels.index[known],
        units=units,
        strata=strata,
        n_permutations=test.n,
        random_state=test.random_state,
    )
    return result.family_wise_p_value[top, np.arange(top.shape[0])]
