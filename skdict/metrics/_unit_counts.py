"""Counts of active rows per unit: what a permutation of labels reorders and adds up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skdict._units import LabelledUnits, label_units, read_units
from skdict.metrics._labels import label_counts


@dataclass(frozen=True)
class UnitCounts(LabelledUnits):
    """Counts of active rows per unit, with the label and the stratum of each unit.

    Attributes
    ----------
    counts : csr_array of int32, shape (n_units, n_components)
        Active rows of each unit and component.
    n_rows : ndarray of int, shape (n_units,)
        Rows of each unit.
    """

    counts: sparse.csr_array
    n_rows: np.ndarray

    def label_counts(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Active rows per label and component, and rows per label, when the units carry `label`."""
        counts = label_counts(self.counts, label, self.n_labels)
        # weights are added as float64: exact for numbers of rows
        n_rows = np.bincount(label, weights=self.n_rows, minlength=self.n_labels)
        return counts, n_rows.astype(np.int64)


def count_units(pattern, classes, index, units, strata) -> UnitCounts:
    """Gather rows into units that carry one label and lie in one stratum each.

    Parameters
    ----------
    pattern : csr_array of int32, shape (n_samples, n_components)
        One where a code is active.
    classes : ndarray, shape (n_labels,)
        Distinct labels, for the messages.
    index : ndarray of int, shape (n_samples,)
        Label index of each row.
    units : array-like, shape (n_samples,), or None
        Unit of each row; None makes every row a unit.
    strata : array-like, shape (n_samples,), or None
        Stratum of each row; None is one stratum.

    Returns
    -------
    UnitCounts
        The units.

    Raises
    ------
    ValueError
        If a unit has two labels or lies in two strata, or if no stratum has two labels.
    """
    found = read_units(units, strata, pattern.shape[0])
    labelled = label_units(found, classes, index)
    return UnitCounts(
        label=labelled.label,
        stratum=labelled.stratum,
        n_labels=labelled.n_labels,
        counts=pattern if units is None else gather(pattern, found.index, found.n_units),
        n_rows=np.bincount(found.index),
    )


def gather(pattern: sparse.csr_array, unit: np.ndarray, n_units: int) -> sparse.csr_array:
    """Sum the rows of each unit, as CSR of shape (n_units, n_components)."""
    indicator = sparse.csr_array(
        (np.ones(unit.shape[0], dtype=np.int32), (unit, np.arange(unit.shape[0]))),
        shape=(n_units, unit.shape[0]),
    )
    return sparse.csr_array(indicator @ pattern)
