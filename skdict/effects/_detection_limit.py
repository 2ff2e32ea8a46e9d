"""Which strength of an effect a screen would have found: directions planted in controls."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import isotonic_regression
from sklearn.utils import Bunch, check_random_state

from skdict._tables import columns_of, table_of
from skdict._units import Resampling
from skdict._validation import check_control, check_integer, check_real, check_same_length
from skdict.effects._planting import Planting, check_directions, replace_rows
from skdict.effects._pseudo_compounds import binomial_share
from skdict.effects._relabel import (
    Screen,
    check_transformer,
    encode,
    read_controls,
    read_rows,
)

PLANTED = 0


class DetectionLimit(Bunch):
    """Result of :func:`detection_limit`; prints the limit of each pipeline with its interval.

    See :func:`detection_limit` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Power curves: one row per pipeline, prevalence and strength.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            Columns ``pipeline``, ``prevalence``, ``strength``, ``n_repeats``, ``n_detected``,
            ``power`` (their ratio), ``low`` and ``high`` (Clopper and Pearson's interval),
            ``false_share`` (share of the repetitions with a hit of a pseudo-compound without
            effect) and ``false_discovery`` (mean share of these among the hits).
        """
        rows = []
        for place in np.ndindex(self.detected.shape[:3]):
            found = binomial_share(
                int(self.detected[place].sum()), self.n_repeats, self.confidence_level
            )
            rows.append({
                "pipeline": self.pipelines[place[0]],
                "prevalence": self.prevalences[place[1]],
                "strength": self.strengths[place[2]],
                "n_repeats": self.n_repeats,
                "n_detected": int(self.detected[place].sum()),
                "power": found.share, "low": found.low, "high": found.high,
                "false_share": float((self.n_false[place] > 0).mean()),
                "false_discovery": float(self.false_discovery[place].mean()),
            })  # fmt: skip
        return columns_of(rows, as_frame)

    def limits(self, *, as_frame: bool = False):
        """Limits of detection: one row per pipeline and prevalence.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            Columns ``pipeline``, ``prevalence``, ``limit``, ``low`` and ``high``.
        """
        names, prevalences = np.meshgrid(self.pipelines, self.prevalences, indexing="ij")
        columns = {"pipeline": names.ravel(), "prevalence": prevalences.ravel()}
        columns |= {"limit": self.limit.ravel(), "low": self.limit_low.ravel()}
        return table_of(columns | {"high": self.limit_high.ravel()}, as_frame)

    def __repr__(self):
        """Summary: what was planted how often, and the limits."""
        lines = [
            f"DetectionLimit from {self.n_repeats} relabellings of {self.n_control_units} control "
            f"units on {self.n_plates} plates",
            f"  strength found in {100 * self.power:g}% of them at q <= {self.fdr_level:g}, with "
            f"{100 * self.confidence_level:g}% interval; planted {self.strengths[0]:g} to "
            f"{self.strengths[-1]:g}",
        ]
        if self.left_out.size:
            lines.append(f"  plates with too few controls: {self.left_out.size}")
        columns = self.limits()
        for i, name in enumerate(columns["pipeline"]):
            what = f"{name}, {100 * columns['prevalence'][i]:g}% of the rows"
            limit, low, high = (self._word(columns[key][i]) for key in ("limit", "low", "high"))
            lines.append(f"  {what:<34} {limit} ({low} to {high})")
        return "\n".join(lines)

    def _word(self, limit) -> str:
        """Limit as text: the ends of the grid say no more than on which side it lies."""
        if np.isinf(limit):
            return f"> {self.strengths[-1]:g}"
        return f"<= {limit:g}" if limit == self.strengths[0] else f"{limit:.3g}"


def detection_limit(
    X,
    control,
    plate,
    pipelines,
    *,
    units=None,
    fit_rows=None,
    strengths=(1.0, 2.0, 4.0, 8.0, 16.0),
    prevalences=(1.0,),
    directions=None,
    n_repeats: int = 20,
    n_units_per_plate: int = 4,
    n_compounds: int | None = None,
    n_plates_per_compound: int | None = None,
    fdr_level: float = 0.05,
    power: float = 0.8,
    confidence_level: float = 0.95,
    n_resamples: int = 1000,
    random_state=None,
    verbose: int = 0,
    **screen,
) -> DetectionLimit:
    r"""Plant effects of graded strength in held-out controls and count those that are found.

    In each repetition :func:`pseudo_compounds` relabels control units, and a direction u is drawn
    from the unit sphere of the standardised features. To a share of the rows x of the first
    pseudo-compound an effect is added,

    .. math:: x \mapsto x + s\,\sigma_u\,D u ,

    with the strength s, the standard deviations D of the features among control rows
    within plates, and that of the standardised rows along u, :math:`\sigma_u`. Rows are encoded and
    screened by :func:`concept_effects`. The effect is found if the compound has a hit. Draws and
    seeds are the same for all pipelines and strengths.

    Parameters
    ----------
    X : array-like, shape (n_rows, n_features)
        Embeddings, dense. Only control rows are used.
    control : array-like of bool, shape (n_rows,), or None
        True where a row is a control; None takes all rows.
    plate : array-like, shape (n_rows,)
        Plate of each row.
    pipelines : dict of str to transformer or None
        Fitted transformers, each coding every row by itself; None takes the rows as they are.
    units : array-like, shape (n_rows,), or None, default=None
        Independent unit of each row (the well of a cell); None makes every row a unit.
    fit_rows : array-like of bool, shape (n_rows,), or None, default=None
        True for the rows that the pipelines were fitted on. Their controls are left out. With
        None all controls are used, and the limit is optimistic if the pipelines know them.
    strengths : sequence of float, default=(1.0, 2.0, 4.0, 8.0, 16.0)
        Strengths s >= 0; 0 shows how often nothing is found.
    prevalences : sequence of float in (0, 1], default=(1.0,)
        Shares of the compound's rows that are changed, drawn at random, at least one row. With
        one row per unit these are shares of its units.
    directions : array-like, shape (n_directions, n_features), or None, default=None
        Directions D u in the space of X, of any length, taken in turn: differences of the means of
        reference compounds and controls, say. None draws them at random.
    n_repeats : int, default=20
        Number of relabellings, at least 2. The interval of a power of 0.8 is about 0.35 wide
        with 20 and 0.16 with 100.
    n_units_per_plate, n_compounds, n_plates_per_compound
        As in :func:`pseudo_compounds`. Power depends on all three: use those of the real screen.
        With `held_out` a pseudo-compound must lie on plates of both kinds.
    fdr_level : float in [0, 1], default=0.05
        Pairs with a q-value of at most this are hits. With held-out plates only replicated hits
        count.
    power : float in (0, 1], default=0.8
        Share of repetitions in which the effect at the limit is found.
    confidence_level : float in (0, 1), default=0.95
        Level of the intervals.
    n_resamples : int, default=1000
        Resamples of the repetitions for the interval of the limit.
    random_state : int, RandomState instance or None, default=None
        Draws units, directions, permutations and resamples.
    verbose : int, default=0
        Print a line per repetition.
    **screen : dict
        Further arguments of :func:`concept_effects`: n_permutations, active and so on.

    Returns
    -------
    DetectionLimit
        A Bunch that prints a summary, with the methods ``table`` (power curves) and ``limits``:

        pipelines, prevalences, strengths : ndarray
            What was compared; strengths sorted.
        detected : ndarray of bool, shape (n_pipelines, n_prevalences, n_strengths, n_repeats)
            Where the effect was found.
        n_false : ndarray of int, of the same shape
            Hits of pseudo-compounds without effect.
        false_discovery : ndarray of float, of the same shape
            Share of `n_false` among all hits; 0 without hits.
        limit, limit_low, limit_high : ndarray, shape (n_pipelines, n_prevalences)
            Limit of detection with its interval: the smallest strength at which the power reaches
            `power`, interpolated between the strengths tested (between their logarithms, unless
            one is 0); the smallest of them where the power is there at once, ``inf`` where it is
            never reached.
        sigma : ndarray, shape (n_repeats,)
            The :math:`\sigma_u` of each repetition.
        power, fdr_level, confidence_level, n_repeats
            As given.
        n_control_units, n_plates : int
            Control units and plates used.
        left_out : ndarray
            Plates with too few control units.

    Raises
    ------
    ValueError
        If a parameter is out of range, lengths differ, X is not finite, no control row is left
        outside `fit_rows`, or no plate has enough control units.
    TypeError
        If X is sparse, `pipelines` is no dict or one lacks ``transform``, or the screen does not
        know an argument.

    See Also
    --------
    false_positive_rate : How often nothing is found to be something.
    skdict.display.PowerCurveDisplay : Draws the result.

    Notes
    -----
    The power curve is made monotone (isotonic regression) before the limit is read. The interval
    of the limit is a percentile interval over resampled repetitions: it covers the draw of units
    and directions among these controls, not other controls.

    `false_share` of the table may exceed `fdr_level` where the planted effect has many hits: the
    false-discovery rate allows false hits beside true ones. It is `false_discovery` that should be
    no more than `fdr_level`.

    A hit of the changed compound counts whichever concept it is: a random direction belongs to
    none. In d features it moves each by about :math:`s / \sqrt{d}` standard deviations, which is
    why strengths far above 1 may be missed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import detection_limit
    >>> X = np.random.default_rng(0).normal(size=(48, 5))
    >>> limit = detection_limit(
    ...     X, None, np.repeat(["p1", "p2"], 24), {"raw": None}, strengths=[0, 20],
    ...     n_repeats=5, n_permutations=199, random_state=0,
    ... )
    >>> limit.table()["n_detected"]
    array([0, 5])
    """
    X = read_rows(X)
    check_same_length(X=X, plate=plate)
    _check_pipelines(pipelines)
    strengths, prevalences = _check_grid(strengths, prevalences)
    resampling = Resampling.checked(n_resamples, confidence_level, None)
    check_integer("n_repeats", n_repeats, 2)
    check_real("fdr_level", fdr_level, 0, 1)
    check_real("power", power, 0, 1, open_low=True)
    controls = read_controls(
        _held_out(control, fit_rows, X.shape[0]),
        plate,
        units,
        n_units_per_plate=n_units_per_plate,
        n_compounds=n_compounds,
        n_plates_per_compound=n_plates_per_compound,
    )
    planting = Planting.of(X, controls, check_directions(directions, X.shape[1]))
    screener = Screen(plate, units, controls, fdr_level, screen)
    trial = _Trial(pipelines, planting, strengths, prevalences, screener)
    rng = check_random_state(random_state)
    hits, false, sigma = trial.repeat(controls, n_repeats, rng, verbose)
    limit, low, high = _limits(hits > 0, strengths, power, resampling, rng)
    return DetectionLimit(
        pipelines=np.array([str(name) for name in pipelines]),
        prevalences=prevalences,
        strengths=strengths,
        detected=hits > 0,
        n_false=false,
        false_discovery=false / np.maximum(hits + false, 1),
        limit=limit,
        limit_low=low,
        limit_high=high,
        sigma=sigma,
        power=power,
        fdr_level=fdr_level,
        confidence_level=confidence_level,
        n_repeats=n_repeats,
        n_control_units=controls.plate.shape[0],
        n_plates=controls.capacity.shape[0],
        left_out=controls.left_out,
    )


def _check_pipelines(pipelines) -> None:
    """Raise TypeError unless `pipelines` is a dict of transformers."""
    if not isinstance(pipelines, dict) or not pipelines:
        raise TypeError(
            "pipelines must be a dict of a name to a fitted transformer or None, for example "
            f'{{"raw": None, "icfl": pipeline}}, got {pipelines!r}'
        )
    for name, pipeline in pipelines.items():
        check_transformer(f"pipelines[{name!r}]", pipeline)


def _check_grid(strengths, prevalences) -> tuple[np.ndarray, np.ndarray]:
    """Sorted strengths, and prevalences as given."""
    grid = []
    for name, values in (("strengths", strengths), ("prevalences", prevalences)):
        values = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if values.ndim != 1 or values.size == 0 or np.unique(values).size < values.size:
            raise ValueError(f"{name} must hold at least one number, none twice, got {values}")
        grid.append(values)
    strengths, prevalences = np.sort(grid[0]), grid[1]
    if not (np.isfinite(strengths) & (strengths >= 0)).all():
        raise ValueError(f"strengths must be finite numbers >= 0, got {grid[0].tolist()}")
    if not ((prevalences > 0) & (prevalences <= 1)).all():
        raise ValueError(f"prevalences must be in (0, 1], got {prevalences.tolist()}")
    return strengths, prevalences


def _held_out(control, fit_rows, n_rows: int) -> np.ndarray:
    """Control rows that the pipelines were not fitted on."""
    rows = check_control(control, n_rows)
    if fit_rows is None:
        return rows
    mask = np.asarray(fit_rows)
    if mask.shape != (n_rows,) or mask.dtype != np.bool_:
        raise ValueError(
            f"fit_rows must be a boolean mask of shape ({n_rows},), True for rows that the "
            f"pipelines were fitted on, got shape {mask.shape} and dtype {mask.dtype}"
        )
    held_out = rows[~mask[rows]]
    if held_out.size == 0:
        raise ValueError(
            f"fit_rows must leave some of the {rows.size} control rows out, but the pipelines were "
            "fitted on all of them; fit on other plates, or pass fit_rows=None for a limit that "
            "is optimistic"
        )
    return held_out


class _Trial:
    """Plants one effect at all strengths and prevalences, and screens each with every pipeline."""

    def __init__(self, pipelines, planting, strengths, prevalences, screen):
        self.pipelines, self.planting = pipelines, planting
        self.strengths, self.prevalences, self.screen = strengths, prevalences, screen
        # Rows are coded one by one, so that only changed ones are coded again.
        self.unchanged = {
            name: encode(pipeline, planting.rows()) for name, pipeline in pipelines.items()
        }

    def repeat(self, controls, n_repeats, rng, verbose):
        """Hits as :meth:`run` has them, repetitions last, and the sigma of each repetition."""
        shape = (len(self.pipelines), self.prevalences.size, self.strengths.size, n_repeats)
        hits, false = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        sigma = np.zeros(n_repeats)
        for repeat in range(n_repeats):
            effect, sigma[repeat] = self.planting.effect(repeat, rng)
            hits[..., repeat], false[..., repeat] = self.run(controls.draw(rng), effect, rng)
            if verbose:
                n_found = np.count_nonzero(hits[..., repeat])
                print(
                    f"[detection_limit] relabelling {repeat + 1} of {n_repeats}: found {n_found} "
                    f"of {np.prod(shape[:3])} planted effects"
                )
        return hits, false, sigma

    def run(self, drawn, effect, rng) -> tuple[np.ndarray, np.ndarray]:
        """Hits of the planted compound and of the others, (pipelines, prevalences, strengths)."""
        compound = rng.permutation(np.flatnonzero(drawn.compound == PLANTED))
        seed = rng.randint(2**31 - 1)
        changed = self.planting.rows(drawn.places[compound], self.strengths, effect)
        shape = (len(self.pipelines), self.prevalences.shape[0], self.strengths.shape[0])
        hits, false = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for i, (name, pipeline) in enumerate(self.pipelines.items()):
            unchanged = self.unchanged[name][drawn.places]
            codes = encode(pipeline, changed)
            for j, k in np.ndindex(shape[1:]):
                size = max(1, round(self.prevalences[j] * compound.shape[0]))
                start = k * compound.shape[0]
                planted = replace_rows(unchanged, compound[:size], codes[start : start + size])
                result = self.screen.run(planted, drawn, seed)
                found = self.screen.hits_by_compound(result, drawn.n_compounds)
                hits[i, j, k], false[i, j, k] = found[PLANTED], found.sum() - found[PLANTED]
        return hits, false


def _limits(detected, strengths, power, resampling, rng):
    """Limit of every pipeline and prevalence, and its interval over resampled repetitions."""
    n_repeats = detected.shape[-1]
    weights = rng.multinomial(n_repeats, np.full(n_repeats, 1 / n_repeats), resampling.n_resamples)
    limit, low, high = (np.empty(detected.shape[:2]) for _ in range(3))
    tail = (1 - resampling.confidence_level) / 2
    for place in np.ndindex(detected.shape[:2]):
        found = detected[place].astype(np.float64)
        limit[place] = _limit(found.mean(axis=-1), strengths, power)
        curves, index = np.unique(weights @ found.T / n_repeats, axis=0, return_inverse=True)
        drawn = np.array([_limit(curve, strengths, power) for curve in curves])[index.ravel()]
        # Order statistics: a quantile between a number and inf has no value.
        drawn.sort()
        rank = int(np.floor(tail * drawn.size))
        low[place], high[place] = drawn[rank], drawn[drawn.size - 1 - rank]
    return limit, low, high


def _limit(curve, strengths, power) -> float:
    """Smallest strength at which a power curve, made monotone, reaches `power`."""
    smooth = isotonic_regression(curve, y_min=0.0, y_max=1.0)
    reached = np.flatnonzero(smooth >= power - 1e-9)
    if reached.size == 0:
        return np.inf
    i = reached[0]
    if i == 0:
        return float(strengths[0])
    step = min((power - smooth[i - 1]) / (smooth[i] - smooth[i - 1]), 1.0)
    low, high = strengths[i - 1], strengths[i]
    # as the curve is drawn: on a logarithmic axis unless a strength is 0
    if strengths[0] > 0:
        return float(low * (high / low) ** step)
    return float(low + step * (high - low))
