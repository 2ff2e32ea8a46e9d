"""How often a whole pipeline finds something in controls that were relabelled as compounds."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.metadata_routing import get_routing_for_object

from skdict._tables import columns_of, table_of
from skdict._validation import (
    check_boolean_or,
    check_control,
    check_integer,
    check_real,
    check_same_length,
)
from skdict.effects._relabel import (
    STAYS_CONTROL,
    Screen,
    check_transformer,
    encode,
    read_controls,
    read_rows,
    take_rows,
)
from skdict.effects._table_test import STATISTICS

P_VALUES = ("p_value", "tail_p_value")


def pseudo_compounds(
    control,
    plate,
    *,
    units=None,
    n_units_per_plate: int = 4,
    n_compounds: int | None = None,
    n_plates_per_compound: int | None = None,
    random_state=None,
) -> Bunch:
    """Relabel control units at random as compounds that do nothing.

    On each plate disjoint sets of `n_units_per_plate` control units become the pseudo-compounds
    0, 1, ...; the other control units stay controls, at least half of those of the plate.

    Parameters
    ----------
    control : array-like of bool, shape (n_rows,), or None
        True where a row is a control; None takes all rows.
    plate : array-like, shape (n_rows,)
        Plate of each row.
    units : array-like, shape (n_rows,), or None, default=None
        Independent unit of each row (the well of a cell); None makes every row a unit.
    n_units_per_plate : int, default=4
        Units of a pseudo-compound on a plate: as many as real compounds have.
    n_compounds : int or None, default=None
        Pseudo-compounds on a plate. None takes as many as leave half of its control units, so
        that plates with more control units carry more.
    n_plates_per_compound : int or None, default=None
        Plates that a pseudo-compound lies on; None takes all. With a number the plates are
        divided at random into groups of as many, each with pseudo-compounds of its own; plates
        that do not fill a group are not used in this draw.
    random_state : int, RandomState instance or None, default=None
        Draws the units.

    Returns
    -------
    Bunch
        rows : ndarray of int, shape (n_kept,)
            Control rows kept; the next two arrays belong to them.
        perturbation : ndarray of int, shape (n_kept,)
            Number of the pseudo-compound; -1 for a control.
        control : ndarray of bool, shape (n_kept,)
            True where a row stays a control.
        n_compounds : int
            Number of pseudo-compounds.
        left_out : ndarray
            Plates with too few control units.

    Raises
    ------
    ValueError
        If lengths differ, a unit lies on two plates, a name is missing, or no plate has enough
        control units.

    See Also
    --------
    false_positive_rate : Screens such compounds many times.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import pseudo_compounds
    >>> control = np.repeat([True, False], 8)
    >>> plate = np.tile(["p1", "p2"], 8)
    >>> drawn = pseudo_compounds(control, plate, n_units_per_plate=2, random_state=0)
    >>> drawn.rows
    array([0, 1, 2, 3, 4, 5, 6, 7])
    >>> np.bincount(drawn.perturbation[~drawn.control])
    array([4])
    """
    if np.ndim(plate) != 1:
        raise ValueError(
            f"plate must hold a plate per row (of all rows where control is None), got {plate!r}"
        )
    if control is not None:
        check_same_length(control=control, plate=plate)
    controls = read_controls(
        check_control(control, len(plate)),
        plate,
        units,
        n_units_per_plate=n_units_per_plate,
        n_compounds=n_compounds,
        n_plates_per_compound=n_plates_per_compound,
    )
    drawn = controls.draw(check_random_state(random_state))
    return Bunch(
        rows=controls.rows[drawn.places],
        perturbation=drawn.compound,
        control=drawn.compound == STAYS_CONTROL,
        n_compounds=drawn.n_compounds,
        left_out=controls.left_out,
    )


class FalsePositives(Bunch):
    """Result of :func:`false_positive_rate`; prints the rates beside what they should be.

    See :func:`false_positive_rate` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Share of the pairs with a p-value of at most each level.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            Columns ``statistic``, ``p_value`` (which one), ``level``, ``share``, ``low``,
            ``high`` and ``n_pairs``.
        """
        return table_of(dict(self.rates), as_frame)

    def __repr__(self):
        """Summary: what was relabelled, the rates, and the hits."""
        lines = [
            f"FalsePositives of {self.n_repeats} relabellings of {self.n_control_units} control "
            f"units on {self.n_plates} plates",
            f"  {'pseudo-compounds, in all':<36} {self.n_compounds}",
            f"  {'smallest p by permutation':<36} {self.smallest_p_value:.2g}",
        ]
        if self.left_out.size:
            lines.append(f"  {'plates with too few controls':<36} {self.left_out.size}")
        rates = self.rates
        for i, level in enumerate(rates["level"]):
            name = "tail p" if rates["p_value"][i] == "tail_p_value" else "p"
            line = f"  {rates['statistic'][i] + f', {name} <= {level:g}':<36} "
            if rates["n_pairs"][i] == 0:
                lines.append(line + "no pair tested")
                continue
            found = Bunch(**{key: rates[key][i] for key in ("share", "low", "high")})
            lines.append(line + f"{_words(found)} of {rates['n_pairs'][i]} pairs")
        for what, found in (("relabellings", self.any_hit), ("compounds", self.compound_hit)):
            line = f"{what} with a hit, q <= {self.fdr_level:g}"
            lines.append(f"  {line:<36} {_words(found)}")
        return "\n".join([*lines, f"  in brackets: {100 * self.confidence_level:.4g}% intervals"])


def _words(found) -> str:
    """A share and its interval."""
    return f"{found.share:.4f} ({found.low:.4f} to {found.high:.4f})"


def false_positive_rate(
    X,
    control,
    plate,
    *,
    pipeline=None,
    refit=False,
    units=None,
    screen_units=None,
    n_units_per_plate: int = 4,
    n_compounds: int | None = None,
    n_plates_per_compound: int | None = None,
    n_repeats: int = 20,
    levels=(0.01, 0.05),
    fdr_level: float = 0.05,
    confidence_level: float = 0.95,
    random_state=None,
    verbose: int = 0,
    **screen,
) -> FalsePositives:
    """Screen controls that were relabelled as compounds: what is found is false.

    In each repetition :func:`pseudo_compounds` relabels control units, the rows are encoded, and
    :func:`concept_effects` screens the pseudo-compounds against the other controls.

    Parameters
    ----------
    X : array-like or sparse, shape (n_rows, n_columns)
        Embeddings, or codes where there is no pipeline. Rows of real compounds may be there:
        they are used by `refit` alone.
    control : array-like of bool, shape (n_rows,), or None
        True where a row is a control; None takes all rows.
    plate : array-like, shape (n_rows,)
        Plate of each row.
    pipeline : transformer or None, default=None
        What turns X into codes: fitted, or anything that can be fitted with `refit`. None takes X
        as codes.
    refit : bool or "relabelled", default=False
        False encodes once with the fitted pipeline. True fits a clone in every repetition to all
        rows except those of the pseudo-compounds, which it has then never seen.
        ``"relabelled"`` fits it to all rows, those of the pseudo-compounds no longer marked as
        controls: what happens to a real compound. Steps that request ``control`` get the mask.
    units : array-like, shape (n_rows,), or None, default=None
        Independent unit of each row, which is relabelled as a whole; None makes every row a unit.
    screen_units : array-like, shape (n_rows,), or None, default=None
        Units that the screen takes instead, to see what a wrong choice does: with
        ``numpy.arange(n_rows)`` cells count as replicates. None takes `units`.
    n_units_per_plate, n_compounds, n_plates_per_compound
        As in :func:`pseudo_compounds`. With `held_out` a pseudo-compound must lie on plates of
        both kinds.
    n_repeats : int, default=20
        Number of relabellings, at least 2.
    levels : sequence of float in (0, 1), default=(0.01, 0.05)
        Levels at which p-values are counted.
    fdr_level : float in [0, 1], default=0.05
        Pairs with a q-value of at most this are hits. With held-out plates only replicated hits
        count.
    confidence_level : float in (0, 1), default=0.95
        Level of the intervals.
    random_state : int, RandomState instance or None, default=None
        Draws the units and the permutations.
    verbose : int, default=0
        Print a line per repetition.
    **screen : dict
        Further arguments of :func:`concept_effects`: n_permutations, active and so on.

    Returns
    -------
    FalsePositives
        A Bunch that prints a summary and has the method ``table``:

        rates : dict of ndarray
            Per statistic (rate, strength), p-value (p_value of the permutations, tail_p_value)
            and level: the share of the tested pairs of pseudo-compound and concept at or below
            the level, its interval (low, high) and n_pairs. It should be no more than the level.
        any_hit : Bunch
            Share of the repetitions with any hit, with low and high. Nothing is true here, so
            that this is the false-discovery rate; it should be no more than `fdr_level`.
        compound_hit : Bunch
            Share of the pseudo-compounds with at least one hit, with low and high.
        mean_hits : float
            Hits per repetition.
        by_repeat : dict of ndarray
            Per repetition: repeat, n_compounds, n_pairs_rate, n_pairs_strength, n_hits and
            n_compounds_with_hit.
        n_repeats, n_compounds, n_control_units, n_plates : int
            Repetitions; pseudo-compounds of all of them; control units and plates used.
        smallest_p_value : float
            Smallest p-value by permutation that every pseudo-compound can attain.
        left_out : ndarray
            Plates with too few control units.
        fdr_level, confidence_level : float
            As given.

    Raises
    ------
    ValueError
        If a parameter is out of range, lengths differ, or no plate has enough control units.
    TypeError
        If the pipeline lacks ``transform`` (``fit`` too with `refit`), `refit` has no pipeline,
        or the screen does not know an argument.

    See Also
    --------
    detection_limit : What the same screen would find.
    technical_audit : Whether position explains what was found.

    Notes
    -----
    Pairs of one repetition share their controls and are far from independent. The intervals of the
    shares are t intervals of a ratio over repetitions, whose draws are independent given the
    data; that of `any_hit` is Clopper and Pearson's. They say how well the repetitions determine
    the rates on these controls, not how other controls would do. A share that is 0 in all
    repetitions has an interval of length 0.

    With few distinct values (rates of a few units) permutation p-values are conservative: their
    share lies below the level.

    Relabelling cannot show what controls do not have: where controls stand in columns of their own,
    a difference between these columns and the others looks like an effect of every compound and
    is not seen here.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import false_positive_rate
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.normal(size=(48, 5))
    >>> rates = false_positive_rate(
    ...     codes, None, np.repeat(["p1", "p2"], 24), n_repeats=5, n_permutations=99,
    ...     random_state=0,
    ... )
    >>> rates.n_compounds, rates.by_repeat["n_pairs_strength"]
    (15, array([15, 15, 15, 15, 15]))
    """
    X = read_rows(X)
    check_same_length(X=X, plate=plate)
    rows = check_control(control, X.shape[0])
    _check_rate_parameters(pipeline, refit, n_repeats, levels, fdr_level, confidence_level)
    controls = read_controls(
        rows,
        plate,
        units,
        n_units_per_plate=n_units_per_plate,
        n_compounds=n_compounds,
        n_plates_per_compound=n_plates_per_compound,
    )
    screener = Screen(plate, units if screen_units is None else screen_units, controls, fdr_level,
                      screen)  # fmt: skip
    codes = None if refit else encode(pipeline, take_rows(X, controls.rows))
    rng = check_random_state(random_state)
    counted = []
    for repeat in range(n_repeats):
        drawn = controls.draw(rng)
        if codes is None:
            fitted = _refit(pipeline, X, rows, controls.rows, drawn, refit == "relabelled")
            kept = encode(fitted, take_rows(X, controls.rows[drawn.places]))
        else:
            kept = codes[drawn.places]
        result = screener.run(kept, drawn, rng.randint(2**31 - 1))
        counted.append(_count(result, screener, drawn.n_compounds, levels) | {"repeat": repeat})
        if verbose:
            print(
                f"[false_positive_rate] relabelling {repeat + 1} of {n_repeats}: "
                f"{counted[-1]['n_hits']} hits of {drawn.n_compounds} pseudo-compounds"
            )
    return _summarise(counted, controls, levels, fdr_level, confidence_level)


def _check_rate_parameters(pipeline, refit, n_repeats, levels, fdr_level, confidence_level):
    """Raise for what is out of range."""
    check_boolean_or("refit", refit, ("relabelled",))
    check_transformer("pipeline", pipeline)
    if refit:
        if pipeline is None:
            raise TypeError(f"refit={refit!r} needs a pipeline to fit, got pipeline=None")
        check_transformer("pipeline", pipeline, "fit")
    check_integer("n_repeats", n_repeats, 2)
    if np.ndim(levels) != 1 or len(levels) == 0:
        raise ValueError(f"levels must be a sequence of numbers in (0, 1), got {levels!r}")
    for level in levels:
        check_real("levels", level, 0, 1, open_low=True)
        if level == 1:
            raise ValueError(f"levels must be less than 1, got {levels!r}: all p-values count")
    check_real("fdr_level", fdr_level, 0, 1)
    check_real("confidence_level", confidence_level, 0, 1, open_low=True)
    if confidence_level == 1:
        raise ValueError(f"confidence_level must be less than 1, got {confidence_level!r}")


def _refit(pipeline, X, control_rows, rows, drawn, relabelled):
    """Clone of the pipeline, fitted without the pseudo-compounds, or with them as compounds."""
    pseudo = rows[drawn.places[drawn.compound != STAYS_CONTROL]]
    mask = np.zeros(X.shape[0], dtype=bool)
    mask[control_rows] = True
    mask[pseudo] = False
    fit_rows = np.arange(X.shape[0])
    if not relabelled:
        fit_rows = np.setdiff1d(fit_rows, pseudo)
    with config_context(enable_metadata_routing=True):
        model = clone(pipeline)
        requested = get_routing_for_object(model).consumes("fit", ["control"])
        given = {"control": mask[fit_rows]} if requested else {}
        return model.fit(take_rows(X, fit_rows), **given)


def _count(result, screener, n_compounds, levels) -> dict:
    """Count of one repetition: pairs tested, pairs at or below the levels, hits."""
    counted: dict = {}
    for statistic in STATISTICS:
        tests = result[statistic]
        counted[f"n_pairs_{statistic}"] = int(np.count_nonzero(tests.tested))
        for p_value in P_VALUES:
            values = tests[p_value][tests.tested]
            for level in levels:
                # a p-value of 50 / 1000 is at the level 0.05 however it was rounded
                counted[statistic, p_value, level] = int((values <= level * (1 + 1e-12)).sum())
    hits = screener.hits_by_compound(result, n_compounds)
    return counted | {
        "n_compounds": n_compounds,
        "n_hits": int(hits.sum()),
        "n_compounds_with_hit": int(np.count_nonzero(hits)),
        "smallest_p_value": float(result.smallest_p_value.max()),
    }


def _summarise(counted, controls, levels, fdr_level, confidence_level) -> FalsePositives:
    """Shares and intervals from the counts of the repetitions."""
    columns = {name: np.array([row[name] for row in counted]) for name in counted[0]}
    rates = []
    for statistic in STATISTICS:
        n_pairs = columns[f"n_pairs_{statistic}"]
        for p_value in P_VALUES:
            for level in levels:
                share = _share(columns[statistic, p_value, level], n_pairs, confidence_level)
                rates.append({"statistic": statistic, "p_value": p_value, "level": level}
                             | dict(share) | {"n_pairs": int(n_pairs.sum())})  # fmt: skip
    any_hit = int(np.count_nonzero(columns["n_hits"]))
    by_repeat = ("repeat", "n_compounds", "n_pairs_rate", "n_pairs_strength", "n_hits",
                 "n_compounds_with_hit")  # fmt: skip
    return FalsePositives(
        rates=columns_of(rates, False),
        any_hit=binomial_share(any_hit, len(counted), confidence_level),
        compound_hit=_share(
            columns["n_compounds_with_hit"], columns["n_compounds"], confidence_level
        ),
        mean_hits=float(columns["n_hits"].mean()),
        by_repeat={name: columns[name] for name in by_repeat},
        n_repeats=len(counted),
        n_compounds=int(columns["n_compounds"].sum()),
        n_control_units=controls.plate.shape[0],
        n_plates=controls.capacity.shape[0],
        smallest_p_value=float(columns["smallest_p_value"].max()),
        left_out=controls.left_out,
        fdr_level=fdr_level,
        confidence_level=confidence_level,
    )


def _share(counts, totals, confidence_level) -> Bunch:
    """Ratio of sums over repetitions with its t interval; NaN where nothing was counted."""
    if totals.sum() == 0:
        return Bunch(share=np.nan, low=np.nan, high=np.nan)
    n_repeats = counts.shape[0]
    share = counts.sum() / totals.sum()
    error = (counts - share * totals).std(ddof=1) / (np.sqrt(n_repeats) * totals.mean())
    half = error * stats.t.ppf((1 + confidence_level) / 2, n_repeats - 1)
    low, high = max(share - half, 0.0), min(share + half, 1.0)
    return Bunch(share=float(share), low=float(low), high=float(high))


def binomial_share(count: int, n_repeats: int, confidence_level: float) -> Bunch:
    """Share of the repetitions with Clopper and Pearson's interval."""
    low, high = stats.binomtest(count, n_repeats).proportion_ci(confidence_level, method="exact")
    return Bunch(share=count / n_repeats, low=float(low), high=float(high))
