"""What all static pages of one bundle share: concepts chosen, notes, links and pictures."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from skdict.explorer._bundle import Bundle
from skdict.explorer._notes_bundle import bundle_fingerprint
from skdict.explorer._notes_fields import Note
from skdict.explorer._notes_tables import notes_summary
from skdict.explorer._static_plots import map_pixels
from skdict.report import Html

MOST_CONCEPTS = 50  # chosen where nobody chooses


@dataclass
class PageContext:
    """Concepts of a bundle that are shown, and how.

    Attributes
    ----------
    bundle : Bundle
        The bundle.
    chosen : list of int
        Concepts shown, in order.
    notes : list of Note
        Current notes on them.
    n_examples, n_genes : int
        Examples of a kind, and genes, shown of a concept.
    picture_size : int
        Longest side of a thumbnail, in pixels.
    pictures : InlinePictures or PictureFiles
        Where the pictures go.
    in_one_file : bool
        Whether the concepts are parts of one page.
    """

    bundle: Bundle
    chosen: list[int]
    notes: list[Note]
    n_examples: int
    n_genes: int
    picture_size: int
    pictures: Any = None
    in_one_file: bool = True
    _places: dict[int, int] = field(init=False)

    def __post_init__(self):
        self._places = {concept: place for place, concept in enumerate(self.chosen)}

    @cached_property
    def pixels(self) -> np.ndarray | None:
        """Pixels of the samples on the map, or None without one."""
        return None if self.bundle.map is None else map_pixels(self.bundle.map)

    @cached_property
    def summary(self) -> dict[int, Any]:
        """Names, ratings and tags by concept."""
        rows = notes_summary(self.notes).itertuples(index=False)
        return {row.concept: row for row in rows}

    def notes_on(self, concept: int) -> list[Note]:
        """Current notes on a concept."""
        return [note for note in self.notes if note.concept == concept]

    def name(self, concept: int) -> str:
        """Name of a concept, by its experts or else as given; empty without one."""
        found = self.summary.get(concept)
        given = str(self.bundle.concepts["name"].iloc[concept])
        return found.name if found is not None and found.name else given

    def title(self, concept: int) -> str:
        """Number and name of a concept."""
        name = self.name(concept)
        return f"Concept {concept}: {name}" if name else f"Concept {concept}"

    def address(self, concept: int) -> str | None:
        """Where a concept is shown, or None if it is not."""
        if concept not in self._places:
            return None
        return f"#concept-{concept}" if self.in_one_file else f"concept-{concept}.html"

    def link(self, concept: int, text: str) -> Html:
        """Text that leads to a concept where it is shown."""
        address, text = self.address(concept), html.escape(text)
        return Html(text if address is None else f'<a href="{address}">{text}</a>')

    def way(self, concept: int) -> Html:
        """Links to the table and to the concepts before and after one."""
        place = self._places[concept]
        table = "#overview" if self.in_one_file else "index.html"
        links = [f'<a href="{table}">Table of concepts</a>']
        if place:
            links.append(self.link(self.chosen[place - 1], "Previous concept"))
        if place + 1 < len(self.chosen):
            links.append(self.link(self.chosen[place + 1], "Next concept"))
        return Html(f'<p class="note back">{" · ".join(links)}</p>')


def chosen_concepts(bundle: Bundle, concepts) -> list[int]:
    """Concepts to show, checked.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    concepts : array-like of int, or None
        The concepts; None takes the 50 of largest selectivity, of equal ones the more frequent,
        and dead ones last.

    Returns
    -------
    list of int
        The concepts.

    Raises
    ------
    TypeError, ValueError
        If there are none, one is unknown, or one is there twice.
    """
    if concepts is None:
        table = bundle.concepts
        score = table["selectivity"].to_numpy(dtype=np.float64)
        score = np.where(np.isnan(score), -np.inf, score)
        dead = table["dead"].to_numpy(dtype=bool)
        order = np.lexsort((-table["n_active"].to_numpy(dtype=np.int64), -score, dead))
        return [int(concept) for concept in order[:MOST_CONCEPTS]]
    found = np.asarray(concepts)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise TypeError(
            "concepts must be a list of at least one integer, for example [0, 7], or None for "
            f"the {MOST_CONCEPTS} of largest selectivity, got {concepts!r:.80}"
        )
    unknown = found[(found < 0) | (found >= bundle.n_concepts)].tolist()
    if unknown:
        raise ValueError(
            f"concepts must be integers from 0 to {bundle.n_concepts - 1}, which this bundle has; "
            f"got {', '.join(map(str, unknown[:5]))}"
        )
    if len(np.unique(found)) < len(found):
        twice = [c for c in np.unique(found).tolist() if (found == c).sum() > 1]
        raise ValueError(f"concepts must name each concept once, got {twice[0]} more than once")
    return found.tolist()


def notes_of_bundle(bundle: Bundle, notes, chosen: list[int]) -> list[Note]:
    """Current notes on the concepts chosen.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    notes : NotesStore, sequence of Note, or None
        The notes; of a sequence, all are taken for current.
    chosen : list of int
        The concepts.

    Returns
    -------
    list of Note
        The notes.

    Raises
    ------
    TypeError, ValueError
        If they are no notes, or notes on another bundle.
    """
    if notes is None:
        return []
    store = hasattr(notes, "current")
    found = notes.current() if store else list(notes)
    if not all(isinstance(note, Note) for note in found):
        raise TypeError(
            "notes must be a NotesStore, a list of Note or None, got "
            f"{type(notes).__name__} with other things in it"
        )
    marks = {notes.bundle} if store else {note.bundle for note in found}
    if marks - {"", bundle_fingerprint(bundle)}:
        raise ValueError(
            "notes must be on this bundle, got notes on another one, where the same number is "
            "another concept; open them with NotesStore(path, bundle=bundle), which says more"
        )
    wanted = set(chosen)
    return [note for note in found if note.concept in wanted]
