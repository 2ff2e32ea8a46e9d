"""What a bundle keeps open, and the checked reading of rows that its methods share."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._bundle_files import BundleFiles
from skdict.explorer._bundle_format import LABELS
from skdict.explorer._bundle_tables import IndexedTable, read_concepts

_FLOAT, _PLACE, _OFFSET = np.float32, np.int32, np.int64


class BundleReader:
    """Base of :class:`Bundle`.

    Parameters
    ----------
    files : BundleFiles
        The files of the bundle.
    """

    def __init__(self, files: BundleFiles):
        self._files = files
        self.path = files.root
        self.manifest = manifest = files.manifest
        self.n_samples, self.n_concepts = manifest["n_samples"], manifest["n_concepts"]
        self.title, self.description = manifest["title"], manifest["description"]
        self.label_columns = list(manifest["label_columns"])
        self._arrays: dict[str, np.ndarray] = {}
        self._tables: dict[str, IndexedTable] = {}
        self._label_places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.concepts = read_concepts(files)

    def indexed_table(self, part: str) -> IndexedTable | None:
        """Table of the genes or pathways of all concepts, opened once; None if there is none.

        Parameters
        ----------
        part : {"genes", "pathways"}
            Which table.

        Returns
        -------
        IndexedTable or None
            The table, of which the rows of some concepts can be read.
        """
        if self.manifest["parts"][part] and part not in self._tables:
            self._tables[part] = IndexedTable(self._files, part, self.n_concepts)
        return self._tables.get(part)

    @cached_property
    def _labels(self) -> dict[str, list[str]]:
        """Distinct labels of every label column."""
        found = self._files.json(LABELS) if self.label_columns else {}
        good = isinstance(found, dict) and sorted(found) == sorted(self.label_columns)
        for labels in found.values() if good else ():
            good = good and isinstance(labels, list) and all(isinstance(v, str) for v in labels)
            good = good and len(set(labels)) == len(labels)
        if not good:
            raise self._files.error(LABELS, "must list distinct labels of each label column")
        return found

    def _label_index(self, column: str, samples) -> tuple[np.ndarray, np.ndarray]:
        """Place of each sample's label, -1 for none, and the number of samples of each label."""
        if column not in self._label_places:
            index = samples[column].cat.codes.to_numpy().astype(_PLACE)
            counts = np.bincount(index[index >= 0], minlength=len(self._labels[column]))
            self._label_places[column] = index, counts
        return self._label_places[column]

    def _array(self, name: str, shape: tuple, dtype) -> np.ndarray:
        """Memory map of an array, opened once."""
        if name not in self._arrays:
            self._arrays[name] = self._files.array(name, shape, dtype)
        return self._arrays[name]

    def _row(self, folder: str, row: int, n_rows: int, n_columns: int):
        """Places and values of one compressed row."""
        name = f"{folder}/indptr.npy"
        starts = self._arrays.get(name)
        if starts is None:
            starts = self._array(name, (n_rows + 1,), _OFFSET)
            if starts[0] != 0 or (np.diff(starts) < 0).any():
                del self._arrays[name]
                raise self._files.error(name, "does not hold ascending offsets")
        n_values = int(starts[-1])
        part = slice(int(starts[row]), int(starts[row + 1]))
        indices = np.array(self._array(f"{folder}/indices.npy", (n_values,), _PLACE)[part])
        self._check_range(f"{folder}/indices.npy", indices, n_columns)
        return indices, np.array(self._array(f"{folder}/data.npy", (n_values,), _FLOAT)[part])

    def _related(self, concept: int, part: str, measures: tuple):
        """Related concepts with their measures."""
        name = f"{part}_index.npy"
        index = np.array(self._array(name, (self.n_concepts, None), _PLACE)[concept])
        self._check_range(name, index, self.n_concepts, low=-1)
        kept, columns = index >= 0, {"concept": index[index >= 0]}
        for measure in measures:
            shape = (self.n_concepts, index.shape[0])
            values = self._array(f"{part}_{measure}.npy", shape, _FLOAT)[concept]
            columns[measure] = np.array(values[kept])
        return self._frame(columns)

    def _check_range(self, name: str, places: np.ndarray, n: int, low: int = 0) -> None:
        """Raise unless all places lie between `low` and n."""
        if places.size and (places.min() < low or places.max() >= n):
            raise self._files.error(name, f"holds places outside {low} to {n - 1}")

    def _concept(self, concept) -> int:
        return _place("concept", concept, self.n_concepts)

    def _sample(self, sample) -> int:
        return _place("sample", sample, self.n_samples)

    def _frame(self, columns: dict):
        return import_optional("pandas", extra="explorer").DataFrame(columns)


def _place(name: str, value, n: int) -> int:
    """A place as an int; raise unless it is one of n."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < n:
        raise ValueError(f"{name} must be an integer from 0 to {n - 1}, got {value!r}")
    return int(value)
