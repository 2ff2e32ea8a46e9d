"""What the functions on Dask arrays share: blocks of rows, the estimator's way to the workers."""

from __future__ import annotations

import hashlib
import threading
import weakref
from contextlib import ExitStack, contextmanager

from sklearn import config_context, get_config
from sklearn.utils.validation import check_is_fitted

from skdict._validation import import_optional
from skdict.kernels._threads import single_threaded_blas

# Results of blocks merged by one task. A worker holds about as many of them at a time.
FAN_IN = 8


def rows_in_blocks(X, estimator=None):
    """Return `X` in blocks of whole rows, or say what is wrong with it.

    Parameters
    ----------
    X : dask.array.Array of shape (n_samples, n_features)
        Columns in several chunks are brought together.
    estimator : estimator or None, default=None
        A fitted estimator whose number of features `X` must have.

    Returns
    -------
    dask.array.Array of shape (n_samples, n_features)
        One chunk of columns; chunks of rows as they were, their sizes possibly unknown (NaN).

    Raises
    ------
    TypeError
        If `X` is no Dask array.
    ValueError
        If `X` is not two-dimensional, its number of columns is unknown or not that of fit.
    """
    dask_array = import_optional("dask.array", extra="dask")
    if not isinstance(X, dask_array.Array):
        raise TypeError(
            f"X must be a dask array, got {type(X).__name__}; wrap it with "
            "dask.array.from_array(X, chunks=(rows, -1)), or use the method of the estimator"
        )
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, rows and features, got shape {X.shape}")
    n_features = X.shape[1]
    if n_features != n_features:  # NaN: unknown to Dask
        raise ValueError(
            "X must have a known number of columns, got nan; call X.compute_chunk_sizes() first"
        )
    expected = n_features if estimator is None else _n_features_of(estimator, n_features)
    if n_features != expected:
        raise ValueError(
            f"X must have {expected} columns, as many as {type(estimator).__name__} saw in fit, "
            f"got {n_features}"
        )
    return X if X.numblocks[1] == 1 else X.rechunk({1: -1})


def _n_features_of(estimator, default):
    check_is_fitted(estimator)
    return getattr(estimator, "n_features_in_", default)


def ship(estimator):
    """Return a Dask task that gives every worker its own copy of an estimator, once.

    The copy is taken now: fitting the estimator again changes nothing about arrays made before.
    The task travels as bytes, so that the scheduler need not know the classes, and is recomputed
    when the worker that held the copy is lost, which data scattered by a client are not.
    """
    delayed = import_optional("dask", extra="dask").delayed
    pickling = import_optional("cloudpickle", extra="dask")
    stored = pickling.dumps(estimator)
    key = f"{type(estimator).__name__}-{hashlib.sha256(stored).hexdigest()[:32]}"
    return delayed(pickling.loads, pure=True)(stored, dask_key_name=key)


def settings_for_tasks():
    """Return scikit-learn's settings of this thread: threads of workers start with the defaults."""
    return get_config() | {"transform_output": "default"}  # blocks are arrays, never data frames


@contextmanager
def in_task(estimator, settings):
    """Everything that holds while a task works with an estimator.

    The settings of the caller, BLAS at one thread for all tasks of a process, and the first use
    of an estimator alone.
    """
    with config_context(**settings), single_threaded_blas, _first_use_alone(estimator):
        yield


_used: weakref.WeakSet = weakref.WeakSet()
_first_use = threading.Lock()


@contextmanager
def _first_use_alone(estimator):
    # The first use forms the Gram matrix, which all others find in the cache. Without taking
    # turns every thread of a worker would form one of its own, at n_components**2 numbers each.
    with ExitStack() as held:
        if estimator not in _used:
            held.enter_context(_first_use)
            if estimator in _used:
                held.close()
        yield
        _used.add(estimator)


def merge_in_tree(parts, merge):
    """Return a Dask task for the union of `parts`, merged a few at a time in a fixed order.

    Parameters
    ----------
    parts : list of dask.delayed.Delayed
        Results of blocks.
    merge : callable
        Gives the union of a list of results.

    Returns
    -------
    dask.delayed.Delayed
        The union of all.
    """
    merging = import_optional("dask", extra="dask").delayed(merge, pure=True)
    while len(parts) > 1:
        parts = [merging(parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
    return parts[0]
