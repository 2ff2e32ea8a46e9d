"""Sparse coding over a given dictionary: the functional face of the pursuit kernels."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array

from skdict._base import FLOATS, csr_codes, encode_in_chunks, gram_is_wanted
from skdict._validation import (
    check_boolean_or,
    check_choice,
    check_device,
    check_integer,
    clip_n_nonzero_coefs,
    host_array,
)
from skdict.kernels import get_kernels

ALGORITHMS = ("icfl", "omp", "mp")
PRECISIONS = ("default", "exact")


def sparse_encode(
    X,
    dictionary,
    *,
    algorithm="icfl",
    n_nonzero_coefs=None,
    atoms_per_step=5,
    gram=None,
    precompute="auto",
    device="cpu",
    precision="default",
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
    device : str, default="cpu"
        Where to compute: ``"cpu"`` (numba), ``"cuda"`` or ``"cuda:<index>"`` (torch on a GPU), or
        ``"torch:cpu"``. See :ref:`devices`.
    precision : {"default", "exact"}, default="default"
        How float32 is multiplied on a GPU: ``"default"`` searches atoms with its TF32 units and
        computes coefficients with the rounding errors of float32, ``"exact"`` has every product
        in IEEE float32. No difference elsewhere.

    Returns
    -------
    CSR matrix or array of shape (n_samples, n_components)
        The codes, in the floating-point type of X.

    Raises
    ------
    ValueError
        If an array holds NaN or infinity, shapes do not fit, a parameter is out of range,
        `gram` is given together with ``precompute=False``, or the device is not there.
    ImportError
        If the device needs torch, which is not installed.

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
    check_choice("precision", precision, PRECISIONS)
    check_device(device)
    if gram is not None and not precompute:
        raise ValueError(
            "precompute=False says that no Gram matrix is to be used, but gram is given: leave one "
            "of the two out"
        )
    X = check_array(host_array(X), dtype=FLOATS, input_name="X")
    dictionary = host_array(dictionary, name="dictionary")
    dictionary = check_array(dictionary, dtype=X.dtype, order="C", input_name="dictionary")
    n_atoms, n_features = dictionary.shape
    if X.shape[1] != n_features:
        raise ValueError(
            f"X and dictionary must have the same number of features, got {X.shape[1]} and "
            f"{n_features}"
        )
    if n_nonzero_coefs is None:
        n_nonzero_coefs = max(1, n_features // 10)
    if gram is not None:
        gram = host_array(gram, name="gram")
        gram = check_array(gram, dtype=X.dtype, order="C", input_name="gram")
        if gram.shape != (n_atoms, n_atoms):
            raise ValueError(
                f"gram must have shape (n_components, n_components) = ({n_atoms}, {n_atoms}), "
                f"got {gram.shape}"
            )
    options = {
        "algorithm": algorithm,
        "n_nonzero_coefs": clip_n_nonzero_coefs(int(n_nonzero_coefs), n_atoms),
        "atoms_per_step": int(atoms_per_step),
    }
    with get_kernels(device).precision(precision):
        return _encode_checked(X, dictionary, gram, precompute, device, options)


def _encode_checked(X, dictionary, gram, precompute, device, options):
    """CSR codes of valid rows over a valid dictionary; forms the Gram matrix if there is to be one.

    An atom whose length cannot be computed is found here, and is an error.
    """
    kernels, (n_atoms, n_features) = get_kernels(device), dictionary.shape
    native = kernels.to_device(dictionary, device)
    if gram is None:
        if gram_is_wanted(precompute, n_atoms, X.dtype):
            gram = kernels.gram_matrix(native)
    else:
        gram = kernels.to_device(gram, device)
    squared = _squared_lengths(native, gram, device)
    lost = ~np.isfinite(squared) | ((squared == 0) & (dictionary != 0).any(axis=1))
    if lost.any():
        raise ValueError(
            f"dictionary has atoms whose squared length is not a number of {X.dtype}, the first at "
            f"{np.argmax(lost)}: rescale them, for example to unit length"
        )
    return encode_rows(
        X,
        native,
        gram,
        kernels.to_device(np.zeros(n_features, X.dtype), device),
        device=device,
        quantized=None if gram is None else kernels.quantize(native, gram),
        **options,
    )


def encode_rows(
    X,
    dictionary,
    gram,
    intercept,
    *,
    device,
    algorithm,
    n_nonzero_coefs,
    atoms_per_step=5,
    absolute=False,
    refit=False,
    quantized=None,
):
    """CSR codes of valid rows of a NumPy array; the other arrays are on the device.

    `gram` may be None: then no array of the size of the atoms squared is formed. `quantized` is
    its quantized copy. Zero atoms are never chosen.
    """
    kernels, n_atoms = get_kernels(device), dictionary.shape[0]
    alive = np.flatnonzero(_squared_lengths(dictionary, gram, device) > 0)
    width = min(n_nonzero_coefs, alive.size)
    if alive.size == 0:
        nothing = np.empty(0, X.dtype), np.empty(0, np.int32), np.zeros(X.shape[0] + 1, np.int64)
        return csr_codes(*nothing, (X.shape[0], n_atoms))
    if alive.size < n_atoms:
        kept = kernels.to_device(alive, device)
        dictionary = kernels.copy(dictionary[kept])
        if gram is not None:
            gram = kernels.copy(gram[kept][:, kept])
            quantized = kernels.quantize(dictionary, gram)
    options = {"n_nonzero_coefs": width, "quantized": quantized}
    if algorithm != "omp":
        options["atoms_per_step"] = 1 if algorithm == "mp" else atoms_per_step
        options |= {"absolute": absolute, "refit": refit}
    pursue = kernels.encode_omp if algorithm == "omp" else kernels.encode_icfl
    return encode_in_chunks(
        lambda rows: pursue(rows, dictionary, gram, intercept, **options),
        X,
        width,
        n_atoms,
        device=device,
        atoms=None if alive.size == n_atoms else alive,
    )


def _squared_lengths(dictionary, gram, device):
    """Squared lengths of the atoms in their own type, as the diagonal of a Gram matrix has them."""
    kernels = get_kernels(device)
    if gram is not None:
        return kernels.to_host(gram.diagonal())
    with np.errstate(over="ignore", under="ignore"):
        return kernels.to_host(kernels.squared_norms(dictionary))
