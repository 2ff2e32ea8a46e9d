"""A concept bundle, opened lazily: each part is read, and checked, when it is asked for."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from skdict._validation import check_choice
from skdict.explorer._bundle_files import BundleFiles
from skdict.explorer._bundle_format import (
    BEST_LABELS,
    EXAMPLE_KINDS,
    PARTS,
    PICTURE_PARTS,
    heatmap_file,
    selectivity_file,
    thumbnail_file,
)
from skdict.explorer._bundle_paths import folder_record
from skdict.explorer._bundle_reader import BundleReader
from skdict.explorer._bundle_tables import read_samples

_FLOAT, _PLACE = np.float32, np.int32


class Bundle(BundleReader):
    """A concept bundle on disk, opened by :func:`open_bundle`.

    Only the manifest and the table of concepts are read at first. Everything else is read when it
    is asked for: arrays as memory maps, tables by their row groups. The checksum of a file is
    compared before its first use.

    Parameters
    ----------
    files : BundleFiles
        The files of the bundle.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : dict
        Its manifest: versions, settings and files.
    n_samples, n_concepts : int
        Numbers of samples and of concepts.
    title, description : str
        What its maker wrote. Text of others: escape it before it is shown on a page.
    label_columns : list of str
        Columns of the samples that hold labels.
    concepts : DataFrame
        One row per concept, in their order. Not to be changed.
    """

    def has(self, part: str) -> bool:
        """Whether an optional part is in the bundle.

        Parameters
        ----------
        part : {"map", "neighbors", "genes", "pathways", "thumbnails", "heatmaps"}
            The part.

        Returns
        -------
        bool
            True if it is there.

        Raises
        ------
        ValueError
            If there is no such part.
        """
        check_choice("part", part, PARTS)
        return self.manifest["parts"][part]

    @cached_property
    def samples(self):
        """DataFrame with one row per sample: sample, name, and the metadata. Not to be changed."""
        return read_samples(self._files, self._labels)

    @cached_property
    def map(self) -> np.ndarray | None:
        """Places of the samples on a map, float32 of shape (n_samples, 2), or None without one."""
        return self._array("map.npy", (self.n_samples, 2), _FLOAT) if self.has("map") else None

    def labels(self, column: str) -> list[str]:
        """Distinct labels of a column, in the order of :meth:`selectivity`.

        Parameters
        ----------
        column : str
            One of ``label_columns``.

        Returns
        -------
        list of str
            The labels.

        Raises
        ------
        ValueError
            If it is no label column.
        """
        check_choice("column", column, self.label_columns)
        return list(self._labels[column])

    def activations(self, concept: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples in which a concept is active (code above 0), and its codes there.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        samples : ndarray of int32, shape (n_active,)
            The samples, ascending.
        values : ndarray of float32, shape (n_active,)
            Their codes, in the units of the codes given to :func:`build_bundle`.

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        concept = self._concept(concept)
        return self._row("codes_by_concept", concept, self.n_concepts, self.n_samples)

    def concepts_of(self, sample: int) -> tuple[np.ndarray, np.ndarray]:
        """Concepts that are active in a sample, the strongest first.

        Parameters
        ----------
        sample : int
            The sample.

        Returns
        -------
        concepts : ndarray of int32, shape (n_active,)
            The concepts.
        values : ndarray of float32, shape (n_active,)
            Their codes, descending.

        Raises
        ------
        ValueError
            If there is no such sample.
        """
        sample = self._sample(sample)
        concepts, values = self._row("codes_by_sample", sample, self.n_samples, self.n_concepts)
        order = np.argsort(-values, kind="stable")
        return concepts[order], values[order]

    def examples(self, concept: int, kind: str = "top") -> np.ndarray:
        """Samples that show a concept.

        Parameters
        ----------
        concept : int
            The concept.
        kind : {"top", "random", "quantile", "inactive"}, default="top"
            The largest codes, descending; random ones of the active samples; random ones of each
            of several bands of equally many active samples, by ascending code; random samples in
            which it is not active.

        Returns
        -------
        ndarray of int32
            The samples, fewer where there are not enough: of shape (n_examples,), or of shape
            (n_quantiles, n_per_quantile) with -1 for a missing one for "quantile".

        Raises
        ------
        ValueError
            If there is no such concept or kind.
        """
        concept = self._concept(concept)
        check_choice("kind", kind, EXAMPLE_KINDS)
        name = f"examples_{kind}.npy"
        shape = (self.n_concepts, *(None,) * (2 if kind == "quantile" else 1))
        found = np.array(self._array(name, shape, _PLACE)[concept])
        self._check_range(name, found, self.n_samples, low=-1)
        return found if kind == "quantile" else found[found >= 0]

    def histogram(self, concept: int) -> tuple[np.ndarray, np.ndarray]:
        """Histogram of the codes of a concept, over the samples in which it is active.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        counts : ndarray of int, shape (n_bins,)
            Samples in each bin; all 0 for a dead concept.
        edges : ndarray, shape (n_bins + 1,)
            Edges, equally spaced from 0 to the largest code (to 1 for a dead concept).

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        concept = self._concept(concept)
        counts = self._array("histogram_counts.npy", (self.n_concepts, None), _PLACE)[concept]
        largest = float(self.concepts["max_activation"].iloc[concept])
        return np.array(counts), np.linspace(0.0, largest or 1.0, counts.shape[0] + 1)

    def selectivity(self, concept: int, column: str):
        """Selectivity of a concept for the labels of a column.

        Parameters
        ----------
        concept : int
            The concept.
        column : str
            One of ``label_columns``.

        Returns
        -------
        DataFrame
            ``label``; ``selectivity``: share of the label's samples in which the concept is
            active minus that of all other samples, NaN in a column with one label only;
            ``n_samples`` of the label; ``share_active``. Sorted by descending selectivity.

        Raises
        ------
        ValueError
            If there is no such concept or label column.

        See Also
        --------
        skdict.metrics.selectivity_scores : The score.
        """
        concept, labels = self._concept(concept), self.labels(column)
        index, n_samples = self._label_index(column, self.samples)
        scores = np.array(self.selectivity_scores(column)[:, concept], dtype=np.float64)
        active = index[self.activations(concept)[0]]
        n_active = np.bincount(active[active >= 0], minlength=len(labels))
        order = np.argsort(-scores, kind="stable")
        columns = {"label": np.array(labels, dtype=object), "selectivity": scores}
        columns |= {"n_samples": n_samples, "share_active": n_active / np.maximum(n_samples, 1)}
        return self._frame({name: values[order] for name, values in columns.items()})

    def selectivity_scores(self, column: str) -> np.ndarray:
        """Selectivity of all concepts for all labels of a column.

        Parameters
        ----------
        column : str
            One of ``label_columns``.

        Returns
        -------
        ndarray of float32, shape (n_labels, n_concepts)
            The scores, a memory map; rows in the order of :meth:`labels`.

        Raises
        ------
        ValueError
            If it is no label column.
        """
        shape = (len(self.labels(column)), self.n_concepts)
        return self._array(selectivity_file(self.label_columns.index(column)), shape, _FLOAT)

    def best_labels(self, column: str) -> np.ndarray:
        """Label of a column that each concept is most selective for.

        Parameters
        ----------
        column : str
            One of ``label_columns``.

        Returns
        -------
        ndarray of int32, shape (n_concepts,)
            Places in :meth:`labels`; -1 for a dead concept or a column with one label only.

        Raises
        ------
        ValueError
            If it is no label column.
        """
        n_labels = len(self.labels(column))
        shape = (len(self.label_columns), self.n_concepts)
        found = self._array(BEST_LABELS, shape, _PLACE)[self.label_columns.index(column)]
        self._check_range(BEST_LABELS, found, n_labels, low=-1)
        return found

    def genes(self, concept: int):
        """Genes of a concept: attribution beside differential expression.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        DataFrame or None
            ``gene``, ``attribution``, ``standard_error``, ``q_value``, ``pre_attribution``,
            ``log_fold_change``, ``rank_attribution``, ``rank_expression`` (1 is the largest; -1
            where unknown), the largest attribution first; NaN where unknown. No rows for a
            concept that was not attributed; None if the bundle has no genes.

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        concept, table = self._concept(concept), self.indexed_table("genes")
        return None if table is None else table.rows(concept)

    def pathways(self, concept: int):
        """Gene sets of a concept, by ascending p-value.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        DataFrame or None
            ``gene_set``, ``found_by`` ("attribution" or "expression"), ``n_overlap``,
            ``overlap`` (genes in common, separated by "; "), ``p_value``, ``q_value``. No rows
            for a concept that was not tested; None if the bundle has no pathways.

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        concept, table = self._concept(concept), self.indexed_table("pathways")
        return None if table is None else table.rows(concept)

    def neighbors(self, concept: int):
        """Concepts whose atoms point in the most similar direction.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        DataFrame or None
            ``concept`` and ``cosine``, descending; None if the bundle was built without
            ``components``.

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        concept = self._concept(concept)
        if not self.has("neighbors"):
            return None
        return self._related(concept, "neighbors", ("cosine",))

    def coactive(self, concept: int):
        r"""Concepts that are active in the same samples.

        With :math:`n_i` the samples in which concept i is active, :math:`n_{ij}` those in which
        both are, of N in all, the lift is :math:`N n_{ij} / (n_i n_j)` (1 for independent
        concepts) and the Jaccard index :math:`n_{ij} / (n_i + n_j - n_{ij})`.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        DataFrame
            ``concept``, ``lift`` and ``jaccard``, by descending Jaccard index; no rows for a
            concept that is never active with another.

        Raises
        ------
        ValueError
            If there is no such concept.
        """
        return self._related(self._concept(concept), "coactive", ("lift", "jaccard"))

    def thumbnail(self, sample: int) -> bytes | None:
        """Picture of a sample.

        Parameters
        ----------
        sample : int
            The sample.

        Returns
        -------
        bytes or None
            PNG; None if there is no picture of it.

        Raises
        ------
        ValueError
            If there is no such sample, or the file is no PNG.
        """
        sample = self._sample(sample)
        return self._files.picture(thumbnail_file(sample)) if self.has("thumbnails") else None

    def heatmap(self, concept: int, sample: int) -> bytes | None:
        """Where in a sample a concept is active.

        Parameters
        ----------
        concept : int
            The concept.
        sample : int
            The sample.

        Returns
        -------
        bytes or None
            Grey PNG on the grid of the heatmap: 0 is no activation, 255 the largest of the
            concept over all its examples. None if there is no heatmap.

        Raises
        ------
        ValueError
            If there is no such concept or sample, or the file is no PNG.
        """
        concept, sample = self._concept(concept), self._sample(sample)
        return self._files.picture(heatmap_file(concept, sample)) if self.has("heatmaps") else None

    def verify(self) -> int:
        """Compare the checksums of all files, pictures too.

        Returns
        -------
        int
            Number of files that were read.

        Raises
        ------
        BundleError
            If a file is missing, was changed or added, or leads out of the folder.
        """
        for name in self._files.names:
            self._files.check(name, again=True)
        number = len(self._files.names)
        for part in PICTURE_PARTS:
            if not self.has(part):
                continue
            found, listed = folder_record(self.path, part), self.manifest["files"][part]
            if found["number"] != listed["number"] or found["sha256"] != listed["sha256"]:
                counts = f"{found['number']} pictures, {listed['number']} were written"
                raise self._files.error(part, f"was changed: {counts}")
            number += found["number"]
        return number

    def __repr__(self):
        """What it holds."""
        parts = [part for part in PARTS if self.has(part)]
        return (
            f"Bundle({str(self.path)!r}: {self.n_concepts} concepts, {self.n_samples} samples, "
            f"with {', '.join(parts) or 'no optional part'})"
        )


def open_bundle(path) -> Bundle:
    """Open a concept bundle that :func:`build_bundle` wrote.

    Manifest and table of concepts are read, and the sizes of all files compared with the manifest.
    The rest is read when it is asked for. Nothing in a bundle is executed: arrays are read without
    pickle, file names come from this package and not from the bundle, and links that lead out of
    the folder are not followed. Texts in it are data of whoever built it.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    Bundle
        The bundle.

    Raises
    ------
    BundleError
        If the folder is no bundle, was written by a newer skdict, or a file is missing or
        damaged.
    ImportError
        If pandas or pyarrow is not installed.

    Notes
    -----
    Checksums find damage. They do not prove who built a bundle: whoever changes a file can change
    the manifest too.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, open_bundle
    >>> with TemporaryDirectory() as folder:
    ...     codes = [[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.0]]
    ...     _ = build_bundle(f"{folder}/bundle", codes, metadata={"cell": ["T", "T", "B", "T"]})
    ...     bundle = open_bundle(f"{folder}/bundle")
    ...     bundle.examples(0).tolist(), bundle.concepts.best_label.tolist()
    ([0, 1, 3], ['T', 'B'])
    """
    return Bundle(BundleFiles(path))
