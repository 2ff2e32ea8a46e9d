"""Models of SAELens as fitted dictionaries."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict.interop._fitted import fitted_pursuit, fitted_whitener, has_unit_rows, topk_from_arrays
from skdict.interop._folding import Weights
from skdict.interop._model_files import (
    check_arrays,
    check_count,
    read_arrays,
    read_settings,
    setting,
)
from skdict.interop._saelens_write import SETTINGS, WEIGHTS, WHITENING

# Names before version 6 and since.
RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}


def from_saelens(folder, *, ignore_stopping=False):
    """Read a model of SAELens from a folder with ``cfg.json`` and ``sae_weights.safetensors``.

    Nothing in the files is executed, and neither SAELens nor torch is needed.

    Parameters
    ----------
    folder : str or Path
        What ``SAE.save_model`` or `to_saelens` wrote; files of SAELens before version 6 too.
    ignore_stopping : bool, default=False
        Read a matching pursuit that stops early as one that does not: codes then have up to
        ``max_iterations`` entries.

    Returns
    -------
    TopKSAE, ICFLDictionary or Pipeline
        The fitted dictionary, with the same codes and reconstructions as in SAELens. With
        ``normalize_activations="constant_norm_rescale"`` a pipeline that begins with a
        ``Normalizer``: its reconstructions have the length that they have for rows of unit length.
        With a whitener written beside it, a pipeline that begins with that.

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    ValueError
        If a file is damaged, weights are missing or have wrong shapes, NaN or infinity, or the
        architecture or its settings have no counterpart here.

    See Also
    --------
    to_saelens : The way there.

    Notes
    -----
    ``topk`` becomes :class:`~skdict.TopKSAE`. Where codes are weighed by the length of the decoder
    rows (``rescale_acts_by_decoder_norm``) the lengths are folded into the encoder; otherwise
    ``components_`` keep them. ``matching_pursuit`` becomes :class:`~skdict.ICFLDictionary` with one
    atom a step; the defaults of SAELens, ``stop_on_duplicate_support=True`` and
    ``residual_threshold=0.01``, stop rows early and are refused without `ignore_stopping`.

    With ``reshape_activations="hook_z"`` a row is all heads of a layer side by side.

    What training recorded is not in the files: ``n_steps_`` is 0, and a whitener from a side-car
    lacks what it knew of its controls.

    Examples
    --------
    >>> from skdict.interop import from_saelens
    >>> autoencoder = from_saelens("sae/blocks.16")  # doctest: +SKIP
    >>> codes = autoencoder.transform(X)  # doctest: +SKIP
    """
    folder = Path(folder)
    path = folder / SETTINGS
    settings = _modern(read_settings(path), path)
    architecture = settings["architecture"]
    readers = {"topk": _topk, "matching_pursuit": _matching_pursuit, "icfl": _icfl}
    if architecture not in readers:
        raise ValueError(
            f"architecture must be one of {', '.join(readers)} to be read, got {architecture!r} "
            f"in {path}: its codes are not those of a TopK autoencoder or of pursuit"
        )
    if architecture == "matching_pursuit" and not ignore_stopping:
        _check_never_stops(settings, path)
    normalised = _is_normalised(settings, path)
    arrays = read_arrays(folder / WEIGHTS)
    scaling = arrays.pop("scaling_factor", None)  # SAELens before version 6: of no use if ones
    if settings.get("finetuning_scaling_factor") or (scaling is not None and (scaling != 1).any()):
        raise ValueError(f"{folder} scales codes after fine-tuning, which has no counterpart here")
    dictionary = readers[architecture](settings, arrays, normalised, folder)
    n_features = dictionary.n_features_in_
    steps = []
    if _has_whitener(settings):
        steps.append(_read_whitener(folder / WHITENING, n_features))
    if normalised:
        steps.append(Normalizer().fit(np.zeros((1, n_features), np.float32)))
    return make_pipeline(*steps, dictionary) if steps else dictionary


def _modern(settings, path):
    """Settings in the words of SAELens since version 6."""
    metadata = settings.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError(f"metadata in {path} must be an object, got {metadata!r}")
    version = settings.get("sae_lens_version") or (metadata or {}).get("sae_lens_version")
    if not _is_old(version, path):
        return {**settings, "architecture": setting(settings, "architecture", str, path)}
    modern = {RENAMED.get(name, name): value for name, value in settings.items()}
    if modern.get("architecture") is None:
        modern["architecture"] = "standard"
    given = modern.get("activation_fn_kwargs")
    k = given.get("k") if isinstance(given, dict) else None
    if k is not None and "topk" in (modern.get("activation_fn"), modern["architecture"]):
        modern |= {"architecture": "topk", "k": k}
    normalize = modern.get("normalize_activations")
    if normalize is None or isinstance(normalize, bool):
        modern["normalize_activations"] = "expected_average_only_in" if normalize else "none"
    setting(modern, "architecture", str, path)
    return modern


def _is_old(version, path):
    """Whether a version is below 6; without one it is."""
    if not version:
        return True
    major = str(version).split(".")[0]
    if not major.isascii() or not major.isdigit() or len(major) > 6:
        raise ValueError(f"sae_lens_version in {path} must be a version, got {version!r}")
    return int(major) < 6


def _is_normalised(settings, path):
    """Whether rows are brought to length sqrt(d_in) before they are encoded."""
    wanted = setting(settings, "normalize_activations", str, path, default="none")
    if wanted in ("none", "constant_norm_rescale"):
        return wanted != "none"
    if wanted == "expected_average_only_in":
        reason = (
            "the factor is not in the files; fold it with "
            "sae.fold_activation_norm_scaling_factor(...) and save the model again"
        )
    elif wanted == "covariance_whitening":
        reason = "fold it with sae.fold_activation_whitening(...) and save the model again"
    else:
        reason = "there is no such step here"
    raise ValueError(
        f"normalize_activations in {path} must be 'none' or 'constant_norm_rescale' to be read, "
        f"got {wanted!r}: {reason}"
    )


def _check_never_stops(settings, path):
    """Raise if rows of a matching pursuit may end before all iterations."""
    duplicate = setting(settings, "stop_on_duplicate_support", bool, path, default=True)
    threshold = settings.get("residual_threshold", 1e-2)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise ValueError(f"residual_threshold in {path} must be a number, got {threshold!r}")
    if duplicate or threshold > 0:
        raise ValueError(
            f"the matching pursuit in {path} stops rows early "
            f"(stop_on_duplicate_support={duplicate}, residual_threshold={threshold}), which "
            "ICFLDictionary does not: with ignore_stopping=True it is read all the same, and codes "
            "of such rows have more entries"
        )


def _has_whitener(settings):
    """Whether the settings say that a whitener lies beside the weights."""
    made_by = (settings.get("metadata") or {}).get("skdict")
    return isinstance(made_by, dict) and made_by.get("whitening") == "sidecar"


def _read_whitener(path, n_features):
    """The whitener in a file, for `n_features` features after it."""
    arrays = read_arrays(path)
    shape = arrays["matrix"].shape if "matrix" in arrays else ()
    if len(shape) != 2 or 0 in shape or shape[1] != n_features:
        raise ValueError(
            f"matrix in {path} must have one column per feature of the model, {n_features}, got "
            f"shape {shape}"
        )
    shapes = {"mean": shape[:1], "matrix": shape, "inverse_matrix": shape[::-1]}
    check_arrays(arrays, shapes, path)
    return fitted_whitener(arrays["mean"], arrays["matrix"], arrays["inverse_matrix"])


def _sizes(settings, path):
    return setting(settings, "d_in", int, path), setting(settings, "d_sae", int, path)


def _topk(settings, arrays, normalised, folder):
    path = folder / SETTINGS
    n_features, n_atoms = _sizes(settings, path)
    k = setting(settings, "k", int, path)
    check_count("k", k, n_atoms, path)
    shapes = {
        "W_enc": (n_features, n_atoms),
        "b_enc": (n_atoms,),
        "W_dec": (n_atoms, n_features),
        "b_dec": (n_features,),
    }
    check_arrays(arrays, shapes, folder / WEIGHTS)
    weights = Weights(arrays["W_dec"], arrays["b_dec"], arrays["W_enc"].T, arrays["b_enc"])
    dtype = np.result_type(*arrays.values())
    if not setting(settings, "apply_b_dec_to_input", bool, path, default=True):
        # x E + c = (x - b) E + (c + b E)
        shift = weights.encoder.astype(np.float64) @ weights.intercept
        weights = Weights(
            weights.atoms, weights.intercept, weights.encoder, weights.encoder_bias + shift
        )
    if setting(settings, "rescale_acts_by_decoder_norm", bool, path, default=False):
        weights = weights.without_atom_lengths()
    if normalised:
        weights = weights.after_unit_norm(1 / sqrt(n_features))
    parts = (weights.atoms, weights.encoder, weights.encoder_bias, weights.intercept)
    return topk_from_arrays(*(part.astype(dtype) for part in parts), n_nonzero_coefs=k)


def _pursuit(settings, arrays, normalised, folder, *, must_be_unit=False, **parameters):
    path = folder / SETTINGS
    n_features, n_atoms = _sizes(settings, path)
    check_arrays(arrays, {"W_dec": (n_atoms, n_features), "b_dec": (n_features,)}, folder / WEIGHTS)
    if must_be_unit and not has_unit_rows(arrays["W_dec"]):
        raise ValueError(
            f"W_dec in {folder / WEIGHTS} must have rows of unit length: with others SAELens "
            "subtracts less or more than the fit of an atom, and ICFLDictionary does not"
        )
    weights = Weights(arrays["W_dec"], arrays["b_dec"])
    dtype = np.result_type(*arrays.values())
    if not setting(settings, "apply_b_dec_to_input", bool, path, default=True):
        weights = Weights(weights.atoms, np.zeros_like(weights.intercept))  # used nowhere then
    if normalised:
        weights = weights.after_unit_norm(1 / sqrt(n_features))
    return fitted_pursuit(
        weights.atoms.astype(dtype), weights.intercept.astype(dtype), **parameters
    )


def _matching_pursuit(settings, arrays, normalised, folder):
    path = folder / SETTINGS
    n_features, n_atoms = _sizes(settings, path)
    width = n_features
    if settings.get("max_iterations") is not None:
        width = setting(settings, "max_iterations", int, path)
    check_count("max_iterations", width, n_atoms, path)
    sizes = {"n_nonzero_coefs": width, "atoms_per_step": 1}
    return _pursuit(settings, arrays, normalised, folder, must_be_unit=True, **sizes)


def _icfl(settings, arrays, normalised, folder):
    path = folder / SETTINGS
    width = setting(settings, "n_nonzero_coefs", int, path)
    check_count("n_nonzero_coefs", width, _sizes(settings, path)[1], path)
    selection = setting(settings, "selection", str, path, default="signed")
    if selection not in ("signed", "absolute"):
        raise ValueError(f"selection in {path} must be 'signed' or 'absolute', got {selection!r}")
    return _pursuit(
        settings,
        arrays,
        normalised,
        folder,
        n_nonzero_coefs=width,
        # more than a code has atoms is all of them, however many
        atoms_per_step=min(setting(settings, "atoms_per_step", int, path), 2**31 - 1),
        selection=selection,
        refit=setting(settings, "refit", bool, path, default=False),
    )
