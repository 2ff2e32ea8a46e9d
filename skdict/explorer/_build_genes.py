"""Genes and gene sets of the concepts of a bundle, from the results of :mod:`skdict.genes`."""

from __future__ import annotations

import numpy as np

from skdict.explorer._build_texts import plain_text
from skdict.explorer._bundle_tables import GENE_COLUMNS, PATHWAY_COLUMNS
from skdict.genes import (
    DifferentialExpression,
    GeneAttribution,
    OverRepresentation,
    PrerankedEnrichment,
)

_N_NAMED = 5  # genes named in the table of concepts


def gene_rows(attribution, expression, n_concepts: int, n_genes: int) -> dict[str, np.ndarray]:
    """Table of the genes that matter for each concept by any of three measures.

    Parameters
    ----------
    attribution : GeneAttribution or None
        Attributions.
    expression : DifferentialExpression or None
        Effects on expression.
    n_concepts : int
        Number of concepts of the bundle.
    n_genes : int
        Genes kept per concept and measure.

    Returns
    -------
    dict of ndarray
        Columns of ``genes.parquet``, sorted by concept, then by descending attribution (by fold
        change where there is none).

    Raises
    ------
    TypeError, ValueError
        If a result has another type, or concepts that the bundle does not have.
    """
    _check_type("attribution", attribution, GeneAttribution)
    _check_type("expression", expression, DifferentialExpression)
    results = [result for result in (attribution, expression) if result is not None]
    names = list(dict.fromkeys(gene for result in results for gene in result.genes.tolist()))
    place_of = {gene: place for place, gene in enumerate(names)}
    measures = _measures(attribution, expression)
    rows_of = [_rows_of(name, result, n_concepts) for name, result in measures]
    places = [
        np.array([place_of[gene] for gene in result.genes.tolist()]) for _, result in measures
    ]
    written = np.array([plain_text(name) for name in names], dtype=object)
    parts: list[dict] = []
    for concept in sorted({concept for rows in rows_of for concept in rows}):
        values = {}
        for (_, result), rows, place in zip(measures, rows_of, places):
            values |= _spread(result, rows.get(concept), place, len(names))
        parts.append(_chosen(concept, values, written, n_genes))
    return _joined(parts, GENE_COLUMNS)


def _measures(attribution, expression) -> list:
    named = [("attribution", attribution), ("expression", expression)]
    return [(name, result) for name, result in named if result is not None]


def _spread(result, row, place: np.ndarray, n_names: int) -> dict[str, np.ndarray]:
    """Values of one concept on the genes of both results."""
    if isinstance(result, GeneAttribution):
        source = {name: result[name] for name in ("attribution", "standard_error", "q_value")}
        source["pre_attribution"] = result.pre.attribution
    else:
        source = {"log_fold_change": result.log_fold_change}
    found = {}
    for name, values in source.items():
        found[name] = np.full(n_names, np.nan, dtype=np.float32)
        if row is not None and values is not None:
            found[name][place] = values[row]
    return found


def _chosen(concept: int, values: dict, names: np.ndarray, n_genes: int) -> dict[str, np.ndarray]:
    """Rows of one concept."""
    unknown = np.full(names.shape[0], np.nan, dtype=np.float32)
    values = {name: values.get(name, unknown) for name in list(GENE_COLUMNS)[2:7]}
    kept = [
        _largest(np.abs(values["attribution"]), n_genes),
        _largest(np.abs(values["pre_attribution"]), n_genes),
        _largest(values["log_fold_change"], n_genes),
    ]
    genes = np.unique(np.concatenate(kept))
    known = np.isfinite(values["attribution"][genes]).any()
    sort_by = values["attribution" if known else "log_fold_change"][genes]
    genes = genes[np.argsort(-sort_by, kind="stable")]
    columns = {"concept": np.full(genes.shape[0], concept, dtype=np.int32), "gene": names[genes]}
    columns |= {name: column[genes] for name, column in values.items()}
    columns["rank_attribution"] = _ranks(values["attribution"], genes)
    columns["rank_expression"] = _ranks(values["log_fold_change"], genes)
    return columns


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Places of the n largest values that are known."""
    known = np.flatnonzero(~np.isnan(values))
    if known.shape[0] <= n:
        return known
    return known[np.argpartition(-values[known], n - 1)[:n]]


def _ranks(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rank of some values among all, 1 for the largest; -1 where unknown."""
    ordered = np.sort(-values[~np.isnan(values)])
    wanted = values[places]
    ranks = 1 + np.searchsorted(ordered, -wanted, side="left")
    return np.where(np.isnan(wanted), -1, ranks).astype(np.int32)


def top_genes(rows: dict, n_concepts: int) -> np.ndarray:
    """Names of the first genes of each concept with a value above 0, separated by commas."""
    found = np.full(n_concepts, "", dtype=object)
    bounds = starts_of(rows["concept"], n_concepts).tolist()
    for concept, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:])):
        value = rows["attribution"][start:stop]
        if not np.isfinite(value).any():
            value = rows["log_fold_change"][start:stop]
        found[concept] = ", ".join(rows["gene"][start:stop][value > 0][:_N_NAMED])
    return found


def pathway_rows(enrichment, expression_enrichment, n_concepts: int, n_sets: int) -> dict:
    """Table of the gene sets with the smallest p-values of each concept.

    Parameters
    ----------
    enrichment, expression_enrichment : OverRepresentation, PrerankedEnrichment or None
        Enrichment of attributed genes, and of differentially expressed ones.
    n_concepts : int
        Number of concepts of the bundle.
    n_sets : int
        Gene sets kept per concept and way.

    Returns
    -------
    dict of ndarray
        Columns of ``pathways.parquet``, sorted by concept, then by p-value.

    Raises
    ------
    TypeError, ValueError
        If a result has another type, or concepts that the bundle does not have.
    """
    parts = []
    ways = {"attribution": ("enrichment", enrichment)}
    ways["expression"] = ("expression_enrichment", expression_enrichment)
    for found_by, (name, result) in ways.items():
        _check_type(name, result, (OverRepresentation, PrerankedEnrichment))
        if result is None:
            continue
        pick = _over_represented if isinstance(result, OverRepresentation) else _preranked
        for concept, row in _rows_of(name, result, n_concepts).items():
            columns = pick(result, row, n_sets)
            n_rows = len(columns["p_value"])
            columns["concept"] = np.full(n_rows, concept, dtype=np.int32)
            columns["found_by"] = np.full(n_rows, found_by, dtype=object)
            parts.append(columns)
    rows = _joined(parts, PATHWAY_COLUMNS)
    order = np.lexsort((rows["p_value"], rows["concept"]))
    return {name: values[order] for name, values in rows.items()}


def _over_represented(result, row: int, n_sets: int) -> dict[str, np.ndarray]:
    """Best gene sets of one concept that have genes in common with it."""
    start, stop = result.overlap.indptr[row : row + 2]
    entries = start + np.argsort(result.p_value[start:stop], kind="stable")[:n_sets]
    sets = result.overlap.indices[entries]
    own = _members(result.selected, row)
    common = [np.intersect1d(own, _members(result.members, place)) for place in sets]
    return {
        "gene_set": _plain(result.gene_sets[sets]),
        "n_overlap": result.overlap.data[entries].astype(np.int32),
        "overlap": _plain(["; ".join(result.genes[genes].tolist()) for genes in common]),
        "p_value": result.p_value[entries],
        "q_value": result.q_value[entries],
    }


def _preranked(result, row: int, n_sets: int) -> dict[str, np.ndarray]:
    """Best gene sets of one concept, with their leading edge."""
    known = np.flatnonzero(~np.isnan(result.p_value[row]))
    strength = -np.abs(result.normalized_score[row, known])
    sets = known[np.lexsort((strength, result.p_value[row, known]))][:n_sets]
    edges = [result.leading_edge[row, place] for place in sets]
    return {
        "gene_set": _plain(result.gene_sets[sets]),
        "n_overlap": np.array([len(edge) for edge in edges], dtype=np.int32),
        "overlap": _plain(["; ".join(edge) for edge in edges]),
        "p_value": result.p_value[row, sets],
        "q_value": result.q_value[row, sets],
    }


def best_pathways(rows: dict, n_concepts: int) -> dict[str, np.ndarray]:
    """Gene set of the smallest p-value of each concept, and its q-value."""
    starts = starts_of(rows["concept"], n_concepts)
    some = starts[1:] > starts[:-1]
    name, q_value = np.full(n_concepts, "", dtype=object), np.full(n_concepts, np.nan)
    name[some] = rows["gene_set"][starts[:-1][some]]
    q_value[some] = rows["q_value"][starts[:-1][some]]
    return {"top_pathway": name, "top_pathway_q": q_value}


def starts_of(concept: np.ndarray, n_concepts: int) -> np.ndarray:
    """First row of each concept in a table sorted by it, and the number of rows."""
    return np.searchsorted(concept, np.arange(n_concepts + 1)).astype(np.int64)


def _rows_of(name: str, result, n_concepts: int) -> dict[int, int]:
    """Row of a result for each of its concepts."""
    concepts = np.asarray(result.concepts)
    if concepts.dtype.kind not in "iu" or ((concepts < 0) | (concepts >= n_concepts)).any():
        raise ValueError(
            f"{name} must be of concepts that are columns of codes, 0 to {n_concepts - 1}, got "
            f"{concepts[:5].tolist()!r}"
        )
    return {concept: row for row, concept in enumerate(concepts.tolist())}


def _check_type(name: str, result, kinds) -> None:
    if result is None or isinstance(result, kinds):
        return
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    raise TypeError(
        f"{name} must be a {' or '.join(kind.__name__ for kind in kinds)} of skdict.genes, got "
        f"{type(result).__name__}"
    )


def _members(matrix, row: int) -> np.ndarray:
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]


def _plain(values) -> np.ndarray:
    found = np.empty(len(values), dtype=object)
    found[:] = [plain_text(value) for value in values]
    return found


def _joined(parts: list[dict], columns: dict) -> dict[str, np.ndarray]:
    """Parts one below the other; empty columns for none."""
    empty = {
        name: np.empty(0, dtype=object if kind == "string" else kind)
        for name, kind in columns.items()
    }
    return {name: np.concatenate([empty[name], *(p[name] for p in parts)]) for name in columns}
