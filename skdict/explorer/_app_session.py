"""What one reader looks at, and who is told when it changes."""

from __future__ import annotations

from collections.abc import Callable

from skdict._validation import import_optional


class Session:
    """The bundle, the notes, and the concept that is open.

    Parameters
    ----------
    bundle : Bundle
        The bundle.
    notes : NotesStore or None, default=None
        Where notes are kept; None shows none.

    Attributes
    ----------
    concept : int or None
        The concept that is open.
    """

    def __init__(self, bundle, notes=None):
        self.bundle, self.notes = bundle, notes
        self.concept: int | None = None
        self.sample: int | None = None
        self.problems: list[str] = []
        kinds = ("concept", "sample", "note", "problem")
        self._watchers: dict[str, list[Callable]] = {kind: [] for kind in kinds}

    def watch(self, what: str, function: Callable) -> None:
        """Call a function whenever something changes.

        Parameters
        ----------
        what : {"concept", "sample", "note", "problem"}
            The concept or sample that is open, a note that was saved, or what could not be read
            of the bundle.
        function : callable
            Called with the concept, the sample, or the problems.
        """
        self._watchers[what].append(function)

    def open_concept(self, concept: int) -> None:
        """Open a concept, everywhere on the page."""
        concept = int(concept)
        if concept != self.concept:
            self.concept = concept
            self._tell("concept", concept)

    def open_sample(self, sample: int) -> None:
        """Open a sample, everywhere on the page."""
        sample = int(sample)
        if sample != self.sample:
            self.sample = sample
            self._tell("sample", sample)

    def saved(self, concept: int) -> None:
        """Tell that a note on a concept was saved."""
        self._tell("note", concept)

    def _tell(self, what, value) -> None:
        """Call all functions; what they change is sent to the browser together."""
        hold = import_optional("panel", extra="explorer").io.hold
        self.problems = []
        with hold():
            for function in self._watchers[what]:
                try:
                    function(value)
                except (OSError, ValueError) as error:  # the others still follow
                    self.problems.append(str(error))
            for function in self._watchers["problem"]:
                function(self.problems)
