"""Active and inactive cells of each concept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Arms:
    """The two arms of a comparison for every concept, as sparse patterns.

    Attributes
    ----------
    active : csr_array of float64, shape (n_concepts, n_cells)
        One where a concept is active in a cell.
    left_out : csr_array of float64, shape (n_concepts, n_cells)
        One where a cell is in neither arm. All other cells are inactive.
    n_cells : int
        Number of cells in use.
    """

    active: sparse.csr_array
    left_out: sparse.csr_array
    n_cells: int

    @property
    def n_active(self) -> np.ndarray:
        """Active cells of each concept."""
        return np.diff(self.active.indptr).astype(np.int64)

    @property
    def n_left_out(self) -> np.ndarray:
        """Cells in neither arm of each concept."""
        return np.diff(self.left_out.indptr).astype(np.int64)

    @property
    def n_inactive(self) -> np.ndarray:
        """Inactive cells of each concept."""
        return self.n_cells - self.n_active - self.n_left_out

    def sums(self, rows: slice, values, total) -> tuple[np.ndarray, np.ndarray]:
        """Sums over the active, and over the inactive cells of some concepts.

        Parameters
        ----------
        rows : slice
            The concepts.
        values : csr_array, shape (n_cells, n_columns)
            One row per cell.
        total : ndarray, shape (n_columns,)
            Sum over all cells.

        Returns
        -------
        tuple of ndarray, shape (n_taken, n_columns)
            The two sums, in float64. What rounding leaves of an empty sum is not cleared.
        """
        active = (self.active[rows] @ values).toarray()
        inactive = total - active
        out = self.left_out[rows]
        if out.nnz:
            inactive -= (out @ values).toarray()
        return active, inactive


def read_arms(codes, concepts, active: str, used: np.ndarray) -> Arms:
    """Read the arms from codes.

    Parameters
    ----------
    codes : csr_array, shape (n_cells, n_concepts)
        Checked codes.
    concepts : ndarray of int, shape (n_chosen,)
        Columns of the codes.
    active : {"positive", "nonzero"}
        What counts as active. With "positive", negative codes are in neither arm.
    used : ndarray of bool, shape (n_cells,)
        Cells in use.

    Returns
    -------
    Arms
        Patterns over all cells, empty for cells not in use.
    """
    by_concept = sparse.csr_array(codes[:, concepts].T)
    signs = np.sign(by_concept.data) * used[by_concept.indices]
    if active == "nonzero":
        signs = np.abs(signs)
    patterns = []
    for sign in (1, -1):
        pattern = by_concept.astype(np.float64)  # a copy
        pattern.data = (signs == sign).astype(np.float64)
        pattern.eliminate_zeros()
        patterns.append(pattern)
    return Arms(active=patterns[0], left_out=patterns[1], n_cells=int(used.sum()))


def check_codes(codes, n_cells: int) -> sparse.csr_array:
    """Codes as CSR without duplicates; raise where they do not fit the cells.

    Parameters
    ----------
    codes : {array-like, sparse}, shape (n_cells, n_concepts)
        Codes.
    n_cells : int
        Rows of X.

    Returns
    -------
    csr_array, shape (n_cells, n_concepts)
        The codes.

    Raises
    ------
    ValueError
        If the shape is wrong, or values are not finite.
    """
    if not sparse.issparse(codes):
        codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[0] != n_cells or codes.shape[1] == 0:
        raise ValueError(
            f"codes must have shape (n_cells, n_concepts) with the {n_cells} cells of X, got shape "
            f"{codes.shape}"
        )
    matrix = sparse.csr_array(codes)
    if matrix.dtype.kind not in "biuf" or not np.isfinite(matrix.data).all():
        raise ValueError(
            f"codes must be finite real numbers, got dtype {matrix.dtype} or NaN or infinity"
        )
    if not matrix.has_canonical_format:
        matrix = matrix.copy()  # the caller's codes stay as they are
        matrix.sum_duplicates()
    return matrix
