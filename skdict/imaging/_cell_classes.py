"""Cells in fields in wells: what each field weighs, and how classes are permuted within fields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln
from scipy.stats import rankdata

from skdict._units import encode_names
from skdict._validation import host_array
from skdict.imaging._cell_masks import check_perturbed

# Cells worked on at once, rounded up to whole fields.
_CELLS = 2048


@dataclass(frozen=True)
class Fields:
    """The fields with cells of both classes.

    Attributes
    ----------
    names : ndarray, shape (n_fields,)
        Their names, sorted.
    without_contrast : ndarray
        Names of the fields with cells of one class only, which take no part.
    perturbed, control : list of ndarray of int
        Rows of the cells of each field.
    well : ndarray of int, shape (n_fields,)
        Well of each field.
    wells : ndarray, shape (n_wells,)
        Names of the wells.
    share : ndarray, shape (n_fields, n_directions or 1)
        Weight of the field in its well; sums to one over the fields of a well that count for a
        direction, zero for a field that does not.
    """

    names: np.ndarray
    without_contrast: np.ndarray
    perturbed: list
    control: list
    well: np.ndarray
    wells: np.ndarray
    share: np.ndarray

    @classmethod
    def read(cls, perturbed, field, well, chosen, n_cells: int, n_directions: int) -> Fields:
        """Validate what the caller gave."""
        perturbed = check_perturbed(perturbed, n_cells)
        names, index = encode_names(field, n_cells, "field")
        usable = _chosen_left_out(chosen, names, index, n_directions)
        n_perturbed = np.bincount(index, perturbed, names.size)
        n_control = np.bincount(index, ~perturbed, names.size)
        both = np.flatnonzero((n_perturbed > 0) & (n_control > 0))
        if not both.size:
            raise ValueError(
                "field must hold at least one field with perturbed and control-like cells, but "
                f"each of the {names.size} fields has one class only: classes are compared and "
                "permuted within a field"
            )
        of_field = _wells(well, names, index, n_cells)[both]
        wells, of_field = np.unique(of_field, return_inverse=True)
        # What a regression on class and field gives a field: its harmonic number of cells.
        size = n_perturbed[both] * n_control[both] / (n_perturbed + n_control)[both]
        rows = _rows(index, both)
        return cls(
            names[both],
            np.delete(names, both),
            [own[perturbed[own]] for own in rows],
            [own[~perturbed[own]] for own in rows],
            of_field,
            wells,
            _shares(size, usable[both], of_field, wells.size),
        )

    @cached_property
    def sizes(self) -> np.ndarray:
        """Perturbed and control-like cells of each field, shape (n_fields, 2)."""
        return np.array([(p.size, c.size) for p, c in zip(self.perturbed, self.control)])

    def wells_that_count(self) -> np.ndarray:
        """Which wells have a field for a direction, shape (n_wells, n_directions or 1)."""
        counts = np.zeros((self.wells.size, self.share.shape[1]), dtype=bool)
        np.logical_or.at(counts, self.well, self.share > 0)
        return counts

    def weight(self) -> np.ndarray:
        """Weight of each field in the mean over wells, shape (n_fields, n_directions or 1)."""
        return self.share / self.wells_that_count().sum(axis=0)

    def n_distinct(self) -> np.ndarray:
        """Distinct ways to deal out the classes within fields, shape (n_directions or 1,)."""
        n_perturbed, n_control = self.sizes.T
        ways = gammaln(n_perturbed + n_control + 1)
        ways = ways - gammaln(n_perturbed + 1) - gammaln(n_control + 1)
        logarithm = ways @ (self.share > 0)
        with np.errstate(over="ignore"):
            distinct = np.exp(logarithm)
        return np.where(distinct < 1e12, np.round(distinct), distinct)

    def balanced(self) -> np.ndarray:
        """Whether exchanging all classes is one of the permutations, shape (n_directions or 1,)."""
        uneven = self.sizes[:, 0] != self.sizes[:, 1]
        return ~((self.share > 0) & uneven[:, None]).any(axis=0)

    def blocks(self):
        """Yield places of consecutive fields with a few thousand cells together."""
        n_cells = self.sizes.sum(axis=1)
        block = (np.cumsum(n_cells) - n_cells) // _CELLS
        for number in np.unique(block):
            yield np.flatnonzero(block == number)

    def rows(self, fields) -> np.ndarray:
        """Rows of the cells of some fields, field by field, the perturbed first."""
        return np.concatenate([np.append(self.perturbed[f], self.control[f]) for f in fields])

    def contrasts(self, fields, n_permutations: int, rng) -> np.ndarray:
        """Coefficients of mean perturbed minus mean control in each field.

        The first row is that of the classes as they are, the others have them permuted. Shape
        (1 + n_permutations, n_cells), cells as :meth:`rows` has them.
        """
        parts = []
        for f in fields:
            n_perturbed, n_control = self.perturbed[f].size, self.control[f].size
            own = np.repeat([1 / n_perturbed, -1 / n_control], [n_perturbed, n_control])
            drawn = rng.random_sample((n_permutations, own.size)).argsort(axis=1)
            parts.append(np.concatenate([own[None], own[drawn]]))
        return np.concatenate(parts, axis=1)


def auc_within(values: np.ndarray, n_perturbed: int) -> np.ndarray:
    """Chance that a perturbed cell, one of the first rows, lies above a control-like cell."""
    n_control = values.shape[0] - n_perturbed
    ranks = rankdata(values, axis=0)[:n_perturbed].sum(axis=0)
    return (ranks - n_perturbed * (n_perturbed + 1) / 2) / (n_perturbed * n_control)


def _rows(index: np.ndarray, fields: np.ndarray) -> list[np.ndarray]:
    """Rows of each of some fields."""
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], [fields, fields + 1])
    return [order[start:end] for start, end in bounds.T]


def _chosen_left_out(chosen, names, index, n_directions: int) -> np.ndarray:
    """Which fields may test a direction, shape (n_fields, n_directions or 1)."""
    if chosen is None:
        return np.ones((names.size, 1), dtype=bool)
    n_cells = index.size
    chosen = np.asarray(host_array(chosen, name="chosen"))
    if chosen.dtype != np.bool_ or chosen.shape not in ((n_cells,), (n_cells, n_directions)):
        raise ValueError(
            f"chosen must be a boolean mask of shape ({n_cells},) or ({n_cells}, {n_directions}), "
            "a row per cell (of a mask over images: mask[cells.image]), got dtype "
            f"{chosen.dtype} and shape {chosen.shape}"
        )
    chosen = chosen[:, None] if chosen.ndim == 1 else chosen
    by_field = chosen[_first_rows(index, names.size)]
    for start in range(0, n_cells, _CELLS):
        cells = slice(start, start + _CELLS)
        clash = np.flatnonzero((chosen[cells] != by_field[index[cells]]).any(axis=1))
        if clash.size:
            raise ValueError(
                "chosen must be the same for all cells of a field, but the cells of field "
                f"{names.tolist()[index[start + clash[0]]]!r} differ: a field that chose a "
                "direction does not test it with any of its cells"
            )
    return ~by_field


def _first_rows(index: np.ndarray, n_fields: int) -> np.ndarray:
    """First cell of every field."""
    first = np.empty(n_fields, dtype=np.intp)
    first[index[::-1]] = np.arange(index.size)[::-1]
    return first


def _wells(well, names, index, n_cells: int) -> np.ndarray:
    """Name of each field's well; every field is one if none are given."""
    if well is None:
        return names
    wells, of_cell = encode_names(well, n_cells, "well")
    first = _first_rows(index, names.size)
    clash = np.flatnonzero(of_cell != of_cell[first][index])
    if clash.size:
        here, there = wells[of_cell[[first[index[clash[0]]], clash[0]]]].tolist()
        raise ValueError(
            f"well must be one for all cells of a field, but field "
            f"{names.tolist()[index[clash[0]]]!r} lies in {here!r} and {there!r}; if field names "
            "repeat in each well, join the two names"
        )
    return wells[of_cell[first]]


def _shares(size, usable, well, n_wells: int) -> np.ndarray:
    """Weight of each field in its well, for each direction."""
    weight = size[:, None] * usable
    empty = ~usable.any(axis=0)
    if empty.any():
        raise ValueError(
            "chosen leaves no field with both classes to test direction "
            f"{int(np.flatnonzero(empty)[0])} on; test on other images than those that chose it"
        )
    total = np.zeros((n_wells, weight.shape[1]))
    np.add.at(total, well, weight)
    return weight / np.where(total > 0, total, 1)[well]
