"""From crops to wells: the mean of each well's crops."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict._units import encode_names
from skdict._validation import check_choice, check_integer, host_array

INCOMPLETE = ("raise", "keep", "drop")
# Values of one block of rows that is read at a time: 64 MB of float64.
_BLOCK_VALUES = 1 << 23


def aggregate_crops(X, plate, well, *, keep=None, n_crops=None, incomplete: str = "raise") -> Bunch:
    """Mean of the crops of every well.

    The ICFL paper [1]_ averages the 36 crops of a well that are not on the edge. Aggregate
    embeddings and code the wells, as the paper does, or code the crops and aggregate the codes:
    a concept that few crops have is small in the mean, but not lost in it.

    Parameters
    ----------
    X : array-like or sparse, shape (n_samples, n_features)
        A row per crop: embeddings, or codes. A memory map is read in blocks; sparse codes stay
        sparse.
    plate : array-like, shape (n_samples,), or None
        Plate of each crop; None where there is one plate.
    well : array-like, shape (n_samples,)
        Well of each crop. Wells of different plates are different wells.
    keep : array-like of bool, shape (n_samples,), or None, default=None
        Crops that count, for example ``~crops.on_edge``; None counts all.
    n_crops : int or None, default=None
        Number of crops that a whole well has; None asks for one at least.
    incomplete : {"raise", "keep", "drop"}, default="raise"
        What to do about wells with another number of crops: refuse them all, average what is
        there, or leave the well out. A well without any crop is left out by "keep", too.

    Returns
    -------
    Bunch
        X : ndarray or CSR array of float32 or float64, shape (n_wells, n_features)
            Mean of each well, in the precision of `X` and summed in float64.
        plate, well : ndarray, shape (n_wells,)
            The wells, sorted; no ``plate`` where none was given.
        n_crops : ndarray of int, shape (n_wells,)
            Number of crops behind each mean.
        dropped : list of dict
            The wells left out: plate, well and number of crops of each.

    Raises
    ------
    ValueError
        If shapes do not fit, a name is missing, a value is NaN or infinite, or wells are
        incomplete and must not be.

    See Also
    --------
    skdict.metrics.aggregate_embeddings : From wells to perturbations.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> from skdict.imaging import aggregate_crops
    >>> X = [[0.0, 1.0], [2.0, 1.0], [5.0, 0.0]]
    >>> wells = aggregate_crops(X, ["P1", "P1", "P2"], ["A01", "A01", "A01"])
    >>> wells.X
    array([[1., 1.],
           [5., 0.]])
    >>> wells.plate.tolist(), wells.n_crops.tolist()
    (['P1', 'P2'], [2, 1])
    """
    check_choice("incomplete", incomplete, INCOMPLETE)
    check_integer("n_crops", n_crops, 1, none=True)
    X = _check_rows(X)
    kept = _check_keep(keep, X.shape[0])
    names, index = _wells(plate, well, X.shape[0])
    counts = np.bincount(index[kept], minlength=len(names["well"]))
    whole = counts > 0 if n_crops is None else counts == n_crops
    wells = [{key: values[i] for key, values in names.items()} | {"n_crops": int(counts[i])}
             for i in np.flatnonzero(~whole)]  # fmt: skip
    if wells and incomplete == "raise":
        raise ValueError(_incomplete_message(wells, len(counts), n_crops))
    stay = counts > 0 if incomplete == "keep" else whole
    if not stay.any():
        raise ValueError(
            f"incomplete={incomplete!r} leaves no well: none of {len(counts)} has "
            f"{'a crop' if n_crops is None else f'{n_crops} crops'}"
        )
    place = np.where(stay, np.cumsum(stay) - 1, -1)[index]
    place[~kept] = -1
    return Bunch(
        X=_means(X, place, counts[stay]),
        **{key: np.asarray(values)[stay] for key, values in names.items()},
        n_crops=counts[stay],
        dropped=[one for one, gone in zip(wells, ~stay[~whole], strict=True) if gone],
    )


def _check_rows(X):
    """Rows as a CSR array, or as an array that may be a memory map; no value is read."""
    if sparse.issparse(X):
        X = sparse.csr_array(X)
    else:
        X = host_array(X)
        X = X if hasattr(X, "dtype") and hasattr(X, "shape") else np.asarray(X)
    if len(X.shape) != 2 or 0 in X.shape:
        raise ValueError(
            f"X must have shape (n_samples, n_features) and not be empty, got shape {X.shape}"
        )
    if np.dtype(X.dtype).kind not in "fiub":
        raise ValueError(f"X must hold real numbers, got dtype {X.dtype}")
    return X


def _check_keep(keep, n_rows: int) -> np.ndarray:
    if keep is None:
        return np.ones(n_rows, dtype=bool)
    keep = np.asarray(keep)
    if keep.shape != (n_rows,) or keep.dtype != np.bool_:
        raise ValueError(
            f"keep must be a boolean mask of shape ({n_rows},), got dtype {keep.dtype} and shape "
            f"{keep.shape}"
        )
    return keep


def _wells(plate, well, n_rows: int) -> tuple[dict, np.ndarray]:
    """Names of the wells, sorted by plate, and the well of each row."""
    well_names, well_index = encode_names(well, n_rows, "well")
    if plate is None:
        return {"well": well_names}, well_index
    plate_names, plate_index = encode_names(plate, n_rows, "plate")
    pairs, index = np.unique(
        plate_index.astype(np.int64) * len(well_names) + well_index, return_inverse=True
    )
    plates, wells = np.divmod(pairs, len(well_names))
    return {"plate": plate_names[plates], "well": well_names[wells]}, index


def _incomplete_message(wells, n_wells: int, n_crops) -> str:
    listed = ", ".join(
        " ".join(str(one[key]) for key in ("plate", "well") if key in one) + f" ({one['n_crops']})"
        for one in wells[:5]
    )
    more = f" and {len(wells) - 5} more" if len(wells) > 5 else ""
    wanted = "at least one crop" if n_crops is None else f"n_crops={n_crops} crops"
    return (
        f"{len(wells)} of {n_wells} wells do not have {wanted}: {listed}{more}; pass "
        "incomplete='drop' to leave them out or 'keep' to average what is there"
    )


def _means(X, place: np.ndarray, counts: np.ndarray):
    """Mean of the rows of each place, summed in float64; rows at place -1 are left out."""
    dtype = np.float64 if X.dtype.kind != "f" else np.result_type(X.dtype, np.float32)
    if sparse.issparse(X):
        finite = np.isfinite(X.data)
        bad = np.searchsorted(X.indptr, np.flatnonzero(~finite), side="right") - 1
        _check_finite(bad[place[bad] >= 0])
        total = sparse.csr_array(_sums(place, len(counts)) @ X)
        total.data /= np.repeat(counts, np.diff(total.indptr))
        return total.astype(dtype)
    total = np.zeros((len(counts), X.shape[1]))
    n_rows = max(1, _BLOCK_VALUES // X.shape[1])
    for start in range(0, X.shape[0], n_rows):
        places = place[start : start + n_rows]
        used = np.flatnonzero(places >= 0)
        if not used.size:
            continue
        rows = np.asarray(X[start : start + n_rows], dtype=np.float64)[used]
        _check_finite(start + used[~np.isfinite(rows).all(axis=1)])
        # Only the wells of this block: all of them may be many times the block.
        wells, local = np.unique(places[used], return_inverse=True)
        total[wells] += _sums(local, len(wells)) @ rows
    total /= counts[:, None]
    return total.astype(dtype, copy=False)


def _check_finite(bad_rows: np.ndarray) -> None:
    if bad_rows.size:
        raise ValueError(
            f"X holds NaN or infinite values, first in row {bad_rows.min()}; leave such rows out "
            "with keep"
        )


def _sums(place: np.ndarray, n_places: int):
    """Matrix that sums the rows of each place, shape (n_places, n_rows)."""
    rows = np.flatnonzero(place >= 0)
    return sparse.csr_array((np.ones(len(rows)), (place[rows], rows)), shape=(n_places, len(place)))
