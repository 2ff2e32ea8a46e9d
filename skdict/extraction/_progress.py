"""Lines of progress while tokens are collected."""

from __future__ import annotations

import time

# Seconds between lines with verbose=1.
_EVERY = 10.0


class Progress:
    """Prints images done, images per second, and the time left where the end is known.

    Parameters
    ----------
    verbose : int
        0 prints nothing, 1 a line about every ten seconds, 2 a line per batch.
    batches : iterable
        The batches; those that have a length are known to end.
    """

    def __init__(self, verbose: int, batches):
        self.verbose = verbose
        self.n_batches: int | None
        try:
            self.n_batches = len(batches)
        except TypeError:  # also of a loader whose data have no length
            self.n_batches = None
        self._last = self._printed = time.monotonic()
        self._batches = self._images = 0
        self._computed = self._computed_batches = 0
        self._seconds = 0.0

    def step(self, n_images: int, n_computed: int) -> None:
        """Count a batch: images so far, and how many of this batch were computed."""
        now = time.monotonic()
        self._batches, self._images = self._batches + 1, n_images
        if n_computed:
            self._computed += n_computed
            self._computed_batches += 1
            self._seconds += now - self._last
        self._last = now
        if self.verbose > 1 or (self.verbose and now - self._printed >= _EVERY):
            self._print()

    def end(self) -> None:
        """Print the last line."""
        if self.verbose:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        parts = [f"{self._images} images"]
        if self._computed:
            parts.append(f"{self._computed / max(self._seconds, 1e-9):.1f} images/s")
        else:
            parts.append("all of them there already")
        if self.n_batches is not None:
            parts.append(f"batch {self._batches} of {self.n_batches}")
            if self._computed:
                left = self._seconds / self._computed_batches * (self.n_batches - self._batches)
                parts.append(f"{left:.0f} s left")
        print(f"[tokens] {', '.join(parts)}", flush=True)
