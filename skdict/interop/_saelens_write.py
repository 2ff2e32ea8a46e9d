"""Dictionaries as files of SAELens."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np

from skdict._icfl import ICFLDictionary
from skdict._validation import check_choice
from skdict._whitening import ControlPCAWhitener
from skdict.interop._fitted import has_unit_rows
from skdict.interop._folding import chain_of, folded, whitening_arrays
from skdict.interop._model_files import start_folder, to_dtype, write_arrays, write_settings

SETTINGS, WEIGHTS = "cfg.json", "sae_weights.safetensors"
WHITENING, SCALER = "activation_whitening.safetensors", "activation_scaler.json"

# The version of SAELens with which these files were compared.
FORMAT = "6.54.12"

PREPROCESSING = (
    f"whiten before encode: z = (x - mean) @ matrix with the arrays of {WHITENING}; after decode: "
    "x = z @ inverse_matrix + mean"
)

# Projections after which it stays open whether atoms span all of space with positive weights.
N_PROJECTIONS = 50


def to_saelens(
    model, folder, *, metadata=None, dtype="float32", architecture="auto", whitening="fold"
):
    r"""Write a dictionary as a model of SAELens: ``cfg.json`` and ``sae_weights.safetensors``.

    Loaded with ``sae_lens.SAE.load_from_disk(folder)`` it gives the same codes and
    reconstructions. Neither SAELens nor torch is needed for writing.

    ================================  ====================================
    Dictionary                        Architecture in SAELens
    ================================  ====================================
    TopKSAE                           ``topk``
    ICFLDictionary, one atom a step   ``matching_pursuit``
    ICFLDictionary, otherwise         ``icfl``, a class of `register_saelens`
    ================================  ====================================

    The second line is for signed selection without refit over atoms of unit length. A
    ``Normalizer`` before TopK or ``icfl`` becomes ``constant_norm_rescale``, a
    :class:`~skdict.ControlPCAWhitener` before TopK is folded into the weights.

    Parameters
    ----------
    model : TopKSAE, ICFLDictionary or Pipeline
        What to write: fitted, alone or after whiteners and ``Normalizer(norm="l2")``.
    folder : str or Path
        Where to; made if need be, a model in it is replaced.
    metadata : dict or None, default=None
        More entries of the metadata, for example ``{"model_name": ..., "hook_name": ...}``.
    dtype : {"float32", "float64"}, default="float32"
        Type of the weights, which SAELens computes in as well.
    architecture : {"auto", "topk", "matching_pursuit", "icfl"}, default="auto"
        The class of SAELens; ``"auto"`` is the table above. ``"icfl"`` for a dictionary with one
        atom a step has the class of `register_saelens` in place of SAELens's own.
    whitening : {"fold", "sidecar"}, default="fold"
        ``"sidecar"`` leaves the whitener in front out of the weights and writes it beside them,
        as ``activation_whitening.safetensors`` and ``activation_scaler.json``, the names that
        SAELens has for it in training. SAELens does not apply it when it encodes: the metadata
        say that rows have to be whitened beforehand.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    TypeError
        If there is a step or dictionary that SAELens has no words for.
    ValueError
        If it cannot be expressed: whitening before a Normalizer, or before pursuit, with
        ``whitening="fold"``; an architecture that gives other codes; weights that overflow.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.

    Warns
    -----
    UserWarning
        If matching pursuit may stop where the dictionary does not, see Notes.

    See Also
    --------
    from_saelens : The way back.
    register_saelens : What SAELens needs to load the architecture ``"icfl"``.

    Notes
    -----
    As many entries are kept as in `transform`.

    Whitening :math:`z = (x - \mu) M` is folded as :math:`W_{enc} \to M W_{enc}`,
    :math:`W_{dec} \to W_{dec} M^-`, :math:`b_{dec} \to b_{dec} M^- + \mu`. Unit norm becomes
    :math:`W_{enc} / \sqrt d` and :math:`\sqrt d\, W_{dec}`, since SAELens brings rows to length
    :math:`\sqrt d`; reconstructions come back at the length of the row, where ours have unit
    length, and a zero row is NaN there. Folding is done in float64.

    SAELens's matching pursuit keeps only positive products of residual and atom. The dictionary
    takes the largest one, which is negative where all are. There is no such row where zero is a
    combination of all atoms with positive weights and the atoms span all of space; where no such
    weights were found, there is a warning. It stops at residuals of rounding noise, where SAELens
    goes on with coefficients of that size.

    Examples
    --------
    >>> import tempfile
    >>> from skdict import TopKSAE
    >>> from skdict.datasets import make_superposition
    >>> from skdict.interop import from_saelens, to_saelens
    >>> X = make_superposition(n_samples=500, n_features=16, random_state=0).data
    >>> autoencoder = TopKSAE(32, n_nonzero_coefs=2, max_steps=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     read = from_saelens(to_saelens(autoencoder, folder, dtype="float64"))
    >>> bool((read.transform(X) != autoencoder.transform(X)).nnz == 0)
    True
    """
    check_choice("whitening", whitening, ("fold", "sidecar"))
    steps, dictionary = chain_of(model)
    whitener = None
    if whitening == "sidecar":
        if not (steps and isinstance(steps[0], ControlPCAWhitener)):
            raise ValueError(
                "whitening='sidecar' needs a pipeline that begins with a ControlPCAWhitener; "
                "use whitening='fold'"
            )
        whitener, *steps = steps
    weights, normalised = folded(steps, dictionary, "SAELens", normalises=True)
    architecture = _architecture(dictionary, weights, architecture)
    arrays = to_dtype(_arrays(weights), dtype)
    settings = {
        "architecture": architecture,
        "d_in": weights.atoms.shape[1],
        "d_sae": weights.atoms.shape[0],
        "dtype": str(np.dtype(dtype)),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "constant_norm_rescale" if normalised else "none",
        "reshape_activations": "none",
        **_own_settings(dictionary, architecture),
        "metadata": _metadata(metadata, dictionary, whitener),
    }
    folder = start_folder(folder, SETTINGS, "d_sae", (WHITENING, SCALER))
    write_arrays(folder / WEIGHTS, arrays)
    if whitener is not None:
        _write_whitening(whitener, folder)
    write_settings(folder / SETTINGS, settings)
    return folder


def _architecture(dictionary, weights, wanted):
    """The class of SAELens that gives the same codes."""
    check_choice("architecture", wanted, ("auto", "topk", "matching_pursuit", "icfl"))
    if not isinstance(dictionary, ICFLDictionary):
        if wanted not in ("auto", "topk"):
            raise ValueError(f"architecture of a TopKSAE must be 'topk', got {wanted!r}")
        return "topk"
    if wanted == "topk":
        raise ValueError(
            "architecture='topk' would replace pursuit by an encoder, with other codes: use "
            "'auto' or 'icfl'"
        )
    reason = _why_not_matching_pursuit(dictionary, weights)
    if wanted == "icfl" or (wanted == "auto" and reason):
        return "icfl"
    if reason:
        raise ValueError(f"architecture='matching_pursuit' gives other codes: {reason}; use 'icfl'")
    if not positively_spanning(weights.atoms):
        warnings.warn(
            "no positive weights were found with which the atoms add up to zero: for rows whose "
            "residual has no positive product with any atom, SAELens's matching pursuit stops and "
            "the dictionary goes on. architecture='icfl' is exact for all rows",
            UserWarning,
            stacklevel=3,
        )
    return "matching_pursuit"


def _why_not_matching_pursuit(dictionary, weights):
    """In which way a dictionary is not plain matching pursuit; empty if it is."""
    width = dictionary._code_width()
    if min(dictionary.atoms_per_step, width) > 1:
        return f"it chooses one atom a step, here atoms_per_step={dictionary.atoms_per_step}"
    if dictionary.selection != "signed":
        return f"it selects by signed products, here selection={dictionary.selection!r}"
    if dictionary.refit and width > 1:
        return "it has no refit at the end, here refit=True"
    if not has_unit_rows(weights.atoms):
        return "its atoms must be of unit length in the space of its input, here they are not"
    return ""


def positively_spanning(atoms) -> bool:
    """Whether every vector surely has a positive product with some atom.

    True if positive weights were found with which the atoms add up to zero, and the atoms span all
    of space; False says that none were found. Weights are projected in turn on those that add up to
    zero and on those of at least 1.
    """
    atoms = np.asarray(atoms, np.float64)
    scatter = atoms.T @ atoms
    values = np.linalg.eigvalsh(scatter)
    if not values[0] > 1e-10 * values[-1]:
        return False
    inverse = np.linalg.inv(scatter)
    weights = np.ones(atoms.shape[0])
    for _ in range(N_PROJECTIONS):
        weights -= atoms @ (inverse @ (weights @ atoms))
        if weights.min() > 0.1:
            return True
        np.maximum(weights, 1.0, out=weights)
    return False


def _arrays(weights):
    arrays = {"W_dec": weights.atoms, "b_dec": weights.intercept}
    if weights.encoder is not None:
        arrays |= {"W_enc": weights.encoder.T, "b_enc": weights.encoder_bias}
    return arrays


def _own_settings(dictionary, architecture):
    """Settings that only this architecture has."""
    width = int(dictionary._code_width())
    if architecture == "topk":
        return {"k": width, "rescale_acts_by_decoder_norm": False}
    if architecture == "matching_pursuit":
        return {
            "residual_threshold": 0.0,
            "max_iterations": width,
            "stop_on_duplicate_support": False,
        }
    return {
        "n_nonzero_coefs": width,
        "atoms_per_step": int(dictionary.atoms_per_step),
        "selection": dictionary.selection,
        "refit": bool(dictionary.refit),
    }


def _metadata(given, dictionary, whitener):
    from skdict._version import __version__

    given = {} if given is None else dict(given)
    reserved = {"sae_lens_version", "skdict", "preprocessing"} & given.keys()
    if reserved:
        raise ValueError(f"metadata must not set {', '.join(sorted(reserved))}: it is written here")
    try:
        given = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata must be what JSON can hold: {error}") from error
    made_by = {
        "version": __version__,
        "estimator": type(dictionary).__name__,
        "whitening": "none or folded" if whitener is None else "sidecar",
    }
    return {
        "sae_lens_version": FORMAT,
        "sae_lens_training_version": None,
        "model_name": None,
        "hook_name": None,
        **given,
        **({} if whitener is None else {"preprocessing": PREPROCESSING}),
        "skdict": made_by,
    }


def _write_whitening(whitener, folder: Path):
    matrix, inverse, mean = whitening_arrays(whitener)
    arrays = {"mean": mean, "matrix": matrix, "inverse_matrix": inverse}
    write_arrays(folder / WHITENING, to_dtype(arrays, "float64"))
    write_settings(folder / SCALER, {"scaling_factor": None, "has_whitening": True})
