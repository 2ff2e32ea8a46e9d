"""How many concepts stand for something known, beside what any directions would give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import norm, t
from sklearn.utils import Bunch

from skdict._tables import columns_of, table
from skdict._validation import check_integer, check_real


class InterpretableShare(Bunch):
    """Result of :func:`interpretable_share`; prints a line per kind.

    See :func:`interpretable_share` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Table with a row for each kind.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``kind``, ``n_runs``, ``n_live``, ``n_interpretable``, ``share``, ``low``,
            ``high``, ``run_low``, ``run_high`` and ``n_best_sets``.
        """
        names = ("n_runs", "n_live", "n_interpretable", "share", "low", "high", "run_low")
        columns = {"kind": self.kinds} | {name: self[name] for name in names}
        columns |= {"run_high": self.run_high, "n_best_sets": self.n_best_sets}
        return table(columns, as_frame)

    def differences(self, reference, *, as_frame: bool = False):
        """How far the share of each kind is above that of a reference, such as random directions.

        Parameters
        ----------
        reference : str
            The kind to compare with.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``kind``, ``difference``, ``low``, ``high`` (Newcombe's interval from the two
            of Wilson), and ``run_low``, ``run_high`` (Welch's interval over runs; NaN unless both
            kinds have two runs or more). The reference itself is left out.

        Raises
        ------
        ValueError
            If there is no such kind.
        """
        kinds = self.kinds.tolist()
        if reference not in kinds:
            raise ValueError(f"reference must be one of {kinds}, got {reference!r}")
        j = kinds.index(reference)
        rows = []
        for i, kind in enumerate(kinds):
            if i != j:
                low, high = self._newcombe(i, j)
                run_low, run_high = self._welch(i, j)
                rows.append({"kind": kind, "difference": self.share[i] - self.share[j], "low": low,
                             "high": high, "run_low": run_low, "run_high": run_high})  # fmt: skip
        if not rows:
            raise ValueError(f"there is no other kind than the reference {reference!r}")
        found = columns_of(rows, as_frame)
        return found if as_frame else Bunch(**found)

    def _newcombe(self, i: int, j: int) -> tuple[float, float]:
        """Interval of the difference of two shares."""
        first, second = self.share[i], self.share[j]
        down = np.hypot(first - self.low[i], self.high[j] - second)
        up = np.hypot(self.high[i] - first, second - self.low[j])
        return float(first - second - down), float(first - second + up)

    def _welch(self, i: int, j: int) -> tuple[float, float]:
        """Interval of the difference of two means over runs."""
        first, second = self.run_shares[i], self.run_shares[j]
        if min(first.size, second.size) < 2:
            return np.nan, np.nan
        errors = np.array([part.var(ddof=1) / part.size for part in (first, second)])
        difference = first.mean() - second.mean()
        if not errors.sum():
            return float(difference), float(difference)
        freedom = errors.sum() ** 2 / (errors[0] ** 2 / (first.size - 1)
                                       + errors[1] ** 2 / (second.size - 1))  # fmt: skip
        width = t.ppf((1 + self.confidence_level) / 2, freedom) * np.sqrt(errors.sum())
        return float(difference - width), float(difference + width)

    def __repr__(self):
        """Summary: a line per kind."""
        lines = [
            f"InterpretableShare at q <= {self.level:g}, of live concepts "
            f"({100 * self.confidence_level:.4g}% intervals)"
        ]
        for i, kind in enumerate(self.kinds):
            runs = "" if self.n_runs[i] == 1 else f" in {self.n_runs[i]} runs"
            lines.append(
                f"  {kind:<20} {self.share[i]:.3f} ({self.low[i]:.3f} to {self.high[i]:.3f})  "
                f"{self.n_interpretable[i]} of {self.n_live[i]}{runs}, "
                f"{self.n_best_sets[i]:g} different best sets"
            )
        return "\n".join(lines)


def interpretable_share(
    enrichment, *, level: float = 0.05, live=None, confidence_level: float = 0.95
) -> InterpretableShare:
    r"""Share of the concepts that at least one gene set is enriched in, by kind of concept.

    That a concept has an enriched set does not say that it was worth learning. Genes go
    together in pathways, so that *any* direction of an embedding has some: the share is worth what
    it exceeds that of random directions (and of an untrained embedding) taken through the
    identical pipeline, with equal numbers of prototypes and genes, the same cut-offs, sets and
    level. Neurons and the factors of PCA, ICA and NMF are what a dictionary has to beat. Permuted
    names of genes only show that the test holds its level.

    Parameters
    ----------
    enrichment : dict of str to result, or of str to sequence of results
        For each kind ("concepts", "neurons", "random", ...) what :func:`over_representation` or
        :func:`prerank` returned, or one result per run (seed).
    level : float, default=0.05
        Largest q-value, over all concepts and sets of the kind.
    live : dict of str to int, or of str to sequence of int, or None, default=None
        Number of live concepts for kinds (and runs) of which not all were tested: what the
        interpretable ones are divided by. None, or a kind left out, takes all concepts of the
        result. A live concept without a single gene counts as not interpretable.
    confidence_level : float, default=0.95
        Level of the intervals.

    Returns
    -------
    InterpretableShare
        A Bunch that prints a summary, with methods ``table`` and ``differences``:

        kinds : ndarray of str, shape (n_kinds,)
            The kinds, as given.
        share : ndarray of float, shape (n_kinds,)
            Interpretable concepts over live concepts, all runs together.
        low, high : ndarray of float, shape (n_kinds,)
            Wilson's interval of `share`. It takes concepts as independent, which those of one
            dictionary are not quite and those of several runs still less.
        run_shares : list of ndarray of float
            For each kind the share of each run.
        run_low, run_high : ndarray of float, shape (n_kinds,)
            Student's interval of their mean; NaN for a single run.
        n_interpretable, n_live, n_runs : ndarray of int, shape (n_kinds,)
            What was counted, over all runs.
        n_best_sets : ndarray of float, shape (n_kinds,)
            Different sets among the best sets of the interpretable concepts, in the mean over runs.
            A high share with few of them says one thing many times.
        level, confidence_level : float
            As given.

    Raises
    ------
    TypeError
        If `enrichment` is no dict, or a result is none of the two.
    ValueError
        If there is no result, or fewer live than interpretable concepts.

    See Also
    --------
    baseline_concepts : Neurons, factors and random directions as concepts.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import interpretable_share, over_representation
    >>> rng = np.random.default_rng(0)
    >>> genes = np.array([f"gene{i}" for i in range(200)])
    >>> sets = {f"set{k}": genes[20 * k : 20 * k + 20] for k in range(10)}
    >>> learned = np.zeros((8, 200), dtype=bool)
    >>> for k in range(8):
    ...     learned[k, rng.choice(np.arange(20 * k, 20 * k + 20), 12, replace=False)] = True
    >>> random = rng.permuted(learned, axis=1)
    >>> found = {
    ...     "concepts": over_representation(learned, sets, genes=genes),
    ...     "permuted genes": over_representation(learned, sets, genes=rng.permutation(genes)),
    ...     "random": over_representation(random, sets, genes=genes),
    ... }
    >>> share = interpretable_share(found)
    >>> share.share.round(2).tolist(), share.n_best_sets.tolist()
    ([1.0, 0.0, 0.0], [8.0, 0.0, 0.0])
    >>> bool(share.differences("random").low[0] > 0.5)
    True
    """
    check_real("level", level, 0, 1)
    check_real("confidence_level", confidence_level, 0, 1, open_low=True)
    if confidence_level == 1:
        raise ValueError(f"confidence_level must be less than 1, got {confidence_level!r}")
    runs = _read_runs(enrichment)
    counted = {kind: [_interpretable(result, level) for result in runs[kind]] for kind in runs}
    n_live = _read_live(live, runs)
    rows = []
    for kind, found in counted.items():
        n_found, best = (np.array(column) for column in zip(*found))
        if (n_found > n_live[kind]).any():
            run = int(np.flatnonzero(n_found > n_live[kind])[0])
            raise ValueError(
                f"live[{kind!r}] must be at least the {n_found[run]} interpretable concepts of run "
                f"{run}, got {n_live[kind][run]}"
            )
        rows.append((n_found, n_live[kind], best))
    shares = [n_found / n for n_found, n, _ in rows]
    totals = np.array([(n_found.sum(), n.sum()) for n_found, n, _ in rows])
    low, high = wilson_interval(totals[:, 0], totals[:, 1], confidence_level)
    run_low, run_high = _student_intervals(shares, confidence_level)
    return InterpretableShare(
        kinds=np.array(list(runs)),
        share=totals[:, 0] / totals[:, 1],
        low=low,
        high=high,
        run_shares=shares,
        run_low=run_low,
        run_high=run_high,
        n_interpretable=totals[:, 0],
        n_live=totals[:, 1],
        n_runs=np.array([part.size for part in shares]),
        n_best_sets=np.array([best.mean() for _, _, best in rows]),
        level=float(level),
        confidence_level=float(confidence_level),
    )


def wilson_interval(n_found, n_all, confidence_level: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of shares.

    Parameters
    ----------
    n_found, n_all : ndarray of int
        Counts, and what they are counted among.
    confidence_level : float
        Level.

    Returns
    -------
    low, high : ndarray of float
        The limits.
    """
    z = norm.ppf((1 + confidence_level) / 2)
    share, weight = n_found / n_all, z**2 / n_all
    center = (share + weight / 2) / (1 + weight)
    width = z * np.sqrt(share * (1 - share) / n_all + weight / (4 * n_all)) / (1 + weight)
    # rounding must not leave a share of none or all outside
    return np.clip(np.minimum(center - width, share), 0, 1), np.clip(
        np.maximum(center + width, share), 0, 1
    )


def _read_runs(enrichment) -> dict:
    """Results of each kind as lists."""
    if not isinstance(enrichment, Mapping) or hasattr(enrichment, "significant"):
        raise TypeError(
            "enrichment must be a dict of kinds to results of over_representation or prerank, got "
            f"{type(enrichment).__name__}"
        )
    runs = {}
    for kind, results in enrichment.items():
        runs[str(kind)] = [results] if hasattr(results, "significant") else list(results)
        wrong = [result for result in runs[str(kind)] if not hasattr(result, "significant")]
        if wrong:
            raise TypeError(
                f"enrichment[{kind!r}] must hold results of over_representation or prerank, got "
                f"{type(wrong[0]).__name__}"
            )
    if not runs or not all(runs.values()):
        raise ValueError("enrichment must hold at least one kind, and each a result at least")
    return runs


def _read_live(live, runs) -> dict:
    """Live concepts of each kind and run."""
    unknown = sorted(set(live or {}) - set(runs))
    if unknown:
        raise ValueError(f"live names {unknown[0]!r}, but enrichment has {sorted(runs)}")
    found = {}
    for kind, results in runs.items():
        given = (live or {}).get(kind)
        numbers = [len(r.concepts) for r in results] if given is None else np.ravel(given).tolist()
        if len(numbers) != len(results):
            raise ValueError(
                f"live[{kind!r}] must have a number for each of {len(results)} runs, got {given!r}"
            )
        for number in numbers:
            check_integer(f"live[{kind!r}]", number, 1)
        found[kind] = np.array(numbers)
    return found


def _interpretable(result, level) -> tuple[int, int]:
    """Number of concepts with a set, and of different best sets among them."""
    concept, gene_set = result.significant(level)  # by ascending p-value: the first is the best
    first = np.unique(concept, return_index=True)[1]
    return first.size, np.unique(gene_set[first]).size


def _student_intervals(shares, confidence_level) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval of the mean over runs; NaN for one run."""
    limits = np.full((2, len(shares)), np.nan)
    for i, runs in enumerate(shares):
        if runs.size > 1:
            width = t.ppf((1 + confidence_level) / 2, runs.size - 1)
            width *= runs.std(ddof=1) / np.sqrt(runs.size)
            limits[:, i] = runs.mean() - width, runs.mean() + width
    return limits[0], limits[1]
