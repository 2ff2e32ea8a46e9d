"""Whether values are raw counts, and where else in an AnnData they are when they are not."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict.interop._rows import as_csr, in_memory

# Whole numbers that float32 holds exactly.
_EXACT = 2**24
# Rows that a look at another place of the AnnData takes, and how far equal sums may differ.
_LOOK_ROWS = 200
_EQUAL = 1e-3
_LARGEST_LOGARITHM = 30.0


def as_counts(block) -> sparse.csr_array:
    """Counts as CSR array of float32, float64 where a count is beyond 2**24.

    Parameters
    ----------
    block : ndarray, or sparse matrix or array
        Values that :func:`first_wrong` has passed.

    Returns
    -------
    csr_array
        The counts; no explicit zeros.
    """
    counts = as_csr(block)
    dtype = np.float32 if counts.nnz == 0 or counts.data.max() <= _EXACT else np.float64
    counts = counts.astype(dtype, copy=False)
    if not counts.data.all():
        counts = counts.copy()
        counts.eliminate_zeros()
    return counts


def first_wrong(block):
    """Row, column and value of the first value that is no count; None if all are.

    Parameters
    ----------
    block : ndarray, or sparse matrix or array
        The values.

    Returns
    -------
    tuple of (int, int, object) or None
        Where it is and what it is.
    """
    csr = as_csr(block)
    if csr.dtype == bool:
        return (0, 0, bool(csr.data[0])) if csr.nnz else None
    values = csr.data
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~((values >= 0) & (values == np.rint(values)) & (values < np.inf)))
    if wrong.size == 0:
        return None
    place = int(wrong[0])
    row = int(np.searchsorted(csr.indptr, place, side="right")) - 1
    return row, int(csr.indices[place]), values[place].item()


def what_values_are(block) -> str:
    """Say what values that are no counts look like.

    Parameters
    ----------
    block : ndarray, or sparse matrix or array
        Some rows.

    Returns
    -------
    str
        A phrase.
    """
    csr = as_csr(block)
    if csr.dtype == bool:
        return "true and false, which only says where there is a count"
    values = csr.data.astype(np.float64)
    if not np.isfinite(values).all():
        return "not even finite"
    if (values < 0).any():
        return "negative in places, as after scaling"
    of_counts = {"counts normalised": values}
    if values.max() < _LARGEST_LOGARITHM:
        inverse = np.expm1(values)
        if np.allclose(inverse, np.rint(inverse), rtol=1e-5, atol=1e-3):
            return "the logarithm of counts"
        of_counts["the logarithm of counts normalised"] = inverse
    row = np.repeat(np.arange(csr.shape[0]), np.diff(csr.indptr))
    for name, counts in of_counts.items():
        sums = np.bincount(row, weights=counts)
        sums = sums[sums > 0]
        if sums.size > 1 and np.ptp(sums) <= _EQUAL * sums.mean():
            return f"{name} to {sums.mean():.6g} per cell"
    return "no whole numbers, as after normalising or taking logarithms"


def where_counts_are(places: dict) -> str:
    """Say which other places of an AnnData seem to hold counts.

    Parameters
    ----------
    places : dict of str to element
        What to pass, such as ``layer='counts'``, and what lies there.

    Returns
    -------
    str
        A sentence.
    """
    found = [what for what, element in places.items() if _seems_counts(element)]
    if not found:
        return (
            "neither X nor raw.X nor a layer holds whole numbers; go back to the file that the "
            "counts come from"
        )
    return f"counts seem to be elsewhere: pass {' or '.join(found)}"


def _seems_counts(element) -> bool:
    """Whether the first rows are whole numbers, and not ones alone."""
    block = in_memory(element[: min(_LOOK_ROWS, element.shape[0])])
    if first_wrong(block) is not None:
        return False
    csr = as_csr(block)
    return bool(csr.nnz and csr.data.max() > 1)
