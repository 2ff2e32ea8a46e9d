"""Control units relabelled as pseudo-compounds and screened: what both calibrations share."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from skdict._units import check_length, encode_names, read_units
from skdict._validation import check_integer, host_array
from skdict.effects._screen import concept_effects

STAYS_CONTROL = -1


@dataclass(frozen=True)
class Relabelling:
    """One draw of pseudo-compounds.

    Attributes
    ----------
    places : ndarray of int, shape (n_kept,)
        Where the rows kept stand among the rows of the :class:`ControlUnits`.
    compound : ndarray of int, shape (n_kept,)
        Pseudo-compound of each row kept, -1 for those that stay controls.
    """

    places: np.ndarray
    compound: np.ndarray

    @property
    def n_compounds(self) -> int:
        """Number of pseudo-compounds."""
        return int(self.compound.max()) + 1


@dataclass(frozen=True)
class ControlUnits:
    """Control units of the plates that have enough of them to be relabelled.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        Control rows on these plates.
    unit : ndarray of int, shape (n_rows,)
        Unit of each of these rows.
    plate : ndarray of int, shape (n_units,)
        Plate of each unit.
    capacity : ndarray of int, shape (n_plates,)
        Pseudo-compounds that each plate carries.
    n_units_per_plate : int
        Units of a pseudo-compound on a plate.
    n_plates_per_compound : int
        Plates that a pseudo-compound lies on.
    left_out : ndarray
        Names of the plates with too few control units.
    """

    rows: np.ndarray
    unit: np.ndarray
    plate: np.ndarray
    capacity: np.ndarray
    n_units_per_plate: int
    n_plates_per_compound: int
    left_out: np.ndarray

    def draw(self, rng) -> Relabelling:
        """Draw disjoint sets of units as pseudo-compounds.

        Parameters
        ----------
        rng : RandomState
            Source of the draw.

        Returns
        -------
        Relabelling
            Which rows are kept, and the pseudo-compound of each.
        """
        group, first = self._groups_of_plates(rng)
        set_of_unit = self._places_on_plate(rng) // self.n_units_per_plate
        drawn = set_of_unit < self.capacity[self.plate]
        of_unit = np.where(drawn, first[group[self.plate]] + set_of_unit, STAYS_CONTROL)
        full = group < self.capacity.shape[0] // self.n_plates_per_compound
        places = np.flatnonzero(full[self.plate][self.unit])
        return Relabelling(places, of_unit[self.unit[places]])

    def _groups_of_plates(self, rng) -> tuple[np.ndarray, np.ndarray]:
        """Group of plates that each plate belongs to, and each group's first pseudo-compound."""
        n_plates = self.capacity.shape[0]
        group = np.empty(n_plates, dtype=np.intp)
        group[rng.permutation(n_plates)] = np.arange(n_plates) // self.n_plates_per_compound
        most = np.zeros(int(group.max()) + 1, dtype=np.intp)
        np.maximum.at(most, group, self.capacity)
        return group, np.cumsum(most) - most

    def _places_on_plate(self, rng) -> np.ndarray:
        """Random place of each unit among those of its plate, from 0."""
        order = np.lexsort((rng.random_sample(self.plate.shape[0]), self.plate))
        sizes = np.bincount(self.plate)
        places = np.empty_like(self.plate)
        places[order] = np.arange(order.shape[0]) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return places


def read_controls(
    rows, plate, units, *, n_units_per_plate, n_compounds, n_plates_per_compound
) -> ControlUnits:
    """Read the units of some control rows and keep the plates that have enough of them.

    Parameters
    ----------
    rows : ndarray of int, shape (n_control,)
        Control rows that may be relabelled.
    plate : array-like, shape (n_rows,)
        Plate of every row.
    units : array-like, shape (n_rows,), or None
        Unit of every row; None makes every row a unit.
    n_units_per_plate : int
        Units of a pseudo-compound on a plate.
    n_compounds : int or None
        Pseudo-compounds on a plate; None takes as many as leave half of the units controls.
    n_plates_per_compound : int or None
        Plates that a pseudo-compound lies on; None takes all.

    Returns
    -------
    ControlUnits
        What can be drawn from.

    Raises
    ------
    ValueError
        If a number is out of range, a unit lies on two plates, or no plate has enough units.
    """
    check_integer("n_units_per_plate", n_units_per_plate, 1)
    check_integer("n_compounds", n_compounds, 1, none=True)
    check_integer("n_plates_per_compound", n_plates_per_compound, 1, none=True)
    n_rows = np.shape(np.asarray(plate))[0]
    read = read_units(units, plate, n_rows, rows)
    names, _ = encode_names(np.asarray(plate)[rows], rows.shape[0], "plate")
    sizes = np.bincount(read.stratum, minlength=names.shape[0])
    capacity = sizes // (2 * n_units_per_plate)
    if n_compounds is not None:
        capacity = np.where(capacity >= n_compounds, n_compounds, 0)
    enough = capacity > 0
    n_plates = int(enough.sum())
    needed = 2 * n_units_per_plate * (n_compounds or 1)
    if n_plates < (n_plates_per_compound or 1):
        raise ValueError(
            f"control must leave at least {n_plates_per_compound or 1} plate(s) with {needed} "
            f"control units (twice those of the pseudo-compounds, so that half stay controls), but "
            f"{n_plates} of {names.shape[0]} plates have as many; they have {sizes.min()} to "
            f"{sizes.max()}. Lower n_units_per_plate={n_units_per_plate}, "
            f"n_compounds={n_compounds} or n_plates_per_compound={n_plates_per_compound}"
        )
    kept = enough[read.stratum]
    on_kept = kept[read.index]
    return ControlUnits(
        rows=rows[on_kept],
        unit=(np.cumsum(kept) - 1)[read.index[on_kept]],
        plate=(np.cumsum(enough) - 1)[read.stratum[kept]],
        capacity=capacity[enough],
        n_units_per_plate=n_units_per_plate,
        n_plates_per_compound=n_plates_per_compound or n_plates,
        left_out=names[~enough],
    )


def read_rows(X):
    """Return X as something whose rows can be taken: CSR, a data frame, or an array."""
    if sparse.issparse(X):
        X = sparse.csr_array(X)
    elif not hasattr(X, "iloc"):
        X = np.asarray(host_array(X))
    if X.ndim != 2:
        raise ValueError(f"X must be two-dimensional (n_rows, n_columns), got shape {X.shape}")
    return X


def take_rows(X, rows):
    """Return rows of CSR, a data frame or an array."""
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def check_transformer(name: str, pipeline, method: str = "transform") -> None:
    """Raise TypeError unless `pipeline` is None or has the method."""
    if pipeline is not None and not hasattr(pipeline, method):
        raise TypeError(
            f"{name} must be None, for rows as they are, or have the method {method}, "
            f"got {pipeline!r}"
        )


def encode(pipeline, X):
    """Return the codes of rows; None leaves the rows as they are."""
    codes = X if pipeline is None else pipeline.transform(X)
    return sparse.csr_array(codes) if sparse.issparse(codes) else np.asarray(codes)


class Screen:
    """The screen of pseudo-compounds: settings that were checked, and what counts as a hit.

    Parameters
    ----------
    plate : array-like, shape (n_rows,)
        Plate of every row.
    units : array-like, shape (n_rows,), or None
        Unit of every row, as the screen is to see it.
    controls : ControlUnits
        What is relabelled.
    fdr_level : float
        Pairs with a q-value of at most this are hits.
    settings : dict
        Further arguments of :func:`~skdict.effects.concept_effects`.
    """

    def __init__(self, plate, units, controls, fdr_level, settings):
        _check_settings(settings)
        if units is not None:
            check_length(units, np.shape(np.asarray(plate))[0], "units")
            units = np.asarray(units)[controls.rows]
        self.plate = np.asarray(plate)[controls.rows]
        self.units, self.fdr_level, self.settings = units, fdr_level, settings
        if settings.get("held_out") is not None:
            _check_both_kinds(settings["held_out"], np.unique(self.plate), controls)

    def run(self, codes, drawn: Relabelling, seed: int):
        """Screen the codes of the rows kept.

        Parameters
        ----------
        codes : CSR or ndarray, shape (n_kept, n_concepts)
            The codes.
        drawn : Relabelling
            The pseudo-compounds.
        seed : int
            Seed of the permutations.

        Returns
        -------
        ConceptEffects
            What :func:`~skdict.effects.concept_effects` says.
        """
        return concept_effects(
            codes,
            drawn.compound,
            drawn.compound == STAYS_CONTROL,
            self.plate[drawn.places],
            units=None if self.units is None else self.units[drawn.places],
            random_state=seed,
            **self.settings,
        )

    def hits_by_compound(self, result, n_compounds: int) -> np.ndarray:
        """Number of hits of each pseudo-compound; with held-out plates, of replicated ones."""
        hits = result.hits(self.fdr_level)
        compound = np.asarray(hits["perturbation"], dtype=np.intp)
        if "replicated" in hits:
            compound = compound[np.asarray(hits["replicated"], dtype=bool)]
        return np.bincount(compound, minlength=n_compounds)


def _check_settings(settings: dict) -> None:
    """Raise TypeError for what is no argument of the screen, before anything slow is done."""
    fixed = {"codes", "perturbation", "control", "plate", "units", "random_state", "verbose"}
    known = set(inspect.signature(concept_effects).parameters) - fixed - {"dose"}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise TypeError(
            f"the screen takes the further arguments {', '.join(sorted(known))}, got "
            f"{', '.join(unknown)}" + (": controls have no dose" if "dose" in unknown else "")
        )


def _check_both_kinds(held_out, plates, controls) -> None:
    """Raise ValueError unless every pseudo-compound lies on held-out and on other plates."""
    n_held_out = int(np.isin(plates, np.atleast_1d(np.asarray(held_out))).sum())
    n_largest = max(n_held_out, plates.size - n_held_out)
    n_drawn = controls.n_plates_per_compound
    if 0 < n_held_out < plates.size and n_drawn <= n_largest:
        raise ValueError(
            f"n_plates_per_compound={n_drawn} with held_out={held_out!r} leaves pseudo-compounds "
            f"on one kind of plates, so that nothing can replicate: of {plates.size} plates with "
            f"enough control units {n_held_out} are held out, and those of a compound are drawn at "
            f"random; pass n_plates_per_compound of at least {n_largest + 1}, or None for all"
        )
