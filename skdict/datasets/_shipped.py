"""The real profiles that ship with the package.

The files are written by `skdict.datasets._convert` and checked against their SHA-256 on loading.
"""

from __future__ import annotations

import hashlib
import io
from importlib import resources

import numpy as np
from sklearn.utils import Bunch

from skdict._validation import import_optional
from skdict.datasets import _descriptions

_SHA256 = {
    "jump_scope": "35945dd58d3f209e4ea6b1a78a4240151f382061073efea93a013ed8db6f14c0",
    "pediatric_cell_atlas": "a9cdef431da162f123aa32fca5c63e25eea690793f7b7a35f0c5dcf4210f5024",
    # images, written by _convert_images and loaded by _images
    "cell_painting_crops": "cbd9fc9b957ca6b78f2f04843fbf836d39475535e84a25a3927250f5407e8482",
    "schwann_fields": "885be4e16438086d6c6a503920edb94ad571655d177984c83bfd1f4d6ab1263e",
    # cells, written by _convert_pbmc and loaded by _pbmc
    "pbmc": "9bf9cd8d0ab4f8d9b0025fb341314e2117cb963647f1c5d863ef7ab01dbb6804",
}
_DESCRIPTION = {
    "jump_scope": _descriptions.JUMP_SCOPE,
    "pediatric_cell_atlas": _descriptions.PEDIATRIC_CELL_ATLAS,
}


def _read_checked(name: str) -> bytes:
    """Return the bytes of a shipped file, or say what is wrong with it."""
    path = resources.files("skdict.datasets") / "data" / f"{name}.npz"
    remedy = "reinstall skdict (pip install --force-reinstall skdict)"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileNotFoundError(
            f"the shipped data file {path} cannot be read ({error}); {remedy}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[name]:
        raise ValueError(
            f"the shipped data file {path} is damaged: it has {len(content)} bytes and SHA-256 "
            f"{found}, expected {_SHA256[name]}; {remedy}"
        )
    return content


def _unpack(content: bytes) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return the features, their names and the label columns of a shipped file."""
    labels = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as members:
        for key in members.files:
            kind, _, name = key.partition(".")
            if kind == "codes":
                labels[name] = members[f"categories.{name}"][members[key]]
            elif kind == "values":
                labels[name] = members[key]
        return members["data"], members["feature_names"], labels


def _load(name: str, *, license: str, source: str, as_frame: bool) -> Bunch:
    """Assemble the Bunch that both loaders return."""
    # pandas is asked for first: without it the error should not wait for the decompression.
    pandas = import_optional("pandas", extra="io") if as_frame else None
    data, feature_names, labels = _unpack(_read_checked(name))
    labels["control"] = labels.pop("is_control")
    bunch = Bunch(
        data=data,
        feature_names=feature_names,
        metadata=labels,
        DESCR=_DESCRIPTION[name],
        license=license,
        source=source,
        **labels,
    )
    if pandas is not None:
        bunch.data = pandas.DataFrame(data, columns=feature_names)
        bunch.metadata = pandas.DataFrame(labels)
        bunch.frame = pandas.concat([bunch.metadata, bunch.data], axis=1)
    return bunch


def load_jump_scope(*, as_frame: bool = False) -> Bunch:
    """Load Cell Painting profiles of 90 compounds on six imaging set-ups (JUMP-Scope).

    2,280 wells of U2OS cells, 216 CellProfiler features, 24 DMSO wells on each of six
    384-well plates. **Every compound sits in the same four wells of every plate**, so what is
    learned about a compound may be its position: hold out whole compounds to predict a
    mechanism, and call a split by plate position-confounded. The text in ``DESCR`` has the
    evidence for the physical plates, and the other traps.

    Parameters
    ----------
    as_frame : bool, default=False
        Return ``data`` and ``metadata`` as DataFrames and both together as ``frame``
        (needs ``skdict[io]``).

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        data : ndarray of float32, shape (2280, 216)
            Profiles as published: normalised per plate, not clipped.
        feature_names : ndarray of str, shape (216,)
            CellProfiler names, ``Compartment_Category_...``.
        control : ndarray of bool, shape (2280,)
            True for the 144 DMSO wells.
        compound, moa, batch, plate, source_plate, well, cell_line : ndarray of str
            Compound and mechanism ("DMSO" for controls), imaging set-up, physical plate (5
            values: the two Japanese set-ups cannot be told apart), the plate id as the source
            writes it, position on the plate, always "U2OS".
        n_cells : ndarray of float32, shape (2280,)
            Cells counted in the well.
        metadata : dict of ndarray
            All label columns together, ``control`` included.
        DESCR, license, source : str
            Description, licence, and where the data come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If the shipped file is missing or damaged.

    References
    ----------
    .. [1] Tromans-Coia et al., "Assessing the performance of the Cell Painting assay across
       different imaging systems", Cytometry A 103(11), 2023. doi:10.1002/cyto.a.24786

    Examples
    --------
    >>> from skdict.datasets import load_jump_scope
    >>> jump = load_jump_scope()
    >>> jump.data.shape, int(jump.control.sum())
    ((2280, 216), 144)
    >>> sorted(set(jump.plate.tolist()))
    ['BR00117033', 'BR00117034', 'BR00117056', 'BR00117059', 'YokogawaJP']
    """
    return _load(
        "jump_scope",
        license="CC0-1.0",
        source=(
            "https://github.com/BharathiVeerasankar/Exploring-High-dimensional-Cell-painting-data "
            "at ba11c6fec8a22c008522320b05f947d4d5d705c3; Cell Painting Gallery cpg0002-jump-scope"
        ),
        as_frame=as_frame,
    )


def load_pediatric_cell_atlas(*, as_frame: bool = False) -> Bunch:
    """Load Cell Painting profiles of 32 paediatric cancer cell lines.

    2,240 wells, 202 CellProfiler features, ten plates; U2-OS wells on every plate serve as the
    reference. There is no perturbation: the labels are cell line, seeding density and time.
    **Plates repeat layouts**, so a probe across plates may read the position; ``layout`` groups
    the plates that share one.

    Parameters
    ----------
    as_frame : bool, default=False
        Return ``data`` and ``metadata`` as DataFrames and both together as ``frame``
        (needs ``skdict[io]``).

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        data : ndarray of float32, shape (2240, 202)
            Profiles as published: standardised per plate.
        feature_names : ndarray of str, shape (202,)
            CellProfiler names, ``Compartment_Category_...``.
        control : ndarray of bool, shape (2240,)
            True for the 237 wells of the reference line U2-OS.
        cell_line, cell_line_raw, plate, layout, well, round, condition : ndarray of str
            Cell line (spelling harmonised, and as in the source), plate barcode, first plate of
            the group with the same layout, position, experimental round, plating condition.
        time_h, seeding_density : ndarray of int
            Hours after seeding (24, 48 or 72), cells seeded per well.
        metadata : dict of ndarray
            All label columns together, ``control`` included.
        DESCR, license, source : str
            Description, licence, and where the data come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If the shipped file is missing or damaged.

    References
    ----------
    .. [1] Way Lab, "Pediatric Cancer Atlas profiling", 2025. doi:10.5281/zenodo.15548848

    Examples
    --------
    >>> from skdict.datasets import load_pediatric_cell_atlas
    >>> atlas = load_pediatric_cell_atlas()
    >>> atlas.data.shape, len(set(atlas.cell_line)), len(set(atlas.layout))
    ((2240, 202), 32, 5)
    """
    return _load(
        "pediatric_cell_atlas",
        license="CC0-1.0",
        source=(
            "https://github.com/WayScience/pediatric_cancer_atlas_profiling "
            "at c2a042b369a1f614e5dabb7a1d4309f5ad77c133; doi:10.5281/zenodo.15548848"
        ),
        as_frame=as_frame,
    )
