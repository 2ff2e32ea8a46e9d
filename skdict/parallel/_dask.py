"""Codes of Dask arrays."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.pipeline import Pipeline

from skdict._base import Dictionary, csr_codes
from skdict.parallel._dask_blocks import in_task, rows_in_blocks, settings_for_tasks, ship


def dask_transform(estimator, X):
    """Transform a Dask array lazily, block by block: codes come as CSR blocks.

    Nothing of `X` is read until the result is computed, persisted or saved. The estimator goes to
    every worker once, as it is now; a worker that dies is replaced by the others.

    Parameters
    ----------
    estimator : estimator
        A fitted transformer, or a Pipeline of them, whose output has a row for every row.
    X : dask.array.Array of shape (n_samples, n_features)
        Embeddings. Chunks of rows may be of unknown size and may be empty; columns in several
        chunks are brought together.

    Returns
    -------
    dask.array.Array of shape (n_samples, n_features_out)
        Blocks hold what ``estimator.transform`` gives for their rows: CSR where that is sparse,
        of the type that scikit-learn's ``sparse_interface`` setting names at this call, else
        NumPy arrays. Chunks of rows are those of `X`, columns are one chunk.

    Raises
    ------
    TypeError
        If `X` is no Dask array or the estimator does not transform to a matrix.
    ValueError
        If `X` has another number of columns than in fit.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ImportError
        If Dask is not installed.

    See Also
    --------
    dask_score : Explained variance of the reconstructions, over the blocks.
    dask_fit_whitener : Whitening from the controls of a Dask array.

    Notes
    -----
    The code of a row does not depend on the chunks: a dictionary gives float64 codes bitwise equal
    to those of ``estimator.transform``; float32 codes may choose differently among near-ties.
    Steps before a dictionary are matrix products, which BLAS rounds differently for other numbers
    of rows, so that codes of a Pipeline agree to rounding.

    To form the shape and type of the result, all steps but a final dictionary transform one row of
    ones.

    Threads: in worker processes that Dask's nanny has started (``LocalCluster``, ``dask worker``)
    OMP_NUM_THREADS is 1, and every task codes on the thread that it is. With Dask's threaded
    scheduler all tasks of the process share one pool of kernel threads. Processes started
    otherwise take all processors each: set OMP_NUM_THREADS=1 for them. Blocks of 10,000 rows or
    more keep what Dask spends on a task, about a millisecond, out of sight; a worker holds a few
    blocks and their codes for each of its threads, and the Gram matrix of the atoms once.

    ``distributed`` warns of a large graph where an estimator has more than 10 MB. It is sent once
    with the graph and once to each worker, whatever the number of blocks.

    Examples
    --------
    >>> import dask.array as da
    >>> from skdict import ICFLDictionary
    >>> from skdict.datasets import make_superposition
    >>> from skdict.parallel import dask_transform
    >>> X = make_superposition(n_samples=300, n_features=8, n_components=12, random_state=0).data
    >>> icfl = ICFLDictionary(12, n_nonzero_coefs=3, max_steps=5, random_state=0).fit(X)
    >>> codes = dask_transform(icfl, da.from_array(X, chunks=(100, -1)))
    >>> codes.shape, codes.numblocks
    ((300, 12), (3, 1))
    >>> (codes.compute() != icfl.transform(X)).nnz
    0
    """
    X = rows_in_blocks(X, estimator)
    settings = settings_for_tasks()
    empty = _empty_output(estimator, X, settings)
    return X.map_blocks(
        _transform_block,
        estimator=ship(estimator),
        settings=settings,
        empty=empty,
        dtype=empty.dtype,
        meta=empty,
        chunks=(X.chunks[0], (empty.shape[1],)),
    )


def _transform_block(block, estimator, settings, empty):
    if block.shape[0] == 0:  # left over by a selection of rows; scikit-learn refuses it
        return empty.copy()
    with in_task(estimator, settings):
        return _plain(estimator.transform(block))


def _plain(output):
    return output.tocsr() if sparse.issparse(output) else np.asarray(output)


def _empty_output(estimator, X, settings):
    """No rows of the output: its width, floating-point type and kind of array."""
    if not hasattr(estimator, "transform"):
        raise TypeError(f"estimator must have transform, got {type(estimator).__name__}")
    row = np.ones((1, X.shape[1]), X.dtype)
    with config_context(**settings):
        before, dictionary = split_dictionary(estimator)
        if dictionary is None:
            return _no_rows(_plain(estimator.transform(row)), estimator)
        # Coding even one row would form the Gram matrix of the atoms here.
        dtype = row.dtype if before is None else np.asarray(before.transform(row)).dtype
        dtype = dtype if dtype == np.float32 else np.dtype(np.float64)
        shape = (0, dictionary.components_.shape[0])
        if not dictionary.sparse_output:
            return np.empty(shape, dtype)
        return csr_codes(np.empty(0, dtype), np.empty(0, np.int32), np.zeros(1, np.int64), shape)


def _no_rows(output, estimator):
    if output.ndim != 2 or output.shape[0] != 1:
        raise TypeError(
            f"transform of {type(estimator).__name__} must give one row for each row of X, "
            f"got shape {output.shape} for one row"
        )
    return output[:0]


def split_dictionary(estimator):
    """Return the steps before the dictionary that ends an estimator, and the dictionary.

    Steps are None where there are none, the dictionary is None where the estimator ends with
    something else.
    """
    if isinstance(estimator, Dictionary):
        return None, estimator
    if not isinstance(estimator, Pipeline) or not isinstance(estimator[-1], Dictionary):
        return None, None
    return (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]
