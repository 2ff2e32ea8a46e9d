"""Effect of one perturbation on one concept at every dose."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats

from skdict._tables import table
from skdict._validation import check_choice, check_integer, check_real
from skdict.effects._design import Design, Exclusions
from skdict.effects._dose import read_dose
from skdict.effects._table_test import STATISTICS
from skdict.effects._unit_codes import unit_codes
from skdict.metrics._activity import check_active, check_codes


def dose_response(
    codes,
    perturbation,
    control,
    plate,
    dose,
    *,
    name,
    concept: int,
    statistic: str = "rate",
    units=None,
    active="nonzero",
    confidence_level: float = 0.95,
    as_frame: bool = False,
):
    r"""Effect of a perturbation on a concept, dose by dose, against controls of the same plate.

    The effect at a dose is that of :func:`concept_effects` with the units of this dose alone.
    Its interval is Student's, with the variance :math:`s^2` of units about the mean of their arm
    and plate,

    .. math::

       \Delta \pm \frac{t\, s}{\sqrt{\sum_q w_q}} , \qquad w_q = \frac{n_q c_q}{n_q + c_q} .

    Parameters
    ----------
    codes : array-like or sparse, shape (n_rows, n_concepts)
        Codes.
    perturbation : array-like, shape (n_rows,)
        What was done to each row.
    control : array-like of bool, shape (n_rows,)
        True for control rows.
    plate : array-like, shape (n_rows,)
        Plate of each row.
    dose : array-like of float, shape (n_rows,)
        Doses; of control rows they are not read. Units with NaN are left out.
    name : str
        The perturbation.
    concept : int
        The concept.
    statistic : {"rate", "strength"}, default="rate"
        Share of active rows in a unit, or mean code of the active ones.
    units : array-like, shape (n_rows,), or None, default=None
        See :func:`concept_effects`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`concept_effects`.
    confidence_level : float, default=0.95
        Level of the intervals.
    as_frame : bool, default=False
        Return the table as a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        dose : ndarray, shape (n_doses,)
            Doses, ascending.
        effect, low, high : ndarray, shape (n_doses,)
            Effect and its interval; NaN where no plate has both arms (of strength: with the
            concept active), the interval also where no arm has two units.
        n_units, n_control_units : ndarray of int, shape (n_doses,)
            Units behind it.

    Raises
    ------
    ValueError
        As :func:`concept_effects`, if `name` or `concept` does not occur, or none of the
        perturbation's units has a dose and a control on its plate.

    See Also
    --------
    concept_effects : Tests of the trend.

    Notes
    -----
    The interval takes units for normal with one variance: a drawing aid beside the permutation
    test of the trend, which takes nothing of the kind.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import dose_response
    >>> compound = np.repeat(["DMSO", "A"], [4, 6])
    >>> dose = [np.nan] * 4 + [1.0, 1.0, 1.0, 10.0, 10.0, 10.0]
    >>> codes = np.array([0, 0, 0, 1, 0, 1, 0, 1, 1, 1.0])[:, None]
    >>> curve = dose_response(
    ...     codes, compound, compound == "DMSO", np.zeros(10), dose, name="A", concept=0)
    >>> curve.dose, curve.effect.round(2)
    (array([ 1., 10.]), array([0.08, 0.75]))
    """
    check_choice("statistic", statistic, STATISTICS)
    check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
    matrix = check_codes(codes)
    check_active(active, matrix.shape[1])
    check_integer("concept", concept, 0)
    if concept >= matrix.shape[1]:
        raise ValueError(f"concept must be below {matrix.shape[1]}, got {concept}")
    design = Design.read(perturbation, control, plate, units, matrix.shape[0])
    if name not in design.perturbations.tolist():
        raise ValueError(
            f"name must be a perturbation that occurs, got {name!r}; they are "
            f"{', '.join(map(str, design.perturbations[:12].tolist()))}"
        )
    doses = read_dose(dose, design)
    threshold = active if isinstance(active, str) or np.ndim(active) == 0 else active[concept]
    column = sparse.csc_array(matrix)[:, [concept]] if sparse.issparse(matrix) else (
        matrix[:, [concept]]
    )  # fmt: skip
    values = _unit_values(column, design, threshold, statistic)
    mine = design.label == design.perturbations.tolist().index(name)
    columns = _by_dose(design, doses, mine, values, confidence_level)
    if not columns["dose"].size:
        raise ValueError(
            f"name={name!r} has no unit with a dose and a control on its plate to compare with"
        )
    return table(columns, as_frame)


def _unit_values(column, design, active, statistic) -> np.ndarray:
    """Rate or strength of every unit; a strength is NaN where the concept is not active."""
    found = unit_codes(column, design.units.index, design.units.n_units, active)
    values = np.full(design.units.n_units, 0.0 if statistic == "rate" else np.nan)
    unit = np.repeat(np.arange(design.units.n_units), np.diff(found.indptr))
    values[unit] = found.rate if statistic == "rate" else found.strength
    return values


def _by_dose(design, doses, mine, values, confidence_level) -> dict:
    """Columns of the table."""
    rows = []
    for level in np.unique(doses[mine & ~np.isnan(doses)]):
        taken = (mine & (doses == level)) | (design.label == -1)
        for k, arms in design.arms(taken):
            blocks = design.blocks(k, arms, Exclusions())
            if blocks is not None:
                rows.append((level, *_effect(blocks, values, confidence_level)))
    names = ("dose", "effect", "low", "high", "n_units", "n_control_units")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: np.array(column) for name, column in zip(names, columns, strict=True)}


def _effect(blocks, values, confidence_level):
    """Effect, its interval and the number of units of both arms."""
    total = weight = square = 0.0
    n_freedom, n_treated, n_control = 0, 0, 0
    for first, last, n_drawn in zip(
        blocks.bounds[:-1], blocks.bounds[1:], blocks.n_drawn, strict=True
    ):
        own = values[blocks.units[first : first + n_drawn]]
        other = values[blocks.units[first + n_drawn : last]]
        own, other = own[~np.isnan(own)], other[~np.isnan(other)]
        if own.size and other.size:
            w = own.size * other.size / (own.size + other.size)
            total, weight = total + w * (own.mean() - other.mean()), weight + w
            square += own.var() * own.size + other.var() * other.size
            n_freedom += own.size + other.size - 2
            n_treated, n_control = n_treated + own.size, n_control + other.size
    if weight == 0:
        return np.nan, np.nan, np.nan, 0, 0
    effect, half = total / weight, np.nan
    if n_freedom:
        half = stats.t.ppf((1 + confidence_level) / 2, n_freedom) * np.sqrt(
            square / n_freedom / weight
        )
    return effect, effect - half, effect + half, n_treated, n_control
