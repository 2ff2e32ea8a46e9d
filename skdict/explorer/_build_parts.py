"""Parts of a bundle, each computed and written: codes, selectivity, genes, and the manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from skdict.explorer import _build_genes as gene_tables
from skdict.explorer._build_codes import ExampleCounts, describe_concepts
from skdict.explorer._build_related import coactive_concepts
from skdict.explorer._build_selectivity import Permutations, best_of_columns, column_scores
from skdict.explorer._bundle_format import (
    BEST_LABELS,
    EXAMPLE_KINDS,
    FORMAT,
    LABELS,
    PICTURE_PARTS,
    VERSION,
    expected_files,
    selectivity_file,
    write_manifest,
)
from skdict.explorer._bundle_paths import file_record, folder_record
from skdict.explorer._bundle_tables import GENE_COLUMNS, PATHWAY_COLUMNS


def write_codes(writer, table: dict, codes, wanted: ExampleCounts, counts: dict, rng) -> dict:
    """Write codes, examples, histograms and co-activity; return the examples."""
    n_samples, n_concepts = codes.by_sample.shape
    writer.sparse("codes_by_sample", codes.by_sample)
    writer.sparse("codes_by_concept", codes.by_concept)
    found = describe_concepts(codes, wanted, counts["n_bins"], rng)
    examples = {kind: found.pop(kind) for kind in EXAMPLE_KINDS}
    for kind, places in examples.items():
        writer.array(f"examples_{kind}.npy", places, np.int32)
    writer.array("histogram_counts.npy", found.pop("histogram_counts"), np.int32)
    related = coactive_concepts(codes.by_concept, counts["n_neighbors"])
    for name, values in related.items():
        writer.array(f"coactive_{name}.npy", values, values.dtype)
    table |= found
    table["concept"] = np.arange(n_concepts, dtype=np.int32)
    table["frequency"] = found["n_active"] / n_samples
    table["dead"] = found["n_active"] == 0
    return examples


def write_selectivity(writer, table: dict, codes, labels: dict, test: Permutations) -> None:
    """Write the scores of every label column, and the best labels."""
    all_scores = [column_scores(codes.by_concept, column) for column in labels.values()]
    for place, scores in enumerate(all_scores):
        writer.array(selectivity_file(place), scores, np.float32)
    best, columns = best_of_columns(codes, labels, all_scores, test)
    if labels:
        writer.array(BEST_LABELS, best, np.int32)
        writer.json(LABELS, {name: column.labels for name, column in labels.items()})
    table |= columns


def write_genes(writer, parts: dict, by_gene, by_set, n_concepts: int, counts: dict) -> dict:
    """Write genes and gene sets; return their columns of the table of concepts."""
    columns = {
        "top_genes": np.full(n_concepts, "", dtype=object),
        "top_pathway": np.full(n_concepts, "", dtype=object),
        "top_pathway_q": np.full(n_concepts, np.nan),
    }
    if any(result is not None for result in by_gene):
        attribution, expression = by_gene
        rows = gene_tables.gene_rows(attribution, expression, n_concepts, counts["n_genes"])
        _write_rows(writer, "genes", rows, GENE_COLUMNS, n_concepts)
        columns["top_genes"] = gene_tables.top_genes(rows, n_concepts)
        parts["genes"] = True
    if any(result is not None for result in by_set):
        enrichment, by_expression = by_set
        rows = gene_tables.pathway_rows(enrichment, by_expression, n_concepts, counts["n_pathways"])
        _write_rows(writer, "pathways", rows, PATHWAY_COLUMNS, n_concepts)
        columns |= gene_tables.best_pathways(rows, n_concepts)
        parts["pathways"] = True
    return columns


def _write_rows(writer, part: str, rows: dict, types: dict, n_concepts: int) -> None:
    writer.columns(f"{part}.parquet", rows, types)
    starts = gene_tables.starts_of(rows["concept"], n_concepts)
    writer.array(f"{part}_index.npy", starts, np.int64)


def finish(folder: Path, manifest: dict) -> None:
    """Add versions and checksums, and write the manifest last."""
    from skdict._version import __version__

    manifest |= {"format": FORMAT, "version": VERSION, "skdict": __version__}
    manifest["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    names = expected_files(manifest["parts"], len(manifest["label_columns"]))
    files = {name: file_record(folder / name) for name in names}
    for part in PICTURE_PARTS:
        if manifest["parts"][part]:
            files[part] = folder_record(folder, part)
    write_manifest(folder, manifest | {"files": files})
