"""Pre-ranked gene set enrichment analysis of chosen concepts, through gseapy."""

from __future__ import annotations

import inspect
import time
import warnings

import numpy as np
from sklearn.utils import check_random_state

from skdict._validation import check_choice, check_integer, check_real, import_optional
from skdict.genes._concept_places import check_names
from skdict.genes._counts import check_genes
from skdict.genes._false_discovery import q_values
from skdict.genes._gene_sets import GeneSetMatrix, gene_set_matrix
from skdict.genes._prerank_result import PrerankedEnrichment

METHODS = ("multilevel", "permutation")

# Stands for zero, relative to the largest score of a concept.
_NEARLY_ZERO = 1e-7


def prerank(
    scores,
    gene_sets,
    *,
    genes,
    concepts=None,
    min_size: int = 10,
    max_size: int | None = 500,
    weight: float = 1.0,
    method: str = "multilevel",
    n_permutations: int = 1000,
    n_threads: int = 1,
    random_state=None,
    verbose: int = 0,
) -> PrerankedEnrichment:
    r"""Pre-ranked gene set enrichment analysis (GSEA) of the scores of chosen concepts.

    Genes are sorted by their signed score r, largest first. Along the list a running sum rises by
    :math:`|r|^w` at genes of the set and falls by a constant at others, both scaled to a total of
    1; the enrichment score is its largest deviation from zero, with its sign. The null permutes
    the genes. Tables of thousands of concepts are for :func:`over_representation`: a concept here
    takes seconds to minutes, about 2 s per 100 sets.

    Parameters
    ----------
    scores : array-like, shape (n_concepts, n_genes) or (n_genes,)
        Signed scores: attributions, log fold changes. Genes with NaN were not scored and are
        left out of that concept's list.
    gene_sets : dict of str to iterable of str, or path of a GMT file
        Genes of each set. A name of a library is refused: nothing is downloaded.
    genes : array-like of str, shape (n_genes,)
        Names of the genes, written as in the sets.
    concepts : array-like, shape (n_concepts,), or None, default=None
        Names of the concepts; None means their numbers.
    min_size, max_size : int, default=10 and 500
        Fewest and most genes of a set among those scored; `max_size` may be None.
    weight : float, default=1.0
        Exponent w. 0 counts ranks only (the Kolmogorov-Smirnov statistic).
    method : {"multilevel", "permutation"}, default="multilevel"
        ``"multilevel"`` splits the null adaptively as fgsea does [2]_ and resolves small p-values,
        as control over a table of many pairs needs them. ``"permutation"`` counts permutations as
        GSEA does [1]_; no p-value lies below 2 / (2 + `n_permutations`), as if half of the
        permutations had the sign of the score.
    n_permutations : int, default=1000
        Permutations: of the null with ``"permutation"``, of the normalisation with
        ``"multilevel"``.
    n_threads : int, default=1
        Threads of gseapy, which takes at most the number of cores less one.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations and of the order of ties. A concept has the same result whatever
        other concepts are tested with it, if it keeps its place.
    verbose : int, default=0
        Print a line per concept.

    Returns
    -------
    PrerankedEnrichment
        A Bunch that prints a summary and has a method ``pairs(level)``, the table of significant
        pairs with their leading genes:

        concepts : ndarray, shape (n_concepts,)
            Names of the concepts.
        gene_sets : ndarray of str, shape (n_sets,)
            Names of the sets.
        enrichment_score : ndarray, shape (n_concepts, n_sets)
            Largest deviation of the running sum; NaN where a set was not tested.
        normalized_score : ndarray, shape (n_concepts, n_sets)
            Score over the mean of the null scores with its sign (NES).
        p_value : ndarray, shape (n_concepts, n_sets)
            Chance of a null score at least as extreme, among those of the same sign.
        q_value : ndarray, shape (n_concepts, n_sets)
            Benjamini-Hochberg q-values over the whole table. They are not the q-values of GSEA,
            which are estimated for each list alone.
        set_size : ndarray of int, shape (n_concepts, n_sets)
            Genes of the set among those scored.
        leading_edge : ndarray of object, shape (n_concepts, n_sets)
            Tuple of the set's genes up to the extreme of the running sum, strongest first.
        tied_share : ndarray, shape (n_concepts,)
            Share of the scores, zeros left out, that another gene shares. Ties stand in random
            order, and the scores of their sets depend on it; zeros do not matter with `weight`
            above 0.
        reason : ndarray of str, shape (n_concepts,)
            Why a concept was not tested; empty where it was.
        method, n_permutations, weight
            As given.

    Raises
    ------
    ImportError
        If gseapy is missing, or too old for `method`.
    ValueError
        If shapes do not fit, a score is infinite, names of genes are there twice, or the sets
        have no gene in common with `genes`.

    See Also
    --------
    compare_enrichment : Sets found from attributions and from differential expression.
    over_representation : All concepts at once, for a selection of genes.

    Notes
    -----
    Permuting genes takes them as independent, which genes of a pathway are not; the notes of
    :func:`over_representation` hold here too.

    References
    ----------
    .. [1] Subramanian et al., "Gene set enrichment analysis", PNAS 102(43), 2005.
    .. [2] Korotkevich et al., "Fast gene set enrichment analysis", bioRxiv 060012.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import prerank
    >>> rng = np.random.default_rng(0)
    >>> genes = [f"gene {i}" for i in range(200)]
    >>> scores = rng.normal(size=200)
    >>> scores[:20] += 2
    >>> sets = {"first": genes[:20], "last": genes[180:]}
    >>> found = prerank(scores, sets, genes=genes, random_state=0)
    >>> found.pairs(0.05).gene_set
    array(['first'], dtype='<U5')
    """
    check_choice("method", method, METHODS)
    check_integer("n_permutations", n_permutations, 1)
    check_integer("n_threads", n_threads, 1)
    check_real("weight", weight, 0, np.inf)
    scores = _check_scores(scores)
    genes = check_genes(genes, scores.shape[1], "scores")
    names = check_names(concepts, scores.shape[0])
    sets = gene_set_matrix(gene_sets, genes, min_size=min_size, max_size=max_size)
    run = _runner(method, weight, n_permutations, n_threads)

    counted = n_permutations if method == "permutation" else None
    found = _empty(scores.shape[0], sets)
    base = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    most = scores.shape[1] if max_size is None else max_size
    started = time.perf_counter()
    for row in range(scores.shape[0]):
        ranking = _Ranking(scores[row], sets, (min_size, most), np.random.SeedSequence([base, row]))
        found["set_size"][row] = ranking.sizes
        found["tied_share"][row] = ranking.tied_share
        found["reason"][row] = ranking.reason
        if not ranking.reason:
            _fill(found, row, run(ranking), genes, counted)
        if verbose:
            _report(row + 1, scores.shape[0], time.perf_counter() - started)
    return PrerankedEnrichment(
        concepts=names,
        gene_sets=sets.names,
        **found,
        q_value=q_values(found["p_value"]),
        method=method,
        n_permutations=n_permutations,
        weight=weight,
    )


class _Ranking:
    """The sorted genes of one concept, and the sets among them.

    Parameters
    ----------
    scores : ndarray, shape (n_genes,)
        Scores; NaN where a gene has none.
    sets : GeneSetMatrix
        All sets.
    limits : tuple of int
        Smallest and largest size of a set.
    seed : SeedSequence
        Seed of the order of ties, and of what follows.
    """

    def __init__(self, scores, sets: GeneSetMatrix, limits, seed):
        scored = np.flatnonzero(~np.isnan(scores))
        rng = np.random.default_rng(seed)
        self.seed = int(rng.integers(np.iinfo(np.int32).max))
        shuffled = rng.permutation(scored)
        self.genes = shuffled[np.argsort(-scores[shuffled], kind="stable")]
        self.values = scores[self.genes]
        self.sizes = (sets.members @ (~np.isnan(scores)).astype(np.int32)).astype(np.int64)
        within = (self.sizes >= limits[0]) & (self.sizes <= limits[1])
        # a set of all genes has no others to compare with
        self.sets = np.flatnonzero(within & (self.sizes < scored.size))
        self.members = {
            place: np.intersect1d(sets.members[[place]].indices, scored) for place in self.sets
        }
        _, counts = np.unique(self.values[self.values != 0], return_counts=True)
        total = int(counts.sum())
        self.tied_share = counts[counts > 1].sum() / total if total else 0.0
        self.reason = ""
        if total == 0:
            self.reason = "all scores are zero or missing"
        elif self.sets.size == 0:
            self.reason = "no set has the size asked for among the genes scored"

    def for_gseapy(self) -> np.ndarray:
        """Values without zeros, set apart by far less than matters.

        Of a set of zeros alone, as null sets often are, gseapy's multilevel method has no score,
        and fails or gives p = 1. Without ties it does not warn.
        """
        largest = np.abs(self.values).max()
        sign = np.where(self.values < 0, -1.0, 1.0)
        values = sign * np.maximum(np.abs(self.values), _NEARLY_ZERO * largest)
        return values - np.spacing(largest) * np.arange(values.shape[0])


def _runner(method, weight, n_permutations, n_threads):
    """Return a function that runs gseapy on a ranking and gives its table."""
    gseapy = import_optional("gseapy", extra="genes")
    pandas = import_optional("pandas", extra="genes")
    options = {"method": method}
    if "method" not in inspect.signature(gseapy.prerank).parameters:
        if method == "multilevel":
            raise ImportError(
                f'method="multilevel" needs gseapy 1.3 or later, this is {gseapy.__version__}; '
                'update it, or pass method="permutation"'
            )
        options = {}

    def run(ranking: _Ranking):
        # Names of our own: gseapy turns others to upper case, or takes them for numbers.
        values = pandas.Series(ranking.for_gseapy(), index=[f"G{gene}" for gene in ranking.genes])
        sets = {f"S{place}": [f"G{g}" for g in ranking.members[place]] for place in ranking.sets}
        with warnings.catch_warnings():
            # 2026-11: pandas 3.1 deprecates what gseapy 1.3 does with the list
            warnings.filterwarnings("ignore", "The inplace keyword")
            return gseapy.prerank(
                rnk=values,
                gene_sets=sets,
                ascending=None,  # the order is ours
                weight=weight,
                min_size=1,
                max_size=values.shape[0],
                permutation_num=n_permutations,
                threads=n_threads,
                seed=ranking.seed,
                outdir=None,
                no_plot=True,
                **options,
            ).res2d

    return run


def _empty(n_concepts, sets) -> dict:
    """Arrays of a result in which nothing has been tested."""
    shape = (n_concepts, sets.names.shape[0])
    found = {
        name: np.full(shape, np.nan) for name in ("enrichment_score", "normalized_score", "p_value")
    }
    leading = np.empty(shape, dtype=object)
    leading.fill(())
    return found | {
        "set_size": np.zeros(shape, dtype=np.int64),
        "leading_edge": leading,
        "tied_share": np.zeros(n_concepts),
        "reason": np.full(n_concepts, "", dtype=object),
    }


def _fill(found, row, frame, genes, n_permutations) -> None:
    """Enter gseapy's table of one concept; `n_permutations` is None for exact p-values."""
    p_value = frame["NOM p-val"].astype(float)
    if n_permutations is not None:
        # gseapy divides two counts, and 0 is among its p-values (Phipson & Smyth 2010)
        p_value = (p_value * n_permutations + 2) / (n_permutations + 2)
    place = np.array([int(term[1:]) for term in frame["Term"]], dtype=np.intp)
    found["enrichment_score"][row, place] = frame["ES"].astype(float)
    found["normalized_score"][row, place] = frame["NES"].astype(float)
    found["p_value"][row, place] = p_value
    for column, names in zip(place, frame["Lead_genes"]):
        numbers = [int(name[1:]) for name in str(names).split(";") if name.startswith("G")]
        found["leading_edge"][row, column] = tuple(genes[numbers].tolist())


def _check_scores(scores) -> np.ndarray:
    """Scores as float64 rows, finite or NaN."""
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(
            "scores must have shape (n_concepts, n_genes) or (n_genes,) and not be empty, got "
            f"{scores.shape}"
        )
    if np.isinf(scores).any():
        raise ValueError("scores must be finite, or NaN for genes without a score, got infinity")
    return scores


def _report(done, n_concepts, seconds) -> None:
    """Print a line of progress."""
    left = seconds / done * (n_concepts - done)
    print(
        f"[prerank] concept {done} of {n_concepts}, {seconds:.1f} s, {left:.1f} s left", flush=True
    )
