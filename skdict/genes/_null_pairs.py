"""Null pairs: two cells that both activate the concept, as far apart as prototype and partner."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._tables import columns_of
from skdict._validation import check_integer, check_real
from skdict.genes._concepts import check_embeddings
from skdict.genes._counterfactuals import Counterfactuals, effective_number
from skdict.genes._counts import Counts
from skdict.genes._nearest import Distances
from skdict.genes._pairs import codes_of

# Well matched candidates among which null partners are drawn, per null set; and how many times
# as many are compared gene by gene, which is what takes time.
_POOL, _SHORTLIST = 3, 4
# Columns of the null pairs and their types.
_COLUMNS = {
    "position": np.intp,
    "set": np.intp,
    "prototype": np.intp,
    "counterfactual": np.intp,
    "weight": np.float64,
    "distance_ratio": np.float64,
    "differing_ratio": np.float64,
    "level_ratio": np.float64,
}
# Fewest cells among which the partners of a prototype are drawn.
_FEWEST = 3


class NullCounterfactuals(Bunch):
    """Result of :func:`null_counterfactuals`; prints how well the null pairs match.

    See :func:`null_counterfactuals` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def summary(self, *, as_frame: bool = False):
        """Table with a row for each concept: how null pairs compare with the pairs they replace.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            concept : ndarray of int
                The concept.
            distance_ratio, differing_ratio : ndarray of float
                Median over the null pairs of their distance, and of the number of genes in which
                they differ, over that of the pair that they replace.
            level_ratio : ndarray of float
                Median of the partner's code over that of the prototype.
            n_effective : ndarray of float
                Mean over the null sets of the effective number of distinct partners.
            reason : ndarray of str
                Why the concept has no null pairs; empty where it has.
        """
        rows = []
        for position, concept in enumerate(self.concepts):
            pairs = self.position == position
            numbers = [
                effective_number(self.counterfactual[pairs & (self.set == number)])
                for number in range(self.n_null)
            ]
            row = {"concept": concept}
            for name in ("distance_ratio", "differing_ratio", "level_ratio"):
                row[name] = np.median(self[name][pairs]) if pairs.any() else np.nan
            row["n_effective"] = np.mean(numbers)
            row["reason"] = self.reason[position]
            rows.append(row)
        found = columns_of(rows, as_frame)
        return found if as_frame else Bunch(**found)

    def __repr__(self):
        """Null sets, and how well they match over all concepts."""
        without = np.count_nonzero(self.reason != "")
        lines = [
            f"NullCounterfactuals of {self.concepts.shape[0]} concepts, {self.n_null} null sets",
            f"  concepts without              {without}",
        ]
        if self.position.shape[0]:
            for name, words in (
                ("distance_ratio", "distance, null / pairs"),
                ("differing_ratio", "genes that differ"),
                ("level_ratio", "code, partner / prototype"),
            ):
                low, middle, high = np.quantile(self[name], [0.1, 0.5, 0.9])
                lines.append(f"  {words:<29} {middle:.2f} (80% between {low:.2f} and {high:.2f})")
        return "\n".join(lines)


def null_counterfactuals(
    pairs: Counterfactuals,
    X,
    embeddings,
    model,
    *,
    codes=None,
    n_null: int = 10,
    min_level: float = 0.0,
    random_state=None,
) -> NullCounterfactuals:
    """Draw null pairs: each counterfactual replaced by a cell that activates the concept as well.

    What an exchange between a prototype and its counterfactual changes has two parts: that one of
    them activates the concept and the other does not, and that they are two cells some way
    apart. Null pairs have the second part only. Each null set keeps the prototypes that were
    chosen and gives each another partner, which

    * activates the concept, at a level as close to the prototype's as may be;
    * is about as far away, and differs in about as many genes, as the counterfactual;
    * lies in the same half of the units and keeps the rules of the pairs (batch, cell type,
      depth).

    Prototypes that share a counterfactual share their null partner, so that a null set has
    about as many distinct partners as the pairs have. The same null pairs serve codes and
    pre-activations.

    Parameters
    ----------
    pairs : Counterfactuals
        The pairs; null pairs are made for the half where prototypes were chosen.
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Counts, for the number of genes in which cells differ.
    embeddings : array-like or tensor, shape (n_cells, n_features)
        Embeddings of the cells.
    model : DictionaryConcepts or DirectionConcepts
        What turns embeddings into activations.
    codes : sparse or array-like, shape (n_cells, `model.n_concepts`), or None, default=None
        Codes of the cells where they are there already.
    n_null : int, default=10
        Number of null sets, at least 2. Every set costs as many forward passes as the pairs do;
        the smallest p-value is about 1 / (`n_null` x genes that change anything).
    min_level : float, default=0.0
        Smallest code of a null partner, relative to that of the prototype. Prototypes have the
        largest codes of all, so that there may be few partners at their level; with 0 the
        level counts in the match as much as the distance.
    random_state : int, RandomState instance or None, default=None
        Draws the partners among the best matched cells.

    Returns
    -------
    NullCounterfactuals
        A Bunch with a method ``summary()``. Entries with one value per null pair:

        position : ndarray of int
            Place of the concept in ``pairs.concepts``.
        set : ndarray of int
            Null set, 0 to `n_null` - 1.
        prototype, counterfactual : ndarray of int
            The cells; both activate the concept.
        weight : ndarray of float
            As in `pairs`.
        distance_ratio, differing_ratio, level_ratio : ndarray of float
            Distance and number of differing genes over those of the pair that is replaced, and
            code of the partner over that of the prototype.

        And beside these:

        concepts : ndarray of int, shape (n_concepts,)
            The concepts.
        reason : ndarray of str, shape (n_concepts,)
            Why a concept has no null pairs: fewer than 3 cells qualify for some prototype, or
            there is no pair. Empty where it has.
        n_null : int
            Number of null sets.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is out of range.

    See Also
    --------
    attribute_genes : Compares attributions with those of null pairs.

    Notes
    -----
    The comparison is fair where null partners match well: look at ``summary()``. Cells that
    activate a concept often lie closer together than the nearest cell that does not; a distance
    ratio well below 1 makes the null too narrow.

    Partners are less active than prototypes, which are the most active cells of all. So drivers
    have a null mean above zero, and stand out somewhat less than they could.
    """
    check_integer("n_null", n_null, 2)
    check_real("min_level", min_level, 0, 1)
    counts, embeddings = Counts(X), check_embeddings(embeddings)
    if not counts.n_cells == embeddings.shape[0] == pairs.rules.half.shape[0]:
        raise ValueError(
            "X, embeddings and the cells of pairs must be the same, got "
            f"{counts.n_cells}, {embeddings.shape[0]} and {pairs.rules.half.shape[0]} cells"
        )
    codes = codes_of(codes, model, embeddings, pairs.concepts)
    rng = check_random_state(random_state)
    matcher = _Matcher(pairs, counts, Distances(embeddings, pairs.settings["metric"]))
    rows, reasons = [], []
    for position in range(pairs.concepts.shape[0]):
        column = slice(codes.indptr[position], codes.indptr[position + 1])
        groups, reason = matcher.groups(
            position, codes.indices[column], codes.data[column], n_null, min_level
        )
        reasons.append(reason)
        if not reason:
            rows += _drawn(pairs, groups, position, n_null, rng)
    columns = {
        name: np.array([row[number] for row in rows], dtype=dtype)
        for number, (name, dtype) in enumerate(_COLUMNS.items())
    }
    return NullCounterfactuals(
        **columns, concepts=pairs.concepts, reason=np.array(reasons), n_null=int(n_null)
    )


class _Matcher:
    """Looks for cells that match a counterfactual but activate the concept.

    Parameters
    ----------
    pairs : Counterfactuals
        The pairs to match.
    counts : Counts
        The counts.
    distances : Distances
        Between cells.
    """

    def __init__(self, pairs, counts, distances):
        self.pairs, self.counts, self.distances = pairs, counts, distances

    def groups(self, position, active, codes, n_null, min_level):
        """Pool of partners for every distinct counterfactual of a concept, or why there is none."""
        pairs = self.pairs
        rows = np.flatnonzero((pairs.position == position) & (pairs.half == 0))
        if rows.size == 0:
            return [], "no pair"
        found = []
        for partner in np.unique(pairs.counterfactual[rows]):
            own = rows[pairs.counterfactual[rows] == partner]
            pool = self._pool(own, active, codes, n_null, min_level)
            if pool["cells"].shape[0] < _FEWEST:
                return [], "too few activating cells"
            found.append(pool)
        return found, ""

    def _pool(self, rows, active, codes, n_null, min_level) -> dict:
        """Best matched cells for the prototypes of some pairs with one counterfactual."""
        pairs = self.pairs
        prototypes = pairs.prototype[rows]
        kept = (codes > 0) & (codes >= min_level * pairs.code_prototype[rows].max())
        for cell in prototypes:
            allowed = pairs.rules.allowed(cell)
            allowed[prototypes] = False
            kept &= allowed[active]
        cells, codes = active[kept], codes[kept]
        level = codes[None, :] / pairs.code_prototype[rows][:, None]
        distance = np.array([self.distances.between(cell, cells) for cell in prototypes])
        distance /= pairs.distance[rows][:, None]
        mismatch = _mismatch(distance) + _mismatch(level)
        near = np.argsort(mismatch, kind="stable")[: _SHORTLIST * _POOL * n_null]
        cells, distance, level = cells[near], distance[:, near], level[:, near]
        partner = pairs.counterfactual[rows[0]]
        differing = self._differing(prototypes, np.append(cells, partner))
        differing = differing[:, :-1] / differing[:, -1:]
        best = np.argsort(mismatch[near] + _mismatch(differing), kind="stable")[: _POOL * n_null]
        return {
            "rows": rows,
            "cells": cells[best],
            "distance": distance[:, best],
            "differing": differing[:, best],
            "level": level[:, best],
        }

    def _differing(self, cells, others) -> np.ndarray:
        """Number of genes that one of two cells has counts of, shape (n_cells, n_others)."""
        there = self.counts.rows(others) != 0
        return np.array(
            [np.count_nonzero(row | there, axis=1) for row in self.counts.rows(cells) != 0]
        )


def _mismatch(ratio) -> np.ndarray:
    """Mean absolute logarithm of some ratios over the first axis."""
    return np.abs(np.log(np.maximum(ratio, 1e-12))).mean(axis=0)


def _drawn(pairs, groups, position, n_null, rng) -> list[tuple]:
    """Rows of the null sets of a concept: a partner for each group, as distinct as may be."""
    rows = []
    used = [set() for _ in groups]
    for number in range(n_null):
        taken: set = set()
        for g in rng.permutation(len(groups)):
            group = groups[g]
            cells = group["cells"].tolist()
            # first those that serve neither this group in another set nor another group in this
            for barred in (used[g] | taken, taken, used[g], set()):
                free = [place for place, cell in enumerate(cells) if cell not in barred]
                if free:
                    break
            place = free[rng.randint(len(free))]
            taken.add(cells[place])
            used[g].add(cells[place])
            for i, row in enumerate(group["rows"]):
                ratios = (group[name][i, place] for name in ("distance", "differing", "level"))
                cell, weight = pairs.prototype[row], pairs.weight[row]
                rows.append((position, number, cell, cells[place], weight, *ratios))
    return rows
