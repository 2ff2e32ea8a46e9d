"""Convert the tables behind the shipped sets to the ``.npz`` files of ``skdict/datasets/data``.

Run as ``python -m skdict.datasets._convert NAME SOURCE.parquet OUT.npz``; it prints the SHA-256
that `skdict.datasets._shipped` has to know. Nothing is computed on the features: float32 in,
the same float32 out. Text columns become an integer code per row and the sorted categories.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from skdict._validation import import_optional

LABEL_PREFIX = "meta_"

# The source writes the barcode BR00117033 as BRO0117033 (letter O) and appends the objective, and
# it has one digit too many in BRO01177034. The two Japanese set-ups name a plate by the time of
# its acquisition, on two following days: one plate or two cannot be told (the evidence is in
# _descriptions.py), so they share one value and no split by plate can leak between them.
JUMP_SCOPE_PLATES = {
    "20201020T134356": "YokogawaJP",
    "20201021T092317": "YokogawaJP",
    "BRO0117033_20xb": "BR00117033",
    "BRO01177034_20x": "BR00117034",
    "BRO0117056_20x": "BR00117056",
    "BRO0117059_20X": "BR00117059",
}


def _jump_scope_labels(labels: dict) -> dict:
    """Add the physical plate; keep the plate id of the source as ``source_plate``."""
    labels = dict(labels)
    labels["source_plate"] = labels["plate"]
    unknown = sorted(set(labels["source_plate"].tolist()) - set(JUMP_SCOPE_PLATES))
    if unknown:
        raise ValueError(f"plates of the source without a known physical plate: {unknown}")
    labels["plate"] = np.array([JUMP_SCOPE_PLATES[p] for p in labels["source_plate"]])
    return labels


def _pediatric_labels(labels: dict) -> dict:
    """Add ``layout``: plates with the same cell line in every shared well share one value."""
    plates = np.unique(labels["plate"])
    maps = {}
    for plate in plates:
        rows = labels["plate"] == plate
        maps[plate] = dict(zip(labels["well"][rows], labels["cell_line"][rows], strict=True))
    layout: dict[str, str] = {}
    for plate in plates:
        for first in sorted(set(layout.values())):
            shared = maps[plate].keys() & maps[first].keys()
            if shared and all(maps[plate][well] == maps[first][well] for well in shared):
                layout[plate] = first
                break
        else:
            layout[plate] = plate
    return dict(labels, layout=np.array([layout[plate] for plate in labels["plate"]]))


LABELS = {"jump_scope": _jump_scope_labels, "pediatric_cell_atlas": _pediatric_labels}


def read_source(source) -> tuple[np.ndarray, np.ndarray, dict]:
    """Split a source table into features, their names, and its ``meta_`` columns.

    Parameters
    ----------
    source : path
        Parquet file whose label columns start with ``meta_`` and whose other columns are float32.

    Returns
    -------
    data : ndarray of float32, shape (n_samples, n_features)
    feature_names : ndarray of str, shape (n_features,)
    labels : dict of ndarray
        The label columns without their prefix.
    """
    pandas = import_optional("pandas", extra="io")
    table = pandas.read_parquet(source)
    names = [name for name in table.columns if not name.startswith(LABEL_PREFIX)]
    wrong = [name for name in names if table[name].dtype != np.float32]
    if wrong:
        raise ValueError(f"feature columns of {source} that are not float32: {wrong[:5]}")
    labels = {}
    for name in table.columns:
        if not name.startswith(LABEL_PREFIX):
            continue
        if table[name].isna().any():
            raise ValueError(f"label column {name} of {source} has missing values")
        values = table[name].to_numpy()
        is_text = values.dtype.kind not in "biuf"
        labels[name.removeprefix(LABEL_PREFIX)] = values.astype(str) if is_text else values
    return np.ascontiguousarray(table[names].to_numpy()), np.array(names), labels


def pack(data: np.ndarray, feature_names: np.ndarray, labels: dict) -> dict:
    """Return the members of the ``.npz`` file: no member needs pickle to be read."""
    members = {"data": data, "feature_names": feature_names}
    for name, values in labels.items():
        if values.dtype.kind == "U":
            categories, codes = np.unique(values, return_inverse=True)
            members[f"categories.{name}"] = categories
            members[f"codes.{name}"] = codes.astype(np.int16)
        else:
            members[f"values.{name}"] = values
    return members


def convert(name: str, source, out) -> str:
    """Write the ``.npz`` file of a shipped set.

    Parameters
    ----------
    name : {"jump_scope", "pediatric_cell_atlas"}
        Which set; decides the derived label columns.
    source : path
        The parquet table to read.
    out : path
        The ``.npz`` file to write.

    Returns
    -------
    str
        SHA-256 of the file written.
    """
    data, feature_names, labels = read_source(source)
    labels = LABELS[name](labels)
    with Path(out).open("wb") as file:
        np.savez_compressed(file, **pack(data, feature_names, labels))
    return hashlib.sha256(Path(out).read_bytes()).hexdigest()


def main(argv=None) -> None:
    """Run the conversion from the command line."""
    parser = argparse.ArgumentParser(prog="python -m skdict.datasets._convert")
    parser.add_argument("name", choices=sorted(LABELS))
    parser.add_argument("source", help="parquet table to read")
    parser.add_argument("out", help=".npz file to write")
    arguments = parser.parse_args(argv)
    print(convert(arguments.name, arguments.source, arguments.out))


if __name__ == "__main__":
    main()
