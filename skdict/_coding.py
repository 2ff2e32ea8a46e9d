"""Sparse coding over a given dictionary: the functional face of the pursuit kernels."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array

from skdict._base import FLOATS, encode_in_chunks, gram_is_wanted
from skdict._validation import (
    check_boolean_or,
    check_choice,
    check_integer,
    clip_n_nonzero_coefs,
)
from skdict.kernels import get_kernels

ALGORITHMS = ("icfl", "omp", "mp")


def sparse_encode(
    X,
    dictionary,
    *,
    algorithm="icfl",
    n_nonzero_coefs=None,
    atoms_per_step=5,
    gram=None,
    precompute="auto",
):
    """Code rows over a given dictionary.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to code; nothing is subtracted from them.
    dictionary : array-like of shape (n_components, n_features)
        Atoms, one per row, of any length. Zero atoms are never chosen.
    algorithm : {"icfl", "omp", "mp"}, default="icfl"
        ``"icfl"``: batched orthogonal matching pursuit (Algorithm 1 of [1]_), which chooses the
        atoms with the largest signed inner product, several per step, and fits those to the
        residual. ``"mp"``: the same with one atom a step. ``"omp"``: orthogonal matching
        pursuit, which chooses by absolute inner product and refits all chosen atoms at each step;
        it ends a row early where the best atom depends on the chosen ones.
    n_nonzero_coefs : int or None, default=None
        Most non-zeros in a code. None means a tenth of the number of features, at least 1. More
        than there are atoms is clipped with a warning.
    atoms_per_step : int, default=5
        Atoms per step of ``"icfl"``.
    gram : ndarray of shape (n_components, n_components), default=None
        ``dictionary @ dictionary.T``, when known already.
    precompute : bool or "auto", default="auto"
        Whether to form the Gram matrix of the atoms. Without it each step of the pursuit takes a
        product with the whole dictionary: usually slower, but nothing of size ``n_components``
        squared is held. ``"auto"`` forms it up to 4 GiB, that is 32,768 atoms in float32 and
        23,170 in float64, and uses a given `gram` at any size. Codes agree to rounding.

    Returns
    -------
    CSR matrix or array of shape (n_samples, n_components)
        The codes, in the floating-point type of X.

    Raises
    ------
    ValueError
        If an array holds NaN or infinity, shapes do not fit, a parameter is out of range, or
        `gram` is given together with ``precompute=False``.

    See Also
    --------
    ICFLDictionary : Learns the dictionary too.
    sklearn.linear_model.orthogonal_mp_gram : Orthogonal matching pursuit of scikit-learn.

    References
    ----------
    .. [1] Donhauser et al. "Towards scientific discovery with dictionary learning: extracting
       biological concepts from microscopy foundation models." ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import sparse_encode
    >>> dictionary = np.eye(4)
    >>> sparse_encode([[3.0, 0.0, -1.0, 2.0]], dictionary, n_nonzero_coefs=2).toarray()
    array([[3., 0., 0., 2.]])
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    check_integer("n_nonzero_coefs", n_nonzero_coefs, 1, none=True)
    check_integer("atoms_per_step", atoms_per_step, 1)
    check_boolean_or("precompute", precompute, ("auto",))
    if gram is not None and not precompute:
        raise ValueError(
            "precompute=False says that no Gram matrix is to be used, but gram is given: leave one "
            "of the two out"
        )
    X = check_array(X, dtype=FLOATS, input_name="X")
    dictionary = check_array(dictionary, dtype=X.dtype, order="C", input_name="dictionary")
    n_atoms, n_features = dictionary.shape
    if X.shape[1] != n_features:
        raise ValueError(
            f"X and dictionary must have the same number of features, got {X.shape[1]} and "
            f"{n_features}"
        )
    if gram is None:
        if gram_is_wanted(precompute, n_atoms, X.dtype):
            gram = get_kernels("cpu").gram_matrix(dictionary)
    else:
        gram = check_array(gram, dtype=X.dtype, order="C", input_name="gram")
        if gram.shape != (n_atoms, n_atoms):
            raise ValueError(
                f"gram must have shape (n_components, n_components) = ({n_atoms}, {n_atoms}), "
                f"got {gram.shape}"
            )
    squared = _squared_lengths(dictionary, gram)
    lost = ~np.isfinite(squared) | ((squared == 0) & (dictionary != 0).any(axis=1))
    if lost.any():
        raise ValueError(
            f"dictionary has atoms whose squared length is not a number of {X.dtype}, the first at "
            f"{np.argmax(lost)}: rescale them, for example to unit length"
        )
    if n_nonzero_coefs is None:
        n_nonzero_coefs = max(1, n_features // 10)
    width = clip_n_nonzero_coefs(int(n_nonzero_coefs), n_atoms)
    intercept = np.zeros(n_features, X.dtype)
    quantized = None if gram is None else get_kernels("cpu").quantize(dictionary, gram)

    def encode(rows):
        return encode_rows(
            rows,
            dictionary,
            gram,
            intercept,
            algorithm=algorithm,
            n_nonzero_coefs=width,
            atoms_per_step=int(atoms_per_step),
            quantized=quantized,
        )

    return encode_in_chunks(encode, X, width, n_atoms)


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
    quantized=None,
):
    """Fixed-width codes (values, indices, counts) of valid rows; zero atoms are never chosen.

    `gram` may be None: then no array of the size of the atoms squared is formed. `quantized` is
    its quantized copy.
    """
    kernels = get_kernels("cpu")
    alive = np.flatnonzero(_squared_lengths(dictionary, gram) > 0)
    all_alive = alive.size == dictionary.shape[0]
    if not all_alive:
        dictionary = np.ascontiguousarray(dictionary[alive])
        if gram is not None:
            gram = np.ascontiguousarray(gram[np.ix_(alive, alive)])
            quantized = kernels.quantize(dictionary, gram)
    if alive.size == 0:
        n_rows = X.shape[0]
        shape = (n_rows, n_nonzero_coefs)
        return np.zeros(shape, X.dtype), np.zeros(shape, np.int32), np.zeros(n_rows, np.int32)
    width = min(n_nonzero_coefs, alive.size)
    if algorithm == "omp":
        codes = kernels.encode_omp(
            X, dictionary, gram, intercept, n_nonzero_coefs=width, quantized=quantized
        )
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
            quantized=quantized,
        )
    values, indices, counts = codes
    if not all_alive:
        kept = np.arange(width) < counts[:, None]
        indices[kept] = alive[indices[kept]]
    if width < n_nonzero_coefs:
        pad = ((0, 0), (0, n_nonzero_coefs - width))
        values, indices = np.pad(values, pad), np.pad(indices, pad)
    return values, indices, counts


def _squared_lengths(dictionary, gram):
    """Squared lengths of the atoms in their own type, as the diagonal of a Gram matrix has them."""
    if gram is not None:
        return np.einsum("ii->i", gram)
    with np.errstate(over="ignore", under="ignore"):
        return np.einsum("ij,ij->i", dictionary, dictionary)
