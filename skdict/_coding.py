"""Sparse coding over a given dictionary: the functional face of the pursuit kernels."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array

from skdict._base import CHUNK_ROWS, csr_codes
from skdict._validation import check_choice, check_integer, clip_n_nonzero_coefs
from skdict.kernels import get_kernels

ALGORITHMS = ("icfl", "omp", "mp")


def sparse_encode(
    X, dictionary, *, algorithm="icfl", n_nonzero_coefs=None, atoms_per_step=5, gram=None
):
    return None


def encode_rows(
    X,
    dictionary,
    gram,
    intercept,
    *,
    algorithm,
    n_nonzero_coefs,
    atoms_per_step=5,
    absolute=False,
    refit=False,
):
    """Fixed-width codes (values, indices, counts) of valid rows; zero atoms are never chosen."""
    kernels = get_kernels("cpu")
    diagonal = np.einsum("ii->i", gram)
    alive = np.flatnonzero(diagonal > 0)
    all_alive = alive.size == dictionary.shape[0]
    if not all_alive:
        dictionary = np.ascontiguousarray(dictionary[alive])
        gram = np.ascontiguousarray(gram[np.ix_(alive, alive)])
    if alive.size == 0:
        n_rows = X.shape[0]
        shape = (n_rows, n_nonzero_coefs)
        return np.zeros(shape, X.dtype), np.zeros(shape, np.int32), np.zeros(n_rows, np.int32)
    width = min(n_nonzero_coefs, alive.size)
    if algorithm == "omp":
        codes = kernels.encode_omp(X, dictionary, gram, intercept, n_nonzero_coefs=width)
    else:
        codes = kernels.encode_icfl(
            X,
            dictionary,
            gram,
            intercept,
            n_nonzero_coefs=width,
            atoms_per_step=1 if algorithm == "mp" else atoms_per_step,
            absolute=absolute,
            refit=refit,
        )
    values, indices, counts = codes
    if not all_alive:
        kept = np.arange(width) < counts[:, None]
        indices[kept] = alive[indices[kept]]
    if width < n_nonzero_coefs:
        pad = ((0, 0), (0, n_nonzero_coefs - width))
        values, indices = np.pad(values, pad), np.pad(indices, pad)
    return values, indices, counts
