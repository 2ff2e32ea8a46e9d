"""Attribute activations of concepts to genes, by exchanging one gene at a time."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._validation import check_boolean_or, check_choice, check_integer
from skdict.genes._attribution_result import GeneAttribution
from skdict.genes._concepts import check_model
from skdict.genes._counterfactuals import Counterfactuals
from skdict.genes._counts import Counts, check_genes
from skdict.genes._exchange import VARIANTS, Exchange
from skdict.genes._forward import Forward
from skdict.genes._null_pairs import NullCounterfactuals
from skdict.genes._pair_averages import averages
from skdict.genes._swap_store import SwapStore, digest
from skdict.genes._swaps import SwapPlan, SwapRun

# Version of the files of an interrupted run.
_FORMAT = 2
# A pre-activation that differs by more is another one: relative to the largest difference within
# a pair of the concept, and to the largest value, of which single precision keeps some digits.
_SAME, _SAME_DIGITS = 0.02, 1e-3


def attribute_genes(
    X,
    embed,
    model,
    pairs: Counterfactuals,
    *,
    genes=None,
    null: NullCounterfactuals | None = None,
    variant: str = "swap",
    candidates=None,
    groups=None,
    rescale: bool = True,
    layer: str = "counts",
    batch_size: int = 256,
    dtype=np.float32,
    resume=None,
    verbose: int = 0,
) -> GeneAttribution:
    r"""Attribute the activations of concepts to genes by counterfactual exchange.

    One gene of a prototype :math:`p` at a time takes the value that it has in the
    counterfactual :math:`c`. The attribution is what the concept's activation loses by it,

    .. math:: a_{pg} = U_k(x_p) - U_k(x_p \text{ with } x_{pg} := \tilde x_{cg}),

    the mean over the prototypes that of the concept: the genes that *drive* it, where a comparison
    of active and inactive cells finds all that go along with it. :math:`U_k` is the final
    code and, beside it, the pre-activation, in which nothing competes and nothing is cut off.

    Parameters
    ----------
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Raw counts of all cells, not negative; CSR, dense or a memory map.
    embed : callable or torch.nn.Module
        ``embed(X_batch)`` gives embeddings, NumPy or torch, of a dense batch of counts of shape
        (`batch_size`, n_genes). Deterministic, each row by itself. Normalisation, binning and the
        choice of genes happen inside it.
    model : DictionaryConcepts or DirectionConcepts
        What turns embeddings into activations.
    pairs : Counterfactuals
        From :func:`find_counterfactuals`, with the embeddings that `embed` gives.
    genes : array-like, shape (n_genes,), or None, default=None
        Names of the genes, each once; None numbers them.
    null : NullCounterfactuals or None, default=None
        Null pairs from :func:`null_counterfactuals`. None leaves out everything that is
        compared with a null.
    variant : {"swap", "mask"}, default="swap"
        Take the value of the counterfactual, or zero. A mask asks for no counterfactual, and has
        no null.
    candidates : array-like or None, default=None
        Genes to attribute, by name or as a mask over all. None means all of them.
    groups : mapping or None, default=None
        Names and their genes (pathways, gene families): all genes of a group are exchanged at
        once, and groups take the place of genes in the result.
    rescale : bool, default=True
        Rescale the counterfactual's counts to the total count of the prototype, so that a
        difference in depth is not taken for one of expression.
    layer : str, default="counts"
        What X is, noted in the settings of the result.
    batch_size : int, default=256
        Rows of a forward pass. All passes have this shape.
    dtype : dtype, default=numpy.float32
        Floating type of the batches.
    resume : path-like or None, default=None
        Folder in which parts of the result are kept while they come. Called again with the
        same arguments after an interruption, only what is missing is computed, and the result is
        the same.
    verbose : int, default=0
        1 prints a line of progress about every ten seconds, 2 one per part.

    Returns
    -------
    GeneAttribution
        A Bunch with methods ``table(concept)``, ``summary()`` and ``selected()``. Of the final
        codes, and under ``pre`` the same of the pre-activations:

        attribution : ndarray, shape (n_concepts, n_genes)
            Mean over the prototypes; NaN for a concept without pairs.
        spread : ndarray, shape (n_concepts, n_genes)
            Standard deviation over prototypes.
        standard_error : ndarray, shape (n_concepts, n_genes)
            Of the mean, prototypes of one unit counted as one; NaN for a single unit.
        activation : ndarray, shape (n_concepts,)
            Mean activation of the prototypes.
        relative : ndarray, shape (n_concepts, n_genes)
            `attribution` over `activation`: a cut-off of 0.05 asks for 5% of the activation. NaN
            where the activation is not positive.
        confirmation : ndarray, shape (n_concepts, n_genes)
            Mean over the prototypes of the other half of the units.
        confirmation_correlation : ndarray, shape (n_concepts,)
            Rank correlation of the two, over genes that change anything in either.
        confirmation_slope : ndarray, shape (n_concepts,)
            Slope of the second on the first, through the origin: 1 where large attributions are as
            large on the other half, 0 where nothing of them is there. Some loss is the price
            of choosing the largest.
        null_mean, null_sd : ndarray, shape (n_concepts, n_genes)
            Mean and standard deviation over the null sets.
        z, p_value : ndarray, shape (n_concepts, n_genes)
            How far the attribution stands out from the null sets, in units of the null sets' own
            scores, and the share of the null scores of all genes and concepts that stand out as
            far, see Notes.
        q_value, q_value_all : ndarray, shape (n_concepts, n_genes)
            Benjamini-Hochberg adjustments over the genes of a concept, and over all
            concepts and genes. Genes that change nothing in any set are no tests; they have 1.
        expression_correlation, null_expression_correlation : ndarray, shape (n_concepts,)
            Rank correlation of the absolute attribution, and of `null_sd`, with the mean
            expression, over the genes that change anything. Where both are high, the ranking may
            follow how much a gene can change.
        completeness : ndarray, shape (n_concepts,)
            Sum of the attributions over the change when all genes are exchanged at once. 1 for a
            linear model; above it, genes that each suffice alone to switch the concept
            off; below, genes that stand in for each other.

        And beside these:

        concepts : ndarray of int, shape (n_concepts,)
            The concepts.
        genes : ndarray, shape (n_genes,)
            The genes (or groups) attributed.
        mean_expression : ndarray, shape (n_genes,)
            Mean count over all cells of X.
        pair_completeness : Bunch
            For every pair the change of all genes at once, ``code_change`` and ``pre_change``,
            and the sum of the attributions, ``code_sum`` and ``pre_sum``: their
            difference is the completeness gap.
        passes : Bunch
            Forward passes: ``n_swaps`` with a gene exchanged, ``n_prototypes`` unchanged,
            ``n_complete`` with all exchanged, ``n_checks`` of how `embed` behaves, ``n_repeated``
            where it is not steady; ``n_total``; rows that filled batches up, ``n_padding``.
            Passes saved: ``n_skipped`` of genes that are equal in both cells, ``n_shared`` of
            pairs that several concepts share, and ``n_kept`` from an interrupted run.
        steady : bool
            Whether `embed` gives equal rows equal embeddings bit by bit anywhere in a batch.
            Otherwise every batch is run twice, so that a gene without influence still has
            exactly 0.
        pairs, null : Counterfactuals, NullCounterfactuals or None
            The pairs.
        settings : dict
            Variant, layer and the other parameters that are numbers or names.

    Raises
    ------
    TypeError
        If `embed` cannot be called, or `model` is no model of concepts.
    ValueError
        If X has negative values, names repeat or are unknown, shapes do not fit, `embed` is
        not deterministic or gives other embeddings than those of `pairs`, or `resume` holds the
        result of other inputs.
    OSError
        If `resume` cannot be written; what is there stays.

    See Also
    --------
    find_counterfactuals : Pairs of cells.
    null_counterfactuals : Null pairs.
    gradient_attribution : A fast screen for differentiable models.

    Notes
    -----
    A gene that is equal in both cells has attribution 0 without a forward pass; a pair of cells
    that several concepts share is run once. The number of passes is about prototypes x genes
    in which two cells differ x (1 + null sets); the model decides how long that takes. The result
    holds two dozen arrays of concepts x genes in float64: 0.2 GiB for 50 concepts and 20,000 genes.

    **What the p-values say.** The null sets give the same prototypes partners that activate
    the concept too. If it made no difference whether the partner activates, the observed set
    would be one of R + 1 exchangeable ones. Each set is measured against the others, gene by
    gene, in units of the deviation between partners of one prototype plus the median one of all
    genes [2]_; these scores are brought to the same size in each concept, and a gene's
    own compared with those of the null sets over all genes and concepts. The smallest p-value is
    1 over their number. P-values are conditional on the chosen prototypes: whether the finding
    holds for other donors is what `confirmation` says.

    One gene is changed at a time: where two genes stand in for each other, either alone changes
    little. Compare `completeness`, and exchange them as a group.

    References
    ----------
    .. [1] Claye et al., "Discovering interpretable biological concepts in single-cell RNA-seq
       foundation models", 2025.
    .. [2] Tusher, Tibshirani & Chu, "Significance analysis of microarrays applied to the
       ionizing radiation response", PNAS 98(9), 2001.

    Examples
    --------
    >>> from skdict.datasets import make_driver_genes
    >>> from skdict.genes import DirectionConcepts, attribute_genes, find_counterfactuals
    >>> data = make_driver_genes(random_state=0)
    >>> E = data.embed(data.counts)
    >>> model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
    >>> pairs = find_counterfactuals(E, model, [0], depth=data.counts.sum(axis=1),
    ...                              units=data.donor, random_state=0)
    >>> found = attribute_genes(data.counts, data.embed, model, pairs, genes=data.genes)
    >>> sorted(found.table(0, cutoff=0.05).gene.tolist())
    ['driver0.0', 'driver0.1', 'driver0.2', 'driver0.3', 'driver0.4']
    >>> float(abs(found.attribution[0, data.ignored]).max())
    0.0
    """
    check_choice("variant", variant, VARIANTS)
    check_boolean_or("rescale", rescale, ())
    check_integer("batch_size", batch_size, 1)
    dtype = checked_dtype(dtype)
    check_model(model)
    counts = Counts(X)
    genes = check_genes(genes, counts.n_genes)
    check_pairs(pairs, counts)
    _check_null(null, pairs, variant)
    exchange = Exchange(
        counts,
        genes,
        candidates=candidates,
        groups=groups,
        variant=variant,
        rescale=rescale and variant == "swap",
        dtype=dtype,
    )
    parts: list = [pairs] if null is None else [pairs, null]
    rows = [np.concatenate([part[name] for part in parts]) for name in _ROW_NAMES]
    plan = SwapPlan(exchange, *rows)
    settings = {
        "variant": variant,
        "features": "genes" if groups is None else "groups",
        "rescale": bool(exchange.rescale),
        "layer": str(layer),
        "batch_size": int(batch_size),
        "dtype": dtype.name,
    }
    store = SwapStore(resume, settings | _fingerprint(exchange, plan, pairs.concepts, genes))
    forward = Forward(embed, counts.n_genes, batch_size, dtype)
    run = SwapRun(plan, forward, model, pairs.concepts, store, verbose)
    n_pairs = pairs.prototype.shape[0]
    own = plan.combination[:n_pairs]
    start = run.start(np.unique(plan.pair_of[own]))
    check_same_embedding(pairs, start.pre[own])
    code, pre = run.run()
    found = averages(pairs, null, plan.combination, start, code, pre, exchange.mean_expression())
    passes = _passes(plan, np.unique(plan.pair_of[own]).shape[0], run)
    return GeneAttribution(
        **found,
        concepts=pairs.concepts,
        genes=exchange.names,
        passes=passes,
        steady=run.steady,
        pairs=pairs,
        null=null,
        settings=settings,
    )


_ROW_NAMES = ("prototype", "counterfactual", "position")


def checked_dtype(dtype) -> np.dtype:
    """Floating type of the batches."""
    found = np.dtype(dtype)
    if found not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {found}")
    return found


def check_pairs(pairs, counts) -> None:
    """Raise where pairs and counts do not belong together."""
    if not isinstance(pairs, Counterfactuals):
        raise TypeError(f"pairs must be the result of find_counterfactuals, got {type(pairs)}")
    n_cells = pairs.rules.half.shape[0]
    if n_cells != counts.n_cells:
        raise ValueError(
            f"X must hold the cells that the pairs were found among: {n_cells}, got "
            f"{counts.n_cells}"
        )


def _check_null(null, pairs, variant) -> None:
    """Raise where null pairs have no use, or were made from other pairs."""
    if null is None:
        return
    if variant == "mask":
        raise ValueError(
            'null must be None with variant="mask": a mask takes nothing from the partner, so that '
            "other partners change nothing"
        )
    if not np.array_equal(null.concepts, pairs.concepts):
        raise ValueError("null must be made from these pairs, but its concepts are others")
    chosen = pairs.half == 0
    there = set(zip(pairs.position[chosen].tolist(), pairs.prototype[chosen].tolist()))
    if not there.issuperset(zip(null.position.tolist(), null.prototype.tolist())):
        raise ValueError("null must be made from these pairs, but its prototypes are others")


def check_same_embedding(pairs, pre) -> None:
    """Raise where the prototypes are not what they were when the pairs were found."""
    allowed = np.zeros(pairs.concepts.shape[0])
    within = np.abs(pairs.pre_prototype - pairs.pre_counterfactual)
    size = _SAME * within + _SAME_DIGITS * np.abs(pairs.pre_prototype)
    np.maximum.at(allowed, pairs.position, size)
    wrong = np.flatnonzero(np.abs(pre - pairs.pre_prototype) > allowed[pairs.position])
    if wrong.size:
        first = wrong[0]
        raise ValueError(
            "embed must give the embeddings that the pairs were found with, but for "
            f"{wrong.size} of {pre.shape[0]} pairs it does not: cell {pairs.prototype[first]} has "
            f"pre-activation {pre[first]:.4g} of concept {pairs.concepts[pairs.position[first]]}, "
            f"and had {pairs.pre_prototype[first]:.4g}; pass the same counts, genes in the same "
            "order, the same embed and model"
        )


def _fingerprint(exchange, plan, concepts, genes) -> dict:
    """What the result depends on, besides the model, as a record can hold it."""
    cells = np.unique(plan.pairs[plan.pairs >= 0])
    states = []
    for start in range(0, cells.shape[0], 256):
        states.append(digest(exchange.counts.rows(cells[start : start + 256])))
    features = [digest(exchange.names), digest(exchange.columns)]
    features += [digest(members) for members in exchange.members]
    return {
        "format": _FORMAT,
        "counts": digest(np.array(states)),
        "genes": digest(genes, np.array(features)),
        "concepts": digest(concepts),
        "pairs": digest(plan.pairs, plan.pair_of, plan.concept_of),
    }


def _passes(plan, n_complete, run) -> Bunch:
    """How many forward passes were used, and how many saved."""
    n_pairs, n_features = plan.pairs.shape[0], plan.exchange.n_features
    n_shared = plan.pair_of.shape[0] - n_pairs
    changed = np.array([features.shape[0] for features in plan.changed])
    used = {
        "n_swaps": plan.n_swaps,
        "n_prototypes": plan.cells.shape[0],
        "n_complete": n_complete,
        "n_checks": run.forward.batch_size,
        "n_repeated": run.n_repeated,
    }
    return Bunch(
        **used,
        n_total=sum(used.values()),
        n_padding=run.forward.n_padding,
        n_skipped=n_pairs * n_features - plan.n_swaps,
        n_shared=int(changed[plan.pair_of].sum()) - plan.n_swaps if n_shared else 0,
        n_kept=run.n_kept,
    )
