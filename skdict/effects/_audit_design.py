"""Biology and technical factors of an audit as columns of one regression."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy import sparse

from skdict._units import Units, check_length, encode_names, is_missing, read_units

# Whole numbers of more distinct values are measured rather than named: a 1536-well plate, the
# largest, has 48 columns.
MOST_NUMBERED_LEVELS = 48


@dataclass(frozen=True)
class Factor:
    """A technical factor as columns of a regression.

    Attributes
    ----------
    name : str
        Name of the factor.
    kind : {"categorical", "continuous"}
        An indicator per level, or the value and its square.
    columns : csr_array, shape (n_units, n_columns)
        The columns, scaled to length one about their means.
    levels : ndarray of int, shape (n_units,), or None
        Level of each unit; None for a continuous factor.
    """

    name: str
    kind: str
    columns: sparse.csr_array
    levels: np.ndarray | None


@dataclass(frozen=True)
class Design:
    """What the activation of the units is explained by.

    Attributes
    ----------
    units : Units
        The units of the rows.
    labels : ndarray, shape (n_labels,)
        Distinct labels of the biology.
    label : ndarray of int, shape (n_units,)
        Label of each unit.
    factors : list of Factor
        Technical factors that vary.
    excluded : dict of list
        Columns ``factor`` and ``reason`` of those left out.
    """

    units: Units
    labels: np.ndarray
    label: np.ndarray
    factors: list[Factor]
    excluded: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        """Names of the factors."""
        return [factor.name for factor in self.factors]


def read_design(biology, factors, units, categorical, n_rows: int) -> Design:
    """Validate labels, factors and units, and bring all to one row per unit.

    Parameters
    ----------
    biology : array-like, shape (n_rows,)
        Label of each row.
    factors : dict or DataFrame
        Technical factors, a value per row each.
    units : array-like or None
        Unit of each row.
    categorical : sequence of str
        Factors whose numbers are names.
    n_rows : int
        Number of rows of the codes.

    Returns
    -------
    Design
        The design.
    """
    units = read_units(units, None, n_rows)
    labels, label = encode_names(biology, n_rows, "biology")
    if labels.shape[0] < 2:
        raise ValueError(
            f"biology must hold at least two labels, got {labels.tolist()!r}: nothing is compared"
        )
    label = _of_units("biology", labels, label, units)
    if not hasattr(factors, "items"):
        raise TypeError(
            "factors must be a dict or DataFrame of one column per factor, such as "
            f'{{"plate": plate, "n_cells": n_cells}}, got {type(factors).__name__}'
        )
    _check_categorical(categorical, factors)
    kept, excluded = [], {"factor": [], "reason": []}
    for name, values in factors.items():
        factor = _read_factor(str(name), values, units, name in categorical)
        if factor is None:
            excluded["factor"].append(str(name))
            excluded["reason"].append("constant: the same for all units")
        else:
            kept.append(factor)
    return Design(units, labels, label, kept, excluded)


def unit_means(matrix, units: Units):
    """Mean of each column over the rows of each unit, in float64; sparse where `matrix` is."""
    n_rows = matrix.shape[0]
    matrix = matrix.astype(np.float64)
    if units.n_units == n_rows and np.array_equal(units.index, np.arange(n_rows)):
        return matrix
    sizes = np.bincount(units.index)
    average = sparse.csr_array(
        (1 / sizes[units.index], (units.index, np.arange(n_rows))), shape=(units.n_units, n_rows)
    )
    return average @ matrix


def _check_categorical(categorical, factors) -> None:
    """Raise unless `categorical` is a sequence of names of factors."""
    if isinstance(categorical, str):
        raise ValueError(
            f"categorical must be a list of names, got the string {categorical!r}; "
            f"pass [{categorical!r}]"
        )
    names = list(factors.keys())
    unknown = [name for name in categorical if name not in names]
    if unknown:
        raise ValueError(f"categorical names {unknown[0]!r}, but the factors are {names!r}")


def _of_units(parameter: str, names, index, units: Units) -> np.ndarray:
    """Name of each unit, as an index; raise when the rows of a unit differ."""
    clash = np.flatnonzero(index != index[units.first][units.index])
    if clash.shape[0]:
        row = clash[0]
        unit = units.names.tolist()[units.index[row]]
        here, there = names[index[[units.first[units.index[row]], row]]].tolist()
        raise ValueError(
            f"{parameter} must be the same in all rows of a unit, but unit {unit!r} has {here!r} "
            f"and {there!r}; pass finer units, for example both names joined (or, of a number that "
            "was measured, its mean over the unit)"
        )
    return index[units.first]


def _read_factor(name: str, values, units: Units, is_named: bool) -> Factor | None:
    """The columns of one factor; None if it does not vary."""
    parameter = f"factors[{name!r}]"
    values = _natural_type(values)
    check_length(values, units.index.shape[0], parameter)
    index = None
    if not is_named and _is_measured(values):
        columns, kind = _powers(parameter, values, units), "continuous"
    else:
        names, index = encode_names(values, units.index.shape[0], parameter)
        index = _of_units(parameter, names, index, units)
        columns, kind = indicators(index, names.shape[0]), "categorical"
    columns = _unit_length(columns)
    return Factor(name, kind, columns, index) if columns.shape[1] else None


def _natural_type(values) -> np.ndarray:
    """Array of some values; numbers in an array of objects become numbers."""
    array = np.asarray(values)
    missing = is_missing(values)
    if array.dtype.kind == "U" and missing.any():
        return np.asarray(values, dtype=object)  # not the string "None" or "nan"
    if array.dtype != object or array.ndim != 1:
        return array
    numbers = np.array([isinstance(value, Real) and not isinstance(value, bool) for value in array])
    if not numbers.any() or not (numbers | missing).all():
        return array
    return np.array([np.nan if gone else value for value, gone in zip(array, missing)])


def _is_measured(values: np.ndarray) -> bool:
    """Whether values are measured, such as counts of cells, rather than names."""
    if values.dtype.kind in "mM":
        return True
    if values.dtype.kind == "f":
        # a column of whole numbers is read as floats by much software: a plate stays a name
        values = values[~np.isnan(values)]
        if not (np.isfinite(values) & (values == np.floor(values))).all():
            return True
    return values.dtype.kind in "iuf" and np.unique(values).shape[0] > MOST_NUMBERED_LEVELS


def _powers(parameter: str, values: np.ndarray, units: Units) -> sparse.csr_array:
    """Standardised mean of each unit and its square."""
    if is_missing(values).any() or (values.dtype.kind == "f" and np.isinf(values).any()):
        raise ValueError(
            f"{parameter} holds NaN or infinite values; drop these rows, fill them in, or pass "
            'the factor in classes with a name for what is missing (for example "low", "high" '
            'and "unknown")'
        )
    if values.dtype.kind in "mM":
        values = (values - values.min()) / np.timedelta64(1, "s")
    mean = unit_means(values.astype(np.float64)[:, None], units)[:, 0]
    mean -= mean.mean()
    spread = mean.std()
    if spread <= 1e-12 * np.abs(values.astype(np.float64)).max():
        return sparse.csr_array((units.n_units, 0))
    mean /= spread
    return sparse.csr_array(np.stack([mean, mean**2 - 1.0], axis=1))


def indicators(index: np.ndarray, n_levels: int) -> sparse.csr_array:
    """One where a unit has a level, shape (n_units, n_levels)."""
    size = index.shape[0]
    return sparse.csr_array((np.ones(size), index, np.arange(size + 1)), shape=(size, n_levels))


def _unit_length(columns: sparse.csr_array) -> sparse.csr_array:
    """Scale columns to length one about their means; those that are constant are dropped."""
    n_units = columns.shape[0]
    mean = columns.sum(axis=0) / n_units
    squares = (columns**2).sum(axis=0) - n_units * mean**2
    kept = np.flatnonzero(squares > 1e-9 * n_units * mean**2 + 1e-12)
    scale = sparse.diags_array(1 / np.sqrt(squares[kept]))
    return sparse.csr_array(columns.tocsc()[:, kept] @ scale)
