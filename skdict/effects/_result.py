"""What a screen found: hits, and summaries by perturbation and by concept."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch

from skdict._tables import table_of
from skdict._validation import check_real
from skdict.effects._table_test import STATISTICS, WITHIN_REACH


def _hits_of(effects, statistic: str, level: float) -> dict:
    """Columns of the hits of a screen in one statistic."""
    tests = effects[statistic]
    row, concept = np.nonzero(tests.tested & (tests.q_value <= level))
    return {
        "perturbation": effects.perturbations[row],
        "concept": concept,
        "statistic": np.full(row.size, statistic),
        "effect": tests.effect[row, concept],
        "z": tests.z[row, concept],
        "p_value": tests.tail_p_value[row, concept],
        "q_value": tests.q_value[row, concept],
    }


def _all_hits(effects, level: float) -> dict:
    """Columns of the hits in both statistics, the smallest q first."""
    check_real("level", level, 0, 1)
    parts = [_hits_of(effects, statistic, level) for statistic in STATISTICS]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((-np.abs(columns["z"]), columns["q_value"]))
    return {name: values[order] for name, values in columns.items()}


class DoseTrend(Bunch):
    """Tests of a trend over doses, a part of :class:`ConceptEffects`.

    Parameters
    ----------
    **kwargs : dict
        The entries; see :func:`concept_effects`.
    """

    def hits(self, level: float = 0.05, *, as_frame: bool = False):
        """Table of the pairs with a dose trend of a q-value of at most `level`.

        Parameters
        ----------
        level : float, default=0.05
            False-discovery rate over all pairs whose trend was tested and both statistics.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            One row per perturbation, concept and statistic, the smallest q first: perturbation,
            concept, statistic, effect (slope per step of dose), z, p_value, q_value.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1].
        """
        return table_of(_all_hits(self, level), as_frame)


class ConceptEffects(Bunch):
    """Result of :func:`concept_effects`; prints a summary of the design and of what was found.

    See :func:`concept_effects` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def hits(self, level: float = 0.05, *, as_frame: bool = False):
        """Table of the pairs of perturbation and concept with a q-value of at most `level`.

        Parameters
        ----------
        level : float, default=0.05
            False-discovery rate, over all pairs and both statistics.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            One row per perturbation, concept and statistic, the smallest q first: perturbation,
            concept, statistic ("rate" or "strength"), effect, z, p_value, q_value. With
            replication also replication_effect; replication_p_value, one-sided in the direction
            that was found (NaN where the held-out plates cannot test the pair);
            replication_q_value, adjusted over the hits; replicated, whether it is at most `level`.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1].
        """
        columns = _all_hits(self, level)
        if self.replication is not None:
            self._replicate(columns, level)
        return table_of(columns, as_frame)

    def by_perturbation(self, level: float = 0.05, *, as_frame: bool = False):
        """Summary of the hits of every perturbation.

        Parameters
        ----------
        level : float, default=0.05
            False-discovery rate, as in :meth:`hits`.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            One row per perturbation, most concepts first: perturbation, n_units, n_plates,
            rows_ratio (see :func:`concept_effects`), n_concepts (concepts with a hit), n_hits (a
            concept may be hit in both statistics), n_replicated (concepts, with replication),
            top_concept (-1 for none), smallest_q_value.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1].
        """
        found = self.hits(level)
        of = np.searchsorted(self.perturbations, found["perturbation"])
        columns = {
            "perturbation": self.perturbations,
            "n_units": self.n_units,
            "n_plates": self.n_plates,
            "rows_ratio": self.rows_ratio,
            **self._summary(found, of, found["concept"], self.perturbations.size, "concept"),
            "smallest_q_value": np.minimum(
                self.rate.q_value.min(axis=1), self.strength.q_value.min(axis=1)
            ),
        }
        return table_of(_sorted(columns, "n_concepts"), as_frame)

    def by_concept(self, level: float = 0.05, *, as_frame: bool = False):
        """Summary of the hits of every concept that has any.

        Parameters
        ----------
        level : float, default=0.05
            False-discovery rate, as in :meth:`hits`.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            One row per concept with a hit, most perturbations first: concept, n_perturbations,
            n_hits, n_replicated (perturbations, with replication), top_perturbation.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1].
        """
        found = self.hits(level)
        concepts, of = np.unique(found["concept"], return_inverse=True)
        other = np.searchsorted(self.perturbations, found["perturbation"])
        columns = {
            "concept": concepts,
            **self._summary(found, of, other, concepts.size, "perturbation"),
        }
        columns["top_perturbation"] = self.perturbations[columns["top_perturbation"]]
        return table_of(_sorted(columns, "n_perturbations"), as_frame)

    def dose_hits(self, level: float = 0.05, *, as_frame: bool = False):
        """Table of the pairs with a dose trend of a q-value of at most `level`.

        Parameters
        ----------
        level : float, default=0.05
            False-discovery rate over all pairs whose trend was tested and both statistics.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            As :meth:`hits` without replication; effect is the slope per step of dose.

        Raises
        ------
        ValueError
            If `level` is not in [0, 1], or no dose was given.
        """
        if self.dose_trend is None:
            raise ValueError("dose was not given to concept_effects, so that there is no trend")
        return self.dose_trend.hits(level, as_frame=as_frame)

    def _replicate(self, columns: dict, level: float) -> None:
        """Add what the held-out plates say about the hits."""
        other = self.replication
        effect, p_value = (np.full(columns["concept"].size, np.nan) for _ in range(2))
        for statistic in STATISTICS:
            tests = other[statistic]
            rows = np.flatnonzero(
                (columns["statistic"] == statistic)
                & np.isin(columns["perturbation"], other.perturbations)
            )
            place = np.searchsorted(other.perturbations, columns["perturbation"][rows])
            concept = columns["concept"][rows]
            effect[rows] = tests.effect[place, concept]
            p = tests.tail_p_value[place, concept]
            known = tests.z[place, concept] != 0
            if self.alternative == "two-sided":
                same = np.sign(tests.z[place, concept]) == np.sign(columns["z"][rows])
                p = np.where(same, p / 2, 1 - p / 2)
            p_value[rows] = np.where(known, p, np.nan)
        q_value = np.full(p_value.size, np.nan)
        known = ~np.isnan(p_value)
        if known.any():
            q_value[known] = false_discovery_control(p_value[known])
        columns["replication_effect"] = effect
        columns["replication_p_value"] = p_value
        columns["replication_q_value"] = q_value
        columns["replicated"] = q_value <= level

    def _summary(self, found, of, other, size: int, others: str) -> dict:
        """Counts over the hits `of` each row; `other` is what a hit is counted by."""
        pairs = np.unique(np.stack([of, other]), axis=1)[0]
        columns = {
            f"n_{others}s": np.bincount(pairs, minlength=size),
            "n_hits": np.bincount(of, minlength=size),
        }
        if self.replication is not None:
            kept = found["replicated"]
            pairs = np.unique(np.stack([of[kept], other[kept]]), axis=1)[0]
            columns["n_replicated"] = np.bincount(pairs, minlength=size)
        top = np.full(size, -1)
        top[of[::-1]] = other[::-1]  # hits are sorted, the first one is written last
        columns[f"top_{others}"] = top
        return columns

    def __repr__(self):
        """Summary: the design, the smallest p-values, what was left out, what was found."""
        found = self.hits()
        low, high = self.smallest_p_value.min(), self.smallest_p_value.max()
        smallest = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
        n_tested = sum(int(np.count_nonzero(self[name].tested)) for name in STATISTICS)
        lines = [
            f"ConceptEffects of {self.perturbations.size} perturbations x {self.n_concepts} "
            f"concepts, {self.n_permutations} permutations within plates",
            f"  units per perturbation      {_range(self.n_units)} on {_range(self.n_plates)} "
            f"plates, against {_range(self.n_control_units)} controls",
            f"  smallest p by permutation   {smallest}",
            f"  tests                       {n_tested} of rate and strength; out of reach of "
            f"p = {WITHIN_REACH:g}: {self.rate.n_out_of_reach + self.strength.n_out_of_reach}",
            f"  concepts never active       {self.never_active.size}",
            f"  left out                    {len(self.excluded['plate'])} perturbations on a plate",
            f"  hits, q <= 0.05             {found['concept'].size} of "
            f"{np.unique(found['perturbation']).size} perturbations and "
            f"{np.unique(found['concept']).size} concepts",
        ]
        if self.replication is not None:
            lines.append(
                f"  replicated, q <= 0.05       {np.count_nonzero(found['replicated'])} of "
                f"{np.unique(found['perturbation'][found['replicated']]).size} perturbations"
            )
        if self.dose_trend is not None:
            lines.append(
                f"  dose trends, q <= 0.05      {self.dose_hits()['concept'].size} over "
                f"{self.dose_trend.perturbations.size} perturbations"
            )
        return "\n".join(lines)


def _range(values) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _sorted(columns: dict, by: str) -> dict:
    """Columns with the largest of one of them first."""
    order = np.argsort(-columns[by], kind="stable")
    return {name: values[order] for name, values in columns.items()}
