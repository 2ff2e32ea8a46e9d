"""Counts split in two: a concept is called on one part and tested on the other."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_real
from skdict.genes._whole_counts import whole_counts

# Counts split together.
_BLOCK_VALUES = 1 << 24


class CountSplit(Bunch):
    """Result of :func:`split_counts`; prints the size of both parts.

    See :func:`split_counts` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def __repr__(self):
        """Summary: how many counts each part has."""
        total = self.calling.sum() + self.testing.sum()
        return "\n".join(
            [
                "CountSplit of {} cells x {} genes, {:.0f} counts".format(
                    *self.calling.shape, total
                ),
                f"  to call concepts on           {self.calling.sum() / max(total, 1):.1%}",
                f"  to test them on               {self.testing.sum() / max(total, 1):.1%}",
            ]
        )


def split_counts(X, share: float = 0.5, *, dispersion=None, random_state=None) -> CountSplit:
    r"""Split counts at random into two parts that are independent given the cells' true rates.

    A concept is active in a cell because of the counts of that cell. A test of the same counts
    between its active and inactive cells finds the genes whose noise made the concept active.
    Each count x is therefore split: the first part is binomial with x trials and probability
    `share`, the second is what remains. If counts are Poisson, both parts are Poisson and
    independent [1]_. Codes are computed from the first part, tests from the second.

    Parameters
    ----------
    X : {array-like, sparse}, shape (n_cells, n_genes)
        Raw counts: whole numbers, not negative. A dense memory map is read in blocks.
    share : float, default=0.5
        Share of the counts in the first part, between 0 and 1.
    dispersion : float or array-like of shape (n_genes,), or None, default=None
        Overdispersion :math:`\phi` of counts with variance :math:`\mu + \phi \mu^2` (negative
        binomial, as DESeq2 and edgeR estimate it). The probability of each count is then drawn
        from a beta distribution with parameters ``share / dispersion`` and
        ``(1 - share) / dispersion``, which makes the two parts independent again [2]_. None or 0
        is Poisson.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    CountSplit
        A Bunch that prints a summary, with:

        calling : csr_array, shape (n_cells, n_genes)
            First part: embed it, and compute codes from it. Its type of number is that of X.
        testing : csr_array, shape (n_cells, n_genes)
            Second part, for :func:`differential_expression`.
        share : float
            As given.

    Raises
    ------
    ValueError
        If X holds negative, fractional, NaN or infinite values (normalised or log-transformed
        values cannot be split), `share` is not in (0, 1), or `dispersion` is negative.

    See Also
    --------
    differential_expression : Gives p-values for a split.

    Notes
    -----
    Poisson means that, of two cells with the same true rate, one differs from the other by
    sampling alone. Where counts of one gene vary beyond that (bursts of transcription, doublets,
    ambient RNA), both parts of a cell share this excess: their covariance is
    ``share * (1 - share) * dispersion * mean ** 2``. The test then finds the excess, and its
    p-values are too small for strongly dispersed genes, however many donors there are: cells with
    a burst are active in every donor. Pass `dispersion`, or read such p-values as those of "the
    gene differs between these very cells".

    The embedding is computed from half of the counts, so that a concept can be active in fewer
    cells, or others.

    References
    ----------
    .. [1] Neufeld, Gao, Popp, Battle & Witten, "Inference after latent variable estimation for
       single-cell RNA sequencing data", Biostatistics 25(1), 2024.
    .. [2] Neufeld, Popp, Gao, Battle & Witten, "Negative binomial count splitting for single-cell
       RNA sequencing data", arXiv 2307.12985.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import split_counts
    >>> X = np.random.default_rng(0).poisson(3.0, size=(50, 20))
    >>> split = split_counts(X, random_state=0)
    >>> bool((split.calling + split.testing == X).all())
    True
    """
    check_real("share", share, 0, 1, open_low=True)
    if share == 1:
        raise ValueError(f"share must be less than 1, got {share!r}")
    counts = whole_counts(X)
    dispersion = _check_dispersion(dispersion, counts.shape[1])
    first = np.empty_like(counts.data)
    rng = check_random_state(random_state)
    for start in range(0, counts.nnz, _BLOCK_VALUES):
        block = slice(start, start + _BLOCK_VALUES)
        genes = counts.indices[block]
        first[block] = _thinned(counts.data[block].astype(np.int64), genes, share, dispersion, rng)
    calling, testing = (_part(counts, data) for data in (first, counts.data - first))
    return CountSplit(calling=calling, testing=testing, share=share)


def _part(counts, data) -> sparse.csr_array:
    """One part of the counts."""
    part = sparse.csr_array((data, counts.indices, counts.indptr), shape=counts.shape, copy=True)
    part.eliminate_zeros()
    return part


def _check_dispersion(dispersion, n_genes) -> np.ndarray | None:
    """Dispersion of each gene; None if counts are Poisson."""
    if dispersion is None:
        return None
    values = np.asarray(dispersion, dtype=np.float64)
    if values.shape not in ((), (n_genes,)) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(
            f"dispersion must be a number >= 0 or one per gene ({n_genes}), got {dispersion!r}"
        )
    return np.broadcast_to(values, (n_genes,)) if values.any() else None


def _thinned(trials, genes, share, dispersion, rng) -> np.ndarray:
    """First part of some counts."""
    if dispersion is None:
        return rng.binomial(trials, share)
    chance, spread = np.full(trials.shape[0], share), dispersion[genes]
    wide = spread > 0
    chance[wide] = rng.beta(share / spread[wide], (1 - share) / spread[wide])
    return rng.binomial(trials, chance)
