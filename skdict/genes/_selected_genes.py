"""The genes of each concept: the first of a list of scores, or those beyond a cut-off."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._validation import check_choice, check_integer, check_real
from skdict.genes._rounding import is_change

ORDERS = ("largest", "smallest", "magnitude")

# Values of one block of rows.
_BLOCK_VALUES = 1 << 22


def select_genes(
    scores, *, n_top: int | None = None, cutoff: float | None = None, order: str = "largest"
) -> sparse.csr_array:
    """Select the genes of each concept by their scores.

    Parameters
    ----------
    scores : array-like, shape (n_concepts, n_genes)
        Attributions, log fold changes or another score; NaN where a gene has none, which is
        never selected. A memory map is read in blocks.
    n_top : int or None, default=None
        At most so many genes of each concept: the first in this order. Among equal scores at the
        end the first columns are taken.
    cutoff : float or None, default=None
        Only genes that score more than this, in the direction of `order`. With `n_top` alone it
        is 1e-5 of the concept's largest absolute score: a gene with a score of zero, or with what
        rounding leaves of it, stands for nothing.
    order : {"largest", "smallest", "magnitude"}, default="largest"
        Select the largest scores (above `cutoff`), the most negative ones (below ``-cutoff``) or
        the largest absolute values (above `cutoff`).

    Returns
    -------
    csr_array of bool, shape (n_concepts, n_genes)
        True where a gene is selected.

    Raises
    ------
    ValueError
        If neither `n_top` nor `cutoff` is given, or the scores have a wrong shape.

    See Also
    --------
    over_representation : Tests what is selected.

    Examples
    --------
    >>> from skdict.genes import select_genes
    >>> scores = [[0.5, 0.1, 0.0, -0.3], [0.0, 0.0, 0.02, 0.01]]
    >>> select_genes(scores, cutoff=0.05).toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 0, 0, 0]])
    >>> select_genes(scores, n_top=2, order="magnitude").toarray().astype(int)
    array([[1, 0, 0, 1],
           [0, 0, 1, 1]])
    """
    check_choice("order", order, ORDERS)
    check_integer("n_top", n_top, 1, none=True)
    if n_top is None and cutoff is None:
        raise ValueError("n_top or cutoff must be given: how many genes, or what they must exceed")
    if cutoff is not None:
        check_real("cutoff", cutoff, 0, np.inf)
    scores = scores if hasattr(scores, "shape") else np.asarray(scores)
    if sparse.issparse(scores) or len(scores.shape) != 2 or 0 in scores.shape:
        raise ValueError(
            "scores must be a dense array of shape (n_concepts, n_genes) that is not empty, got "
            f"{type(scores).__name__} of shape {scores.shape}"
        )
    height = max(1, _BLOCK_VALUES // scores.shape[1])
    blocks = [
        _selected(np.asarray(scores[start : start + height]), n_top, cutoff, order)
        for start in range(0, scores.shape[0], height)
    ]
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _selected(scores, n_top, cutoff, order) -> sparse.csr_array:
    """Selected genes of some rows."""
    if scores.dtype.kind not in "fiu":
        raise ValueError(f"scores must be real numbers, got dtype {scores.dtype}")
    scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
    height = {"largest": scores, "smallest": -scores, "magnitude": np.abs(scores)}[order]
    # neither holds for NaN
    chosen = is_change(scores) & (height > 0) if cutoff is None else height > cutoff
    if n_top is not None and n_top < scores.shape[1]:
        height = np.where(chosen, height, -np.inf)
        last = np.partition(height, -n_top, axis=1)[:, -n_top, None]
        above = height > last
        tied = height == last
        tied &= np.cumsum(tied, axis=1) <= n_top - above.sum(axis=1, keepdims=True)
        chosen &= above | tied
    return sparse.csr_array(chosen)
