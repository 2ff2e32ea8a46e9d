"""Gradient times difference: a fast screen for genes, and how well it agrees with exchange."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import columns_of, table
from skdict._validation import check_boolean_or, check_integer, import_optional
from skdict.genes._attribution import check_pairs, check_same_embedding, checked_dtype
from skdict.genes._concepts import check_embeddings, check_model
from skdict.genes._counterfactuals import Counterfactuals
from skdict.genes._counts import Counts, check_genes
from skdict.genes._exchange import Exchange
from skdict.genes._forward import check_eval, is_module
from skdict.genes._pair_averages import rank_correlation
from skdict.genes._rounding import is_change

# Step of the differences in embedding space, relative to the size of an embedding's entries.
_STEP = 1e-5


class GradientAttribution(Bunch):
    """Result of :func:`gradient_attribution`.

    See :func:`gradient_attribution` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, concept, *, n: int | None = None, as_frame: bool = False):
        """Table of the genes of one concept, the largest attribution first.

        Parameters
        ----------
        concept : int
            The concept.
        n : int or None, default=None
            Most genes to list.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``gene``, ``attribution``, ``confirmation``.

        Raises
        ------
        ValueError
            If the concept was not attributed.
        """
        check_integer("n", n, 1, none=True)
        place = np.flatnonzero(self.concepts == concept)
        if place.size == 0:
            raise ValueError(
                f"concept must be one of those attributed, {self.concepts[:10].tolist()}, "
                f"got {concept!r}"
            )
        k = place[0]
        order = np.argsort(-self.attribution[k], kind="stable")[:n]
        columns = {"gene": self.genes[order]}
        columns |= {name: self[name][k, order] for name in ("attribution", "confirmation")}
        return table(columns, as_frame)

    def candidates(self, n: int) -> np.ndarray:
        """Genes that are among the first `n` of any concept, by absolute attribution.

        Parameters
        ----------
        n : int
            Genes of each concept.

        Returns
        -------
        ndarray, shape (n_candidates,)
            Their names, for `candidates` of :func:`attribute_genes`.
        """
        check_integer("n", n, 1)
        size = np.abs(np.nan_to_num(self.attribution))
        first = np.argsort(-size, axis=1, kind="stable")[:, :n]
        chosen = np.zeros(size.shape, dtype=bool)
        np.put_along_axis(chosen, first, True, axis=1)
        return self.genes[(chosen & (size > 0)).any(axis=0)]

    def __repr__(self):
        """Concepts, genes and passes."""
        return (
            f"GradientAttribution of {self.concepts.shape[0]} concepts to {self.genes.shape[0]} "
            f"genes, {self.n_passes:,} forward and backward passes"
        )


def gradient_attribution(
    X,
    embed,
    model,
    pairs: Counterfactuals,
    *,
    genes=None,
    rescale: bool = True,
    layer: str = "counts",
    batch_size: int = 64,
    dtype=np.float32,
) -> GradientAttribution:
    r"""Screen genes by the gradient of the pre-activation times the difference of the pair.

    .. math::

       a_{pg} = \frac{\partial\, \text{pre}_k(x_p)}{\partial x_{pg}} \,
                (x_{pg} - \tilde x_{cg})

    is what :func:`attribute_genes` finds for the pre-activation where the model is linear, and its
    first order elsewhere: one forward and backward pass for each prototype of a concept
    instead of one forward pass for each gene. A gene without counts in the prototype has a
    gradient all the same, but one that saturates or thresholds is misjudged: measure
    :func:`rank_agreement` on some concepts before relying on it.

    Parameters
    ----------
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Raw counts of all cells.
    embed : callable or torch.nn.Module
        ``embed(X_batch)`` gives a torch tensor of embeddings, differentiable in its
        argument: a torch tensor of shape (n_rows, n_genes), on the device of the module, or on
        the CPU for a function.
    model : DictionaryConcepts or DirectionConcepts
        What turns embeddings into activations.
    pairs : Counterfactuals
        From :func:`find_counterfactuals`.
    genes : array-like, shape (n_genes,), or None, default=None
        Names of the genes; None numbers them.
    rescale : bool, default=True
        Rescale the counterfactual's counts to the depth of the prototype.
    layer : str, default="counts"
        What X is, noted in the settings.
    batch_size : int, default=64
        Rows of a pass.
    dtype : dtype, default=numpy.float32
        Floating type of the batches.

    Returns
    -------
    GradientAttribution
        A Bunch with methods ``table(concept)`` and ``candidates(n)``:

        attribution, confirmation : ndarray, shape (n_concepts, n_genes)
            Means over the prototypes where they were chosen, and over those of the other half;
            NaN where there are none.
        concepts : ndarray of int, shape (n_concepts,)
            The concepts.
        genes : ndarray, shape (n_genes,)
            The genes.
        n_passes : int
            Forward and backward passes.
        settings : dict
            The parameters that are numbers or names.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If `embed` gives no tensor that depends on its argument, or `model` is no model of concepts.
    ValueError
        If shapes do not fit, `embed` gives other embeddings than those of `pairs`, or a gradient
        is NaN or infinite.

    See Also
    --------
    attribute_genes : Exchange of genes, for any model.

    Notes
    -----
    From embedding to pre-activation the gradient is taken by central differences in float64,
    2 x n_features rows per prototype, so that any whitening or scaling in front of the
    dictionary will do.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skdict.datasets import make_driver_genes
    >>> from skdict.genes import DirectionConcepts, find_counterfactuals, gradient_attribution
    >>> data = make_driver_genes(random_state=0)
    >>> weights = torch.from_numpy(data.directions.T @ data.weights).float()
    >>> embed = lambda X: torch.log1p(X) @ weights.T
    >>> E = embed(torch.from_numpy(data.counts.toarray()))
    >>> model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
    >>> pairs = find_counterfactuals(E, model, [0], units=data.donor, random_state=0)
    >>> screen = gradient_attribution(data.counts, embed, model, pairs, genes=data.genes)
    >>> sorted(screen.candidates(5).tolist())
    ['driver0.0', 'driver0.1', 'driver0.2', 'driver0.3', 'driver0.4']
    """
    torch = import_optional("torch", extra="torch")
    check_boolean_or("rescale", rescale, ())
    check_integer("batch_size", batch_size, 1)
    dtype = checked_dtype(dtype)
    check_model(model)
    counts = Counts(X)
    check_pairs(pairs, counts)
    genes = check_genes(genes, counts.n_genes)
    exchange = Exchange(
        counts, genes, candidates=None, groups=None, variant="swap", rescale=rescale, dtype=dtype
    )
    if is_module(embed):
        check_eval(embed)
    gradient = _Gradient(torch, embed, model, pairs.concepts)
    asked, place = np.unique(
        np.column_stack([pairs.prototype, pairs.position]), axis=0, return_inverse=True
    )
    pre = np.empty(asked.shape[0])
    sums = np.zeros((2, pairs.concepts.shape[0], counts.n_genes))
    for start in range(0, asked.shape[0], batch_size):
        block = asked[start : start + batch_size]
        rows = slice(start, start + block.shape[0])
        slopes, pre[rows] = gradient(counts.rows(block[:, 0], dtype), block[:, 1])
        for (cell, position), slope in zip(block, slopes):
            for row in np.flatnonzero((pairs.prototype == cell) & (pairs.position == position)):
                before, after = exchange.profiles([cell], pairs.counterfactual[[row]])
                difference = before[0].astype(np.float64) - after[0]
                sums[pairs.half[row], position] += pairs.weight[row] * slope * difference
    check_same_embedding(pairs, pre[place.reshape(-1)])
    n_prototypes = np.zeros(sums.shape[:2])
    np.add.at(n_prototypes, (pairs.half, pairs.position), pairs.weight)
    with np.errstate(invalid="ignore"):
        attribution, confirmation = sums / n_prototypes[:, :, None]
    return GradientAttribution(
        attribution=attribution,
        confirmation=confirmation,
        concepts=pairs.concepts,
        genes=genes,
        n_passes=asked.shape[0],
        settings={"layer": str(layer), "rescale": bool(rescale), "batch_size": int(batch_size)},
    )


class _Gradient:
    """Gradients of pre-activations in the counts.

    Parameters
    ----------
    torch : module
        torch.
    embed : callable or torch.nn.Module
        The model.
    model : DictionaryConcepts or DirectionConcepts
        The concepts.
    concepts : ndarray of int
        Concepts that places stand for.
    """

    def __init__(self, torch, embed, model, concepts):
        self.torch, self.embed, self.model, self.concepts = torch, embed, model, concepts
        self.device = torch.device("cpu")
        if is_module(embed):
            self.device = next((value.device for value in embed.parameters()), self.device)

    def __call__(self, rows, positions) -> tuple[np.ndarray, np.ndarray]:
        """Gradient of one pre-activation for each row, (n_rows, n_genes), and its value."""
        x = self.torch.from_numpy(rows).to(self.device).requires_grad_(True)
        with self.torch.enable_grad():
            found = self.embed(x)
            if not (isinstance(found, self.torch.Tensor) and found.requires_grad):
                raise TypeError(
                    "embed must give a torch tensor that depends on its argument, got "
                    f"{type(found).__name__}; without torch, use attribute_genes"
                )
            embeddings = check_embeddings(found, "embed(X)").astype(np.float64)
            slopes, values = (
                np.array(part, dtype=np.float64)
                for part in zip(*(self._slope(row, k) for row, k in zip(embeddings, positions)))
            )
            pull = self.torch.from_numpy(slopes).to(found.device, found.dtype)
            (gradient,) = self.torch.autograd.grad((found * pull).sum(), x)
        gradient = gradient.cpu().numpy().astype(np.float64)
        if not np.isfinite(gradient).all():
            raise ValueError(
                "embed has NaN or infinite gradients at counts: look for a square root or "
                "logarithm of zero in its normalisation"
            )
        return gradient, values

    def _slope(self, embedding, position) -> tuple[np.ndarray, float]:
        """Gradient of one pre-activation in the embedding, by central differences; its value."""
        step = _STEP * max(np.sqrt((embedding**2).mean()), 1e-12)
        shifts = step * np.eye(embedding.shape[0])
        rows = np.concatenate([embedding + shifts, embedding - shifts, embedding[None]])
        pre = self.model.pre_activations(rows, self.concepts[[position]])[:, 0]
        above, below = np.split(pre[:-1], 2)
        return (above - below) / (2 * step), pre[-1]


def rank_agreement(exact, screen, *, n: int = 20, as_frame: bool = False):
    """How well a screen ranks the genes of each concept, against their attribution by exchange.

    Parameters
    ----------
    exact : GeneAttribution
        Attributions; those of the pre-activation are compared.
    screen : GradientAttribution or GeneAttribution
        The screen, of the same concepts. Of a GeneAttribution, the pre-activation.
    n : int, default=20
        Genes at the top to compare.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        concept : ndarray of int
            The concept.
        rank_correlation : ndarray of float
            Spearman's rank correlation over the genes that change anything in either.
        top_share : ndarray of float
            Share of the `n` genes with the largest exact attributions that are among the `n`
            largest of the screen. Only attributions above zero count on either side; NaN where
            there are none.
        n_genes : ndarray of int
            Genes that change anything in either.

    Raises
    ------
    ValueError
        If the concepts differ, or no gene is in both.

    Examples
    --------
    >>> from sklearn.utils import Bunch
    >>> from skdict.genes import rank_agreement
    >>> genes, concepts = ["a", "b", "c", "d"], [7]
    >>> exact = Bunch(concepts=concepts, genes=genes, attribution=[[3.0, 2.0, 1.0, 0.0]])
    >>> screen = Bunch(concepts=concepts, genes=genes, attribution=[[6.0, 1.0, 2.0, 0.0]])
    >>> found = rank_agreement(exact, screen, n=1)
    >>> found.rank_correlation, found.top_share
    (array([0.5]), array([1.]))
    """
    check_integer("n", n, 1)
    if not np.array_equal(exact["concepts"], screen["concepts"]):
        raise ValueError(
            "exact and screen must have the same concepts, got "
            f"{list(exact['concepts'])[:5]} and {list(screen['concepts'])[:5]}"
        )
    names, here, there = np.intersect1d(exact["genes"], screen["genes"], return_indices=True)
    if names.size == 0:
        raise ValueError("exact and screen must have genes in common, but share none")
    rows = []
    for k, concept in enumerate(exact["concepts"]):
        one, other = (
            np.asarray(found.get("pre", found)["attribution"])[k, place]
            for found, place in ((exact, here), (screen, there))
        )
        changes = is_change(one) | is_change(other)
        top, top_of_screen = (_first(values, n) for values in (one, other))
        rows.append(
            {
                "concept": concept,
                "rank_correlation": rank_correlation(one, other, changes),
                "top_share": np.isin(top, top_of_screen).mean() if top.size else np.nan,
                "n_genes": np.count_nonzero(changes),
            }
        )
    found = columns_of(rows, as_frame)
    return found if as_frame else Bunch(**found)


def _first(values, n: int) -> np.ndarray:
    """Places of the `n` largest values, of those above zero."""
    order = np.argsort(-values, kind="stable")[:n]
    return order[is_change(values)[order] & (values[order] > 0)]
