"""The design of a screen: which units a perturbation can be compared with, plate by plate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from skdict._units import Units, check_length, encode_names, is_missing, read_units
from skdict._validation import check_control
from skdict.kernels import get_permutation_kernels

NO_CONTROL = "no control unit on the plate"
ONE_UNIT_EACH = "one unit in each arm: there are only two arrangements"


@dataclass(frozen=True)
class Blocks:
    """Units of one perturbation and of its controls, plate by plate.

    Attributes
    ----------
    units : ndarray of int, shape (n_units,)
        The units of the first plate, then of the next. On each plate those with weight come first.
    bounds : ndarray of int, shape (n_plates + 1,)
        Where each plate begins.
    weights : ndarray of float64, shape (n_units,)
        1 for a unit of the perturbation and 0 for a control; or the scores of doses.
    n_drawn : ndarray of int, shape (n_plates,)
        Units with weight on each plate.
    """

    units: np.ndarray
    bounds: np.ndarray
    weights: np.ndarray
    n_drawn: np.ndarray

    @classmethod
    def joined(cls, parts) -> Blocks:
        """Blocks of one plate each, one after the other.

        Parameters
        ----------
        parts : list of tuple
            For each plate its units, their weights and how many of them, the first ones, are drawn.
        """
        return cls(
            units=np.concatenate([units for units, _, _ in parts]),
            bounds=np.concatenate([[0], np.cumsum([units.size for units, _, _ in parts])]),
            weights=np.concatenate([weights for _, weights, _ in parts]).astype(np.float64),
            n_drawn=np.array([n_drawn for _, _, n_drawn in parts]),
        )

    @property
    def sizes(self) -> np.ndarray:
        """Units on each plate."""
        return np.diff(self.bounds)

    @cached_property
    def drawn_bounds(self) -> np.ndarray:
        """Where the drawn units of each plate begin, shape (n_plates + 1,)."""
        return np.concatenate([[0], np.cumsum(self.n_drawn)])

    @cached_property
    def drawn_places(self) -> np.ndarray:
        """Places of the units that carry a weight, in the order of the plates."""
        return np.concatenate(
            [
                np.arange(first, first + n)
                for first, n in zip(self.bounds[:-1], self.n_drawn, strict=True)
            ]
        )

    def arrangement(self, *, welch_rates: bool, welch_strengths: bool):
        """The same as the kernels take it.

        Parameters
        ----------
        welch_rates, welch_strengths : bool
            Whether each arm has a variance of its own.
        """
        return get_permutation_kernels().Arrangement(
            self.units, self.bounds, self.weights, self.drawn_bounds, self.drawn_places,
            welch_rates, welch_strengths,
        )  # fmt: skip

    @property
    def has_two_arms(self) -> bool:
        """Whether weights are 1 for the units drawn and 0 for the others, on every plate."""
        return bool((self.n_drawn < self.sizes).all())

    def rows_ratio(self, n_rows: np.ndarray) -> float:
        """Mean rows of a treated unit over those of a control unit.

        Parameters
        ----------
        n_rows : ndarray of int, shape (n_units_of_the_screen,)
            Rows of each unit.
        """
        treated, own = self.weights > 0, n_rows[self.units]
        return float(own[treated].mean() / own[~treated].mean())

    def arms(self) -> np.ndarray:
        """Factors and degrees of freedom of the variances of both arms.

        The variance of the weighted difference of means is the variance of each arm times its
        factor, sum over plates of (n c / (n + c))^2 / n for an arm of n units beside c others.
        """
        drawn, other = self.n_drawn, self.sizes - self.n_drawn
        square = (drawn * other / self.sizes) ** 2
        return np.array(
            [(square / drawn).sum(), (square / other).sum(), (drawn - 1).sum(), (other - 1).sum()],
            dtype=np.float64,
        )

    @property
    def square_weight(self) -> float:
        """Sum of the squares of the weights about the mean of their plate."""
        plates = np.split(self.weights, self.bounds[1:-1])
        return float(sum(((part - part.mean()) ** 2).sum() for part in plates))

    def n_distinct(self) -> float:
        """Count the distinct ways to deal out the weights within plates; inf beyond float64."""
        logarithm = 0.0
        for part in np.split(self.weights, self.bounds[1:-1]):
            _, ties = np.unique(part, return_counts=True)
            logarithm += gammaln(part.size + 1) - gammaln(ties + 1).sum()
        with np.errstate(over="ignore"):
            distinct = float(np.exp(logarithm))
        return float(round(distinct)) if distinct < 1e12 else distinct


@dataclass
class Exclusions:
    """What is not tested, and why."""

    rows: list = field(default_factory=list)

    def add(self, perturbation, plate, reason: str, n_units: int) -> None:
        """List the units of a perturbation on a plate."""
        self.rows.append((perturbation, plate, reason, n_units))

    def columns(self) -> dict:
        """Columns perturbation, plate, reason, n_units."""
        names = ("perturbation", "plate", "reason", "n_units")
        columns = zip(*self.rows, strict=True) if self.rows else [()] * 4
        return {
            name: np.array(values, dtype=int if name == "n_units" else None)
            for name, values in zip(names, columns, strict=True)
        }


@dataclass(frozen=True)
class Design:
    """Units with their plate and perturbation.

    Attributes
    ----------
    units : Units
        The units; their strata are the plates.
    plates, perturbations : ndarray
        Names, sorted.
    label : ndarray of int, shape (n_units,)
        Perturbation of each unit, -1 for a control.
    """

    units: Units
    plates: np.ndarray
    perturbations: np.ndarray
    label: np.ndarray

    @classmethod
    def read(cls, perturbation, control, plate, units, n_rows: int) -> Design:
        """Validate the columns of a screen.

        Raises
        ------
        ValueError
            If a length is wrong, a value is missing, or a unit lies on two plates, carries two
            perturbations or is a control in part.
        """
        for name, values in (("perturbation", perturbation), ("plate", plate)):
            check_length(values, n_rows, name)
        if control is None:
            raise ValueError(
                "control must be a boolean mask of the rows, for example "
                "control=(perturbation == 'DMSO'), got None"
            )
        treated = np.ones(n_rows, dtype=bool)
        treated[check_control(control, n_rows, minimum=1)] = False
        if not treated.any():
            raise ValueError("control marks every row, so that no perturbation is left to test")
        plates, _ = encode_names(plate, n_rows, "plate")
        read = _read_units(units, plate, n_rows)
        names, label = _labels(perturbation, treated, n_rows)
        _check_one_label(read, names, label)
        return cls(read, plates, names, label[read.first])

    def on_plates(self, kept: np.ndarray) -> np.ndarray:
        """Which units lie on plates with a name in `kept`, shape (n_units,)."""
        return np.isin(self.plates, kept)[self.units.stratum]

    def arms(self, taken: np.ndarray):
        """Yield for each perturbation its index and, per plate, its units and the controls.

        Parameters
        ----------
        taken : ndarray of bool, shape (n_units,)
            Units to look at.
        """
        order = np.flatnonzero(taken)
        order = order[np.lexsort((self.units.stratum[order], self.label[order]))]
        groups = np.split(order, np.flatnonzero(np.diff(self.label[order])) + 1)
        controls = {}
        if groups and self.label[groups[0][0]] == -1:
            controls = dict(self._by_plate(groups.pop(0)))
        none = np.array([], dtype=np.intp)
        for group in groups:
            yield (
                int(self.label[group[0]]),
                [(plate, own, controls.get(plate, none)) for plate, own in self._by_plate(group)],
            )

    def _by_plate(self, units):
        """Plate and units of each plate, of units that are sorted by plate."""
        stratum = self.units.stratum[units]
        parts = np.split(units, np.flatnonzero(np.diff(stratum)) + 1)
        return [(int(self.units.stratum[part[0]]), part) for part in parts]

    def blocks(self, perturbation: int, arms, excluded: Exclusions) -> Blocks | None:
        """Blocks of one perturbation; None, listed in `excluded`, where nothing can be tested."""
        name, parts = self.perturbations[perturbation], []
        for plate, own, controls in arms:
            if controls.size == 0:
                excluded.add(name, self.plates[plate], NO_CONTROL, own.size)
            else:
                weights = np.repeat([1.0, 0.0], [own.size, controls.size])
                parts.append((np.concatenate([own, controls]), weights, own.size))
        if not parts:
            return None
        found = Blocks.joined(parts)
        if found.n_distinct() <= 2:
            for plate, own, controls in arms:
                if controls.size:
                    excluded.add(name, self.plates[plate], ONE_UNIT_EACH, own.size)
            return None
        return found


def _read_units(units, plate, n_rows) -> Units:
    """Units with plates as strata."""
    try:
        return read_units(units, plate, n_rows)
    except ValueError as error:
        raise ValueError(f"{error} (here strata are the plates)") from error


def _labels(perturbation, treated, n_rows):
    """Names of the perturbations and the index of each row's, -1 for control rows."""
    missing = is_missing(perturbation) & treated
    if missing.any():
        raise ValueError(
            f"perturbation is missing in {missing.sum()} rows that are not controls, first in row "
            f"{np.flatnonzero(missing)[0]}; drop these rows or name what was done to them"
        )
    rows = np.flatnonzero(treated)
    values = np.asarray(perturbation, dtype=object)[rows].tolist()
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError(
            "perturbation must hold names of one type, got text and others, such as "
            f"{next(v for v in values if not isinstance(v, str))!r}: 1 and '1' would become one"
        )
    names, index = encode_names(values, rows.size, "perturbation")
    label = np.full(n_rows, -1)
    label[rows] = index
    return names, label


def _check_one_label(units: Units, names, label) -> None:
    """Raise unless all rows of a unit have the same perturbation, or are controls."""
    first = label[units.first][units.index]
    clash = np.flatnonzero(label != first)
    if clash.size:
        row = clash[0]
        one, two = (
            "control" if k < 0 else repr(names.tolist()[k]) for k in (first[row], label[row])
        )
        raise ValueError(
            f"units must carry one perturbation each, but unit "
            f"{units.names.tolist()[units.index[row]]!r} carries {one} and {two}; if the name "
            "stands for another well on each plate, join it with the plate"
        )
