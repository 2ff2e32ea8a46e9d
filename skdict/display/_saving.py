"""What every display can do with its numbers: hand them out, describe them, save them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import sklearn

from skdict._validation import import_optional
from skdict.display._files import check_writable, write_together
from skdict.display._legend import draw_shared_legend
from skdict.display._style import fit_names

SUFFIXES = (".svg", ".pdf")
_DRAWN = "_skdict_displays"


class SavedDisplay:
    """Mixin of the displays: ``source_data``, ``methods``, ``share_legend`` and ``save``.

    A display provides ``_columns()``, the numbers that it draws as columns of equal length, and
    ``_description()``, what they are in words; and it calls ``_drawn_on`` at the end of ``plot``.
    """

    name: str | None = None
    settings: dict | None = None

    def source_data(self, *, as_frame=False):
        """Numbers behind the figure.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a dict of columns.

        Returns
        -------
        dict of ndarray, or DataFrame
            One row per point, bar or cell. The first column is ``name`` where the display has
            one.
        """
        columns = {key: np.asarray(values) for key, values in self._columns().items()}
        if self.name is not None:
            size = len(next(iter(columns.values())))
            columns = {"name": np.full(size, str(self.name))} | columns
        if as_frame:
            return import_optional("pandas", extra="io").DataFrame(columns)
        return columns

    def methods(self):
        """Paragraph for a methods section: what is shown, with which settings and versions.

        Returns
        -------
        str
            Plain text. It says what the display knows and no more: of numbers that were
            computed elsewhere the ``settings`` given to the display are all it can tell.
        """
        return " ".join([*self._sentences(), _versions()])

    def share_legend(self):
        """Draw one legend below the figure in place of those of its panels.

        For several panels with the same curves or bars. Each name comes once, with the look it
        has in the first panel that shows it; remarks on bands and whiskers come along. A display
        that was not drawn yet is drawn. Call it when all panels are drawn.

        Returns
        -------
        SavedDisplay
            This display.
        """
        if not hasattr(self, "figure_"):
            self.plot()
        draw_shared_legend(_root(self.figure_))
        return self

    def save(self, path):
        """Write the figure, its source data and a paragraph about the methods.

        Beside ``<stem>.svg`` or ``<stem>.pdf`` stand ``<stem>.csv``, the numbers of every display
        on the figure (an empty cell is a missing value), and ``<stem>.txt``. A display that was
        not drawn yet is drawn. Text becomes outlines in SVG, so that it looks alike everywhere,
        and stays text with its font embedded in PDF.

        Parameters
        ----------
        path : str or Path
            File of the figure; its suffix, ``.svg`` or ``.pdf``, is the format. Files that are
            there are replaced.

        Returns
        -------
        Path
            The file of the figure.

        Raises
        ------
        ValueError
            If the suffix is another one.
        OSError
            If a file cannot be written; files that were there before are unchanged then.
        """
        path = Path(path)
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"path must end in {' or '.join(SUFFIXES)}, vector graphics, got {str(path)!r}; "
                "pixels are written by display.figure_.savefig"
            )
        files = [path, path.with_suffix(".csv"), path.with_suffix(".txt")]
        for file in files:
            check_writable(file)
        if not hasattr(self, "figure_"):
            self.plot()
        root = _root(self.figure_)
        displays = _displays_on(root)
        contents = [_graphics(root, path), _csv(displays, root), _text(displays)]
        write_together(dict(zip(files, contents, strict=True)))
        return path

    def _drawn_on(self, ax, artist) -> None:
        """Keep the axes, and note on the figure that `artist` shows this display."""
        self.ax_, self.figure_ = ax, ax.figure
        for panel in getattr(self, "axes_", [ax]):
            fit_names(panel)
        root = _root(ax.figure)
        if not hasattr(root, _DRAWN):
            setattr(root, _DRAWN, [])
        getattr(root, _DRAWN).append((artist, self))

    def _sentences(self) -> list[str]:
        """Description and settings, a sentence each."""
        name = [] if self.name is None else [self.name]
        return [_named(name, self._description()), *self._settings_sentence()]

    def _settings_sentence(self) -> list[str]:
        """The settings as a sentence, or nothing."""
        sentences = []
        if self.settings:
            listed = "; ".join(f"{key} = {_word(value)}" for key, value in self.settings.items())
            sentences.append(f"Settings: {listed}.")
        return sentences

    def _columns(self) -> dict:
        raise NotImplementedError

    def _description(self) -> str:
        raise NotImplementedError

    def plot(self):
        """Draw the display; every display has its own."""
        raise NotImplementedError


def vector(name: str, values, size: int | None = None, *, dtype=float) -> np.ndarray:
    """Return one column as an array; raise ValueError, naming it, unless it has `size` entries."""
    column = np.asarray(values, dtype=dtype)
    if column.ndim != 1 or (size is not None and column.shape[0] != size):
        wanted = "one-dimensional" if size is None else f"of shape ({size},)"
        raise ValueError(f"{name} must be {wanted}, got shape {column.shape}")
    return column


def interval_columns(low, high, size: int) -> dict:
    """Return both limits of intervals as columns, or no columns for None."""
    if (low is None) != (high is None):
        raise ValueError("low and high are the limits of one interval: give both or neither")
    if low is None:
        return {}
    return {"low": vector("low", low, size), "high": vector("high", high, size)}


def whisker_columns(low, high, spread, size: int) -> dict:
    """Return what whiskers show as columns: the limits of intervals or a spread, or nothing."""
    columns = interval_columns(low, high, size)
    if spread is None:
        return columns
    if columns:
        raise ValueError(
            "low and high are an interval and spread is none: whiskers show one of them, give "
            "either the limits or spread"
        )
    return {"spread": vector("spread", spread, size)}


def whiskers_sentence(confidence_level: float, *, has_spread: bool = False) -> str:
    """Say what whiskers are, to be added to a description."""
    if has_spread:
        return " The whiskers are the value ± its spread, which is no interval."
    return f" The whiskers are {100 * confidence_level:.4g}% intervals of resampled units."


def listed(values, limit: int = 12) -> str:
    """Return values as text, the long list cut short with its length."""
    words = [_word(value) for value in values]
    if len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])}, ... ({len(words)} in all)"


def _word(value) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | np.ndarray):
        return listed(np.ravel(np.asarray(value, dtype=object)).tolist())
    return str(value)


def _versions() -> str:
    from skdict._version import __version__

    return (
        f"The figure was made with skdict {__version__}, NumPy {np.__version__} and scikit-learn "
        f"{sklearn.__version__}."
    )


def _root(figure):
    """Return the whole figure of a figure or of a part of one."""
    while figure.figure is not figure:
        figure = figure.figure
    return figure


def _displays_on(root) -> list[SavedDisplay]:
    """Displays in the order drawn; none that was cleared from its axes, none twice."""
    shown = [display for artist, display in getattr(root, _DRAWN) if artist.axes is not None]
    return list({id(display): display for display in shown}.values())


def _graphics(root, path: Path) -> bytes:
    matplotlib = import_optional("matplotlib", extra="plot")
    kind = path.suffix.lower()[1:]
    # No dates, no random names: the same numbers give the same file.
    date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    style = {"svg.fonttype": "path", "svg.hashsalt": path.stem, "pdf.fonttype": 42}
    buffer = io.BytesIO()
    with matplotlib.rc_context(style):
        root.savefig(buffer, format=kind, metadata=date, bbox_inches="tight")
    graphics = buffer.getvalue()
    return _smaller(graphics) if kind == "svg" else graphics


def _smaller(graphics: bytes) -> bytes:
    """Leave out the indents of an SVG, and decimals of the places of letters.

    All text is outlines, so that no blank of it stands at the start of a line. Letters are placed
    in hundredths of the font's size.
    """
    graphics = re.sub(rb"\n +", b"\n", graphics)
    return re.sub(rb'(transform="translate\(\d+\.\d\d)\d+ 0\)"/>', rb'\1 0)"/>', graphics)


def _csv(displays, root) -> bytes:
    tables = [display.source_data() for display in displays]
    places = [_place(display.ax_, root) for display in displays]
    if len(set(places)) > 1:
        tables = [
            {"panel": np.full(len(next(iter(table.values()))), place)} | table
            for place, table in zip(places, tables, strict=True)
        ]
    header = list(dict.fromkeys(key for table in tables for key in table))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for table in tables:
        size = len(next(iter(table.values())))
        columns = [_cells(table[key]) if key in table else [""] * size for key in header]
        writer.writerows(zip(*columns, strict=True))
    return buffer.getvalue().encode("utf-8")


def _place(ax, root) -> int:
    """Position of the axes on the figure, from 1."""
    return root.axes.index(ax) + 1


def _cells(values: np.ndarray) -> list[str]:
    """Text of a column: floats in full precision, nothing for a missing value."""
    if values.dtype.kind == "f":
        return ["" if np.isnan(value) else repr(float(value)) for value in values]
    return ["" if value is None else str(value) for value in values.tolist()]


def _text(displays) -> bytes:
    """Paragraphs of all displays; what is the same for several is said once, with their names."""
    names: dict[tuple, list] = {}
    for display in displays:
        said = (display._description(), *display._settings_sentence())
        names.setdefault((display.name is None, *said), []).append(display.name)
    paragraphs = [
        " ".join([_named([] if nameless else dict.fromkeys(group), description), *settings])
        for (nameless, description, *settings), group in names.items()
    ]
    return ("\n\n".join([*paragraphs, _versions()]) + "\n").encode("utf-8")


def _named(names, description: str) -> str:
    """Description after the names that it belongs to."""
    return f"{'; '.join(map(str, names))}: {description}" if names else description
