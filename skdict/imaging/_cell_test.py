"""Whether perturbed cells align with a concept otherwise than control-like cells of their field."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import stats
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._validation import check_choice, check_integer, check_real, host_array
from skdict.imaging._cell_classes import Fields, auc_within

ALTERNATIVES = ("two-sided", "greater", "less")
CORRECTIONS = ("q_value", "family_wise_p_value", "p_value", "sign_flip_p_value")

# Directions worked on at once.
_BLOCK = 1024
# Standard deviations within which a draw counts as equal: rounding of float32.
_TIE = 1e-5
# All signs of so many wells are tried, 4,096; of more wells some are drawn.
_EXACT_WELLS = 12


class CellClassTest(Bunch):
    """Result of :func:`cell_class_test`; prints what was compared and what was found.

    See :func:`cell_class_test` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def directions(self, level: float = 0.05, *, by: str = "q_value", as_frame: bool = False):
        """Table of the directions with a significant difference.

        Parameters
        ----------
        level : float, default=0.05
            Directions with a value of at most this; 1 lists all.
        by : {"q_value", "family_wise_p_value", "p_value", "sign_flip_p_value"}, \
                default="q_value"
            The value.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``direction``, ``effect``, ``low``, ``high``, ``auc``, ``z``, the four values,
            ``n_fields`` and ``n_wells``, sorted by descending absolute z.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1] or `by` is unknown.
        """
        check_real("level", level, 0, 1)
        check_choice("by", by, CORRECTIONS)
        direction = np.flatnonzero(self[by] <= level)
        direction = direction[np.argsort(-np.abs(self.z[direction]), kind="stable")]
        columns = {"direction": direction}
        for name in ("effect", "low", "high", "auc", "z", *CORRECTIONS, "n_fields", "n_wells"):
            columns[name] = self[name][direction]
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: cells, fields and wells, smallest p-values, and how much is significant."""
        n_wells = self.wells.size
        found = ", ".join(f"{name} {np.count_nonzero(self[name] <= 0.05)}" for name in CORRECTIONS)
        lines = [
            f"CellClassTest of {self.effect.size} directions: {self.n_perturbed} perturbed and "
            f"{self.n_control} control-like cells in {self.fields.size} fields of {n_wells} "
            f"well{'s' if n_wells != 1 else '; one well has no interval'}",
            f"  fields with one class only  {self.fields_without_contrast.size}",
            f"  smallest attainable p       {self.smallest_p_value.max():.2g} by cells, "
            f"{self.smallest_sign_flip_p_value.max():.2g} by wells",
            f"  directions at <= 0.05       {found}",
        ]
        return "\n".join(lines)


def cell_class_test(
    alignment,
    perturbed,
    *,
    field,
    well=None,
    alternative: str = "two-sided",
    chosen=None,
    n_permutations: int = 999,
    confidence_level: float = 0.95,
    random_state=None,
) -> CellClassTest:
    r"""Test for every direction whether perturbed cells differ from control-like cells.

    The tokens of a cell are averaged beforehand (:func:`cell_alignment`), so that a cell is one
    observation. The effect is a difference of means within fields, averaged over wells:

    .. math::

       T_m = \frac{1}{W} \sum_w \sum_{f \in w} s_f
             \left(\bar a_{fm}^{\text{perturbed}} - \bar a_{fm}^{\text{control}}\right),
       \qquad s_f \propto \frac{n_f^p\, n_f^c}{n_f^p + n_f^c},\ \sum_{f \in w} s_f = 1

    so that what differs between fields cancels, a field with few cells of a class counts less, and
    wells count alike. Two kinds of p-value come along. By *cells*: the classes are permuted
    within each field; it answers whether class and alignment are related among these cells. By
    *wells*: the signs of the wells' differences are flipped; it answers whether the difference
    holds for other wells like these, as the interval does.

    Parameters
    ----------
    alignment : array-like, shape (n_cells, n_directions) or (n_cells,)
        Alignment of every cell: ``cell_alignment(...).alignment``. Other columns can be tested
        as well, such as the size of the cells or their distance from the border.
    perturbed : array-like of bool, shape (n_cells,)
        Class of every cell: True for perturbed, False for control-like.
    field : array-like, shape (n_cells,)
        Field of every cell, usually its image.
    well : array-like, shape (n_cells,), or None, default=None
        Well of every cell, the replicate. None makes every field a replicate.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        Whether perturbed cells differ, are more aligned, or less.
    chosen : array-like of bool, shape (n_cells,) or (n_cells, n_directions), or None
        Cells of fields that were used to choose the directions; these fields do not test them. Of
        a mask over images take ``mask[cells.image]``. All cells of a field are alike.
    n_permutations : int, default=999
        Number of permutations, and of flips where there are more than 12 wells.
    confidence_level : float, default=0.95
        Level of the intervals.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations.

    Returns
    -------
    CellClassTest
        A Bunch with a method ``directions(level, by=...)``, the table of what is significant:

        effect : ndarray, shape (n_directions,)
            Mean difference T, perturbed minus control-like.
        low, high : ndarray, shape (n_directions,)
            Student's t interval over wells; NaN for one well.
        auc : ndarray, shape (n_directions,)
            Chance that a perturbed cell is more aligned than a control-like cell of its field,
            averaged over fields and wells as the effect; 0.5 is chance.
        z : ndarray, shape (n_directions,)
            Effect in standard deviations under permutation, which are known exactly; 0 where no
            field varies.
        p_value : ndarray, shape (n_directions,)
            By cells: share of the permutations that reach the effect, ``(1 + reached) /
            (1 + n_permutations)``, and never below `smallest_p_value`.
        family_wise_p_value : ndarray, shape (n_directions,)
            Corrected for all directions: share of the permutations whose largest z reaches this.
        q_value : ndarray, shape (n_directions,)
            Benjamini-Hochberg adjusted p-values (false discovery rate), where the draws of all
            directions together give the p-value: as z they are alike, and so many draws reach
            where the few of one direction cannot. Directions that vary in no field have 1.
        sign_flip_p_value : ndarray, shape (n_directions,)
            By wells: share of the signs of the wells' differences whose mean reaches the effect,
            of all signs for up to 12 wells.
        smallest_p_value, smallest_sign_flip_p_value : ndarray, shape (n_directions,)
            Smallest attainable values: by the number of permutations, or of distinct ways to
            deal out the classes or the signs. Four wells cannot go below 1/8 two-sided.
        well_effect : ndarray, shape (n_wells, n_directions)
            Difference of each well; NaN where `chosen` leaves none.
        n_fields, n_wells : ndarray of int, shape (n_directions,)
            Fields and wells behind the effect.
        fields, wells : ndarray
            Names of the fields with both classes, and of their wells.
        fields_without_contrast : ndarray
            Names of the fields with one class only; they contribute nothing.
        n_perturbed, n_control : int
            Cells in the fields with both classes.
        alternative, n_permutations, confidence_level : object
            As given.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, no field has both classes, a field lies
        in two wells, `chosen` leaves a direction no field, or an option is unknown.

    See Also
    --------
    segment_histograms : The token-level figure of the paper, which is no inference.

    Notes
    -----
    The permutation takes the cells of a field for exchangeable. It does not see what differs
    between the classes for another reason: larger cells average over more tokens and lie in fewer
    of the surroundings' tokens, cells in the middle of a field are lit otherwise than those at
    its border, and cells of one clone lie side by side. Test these as if they were directions:
    ``cell_class_test(np.column_stack([cells.n_tokens, cells.row, cells.column]), ...)``. If
    classes differ in size, their spread differs too, and p-values by cells are a little too
    small where the rarer class varies more: in planted fields with small perturbed cells 5.5% of
    them were at most 0.05. Flips of wells need none of this, but many wells, and differences
    that are not skewed.
    If the class was itself read from the images, the test is circular.

    Cost: one product of (1 + n_permutations) x n_cells with n_cells x n_directions values, half a
    minute on two cores for 999 permutations, 30,000 cells and 8,192 directions.

    References
    ----------
    .. [1] Phipson & Smyth, "Permutation p-values should never be zero", Statistical
       Applications in Genetics and Molecular Biology 9(1), 2010.
    .. [2] Westfall & Young, "Resampling-based multiple testing", Wiley, 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import cell_class_test
    >>> rng = np.random.default_rng(0)
    >>> field = np.repeat(np.arange(8), 10)
    >>> perturbed = np.arange(80) % 3 == 0
    >>> alignment = rng.normal(size=(80, 5)) + field[:, None]
    >>> alignment[perturbed, 2] += 2.0
    >>> test = cell_class_test(alignment, perturbed, field=field, random_state=0)
    >>> test.directions(0.05).direction
    array([2])
    """
    alignment = _check_alignment(alignment)
    check_choice("alternative", alternative, ALTERNATIVES)
    check_integer("n_permutations", n_permutations, 1)
    check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
    n_cells, n_directions = alignment.shape
    fields = Fields.read(perturbed, field, well, chosen, n_cells, n_directions)
    rng = check_random_state(random_state)
    totals = _Totals(fields, n_directions, n_permutations, alignment.dtype)
    for block in fields.blocks():
        totals.add(alignment, block, rng)
    z = totals.standardised()
    smallest = _smallest(fields, alternative, n_permutations, n_directions)
    effect = totals.statistic[0].astype(np.float64)
    flips, smallest_flip = _sign_flips(totals.well_effect, alternative, n_permutations, rng)
    low, high = _interval(totals.well_effect, effect, confidence_level)
    return CellClassTest(
        effect=effect, low=low, high=high, auc=totals.auc, z=z[0].astype(np.float64),
        **_p_values(z, alternative, smallest), sign_flip_p_value=flips,
        smallest_p_value=smallest, smallest_sign_flip_p_value=smallest_flip,
        well_effect=totals.well_effect, n_fields=_wide((fields.share > 0).sum(axis=0), effect),
        n_wells=_wide(fields.wells_that_count().sum(axis=0), effect), fields=fields.names,
        wells=fields.wells, fields_without_contrast=fields.without_contrast,
        n_perturbed=int(fields.sizes[:, 0].sum()), n_control=int(fields.sizes[:, 1].sum()),
        alternative=alternative, n_permutations=n_permutations, confidence_level=confidence_level,
    )  # fmt: skip


class _Totals:
    """Sums over fields of the observed and the permuted differences."""

    def __init__(self, fields: Fields, n_directions: int, n_permutations: int, dtype):
        self.fields, self.n_permutations = fields, n_permutations
        self.weight = fields.weight()
        self.statistic = np.zeros((1 + n_permutations, n_directions), dtype)
        self.variance = np.zeros(n_directions)
        self.auc = np.zeros(n_directions)
        counts = np.broadcast_to(fields.wells_that_count(), (fields.wells.size, n_directions))
        self.well_effect = np.where(counts, 0.0, np.nan)

    def add(self, alignment, block: np.ndarray, rng) -> None:
        """Add some fields, in blocks of directions."""
        rows = self.fields.rows(block)
        contrasts = self.fields.contrasts(block, self.n_permutations, rng)
        contrasts = contrasts.astype(self.statistic.dtype)
        for start in range(0, alignment.shape[1], _BLOCK):
            directions = slice(start, min(start + _BLOCK, alignment.shape[1]))
            values = alignment[rows, directions]
            start_of_field = 0
            for f in block:
                end = start_of_field + self.fields.sizes[f].sum()
                self._add_field(values[start_of_field:end], f, directions)
                start_of_field = end
            self.statistic[:, directions] += contrasts @ values

    def _add_field(self, values, f: int, directions: slice) -> None:
        """Add what is not permuted; then centre and weigh the values in place."""
        n_perturbed, n_control = self.fields.sizes[f]
        columns = directions if self.weight.shape[1] > 1 else slice(None)
        weight, share = self.weight[f, columns], self.fields.share[f, columns]
        self.auc[directions] += weight * auc_within(values, n_perturbed)
        _center(values)
        difference = values[:n_perturbed].mean(axis=0) - values[n_perturbed:].mean(axis=0)
        self.well_effect[self.fields.well[f], directions] += share * difference
        # Exact variance of a difference of means when the classes are dealt out at random.
        square = np.einsum("ij,ij->j", values, values, dtype=np.float64)
        size = n_perturbed * n_control / values.shape[0]
        self.variance[directions] += weight**2 * square / ((values.shape[0] - 1) * size)
        values *= weight.astype(values.dtype)

    def standardised(self) -> np.ndarray:
        """Observed and permuted statistics in standard deviations; 0 where nothing varies."""
        spread = np.sqrt(self.variance)
        inverse = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
        return self.statistic * inverse.astype(self.statistic.dtype)


def _check_alignment(alignment) -> np.ndarray:
    alignment = np.asarray(host_array(alignment, name="alignment"))
    alignment = alignment.astype(np.result_type(alignment.dtype, np.float32), copy=False)
    if alignment.ndim == 1:
        alignment = alignment[:, None]
    if alignment.ndim != 2 or 0 in alignment.shape:
        raise ValueError(
            "alignment must have shape (n_cells, n_directions) and not be empty, got shape "
            f"{alignment.shape}"
        )
    if not np.isfinite(alignment).all():
        cell = int(np.flatnonzero(~np.isfinite(alignment).all(axis=1))[0])
        raise ValueError(f"alignment holds NaN or infinite values, first in cell {cell}; drop them")
    return alignment


def _center(values: np.ndarray) -> None:
    """Subtract each column's mean in place; what is left of a constant is zero, not rounding."""
    scale = np.abs(values).max(axis=0)
    values -= values.mean(axis=0, dtype=np.float64).astype(values.dtype)
    noise = 4 * np.finfo(values.dtype).eps * scale
    values[:, np.abs(values).max(axis=0) <= noise] = 0


def _wide(values, effect) -> np.ndarray:
    """Counts of every direction."""
    return np.broadcast_to(values, effect.shape).copy()


def _smallest(fields: Fields, alternative: str, n_permutations: int, n_directions: int):
    """Smallest attainable p-value by cells of every direction."""
    distinct = fields.n_distinct()
    if alternative == "two-sided":  # exchanging all classes gives the same effect
        distinct = np.where(fields.balanced(), distinct / 2, distinct)
    smallest = np.maximum(1 / (1 + n_permutations), 1 / distinct)
    return np.broadcast_to(smallest, (n_directions,)).copy()


def _sided(values: np.ndarray, alternative: str) -> np.ndarray:
    """Values of which the large ones speak for the alternative."""
    if alternative == "two-sided":
        return np.abs(values)
    return values if alternative == "greater" else -values


def _p_values(z: np.ndarray, alternative: str, smallest: np.ndarray) -> dict[str, np.ndarray]:
    """P-values of the directions alone, of the family, and adjusted."""
    varies = np.ptp(z, axis=0) > 0
    sided = _sided(z, alternative)
    own, null = sided[0] - _TIE, sided[1:]
    p_value = np.maximum((1 + (null >= own).sum(axis=0)) / z.shape[0], smallest)
    largest = np.sort(null.max(axis=1))
    family = (1 + largest.size - np.searchsorted(largest, own)) / z.shape[0]
    q_value = np.ones(own.size)
    if varies.any():
        pool = np.sort(null[:, varies], axis=None)
        pooled = (1 + pool.size - np.searchsorted(pool, own[varies])) / (1 + pool.size)
        # Pooled draws are many, but the ways to deal out the classes may be few.
        limit = np.where(smallest > 1 / z.shape[0], smallest, 0)[varies]
        q_value[varies] = stats.false_discovery_control(np.maximum(pooled, limit))
    return {
        "p_value": p_value,
        "family_wise_p_value": np.maximum(family, smallest),
        "q_value": q_value,
    }


def _sign_flips(well_effect, alternative: str, n_permutations: int, rng):
    """P-values by flips of the wells' signs, and the smallest ones that there can be."""
    n_wells = well_effect.shape[0]
    counts = np.isfinite(well_effect).sum(axis=0)
    smallest = 0.5 ** (counts - 1.0 if alternative == "two-sided" else counts)
    exact = n_wells <= _EXACT_WELLS
    if exact:
        signs = np.array(list(itertools.product([1.0, -1.0], repeat=n_wells)))
    else:
        signs = rng.choice([1.0, -1.0], size=(1 + n_permutations, n_wells))
        signs[0] = 1.0
        smallest = np.maximum(smallest, 1 / (1 + n_permutations))
    p_value = np.empty(counts.size)
    for start in range(0, counts.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        differences = np.nan_to_num(well_effect[:, block])
        sums = _sided(signs @ differences, alternative)
        tie = 1e-6 * np.abs(differences).sum(axis=0)
        p_value[block] = (sums >= sums[0] - tie).mean(axis=0)
    return p_value, smallest


def _interval(well_effect, effect, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Student's t interval of the mean over wells."""
    counts = np.isfinite(well_effect).sum(axis=0)
    square = np.nansum((well_effect - effect) ** 2, axis=0)
    freedom = np.where(counts > 1, counts - 1, np.nan)
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(square / freedom / counts)
    return effect - half, effect + half
