"""Suppress the concepts that tell batches apart: how much it mixes, and what it costs."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._units import encode_names, read_units
from skdict._validation import check_integer
from skdict.genes._concepts import DictionaryConcepts, check_embeddings
from skdict.metrics import activation_frequency, selectivity_scores
from skdict.metrics._activity import check_codes
from skdict.metrics._selectivity_halves import _halves
from skdict.steering._effect import Before
from skdict.steering._steer import Change, code_blocks

MEASURES = (
    "neighbors_kept",
    "label_purity",
    "batch_mixing",
    "label_accuracy",
    "batch_accuracy",
)
# Candidates of nearest usage among which a control is drawn.
_NEAREST = 5


def batch_selectivity(codes, batch, *, labels=None, min_cells: int = 10) -> Bunch:
    r"""Score how far a concept tells a batch from the others, within labels.

    For concept m and batch b, over the labels l that both b and the other batches have,

    .. math:: s_{mb} = \frac{1}{L_b} \sum_l \left( p_{m, l, b} - p_{m, l, \text{not } b} \right)

    with p the share of the cells in which the concept is active (non-zero). Labels weigh equally,
    so that a batch with more cells of one type does not make concepts of the type look like those
    of the batch.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_concepts)
        Activations.
    batch : array-like, shape (n_samples,)
        Batch of each cell, at least two.
    labels : array-like, shape (n_samples,), or None, default=None
        Biological label of each cell; None compares batches as they are.
    min_cells : int, default=10
        A label counts for a batch if it has so many cells in the batch and in the others.

    Returns
    -------
    Bunch
        score : ndarray, shape (n_concepts,)
            Largest score over batches, from -1 to 1.
        batch : ndarray, shape (n_concepts,)
            The batch that has it.
        by_batch : ndarray, shape (n_batches, n_concepts)
            All scores; NaN for a batch without a label that counts.
        batches : ndarray, shape (n_batches,)
            The batches.

    Raises
    ------
    ValueError
        If shapes do not fit, values are missing, or no label has enough cells in two batches.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.steering import batch_selectivity
    >>> codes = np.eye(2)[[0, 0, 1, 1]]
    >>> found = batch_selectivity(codes, ["x", "x", "y", "y"], min_cells=1)
    >>> found.score.tolist(), found.batch.tolist()
    ([1.0, 1.0], ['x', 'y'])
    """
    codes = check_codes(codes)
    n_samples, n_concepts = codes.shape
    check_integer("min_cells", min_cells, 1)
    batches, index = encode_names(batch, n_samples, "batch")
    label = np.zeros(n_samples, dtype=int)
    if labels is not None:
        label = encode_names(labels, n_samples, "labels")[1]
    total, n_labels = np.zeros((batches.size, n_concepts)), np.zeros(batches.size)
    for one in range(label.max() + 1):
        rows = np.flatnonzero(label == one)
        sizes = np.bincount(index[rows], minlength=batches.size)
        counted = np.flatnonzero((sizes >= min_cells) & (rows.size - sizes >= min_cells))
        if counted.size:
            total[counted] += selectivity_scores(codes[rows], index[rows], labels=counted)
            n_labels[counted] += 1
    if not n_labels.any():
        raise ValueError(
            f"batch must have two values with at least min_cells={min_cells} cells of one label "
            "each: where each label has a batch of its own, batch and label cannot be told apart"
        )
    with np.errstate(invalid="ignore"):
        scores = total / n_labels[:, None]
    best = np.nanargmax(scores, axis=0)
    return Bunch(
        score=scores[best, np.arange(n_concepts)],
        batch=batches[best],
        by_batch=scores,
        batches=batches,
    )


class BatchSuppression(Bunch):
    """Result of :func:`suppress_batch`; prints its table.

    See :func:`suppress_batch` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Measures by kind and number of suppressed concepts; random ones in the mean over draws.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``kind``, ``n_suppressed``, ``n_draws`` and the measures, each followed by its
            standard deviation over draws (NaN for a single one).
        """
        rows = list(dict.fromkeys(zip(self.runs.kind.tolist(), self.runs.n_suppressed.tolist())))
        own = [(self.runs.kind == k) & (self.runs.n_suppressed == n) for k, n in rows]
        columns = {
            "kind": np.array([kind for kind, _ in rows]),
            "n_suppressed": np.array([n for _, n in rows]),
            "n_draws": np.array([mask.sum() for mask in own]),
        }
        for name in MEASURES:
            values = [self.runs[name][mask] for mask in own]
            columns[name] = np.array([v.mean() for v in values])
            columns[f"{name}_sd"] = np.array([v.std(ddof=1) if v.size > 1 else np.nan
                                              for v in values])  # fmt: skip
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: the table, with what was chosen where."""
        found = self.table()
        lines = [
            f"BatchSuppression: concepts chosen on {self.n_chosen_on} cells, measured on "
            f"{self.n_measured_on} others",
            "  suppressed         neighbours kept  label purity  batch mixing",
        ]
        for i, kind in enumerate(found.kind):
            name = "nothing" if kind == "none" else f"{found.n_suppressed[i]} {kind}"
            lines.append(
                f"  {name:<18} {found.neighbors_kept[i]:15.3f} {found.label_purity[i]:13.3f} "
                f"{found.batch_mixing[i]:13.3f}"
            )
        return "\n".join(lines)


def suppress_batch(
    pipeline,
    X,
    *,
    batch,
    labels,
    units=None,
    n_concepts=None,
    n_random: int = 5,
    n_neighbors: int = 15,
    n_cells: int | None = None,
    cv=None,
    random_state=None,
) -> BatchSuppression:
    """Suppress the concepts most selective for batches, and random ones of equal usage.

    A recipe in four steps. Units (or cells) are dealt into two halves, batch by batch. On the
    first, concepts are ranked by :func:`batch_selectivity` within labels. On the second, the
    first of them are suppressed with :func:`steer` and the effect is measured with
    :func:`steering_effect`: how far batches mix, and what of the labels is lost. Beside them as
    many other concepts, drawn among those of nearest usage, are suppressed: suppressing anything
    moves cells, and what moves cells may mix batches.

    Parameters
    ----------
    pipeline : ICFLDictionary, TopKSAE or Pipeline
        A fitted dictionary or pipeline; see :func:`steer`.
    X : array-like or tensor, shape (n_samples, n_features)
        Embeddings.
    batch : array-like, shape (n_samples,)
        Batch of each cell.
    labels : array-like, shape (n_samples,)
        Biological label of each cell.
    units : array-like, shape (n_samples,), or None, default=None
        Unit (donor, sample) of each cell, which lies in one batch; each batch needs two or more.
        None deals cells, which is only right if the cells of a batch are independent.
    n_concepts : sequence of int or None, default=None
        Numbers of concepts to suppress, at most half of the live ones. None takes 1, 2, 5, 10, 20,
        50 and 100, as far as a quarter of the live ones goes.
    n_random : int, default=5
        Draws of random concepts for each number.
    n_neighbors : int, default=15
        Neighbours of a cell.
    n_cells : int or None, default=None
        Cells whose neighbours are looked at; see :func:`steering_effect`.
    cv : int, cross-validation splitter or None, default=None
        Folds of linear probes; None leaves them out.
    random_state : int, RandomState instance or None, default=None
        Deals the halves and draws the random concepts.

    Returns
    -------
    BatchSuppression
        A Bunch that prints its table, with a method ``table``:

        concepts : ndarray of int, shape (max(n_concepts),)
            The concepts, most selective first, as chosen on the first half.
        score : ndarray, shape (max(n_concepts),)
            Their selectivity there.
        batch : ndarray, shape (max(n_concepts),)
            The batch that each is selective for.
        runs : Bunch of ndarray
            A row per run: ``kind`` ("none", "batch" or "random"), ``n_suppressed``, ``draw``,
            ``neighbors_kept``, ``label_purity``, ``batch_mixing``, ``label_accuracy``,
            ``batch_accuracy`` (NaN without `cv`).
        random_concepts : list of ndarray of int
            The concepts of each random run, in the order of the runs.
        chosen_on : ndarray of bool, shape (n_samples,)
            True for the cells of the first half.
        n_chosen_on, n_measured_on : int
            Cells in each half.

    Raises
    ------
    ValueError
        If a unit lies in two batches, a batch has a single unit, there are too few live concepts,
        or as the functions that this calls.

    Notes
    -----
    Where each label is a batch of its own (purified populations in separate libraries) nothing can
    be learned about batches, and the call is refused.

    Memory: the second half is held at every step of the pipeline.

    The dictionary may have been fitted on cells of both halves: it has not seen batches.

    What is called batch is what `batch` says. If batches differ in biology that `labels` do not
    name (donors, conditions), that is suppressed as well.

    References
    ----------
    .. [1] Pedrocchi et al., sparse autoencoders of single-cell foundation models, where features of
       batches are steered and compared with random ones.
       https://openreview.net/forum?id=5AuN6RD072

    Examples
    --------
    >>> from skdict import TopKSAE
    >>> from skdict.datasets import make_batches
    >>> from skdict.steering import suppress_batch
    >>> planted = make_batches(1200, random_state=0)
    >>> sae = TopKSAE(48, n_nonzero_coefs=6, max_steps=200, random_state=0).fit(planted.data)
    >>> found = suppress_batch(
    ...     sae, planted.data, batch=planted.batch, labels=planted.cell_type, units=planted.unit,
    ...     n_concepts=[6], n_random=2, random_state=0)
    >>> mixing = dict(zip(found.table().kind.tolist(), found.table().batch_mixing))
    >>> bool(mixing["batch"] > mixing["none"] + 0.2), bool(mixing["random"] < mixing["none"] + 0.1)
    (True, True)
    """
    model = DictionaryConcepts(pipeline)
    X = check_embeddings(X, "X")
    check_integer("n_random", n_random, 0)
    rng = check_random_state(random_state)
    first = _first_half(batch, labels, units, X.shape[0], rng)
    of = {name: np.asarray(values) for name, values in (("batch", batch), ("labels", labels))}
    codes = model.codes(X[first])
    scores = batch_selectivity(codes, of["batch"][first], labels=of["labels"][first])
    usage = activation_frequency(codes)
    numbers = _check_numbers(n_concepts, int(np.count_nonzero(usage)))
    order = np.argsort(np.where(usage > 0, -scores.score, np.inf), kind="stable")[: numbers[-1]]

    rest = X[~first]
    start = Before(
        rest,
        **{name: values[~first] for name, values in of.items()},
        units=None if units is None else np.asarray(units)[~first],
        n_neighbors=n_neighbors,
        n_cells=n_cells,
        cv=cv,
        rng=rng,
    )
    # coded once for all runs
    blocks = [coded for _, coded in code_blocks(pipeline, rest, width=numbers[-1])]
    runs, random_concepts = [_run("none", 0, 0, start.compare(rest))], []
    for n in numbers:
        drawn = [_equal_usage(order[:n], order, usage, rng) for _ in range(n_random)]
        effects = [start.compare(_suppressed(blocks, c)) for c in (order[:n], *drawn)]
        runs.append(_run("batch", n, 0, effects[0]))
        runs += [_run("random", n, draw, effect) for draw, effect in enumerate(effects[1:])]
        random_concepts += drawn
    return BatchSuppression(
        concepts=order,
        score=scores.score[order],
        batch=scores.batch[order],
        runs=Bunch(**{name: np.array([run[name] for run in runs]) for name in runs[0]}),
        random_concepts=random_concepts,
        chosen_on=first,
        n_chosen_on=int(first.sum()),
        n_measured_on=int((~first).sum()),
    )


def _first_half(batch, labels, units, n_samples: int, rng) -> np.ndarray:
    """Cells on which concepts are chosen: half of the units of each batch."""
    batches, index = encode_names(batch, n_samples, "batch")
    if batches.size < 2:
        raise ValueError(f"batch must have at least two values, got {batches.tolist()}")
    label = encode_names(labels, n_samples, "labels")[1]
    if units is None:
        return _halves(rng, index * (label.max() + 1) + label, np.zeros(n_samples, dtype=int))
    read = read_units(units, batch, n_samples)
    n_units = np.bincount(read.stratum)
    if n_units.min() < 2:
        raise ValueError(
            "units must have at least two in each batch, one to choose concepts on and one to "
            f"measure on, but batch {batches.tolist()[int(n_units.argmin())]!r} has one"
        )
    return _halves(rng, read.stratum, np.zeros(read.n_units, dtype=int))[read.index]


def _check_numbers(n_concepts, n_live: int) -> list[int]:
    """Numbers of concepts to suppress, ascending."""
    if n_concepts is None:
        n_concepts = [n for n in (1, 2, 5, 10, 20, 50, 100) if n <= max(1, n_live // 4)]
    numbers = sorted(set(np.atleast_1d(np.asarray(n_concepts)).tolist()))
    for n in numbers:
        check_integer("n_concepts", n, 1)
    if not numbers or numbers[-1] > n_live // 2:
        raise ValueError(
            f"n_concepts must hold numbers from 1 to {n_live // 2}, half of the {n_live} live "
            f"concepts, so that as many are left as controls; got {n_concepts!r}"
        )
    return numbers


def _equal_usage(chosen, excluded, usage, rng) -> np.ndarray:
    """Other live concepts, for each chosen one drawn among those of nearest usage."""
    free = usage > 0
    free[excluded] = False
    drawn = []
    for concept in chosen:
        candidates = np.flatnonzero(free)
        distance = np.abs(np.log(usage[candidates]) - np.log(usage[concept]))
        nearest = candidates[np.argsort(distance, kind="stable")[:_NEAREST]]
        drawn.append(int(rng.choice(nearest)))
        free[drawn[-1]] = False
    return np.array(drawn, dtype=np.intp)


def _suppressed(blocks, concepts) -> np.ndarray:
    """Embeddings with some concepts set to zero."""
    change = Change(concepts, np.zeros(len(concepts)))
    return np.concatenate([coded.steered(change) for coded in blocks])


def _run(kind: str, n_suppressed: int, draw: int, effect) -> dict:
    """Row of the table of runs."""
    after = dict(zip(effect.quantities, effect.value.tolist()))
    return {
        "kind": kind,
        "n_suppressed": n_suppressed,
        "draw": draw,
        "neighbors_kept": after["neighbors_kept"],
        "label_purity": after["label_purity_after"],
        "batch_mixing": after["batch_mixing_after"],
        "label_accuracy": effect.label_accuracy_after,
        "batch_accuracy": effect.batch_accuracy_after,
    }
