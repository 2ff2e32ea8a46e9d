"""Search, filter and rank the concepts of a bundle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skdict._validation import check_boolean_or, check_choice, check_real
from skdict.explorer._bundle import Bundle

# Where a text can be found, in the order of the column `matched`.
PLACES = ("name", "label", "gene", "pathway", "note")
_NOTE_FIELDS = ("name", "text", "tags", "expert")


def search_concepts(
    bundle: Bundle,
    text: str = "",
    *,
    sort_by: str = "selectivity",
    ascending: bool = False,
    frequency=(0.0, 1.0),
    include_dead: bool = True,
    notes=None,
):
    """Search, filter and rank concepts.

    Ranking hides nothing: without a text and a filter, all concepts are in the result, those
    without a value of `sort_by` last. What filters and text leave out is counted.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    text : str, default=""
        Concepts with this text in their name, in the best label of a label column, in a gene, a
        gene set or a note; upper and lower case are the same. A number finds the concept, too.
        An empty text finds all.
    sort_by : str, default="selectivity"
        Column of ``bundle.concepts``; equal values keep the order of the concepts.
    ascending : bool, default=False
        Smallest values first.
    frequency : (float, float), default=(0.0, 1.0)
        Smallest and largest share of samples in which a concept is active. Dead concepts are left
        to `include_dead`.
    include_dead : bool, default=True
        Keep concepts that are never active.
    notes : NotesStore, sequence of Note, mapping from concepts to str, or None, default=None
        Notes to search, too: names, texts, tags and experts of the current ones.

    Returns
    -------
    DataFrame
        Rows of ``bundle.concepts`` with a column ``matched``: where the text was found, of
        "number", "name", "label", "gene", "pathway" and "note", separated by ", "; empty
        without a text. ``attrs["n_left_out"]`` counts the concepts that filters left out,
        ``attrs["n_unmatched"]`` those besides in which the text was not found.

    Raises
    ------
    TypeError, ValueError
        If a column is unknown or a frequency is none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, search_concepts
    >>> codes = [[2.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.5, 0.0, 1.0]]
    >>> with TemporaryDirectory() as folder:
    ...     bundle = build_bundle(f"{folder}/bundle", codes, metadata={"cell": list("TTBT")})
    ...     found = search_concepts(bundle, "t", frequency=(0, 0.9))
    >>> found[["concept", "best_label", "matched"]].values.tolist(), found.attrs["n_left_out"]
    ([[0, 'T', 'label']], 1)
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a text, got {text!r}")
    concepts = bundle.concepts
    check_choice("sort_by", sort_by, list(concepts.columns))
    for name, value in (("ascending", ascending), ("include_dead", include_dead)):
        check_boolean_or(name, value, ())
    kept = _passes(concepts, frequency, include_dead)
    n_left_out = int(np.count_nonzero(~kept))
    wanted = text.strip().casefold()
    matched = np.full(len(concepts), "", dtype=object)
    if wanted:
        found = _matches(bundle, wanted, notes)
        for place in ("number", *PLACES):
            here = found[place]
            matched[here] = [f"{before}, {place}".lstrip(", ") for before in matched[here]]
        kept &= matched != ""
    result = concepts.assign(matched=matched)[kept]
    result = result.sort_values(sort_by, ascending=ascending, kind="stable", na_position="last")
    n_unmatched = len(concepts) - n_left_out - len(result)
    result.attrs = {"n_left_out": n_left_out, "n_unmatched": n_unmatched}
    return result


def find_by_label(bundle: Bundle, column: str, label: str):
    """Rank all concepts by their selectivity for one label.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    column : str
        One of ``bundle.label_columns``.
    label : str
        One of its labels.

    Returns
    -------
    DataFrame
        ``concept`` and ``selectivity``, descending, all concepts.

    Raises
    ------
    ValueError
        If there is no such column or label.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, find_by_label
    >>> codes = [[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.0]]
    >>> with TemporaryDirectory() as folder:
    ...     bundle = build_bundle(f"{folder}/bundle", codes, metadata={"cell": list("TTBT")})
    ...     find_by_label(bundle, "cell", "B").concept.tolist()
    [1, 0]
    """
    labels = bundle.labels(column)
    if label not in labels:
        shown = f"{labels[:5]}{' and others' if len(labels) > 5 else ''}"
        raise ValueError(f"label must be one of the labels of {column!r}, {shown}, got {label!r}")
    scores = np.array(bundle.selectivity_scores(column)[labels.index(label)])
    order = np.argsort(-scores, kind="stable")
    return bundle.concepts[["concept"]].iloc[order].assign(selectivity=scores[order])


def find_by_gene(bundle: Bundle, gene: str):
    """Find the concepts that a gene matters for.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    gene : str
        Name of the gene, in upper or lower case.

    Returns
    -------
    DataFrame
        ``concept``, and the columns of :meth:`Bundle.genes`; by descending attribution, then by
        fold change. No rows for a gene that no concept keeps, or without genes in the bundle.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, find_by_gene
    >>> with TemporaryDirectory() as folder:
    ...     len(find_by_gene(build_bundle(f"{folder}/bundle", [[1.0], [0.0]]), "CD3E"))
    0
    """
    sort_by = ["attribution", "log_fold_change"]
    return _rows_with(bundle, "genes", "gene", gene, sort_by, [False, False])


def find_by_pathway(bundle: Bundle, gene_set: str):
    """Find the concepts that a gene set was found for.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    gene_set : str
        Name of the gene set, in upper or lower case.

    Returns
    -------
    DataFrame
        ``concept``, and the columns of :meth:`Bundle.pathways`; by ascending p-value. No rows for
        a set that no concept keeps, or without pathways in the bundle.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, find_by_pathway
    >>> with TemporaryDirectory() as folder:
    ...     len(find_by_pathway(build_bundle(f"{folder}/bundle", [[1.0], [0.0]]), "apoptosis"))
    0
    """
    return _rows_with(bundle, "pathways", "gene_set", gene_set, ["p_value"], [True])


def _rows_with(bundle, part: str, column: str, name: str, sort_by: list, ascending: list):
    """Rows of a table whose column is a name, with their concepts."""
    if not isinstance(name, str):
        raise TypeError(f"{column} must be a text, got {name!r}")
    table = bundle.indexed_table(part)
    if table is None:
        return bundle.concepts[["concept"]].iloc[:0]
    found = table.rows_with(column, name.strip().casefold())
    return found.sort_values(sort_by, ascending=ascending, kind="stable", ignore_index=True)


def _passes(concepts, frequency, include_dead: bool) -> np.ndarray:
    """Whether each concept passes the filters."""
    try:
        low, high = frequency
    except (TypeError, ValueError):
        raise ValueError(
            f"frequency must be two numbers in [0, 1], the smaller first, got {frequency!r}"
        ) from None
    check_real("frequency[0]", low, 0.0, 1.0)
    check_real("frequency[1]", high, 0.0, 1.0)
    if low > high:
        raise ValueError(
            f"frequency must be two numbers in [0, 1], the smaller first, got {frequency!r}"
        )
    share, dead = concepts["frequency"].to_numpy(), concepts["dead"].to_numpy()
    return np.where(dead, include_dead, (low <= share) & (share <= high))


def _matches(bundle: Bundle, wanted: str, notes) -> dict[str, np.ndarray]:
    """Concepts in each of whose places the text occurs, as masks."""
    n_concepts = bundle.n_concepts
    found = {place: np.zeros(n_concepts, dtype=bool) for place in ("number", *PLACES)}
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 and int(wanted) < n_concepts:
        found["number"][int(wanted)] = True
    found["name"][:] = [wanted in name.casefold() for name in bundle.concepts["name"]]
    for column in bundle.label_columns:
        # one more for concepts without a best label, whose place is -1
        hits = np.array([wanted in label.casefold() for label in bundle.labels(column)] + [False])
        found["label"] |= hits[bundle.best_labels(column)]
    for place, part, column in (("gene", "genes", "gene"), ("pathway", "pathways", "gene_set")):
        table = bundle.indexed_table(part)
        if table is not None:
            found[place][table.concepts_with(column, wanted)] = True
    for concept, text in _note_texts(notes):
        if 0 <= concept < n_concepts and wanted in text.casefold():
            found["note"][concept] = True
    return found


def _note_texts(notes):
    """Pairs of concept and text."""
    if notes is None:
        return
    if isinstance(notes, Mapping):
        yield from ((int(concept), str(text)) for concept, text in notes.items())
        return
    for note in notes.current() if hasattr(notes, "current") else notes:
        for field in _NOTE_FIELDS:
            value = getattr(note, field, None) or ""
            for text in value if isinstance(value, (tuple, list)) else (value,):
                yield int(note.concept), str(text)
