"""Codes of Dask arrays, to disk."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._code_store import load_codes
from skdict._code_writer import CodeWriter
from skdict._validation import check_integer, import_optional


def save_codes(codes, path, *, blocks_at_once=32, overwrite=False, resume=False):
    """Compute the codes of a Dask array and write them to a folder, in the order of the rows.

    Blocks are computed a group at a time, on all workers, and written by this process; no more
    than a group of codes is ever in memory. Whatever the blocks have in common, such as the
    dictionary and its Gram matrix, is sent and formed anew for each group.

    Parameters
    ----------
    codes : dask.array.Array of shape (n_samples, n_components)
        CSR blocks, as :func:`dask_transform` gives them.
    path : str or path-like
        The folder.
    blocks_at_once : int, default=32
        Blocks in a group: several for each thread of all workers. 32 blocks of 10,000 rows with
        100 non-zeros take 256 MB in float32.
    overwrite : bool, default=False
        Whether to replace codes that exist, when the new ones are complete.
    resume : bool, default=False
        Whether to go on behind the rows that an interrupted call left. Blocks that are stored
        already are not computed again.

    Returns
    -------
    StoredCodes
        The codes on disk, read as they are needed.

    Raises
    ------
    TypeError
        If `codes` is no Dask array of sparse blocks, or `blocks_at_once` is no integer.
    ValueError
        If `blocks_at_once` is less than 1, or rows were stored already and the chunks of `codes`
        are of unknown size.
    FileExistsError
        If there are codes and neither `overwrite` nor `resume` allows for them.
    OSError
        If the disk is full; what is complete stays for `resume`.
    ImportError
        If Dask is not installed.

    See Also
    --------
    dask_transform : Makes the codes.

    Examples
    --------
    >>> import tempfile
    >>> import dask.array as da
    >>> from skdict import ICFLDictionary
    >>> from skdict.datasets import make_superposition
    >>> from skdict.parallel import dask_transform, save_codes
    >>> X = make_superposition(n_samples=300, n_features=8, n_components=12, random_state=0).data
    >>> icfl = ICFLDictionary(12, n_nonzero_coefs=3, max_steps=5, random_state=0).fit(X)
    >>> codes = dask_transform(icfl, da.from_array(X, chunks=(100, -1)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_codes(codes, f"{folder}/codes").shape
    (300, 12)
    """
    check_integer("blocks_at_once", blocks_at_once, 1)
    dask = import_optional("dask", extra="dask")
    dask_array = import_optional("dask.array", extra="dask")
    if not isinstance(codes, dask_array.Array) or not sparse.issparse(codes._meta):
        raise TypeError(
            f"codes must be a dask array of CSR blocks, got {codes!r}; make it with "
            "skdict.parallel.dask_transform and a dictionary with sparse_output=True"
        )
    options = {"dtype": codes.dtype, "overwrite": overwrite, "resume": resume}
    with CodeWriter(path, codes.shape[1], **options) as writer:
        blocks = list(_rows_left(codes, writer.n_rows).to_delayed().ravel())
        for start in range(0, len(blocks), blocks_at_once):
            for block in dask.compute(*blocks[start : start + blocks_at_once]):
                writer.write(block)
    return load_codes(path)


def _rows_left(codes, n_stored):
    if n_stored == 0:
        return codes
    if np.isnan(codes.shape[0]):
        raise ValueError(
            f"resume=True found {n_stored} rows, but which blocks of codes they are is not known; "
            "call X.compute_chunk_sizes() before dask_transform, or set resume=False"
        )
    return codes[n_stored:]
