"""Whitening fitted on the controls among the rows of a Dask array."""

from __future__ import annotations

from functools import reduce

import numpy as np
from sklearn import config_context
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skdict._base import FLOATS
from skdict._validation import check_control, import_optional
from skdict._whitening import ControlPCAWhitener, _merge, _Moments, _moments
from skdict.kernels._threads import single_threaded_blas
from skdict.parallel._dask_blocks import merge_in_tree, rows_in_blocks, settings_for_tasks


def dask_fit_whitener(whitener, X, control=None):
    """Fit a whitener on the control rows of a Dask array: exact, in one pass.

    Count, mean and scatter matrix of the controls are formed in float64 block by block and merged
    as ``partial_fit`` merges them; what follows is the code of ``fit``.

    Parameters
    ----------
    whitener : ControlPCAWhitener
        Fitted in place; what it had learned before is replaced.
    X : dask.array.Array of shape (n_samples, n_features)
        Embeddings. Columns in several chunks are brought together. Blocks without controls are not
        read where `control` is in memory.
    control : array-like of bool or dask.array.Array of shape (n_samples,), default=None
        True where a row is a control. A Dask array may be of unknown chunk sizes if its chunks are
        those of `X`. None whitens on all rows and warns.

    Returns
    -------
    ControlPCAWhitener
        The fitted `whitener`. ``partial_fit`` can add further controls.

    Raises
    ------
    TypeError
        If `whitener` is no ControlPCAWhitener or `X` no Dask array.
    ValueError
        If `control` is not a boolean mask of the right length with at least 2 True, a block with
        controls holds NaN or infinity, or a parameter is out of range.
    ImportError
        If Dask is not installed.

    See Also
    --------
    dask_transform : Transforms with the fitted whitener.

    Notes
    -----
    A block gives ``8 n_features**2`` bytes, 22 MB for 1,664 features; eight at a time are merged,
    so that each worker holds few of them.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from skdict import ControlPCAWhitener
    >>> from skdict.parallel import dask_fit_whitener
    >>> X = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 0.1]
    >>> control = np.arange(200) < 150
    >>> lazy = da.from_array(X, chunks=(64, -1))
    >>> whitener = dask_fit_whitener(ControlPCAWhitener(epsilon=0.0), lazy, control)
    >>> whole = ControlPCAWhitener(epsilon=0.0).fit(X, control=control)
    >>> np.allclose(whitener.components_, whole.components_, rtol=1e-10)
    True
    """
    if not isinstance(whitener, ControlPCAWhitener):
        raise TypeError(f"whitener must be a ControlPCAWhitener, got {type(whitener).__name__}")
    whitener._validate_params()
    X = rows_in_blocks(X)
    parts = _moments_of_blocks(X, control, settings_for_tasks())
    row = np.zeros((1, X.shape[1]))
    if control is None:
        whitener._control_rows(row, None, minimum=1)  # for its warning
    moments = merge_in_tree(parts, _merge_all).compute()
    _check_number(moments.n_rows, 1 if control is None else 2)
    validate_data(whitener, row, skip_check_array=True)  # number of features; forgets their names
    whitener._moments = moments
    whitener._resolution = float(np.finfo(_float_of(X.dtype)).eps)
    whitener._solve()
    return whitener


def _float_of(dtype):
    return np.float32 if dtype == np.float32 else np.float64


def _check_number(n_control, minimum):
    if n_control < minimum:
        raise ValueError(
            f"control must mark at least {minimum} control samples, got {n_control} in all chunks "
            "of X"
        )


def _moments_of_blocks(X, control, settings):
    """Lazy moments of the controls of every block that may have some."""
    delayed = import_optional("dask", extra="dask").delayed
    block_moments = delayed(_block_moments, pure=True)
    blocks = X.to_delayed().ravel()
    if control is None:
        return [block_moments(block, None, settings) for block in blocks]
    if isinstance(control, import_optional("dask.array", extra="dask").Array):
        masks = _lazy_masks(control, X).to_delayed().ravel()
        return [block_moments(*pair, settings) for pair in zip(blocks, masks, strict=True)]
    packed = _packed_masks(control, X)
    return [
        block_moments(block, mask, settings)
        for block, mask in zip(blocks, packed, strict=True)
        if mask.any()
    ]


def _lazy_masks(control, X):
    """Chunks of a lazy mask beside the blocks of X."""
    if control.dtype != np.bool_ or control.ndim != 1:
        raise ValueError(
            "control must be a one-dimensional boolean mask, got a dask array of dtype "
            f"{control.dtype} and shape {control.shape}; pass for example (compound == 'DMSO')"
        )
    if _known(control) and _known(X):
        if control.shape[0] != X.shape[0]:
            raise ValueError(
                f"control must have one entry per row of X: got {control.shape[0]} entries for "
                f"{X.shape[0]} rows"
            )
        return control.rechunk((X.chunks[0],))
    if control.numblocks[0] != X.numblocks[0]:
        raise ValueError(
            f"control has {control.numblocks[0]} chunks for {X.numblocks[0]} chunks of rows of X, "
            "and sizes are unknown; call compute_chunk_sizes() of both first"
        )
    return control


def _packed_masks(control, X):
    """Masks of the blocks of X, as bits: the graph carries them."""
    if not _known(X):
        raise ValueError(
            "control in memory cannot be laid beside chunks of X of unknown size; call "
            "X.compute_chunk_sizes() first, or pass control as a dask array with the chunks of X"
        )
    mask = np.zeros(X.shape[0], bool)
    mask[check_control(control, X.shape[0])] = True
    ends = np.cumsum(X.chunks[0])
    return [np.packbits(part) for part in np.split(mask, ends[:-1])]


def _known(array):
    return not np.isnan(array.shape[0])


def _block_moments(block, control, settings):
    n_rows, n_features = block.shape
    if n_rows == 0:
        return _Moments(0, np.zeros(n_features), np.zeros((n_features, n_features)))
    if control is not None and control.dtype == np.uint8:
        control = np.unpackbits(control, count=n_rows).astype(bool)
    rows = check_control(control, n_rows, minimum=0)
    with config_context(**settings), single_threaded_blas:
        return _moments(check_array(block, dtype=FLOATS, input_name="X"), rows)


def _merge_all(parts):
    return reduce(_merge, parts)
