"""Gene sets that hold more of a concept's genes than chance: all concepts x all sets at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from skdict.genes._concept_places import check_names
from skdict.genes._counts import check_genes, locate_genes
from skdict.genes._false_discovery import q_values_of_counts
from skdict.genes._gene_sets import gene_set_matrix
from skdict.genes._hypergeometric import upper_tails
from skdict.genes._over_representation_result import OverRepresentation

# Values of one block of rows.
_BLOCK_VALUES = 1 << 24


def over_representation(
    selected,
    gene_sets,
    *,
    genes,
    background=None,
    concepts=None,
    min_size: int = 10,
    max_size: int | None = 500,
) -> OverRepresentation:
    r"""Test every gene set for more of a concept's genes than chance, for all concepts at once.

    Of M genes in the background, a concept has N and a gene set n. If the concept's genes were
    drawn at random, the number X of genes in common would be hypergeometric, and the p-value is
    its upper tail, P(X >= number observed): Fisher's exact test, one-sided.

    Parameters
    ----------
    selected : {array-like, sparse} of bool, shape (n_concepts, n_genes), or dict
        The genes of each concept (:func:`select_genes`), or a dict of concepts to names of genes.
    gene_sets : dict of str to iterable of str, or path of a GMT file
        Genes of each set. A name of a library is refused: nothing is downloaded.
    genes : array-like of str, shape (n_genes,)
        Names of the genes, written as in the sets.
    background : None, array-like of str or bool, or {array-like, sparse} of bool, default=None
        The genes that could have been selected: those that were attributed. None means all
        `genes`; names or a mask of shape (n_genes,) mean the same for all concepts; a mask of
        shape (n_concepts, n_genes) means that concepts differ: a gene that no cell of a concept
        and none of its counterfactuals express can never drive it, and counting it turns
        "expressed in these cells" into an enrichment.
    concepts : array-like, shape (n_concepts,), or None, default=None
        Names of the concepts; None means their numbers, or the keys of `selected`.
    min_size, max_size : int, default=10 and 500
        Fewest and most genes of a set, counted in the background (in any concept's, if they
        differ); `max_size` may be None.

    Returns
    -------
    OverRepresentation
        A Bunch that prints a summary and has methods ``pairs(level)``, the table of significant
        pairs with their genes, ``by_concept(level)``, and ``dense(name, concepts)``, the values as
        an array:

        concepts : ndarray, shape (n_concepts,)
            Names of the concepts.
        gene_sets : ndarray of str, shape (n_sets,)
            Names of the sets tested.
        genes : ndarray of str, shape (n_genes,)
            Names of the genes.
        overlap : csr_array of int, shape (n_concepts, n_sets)
            Number of genes in common.
        p_value : ndarray, shape (overlap.nnz,)
            P-values of the pairs that `overlap` stores, in its order; all other pairs have 1.
        q_value : ndarray, shape (overlap.nnz,)
            Benjamini-Hochberg q-values over all pairs of the table; all other pairs have 1.
        n_tests : int
            Number of pairs tested: those of concepts with at least one gene and of sets with one
            in its background.
        n_selected : ndarray of int, shape (n_concepts,)
            Genes of each concept.
        set_size : ndarray of int, shape (n_sets,), or (n_concepts, n_sets)
            Genes of each set in the background, or in each concept's.
        n_background : int, or ndarray of int, shape (n_concepts,)
            Genes in the background.
        selected, members : csr_array, shapes (n_concepts, n_genes) and (n_sets, n_genes)
            Genes of the concepts and of the sets.

    Raises
    ------
    ValueError
        If shapes do not fit, names of genes are there twice, the sets have no gene in common with
        the background, a selected gene lies outside it, or `selected` holds other values than
        True and False.

    See Also
    --------
    compare_enrichment : Sets found from attributions and from differential expression.
    prerank : Uses the whole ranking of the genes instead of a selection.

    Notes
    -----
    X is discrete. With exact p-values P(p <= a) is at most a, and equal to a only where a is a
    p-value that the pair can attain: for small sets they are conservative, and a histogram leans
    towards 1. What is uniform under the null is the randomised value P(X > x) + u P(X = x), with
    u uniform; its mean over u, the mid p-value P(X > x) + P(X = x) / 2, has mean 1/2.

    The null draws genes one by one. Genes of a pathway vary together in cells whatever the
    concept, so that a concept which stands for nothing can have significant sets. The null that
    counts for a claim about concepts is that of random directions, or of an untrained model,
    through the same steps.

    Cost: overlaps are one sparse product, and tails are computed once per number of genes and
    size of set. 8,192 concepts of 20 to 500 genes and 6,036 sets take 5 to 10 s on one core
    (``benchmarks/enrichment_scale.py``); of these 49 million pairs those with a gene in common
    are kept, at 24 bytes. With a background of its own for each concept there is a table of tails
    for each, 45 s in all, and `set_size` takes 4 bytes per pair.

    References
    ----------
    .. [1] Benjamini & Hochberg, "Controlling the false discovery rate", Journal of the Royal
       Statistical Society B 57, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import over_representation, select_genes
    >>> genes = [f"gene {i}" for i in range(100)]
    >>> sets = {"first": genes[:20], "last": genes[80:]}
    >>> attribution = np.zeros((2, 100))
    >>> attribution[0, :15] = 0.2
    >>> attribution[1, ::10] = 0.1
    >>> found = over_representation(select_genes(attribution, cutoff=0.05), sets, genes=genes)
    >>> found
    OverRepresentation of 2 concepts x 2 gene sets, 4 pairs tested
      genes in the background       100
      genes per concept             median 12.5, 10 to 15
      concepts without genes        0
      pairs, q <= 0.05              1
      concepts with a set, q <= 0.05  1
    >>> found.pairs(0.05, as_frame=True)[["concept", "gene_set", "overlap", "fold_enrichment"]]
       concept gene_set  overlap  fold_enrichment
    0        0    first       15              5.0
    """
    selected, concepts, genes = _read_selected(selected, concepts, genes)
    backgrounds, counted = _read_background(background, selected, genes)
    sets = gene_set_matrix(
        gene_sets, genes, min_size=min_size, max_size=max_size, background=counted
    )
    overlap = sparse.csr_array(selected @ sparse.csr_array(sets.members.T))
    overlap.sort_indices()
    drawn = np.diff(selected.indptr).astype(np.int64)
    if backgrounds is None:
        sizes = np.diff(sets.members.indptr).astype(np.int64)
        totals: int | np.ndarray = genes.shape[0] if counted is None else int(counted.sum())
        n_tests = int(np.count_nonzero(drawn)) * sizes.shape[0]
    else:
        sizes = _sizes_by_concept(backgrounds, sets.members)
        totals = np.diff(backgrounds.indptr).astype(np.int64)
        n_tests = int(np.count_nonzero(sizes[drawn > 0]))
    p_value, q_value = _test(overlap, drawn, sizes, totals, n_tests)
    return OverRepresentation(
        concepts=concepts,
        gene_sets=sets.names,
        genes=genes,
        overlap=overlap,
        p_value=p_value,
        q_value=q_value,
        n_tests=n_tests,
        n_selected=drawn,
        set_size=sizes,
        n_background=totals,
        selected=selected,
        members=sets.members,
    )


def _read_selected(selected, concepts, genes):
    """Pattern of the selected genes, names of the concepts and of the genes."""
    if isinstance(selected, Mapping):
        genes = check_genes(genes, np.size(genes), "the data")
        if concepts is not None:
            raise ValueError("concepts must be None with a dict: its keys name the concepts")
        if not selected:
            raise ValueError("selected must hold at least one concept, got an empty dict")
        lists = [list(dict.fromkeys(names)) for names in selected.values()]
        rows = [locate_genes(names, genes, "selected") if names else [] for names in lists]
        pattern = sparse.lil_array((len(rows), genes.shape[0]), dtype=np.int32)
        for place, columns in enumerate(rows):
            pattern[place, columns] = 1
        return sparse.csr_array(pattern), np.array(list(selected)), genes
    pattern = _pattern(selected, "selected")
    genes = check_genes(genes, pattern.shape[1], "selected")
    return pattern, check_names(concepts, pattern.shape[0]), genes


def _pattern(mask, name: str) -> sparse.csr_array:
    """Mask as a 0/1 pattern of int32, without stored zeros."""
    if not sparse.issparse(mask):
        mask = np.asarray(mask)
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(
            f"{name} must have shape (n_concepts, n_genes) and not be empty, got {mask.shape}"
        )
    matrix = sparse.csr_array(mask)
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # the caller's matrix stays as it is
        matrix.sum_duplicates()
    if matrix.dtype.kind not in "biuf" or not np.isin(matrix.data, [0, 1]).all():
        raise ValueError(
            f"{name} must hold True and False (or 1 and 0), got dtype {matrix.dtype}; scores are "
            "turned into a selection by select_genes"
        )
    pattern = matrix.astype(np.int32)  # a copy: the caller's matrix stays as it is
    pattern.eliminate_zeros()
    return pattern


def _read_background(background, selected, genes):
    """Background of each concept (None if they share one), and columns that count at all."""
    if background is None:
        return None, None
    if sparse.issparse(background) or np.ndim(background) == 2:
        backgrounds = _pattern(background, "background")
        if backgrounds.shape != selected.shape:
            raise ValueError(
                f"background must have the shape {selected.shape} of selected, got "
                f"{backgrounds.shape}"
            )
        counted = np.bincount(backgrounds.indices, minlength=genes.shape[0]) > 0
        outside = selected.nnz - selected.multiply(backgrounds).nnz
    else:
        backgrounds, counted = None, np.zeros(genes.shape[0], dtype=bool)
        counted[locate_genes(background, genes, "background")] = True
        outside = np.count_nonzero(~counted[selected.indices])
    if outside:
        raise ValueError(
            f"selected must lie within background, but {outside} selected genes do not: genes "
            "that can be selected belong to the background"
        )
    return backgrounds, counted


def _sizes_by_concept(backgrounds, members) -> np.ndarray:
    """Genes of every set in the background of every concept."""
    by_gene = sparse.csr_array(members.T)
    sizes = np.empty((backgrounds.shape[0], members.shape[0]), dtype=np.int32)
    height = max(1, _BLOCK_VALUES // members.shape[0])
    for start in range(0, sizes.shape[0], height):
        sizes[start : start + height] = (backgrounds[start : start + height] @ by_gene).toarray()
    return sizes


def _test(overlap, drawn, sizes, totals, n_tests):
    """P- and q-values of the stored entries of `overlap`."""
    cell = np.empty(overlap.nnz, dtype=np.int64)
    p_values, counts, n_cells = [np.empty(0)], [np.empty(0, dtype=np.int64)], 0
    for rows, n_drawn, total, size in _groups(drawn, sizes, totals):
        entries = _entries_of(overlap.indptr, rows)
        if entries.size == 0:
            continue
        distinct, place = np.unique(size, return_inverse=True)
        common = overlap.data[entries]
        most = int(common.max())
        tail = upper_tails(distinct, n_drawn, total, most).ravel()
        key = place[overlap.indices[entries]] * (most + 1) + common
        count = np.bincount(key, minlength=tail.shape[0])
        used = np.flatnonzero(count)
        number = np.empty(tail.shape[0], dtype=np.int64)
        number[used] = np.arange(n_cells, n_cells + used.shape[0])
        cell[entries] = number[key]
        p_values.append(tail[used])
        counts.append(count[used])
        n_cells += used.shape[0]
    p_value = np.concatenate(p_values)
    return p_value[cell], q_values_of_counts(p_value, np.concatenate(counts), n_tests)[cell]


def _groups(drawn, sizes, totals):
    """Yield rows that share a table of tails: their genes, background and sizes of sets."""
    if sizes.ndim == 2:
        for row in np.flatnonzero(drawn):
            yield np.array([row]), int(drawn[row]), int(totals[row]), sizes[row]
        return
    order = np.argsort(drawn, kind="stable")
    numbers, first = np.unique(drawn[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(order, first[1:])):
        if number:
            yield rows, number, totals, sizes


def _entries_of(indptr, rows) -> np.ndarray:
    """Places of the stored entries of some rows."""
    return np.concatenate([np.arange(indptr[row], indptr[row + 1]) for row in rows])
