"""Explained variance over the blocks of a Dask array."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from skdict._base import CHUNK_ROWS, FLOATS
from skdict._validation import check_device, import_optional
from skdict.parallel._dask import split_dictionary
from skdict.parallel._dask_blocks import (
    in_task,
    merge_in_tree,
    rows_in_blocks,
    settings_for_tasks,
    ship,
)


def dask_score(estimator, X, *, compute=True):
    r"""Explained variance of the reconstruction of a Dask array, in one pass over its blocks.

    .. math:: 1 - \frac{\sum_j \mathrm{var}(x_j - \hat x_j)}{\sum_j \mathrm{var}(x_j)}

    with variances over all rows, as ``estimator.score`` has it. Blocks give counts, means and
    sums of squares about their means, which are merged exactly (Chan et al.); neither `X` nor the
    codes are held beyond a block.

    Parameters
    ----------
    estimator : dictionary or Pipeline
        A fitted dictionary, or a Pipeline that ends with one: rows are then scored as the steps
        before the dictionary leave them.
    X : dask.array.Array of shape (n_samples, n_features)
        Embeddings; chunks as in :func:`dask_transform`.
    compute : bool, default=True
        False gives a lazy result, to compute together with others in one pass.

    Returns
    -------
    float or dask.delayed.Delayed
        Explained variance: 1 is perfect; 0 for constant X.

    Raises
    ------
    TypeError
        If `X` is no Dask array or the estimator does not end with a dictionary.
    ValueError
        If `X` has another number of columns than in fit, or no rows.
    ImportError
        If Dask is not installed.

    See Also
    --------
    dask_transform : The codes themselves.

    Examples
    --------
    >>> import dask.array as da
    >>> from skdict import ICFLDictionary
    >>> from skdict.datasets import make_superposition
    >>> from skdict.parallel import dask_score
    >>> X = make_superposition(n_samples=300, n_features=8, n_components=12, random_state=0).data
    >>> icfl = ICFLDictionary(12, n_nonzero_coefs=3, max_steps=5, random_state=0).fit(X)
    >>> score = dask_score(icfl, da.from_array(X, chunks=(100, -1)))
    >>> abs(score - icfl.score(X)) < 1e-6
    True
    """
    X = rows_in_blocks(X, estimator)
    if split_dictionary(estimator)[1] is None:
        raise TypeError(
            "estimator must be a dictionary such as ICFLDictionary or TopKSAE, or a Pipeline that "
            f"ends with one, got {type(estimator).__name__}"
        )
    delayed = import_optional("dask", extra="dask").delayed
    shipped, settings = ship(estimator), settings_for_tasks()
    score_block = delayed(_block_spread, pure=True)
    parts = [score_block(block, shipped, settings) for block in X.to_delayed().ravel()]
    score = delayed(_explained, pure=True)(merge_in_tree(parts, _merge_all))
    return score.compute() if compute else score


class _Spread(NamedTuple):
    """Number of rows; means and sums of squares about them, of residuals (0) and rows (1)."""

    n_rows: int
    mean: np.ndarray  # (2, d)
    squares: np.ndarray  # (2, d)


def _block_spread(block, estimator, settings):
    if block.shape[0] == 0:
        return _Spread(0, np.zeros((2, 1)), np.zeros((2, 1)))
    before, dictionary = split_dictionary(estimator)
    with in_task(estimator, settings):
        check_device(dictionary.device)
        rows = check_array(block if before is None else before.transform(block), dtype=FLOATS)
        residual = rows - dictionary.inverse_transform(dictionary._encode(rows))
    # In float64, a few rows at a time: memory does not double with the block.
    starts = range(0, rows.shape[0], CHUNK_ROWS)
    chunks = (slice(start, start + CHUNK_ROWS) for start in starts)
    return _merge_all([_spread(residual[chunk], rows[chunk]) for chunk in chunks])


def _spread(residual, rows):
    stacked = np.stack([residual, rows]).astype(np.float64, copy=False)
    mean = stacked.mean(axis=1)
    return _Spread(len(rows), mean, np.square(stacked - mean[:, None]).sum(axis=1))


def _merge_all(parts):
    return reduce(_merge, parts)


def _merge(first, second):
    """Spread of the union of two sets of rows (Chan et al.)."""
    if first.n_rows == 0 or second.n_rows == 0:
        return second if first.n_rows == 0 else first
    n_rows = first.n_rows + second.n_rows
    step = second.mean - first.mean
    squares = first.squares + second.squares
    squares += step**2 * (first.n_rows * second.n_rows / n_rows)
    return _Spread(n_rows, first.mean + step * (second.n_rows / n_rows), squares)


def _explained(spread):
    if spread.n_rows == 0:
        raise ValueError("X must have at least one row to be scored, got 0 rows in all its chunks")
    left, total = spread.squares.sum(axis=1)
    return 0.0 if total == 0 else float(1.0 - left / total)
