"""What find_counterfactuals returns: tables of pairs and of concepts."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import columns_of, table
from skdict.genes._cell_rules import HALVES

_PAIR_COLUMNS = (
    "prototype",
    "counterfactual",
    "weight",
    "distance",
    "radius",
    "far",
    "depth_ratio",
    "code_prototype",
    "pre_prototype",
    "pre_counterfactual",
)


class Counterfactuals(Bunch):
    """Result of :func:`find_counterfactuals`; prints how many pairs there are and how close.

    See :func:`find_counterfactuals` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Table of the pairs.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            One row per pair; the columns are described in :func:`find_counterfactuals`.
        """
        columns = {"concept": self.concepts[self.position], "half": np.array(HALVES)[self.half]}
        return table(columns | {name: self[name] for name in _PAIR_COLUMNS}, as_frame)

    def summary(self, *, as_frame: bool = False):
        """Table with a row for each concept and half.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            concept, half : ndarray
                The concept, and "chosen" or "confirmation".
            n_active : ndarray of int
                Cells of the half that activate the concept.
            n_prototypes, n_dropped : ndarray of int
                Prototypes that have a counterfactual, and those that have none.
            dropped_by : ndarray of str
                The rules that left dropped prototypes without, with their number.
            n_counterfactuals : ndarray of int
                Distinct counterfactuals.
            n_effective : ndarray of float
                Effective number of them, 1 / sum of squared shares of the pairs: 1 where all
                prototypes have the same one.
            distance, depth_ratio : ndarray of float
                Medians over the pairs; the ratio is NaN without `depth`.
            far_share : ndarray of float
                Share of the pairs beyond the local neighbourhood.
        """
        rows = []
        for position in range(self.concepts.shape[0]):
            for half in range(len(HALVES)):
                rows.append(self._summary_row(position, half))
        found = columns_of(rows, as_frame)
        return found if as_frame else Bunch(**found)

    def _summary_row(self, position, half) -> dict:
        """One row of the summary."""
        pairs = (self.position == position) & (self.half == half)
        dropped = (self.dropped.position == position) & (self.dropped.half == half)
        reasons, times = np.unique(self.dropped.reason[dropped], return_counts=True)
        there = pairs.any()
        return {
            "concept": self.concepts[position],
            "half": HALVES[half],
            "n_active": self.n_active[position, half],
            "n_prototypes": np.unique(self.prototype[pairs]).shape[0],
            "n_dropped": np.count_nonzero(dropped),
            "dropped_by": ", ".join(f"{reason} {n}" for reason, n in zip(reasons, times)),
            "n_counterfactuals": np.unique(self.counterfactual[pairs]).shape[0],
            "n_effective": effective_number(self.counterfactual[pairs], self.weight[pairs]),
            "distance": np.median(self.distance[pairs]) if there else np.nan,
            "depth_ratio": np.median(self.depth_ratio[pairs]) if there else np.nan,
            "far_share": self.far[pairs].mean() if there else np.nan,
        }

    def __repr__(self):
        """Pairs, what was dropped, and how close the counterfactuals are."""
        found = self.summary()
        n_concepts = self.concepts.shape[0]
        empty = n_concepts - np.unique(self.position[self.half == 0]).shape[0]
        lines = [
            f"Counterfactuals of {n_concepts} concepts, {self.prototype.shape[0]} pairs",
            f"  concepts without a pair       {empty}",
            f"  prototypes dropped            {found.n_dropped.sum()} of "
            f"{found.n_dropped.sum() + found.n_prototypes.sum()}",
            f"  distance, median              {np.median(self.distance):.3g}; beyond the "
            f"neighbourhood {self.far.mean():.0%}",
            f"  effective counterfactuals     {np.nanmedian(found.n_effective):.3g} for "
            f"{np.median(found.n_prototypes):g} prototypes (medians)",
        ]
        if not np.isnan(self.depth_ratio).all():
            low, high = self.depth_ratio.min(), self.depth_ratio.max()
            lines.append(f"  depth ratio                   {low:.2g} to {high:.2g}")
        return "\n".join(lines)


def effective_number(cells, weights=None) -> float:
    """Effective number of distinct cells, 1 / sum of squared shares; NaN of none."""
    if len(cells) == 0:
        return np.nan
    share = np.bincount(np.unique(cells, return_inverse=True)[1], weights=weights)
    return float(share.sum() ** 2 / (share**2).sum())
