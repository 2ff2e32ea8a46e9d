"""Transformers on rows that do not fit into memory: a source of rows, and codes in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skdict._code_files import beside
from skdict._code_store import load_codes
from skdict._code_writer import CodeWriter
from skdict._read_ahead import stream_blocks
from skdict._sources import check_row_source, read_rows
from skdict._validation import check_integer

# Rows transformed at a time.
BLOCK_ROWS = 16_384
# Places in stored codes, and rows of each, that are coded again before they are continued.
CHECKED_PLACES, CHECKED_ROWS = 8, 32


class TransformedRows:
    """Rows of a source after a fitted transformer, block by block as they are asked for.

    What comes before the dictionary in a pipeline turns 100 GB of rows into 100 GB more. This is a
    row source itself: give it to ``fit`` of a dictionary, or to :func:`transform_to_disk`.

    Parameters
    ----------
    source : array or row source, shape (n_samples, n_features)
        NumPy array, memory map, array of zarr, h5py or dask, or :class:`ShardedRows`.
    transformer : transformer
        Fitted; what a row becomes must not depend on the rows beside it. Usually
        ``pipeline[:-1]``.

    Attributes
    ----------
    shape : tuple
        Rows, and features after the transformer.
    dtype : dtype
        Type after the transformer.

    Raises
    ------
    NotFittedError
        If the transformer is not fitted.
    ValueError
        If the transformer gives sparse rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import Normalizer
    >>> from skdict import TransformedRows
    >>> X = np.arange(12.0).reshape(4, 3)
    >>> rows = TransformedRows(X, Normalizer().fit(X))
    >>> rows.shape, rows[2:4].round(2).tolist()
    ((4, 3), [[0.49, 0.57, 0.66], [0.52, 0.58, 0.63]])
    """

    def __init__(self, source, transformer):
        check_is_fitted(transformer)
        n_rows, _, self._dtype = check_row_source(source)
        self._source, self._transformer = source, transformer
        example = self._transform(0, 1)
        self.shape, self.dtype, self.ndim = (n_rows, example.shape[1]), example.dtype, 2
        self.chunks = getattr(source, "chunks", None)

    def _transform(self, start, stop):
        rows = self._transformer.transform(read_rows(self._source, start, stop, self._dtype))
        if sparse.issparse(rows):
            raise ValueError("transformer must give dense rows, got sparse ones")
        return np.asarray(rows)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise ValueError(f"rows must be a slice of step 1, got step {step}")
        return self._transform(start, stop)


def transform_to_disk(estimator, X, path, *, block_rows=BLOCK_ROWS, overwrite=False, resume=False):
    """Write the codes of all rows to a folder, with bounded memory.

    Parameters
    ----------
    estimator : transformer
        Fitted dictionary, or pipeline that ends in one.
    X : array or row source, shape (n_samples, n_features)
        NumPy array, memory map, array of zarr, h5py or dask, or :class:`ShardedRows`.
    path : str or Path
        Folder to write; see :class:`CodeWriter`.
    block_rows : int, default=16384
        Rows that are read and coded at a time; the next ones are read meanwhile.
    overwrite : bool, default=False
        Replace codes that are there, once the new ones are complete.
    resume : bool, default=False
        Go on behind the rows that an interrupted call has written, and do nothing where all are
        there. Some of these rows are coded again and compared.

    Returns
    -------
    StoredCodes
        The codes, on disk.

    Raises
    ------
    ValueError
        If a row is not finite, a parameter is out of range, or `resume` finds codes of another
        model or other data.
    OSError
        If a file cannot be written; what was written is kept for ``resume=True``.

    See Also
    --------
    load_codes : Opens them again.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdict import ICFLDictionary, transform_to_disk
    >>> X = np.random.default_rng(0).normal(size=(300, 8))
    >>> dictionary = ICFLDictionary(16, n_nonzero_coefs=2, max_steps=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     codes = transform_to_disk(dictionary, X, folder + "/codes")
    ...     codes.shape, codes[:2].shape
    ((300, 16), (2, 16))
    """
    check_integer("block_rows", block_rows, 1)
    check_is_fitted(estimator)
    n_rows, _, dtype = check_row_source(X)
    n_components = estimator.transform(read_rows(X, 0, 1, dtype)).shape[1]
    if resume:
        written = _written_before(beside(Path(path)) if overwrite else Path(path))
        if written is not None:
            _check_same_codes(written, estimator, X, dtype)
            if written.path == Path(path):
                return written
    with CodeWriter(path, n_components, dtype=dtype, overwrite=overwrite, resume=resume) as writer:
        for _, block in stream_blocks(X, block_rows, start=writer.n_rows, stop=n_rows):
            writer.write(estimator.transform(block))
    return load_codes(path)


def _written_before(path):
    """Codes that an earlier call left, complete or not; None if there are none."""
    try:
        written = load_codes(path, allow_unfinished=True)
    except FileNotFoundError:
        return None
    return written if len(written) else None


def _check_same_codes(written, estimator, X, dtype):
    """Raise ValueError if stored codes are not those of these rows."""
    n_written, n_rows = len(written), X.shape[0]
    same = n_written == n_rows if written.is_complete else n_written <= n_rows
    starts = np.linspace(0, max(0, n_written - CHECKED_ROWS), CHECKED_PLACES).astype(np.int64)
    for start in np.unique(starts).tolist() if same else []:
        stop = min(start + CHECKED_ROWS, n_written)
        fresh = sparse.csr_array(estimator.transform(read_rows(X, start, stop, dtype)))
        same &= fresh.shape[1] == written.shape[1] and _are_equal(fresh, written[start:stop])
    if not same:
        raise ValueError(
            f"resume=True found codes of {n_written} rows in {str(written.path)!r}, which are not "
            "those of this model and these rows; choose another path or set overwrite=True and "
            "resume=False"
        )


def _are_equal(fresh, stored):
    """Whether codes are those of the same rows and model.

    In float64 they are equal bit by bit; in float32, in batches of another size, a few rows may
    choose another of two atoms that are equal up to rounding.
    """
    used = (fresh.count_nonzero(axis=1) + stored.count_nonzero(axis=1)) > 0
    error = abs(fresh - stored).max(axis=1).toarray().ravel()[used]
    if stored.dtype == np.float64:
        return not error.any()
    return not error.size or np.mean(error <= 1e-3 * abs(stored).max()) > 0.9
