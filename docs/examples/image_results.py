"""Where ``long_image_concepts.py`` leaves its tables, pictures and numbers for the documentation.

In the folder are, of the first seed, pictures (``.png``) and tables (``.csv``); of every seed all
numbers (``seed<n>.json``); and over all seeds that are there ``seeds.csv`` and ``numbers.txt``, the
ranges that the page of the documentation quotes.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from PIL import Image


class Results:
    """Tables, pictures and numbers of one run.

    Parameters
    ----------
    folder : Path or None
        Where to write; None prints only.
    seed : int
        Seed of the run. Pictures and tables are those of seed 0.
    **settings : dict
        What else the numbers depend on.
    """

    def __init__(self, folder, seed: int, **settings):
        self.folder, self.seed, self.settings = folder, seed, settings
        self.tables: dict[str, list[dict]] = {}
        self.numbers: dict[str, int | float] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._illustrated = folder is not None and seed == 0

    def table(self, name: str, rows: list[dict]) -> None:
        """Print rows of equal keys as a table, and write it."""
        widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
        for line in [dict(zip(widths, widths)), *rows]:
            print("  ".join(f"{line[key]!s:>{width}}" for key, width in widths.items()))
        self.tables[name] = rows
        if self._illustrated:
            lines = [list(widths), *(list(row.values()) for row in rows)]
            (self.folder / f"{name}.csv").write_text(_csv(lines))

    def number(self, name: str, value) -> None:
        """Keep a number that is compared between seeds; floats have two decimals."""
        self.numbers[name] = int(value) if isinstance(value, int) else round(float(value), 2)

    def picture(self, name: str, figure) -> None:
        """Write a figure with 64 levels of each colour, half of the bytes of all 256."""
        if self._illustrated:
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=90, bbox_inches="tight", facecolor="white")
            levels = [level & 0b11111100 | level >> 6 for level in range(256)]
            picture = Image.open(buffer).convert("RGB").point(levels * 3)
            picture.save(self.folder / f"{name}.png", optimize=True)

    def write(self) -> None:
        """Write the numbers of this seed, and those of all seeds."""
        if self.folder is None:
            return
        record = {"seed": self.seed, **self.settings, "tables": self.tables,
                  "numbers": self.numbers}  # fmt: skip
        path = self.folder / f"seed{self.seed}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        summarise(self.folder)


def read_seeds(folder: Path) -> dict[int, dict]:
    """Numbers of every seed that is in the folder."""
    records = [json.loads(path.read_text()) for path in folder.glob("seed*.json")]
    return {record["seed"]: record["numbers"] for record in sorted(records, key=_seed)}


def summarise(folder: Path) -> None:
    """Write the table of all seeds and the ranges that the page quotes."""
    for name, text in summaries(read_seeds(folder)).items():
        (folder / name).write_text(text)


def summaries(seeds: dict[int, dict]) -> dict[str, str]:
    """Text of ``seeds.csv`` and of ``numbers.txt``, a substitution of reStructuredText each."""
    names = list(next(iter(seeds.values())))
    columns = {name: [numbers[name] for numbers in seeds.values()] for name in names}
    lines = [["", *(f"seed {seed}" for seed in seeds)]]
    lines += [[name, *map(_text, values)] for name, values in columns.items()]
    ranges = []
    for name, values in columns.items():
        low, high = _text(min(values)), _text(max(values))
        text = low if low == high else f"{low} to {high}"
        ranges.append(f".. |{name}| replace:: {text}\n")
    return {"seeds.csv": _csv(lines), "numbers.txt": "".join(ranges)}


def _seed(record: dict) -> int:
    return record["seed"]


def _text(value) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _csv(lines) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
