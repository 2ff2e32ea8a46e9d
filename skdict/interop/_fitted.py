"""Fitted estimators made of arrays, as if `fit` had ended with them."""

from __future__ import annotations

import numpy as np

from skdict._icfl import ICFLDictionary
from skdict._topk_sae import TopKSAE
from skdict._validation import check_integer
from skdict._whitening import ControlPCAWhitener

CURVES = ("step", "loss", "dead_fraction", "n_resets")

# Atoms whose lengths differ from 1 by less than this count as of unit length.
UNIT_TOLERANCE = 1e-6


def topk_from_arrays(components, encoder, encoder_bias, intercept, *, n_nonzero_coefs):
    r"""Fitted TopK autoencoder of given weights, for models of tools without a reader here.

    Its codes are :math:`z = \mathrm{ReLU}(\mathrm{TopK}(W_{enc} (x - b_{pre}) + b_{enc}))` and
    its reconstructions :math:`z W_{dec} + b_{pre}`.

    Parameters
    ----------
    components : array-like of shape (n_components, n_features)
        Decoder, an atom per row. Atoms of any length are kept as they are.
    encoder : array-like of shape (n_components, n_features)
        Encoder weights.
    encoder_bias : array-like of shape (n_components,)
        Encoder bias.
    intercept : array-like of shape (n_features,)
        What is subtracted before encoding and added to reconstructions.
    n_nonzero_coefs : int
        Entries kept in a code.

    Returns
    -------
    TopKSAE
        The fitted autoencoder: float64 if one of the arrays is, otherwise float32. No steps and
        no curves are recorded.

    Raises
    ------
    ValueError
        If shapes do not belong together, or an array holds NaN or infinity.

    Notes
    -----
    `partial_fit` brings atoms to unit length at its first step: a model whose atoms are not of
    unit length jumps there.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.interop import topk_from_arrays
    >>> atoms = np.eye(3)
    >>> autoencoder = topk_from_arrays(atoms, atoms, np.zeros(3), np.zeros(3), n_nonzero_coefs=1)
    >>> autoencoder.transform([[1.0, 2.0, 0.5]]).toarray()
    array([[0., 2., 0.]])
    """
    arrays = _common_type(
        components=components, encoder=encoder, encoder_bias=encoder_bias, intercept=intercept
    )
    if arrays["components"].ndim != 2 or arrays["components"].size == 0:
        raise ValueError(
            "components must have shape (n_components, n_features), got "
            f"{arrays['components'].shape}"
        )
    n_atoms, n_features = arrays["components"].shape
    shapes = {
        "encoder": (n_atoms, n_features),
        "encoder_bias": (n_atoms,),
        "intercept": (n_features,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name} must have shape {shape} beside components of shape "
                f"{(n_atoms, n_features)}, got {arrays[name].shape}"
            )
    check_integer("n_nonzero_coefs", n_nonzero_coefs, 1)
    if n_nonzero_coefs > n_atoms:
        raise ValueError(
            f"n_nonzero_coefs must be at most the number of atoms, {n_atoms}, got {n_nonzero_coefs}"
        )
    autoencoder = TopKSAE(n_atoms, n_nonzero_coefs=int(n_nonzero_coefs))
    autoencoder.encoder_, autoencoder.encoder_bias_ = arrays["encoder"], arrays["encoder_bias"]
    autoencoder._variance = 1.0
    return _as_fitted(autoencoder, arrays["components"], arrays["intercept"])


def fitted_pursuit(atoms, intercept, **parameters):
    """Fitted ICFL dictionary of given atoms (n_components, n_features)."""
    arrays = _common_type(components=atoms, intercept=intercept)
    dictionary = ICFLDictionary(
        arrays["components"].shape[0],
        normalize_components=has_unit_rows(arrays["components"]),
        **parameters,
    )
    dictionary._weights = None
    return _as_fitted(dictionary, arrays["components"], arrays["intercept"])


def fitted_whitener(mean, matrix, inverse):
    """Whitener with (x - mean) @ matrix and z @ inverse + mean; what controls it had is unknown."""
    whitener = ControlPCAWhitener()
    whitener.mean_, whitener.n_features_in_ = np.array(mean), mean.shape[0]
    whitener.components_ = np.ascontiguousarray(matrix.T)
    whitener._inverse = np.ascontiguousarray(inverse.T)
    return whitener


def has_unit_rows(atoms) -> bool:
    """Whether all rows are of unit length."""
    lengths = np.sqrt(np.einsum("ij,ij->i", atoms, atoms, dtype=np.float64))
    return bool(np.abs(lengths - 1.0).max() <= UNIT_TOLERANCE)


def _common_type(**arrays):
    """Arrays of one floating-point type, in row-major order and finite."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    dtype = np.result_type(*arrays.values(), np.float32)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"{', '.join(arrays)} must be real numbers, got type {dtype}")
    for name, array in arrays.items():
        arrays[name] = np.array(array, dtype=dtype, order="C")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} must be finite, got an array with NaN or infinity")
    return arrays


def _as_fitted(dictionary, components, intercept):
    dictionary.components_, dictionary.intercept_ = components, intercept
    dictionary._n_atoms, dictionary.n_features_in_ = components.shape
    dictionary._n_nonzero_coefs = dictionary.n_nonzero_coefs
    dictionary.n_steps_ = dictionary.n_iter_ = 0
    dictionary.history_ = {name: np.empty(0) for name in CURVES}
    dictionary._scale, dictionary._partial_state = 1.0, None
    return dictionary
