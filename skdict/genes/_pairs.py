"""Pairs of cells: one that activates a concept, and the nearest one that does not."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from skdict._units import encode_names
from skdict._validation import check_choice, check_integer, check_real
from skdict.genes._cell_rules import HALVES, CellRules
from skdict.genes._concepts import check_concepts, check_embeddings, check_model
from skdict.genes._counterfactuals import Counterfactuals
from skdict.genes._nearest import METRICS, Distances

# Level above which most activating cells lie, as a quantile of their pre-activations.
_LOW_QUANTILE = 0.1
# Concepts whose candidates are held at a time, and cells measured again beside the nearest ones.
_CONCEPT_BLOCK, _SPARE = 64, 8


def find_counterfactuals(
    embeddings,
    model,
    concepts,
    *,
    codes=None,
    n_prototypes: int = 10,
    n_counterfactuals: int = 1,
    margin: float = 0.5,
    depth=None,
    max_depth_ratio: float = 2.0,
    batch=None,
    cell_type=None,
    stratify=None,
    units=None,
    strata=None,
    metric: str = "euclidean",
    n_neighbors: int = 50,
    random_state=None,
) -> Counterfactuals:
    r"""Pair cells that activate a concept most with the nearest cells that do not.

    The *prototypes* of a concept are the cells with its largest codes. The *counterfactual* of
    a prototype is the nearest cell in embedding space that does not activate the concept. The
    units (donors) are dealt into two halves; prototypes are chosen on one, and as
    many on the other, where the same question is asked again. Partners come from the half of
    their prototype.

    Parameters
    ----------
    embeddings : array-like or tensor, shape (n_cells, n_features)
        Embeddings of the cells.
    model : DictionaryConcepts or DirectionConcepts
        What turns embeddings into activations.
    concepts : array-like of int, shape (n_concepts,)
        The concepts.
    codes : sparse or array-like, shape (n_cells, `model.n_concepts`), or None, default=None
        Codes of the cells where they are there already; None computes those of `concepts`.
    n_prototypes : int, default=10
        Prototypes of each concept in each half; fewer where fewer cells activate it.
    n_counterfactuals : int, default=1
        Counterfactuals of each prototype, the nearest ones. What is computed from them is
        averaged.
    margin : float, default=0.5
        How clearly a counterfactual must not activate the concept, from 0 to 1. Its code is
        zero and its pre-activation lies at most at

        .. math:: m + (1 - \text{margin}) \max(l - m, 0)

        with the median :math:`m` over the cells that do not activate the concept, and
        the level :math:`l` above which 90% of the activating ones lie. 0 allows all up
        to that level; cells above it were displaced by other concepts. At 1 half of the inactive
        cells remain.
    depth : array-like, shape (n_cells,), or None, default=None
        Total counts of the cells, ``X.sum(axis=1)``. None does not match depth.
    max_depth_ratio : float, default=2.0
        Largest ratio between the depths of a prototype and its counterfactual, either way.
    batch : array-like, shape (n_cells,), or None, default=None
        Batch of each cell; a counterfactual is of the same one.
    cell_type : array-like, shape (n_cells,), or None, default=None
        Cell type of each cell; a counterfactual is of the same one.
    stratify : array-like, shape (n_cells,), or None, default=None
        Take the prototypes in turn from each value of this, for example donor or cell type,
        the largest codes of each first.
    units : array-like, shape (n_cells,), or None, default=None
        The independent unit of each cell, usually the donor. A unit lies in one half as a whole.
        None deals out single cells: the second half then confirms much less.
    strata : array-like, shape (n_cells,), or None, default=None
        The halves share each stratum of units as evenly as may be.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between embeddings.
    n_neighbors : int, default=50
        A pair is *far* when the counterfactual lies beyond the prototype's neighbour of this
        rank, counted among all cells of any kind: it then is no variation of the prototype but
        a cell of another neighbourhood.
    random_state : int, RandomState instance or None, default=None
        Deals out the units.

    Returns
    -------
    Counterfactuals
        A Bunch with methods ``table()`` and ``summary()``. Entries with one value per pair:

        position : ndarray of int
            Place of the concept in `concepts`.
        half : ndarray of int
            0 where prototypes were chosen, 1 for the confirmation.
        prototype, counterfactual : ndarray of int
            The cells.
        weight : ndarray of float
            1 over the number of counterfactuals of this prototype.
        distance, radius : ndarray of float
            Distance of the two, and of the prototype's neighbour of rank `n_neighbors`.
        far : ndarray of bool
            Whether `distance` exceeds `radius`.
        depth_ratio : ndarray of float
            Depth of the counterfactual over that of the prototype.
        code_prototype, pre_prototype, pre_counterfactual : ndarray of float
            Code of the prototype, and the pre-activations of both.

        And beside these:

        concepts : ndarray of int, shape (n_concepts,)
            The concepts.
        ceiling : ndarray, shape (n_concepts,)
            Largest pre-activation that a counterfactual may have, see `margin`.
        n_active : ndarray of int, shape (n_concepts, 2)
            Cells that activate each concept in each half.
        dropped : Bunch
            Prototypes without a counterfactual: ``position``, ``half``, ``prototype``, and the
            ``reason``: the first rule ("margin", "batch", "cell type", "depth") that left no
            cell.
        rules : CellRules
            Half, batch, cell type and depth of the cells, for :func:`null_counterfactuals`.
        settings : dict
            The parameters that are numbers or names.

    Raises
    ------
    TypeError
        If `model` is no model of concepts.
    ValueError
        If shapes do not fit, a value is out of range, there are fewer than two units, or no
        concept has a pair in the half where prototypes are chosen.

    See Also
    --------
    attribute_genes : Attribute the activations to genes by exchanging them within pairs.
    null_counterfactuals : Pairs of two activating cells, at the same distance.

    Notes
    -----
    A concept activates a cell where its code is above zero. Negative codes of a pursuit count as
    neither: such a cell is neither prototype nor counterfactual.

    Distances to all cells are computed in blocks; 100,000 cells take about 0.3 GiB whatever the
    number of concepts.

    Examples
    --------
    >>> from skdict.datasets import make_driver_genes
    >>> from skdict.genes import DirectionConcepts, find_counterfactuals
    >>> data = make_driver_genes(random_state=0)
    >>> E = data.embed(data.counts)
    >>> model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
    >>> pairs = find_counterfactuals(E, model, [0, 1, 2], depth=data.counts.sum(axis=1),
    ...                              units=data.donor, random_state=0)
    >>> pairs.summary().n_prototypes
    array([10, 10, 10, 10, 10, 10])
    """
    check_integer("n_prototypes", n_prototypes, 1)
    check_integer("n_counterfactuals", n_counterfactuals, 1)
    check_integer("n_neighbors", n_neighbors, 1)
    check_real("margin", margin, 0, 1)
    check_choice("metric", metric, METRICS)
    check_model(model)
    embeddings = check_embeddings(embeddings)
    n_cells = embeddings.shape[0]
    concepts = check_concepts(concepts, model.n_concepts)
    codes = codes_of(codes, model, embeddings, concepts)
    rng = check_random_state(random_state)
    rules = CellRules.checked(
        n_cells, units=units, strata=strata, batch=batch, cell_type=cell_type, depth=depth,
        max_depth_ratio=max_depth_ratio, rng=rng,
    )  # fmt: skip
    stratum = None if stratify is None else encode_names(stratify, n_cells, "stratify")[1]
    search = _Search(rules, Distances(embeddings, metric), n_counterfactuals, n_neighbors)
    for start in range(0, concepts.shape[0], _CONCEPT_BLOCK):
        block = slice(start, min(start + _CONCEPT_BLOCK, concepts.shape[0]))
        pre = model.pre_activations(embeddings, concepts[block])
        search.add(start, codes[:, block], pre, margin, n_prototypes, stratum)
    settings = {
        "n_prototypes": int(n_prototypes),
        "n_counterfactuals": int(n_counterfactuals),
        "margin": float(margin),
        "max_depth_ratio": float(max_depth_ratio) if depth is not None else None,
        "same_batch": batch is not None,
        "same_cell_type": cell_type is not None,
        "metric": metric,
        "n_neighbors": int(n_neighbors),
    }
    return search.result(concepts, settings)


def codes_of(codes, model, embeddings, concepts) -> sparse.csc_array:
    """Codes of the chosen concepts as CSC, shape (n_cells, n_chosen); no explicit zeros."""
    if codes is None:
        return sparse.csc_array(model.codes(embeddings, concepts))
    wanted = (embeddings.shape[0], model.n_concepts)
    if np.shape(codes) != wanted:
        raise ValueError(
            f"codes must have shape (n_cells, n_concepts) = {wanted}, got {np.shape(codes)}"
        )
    if not sparse.issparse(codes):
        chosen = sparse.csc_array(np.asarray(codes)[:, concepts])
    else:
        chosen = sparse.csc_array(sparse.csr_array(codes)[:, concepts])
    chosen.sum_duplicates()
    chosen.eliminate_zeros()
    if not np.isfinite(chosen.data).all():
        raise ValueError("codes holds NaN or infinite values")
    return chosen


class _Search:
    """Looks for pairs, concept by concept, and collects them.

    Parameters
    ----------
    rules : CellRules
        What partners share.
    distances : Distances
        Between all cells.
    n_counterfactuals, n_neighbors : int
        As in :func:`find_counterfactuals`.
    """

    def __init__(self, rules, distances, n_counterfactuals, n_neighbors):
        self.rules, self.distances = rules, distances
        self.n_counterfactuals = n_counterfactuals
        self.n_neighbors = min(n_neighbors, distances.n_cells - 1)
        self.pairs: list[dict] = []
        self.dropped: list[dict] = []
        self.ceiling: list[float] = []
        self.n_active: list = []

    def add(self, first, codes, pre, margin, n_prototypes, stratum) -> None:
        """Look for the pairs of a block of concepts, the first of them at place `first`."""
        eligible = np.empty(pre.shape, dtype=bool)
        wanted = []
        for k in range(pre.shape[1]):
            active, code, inactive = _activity(codes, k)
            ceiling = _ceiling(pre[active, k], pre[inactive, k], margin)
            eligible[:, k] = inactive & (pre[:, k] <= ceiling)
            self.ceiling.append(ceiling)
            half = self.rules.half[active]
            self.n_active.append(np.bincount(half, minlength=len(HALVES)))
            for h in range(len(HALVES)):
                taken = _largest(active[half == h], code[half == h], n_prototypes, stratum)
                wanted += [(cell, k, code[active == cell][0]) for cell in taken]
        self._pair(first, wanted, eligible, pre)

    def _pair(self, first, wanted, eligible, pre) -> None:
        """Find the counterfactuals of some (prototype, concept of the block, code)."""
        cells = np.array([cell for cell, _, _ in wanted], dtype=np.intp)
        distinct, place = np.unique(cells, return_inverse=True)
        entries = np.argsort(place, kind="stable")
        bounds = np.searchsorted(place[entries], np.arange(distinct.shape[0] + 1))
        for taken, distances in self.distances.blocks(distinct):
            for row, number in enumerate(range(taken.start, taken.stop)):
                radius = np.partition(distances[row], self.n_neighbors)[self.n_neighbors]
                for entry in entries[bounds[number] : bounds[number + 1]]:
                    cell, k, code = wanted[entry]
                    found, reason = self._candidates(cell, eligible[:, k])
                    common = {"order": entry, "position": first + k, "prototype": cell}
                    common["half"] = self.rules.half[cell]
                    if reason:
                        self.dropped.append(common | {"reason": reason})
                        continue
                    partners, distance = self._nearest(cell, found, distances[row])
                    for partner, length in zip(partners, distance):
                        self.pairs.append(
                            common
                            | {
                                "counterfactual": partner,
                                "weight": 1 / partners.shape[0],
                                "distance": length,
                                "radius": radius,
                                "code_prototype": code,
                                "pre_prototype": pre[cell, k],
                                "pre_counterfactual": pre[partner, k],
                            }
                        )

    def _candidates(self, cell, eligible):
        """Cells that may be the counterfactual; or none, and the first rule that left none."""
        kept = eligible & (self.rules.half == self.rules.half[cell])
        if not kept.any():
            return None, "margin"
        for name, mask in self.rules.steps(cell):
            kept &= mask
            if not kept.any():
                return None, name
        return np.flatnonzero(kept), ""

    def _nearest(self, cell, candidates, distances):
        """The nearest candidates and their distances, the lower index first on ties."""
        n_taken = min(self.n_counterfactuals, candidates.shape[0])
        n_looked_at = min(n_taken + _SPARE, candidates.shape[0])
        near = np.argpartition(distances[candidates], n_looked_at - 1)[:n_looked_at]
        near = np.sort(candidates[near])
        exact = self.distances.between(cell, near)
        order = np.lexsort((near, exact))[:n_taken]
        return near[order], exact[order]

    def result(self, concepts, settings) -> Counterfactuals:
        """All pairs, by concept, half and activation."""
        if not any(pair["half"] == 0 for pair in self.pairs):
            raise ValueError(self._nothing(concepts))
        pairs = sorted(self.pairs, key=lambda pair: (pair["position"], pair["half"], pair["order"]))
        names = [name for name in pairs[0] if name != "order"]
        columns = {name: np.array([pair[name] for pair in pairs]) for name in names}
        reasons = {
            "position": np.array([drop["position"] for drop in self.dropped], dtype=np.intp),
            "half": np.array([drop["half"] for drop in self.dropped], dtype=np.intp),
            "prototype": np.array([drop["prototype"] for drop in self.dropped], dtype=np.intp),
            "reason": np.array([drop["reason"] for drop in self.dropped], dtype="<U9"),
        }
        return Counterfactuals(
            **columns,
            far=columns["distance"] > columns["radius"],
            depth_ratio=self.rules.depth_ratio(columns["prototype"], columns["counterfactual"]),
            concepts=concepts,
            ceiling=np.array(self.ceiling),
            n_active=np.array(self.n_active),
            dropped=Bunch(**reasons),
            rules=self.rules,
            settings=settings,
        )

    def _nothing(self, concepts) -> str:
        """Message for the case that no concept has a pair."""
        n_active = np.array(self.n_active)[:, 0]
        reasons = [drop["reason"] for drop in self.dropped if drop["half"] == 0]
        names, times = np.unique(np.array(reasons, dtype=str), return_counts=True)
        listed = ", ".join(f"{name} {n}" for name, n in zip(names, times)) or "none"
        return (
            f"concepts must have a pair of cells, but none of the {concepts.shape[0]} has: "
            f"{np.count_nonzero(n_active == 0)} activate no cell of the half where prototypes are "
            f"chosen; prototypes dropped because of {listed}. Choose live concepts, a smaller "
            "margin, a larger max_depth_ratio, or leave out batch or cell_type"
        )


def _activity(codes, k):
    """Cells that activate concept k, their codes, and a mask of those with a code of zero."""
    entries = slice(codes.indptr[k], codes.indptr[k + 1])
    cells, values = codes.indices[entries], codes.data[entries]
    inactive = np.ones(codes.shape[0], dtype=bool)
    inactive[cells] = False
    return cells[values > 0].astype(np.intp), values[values > 0], inactive


def _ceiling(active, inactive, margin) -> float:
    """Largest pre-activation of a counterfactual; NaN, which none lies below, without either."""
    if active.size == 0 or inactive.size == 0:
        return np.nan
    typical = np.median(inactive)
    low = np.quantile(active, _LOW_QUANTILE)
    return float(typical + (1 - margin) * max(low - typical, 0))


def _largest(cells, codes, n_taken, stratum) -> np.ndarray:
    """Cells with the largest codes, in turn from each stratum; the lower index on ties."""
    order = np.lexsort((cells, -codes))
    if stratum is None:
        return cells[order[:n_taken]]
    # rank of each cell within its stratum, then by rank and code
    own = stratum[cells[order]]
    by_stratum = np.argsort(own, kind="stable")
    sizes = np.bincount(own)
    rank = np.empty(own.shape[0], dtype=np.intp)
    rank[by_stratum] = np.arange(own.shape[0]) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return cells[order[np.lexsort((np.arange(own.shape[0]), rank))][:n_taken]]
