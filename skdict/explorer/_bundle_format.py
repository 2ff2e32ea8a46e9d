"""What lies in a concept bundle: names of files, version, and the manifest that lists them.

Names of files are built here, from the parts that the manifest says are there; a name that stands
in a manifest is never opened.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from skdict.explorer._bundle_paths import BundleError, safe_path

FORMAT = "skdict-concept-bundle"
VERSION = 1
MANIFEST = "manifest.json"

# Parts that a bundle can lack, each with its files.
OPTIONAL_PARTS = {
    "map": ("map.npy",),
    "neighbors": ("neighbors_index.npy", "neighbors_cosine.npy"),
    "genes": ("genes.parquet", "genes_index.npy"),
    "pathways": ("pathways.parquet", "pathways_index.npy"),
}
PICTURE_PARTS = ("thumbnails", "heatmaps")
PARTS = (*OPTIONAL_PARTS, *PICTURE_PARTS)

EXAMPLE_KINDS = ("top", "random", "quantile", "inactive")
_SPARSE = ("data", "indices", "indptr")
_ALWAYS = (
    "concepts.parquet",
    "samples.parquet",
    *(f"codes_by_concept/{name}.npy" for name in _SPARSE),
    *(f"codes_by_sample/{name}.npy" for name in _SPARSE),
    *(f"examples_{kind}.npy" for kind in EXAMPLE_KINDS),
    "histogram_counts.npy",
    "coactive_index.npy",
    "coactive_lift.npy",
    "coactive_jaccard.npy",
)
LABELS = "selectivity/labels.json"
BEST_LABELS = "selectivity/best.npy"

_LARGEST_MANIFEST = 1 << 24
_LARGEST_NUMBER = (1 << 31) - 1


def selectivity_file(column: int) -> str:
    """Name of the selectivity array of a label column, given by its place."""
    return f"selectivity/{column}.npy"


def thumbnail_file(sample: int) -> str:
    """Name of the thumbnail of a sample; a thousand to a folder."""
    return f"thumbnails/{sample // 1000}/{sample}.png"


def heatmap_file(concept: int, sample: int) -> str:
    """Name of the heatmap of a concept on a sample."""
    return f"heatmaps/{concept}/{sample}.png"


def expected_files(parts: dict, n_label_columns: int) -> list[str]:
    """Names of all files of a bundle but pictures and the manifest itself.

    Parameters
    ----------
    parts : dict of bool
        Which of the optional parts are there.
    n_label_columns : int
        Number of label columns.

    Returns
    -------
    list of str
        Names relative to the folder, with forward slashes.
    """
    names = list(_ALWAYS)
    for part, files in OPTIONAL_PARTS.items():
        names += files if parts[part] else ()
    if n_label_columns:
        names += [LABELS, BEST_LABELS, *map(selectivity_file, range(n_label_columns))]
    return names


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write the manifest in one step: beside its name first, then under it."""
    part = folder / f".{MANIFEST}.part"
    text = json.dumps(manifest, indent=1, ensure_ascii=True, allow_nan=False)
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / MANIFEST)


def read_manifest(root: Path) -> dict:
    """Read and check the manifest of a bundle.

    Parameters
    ----------
    root : Path
        The folder, resolved.

    Returns
    -------
    dict
        The manifest; every entry that the package uses has its type.

    Raises
    ------
    BundleError
        If the folder is no bundle, of a newer version, or its manifest is damaged.
    """
    manifest = read_format(root)
    version = manifest.get("version", 0)
    if not _is_number(version, 1):
        raise _damaged(root, f"version must be an integer of at least 1, got {version!r}")
    if version > VERSION:
        raise BundleError(_newer(root, version, manifest.get("skdict")))
    for name in ("n_samples", "n_concepts"):
        if not _is_number(manifest.get(name), 1):
            raise _damaged(root, f"{name} must be a number of at least 1")
    for name in ("title", "description", "skdict", "created"):
        if not isinstance(manifest.get(name), str):
            raise _damaged(root, f"{name} must be a text")
    columns, parts = manifest.get("label_columns"), manifest.get("parts")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise _damaged(root, "label_columns must be a list of texts")
    if not isinstance(parts, dict) or any(not isinstance(parts.get(p), bool) for p in PARTS):
        raise _damaged(root, f"parts must say of each of {', '.join(PARTS)} whether it is there")
    if not isinstance(manifest.get("settings"), dict):
        raise _damaged(root, "settings must be a mapping")
    _check_records(root, manifest)
    return manifest


def read_format(root: Path) -> dict:
    """Read a manifest of any version; raise unless the folder is a concept bundle."""
    if not (root / MANIFEST).exists() and not (root / MANIFEST).is_symlink():
        raise BundleError(
            f"{str(root)!r} is no concept bundle: there is no {MANIFEST} in it; name the folder "
            "that skdict.explorer.build_bundle wrote"
        )
    path = safe_path(root, MANIFEST)
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise _damaged(root, f"it is larger than {_LARGEST_MANIFEST} bytes")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(root, f"it cannot be read as JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise BundleError(
            f"{str(root)!r} is no concept bundle: the format in its {MANIFEST} is "
            f"{str(found)[:100]!r} instead of {FORMAT!r}"
        )
    return manifest


def _check_records(root: Path, manifest: dict) -> None:
    """Raise unless every file that must be there has a size and a checksum."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise _damaged(root, "files must be a mapping")
    wanted = {name: "bytes" for name in expected_files(manifest["parts"], _n_columns(manifest))}
    wanted |= {part: "number" for part in PICTURE_PARTS if manifest["parts"][part]}
    for name, number in wanted.items():
        record = files.get(name)
        known = isinstance(record, dict) and _is_number(record.get(number), 0, 1 << 62)
        digest = record.get("sha256") if known else None
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise _damaged(root, f"files does not list {name} with its {number} and sha256")


def _n_columns(manifest: dict) -> int:
    return len(manifest["label_columns"])


def _is_number(value, least: int, most: int = _LARGEST_NUMBER) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _damaged(root: Path, reason: str) -> BundleError:
    return BundleError(
        f"{MANIFEST} of the bundle {str(root)!r} is damaged: {reason}; copy the folder again or "
        "build it anew"
    )


def _newer(root: Path, version: int, writer) -> str:
    """Message of a bundle that a newer skdict wrote."""
    named = isinstance(writer, str) and re.fullmatch(r"\d+(\.\w+)*(\+\w+)?", writer)
    wanted = f"skdict {writer} or newer" if named else "a newer skdict"
    return (
        f"the bundle {str(root)!r} has version {version} of the format, and this skdict reads "
        f"versions up to {VERSION}: install {wanted}, or build the bundle with this one"
    )
