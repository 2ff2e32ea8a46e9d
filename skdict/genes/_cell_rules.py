"""Which cells may stand in for a prototype: the same half of the units, batch, type and depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skdict._units import Units, encode_names, read_units
from skdict._validation import check_real

HALVES = ("chosen", "confirmation")


@dataclass(frozen=True)
class CellRules:
    """What a partner of a prototype has to share with it.

    Attributes
    ----------
    half : ndarray of int, shape (n_cells,)
        Half of the units that the cell lies in: 0 where prototypes are chosen, 1 where they are
        confirmed.
    unit : ndarray of int, shape (n_cells,)
        Unit of each cell.
    batch, cell_type : ndarray of int, shape (n_cells,), or None
        Batch and cell type; None asks for nothing.
    depth : ndarray, shape (n_cells,), or None
        Total counts; None asks for nothing.
    max_depth_ratio : float
        Largest ratio of the depths, either way.
    """

    half: np.ndarray
    unit: np.ndarray
    batch: np.ndarray | None
    cell_type: np.ndarray | None
    depth: np.ndarray | None
    max_depth_ratio: float

    @classmethod
    def checked(
        cls, n_cells, *, units, strata, batch, cell_type, depth, max_depth_ratio, rng
    ) -> CellRules:
        """Validate, and deal the units into two halves."""
        check_real("max_depth_ratio", max_depth_ratio, 1, 1e12)
        found = read_units(units, strata, n_cells)
        labels: dict[str, Any] = {"batch": batch, "cell_type": cell_type}
        for name, values in labels.items():
            if values is not None:
                labels[name] = encode_names(values, n_cells, name)[1]
        return cls(
            half=_halves(found, rng)[found.index],
            unit=found.index,
            depth=_checked_depth(depth, n_cells),
            max_depth_ratio=float(max_depth_ratio),
            **labels,
        )

    def steps(self, prototype: int):
        """Yield the name of each rule and which cells keep it.

        Parameters
        ----------
        prototype : int
            The cell.

        Yields
        ------
        name : str
            "batch", "cell type" or "depth".
        kept : ndarray of bool, shape (n_cells,)
            The cells.
        """
        if self.batch is not None:
            yield "batch", self.batch == self.batch[prototype]
        if self.cell_type is not None:
            yield "cell type", self.cell_type == self.cell_type[prototype]
        if self.depth is not None:
            ratio = self.depth / self.depth[prototype]
            kept = (ratio <= self.max_depth_ratio) & (ratio >= 1 / self.max_depth_ratio)
            yield "depth", kept

    def allowed(self, prototype: int) -> np.ndarray:
        """Cells that keep all rules, in the same half; the prototype itself is left out."""
        kept = self.half == self.half[prototype]
        kept[prototype] = False
        for _, mask in self.steps(prototype):
            kept &= mask
        return kept

    def depth_ratio(self, prototypes, partners) -> np.ndarray:
        """Depth of the partners over that of the prototypes; NaN where it is not known."""
        if self.depth is None:
            return np.full(len(prototypes), np.nan)
        return self.depth[partners] / self.depth[prototypes]


def _checked_depth(depth, n_cells):
    """Depth of the cells as float64."""
    if depth is None:
        return None
    depth = np.asarray(depth, dtype=np.float64)
    if depth.ndim == 2 and 1 in depth.shape:  # the sum over columns of a sparse matrix
        depth = depth.ravel()
    if depth.shape != (n_cells,):
        raise ValueError(
            f"depth must have one entry per cell: got shape {depth.shape} for {n_cells} cells"
        )
    if not (np.isfinite(depth) & (depth > 0)).all():
        raise ValueError(
            "depth must be positive and finite, usually X.sum(axis=1); leave cells without counts "
            "out"
        )
    return depth


def _halves(units: Units, rng) -> np.ndarray:
    """Half of each unit, as even within strata and overall as may be."""
    if units.n_units < 2:
        raise ValueError(
            "units must hold at least two units, one for each half, got "
            f"{units.n_units}; pass finer units, or None to deal out single cells"
        )
    order = np.lexsort((rng.random_sample(units.n_units), units.stratum))
    half = np.empty(units.n_units, dtype=np.intp)
    half[order] = (np.arange(units.n_units) + rng.randint(2)) % 2
    return half
