"""Progress while the demo works: a bar in a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time

from skdict._validation import import_optional


class PlainProgress:
    """Lines on standard error: one per finished tenth, and one when ten seconds have passed.

    Parameters
    ----------
    total : int
        Number of steps.
    stream : file, default=None
        Where to write; ``None`` takes standard error.
    """

    def __init__(self, total: int, stream=None):
        self.total = total
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._start = time.perf_counter()
        self._shown = 0
        self._last = self._start

    def __enter__(self):
        """Start."""
        return self

    def __exit__(self, *exception):
        """End."""

    def note(self, text: str) -> None:
        """Say what happens now."""
        print(text, file=self._stream, flush=True)

    def advance(self, text: str) -> None:
        """Count one step."""
        self.done += 1
        tenth = 10 * self.done // self.total
        now = time.perf_counter()
        if tenth > self._shown or now - self._last > 10:
            self._shown, self._last = tenth, now
            seconds = now - self._start
            self.note(f"{self.done:4d}/{self.total} done after {seconds:4.0f} s ({text})")


class BarProgress:
    """A bar drawn by rich.

    Parameters
    ----------
    total : int
        Number of steps.
    """

    def __init__(self, total: int):
        rich = import_optional("rich.progress", extra="progress")
        self._bar = rich.Progress(
            rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeElapsedColumn(),
            rich.TextColumn("{task.description}"), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total)

    def __enter__(self):
        """Draw the bar."""
        self._bar.start()
        return self

    def __exit__(self, *exception):
        """Remove the bar."""
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say what happens now."""
        self._bar.update(self._task, description=text)

    def advance(self, text: str) -> None:
        """Count one step."""
        self._bar.update(self._task, advance=1, description=text)


def make_progress(total: int):
    """Return a bar if standard output is a terminal and rich is installed, else plain lines."""
    if sys.stdout.isatty():
        try:
            return BarProgress(total)
        except ImportError:
            pass
    return PlainProgress(total)
