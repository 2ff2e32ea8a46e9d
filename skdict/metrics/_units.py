"""Units and strata: which rows share a fate, and within what they are exchanged or resampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from skdict.metrics._labels import encode_labels, label_counts


@dataclass(frozen=True)
class Units:
    """Counts of active rows per unit, with the label and the stratum of each unit.

    Attributes
    ----------
    counts : csr_array of int32, shape (n_units, n_components)
        Active rows of each unit and component.
    n_rows : ndarray of int, shape (n_units,)
        Rows of each unit.
    label : ndarray of int, shape (n_units,)
        Label index of each unit.
    stratum : ndarray of int, shape (n_units,)
        Stratum index of each unit.
    n_labels : int
        Number of labels.
    """

    counts: sparse.csr_array
    n_rows: np.ndarray
    label: np.ndarray
    stratum: np.ndarray
    n_labels: int

    @cached_property
    def by_stratum(self) -> np.ndarray:
        """Order of the units by stratum, shape (n_units,)."""
        return np.argsort(self.stratum, kind="stable")

    def permuted(self, rng) -> np.ndarray:
        """Labels of the units, permuted within strata; shape (n_units,)."""
        shuffled = np.argsort(self.stratum + rng.random_sample(self.label.shape[0]))
        permuted = np.empty_like(self.label)
        permuted[self.by_stratum] = self.label[shuffled]
        return permuted

    def label_counts(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Active rows per label and component, and rows per label, when the units carry `label`."""
        counts = label_counts(self.counts, label, self.n_labels)
        # weights are added as float64: exact for numbers of rows
        n_rows = np.bincount(label, weights=self.n_rows, minlength=self.n_labels)
        return counts, n_rows.astype(np.int64)

    def n_distinct(self, *, others_matter: bool) -> np.ndarray:
        """Count the distinct ways in which a permutation within strata deals out each label.

        Parameters
        ----------
        others_matter : bool
            False counts the sets of units that can carry a label, the product over strata s of
            the binomials C(N_s, k_s): all that a score against the pooled others depends on.
            True counts the assignments of all labels, the product of the multinomials.

        Returns
        -------
        ndarray of float64, shape (n_labels,)
            The counts; ``inf`` beyond the range of float64.
        """
        table = sparse.coo_array(
            (np.ones(self.label.shape[0]), (self.stratum, self.label)),
            shape=(int(self.stratum.max()) + 1, self.n_labels),
        ).tocsr()
        table.sum_duplicates()
        in_stratum = table.sum(axis=1)
        own = table.data
        if others_matter:
            total = gammaln(in_stratum + 1).sum() - gammaln(own + 1).sum()
            logarithm = np.full(self.n_labels, total)
        else:
            whole = np.repeat(in_stratum, np.diff(table.indptr))
            terms = gammaln(whole + 1) - gammaln(own + 1) - gammaln(whole - own + 1)
            logarithm = np.bincount(table.indices, weights=terms, minlength=self.n_labels)
        with np.errstate(over="ignore"):
            distinct = np.exp(logarithm)
        # whole numbers as far as float64 holds them, so that 1 / n is what one counts by hand
        return np.where(distinct < 1e12, np.round(distinct), distinct)


def encode_units(units, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the units and the unit index of each row; None makes each row one."""
    if units is None:
        rows = np.arange(n_samples)
        return rows, rows
    return encode_labels(units, n_samples, name="units")


def first_rows(unit: np.ndarray, n_units: int) -> np.ndarray:
    """One row of each unit, shape (n_units,)."""
    first = np.empty(n_units, dtype=np.intp)
    first[unit[::-1]] = np.arange(unit.shape[0])[::-1]
    return first


def _first_clash(values, unit, first):
    """First row whose value differs from that of its unit's first row; None if there is none."""
    clash = np.flatnonzero(values != values[first][unit])
    return clash[0] if clash.shape[0] else None


def strata_of_units(strata, names, unit, first, n_samples: int) -> np.ndarray:
    """Stratum index of each unit; raise when a unit lies in two strata.

    Parameters
    ----------
    strata : array-like, shape (n_samples,), or None
        Stratum of each row; None is one stratum.
    names : ndarray, shape (n_units,)
        Names of the units.
    unit : ndarray of int, shape (n_samples,)
        Unit of each row.
    first : ndarray of int, shape (n_units,)
        A row of each unit.
    n_samples : int
        Number of rows.

    Returns
    -------
    ndarray of int, shape (n_units,)
        Stratum index of each unit.
    """
    if strata is None:
        return np.zeros(first.shape[0], dtype=np.intp)
    stratum_names, stratum = encode_labels(strata, n_samples, name="strata")
    row = _first_clash(stratum, unit, first)
    if row is not None:
        here, there = stratum_names[stratum[[first[unit[row]], row]]].tolist()
        raise ValueError(
            f"units must lie in one stratum each, but unit {names.tolist()[unit[row]]!r} lies in "
            f"{here!r} and {there!r}: the rows of a unit move together. If the name stands for "
            "another unit in each stratum (well A01 of every plate), join the two names; if one "
            "unit was measured in several strata (a plate that was imaged twice), pass strata "
            "that keep it whole (the physical plate)"
        )
    return stratum[first]


def read_units(pattern, classes, index, units, strata) -> Units:
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
    Units
        The units.

    Raises
    ------
    ValueError
        If a unit has two labels or lies in two strata, or if no stratum has two labels.
    """
    n_samples = pattern.shape[0]
    names, unit = encode_units(units, n_samples)
    first = first_rows(unit, names.shape[0])
    row = _first_clash(index, unit, first)
    if row is not None:
        one, two = classes[index[[first[unit[row]], row]]].tolist()
        raise ValueError(
            f"units must carry one label each to be permuted, but unit "
            f"{names.tolist()[unit[row]]!r} carries {one!r} and {two!r}. Where the label varies "
            "within a unit (cell types within a donor), pass finer units of one label (donor and "
            "cell type joined) and the donor as strata"
        )
    stratum = strata_of_units(strata, names, unit, first, n_samples)
    label = index[first]
    _check_exchangeable(stratum, label, classes.shape[0])
    return Units(
        counts=pattern if units is None else gather(pattern, unit, names.shape[0]),
        n_rows=np.bincount(unit),
        label=label,
        stratum=stratum,
        n_labels=classes.shape[0],
    )


def gather(pattern: sparse.csr_array, unit: np.ndarray, n_units: int) -> sparse.csr_array:
    """Sum the rows of each unit, as CSR of shape (n_units, n_components)."""
    indicator = sparse.csr_array(
        (np.ones(unit.shape[0], dtype=np.int32), (unit, np.arange(unit.shape[0]))),
        shape=(n_units, unit.shape[0]),
    )
    return sparse.csr_array(indicator @ pattern)


def _check_exchangeable(stratum: np.ndarray, label: np.ndarray, n_labels: int) -> None:
    """Raise when every stratum has a single label, so that no permutation changes anything."""
    pairs = np.unique(stratum.astype(np.int64) * n_labels + label).shape[0]
    if pairs == np.unique(stratum).shape[0]:
        raise ValueError(
            "strata must hold at least one stratum with two labels, but each stratum has a "
            "single label, so that no permutation changes anything; use coarser strata"
        )
