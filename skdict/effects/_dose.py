"""Doses: read, and brought into blocks whose permutation asks for a trend."""

from __future__ import annotations

import numpy as np

from skdict._units import check_length, is_missing
from skdict.effects._design import Blocks, Design, Exclusions

NO_DOSE = "dose missing"
ONE_DOSE = "fewer than two doses on the plate"


def read_dose(dose, design: Design) -> np.ndarray:
    """Dose of each unit, NaN where it is missing or the unit is a control.

    Parameters
    ----------
    dose : array-like, shape (n_rows,)
        Doses as numbers, of rows.
    design : Design
        The units.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        The doses.

    Raises
    ------
    ValueError
        If doses are text, negative or infinite, or a unit has two.
    """
    units = design.units
    check_length(dose, units.index.shape[0], "dose")
    missing = is_missing(dose)
    treated = (design.label >= 0)[units.index]
    values = np.asarray(dose, dtype=object)
    numbers = np.full(values.shape, np.nan)
    for row in np.flatnonzero(treated & ~missing):
        if not isinstance(values[row], (int, float, np.integer, np.floating)):
            raise ValueError(
                f"dose must hold numbers in one unit, got {values[row]!r} in row {row}; convert "
                "it before, for example '10 uM' to 10.0"
            )
        numbers[row] = float(values[row])
    bad = np.flatnonzero(numbers < 0) if np.isfinite(numbers[~np.isnan(numbers)]).all() else [
        int(np.flatnonzero(np.isinf(numbers))[0])
    ]  # fmt: skip
    if len(bad):
        raise ValueError(
            f"dose must be finite and not negative, got {numbers[bad[0]]:g} in row {bad[0]}; give "
            "doses, not their logarithms"
        )
    first = numbers[units.first][units.index]
    clash = np.flatnonzero(~((numbers == first) | (np.isnan(numbers) & np.isnan(first))))
    if clash.size:
        row = clash[0]
        raise ValueError(
            f"units must have one dose each, but unit "
            f"{units.names.tolist()[units.index[row]]!r} has {first[row]:g} and {numbers[row]:g}"
        )
    return numbers[units.first]


def dose_blocks(design: Design, dose: np.ndarray, perturbation: int, arms, excluded: Exclusions):
    """Blocks of the treated units of one perturbation, weighted by the rank of their dose.

    Parameters
    ----------
    design : Design
        The units.
    dose : ndarray, shape (n_units,)
        Dose of each unit.
    perturbation : int
        Which perturbation.
    arms : list of tuple
        Per plate its index, the units treated, and the controls, which are not asked.
    excluded : Exclusions
        Takes the plates that cannot show a trend.

    Returns
    -------
    blocks : Blocks or None
        None where no plate has two doses.
    n_doses : int
        Distinct doses in the blocks.
    """
    name, parts, used = design.perturbations[perturbation], [], []
    known = np.concatenate([dose[own] for _, own, _ in arms])
    ranks = np.unique(known[~np.isnan(known)])
    for plate, own, _ in arms:
        with_dose = own[~np.isnan(dose[own])]
        if with_dose.size < own.size:
            excluded.add(name, design.plates[plate], NO_DOSE, own.size - with_dose.size)
        doses = dose[with_dose]
        if np.unique(doses).size < 2:
            if with_dose.size:
                excluded.add(name, design.plates[plate], ONE_DOSE, with_dose.size)
            continue
        parts.append((with_dose, np.searchsorted(ranks, doses).astype(float), with_dose.size))
        used.append(doses)
    if not parts:
        return None, 0
    return Blocks.joined(parts), np.unique(np.concatenate(used)).size
