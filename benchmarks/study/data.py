"""The data sets of the study: what is predicted, what is held out, and what they cannot say.

Rows that no evaluation can use are left out here: mechanisms of a single compound (nothing
remains to learn from when it is held out) and cell lines of a single layout.
"""

import os
import warnings
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from benchmarks.study.cache import fingerprint
from skdict.datasets import (
    load_jump_scope,
    load_pediatric_cell_atlas,
    make_superposition,
    read_profiles,
)

# Standardised CellProfiler values beyond this are ratios whose denominator was near zero.
CLIP = 10.0
FOLDERS = {
    "cmqtl": "cmqtl_crispri_wells/wells.parquet",
    "cytosummarynet": "cytosummarynet_deep_profiles/wells.parquet",
    "cardiac": "cardiac_fibroblast_single_cells/cells.parquet",
}
# 1,664 features, 8,192 atoms and 100 non-zeros of the paper, each divided by 13.
PLANTED = {"n_features": 128, "n_components": 630, "n_active": 8}


@dataclass(frozen=True)
class StudyData:
    """Rows of one data set and everything that its evaluation needs.

    Attributes
    ----------
    y : ndarray
        Label of a row; that of controls is never read.
    groups : ndarray or None
        What is held out as a whole; None where rows are independent.
    units : ndarray
        What is resampled for an interval, and permuted for the level of chance.
    strata : ndarray or None
        Within which labels are permuted.
    control : ndarray of bool
        Rows that the whitener is fitted on; never probed. Nowhere True: it takes all rows.
    split : str
        "folds" (random folds of groups, by seed) or "each" (every group once).
    n_components, n_nonzero : int
        Atoms of a dictionary, and non-zeros of a code wherever sparsity is not what varies.
    label, holds_out, carries : str
        What is predicted, from what; and what the results can and cannot say.
    claims : bool
        Whether verdicts are based on this set; descriptive otherwise.
    cellprofiler : bool
        Whether the features are named measurements.
    truth : ndarray or None
        Atoms that made planted data.
    """

    name: str
    title: str
    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    units: np.ndarray
    strata: np.ndarray | None
    batch: np.ndarray | None
    control: np.ndarray
    n_components: int
    label: str
    holds_out: str
    carries: str
    split: str = "folds"
    n_nonzero: int = 20
    claims: bool = True
    cellprofiler: bool = True
    truth: np.ndarray | None = None
    feature_names: np.ndarray | None = field(default=None, repr=False)

    @property
    def probed(self):
        """Positions of the rows that are not controls."""
        return np.flatnonzero(~self.control)

    @cached_property
    def fingerprint(self):
        """Digest of all arrays."""
        arrays = (self.X, self.y, self.groups, self.units, self.strata, self.batch, self.control)
        given = [array for array in arrays if array is not None]
        return fingerprint(*given, np.array([self.n_components]))

    def folds(self, n_folds, seed):
        """Pairs of positions (training rows with their controls, held-out rows).

        Controls are in the training part unless their group is held out.
        """
        rows = self.probed
        y = self.y[rows]
        if self.groups is None:
            cv, groups = StratifiedKFold(n_folds, shuffle=True, random_state=seed), None
        else:
            groups = self.groups[rows]
            cv = LeaveOneGroupOut()
            if self.split == "folds":
                cv = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        controls = np.flatnonzero(self.control)
        for train, test in cv.split(rows, y, groups):
            kept = controls
            if groups is not None:
                held_out = np.setdiff1d(groups[test], groups[train])
                kept = controls[~np.isin(self.groups[controls], held_out)]
            yield np.sort(np.concatenate([rows[train], kept])), rows[test]

    @property
    def permuted_units(self):
        """Units of the probed rows if each has one label, else None: rows are exchanged then."""
        y, units = self.y[self.probed], self.units[self.probed]
        _, first, unit = np.unique(units, return_index=True, return_inverse=True)
        return units if np.array_equal(y[first][unit], y) else None

    @property
    def resampled_strata(self):
        """Strata of the probed rows within which units are resampled, or None."""
        if self.strata is None or np.array_equal(self.strata, self.units):
            return None
        return self.strata[self.probed]

    def permuted(self, random_state):
        """Labels of the probed rows, permuted as the design allows.

        Whole units exchange their labels within strata; rows do where a unit has several labels.
        """
        rng = np.random.default_rng(random_state)
        rows = self.probed
        y = self.y[rows]
        strata = np.zeros(rows.size, int) if self.strata is None else self.strata[rows]
        units, first = np.arange(rows.size), np.arange(rows.size)
        if self.permuted_units is not None:
            _, first, units = np.unique(self.units[rows], return_index=True, return_inverse=True)
        labels = y[first].copy()
        for stratum in np.unique(strata):
            members = np.flatnonzero(strata[first] == stratum)
            labels[members] = labels[rng.permutation(members)]
        return labels[units]


def n_atoms(n_features, n_rows):
    """Atoms of a real set: twice the features, with at least four rows for each."""
    return int(min(2 * n_features, n_rows // 4))


@lru_cache
def load(name, planted_rows=6000):
    """Return a data set by name, or None where SKDICT_DATA does not have it."""
    if name in FOLDERS and not has_file(FOLDERS[name]):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "read_profiles")  # what was changed is told on the page
        if name == "planted":
            return planted(planted_rows)
        return {
            "jump": jump,
            "jump_search": lambda: jump("search"),
            "jump_confirm": lambda: jump("confirm"),
            "pediatric": pediatric,
            "cmqtl": cmqtl,
            "cytosummarynet": cytosummarynet,
            "cardiac": cardiac,
        }[name]()


def has_file(path):
    """Whether SKDICT_DATA is set and holds a file."""
    folder = os.environ.get("SKDICT_DATA")
    return bool(folder) and (Path(folder) / path).exists()


def clipped(X):
    """Values clipped at `CLIP`, float32."""
    return np.clip(X, -CLIP, CLIP).astype(np.float32)


def jump(part=None):
    """JUMP-Scope: predict the mechanism of compounds that were held out.

    Parameters
    ----------
    part : {None, "search", "confirm"}, default=None
        All mechanisms of two compounds, or one of two halves of the mechanisms: the search chooses
        on one, and nothing of the other is looked at before the choice is made. DMSO wells are in
        both.
    """
    wells = load_jump_scope()
    names, compounds = mechanisms(wells)
    paired = np.array([name for name in names if len(compounds[name]) > 1])
    if part is not None:
        order = np.random.default_rng(0).permutation(paired)
        half = (paired.size + 1) // 2
        paired = np.sort(order[:half] if part == "search" else order[half:])
    rows = np.flatnonzero(wells.control | np.isin(wells.moa, paired))
    X = clipped(wells.data[rows])
    halves = {None: "", "search": ", half of the mechanisms", "confirm": ", the other half"}
    return StudyData(
        name="jump" if part is None else f"jump_{part}",
        title=f"JUMP-Scope wells{halves[part]}",
        X=X,
        y=wells.moa[rows],
        groups=wells.compound[rows],
        units=wells.compound[rows],
        strata=None,
        batch=wells.batch[rows],
        control=wells.control[rows],
        n_components=n_atoms(X.shape[1], rows.size),
        label="mechanism",
        holds_out="whole compounds",
        carries="Every position of the plate holds one compound on all plates. With whole "
        "compounds held out a mechanism cannot be read from the position of the wells trained on.",
        feature_names=np.asarray(wells.feature_names),
    )


def mechanisms(wells):
    """Names of the mechanisms, and the compounds of each."""
    treated = ~wells.control
    names = np.unique(wells.moa[treated])
    return names, {name: np.unique(wells.compound[treated & (wells.moa == name)]) for name in names}


def pediatric():
    """Pediatric cell atlas: predict the cell line on plates of a layout that was held out."""
    wells = load_pediatric_cell_atlas()
    several = [
        line
        for line in np.unique(wells.cell_line[~wells.control])
        if np.unique(wells.layout[wells.cell_line == line]).size > 1
    ]
    rows = np.flatnonzero(wells.control | np.isin(wells.cell_line, several))
    X = clipped(wells.data[rows])
    return StudyData(
        name="pediatric",
        title="Pediatric cell atlas wells",
        X=X,
        y=wells.cell_line[rows],
        groups=wells.layout[rows],
        units=np.char.add(np.char.add(wells.layout[rows].astype(str), " "), wells.well[rows]),
        strata=wells.layout[rows],
        batch=wells.plate[rows],
        control=wells.control[rows],
        n_components=n_atoms(X.shape[1], rows.size),
        label="cell line",
        holds_out="layouts: groups of plates with the same line in every well",
        carries="Only lines that lie on two layouts or more. Controls are a reference line, "
        "no untreated state.",
        split="each",
        feature_names=np.asarray(wells.feature_names),
    )


def table(name, control):
    """One of the sets under SKDICT_DATA, with columns that start with ``meta_``."""
    path = Path(os.environ["SKDICT_DATA"]) / FOLDERS[name]
    return read_profiles(path, control=control, metadata_prefix="meta_")


def column(profiles, name):
    """A metadata column as text."""
    return np.asarray(profiles.metadata[f"meta_{name}"]).astype(str)


def cmqtl():
    """CRISPRi of cmQTL: predict the gene in blocks of wells that were held out."""
    wells = table("cmqtl", {"gene": "CONTROL"})
    X = clipped(wells.data)
    position = column(wells, "well")
    block = np.array([f"{(ord(w[0]) - ord('A')) // 2}-{(int(w[1:]) - 1) // 2}" for w in position])
    return StudyData(
        name="cmqtl",
        title="cmQTL CRISPRi wells",
        X=X,
        y=column(wells, "gene"),
        groups=block,
        units=block,
        strata=None,
        batch=column(wells, "batch"),
        control=wells.control,
        n_components=n_atoms(X.shape[1], X.shape[0]),
        label="gene",
        holds_out="blocks of 2 x 2 wells, on both plates",
        carries="Five genes; the second plate repeats the layout of the first.",
        feature_names=wells.feature_names,
    )


def cytosummarynet():
    """CytoSummaryNet: predict the plate of compounds that were held out."""
    wells = table("cytosummarynet", None)
    X = np.asarray(wells.data, np.float32)
    compound = column(wells, "compound_id")
    return StudyData(
        name="cytosummarynet",
        title="CytoSummaryNet embeddings",
        X=X,
        y=column(wells, "plate"),
        groups=compound,
        units=compound,
        strata=compound,
        batch=None,
        control=np.zeros(X.shape[0], bool),
        n_components=n_atoms(X.shape[1], X.shape[0]),
        label="plate",
        holds_out="whole compounds",
        carries="The network was trained on compounds, so no claim is made about them: the label "
        "is the plate, a batch effect. There are no controls, so whitening takes "
        "all training rows.",
        cellprofiler=False,
    )


def cardiac():
    """Cardiac fibroblasts: healthy or failing, on plates that were held out; descriptive."""
    cells = table("cardiac", None)
    X = clipped(cells.data)
    label, well = column(cells, "cell_type"), column(cells, "well")
    plate = column(cells, "plate")
    return StudyData(
        name="cardiac",
        title="Cardiac fibroblasts, single cells",
        X=X,
        y=label,
        groups=plate,
        units=np.char.add(np.char.add(plate, " "), well),
        strata=plate,
        batch=plate,
        control=(label == "healthy") & np.isin(well, ("B02", "B05")),
        n_components=n_atoms(X.shape[1], X.shape[0]),
        label="healthy or failing heart",
        holds_out="plates",
        carries="One heart per disease: nothing here tells disease from donor, so the set is "
        "descriptive. Healthy cells of two wells per plate are the controls and are not probed.",
        split="each",
        claims=False,
        feature_names=cells.feature_names,
    )


def planted(n_rows):
    """Planted data at the paper's shape, 13 times smaller: 39 labels, controls, a background."""
    made = make_superposition(
        n_rows, **PLANTED, zipf_exponent=0.5, n_labels=39, label_effect=0.6, control_fraction=0.2,
        mean_offset=0.5, background=0.5, random_state=0,
    )  # fmt: skip
    rows = np.arange(n_rows)
    return StudyData(
        name="planted",
        title="Planted data",
        X=made.data,
        y=np.where(made.control, "control", np.char.add("label ", made.target.astype(str))),
        groups=None,
        units=rows,
        strata=None,
        batch=None,
        control=made.control,
        n_components=PLANTED["n_components"],
        n_nonzero=PLANTED["n_active"],
        label="planted label",
        holds_out="rows, which are independent",
        carries="The paper's 1,664 features, 8,192 atoms and 100 non-zeros divided by 13, and "
        f"{n_rows:,} rows in place of 40 million. The atoms that made the rows are known.",
        cellprofiler=False,
        truth=made.components,
    )
