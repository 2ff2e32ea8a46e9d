"""Units and strata: which rows share a fate, and within what they are exchanged or drawn.

Everything that permutes labels or resamples rows reads `units=` and `strata=` here, and everything
that must not take a missing name for a name asks :func:`is_missing`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from skdict._validation import check_integer, check_real


@dataclass(frozen=True)
class Units:
    """The independent units of some rows.

    Attributes
    ----------
    names : ndarray, shape (n_units,)
        Names of the units, sorted.
    index : ndarray of int, shape (n_rows,)
        Unit of each row.
    first : ndarray of int, shape (n_units,)
        The first row of each unit.
    stratum : ndarray of int, shape (n_units,)
        Stratum of each unit.
    """

    names: np.ndarray
    index: np.ndarray
    first: np.ndarray
    stratum: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.names.shape[0]

    @property
    def n_strata(self) -> int:
        """Number of strata."""
        return int(self.stratum.max()) + 1


def is_missing(values) -> np.ndarray:
    """Which of some labels, groups or units are missing: None, NaN, pandas' NA or NaT.

    Parameters
    ----------
    values : array-like, shape (n_values,)
        The values. A list is looked at as it is: of a list of strings with a missing value NumPy
        makes the string "nan".

    Returns
    -------
    ndarray of bool, shape (n_values,)
        True where a value is missing.
    """
    array = np.asarray(values)
    if array.dtype.kind in "fcmM":
        return np.isnan(array)
    if array.dtype.kind not in "OU" or (array.dtype.kind == "U" and array is values):
        return np.zeros(array.shape, dtype=bool)
    entries = values if isinstance(values, (list, tuple)) else array.tolist()
    return np.array([value is None or _is_nan(value) for value in entries], dtype=bool)


def _is_nan(value) -> bool:
    """Whether `value` is a float NaN, or pandas' NA or NaT."""
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return type(value).__name__ in ("NAType", "NaTType")


def encode_names(values, n_rows: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct names and the index of each row's name.

    Parameters
    ----------
    values : array-like, shape (n_rows,)
        The unit or stratum of each row.
    n_rows : int
        Number of rows.
    name : str
        Name of the parameter, for the messages.

    Returns
    -------
    names : ndarray, shape (n_names,)
        ``np.unique(values)``.
    index : ndarray of int, shape (n_rows,)
        ``names[index]`` is `values`.

    Raises
    ------
    ValueError
        If `values` has a wrong shape, missing values or values that cannot be sorted.
    """
    check_length(values, n_rows, name)
    return _encode(values, np.arange(n_rows), name)


def check_length(values, n_rows: int, name: str) -> None:
    """Raise ValueError unless there is one value per row."""
    shape = np.shape(np.asarray(values))
    if shape != (n_rows,):
        raise ValueError(f"{name} must have one entry per row: got shape {shape} for {n_rows} rows")


def _encode(values, rows, name) -> tuple[np.ndarray, np.ndarray]:
    """Distinct names of some rows and the index of each of these rows' name."""
    if is_missing(values)[rows].any():
        raise ValueError(
            f"{name} holds missing values; drop these rows or name what they belong to"
        )
    try:
        return np.unique(np.asarray(values)[rows], return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"{name} must hold names of one type that can be sorted ({error})"
        ) from error


def read_units(units, strata, n_rows: int, rows=None) -> Units:
    """Validate units and strata and bring them into the form of indices.

    Parameters
    ----------
    units : array-like, shape (n_rows,), or None
        Unit of each row; None makes every row a unit.
    strata : array-like, shape (n_rows,), or None
        Stratum of each row; None is one stratum.
    n_rows : int
        Number of rows.
    rows : ndarray of int, shape (n_taken,), or None, default=None
        Rows to read, for which the result holds; None reads all. A row that is there several
        times, because several folds have predicted it, is still one unit.

    Returns
    -------
    Units
        The units of these rows.

    Raises
    ------
    ValueError
        If a length is wrong, a value is missing, or a unit lies in two strata.
    """
    for name, values in (("units", units), ("strata", strata)):
        if values is not None:
            check_length(values, n_rows, name)
    everything = rows is None
    rows = np.arange(n_rows) if everything else rows
    if units is not None:
        names, index = _encode(units, rows, "units")
    elif everything:
        names = index = rows
    else:
        names, index = np.unique(rows, return_inverse=True)
    first = np.empty(names.shape[0], dtype=np.intp)
    first[index[::-1]] = np.arange(index.shape[0])[::-1]
    stratum = np.zeros(names.shape[0], dtype=np.intp)
    if strata is not None:
        stratum_names, stratum = _encode(strata, rows, "strata")
        stratum = _strata_of_units(stratum_names, stratum, names, index, first)
    return Units(names, index, first, stratum)


def _strata_of_units(stratum_names, stratum, names, index, first) -> np.ndarray:
    """Stratum of each unit; raise when a unit lies in two."""
    row = _first_clash(stratum, index, first)
    if row is not None:
        here, there = stratum_names[stratum[[first[index[row]], row]]].tolist()
        raise ValueError(
            f"units must lie in one stratum each, but unit {names.tolist()[index[row]]!r} lies in "
            f"{here!r} and {there!r}: the rows of a unit share its fate. If the name stands for "
            "another unit in each stratum (well A01 of every plate), join the two names; if one "
            "unit was measured in several strata (a plate that was imaged twice), pass strata "
            "that keep it whole (the physical plate)"
        )
    return stratum[first]


def _first_clash(values, index, first):
    """First row whose value differs from that of its unit's first row; None if there is none."""
    clash = np.flatnonzero(values != values[first][index])
    return clash[0] if clash.shape[0] else None


@dataclass(frozen=True)
class LabelledUnits:
    """Units that carry one label each, to be permuted within strata.

    Attributes
    ----------
    label : ndarray of int, shape (n_units,)
        Label index of each unit.
    stratum : ndarray of int, shape (n_units,)
        Stratum index of each unit.
    n_labels : int
        Number of labels.
    """

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


def label_units(units: Units, classes: np.ndarray, index: np.ndarray) -> LabelledUnits:
    """Give each unit the label of its rows.

    Parameters
    ----------
    units : Units
        The units of all rows.
    classes : ndarray, shape (n_labels,)
        Distinct labels, for the messages.
    index : ndarray of int, shape (n_rows,)
        Label index of each row.

    Returns
    -------
    LabelledUnits
        The units with their labels.

    Raises
    ------
    ValueError
        If a unit has two labels, or if no stratum has two labels.
    """
    row = _first_clash(index, units.index, units.first)
    if row is not None:
        unit = units.index[row]
        one, two = classes[index[[units.first[unit], row]]].tolist()
        raise ValueError(
            f"units must carry one label each to be permuted, but unit "
            f"{units.names.tolist()[unit]!r} carries {one!r} and {two!r}. Where the label varies "
            "within a unit (cell types within a donor), pass finer units of one label (donor and "
            "cell type joined) and the donor as strata"
        )
    label, n_labels = index[units.first], classes.shape[0]
    pairs = np.unique(units.stratum.astype(np.int64) * n_labels + label).shape[0]
    if pairs == np.unique(units.stratum).shape[0]:
        raise ValueError(
            "strata must hold at least one stratum with two labels, but each stratum has a "
            "single label, so that no permutation changes anything; use coarser strata"
        )
    return LabelledUnits(label, units.stratum, n_labels)


class Resampler:
    """Draws units with replacement, within each stratum as many as it has.

    Parameters
    ----------
    units : Units
        What is drawn.
    stacklevel : int or None, default=None
        Warn of units that are alone in their stratum as seen from here; None is silent.
    """

    def __init__(self, units: Units, *, stacklevel: int | None = None):
        self.units = units
        sizes = np.bincount(units.stratum)
        if sizes.max() < 2:
            raise ValueError(
                "units must have a stratum with at least two of them to resample, got "
                f"{sizes.sum()} units in {sizes.shape[0]} strata; pass finer units or coarser "
                "strata"
            )
        alone = int(np.count_nonzero(sizes < 2))
        if alone and stacklevel is not None:
            warnings.warn(
                f"{alone} of {sizes.sum()} units are alone in their stratum and the same in "
                "every resample, so that the interval is too narrow; pass coarser strata",
                UserWarning,
                stacklevel=stacklevel,
            )
        self._by_stratum = np.argsort(units.stratum, kind="stable")
        # of every place in that order, the first place and the size of its stratum
        self._start = np.repeat(np.cumsum(sizes) - sizes, sizes)
        self._size = np.repeat(sizes, sizes)

    def weights(self, rng, *, scaled: bool = False) -> np.ndarray:
        """How often each unit is drawn, shape (n_units,).

        Parameters
        ----------
        rng : RandomState
            Source of the draws.
        scaled : bool, default=False
            Scale uniform numbers to the size of the stratum instead of drawing integers: the same
            distribution, but other draws from the same seed.
        """
        if scaled:
            uniform = rng.random_sample(self._size.shape[0])
            places = self._start + (uniform * self._size).astype(np.intp)
        else:
            places = rng.randint(self._start, self._start + self._size)
        return np.bincount(self._by_stratum[places], minlength=places.shape[0])


@dataclass(frozen=True)
class Resampling:
    """Validated settings of an interval."""

    n_resamples: int
    confidence_level: float
    random_state: Any

    @classmethod
    def checked(cls, n_resamples, confidence_level, random_state) -> Resampling:
        """Validate what the public functions were given."""
        check_integer("n_resamples", n_resamples, 1)
        check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
        if confidence_level == 1:
            raise ValueError(f"confidence_level must be less than 1, got {confidence_level!r}")
        return cls(n_resamples, confidence_level, random_state)

    def interval(self, values) -> tuple[np.ndarray, np.ndarray]:
        """Percentile interval along the first axis; NaN entries are left out."""
        tail = (1 - self.confidence_level) / 2
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
        return low, high


def warn_single_units(n_units_per_label: np.ndarray, *, stacklevel: int) -> None:
    """Say that labels with one unit add nothing to the width of an interval."""
    single = np.count_nonzero(n_units_per_label == 1)
    if single:
        warnings.warn(
            f"{single} of {n_units_per_label.shape[0]} labels have a single unit, whose own "
            "sampling error no resample can show: they have no interval, and that of a mean over "
            "labels is too narrow; leave these labels out, or pass finer units if the rows are "
            "independent",
            UserWarning,
            stacklevel=stacklevel,
        )
