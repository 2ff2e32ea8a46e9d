"""Concept response screen: what every perturbation does to every concept."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

from skdict._validation import check_choice, check_integer
from skdict.effects._design import Design, Exclusions
from skdict.effects._dose import dose_blocks, read_dose
from skdict.effects._result import ConceptEffects, DoseTrend
from skdict.effects._table_test import TableTest
from skdict.effects._unit_codes import unit_codes
from skdict.metrics._activity import check_active, check_codes
from skdict.metrics._progress import steps

ALTERNATIVES = ("two-sided", "greater", "less")
HELD_OUT_ONLY = "on held-out plates alone: not screened"
NOT_HELD_OUT = "not on the held-out plates: hits cannot replicate"


def concept_effects(
    codes,
    perturbation,
    control,
    plate,
    dose=None,
    *,
    units=None,
    active="nonzero",
    alternative: str = "two-sided",
    held_out=None,
    min_active_units: int = 3,
    n_permutations: int = 999,
    random_state=None,
    verbose: int = 0,
) -> ConceptEffects:
    r"""Test what each perturbation does to each concept, against controls of the same plate.

    Rows are first gathered into units, the wells. Of unit u the *rate* of a concept is the
    share of its rows in which the concept is active, and the *strength* the mean code of these
    rows. On plate q let :math:`\bar v` be the mean over the :math:`n_q` units of the perturbation
    and the :math:`c_q` control units; the effect is their difference, weighted over plates,

    .. math::

       \Delta = \frac{\sum_q w_q\,(\bar v^{\,treated}_q - \bar v^{\,control}_q)}{\sum_q w_q},
       \qquad w_q = \frac{n_q c_q}{n_q + c_q} .

    Of strength, only units in which the concept is active count, in the means and in the
    :math:`w_q`. The null exchanges the perturbation's units with the controls within each plate,
    so that differences between plates, and what the cells of a well share, stay in it. Tested is
    :math:`\Delta` over its standard deviation.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_rows, n_concepts)
        Codes of images, cells or wells. Sparse codes are never made dense. Components of a PCA
        or raw embeddings do as well: they are always active and have a strength alone.
    perturbation : array-like, shape (n_rows,)
        What was done to each row; of control rows it is not read.
    control : array-like of bool, shape (n_rows,)
        True for control rows.
    plate : array-like, shape (n_rows,)
        Plate of each row: the physical plate, where one was imaged several times.
    dose : array-like of float, shape (n_rows,), or None, default=None
        Doses, not their logarithms; of control rows they are not read. Each perturbation with two
        doses on a plate is tested for a trend as well, see Notes. NaN leaves a unit out of that.
    units : array-like, shape (n_rows,), or None, default=None
        The independent unit of each row: the physical well, named for the whole data set (plate and
        well joined). None takes every row for a unit: right if rows are wells; wrong for cells or
        images of a well, which are no replicates.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        When a code counts as active; see :func:`~skdict.metrics.selectivity_scores`.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        Side of the tests. Two-sided p-values are twice the smaller one-sided one, as in
        :func:`scipy.stats.permutation_test`.
    held_out : array-like or None, default=None
        Names of plates that are kept out of the screen and test its hits. None: no replication.
    min_active_units : int, default=3
        Fewest units, treated and control together, in which a concept must be active to be tested
        for a perturbation. Permutation does not change this number, so that the choice is fair.
    n_permutations : int, default=999
        Random permutations for each perturbation; all of them where there are no more than that.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations.
    verbose : int, default=0
        Print ten lines of progress with the time that is left.

    Returns
    -------
    ConceptEffects
        A Bunch that prints a summary, with the methods ``hits``, ``by_perturbation``,
        ``by_concept`` and ``dose_hits``, which give tables:

        perturbations : ndarray, shape (n_perturbations,)
            Those tested, sorted.
        rate, strength : Bunch of ndarray, shape (n_perturbations, n_concepts)
            ``effect``, as above (strength: NaN where no plate has the concept active in both
            arms); ``z``, the effect over its standard deviation (0 where nothing varies);
            ``p_value``, by the perturbation's own permutations; ``tail_p_value``, see Notes;
            ``q_value``, its Benjamini-Hochberg adjustment over all tested pairs and both
            statistics together; ``tested``: pairs that vary, are active in enough units and have
            permutations enough for a p-value of 0.05; the others have a q of 1, and
            ``n_out_of_reach`` counts those that lack permutations alone.
        n_units, n_control_units, n_plates : ndarray of int, shape (n_perturbations,)
            Units of the perturbation, controls on their plates, and the plates.
        rows_ratio : ndarray, shape (n_perturbations,)
            Rows of a unit of the perturbation over those of a control unit, in the mean.
        n_distinct_permutations : ndarray, shape (n_perturbations,)
            Distinct ways to choose the perturbation's units within plates.
        smallest_p_value : ndarray, shape (n_perturbations,)
            Smallest attainable `p_value`: 1 over the distinct permutations, or over
            1 + n_permutations where that is larger; twice this for two-sided tests. A
            `tail_p_value` may lie below the latter, never below the former.
        excluded : dict of ndarray
            What is left out: columns ``perturbation``, ``plate``, ``reason``, ``n_units``.
        never_active : ndarray of int
            Concepts that no row activates; none of their pairs is tested.
        replication : ConceptEffects or None
            The same for the held-out plates.
        dose_trend : DoseTrend or None
            A Bunch with the method ``hits``, and ``perturbations``; ``rate`` and ``strength`` as
            above, ``effect`` being the slope per step of dose; ``n_doses``, ``n_units``,
            ``n_distinct_permutations``, ``smallest_p_value``, ``excluded``.
        n_concepts, n_permutations, alternative
            As given.

    Raises
    ------
    ValueError
        If lengths do not fit, a value is missing, a unit lies on two plates or carries two
        perturbations or doses, doses are text or negative, `held_out` names no plate or all, no
        perturbation has controls on its plates, or an option is unknown.

    See Also
    --------
    skdict.metrics.selectivity_test : Which concept marks a label, against all others.
    skdict.metrics.explain_difference : Which concepts make the difference between two means.

    Notes
    -----
    **The null.** On its plate, a perturbation's wells are exchangeable with the control wells. It
    does not know of positions: where a compound lies in the same wells on every plate, an effect
    may be that of the wells. Look at it with :func:`technical_audit`.

    **Arms that differ in spread.** A compound that leaves few cells makes rates and strengths of
    its wells uncertain, and is not to be taken for one that changes them. So the standard deviation
    has a variance for each arm (Welch), pooled over plates, where units have several rows: for
    strength if they have more than three in the mean, for a rate if ``rows_ratio`` is beyond
    0.8 to 1.25. Elsewhere units vary alike, and the standard deviation is that under permutation.
    With very few treated units that vary much more than controls p-values are still too small:
    with eight units of a tenth of the cells of controls 12 to 15% of null p-values were at most
    0.05. Look at ``rows_ratio``. Doses are not standardised in this way.

    **Tails.** 999 permutations cannot give the small p-values that a table of millions of pairs
    asks for. Where at least ten of a pair's own draws reach its statistic, they give
    `tail_p_value` alone, and so they do where all permutations were gone through. Beyond, the
    standardised draws of all pairs that are active in about as many units, with the same
    statistic and about the same share of treated units, are counted together; the p-value is
    their share at least as far out. It holds on average over the pairs of a group, not for each
    concept: one with heavier tails than its group gets too small a p-value there. It cannot fall
    below one over the draws of the group, so that a group of few pairs ends at a larger p-value
    than others.

    **Trend.** Controls take no part. The ranks 0, 1, 2, ... of a perturbation's doses are
    permuted among its units of a plate; the statistic is the sum of rank times value.

    **Cost.** For each perturbation, n_permutations times the active entries of its units, and a
    pass over the concepts for each permutation. Results take about 80 bytes for each pair,
    as much again for the held-out plates, and twice that with doses.

    References
    ----------
    .. [1] Phipson & Smyth, "Permutation p-values should never be zero", Statistical
       Applications in Genetics and Molecular Biology 9(1), 2010.
    .. [2] Knijnenburg, Wessels, Reinders & Shmulevich, "Fewer permutations, more accurate
       P-values", Bioinformatics 25(12), 2009: own draws where ten of them reach, a tail beyond.
    .. [3] Benjamini & Hochberg, "Controlling the false discovery rate", Journal of the Royal
       Statistical Society B 57(1), 1995.

    Examples
    --------
    Two plates with 8 controls and 4 wells of a compound that switches concept 1 on:

    >>> import numpy as np
    >>> from skdict.effects import concept_effects
    >>> rng = np.random.default_rng(0)
    >>> plate = np.repeat(["p1", "p2"], 12)
    >>> compound = np.tile(np.repeat(["DMSO", "A"], [8, 4]), 2)
    >>> codes = (rng.random((24, 5)) < 0.2).astype(float)
    >>> codes[compound == "A", 1] = 1.0
    >>> found = concept_effects(codes, compound, compound == "DMSO", plate, random_state=0)
    >>> hits = found.hits()
    >>> hits["concept"], hits["statistic"]
    (array([1]), array(['rate'], dtype='<U8'))
    """
    check_choice("alternative", alternative, ALTERNATIVES)
    check_integer("min_active_units", min_active_units, 1)
    check_integer("n_permutations", n_permutations, 1)
    matrix = check_codes(codes)
    n_rows, n_concepts = matrix.shape
    check_active(active, n_concepts)
    design = Design.read(perturbation, control, plate, units, n_rows)
    doses = None if dose is None else read_dose(dose, design)
    values = unit_codes(matrix, design.units.index, design.units.n_units, active)
    settings = {
        "alternative": alternative,
        "n_permutations": n_permutations,
        "min_active_units": min_active_units,
    }
    screen = _Screen(design, doses, values, n_concepts, settings, verbose)
    rng = check_random_state(random_state)
    if held_out is None:
        return screen.run(np.ones(design.units.n_units, dtype=bool), rng, replication=None)
    apart = design.on_plates(_check_held_out(held_out, design.plates))
    replication = screen.run(apart, rng, replication=None, is_replication=True)
    return screen.run(~apart, rng, replication=replication)


def _check_held_out(held_out, plates) -> np.ndarray:
    """Names of the held-out plates."""
    names = np.unique(np.atleast_1d(np.asarray(held_out)))
    unknown = [name for name in names.tolist() if name not in set(plates.tolist())]
    if unknown or names.size == 0:
        raise ValueError(
            f"held_out must hold names of plates, got {unknown or 'none'}; the plates are "
            f"{', '.join(map(str, plates[:12].tolist()))}" + (", ..." if plates.size > 12 else "")
        )
    if names.size == plates.size:
        raise ValueError("held_out names every plate, so that none is left to screen")
    return names


class _Screen:
    """Design, values and settings that the screen and its replication share."""

    def __init__(self, design, doses, values, n_concepts, settings, verbose):
        self.design, self.doses, self.values = design, doses, values
        self.n_concepts, self.settings, self.verbose = n_concepts, settings, verbose
        self.n_rows = np.bincount(design.units.index)

    def run(self, taken, rng, *, replication, is_replication=False) -> ConceptEffects:
        """Screen some of the units."""
        excluded = Exclusions()
        arms = list(self.design.arms(taken))
        rows = [(k, self.design.blocks(k, parts, excluded)) for k, parts in arms]
        rows = [(k, blocks) for k, blocks in rows if blocks is not None]
        if not rows:
            raise ValueError(self._nothing_to_test(excluded, taken, is_replication))
        found = self._test(rows, rng, "concept_effects")
        used = [blocks for _, blocks in rows]
        if replication is not None:
            self._list_absent(excluded, taken)
        n_units = np.array([int(blocks.n_drawn.sum()) for blocks in used])
        seen = np.bincount(self.values.indices, minlength=self.n_concepts)
        return ConceptEffects(
            **found,
            n_units=n_units,
            n_control_units=np.array([blocks.units.size for blocks in used]) - n_units,
            n_plates=np.array([blocks.n_drawn.size for blocks in used]),
            rows_ratio=np.array([blocks.rows_ratio(self.n_rows) for blocks in used]),
            excluded=excluded.columns(),
            never_active=np.flatnonzero(seen == 0),
            replication=replication,
            dose_trend=None if self.doses is None else self._trend(arms, rng, is_replication),
            n_concepts=self.n_concepts,
            n_permutations=self.settings["n_permutations"],
            alternative=self.settings["alternative"],
        )

    def _test(self, rows, rng, task: str) -> dict:
        """Fill and finish a table of tests."""
        test = TableTest(self.values, self.n_rows, len(rows), self.n_concepts, **self.settings)
        for row in steps(len(rows), "perturbation", self.verbose, task=task):
            test.fill(row, rows[row][1], rng)
        tables = test.finish()
        return {
            "perturbations": self.design.perturbations[[k for k, _ in rows]],
            **tables,
            "n_distinct_permutations": test.n_distinct,
            "smallest_p_value": np.array([test.smallest(row) for row in range(len(rows))]),
        }

    def _trend(self, arms, rng, is_replication) -> DoseTrend | None:
        """Tests of a trend over doses; None where held-out plates have no two of anything."""
        excluded, rows, n_doses = Exclusions(), [], []
        for k, parts in arms:
            blocks, n_of_row = dose_blocks(self.design, self.doses, k, parts, excluded)
            if blocks is not None:
                rows.append((k, blocks))
                n_doses.append(n_of_row)
        if not rows and is_replication:
            return None
        if not rows:
            raise ValueError(
                "dose must give some perturbation two doses on one plate, for a trend within "
                "plates; leave dose out, or name as plate what holds several doses"
            )
        return DoseTrend(
            **self._test(rows, rng, "dose trend"),
            n_doses=np.array(n_doses),
            n_units=np.array([blocks.units.size for _, blocks in rows]),
            excluded=excluded.columns(),
            n_concepts=self.n_concepts,
            n_permutations=self.settings["n_permutations"],
            alternative=self.settings["alternative"],
        )

    def _list_absent(self, excluded, taken) -> None:
        """List perturbations that lie on one kind of plates alone."""
        stratum = self.design.units.stratum
        for k, name in enumerate(self.design.perturbations):
            own = self.design.label == k
            if (own & taken).any() and (own & ~taken).any():
                continue
            reason = NOT_HELD_OUT if (own & taken).any() else HELD_OUT_ONLY
            for plate, n_units in zip(*np.unique(stratum[own], return_counts=True), strict=True):
                excluded.add(name, self.design.plates[plate], reason, int(n_units))

    def _nothing_to_test(self, excluded, taken, is_replication) -> str:
        """Say why no perturbation is left."""
        plates = self.design.plates[np.unique(self.design.units.stratum[taken])].tolist()
        reasons = sorted({row[2] for row in excluded.rows}) or ["no treated unit there"]
        kind = "held_out " if is_replication else ""
        return (
            f"no perturbation can be tested on the {kind}plates {plates[:6]} "
            f"({'; '.join(reasons)}); control must mark units on the plates of the perturbations, "
            "at least two units in one arm"
        )
