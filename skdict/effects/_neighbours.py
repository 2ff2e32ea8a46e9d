"""What the wells around a perturbation show: the same effect there is one of position."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._units import check_length
from skdict._validation import check_integer
from skdict.effects._design import Design
from skdict.effects._result import ConceptEffects
from skdict.effects._screen import concept_effects
from skdict.effects._well_position import well_position
from skdict.metrics._activity import check_codes


def neighbour_effects(
    codes, perturbation, control, plate, well, *, distance: int = 1, units=None, **settings
) -> ConceptEffects:
    """Screen, in place of each perturbation's wells, the wells next to them.

    Where a compound lies in the same wells on every plate, the compound and its wells cannot be
    told apart. Its neighbours have other compounds and nearly the same position: a concept that
    answers in them too, in the same direction, answers to the place. The controls and the test
    are those of :func:`concept_effects`.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_rows, n_concepts)
        Codes.
    perturbation : array-like, shape (n_rows,)
        What was done to each row.
    control : array-like of bool, shape (n_rows,)
        True for control rows.
    plate : array-like, shape (n_rows,)
        Physical plate of each row.
    well : array-like of str, shape (n_rows,)
        Well of each row, as :func:`well_position` reads it: "B03".
    distance : int, default=1
        Rows and columns to either side that count as next to a well; diagonals count as well.
    units : array-like, shape (n_rows,), or None, default=None
        The independent unit of each row. None takes plate and well together.
    **settings : dict
        Further parameters of :func:`concept_effects`, the same as in the screen that is looked at:
        ``random_state``, ``n_permutations``, ``active`` and so on, without ``dose``.

    Returns
    -------
    ConceptEffects
        The screen of the neighbours; its ``perturbations`` are those whose neighbours it shows.
        Perturbations without a neighbour that has another perturbation are missing.

    Raises
    ------
    ValueError
        As :func:`concept_effects`, if `distance` is less than 1, or if no well has a neighbour
        with another perturbation.

    See Also
    --------
    technical_audit : What row, column and edge explain of a concept over all wells.

    Notes
    -----
    Neighbours that share a mechanism, or of which one has a strong effect of its own, show
    something as well: this is a reason to look, no proof. The reverse is safer: where many
    neighbours show nothing, a gradient over the plate is not what was found. An effect of a single
    well's position cannot be seen in this way.

    Examples
    --------
    The left half of the plate activates the concept, whatever is in its wells:

    >>> import numpy as np
    >>> from skdict.effects import concept_effects, neighbour_effects
    >>> well = np.array([f"{row}{column}" for row in "ABCDEFGH" for column in range(1, 7)])
    >>> column = np.array([int(name[1]) for name in well])
    >>> compound = np.select([column == 2, column == 6], ["A", "DMSO"], "other")
    >>> codes = (column <= 3).astype(float)[:, None]
    >>> arguments = codes, compound, compound == "DMSO", np.zeros(48)
    >>> float(concept_effects(*arguments).rate.effect[0, 0])
    1.0
    >>> float(neighbour_effects(*arguments, well).rate.effect[0, 0])
    1.0
    """
    check_integer("distance", distance, 1)
    if settings.pop("dose", None) is not None:
        raise ValueError("dose has no meaning for the neighbours of a perturbation; leave it out")
    matrix = check_codes(codes)
    n_rows = matrix.shape[0]
    check_length(well, n_rows, "well")
    if units is None:
        check_length(plate, n_rows, "plate")
        units = np.array([f"{p}/{w}" for p, w in zip(plate, well, strict=True)])
    design = Design.read(perturbation, control, plate, units, n_rows)
    label = design.label[design.units.index]
    rows, of = _neighbours(design.units.stratum[design.units.index], well, label, distance)
    if rows.size == 0:
        raise ValueError(
            f"no well has a neighbour with another perturbation within distance={distance}"
        )
    controls = np.flatnonzero(label < 0)
    taken = np.concatenate([rows, controls])
    # a well may lie next to several perturbations, and is then a unit of each
    number = design.units.index[taken] + design.units.n_units * np.concatenate(
        [of + 1, np.zeros(controls.size, dtype=int)]
    )
    matrix = sparse.csr_array(matrix) if sparse.issparse(matrix) else matrix
    return concept_effects(
        matrix[taken],
        design.perturbations[np.concatenate([of, np.zeros(controls.size, dtype=int)])],
        np.arange(taken.size) >= rows.size,
        np.asarray(plate)[taken],
        units=number,
        **settings,
    )


def _neighbours(plate, well, label, distance):
    """Rows next to a well of each perturbation, and which perturbation that is."""
    place = well_position(well)
    height, width = place.row.max() + 2 * distance, place.column.max() + 2 * distance
    treated = np.flatnonzero(label >= 0)
    # numbers of wells on all plates, with room around each plate that nothing lies in
    here = (plate * height + place.row) * width + place.column
    order = treated[np.argsort(here[treated], kind="stable")]
    found = []
    for down in range(-distance, distance + 1):
        for right in range(-distance, distance + 1):
            if down or right:
                there = here[treated] + down * width + right
                first = np.searchsorted(here[order], there, side="left")
                last = np.searchsorted(here[order], there, side="right")
                source = np.repeat(treated, last - first)
                offset = np.arange(source.size) - np.repeat(
                    np.cumsum(last - first) - (last - first), last - first
                )
                target = order[np.repeat(first, last - first) + offset]
                found.append(np.stack([target, label[source]]))
    pairs = np.concatenate(found, axis=1)
    pairs = np.unique(pairs[:, label[pairs[0]] != pairs[1]], axis=1)
    return pairs[0], pairs[1]
