"""Tables of a bundle as data frames, their columns and types checked."""

from __future__ import annotations

import threading

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._bundle_files import BundleFiles

# Columns and their types, as Arrow names them.
CONCEPT_COLUMNS = {
    "concept": "int32",
    "frequency": "float64",
    "n_active": "int32",
    "mean_activation": "float32",
    "max_activation": "float32",
    "dead": "bool",
    "best_label_column": "string",
    "best_label": "string",
    "selectivity": "float64",
    "selectivity_p": "float64",
    "top_pathway": "string",
    "top_pathway_q": "float64",
    "top_genes": "string",
    "stability": "float64",
    "name": "string",
}
GENE_COLUMNS = {
    "concept": "int32",
    "gene": "string",
    "attribution": "float32",
    "standard_error": "float32",
    "q_value": "float32",
    "pre_attribution": "float32",
    "log_fold_change": "float32",
    "rank_attribution": "int32",
    "rank_expression": "int32",
}
PATHWAY_COLUMNS = {
    "concept": "int32",
    "gene_set": "string",
    "found_by": "string",
    "n_overlap": "int32",
    "overlap": "string",
    "p_value": "float64",
    "q_value": "float64",
}
ROW_COLUMNS = {"genes": GENE_COLUMNS, "pathways": PATHWAY_COLUMNS}
ROW_GROUP = 8192  # rows; a concept lies in one or two row groups


def schema_of(columns: dict):
    """Arrow schema of columns given by their types."""
    arrow = import_optional("pyarrow", extra="explorer")
    types = {"bool": arrow.bool_(), "string": arrow.string()}
    kind = {name: types[t] if t in types else getattr(arrow, t)() for name, t in columns.items()}
    return arrow.schema([(name, kind[name]) for name in columns])


def read_concepts(files: BundleFiles):
    """Table of the concepts, one row each, in order."""
    name = "concepts.parquet"
    file = files.parquet(name, files.manifest["n_concepts"])
    frame = _read(files, name, file.read, CONCEPT_COLUMNS)
    if not np.array_equal(frame["concept"], np.arange(len(frame))):
        raise files.error(name, "must number the concepts from 0 on")
    return frame


def read_samples(files: BundleFiles, labels: dict):
    """Table of the samples, label columns as categories in the order of `labels`."""
    pandas = import_optional("pandas", extra="explorer")
    name = "samples.parquet"
    file = files.parquet(name, files.manifest["n_samples"], read_dictionary=list(labels))
    with files.reading(name):
        table = file.read()
        names = table.column_names
        if names[:2] != ["sample", "name"] or len(set(names)) < len(names):
            raise files.error(name, "must have the distinct columns sample, name and others")
        frame = table.to_pandas(ignore_metadata=True)
    if not np.array_equal(frame["sample"], np.arange(len(frame))):
        raise files.error(name, "must number the samples from 0 on")
    for column, known in labels.items():
        if column not in names:
            raise files.error(name, f"must have the label column {column!r}")
        given = frame[column].astype("category")
        if not set(given.cat.categories) <= set(known):
            raise files.error(name, f"has labels in {column!r} that labels.json does not list")
        frame[column] = given.cat.set_categories(pandas.Index(known, dtype=object))
    return frame


class IndexedTable:
    """A table sorted by concept, of which the rows of one concept are read.

    Parameters
    ----------
    files : BundleFiles
        The files of the bundle.
    part : {"genes", "pathways"}
        The table.
    n_concepts : int
        Number of concepts.
    """

    def __init__(self, files: BundleFiles, part: str, n_concepts: int):
        self._files, self._name = files, f"{part}.parquet"
        self._columns = ROW_COLUMNS[part]
        self._texts: dict[str, tuple[list[str], np.ndarray]] = {}
        self._file, self._lock = files.parquet(self._name), threading.Lock()
        meta = self._file.metadata
        sizes = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        self._groups = np.cumsum([0, *sizes])
        index = f"{part}_index.npy"
        self.starts = np.array(files.array(index, (n_concepts + 1,), np.int64))
        bounded = self.starts[0] == 0 and self.starts[-1] == meta.num_rows
        if not bounded or (np.diff(self.starts) < 0).any():
            raise files.error(index, f"must hold ascending offsets up to {meta.num_rows}")

    def rows(self, concept: int):
        """Rows of one concept, without the column that numbers it."""
        start, stop = (int(place) for place in self.starts[concept : concept + 2])
        first = max(0, int(np.searchsorted(self._groups, start, side="right")) - 1)
        last = int(np.searchsorted(self._groups, stop, side="left"))
        groups = list(range(first, last)) if stop > start else []
        frame = self._read(groups, slice(start - self._groups[first], stop - self._groups[first]))
        if (frame["concept"] != concept).any():
            raise self._files.error(self._name, "is not sorted by concept as its index says")
        return frame.drop(columns="concept")

    def rows_with(self, column: str, text: str):
        """Rows whose text in a column is a text in lower case."""
        pandas = import_optional("pandas", extra="explorer")
        rows = self._hits(column, text, whole=True)
        group_of = np.searchsorted(self._groups, rows, side="right") - 1
        found = [
            self._read([int(group)], rows[group_of == group] - self._groups[group])
            for group in np.unique(group_of)
        ]
        return pandas.concat(found, ignore_index=True) if found else self._read([], slice(0, 0))

    def concepts_with(self, column: str, text: str) -> np.ndarray:
        """Concepts of all rows whose text in a column holds a text in lower case."""
        return np.searchsorted(self.starts, self._hits(column, text), side="right") - 1

    def _hits(self, column: str, text: str, *, whole: bool = False) -> np.ndarray:
        """Rows whose text in a column holds (or is) a text in lower case."""
        if column not in self._texts:
            self._texts[column] = self._column(column)
        texts, place = self._texts[column]
        hits = [text == known if whole else text in known for known in texts]
        return np.flatnonzero(np.array(hits, dtype=bool)[place])

    def _read(self, groups: list[int], rows):
        """Some rows of some row groups, as a data frame."""

        def read(columns):
            # Two threads may ask at once, and the reader takes one of them.
            with self._lock:
                table = self._file.read_row_groups(groups, columns=columns, use_threads=False)
            if isinstance(rows, slice):
                return table.slice(int(rows.start), int(rows.stop - rows.start))
            return table.take(rows)

        return _read(self._files, self._name, read, self._columns)

    def _column(self, name: str) -> tuple[list[str], np.ndarray]:
        """Distinct texts of a column in lower case, and the place of each row's text."""
        parquet = self._files.parquet(self._name, read_dictionary=[name])
        with self._files.reading(self._name):
            values = parquet.read(columns=[name], use_threads=False).column(name).to_pandas()
        values = values.astype("category")
        if values.hasnans:
            raise self._files.error(self._name, f"misses texts in the column {name}")
        return [str(t).casefold() for t in values.cat.categories], values.cat.codes.to_numpy()


def _read(files: BundleFiles, name: str, read, columns: dict):
    """Data frame of the columns of a table, cast to their types."""
    with files.reading(name):
        table = read(columns=list(columns)).select(list(columns)).cast(schema_of(columns))
        absent = [c for c in columns if columns[c] == "string" and table.column(c).null_count]
        if absent:
            raise files.error(name, f"misses texts in the column {absent[0]}")
        return table.to_pandas(ignore_metadata=True)
