"""Hits read together with what speaks against them: other plates, position, technical factors."""

from __future__ import annotations

import numpy as np

from skdict._tables import table_of
from skdict._validation import check_real
from skdict.effects._table_test import STATISTICS

OUTCOMES = ("stands", "mixed", "technical", "position", "not replicated")


def findings(
    effects,
    *,
    audit=None,
    neighbours=None,
    level: float = 0.05,
    position_share: float = 0.5,
    as_frame: bool = False,
):
    """List the hits of a screen with what speaks for and against each of them.

    Parameters
    ----------
    effects : ConceptEffects
        From :func:`concept_effects`, best with `held_out` plates.
    audit : TechnicalAudit or None, default=None
        From :func:`technical_audit` of the same codes.
    neighbours : ConceptEffects or None, default=None
        From :func:`neighbour_effects` of the same codes.
    level : float, default=0.05
        False-discovery rate of the hits, and of their replication.
    position_share : float in (0, 1], default=0.5
        A hit is one of position if the neighbours show the same effect at least so large,
        relative to its own, with a p-value of at most 0.05. Neighbours of which one has the effect
        itself show much less than that.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a dict of columns.

    Returns
    -------
    dict of ndarray, or DataFrame
        The table of ``effects.hits(level)`` with the further columns

        neighbour_effect, neighbour_share
            Effect in the neighbours, and relative to that of the hit (NaN without neighbours).
        verdict
            The audit's verdict on the concept ("" without an audit).
        outcome
            The first that applies: "not replicated" (or not testable on the held-out plates);
            "position"; "technical", for a concept whose verdict is technical or not separable;
            "mixed", by the verdict; "stands", which says no more than what was asked: without
            replication, neighbours and audit every hit stands.

    Raises
    ------
    ValueError
        If a level or share is out of range, or `audit` or `neighbours` have another number of
        concepts.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.effects import concept_effects, findings
    >>> compound = np.repeat(["DMSO", "A"], [16, 8])
    >>> codes = (compound == "A").astype(float)[:, None]
    >>> found = concept_effects(
    ...     codes, compound, compound == "DMSO", np.tile([1, 2], 12), held_out=[2])
    >>> findings(found)["outcome"]
    array(['stands'], dtype='<U14')
    """
    check_real("position_share", position_share, 0.0, 1.0, open_low=True)
    for name, other in (("audit", audit), ("neighbours", neighbours)):
        if other is not None:
            n_concepts = other.verdict.size if name == "audit" else other.n_concepts
            if n_concepts != effects.n_concepts:
                raise ValueError(
                    f"{name} must be of the same codes as effects, got {n_concepts} concepts for "
                    f"{effects.n_concepts}"
                )
    columns = effects.hits(level)
    own = columns["effect"]
    beside, p_value = _in_neighbours(columns, neighbours)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(own != 0, beside / own, np.nan)
    verdict = np.full(own.size, "") if audit is None else audit.verdict[columns["concept"]]
    columns |= {"neighbour_effect": beside, "neighbour_share": share, "verdict": verdict}
    conditions = [
        ~columns.get("replicated", np.ones(own.size, dtype=bool)),
        (share >= position_share) & (p_value <= 0.05),
        np.isin(verdict, ["technical", "not separable"]),
        verdict == "mixed",
    ]
    columns["outcome"] = np.select(conditions, list(OUTCOMES[:0:-1]), OUTCOMES[0])
    return table_of(columns, as_frame)


def _in_neighbours(columns, neighbours) -> tuple[np.ndarray, np.ndarray]:
    """Effect and p-value of every hit's neighbours; NaN where there are none."""
    effect, p_value = (np.full(columns["concept"].size, np.nan) for _ in range(2))
    if neighbours is None:
        return effect, p_value
    there = np.isin(columns["perturbation"], neighbours.perturbations)
    for statistic in STATISTICS:
        rows = np.flatnonzero(there & (columns["statistic"] == statistic))
        place = np.searchsorted(neighbours.perturbations, columns["perturbation"][rows])
        concept = columns["concept"][rows]
        effect[rows] = neighbours[statistic].effect[place, concept]
        p_value[rows] = neighbours[statistic].p_value[place, concept]
    return effect, p_value
